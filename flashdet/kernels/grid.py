"""Lookups on regular grids: bins, weights, efficiencies and covariances, one call per track.

The arrays are those of `flashdet.lut.pack.PackedLuts`: several tables with axes of their own in flat arrays. The four
axes of a table come in the order nch, radius, eta, pt. This module knows neither files nor species, it draws no random
numbers and it decides nothing about the fate of a track: it reports.

Two ways to look up:

* `lookup_linear` interpolates. The logarithms of the five standard deviations and the ten ratios L_ij / L_ii (j < i) of
  the Cholesky factor are linear between bin centres. A standard deviation that follows a power of pt is reproduced
  exactly, and any set of ratios belongs to a positive definite matrix. On a smooth model of a silicon tracker with 40
  eta and 100 pt bins the largest error of a standard deviation is 3 % (rms 0.4 %), against 10 % (0.9 %) with linear L
  and 18 % (1.7 %) with linear covariances; correlations are off by at most 4e-4, 7e-4 and 0.03.
* :mod:`flashdet.kernels.nearest` takes the bin and the eigenvectors as they are, like ALICE's TrackSmearer.

Kernels take the members of `PackedLuts` out of it once, before their loop, and pass them on as arrays: handing the
tuple itself to a helper costs 30 ns of reference counting per track.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.shape import average_shape, unpack_shape

#: Order of the axes.
NCH, RADIUS, ETA, PT = 0, 1, 2, 3
#: Rules outside an axis, as packed.
CLAMP, REJECT, ERROR = 0, 1, 2

#: Columns of `PackedLuts.layout` for an axis: transformed lower edge, 1 / width (for nearest bins: the width), edges,
#: number of bins, 1 if logarithmic, rule outside, 1 if interpolated.
LOW_X, STEP, LOW, HIGH, N_BINS, IS_LOG, RULE, IS_LINEAR = 0, 1, 2, 3, 4, 5, 6, 7
#: Row of `PackedLuts.layout` after those of the axes, and its columns: first cell of the table (-1: no table), first
#: efficiency.
START = 4
FIRST_CELL, FIRST_EFFICIENCY = 0, 1
#: Column of `PackedLuts.cells` that is 1 for a valid cell.
VALID = 15

#: Status bits. The bin of the query is not valid: the particle cannot be reconstructed there.
INVALID = 1
#: The query lies outside an axis, whatever the rule of that axis: ``OUTSIDE << axis``.
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
def check_axis(i_axis: int, value: float, low: float, high: float, rule: float) -> int:
    """Status of one coordinate.

    Parameters
    ----------
    i_axis : int
        Place of the axis.
    value, low, high : float
        Coordinate and the half-open range [low, high) of the axis.
    rule : float
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
def check_query(i_table: int, nch: float, radius: float, eta: float, pt: float, layout: NDArray[np.float64]) -> int:
    """Status of a query before anything is looked up.

    Parameters
    ----------
    i_table : int
        Table.
    nch, radius, eta, pt : float
        Coordinates, radius in cm, pt in GeV.
    layout : (n_tables, 5, 8) float64
        Of `PackedLuts`.

    Returns
    -------
    int
        Status bits.
    """
    if i_table < 0:
        return NO_TABLE
    if layout[i_table, START, FIRST_CELL] < 0.0:
        return NO_TABLE
    a = layout
    status = check_axis(NCH, nch, a[i_table, NCH, LOW], a[i_table, NCH, HIGH], a[i_table, NCH, RULE])
    status |= check_axis(RADIUS, radius, a[i_table, RADIUS, LOW], a[i_table, RADIUS, HIGH], a[i_table, RADIUS, RULE])
    status |= check_axis(ETA, eta, a[i_table, ETA, LOW], a[i_table, ETA, HIGH], a[i_table, ETA, RULE])
    status |= check_axis(PT, pt, a[i_table, PT, LOW], a[i_table, PT, HIGH], a[i_table, PT, RULE])
    return status


@inline
def between(i_table: int, i_axis: int, value: float, layout: NDArray[np.float64]) -> tuple[int, int, float, int]:
    """Bins whose centres enclose a coordinate.

    Parameters
    ----------
    i_table, i_axis : int
        Table and axis.
    value : float
        Coordinate; outside the axis the edge bin is used.
    layout : (n_tables, 5, 8) float64
        Of `PackedLuts`, for linear interpolation.

    Returns
    -------
    lower, upper : int
        Neighbouring bins; the same bin beyond the outer centres and where the axis is not interpolated.
    weight : float
        Of the upper one.
    own : int
        Bin that contains the coordinate.
    """
    logarithm = 0.0
    if layout[i_table, i_axis, IS_LOG] != 0.0:
        logarithm = math.log10(value) if value > 0.0 else -math.inf
    return between_known(i_table, i_axis, value, logarithm, layout)


@inline
def between_known(
    i_table: int, i_axis: int, value: float, logarithm: float, layout: NDArray[np.float64]
) -> tuple[int, int, float, int]:
    """The same with the known decimal logarithm of the coordinate, used if the axis is logarithmic."""
    n_bins = layout[i_table, i_axis, N_BINS]
    if n_bins == 1.0:
        return 0, 0, 0.0, 0
    x = logarithm if layout[i_table, i_axis, IS_LOG] != 0.0 else value
    place = (x - layout[i_table, i_axis, LOW_X]) * layout[i_table, i_axis, STEP]
    place = min(max(place, 0.0), n_bins - 0.5)
    own = int(place)
    if layout[i_table, i_axis, IS_LINEAR] == 0.0:
        return own, own, 0.0, own
    middle = min(max(place - 0.5, 0.0), n_bins - 1.0)
    lower = int(min(middle, n_bins - 2.0))
    return lower, lower + 1, middle - lower, own


@inline
def surround(
    i_table: int,
    query: tuple[float, float, float, float],
    log_nch: float,
    log_pt: float,
    layout: NDArray[np.float64],
    place: NDArray[np.int64],
    share: NDArray[np.float64],
    row: int,
) -> None:
    """Say where the cells around a query are; the tables themselves, far away in memory, are not touched.

    Parameters
    ----------
    i_table : int
        Table.
    query : tuple of float
        nch, radius, eta, pt that `check_query` lets pass.
    log_nch, log_pt : float
        Decimal logarithms.
    layout : (n_tables, 5, 8) float64
        Of `PackedLuts`, for linear interpolation.
    place : (n, 8) int64
        Row `row` is written: lowest cell; steps to the upper ones in radius, eta and pt; own cell; lowest efficiency
        and step to that of the upper multiplicity; efficiencies per cell.
    share : (n, 4) float64
        Row `row` is written: weights of the upper cells in nch, radius, eta and pt.
    row : int
        Where to write.
    """
    n0, n1, fn, _ = between_known(i_table, NCH, query[NCH], log_nch, layout)
    r0, r1, fr, r_own = between(i_table, RADIUS, query[RADIUS], layout)
    e0, e1, fe, e_own = between(i_table, ETA, query[ETA], layout)
    p0, p1, fp, p_own = between_known(i_table, PT, query[PT], log_pt, layout)
    n_eta, n_pt = int(layout[i_table, ETA, N_BINS]), int(layout[i_table, PT, N_BINS])
    first, n_nch = int(layout[i_table, START, FIRST_CELL]), int(layout[i_table, NCH, N_BINS])
    bin_of_eta_pt = e0 * n_pt + p0
    place[row, 0] = first + r0 * n_eta * n_pt + bin_of_eta_pt
    place[row, 1], place[row, 2], place[row, 3] = (r1 - r0) * n_eta * n_pt, (e1 - e0) * n_pt, p1 - p0
    place[row, 4] = first + (r_own * n_eta + e_own) * n_pt + p_own
    place[row, 5] = int(layout[i_table, START, FIRST_EFFICIENCY]) + bin_of_eta_pt * n_nch + n0
    place[row, 6], place[row, 7] = n1 - n0, n_nch
    share[row, 0], share[row, 1], share[row, 2], share[row, 3] = fn, fr, fe, fp


@inline
def enclose(
    place: NDArray[np.int64],
    share: NDArray[np.float64],
    i: int,
    efficiencies: NDArray[np.float32],
    cells: NDArray[np.float32],
    corner: NDArray[np.int64],
    weight: NDArray[np.float64],
    row: int,
) -> tuple[float, int]:
    """Efficiency between bin centres, and the cells around a query with their weights.

    Parameters
    ----------
    place, share, i
        From `surround`, row `i`.
    efficiencies, cells : arrays
        Members of `PackedLuts`, packed for linear interpolation.
    corner : (n, 8) int64
        Row `row` is written: cells around the query.
    weight : (n, 8) float64
        Row `row` is written: their weights, 0 where a cell is not valid.
    row : int
        Where to write.

    Returns
    -------
    efficiency : float
        Probability of reconstruction.
    n : int
        Cells written: 8, 4 if the query lies at the centre of a bin of radius, 0 if its own cell is not valid.
    """
    if cells[place[i, 4], VALID] == 0.0:
        return 0.0, 0
    fn, fr, fe, fp = share[i, 0], share[i, 1], share[i, 2], share[i, 3]
    d_eta, d_pt, step, n_nch = place[i, 2], place[i, 3], place[i, 6], place[i, 7]
    j00 = place[i, 5]
    j01, j10, j11 = j00 + d_pt * n_nch, j00 + d_eta * n_nch, j00 + (d_eta + d_pt) * n_nch
    n_sides = 2 if fr > 0.0 else 1
    total, efficiency = 0.0, 0.0
    for side in range(n_sides):
        portion, k, i00 = fr if side == 1 else 1.0 - fr, 4 * side, place[i, 0] + side * place[i, 1]
        i01, i10, i11 = i00 + d_pt, i00 + d_eta, i00 + d_eta + d_pt
        w00 = portion * (1.0 - fe) * (1.0 - fp) * cells[i00, VALID]
        w01 = portion * (1.0 - fe) * fp * cells[i01, VALID]
        w10 = portion * fe * (1.0 - fp) * cells[i10, VALID]
        w11 = portion * fe * fp * cells[i11, VALID]
        corner[row, k], corner[row, k + 1], corner[row, k + 2], corner[row, k + 3] = i00, i01, i10, i11
        weight[row, k], weight[row, k + 1], weight[row, k + 2], weight[row, k + 3] = w00, w01, w10, w11
        total += w00 + w01 + w10 + w11
        efficiency += (1.0 - fn) * (
            w00 * efficiencies[j00] + w01 * efficiencies[j01] + w10 * efficiencies[j10] + w11 * efficiencies[j11]
        )
        efficiency += fn * (
            w00 * efficiencies[j00 + step]
            + w01 * efficiencies[j01 + step]
            + w10 * efficiencies[j10 + step]
            + w11 * efficiencies[j11 + step]
        )
    return efficiency * (1.0 / total), 4 * n_sides


@kernel
def lookup_linear(
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
    """Efficiency and covariance between bin centres.

    The bin of the query decides whether it is valid; neighbours that are not valid get no weight.

    Parameters
    ----------
    i_table : int
        Table, in the order given to `flashdet.lut.pack.pack`.
    nch, radius, eta, pt : float
        dN_ch/deta, production radius [cm], pseudorapidity, transverse momentum [GeV].
    layout, efficiencies, cells : arrays
        Members of `PackedLuts`, packed for linear interpolation.
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
    status = check_query(i_table, nch, radius, eta, pt, layout)
    if status & NO_ANSWER:
        return 0.0, status
    place, share = np.empty((1, 8), np.int64), np.empty((1, 4))
    corner, weight, shape = np.empty((1, 8), np.int64), np.empty((1, 8)), np.empty(16)
    logarithms = math.log10(nch) if nch > 0.0 else -math.inf, math.log10(pt) if pt > 0.0 else -math.inf
    surround(i_table, (nch, radius, eta, pt), logarithms[0], logarithms[1], layout, place, share, 0)
    efficiency, n = enclose(place, share, 0, efficiencies, cells, corner, weight, 0)
    if n == 0:
        return 0.0, status | INVALID
    average_shape(corner, weight, 0, n, cells, shape)
    unpack_shape(shape, 1.0 / shape[15], 1.0, 1.0, covariance, factor)
    return efficiency, status
