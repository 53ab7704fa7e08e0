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
from flashdet.kernels.jit import inline, kernel

Text = NDArray[np.uint8]
#: A particle line has at least this many bytes, a vertex line too.
_SHORTEST = 24


@kernel
def _clear(b: Buffers, event: int, i: int) -> None:
    """Prepare the rows of an event that begins at byte `i`."""
    b.event[event, buffers.START] = i
    b.event[event, buffers.N_WEIGHTS] = 0
    b.header[event] = np.nan
    b.header[event, buffers.SHIFT : buffers.SHIFT + 4] = 0.0
    b.header[event, buffers.GEV] = 0.0
    b.header[event, buffers.CM] = 0.0


@kernel
def _weights(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """End of an E line: number of random states, the states, number of weights, the weights."""
    code, i, n_random = integer(text, i, stop)
    if code == OK:
        code, i = skip(text, i, stop, n_random)
    if code != OK:
        return code, i
    code, i, n_weights = integer(text, i, stop)
    if code != OK:
        return code, i
    if n_weights < 0 or n_weights > b.weights.shape[1]:
        return codes.WEIGHT_COUNT, i
    for k in range(n_weights):
        code, i, b.weights[event, k] = double(text, i, stop)
        if code != OK:
            return code, i
    b.event[event, buffers.N_WEIGHTS] = n_weights
    return line_end(text, i, stop)


@kernel
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


@kernel
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
    code, i, n_orphans = integer(text, i, stop)
    if code != OK:
        return code, i, 0, 0
    code, i, n_out = integer(text, i, stop)
    if code != OK:
        return code, i, 0, 0
    code, i, n_weights = integer(text, i, stop)
    if code == OK:
        code, i = skip(text, i, stop, n_weights)
    if code == OK:
        code, i = line_end(text, i, stop)
    return code, i, barcode, n_orphans + n_out


@kernel
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
    code, i, n_flow = integer(text, i, stop)
    if code == OK:
        code, i = skip_integers(text, i, stop, 2 * n_flow)
    if code == OK:
        code, i = line_end(text, i, stop)
    return code, i


@kernel
def _numbers_of(barcodes: NDArray[np.int64]) -> tuple[NDArray[np.int64], int, NDArray[np.int64]]:
    """Numbers of the vertices by their barcode: a table, its first barcode, and places to search it.

    Barcodes that fill a range, as almost all do, need no search: the table has a place for each of the range, and the
    last array is empty. Else the barcodes are sorted, the table holds the vertices in this order, and the last array
    the barcodes. An empty table means that two vertices have the same barcode.
    """
    n = len(barcodes)
    lowest = barcodes.min() if n else 0
    size = (barcodes.max() - lowest + 1) if n else 0
    if size <= 4 * n:
        table = np.full(size, -1, np.int64)
        for v in range(n):
            if table[barcodes[v] - lowest] >= 0:
                return np.empty(0, np.int64), lowest, np.empty(0, np.int64)
            table[barcodes[v] - lowest] = v
        return table, lowest, np.empty(0, np.int64)
    order = np.argsort(barcodes, kind="mergesort")
    ranked = barcodes[order]
    for k in range(n - 1):
        if ranked[k] == ranked[k + 1]:
            return np.empty(0, np.int64), lowest, ranked
    return order, lowest, ranked


@inline
def _vertex_of(barcode: int, table: NDArray[np.int64], lowest: int, ranked: NDArray[np.int64]) -> int:
    """Number of the vertex with a barcode, -1 if there is none."""
    if len(ranked) == 0:
        return int(table[barcode - lowest]) if 0 <= barcode - lowest < len(table) else -1
    k = np.searchsorted(ranked, barcode)
    return int(table[k]) if k < len(ranked) and ranked[k] == barcode else -1


@kernel
def _connect(b: Buffers, event: int, barcodes: NDArray[np.int64]) -> int:
    """Turn barcodes of end vertices into vertex numbers, and bring the event into HepMC3's order."""
    p0, p1 = b.event[event, buffers.PARTICLES], b.event[event + 1, buffers.PARTICLES]
    v0, v1 = b.event[event, buffers.VERTICES], b.event[event + 1, buffers.VERTICES]
    table, lowest, ranked = _numbers_of(barcodes[v0:v1])
    if len(table) == 0 and v1 > v0:
        return codes.TWO_ENDS
    end, production = b.ints[buffers.END], b.ints[buffers.PRODUCTION]
    for p in range(p0, p1):
        barcode = end[p]
        v = -1
        if barcode != 0:
            v = _vertex_of(int(barcode), table, lowest, ranked)
            if v < 0:
                return codes.REFERENCE
        end[p] = v
        # An orphan stands below the vertex where it ends, and comes from none.
        if production[p] == v:
            production[p] = -1
    return sort_event(b, event)


@kernel
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
