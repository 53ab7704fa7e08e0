"""What a ring says about the mass: expected angles, distances in standard deviations, log-likelihoods.

Only measured values enter: track parameters with their covariance, the ring, and the expected background. Rings are
made in :mod:`.rings`, the parts of the likelihood are in :mod:`.likelihood`.

The tracker measures 1/p, and sin^2(theta) = 1 - (1 + m^2/p^2)/n^2 is nearly linear in it, while theta itself is a
square root near the threshold. The error of the expected angle therefore is that of sin^2(theta) divided by the slope
between the expected and the measured angle: sin^2(a) - sin^2(b) = sin(a + b) sin(a - b). Far from the threshold this is
the usual derivative; near it, pulls keep their unit width.

The kernel goes through the tracks in blocks and through the hypotheses in each of them: what does not depend on the
hypothesis is computed once and stays in the fastest cache.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, exp, log
from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import Crossings
from flashdet.stages.rich.likelihood import (
    NEAR,
    light,
    log_flat,
    log_gas,
    log_ratio,
    no_ring,
    positive_part,
    steepest,
)
from flashdet.stages.rich.optics import ARC_LIMIT, INDEX, PHOTONS, small_angle
from flashdet.stages.rich.rings import Rings
from flashdet.stages.rich.tiles import Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: (m/z)^2 of each hypothesis.
_SLOWNESS = np.square(MASS / CHARGE)
_SLOWNESS.flags.writeable = False
#: Tracks of a block.
_BLOCK = 128
#: Places of the values of a block, one per track. What the hypotheses share: bend/p^2 and 1 - bend with bend = 1/n^2,
#: twice the relative error of the momentum, the angle of the ring with its sine, cosine and variance.
_SLOW, _LIMIT, _ERROR, _ANGLE, _SINE, _COSINE, _VARIANCE = (i * _BLOCK for i in range(7))
#: For the likelihood: that of other rings, shares of outliers and ghosts among them, photons found, yield of an own
#: ring, background, and the log-density of the ring, were its photons expected, over that of other rings.
_OTHER, _OUTLIER, _GHOST, _COUNT, _YIELD, _NOISE, _SCALE = (i * _BLOCK for i in range(7, 14))
#: Of one hypothesis: expected angle, distance in standard deviations, inverse of these, pull squared, best sin^2,
#: highest sin^2 that the momentum allows, mean photons, log-likelihood.
_EXPECTED, _N_SIGMA, _WEIGHT, _PULL, _BEST, _HIGHEST, _MEAN, _VALUE = (i * _BLOCK for i in range(14, 22))
#: What these are made of, in the places of what comes later: index, slope, charge/pt and their covariances;
#: log-densities of outliers and ghosts, and of the photons of a ring, were they expected.
_INDEX, _TGL, _Q_OVER_PT, _COV9, _COV13, _COV14 = (i * _BLOCK for i in range(14, 20))
_FLAT, _FLAT_GHOST, _STEEPEST = (i * _BLOCK for i in range(14, 17))
_N_VALUES = 22 * _BLOCK


@dataclass(frozen=True)
class Hypotheses:
    """Every species compared with every ring; all arrays (n_species, n).

    Attributes
    ----------
    expected : float64
        Expected angle [rad], NaN below threshold and outside the acceptance.
    n_sigma : float64
        Distance of the measured angle in standard deviations, those of angle and momentum; NaN where an input is.
    log_likelihood : float64
        Up to a constant of the track, always finite; 0 outside the acceptance. Not filled if it is not asked for.
    """

    expected: Floats
    n_sigma: Floats
    log_likelihood: Floats


def compare_hypotheses(
    track: Mapping[str, NDArray[Any]], rings: Rings, crossings: Crossings, geometry: Geometry, config: RichConfig
) -> Hypotheses:
    """Compare rings and missing rings with every hypothesis.

    With b expected background photons in the window w around the ring and N expected photons, the likelihood of a ring
    of k photons at the angle theta is Poisson(k; N + b) Gauss(theta), for a particle below threshold Poisson(k; b)/w,
    the density of ghost rings. Losses at edges and b are those of the ring as it was found. Without a ring it is the
    probability of fewer photons than a ring needs: the veto of particles that should radiate. A small share of outliers
    keeps it above zero. Photons of a gas multiply a Poisson probability. Extended likelihood of a RICH: Forty and
    Schneider, LHCb-98-040 (1998), here for counts and angle.

    Parameters
    ----------
    track : mapping of str to array
        Columns ``tgl q_over_pt cov``.
    rings : Rings
        From `flashdet.stages.rich.rings.make_rings`.
    crossings, geometry : Crossings, Geometry
        Tiles and places on them.
    config : RichConfig
        Gas and outliers.

    Returns
    -------
    Hypotheses
    """
    n = len(rings.angle)
    # one block of memory instead of three: it comes in huge pages, which saves 100 ns per track in large batches
    result = Hypotheses(*np.empty((3, N_SPECIES, n)))
    for values, outside in ((result.expected, np.nan), (result.n_sigma, np.nan), (result.log_likelihood, 0.0)):
        values.fill(outside)
    gas = config.gas
    index, yield_ = (1.0, 0.0) if gas is None else (gas.refractive_index, gas.photon_yield * gas.length)
    optics, outliers = geometry.optics, config.outlier_fraction
    is_wide = bool(1.0 - 1.0 / optics[:, INDEX].max() ** 2 > ARC_LIMIT)
    _compare_kernel(
        crossings.rows, track["tgl"], track["q_over_pt"], track["cov"], crossings.optic, crossings.u, crossings.v,
        optics, rings.n_photons, rings.has_signal, rings.angle, rings.angle_error, rings.density, rings.kept,
        rings.background, rings.threshold, rings.n_gas, index, yield_, outliers, log_flat(optics, outliers),
        config.likelihood, is_wide, np.empty(_N_VALUES), np.empty(_BLOCK, np.int64),
        result.expected, result.n_sigma, result.log_likelihood,
    )  # fmt: skip
    return result


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _compare_kernel(
    rows: Integers, tgl: Floats, q_over_pt: Floats, cov: Floats, tile: Integers, u: Floats, v: Floats, optics: Floats,
    n_photons: NDArray[np.int32], found: NDArray[np.bool_], angle: Floats, angle_error: Floats, density: Floats,
    kept: Floats, background: Floats, threshold: NDArray[np.int32], n_gas: NDArray[np.int32], gas_index: float,
    gas_yield: float, outliers: float, flat: Floats, is_likelihood: bool, is_wide: bool, a: Floats, place: Integers,
    expected: Floats, n_sigma: Floats, log_likelihood: Floats,
) -> None:  # fmt: skip
    for first in range(0, len(rows), _BLOCK):
        size = min(_BLOCK, len(rows) - first)
        n_rings = _sort(rows, first, size, found, place)
        for k in range(size):
            j, i = place[k], rows[place[k]]
            a[_INDEX + k], a[_ANGLE + k], a[_VARIANCE + k] = optics[tile[j], INDEX], angle[i], angle_error[i]
            a[_TGL + k], a[_Q_OVER_PT + k] = tgl[i], q_over_pt[i]
            a[_COV9 + k], a[_COV13 + k], a[_COV14 + k] = cov[i, 9], cov[i, 13], cov[i, 14]
        _share(a, size)
        if is_likelihood:
            for k in range(n_rings):
                j, n = place[k], n_photons[rows[place[k]]]
                a[_NOISE + k], a[_YIELD + k], a[_COUNT + k] = background[j], optics[tile[j], PHOTONS] * kept[j], n
                a[_FLAT + k], a[_FLAT_GHOST + k] = flat[tile[j], 0] + log_factorial(n), flat[tile[j], 1]
                a[_STEEPEST + k] = steepest(n)
            _share_of_rings(a, n_rings)
        for h in range(N_SPECIES):
            _distances(a, size, _SLOWNESS[h], is_wide)
            for k in range(size):
                i = rows[place[k]]
                expected[h, i], n_sigma[h, i] = a[_EXPECTED + k], a[_N_SIGMA + k]
            if not is_likelihood:
                continue
            square = CHARGE[h] * CHARGE[h]
            _of_rings(a, n_rings, square)
            for k in range(n_rings, size):
                j = place[k]
                a[_VALUE + k] = _of_nothing(
                    a, k, _SLOWNESS[h], square, u[j], v[j], density[j], threshold[j], outliers, optics[tile[j]]
                )
            if gas_yield > 0.0:
                for k in range(size):
                    ratio = _SLOWNESS[h] * a[_SLOW + k] / (1.0 - a[_LIMIT + k])
                    a[_VALUE + k] += log_gas(n_gas[rows[place[k]]], ratio, gas_yield * square, gas_index, outliers)
            for k in range(size):
                log_likelihood[h, rows[place[k]]] = a[_VALUE + k]


@inline
def _sort(rows: Integers, first: int, size: int, found: NDArray[np.bool_], place: Integers) -> int:
    """Crossings of a block, those with a ring in front; the number of these."""
    n_rings, last = 0, size
    for j in range(first, first + size):
        if found[rows[j]]:
            place[n_rings] = j
            n_rings += 1
        else:
            last -= 1
            place[last] = j
    return n_rings


@inline
def _share(a: Floats, size: int) -> None:
    """What the tracks of a block and their rings give to all hypotheses."""
    for k in range(size):
        bend, t, q = 1.0 / (a[_INDEX + k] * a[_INDEX + k]), a[_TGL + k], a[_Q_OVER_PT + k]
        stretch = 1.0 / (1.0 + t * t)
        a[_SLOW + k], a[_LIMIT + k] = bend * q * q * stretch, 1.0 - bend
        # of log p, as in flashdet.stages.pid.log_momentum_variance
        t *= stretch
        q = 1.0 / q
        variance = t * t * a[_COV9 + k] - 2.0 * t * q * a[_COV13 + k] + q * q * a[_COV14 + k]
        a[_ERROR + k] = 2.0 * math.sqrt(max(variance, 0.0))
    for k in range(size):
        a[_COSINE + k], a[_SINE + k] = cosine_and_sine(a[_ANGLE + k])
        a[_VARIANCE + k] *= a[_VARIANCE + k]


@inline
def _share_of_rings(a: Floats, n_rings: int) -> None:
    """What the likelihoods of all hypotheses of a ring have in common: see `flashdet.stages.rich.likelihood`."""
    for k in range(n_rings):
        noise = a[_NOISE + k]
        # no background: next to nothing
        a[_GHOST + k] = a[_FLAT_GHOST + k] + a[_COUNT + k] * log(max(noise, 1e-300)) - noise
    for k in range(n_rings):
        distance = a[_GHOST + k] - a[_FLAT + k]
        small = exp(max(-abs(distance), -700.0))
        more = 1.0 / (1.0 + small)
        less = small * more
        a[_OTHER + k] = max(a[_FLAT + k], a[_GHOST + k]) + log(1.0 + small)
        a[_OUTLIER + k], a[_GHOST + k] = (more, less) if distance < 0.0 else (less, more)
        a[_SCALE + k] = a[_STEEPEST + k] - a[_OTHER + k]


@inline
def _distances(a: Floats, size: int, slowness: float, is_wide: bool) -> None:
    """Compare one hypothesis with a block: no branch, so that vectors of tracks are worked on at once (3 times faster).

    With the slope D of sin^2 between measured and expected angle, the error e of sin^2 from the momentum and s of the
    measured angle, the distance in standard deviations is (sin^2 - expected)/sqrt((D s)^2 + e^2). Momentum and angle
    together know sin^2 best.
    """
    for j in range(size):
        shrink = slowness * a[_SLOW + j]
        # sin^2(theta), negative below threshold, and its error
        square, sigma = a[_LIMIT + j] - shrink, a[_ERROR + j] * shrink
        positive = max(square, 0.0)
        sine, cosine = math.sqrt(positive), math.sqrt(1.0 - positive)
        slope = a[_SINE + j] * cosine + a[_COSINE + j] * sine
        # the smallest number: nothing divides by zero if nothing has an error
        inverse = 1.0 / math.sqrt(a[_VARIANCE + j] * slope * slope + sigma * sigma + 1e-300)
        distance, share = a[_SINE + j] * a[_SINE + j] - square, sigma * inverse
        weight, pull = slope * inverse, distance * inverse
        a[_WEIGHT + j], a[_PULL + j] = weight, pull * pull
        a[_BEST + j], a[_HIGHEST + j] = square + share * share * distance, square + NEAR * sigma
        angle = small_angle(sine, positive) if square > 0.0 else np.nan
        a[_EXPECTED + j], a[_N_SIGMA + j] = angle, (a[_ANGLE + j] - angle) * weight
    if is_wide:
        # radiators of high index: the series does not reach that far
        for j in range(size):
            square = a[_LIMIT + j] - slowness * a[_SLOW + j]
            a[_EXPECTED + j] = math.asin(math.sqrt(square)) if square > 0.0 else np.nan
            a[_N_SIGMA + j] = (a[_ANGLE + j] - a[_EXPECTED + j]) * a[_WEIGHT + j]


@inline
def _of_rings(a: Floats, n_rings: int, charge: float) -> None:
    """Log-likelihoods of the rings of a block for a hypothesis of this charge squared.

    Loops without a branch again, and short ones: their vectors need not wait for each other, half the time of one loop.
    """
    for j in range(n_rings):
        mean = a[_YIELD + j] * charge * max(a[_BEST + j], 0.0)
        a[_MEAN + j], a[_VALUE + j] = mean, log_ratio(a[_COUNT + j], mean + a[_NOISE + j])
    for j in range(n_rings):
        # a ghost, if none of the particle's photons is seen
        a[_MEAN + j] = a[_OUTLIER + j] + a[_GHOST + j] * exp(max(-a[_MEAN + j], -700.0))
    for j in range(n_rings):
        own = exp(max(a[_SCALE + j] + a[_VALUE + j] - 0.5 * a[_PULL + j], -700.0))
        a[_MEAN + j] += own * a[_WEIGHT + j]
    for j in range(n_rings):
        ratio = log(a[_MEAN + j])
        # nothing is expected below the threshold
        ratio = ratio if a[_HIGHEST + j] > 0.0 else 0.0
        a[_VALUE + j] = a[_OTHER + j] + (ratio if a[_BEST + j] > 0.0 else 0.0)


@inline
def _of_nothing(
    a: Floats, j: int, slowness: float, charge: float, u: float, v: float, density: float, threshold: int,
    outliers: float, optic: Floats,
) -> float:  # fmt: skip
    """Log-likelihood of no ring for a hypothesis: the veto of particles that should radiate."""
    if not a[_HIGHEST + j] > 0.0:
        return 0.0
    shrink = slowness * a[_SLOW + j]
    blurred = positive_part(a[_LIMIT + j] - shrink, a[_ERROR + j] * shrink)
    mean = light(blurred, charge, u, v, density, optic)
    return math.log(outliers + (1.0 - outliers) * no_ring(mean, threshold))
