"""The time of the collision from the hits of time-of-flight detectors, without generated masses.

Here are the selection of tracks and what the hits of a track say under each hypothesis; the search itself is in
:mod:`flashdet.kernels.offset`, its configuration and what is known before in :mod:`.eventtime`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.exponential import exp_minus
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.offset import Mixture, Space, common_offset, space
from flashdet.species import SPECIES, SPECIES_CHARGE
from flashdet.stages.priors import Shares, fill_shares, pack_shares
from flashdet.stages.tof.eventtime import EventTimeSearch, Prior
from flashdet.stages.tof.flight import read_only

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Hits of one track that disagree more than this (chi2) under a hypothesis are not combined.
_CHI2_MAX = 60.0
#: Hits alone count if their peaks may exceed this share of the highest peak of all hits of the track.
_ALONE = 0.01
#: Tracks in a block: its numbers stay in the first two levels of cache.
_BLOCK = 256
#: Tracks of the events that are described together: enough for the loops, few enough for the second cache.
_CHUNK = 1000
_U = np.uint64
#: Where numbers of the tracks of a block start in the scratch array; LLVM makes vectors of loops over one array with
#: known distances without asking whether parts of it overlap. Sum of weights; peak and best height of a component;
#: largest weight; number of hits; 1 for tracks that enter, else 0; weighted sums of e, e^2, d, d e and d^2; mean,
#: information and height of a component. After them, the weights of each layer.
_TOTAL, _PEAK, _BEST, _SHARPEST, _N_HITS, _USED, _SE, _SEE, _SD, _SDE, _SDD, _MEAN, _INVERSE, _HEIGHT = (
    _U(i * _BLOCK) for i in range(14)
)
_N_NUMBERS = 14


# --- physics ---------------------------------------------------------------------------------------------------------
class Hits(NamedTuple):
    """Hits of the tracks on one or more layers, as read-only columns.

    Attributes
    ----------
    time, time_error : tuple of (n,) float64
        Of each layer: measured times and their errors [ns], NaN without a hit.
    expected, expected_error : tuple of tuple of (n,) float64
        Of each layer and each hypothesis of the search: expected times and errors [ns].
    shares : Shares
        Abundances of the hypotheses.
    pt, dca_xy : (n,) float64
        Transverse momentum for charge 1 [GeV] and distance to the beam axis [cm] of each track.
    """

    time: tuple[Floats, ...]
    time_error: tuple[Floats, ...]
    expected: tuple[tuple[Floats, ...], ...]
    expected_error: tuple[tuple[Floats, ...], ...]
    shares: Shares
    pt: Floats
    dca_xy: Floats


@dataclass(frozen=True)
class EventTimes:
    """Times of the collisions.

    Attributes
    ----------
    track_time, track_error : (n,) float64
        For each track, found without its own hits [ns].
    time, error : (n_events,) float64
        From all tracks [ns].
    n_tracks : (n_events,) int32
        How many entered.
    """

    track_time: Floats
    track_error: Floats
    time: Floats
    error: Floats
    n_tracks: NDArray[np.int32]


def stack_hits(
    layers: Sequence[Mapping[str, NDArray[Any]]], track: Mapping[str, NDArray[Any]], truth_mass: bool,
    config: EventTimeSearch,
) -> Hits:  # fmt: skip
    """Collect the columns of several time-of-flight tables.

    Parameters
    ----------
    layers : sequence of mapping of str to array
        Columns ``time time_error expected_<species> expected_error_<species>`` of each table.
    track : mapping of str to array
        Columns ``y pt``, and ``species_true`` for `truth_mass`.
    truth_mass : bool
        Take the generated species as the only hypothesis.
    config : EventTimeSearch
        The hypotheses.

    Returns
    -------
    Hits
    """
    names = tuple(config.hypotheses)
    charges = [SPECIES_CHARGE[SPECIES.index(name)] for name in names]
    shares = pack_shares([(1.0, 1)] if truth_mass else zip(config.hypotheses.values(), charges, strict=True))

    def columns(what: str) -> tuple[tuple[Floats, ...], ...]:
        if truth_mass:
            return tuple(
                (read_only(np.choose(track["species_true"], [layer[f"{what}_{name}"] for name in SPECIES])),)
                for layer in layers
            )
        return tuple(tuple(read_only(layer[f"{what}_{name}"]) for name in names) for layer in layers)

    time, error = (tuple(read_only(layer[what]) for layer in layers) for what in ("time", "time_error"))
    return Hits(
        time,
        error,
        columns("expected"),
        columns("expected_error"),
        shares,
        *(read_only(track[c]) for c in ("pt", "y")),
    )


def find_event_times(offsets: Integers, hits: Hits, prior: Prior, config: EventTimeSearch) -> EventTimes:
    """Find the collision times that agree best with all hits.

    Each hit gives time - expected under each hypothesis; the search is that of
    `flashdet.kernels.offset.common_offset`: no hypothesis is decided, outliers lose their weight, the spread of
    collisions is the prior. Hits of one track on several layers share the hypothesis and the error of the momentum;
    any one of them may be an outlier (:func:`_describe`). The time of a track leaves out its own hits: otherwise its
    pull would be too narrow, by sqrt((1 - f)/(1 + f)) if it carries the share f of the weight
    (:func:`self_included_width`).

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    hits : Hits
        From :func:`stack_hits`.
    prior : Prior
        From :func:`flashdet.stages.tof.eventtime.know_before`.
    config : EventTimeSearch
        Settings.

    Returns
    -------
    EventTimes
    """
    # peak of a normal density of width 1 over the density of outliers
    odds = (1.0 - config.outlier_fraction) * config.outlier_spread / config.outlier_fraction / math.sqrt(2 * math.pi)
    n, n_events, n_layers, n_hypotheses = len(hits.pt), len(offsets) - 1, len(hits.time), len(hits.shares.value)
    # scratch for a few events at a time: it stays in the cache
    capacity = max(_CHUNK, int(np.diff(offsets).max(initial=0)))
    n_alone = 0 if n_layers == 1 else n_layers * n_hypotheses
    d, inverse, amplitude, share = np.empty((4, n_hypotheses, capacity))
    more, more_row = np.empty((3, n_alone * capacity)), np.empty(n_alone * capacity, np.int64)
    mixture = Mixture(np.empty(capacity, np.bool_), d, inverse, amplitude, more, more_row)
    sigma_max = float(prior.error.max(initial=0.0)) or config.spread
    sigma_min = min(float(np.fmin.reduce(error, initial=sigma_max)) for error in hits.time_error) / math.sqrt(n_layers)
    number = np.empty((_N_NUMBERS + n_layers) * _BLOCK)
    memory = space(n_hypotheses + n_alone, sigma_max, sigma_min)
    result = EventTimes(
        np.empty(n), np.empty(n), np.empty(n_events), np.empty(n_events), np.empty(n_events, np.int32)
    )  # fmt: skip
    _event_time_kernel(
        offsets, hits, odds, config.max_dca_xy, config.min_tracks, prior.time, prior.error, config.max_iterations,
        mixture, share, number, memory,
        result.track_time, result.track_error, result.time, result.error, result.n_tracks,
    )  # fmt: skip
    return result


def self_included_width(share: float) -> float:
    """Width of the pull of a track against an event time that contains the track itself.

    With sigma the error of its own offset and f = share its part of the weight, the event time has the variance
    f sigma^2 and the covariance f sigma^2 with the offset: the difference has sigma^2 (1 - f), the naive sum is
    sigma^2 (1 + f).

    Parameters
    ----------
    share : float
        Weight of the track over the weight of all, 0 to 1.

    Returns
    -------
    float
        sqrt((1 - f)/(1 + f)); the stage leaves the track out, which gives 1.
    """
    return math.sqrt((1.0 - share) / (1.0 + share))


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _select(
    hits: Hits, begin: int, n: int, odds: float, max_dca_xy: float, number: Floats, used: NDArray[np.bool_]
) -> None:
    """Weights 1/sigma^2 of the hits of a block, their sum, peak, number; tracks that enter."""
    for i in range(_U(n)):
        number[i + _TOTAL], number[i + _PEAK], number[i + _SHARPEST], number[i + _N_HITS] = 0.0, 1.0, 0.0, 0.0
        number[i + _BEST] = 0.0
    for layer in range(len(hits.time)):
        time, sigma = hits.time[layer][begin : begin + n], hits.time_error[layer][begin : begin + n]
        first = _U((_N_NUMBERS + layer) * _BLOCK)
        for i in range(_U(n)):
            is_hit = time[i] == time[i]
            weight = 1.0 / (sigma[i] * sigma[i]) if is_hit else 0.0
            number[i + first] = weight
            number[i + _TOTAL] += weight
            number[i + _N_HITS] += 1.0 if is_hit else 0.0
            number[i + _PEAK] *= odds / sigma[i] if is_hit else 1.0
            number[i + _SHARPEST] = max(number[i + _SHARPEST], weight)
    dca_xy = hits.dca_xy[begin : begin + n]
    for i in range(_U(n)):
        number[i + _USED] = 1.0 if (number[i + _N_HITS] > 0.0) & (abs(dca_xy[i]) < max_dca_xy) else 0.0
    for i in range(_U(n)):
        used[i] = number[i + _USED] > 0.0


@bare_kernel
def _sum_layers(hits: Hits, begin: int, n: int, h: int, number: Floats) -> None:
    """Sums over the hits of each track of weight times e, e^2, d, d e and d^2: see `_describe`."""
    for i in range(_U(n)):
        number[i + _SE], number[i + _SEE], number[i + _SD], number[i + _SDE], number[i + _SDD] = 0.0, 0.0, 0.0, 0.0, 0.0
    for layer in range(len(hits.time)):
        time, first = hits.time[layer][begin : begin + n], _U((_N_NUMBERS + layer) * _BLOCK)
        expected, error = hits.expected[layer][h][begin : begin + n], hits.expected_error[layer][h][begin : begin + n]
        for i in range(_U(n)):
            weight = number[i + first]
            d = time[i] - expected[i] if weight > 0.0 else 0.0
            e = error[i] if weight > 0.0 else 0.0
            number[i + _SE] += weight * e
            number[i + _SEE] += weight * e * e
            number[i + _SD] += weight * d
            number[i + _SDE] += weight * d * e
            number[i + _SDD] += weight * d * d


@bare_kernel
def _describe(n: int, share: Floats, number: Floats) -> None:
    """What all hits of each track together say under one hypothesis: a component of its mixture.

    The errors e_l of the expected times come from one momentum: the covariance of the differences d_l is
    diag(sigma_l^2) + e e^T, inverted by the formula of Sherman and Morrison. What all hits say about t is
    normal with the information A = 1^T C^-1 1 and the mean B/A, B = 1^T C^-1 d; how badly they agree among themselves,
    d^T C^-1 d - B^2/A, tells hypotheses apart without any t.
    """
    for i in range(_U(n)):
        is_used = number[i + _USED] > 0.0
        se, sde = number[i + _SE], number[i + _SDE]
        size = 1.0 + number[i + _SEE]
        # A and B times size, and one division for both
        information, moment = number[i + _TOTAL] * size - se * se, number[i + _SD] * size - se * sde
        quotient = 1.0 / (size * information) if is_used else 0.0
        scale, mean = information * quotient, moment * size * quotient
        inverse = information * scale if is_used else 1.0
        chi2 = number[i + _SDD] - scale * (sde * sde + moment * mean)
        # rounding may leave a vanishing chi2 below zero, of a lone hit for example
        agree = exp_minus(0.5 * max(0.0, chi2)) if chi2 < _CHI2_MAX else 0.0
        height = share[i] * number[i + _PEAK] * math.sqrt(scale) * agree if is_used else 0.0
        number[i + _MEAN], number[i + _INVERSE], number[i + _HEIGHT] = mean, inverse, height
        number[i + _BEST] = max(number[i + _BEST], height)


@bare_kernel
def _describe_alone(
    hits: Hits, begin: int, n: int, base: int, odds: float, mixture: Mixture, share: Floats, k: int, number: Floats
) -> int:  # fmt: skip
    """Further components where all hits together say little: each hit alone, the others being outliers."""
    for i in range(_U(n)):
        sharpest, best = number[i + _SHARPEST], number[i + _BEST]
        is_open = (number[i + _N_HITS] > 1.0) & (odds * math.sqrt(sharpest) > _ALONE * best)
        if not (is_open and number[i + _USED] > 0.0):
            continue
        at = begin + int(i)
        for layer in range(len(hits.time)):
            weight = number[i + _U((_N_NUMBERS + layer) * _BLOCK)]
            if weight == 0.0:
                continue
            for h in range(len(mixture.d)):
                e = hits.expected_error[layer][h][at]
                information = 1.0 / (1.0 / weight + e * e)
                mixture.more[0, k], mixture.more[1, k] = hits.time[layer][at] - hits.expected[layer][h][at], information
                mixture.more[2, k] = share[h, at - base] * odds * math.sqrt(information)
                mixture.more_row[k] = at - base
                k += 1
    return k


@bare_kernel
def _describe_chunk(
    hits: Hits, base: int, top: int, odds: float, max_dca_xy: float, mixture: Mixture, share: Floats, number: Floats
) -> int:  # fmt: skip
    """Fill the mixtures of the tracks from `base` to `top`; return the number of further components."""
    n_more = 0
    fill_shares(hits.pt[base:top], hits.shares, share, number[:_BLOCK])
    for begin in range(base, top, _BLOCK):
        n, first = min(top - begin, _BLOCK), begin - base
        _select(hits, begin, n, odds, max_dca_xy, number, mixture.used[first : first + n])
        for h in range(len(mixture.d)):
            _sum_layers(hits, begin, n, h, number)
            _describe(n, share[h, first : first + n], number)
            d, inverse, amplitude = mixture.d[h, first:], mixture.inverse[h, first:], mixture.amplitude[h, first:]
            for i in range(_U(n)):
                d[i] = number[i + _MEAN]
            for i in range(_U(n)):
                inverse[i] = number[i + _INVERSE]
            for i in range(_U(n)):
                amplitude[i] = number[i + _HEIGHT]
        n_more = _describe_alone(hits, begin, n, base, odds, mixture, share, n_more, number)
    return n_more


@bare_kernel
def _event_time_kernel(
    offsets: Integers, hits: Hits, odds: float, max_dca_xy: float, min_tracks: int, prior_time: Floats,
    prior_error: Floats, max_iterations: int, mixture: Mixture, share: Floats, number: Floats, memory: Space,
    track_time: Floats, track_error: Floats, event_time: Floats, event_error: Floats, n_tracks: NDArray[np.int32],
) -> None:  # fmt: skip
    described, base, n_more, more_end = 0, 0, 0, 0
    for event in range(len(event_time)):
        begin, end = offsets[event], offsets[event + 1]
        if event == described:
            described += 1
            while described < len(event_time) and offsets[described + 1] - begin <= _CHUNK:
                described += 1
            base, more_end = begin, 0
            n_more = _describe_chunk(hits, base, offsets[described], odds, max_dca_xy, mixture, share, number)
        more_begin = more_end
        while more_end < n_more and mixture.more_row[more_end] < end - base:
            more_end += 1
        n_used = 0
        for i in range(begin - base, end - base):
            n_used += mixture.used[i]
        prior = prior_time[event], prior_error[event]
        value, value_error = prior
        if n_used >= min_tracks:
            value, value_error = common_offset(
                mixture, (begin - base, end - base), (more_begin, more_end), n_used, prior, max_iterations,
                track_time[begin:end], track_error[begin:end], memory,
            )  # fmt: skip
        if n_used <= min_tracks:
            for i in range(begin, end):
                if n_used < min_tracks or mixture.used[i - base]:
                    track_time[i], track_error[i] = prior
        event_time[event], event_error[event], n_tracks[event] = value, value_error, n_used
