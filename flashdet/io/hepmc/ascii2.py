"""Kernel for HepMC2 IO_GenEvent text: the lines of whole events to columns.

The grammar is that of HepMC 2.06 as read by HepMC3's public ``ReaderAsciiHepMC2``: ``E`` number, mpi, scale, alphas,
signal process, signal vertex, vertices, beams, random states, weights; ``N`` weight names; ``U`` units; ``C`` cross
section; ``H`` heavy ions; ``F`` partons; ``V`` barcode, id, x, y, z, ct, orphans in, particles out, weights; ``P``
barcode, code, px, py, pz, E, m, status, theta, phi, end vertex, flow. Nothing is skipped: what does not fit ends the
call with a code of :mod:`flashdet.io.hepmc.codes` and its place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.io.hepmc.fields import (
    clear_header,
    count,
    double,
    integer,
    is_blank_line,
    line_end,
    next_line,
    record,
    skip,
    skip_integers,
    starts_with,
    units,
)
from flashdet.io.hepmc.listing import reader_of
from flashdet.io.hepmc.order import sort_event
from flashdet.io.hepmc.written import lines2
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import bare_kernel, inline, kernel

Text = NDArray[np.uint8]
#: A particle line has at least this many bytes, a vertex line too.
_SHORTEST = 24


@bare_kernel
def _clear(b: Buffers, event: int, i: int) -> None:
    """Prepare the rows of an event that begins at byte `i`."""
    b.event[event, buffers.START] = i
    b.event[event, buffers.N_WEIGHTS] = 0
    clear_header(b, event)


@bare_kernel
def _weights(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """End of an E line: number of random states, the states, number of weights, the weights."""
    code, i, n_random = count(text, i, stop)
    if code == OK:
        code, i = skip(text, i, stop, n_random)
    if code != OK:
        return code, i
    code, i, n_weights = count(text, i, stop)
    if code != OK:
        return code, i
    if n_weights > b.weights.shape[1]:
        return codes.WEIGHT_COUNT, i
    for k in range(n_weights):
        code, i, b.weights[event, k] = double(text, i, stop)
        if code != OK:
            return code, i
    b.event[event, buffers.N_WEIGHTS] = n_weights
    return line_end(text, i, stop)


@bare_kernel
def _head(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int, int]:
    """E line: returns code, place and the announced number of vertices."""
    _clear(b, event, i)
    signal = 0
    n_vertices = 0
    code, i, number = integer(text, i + 1, stop)
    if code == OK:
        b.event[event, buffers.NUMBER] = number
        code, i, _ = integer(text, i, stop)  # multi-parton interactions
    if code == OK:
        code, i, b.header[event, buffers.ATTRIBUTES + codes.SCALE] = double(text, i, stop)
    if code == OK:
        code, i = skip(text, i, stop, 2)  # alpha QCD, alpha QED
    if code == OK:
        code, i, signal = integer(text, i, stop)
    if code == OK:
        b.header[event, buffers.ATTRIBUTES + codes.SIGNAL] = signal
        code, i = skip_integers(text, i, stop, 1)  # signal vertex
    if code == OK:
        code, i, n_vertices = integer(text, i, stop)
    if code == OK and (n_vertices < 0 or n_vertices > (stop - i) // _SHORTEST + 1):
        code = codes.VERTEX_COUNT
    if code == OK:
        code, i = skip_integers(text, i, stop, 2)  # beams
    if code == OK:
        code, i = _weights(text, i, stop, b, event)
    return code, i, n_vertices


@bare_kernel
def _vertex(text: Text, i: int, stop: int, b: Buffers, v: int) -> tuple[int, int, int, int]:
    """V line: returns code, place, barcode and the number of particles that follow."""
    code, i, barcode = integer(text, i + 1, stop)
    if code == OK:
        code, i, _ = integer(text, i, stop)
    for k in range(4):
        if code == OK:
            code, i, b.position[v, k] = double(text, i, stop)
    if code != OK:
        return code, i, 0, 0
    b.vertex[buffers.KNOWN, v] = 1
    code, i, n_orphans = count(text, i, stop)
    if code != OK:
        return code, i, 0, 0
    code, i, n_out = count(text, i, stop)
    if code != OK:
        return code, i, 0, 0
    code, i, n_weights = count(text, i, stop)
    if code == OK:
        code, i = skip(text, i, stop, n_weights)
    if code == OK:
        code, i = line_end(text, i, stop)
    return code, i, barcode, n_orphans + n_out


@bare_kernel
def _particle(text: Text, i: int, stop: int, b: Buffers, p: int) -> tuple[int, int]:
    """P line; the barcode of its end vertex goes to `END` for now."""
    code, i, _ = integer(text, i + 1, stop)
    if code != OK:
        return code, i
    code, i, pdg = integer(text, i, stop)
    if code != OK:
        return code, i
    b.ints[buffers.PDG, p] = pdg
    for k in range(5):
        if code == OK:
            code, i, b.floats[k, p] = double(text, i, stop)
    if code != OK:
        return code, i
    code, i, status = integer(text, i, stop)
    if code != OK:
        return code, i
    b.ints[buffers.STATUS, p] = status
    code, i = skip(text, i, stop, 2)  # theta, phi
    if code != OK:
        return code, i
    code, i, end = integer(text, i, stop)
    if code != OK:
        return code, i
    b.ints[buffers.END, p] = end
    code, i, n_flow = count(text, i, stop)
    if code == OK:
        code, i = skip_integers(text, i, stop, 2 * n_flow)
    if code == OK:
        code, i = line_end(text, i, stop)
    return code, i


@inline
def _slot(barcode: int, table: NDArray[np.int64]) -> int:
    """Where the search for a barcode begins (multiplicative hashing, Knuth, TAOCP 3, section 6.4)."""
    return int(np.int64((np.uint64(np.int64(barcode)) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(33))) & (
        len(table) - 1
    )


@inline
def _vertex_of(barcode: int, barcodes: NDArray[np.int64], table: NDArray[np.int64]) -> int:
    """Number of the vertex with a barcode, -1 if there is none."""
    k = _slot(barcode, table)
    while table[k] >= 0 and barcodes[table[k]] != barcode:
        k = (k + 1) & (len(table) - 1)
    return int(table[k])


@bare_kernel
def _enter(barcodes: NDArray[np.int64], table: NDArray[np.int64]) -> bool:
    """Fill a hash table with the numbers of the vertices; whether all barcodes differ."""
    for k in range(len(table)):
        table[k] = -1
    for v in range(len(barcodes)):
        k = _slot(barcodes[v], table)
        while table[k] >= 0:
            if barcodes[table[k]] == barcodes[v]:
                return False
            k = (k + 1) & (len(table) - 1)
        table[k] = v
    return True


@kernel
def _connect(b: Buffers, event: int, all_barcodes: NDArray[np.int64]) -> int:
    """Turn barcodes of end vertices into vertex numbers, and bring the event into HepMC3's order."""
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    barcodes = all_barcodes[v0:v1]
    size = 2
    while size < 2 * len(barcodes):
        size *= 2
    table = np.empty(size, np.int64)
    if not _enter(barcodes, table):
        return codes.TWO_ENDS
    end, production = b.ints[buffers.END], b.ints[buffers.PRODUCTION]
    for p in range(p0, p1):
        barcode = end[p]
        v = -1
        if barcode != 0:
            v = _vertex_of(int(barcode), barcodes, table)
            if v < 0:
                return codes.REFERENCE
        end[p] = v
        # An orphan stands below the vertex where it ends, and comes from none.
        if production[p] == v:
            production[p] = -1
    return sort_event(b, event)


@bare_kernel
def _head_line(text: Text, i: int, stop: int, b: Buffers, event: int, names: Text) -> tuple[int, int]:
    """A line of an event that is neither particle nor vertex."""
    kind = text[i]
    if kind == 85:  # U
        return units(text, i, stop, b, event)
    if kind == 67:  # C
        return record(text, i + 1, stop, b, event, codes.CROSS_SECTION, codes.CROSS_SECTION_FIELDS)
    if kind == 70:  # F
        return record(text, i + 1, stop, b, event, codes.PDF, codes.PDF_FIELDS)
    if kind == 72:  # H
        return record(text, i + 1, stop, b, event, codes.HEAVY_ION, codes.HEAVY_ION_FIELDS)
    if kind == 78:  # N: the names were read before; all events must have the same
        return (OK if starts_with(text, i, stop, names) else codes.IRREGULAR), i
    return (OK if is_blank_line(text, i, stop) else codes.UNKNOWN_LINE), i


@kernel
def _event(
    text: Text, i: int, stop: int, b: Buffers, event: int, names: Text, barcodes: NDArray[np.int64]
) -> tuple[int, int]:
    """One event from its E line to the line before the next event or the end of the listing."""
    code, i, n_vertices = _head(text, i, stop, b, event)
    if code != OK:
        return code, i
    i = next_line(text, i, stop)
    p = b.event[event, buffers.PARTICLES]
    v0 = b.event[event, buffers.VERTICES]
    v = v0 - 1
    due = 0  # particles that the vertex announced and that are still to come
    has_names = False
    n_lines = 1
    v1 = min(v0 + n_vertices, b.vertex.shape[1])
    while i < stop:
        state = (v0, v1, v, p, due)
        i, v, p, due, n_more = lines2(text, i, stop, b.ints, b.floats, b.vertex, b.position, barcodes, state)
        n_lines += n_more
        if i >= stop or text[i] == 69 or (text[i] == 72 and i + 1 < stop and text[i + 1] != 32):  # E, HepMC::
            break
        kind = text[i]
        if kind == 80:  # P
            if v < v0:
                return codes.ORDER, i
            if p >= b.ints.shape[1]:
                return codes.FULL, i
            code, i = _particle(text, i, stop, b, p)
            b.ints[buffers.PRODUCTION, p] = v - v0
            p += 1
            due -= 1
        elif kind == 86:  # V
            v += 1
            # Some generators announce too few particles of a vertex, none too many.
            if due > 0 or v - v0 >= n_vertices:
                return codes.VERTEX_COUNT, i
            if v >= b.vertex.shape[1]:
                return codes.FULL, i
            code, i, barcodes[v], due = _vertex(text, i, stop, b, v)
        else:
            is_late = (v >= v0 or (kind == 78 and has_names)) and kind != 10 and kind != 13
            has_names |= kind == 78  # N
            if is_late:
                code = codes.ORDER
            else:
                code, i = _head_line(text, i, stop, b, event, names)
        if code != OK:
            return code, i
        i = next_line(text, i, stop)
        n_lines += 1
    if due > 0 or v - v0 + 1 != n_vertices:
        return codes.VERTEX_COUNT, i
    b.event[event, buffers.LINES] = n_lines
    b.event[event + 1, buffers.PARTICLES] = p
    b.event[event + 1, buffers.VERTICES] = v + 1
    return _connect(b, event, barcodes), i


#: Kernel for whole events, see :func:`.listing.reader_of`.
read_events = reader_of(_event)
