"""Time of flight: hits on timing layers, and expected times under every hypothesis.

The signal is made from the generated particle (helix from its production vertex, true mass); everything derived from
it uses measured values only. Surfaces are in :mod:`flashdet.stages.surface`, their pixels in
:mod:`.pixels`, errors of times in :mod:`.timeresponse`, hits of other particles in
:mod:`.mismatch`, expected times and pulls in :mod:`.flight`, and the search for the time
of the event in :mod:`.timesearch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flashdet.columns import EVENT, EVENT_PROPAGATE, TOF, TOF_EVENT, TOF_TIMED, TRACK, TRACK_END, for_stage, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import N_SPECIES, by_species
from flashdet.stages.surface import Shape, pack
from flashdet.stages.tof.eventtime import EventTimeConfig, Prior, know_before, prior_columns
from flashdet.stages.tof.flight import Flights, fill_flights, timed_columns
from flashdet.stages.tof.hits import HitColumns, make_hits
from flashdet.stages.tof.mismatch import Mismatch, TemplateMismatch, mismatch_hits
from flashdet.stages.tof.pixels import Pixels, pack_pixels
from flashdet.stages.tof.timeresponse import Resolution, SurfaceResolutions, Tails, pack_response
from flashdet.stages.tof.timesearch import EventTimes, find_event_times, stack_hits


# --- configuration ---------------------------------------------------------------------------------------------------
class TofConfig(StageConfig):
    """A time-of-flight detector."""

    shape: Shape
    """Its surfaces: one, or a list; a particle is seen by the first one it meets."""
    time_resolution: Resolution
    """Standard deviation of the measured time, all contributions of the detector together: a time, a list of
    ``{eta, sigma}``, or ``{surfaces: [...]}`` with one of these for each surface."""
    tails: Tails | None = None
    """Tails of the measured time beyond the normal distribution. Errors and pulls know the resolution only."""
    pixels: Pixels | None = None
    """Pixels with insensitive borders; without them the surfaces are sensitive everywhere."""
    efficiency: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that a crossing makes a hit."""
    decays: bool = False
    """Whether particles that decayed in flight or were absorbed before the detector make no hit; a stage of kind
    ``decay`` before this one says where."""
    mismatch: Mismatch | None = None
    """Hits of other particles in the place of the own one; without it every track has its own."""
    event_time: EventTimeConfig = EventTimeConfig()
    """How the time of the collision is found."""

    @model_validator(mode="after")
    def _check_surfaces(self) -> Self:
        resolution = self.time_resolution
        if isinstance(resolution, SurfaceResolutions) and len(resolution.surfaces) != len(self.shape):
            raise ValueError(
                f"time_resolution has {len(resolution.surfaces)} surfaces, shape has {len(self.shape)}; they must agree"
            )
        return self


# --- stage -----------------------------------------------------------------------------------------------------------
_MEASURED = ("y", "z", "snp", "tgl", "q_over_pt", "cov")
_TRUTH = (
    "particle_index", "vx_true", "vy_true", "vz_true", "vt_true", "pt_true", "eta_true", "phi_true", "mass_true",
    "charge_true", "species_true",
)  # fmt: skip


def _memory(n: int) -> tuple[HitColumns, Flights, NDArray[np.bool_]]:
    """Columns of a table; one block for all numbers, which the allocator hands out in large pages."""
    numbers, is_true = np.empty((4 + 2 * N_SPECIES, n)), np.empty((2, n), np.bool_)
    path_true, time, time_error, path = numbers[:4]
    expected, expected_error = numbers[4 : 4 + N_SPECIES], numbers[4 + N_SPECIES :]
    hits = HitColumns(np.empty(n, np.int8), path_true, time, time_error)
    return hits, Flights(is_true[0], path, expected, expected_error), is_true[1]


class Tof(Stage):
    """Simulate a time-of-flight detector; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "tof"
    Config: ClassVar[type[StageConfig]] = TofConfig
    config: TofConfig

    def __init__(self, name: str, config: TofConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self._surfaces = pack(config.shape)
        self._pixels = pack_pixels(config.pixels, config.shape)
        self._response = pack_response(config.time_resolution, config.tails, len(config.shape))
        self._is_shared = config.event_time.method == "shared"
        reads = [*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH), *(TRACK_END if config.decays else ())]
        if config.event_time.method == "truth":
            reads += [*pick(EVENT, "vt"), *pick(EVENT_PROPAGATE, "collision_time")]
        elif not self._is_shared:
            reads += [*pick(TRACK, "pt"), *prior_columns(config.event_time)]
        if isinstance(config.mismatch, TemplateMismatch):
            reads += [*pick(EVENT, "vt"), *pick(EVENT_PROPAGATE, "collision_time")]
        self.reads = tuple(dict.fromkeys(reads))
        timed = for_stage(TOF_TIMED, self.kind, name)
        written = for_stage((*TOF, *TOF_EVENT), self.kind, name)
        if self._is_shared:
            written = tuple(c for c in written if c.table == name and c not in timed)
            self.expects = timed
        self.writes = written

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: hits that the measured track does not reach, and events whose time is the prior.
        """
        track, bz = batch["track"], self.setup.magnetic_field
        hits, flights, is_mismatched = _memory(track.n_rows)
        make_hits(
            track, track.offsets, batch["event"]["key"], bz, self._surfaces, self._pixels, self._response,
            self.config.efficiency, draw, self.config.decays, hits,
        )  # fmt: skip
        is_mismatched[:] = False
        if self.config.mismatch is not None:
            mismatch_hits(
                track, track.offsets, batch["event"], bz, self._surfaces, (hits.surface, hits.path, hits.time),
                self.config.mismatch, draw, is_mismatched,
            )  # fmt: skip
        n_missed = fill_flights(track, hits.surface, bz, self._surfaces, flights)
        if n_missed:
            missed = (hits.surface >= 0) & ~flights.has_signal
            hits.surface[missed], is_mismatched[missed] = -1, False
            for column in (hits.path, hits.time, hits.time_error):
                column[missed] = np.nan
        counts = {"hits missed by the measured track": n_missed}
        columns: dict[str, NDArray[Any]] = {
            "has_signal": flights.has_signal,
            "surface": hits.surface,
            "time": hits.time,
            "time_error": hits.time_error,
            "path_length": flights.path,
            "path_length_true": hits.path,
            "is_mismatched_true": is_mismatched,
            **by_species("expected", flights.expected),
            **by_species("expected_error", flights.expected_error),
        }
        if self._is_shared:
            return StageOutput((Table(self.name, track.offsets, columns),), counts)
        found = self._event_times(batch, columns, draw)
        columns |= timed_columns(
            hits.time, hits.time_error, flights.path, found.track_time, found.track_error, flights.expected,
            flights.expected_error,
        )  # fmt: skip
        per_event: dict[str, NDArray[Any]] = {"time": found.time, "time_error": found.error, "n_tracks": found.n_tracks}
        tables = (
            Table(self.name, track.offsets, columns),
            Table.per_event(f"{self.name}_event", batch.n_events, per_event),
        )
        counts["events without tracks for the event time"] = int(np.count_nonzero(found.n_tracks == 0))
        return StageOutput(tables, counts)

    def _event_times(self, batch: EventBatch, columns: Mapping[str, NDArray[Any]], draw: Draw) -> EventTimes:
        """Event times by the method of the configuration."""
        track, event, config = batch["track"], batch["event"], self.config.event_time
        if config.method in ("tracks", "truth_mass"):
            truth_mass = config.method == "truth_mass"
            hits = stack_hits([columns], track, truth_mass, config)
            return find_event_times(track.offsets, hits, know_before(event, config, draw), config)
        if config.method == "truth":
            prior = Prior(event["vt"] + event["collision_time"], np.zeros(batch.n_events), *np.empty((2, 0)))
        else:
            prior = know_before(event, config, draw)
        n_rows = np.diff(track.offsets)
        n_tracks = np.zeros(batch.n_events, np.int32)
        return EventTimes(
            np.repeat(prior.time, n_rows), np.repeat(prior.error, n_rows), prior.time, prior.error, n_tracks
        )
