"""Filling of sparse cells from their neighbours: shapes of covariances and efficiencies over (eta, log pt).

The method, declared in every table: logarithms of the standard deviations and ratios of the Cholesky factor, which
belong to a positive definite matrix whatever they are, are fitted with a second-degree polynomial in (eta, log pt) to
the cells around, weighted with their counts and a Gaussian of the distance; with a plane where a cell is not between
measured ones or the neighbours are few. A detector whose resolutions follow powers of pt and exponentials of eta is
reproduced exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.lut.checks import find_holes
from flashdet.lut.content import EXTRAPOLATED, HOLE, MEASURED, POOLED

#: Cells around that take part, and the width of their weights [cells].
REACH = 3
_WIDTH = 1.5
#: Cells needed for a plane in two variables, and for a polynomial of second degree, with something left to average.
_FEWEST, _FEWEST_CURVED = 5, 12


def fill_shapes(
    shape: NDArray[np.float64],
    weight: NDArray[np.float64],
    is_measured: NDArray[np.bool_],
    is_wanted: NDArray[np.bool_],
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Fill cells of one production radius that have too few tracks of their own.

    Parameters
    ----------
    shape : (n_eta, n_pt, k) float64
        Numbers that may be added: ln sigma and ratios.
    weight : (n_eta, n_pt) float64
        Statistical weight of each cell.
    is_measured : (n_eta, n_pt) bool
        Cells that stand on their own.
    is_wanted : (n_eta, n_pt) bool
        Cells where tracks exist.

    Returns
    -------
    shape : (n_eta, n_pt, k) float64
        With the gaps filled as far as possible.
    origin : (n_eta, n_pt) uint8
        `MEASURED`; `POOLED` between measured cells, along eta or along pt; `EXTRAPOLATED` where tracks exist beside
        measured cells; `HOLE` elsewhere: nothing is invented there.
    """
    filled = shape.copy()
    origin = np.where(is_measured, MEASURED, HOLE).astype(np.uint8)
    enclosed = _enclosed(is_measured, 0) | _enclosed(is_measured, 1)
    for e, t in np.argwhere(~is_measured & (is_wanted | enclosed)):
        values = _fit(shape, weight, is_measured, int(e), int(t), bool(enclosed[e, t]))
        if values is not None:
            filled[e, t] = values
            origin[e, t] = POOLED if enclosed[e, t] else EXTRAPOLATED
    return filled, origin


def close_holes(
    shape: NDArray[np.float64],
    weight: NDArray[np.float64],
    is_measured: NDArray[np.bool_],
    origin: NDArray[np.uint8],
    may_fill: NDArray[np.bool_],
) -> None:
    """Mend a ragged edge of extrapolated cells, in place: `flashdet.lut.checks.find_holes` finds nothing after it.

    Where the sample ends some cells have tracks and can be extrapolated while cells between them have none. These are
    extrapolated as well; if that is not possible, the cells that make them holes are given up.

    Parameters
    ----------
    shape, weight, is_measured : arrays
        As of `fill_shapes`, of which they are the results.
    origin : (n_eta, n_pt) uint8
        Likewise.
    may_fill : (n_eta, n_pt) bool
        Cells that can be of use.
    """
    given_up = ~may_fill
    while True:
        holes = find_holes((origin != HOLE)[None])[0]
        is_better = False
        for e, t in np.argwhere(holes & ~given_up):
            values = _fit(shape, weight, is_measured, int(e), int(t), False)
            if values is not None:
                shape[e, t], origin[e, t], is_better = values, EXTRAPOLATED, True
        if is_better:
            continue
        guilty = np.logical_or.accumulate(holes, axis=1) | np.logical_or.accumulate(holes[:, ::-1], axis=1)[:, ::-1]
        guilty[1:] |= holes[:-1]
        guilty[:-1] |= holes[1:]
        guilty &= origin == EXTRAPOLATED
        if not guilty.any():
            return
        origin[guilty] = HOLE
        given_up |= guilty


def _enclosed(known: NDArray[np.bool_], axis: int) -> NDArray[np.bool_]:
    """True for cells with known ones on both sides along an axis, within reach."""
    inside = np.zeros(known.shape, np.bool_)
    moved = np.moveaxis(known, axis, 0)
    target = np.moveaxis(inside, axis, 0)
    n = len(moved)
    for i in range(n):
        before = moved[max(i - REACH, 0) : i].any(axis=0)
        after = moved[i + 1 : i + 1 + REACH].any(axis=0)
        target[i] = before & after
    return inside


def _fit(
    shape: NDArray[np.float64], weight: NDArray[np.float64], known: NDArray[np.bool_], e: int, t: int, curved: bool
) -> NDArray[np.float64] | None:
    """Value at a cell of a polynomial through the known cells around it; None if they do not determine a plane."""
    e0, e1 = max(e - REACH, 0), min(e + REACH + 1, known.shape[0])
    t0, t1 = max(t - REACH, 0), min(t + REACH + 1, known.shape[1])
    grid = np.meshgrid(np.arange(e0, e1) - e, np.arange(t0, t1) - t, indexing="ij")
    use = known[e0:e1, t0:t1]
    de, dt = (steps[use].astype(np.float64) for steps in grid)
    root = np.sqrt(weight[e0:e1, t0:t1][use] * np.exp(-0.5 * (de * de + dt * dt) / _WIDTH**2))
    plane = [np.ones(len(de)), de, dt]
    for terms, fewest in (([*plane, de * de, de * dt, dt * dt], _FEWEST_CURVED), (plane, _FEWEST)):
        if len(de) < fewest or (len(terms) > 3 and not curved):
            continue
        x = np.stack(terms, axis=1) * root[:, None]
        solution, _, rank, _ = np.linalg.lstsq(x, shape[e0:e1, t0:t1][use] * root[:, None], rcond=1e-10)
        if rank == len(terms):
            values: NDArray[np.float64] = solution[0]
            return values
    return None


def pool_efficiency(
    found: NDArray[np.int64], generated: NDArray[np.int64], fewest: int
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Efficiencies; cells with few particles share the counts of the smallest square around them that has enough.

    Parameters
    ----------
    found, generated : (n_eta, n_pt) int64
        Counts.
    fewest : int
        Particles that a cell needs to stand on its own.

    Returns
    -------
    efficiency : (n_eta, n_pt) float64
        0 for a hole.
    origin : (n_eta, n_pt) uint8
        `MEASURED`, `POOLED`, `EXTRAPOLATED` (no particle at all in the cell) or `HOLE` (too few within reach).
    """
    efficiency = np.zeros(found.shape)
    origin = np.full(found.shape, HOLE, np.uint8)
    for reach in range(REACH + 1):
        n = _squares(generated, reach)
        new = (origin == HOLE) & (n >= max(fewest, 1))
        efficiency[new] = _squares(found, reach)[new] / n[new]
        origin[new] = MEASURED if reach == 0 else np.where(generated[new] > 0, POOLED, EXTRAPOLATED)
    return efficiency, origin


def _squares(counts: NDArray[np.int64], reach: int) -> NDArray[np.int64]:
    """Sum over the square around each cell, by sums of sums: exact, and the same time for any reach."""
    total = np.zeros((counts.shape[0] + 1, counts.shape[1] + 1), np.int64)
    total[1:, 1:] = counts.cumsum(axis=0).cumsum(axis=1)
    (low_e, high_e), (low_t, high_t) = (
        (np.maximum(np.arange(n) - reach, 0), np.minimum(np.arange(n) + reach + 1, n)) for n in counts.shape
    )
    rows = total[high_e] - total[low_e]
    return np.asarray(rows[:, high_t] - rows[:, low_t])


def fill_multiplicities(
    efficiency: NDArray[np.float64], origin: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """Efficiencies of multiplicities without particles: linear between those with some, constant beyond them.

    Parameters
    ----------
    efficiency : (n_nch, n_eta, n_pt) float64
        Of `pool_efficiency` for each multiplicity.
    origin : (n_nch, n_eta, n_pt) uint8
        Likewise.

    Returns
    -------
    efficiency : (n_nch, n_eta, n_pt) float64
    origin : (n_nch, n_eta, n_pt) uint8
        `POOLED` between known multiplicities, `EXTRAPOLATED` beyond them, `HOLE` where none is known.
    """
    filled, marks = efficiency.copy(), origin.copy()
    bins = np.arange(len(efficiency))
    for e, t in np.ndindex(*efficiency.shape[1:]):
        known = np.flatnonzero(origin[:, e, t] != HOLE)
        gaps = np.flatnonzero(origin[:, e, t] == HOLE)
        if len(known) and len(gaps):
            filled[gaps, e, t] = np.interp(bins[gaps], known, efficiency[known, e, t])
            between = (gaps > known[0]) & (gaps < known[-1])
            marks[gaps, e, t] = np.where(between, POOLED, EXTRAPOLATED)
    return filled, marks
