"""What a ring says about the mass: expected angles, distances in standard deviations, log-likelihoods.

Only measured values enter: track parameters with their covariance, the ring, and the expected background. Rings are
made in :mod:`flashdet.stages.rich_rings`.

The tracker measures 1/p, and sin^2(theta) = 1 - (1 + m^2/p^2)/n^2 is nearly linear in it, while theta itself is a
square root near the threshold. The error of the expected angle therefore is that of sin^2(theta) divided by the slope
between the expected and the measured angle: sin^2(a) - sin^2(b) = sin(a + b) sin(a - b). Far from the threshold this is
the usual derivative; near it, pulls keep their unit width.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity
from flashdet.stages.rich_config import RichConfig
from flashdet.stages.rich_optics import (
    EDGES,
    FREE,
    INDEX,
    LIMIT_ANGLE,
    LIMIT_RESOLUTION,
    PHOTONS,
    WINDOW_SIGMAS,
    kept_fraction,
    ring_radius,
)
from flashdet.stages.rich_rings import Rings, background_photons
from flashdet.stages.rich_tiles import Crossings, Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Errors of the momentum below the threshold down to which a hypothesis may radiate after all.
_NEAR = 5.0
_ROOT2 = math.sqrt(2.0)
_LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
#: (m/z)^2 of each hypothesis.
_SLOWNESS = np.square(MASS / CHARGE)
_SLOWNESS.flags.writeable = False
#: log n!, in a table because lgamma takes 30 ns.
_LOG_FACTORIAL = np.array([math.lgamma(n + 1.0) for n in range(256)])
_LOG_FACTORIAL.flags.writeable = False


@dataclass(frozen=True)
class Hypotheses:
    """Every species compared with every ring; all arrays (n_species, n).

    Attributes
    ----------
    expected, expected_error : float64
        Expected angle and its error [rad], NaN below threshold and outside the acceptance.
    n_sigma : float64
        (angle - expected)/sqrt(angle_error^2 + expected_error^2), NaN where an input is.
    log_likelihood : float64
        Up to a constant of the track, always finite; 0 outside the acceptance, and if it is not asked for.
    """

    expected: Floats
    expected_error: Floats
    n_sigma: Floats
    log_likelihood: Floats


def compare_hypotheses(
    track: Mapping[str, NDArray[Any]], rings: Rings, crossings: Crossings, geometry: Geometry, config: RichConfig
) -> Hypotheses:
    """Compare rings and missing rings with every hypothesis.

    With b expected background photons in the window w around the ring and N expected photons, the likelihood of a ring
    of k photons at the angle theta is Poisson(k; N + b) Gauss(theta), for a particle below threshold Poisson(k; b)/w,
    the density of ghost rings. Without a ring it is the probability of fewer photons than a ring needs: the veto of
    particles that should radiate. A small share of outliers keeps it above zero. Photons of a gas multiply a Poisson
    probability. Extended likelihood of a RICH: Forty and Schneider, LHCb-98-040 (1998), here for counts and angle.

    Parameters
    ----------
    track : mapping of str to array
        Columns ``tgl q_over_pt cov``.
    rings : Rings
        From `flashdet.stages.rich_rings.make_rings`.
    crossings, geometry : Crossings, Geometry
        Tiles and places on them.
    config : RichConfig
        Gas and outliers.

    Returns
    -------
    Hypotheses
    """
    # one block of memory instead of four: it comes in huge pages, which saves 160 ns per track in large batches
    result = Hypotheses(*np.empty((4, N_SPECIES, len(rings.angle))))
    gas = config.gas
    index, yield_ = (1.0, 0.0) if gas is None else (gas.refractive_index, gas.photon_yield * gas.length)
    _compare_kernel(
        track["tgl"], track["q_over_pt"], track["cov"], crossings.optic, crossings.u, crossings.v, geometry.optics,
        rings.n_photons, rings.has_signal, rings.angle, rings.angle_error, rings.density, rings.threshold, rings.n_gas,
        index, yield_, config.outlier_fraction, config.likelihood,
        result.expected, result.expected_error, result.n_sigma, result.log_likelihood,
    )  # fmt: skip
    return result


# --- kernels ---------------------------------------------------------------------------------------------------------
@inline
def _positive_part(mean: float, sigma: float) -> float:
    """Mean of the positive part of a normal number: how the error of the momentum blurs the threshold."""
    if mean > _NEAR * sigma:
        return mean
    x = mean / sigma
    return sigma * math.exp(-0.5 * x * x - _LOG_ROOT_2PI) + 0.5 * mean * math.erfc(-x / _ROOT2)


@inline
def _log_gas(n: int, ratio: float, yield_: float, index: float, floor: float) -> float:
    """Log of the Poisson probability of photons of the gas, without n!, of at least `floor` photons on average."""
    mean = max(yield_ * (1.0 - (1.0 + ratio) / (index * index)), floor)
    return n * math.log(mean) - mean


@inline
def _no_ring(mean: float, threshold: int) -> float:
    """Probability of fewer photons than a ring needs."""
    term = math.exp(-mean)
    total = term
    for k in range(1, threshold):
        term *= mean / k
        total += term
    return min(total, 1.0)


@inline
def _light(square: float, charge: float, u: float, v: float, density: float, optic: Floats) -> tuple[float, float]:
    """Mean photons of a ring with sin^2(theta) = `square`, and of the background in its window."""
    mean = optic[PHOTONS] * square * charge * charge
    if optic[EDGES] == FREE:
        return mean, 0.0
    radius = ring_radius(math.sqrt(1.0 - square), math.sqrt(square), optic)
    kept = kept_fraction(u, v, radius, optic)
    return mean * kept, background_photons(density, radius, kept, optic)


@inline
def _log_sum(a: float, b: float) -> float:
    """log(exp(a) + exp(b)); what is e^40 times smaller is left out."""
    distance = abs(a - b)
    if distance > 40.0:
        return max(a, b)
    small = math.exp(-distance)
    # the next term of the series is below 1e-16
    return max(a, b) + (small - 0.5 * small * small if distance > 12.0 else math.log1p(small))


@inline
def _log_ring(n: int, mean: float, noise: float, pull: float, variance: float) -> float:
    """Log of the density of a ring of `n` photons, without n!, at the squared distance `pull` from expectation."""
    return n * math.log(mean + noise) - mean - noise - 0.5 * (pull + math.log(variance)) - _LOG_ROOT_2PI


@kernel
def _compare_kernel(
    tgl: Floats, q_over_pt: Floats, cov: Floats, row: Integers, u: Floats, v: Floats, optics: Floats,
    n_photons: NDArray[np.int32], found: NDArray[np.bool_], angle: Floats, angle_error: Floats, density: Floats,
    threshold: NDArray[np.int32], n_gas: NDArray[np.int32], gas_index: float, gas_yield: float, outliers: float,
    is_likelihood: bool, expected: Floats, error: Floats, n_sigma: Floats, log_likelihood: Floats,
) -> None:  # fmt: skip
    for i in range(len(row)):
        for h in range(N_SPECIES):
            expected[h, i], error[h, i], n_sigma[h, i], log_likelihood[h, i] = np.nan, np.nan, np.nan, 0.0
        if row[i] < 0:
            continue
        optic = optics[row[i]]
        relative = math.sqrt(max(log_momentum_variance(tgl[i], q_over_pt[i], cov[i]), 0.0))
        # no division per hypothesis
        bend, inverse = 1.0 / (optic[INDEX] * optic[INDEX]), 1.0 / rigidity(tgl[i], q_over_pt[i]) ** 2
        n, sine, cosine, outlier, ghost = n_photons[i], 0.0, 1.0, 0.0, -np.inf
        if found[i]:
            sine, cosine = math.sin(angle[i]), math.cos(angle[i])
        if found[i] and is_likelihood:
            outlier, ghost = _other_rings(n, sine * sine, u[i], v[i], density[i], outliers, optic)
        dark = _log_sum(outlier, ghost) if is_likelihood else 0.0
        for h in range(N_SPECIES):
            ratio = _SLOWNESS[h] * inverse
            # sin^2(theta), negative below threshold, and its error
            square, sigma = 1.0 - (1.0 + ratio) * bend, 2.0 * ratio * relative * bend
            value = dark if found[i] else 0.0
            if square > -_NEAR * sigma:
                ring, ring_cosine = math.sqrt(max(square, 0.0)), math.sqrt(1.0 - max(square, 0.0))
                # the slope of sin^2 between expected and measured angle
                slope = sine * ring_cosine + cosine * ring if found[i] else 2.0 * ring * ring_cosine
                steep = 1.0 / slope if slope > 0.0 else 0.0
                shift = sigma * steep
                if square > 0.0:
                    expected[h, i], error[h, i] = math.acos(ring_cosine), shift
                if found[i]:
                    variance = angle_error[i] * angle_error[i] + shift * shift
                    weight, distance = 1.0 / variance, sine * sine - square
                    # NaN below threshold, as the expected angle
                    n_sigma[h, i] = (angle[i] - expected[h, i]) * math.sqrt(weight)
                    if not is_likelihood:
                        continue
                    # momentum and angle together know sin^2 best: that many photons are expected
                    best = square + shift * shift * weight * distance
                    if best > 0.0:
                        mean, noise = _light(best, CHARGE[h], u[i], v[i], density[i], optic)
                        own = _log_ring(n, mean, noise, distance * distance * steep * steep * weight, variance)
                        # or a ghost, if none of its photons is seen
                        value = _log_sum(own, _log_sum(outlier, ghost - mean))
                elif is_likelihood:
                    mean, noise = _light(_positive_part(square, sigma), CHARGE[h], u[i], v[i], density[i], optic)
                    value = math.log(outliers + (1.0 - outliers) * _no_ring(mean + noise, threshold[i]))
            if gas_yield > 0.0 and is_likelihood:
                value += _log_gas(n_gas[i], ratio, gas_yield * CHARGE[h] * CHARGE[h], gas_index, outliers)
            log_likelihood[h, i] = value


@inline
def _other_rings(
    n: int, square: float, u: float, v: float, density: float, outliers: float, optic: Floats
) -> tuple[float, float]:
    """Log-densities of outliers, any angle and any number up to that of saturation, and of ghosts of this angle."""
    limit = 1.0 - 1.0 / (optic[INDEX] * optic[INDEX])
    factorial = _LOG_FACTORIAL[n] if n < len(_LOG_FACTORIAL) else math.lgamma(n + 1.0)
    outlier = math.log(outliers / (optic[LIMIT_ANGLE] * (optic[PHOTONS] * limit + 1.0))) + factorial
    if not density > 0.0:
        return outlier, -np.inf
    _, mean = _light(min(square, limit), 1.0, u, v, density, optic)
    if not mean > 0.0:
        return outlier, -np.inf
    return outlier, n * math.log(mean) - mean - math.log(WINDOW_SIGMAS * optic[LIMIT_RESOLUTION])
