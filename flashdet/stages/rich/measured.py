"""What is measured of the rings of a block: error of the angle, losses at edges, expected background.

Only measured values enter. Rings are made in :mod:`.rings`, and compared with hypotheses in :mod:`.hypotheses`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, log
from flashdet.kernels.jit import inline
from flashdet.stages.rich.blocks import (
    ANGLE,
    BLOCK,
    COSINE,
    COUNT,
    KEPT,
    NOISE,
    RADIUS,
    SINE,
    VARIANCE,
    YIELD,
    kept_of_block,
    rings_of_block,
)
from flashdet.stages.rich.optics import FLAT, LIMIT_ANGLE, LIMIT_RESOLUTION, PHOTONS, WINDOW

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


_TWO_PI = 2.0 * math.pi
#: Singly charged particles for each doubly charged one; collisions have more.
_LOG_RARITY = math.log(1e5)


@inline
def measure(a: Floats, n: int, place: Integers, density: Floats, edges: float) -> None:
    """Measure the first `n` rings of a block; their tiles, angles and numbers of photons are there.

    Cosine, sine and the squared error (in the place of the variance) of the angle are left there, and what the
    likelihood needs.
    """
    for k in range(n):
        # a ring beyond saturation is one at saturation
        angle = max(min(a[ANGLE + k], a[LIMIT_ANGLE * BLOCK + k]), 1e-6)
        a[COSINE + k], a[SINE + k] = cosine_and_sine(angle)
    rings_of_block(a, n)
    kept_of_block(a, n, edges)
    for k in range(n):
        a[NOISE + k] = density[place[k]]
    for k in range(n):
        a[NOISE + k] *= _TWO_PI * a[RADIUS + k] * a[KEPT + k] * a[WINDOW * BLOCK + k]
        a[YIELD + k] = a[PHOTONS * BLOCK + k] * a[KEPT + k]
    _errors(a, n)
    for k in range(n):
        a[COSINE + k], a[SINE + k] = cosine_and_sine(a[ANGLE + k])


@inline
def _errors(a: Floats, size: int) -> None:
    """Squared errors of measured angles.

    How many of the n photons are the ring's own is not known. With s of its own expected and b of the background they
    are a binomial number with the mean n s/(s + b), and the error is the mean of the variance over that number. n - b
    would be wrong: rings are found where the background is high by chance, and pulls in central Pb-Pb would be up to
    1.5 wide. For the same reason a ring is not of charge 2, with 4 s photons, as soon as n suits that better, but if
    the Poisson probabilities outweigh how rare such particles are: in the densest fifth of central Pb-Pb events 2 % of
    the pulls were beyond 5.
    """
    for k in range(size):
        n, b, resolution = a[COUNT + k], a[NOISE + k], a[LIMIT_RESOLUTION * BLOCK + k]
        flat = FLAT * resolution * resolution
        s = a[YIELD + k] * a[SINE + k] * a[SINE + k]
        # nothing expected at all: no ratio
        ratio = 1.0 + 3.0 * s / max(s + b, 1e-300)
        s = 4.0 * s if n * log(ratio) > 3.0 * s + _LOG_RARITY else s
        own = n * s / (s + b)
        # second order in the fluctuations of a binomial number: mean of 1/k and of 1/k^2
        scatter = b / ((s + b) * own)
        first, second = (1.0 + scatter) / own, (1.0 + 3.0 * scatter) / (own * own)
        square = min(a[VARIANCE + k] * first + flat * (n * second - first), flat)
        # also where no photon is expected
        a[VARIANCE + k] = square if own >= 1.0 else flat
