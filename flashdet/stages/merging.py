"""Showers that overlap in a calorimeter merge into clusters; also: what is near a point of its surfaces.

Kernels of :mod:`flashdet.stages.emcal`; the deposits come from :mod:`flashdet.stages.clusters`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.cells import Cells, cell_key, first_item, insert
from flashdet.kernels.jit import inline, kernel
from flashdet.stages.clusters import Deposits
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]

_TWO_PI = 2.0 * math.pi


@inline
def surface_cell(
    surface: int, x: float, y: float, z: float, surfaces: Floats, size: float
) -> tuple[int, int, int]:  # fmt: skip
    """Cell of a point of a surface: two coordinates, and the cells around a cylinder (0 for a disc).

    The cells are squares of `size` [cm]; around a cylinder a whole number of slightly larger ones, at least three.
    """
    if surfaces[surface, 0] == CYLINDER:
        around = max(3, int(_TWO_PI * surfaces[surface, 1] / size))
        u = int((math.atan2(y, x) / _TWO_PI + 0.5) * around)
        return (u if u < around else 0), math.floor(z / size), around
    return math.floor(x / size), math.floor(y / size), 0


@inline
def nearest_item(
    surface: int, px: float, py: float, pz: float, x: Floats, y: Floats, z: Floats, surfaces: Floats, distance: float,
    cells: Cells, stamp: int,
) -> tuple[int, float]:  # fmt: skip
    """Nearest item in the cells around a point, -1 if none is nearer than `distance`; and its distance squared."""
    u, v, around = surface_cell(surface, px, py, pz, surfaces, distance)
    best, best_square = -1, distance * distance
    for du in range(-1, 2):
        cu = u + du
        if around > 0:
            cu = cu + around if cu < 0 else cu - around if cu >= around else cu
        for dv in range(-1, 2):
            item = first_item(cells, cell_key(surface, cu, v + dv), stamp)
            while item >= 0:
                square = (x[item] - px) ** 2 + (y[item] - py) ** 2 + (z[item] - pz) ** 2
                # of two at the same distance the one with the smaller row, whatever the order of insertion
                if square < best_square or (square == best_square and item < best):
                    best, best_square = item, square
                item = cells.following[item]
    return best, best_square


@kernel
def merge_deposits(
    deposits: Deposits, offsets: NDArray[np.int64], surfaces: Floats, distance: float, cells: Cells,
    leader: NDArray[np.int64],
) -> None:  # fmt: skip
    """Merge deposits that lie close to a more energetic one.

    In falling order of energy, each deposit joins the nearest of the leading deposits within `distance`, or leads a
    cluster of its own. Energies add, the position is the mean weighted with energy, and the squared width is the mean
    square per coordinate around it: of the members' own widths and of their distances. Time, random numbers and truth
    are those of the leading particle. A chain of neighbours does not merge into one: distances count from the leader.

    Parameters
    ----------
    deposits : Deposits
        The rows of leaders are changed into their clusters.
    offsets : (n_events + 1,) int64
        Rows of the events.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    distance : float
        Largest distance [cm].
    cells : Cells
        For the largest event.
    leader : (n_deposits,) int64
        Out: row of the leading deposit, of itself for leaders.
    """
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        # mergesort keeps the order of equal energies
        order = np.argsort(-deposits.left[first:last], kind="mergesort")
        for o in order:
            i = first + o
            s, x, y, z = deposits.surface[i], deposits.x[i], deposits.y[i], deposits.z[i]
            best, _ = nearest_item(
                s, x, y, z, deposits.x, deposits.y, deposits.z, surfaces, distance, cells, event
            )  # fmt: skip
            leader[i] = best
            if best < 0:
                leader[i] = i
                u, v, _ = surface_cell(s, x, y, z, surfaces, distance)
                insert(cells, cell_key(s, u, v), event, i)
        for i in range(first, last):
            if leader[i] != i:
                _absorb(deposits, leader[i], i)


@inline
def _absorb(deposits: Deposits, to: int, i: int) -> None:
    """Add deposit i to the cluster in row `to`."""
    total = deposits.left[to] + deposits.left[i]
    # two deposits without energy: neither moves the other
    f = deposits.left[i] / total if total > 0.0 else 0.0
    dx, dy, dz = deposits.x[i] - deposits.x[to], deposits.y[i] - deposits.y[to], deposits.z[i] - deposits.z[to]
    square = (1.0 - f) * deposits.width[to] ** 2 + f * deposits.width[i] ** 2
    deposits.width[to] = math.sqrt(square + 0.5 * f * (1.0 - f) * (dx * dx + dy * dy + dz * dz))
    deposits.x[to] += f * dx
    deposits.y[to] += f * dy
    deposits.z[to] += f * dz
    deposits.left[to] = total
    deposits.total[to] += deposits.total[i]
    deposits.n_particles[to] += deposits.n_particles[i]
