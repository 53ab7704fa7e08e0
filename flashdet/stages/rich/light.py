"""Photons of the particles that cross a RICH.

In loops over the tracks of a block that have no branch, random numbers, angles, radii and resolutions are made for
vectors of tracks, in a third of the time. Rings among background are found in :mod:`.rings`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.counts import poisson_of
from flashdet.kernels.elementary import exp
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.noise import _normal
from flashdet.kernels.philox import poisson, words
from flashdet.stages.rich.blocks import (
    ANGLE,
    BLOCK,
    COSINE,
    ETA,
    KEPT,
    MASS_OVER_PT,
    PHOTONS_MEAN,
    RADIUS,
    SINE,
    SQUARE,
    VARIANCE,
    fill,
    gather,
    kept_of_block,
    rings_of_block,
)
from flashdet.stages.rich.optics import ARC_LIMIT, INDEX, LIMIT_RADIUS, N_WINDOWS, PHOTONS, WINDOW, small_angle

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

_U = np.uint64
#: Slots of the random numbers of a track: photons of its ring and of the background and the error of the angle, all of
#: one block of numbers; photons of the gas.
_SLOT_RING, _SLOT_GAS = 0, 2
_TWO_PI = 2.0 * math.pi


# --- random numbers --------------------------------------------------------------------------------------------------
@inline
def unit32(word: np.uint64) -> float:
    """The lower 32 bits of a word as a uniform number in (0, 1)."""
    return (float(np.int64(word & _U(0xFFFFFFFF))) + 0.5) * 2.3283064365386963e-10


# --- blocks ----------------------------------------------------------------------------------------------------------
@inline
def _true_angles(a: Floats, size: int) -> None:
    """Cherenkov angles of the particles of a block."""
    for k in range(size):
        # 1/p = 1/(pt cosh(eta))
        growth = exp(a[ETA + k])
        ratio, index = 2.0 * a[MASS_OVER_PT + k] * growth / (1.0 + growth * growth), a[INDEX * BLOCK + k]
        square = max(1.0 - (1.0 + ratio * ratio) / (index * index), 0.0)
        a[SQUARE + k], a[COSINE + k] = square, math.sqrt(1.0 - square)
        # nothing divides by zero below the threshold
        a[SINE + k] = math.sqrt(max(square, 1e-18))
        a[ANGLE + k] = small_angle(a[SINE + k], square)


# --- kernels ---------------------------------------------------------------------------------------------------------
@bare_kernel
def signal_kernel(
    rows: Integers, offsets: Integers, event_key: Words, particle_index: NDArray[np.int32], pt: Floats, eta: Floats,
    mass: Floats, charge: NDArray[np.int8], tile: Integers, u: Floats, v: Floats, optics: Floats, is_uniform: bool,
    edges: float, key: np.uint64, a: Floats, place: Integers, index: Integers, where: Words, bits: Words,
    signal: Integers, angle: Floats, variance: Floats, windows: Floats, noise: Floats, left: Words,
    is_noisy: bool, crowd: Floats,
) -> None:  # fmt: skip
    """Photons of the particles, their angles and variances, a normal number, and bits for later.

    Per density of background hits, also the photons in the window around the particle's ring, in that around the
    largest ring, and in any other of the windows that fit into the largest ring (the two rows of `crowd`).

    Of the two words of a track's random numbers the first has 32 bits each for the photons and for the background; the
    second is a normal number, which leaves its bits 9 to 11 over.
    """
    event = 0
    if is_uniform:
        fill(a, optics)
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        for k in range(size):
            i, place[k] = rows[first + k], first + k
            while i >= offsets[event + 1]:
                event += 1
            where[k], index[k] = event_key[event], particle_index[i]
            a[ETA + k], a[MASS_OVER_PT + k], a[PHOTONS_MEAN + k] = eta[i], mass[i] / pt[i], charge[i]
        for k in range(size):
            bits[0, k], bits[1, k] = words(key, where[k], index[k], _SLOT_RING)
        gather(a, size, place, tile, u, v, optics, is_uniform)
        _true_angles(a, size)
        rings_of_block(a, size)
        kept_of_block(a, size, edges)
        for k in range(size):
            j, square, kept = first + k, a[SQUARE + k], a[KEPT + k]
            a[PHOTONS_MEAN + k] *= a[PHOTONS_MEAN + k] * a[PHOTONS * BLOCK + k] * square * kept
            angle[j], variance[j] = a[ANGLE + k], a[VARIANCE + k]
            # of the background, per density
            windows[j] = _TWO_PI * a[RADIUS + k] * kept * a[WINDOW * BLOCK + k]
        if is_noisy:
            for k in range(size):
                a[RADIUS + k] = a[LIMIT_RADIUS * BLOCK + k]
            kept_of_block(a, size, edges)
            for k in range(size):
                share = math.pi * a[RADIUS + k] * a[KEPT + k]
                crowd[0, first + k] = 2.0 * share * a[WINDOW * BLOCK + k]
                # all hits within the largest ring, spread over as many windows as fit
                crowd[1, first + k] = share * a[RADIUS + k] / a[N_WINDOWS * BLOCK + k]
        for k in range(size):
            j = first + k
            noise[j] = _normal(bits[1, k], 1, key, where[k], index[k], _SLOT_RING)
            left[j] = (bits[0, k] << _U(32)) | ((bits[1, k] >> _U(9)) & _U(7))
            signal[j] = poisson_of(unit32(bits[0, k] >> _U(32)), a[PHOTONS_MEAN + k])
            if not a[SQUARE + k] > 0.0:
                angle[j], windows[j] = 0.0, 0.0
            elif a[SQUARE + k] >= ARC_LIMIT:
                angle[j] = math.asin(a[SINE + k])


@bare_kernel
def gas_kernel(
    rows: Integers, offsets: Integers, event_key: Words, particle_index: NDArray[np.int32], pt: Floats, eta: Floats,
    mass: Floats, charge: NDArray[np.int8], index: float, yield_: float, key: np.uint64, n_gas: NDArray[np.int32],
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
