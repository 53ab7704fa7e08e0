"""Scan of the lines of an event of Asciiv3, see :mod:`.scan`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc.scan import (
    BAD_A,
    BAD_ID,
    BAD_ORDER,
    BAD_P,
    BAD_PREFIX,
    BAD_V,
    GOOD,
    integer,
    line_end,
    next_integer,
    next_line,
    next_numbers,
)
from flashdet.kernels.jit import inline, kernel

_NEWLINE, _BLANK, _OPEN, _CLOSE, _COMMA, _AT, _A, _P, _U, _V, _W = 10, 32, 91, 93, 44, 64, 65, 80, 85, 86, 87


@inline
def _attribute(text: NDArray[np.uint8], at: int) -> int:
    """``A id name value``: place of the next line, -1 if it is not one."""
    _, at = next_integer(text, at + 1)
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
    return next_line(text, at)


@inline
def _particle_asciiv3(text: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """``P id parent pdg px py pz energy mass status``: id, parent, next line (-1: not one)."""
    number, at = next_integer(text, at + 1)
    parent, at = next_integer(text, at)
    _, at = next_integer(text, at)
    at = next_numbers(text, at, 5)
    _, at = next_integer(text, at)
    return number, parent, line_end(text, at)


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
        particle, at = integer(text, at)
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
    number, at = next_integer(text, at + 1)
    _, at = next_integer(text, at)
    n_in, at = _incoming(text, at, number, n_in, in_vertex, in_particle)
    if at >= 0 and at + 1 < len(text) and text[at] == _BLANK and text[at + 1] == _AT:
        at = next_numbers(text, at + 2, 4)
    return number, n_in, line_end(text, at)


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
            at = next_line(text, at)
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
