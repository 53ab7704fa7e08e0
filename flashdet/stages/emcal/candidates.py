"""Which particles may reach a calorimeter: kernels of :mod:`.stage` that choose rows, before anything is computed.

What they do there is in :mod:`.deposits`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.emcal.front import ACROSS2, BLOCK, CURVATURE, DISTANCE, FROM_Z, SLOPE, mark
from flashdet.stages.neutrals import Neutrals

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

PHOTON = 22


class Charged(NamedTuple):
    """Truth of charged particles, from ``track`` (``*_true``) or ``charged``."""

    particle_index: NDArray[np.int32]
    species: NDArray[np.int8]
    pdg: NDArray[np.int32]
    charge: NDArray[np.int8]
    mass: Floats
    pt: Floats
    tgl: Floats
    phi: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


class Chosen(NamedTuple):
    """Rows of a table, and those of the events among them; as long as the table."""

    rows: NDArray[np.int32]
    offsets: Rows


def empty_chosen(n: int, n_events: int) -> Chosen:
    """Memory for the choice from `n` rows."""
    return Chosen(np.empty(n, np.int32), np.empty(n_events + 1, np.int64))


@bare_kernel
def choose_neutrals(
    particles: Neutrals, offsets: Rows, gone: NDArray[np.int32], gone_offsets: Rows, with_hadrons: bool,
    surfaces: Floats, way: Floats, possible: Rows, is_neutral: NDArray[np.uint8], chosen: Chosen,
) -> None:  # fmt: skip
    """Find the neutral particles that may reach the calorimeter.

    Passes without branches over the rows of an event: of ten rows per track in the record of a pp event two are neutral
    and final, and half a one points at the barrel.

    Parameters
    ----------
    particles : Neutrals
        The generator record.
    offsets : (n_events + 1,) int64
        Rows of the events.
    gone, gone_offsets : (n_charged,) int32 and (n_events + 1,) int64
        ``particle_index`` of the charged particles: those below -1 are made of photons that are gone, see
        `flashdet.stages.secondaries`.
    with_hadrons : bool
        Whether neutral hadrons count, or only photons.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    way, possible : (>= 12 * BLOCK,) float64 and (BLOCK,) int64
        Scratch space.
    is_neutral : (largest event,) uint8
        Scratch space.
    chosen : Chosen
        Out.
    """
    rows, n = chosen.rows, 0
    for event in range(len(offsets) - 1):
        chosen.offsets[event] = n
        first, last, n_neutral = offsets[event], offsets[event + 1], n
        # over views from 0 on: LLVM makes vector instructions of it
        status, code = particles.status[first:last], particles.pdg[first:last]
        for i in range(len(code)):
            is_neutral[i] = (status[i] == 1) & ((code[i] == PHOTON) | (with_hadrons & _is_neutral_hadron(code[i])))
        for i in range(gone_offsets[event], gone_offsets[event + 1]):
            if gone[i] < -1:
                is_neutral[(-2 - gone[i]) // 2] = 0
        for i in range(len(code)):
            rows[n_neutral] = first + i
            n_neutral += is_neutral[i]
        for start in range(n, n_neutral, BLOCK):
            n = _keep_neutrals(particles, rows, start, min(start + BLOCK, n_neutral), surfaces, way, possible, n)
    chosen.offsets[len(offsets) - 1] = n


@inline
def _is_neutral_hadron(code: int) -> bool:
    """Whether a neutral hadron lives long enough to reach a calorimeter: n, K0, Lambda, Xi0."""
    size = abs(code)
    return (size == 2112) | (code == 130) | (code == 310) | (size == 3122) | (size == 3322)


@inline
def _keep_neutrals(
    particles: Neutrals, rows: NDArray[np.int32], start: int, stop: int, surfaces: Floats, way: Floats, possible: Rows,
    n: int,
) -> int:  # fmt: skip
    """Move those of a block that may reach the calorimeter to place `n` and behind; returns the next free place."""
    for k in range(stop - start):
        i, j = rows[start + k], np.uint64(k)
        px, py = particles.px[i], particles.py[i]
        way[DISTANCE + j], way[FROM_Z + j] = abs(particles.vx[i]) + abs(particles.vy[i]), particles.vz[i]
        way[ACROSS2 + j], way[SLOPE + j], way[CURVATURE + j] = px * px + py * py, particles.pz[i], 0.0
    mark(stop - start, way, surfaces, possible)
    for k in range(stop - start):
        rows[n] = rows[start + k]
        n += possible[k]
    return n


@bare_kernel
def choose_charged(
    charged: Charged, offsets: Rows, bz: float, surfaces: Floats, way: Floats, possible: Rows, chosen: Chosen
) -> None:
    """Find the charged particles that may reach the calorimeter.

    Parameters
    ----------
    charged : Charged
        Charged particles.
    offsets : (n_events + 1,) int64
        Rows of the events.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    way, possible : (>= 12 * BLOCK,) float64 and (BLOCK,) int64
        Scratch space.
    chosen : Chosen
        Out.
    """
    rows, n = chosen.rows, 0
    vx, vy, vz, tgl, pt, charge = charged.vx, charged.vy, charged.vz, charged.tgl, charged.pt, charged.charge
    for event in range(len(offsets) - 1):
        chosen.offsets[event] = n
        for start in range(offsets[event], offsets[event + 1], BLOCK):
            size = min(BLOCK, offsets[event + 1] - start)
            for k in range(size):
                i, j = start + k, np.uint64(k)
                way[DISTANCE + j], way[FROM_Z + j] = abs(vx[i]) + abs(vy[i]), vz[i]
                way[ACROSS2 + j], way[SLOPE + j] = 1.0, tgl[i]
                way[CURVATURE + j] = curvature(charge[i] / pt[i], bz)
            mark(size, way, surfaces, possible)
            for k in range(size):
                rows[n] = start + k
                n += possible[k]
    chosen.offsets[len(offsets) - 1] = n
