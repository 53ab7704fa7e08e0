"""What the lines of an event mean for each other: unwritten vertices, production vertices, positions, units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.io.hepmc.record import MAX_ENERGY, MAX_LENGTH
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import inline, kernel
from flashdet.units import C_LIGHT

#: Status of beam particles.
_BEAM = 4


@kernel
def _unwritten_vertices(b: Buffers, event: int) -> int:
    """Give the end vertices that were not written the free numbers, in order of appearance; set production vertices."""
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    free = v0
    for p in range(p0, p1):
        parent = b.ints[buffers.PARENT, p]
        if parent > 0:
            mother = p0 + parent - 1
            if b.ints[buffers.END, mother] == -1:
                while free < v1 and b.vertex[buffers.KNOWN, free] != 0:
                    free += 1
                if free == v1:
                    return codes.VERTEX_COUNT
                b.vertex[buffers.KNOWN, free] = 2
                b.vertex[buffers.FIRST, free] = parent
                b.ints[buffers.END, mother] = free - v0
            elif b.vertex[buffers.KNOWN, v0 + b.ints[buffers.END, mother]] == 1:
                return codes.TWO_ENDS
            b.ints[buffers.PRODUCTION, p] = b.ints[buffers.END, mother]
        elif parent < 0:
            if b.vertex[buffers.KNOWN, v0 - parent - 1] != 1:
                return codes.REFERENCE
            b.ints[buffers.PRODUCTION, p] = -parent - 1
        else:
            b.ints[buffers.PRODUCTION, p] = -1
    return OK


@inline
def _is_set(b: Buffers, v: int) -> bool:
    """A position of four zeros counts as none, as in ``GenVertex::has_set_position``."""
    x, y, z, t = b.position[v, 0], b.position[v, 1], b.position[v, 2], b.position[v, 3]
    return bool(x != 0.0 or y != 0.0 or z != 0.0 or t != 0.0)


@kernel
def _position(b: Buffers, event: int, v: int) -> int:
    """Row of the vertex whose position vertex `v` takes, -1 for the position of the event."""
    p0, v0 = b.event[event, buffers.PARTICLES], b.event[event, buffers.VERTICES]
    if (
        b.header[event, buffers.ATTRIBUTES + codes.CYCLES] > 0.0
        or b.header[event, buffers.ATTRIBUTES + codes.CYCLES] < 0.0
    ):
        cycles = True
    else:
        cycles = False
    for _ in range(b.event[event + 1, buffers.VERTICES] - v0 + 1):
        if _is_set(b, v):
            return v
        if cycles or b.vertex[buffers.FIRST, v] == 0:
            return -1
        above = b.ints[buffers.PRODUCTION, p0 + b.vertex[buffers.FIRST, v] - 1]
        if above < 0:
            return -1
        v = v0 + above
    return -1


@inline
def _move(b: Buffers, event: int, row: int, length: float, p: int) -> None:
    """Give particle `p` the position of vertex `row`, of the event for -1 [cm, ns]."""
    for k in range(4):
        value = b.position[row, k] if row >= 0 else b.header[event, buffers.SHIFT + k]
        b.floats[buffers.VX + k, p] = value * length
    b.floats[buffers.VT, p] /= C_LIGHT


@kernel
def _collision(b: Buffers, event: int, source: NDArray[np.int64], length: float) -> None:
    """Position of the vertex where the first beam particle ends, else where the first particle comes from."""
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    made = -1
    vertex = -1
    for p in range(p0, p1):
        if b.ints[buffers.STATUS, p] == _BEAM and b.ints[buffers.END, p] >= 0:
            vertex = b.ints[buffers.END, p]
            break
        if made < 0:
            made = b.ints[buffers.PRODUCTION, p]
    vertex = vertex if vertex >= 0 else made
    row = source[b.event[event, buffers.VERTICES] + vertex] if vertex >= 0 else -1
    for k in range(4):
        value = b.position[row, k] if row >= 0 else b.header[event, buffers.SHIFT + k]
        b.header[event, buffers.COLLISION + k] = value * length
    b.header[event, buffers.COLLISION + 3] /= C_LIGHT


@kernel
def finish(b: Buffers, event: int, source: NDArray[np.int64]) -> int:
    """Settle one event that was read in full.

    Parameters
    ----------
    b : Buffers
        Filled by a parser. Production vertices and positions are written, momenta become GeV.
    event : int64
        Its row.
    source : (m,) int64
        Work space, one place per vertex of the buffers.

    Returns
    -------
    int64
        ``OK`` or a code of damage.
    """
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    code = _unwritten_vertices(b, event)
    if code != OK:
        return code
    for v in range(v0, v1):
        if b.vertex[buffers.KNOWN, v] == 0:
            return codes.VERTEX_COUNT
    for v in range(v0, v1):
        source[v] = _position(b, event, v)
    energy, length = b.header[event, buffers.GEV], b.header[event, buffers.CM]
    if energy == 0.0:
        energy, length = 1.0, 0.1  # no units given: GEV MM
    largest = 0.0
    farthest = 0.0
    for p in range(p0, p1):
        v = b.ints[buffers.PRODUCTION, p]
        _move(b, event, source[v0 + v] if v >= 0 else -1, length, p)
        for k in range(5):
            b.floats[k, p] *= energy
            largest = max(largest, abs(b.floats[k, p]))
        for k in range(4):
            farthest = max(farthest, abs(b.floats[buffers.VX + k, p]))
    if largest > MAX_ENERGY or farthest > MAX_LENGTH:
        return codes.ABSURD
    _collision(b, event, source, length)
    return OK


@kernel
def finish_all(b: Buffers, n_events: int, n_weights: int, source: NDArray[np.int64]) -> tuple[int, int]:
    """Settle events one after the other; stop at the first that is damaged or has not `n_weights` weights.

    Parameters
    ----------
    b : Buffers
    n_events, n_weights : int64
    source : (m,) int64
        Work space as in :func:`finish`.

    Returns
    -------
    n_events : int64
        Events settled.
    code : int64
        ``OK`` or what is wrong with the next event.
    """
    for event in range(n_events):
        if b.event[event, buffers.N_WEIGHTS] != n_weights:
            return event, codes.WEIGHT_COUNT
        code = finish(b, event, source)
        if code != OK:
            return event, code
    return n_events, OK
