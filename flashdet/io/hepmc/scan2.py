"""Scan of the lines of an event of IO_GenEvent, see :mod:`.scan`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc.scan import (
    BAD_ID,
    BAD_ORDER,
    BAD_P,
    BAD_PREFIX,
    BAD_V,
    GOOD,
    line_end,
    next_integer,
    next_line,
    next_numbers,
)
from flashdet.kernels.jit import inline, kernel

_NEWLINE, _C, _F, _H, _N, _P, _U, _V = 10, 67, 70, 72, 78, 80, 85, 86


@inline
def _particle_io_genevent(text: NDArray[np.uint8], at: int) -> tuple[int, int, int]:
    """``P barcode pdg px py pz energy mass status theta phi end_vertex n_flow [index code]``.

    Status, barcode of the end vertex, next line (-1: not one).
    """
    _, at = next_integer(text, at + 1)
    _, at = next_integer(text, at)
    at = next_numbers(text, at, 5)
    status, at = next_integer(text, at)
    at = next_numbers(text, at, 2)
    end, at = next_integer(text, at)
    n_flow, at = next_integer(text, at)
    if n_flow < 0:
        at = -1
    for _ in range(2 * n_flow):
        if at < 0:
            break
        _, at = next_integer(text, at)
    return status, end, line_end(text, at)


@inline
def _vertex_io_genevent(text: NDArray[np.uint8], at: int) -> tuple[int, int, int, int]:
    """``V barcode status x y z t n_orphans n_out n_weights [weights]``.

    Barcode, number of its particles, number of its weights, next line (-1: not one).
    """
    barcode, at = next_integer(text, at + 1)
    _, at = next_integer(text, at)
    at = next_numbers(text, at, 4)
    n_orphans, at = next_integer(text, at)
    n_out, at = next_integer(text, at)
    n_weights, at = next_integer(text, at)
    if n_orphans < 0 or n_out < 0 or n_weights < 0:
        at = -1
    for _ in range(n_weights):
        if at < 0:
            break
        at = next_numbers(text, at, 1)
    return barcode, n_orphans + n_out, n_weights, line_end(text, at)


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
            at = next_line(text, at)
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
