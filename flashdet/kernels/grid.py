"""Lookups on regular grids: bins, weights, efficiencies and covariances, one call per track.

The arrays are those of `flashdet.lut.pack.PackedLuts`: several tables with axes of their own in flat arrays. The four
axes of a table come in the order nch, radius, eta, pt. This module knows neither files nor species, it draws no random
numbers and it decides nothing about the fate of a track: it reports.

Two ways to look up:

* `lookup_linear` interpolates. The logarithms of the five standard deviations and the ten ratios L_ij / L_ii (j < i) of
  the Cholesky factor are linear between bin centres. A standard deviation that follows a power of pt is reproduced
  exactly, and any set of ratios belongs to a positive definite matrix.
* `lookup_nearest` takes the bin and the eigenvectors as they are, with the arithmetic of ALICE's TrackSmearer.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline

#: Order of the axes.
NCH, RADIUS, ETA, PT = 0, 1, 2, 3
#: Rules outside an axis, as packed.
CLAMP, REJECT, ERROR = 0, 1, 2

#: Status bits. The bin of the query is not valid: the particle cannot be reconstructed there.
INVALID = 1
#: The query lies outside an axis (whatever the rule of that axis): ``OUTSIDE << axis``.
OUTSIDE = 2
#: It lies outside an axis whose rule is to reject, or whose rule is to stop the job.
REJECTED = 32
FORBIDDEN = 64
#: There is no table for this species.
NO_TABLE = 128
#: A coordinate is not a number.
NOT_A_NUMBER = 256
#: Any of these: no efficiency, and nothing was written to the outputs.
NO_ANSWER = INVALID | REJECTED | FORBIDDEN | NO_TABLE | NOT_A_NUMBER


@inline
def outside(i_axis: int, value: float, low: float, high: float, rule: int) -> int:
    """Status of one coordinate.

    Parameters
    ----------
    i_axis : int
        Place of the axis.
    value, low, high : float
        Coordinate and the half-open range [low, high) of the axis.
    rule : int
        `CLAMP`, `REJECT` or `ERROR`.

    Returns
    -------
    int
        Status bits, 0 inside.
    """
    if low <= value < high:
        return 0
    if value != value:
        return NOT_A_NUMBER
    status = OUTSIDE << i_axis
    if rule == REJECT:
        status |= REJECTED
    elif rule == ERROR:
        status |= FORBIDDEN
    return status


@inline
def check_axes(i_table: int, nch: float, radius: float, eta: float, pt: float, luts: Any) -> int:
    """Status of a query before anything is looked up.

    Parameters
    ----------
    i_table : int
        Table.
    nch, radius, eta, pt : float
        Coordinates, radius in cm, pt in GeV.
    luts : PackedLuts
        Tables.

    Returns
    -------
    int
        Status bits.
    """
    if i_table < 0 or luts.cell_start[i_table] < 0:
        return NO_TABLE
    numbers, codes = luts.axis_numbers, luts.axis_codes
    status = outside(NCH, nch, numbers[i_table, 0, 2], numbers[i_table, 0, 3], codes[i_table, 0, 2])
    status |= outside(RADIUS, radius, numbers[i_table, 1, 2], numbers[i_table, 1, 3], codes[i_table, 1, 2])
    status |= outside(ETA, eta, numbers[i_table, 2, 2], numbers[i_table, 2, 3], codes[i_table, 2, 2])
    status |= outside(PT, pt, numbers[i_table, 3, 2], numbers[i_table, 3, 3], codes[i_table, 3, 2])
    return status


@inline
def between(i_table: int, i_axis: int, value: float, luts: Any) -> tuple[int, int, float, int]:
    """Bins whose centres enclose a coordinate.

    Parameters
    ----------
    i_table, i_axis : int
        Table and axis.
    value : float
        Coordinate; outside the axis the edge bin is used.
    luts : PackedLuts
        Tables.

    Returns
    -------
    lower, upper : int
        Neighbouring bins; the same bin beyond the outer centres and where the axis is not interpolated.
    weight : float
        Of the upper one.
    own : int
        Bin that contains the coordinate.
    """
    n_bins = luts.axis_codes[i_table, i_axis, 0]
    if n_bins == 1:
        return 0, 0, 0.0, 0
    x = value
    if luts.axis_codes[i_table, i_axis, 1]:
        x = math.log10(value) if value > 0.0 else -math.inf
    place = (x - luts.axis_numbers[i_table, i_axis, 0]) * luts.axis_numbers[i_table, i_axis, 1]
    place = min(max(place, 0.0), n_bins - 0.5)
    own = int(place)
    if luts.axis_codes[i_table, i_axis, 3] == 0:
        return own, own, 0.0, own
    middle = min(max(place - 0.5, 0.0), n_bins - 1.0)
    lower = min(int(middle), n_bins - 2)
    return lower, lower + 1, middle - lower, own


@inline
def lookup_linear(
    i_table: int,
    nch: float,
    radius: float,
    eta: float,
    pt: float,
    luts: Any,
    covariance: NDArray[np.float64],
    factor: NDArray[np.float64],
) -> tuple[float, int]:
    """Efficiency and covariance between bin centres.

    Parameters
    ----------
    i_table : int
        Table, in the order given to `flashdet.lut.pack.pack`.
    nch, radius, eta, pt : float
        dN_ch/deta, production radius [cm], pseudorapidity, transverse momentum [GeV].
    luts : PackedLuts
        Tables packed for linear interpolation.
    covariance : (15,) float64
        Written: covariance of (y, z, snp, tgl, q/pt), packed; positive definite.
    factor : (15,) float64
        Written: its lower Cholesky factor, packed; `symmat.multiply_lower` makes noise of it.

    Returns
    -------
    efficiency : float
        Probability of reconstruction; 0 if there is no answer.
    status : int
        Status bits. With any of `NO_ANSWER` the outputs are left alone.
    """
    status = check_axes(i_table, nch, radius, eta, pt, luts)
    if status & NO_ANSWER:
        return 0.0, status
    r0, r1, fr, r_own = between(i_table, RADIUS, radius, luts)
    e0, e1, fe, e_own = between(i_table, ETA, eta, luts)
    p0, p1, fp, p_own = between(i_table, PT, pt, luts)
    n_eta = luts.axis_codes[i_table, ETA, 0]
    n_pt = luts.axis_codes[i_table, PT, 0]
    cells = luts.cells
    start = luts.cell_start[i_table]
    if cells[start + (r_own * n_eta + e_own) * n_pt + p_own, 15] == 0.0:
        return 0.0, status | INVALID

    n0, n1, fn, _ = between(i_table, NCH, nch, luts)
    n_nch = luts.axis_codes[i_table, NCH, 0]
    efficiencies = luts.efficiency
    efficiency_start = luts.efficiency_start[i_table]
    for k in range(15):
        covariance[k] = 0.0
    efficiency = 0.0
    total = 0.0
    for i_corner in range(8):
        i_radius, weight = (r1, fr) if i_corner & 4 else (r0, 1.0 - fr)
        i_eta, weight_eta = (e1, fe) if i_corner & 2 else (e0, 1.0 - fe)
        i_pt, weight_pt = (p1, fp) if i_corner & 1 else (p0, 1.0 - fp)
        i_cell = start + (i_radius * n_eta + i_eta) * n_pt + i_pt
        weight *= weight_eta * weight_pt * cells[i_cell, 15]
        if weight > 0.0:
            total += weight
            for k in range(15):
                covariance[k] += weight * cells[i_cell, k]
            column = efficiency_start + (i_eta * n_pt + i_pt) * n_nch
            efficiency += weight * ((1.0 - fn) * efficiencies[column + n0] + fn * efficiencies[column + n1])
    scale = 1.0 / total
    unpack_shape(covariance, scale, covariance, factor)
    return efficiency * scale, status


@inline
def unpack_shape(
    shape: NDArray[np.float64], scale: float, covariance: NDArray[np.float64], factor: NDArray[np.float64]
) -> None:
    """Covariance and Cholesky factor of interpolated logarithms and ratios.

    Parameters
    ----------
    shape : (15,) float64
        On the diagonal ln(sigma_i), below it L_ij / L_ii, both times 1 / `scale`.
    scale : float
        Inverse sum of weights.
    covariance, factor : (15,) float64
        Written, packed. `covariance` may be `shape`.
    """
    for i in range(5):
        row = i * (i + 1) // 2
        length = 1.0
        for j in range(i):
            ratio = shape[row + j] * scale
            factor[row + j] = ratio
            length += ratio * ratio
        diagonal = math.exp(shape[row + i] * scale) / math.sqrt(length)
        for j in range(i):
            factor[row + j] *= diagonal
        factor[row + i] = diagonal
    for i in range(5):
        row = i * (i + 1) // 2
        for j in range(i + 1):
            column = j * (j + 1) // 2
            element = 0.0
            for k in range(j + 1):
                element += factor[row + k] * factor[column + k]
            covariance[row + j] = element


@inline
def alice_bin(i_table: int, i_axis: int, value: float, luts: Any) -> int:
    """Bin of a coordinate as DelphesO2 computes it (map_t::find of lutCovm.hh).

    The coordinate, the lower edge and the width are binary32, the logarithm is taken in binary64; the quotient is
    truncated towards zero and clamped.

    Parameters
    ----------
    i_table, i_axis : int
        Table and axis.
    value : float
        Coordinate.
    luts : PackedLuts
        Tables.

    Returns
    -------
    int
    """
    n_bins = luts.axis_codes[i_table, i_axis, 0]
    value32 = np.float32(value)
    low, width = luts.axis_float32[i_table, i_axis, 0], luts.axis_float32[i_table, i_axis, 1]
    if luts.axis_codes[i_table, i_axis, 1]:
        if not value32 > 0.0:
            return 0
        place = (math.log10(np.float64(value32)) - np.float64(low)) / np.float64(width)
    else:
        place = np.float64(np.float32(np.float32(value32 - low) / width))
    return int(min(max(place, 0.0), n_bins - 1.0))


@inline
def lookup_nearest(
    i_table: int,
    nch: float,
    radius: float,
    eta: float,
    pt: float,
    luts: Any,
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
    luts : PackedLuts
        Tables packed for nearest bins.
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
    status = check_axes(i_table, nch, radius, eta, pt, luts)
    if status & NO_ANSWER:
        return 0.0, status
    i_nch = alice_bin(i_table, NCH, nch, luts)
    i_radius = alice_bin(i_table, RADIUS, radius, luts)
    i_eta = alice_bin(i_table, ETA, eta, luts)
    i_pt = alice_bin(i_table, PT, pt, luts)
    codes = luts.axis_codes
    n_nch, n_eta, n_pt = codes[i_table, NCH, 0], codes[i_table, ETA, 0], codes[i_table, PT, 0]
    cells = luts.cells
    i_cell = luts.cell_start[i_table] + (i_radius * n_eta + i_eta) * n_pt + i_pt
    if cells[i_cell, 15] == 0.0:
        return 0.0, status | INVALID
    for k in range(15):
        covariance[k] = cells[i_cell, k]
    for k in range(5):
        sigma = math.sqrt(np.float64(cells[i_cell, 16 + k]))
        for i in range(5):  # c_k is rotated back with row k of the stored inverse
            factor[i * 5 + k] = cells[i_cell, 21 + k * 5 + i] * sigma
    column = luts.efficiency_start[i_table] + (i_eta * n_pt + i_pt) * n_nch
    return float(luts.efficiency[column + i_nch]), status
