"""Lookup tables laid out for kernels: several species in a few flat arrays.

The kernels that read them are in `flashdet.kernels.grid`. Packing is done once per job; it factorises every covariance.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels import grid
from flashdet.lut.axis import Axis
from flashdet.lut.table import AliceEigen, Lut

Interpolation = Literal["linear", "nearest"]

_RULES = {"clamp": grid.CLAMP, "reject": grid.REJECT, "error": grid.ERROR}
#: Diagonal elements of a packed 5 x 5 matrix.
_DIAGONAL = (0, 2, 5, 9, 14)


class PackedLuts(NamedTuple):
    """Tables as flat arrays.

    Attributes
    ----------
    axis_numbers : (n_tables, 4, 4) float64
        Of the axes nch, radius, eta, pt: transformed lower edge, 1 / width, lower and upper edge.
    axis_float32 : (n_tables, 4, 2) float32
        Transformed lower edge and width as an ALICE file has them.
    axis_codes : (n_tables, 4, 4) int64
        Number of bins, 1 if logarithmic, rule outside (`grid.CLAMP` ...), 1 if interpolated.
    efficiency_start, cell_start : (n_tables,) int64
        First element of a table in `efficiency` and `cells`; -1 if there is no table.
    efficiency : (n,) float32
        Order (eta, pt, nch), nch fastest.
    cells : (n_cells, 16) or (n_cells, 48) float32
        Order (radius, eta, pt). Linear: see `grid.unpack_shape`, and 1 for a valid cell at the end: one cache line.
        Nearest: covariance (15), valid, eigenvalues (5), inverse of the eigenvector matrix (25), 2 unused.
    """

    axis_numbers: NDArray[np.float64]
    axis_float32: NDArray[np.float32]
    axis_codes: NDArray[np.int64]
    efficiency_start: NDArray[np.int64]
    cell_start: NDArray[np.int64]
    efficiency: NDArray[np.float32]
    cells: NDArray[np.float32]


def pack(luts: Sequence[Lut | None], interpolation: Interpolation = "linear") -> PackedLuts:
    """Lay tables out for `grid.lookup_linear` or `grid.lookup_nearest`.

    Parameters
    ----------
    luts : sequence of Lut or None
        One entry per species; None where there is no table.
    interpolation : {"linear", "nearest"}
        Which of the two kernels will read them. Linear honours `Axis.interpolation` of each axis.

    Returns
    -------
    PackedLuts

    Raises
    ------
    LutError
        The covariance of a valid cell is not positive definite.
    """
    n_tables = len(luts)
    numbers = np.ones((n_tables, 4, 4))
    float32 = np.ones((n_tables, 4, 2), np.float32)
    codes = np.zeros((n_tables, 4, 4), np.int64)
    efficiency_start = np.full(n_tables, -1, np.int64)
    cell_start = np.full(n_tables, -1, np.int64)
    efficiencies = [np.zeros(0, np.float32)]
    cells = [np.zeros((0, 16 if interpolation == "linear" else 48), np.float32)]
    n_efficiencies = n_cells = 0
    for i, lut in enumerate(luts):
        if lut is None:
            continue
        nch, (radius, eta, pt) = lut.efficiency_axes[0], lut.covariance_axes
        for j, axis in enumerate((nch, radius, eta, pt)):
            numbers[i, j], float32[i, j], codes[i, j] = _pack_axis(axis)
        efficiency_start[i], cell_start[i] = n_efficiencies, n_cells
        efficiencies.append(np.moveaxis(lut.efficiency, 0, -1).astype(np.float32).ravel())
        cells.append(_linear_cells(lut) if interpolation == "linear" else _nearest_cells(lut))
        n_efficiencies += efficiencies[-1].size
        n_cells += len(cells[-1])
    return PackedLuts(
        numbers, float32, codes, efficiency_start, cell_start, np.concatenate(efficiencies), np.concatenate(cells)
    )


def _pack_axis(axis: Axis) -> tuple[tuple[float, ...], tuple[np.float32, np.float32], tuple[int, ...]]:
    low, high = float(axis.transform(axis.low)), float(axis.transform(axis.high))
    low32, high32 = np.float32(low), np.float32(high)
    return (
        (low, axis.n_bins / (high - low), axis.low, axis.high),
        (low32, (high32 - low32) / np.float32(axis.n_bins)),
        (axis.n_bins, int(axis.scale == "log"), _RULES[axis.out_of_range], int(axis.interpolation == "linear")),
    )


def _linear_cells(lut: Lut) -> NDArray[np.float32]:
    from flashdet.kernels.symmat import to_dense, to_packed

    valid = lut.valid.ravel()
    matrices = to_dense(lut.covariance.reshape(-1, 15)[valid])
    sigma = np.sqrt(np.diagonal(matrices, axis1=1, axis2=2))
    try:
        factor = np.linalg.cholesky(matrices / (sigma[:, :, None] * sigma[:, None, :]))
    except np.linalg.LinAlgError:
        raise LutError("a covariance is not positive definite", f"LUT of {lut.species}") from None
    shape = to_packed(factor / np.diagonal(factor, axis1=1, axis2=2)[:, :, None])
    shape[:, _DIAGONAL] = np.log(sigma)
    cells = np.zeros((valid.size, 16), np.float32)
    cells[valid, :15] = shape
    cells[valid, 15] = 1.0
    return cells


def _nearest_cells(lut: Lut) -> NDArray[np.float32]:
    eigen = lut.eigen if lut.eigen is not None else decompose(lut)
    cells = np.zeros((lut.valid.size, 48), np.float32)
    cells[:, :15] = lut.covariance.reshape(-1, 15)
    cells[:, 15] = lut.valid.ravel()
    cells[:, 16:21] = eigen.values.reshape(-1, 5)
    cells[:, 21:46] = eigen.inverse.reshape(-1, 25)
    cells[~lut.valid.ravel()] = 0.0
    return cells


def decompose(lut: Lut) -> AliceEigen:
    """Eigenvalues and eigenvectors of all covariances, as ALICE files store them.

    Parameters
    ----------
    lut : Lut
        A table.

    Returns
    -------
    AliceEigen
        Eigenvalues in descending order; the first component of each eigenvector that is not zero is positive. Invalid
        cells have eigenvalues 0 and unit vectors.
    """
    from flashdet.kernels.symmat import to_dense

    shape = lut.valid.shape
    values = np.zeros((lut.valid.size, 5))
    vectors = np.broadcast_to(np.eye(5), (lut.valid.size, 5, 5)).copy()
    valid = lut.valid.ravel()
    ascending, columns = np.linalg.eigh(to_dense(lut.covariance.reshape(-1, 15)[valid]))
    values[valid], columns = ascending[:, ::-1], columns[:, :, ::-1]
    first = np.argmax(columns != 0.0, axis=1)
    sign = np.sign(np.take_along_axis(columns, first[:, None, :], axis=1))
    vectors[valid] = columns * sign
    return AliceEigen(
        values.reshape(*shape, 5).astype(np.float32),
        vectors.reshape(*shape, 5, 5).astype(np.float32),
        np.swapaxes(vectors, 1, 2).reshape(*shape, 5, 5).astype(np.float32),
    )
