"""The time of the collision from all time-of-flight detectors together, and what needs it.

The stage comes after detectors whose ``event_time: {method: shared}`` leaves the time of the collision to it. It adds
their columns ``event_time``, ``beta`` and ``n_sigma_<species>``. The search is in :mod:`.timesearch`,
the detectors are in :mod:`.stage`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EVENT_TIME, EVENT_TIME_EVENT, EVENT_TIME_START, TOF, TOF_TIMED, TRACK, for_stage, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import N_SPECIES
from flashdet.stages.tof.eventtime import EventTimeSearch, know_before, prior_columns
from flashdet.stages.tof.flight import timed_columns
from flashdet.stages.tof.timesearch import find_event_times, stack_hits


# --- configuration ---------------------------------------------------------------------------------------------------
class EventTimeStageConfig(EventTimeSearch, StageConfig):
    """The time of the collision from several detectors."""

    detectors: Annotated[tuple[str, ...], Field(min_length=1, max_length=8)]
    """Names of the time-of-flight stages, whose ``event_time`` is ``{method: shared}``."""
    method: Literal["tracks", "truth_mass"] = "tracks"
    """``tracks``: for unknown masses; ``truth_mass``: with generated species (for comparison)."""


# --- stage -----------------------------------------------------------------------------------------------------------
_HIT = ("time", "time_error", "path_length")
_HYPOTHESES = tuple(f"{what}_{species}" for what in ("expected", "expected_error") for species in SPECIES)


class EventTime(Stage):
    """Find the time of the collision; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "event_time"
    Config: ClassVar[type[StageConfig]] = EventTimeStageConfig
    config: EventTimeStageConfig

    def __init__(self, name: str, config: EventTimeStageConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        truth = ("species_true",) if config.method == "truth_mass" else ()
        hits = pick(TOF, *_HIT, *_HYPOTHESES)
        self.reads = (
            *pick(TRACK, "y", "pt", *truth),
            *prior_columns(config),
            *(column for detector in config.detectors for column in for_stage(hits, "tof", detector)),
        )
        own = (*EVENT_TIME, *EVENT_TIME_EVENT, *(EVENT_TIME_START if config.start_time is not None else ()))
        self.writes = (
            *for_stage(own, self.kind, name),
            *(column for detector in config.detectors for column in for_stage(TOF_TIMED, "tof", detector)),
        )

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Find the times of one batch; see `flashdet.stages.base.Stage`.

        Counts: events whose time is the prior.
        """
        track, config = batch["track"], self.config
        layers = [batch[name] for name in config.detectors]
        truth_mass = config.method == "truth_mass"
        prior = know_before(batch["event"], config, draw)
        hits = stack_hits(layers, track, truth_mass, config)
        found = find_event_times(track.offsets, hits, prior, config)
        per_event: dict[str, NDArray[Any]] = {"time": found.time, "time_error": found.error, "n_tracks": found.n_tracks}
        if config.start_time is not None:
            per_event |= {"start_time": prior.start, "start_time_error": prior.start_error}
        own = {"event_time": found.track_time, "event_time_error": found.track_error}
        tables = [
            Table(self.name, track.offsets, own),
            Table.per_event(f"{self.name}_event", batch.n_events, per_event),
        ]
        # one block for all numbers, which the allocator hands out in large pages
        memory = np.empty((len(layers), N_SPECIES + 1, track.n_rows))
        for layer, out in zip(layers, memory, strict=True):
            columns = timed_columns(
                layer["time"], layer["time_error"], layer["path_length"], found.track_time, found.track_error,
                [layer[f"expected_{name}"] for name in SPECIES], [layer[f"expected_error_{name}"] for name in SPECIES],
                out,
            )  # fmt: skip
            tables.append(Table(layer.name, track.offsets, columns))
        n_without = int(np.count_nonzero(found.n_tracks == 0))
        return StageOutput(tuple(tables), {"events without tracks for the event time": n_without})
