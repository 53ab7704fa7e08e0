"""Electromagnetic calorimeter: clusters of photons and charged particles, matched to tracks.

Room: the stage. Its configuration is in :mod:`.config`; the physics is in
:mod:`.deposits` and :mod:`.showers` (energy that particles leave),
:mod:`.merging` and :mod:`.clusters` (clusters and their measurement),
:mod:`.matching` and :mod:`.energies` (tracks). Material in front of the calorimeter is
not part of it.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import (
    CHARGED,
    CHARGED_DECAY,
    EMCAL,
    EMCAL_CLUSTER,
    EVENT,
    EVENT_PROPAGATE,
    PARTICLE,
    TRACK,
    TRACK_END,
    for_stage,
    pick,
)
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.emcal import energies
from flashdet.stages.emcal.candidates import Charged, Chosen, choose_charged, choose_neutrals, empty_chosen
from flashdet.stages.emcal.clusters import Clusters, columns_of, empty_clusters, measure_clusters
from flashdet.stages.emcal.config import EMCalConfig, pack_response
from flashdet.stages.emcal.deposits import Deposits, Floats, Work, empty_deposits, make_deposits, make_work
from flashdet.stages.emcal.energies import describe_tracks
from flashdet.stages.emcal.matching import Tracks, link_rows, match_nearest, match_truth
from flashdet.stages.emcal.merging import merge_deposits
from flashdet.stages.emcal.neighbours import make_grid, plan_grid
from flashdet.stages.emcal.showers import mean_response
from flashdet.stages.neutrals import Neutrals
from flashdet.stages.pid import N_SPECIES, by_species
from flashdet.stages.surface import pack

Rows = NDArray[np.int64]

#: Nothing ends; read-only like a column, so that the kernel is compiled once.
_NO_ENDS = np.empty(0)
_NO_ENDS.flags.writeable = False


class _Charged(NamedTuple):
    """Charged particles offered to the calorimeter, and the rows of their events."""

    columns: Charged
    offsets: Rows


class _Hits(NamedTuple):
    """Deposits before or after merging, and what they come from."""

    deposits: Deposits
    offsets: Rows
    leader: Rows
    neutrals: Chosen
    charged: Chosen


class _Found(NamedTuple):
    """Clusters of a batch, their offsets, the cluster of each leading deposit, and how many were lost."""

    clusters: Clusters
    offsets: Rows
    cluster_of: Rows
    lost: Rows


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
        # a track finds its cluster by its way, or by its particle
        way = ("alpha", "y", "z", "snp") if config.matching else ("particle_index", "pdg_true")
        if config.charged == "reconstructed":
            way = tuple(dict.fromkeys((*way, "particle_index", *(f"{c}_true" for c in _TRUTH))))
        self.reads = (
            *pick(EVENT, "key"),
            *pick(EVENT_PROPAGATE, "collision_time"),
            *pick(PARTICLE, *Neutrals._fields),
            *pick(TRACK, "tgl", "q_over_pt", "cov", *way),
            *pick(CHARGED, *(Charged._fields if config.charged == "all" else ("particle_index",))),
        )
        if config.decays:
            self.reads += CHARGED_DECAY if config.charged == "all" else TRACK_END
        self.writes = for_stage((*EMCAL, *EMCAL_CLUSTER), self.kind, name)
        self._bz, self._surfaces = float(setup.magnetic_field), pack(config.shape)
        self._response = pack_response(config)
        self._means = np.empty((0, 2, 2))
        if config.hadronic_showers:
            self._means = mean_response(config.mip.energy, config.mip.width, self._response.hadrons)
        self._near = (
            config.merging.distance * config.widths.moliere_radius if config.merging else 1.0,
            config.matching.distance if config.matching else 1.0,
        )
        self._steps = tuple(plan_grid(self._surfaces, distance) for distance in self._near)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: clusters of photons, tracks and neutral hadrons below the threshold.
        """
        work, charged = make_work(), self._charged(batch)
        hits = self._deposit(batch, charged, work, draw)
        if self.config.merging:
            grid = make_grid(self._steps[0], self._near[0], hits.offsets)
            merge_deposits(hits.deposits, hits.offsets, self._surfaces, grid, hits.leader)
        found = self._measure(batch, hits, work, draw)
        rows = columns_of(found.clusters, int(found.offsets[-1]))
        mine = self._describe(batch["track"], charged, hits, found, work)
        counts = {
            "photons below threshold": int(found.lost[0]),
            "tracks below threshold": int(found.lost[1]),
            "neutral hadrons below threshold": int(found.lost[2]),
        }
        return StageOutput((mine, Table(f"{self.name}_cluster", found.offsets, rows)), counts)

    def _charged(self, batch: EventBatch) -> _Charged:
        """Charged particles as the card chooses them."""
        track = batch["track"]
        if self.config.charged == "reconstructed":
            slope = np.sinh(track["eta_true"])
            slope.flags.writeable = False  # as columns of a table are: one specialisation of the kernel
            truth = {"tgl": slope, **{c: track[f"{c}_true"] for c in _TRUTH if c != "eta"}}
            columns = Charged(particle_index=track["particle_index"], **truth)
            return _Charged(columns, track.offsets)
        charged = batch["charged"]
        return _Charged(Charged(*(charged[c] for c in Charged._fields)), charged.offsets)

    def _ends(self, batch: EventBatch) -> Floats:
        """Paths after which charged particles are gone, if the card wants to know."""
        if not self.config.decays:
            return _NO_ENDS
        if self.config.charged == "reconstructed":
            return batch["track"]["end_path_true"]
        return batch["charged"]["decay_path"]

    def _rows(self, track: Table, charged: _Charged) -> Rows:
        """Row of each track among the charged particles."""
        if self.config.charged == "reconstructed":
            return np.arange(track.n_rows)
        rows = np.empty(track.n_rows, np.int64)
        link_rows(
            track["particle_index"], track["pdg_true"], track.offsets, charged.columns.particle_index,
            charged.columns.pdg, charged.offsets, rows,
        )  # fmt: skip
        return rows

    def _deposit(self, batch: EventBatch, charged: _Charged, work: Work, draw: Draw) -> _Hits:
        """Deposits of all particles."""
        particle, event, all_charged, bz = batch["particle"], batch["event"], batch["charged"], self._bz
        neutrals = Neutrals(*(particle[c] for c in Neutrals._fields))
        chosen = empty_chosen(particle.n_rows, batch.n_events)
        is_neutral = np.empty(int(np.diff(particle.offsets).max(initial=0)), np.uint8)
        choose_neutrals(
            neutrals, particle.offsets, all_charged["particle_index"], all_charged.offsets,
            self.config.hadronic_showers is not None, self._surfaces, work.way, work.possible, is_neutral, chosen,
        )  # fmt: skip
        chosen_charged = empty_chosen(len(charged.columns.pdg), batch.n_events)
        choose_charged(
            charged.columns, charged.offsets, bz, self._surfaces, work.way, work.possible, chosen_charged
        )  # fmt: skip
        n = int(chosen.offsets[-1] + chosen_charged.offsets[-1])
        deposits, offsets = empty_deposits(n), np.empty(batch.n_events + 1, np.int64)
        make_deposits(
            neutrals, particle.offsets, chosen, charged.columns, chosen_charged, self._ends(batch),
            event["collision_time"], event["key"], draw.key, bz, self._surfaces, self._response, work, deposits,
            offsets,
        )  # fmt: skip
        return _Hits(deposits, offsets, np.arange(n), chosen, chosen_charged)

    def _measure(self, batch: EventBatch, hits: _Hits, work: Work, draw: Draw) -> _Found:
        """Clusters of the leading deposits."""
        n = int(hits.offsets[-1])
        clusters = empty_clusters(n)
        offsets, cluster_of = np.empty(batch.n_events + 1, np.int64), np.empty(n, np.int64)
        lost = np.empty(3, np.int64)
        measure_clusters(
            hits.deposits, hits.offsets, hits.leader, batch["event"]["key"], draw.key, self._surfaces, self._response,
            work, clusters, offsets, cluster_of, lost,
        )  # fmt: skip
        return _Found(clusters, offsets, cluster_of, lost)

    def _describe(self, track: Table, charged: _Charged, hits: _Hits, found: _Found, work: Work) -> Table:
        """Rows of the tracks: their clusters, and the expectations of all species."""
        n = track.n_rows
        values, index = np.empty((energies.N_ROWS, n)), np.empty(n, np.int32)
        row, gap = np.empty(n, np.int64), values[energies.DISTANCE]
        surface = np.empty(n, np.int8)
        if self.config.matching:
            match_nearest(
                track.offsets, Tracks(*(track[c] for c in Tracks._fields)), self._bz, self._surfaces,
                make_grid(self._steps[1], self._near[1], found.offsets), found.offsets, found.clusters,
                np.empty((int(found.offsets[-1]), 4)), work, surface, row, gap,
            )  # fmt: skip
        else:
            match_truth(
                track.offsets, self._rows(track, charged), hits.charged, hits.neutrals.offsets, hits.leader,
                found.cluster_of, hits.deposits, found.clusters, surface, row,
            )  # fmt: skip
            gap.fill(np.nan)
        describe_tracks(
            track["tgl"], track["q_over_pt"], track["cov"], surface, row, track.offsets, found.offsets, found.clusters,
            self._response, self._means, work, index, values,
        )  # fmt: skip
        return Table(self.name, track.offsets, _columns(surface, row, index, values))


#: Columns ``<name>_true`` of tracks that say what the particle was.
_TRUTH = ("species", "pdg", "charge", "mass", "pt", "eta", "phi", "vx", "vy", "vz", "vt")


def _columns(surface: NDArray[np.int8], row: Rows, index: NDArray[np.int32], values: Floats) -> dict[str, NDArray[Any]]:
    """Columns of the tracks; the rows of `values` as named in `flashdet.stages.emcal.energies`."""
    return {
        "has_acceptance": surface >= 0,
        "has_signal": row >= 0,
        "cluster_index": index,
        "energy": values[energies.ENERGY],
        "energy_error": values[energies.ENERGY_ERROR],
        "e_over_p": values[energies.E_OVER_P],
        "distance": values[energies.DISTANCE],
        "time": values[energies.TIME],
        "n_sigma_width": values[energies.N_SIGMA_WIDTH],
        **by_species("expected", values[energies.EXPECTED : energies.EXPECTED + N_SPECIES]),
        **by_species("n_sigma", values[energies.N_SIGMA : energies.N_SIGMA + N_SPECIES]),
    }
