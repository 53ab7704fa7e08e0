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
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.offset import Mixture, Space, common_offset, space
from flashdet.species import SPECIES, SPECIES_CHARGE
from flashdet.stages.priors import Shares, fill_shares, pack_shares
from flashdet.stages.tof.eventtime import EventTimeSearch, Prior

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Hits of one track that disagree more than this (chi2) under a hypothesis are not combined.
_CHI2_MAX = 60.0
#: Hits alone count if their peaks may exceed this share of the highest peak of all hits of the track.
_ALONE = 0.01
#: Tracks in a block: its sums fit into the first cache.
_BLOCK = 128
#: Tracks of the events that are described together: enough for the loops, few enough for the second cache.
_CHUNK = 1000
#: Rows of the sums of a block: of weights; peak and best height of a component; largest weight; number of hits;
#: weighted sums of e, e^2, d, d e and d^2. After them, the weights of each layer, then d and e of each layer and
#: hypothesis.
_TOTAL, _PEAK, _BEST, _SHARPEST, _N_HITS, _SE, _SEE, _SD, _SDE, _SDD = range(10)
_N_SUMS = 10


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
                (_read_only(np.choose(track["species_true"], [layer[f"{what}_{name}"] for name in SPECIES])),)
                for layer in layers
            )
        return tuple(tuple(_read_only(layer[f"{what}_{name}"]) for name in names) for layer in layers)

    time, error = (tuple(_read_only(layer[what]) for layer in layers) for what in ("time", "time_error"))
    return Hits(
        time,
        error,
        columns("expected"),
        columns("expected_error"),
        shares,
        *(_read_only(track[c]) for c in ("pt", "y")),
    )


def _read_only(column: Floats) -> Floats:
    """The same numbers with one type for the compiler: columns of tables are read-only, new ones are not."""
    view = column.view()
    view.flags.writeable = False
    return view


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
    # rows that do not begin at the same place of a page: those would drive each other out of the cache
    sums = np.empty((_N_SUMS + n_layers * (1 + 2 * n_hypotheses), _BLOCK + 8))
    memory = space(capacity, n_hypotheses + n_alone, sigma_max, sigma_min)
    result = EventTimes(
        np.empty(n), np.empty(n), np.empty(n_events), np.empty(n_events), np.empty(n_events, np.int32)
    )  # fmt: skip
    _event_time_kernel(
        offsets, hits, odds, config.max_dca_xy, config.min_tracks, prior.time, prior.error, config.max_iterations,
        mixture, share, sums, memory,
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
# Loops over slices from 0 with few arrays each become vector instructions: more loops, but a third of the time of one
# loop over tracks.
@inline
def _select(
    hits: Hits, begin: int, end: int, base: int, odds: float, max_dca_xy: float, mixture: Mixture, sums: Floats
) -> None:  # fmt: skip
    """Weights 1/sigma^2 of the hits (rows of `sums` from `_N_SUMS` on), their sum, peak, number; tracks that enter."""
    n = end - begin
    total, peak, sharpest, n_hits = sums[_TOTAL, :n], sums[_PEAK, :n], sums[_SHARPEST, :n], sums[_N_HITS, :n]
    total[:], peak[:], sharpest[:], n_hits[:] = 0.0, 1.0, 0.0, 0.0
    for layer in range(len(hits.time)):
        time, sigma = hits.time[layer][begin:end], hits.time_error[layer][begin:end]
        weight = sums[_N_SUMS + layer, :n]
        for i in range(n):
            weight[i] = 1.0 / (sigma[i] * sigma[i]) if time[i] == time[i] else 0.0
        for i in range(n):
            total[i] += weight[i]
        for i in range(n):
            n_hits[i] += 1.0 if weight[i] > 0.0 else 0.0
        for i in range(n):
            peak[i] *= odds * math.sqrt(weight[i]) if weight[i] > 0.0 else 1.0
        for i in range(n):
            sharpest[i] = max(sharpest[i], weight[i])
    used, dca_xy = mixture.used[begin - base : end - base], hits.dca_xy[begin:end]
    for i in range(n):
        used[i] = (n_hits[i] > 0.0) & (abs(dca_xy[i]) < max_dca_xy)


@inline
def _pair(hits: Hits, layer: int, h: int) -> int:
    """Row of the sums with d of a layer under a hypothesis; that with e is the next."""
    n_layers = len(hits.time)
    return _N_SUMS + n_layers + 2 * (n_layers * h + layer)


@inline
def _sum_layers(hits: Hits, begin: int, end: int, h: int, sums: Floats) -> None:
    """Sums over the hits of each track of weight times e, e^2, d, d e and d^2: see `_describe`."""
    n = end - begin
    for row in (_SE, _SEE, _SD, _SDE, _SDD):
        sums[row, :n] = 0.0
    se, see, sd, sde, sdd = sums[_SE, :n], sums[_SEE, :n], sums[_SD, :n], sums[_SDE, :n], sums[_SDD, :n]
    for layer in range(len(hits.time)):
        weight, time = sums[_N_SUMS + layer, :n], hits.time[layer][begin:end]
        expected, error = hits.expected[layer][h][begin:end], hits.expected_error[layer][h][begin:end]
        pair = _pair(hits, layer, h)
        d, e = sums[pair, :n], sums[pair + 1, :n]
        for i in range(n):
            d[i] = time[i] - expected[i] if weight[i] > 0.0 else 0.0
        for i in range(n):
            e[i] = error[i] if weight[i] > 0.0 else 0.0
        for i in range(n):
            se[i] += weight[i] * e[i]
        for i in range(n):
            see[i] += weight[i] * e[i] * e[i]
        for i in range(n):
            sd[i] += weight[i] * d[i]
        for i in range(n):
            sde[i] += weight[i] * d[i] * e[i]
        for i in range(n):
            sdd[i] += weight[i] * d[i] * d[i]


@inline
def _describe(
    hits: Hits, begin: int, end: int, base: int, h: int, mixture: Mixture, share: Floats, sums: Floats
) -> None:  # fmt: skip
    """What all hits of each track together say under one hypothesis: a component of its mixture.

    The errors e_l of the expected times come from one momentum: the covariance of the differences d_l is
    diag(sigma_l^2) + e e^T, inverted by the formula of Sherman and Morrison. What all hits say about t is
    normal with the information A = 1^T C^-1 1 and the mean B/A, B = 1^T C^-1 d; how badly they agree among themselves,
    d^T C^-1 d - B^2/A, tells hypotheses apart without any t.
    """
    n = end - begin
    _sum_layers(hits, begin, end, h, sums)
    total, scale, se, moment = sums[_TOTAL, :n], sums[_SEE, :n], sums[_SE, :n], sums[_SD, :n]
    sde, chi2, peak, best = sums[_SDE, :n], sums[_SDD, :n], sums[_PEAK, :n], sums[_BEST, :n]
    first, last = begin - base, end - base
    share, used = share[h, first:last], mixture.used[first:last]
    d, inverse, amplitude = mixture.d[h, first:last], mixture.inverse[h, first:last], mixture.amplitude[h, first:last]
    for i in range(n):
        scale[i] = 1.0 / (1.0 + scale[i])
    for i in range(n):
        inverse[i] = total[i] - scale[i] * se[i] * se[i] if used[i] else 1.0
    for i in range(n):
        moment[i] -= scale[i] * se[i] * sde[i]
    for i in range(n):
        d[i] = moment[i] / inverse[i] if used[i] else 0.0
    for i in range(n):
        chi2[i] -= scale[i] * sde[i] * sde[i] + moment[i] * d[i]
    for i in range(n):
        # rounding may leave a vanishing chi2 below zero, of a lone hit for example
        agree = exp_minus(0.5 * max(0.0, chi2[i])) if chi2[i] < _CHI2_MAX else 0.0
        amplitude[i] = share[i] * peak[i] * math.sqrt(scale[i]) * agree
    for i in range(n):
        amplitude[i] = amplitude[i] if used[i] else 0.0
    for i in range(n):
        best[i] = max(best[i], amplitude[i])


@inline
def _describe_alone(
    hits: Hits, begin: int, end: int, base: int, odds: float, mixture: Mixture, share: Floats, k: int, sums: Floats
) -> int:  # fmt: skip
    """Further components where all hits together say little: each hit alone, the others being outliers."""
    sharpest, n_hits, best = sums[_SHARPEST], sums[_N_HITS], sums[_BEST]
    for i in range(end - begin):
        row = begin - base + i
        if not (n_hits[i] > 1.0 and odds * math.sqrt(sharpest[i]) > _ALONE * best[i] and mixture.used[row]):
            continue
        for layer in range(len(hits.time)):
            weight = sums[_N_SUMS + layer, i]
            if weight == 0.0:
                continue
            for h in range(len(mixture.d)):
                pair = _pair(hits, layer, h)
                e = sums[pair + 1, i]
                information = 1.0 / (1.0 / weight + e * e)
                mixture.more[0, k], mixture.more[1, k] = sums[pair, i], information
                mixture.more[2, k] = share[h, row] * odds * math.sqrt(information)
                mixture.more_row[k] = row
                k += 1
    return k


@inline
def _describe_chunk(
    hits: Hits, base: int, top: int, odds: float, max_dca_xy: float, mixture: Mixture, share: Floats, sums: Floats
) -> int:  # fmt: skip
    """Fill the mixtures of the tracks from `base` to `top`; return the number of further components."""
    n_more = 0
    fill_shares(hits.pt[base:top], hits.shares, share, sums[_TOTAL])
    for begin in range(base, top, _BLOCK):
        end = min(top, begin + _BLOCK)
        _select(hits, begin, end, base, odds, max_dca_xy, mixture, sums)
        sums[_BEST] = 0.0
        for h in range(len(mixture.d)):
            _describe(hits, begin, end, base, h, mixture, share, sums)
        n_more = _describe_alone(hits, begin, end, base, odds, mixture, share, n_more, sums)
    return n_more


@kernel
def _event_time_kernel(
    offsets: Integers, hits: Hits, odds: float, max_dca_xy: float, min_tracks: int, prior_time: Floats,
    prior_error: Floats, max_iterations: int, mixture: Mixture, share: Floats, sums: Floats, memory: Space,
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
            n_more = _describe_chunk(hits, base, offsets[described], odds, max_dca_xy, mixture, share, sums)
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
