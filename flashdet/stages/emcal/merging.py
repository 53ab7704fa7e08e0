"""Showers that overlap in a calorimeter merge into clusters.

Kernels of :mod:`.stage`; the deposits come from :mod:`.deposits`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.stages.emcal.deposits import Deposits
from flashdet.stages.emcal.neighbours import Grid, find_near, put_item

Floats = NDArray[np.float64]

#: Values of `leader` before it is known.
_ALONE, _OPEN = -1, -2


@kernel
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
        Out: row of the leading deposit, of itself for leaders.
    """
    x, y, z, left, surface = deposits.x, deposits.y, deposits.z, deposits.left, deposits.surface
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_open = 0
        for i in range(first, last):
            n = find_near(grid, event, surface[i], x[i], y[i], z[i], surfaces, x, y, z)
            leader[i] = _OPEN if n > 0 else _ALONE
            n_open += n > 0
            for candidate in range(n):
                j = grid.near[candidate]
                n_open += leader[j] == _ALONE
                leader[j] = _OPEN
            put_item(grid, event, i, surface[i], x[i], y[i], z[i], surfaces)
        while n_open > 0:
            for i in range(first, last):
                if leader[i] == _OPEN:
                    n = find_near(grid, event, surface[i], x[i], y[i], z[i], surfaces, x, y, z)
                    leader[i] = _choose(i, n, grid.near, grid.square, left, leader)
                    n_open -= leader[i] != _OPEN
        for i in range(first, last):
            if leader[i] == _ALONE:
                leader[i] = i
            elif leader[i] != i:
                _absorb(deposits, leader[i], i)


@inline
def _choose(
    i: int, n: int, near: NDArray[np.int64], square: Floats, left: Floats, leader: NDArray[np.int64]
) -> int | np.int64:
    """Leader of deposit i among its `n` neighbours; open if one of them with more energy is open itself."""
    best, best_square = i, np.inf
    for k in range(n):
        j = near[k]
        # of equal energies the first row leads
        if left[j] > left[i] or (left[j] == left[i] and j < i):
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
    total = deposits.left[to] + deposits.left[i]
    # two deposits without energy: neither moves the other. No branches here: they keep Numba from dropping the counting
    # of references to all arrays, 250 ns per call
    f = deposits.left[i] / max(total, 1e-300)
    dx, dy, dz = deposits.x[i] - deposits.x[to], deposits.y[i] - deposits.y[to], deposits.z[i] - deposits.z[to]
    own, other = math.exp(2.0 * deposits.log_width[to]), math.exp(2.0 * deposits.log_width[i])
    square = (1.0 - f) * own + f * other + 0.5 * f * (1.0 - f) * (dx * dx + dy * dy + dz * dz)
    deposits.log_width[to] = 0.5 * math.log(square)
    deposits.x[to] += f * dx
    deposits.y[to] += f * dy
    deposits.z[to] += f * dz
    deposits.left[to] = total
    deposits.total[to] += deposits.total[i]
    deposits.n_particles[to] += deposits.n_particles[i]
