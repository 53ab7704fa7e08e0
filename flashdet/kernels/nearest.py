"""Lookups in the bins of regular grids with the arithmetic of ALICE's TrackSmearer (AliceO2Group/DelphesO2).

The arrays and what a status says are those of :mod:`flashdet.kernels.grid`, which interpolates instead.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.grid import (
    ETA,
    FIRST_CELL,
    FIRST_EFFICIENCY,
    INVALID,
    IS_LOG,
    LOW_X,
    N_BINS,
    NCH,
    NO_ANSWER,
    PT,
    RADIUS,
    START,
    STEP,
    VALID,
    check_query,
)
from flashdet.kernels.jit import inline


@inline
def alice_bin(i_table: int, i_axis: int, value: float, layout: NDArray[np.float64]) -> int:
    """Bin of a coordinate as DelphesO2 computes it (``map_t::find`` of lutCovm.hh).

    The coordinate, the lower edge and the width are binary32, the logarithm is taken in binary64; the quotient is
    truncated towards zero and clamped.

    Parameters
    ----------
    i_table, i_axis : int
        Table and axis.
    value : float
        Coordinate.
    layout : (n_tables, 5, 8) float64
        Of `PackedLuts`, for nearest bins.

    Returns
    -------
    int
    """
    low, width = layout[i_table, i_axis, LOW_X], layout[i_table, i_axis, STEP]
    value32 = np.float32(value)
    if layout[i_table, i_axis, IS_LOG] != 0.0:
        place = (math.log10(np.float64(value32)) - low) / width if value32 > 0.0 else 0.0
    else:
        place = np.float64(np.float32(np.float32(value32 - np.float32(low)) / np.float32(width)))
    return int(min(max(place, 0.0), layout[i_table, i_axis, N_BINS] - 1.0))


@inline
def lookup_nearest(
    i_table: int,
    nch: float,
    radius: float,
    eta: float,
    pt: float,
    layout: NDArray[np.float64],
    efficiencies: NDArray[np.float32],
    cells: NDArray[np.float32],
    covariance: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> tuple[float, int]:
    """Efficiency and covariance of the bin, with the arithmetic of ALICE's TrackSmearer.

    Parameters
    ----------
    i_table : int
        Table, in the order given to `flashdet.lut.pack.pack`.
    nch, radius, eta, pt : float
        dN_ch/deta, production radius [cm] (ALICE always asks for 0), pseudorapidity, transverse momentum [GeV].
    layout, efficiencies, cells : arrays
        Members of `PackedLuts`, packed for nearest bins.
    covariance : (15,) float64
        Written: covariance of (y, z, snp, tgl, q/pt), packed.
    factor : (25,) float64
        Written: F row by row; noise_i = sum_k F[i, k] g_k with g_k the normal that ALICE draws for eigenvector k.

    Returns
    -------
    efficiency : float
        Probability of reconstruction; 0 if there is no answer.
    status : int
        Status bits. With any of `NO_ANSWER` the outputs are left alone.
    """
    status = check_query(i_table, nch, radius, eta, pt, layout)
    if status & NO_ANSWER:
        return 0.0, status
    i_nch = alice_bin(i_table, NCH, nch, layout)
    i_radius = alice_bin(i_table, RADIUS, radius, layout)
    i_eta = alice_bin(i_table, ETA, eta, layout)
    i_pt = alice_bin(i_table, PT, pt, layout)
    n_eta, n_pt = int(layout[i_table, ETA, N_BINS]), int(layout[i_table, PT, N_BINS])
    i_cell = int(layout[i_table, START, FIRST_CELL]) + (i_radius * n_eta + i_eta) * n_pt + i_pt
    if cells[i_cell, VALID] == 0.0:
        return 0.0, status | INVALID
    for k in range(15):
        covariance[k] = cells[i_cell, k]
    for k in range(5):
        sigma = math.sqrt(np.float64(cells[i_cell, 16 + k]))
        for i in range(5):  # ALICE rotates c_k back with row k of the stored inverse
            factor[i * 5 + k] = float(cells[i_cell, 21 + k * 5 + i]) * sigma
    column = int(layout[i_table, START, FIRST_EFFICIENCY]) + (i_eta * n_pt + i_pt) * int(layout[i_table, NCH, N_BINS])
    return np.float64(efficiencies[column + i_nch]), status
