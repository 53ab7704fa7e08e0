"""Order of the particles of a HepMC2 event.

HepMC3 puts the events of its HepMC2 reader into an order of its own (``GenEvent::add_tree``): vertices after the
vertices their particles come from, as near as that allows to the order of the file. That order gives every particle its
number, so it is reproduced here, in time linear in the event instead of quadratic.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import kernel

Longs = NDArray[np.int64]


@kernel
def _by_vertex(vertex: NDArray[np.int32], production: NDArray[np.int32], n: int) -> tuple[Longs, Longs]:
    """Rows that have a vertex in its order, orphans first: those of v are ``rows[head[v]:head[v + 1]]``.

    The reader connects orphans with the vertex above them at once, other incoming particles at the end of the event.
    """
    head = np.zeros(n + 1, np.int64)
    for v in vertex:
        if v >= 0:
            head[v + 1] += 1
    for k in range(n):
        head[k + 1] += head[k]
    rows = np.empty(head[n], np.int64)
    place = head[:n].copy()
    for is_orphan in (True, False):
        for row in range(len(vertex)):
            v = vertex[row]
            if v >= 0 and (production[row] < 0) == is_orphan:
                rows[place[v]] = row
                place[v] += 1
    return head, rows


@kernel
def _meets_twice(out_head: Longs, out_rows: Longs, end: NDArray[np.int32], starts: Longs) -> bool:
    """Tell whether some vertex is met twice on the ways down from one starting vertex: no tree (``visit_children``)."""
    n = len(out_head) - 1
    seen = np.full(n, -1, np.int64)
    stack = np.empty(n + 1, np.int64)
    for k in range(len(starts)):
        depth = 1
        stack[0] = starts[k]
        while depth > 0:
            depth -= 1
            v = stack[depth]
            for j in range(out_head[v], out_head[v + 1]):
                below = end[out_rows[j]]
                if below >= 0:
                    if seen[below] == k:
                        return True
                    seen[below] = k
                    stack[depth] = below
                    depth += 1
    return False


@kernel
def _vertex_order(
    out_head: Longs,
    out_rows: Longs,
    in_head: Longs,
    in_rows: Longs,
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    starts: Longs,
) -> Longs:
    """Vertices in the order in which ``add_tree`` adds them."""
    n = len(out_head) - 1
    order = np.empty(n, np.int64)
    n_added = 0
    is_added = np.zeros(n, np.bool_)
    waits = np.zeros(n, np.int64)  # how often a vertex stands in the queue: the start may put it there several times
    # A queue with two ends: at most the starts and every vertex once in front and once behind.
    queue = np.empty(2 * n + 2 * len(starts) + 2, np.int64)
    first = n + 1
    last = first
    for k in range(len(starts)):
        queue[last] = starts[k]
        waits[starts[k]] += 1
        last += 1
    while first < last:
        v = queue[first]
        is_waiting = False
        for j in range(in_head[v], in_head[v + 1]):
            above = production[in_rows[j]]
            if above >= 0 and not is_added[above] and waits[above] == 0:
                first -= 1
                queue[first] = above
                waits[above] += 1
                is_waiting = True
        if is_waiting:
            continue
        if not is_added[v]:
            is_added[v] = True
            order[n_added] = v
            n_added += 1
            for j in range(out_head[v], out_head[v + 1]):
                below = end[out_rows[j]]
                if below >= 0 and not is_added[below] and waits[below] == 0:
                    queue[last] = below
                    waits[below] += 1
                    last += 1
        waits[v] -= 1
        first += 1
    return order[:n_added]


@kernel
def _permute(values: NDArray[np.float64], new: Longs) -> None:
    """Bring the values to their new rows."""
    old = values.copy()
    for p in range(len(old)):
        values[new[p]] = old[p]


@kernel
def sort_event(b: Buffers, event: int) -> int:
    """Bring one event, connected but not yet finished, into the order of ``add_tree``, and set its ``cycles``.

    Parameters
    ----------
    b : Buffers
        Its particles and vertices are permuted; `PARENT` is written anew.
    event : int64
        Its row.

    Returns
    -------
    int64
        ``OK``, or ``IRREGULAR`` for events that HepMC3 changes while it reads them.
    """
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    n, m = p1 - p0, v1 - v0
    production = b.ints[buffers.PRODUCTION, p0:p1].copy()
    end = b.ints[buffers.END, p0:p1].copy()
    in_head, in_rows = _by_vertex(end, production, m)
    out_head, out_rows = _by_vertex(production, production, m)
    for v in range(m):
        if in_head[v] == in_head[v + 1] or out_head[v] == out_head[v + 1]:
            return codes.IRREGULAR
    starts = end[(production < 0) & (end >= 0)].astype(np.int64)
    cycles = _meets_twice(out_head, out_rows, end, starts)
    b.header[event, buffers.ATTRIBUTES + codes.CYCLES] = 1.0 if cycles else 0.0
    order = _vertex_order(out_head, out_rows, in_head, in_rows, production, end, starts)
    if len(order) != m:
        return codes.IRREGULAR

    new = np.full(n, -1, np.int64)  # new row of each particle
    rank = np.empty(m, np.int64)
    count = 0
    for k in range(m):
        v = order[k]
        rank[v] = k
        for j in range(in_head[v], in_head[v + 1]):
            if new[in_rows[j]] < 0:
                new[in_rows[j]] = count
                count += 1
        for j in range(out_head[v], out_head[v + 1]):
            if new[out_rows[j]] < 0:
                new[out_rows[j]] = count
                count += 1
    if count != n:
        return codes.IRREGULAR
    for k in range(buffers.MASS + 1):
        _permute(b.floats[k, p0:p1], new)
    pdg, status = b.ints[buffers.PDG, p0:p1].copy(), b.ints[buffers.STATUS, p0:p1].copy()
    for p in range(n):
        q = p0 + new[p]
        b.ints[buffers.PDG, q] = pdg[p]
        b.ints[buffers.STATUS, q] = status[p]
        b.ints[buffers.END, q] = rank[end[p]] if end[p] >= 0 else -1
        b.ints[buffers.PARENT, q] = -1 - rank[production[p]] if production[p] >= 0 else 0
    position = b.position[v0:v1].copy()
    for v in range(m):
        for k in range(4):
            b.position[v0 + rank[v], k] = position[v, k]
        b.vertex[buffers.FIRST, v0 + rank[v]] = new[in_rows[in_head[v]]] + 1
    return OK
