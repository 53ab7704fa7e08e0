"""Correlated Gaussian noise from independent normal numbers and a factor of the covariance.

Where factor and numbers come from is the business of :mod:`flashdet.kernels.grid` and :mod:`flashdet.kernels.philox`.
"""

from __future__ import annotations

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
        F row by row, from `flashdet.kernels.grid.lookup_nearest`.
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
