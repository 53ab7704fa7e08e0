"""What a ring says about the mass: expected angles, distances in standard deviations, log-likelihoods.

Only measured values enter: track parameters with their covariance, the ring, and the expected background. Rings are
made in :mod:`.rings` and measured in :mod:`.measured`, the parts of the likelihood are in :mod:`.likelihood`, missing
rings in :mod:`.missing`.

The tracker measures 1/p, and sin^2(theta) = 1 - (1 + m^2/p^2)/n^2 is nearly linear in it, while theta itself is a
square root near the threshold. The error of the expected angle therefore is that of sin^2(theta) divided by the slope
between the expected and the measured angle: sin^2(a) - sin^2(b) = sin(a + b) sin(a - b). Far from the threshold this is
the usual derivative; near it, pulls keep their unit width.

The kernel goes through the tracks in blocks and through the hypotheses in each of them: what does not depend on the
hypothesis is computed once, and columns are written while they are in the cache. Half to three quarters of all
combinations are below threshold: in a block, tracks are sorted by the number of hypotheses under which they may
radiate, so that those of any hypothesis are the first ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import exp, log
from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES
from flashdet.stages.rich.blocks import (
    ANGLE,
    BEST,
    BLOCK,
    COSINE,
    COUNT,
    ERROR,
    EXPECTED,
    GHOST,
    LIMIT,
    MEAN,
    N_SIGMA,
    N_VALUES,
    NOISE,
    OTHER,
    OUTLIER,
    PULL,
    SCALE,
    SINE,
    SLOW,
    VALUE,
    VARIANCE,
    WEIGHT,
    YIELD,
    fill,
    gather,
)
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import Crossings
from flashdet.stages.rich.likelihood import LOG_ROOT_2PI, MANY, NEAR, log_flat, log_gas
from flashdet.stages.rich.measured import measure
from flashdet.stages.rich.missing import gather_missing, log_missing
from flashdet.stages.rich.optics import ARC_LIMIT, INDEX, small_angle
from flashdet.stages.rich.rings import Rings
from flashdet.stages.rich.tiles import Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]
Words = NDArray[np.uint64]

#: Hypotheses by rising m/|z|, and in this order (m/z)^2, its inverse and z^2.
_ORDER = np.argsort(MASS / CHARGE, kind="stable")
_SLOWNESS = np.square(MASS / CHARGE)[_ORDER]
_FASTEST, _CHARGE = 1.0 / _SLOWNESS, np.square(CHARGE)[_ORDER]
for _constant in (_ORDER, _SLOWNESS, _FASTEST, _CHARGE):
    _constant.flags.writeable = False
#: What a block begins with, in the places of what comes later: index, slope, charge/pt and their covariances; what all
#: hypotheses share, before it is sorted; log-densities of outliers and ghosts.
_INDEX, _TGL, _Q_OVER_PT, _COV9, _COV13, _COV14 = EXPECTED, N_SIGMA, WEIGHT, PULL, BEST, MEAN
_RAW_SLOW, _RAW_LIMIT, _RAW_ERROR, _RANK = OTHER, OUTLIER, GHOST, VALUE
_FLAT, _FLAT_GHOST = EXPECTED, N_SIGMA
#: Rows of the columns of a result: angle, its error, then those of each hypothesis.
_ANGLE_ROW, _ERROR_ROW, _EXPECTED_ROWS = 0, 1, 2
_N_SIGMA_ROWS, _LIKELIHOOD_ROWS = _EXPECTED_ROWS + N_SPECIES, _EXPECTED_ROWS + 2 * N_SPECIES
#: Buckets of tracks of a block with a ring, without one and few photons asked for, and many: by hypotheses.
_N_BUCKETS = N_SPECIES + 1


@dataclass(frozen=True)
class Comparison:
    """The columns of all tracks.

    Attributes
    ----------
    expected : (n_species, n) float64
        Expected angle [rad], NaN below threshold and outside the acceptance.
    n_sigma : (n_species, n) float64
        Distance of the measured angle in standard deviations, those of angle and momentum; NaN where an input is.
    log_likelihood : (n_species, n) float64
        Up to a constant of the track, always finite; 0 outside the acceptance. No rows if it is not asked for.
    angle, angle_error : (n,) float64
        Measured angle and its error [rad], NaN without a ring.
    n_photons : (n,) int32
        Detected photons of the radiator.
    has_acceptance, has_signal : (n,) bool
        The track crosses a radiator; a ring is found.
    """

    expected: Floats
    n_sigma: Floats
    log_likelihood: Floats
    angle: Floats
    angle_error: Floats
    n_photons: NDArray[np.int32]
    has_acceptance: Flags
    has_signal: Flags


def compare_hypotheses(
    track: Mapping[str, NDArray[Any]], rings: Rings, crossings: Crossings, geometry: Geometry, config: RichConfig
) -> Comparison:
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
    Comparison
    """
    n = len(track["tgl"])
    # one block of memory instead of many: see flashdet.pipeline; every page of it is written once
    columns = np.empty((_LIKELIHOOD_ROWS + (N_SPECIES if config.likelihood else 0), n))
    n_photons, flags = np.empty(n, np.int32), np.empty((2, n), np.bool_)
    gas = config.gas
    index, yield_ = (1.0, 0.0) if gas is None else (gas.refractive_index, gas.photon_yield * gas.length)
    optics, outliers = geometry.optics, config.outlier_fraction
    is_wide = bool(1.0 - 1.0 / optics[:, INDEX].max() ** 2 > ARC_LIMIT)
    _compare_kernel(
        crossings.rows, track["tgl"], track["q_over_pt"], track["cov"], crossings.optic, crossings.u, crossings.v,
        optics, rings.n_photons, rings.found, rings.angle, rings.density, rings.threshold, rings.n_gas, index, yield_,
        outliers, log_flat(optics, outliers), config.likelihood, is_wide, geometry.is_uniform,
        geometry.edges,
        np.empty(N_VALUES), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.uint64),
        np.empty(3 * _N_BUCKETS, np.int64),
        columns, n_photons, flags,
    )  # fmt: skip
    return Comparison(
        columns[_EXPECTED_ROWS:_N_SIGMA_ROWS], columns[_N_SIGMA_ROWS:_LIKELIHOOD_ROWS], columns[_LIKELIHOOD_ROWS:],
        columns[_ANGLE_ROW], columns[_ERROR_ROW], n_photons, flags[0], flags[1],
    )  # fmt: skip


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _compare_kernel(
    rows: Integers, tgl: Floats, q_over_pt: Floats, cov: Floats, tile: Integers, u: Floats, v: Floats, optics: Floats,
    n_photons: Integers, found: Flags, angle: Floats, density: Floats, threshold: Integers, n_gas: NDArray[np.int32],
    gas_index: float, gas_yield: float, outliers: float, flat: Floats, is_likelihood: bool, is_wide: bool,
    is_uniform: bool, edges: float, a: Floats, place: Integers, target: Words, ends: Integers, out: Floats,
    photons: NDArray[np.int32], flags: Flags,
) -> None:  # fmt: skip
    written = 0
    if is_uniform:
        fill(a, optics)
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        last = rows[first + size - 1] + 1
        _clear(written, last, out, photons, flags)
        written = last
        _share(a, first, size, rows, tile, optics, tgl, q_over_pt, cov)
        _sort(a, first, size, found, threshold, ends, place)
        n_rings = ends[N_SPECIES]
        for k in range(size):
            j = place[k]
            i, q = rows[j], j - first
            target[k], flags[0, i], flags[1, i], photons[i] = i, True, found[j], n_photons[j]
            a[SLOW + k], a[LIMIT + k], a[ERROR + k] = a[_RAW_SLOW + q], a[_RAW_LIMIT + q], a[_RAW_ERROR + q]
        gather(a, size, place, tile, u, v, optics, is_uniform)
        for k in range(n_rings):
            a[ANGLE + k], a[COUNT + k] = angle[place[k]], n_photons[place[k]]
        measure(a, n_rings, place, density, edges)
        for k in range(n_rings):
            out[_ANGLE_ROW, target[k]], out[_ERROR_ROW, target[k]] = a[ANGLE + k], math.sqrt(a[VARIANCE + k])
        if is_likelihood:
            _share_of_rings(a, n_rings, place, tile, n_photons, flat)
            gather_missing(a[n_rings:], size - n_rings, place[n_rings:], density, threshold)
        for r in range(N_SPECIES):
            h, n_near = _ORDER[r], ends[N_SPECIES - 1 - r]
            _distances(a, n_near, _SLOWNESS[r], is_wide)
            _write(a, EXPECTED, n_near, target, out[_EXPECTED_ROWS + h])
            _write(a, N_SIGMA, n_near, target, out[_N_SIGMA_ROWS + h])
            if is_likelihood:
                _of_rings(a, n_near, n_rings, _CHARGE[r])
                _write(a, VALUE, n_rings, target, out[_LIKELIHOOD_ROWS + h])
            for group in range(1, 3):
                begin = ends[group * _N_BUCKETS - 1]
                # a view that begins with the group: indices that start at zero make vectors
                b, n_near = a[begin:], ends[group * _N_BUCKETS + N_SPECIES - 1 - r] - begin
                _expect(b, n_near, _SLOWNESS[r], is_wide)
                _write(b, EXPECTED, n_near, target[begin:], out[_EXPECTED_ROWS + h])
                if is_likelihood:
                    log_missing(b, n_near, group == 2, edges, _CHARGE[r], outliers)
                    _write(b, VALUE, n_near, target[begin:], out[_LIKELIHOOD_ROWS + h])
            if is_likelihood and gas_yield > 0.0:
                light = gas_yield * _CHARGE[r]
                _add_gas(a, size, target, n_gas, _SLOWNESS[r], light, gas_index, outliers, out[_LIKELIHOOD_ROWS + h])
    _clear(written, out.shape[1], out, photons, flags)


@inline
def _clear(begin: int, end: int, out: Floats, photons: NDArray[np.int32], flags: Flags) -> None:
    """What tracks without a ring have, in rows `begin` to `end`."""
    for c in range(out.shape[0]):
        out[c][begin:end].fill(0.0 if c >= _LIKELIHOOD_ROWS else np.nan)
    photons[begin:end].fill(0)
    flags[0][begin:end].fill(False)
    flags[1][begin:end].fill(False)


@inline
def _write(a: Floats, value: int, size: int, target: Words, column: Floats) -> None:
    """Put values of a block into the rows of its tracks."""
    for k in range(size):
        column[target[k]] = a[value + k]


# --- blocks ----------------------------------------------------------------------------------------------------------
@inline
def _share(
    a: Floats, first: int, size: int, rows: Integers, tile: Integers, optics: Floats, tgl: Floats, q_over_pt: Floats,
    cov: Floats,
) -> None:  # fmt: skip
    """What the tracks of a block give to all hypotheses, and the number of these under which they may radiate.

    That is the case up to NEAR errors of the momentum below threshold: (m/z)^2 bend/p^2 (1 - NEAR error) < 1 - bend.
    """
    for k in range(size):
        i = rows[first + k]
        a[_INDEX + k], a[_TGL + k], a[_Q_OVER_PT + k] = optics[tile[first + k], INDEX], tgl[i], q_over_pt[i]
        a[_COV9 + k], a[_COV13 + k], a[_COV14 + k] = cov[i, 9], cov[i, 13], cov[i, 14]
    for k in range(size):
        bend, t, q = 1.0 / (a[_INDEX + k] * a[_INDEX + k]), a[_TGL + k], a[_Q_OVER_PT + k]
        stretch = 1.0 / (1.0 + t * t)
        a[_RAW_SLOW + k], a[_RAW_LIMIT + k] = bend * q * q * stretch, 1.0 - bend
        # of log p, as in flashdet.stages.pid.log_momentum_variance
        t *= stretch
        q = 1.0 / q
        variance = t * t * a[_COV9 + k] - 2.0 * t * q * a[_COV13 + k] + q * q * a[_COV14 + k]
        a[_RAW_ERROR + k] = 2.0 * math.sqrt(max(variance, 0.0))
    for k in range(size):
        slowest = a[_RAW_SLOW + k] * (1.0 - NEAR * a[_RAW_ERROR + k]) / a[_RAW_LIMIT + k]
        rank = 0.0
        for r in range(N_SPECIES):
            rank += 1.0 if slowest < _FASTEST[r] else 0.0
        a[_RANK + k] = rank


@inline
def _sort(a: Floats, first: int, size: int, found: Flags, threshold: Integers, ends: Integers, place: Integers) -> None:
    """Crossings of a block: rings, then those without, each by the hypotheses; where each bucket ends."""
    for q in range(3 * _N_BUCKETS):
        ends[q] = 0
    for k in range(size):
        group = 0 if found[first + k] else (1 if threshold[first + k] < MANY else 2)
        bucket = group * _N_BUCKETS + N_SPECIES - int(a[_RANK + k])
        a[_RANK + k] = bucket
        ends[bucket] += 1
    begin = 0
    for q in range(3 * _N_BUCKETS):
        n = ends[q]
        ends[q] = begin
        begin += n
    for k in range(size):
        bucket = int(a[_RANK + k])
        place[ends[bucket]] = first + k
        ends[bucket] += 1


@inline
def _share_of_rings(
    a: Floats, n_rings: int, place: Integers, tile: Integers, n_photons: Integers, flat: Floats
) -> None:
    """What the likelihoods of all hypotheses of a ring have in common: see `flashdet.stages.rich.likelihood`."""
    for k in range(n_rings):
        j = place[k]
        n, t = n_photons[j], tile[j]
        a[_FLAT + k], a[_FLAT_GHOST + k] = flat[t, 0] + log_factorial(n), flat[t, 1]
    for k in range(n_rings):
        noise = a[NOISE + k]
        # no background: next to nothing
        a[GHOST + k] = a[_FLAT_GHOST + k] + a[COUNT + k] * log(max(noise, 1e-300)) - noise
    for k in range(n_rings):
        distance = a[GHOST + k] - a[_FLAT + k]
        small = exp(max(-abs(distance), -700.0))
        more = 1.0 / (1.0 + small)
        less = small * more
        a[OTHER + k] = max(a[_FLAT + k], a[GHOST + k]) + log(1.0 + small)
        a[OUTLIER + k], a[GHOST + k] = (more, less) if distance < 0.0 else (less, more)
        a[SCALE + k] = -a[OTHER + k] - LOG_ROOT_2PI


@inline
def _distances(a: Floats, size: int, slowness: float, is_wide: bool) -> None:
    """Compare one hypothesis with a block: no branch, so that vectors of tracks are worked on at once (3 times faster).

    With the slope D of sin^2 between measured and expected angle, the error e of sin^2 from the momentum and s of the
    measured angle, the distance in standard deviations is (sin^2 - expected)/sqrt((D s)^2 + e^2). Momentum and angle
    together know sin^2 best.
    """
    for j in range(size):
        shrink = slowness * a[SLOW + j]
        # sin^2(theta), negative below threshold, and its error
        square, sigma = a[LIMIT + j] - shrink, a[ERROR + j] * shrink
        positive = max(square, 0.0)
        sine, cosine = math.sqrt(positive), math.sqrt(1.0 - positive)
        slope = a[SINE + j] * cosine + a[COSINE + j] * sine
        # the smallest number: nothing divides by zero if nothing has an error
        inverse = 1.0 / math.sqrt(a[VARIANCE + j] * slope * slope + sigma * sigma + 1e-300)
        distance, share = a[SINE + j] * a[SINE + j] - square, sigma * inverse
        weight, pull = slope * inverse, distance * inverse
        a[WEIGHT + j], a[PULL + j] = weight, pull * pull
        a[BEST + j] = square + share * share * distance
        angle = small_angle(sine, positive) if square > 0.0 else np.nan
        a[EXPECTED + j], a[N_SIGMA + j] = angle, (a[ANGLE + j] - angle) * weight
    if is_wide:
        # radiators of high index: the series does not reach that far
        for j in range(size):
            square = a[LIMIT + j] - slowness * a[SLOW + j]
            a[EXPECTED + j] = math.asin(math.sqrt(square)) if square > 0.0 else np.nan
            a[N_SIGMA + j] = (a[ANGLE + j] - a[EXPECTED + j]) * a[WEIGHT + j]


@inline
def _expect(a: Floats, size: int, slowness: float, is_wide: bool) -> None:
    """Expected angles of tracks without a ring, sin^2 of it and its error."""
    for j in range(size):
        shrink = slowness * a[SLOW + j]
        square = a[LIMIT + j] - shrink
        positive = max(square, 0.0)
        a[BEST + j], a[PULL + j] = square, a[ERROR + j] * shrink
        a[EXPECTED + j] = small_angle(math.sqrt(positive), positive) if square > 0.0 else np.nan
    if is_wide:
        for j in range(size):
            a[EXPECTED + j] = math.asin(math.sqrt(a[BEST + j])) if a[BEST + j] > 0.0 else np.nan


@inline
def _of_rings(a: Floats, n_near: int, n_rings: int, charge: float) -> None:
    """Log-likelihoods of the rings of a block for a hypothesis of this charge squared; `n_near` may radiate under it.

    Loops without a branch again, and short ones: their vectors need not wait for each other, half the time of one loop.
    """
    for j in range(n_near):
        mean = a[YIELD + j] * charge * max(a[BEST + j], 0.0)
        total = mean + a[NOISE + j]
        # Poisson, without n!
        a[MEAN + j], a[VALUE + j] = mean, a[COUNT + j] * log(max(total, 1e-300)) - total
    for j in range(n_near):
        # a ghost, if none of the particle's photons is seen
        a[MEAN + j] = a[OUTLIER + j] + a[GHOST + j] * exp(max(-a[MEAN + j], -700.0))
    for j in range(n_near):
        own = exp(max(a[SCALE + j] + a[VALUE + j] - 0.5 * a[PULL + j], -700.0))
        a[MEAN + j] += own * a[WEIGHT + j]
    for j in range(n_near):
        ratio = log(a[MEAN + j])
        # nothing is expected below the threshold
        a[VALUE + j] = a[OTHER + j] + (ratio if a[BEST + j] > 0.0 else 0.0)
    for j in range(n_near, n_rings):
        a[VALUE + j] = a[OTHER + j]


@inline
def _add_gas(
    a: Floats, size: int, target: Words, n_gas: NDArray[np.int32], slowness: float, yield_: float, index: float,
    floor: float, column: Floats,
) -> None:  # fmt: skip
    """Add the photons of the gas to the log-likelihoods of a hypothesis."""
    for k in range(size):
        ratio = slowness * a[SLOW + k] / (1.0 - a[LIMIT + k])
        column[target[k]] += log_gas(n_gas[target[k]], ratio, yield_, index, floor)
