"""Likelihood of rings and of missing rings: what is common to all hypotheses of a track, and what differs.

Scalar helpers of the kernels in :mod:`.hypotheses`, which has the formulas' meaning in its docstring. All
densities of a ring are taken relative to that of a ring that is not the track's own: with the common parts out of the
way, a hypothesis costs two logarithms and two exponentials, all of them for vectors of tracks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import inline
from flashdet.stages.rich.optics import (
    EDGES,
    FREE,
    INDEX,
    LIMIT_ANGLE,
    LIMIT_RESOLUTION,
    PHOTONS,
    WINDOW_SIGMAS,
    background_photons,
    kept_fraction,
    ring_radius,
)

Floats = NDArray[np.float64]

#: Errors of the momentum below the threshold down to which a hypothesis may radiate after all.
NEAR = 5.0
_ROOT2 = math.sqrt(2.0)
_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
#: n log n - n, which would be a logarithm per ring.
_STEEPEST = np.array([n * math.log(n) - n if n else 0.0 for n in range(512)])
_STEEPEST.flags.writeable = False


# --- rings -----------------------------------------------------------------------------------------------------------
def log_flat(optics: Floats, outliers: float) -> Floats:
    """Log-densities of rings that may be anywhere.

    Parameters
    ----------
    optics : (n_optics, N_OPTIC) float64
        Tiles.
    outliers : float
        Share of rings with any angle and any number of photons up to that of saturation.

    Returns
    -------
    (n_optics, 2) float64
        Of outliers, in angle and number of photons; of ghosts, in the angle.
    """
    photons = optics[:, PHOTONS] * (1.0 - 1.0 / np.square(optics[:, INDEX]))
    outlier = outliers / (optics[:, LIMIT_ANGLE] * (photons + 1.0))
    ghost = 1.0 / (WINDOW_SIGMAS * optics[:, LIMIT_RESOLUTION])
    return np.ascontiguousarray(np.log(np.column_stack([outlier, ghost])))


@inline
def steepest(n: int) -> float:
    """Log of the Poisson probability of `n` photons if that many are expected, without 1/n!, over sqrt(2 pi)."""
    value = _STEEPEST[n] if n < len(_STEEPEST) else n * math.log(float(n)) - n
    return value - _LOG_ROOT_2PI


@inline
def log_ratio(n: float, mean: float) -> float:
    """Log of the Poisson probability of `n` photons if `mean` are expected, over that if `n` are."""
    return n * log(max(mean / n, 1e-300)) + n - mean


# --- missing rings ---------------------------------------------------------------------------------------------------
@inline
def positive_part(mean: float, sigma: float) -> float:
    """Mean of the positive part of a normal number: how the error of the momentum blurs the threshold."""
    if mean > NEAR * sigma:
        return mean
    x = mean / sigma
    return sigma * math.exp(-0.5 * x * x - _LOG_ROOT_2PI) + 0.5 * mean * math.erfc(-x / _ROOT2)


@inline
def light(square: float, charge: float, u: float, v: float, density: float, optic: Floats) -> float:
    """Mean photons in the window of a ring of this sin^2(theta) and charge squared, background included."""
    mean: float = optic[PHOTONS] * square * charge
    if optic[EDGES] == FREE:
        return mean
    radius = ring_radius(math.sqrt(1.0 - square), math.sqrt(square), optic, 1, 0)
    kept = kept_fraction(u, v, radius, optic)
    return mean * kept + background_photons(density, radius, kept, optic)


@inline
def no_ring(mean: float, threshold: int) -> float:
    """Probability of fewer photons than a ring needs, to 1e-11.

    The sum runs from the largest term away from the mean: down to zero if the mean is higher, and otherwise upwards for
    the complement. Central Pb-Pb events ask for up to a hundred photons and fifty terms: four of them at a time, which
    need not wait for each other, take 40 % of the time.
    """
    if not mean > 0.0:
        return 1.0
    is_low = threshold - 1 < mean
    k = threshold - 1 if is_low else threshold
    term = math.exp(k * math.log(mean) - mean - log_factorial(k))
    total = term
    if is_low:
        inverse = 1.0 / mean
        # beyond zero a factor is zero, and all that follows
        while term > 1e-11 * total:
            one = k * inverse
            two = one * ((k - 1) * inverse)
            three = two * ((k - 2) * inverse)
            four = three * ((k - 3) * inverse)
            total += term * ((one + two) + (three + four))
            term *= four
            k -= 4
        return min(total, 1.0)
    square = mean * mean
    fourth = square * square
    while term > 1e-11:
        low, high = (k + 1.0) * (k + 2.0), (k + 3.0) * (k + 4.0)
        inverse = 1.0 / (low * high)
        total += term * (inverse * (mean * high * (k + 2.0 + mean) + square * mean * (k + 4.0) + fourth))
        term *= fourth * inverse
        k += 4
    return 1.0 - total


@inline
def log_gas(n: int, ratio: float, yield_: float, index: float, floor: float) -> float:
    """Log of the Poisson probability of photons of the gas, without n!, of at least `floor` photons on average."""
    mean = max(yield_ * (1.0 - (1.0 + ratio) / (index * index)), floor)
    return n * math.log(mean) - mean
