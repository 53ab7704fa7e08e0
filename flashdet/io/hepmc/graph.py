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


@kernel
def _scale_positions(b: Buffers, event: int, length: float) -> bool:
    """Positions of the vertices and of the event become cm and ns; whether all are within `MAX_LENGTH`."""
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    absurd = False
    for v in range(v0, v1 + 1):
        position = b.position[v] if v < v1 else b.header[event, buffers.SHIFT : buffers.SHIFT + 4]
        for k in range(4):
            position[k] *= length
        position[3] /= C_LIGHT
        for k in range(4):
            absurd |= abs(position[k]) > MAX_LENGTH
    return not absurd


@kernel
def _move_particles(b: Buffers, event: int, source: NDArray[np.int64]) -> None:
    """Give all particles the positions of the vertices they come from."""
    v0 = b.event[event, buffers.VERTICES]
    shift = b.header[event, buffers.SHIFT : buffers.SHIFT + 4]
    for p in range(b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]):
        v = b.ints[buffers.PRODUCTION, p]
        row = source[v0 + v] if v >= 0 else -1
        place = b.position[row] if row >= 0 else shift
        for k in range(4):
            b.floats[buffers.VX + k, p] = place[k]


@kernel
def _scale_momenta(values: NDArray[np.float64], energy: float) -> bool:
    """Momenta, energies or masses become GeV; whether all are within `MAX_ENERGY`."""
    if energy != 1.0:
        for p in range(len(values)):
            values[p] *= energy
    absurd = False
    for value in values:
        absurd |= abs(value) > MAX_ENERGY
    return not absurd


@kernel
def _collision(b: Buffers, event: int, source: NDArray[np.int64]) -> None:
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
        b.header[event, buffers.COLLISION + k] = value


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
    for k in range(buffers.MASS + 1):
        if not _scale_momenta(b.floats[k, p0:p1], energy):
            return codes.ABSURD
    if not _scale_positions(b, event, length):
        return codes.ABSURD
    _move_particles(b, event, source)
    _collision(b, event, source)
    return OK


@kernel
def finish_all(b: Buffers, first: int, last: int, n_weights: int, source: NDArray[np.int64]) -> tuple[int, int]:
    """Settle events one after the other; stop at the first that is damaged or has not `n_weights` weights.

    Parameters
    ----------
    b : Buffers
    first, last : int64
        Number of the first event, and behind the last.
    n_weights : int64
    source : (m,) int64
        Work space as in :func:`finish`.

    Returns
    -------
    n_events : int64
        Number behind the last event settled.
    code : int64
        ``OK`` or what is wrong with the next event.
    """
    for event in range(first, last):
        if b.event[event, buffers.N_WEIGHTS] != n_weights:
            return event, codes.WEIGHT_COUNT
        code = finish(b, event, source)
        if code != OK:
            return event, code
    return last, OK
