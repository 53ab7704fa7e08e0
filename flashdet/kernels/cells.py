"""A hash of square cells, for neighbours within a distance in linear time.

Items are put into the cell of their place and found again from the nine cells around any other place. The memory is
made once for the largest event; a stamp per slot says which event it belongs to, so nothing is cleared between events.
What the items are and how far apart is near belongs to the caller.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline

#: Bits of each coordinate in a key, and the shift that makes coordinates positive.
_BITS = 26
_ZERO = 1 << (_BITS - 1)
#: 2^64 over the golden ratio: D. E. Knuth, The Art of Computer Programming 3 (1998), 6.4, multiplicative hashing.
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Cells(NamedTuple):
    """An open-addressing hash of cells with a list of items each.

    Attributes
    ----------
    key, stamp, head : (size,) int64
        Cell, event and first item of each slot; the size is a power of two.
    following : (n,) int64
        Item after each item in its cell, -1 at the end.
    """

    key: NDArray[np.int64]
    stamp: NDArray[np.int64]
    head: NDArray[np.int64]
    following: NDArray[np.int64]


def make_cells(offsets: NDArray[np.int64]) -> Cells:
    """Memory of a hash for items numbered through a batch.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Items of the events; in the largest event at most half of the slots are taken.

    Returns
    -------
    Cells
    """
    size = 1 << max(4, (2 * int(np.diff(offsets).max(initial=0))).bit_length())
    following = np.empty(offsets[-1], np.int64)
    return Cells(np.empty(size, np.int64), np.full(size, -1, np.int64), np.empty(size, np.int64), following)


@inline
def cell_key(layer: int, u: int, v: int) -> int:
    """Key of cell (u, v) of a layer; `layer` below 2**10, |u| and |v| below 2**25."""
    return (((layer << _BITS) | (u + _ZERO)) << _BITS) | (v + _ZERO)


@inline
def _slot(cells: Cells, key: int, stamp: int) -> int:
    """Slot of a cell, or the free one where it belongs."""
    mask = len(cells.key) - 1
    slot = np.int64((np.uint64(key) * _MULTIPLIER) >> np.uint64(32)) & mask
    while cells.stamp[slot] == stamp and cells.key[slot] != key:
        slot = (slot + 1) & mask
    return int(slot)


@inline
def insert(cells: Cells, key: int, stamp: int, item: int) -> None:
    """Put an item into a cell of the event `stamp`."""
    slot = _slot(cells, key, stamp)
    if cells.stamp[slot] == stamp:
        cells.following[item] = cells.head[slot]
    else:
        cells.key[slot], cells.stamp[slot] = key, stamp
        cells.following[item] = -1
    cells.head[slot] = item


@inline
def first_item(cells: Cells, key: int, stamp: int) -> int:
    """First item of a cell, -1 if it is empty; the others follow by ``cells.following``."""
    slot = _slot(cells, key, stamp)
    return int(cells.head[slot]) if cells.stamp[slot] == stamp else -1
