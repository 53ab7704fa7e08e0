"""The time of the collision from the hits of time-of-flight detectors, without generated masses.

Here are its configuration, the selection of tracks and what the hits of a track say under each hypothesis; the search
itself is in :mod:`flashdet.kernels.offset`. One detector may use it alone (:mod:`flashdet.stages.tof`), several
together through the stage of :mod:`flashdet.stages.jointtime`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flashdet.columns import EVENT, EVENT_PROPAGATE, Column, pick
from flashdet.config import AnyTime, Length, StrictModel, Time
from flashdet.event import Table
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.offset import common_offset, scratch_sizes
from flashdet.kernels.philox import normals, uniforms
from flashdet.rng import Draw
from flashdet.species import SPECIES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of an event (place 0); those of tracks are below.
_SLOT_SEEN, _SLOT_START = 64, 65
#: Hits of one track that disagree more than this (chi2) under a hypothesis are not combined.
_CHI2_MAX = 60.0
#: Hits alone count if their peaks may exceed this share of the highest peak of all hits of the track.
_ALONE = 0.01


# --- configuration ---------------------------------------------------------------------------------------------------
class StartTimeConfig(StrictModel):
    """A detector that measures the time of the collision by itself, such as the ALICE FT0."""

    resolution: Time
    """Standard deviation of its time."""
    efficiency: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the events in which it gives one."""


class EventTimeSearch(StrictModel):
    """How the time of the collision is found from hits."""

    spread: Time = "200 ps"  # type: ignore[assignment]
    """Spread of the collision times: the prior of the search. 200 ps is that of the DelphesO2 beams."""
    mean: AnyTime = "0 ps"  # type: ignore[assignment]
    """Mean of the collision times."""
    start_time: StartTimeConfig | None = None
    """Another detector whose time joins the prior."""
    hypotheses: Mapping[str, Annotated[float, Field(gt=0)]] = {"pion": 0.84, "kaon": 0.1, "proton": 0.06}
    """Species that the search considers and their shares. The default is about the mixture of all momenta in pp
    collisions (ALICE, Eur. Phys. J. C 75 (2015) 226); where times are ambiguous, too many heavy particles would pull
    the time of the collision to early values."""
    outlier_fraction: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.02
    """Share of hits that fit no hypothesis (decay products, interactions)."""
    outlier_spread: Time = "2 ns"  # type: ignore[assignment]
    """Interval over which outliers spread evenly."""
    max_dca_xy: Length = "1 mm"  # type: ignore[assignment]
    """Tracks farther from the beam axis than this do not enter."""
    min_tracks: Annotated[int, Field(ge=1)] = 1
    """With fewer tracks the event time is that of the prior."""
    max_iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """Bound on the steps of the search."""

    @field_validator("hypotheses")
    @classmethod
    def _check_species(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        unknown = [name for name in value if name not in SPECIES]
        if unknown or not value:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no hypothesis; allowed: {', '.join(SPECIES)}")
        return value


class EventTimeConfig(EventTimeSearch):
    """How a detector gets the time of the collision."""

    method: Literal["tracks", "truth_mass", "truth", "none", "shared"] = "tracks"
    """``tracks``: from the hits, for unknown masses; ``truth_mass``: from the hits with generated species (for
    comparison); ``truth``: the generated collision time without error; ``none``: the prior; ``shared``: a later stage
    of kind ``event_time`` finds it from several detectors and adds the columns that need it."""


# --- physics ---------------------------------------------------------------------------------------------------------
class Hits(NamedTuple):
    """Hits of the tracks on one or more layers.

    Attributes
    ----------
    time, time_error : (n_layers, n) float64
        Measured times and their errors [ns], NaN without a hit.
    expected, expected_error : (n_layers, n_hypotheses, n) float64
        Expected times and errors [ns] under the hypotheses of the search, in its order.
    dca_xy : (n,) float64
        Distance of the track to the beam axis [cm].
    """

    time: Floats
    time_error: Floats
    expected: Floats
    expected_error: Floats
    dca_xy: Floats


class Prior(NamedTuple):
    """What is known of the time of each collision before its hits: a normal density.

    Attributes
    ----------
    time, error : (n_events,) float64
        Mean and standard deviation [ns].
    start, start_error : (n_events,) float64
        Time of the start detector and its error [ns], NaN without one.
    """

    time: Floats
    error: Floats
    start: Floats
    start_error: Floats


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
        Columns ``y`` and, for `truth_mass`, ``species_true``.
    truth_mass : bool
        Take the generated species as the only hypothesis.
    config : EventTimeSearch
        The hypotheses.

    Returns
    -------
    Hits
    """
    n = len(track["y"])
    expected: list[list[NDArray[Any]]] = []
    for layer in layers:
        for what in ("expected", "expected_error"):
            if truth_mass:
                all_species = [layer[f"{what}_{name}"] for name in SPECIES]
                expected.append([np.choose(track["species_true"], all_species)])
            else:
                expected.append([layer[f"{what}_{name}"] for name in config.hypotheses])
    packed = np.array(expected, np.float64).reshape(len(layers), 2, len(expected[0]), n)
    return Hits(
        np.array([layer["time"] for layer in layers]),
        np.array([layer["time_error"] for layer in layers]),
        np.ascontiguousarray(packed[:, 0]),
        np.ascontiguousarray(packed[:, 1]),
        track["y"],
    )


def prior_columns(config: EventTimeSearch) -> tuple[Column, ...]:
    """Columns that :func:`know_before` reads."""
    if config.start_time is None:
        return ()
    return (*pick(EVENT, "key", "vt"), *pick(EVENT_PROPAGATE, "collision_time"))


def know_before(event: Table, config: EventTimeSearch, draw: Draw) -> Prior:
    """Prior of each event: the spread of the collisions and, if there is one, the start detector.

    Both are normal, so is their product: the informations add up.

    Parameters
    ----------
    event : Table
        Columns of :func:`prior_columns`.
    config : EventTimeSearch
        Mean, spread, start detector.
    draw : Draw
        Random numbers.

    Returns
    -------
    Prior
    """
    n = event.n_rows
    time, error = np.full(n, config.mean), np.full(n, config.spread)
    start, start_error = np.full(n, np.nan), np.full(n, np.nan)
    if config.start_time is not None:
        resolution, efficiency = config.start_time.resolution, config.start_time.efficiency
        _start_kernel(event["key"], event["vt"] + event["collision_time"], resolution, efficiency, draw.key, start)
        seen = np.isfinite(start)
        start_error[seen] = resolution
        information = 1.0 / config.spread**2 + 1.0 / resolution**2
        time[seen] = (config.mean / config.spread**2 + start[seen] / resolution**2) / information
        error[seen] = math.sqrt(1.0 / information)
    return Prior(time, error, start, start_error)


def find_event_times(
    offsets: Integers, hits: Hits, prior: Prior, config: EventTimeSearch, truth_mass: bool = False
) -> EventTimes:  # fmt: skip
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
        From :func:`know_before`.
    config : EventTimeSearch
        Settings.
    truth_mass : bool
        The only hypothesis is the generated species.

    Returns
    -------
    EventTimes
    """
    share = np.ones(1) if truth_mass else np.array(list(config.hypotheses.values()), np.float64)
    # peak of a normal density of width 1 over the density of outliers
    odds = (1.0 - config.outlier_fraction) * config.outlier_spread / config.outlier_fraction / math.sqrt(2 * math.pi)
    n_events, (n_layers, n) = len(offsets) - 1, hits.time.shape
    capacity = int(np.diff(offsets).max(initial=0))
    n_components = len(share) * (1 if n_layers == 1 else n_layers + 1)
    sigma_max = float(prior.error.max(initial=0.0)) or config.spread
    sigma_min = float(np.fmin.reduce(hits.time_error, axis=None, initial=sigma_max)) / math.sqrt(n_layers)
    result = EventTimes(
        np.empty(n), np.empty(n), np.empty(n_events), np.empty(n_events), np.empty(n_events, np.int32)
    )  # fmt: skip
    _event_time_kernel(
        offsets, hits.time, hits.time_error, hits.expected, hits.expected_error, hits.dca_xy, share / share.sum(),
        odds, config.max_dca_xy, config.min_tracks, prior.time, prior.error, config.max_iterations,
        np.empty((3, capacity, n_components)), np.empty((2, capacity)), np.empty(capacity, np.int64),
        np.empty(scratch_sizes(sigma_max, sigma_min)),
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
@kernel
def _start_kernel(
    event_key: NDArray[np.uint64], true: Floats, resolution: float, efficiency: float, key: np.uint64, start: Floats
) -> None:
    for event in range(len(start)):
        u, _ = uniforms(key, event_key[event], 0, _SLOT_SEEN)
        if u < efficiency:
            noise, _ = normals(key, event_key[event], 0, _SLOT_START)
            start[event] = true[event] + resolution * noise


@inline
def _describe(
    time: Floats, sigma: Floats, expected: Floats, error: Floats, i: int, share: Floats, odds: float, shift: float,
    offset: Floats, inverse: Floats, amplitude: Floats,
) -> None:  # fmt: skip
    """Components of the mixture of one track: per hypothesis all its hits together, then each hit alone.

    The errors e_l of the expected times come from one momentum: the covariance of the differences d_l is
    diag(sigma_l^2) + e e^T, inverted by the formula of Sherman and Morrison. What all hits say about t is
    normal with the information A = 1^T C^-1 1 and the mean B/A, B = 1^T C^-1 d; how badly they agree among themselves,
    d^T C^-1 d - B^2/A, tells hypotheses apart without any t.
    """
    n_layers, n_hypotheses = expected.shape[0], expected.shape[1]
    n_used, n_hits, best, sharpest = 0, 0, 0.0, 0.0
    for h in range(n_hypotheses):
        weight, weight_e, weight_ee, weight_d, weight_de, weight_dd = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
        peak, n_hits = share[h], 0
        for layer in range(n_layers):
            if math.isnan(time[layer, i]):
                continue
            n_hits += 1
            e, inverse_s = error[layer, h, i], 1.0 / sigma[layer, i]
            d, w = time[layer, i] - expected[layer, h, i] - shift, inverse_s * inverse_s
            weight += w
            weight_e += w * e
            weight_ee += w * e * e
            weight_d += w * d
            weight_de += w * d * e
            weight_dd += w * d * d
            peak *= odds * inverse_s
            sharpest = max(sharpest, odds * inverse_s)
        scale = 1.0 / (1.0 + weight_ee)
        information = weight - scale * weight_e * weight_e
        moment = weight_d - scale * weight_e * weight_de
        center, height = moment / information, peak * math.sqrt(scale)
        if n_hits > 1:
            chi2 = weight_dd - scale * weight_de * weight_de - moment * center
            height = height * math.exp(-0.5 * chi2) if chi2 < _CHI2_MAX else 0.0
        if height > 0.0:
            offset[n_used], inverse[n_used], amplitude[n_used] = center, information, height
            n_used += 1
        best = max(best, height)
    if n_hits > 1 and sharpest > _ALONE * best:
        for layer in range(n_layers):
            if math.isnan(time[layer, i]):
                continue
            for h in range(n_hypotheses):
                e = error[layer, h, i]
                variance = sigma[layer, i] * sigma[layer, i] + e * e
                offset[n_used], inverse[n_used] = time[layer, i] - expected[layer, h, i] - shift, 1.0 / variance
                amplitude[n_used] = share[h] * odds / math.sqrt(variance)
                n_used += 1
    amplitude[n_used:] = 0.0


@kernel
def _event_time_kernel(
    offsets: Integers, time: Floats, sigma: Floats, expected: Floats, error: Floats, dca_xy: Floats, share: Floats,
    odds: float, max_dca_xy: float, min_tracks: int, prior_time: Floats, prior_error: Floats, max_iterations: int,
    mixture: Floats, left_out: Floats, rows: Integers, scratch: Floats, track_time: Floats, track_error: Floats,
    event_time: Floats, event_error: Floats, n_tracks: NDArray[np.int32],
) -> None:  # fmt: skip
    offset, inverse, amplitude = mixture[0], mixture[1], mixture[2]
    for event in range(len(event_time)):
        n, shift, spread = 0, prior_time[event], prior_error[event]
        for i in range(offsets[event], offsets[event + 1]):
            is_hit = False
            for layer in range(len(time)):
                is_hit |= not math.isnan(time[layer, i])
            if is_hit and abs(dca_xy[i]) < max_dca_xy:
                _describe(
                    time, sigma, expected, error, i, share, odds, shift, offset[n], inverse[n], amplitude[n]
                )  # fmt: skip
                rows[n] = i
                n += 1
        n_tracks[event] = n
        value, value_error = 0.0, spread
        if n >= min_tracks:
            value, value_error = common_offset(
                offset, inverse, amplitude, n, spread, max_iterations, left_out[0], left_out[1], scratch
            )  # fmt: skip
        event_time[event], event_error[event] = shift + value, value_error
        for i in range(offsets[event], offsets[event + 1]):
            track_time[i], track_error[i] = shift + value, value_error
        for j in range(n):
            if n > min_tracks:
                track_time[rows[j]], track_error[rows[j]] = shift + left_out[0, j], left_out[1, j]
            else:
                track_time[rows[j]], track_error[rows[j]] = shift, spread
