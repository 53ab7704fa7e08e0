"""Small symmetric matrices in packed form: lower triangle, row by row, as covariances are stored.

Element (i, j), j <= i, of an n x n matrix is at i (i + 1) / 2 + j; a 5 x 5 matrix takes 15 numbers. A lower triangular
factor is stored in the same order. From `cholesky` on the functions are compiled and write into given arrays.
Nothing here knows what the rows mean.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel


def to_dense(packed: NDArray[Any], size: int = 5) -> NDArray[Any]:
    """Full symmetric matrices of packed ones.

    Parameters
    ----------
    packed : (..., size (size + 1) / 2) array
        Lower triangles.
    size : int
        Rows of a matrix.

    Returns
    -------
    (..., size, size) array
    """
    rows, columns = np.tril_indices(size)
    dense = np.empty((*packed.shape[:-1], size, size), packed.dtype)
    dense[..., rows, columns] = packed
    dense[..., columns, rows] = packed
    return dense


def to_packed(dense: NDArray[Any]) -> NDArray[Any]:
    """Lower triangles of square matrices, row by row.

    Parameters
    ----------
    dense : (..., n, n) array
        Symmetric or lower triangular matrices; what lies above the diagonal is not looked at.

    Returns
    -------
    (..., n (n + 1) / 2) array
    """
    rows, columns = np.tril_indices(dense.shape[-1])
    return np.ascontiguousarray(dense[..., rows, columns])


def to_shape(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations and ratios of the Cholesky factor, numbers that can be interpolated and rounded freely.

    Parameters
    ----------
    covariance : (n, 15) float64
        Packed positive definite 5 x 5 matrices.

    Returns
    -------
    (n, 15) float64
        sigma_0 ... sigma_4, then L_ij / L_ii for j < i, row by row. Any positive sigma and any ratios belong to a
        positive definite matrix.

    Raises
    ------
    numpy.linalg.LinAlgError
        A matrix is not positive definite or not finite.
    """
    shape = np.empty((len(covariance), 15))
    if not _to_shapes(np.ascontiguousarray(covariance, np.float64), shape):
        raise np.linalg.LinAlgError("Matrix is not positive definite")
    return shape


def from_shape(shape: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances of standard deviations and ratios; the inverse of `to_shape`.

    Parameters
    ----------
    shape : (n, 15) float64
        See `to_shape`.

    Returns
    -------
    (n, 15) float64
        Packed positive definite matrices.
    """
    covariance = np.empty((len(shape), 15))
    _from_shapes(np.ascontiguousarray(shape, np.float64), covariance)
    return covariance


@kernel
def cholesky(matrix: NDArray[np.float64], size: int, factor: NDArray[np.float64]) -> bool:
    """Factor a positive definite matrix as L L^T (Cholesky-Banachiewicz).

    Parameters
    ----------
    matrix, factor : (size (size + 1) / 2,) float64
        Packed matrix in, packed L out; they may be the same array.
    size : int
        Rows.

    Returns
    -------
    bool
        False if the matrix is not positive definite (or not finite); `factor` is then incomplete.
    """
    for i in range(size):
        row = i * (i + 1) // 2
        for j in range(i + 1):
            column = j * (j + 1) // 2
            total = matrix[row + j]
            for k in range(j):
                total -= factor[row + k] * factor[column + k]
            if i == j:
                if not total > 0.0 or total == math.inf:
                    return False
                factor[row + i] = math.sqrt(total)
            else:
                factor[row + j] = total / factor[column + j]
    return True


@inline
def from_factor(factor: NDArray[np.float64], size: int, matrix: NDArray[np.float64]) -> None:
    """Multiply a factor with its transpose, L L^T.

    Parameters
    ----------
    factor, matrix : (size (size + 1) / 2,) float64
        Packed L in, packed matrix out; two different arrays.
    size : int
        Rows.
    """
    for i in range(size):
        row = i * (i + 1) // 2
        for j in range(i + 1):
            column = j * (j + 1) // 2
            total = 0.0
            for k in range(j + 1):
                total += factor[row + k] * factor[column + k]
            matrix[row + j] = total


@kernel
def _to_shapes(covariance: NDArray[np.float64], shape: NDArray[np.float64]) -> bool:
    """Do what `to_shape` promises; False if a matrix is not positive definite. Measured: 6 times faster than NumPy."""
    factor = np.empty(15)
    for n in range(len(covariance)):
        for i in range(5):
            variance = covariance[n, i * (i + 3) // 2]
            if not 0.0 < variance < math.inf:
                return False
            shape[n, i] = math.sqrt(variance)
        for i in range(5):
            for j in range(i + 1):
                m = i * (i + 1) // 2 + j
                factor[m] = covariance[n, m] / (shape[n, i] * shape[n, j])
        if not cholesky(factor, 5, factor):
            return False
        for i in range(5):
            for j in range(i):
                shape[n, 5 + i * (i - 1) // 2 + j] = factor[i * (i + 1) // 2 + j] / factor[i * (i + 3) // 2]
    return True


@kernel
def _from_shapes(shape: NDArray[np.float64], covariance: NDArray[np.float64]) -> None:
    """Do what `from_shape` promises."""
    factor, matrix = np.empty(15), np.empty(15)
    for n in range(len(shape)):
        for i in range(5):
            length = 1.0
            for j in range(i):
                length += shape[n, 5 + i * (i - 1) // 2 + j] ** 2
            scale = shape[n, i] / math.sqrt(length)
            for j in range(i):
                factor[i * (i + 1) // 2 + j] = shape[n, 5 + i * (i - 1) // 2 + j] * scale
            factor[i * (i + 3) // 2] = scale
        from_factor(factor, 5, matrix)
        for m in range(15):
            covariance[n, m] = matrix[m]


@inline
def multiply_lower(
    factor: NDArray[np.float64], size: int, vector: NDArray[np.float64], out: NDArray[np.float64]
) -> None:
    """Multiply L v, e.g. independent normals into correlated ones.

    Parameters
    ----------
    factor : (size (size + 1) / 2,) float64
        Packed L.
    size : int
        Rows.
    vector, out : (size,) float64
        v in, L v out; two different arrays.
    """
    for i in range(size):
        row = i * (i + 1) // 2
        total = 0.0
        for k in range(i + 1):
            total += factor[row + k] * vector[k]
        out[i] = total


@inline
def solve_lower(factor: NDArray[np.float64], size: int, vector: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Solve L x = v. The squared length of x is v^T C^-1 v for C = L L^T.

    Parameters
    ----------
    factor : (size (size + 1) / 2,) float64
        Packed L.
    size : int
        Rows.
    vector, out : (size,) float64
        v in, x out; they may be the same array.
    """
    for i in range(size):
        row = i * (i + 1) // 2
        total = vector[i]
        for k in range(i):
            total -= factor[row + k] * out[k]
        out[i] = total / factor[row + i]


@inline
def solve(factor: NDArray[np.float64], size: int, vector: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """Solve C x = v for C = L L^T.

    Parameters
    ----------
    factor : (size (size + 1) / 2,) float64
        Packed L.
    size : int
        Rows.
    vector, out : (size,) float64
        v in, x out; they may be the same array.
    """
    solve_lower(factor, size, vector, out)
    for j in range(size):
        i = size - 1 - j
        total = out[i]
        for k in range(i + 1, size):
            total -= factor[k * (k + 1) // 2 + i] * out[k]
        out[i] = total / factor[i * (i + 1) // 2 + i]


@kernel
def invert(factor: NDArray[np.float64], size: int, inverse: NDArray[np.float64]) -> None:
    """Invert C = L L^T.

    Parameters
    ----------
    factor, inverse : (size (size + 1) / 2,) float64
        Packed L in, packed C^-1 out; two different arrays.
    size : int
        Rows.
    """
    for j in range(size):  # L^-1, column by column, in the place of the result
        inverse[j * (j + 1) // 2 + j] = 1.0 / factor[j * (j + 1) // 2 + j]
        for i in range(j + 1, size):
            row = i * (i + 1) // 2
            total = 0.0
            for k in range(j, i):
                total -= factor[row + k] * inverse[k * (k + 1) // 2 + j]
            inverse[row + j] = total / factor[row + i]
    for i in range(size):  # C^-1 = L^-T L^-1: row i needs only rows >= i of L^-1, so overwriting downwards is safe
        for j in range(i + 1):
            total = 0.0
            for k in range(i, size):
                total += inverse[k * (k + 1) // 2 + i] * inverse[k * (k + 1) // 2 + j]
            inverse[i * (i + 1) // 2 + j] = total


@kernel
def similarity(
    jacobian: NDArray[np.float64], matrix: NDArray[np.float64], out: NDArray[np.float64], work: NDArray[np.float64]
) -> None:
    """Propagate a covariance, J C J^T.

    Parameters
    ----------
    jacobian : (m, n) float64
        J.
    matrix : (n (n + 1) / 2,) float64
        Packed C.
    out : (m (m + 1) / 2,) float64
        Packed J C J^T; may be the same array as `matrix` if m = n.
    work : (m, n) float64
        Scratch space.
    """
    m, n = jacobian.shape
    for i in range(m):
        for j in range(n):
            total = 0.0
            for k in range(n):
                total += jacobian[i, k] * (matrix[k * (k + 1) // 2 + j] if j <= k else matrix[j * (j + 1) // 2 + k])
            work[i, j] = total
    for i in range(m):
        for j in range(i + 1):
            total = 0.0
            for k in range(n):
                total += work[i, k] * jacobian[j, k]
            out[i * (i + 1) // 2 + j] = total
