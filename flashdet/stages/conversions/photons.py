"""Which photons of a record convert, and in which layer.

Most particles are no photons and most photons convert in no layer, so the choice goes in steps that each leave fewer:
photons, those whose random number can mean a conversion, and those that convert. Each step writes the rows it keeps one
after the other without asking whether, for blocks of particles. What layers are is :mod:`.material`; the pairs are made
in :mod:`.kinematics`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import pseudorapidity
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.noise import uniform_rows
from flashdet.kernels.scratch import LENGTH, at
from flashdet.stages.conversions.kinematics import SLOT_DEPTH, Found
from flashdet.stages.conversions.material import ETA_MAX, Crossed, Material, first_passed
from flashdet.stages.conversions.pairs import LEAST_ENERGY, pairs_per_length
from flashdet.stages.neutrals import Neutrals

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_PHOTON, _FINAL = 22, 1
#: Rows of the memory of a block: momentum, vertex, energy; direction; bin of eta.
_PX, _PY, _PZ, _X, _Y, _Z, _ENERGY, _UX, _UY, _TGL, _BIN, _N_ROWS = range(12)


@bare_kernel
def _photon_rows(
    first: int, last: int, pdg: NDArray[np.int32], status: NDArray[np.int32], rows: Integers
) -> int:  # fmt: skip
    """Rows of final photons between two rows; `rows` is one longer than there can be."""
    n = 0
    for i in range(first, last):
        rows[n] = i
        n += (pdg[i] == _PHOTON) & (status[i] == _FINAL)
    return n


@bare_kernel
def _gather(m: int, start: int, rows: Integers, photons: Neutrals, p: Floats) -> None:
    """Copy a block of photons."""
    px, py, pz, energy = photons.px, photons.py, photons.pz, photons.energy
    vx, vy, vz = photons.vx, photons.vy, photons.vz
    for j in range(m):
        i = np.uint64(rows[start + j])
        p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)], p[at(_ENERGY, j)] = px[i], py[i], pz[i], energy[i]
        p[at(_X, j)], p[at(_Y, j)], p[at(_Z, j)] = vx[i], vy[i], vz[i]


@bare_kernel
def _sort_in(m: int, near_r: float, near_z: float, n_bins: float, p: Floats) -> None:
    """Directions and bins of pseudorapidity of a block of photons; -1 for those that do not convert anywhere."""
    for j in range(m):
        px, py, pz = p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)]
        square = px * px + py * py
        pt = math.sqrt(square if square > 0.0 else 1.0)
        p[at(_UX, j)], p[at(_UY, j)], p[at(_TGL, j)] = px / pt, py / pt, pz / pt
    for j in range(m):
        x, y, z = p[at(_X, j)], p[at(_Y, j)], p[at(_Z, j)]
        is_near = (x * x + y * y < near_r * near_r) & (abs(z) < near_z)
        place = (pseudorapidity(p[at(_TGL, j)]) + ETA_MAX) * (n_bins / (2.0 * ETA_MAX))
        place = place if place > 0.0 else 0.0
        place = place if place < n_bins - 0.5 else n_bins - 0.5
        place = place if is_near else n_bins
        is_across = (p[at(_UX, j)] != 0.0) | (p[at(_UY, j)] != 0.0)
        p[at(_BIN, j)] = place if is_across & (p[at(_ENERGY, j)] > LEAST_ENERGY) else -1.0


@bare_kernel
def _candidates(m: int, p: Floats, draw: Floats, threshold: Floats, kept: Integers) -> int:
    """Photons of a block whose random number can mean a conversion; `kept` is one longer than there can be."""
    n = 0
    for j in range(m):
        place = int(p[at(_BIN, j)])
        is_possible = place >= 0
        kept[n] = j
        n += is_possible & (draw[j] > threshold[place if is_possible else 0])
    return n


@kernel
def find_conversions(
    photons: Neutrals, offsets: Integers, event_key: NDArray[np.uint64], key: np.uint64, material: Material,
    found: Found, pair_offsets: Integers,
) -> int:  # fmt: skip
    """Let photons convert in the layers that they cross.

    A photon converts after a depth that is exponential with the mean of `pairs.pairs_per_length`, in the layer where
    that many radiation lengths, along its line from its production vertex, are passed.

    Parameters
    ----------
    photons : Neutrals
        The generator record; codes 22 of status 1 are used.
    offsets : (n_events + 1,) int64
        Rows of the events.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    material : Material
        The layers.
    found : Found
        Out: photons that convert; as long as the record.
    pair_offsets : (n_events + 1,) int64
        Out: rows of the events in the table of pairs, two for each photon.

    Returns
    -------
    int
        Photons that convert.
    """
    layers, near, threshold, candidates = material
    largest, n = 0, 0
    for event in range(len(event_key)):
        largest = max(largest, offsets[event + 1] - offsets[event])
    rows, kept, index = np.empty(largest + 1, np.int64), np.empty(LENGTH + 1, np.int64), np.empty(LENGTH, np.int64)
    p, draw, keys = np.empty(_N_ROWS * LENGTH), np.empty(LENGTH), np.empty(LENGTH, np.uint64)
    crossed = Crossed(np.empty(len(layers)), np.empty(len(layers)), np.empty(len(layers), np.int64))
    for event in range(len(event_key)):
        pair_offsets[event] = 2 * n
        n_photons = _photon_rows(offsets[event], offsets[event + 1], photons.pdg, photons.status, rows)
        for start in range(0, n_photons, LENGTH):
            m = min(LENGTH, n_photons - start)
            _gather(m, start, rows, photons, p)
            for j in range(m):
                keys[j], index[j] = event_key[event], rows[start + j] - offsets[event]
            uniform_rows(key, keys, index, SLOT_DEPTH, m, draw)
            _sort_in(m, near[0], near[1], float(len(threshold) - 1), p)
            for k in range(_candidates(m, p, draw, threshold, kept)):
                j = kept[k]
                wanted = -math.log(draw[j]) / pairs_per_length(p[at(_ENERGY, j)])
                hit, path = first_passed(
                    wanted, p[at(_X, j)], p[at(_Y, j)], p[at(_Z, j)], p[at(_UX, j)], p[at(_UY, j)], p[at(_TGL, j)],
                    layers, candidates, int(p[at(_BIN, j)]), crossed,
                )  # fmt: skip
                found.row[n], found.event[n], found.layer[n], found.path[n] = rows[start + j], event, hit, path
                n += hit >= 0
    pair_offsets[len(event_key)] = 2 * n
    return n
