"""Time of flight: hits on timing layers, the time of the event, and the expected time under every hypothesis.

The signal is made from the generated particle (helix from its production vertex, true mass); everything derived from
it uses measured values only. Surfaces are in :mod:`flashdet.stages.surface`, the search for the time of the event in
:mod:`flashdet.stages.eventtime`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EVENT, EVENT_PROPAGATE, TOF, TOF_EVENT, TRACK, for_stage, pick
from flashdet.config import StageConfig, Time
from flashdet.event import EventBatch, Table
from flashdet.kernels.gradients import path_to_cylinder, path_to_plane, variance
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import normals, uniforms
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.eventtime import EventTimeConfig, EventTimes, find_event_times
from flashdet.stages.pid import (
    CHARGE,
    MASS,
    N_SPECIES,
    by_species,
    log_momentum_covariance,
    log_momentum_variance,
    rigidity,
)
from flashdet.stages.surface import CYLINDER, Shape, crossing, first_crossing, pack
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_EFFICIENCY, _SLOT_TIME = 0, 1


# --- configuration ---------------------------------------------------------------------------------------------------
class TofConfig(StageConfig):
    """A time-of-flight detector."""

    shape: Shape
    """Its surfaces: one, or a list; a particle is seen by the first one it meets."""
    time_resolution: Time
    """Standard deviation of the measured time, all contributions of the detector together."""
    efficiency: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Probability that a crossing makes a hit."""
    event_time: EventTimeConfig = EventTimeConfig()
    """How the time of the collision is found."""


# --- physics ---------------------------------------------------------------------------------------------------------
def time_of_flight(path: Floats, momentum: Floats, mass: float | Floats) -> Floats:
    """Time a particle needs: t = L/(beta c) = (L/c) sqrt(1 + m^2/p^2) (special relativity).

    Parameters
    ----------
    path : (n,) float64
        Length [cm].
    momentum : (n,) float64
        Momentum [GeV].
    mass : float or (n,) float64
        Mass [GeV].

    Returns
    -------
    (n,) float64
        Time [ns].
    """
    return path / C_LIGHT * np.sqrt(1.0 + np.square(mass / momentum))


def make_hits(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], bz: float,
    surfaces: Floats, time_resolution: float, efficiency: float, draw: Draw,
) -> tuple[NDArray[np.int8], Floats, Floats]:  # fmt: skip
    """Cross the surfaces with the generated particles and measure their times.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``).
    offsets : (n_events + 1,) int64
        Rows of each event.
    event_key : (n_events,) uint64
        Counter words of the events.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    time_resolution : float
        Standard deviation [ns].
    efficiency : float
        Probability of a hit.
    draw : Draw
        Random numbers.

    Returns
    -------
    surface : (n,) int8
        The surface hit, -1 if none.
    path : (n,) float64
        True path from the production vertex [cm], NaN without a hit.
    time : (n,) float64
        Measured time [ns], production time included; NaN without a hit.
    """
    n = len(track["pt_true"])
    surface, path, time = np.empty(n, np.int8), np.empty(n), np.empty(n)
    _hit_kernel(
        offsets, event_key, track["particle_index"], track["vx_true"], track["vy_true"], track["vz_true"],
        track["vt_true"], track["pt_true"], track["eta_true"], track["phi_true"], track["mass_true"],
        track["charge_true"], float(bz), surfaces, float(time_resolution), float(efficiency), draw.key,
        surface, path, time,
    )  # fmt: skip
    return surface, path, time


def expect_times(
    track: Mapping[str, NDArray[Any]], surface: NDArray[np.int8], bz: float, surfaces: Floats
) -> tuple[Floats, Floats, Floats]:
    """Expected time of flight from the reference point to the surface, with its error, for every hypothesis.

    The error is linear in the covariance of all five parameters. With e = sqrt(1 + m^2/p^2) and L the path,
    t = L e/c, hence dt = (e/c) dL - (L m^2/(c e p^2)) d log p. For a track from the origin this is the closed form of
    the ALICE 3 on-the-fly simulation (O2Physics, ``onTheFlyTofPid.cxx``), and without the change of the path that of
    DelphesO2 (``TOFLayer.cc``).

    Parameters
    ----------
    track : mapping of str to array
        Columns ``y z snp tgl q_over_pt cov`` of the track table.
    surface : (n,) int8
        The surface, -1 for none.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    path : (n,) float64
        Path [cm]; NaN without a surface or if the measured track does not reach it.
    expected, expected_error : (n_species, n) float64
        Times and errors [ns], NaN as the path.
    """
    n = len(surface)
    path, expected, error = np.empty(n), np.empty((N_SPECIES, n)), np.empty((N_SPECIES, n))
    # rigidity, variance of the path, covariance of path and log p, variance of log p
    moments = np.empty((4, n))
    _path_kernel(
        surface, track["y"], track["z"], track["snp"], track["tgl"], track["q_over_pt"], track["cov"],
        float(bz), surfaces, path, moments,
    )  # fmt: skip
    _expect_kernel(path, moments, expected, error)
    return path, expected, error


def pulls(
    time: Floats,
    time_error: Floats,
    event_time: Floats,
    event_time_error: Floats,
    expected: Floats,
    expected_error: Floats,
) -> Floats:
    """Distance to each hypothesis in standard deviations.

    (time - event_time - expected)/sqrt(time_error^2 + event_time_error^2 + expected_error^2): independent errors, since
    the event time leaves out the track.

    Parameters
    ----------
    time, time_error, event_time, event_time_error : (n,) float64
        Measured [ns].
    expected, expected_error : (n_species, n) float64
        Expected [ns].

    Returns
    -------
    (n_species, n) float64
        NaN where an input is.
    """
    n_sigma = np.empty_like(expected)
    _pull_kernel(time, time_error, event_time, event_time_error, expected, expected_error, n_sigma)
    return n_sigma


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _hit_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], vx: Floats, vy: Floats,
    vz: Floats, vt: Floats, pt: Floats, eta: Floats, phi: Floats, mass: Floats, charge: NDArray[np.int8], bz:
    float, surfaces: Floats, resolution: float, efficiency: float, key: np.uint64, surface: NDArray[np.int8],
    path: Floats, time: Floats,
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            surface[i], path[i], time[i] = -1, np.nan, np.nan
            tgl = math.sinh(eta[i])
            k = curvature(charge[i] / pt[i], bz)
            hit, length, _, _, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
            if hit < 0:
                continue
            if efficiency < 1.0:
                u, _ = uniforms(key, event_key[event], particle_index[i], _SLOT_EFFICIENCY)
                if u >= efficiency:
                    continue
            noise, _ = normals(key, event_key[event], particle_index[i], _SLOT_TIME)
            ratio = mass[i] / pt[i]
            flight = length / C_LIGHT * math.sqrt(1.0 + ratio * ratio / (1.0 + tgl * tgl))
            surface[i], path[i], time[i] = hit, length, vt[i] + flight + noise * resolution


@kernel
def _path_kernel(
    surface: NDArray[np.int8], y: Floats, z: Floats, snp: Floats, tgl: Floats, q_over_pt: Floats,
    cov: Floats, bz: float, surfaces: Floats, path: Floats, moments: Floats,
) -> None:  # fmt: skip
    for i in range(len(surface)):
        # NaN also into the moments: memory as it comes may hold NaNs of other bits, which would travel on
        path[i], moments[0, i], moments[1, i], moments[2, i], moments[3, i] = np.nan, np.nan, np.nan, np.nan, np.nan
        if surface[i] < 0:
            continue
        # all in the local frame: the surfaces are symmetric about the z axis, so alpha does not matter
        k = curvature(q_over_pt[i], bz)
        phi = math.asin(snp[i])
        is_reached, length, hit_u, hit_w, _, _ = crossing(0.0, y[i], z[i], phi, tgl[i], k, surfaces, surface[i])
        if not is_reached:
            continue
        if surfaces[surface[i], 0] == CYLINDER:
            gradient = path_to_cylinder(y[i], 0.0, snp[i], tgl[i], q_over_pt[i], bz, hit_u, hit_w, length)
        else:
            gradient = path_to_plane(tgl[i], length)
        path[i] = length
        moments[0, i] = rigidity(tgl[i], q_over_pt[i])
        moments[1, i] = variance(gradient, cov[i])
        moments[2, i] = log_momentum_covariance(gradient, tgl[i], q_over_pt[i], cov[i])
        moments[3, i] = log_momentum_variance(tgl[i], q_over_pt[i], cov[i])


@kernel
def _expect_kernel(path: Floats, moments: Floats, expected: Floats, error: Floats) -> None:
    # apart from the loop over tracks so that the compiler uses vector instructions (half the time of one loop)
    for h in range(expected.shape[0]):
        mass = MASS[h] / CHARGE[h]
        for i in range(expected.shape[1]):
            ratio = mass / moments[0, i]
            square = ratio * ratio
            slowness = math.sqrt(1.0 + square)
            push = path[i] * square / slowness
            spread = slowness * (slowness * moments[1, i] - 2.0 * push * moments[2, i]) + push * push * moments[3, i]
            expected[h, i] = path[i] * slowness / C_LIGHT
            # rounding may leave a vanishing variance below zero; NaN stays NaN
            error[h, i] = math.sqrt(0.0 if spread < 0.0 else spread) / C_LIGHT


@kernel
def _pull_kernel(
    time: Floats, time_error: Floats, event_time: Floats, event_time_error: Floats, expected: Floats,
    expected_error: Floats, n_sigma: Floats,
) -> None:  # fmt: skip
    for h in range(expected.shape[0]):
        for i in range(expected.shape[1]):
            variance = time_error[i] * time_error[i] + event_time_error[i] * event_time_error[i]
            variance += expected_error[h, i] * expected_error[h, i]
            n_sigma[h, i] = (time[i] - event_time[i] - expected[h, i]) / math.sqrt(variance)


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
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH))
        if config.event_time.method == "truth":
            self.reads += (*pick(EVENT, "vt"), *pick(EVENT_PROPAGATE, "collision_time"))
        self.writes = for_stage((*TOF, *TOF_EVENT), self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: hits that the measured track does not reach, and events whose time is the prior.
        """
        track, config, bz = batch["track"], self.config, self.setup.magnetic_field
        resolution = config.time_resolution
        surface, path_true, time = make_hits(
            track, track.offsets, batch["event"]["key"], bz, self._surfaces, resolution, config.efficiency, draw
        )
        path, expected, expected_error = expect_times(track, surface, bz, self._surfaces)
        has_signal = ~np.isnan(path)
        n_missed = int(np.count_nonzero((surface >= 0) & ~has_signal))
        time = np.where(has_signal, time, np.nan)
        time_error = np.where(has_signal, resolution, np.nan)
        found = self._event_times(batch, time, expected, expected_error)
        n_sigma = pulls(time, time_error, found.track_time, found.track_error, expected, expected_error)
        columns = {
            "has_signal": has_signal,
            "surface": np.where(has_signal, surface, np.int8(-1)),
            "time": time,
            "time_error": time_error,
            "path_length": path,
            "path_length_true": np.where(has_signal, path_true, np.nan),
            "beta": path / (C_LIGHT * (time - found.track_time)),
            "event_time": found.track_time,
            "event_time_error": found.track_error,
            **by_species("expected", expected),
            **by_species("expected_error", expected_error),
            **by_species("n_sigma", n_sigma),
        }
        per_event: dict[str, NDArray[Any]] = {"time": found.time, "time_error": found.error, "n_tracks": found.n_tracks}
        tables = (
            Table(self.name, track.offsets, columns),
            Table.per_event(f"{self.name}_event", batch.n_events, per_event),
        )
        counts = {
            "hits missed by the measured track": n_missed,
            "events without tracks for the event time": int(np.count_nonzero(found.n_tracks == 0)),
        }
        return StageOutput(tables, counts)

    def _event_times(self, batch: EventBatch, time: Floats, expected: Floats, expected_error: Floats) -> EventTimes:
        """Event times by the method of the configuration."""
        track, event, config = batch["track"], batch["event"], self.config.event_time
        if config.method in ("tracks", "truth_mass"):
            return find_event_times(
                track.offsets, time, self.config.time_resolution, expected, expected_error, track["y"],
                track["species_true"], config,
            )  # fmt: skip
        is_truth = config.method == "truth"
        value = event["vt"] + event["collision_time"] if is_truth else np.zeros(batch.n_events)
        error = np.full(batch.n_events, 0.0 if is_truth else config.spread)
        n_rows = np.diff(track.offsets)
        n_tracks = np.zeros(batch.n_events, np.int32)
        return EventTimes(np.repeat(value, n_rows), np.repeat(error, n_rows), value, error, n_tracks)
