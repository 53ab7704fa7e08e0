"""What is near a point of a detector's surface, in a time that does not depend on the number of items.

A grid of cells over all surfaces, each with a list of the items in it. What the items are and how near is near belongs
to the caller (:mod:`.merging`, :mod:`.matching`).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]

#: Sides of the cells in units of the distance, at least: from 2 on, four cells cover what is near. Larger cells hold
#: more items; 1.5 and 4 cost 10 to 20 % more time in pp and in central Pb-Pb collisions.
_SIDE = 2.0
#: Cells at most: their memory stays in the fast caches.
_MOST_CELLS = 16_384
#: Columns of `Grid.steps`.
_FIRST, _N_U, _N_V, _PER_U, _PER_V, _LOW, _REACH_U, _REACH_V = range(8)


class Grid(NamedTuple):
    """Cells of all surfaces, and the items in them.

    Attributes
    ----------
    steps : (n_surfaces, 8) float64
        First cell, cells in both coordinates, cells per unit of both, lowest value of the second (of both on a disc),
        the distance in units of both.
    cells : (n_cells,) int32
        Last item of each cell, -1 for none. Items of events before count as none: nothing has to be cleared.
    previous : (n_items,) int32
        The item before each item in its cell, or one of an event before, or -1.
    near : (n_items,) int64
        Result of `find_near`.
    square : (n_items,) float64
        Its squared distances.
    waiting : (n_items,) int64
        Scratch space for items.
    pairs : (2, n_items) int32
        Scratch space for pairs of items of an event.
    pair_square : (n_items,) float64
        Scratch space for their squared distances.
    distance : float
        What is near [cm].
    """

    steps: Floats
    cells: NDArray[np.int32]
    previous: NDArray[np.int32]
    near: NDArray[np.int64]
    square: Floats
    waiting: NDArray[np.int64]
    pairs: NDArray[np.int32]
    pair_square: Floats
    distance: float


def plan_grid(surfaces: Floats, distance: float) -> Floats:
    """Lay cells over surfaces.

    Parameters
    ----------
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    distance : float
        What is near [cm].

    Returns
    -------
    (n_surfaces, 8) float64
        ``steps`` of :class:`Grid`.
    """
    side = _SIDE * distance
    while True:
        steps = np.array([_lay(surface, distance, side) for surface in surfaces])
        n_cells = (steps[:, _N_U] * steps[:, _N_V]).sum()
        if n_cells <= max(_MOST_CELLS, len(surfaces)):
            steps[1:, _FIRST] = np.cumsum(steps[:-1, _N_U] * steps[:-1, _N_V])
            return steps
        side *= 2.0


def _lay(surface: Floats, distance: float, side: float) -> tuple[float, ...]:
    """Row of `steps` of one surface without its first cell."""
    if surface[0] == CYLINDER:
        radius, half = surface[1], surface[2]
        # an arc of one radius is one unit of `_around` or less
        n_u, n_v = max(1, int(4.0 * radius / side)), max(1, int(2.0 * half / side))
        reach = 2.0 * math.asin(min(1.0, 0.5 * distance / radius))
        return 0.0, n_u, n_v, n_u / 4.0, n_v / (2.0 * half), -half, reach, distance
    n = max(1, int(2.0 * surface[3] / side))
    return 0.0, n, n, n / (2.0 * surface[3]), n / (2.0 * surface[3]), -surface[3], distance, distance


def make_grid(steps: Floats, distance: float, offsets: NDArray[np.int64]) -> Grid:
    """Memory for the items of a batch.

    Parameters
    ----------
    steps : (n_surfaces, 8) float64
        From `plan_grid`.
    distance : float
        The same as there.
    offsets : (n_events + 1,) int64
        Items of the events.

    Returns
    -------
    Grid
    """
    n, n_cells = int(offsets[-1]), int(steps[-1, _FIRST] + steps[-1, _N_U] * steps[-1, _N_V])
    cells, previous = np.full(n_cells, -1, np.int32), np.empty(n, np.int32)
    # more than the largest event needs, but memory that nothing touches is free, and looking for that event is not
    (near, waiting), (square, pair_square) = np.empty((2, n), np.int64), np.empty((2, n))
    return Grid(steps, cells, previous, near, square, waiting, np.empty((2, n), np.int32), pair_square, float(distance))


# --- kernel helpers --------------------------------------------------------------------------------------------------
@inline
def _around(x: float, y: float) -> float:
    """Number from 0 to 4 that grows with the azimuth from 0 to 2 pi, by 1/2 to 1 per radian.

    A fifth of the price of an arctangent.
    """
    q = y / (abs(x) + abs(y))
    return 2.0 - q if x < 0.0 else (q + 4.0 if q < 0.0 else q)


@inline
def _coordinates(surface: int, x: float, y: float, z: float, surfaces: Floats, steps: Floats) -> tuple[float, float]:
    """Two coordinates of a point on its surface, from 0."""
    low = steps[surface, _LOW]
    if surfaces[surface, 0] == CYLINDER:
        return _around(x, y), z - low
    return x - low, y - low


@inline
def _bound(cell: float, n: int) -> int:
    """The whole part, within 0 and n - 1: places beyond the edge count to it, which keeps neighbours neighbours."""
    return int(min(max(cell, 0.0), n - 1.0))


@inline
def put_item(grid: Grid, item: int, surface: int, x: float, y: float, z: float, surfaces: Floats) -> None:
    """Put an item into the cell of its place [cm].

    Items of an event are put in before those of the next one, and their rows rise from event to event. Given the same
    numbers as `find_near` was, it shares the coordinates with it.
    """
    steps = grid.steps
    u, v = _coordinates(surface, x, y, z, surfaces, steps)
    n_u, n_v = int(steps[surface, _N_U]), int(steps[surface, _N_V])
    row, column = _bound(u * steps[surface, _PER_U], n_u), _bound(v * steps[surface, _PER_V], n_v)
    cell = int(steps[surface, _FIRST]) + row * n_v + column
    grid.previous[item] = grid.cells[cell]
    grid.cells[cell] = item


@inline
def find_near(
    grid: Grid, first: int, surface: int, x: float, y: float, z: float, surfaces: Floats, places: Floats
) -> int:
    """Find the items of an event nearer to a point of a surface than the distance of the grid.

    Parameters
    ----------
    grid : Grid
        ``near`` and ``square`` are written.
    first : int
        First item of the event.
    surface : int
        The surface.
    x, y, z : float
        The point [cm].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    places : (n_items, >= 3) float64
        x, y and z of all items [cm]; what else is in the rows does not matter.

    Returns
    -------
    int
        How many.
    """
    steps, limit, n = grid.steps, grid.distance * grid.distance, 0
    u, v = _coordinates(surface, x, y, z, surfaces, steps)
    n_u, n_v = int(steps[surface, _N_U]), int(steps[surface, _N_V])
    per_u, per_v = steps[surface, _PER_U], steps[surface, _PER_V]
    reach_u, reach_v = steps[surface, _REACH_U], steps[surface, _REACH_V]
    low_v, high_v = _bound((v - reach_v) * per_v, n_v), _bound((v + reach_v) * per_v, n_v)
    if surfaces[surface, 0] == CYLINDER:
        low_u, high_u = math.floor((u - reach_u) * per_u), math.floor((u + reach_u) * per_u)
        if high_u - low_u >= n_u:
            low_u, high_u = 0, n_u - 1
    else:
        low_u, high_u = _bound((u - reach_u) * per_u, n_u), _bound((u + reach_u) * per_u, n_u)
    for row in range(low_u, high_u + 1):
        turned = row + n_u if row < 0 else row - n_u if row >= n_u else row
        start = int(steps[surface, _FIRST]) + turned * n_v
        for cell in range(start + low_v, start + high_v + 1):
            item = np.int64(grid.cells[cell])
            while item >= first:
                dx, dy, dz = places[item, 0] - x, places[item, 1] - y, places[item, 2] - z
                square = dx * dx + dy * dy + dz * dz
                grid.near[n], grid.square[n] = item, square
                n += square < limit
                item = np.int64(grid.previous[item])
    return n
