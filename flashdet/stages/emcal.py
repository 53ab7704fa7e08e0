"""Electromagnetic calorimeter: clusters of photons and charged particles, matched to tracks.

Room: configuration and stage; the physics is in :mod:`flashdet.stages.clusters`. Every particle that reaches the
calorimeter makes a cluster of its own: clusters are not merged, hadronic showers and material in front of the
calorimeter are left out. Photons and electrons leave their energy; every other charged particle leaves that of a
minimum ionising particle. Neutral hadrons leave none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EMCAL, EMCAL_CLUSTER, EVENT, PARTICLE, TRACK, for_stage, pick
from flashdet.config import Energy, EnergyOrZero, LengthOrZero, LengthRootEnergy, RootEnergy, StageConfig, StrictModel
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.clusters import (
    ELECTRON,
    Clusters,
    Floats,
    Photons,
    Tracks,
    compare_hypothesis,
    make_clusters,
    prepare_tracks,
)
from flashdet.stages.pid import by_species
from flashdet.stages.surface import Shape, pack


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


class Mip(StrictModel):
    """Energy of a minimum ionising particle of charge 1.

    The defaults are for 20 cm of lead tungstate: 10.2 MeV/cm (PDG 2024, atomic and nuclear properties), and the width
    xi = 0.1535 MeV cm2/g Z/A rho x of Landau's theory (PDG 2024, 34.2.9).
    """

    energy: Energy = "204 MeV"  # type: ignore[assignment]
    """Most probable energy."""
    width: EnergyOrZero = "10 MeV"  # type: ignore[assignment]
    """Scale of the Moyal distribution around it."""


class EMCalConfig(StageConfig):
    """Configuration of the calorimeter."""

    shape: Shape
    """Front surfaces."""
    energy_resolution: EnergyResolution = EnergyResolution()
    """Energy resolution."""
    position_resolution: PositionResolution = PositionResolution()
    """Position resolution."""
    threshold: EnergyOrZero = "50 MeV"  # type: ignore[assignment]
    """Clusters with a measured energy up to this are lost."""
    mip: Mip = Mip()
    """Response to charged particles other than electrons."""


# --- stage -----------------------------------------------------------------------------------------------------------
class EMCal(Stage):
    """Measure photons and charged particles in the calorimeter.

    Photons are final-state particles (status 1) of the generator record that fly straight from their production vertex
    through a surface; charged particles are the rows of ``track`` on their true helix. ``e_over_p`` divides by the
    rigidity p/|z|, which is what the tracker measures. A particle whose measured energy stays below the threshold has
    no cluster and is counted. ``n_sigma`` of ionising species takes mean and standard deviation of a skewed
    distribution.
    """

    kind = "emcal"
    Config = EMCalConfig
    config: EMCalConfig

    def __init__(self, name: str, config: EMCalConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (
            *pick(EVENT, "key"),
            *pick(PARTICLE, *Photons._fields),
            *pick(TRACK, "tgl", "q_over_pt", "cov", *Tracks._fields),
        )
        self.writes = for_stage((*EMCAL, *EMCAL_CLUSTER), self.kind, name)
        e, p, m = config.energy_resolution, config.position_resolution, config.mip
        self._response = np.array([e.a, e.b, e.c, p.A, p.B, m.energy, m.width, config.threshold], np.float64)
        self._surfaces = pack(config.shape)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: photons and tracks that reach a surface and stay below the threshold.
        """
        particle, track = batch["particle"], batch["track"]
        n = track.n_rows
        room = n + int(np.count_nonzero((particle["pdg"] == 22) & (particle["status"] == 1)))
        clusters = Clusters(*(np.empty(room, c.dtype) for c in EMCAL_CLUSTER))
        offsets, lost = np.empty(batch.n_events + 1, np.int64), np.empty(2, np.int64)
        surface, row = np.empty(n, np.int8), np.empty(n, np.int32)
        energy, energy_error = np.empty(n), np.empty(n)
        make_clusters(
            Photons(*(particle[c] for c in Photons._fields)),
            particle.offsets,
            Tracks(*(track[c] for c in Tracks._fields)),
            track.offsets,
            batch["event"]["key"],
            draw.key,
            float(self.setup.magnetic_field),
            self._surfaces,
            self._response,
            clusters,
            offsets,
            surface,
            row,
            energy,
            energy_error,
            lost,
        )
        rows = {name: values[: offsets[-1]] for name, values in clusters._asdict().items()}
        counts = {"photons below threshold": int(lost[0]), "tracks below threshold": int(lost[1])}
        mine = self._match(track, surface, row, energy, energy_error)
        return StageOutput((mine, Table(f"{self.name}_cluster", offsets, rows)), counts)

    def _match(
        self, track: Table, surface: NDArray[np.int8], row: NDArray[np.int32], energy: Floats, energy_error: Floats
    ) -> Table:
        """Rows of the tracks, with the expectations of all species."""
        tgl, q_over_pt, n = track["tgl"], track["q_over_pt"], track.n_rows
        expected, error, n_sigma = (np.empty((len(SPECIES), n)) for _ in range(3))
        rigidity2, spread2 = np.empty(n), np.empty(n)
        prepare_tracks(tgl, q_over_pt, track["cov"], surface, rigidity2, spread2)
        for h, (mass, charge) in enumerate(zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)):
            compare_hypothesis(
                rigidity2, spread2, energy, self._response, mass, float(charge), h == ELECTRON, expected[h], error[h],
                n_sigma[h],
            )  # fmt: skip
        columns = {
            "has_acceptance": surface >= 0,
            "has_signal": row >= 0,
            "cluster_index": row,
            "energy": energy,
            "energy_error": energy_error,
            "e_over_p": energy * np.abs(q_over_pt) / np.sqrt(1.0 + tgl * tgl),
            **by_species("expected", expected),
            **by_species("expected_error", error),
            **by_species("n_sigma", n_sigma),
        }
        return Table(self.name, track.offsets, columns)
