"""Kernel for HepMC3 Asciiv3 text: the lines of whole events to columns.

The grammar is that of HepMC3's public ``ReaderAscii`` and ``WriterAscii``: ``E`` number, vertices, particles; ``U``
units; ``W`` weights; ``A`` attributes; ``P`` number, parent, code, px, py, pz, E, m, status; ``V`` number, status,
[incoming], @ position. Nothing is skipped: what does not fit ends the call with a code of
:mod:`flashdet.io.hepmc.codes` and its place. What the numbers mean for each other is settled in
:mod:`flashdet.io.hepmc.graph`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.io.hepmc.fields import (
    at_end,
    blanks,
    clear_header,
    double,
    integer,
    integer_at,
    is_blank_line,
    line_end,
    named_value,
    next_line,
    record,
    starts_with,
    units,
    weights,
)
from flashdet.io.hepmc.listing import reader_of
from flashdet.io.hepmc.written import lines3
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import bare_kernel

Text = NDArray[np.uint8]

_XSEC = np.frombuffer(b"GenCrossSection ", np.uint8)
_PDF = np.frombuffer(b"GenPdfInfo ", np.uint8)
_ION = np.frombuffer(b"GenHeavyIon v0 ", np.uint8)
_ANY_ION = np.frombuffer(b"GenHeavyIon", np.uint8)
_CYCLES = np.frombuffer(b"cycles ", np.uint8)
_SIGNAL = np.frombuffer(b"signal_process_id ", np.uint8)
_SCALE = np.frombuffer(b"event_scale ", np.uint8)


@bare_kernel
def _attribute(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """``name value`` of an attribute of the event: keep what the event table has columns for."""
    if starts_with(text, i, stop, _CYCLES):
        return record(text, i + len(_CYCLES), stop, b, event, codes.CYCLES, codes.ONE_INTEGER)
    if starts_with(text, i, stop, _XSEC):
        return record(text, i + len(_XSEC), stop, b, event, codes.CROSS_SECTION, codes.CROSS_SECTION_FIELDS)
    if starts_with(text, i, stop, _PDF):
        return record(text, i + len(_PDF), stop, b, event, codes.PDF, codes.PDF_FIELDS)
    if starts_with(text, i, stop, _ION):
        return record(text, i + len(_ION), stop, b, event, codes.HEAVY_ION, codes.HEAVY_ION_FIELDS)
    if starts_with(text, i, stop, _ANY_ION):
        return codes.IRREGULAR, i  # another version of the record
    if starts_with(text, i, stop, _SIGNAL):
        return record(text, i + len(_SIGNAL), stop, b, event, codes.SIGNAL, codes.ONE_INTEGER)
    if starts_with(text, i, stop, _SCALE):
        return record(text, i + len(_SCALE), stop, b, event, codes.SCALE, codes.ONE_NUMBER)
    return OK, i


@bare_kernel
def _incoming(text: Text, i: int, stop: int, b: Buffers, event: int, v: int, n_read: int) -> tuple[int, int]:
    """``[1,2,...]``: particles that end in vertex `v`; `n_read` particles were read before it."""
    first_particle = b.event[event, buffers.PARTICLES]
    n_particles = b.event[event + 1, buffers.PARTICLES] - first_particle
    forward = 0  # lowest incoming particle that is still to come
    if i + 1 >= stop or text[i] != 32 or text[i + 1] != 91:
        return codes.SHORT_LINE, i
    i += 2
    while i < stop and text[i] != 93:
        code, i, particle = integer_at(text, i, stop)
        if code != OK:
            return code, i
        if particle < 1 or particle > n_particles:
            return codes.REFERENCE, i
        p = first_particle + particle - 1
        if b.ints[buffers.END, p] != -1:
            return codes.TWO_ENDS, i
        b.ints[buffers.END, p] = v - b.event[event, buffers.VERTICES]
        if particle > n_read:
            forward = particle if forward == 0 else min(forward, particle)
        elif b.vertex[buffers.FIRST, v] == 0:
            b.vertex[buffers.FIRST, v] = particle
        if i < stop and text[i] == 44:
            i += 1
    if i >= stop:
        return codes.SHORT_LINE, i
    if b.vertex[buffers.FIRST, v] == 0:
        b.vertex[buffers.FIRST, v] = forward
    return OK, i + 1


@bare_kernel
def _place(text: Text, i: int, stop: int, to: NDArray[np.float64]) -> tuple[int, int]:
    """`` @ x y z t`` and the end of the line, or its end alone."""
    j = blanks(text, i, stop)
    if at_end(text, j, stop):
        return OK, j
    if text[j] != 64:
        return codes.LONG_LINE, j
    i = j + 1
    for k in range(4):
        code, i, value = double(text, i, stop)
        if code != OK:
            return code, i
        to[k] = value
    return line_end(text, i, stop)


@bare_kernel
def _vertex(text: Text, i: int, stop: int, b: Buffers, event: int, n_read: int) -> tuple[int, int]:
    """``V number status [1,2,...] @ x y z t``; `n_read` particles were read before it."""
    first_vertex = b.event[event, buffers.VERTICES]
    n_vertices = b.event[event + 1, buffers.VERTICES] - first_vertex
    code, i, number = integer(text, i + 1, stop)
    if code != OK:
        return code, i
    if number > -1 or number < -n_vertices:
        return codes.REFERENCE, i
    v = first_vertex - number - 1
    if b.vertex[buffers.KNOWN, v] == 1:
        return codes.TWO_ENDS, i
    b.vertex[buffers.KNOWN, v] = 1
    code, i, _ = integer(text, i, stop)
    if code == OK:
        code, i = _incoming(text, i, stop, b, event, v, n_read)
    if code != OK:
        return code, i
    return _place(text, i, stop, b.position[v])


@bare_kernel
def _particle(text: Text, i: int, stop: int, b: Buffers, event: int, n_read: int) -> tuple[int, int]:
    """``P number parent code px py pz E m status``."""
    first = b.event[event, buffers.PARTICLES]
    n_particles = b.event[event + 1, buffers.PARTICLES] - first
    c0, i, number = integer(text, i + 1, stop)
    c1, i, parent = integer(text, i, stop)
    c2, i, pdg = integer(text, i, stop)
    if c0 != OK or c1 != OK or c2 != OK:
        return max(c0, c1, c2), i
    if number != n_read + 1:
        return codes.PARTICLE_ID, i
    if n_read == n_particles:
        return codes.PARTICLE_COUNT, i
    if (
        parent > n_particles
        or parent < -(b.event[event + 1, buffers.VERTICES] - b.event[event, buffers.VERTICES])
        or parent == number
    ):
        return codes.REFERENCE, i
    p = first + n_read
    b.ints[buffers.PARENT, p] = parent
    b.ints[buffers.PDG, p] = pdg
    for k in range(5):
        c0, i, b.floats[k, p] = double(text, i, stop)
        if c0 != OK:
            return c0, i
    c0, i, status = integer(text, i, stop)
    if c0 != OK:
        return c0, i
    b.ints[buffers.STATUS, p] = status
    return line_end(text, i, stop)


@bare_kernel
def _head(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """``E number vertices particles [@ x y z t]``: announce the event and clear its rows."""
    b.event[event, buffers.START] = i
    c0, i, number = integer(text, i + 1, stop)
    c1, i, n_vertices = integer(text, i, stop)
    c2, i, n_particles = integer(text, i, stop)
    if c0 != OK or c1 != OK or c2 != OK:
        return max(c0, c1, c2), i
    p, v = b.event[event, buffers.PARTICLES], b.event[event, buffers.VERTICES]
    if n_particles < 0 or n_vertices < 0:
        return codes.REFERENCE, i
    # A particle takes at least 18 bytes of text and a vertex with its line or its first particle as well: an announced
    # number beyond the text that follows cannot be true.
    room = (stop - i) // 18 + 1
    if n_particles > room:
        return codes.PARTICLE_COUNT, i
    if n_vertices > room:
        return codes.VERTEX_COUNT, i
    if p + n_particles > b.ints.shape[1] or v + n_vertices > b.vertex.shape[1]:
        return codes.FULL, i
    b.event[event, buffers.NUMBER] = number
    b.event[event + 1, buffers.PARTICLES] = p + n_particles
    b.event[event + 1, buffers.VERTICES] = v + n_vertices
    for row in range(p, p + n_particles):
        b.ints[buffers.END, row] = -1
    for row in range(v, v + n_vertices):
        b.vertex[buffers.KNOWN, row] = 0
        b.vertex[buffers.FIRST, row] = 0
        for k in range(4):
            b.position[row, k] = 0.0
    b.event[event, buffers.N_WEIGHTS] = -1
    clear_header(b, event)
    return _place(text, i, stop, b.header[event, buffers.SHIFT : buffers.SHIFT + 4])


@bare_kernel
def _attribute_line(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """``A owner name value``; owner 0 is the event."""
    code, i, owner = integer(text, i + 1, stop)
    if code != OK:
        return code, i
    if i >= stop or text[i] != 32 or not named_value(text, i + 1, stop):
        return codes.SHORT_LINE, i
    if owner == 0:
        return _attribute(text, i + 1, stop, b, event)
    return OK, i


@bare_kernel
def _is_run_information(text: Text, i: int, stop: int, is_full: bool) -> bool:
    """Tell a line that begins the run information of later events: W or A without an owner behind the last particle."""
    kind = text[i]
    if kind == 87:  # W
        return is_full
    if kind == 65 and is_full:  # A
        code, _, _ = integer(text, i + 1, stop)
        return bool(code != OK)
    return bool(kind == 84)  # T


@bare_kernel
def _event(
    text: Text, i: int, stop: int, b: Buffers, event: int, names: Text, work: NDArray[np.int64]
) -> tuple[int, int]:
    """One event from its E line to the line before the next event, run information or the end of the listing.

    `names` and `work` are for the other format.
    """
    code, i = _head(text, i, stop, b, event)
    if code != OK:
        return code, i
    i = next_line(text, i, stop)
    n_lines = 1
    n_read = 0
    p0, v0 = b.event[event, buffers.PARTICLES], b.event[event, buffers.VERTICES]
    n_particles = b.event[event + 1, buffers.PARTICLES] - p0
    rows = (p0, n_particles, v0, b.event[event + 1, buffers.VERTICES] - v0)
    while i < stop:
        i, n_read, n_more = lines3(text, i, stop, b.ints, b.floats, b.vertex, b.position, rows, n_read)
        n_lines += n_more
        if i >= stop:
            break
        kind = text[i]
        if kind == 80:  # P
            code, i = _particle(text, i, stop, b, event, n_read)
            n_read += 1
        elif kind == 86:  # V
            code, i = _vertex(text, i, stop, b, event, n_read)
        elif kind == 69 or kind == 72 or _is_run_information(text, i, stop, 0 < n_read == n_particles):  # E H
            break
        elif kind == 65:  # A
            code, i = _attribute_line(text, i, stop, b, event)
        elif (kind == 87 or kind == 85) and n_read > 0:
            code = codes.ORDER
        elif kind == 87:  # W
            code, i = weights(text, i + 1, stop, b, event)
        elif kind == 85:  # U
            code, i = units(text, i, stop, b, event)
        elif not is_blank_line(text, i, stop):
            return codes.UNKNOWN_LINE, i
        if code != OK:
            return code, i
        i = next_line(text, i, stop)
        n_lines += 1
    b.event[event, buffers.LINES] = n_lines
    return (OK if n_read == n_particles else codes.PARTICLE_COUNT), i


#: Kernel for whole events, see :func:`.listing.reader_of`.
read_events = reader_of(_event)
