"""Rows of the pairs of photons that convert: momenta, and where they start.

The angles are those of the standard electromagnetic physics of Geant4 (G4BetheHeitlerModel,
https://github.com/Geant4/geant4; Physics Reference Manual, "Gamma conversion"). How the energy is shared is
:mod:`.pairs`, which photons convert :mod:`.photons`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, log
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.noise import uniform_pair_rows
from flashdet.kernels.scratch import LENGTH, at
from flashdet.species import ELECTRON_MASS
from flashdet.stages.conversions.pairs import draw_share
from flashdet.stages.neutrals import Neutrals
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]

#: Slots of the random numbers of a photon; the last one and those after it are tried until a share is accepted.
SLOT_DEPTH, _SLOT_ANGLE, _SLOT_AZIMUTH, _SLOT_SHARE = range(4)
#: Angles in units of m/E: d u (exp(-a u) + d exp(-3 a u)), Tsai (1974, 1977) as in the Geant manual.
_A, _D = 0.625, 27.0

#: Rows of the memory of a block: momentum, energy and what the random numbers are for; momenta of both.
_PX, _PY, _PZ, _ENERGY, _FIRST, _SECOND, _WHICH, _AZIMUTH, _SHARE, _ANGLE, _MOMENTA, _N_ROWS = *range(11), 16


class Pairs(NamedTuple):
    """Columns of :data:`flashdet.columns.CONVERSIONS_PAIR`, in its order."""

    particle_index: NDArray[np.int32]
    photon_index: NDArray[np.int32]
    layer: NDArray[np.int16]
    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: Floats
    py: Floats
    pz: Floats
    mass: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


class Found(NamedTuple):
    """Photons that convert.

    Attributes
    ----------
    row, event, layer : (n,) int64
        Row in the record, event, and layer.
    path : (n,) float64
        Transverse path to the layer [cm].
    """

    row: NDArray[np.int64]
    event: NDArray[np.int64]
    layer: NDArray[np.int64]
    path: Floats


@bare_kernel
def _daughters(m: int, p: Floats) -> None:
    """Momenta of positron and electron of a block of photons.

    Both leave at angles u m/e to the photon, on opposite sides; u is a sum of two exponential numbers of length 1/a or
    1/(3 a).
    """
    for j in range(m):
        length = 1.0 / _A if p[at(_WHICH, j)] < 9.0 / (9.0 + _D) else 1.0 / (3.0 * _A)
        p[at(_ANGLE, j)] = -length * log(p[at(_FIRST, j)] * p[at(_SECOND, j)]) * ELECTRON_MASS
    for k in range(2):
        for j in range(m):
            energy, share, u = p[at(_ENERGY, j)], p[at(_SHARE, j)], p[at(_ANGLE, j)]
            e = energy * (share if k == 0 else 1.0 - share)
            size = math.sqrt(max(e * e - ELECTRON_MASS * ELECTRON_MASS, 0.0))
            along, across = cosine_and_sine(u / e)
            along, across = along * size, across * (size if k == 0 else -size)
            # axes across the photon: towards larger polar angle, and azimuthal
            cosine, sine = cosine_and_sine(2.0 * math.pi * p[at(_AZIMUTH, j)])
            a, b = across * cosine, across * sine
            px, py, pz = p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)]
            pt = math.sqrt(px * px + py * py)
            norm = math.sqrt(pt * pt + pz * pz)
            radial = (along * pt + a * pz) / norm
            p[at(_MOMENTA + 3 * k, j)] = (radial * px - b * py) / pt
            p[at(_MOMENTA + 3 * k + 1, j)] = (radial * py + b * px) / pt
            p[at(_MOMENTA + 3 * k + 2, j)] = (along * pz - a * pt) / norm


@bare_kernel
def _draw(
    m: int, key: np.uint64, keys: NDArray[np.uint64], index: NDArray[np.int64], p: Floats, angles: tuple[Floats, ...]
) -> None:
    """Random numbers of a block; `angles` are the rows of `p` from `_FIRST` to `_AZIMUTH`."""
    uniform_pair_rows(key, keys, index, _SLOT_ANGLE, m, angles[0], angles[1])
    uniform_pair_rows(key, keys, index, _SLOT_AZIMUTH, m, angles[2], angles[3])
    for j in range(m):
        p[at(_SHARE, j)] = draw_share(key, keys[j], index[j], _SLOT_SHARE, p[at(_ENERGY, j)])


@kernel
def make_pairs(
    found: Found, photons: Neutrals, offsets: NDArray[np.int64], event_key: NDArray[np.uint64], key: np.uint64,
    pairs: Pairs,
) -> None:  # fmt: skip
    """Write the pairs of photons.

    Parameters
    ----------
    found : Found
        The n photons.
    photons, offsets, event_key, key
        As in `flashdet.stages.conversions.photons.find_conversions`.
    pairs : Pairs
        Out: 2 n rows, positron and electron of each photon one after the other.
    """
    p, keys, index = np.empty(_N_ROWS * LENGTH), np.empty(LENGTH, np.uint64), np.empty(LENGTH, np.int64)
    angles = (
        p[_FIRST * LENGTH : _SECOND * LENGTH], p[_SECOND * LENGTH : _WHICH * LENGTH],
        p[_WHICH * LENGTH : _AZIMUTH * LENGTH], p[_AZIMUTH * LENGTH : _SHARE * LENGTH],
    )  # fmt: skip
    for start in range(0, len(found.row), LENGTH):
        m = min(LENGTH, len(found.row) - start)
        for j in range(m):
            i, event = found.row[start + j], found.event[start + j]
            p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)] = photons.px[i], photons.py[i], photons.pz[i]
            p[at(_ENERGY, j)], keys[j], index[j] = photons.energy[i], event_key[event], i - offsets[event]
        _draw(m, key, keys, index, p, angles)
        _daughters(m, p)
        _write(m, start, found, photons, index, p, pairs)


@bare_kernel
def _write(
    m: int, start: int, found: Found, photons: Neutrals, index: NDArray[np.int64], p: Floats, pairs: Pairs
) -> None:
    """Rows of a block."""
    for j in range(m):
        i, s = found.row[start + j], found.path[start + j]
        px, py, pz = p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)]
        pt = math.sqrt(px * px + py * py)
        tgl = pz / pt
        x, y, z = photons.vx[i] + s * px / pt, photons.vy[i] + s * py / pt, photons.vz[i] + s * tgl
        time = photons.vt[i] + s * math.sqrt(1.0 + tgl * tgl) / C_LIGHT
        for k in range(2):
            n = 2 * (start + j) + k
            pairs.px[n], pairs.py[n] = p[at(_MOMENTA + 3 * k, j)], p[at(_MOMENTA + 3 * k + 1, j)]
            pairs.pz[n], pairs.mass[n] = p[at(_MOMENTA + 3 * k + 2, j)], ELECTRON_MASS
            pairs.vx[n], pairs.vy[n], pairs.vz[n], pairs.vt[n] = x, y, z, time
            pairs.particle_index[n], pairs.photon_index[n] = -2 - 2 * index[j] - k, index[j]
            pairs.layer[n], pairs.pdg[n], pairs.status[n] = found.layer[start + j], 22 * k - 11, 1
