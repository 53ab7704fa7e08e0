"""Muon identifier: which tracks are tagged as muons, from maps of efficiency and fake rates.

Room: kernel and stage; the configuration is in :mod:`.config`. Maps say how often a particle of a
species is tagged, decays in flight and punch-through included; they come from files, or are made from an absorber by
:mod:`flashdet.lut.absorber`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import EVENT, MUON, TRACK, for_stage, pick
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.bilinear import CLAMPED, FORBIDDEN, REJECTED, lookup
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import uniforms
from flashdet.lut.maps import PackedMaps, pack_maps
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_PDG
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.muon.config import MuonConfig, choose_maps, make_maps
from flashdet.stages.pid import CHARGE, N_SPECIES, by_species, rigidity

Floats = NDArray[np.float64]

#: Slot of the random number of a track.
_SLOT_TAG = 0
#: Counters of `tag_tracks`.
_N_STAND_IN, _N_CLAMPED, _N_FORBIDDEN = range(3)


class Tracks(NamedTuple):
    """Columns of ``track`` that are read."""

    particle_index: NDArray[np.int32]
    eta: NDArray[np.float64]
    tgl: NDArray[np.float64]
    q_over_pt: NDArray[np.float64]
    species_true: NDArray[np.int8]
    pdg_true: NDArray[np.int32]
    pt_true: NDArray[np.float64]
    eta_true: NDArray[np.float64]


class Tagging(NamedTuple):
    """Numbers of the card, for kernels.

    Attributes
    ----------
    maps : PackedMaps
        All maps.
    is_modulus : (n_maps,) bool
        True if the first axis of a map is abs(eta).
    map_of : (n_species,) int64
        Map of each species.
    same_as : (n_species,) int64
        First species with the same map and |charge|: the same probability.
    own_pdg : (n_species,) int64
        Code of the particles that need no stand-in, 0 for a species without a map.
    acceptance : (2,) float64
        Largest |eta|, smallest momentum [GeV].
    """

    maps: PackedMaps
    is_modulus: NDArray[np.bool_]
    map_of: NDArray[np.int64]
    same_as: NDArray[np.int64]
    own_pdg: NDArray[np.int64]
    acceptance: NDArray[np.float64]


# --- kernels ---------------------------------------------------------------------------------------------------------
@inline
def _chance(
    i: int, eta: float, p: float, acceptance: Floats, is_modulus: bool, axes: Floats, start: NDArray[np.int64],
    numbers: Floats,
) -> tuple[float, int]:  # fmt: skip
    """Probability of a tag from map `i` and its answer (see `flashdet.kernels.bilinear`); NaN where it has none."""
    if not (abs(eta) < acceptance[0] and p > acceptance[1]):
        return np.nan, REJECTED
    chance, reply = lookup(axes, start, numbers, i, abs(eta) if is_modulus else eta, p)
    return (chance if reply <= CLAMPED else np.nan), reply


@inline
def _write_hypothesis(h: int, i: int, chance: float, is_tagged: bool, values: NDArray[np.float64]) -> None:
    """Expectation P of track `i` for species `h`, and the distance of the tag to it in units of sqrt(P (1 - P))."""
    width = math.sqrt(chance * (1.0 - chance))
    values[h, i] = chance
    values[N_SPECIES + h, i] = ((1.0 if is_tagged else 0.0) - chance) / (width if width > 0.0 else np.nan)


@kernel
def tag_tracks(
    tracks: Tracks, offsets: NDArray[np.int64], event_key: NDArray[np.uint64], key: np.uint64, tagging: Tagging,
    is_accepted: NDArray[np.bool_], tag: NDArray[np.bool_], values: NDArray[np.float64], counts: NDArray[np.int64],
) -> None:  # fmt: skip
    """Draw the tag of each track and compare it with every hypothesis.

    The tag is a Bernoulli draw with the probability P of the true species at the true pseudorapidity and momentum: the
    maps are made in these. Under a hypothesis its expectation is P at the measured ones, the momentum being |z| times
    the measured rigidity, and its width sqrt(P (1 - P)).

    Parameters
    ----------
    tracks : Tracks
    offsets : (n_events + 1,) int64
        Rows of the events.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    tagging : Tagging
        Numbers of the card.
    is_accepted : (n,) bool
        Out: the map of the true species covers the track as measured.
    tag : (n,) bool
        Out: tagged as a muon; never outside the acceptance.
    values : (2 n_species, n) float64
        Out: expectations, then n-sigma, of all species; NaN outside the acceptance, n-sigma also if the width is 0.
    counts : (3,) int64
        Out: accepted tracks that follow the map of another species; at the edge of a map; where it is forbidden.
    """
    values[:] = np.nan
    counts[:] = 0
    axes, start, numbers = tagging.maps.axes, tagging.maps.start, tagging.maps.values
    acceptance, is_modulus, map_of = tagging.acceptance, tagging.is_modulus, tagging.map_of
    chances, replies = np.empty(N_SPECIES), np.empty(N_SPECIES, np.int64)
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            is_accepted[i] = tag[i] = False
            eta = tracks.eta[i]
            if not abs(eta) < acceptance[0]:
                continue
            r, own = rigidity(tracks.tgl[i], tracks.q_over_pt[i]), tracks.species_true[i]
            for h in range(N_SPECIES):
                same = tagging.same_as[h]
                chances[h], replies[h] = chances[same], replies[same]
                if same == h:
                    m = map_of[h]
                    chances[h], replies[h] = _chance(
                        m, eta, CHARGE[h] * r, acceptance, is_modulus[m], axes, start, numbers
                    )  # fmt: skip
            # a particle without a LUT of its own is tracked as a species of the same |charge|: its momentum is right
            is_accepted[i] = replies[own] <= CLAMPED
            counts[_N_CLAMPED] += replies[own] == CLAMPED
            counts[_N_FORBIDDEN] += replies[own] == FORBIDDEN
            if is_accepted[i]:
                counts[_N_STAND_IN] += abs(tracks.pdg_true[i]) != tagging.own_pdg[own]
                slope = math.sinh(tracks.eta_true[i])
                p_true = tracks.pt_true[i] * math.sqrt(1.0 + slope * slope)
                # a tag is only looked for where the track points to the chambers
                m = map_of[own]
                chance, _ = _chance(
                    m, tracks.eta_true[i], p_true, acceptance, is_modulus[m], axes, start, numbers
                )  # fmt: skip
                u, _ = uniforms(key, event_key[event], tracks.particle_index[i], _SLOT_TAG)
                tag[i] = u < chance
            for h in range(N_SPECIES):
                _write_hypothesis(h, i, chances[h], tag[i], values)


# --- stage -----------------------------------------------------------------------------------------------------------
class Muon(Stage):
    """Tag tracks as muons.

    The true species chooses the map; the true pseudorapidity and momentum give the tag, the measured ones its
    expectation. ``has_acceptance`` means that the map of the true species covers the track as measured; ``has_signal``
    is the tag, so an accepted track without it is the information "no muon", which every hypothesis turns into a
    (mostly small) negative n-sigma.
    """

    kind = "muon"
    Config = MuonConfig
    config: MuonConfig

    def __init__(self, name: str, config: MuonConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *Tracks._fields))
        self.writes = for_stage(MUON, self.kind, name)
        by_name = make_maps(name, config, setup)
        names = sorted(by_name, key=SPECIES.index)
        maps = [by_name[s] for s in names]
        map_of = [names.index(s) for s in choose_maps(names)]
        alike = list(zip(map_of, SPECIES_CHARGE, strict=True))
        self._tagging = Tagging(
            pack_maps(maps),
            np.array([m.axes[0].name == "abs_eta" for m in maps]),
            np.array(map_of, np.int64),
            np.array([alike.index(pair) for pair in alike], np.int64),
            np.array([code if s in names else 0 for s, code in zip(SPECIES, SPECIES_PDG, strict=True)], np.int64),
            np.array([config.eta_max, config.p_min], np.float64),
        )

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: tracks that follow the map of another species, and lookups at the edge of a map.

        Raises
        ------
        StageError
            A track lies outside an axis of a map that forbids it.
        """
        track = batch["track"]
        n = track.n_rows
        (is_accepted, tag), values = np.empty((2, n), np.bool_), np.empty((2 * N_SPECIES, n))
        counts = np.empty(3, np.int64)
        tag_tracks(
            Tracks(*(track[c] for c in Tracks._fields)), track.offsets, batch["event"]["key"], draw.key, self._tagging,
            is_accepted, tag, values, counts,
        )  # fmt: skip
        if counts[_N_FORBIDDEN]:
            hint = "change the rule of the axis, or eta_max and p_min of the stage"
            raise StageError("a track lies outside a map whose axis does not allow it", self.name, hint)
        columns = {
            "has_acceptance": is_accepted,
            "has_signal": tag,
            **by_species("expected", values[:N_SPECIES]),
            **by_species("n_sigma", values[N_SPECIES:]),
        }
        summary = {
            "tracks that follow the map of another species": int(counts[_N_STAND_IN]),
            "out of range: muon map, edge bin used": int(counts[_N_CLAMPED]),
        }
        return StageOutput((Table(self.name, track.offsets, columns),), summary)
