"""The lines of particles and vertices as HepMC's own writers print them, in kernels that hardly branch.

A file from ``WriterAscii`` or ``WriterAsciiHepMC2`` holds nothing else between the heads of its events: one blank
between fields, doubles of 17 digits, small integers. Such lines are recognised and read at the same time, 3 to 5 times
faster than by the general kernels of :mod:`.ascii3` and :mod:`.ascii2`. Any other line ends the loop with nothing of it
kept, and goes to those: what is damage, and which, is decided there alone.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers
from flashdet.kernels.bits import load8, load64
from flashdet.kernels.decimal import written_double, written_int
from flashdet.kernels.jit import bare_kernel, inline

Text = NDArray[np.uint8]
Ints = NDArray[np.int32]
Floats = NDArray[np.float64]

#: No line of a particle or of a vertex without its incoming particles is longer.
_LONGEST = 192
_U = np.uint64
_NEWLINE, _BLANK, _COMMA, _CLOSE = 10, 32, 44, 93
#: First two bytes of a line: ``P`` or ``V`` and a blank. ``[`` opens the incoming particles, `` @ `` a position.
_P, _V, _OPEN, _AT = 0x2050, 0x2056, 0x5B, 0x204020


@inline
def _word(text: Text, i: int, mask: int) -> int:
    """Some of the eight bytes at `i`, the first one lowest."""
    return int(np.int64(load64(text, i) & _U(mask)))


@inline
def _momentum(text: Text, i: int, floats: Floats, p: int) -> tuple[int, np.uint64]:
    """Px, py, pz, E and m of particle `p`: next byte and faults."""
    px, i, f0 = written_double(text, i, _BLANK)
    py, i, f1 = written_double(text, i, _BLANK)
    pz, i, f2 = written_double(text, i, _BLANK)
    energy, i, f3 = written_double(text, i, _BLANK)
    mass, i, f4 = written_double(text, i, _BLANK)
    floats[buffers.PX, p] = px
    floats[buffers.PY, p] = py
    floats[buffers.PZ, p] = pz
    floats[buffers.ENERGY, p] = energy
    floats[buffers.MASS, p] = mass
    return i, f0 | f1 | f2 | f3 | f4


@inline
def _place(text: Text, i: int, end: int, position: Floats, v: int) -> tuple[int, np.uint64]:
    """Position of vertex `v`: next byte and faults."""
    x, i, f0 = written_double(text, i, _BLANK)
    y, i, f1 = written_double(text, i, _BLANK)
    z, i, f2 = written_double(text, i, _BLANK)
    t, i, f3 = written_double(text, i, end)
    position[v, 0] = x
    position[v, 1] = y
    position[v, 2] = z
    position[v, 3] = t
    return i, f0 | f1 | f2 | f3


@inline
def _incoming(text: Text, i: int, stop: int, end: Ints, p0: int, n_read: int) -> int:
    """``1,2,...]``: place behind it, -1 unless all were read, end nowhere yet and stand in ascending order."""
    before = 0
    is_good = True
    is_last = load8(text, i) == _CLOSE
    i += 1 if is_last else 0
    while is_good and not is_last:
        is_good = i + _LONGEST <= stop
        particle, j, faults = written_int(text, i, _COMMA)
        is_last = load8(text, j - 1) == _CLOSE
        if is_last:
            _, _, faults = written_int(text, i, _CLOSE)
        is_good = is_good and faults == _U(0) and before < particle <= n_read
        is_good = is_good and end[p0 + particle - 1] == -1
        before = particle
        i = j
    return i if is_good else -1


@bare_kernel
def lines3(
    text: Text,
    i: int,
    stop: int,
    ints: Ints,
    floats: Floats,
    vertex: Ints,
    position: Floats,
    rows: tuple[int, int, int, int],
    n_read: int,
) -> tuple[int, int, int]:
    """Particles and vertices of an event of Asciiv3.

    Parameters
    ----------
    text : (n,) uint8
        Text; at least 32 readable bytes follow `stop`.
    i, stop : int64
        Start of a line, and end of the text.
    ints, floats, vertex, position
        As in :class:`.buffers.Buffers`.
    rows : tuple of int64
        First row of the event's particles, and how many there are; the same of its vertices.
    n_read : int64
        Particles of the event that were read before.

    Returns
    -------
    i : int64
        Start of the first line that was not read.
    n_read : int64
    n_lines : int64
        Lines read.
    """
    p0, n_particles, _, n_vertices = rows
    n_lines = 0
    while i + _LONGEST <= stop:
        kind = _word(text, i, 0xFFFF)
        if kind == _P and n_read < n_particles:
            p = p0 + n_read
            number, j, f0 = written_int(text, i + 2, _BLANK)
            parent, j, f1 = written_int(text, j, _BLANK)
            pdg, j, f2 = written_int(text, j, _BLANK)
            j, f3 = _momentum(text, j, floats, p)
            status, j, f4 = written_int(text, j, _NEWLINE)
            n_read += 1
            is_odd = (number != n_read) | (parent > n_particles) | (parent < -n_vertices) | (parent == number)
            if is_odd | ((f0 | f1 | f2 | f3 | f4) != _U(0)):
                return i, n_read - 1, n_lines
            ints[buffers.PARENT, p] = parent
            ints[buffers.PDG, p] = pdg
            ints[buffers.STATUS, p] = status
        elif kind == _V:
            j = _vertex3(text, i, stop, ints, vertex, position, rows, n_read)
            if j < 0:
                break
        else:
            break
        i = j
        n_lines += 1
    return i, n_read, n_lines


@inline
def _vertex3(
    text: Text,
    i: int,
    stop: int,
    ints: Ints,
    vertex: Ints,
    position: Floats,
    rows: tuple[int, int, int, int],
    n_read: int,
) -> int:
    """``V number status [1,2,...] @ x y z t``: next line, -1 if this one is odd.

    One way out: with more, Numba counts references to the arrays at each call, half of the time of such a line.
    """
    p0, _, v0, n_vertices = rows
    end = ints[buffers.END]
    number, j, f0 = written_int(text, i + 2, _BLANK)
    _, first, f1 = written_int(text, j, _BLANK)
    v = v0 - number - 1
    behind, i = -1, -1
    if (f0 | f1) == _U(0) and -n_vertices <= number <= -1 and load8(text, first) == _OPEN:
        first += 1
        if vertex[buffers.KNOWN, v] != 1:
            behind = _incoming(text, first, stop, end, p0, n_read)
    if behind >= 0:
        if load8(text, behind) == _NEWLINE:
            i = behind + 1
        elif _word(text, behind, 0xFFFFFF) == _AT:
            j, f0 = _place(text, behind + 3, _NEWLINE, position, v)
            i = j if f0 == _U(0) else -1
    if i >= 0:
        vertex[buffers.KNOWN, v] = 1
        while first < behind - 1:
            particle, first, _ = written_int(text, first, _COMMA)
            end[p0 + particle - 1] = v - v0
            if vertex[buffers.FIRST, v] == 0:
                vertex[buffers.FIRST, v] = particle
    return i


@bare_kernel
def lines2(
    text: Text,
    i: int,
    stop: int,
    ints: Ints,
    floats: Floats,
    vertex: Ints,
    position: Floats,
    barcodes: NDArray[np.int64],
    state: tuple[int, int, int, int, int],
) -> tuple[int, int, int, int, int]:
    """Particles and vertices of an event of IO_GenEvent.

    Parameters
    ----------
    text, i, stop, ints, floats, vertex, position
        As in :func:`lines3`.
    barcodes : (m,) int64
        Receives the barcodes of the vertices.
    state : tuple of int64
        First vertex of the event, and behind its last; the vertex that was read last; the row of the next particle;
        particles that the vertex announced and that are still to come.

    Returns
    -------
    i, v, p, due, n_lines : int64
        As before, and the lines read.
    """
    v0, v1, v, p, due = state
    n_lines = 0
    while i + _LONGEST <= stop:
        kind = _word(text, i, 0xFFFF)
        if kind == _P and v >= v0 and p < ints.shape[1]:
            _, j, f0 = written_int(text, i + 2, _BLANK)
            pdg, j, f1 = written_int(text, j, _BLANK)
            j, f2 = _momentum(text, j, floats, p)
            status, j, f3 = written_int(text, j, _BLANK)
            # Polarisation angles are hardly ever set; behind the end vertex stands the number of flow lines.
            f4 = (load64(text, j) & _U(0xFFFFFFFF)) ^ _U(0x20302030)
            end, j, f5 = written_int(text, j + 4, _BLANK)
            f6 = (load64(text, j) & _U(0xFFFF)) ^ _U(0x0A30)
            if (f0 | f1 | f2 | f3 | f4 | f5 | f6) != _U(0):
                break
            ints[buffers.PDG, p] = pdg
            ints[buffers.STATUS, p] = status
            ints[buffers.END, p] = end
            ints[buffers.PRODUCTION, p] = v - v0
            p += 1
            due -= 1
            i = j + 2
        elif kind == _V and due <= 0 and v + 1 < v1:
            barcode, j, f0 = written_int(text, i + 2, _BLANK)
            _, j, f1 = written_int(text, j, _BLANK)
            j, f2 = _place(text, j, _BLANK, position, v + 1)
            n_orphans, j, f3 = written_int(text, j, _BLANK)
            n_out, j, f4 = written_int(text, j, _BLANK)
            f5 = (load64(text, j) & _U(0xFFFF)) ^ _U(0x0A30)  # no weights
            if (f0 | f1 | f2 | f3 | f4 | f5) != _U(0) or n_orphans < 0 or n_out < 0:
                break
            v += 1
            barcodes[v] = barcode
            vertex[buffers.KNOWN, v] = 1
            due = n_orphans + n_out
            i = j + 2
        else:
            break
        n_lines += 1
    return i, v, p, due, n_lines
