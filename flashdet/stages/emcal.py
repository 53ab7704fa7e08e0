"""Electromagnetic calorimeter: clusters of photons and charged particles, matched to tracks.

Room: configuration and stage; the physics is in :mod:`flashdet.stages.clusters` (places, merging, measurement),
:mod:`flashdet.stages.showers` (energy that particles leave) and :mod:`flashdet.stages.matching` (tracks). Material in
front of the calorimeter is not part of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, WrapValidator, field_validator

from flashdet.columns import CHARGED, EMCAL, EMCAL_CLUSTER, EVENT, EVENT_PROPAGATE, PARTICLE, TRACK, for_stage, pick
from flashdet.config import (
    Energy,
    EnergyOrZero,
    Length,
    LengthOrZero,
    LengthRootEnergy,
    RootEnergy,
    StageConfig,
    StrictModel,
    TimeOrZero,
)
from flashdet.event import EventBatch, Table
from flashdet.kernels.cells import make_cells
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.clusters import (
    ELECTRON,
    MUON,
    Charged,
    Clusters,
    Deposits,
    Floats,
    Neutrals,
    Response,
    make_deposits,
    measure_clusters,
)
from flashdet.stages.matching import (
    Tracks,
    compare_hypothesis,
    gather,
    link_rows,
    match_nearest,
    match_truth,
    prepare_tracks,
)
from flashdet.stages.merging import merge_deposits
from flashdet.stages.pid import by_species
from flashdet.stages.rows import empty_columns
from flashdet.stages.secondaries import photon_row
from flashdet.stages.showers import LATERAL, interpolate_response, make_hadrons, mean_response
from flashdet.stages.surface import Shape, pack

#: Codes of neutral hadrons that live long enough to reach a calorimeter.
_NEUTRAL_HADRONS = (130, 310, 2112, -2112, 3122, -3122, 3322, -3322)


# --- configuration ---------------------------------------------------------------------------------------------------
class EnergyResolution(StrictModel):
    """sigma(E)/E = sqrt((a/E)^2 + b^2/E + c^2); the defaults are those of DelphesO2's ``ECALdetector``."""

    a: EnergyOrZero = "2 MeV"  # type: ignore[assignment]
    """Noise."""
    b: RootEnergy = "0.02 GeV^0.5"  # type: ignore[assignment]
    """Fluctuations of the shower."""
    c: float = Field(default=0.01, ge=0)
    """Constant term."""


class PositionResolution(StrictModel):
    """sigma = sqrt(A^2 + B^2/E) in both directions of the surface; the defaults are DelphesO2's."""

    A: LengthOrZero = "0.15 cm"  # type: ignore[assignment]
    """Constant term."""
    B: LengthRootEnergy = "0.30 cm GeV^0.5"  # type: ignore[assignment]
    """Term that falls with the energy."""


class TimeResolution(StrictModel):
    """sigma = sqrt(constant^2 + (at_1_gev / E)^2), E in GeV; the default is a perfect clock."""

    constant: TimeOrZero = "0 ps"  # type: ignore[assignment]
    """Constant term."""
    at_1_gev: TimeOrZero = "0 ps"  # type: ignore[assignment]
    """Noise term at 1 GeV."""


class Mip(StrictModel):
    """Energy of a minimum ionising particle of charge 1.

    The defaults are for 20 cm of lead tungstate: 10.2 MeV/cm (PDG 2024, atomic and nuclear properties), and the width
    xi = 0.1535 MeV cm2/g Z/A rho x of Landau's theory (PDG 2024, 34.2.9).
    """

    energy: Energy = "204 MeV"  # type: ignore[assignment]
    """Most probable energy."""
    width: EnergyOrZero = "10 MeV"  # type: ignore[assignment]
    """Scale of the Moyal distribution around it."""


class HadronicShowers(StrictModel):
    """Hadrons that interact in the calorimeter; see :mod:`flashdet.stages.showers`.

    The defaults are for 20 cm of lead tungstate: nuclear interaction length 20.27 cm and radiation length 0.8904 cm
    (PDG 2024, atomic and nuclear properties), e/h = 2.4 (CMS: S. Abdullin et al., Eur. Phys. J. C 60 (2009) 359).
    """

    interaction_lengths: float = Field(default=0.987, gt=0)
    """Depth in nuclear interaction lengths."""
    radiation_lengths: float = Field(default=22.5, gt=0)
    """Depth in radiation lengths."""
    h_over_e: float = Field(default=0.42, gt=0, le=2)
    """Signal of the hadronic part of a shower against that of an electron of the same energy."""


class Merging(StrictModel):
    """Showers that overlap make one cluster."""

    distance: float = Field(default=1.5, gt=0)
    """Largest distance to the leading shower in Moliere radii."""


class Matching(StrictModel):
    """How tracks find their clusters."""

    distance: Length
    """Largest distance between the measured track and the cluster on the surface."""


class Widths(StrictModel):
    """Lateral size of showers: log-normal around a mean.

    That of electromagnetic showers follows from the Moliere radius: an exponential density of which 90 % lie within one
    radius has a standard deviation of 0.445 radii per coordinate. Means of the others in units of that. The spreads and
    the hadronic numbers are placeholders of the right size, to be replaced by those of a full simulation.
    """

    moliere_radius: Length = "1.959 cm"  # type: ignore[assignment]
    """Moliere radius; the default is that of lead tungstate (PDG 2024)."""
    electromagnetic_spread: float = Field(default=0.10, gt=0, lt=1)
    """Relative spread for photons and electrons."""
    ionisation: float = Field(default=0.5, gt=0)
    """Mean for particles that do not shower."""
    ionisation_spread: float = Field(default=0.15, gt=0, lt=1)
    """Relative spread for them."""
    hadronic: float = Field(default=2.0, gt=0)
    """Mean for hadronic showers."""
    hadronic_spread: float = Field(default=0.35, gt=0, lt=1)
    """Relative spread for them."""


def _one_or_many(value: object, many: Callable[[object], Any]) -> Any:
    """Accept a lone item as a list of one; errors keep the path of the card."""
    return many([value] if isinstance(value, dict | StrictModel) else value)


_Lone = WrapValidator(_one_or_many)


class EMCalConfig(StageConfig):
    """Configuration of the calorimeter."""

    shape: Shape
    """Front surfaces."""
    energy_resolution: Annotated[tuple[EnergyResolution, ...], _Lone] = (EnergyResolution(),)
    """Energy resolution: one for all surfaces or one for each."""
    position_resolution: Annotated[tuple[PositionResolution, ...], _Lone] = (PositionResolution(),)
    """Position resolution: one for all surfaces or one for each."""
    time_resolution: Annotated[tuple[TimeResolution, ...], _Lone] = (TimeResolution(),)
    """Time resolution: one for all surfaces or one for each."""
    threshold: EnergyOrZero = "50 MeV"  # type: ignore[assignment]
    """Clusters with a measured energy up to this are lost."""
    mip: Mip = Mip()
    """Response to charged particles that do not shower."""
    widths: Widths = Widths()
    """Lateral size of showers."""
    hadronic_showers: HadronicShowers | None = None
    """Hadrons, neutral ones included, make showers; without it charged ones only ionise and neutral ones leave none."""
    merging: Merging | None = None
    """Showers that overlap merge; without it every particle has a cluster of its own."""
    matching: Matching | None = None
    """Measured tracks take the nearest cluster; without it a track takes the cluster of its own particle."""
    charged: Literal["reconstructed", "all"] = "reconstructed"
    """Charged particles that leave energy: those with a track, or also those that the tracker lost."""

    @field_validator("energy_resolution", "position_resolution", "time_resolution")
    @classmethod
    def _check_count(cls, value: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        n = len(info.data.get("shape", value))
        if len(value) not in (1, n):
            raise ValueError(f"{len(value)} resolutions for {n} surfaces; give one, or one for each surface")
        return value


class _Charged(NamedTuple):
    """Charged particles offered to the calorimeter and the row of each track among them."""

    columns: Charged
    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]


# --- stage -----------------------------------------------------------------------------------------------------------
class EMCal(Stage):
    """Measure photons, hadrons and charged particles in the calorimeter.

    Neutral particles are final-state particles (status 1) of the generator record that fly straight from their
    production vertex through a surface; charged particles follow their true helix. A photon that converted leaves
    nothing, its electron and positron do. ``e_over_p`` divides by the rigidity p/|z|, which is what the tracker
    measures. A cluster whose measured energy stays below the threshold is lost and counted. ``n_sigma`` of ionising
    species takes mean and standard deviation of a skewed distribution.
    """

    kind = "emcal"
    Config = EMCalConfig
    config: EMCalConfig

    def __init__(self, name: str, config: EMCalConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        measured = ("alpha", "y", "z", "snp") if config.matching else ()
        truth: tuple[str, ...] = ("particle_index", "pdg_true")
        if config.charged == "reconstructed":
            truth = ("particle_index", *(f"{c}_true" for c in Charged._fields[1:]))
        self.reads = (
            *pick(EVENT, "key"),
            *pick(EVENT_PROPAGATE, "collision_time"),
            *pick(PARTICLE, *Neutrals._fields),
            *pick(TRACK, "tgl", "q_over_pt", "cov", *truth, *measured),
            *pick(CHARGED, *(Charged._fields if config.charged == "all" else ("particle_index",))),
        )
        self.writes = for_stage((*EMCAL, *EMCAL_CLUSTER), self.kind, name)
        self._surfaces = pack(config.shape)
        self._response = _pack_response(config)
        self._means = None
        if config.hadronic_showers:
            self._means = mean_response(config.mip.energy, config.mip.width, self._response.hadrons)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: clusters of photons, tracks and neutral hadrons below the threshold.
        """
        track, charged = batch["track"], self._charged(batch)
        n_events, n_charged = batch.n_events, len(charged.columns.pdg)
        deposits, offsets, surface, deposit_of = self._deposit(batch, charged, draw)
        leader = np.arange(offsets[-1])
        if self.config.merging:
            distance = self.config.merging.distance * self.config.widths.moliere_radius
            merge_deposits(deposits, offsets, self._surfaces, float(distance), make_cells(offsets), leader)
        clusters = Clusters(*empty_columns(EMCAL_CLUSTER, int(offsets[-1])))
        cluster_offsets, cluster_of = np.empty(n_events + 1, np.int64), np.empty(offsets[-1], np.int64)
        lost = np.zeros(3, np.int64)
        measure_clusters(
            deposits, offsets, leader, batch["event"]["key"], draw.key, self._surfaces, self._response, clusters,
            cluster_offsets, cluster_of, lost,
        )  # fmt: skip
        row, gap = np.empty(track.n_rows, np.int64), np.full(track.n_rows, np.nan)
        if self.config.matching:
            surface = np.empty(track.n_rows, np.int8)
            tracks = Tracks(*(track[c] for c in Tracks._fields))
            match_nearest(
                track.offsets, tracks, float(self.setup.magnetic_field), self._surfaces,
                float(self.config.matching.distance), make_cells(cluster_offsets), cluster_offsets, clusters, surface,
                row, gap,
            )  # fmt: skip
        else:
            # a track without a row among the charged particles (there is none) would reach no surface
            surface = np.append(surface, np.int8(-1))[charged.rows] if n_charged else np.full(track.n_rows, -1, np.int8)
            match_truth(
                track.offsets, charged.rows, deposit_of, leader, cluster_of, deposits, cluster_offsets, clusters, row
            )
        counts = {
            "photons below threshold": int(lost[0]),
            "tracks below threshold": int(lost[1]),
            "neutral hadrons below threshold": int(lost[2]),
        }
        rows = {name: values[: cluster_offsets[-1]] for name, values in clusters._asdict().items()}
        mine = self._match(track, surface, row, gap, clusters, cluster_offsets)
        return StageOutput((mine, Table(f"{self.name}_cluster", cluster_offsets, rows)), counts)

    def _charged(self, batch: EventBatch) -> _Charged:
        """Charged particles as the card chooses them."""
        track = batch["track"]
        if self.config.charged == "reconstructed":
            names = ("particle_index", *(f"{c}_true" for c in Charged._fields[1:]))
            return _Charged(Charged(*(track[c] for c in names)), track.offsets, np.arange(track.n_rows))
        charged = batch["charged"]
        rows = np.empty(track.n_rows, np.int64)
        link_rows(
            track["particle_index"], track["pdg_true"], track.offsets, charged["particle_index"], charged["pdg"],
            charged.offsets, rows,
        )  # fmt: skip
        return _Charged(Charged(*(charged[c] for c in Charged._fields)), charged.offsets, rows)

    def _deposit(
        self, batch: EventBatch, charged: _Charged, draw: Draw
    ) -> tuple[Deposits, NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
        """Deposits, their offsets, and surface and deposit of each charged particle."""
        particle, event = batch["particle"], batch["event"]
        n_charged = len(charged.columns.pdg)
        is_neutral = particle["pdg"] == 22
        if len(self._response.codes):
            is_neutral |= np.isin(particle["pdg"], self._response.codes)
        room = n_charged + int(np.count_nonzero(is_neutral & (particle["status"] == 1)))
        short, long = np.empty((2, room), np.int8), np.empty((2, room), np.int32)
        deposits = Deposits(long[0], short[0], short[1], long[1], *np.empty((9, room)))
        offsets = np.empty(batch.n_events + 1, np.int64)
        surface, deposit_of = np.empty(n_charged, np.int8), np.empty(n_charged, np.int64)
        make_deposits(
            Neutrals(*(particle[c] for c in Neutrals._fields)), _converted(batch), particle.offsets, charged.columns,
            charged.offsets, event["collision_time"], event["key"], draw.key, float(self.setup.magnetic_field),
            self._surfaces, self._response, deposits, offsets, surface, deposit_of,
        )  # fmt: skip
        return deposits, offsets, surface, deposit_of

    def _match(
        self, track: Table, surface: NDArray[np.int8], row: NDArray[np.int64], gap: Floats, clusters: Clusters,
        cluster_offsets: NDArray[np.int64],
    ) -> Table:  # fmt: skip
        """Rows of the tracks, with the expectations of all species."""
        tgl, q_over_pt, n = track["tgl"], track["q_over_pt"], track.n_rows
        index, values = np.empty(n, np.int32), np.empty((4, n))
        gather(row, track.offsets, cluster_offsets, clusters, index, values)
        energy, energy_error, time, width = values
        columns = {
            "has_acceptance": surface >= 0,
            "has_signal": row >= 0,
            "cluster_index": index,
            "energy": energy,
            "energy_error": energy_error,
            "e_over_p": energy * np.abs(q_over_pt) / np.sqrt(1.0 + tgl * tgl),
            "distance": gap,
            "time": time,
            "n_sigma_width": width,
            **self._compare(track, surface, energy),
        }
        return Table(self.name, track.offsets, columns)

    def _compare(self, track: Table, surface: NDArray[np.int8], energy: Floats) -> dict[str, Floats]:
        """Expected energies, their widths and n-sigma of all species."""
        n = track.n_rows
        expected, error, n_sigma = (np.empty((len(SPECIES), n)) for _ in range(3))
        rigidity2, spread2, squares = np.empty(n), np.empty(n), np.empty((3, n))
        regions = self._response.regions
        prepare_tracks(track["tgl"], track["q_over_pt"], track["cov"], surface, regions, rigidity2, spread2, squares)
        for h, (mass, charge) in enumerate(zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)):
            if self._means is not None and h > MUON:
                break
            compare_hypothesis(
                rigidity2, spread2, energy, squares, self._response.ionisation, mass, float(charge), h == ELECTRON,
                expected[h], error[h], n_sigma[h],
            )  # fmt: skip
        if self._means is not None:
            interpolate_response(rigidity2, self._means, squares, energy, expected, error, n_sigma)
        return {
            **by_species("expected", expected),
            **by_species("expected_error", error),
            **by_species("n_sigma", n_sigma),
        }


def _converted(batch: EventBatch) -> NDArray[np.bool_]:
    """Photons of the record that made a pair on the way."""
    charged, particle = batch["charged"], batch["particle"]
    photon = photon_row(charged["particle_index"])
    is_gone = np.zeros(particle.n_rows, np.bool_)
    if (photon >= 0).any():
        is_gone[(photon + particle.offsets[charged.event_index])[photon >= 0]] = True
    return is_gone


def _pack_response(config: EMCalConfig) -> Response:
    """Numbers of the card as arrays for kernels."""
    rows = []
    for i in range(len(config.shape)):
        e = config.energy_resolution[i % len(config.energy_resolution)]
        p = config.position_resolution[i % len(config.position_resolution)]
        t = config.time_resolution[i % len(config.time_resolution)]
        rows.append((e.a, e.b, e.c, p.A, p.B, config.threshold, t.constant, t.at_1_gev))
    w = config.widths
    relative = ((1.0, w.electromagnetic_spread), (w.ionisation, w.ionisation_spread), (w.hadronic, w.hadronic_spread))
    widths = [(LATERAL * w.moliere_radius * mean, spread) for mean, spread in relative]
    h = config.hadronic_showers
    hadrons = make_hadrons(h.interaction_lengths, h.radiation_lengths, h.h_over_e) if h else make_hadrons(0.0, 1.0, 1.0)
    return Response(
        np.array(rows, np.float64),
        np.array([config.mip.energy, config.mip.width], np.float64),
        np.array(widths),
        hadrons,
        np.array(_NEUTRAL_HADRONS if h else (), np.int32),
    )
