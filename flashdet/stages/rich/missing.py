"""Log-likelihood of no ring: the veto of particles that should radiate, for a block of tracks and one hypothesis.

The probability of too few photons is in :mod:`.likelihood`, what it is made of is said in :mod:`.hypotheses`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import inline
from flashdet.stages.rich.blocks import BEST, BLOCK, COUNT, MEAN, NOISE, PULL, RADIUS, VALUE, YIELD
from flashdet.stages.rich.likelihood import NEAR, few, many, positive_part
from flashdet.stages.rich.optics import INDEX, PHOTONS, WINDOW, kept_fraction, ring_radius

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TWO_PI = 2.0 * math.pi


@inline
def gather_missing(
    a: Floats, begin: int, end: int, place: Integers, tile: Integers, optics: Floats, density: Floats,
    threshold: Integers,
) -> None:  # fmt: skip
    """What tracks without a ring give to all hypotheses."""
    for k in range(begin, end):
        j = place[k]
        t = tile[j]
        # times radius and share of the ring: photons of the background in its window
        a[YIELD + k], a[NOISE + k] = optics[t, PHOTONS], density[j] * _TWO_PI * optics[t, WINDOW]
        a[COUNT + k] = threshold[j]


@inline
def log_missing(
    a: Floats, begin: int, end: int, is_many: bool, is_free: bool, charge: float, u: Floats, v: Floats,
    place: Integers, tile: Integers, optics: Floats, outliers: float,
) -> None:  # fmt: skip
    """Log-likelihoods of no ring; sin^2 of the hypothesis and its error are there, `charge` is that squared."""
    for k in range(begin, end):
        # how the error of the momentum blurs the threshold
        if not a[BEST + k] > NEAR * a[PULL + k]:
            a[BEST + k] = positive_part(a[BEST + k], a[PULL + k])
    if is_free:
        for k in range(begin, end):
            a[MEAN + k] = a[YIELD + k] * charge * a[BEST + k]
    else:
        for k in range(begin, end):
            square = a[BEST + k]
            a[RADIUS + k] = ring_radius(math.sqrt(1.0 - square), math.sqrt(square), a, BLOCK, k - INDEX * BLOCK)
        for k in range(begin, end):
            j = place[k]
            kept = kept_fraction(u[j], v[j], a[RADIUS + k], optics[tile[j]])
            a[MEAN + k] = kept * (a[YIELD + k] * charge * a[BEST + k] + a[NOISE + k] * a[RADIUS + k])
    if is_many:
        for k in range(begin, end):
            a[VALUE + k] = many(a[MEAN + k], a[COUNT + k])
    else:
        for k in range(begin, end):
            a[VALUE + k] = few(a[MEAN + k], int(a[COUNT + k]))
    for k in range(begin, end):
        a[VALUE + k] = log(outliers + (1.0 - outliers) * a[VALUE + k])
