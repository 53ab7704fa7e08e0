"""Decays in flight of particles that the generator left alive: pions, kaons, muons, charged hyperons.

Generators stop at particles that live long enough (usually more than 1 cm/c), detectors are metres away. Here is how
far each particle gets, and which ones decay before they can make a track. Daughters are not followed. DelphesO2 has
such a filter, too (its module ``DecayFilter``).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.philox import uniforms
from flashdet.stages.codes import CodeTable, find_code
from flashdet.stages.rows import Particles

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slot of the random number of a particle.
_SLOT_LIFE = 1


@bare_kernel
def path_out(x: float, y: float, z: float, px: float, py: float, pz: float, radius: float, half_length: float) -> float:
    """Straight way out of a cylinder around the z axis.

    Tracks bend by much less than such a cylinder is long; the chord of a circle of 1 m and 20 cm is off by 0.2 %.

    Parameters
    ----------
    x, y, z : float
        Start [cm].
    px, py, pz : float
        Direction, of any length but 0 across the axis.
    radius, half_length : float
        The cylinder [cm].

    Returns
    -------
    float
        Path [cm]; 0 for a start outside.
    """
    square = px * px + py * py
    inside = radius * radius - x * x - y * y
    if inside <= 0.0 or abs(z) >= half_length:
        return 0.0
    along = x * px + y * py
    # momenta take the place of unit vectors: both steps are in units of path over momentum
    step = (math.sqrt(along * along + inside * square) - along) / square
    if pz != 0.0:
        step = min(step, (half_length - z if pz > 0.0 else half_length + z) / abs(pz))
    return step * math.sqrt(square + pz * pz)


@kernel
def draw_lives(
    offsets: Integers, particles: Particles, index: NDArray[np.int32], table: CodeTable, ctau: Floats,
    event_keys: NDArray[np.uint64], key: np.uint64, cylinder: tuple[float, float], row: Integers,
    row_offsets: Integers, path: Floats,
) -> int:  # fmt: skip
    """Draw how far chosen particles get, and drop those that decay within a cylinder.

    The path is c tau (p/m) times a number from the exponential distribution of unit mean.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of the record.
    index : (n,) or (0,) int32
        What the particles are called; empty: by their row in the event.
    table : CodeTable
        Known codes.
    ctau : (n_codes,) float64
        Mean decay length of each [cm], infinite if stable.
    event_keys : (n_events,) uint64
        Counter word of each event.
    key : uint64
        Key of the stage's random numbers.
    cylinder : (float, float)
        Radius and half-length [cm].
    row : (n_chosen,) int64
        Rows of the chosen particles; rewritten without those dropped.
    row_offsets : (n_events + 1,) int64
        Where the chosen rows of each event begin; rewritten.
    path : (n_chosen,) float64
        Written: path to the decay of each particle that is left [cm], NaN for stable ones.

    Returns
    -------
    int
        Particles dropped.
    """
    n, has_index = 0, len(index) > 0
    for event in range(len(offsets) - 1):
        first, last = row_offsets[event], row_offsets[event + 1]
        row_offsets[event] = n
        for j in range(first, last):
            i = row[j]
            at = find_code(particles.pdg[i], table.pdg, table.direct)
            length = math.nan
            if at >= 0 and ctau[at] < math.inf:
                px, py, pz = particles.px[i], particles.py[i], particles.pz[i]
                name = index[i] if has_index else i - offsets[event]
                u, _ = uniforms(key, event_keys[event], name, _SLOT_LIFE)
                length = -math.log(u) * ctau[at] * math.sqrt(px * px + py * py + pz * pz) / table.mass[at]
                way = path_out(particles.vx[i], particles.vy[i], particles.vz[i], px, py, pz, cylinder[0], cylinder[1])
                if length < way:
                    continue
            row[n], path[n] = i, length
            n += 1
    n_chosen = int(row_offsets[len(offsets) - 1])
    row_offsets[len(offsets) - 1] = n
    return n_chosen - n


@kernel
def place_lives(row_offsets: Integers, place: Integers, path: Floats, out: Floats) -> None:
    """Copy the paths of one source to the rows of ``charged``.

    Parameters
    ----------
    row_offsets : (n_events + 1,) int64
        Where the chosen rows of each event begin.
    place : (n_events,) int64
        First row to write of each event.
    path : (n_chosen,) float64
        From `draw_lives`.
    out : (n_charged,) float64
        Written.
    """
    for event in range(len(place)):
        first, last = row_offsets[event], row_offsets[event + 1]
        out[place[event] : place[event] + last - first] = path[first:last]
