"""Log-likelihood of no ring: the veto of particles that should radiate, for a block of tracks and one hypothesis.

The probability of too few photons is in :mod:`.likelihood`, what it is made of is said in :mod:`.hypotheses`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import inline
from flashdet.stages.rich.blocks import BEST, BLOCK, COUNT, KEPT, MEAN, NOISE, PULL, RADIUS, VALUE, kept_of_block
from flashdet.stages.rich.likelihood import NEAR, few, many, positive_part
from flashdet.stages.rich.optics import PHOTONS, WINDOW, ring_radius

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TWO_PI = 2.0 * math.pi


@inline
def gather_missing(a: Floats, size: int, place: Integers, density: Floats, threshold: Integers) -> None:
    """What tracks without a ring give to all hypotheses."""
    for k in range(size):
        a[NOISE + k], a[COUNT + k] = density[place[k]], threshold[place[k]]
    for k in range(size):
        # times radius and share of the ring: photons of the background in its window
        a[NOISE + k] *= _TWO_PI * a[WINDOW * BLOCK + k]


@inline
def log_missing(a: Floats, size: int, is_many: bool, edges: float, charge: float, outliers: float) -> None:
    """Log-likelihoods of no ring; sin^2 of the hypothesis and its error are there, `charge` is that squared."""
    for k in range(size):
        # how the error of the momentum blurs the threshold
        if not a[BEST + k] > NEAR * a[PULL + k]:
            a[BEST + k] = positive_part(a[BEST + k], a[PULL + k])
    for k in range(size):
        square = a[BEST + k]
        a[RADIUS + k] = ring_radius(math.sqrt(1.0 - square), math.sqrt(square), a, BLOCK, k)
    kept_of_block(a, size, edges)
    for k in range(size):
        own = a[PHOTONS * BLOCK + k] * charge * a[BEST + k]
        a[MEAN + k] = a[KEPT + k] * (own + a[NOISE + k] * a[RADIUS + k])
    if is_many:
        for k in range(size):
            a[VALUE + k] = many(a[MEAN + k], a[COUNT + k])
    else:
        for k in range(size):
            a[VALUE + k] = few(a[MEAN + k], int(a[COUNT + k]))
    for k in range(size):
        a[VALUE + k] = log(outliers + (1.0 - outliers) * a[VALUE + k])
