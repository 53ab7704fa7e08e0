"""Arrays that the text parsers write into, used again for every piece of text.

Few wide arrays instead of one per column: what a parser hands from function to function stays small, which halves its
compile time. Rows of `ints` and `floats` are contiguous and become columns as they are.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc.codes import N_ATTRIBUTES

#: Rows of `Buffers.ints`. `PARENT` is as written: a vertex below 0, a particle above 0, or 0. `PRODUCTION` and `END`
#: are vertices of the event, -1 for none.
PDG, STATUS, PARENT, PRODUCTION, END = range(5)
#: Rows of `Buffers.floats`: as in the file until `graph.finish` has run, then GeV, cm, ns.
PX, PY, PZ, ENERGY, MASS, VX, VY, VZ, VT = range(9)
#: Rows of `Buffers.vertex`: 0 not seen, 1 written, 2 numbered later; first incoming particle, 0 for none.
KNOWN, FIRST = range(2)
#: Columns of `Buffers.event`. First particle and first vertex of the next event are those of the row below.
NUMBER, PARTICLES, VERTICES, N_WEIGHTS, START, LINES = range(6)
N_EVENT = 6
#: Columns of `Buffers.header`: position of the event (4) as written, of the collision (4) from `graph.finish`, factors
#: to GeV and cm (0: no units given), then the attributes of `codes`.
SHIFT, COLLISION, GEV, CM, ATTRIBUTES = 0, 4, 8, 9, 10


class Buffers(NamedTuple):
    """Columns of particles, vertices and events before they are cut into batches.

    Attributes
    ----------
    ints : (5, n) int32
    floats : (9, n) float64
    vertex : (2, m) int32
    position : (m, 4) float64
        Vertex positions as written, 0 for none.
    event : (k + 1, 6) int64
    header : (k, 10 + N_ATTRIBUTES) float64
    weights : (k, n_weights) float64
    """

    ints: NDArray[np.int32]
    floats: NDArray[np.float64]
    vertex: NDArray[np.int32]
    position: NDArray[np.float64]
    event: NDArray[np.int64]
    header: NDArray[np.float64]
    weights: NDArray[np.float64]


def make_buffers(n_particles: int, n_vertices: int, n_events: int, n_weights: int) -> Buffers:
    """Empty arrays of the given sizes; memory is touched only where a parser writes.

    Parameters
    ----------
    n_particles, n_vertices, n_events, n_weights : int

    Returns
    -------
    Buffers
    """
    buffers = Buffers(
        ints=np.empty((5, n_particles), np.int32),
        floats=np.empty((9, n_particles)),
        vertex=np.empty((2, n_vertices), np.int32),
        position=np.empty((n_vertices, 4)),
        event=np.empty((n_events + 1, N_EVENT), np.int64),
        header=np.empty((n_events, ATTRIBUTES + N_ATTRIBUTES)),
        weights=np.empty((n_events, n_weights)),
    )
    buffers.event[0, PARTICLES] = buffers.event[0, VERTICES] = 0
    return buffers
