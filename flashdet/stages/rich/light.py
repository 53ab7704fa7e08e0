"""Photons of the particles that cross a RICH, and the optics of whole blocks of rings.

In loops over the tracks of a block that have no branch, angles, radii and resolutions are computed for vectors of
tracks, in a third of the time. Rings among background are found in :mod:`.rings`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import exp
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import poisson, poisson_at, uniforms
from flashdet.stages.rich.optics import (
    ARC_LIMIT,
    INDEX,
    N_RING,
    PHOTONS,
    background_photons,
    kept_fraction,
    photon_variance,
    ring_radius,
    small_angle,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track: photons of its ring and of the background (both numbers of the slot are used:
#: each slot costs 30 ns); photons of the gas.
_SLOT_PHOTONS, _SLOT_GAS = 0, 2
#: Tracks of a block.
BLOCK = 128
#: Places of the values of a block: N_RING constants of the tiles, then the ring: angle, cosine, sine, radius, variance
#: of a photon, sin^2; and of the particle pseudorapidity and m/pt.
ANGLE, COSINE, SINE, RADIUS, VARIANCE, _SQUARE, _ETA, _SLOW = (i * BLOCK for i in range(N_RING, N_RING + 8))
N_VALUES = (N_RING + 8) * BLOCK


# --- blocks ----------------------------------------------------------------------------------------------------------
@inline
def gather(a: Floats, place: Integers, first: int, size: int, tile: Integers, optics: Floats) -> None:
    """Constants of the tiles of the crossings ``place[first : first + size]``."""
    for p in range(N_RING):
        for k in range(size):
            a[p * BLOCK + k] = optics[tile[place[first + k]], INDEX + p]


@inline
def rings_of_block(a: Floats, size: int) -> None:
    """Radius and variance of one photon for the cosines and sines of a block."""
    for k in range(size):
        a[RADIUS + k] = ring_radius(a[COSINE + k], a[SINE + k], a, BLOCK, k - INDEX * BLOCK)
    for k in range(size):
        a[VARIANCE + k] = photon_variance(a[COSINE + k], a[SINE + k], a, BLOCK, k - INDEX * BLOCK)


@inline
def _true_angles(a: Floats, size: int) -> None:
    """Cherenkov angles of the particles of a block."""
    for k in range(size):
        # 1/p = 1/(pt cosh(eta))
        growth = exp(a[_ETA + k])
        ratio, index = 2.0 * a[_SLOW + k] * growth / (1.0 + growth * growth), a[k]
        square = max(1.0 - (1.0 + ratio * ratio) / (index * index), 0.0)
        a[_SQUARE + k], a[COSINE + k] = square, math.sqrt(1.0 - square)
        # nothing divides by zero below the threshold
        a[SINE + k] = math.sqrt(max(square, 1e-18))
        a[ANGLE + k] = small_angle(a[SINE + k], square)


# --- kernels ---------------------------------------------------------------------------------------------------------
@bare_kernel
def signal_kernel(
    rows: Integers, offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], pt: Floats,
    eta: Floats, mass: Floats, charge: NDArray[np.int8], tile: Integers, u: Floats, v: Floats, optics: Floats,
    key: np.uint64, a: Floats, place: Integers, signal: NDArray[np.int32], angle: Floats, variance: Floats,
    windows: Floats, chances: Floats,
) -> None:  # fmt: skip
    """Photons of the particles; their angles and variances, background windows, and a random number for later."""
    event = 0
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        for k in range(size):
            i, place[k] = rows[first + k], first + k
            a[_ETA + k], a[_SLOW + k] = eta[i], mass[i] / pt[i]
        gather(a, place, 0, size, tile, optics)
        _true_angles(a, size)
        rings_of_block(a, size)
        for k in range(size):
            j, i, square = first + k, rows[first + k], a[_SQUARE + k]
            while i >= offsets[event + 1]:
                event += 1
            signal[j], angle[j], variance[j], windows[j], chances[j] = 0, 0.0, a[VARIANCE + k], 0.0, 0.5
            if not square > 0.0:
                continue
            angle[j] = a[ANGLE + k] if square < ARC_LIMIT else math.asin(a[SINE + k])
            optic = optics[tile[j]]
            kept = kept_fraction(u[j], v[j], a[RADIUS + k], optic)
            windows[j] = background_photons(1.0, a[RADIUS + k], kept, optic)
            mean = optic[PHOTONS] * square * kept * charge[i] * charge[i]
            chance, chances[j] = uniforms(key, event_key[event], particle_index[i], _SLOT_PHOTONS)
            signal[j] = poisson_at(chance, mean)


@bare_kernel
def gas_kernel(
    rows: Integers, offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], pt: Floats,
    eta: Floats, mass: Floats, charge: NDArray[np.int8], index: float, yield_: float, key: np.uint64,
    n_gas: NDArray[np.int32],
) -> None:  # fmt: skip
    """Photons of the gas."""
    event = 0
    for i in rows:
        while i >= offsets[event + 1]:
            event += 1
        ratio = mass[i] / (pt[i] * math.cosh(eta[i]))
        square = 1.0 - (1.0 + ratio * ratio) / (index * index)
        if square > 0.0:
            mean = yield_ * square * charge[i] * charge[i]
            n_gas[i] = poisson(key, event_key[event], particle_index[i], _SLOT_GAS, mean)
