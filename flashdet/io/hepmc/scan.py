"""One pass over the bytes of an event: every line is what its format says, with the right number of sound fields.

The kernels stop at the first bad line; they also pick out the links between particles and vertices, so that
:mod:`.integrity` can check that they hold together. Values are not kept: that is the parser's work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel

#: Outcomes of a scan.
GOOD, BAD_P, BAD_V, BAD_A, BAD_ORDER, BAD_PREFIX, BAD_ID = range(7)

_NEWLINE, _BLANK, _MINUS, _PLUS, _DOT = 10, 32, 45, 43, 46
_0, _9 = 48, 57
_E, _SMALL_E = 69, 101
_OPEN, _CLOSE, _COMMA, _AT = 91, 93, 44, 64
_A, _C, _F, _H, _N, _P, _U, _V, _W = 65, 67, 70, 72, 78, 80, 85, 86, 87
_MAX_INT = 2147483647


@inline
def _is_digit(byte: int) -> bool:
    return _0 <= byte <= _9


@inline
def _integer(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Value of a 32-bit integer and the place behind it; -1 for the place if there is none."""
    n = len(text)
    sign = 1
    if at < n and text[at] == _MINUS:
        sign = -1
        at += 1
    start, value = at, 0
    while at < n and _is_digit(text[at]):
        value = value * 10 + int(text[at]) - _0
        if value > _MAX_INT:
            return 0, -1
        at += 1
    if at == start:
        return 0, -1
    return sign * value, at


@inline
def _digits(text: NDArray[np.uint8], at: int) -> int:
    while at < len(text) and _is_digit(text[at]):
        at += 1
    return at


@inline
def _number(text: NDArray[np.uint8], at: int) -> int:
    """Place behind a decimal number, -1 if there is none."""
    n = len(text)
    if at < n and (text[at] == _MINUS or text[at] == _PLUS):
        at += 1
    start = at
    at = _digits(text, at)
    n_digits = at - start
    if at < n and text[at] == _DOT:
        start = at + 1
        at = _digits(text, start)
        n_digits += at - start
    if n_digits == 0:
        return -1
    if at < n and (text[at] == _E or text[at] == _SMALL_E):
        at += 1
        if at < n and (text[at] == _MINUS or text[at] == _PLUS):
            at += 1
        start = at
        at = _digits(text, at)
        if at == start or at - start > 4:
            return -1
    return at


@inline
def _next_integer(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """As `_integer`, behind exactly one blank."""
    if at < 0 or at >= len(text) or text[at] != _BLANK:
        return 0, -1
    return _integer(text, at + 1)


@inline
def _next_numbers(text: NDArray[np.uint8], at: int, n: int) -> int:
    """Place behind `n` numbers with one blank before each, -1 if they are not there."""
    for _ in range(n):
        if at < 0 or at >= len(text) or text[at] != _BLANK:
            return -1
        at = _number(text, at + 1)
    return at


@inline
def _line_end(text: NDArray[np.uint8], at: int) -> int:
    """Place of the next line if nothing but blanks is left on this one, else -1."""
    if at < 0:
        return -1
    while at < len(text) and text[at] == _BLANK:
        at += 1
    if at < len(text) and text[at] != _NEWLINE:
        return -1
    return at + 1


@kernel
def _next_line(text: NDArray[np.uint8], at: int) -> int:
    while at < len(text) and text[at] != _NEWLINE:
        at += 1
    return at + 1


@inline
def _attribute(text: NDArray[np.uint8], at: int) -> int:
    """``A id name value``: place of the next line, -1 if it is not one."""
    _, at = _next_integer(text, at + 1)
    if at < 0 or at >= len(text) or text[at] != _BLANK:
        return -1
    at += 1
    start = at
    while at < len(text) and text[at] != _BLANK:
        if text[at] == _NEWLINE:
            return -1
        at += 1
    if at == start or at >= len(text):
        return -1
    return _next_line(text, at)


@inline
def _particle_asciiv3(text: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """``P id parent pdg px py pz energy mass status``: id, parent, next line (-1: not one)."""
    number, at = _next_integer(text, at + 1)
    parent, at = _next_integer(text, at)
    _, at = _next_integer(text, at)
    at = _next_numbers(text, at, 5)
    _, at = _next_integer(text, at)
    return number, parent, _line_end(text, at)


@inline
def _incoming(
    text: NDArray[np.uint8],
    at: int,
    vertex: int,
    n_in: int,
    in_vertex: NDArray[np.int32],
    in_particle: NDArray[np.int32],
) -> tuple[int, int]:
    """``[in,in,...]`` behind a blank: links so far and the place behind it (-1: not one)."""
    if at < 0 or at + 2 >= len(text) or text[at] != _BLANK or text[at + 1] != _OPEN:
        return n_in, -1
    at += 2
    if text[at] == _CLOSE:
        return n_in, at + 1
    while True:
        particle, at = _integer(text, at)
        if at < 0 or at >= len(text) or n_in >= len(in_vertex):
            return n_in, -1
        in_vertex[n_in] = vertex
        in_particle[n_in] = particle
        n_in += 1
        at += 1
        if text[at - 1] == _CLOSE:
            return n_in, at
        if text[at - 1] != _COMMA:
            return n_in, -1


@inline
def _vertex_asciiv3(
    text: NDArray[np.uint8], at: int, n_in: int, in_vertex: NDArray[np.int32], in_particle: NDArray[np.int32]
) -> tuple[int, int, int]:
    """``V id status [in,in,...] @ x y z t``: id, links so far, next line (-1: not one)."""
    number, at = _next_integer(text, at + 1)
    _, at = _next_integer(text, at)
    n_in, at = _incoming(text, at, number, n_in, in_vertex, in_particle)
    if at >= 0 and at + 1 < len(text) and text[at] == _BLANK and text[at + 1] == _AT:
        at = _next_numbers(text, at + 2, 4)
    return number, n_in, _line_end(text, at)


@kernel
def scan_asciiv3(
    text: NDArray[np.uint8],
    at: int,
    p_parent: NDArray[np.int32],
    v_id: NDArray[np.int32],
    in_vertex: NDArray[np.int32],
    in_particle: NDArray[np.int32],
    n_found: NDArray[np.int64],
) -> tuple[int, int]:
    """Check the lines of an event in the format Asciiv3 of HepMC3 (its WriterAscii) behind the E line.

    Parameters
    ----------
    text : (n,) uint8
        Text of the event.
    at : int
        First byte behind the E line.
    p_parent : (n_p,) int32
        Filled with the parent of each particle: a vertex if negative.
    v_id : (n_v,) int32
        Filled with the id of each V line.
    in_vertex, in_particle : (n_in,) int32
        Filled with the links from particles to the vertices where they end.
    n_found : (3,) int64
        Filled with the numbers of particles, vertices and links.

    Returns
    -------
    outcome, at : int
        `GOOD`, or what is wrong and the beginning of the bad line.
    """
    n_p = n_v = n_in = 0
    outcome = GOOD
    while at < len(text):
        line = at
        first = text[at]
        if first == _P:
            number, parent, at = _particle_asciiv3(text, at)
            if at < 0:
                outcome = BAD_P
            elif number != n_p + 1 or parent >= number or n_p >= len(p_parent):
                outcome = BAD_ID
            else:
                p_parent[n_p] = parent
                n_p += 1
        elif first == _V:
            number, n_in, at = _vertex_asciiv3(text, at, n_in, in_vertex, in_particle)
            if at < 0:
                outcome = BAD_V
            elif n_v >= len(v_id):
                outcome = BAD_ORDER
            else:
                v_id[n_v] = number
                n_v += 1
        elif first == _A:
            at = _attribute(text, at)
            outcome = BAD_A if at < 0 else GOOD
        elif first in (_U, _W):  # few, looked at elsewhere
            at = _next_line(text, at)
            outcome = BAD_ORDER if n_p + n_v > 0 else GOOD
        elif first == _NEWLINE:
            at += 1
        else:
            outcome = BAD_PREFIX
        if outcome != GOOD:
            at = line
            break
    n_found[0], n_found[1], n_found[2] = n_p, n_v, n_in
    return outcome, at


@inline
def _particle_io_genevent(text: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """``P barcode pdg px py pz energy mass status theta phi end_vertex n_flow [index code]``.

    Status, barcode of the end vertex, next line (-1: not one).
    """
    _, at = _next_integer(text, at + 1)
    _, at = _next_integer(text, at)
    at = _next_numbers(text, at, 5)
    status, at = _next_integer(text, at)
    at = _next_numbers(text, at, 2)
    end, at = _next_integer(text, at)
    n_flow, at = _next_integer(text, at)
    if n_flow < 0:
        at = -1
    for _ in range(2 * n_flow):
        if at < 0:
            break
        _, at = _next_integer(text, at)
    return status, end, _line_end(text, at)


@inline
def _vertex_io_genevent(text: NDArray[np.uint8], at: int) -> tuple[int, int, int, int]:
    """``V barcode status x y z t n_orphans n_out n_weights [weights]``.

    Barcode, number of its particles, number of its weights, next line (-1: not one).
    """
    barcode, at = _next_integer(text, at + 1)
    _, at = _next_integer(text, at)
    at = _next_numbers(text, at, 4)
    n_orphans, at = _next_integer(text, at)
    n_out, at = _next_integer(text, at)
    n_weights, at = _next_integer(text, at)
    if n_orphans < 0 or n_out < 0 or n_weights < 0:
        at = -1
    for _ in range(n_weights):
        if at < 0:
            break
        at = _next_numbers(text, at, 1)
    return barcode, n_orphans + n_out, n_weights, _line_end(text, at)


@kernel
def scan_io_genevent(
    text: NDArray[np.uint8],
    at: int,
    p_vertex: NDArray[np.int32],
    p_end: NDArray[np.int32],
    p_status: NDArray[np.int32],
    v_barcode: NDArray[np.int32],
    v_particles: NDArray[np.int64],
    v_weights: NDArray[np.int32],
    n_found: NDArray[np.int64],
) -> tuple[int, int]:
    """Check the lines of an event in the format IO_GenEvent (HepMC 2 user manual, section 6.2) behind the E line.

    Parameters
    ----------
    text : (n,) uint8
        Text of the event.
    at : int
        First byte behind the E line.
    p_vertex, p_end, p_status : (n_p,) int32
        Filled with the place of the vertex each particle is listed under, the barcode of its end vertex and its status.
    v_barcode, v_weights : (n_v,) int32
        Filled with barcode and number of weights of each vertex.
    v_particles : (n_v,) int64
        Filled with the promised number of particles of each vertex.
    n_found : (2,) int64
        Filled with the numbers of particles and vertices.

    Returns
    -------
    outcome, at : int
        `GOOD`, or what is wrong and the beginning of the bad line.
    """
    n_p = n_v = 0
    outcome = GOOD
    while at < len(text):
        line = at
        first = text[at]
        if first == _P:
            status, end, at = _particle_io_genevent(text, at)
            if at < 0:
                outcome = BAD_P
            elif n_v == 0 or n_p >= len(p_end):
                outcome = BAD_ORDER
            else:
                p_vertex[n_p], p_end[n_p], p_status[n_p] = n_v - 1, end, status
                n_p += 1
        elif first == _V:
            barcode, n_particles, n_weights, at = _vertex_io_genevent(text, at)
            if at < 0:
                outcome = BAD_V
            elif n_v >= len(v_barcode):
                outcome = BAD_ORDER
            elif barcode == 0:
                outcome = BAD_ID
            else:
                v_barcode[n_v], v_particles[n_v], v_weights[n_v] = barcode, n_particles, n_weights
                n_v += 1
        elif first in (_N, _U, _C, _H, _F):  # few, looked at elsewhere
            at = _next_line(text, at)
            outcome = BAD_ORDER if n_v > 0 else GOOD
        elif first == _NEWLINE:
            at += 1
        else:
            outcome = BAD_PREFIX
        if outcome != GOOD:
            at = line
            break
    n_found[0], n_found[1] = n_p, n_v
    return outcome, at
