"""What the lines of an event mean for each other: unwritten vertices, production vertices, positions, units."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.io.hepmc.record import MAX_ENERGY, MAX_LENGTH
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.units import C_LIGHT

Ints = NDArray[np.int32]
Longs = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Status of beam particles.
_BEAM = 4


@bare_kernel
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
def _is_set(position: Floats, v: int) -> bool:
    """A position of four zeros counts as none, as in ``GenVertex::has_set_position``."""
    x, y, z, t = position[v, 0], position[v, 1], position[v, 2], position[v, 3]
    return bool((x != 0.0) | (y != 0.0) | (z != 0.0) | (t != 0.0))


@bare_kernel
def _find_sources(
    position: Floats, first: Ints, production: Ints, p0: int, v0: int, v1: int, source: NDArray[np.int64]
) -> None:
    """Row of the vertex whose position each vertex takes, -1 for the position of the event.

    The way up is walked once: what it ends at holds for all vertices on it. Those that end in a loop have no position.
    """
    for v in range(v0, v1):
        source[v] = v if _is_set(position, v) else -2
    for start in range(v0, v1):
        v = start
        while source[v] == -2:
            source[v] = -3  # on the way that is walked now
            above = production[p0 + first[v] - 1] if first[v] != 0 else -1
            if above < 0:
                break
            v = v0 + above
        found = max(source[v], -1)
        v = start
        while source[v] == -3:
            source[v] = found
            above = production[p0 + first[v] - 1] if first[v] != 0 else -1
            v = v0 + max(above, 0)


@bare_kernel
def _scale_positions(position: Floats, v0: int, v1: int, length: float) -> bool:
    """Positions of vertices become cm and ns; whether all are within `MAX_LENGTH`."""
    absurd = False
    for v in range(v0, v1):
        for k in range(4):
            value = position[v, k] * length
            value = value / C_LIGHT if k == 3 else value
            position[v, k] = value
            absurd |= abs(value) > MAX_LENGTH
    return not absurd


@bare_kernel
def _move_particles(
    floats: Floats, production: Ints, rows: tuple[int, int, int], position: Floats, shift: Floats, source: Longs
) -> None:
    """Give particles the positions of the vertices they come from; `rows`: first and behind the last, first vertex."""
    p0, p1, v0 = rows
    for p in range(p0, p1):
        v = production[p]
        row = source[v0 + v] if v >= 0 else -1
        if row >= 0:
            floats[buffers.VX, p] = position[row, 0]
            floats[buffers.VY, p] = position[row, 1]
            floats[buffers.VZ, p] = position[row, 2]
            floats[buffers.VT, p] = position[row, 3]
        else:
            floats[buffers.VX, p] = shift[0, 0]
            floats[buffers.VY, p] = shift[0, 1]
            floats[buffers.VZ, p] = shift[0, 2]
            floats[buffers.VT, p] = shift[0, 3]


@bare_kernel
def _scale_momenta(values: NDArray[np.float64], energy: float) -> bool:
    """Momenta, energies or masses become GeV; whether all are within `MAX_ENERGY`."""
    if energy != 1.0:
        for p in range(len(values)):
            values[p] *= energy
    absurd = False
    for value in values:
        absurd |= abs(value) > MAX_ENERGY
    return not absurd


@bare_kernel
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


@bare_kernel
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
    energy, length = b.header[event, buffers.GEV], b.header[event, buffers.CM]
    if energy == 0.0:
        energy, length = 1.0, 0.1  # no units given: GEV MM
    for k in range(buffers.MASS + 1):
        if not _scale_momenta(b.floats[k, p0:p1], energy):
            return codes.ABSURD
    production = b.ints[buffers.PRODUCTION]
    shift = b.header[event : event + 1, buffers.SHIFT : buffers.SHIFT + 4]
    cycles = b.header[event, buffers.ATTRIBUTES + codes.CYCLES]
    if cycles > 0.0 or cycles < 0.0:  # not 0 and not absent
        for v in range(v0, v1):
            source[v] = v if _is_set(b.position, v) else -1
    else:
        _find_sources(b.position, b.vertex[buffers.FIRST], production, p0, v0, v1, source)
    if not _scale_positions(b.position, v0, v1, length) or not _scale_positions(shift, 0, 1, length):
        return codes.ABSURD
    _move_particles(b.floats, production, (p0, p1, v0), b.position, shift, source)
    _collision(b, event, source)
    return OK


@bare_kernel
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
