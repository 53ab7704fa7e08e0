"""Time of flight: hits on timing layers, and expected times under every hypothesis.

The signal is made from the generated particle (helix from its production vertex, true mass); everything derived from
it uses measured values only. Surfaces are in :mod:`flashdet.stages.surface`, their pixels in
:mod:`.pixels`, errors of times in :mod:`.timeresponse`, hits of other particles in
:mod:`.mismatch`, expected times and pulls in :mod:`.flight`, and the search for the time
of the event in :mod:`.timesearch`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flashdet.columns import EVENT, EVENT_PROPAGATE, TOF, TOF_EVENT, TOF_TIMED, TRACK, TRACK_DECAY, for_stage, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import by_species
from flashdet.stages.surface import Shape, first_crossing, pack
from flashdet.stages.tof.eventtime import EventTimeConfig, Prior, know_before, prior_columns
from flashdet.stages.tof.flight import expect_times, timed_columns
from flashdet.stages.tof.mismatch import Mismatch, TemplateMismatch, mismatch_hits
from flashdet.stages.tof.pixels import Pixels, is_sensitive, pack_pixels
from flashdet.stages.tof.timeresponse import (
    Resolution,
    Response,
    SurfaceResolutions,
    Tails,
    draw_error,
    pack_response,
    resolution_at,
)
from flashdet.stages.tof.timesearch import EventTimes, find_event_times, stack_hits
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_EFFICIENCY, _SLOT_TIME = 0, 1
#: Without decays; read-only like a column, so that the kernel is compiled once.
_NO_DECAYS = np.empty(0)
_NO_DECAYS.flags.writeable = False


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
    """Whether particles that decayed in flight before the detector make no hit; a stage of kind ``decay`` before this
    one says where."""
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


# --- physics ---------------------------------------------------------------------------------------------------------
def make_hits(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], bz: float,
    surfaces: Floats, pixels: Floats, response: Response, efficiency: float, draw: Draw, decays: bool = False,
) -> tuple[NDArray[np.int8], Floats, Floats, Floats]:  # fmt: skip
    """Cross the surfaces with the generated particles and measure their times.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``, and ``decay_path_true`` for `decays`).
    offsets : (n_events + 1,) int64
        Rows of each event.
    event_key : (n_events,) uint64
        Counter words of the events.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    pixels : (n_surfaces, 3) or (0, 3) float64
        From `flashdet.stages.tof.pixels.pack_pixels`.
    response : Response
        From `flashdet.stages.tof.timeresponse.pack_response`.
    efficiency : float
        Probability of a hit.
    draw : Draw
        Random numbers.
    decays : bool
        Whether particles that decayed before the surface make no hit.

    Returns
    -------
    surface : (n,) int8
        The surface hit, -1 if none.
    path : (n,) float64
        True path from the production vertex [cm], NaN without a hit.
    time, time_error : (n,) float64
        Measured time [ns], production time included, and its core resolution; NaN without a hit.
    """
    n = len(track["pt_true"])
    surface, path, time, time_error = np.empty(n, np.int8), np.empty(n), np.empty(n), np.empty(n)
    _hit_kernel(
        offsets, event_key, track["particle_index"], track["vx_true"], track["vy_true"], track["vz_true"],
        track["vt_true"], track["pt_true"], track["eta_true"], track["phi_true"], track["mass_true"],
        track["charge_true"], track["decay_path_true"] if decays else _NO_DECAYS, float(bz), surfaces, pixels,
        response.nodes, response.tail, response.table,
        response.fraction, response.decay, float(efficiency), draw.key, surface, path, time, time_error,
    )  # fmt: skip
    return surface, path, time, time_error


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _hit_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], vx: Floats, vy: Floats,
    vz: Floats, vt: Floats, pt: Floats, eta: Floats, phi: Floats, mass: Floats, charge: NDArray[np.int8], alive: Floats,
    bz: float, surfaces: Floats, pixels: Floats, nodes: Floats, tail: int, table: Floats, fraction: float, decay: float,
    efficiency: float, key: np.uint64, surface: NDArray[np.int8], path: Floats, time: Floats, time_error: Floats,
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            surface[i], path[i], time[i], time_error[i] = -1, np.nan, np.nan, np.nan
            # half the time of the library's sinh; the absolute error is that of rounding
            grow = math.exp(eta[i])
            tgl = 0.5 * (grow - 1.0 / grow)
            k = curvature(charge[i] / pt[i], bz)
            hit, length, x, y, z, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
            if hit < 0 or not is_sensitive(pixels, surfaces, hit, x, y, z):
                continue
            if len(alive) and length > alive[i]:
                continue
            if efficiency < 1.0:
                u, _ = uniforms(key, event_key[event], particle_index[i], _SLOT_EFFICIENCY)
                if u >= efficiency:
                    continue
            sigma = resolution_at(nodes, hit, x, y, z)
            error = draw_error(
                sigma, tail, table, fraction, decay, key, event_key[event], particle_index[i], _SLOT_TIME
            )  # fmt: skip
            ratio = mass[i] / pt[i]
            flight = length / C_LIGHT * math.sqrt(1.0 + ratio * ratio / (1.0 + tgl * tgl))
            surface[i], path[i], time[i], time_error[i] = hit, length, vt[i] + flight + error, sigma


# --- stage -----------------------------------------------------------------------------------------------------------
_MEASURED = ("y", "z", "snp", "tgl", "q_over_pt", "cov")
_TRUTH = (
    "particle_index", "vx_true", "vy_true", "vz_true", "vt_true", "pt_true", "eta_true", "phi_true", "mass_true",
    "charge_true", "species_true",
)  # fmt: skip


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
        reads = [*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH), *(TRACK_DECAY if config.decays else ())]
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
        surface, path_true, time, time_error = make_hits(
            track, track.offsets, batch["event"]["key"], bz, self._surfaces, self._pixels, self._response,
            self.config.efficiency, draw, self.config.decays,
        )  # fmt: skip
        is_mismatched = np.zeros(track.n_rows, np.bool_)
        if self.config.mismatch is not None:
            is_mismatched = mismatch_hits(
                track, track.offsets, batch["event"], bz, self._surfaces, (surface, path_true, time),
                self.config.mismatch, draw,
            )  # fmt: skip
        path, expected, expected_error = expect_times(track, surface, bz, self._surfaces)
        has_signal = ~np.isnan(path)
        counts = {"hits missed by the measured track": int(np.count_nonzero((surface >= 0) & ~has_signal))}
        columns = {
            "has_signal": has_signal,
            "surface": np.where(has_signal, surface, np.int8(-1)),
            "time": np.where(has_signal, time, np.nan),
            "time_error": np.where(has_signal, time_error, np.nan),
            "path_length": path,
            "path_length_true": np.where(has_signal, path_true, np.nan),
            "is_mismatched_true": is_mismatched & has_signal,
            **by_species("expected", expected),
            **by_species("expected_error", expected_error),
        }
        if self._is_shared:
            return StageOutput((Table(self.name, track.offsets, columns),), counts)
        found = self._event_times(batch, columns, draw)
        columns |= timed_columns(
            columns["time"], columns["time_error"], path, found.track_time, found.track_error, expected, expected_error
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
