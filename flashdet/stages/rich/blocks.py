"""Blocks of rings: the values that kernels work on, one place after the other, so that loops use vectors of rings.

Constants of the tiles, and radius and resolution of the rings of a block, are here because light and measurement share
them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline
from flashdet.stages.rich.optics import INDEX, N_RING, photon_variance, ring_radius

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Tracks of a block.
BLOCK = 128
#: Places of the values of a block: N_RING constants of the tiles, then the ring: angle, its cosine and sine, radius,
#: variance of a photon (later the squared error of the angle).
ANGLE, COSINE, SINE, RADIUS, VARIANCE = (i * BLOCK for i in range(N_RING, N_RING + 5))
#: First place that is free for kernels that only make rings.
N_SHARED = N_RING + 5
#: Photons found (or asked for, without a ring), mean photons of charge 1 at right angles with losses, background in the
#: window, variance of a photon anywhere in the window.
COUNT, YIELD, NOISE, ANYWHERE = (i * BLOCK for i in range(N_SHARED, N_SHARED + 4))
#: What the hypotheses share: bend/p^2 and 1 - bend with bend = 1/n^2, twice the relative error of the momentum.
SLOW, LIMIT, ERROR = (i * BLOCK for i in range(N_SHARED + 4, N_SHARED + 7))
#: Of one hypothesis: expected angle, distance in standard deviations, inverse of these, pull squared (without a ring
#: the error of sin^2), best sin^2, mean photons, log-likelihood.
EXPECTED, N_SIGMA, WEIGHT, PULL, BEST, MEAN, VALUE = (i * BLOCK for i in range(N_SHARED + 7, N_SHARED + 14))
#: First place that is free for the comparison.
N_COMPARED = N_SHARED + 14


@inline
def gather(a: Floats, place: Integers, size: int, tile: Integers, optics: Floats) -> None:
    """Constants of the tiles of the first `size` crossings of `place`."""
    for k in range(size):
        t = tile[place[k]]
        for p in range(N_RING):
            a[p * BLOCK + k] = optics[t, INDEX + p]


@inline
def rings_of_block(a: Floats, size: int) -> None:
    """Radius and variance of one photon for the cosines and sines of a block."""
    for k in range(size):
        a[RADIUS + k] = ring_radius(a[COSINE + k], a[SINE + k], a, BLOCK, k - INDEX * BLOCK)
    for k in range(size):
        a[VARIANCE + k] = photon_variance(a[COSINE + k], a[SINE + k], a, BLOCK, k - INDEX * BLOCK)
