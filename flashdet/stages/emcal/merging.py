"""Showers that overlap in a calorimeter merge into clusters.

Kernels of :mod:`.stage`; the deposits come from :mod:`.deposits`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.emcal.deposits import LEFT, LOG_WIDTH, TOTAL, Deposits, X, Y, Z
from flashdet.stages.emcal.neighbours import Grid, find_near, put_item

Floats = NDArray[np.float64]

#: Values of `leader`: nothing to lead, and not known yet.
_NOTHING, _OPEN = -1, -2


@bare_kernel
def merge_deposits(
    deposits: Deposits, offsets: NDArray[np.int64], surfaces: Floats, grid: Grid, leader: NDArray[np.int64]
) -> None:
    """Merge deposits that lie close to a more energetic one.

    In falling order of energy, each deposit joins the nearest of the leading deposits within the distance, or leads a
    cluster of its own. Energies add, the position is the mean weighted with energy, and the squared width is the mean
    square per coordinate around it: of the members' own widths and of their distances. Time, random numbers and truth
    are those of the leading particle. A chain of neighbours does not merge into one: distances count from the leader.

    Nothing is sorted: only deposits that have neighbours are looked at again, and each as soon as those with more
    energy around it are decided (3 times less time than a sort in pp events).

    Parameters
    ----------
    deposits : Deposits
        The rows of leaders are changed into their clusters.
    offsets : (n_events + 1,) int64
        Rows of the events.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    grid : Grid
        Empty, of the distance [cm] within which showers merge.
    leader : (n_deposits,) int64
        Out: row of the leading deposit, of itself for leaders, -1 for rows without a deposit.
    """
    numbers, surface, waiting = deposits.numbers, deposits.surface, grid.waiting
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_open = 0
        for i in range(first, last):
            leader[i] = _NOTHING
            if surface[i] < 0:
                continue
            n = find_near(grid, first, surface[i], numbers[i, X], numbers[i, Y], numbers[i, Z], surfaces, numbers)
            leader[i] = _OPEN if n > 0 else i
            n_open += n > 0
            for candidate in range(n):
                j = grid.near[candidate]
                n_open += leader[j] == j
                leader[j] = _OPEN
            put_item(grid, i, surface[i], numbers, surfaces)
        if n_open > 0:
            _decide(numbers, first, last, surface, surfaces, grid, waiting, leader)
            for i in range(first, last):
                if leader[i] >= 0 and leader[i] != i:
                    _absorb(deposits, leader[i], i)


@inline
def _decide(
    numbers: Floats, first: int, last: int, surface: NDArray[np.int8], surfaces: Floats, grid: Grid,
    waiting: NDArray[np.int64], leader: NDArray[np.int64],
) -> None:  # fmt: skip
    """Leaders of the open deposits of an event, in passes over those that are left."""
    n_open = 0
    for i in range(first, last):
        waiting[n_open] = i
        n_open += leader[i] == _OPEN
    while n_open > 0:
        n_left = 0
        for k in range(n_open):
            i = waiting[k]
            n = find_near(grid, first, surface[i], numbers[i, X], numbers[i, Y], numbers[i, Z], surfaces, numbers)
            leader[i] = _choose(i, n, grid.near, grid.square, numbers, leader)
            waiting[n_left] = i
            n_left += leader[i] == _OPEN
        n_open = n_left


@inline
def _choose(
    i: int, n: int, near: NDArray[np.int64], square: Floats, numbers: Floats, leader: NDArray[np.int64]
) -> int | np.int64:
    """Leader of deposit i among its `n` neighbours; open if one of them with more energy is open itself."""
    best, best_square, left = i, np.inf, numbers[i, LEFT]
    for k in range(n):
        j = near[k]
        # of equal energies the first row leads
        if numbers[j, LEFT] > left or (numbers[j, LEFT] == left and j < i):
            if leader[j] == _OPEN:
                best = _OPEN
                break
            # of two leaders at the same distance the first row is taken, whatever their order in the grid
            if leader[j] == j and (square[k] < best_square or (square[k] == best_square and j < best)):
                best, best_square = j, square[k]
    return best


@inline
def _absorb(deposits: Deposits, to: int, i: int) -> None:
    """Add deposit i to the cluster in row `to`."""
    cluster, more = deposits.numbers[to], deposits.numbers[i]
    total = cluster[LEFT] + more[LEFT]
    # two deposits without energy: neither moves the other
    f = more[LEFT] / max(total, 1e-300)
    dx, dy, dz = more[X] - cluster[X], more[Y] - cluster[Y], more[Z] - cluster[Z]
    own, other = math.exp(2.0 * cluster[LOG_WIDTH]), math.exp(2.0 * more[LOG_WIDTH])
    square = (1.0 - f) * own + f * other + 0.5 * f * (1.0 - f) * (dx * dx + dy * dy + dz * dz)
    cluster[LOG_WIDTH] = 0.5 * math.log(square)
    cluster[X] += f * dx
    cluster[Y] += f * dy
    cluster[Z] += f * dz
    cluster[LEFT] = total
    cluster[TOTAL] += more[TOTAL]
    deposits.n_particles[to] += deposits.n_particles[i]
