"""Correlated Gaussian noise from independent normal numbers and a factor of the covariance.

Where factor and numbers come from is the business of :mod:`flashdet.kernels.grid` and :mod:`flashdet.kernels.philox`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline


@inline
def smear_nearest(
    params: NDArray[np.float64], numbers: NDArray[np.float64], factor: NDArray[np.float64], size: int
) -> None:
    """Add correlated noise with the eigenvectors of the covariance: p_i + sum_k F_ik g_k.

    The ALICE ``TrackSmearer`` rotates the parameters into the eigenbasis, draws there and rotates back; with orthogonal
    eigenvectors that is the same sum, without the rounding of the parameters (it uses single precision).

    Parameters
    ----------
    params : (size,) float64
        True parameters (y, z, snp, tgl, q/pt); overwritten with smeared ones.
    numbers : (size,) float64
        Independent standard normal numbers, one per eigenvector.
    factor : (size * size,) float64
        F row by row, from `flashdet.kernels.nearest.lookup_nearest`.
    size : int
        5.
    """
    for i in range(size):
        for k in range(size):
            params[i] += factor[i * size + k] * numbers[k]


@inline
def smear_linear(
    params: NDArray[np.float64], numbers: NDArray[np.float64], factor: NDArray[np.float64], size: int
) -> None:
    """Add correlated noise with the Cholesky factor L of the covariance: p + L g.

    Parameters
    ----------
    params : (size,) float64
        True parameters; overwritten with smeared ones.
    numbers : (size,) float64
        Independent standard normal numbers.
    factor : (size (size + 1) / 2,) float64
        L packed row by row, from `flashdet.kernels.grid.lookup_linear`.
    size : int
        5.
    """
    for i in range(size):
        for k in range(i + 1):
            params[i] += factor[i * (i + 1) // 2 + k] * numbers[k]


@inline
def smear_shaped(
    params: NDArray[np.float64],
    numbers: NDArray[np.float64],
    factor: NDArray[np.float64],
    covariance: NDArray[np.float64],
    shapes: Any,
    cell: int,
    rest: float,
    smearing: int,
) -> None:
    """Add noise of the shape found in full simulation, scaled with the standard deviations of the covariance.

    Parameters
    ----------
    params : (5,) float64
        True parameters; overwritten with smeared ones.
    numbers : (5,) float64
        Independent standard normal numbers.
    factor, covariance : (15,) float64
        From `flashdet.kernels.grid.lookup_linear`.
    shapes : PackedShapes
        Biases, wide components and libraries of all cells (`flashdet.lut.pack`).
    cell : int
        Cell that gives the shape.
    rest : float
        Uniform number in [0, 1): chooses between core and wide component, or among the residuals of the library.
    smearing : int
        0 Gaussian, 1 with a wide component, 2 library.
    """
    first, last = shapes.start[cell], shapes.start[cell + 1]
    if smearing == 2 and last > first:
        row = first + int(rest * (last - first))
        for i in range(5):
            params[i] += math.sqrt(covariance[i * (i + 3) // 2]) * shapes.library[row, i]
        return
    width = shapes.tail[cell, 1] if smearing == 1 and rest < shapes.tail[cell, 0] else 1.0
    for i in range(5):
        params[i] += math.sqrt(covariance[i * (i + 3) // 2]) * shapes.bias[cell, i]
        for k in range(i + 1):
            params[i] += width * factor[i * (i + 1) // 2 + k] * numbers[k]
