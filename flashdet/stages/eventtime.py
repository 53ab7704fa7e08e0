"""The time of the collision from the hits of a time-of-flight detector, without generated masses.

Here are its configuration, the selection of tracks and what a hit says under each hypothesis; the search itself is in
:mod:`flashdet.kernels.offset`, the detector in :mod:`flashdet.stages.tof`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flashdet.config import Length, StrictModel, Time
from flashdet.kernels.jit import kernel
from flashdet.kernels.offset import common_offset, scratch_sizes
from flashdet.species import SPECIES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: In the list of hypotheses: the one of the generated species.
_TRUE_SPECIES = -1


# --- configuration ---------------------------------------------------------------------------------------------------
class EventTimeConfig(StrictModel):
    """How the time of the collision is found."""

    method: Literal["tracks", "truth_mass", "truth", "none"] = "tracks"
    """``tracks``: from the hits, for unknown masses; ``truth_mass``: from the hits with generated species (for
    comparison); ``truth``: the generated collision time without error; ``none``: 0 with the spread as error."""
    spread: Time = "200 ps"  # type: ignore[assignment]
    """Spread of collision times around 0: the prior of the search. 200 ps is that of the DelphesO2 beams."""
    hypotheses: Mapping[str, Annotated[float, Field(gt=0)]] = {"pion": 0.6, "kaon": 0.2, "proton": 0.2}
    """Species that the search considers and their shares. The default is about the mixture in pp collisions at
    pt = 2 GeV/c, where times are ambiguous (ALICE, Eur. Phys. J. C 75 (2015) 226)."""
    outlier_fraction: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.05
    """Share of hits that fit no hypothesis (decay products, interactions)."""
    outlier_spread: Time = "2 ns"  # type: ignore[assignment]
    """Interval over which outliers spread evenly."""
    max_dca_xy: Length = "1 mm"  # type: ignore[assignment]
    """Tracks farther from the beam axis than this do not enter."""
    min_tracks: Annotated[int, Field(ge=1)] = 1
    """With fewer tracks the event time is that of ``none``."""
    max_iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """Bound on the steps of the search."""

    @field_validator("hypotheses")
    @classmethod
    def _check_species(cls, value: Mapping[str, float]) -> Mapping[str, float]:
        unknown = [name for name in value if name not in SPECIES]
        if unknown or not value:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no hypothesis; allowed: {', '.join(SPECIES)}")
        return value


# --- physics ---------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EventTimes:
    """Times of the collisions.

    Attributes
    ----------
    track_time, track_error : (n,) float64
        For each track, found without its own hit [ns].
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


def find_event_times(
    offsets: Integers, time: Floats, time_resolution: float, expected: Floats, expected_error: Floats,
    dca_xy: Floats, species: NDArray[np.int8], config: EventTimeConfig,
) -> EventTimes:  # fmt: skip
    """Find the collision times that agree best with all hits.

    Each hit gives time - expected under each hypothesis; the search is that of
    `flashdet.kernels.offset.common_offset`: no hypothesis is decided, outliers lose their weight, the spread of
    collisions is the prior. The time of a track leaves out its own hit: otherwise its pull would be too narrow, by
    sqrt((1 - f)/(1 + f)) if it carries the share f of the weight (:func:`self_included_width`).

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    time : (n,) float64
        Measured times [ns], NaN without a hit.
    time_resolution : float
        Their error [ns].
    expected, expected_error : (n_species, n) float64
        From :func:`expect_times`.
    dca_xy : (n,) float64
        Distance to the beam axis [cm].
    species : (n,) int8
        Generated species; used by the method ``truth_mass`` only.
    config : EventTimeConfig
        ``tracks`` or ``truth_mass`` as method.

    Returns
    -------
    EventTimes
    """
    if config.method == "truth_mass":
        hypotheses, share = np.array([_TRUE_SPECIES]), np.ones(1)
    else:
        hypotheses = np.array([SPECIES.index(name) for name in config.hypotheses])
        share = np.array(list(config.hypotheses.values()), np.float64)
        share /= share.sum()
    # peak of a normal density of width 1 over the density of outliers
    share *= (1.0 - config.outlier_fraction) * config.outlier_spread / config.outlier_fraction / math.sqrt(2 * math.pi)
    n_events, n = len(offsets) - 1, len(time)
    capacity = int(np.diff(offsets).max(initial=0))
    result = EventTimes(
        np.empty(n), np.empty(n), np.empty(n_events), np.empty(n_events), np.empty(n_events, np.int32)
    )  # fmt: skip
    _event_time_kernel(
        offsets, time, float(time_resolution), expected, expected_error, dca_xy, species, hypotheses, share,
        config.max_dca_xy, config.min_tracks, config.spread, config.max_iterations,
        np.empty((3, capacity, len(hypotheses))), np.empty((2, capacity)), np.empty(capacity, np.int64),
        np.empty(scratch_sizes(config.spread, time_resolution)),
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
def _event_time_kernel(
    offsets: Integers, time: Floats, resolution: float, expected: Floats, expected_error: Floats, dca_xy: Floats,
    species: NDArray[np.int8], hypotheses: Integers, share: Floats, max_dca_xy: float, min_tracks: int, spread:
    float, max_iterations: int, mixture: Floats, left_out: Floats, rows: Integers, scratch: Floats, track_time:
    Floats, track_error: Floats, event_time: Floats, event_error: Floats, n_tracks: NDArray[np.int32],
) -> None:  # fmt: skip
    offset, inverse, amplitude = mixture[0], mixture[1], mixture[2]
    for event in range(len(event_time)):
        n = 0
        for i in range(offsets[event], offsets[event + 1]):
            if not (time[i] == time[i] and abs(dca_xy[i]) < max_dca_xy):
                continue
            for j in range(len(hypotheses)):
                h = hypotheses[j]
                if h == _TRUE_SPECIES:
                    h = species[i]
                variance = resolution * resolution + expected_error[h, i] * expected_error[h, i]
                offset[n, j] = time[i] - expected[h, i]
                inverse[n, j] = 1.0 / variance
                amplitude[n, j] = share[j] / math.sqrt(variance)
            rows[n] = i
            n += 1
        n_tracks[event] = n
        value, value_error = 0.0, spread
        if n >= min_tracks:
            value, value_error = common_offset(
                offset, inverse, amplitude, n, spread, max_iterations, left_out[0], left_out[1], scratch
            )  # fmt: skip
        event_time[event], event_error[event] = value, value_error
        for i in range(offsets[event], offsets[event + 1]):
            track_time[i], track_error[i] = value, value_error
        for j in range(n):
            if n > min_tracks:
                track_time[rows[j]], track_error[rows[j]] = left_out[0, j], left_out[1, j]
            else:
                track_time[rows[j]], track_error[rows[j]] = 0.0, spread
