"""Shapes of covariances as packed tables hold them: averages over cells, and the matrices that they stand for.

A shape is the logarithm of the five standard deviations and the ten ratios L_ij / L_ii of the Cholesky factor L; why so
is told in :mod:`flashdet.kernels.grid`, which says which cells to average.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline


@inline
def average_shape(
    corner: NDArray[np.int64],
    weight: NDArray[np.float64],
    row: int,
    n: int,
    cells: NDArray[np.float32],
    shape: NDArray[np.float64],
) -> None:
    """Sum of the packed shapes of cells times their weights.

    All 16 numbers of a cell are summed, its validity included: 16 make four vectors of the processor, and the last sum
    is that of the weights.

    Parameters
    ----------
    corner, weight, row, n
        From `enclose`.
    cells : (n_cells, 16) float32
        Of `PackedLuts`, packed for linear interpolation.
    shape : (16,) float64
        Written: the sums; the last one is the sum of the weights.
    """
    for k in range(16):
        shape[k] = 0.0
    for side in range(0, n, 4):
        c00, c01, c10, c11 = corner[row, side], corner[row, side + 1], corner[row, side + 2], corner[row, side + 3]
        w00, w01, w10, w11 = weight[row, side], weight[row, side + 1], weight[row, side + 2], weight[row, side + 3]
        for k in range(16):
            shape[k] += w00 * cells[c00, k] + w01 * cells[c01, k] + w10 * cells[c10, k] + w11 * cells[c11, k]


@inline
def unpack_shape(
    shape: NDArray[np.float64],
    scale: float,
    turn: float,
    charge: float,
    covariance: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> None:
    """Covariance and Cholesky factor of interpolated logarithms and ratios.

    Written out because the loops over packed rows cost 20 ns more.

    Parameters
    ----------
    shape : (15,) float64 or longer
        On the diagonal ln(sigma_i), below it L_ij / L_ii, all times 1 / `scale`.
    scale : float
        Inverse sum of the weights.
    turn, charge : float
        Signs of y and snp, and of q/pt: -1 gives the matrices of the mirror image.
    covariance, factor : (15,) float64
        Written, packed. `factor` may be `shape`.
    """
    a, b, c = shape[1] * scale, shape[3] * scale, shape[4] * scale
    d, e, f = shape[6] * scale, shape[7] * scale, shape[8] * scale
    g, h, i, j = shape[10] * scale, shape[11] * scale, shape[12] * scale, shape[13] * scale
    f00 = turn * math.exp(shape[0] * scale)
    f11 = math.exp(shape[2] * scale) / math.sqrt(1.0 + a * a)
    f22 = turn * (math.exp(shape[5] * scale) / math.sqrt(1.0 + b * b + c * c))
    f33 = math.exp(shape[9] * scale) / math.sqrt(1.0 + d * d + e * e + f * f)
    f44 = charge * (math.exp(shape[14] * scale) / math.sqrt(1.0 + g * g + h * h + i * i + j * j))
    f10, f20, f21 = a * f11, b * f22, c * f22
    f30, f31, f32 = d * f33, e * f33, f * f33
    f40, f41, f42, f43 = g * f44, h * f44, i * f44, j * f44
    factor[0], factor[1], factor[2] = f00, f10, f11
    factor[3], factor[4], factor[5] = f20, f21, f22
    factor[6], factor[7], factor[8], factor[9] = f30, f31, f32, f33
    factor[10], factor[11], factor[12], factor[13], factor[14] = f40, f41, f42, f43, f44
    covariance[0] = f00 * f00
    covariance[1] = f10 * f00
    covariance[2] = f10 * f10 + f11 * f11
    covariance[3] = f20 * f00
    covariance[4] = f20 * f10 + f21 * f11
    covariance[5] = f20 * f20 + f21 * f21 + f22 * f22
    covariance[6] = f30 * f00
    covariance[7] = f30 * f10 + f31 * f11
    covariance[8] = f30 * f20 + f31 * f21 + f32 * f22
    covariance[9] = f30 * f30 + f31 * f31 + f32 * f32 + f33 * f33
    covariance[10] = f40 * f00
    covariance[11] = f40 * f10 + f41 * f11
    covariance[12] = f40 * f20 + f41 * f21 + f42 * f22
    covariance[13] = f40 * f30 + f41 * f31 + f42 * f32 + f43 * f33
    covariance[14] = f40 * f40 + f41 * f41 + f42 * f42 + f43 * f43 + f44 * f44
