"""Muon identifier: which tracks are tagged as muons, from maps of efficiency and fake rates.

Room: configuration, kernel, stage. Maps say how often a particle of a species is tagged, decays in flight and
punch-through included; they come from files, or are made from an absorber by :mod:`flashdet.lut.absorber`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from flashdet.columns import EVENT, MUON, TRACK, for_stage, pick
from flashdet.config import EnergyOrZero, Length, LengthOrZero, StageConfig, StrictModel
from flashdet.errors import LutError, StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.bilinear import CLAMPED, FORBIDDEN, INSIDE, REJECTED, lookup
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import uniforms
from flashdet.lut.absorber import Absorber, build_absorber_maps
from flashdet.lut.maps import PackedMaps, pack_maps
from flashdet.lut.table import Map
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import CHARGE, by_species, rigidity

_LEPTONS = ("electron", "muon")
_TRACK = (
    *("particle_index", "eta", "tgl", "q_over_pt", "species_true", "pdg_true"),
    *("pt_true", "eta_true"),
)
#: Slot of the random number of a track.
_SLOT_TAG = 0
#: Names of the axes of a map: pseudorapidity or its modulus, and momentum.
_AXES = (("abs_eta", "p"), ("eta", "p"))

SpeciesName = Literal["electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha"]


# --- configuration ---------------------------------------------------------------------------------------------------
class AbsorberConfig(StrictModel):
    """Absorber and chambers of the model in :mod:`flashdet.lut.absorber`.

    The defaults describe the ALICE 3 muon identifier. The iron, as a function of |eta|, is the range of the muons at
    half of the plateau of the map in :mod:`flashdet.lut.muon_map`, its spread the width of the rise of that map; so the
    absorber's thickness is taken from there, and the rates of hadrons follow. The window and the growth of the
    attenuation are chosen such that they agree best: pions within 35 % from 1.5 to 20 GeV/c, kaons within 50 % from 1.8
    to 20 GeV/c, protons within 30 % from 2.5 to 10 GeV/c.
    """

    abs_eta: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5)
    """Where iron and spread are given, rising from 0; linear in between, no tag beyond."""
    iron: tuple[Length, ...] = (
        "100.2 cm", "97.0 cm", "99.3 cm", "106.3 cm", "112.2 cm", "121.8 cm", "126.4 cm", "140.8 cm", "154.1 cm",
    )  # type: ignore[assignment]  # fmt: skip
    """Iron of the same energy loss on a straight track's way to the chambers, calorimeter and coil included."""
    spread: tuple[float, ...] = (0.055, 0.076, 0.073, 0.082, 0.078, 0.122, 0.105, 0.170, 0.222)
    """Relative standard deviation of that, range straggling included."""
    radius: Length = "150 cm"  # type: ignore[assignment]
    """Radius where decays end because hadrons interact."""
    chamber_radius: Length = "301 cm"  # type: ignore[assignment]
    """Radius of the chambers (AliceO2, Detectors/Upgrades/ALICE3/MID)."""
    cell: LengthOrZero = "4 cm"  # type: ignore[assignment]
    """Size of a chamber's cells (arXiv:2507.02817)."""
    efficiency: float = Field(default=0.987, gt=0, le=1)
    """Of the chambers; the default is the plateau of the map."""
    match_sigmas: float = Field(default=5.0, gt=0)
    """Half width of the match window in standard deviations of scattering and cell."""
    attenuation: Length = "18.8 cm"  # type: ignore[assignment]
    """Iron by which the rate of pions falls by e at 3 GeV/c (beam test, arXiv:2604.00176)."""
    attenuation_growth: float = Field(default=0.13, ge=0, lt=1)
    """Power of the momentum with which that length grows."""

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        if not len(self.abs_eta) == len(self.iron) == len(self.spread) >= 2:
            raise ValueError("abs_eta, iron and spread need the same number of values, at least two")
        if self.abs_eta[0] != 0.0 or any(b <= a for a, b in zip(self.abs_eta, self.abs_eta[1:], strict=False)):
            raise ValueError("abs_eta must rise from 0")
        if not all(0.0 < s < 1.0 for s in self.spread):
            raise ValueError("each spread must lie between 0 and 1")
        if not self.radius < self.chamber_radius:
            raise ValueError(f"radius ({self.radius:g} cm) must be smaller than chamber_radius")
        return self


class MuonConfig(StageConfig):
    """Configuration of the muon identifier."""

    model: Literal["map", "absorber"] = "map"
    """Maps from files, or made from range, scattering, decays and punch-through in an absorber."""
    absorber: AbsorberConfig | None = None
    """Only for model: absorber; without it the absorber of ALICE 3."""
    maps: dict[SpeciesName, str] = Field(
        default={s: f"alice3_mid/{s}" for s in ("electron", "muon", "pion", "kaon", "proton")}
    )
    """Map of the probability of a tag for each species: name of a shipped one or path. A hadron without a map takes the
    hadron map of the nearest mass, of the same |charge| if there is one; such tracks are counted. Only for model:
    map."""
    eta_max: float = Field(default=1.6, gt=0)
    """No tag at or beyond this |eta|."""
    p_min: EnergyOrZero = "1.2 GeV/c"  # type: ignore[assignment]
    """No tag at or below this momentum."""

    @field_validator("maps")
    @classmethod
    def _check_maps(cls, maps: dict[str, str]) -> dict[str, str]:
        missing = [s for s in _LEPTONS if s not in maps]
        if missing or not set(maps) - set(_LEPTONS):
            what = " and ".join(missing) or "at least one hadron"
            raise ValueError(
                f"no map for {what}; needed: electron, muon and at least one hadron (pion, kaon, proton, ...)"
            )
        return maps

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        if self.model == "map" and self.absorber is not None:
            raise ValueError("absorber is only for model: absorber")
        if self.model == "absorber" and "maps" in self.model_fields_set:
            raise ValueError("maps are only for model: map")
        return self


def choose_maps(own: Collection[str]) -> list[str]:
    """Species whose map serves each species.

    Parameters
    ----------
    own : collection of str
        Species that have a map.

    Returns
    -------
    list of str
        For every species of `SPECIES` in order: itself, or the hadron of the nearest mass among those of the same
        |charge|, or among all hadrons if none has it.
    """
    chosen = []
    for species, mass, charge in zip(SPECIES, SPECIES_MASS, SPECIES_CHARGE, strict=True):
        hadrons = [i for i, s in enumerate(SPECIES) if s in own and s not in _LEPTONS]
        alike = [i for i in hadrons if SPECIES_CHARGE[i] == charge] or hadrons
        nearest = min(alike, key=lambda i: abs(SPECIES_MASS[i] - mass))
        chosen.append(species if species in own else SPECIES[nearest])
    return chosen


# --- kernels ---------------------------------------------------------------------------------------------------------
@kernel
def expect_tags(
    eta: NDArray[np.float64],
    tgl: NDArray[np.float64],
    q_over_pt: NDArray[np.float64],
    maps: PackedMaps,
    is_modulus: NDArray[np.bool_],
    map_of: NDArray[np.int64],
    charge: NDArray[np.float64],
    eta_max: float,
    p_min: float,
    answer: NDArray[np.int8],
    expected: NDArray[np.float64],
) -> None:
    """Probability of a tag at the measured eta and p under every hypothesis.

    The momentum is |z| times the measured rigidity. Species after species: writing all of them track by track costs
    twice the time.

    Parameters
    ----------
    eta, tgl, q_over_pt : (n,) float64
        Measured track.
    maps : PackedMaps
        All maps.
    is_modulus : (n_maps,) bool
        True if the first axis of a map is abs(eta).
    map_of : (n_species,) int64
        Map of each species.
    charge : (n_species,) float64
        |charge| of each species.
    eta_max, p_min : float
        Acceptance.
    answer : (n_species, n) int8
        Out: answer of the map (see `flashdet.kernels.bilinear`).
    expected : (n_species, n) float64
        Out: the probability, NaN outside the acceptance.
    """
    for h in range(len(charge)):
        same = h
        for other in range(h):
            if map_of[other] == map_of[h] and charge[other] == charge[h]:
                same = other
        if same != h:
            expected[h, :] = expected[same]
            answer[h, :] = answer[same]
            continue
        modulus = is_modulus[map_of[h]]
        for i in range(len(eta)):
            p = charge[h] * rigidity(tgl[i], q_over_pt[i])
            chance, reply = np.nan, REJECTED
            if abs(eta[i]) < eta_max and p > p_min:
                first = abs(eta[i]) if modulus else eta[i]
                chance, reply = lookup(maps.axes, maps.start, maps.values, map_of[h], first, p)
            answer[h, i] = reply
            expected[h, i] = chance if reply <= CLAMPED else np.nan


@kernel
def tag_tracks(
    chance_true: NDArray[np.float64],
    index: NDArray[np.int32],
    event_key: NDArray[np.uint64],
    key: np.uint64,
    expected: NDArray[np.float64],
    tag: NDArray[np.bool_],
    error: NDArray[np.float64],
    n_sigma: NDArray[np.float64],
) -> None:
    """Draw the tag of each track and compare it with every hypothesis.

    The tag is a Bernoulli draw with the probability of the true species at the true pseudorapidity and momentum: the
    maps are made in these. Under a hypothesis its expectation is P at the measured ones, its width sqrt(P (1 - P)).

    Parameters
    ----------
    chance_true : (n,) float64
        Probability of a tag, NaN outside the acceptance.
    index : (n,) int32
        Place of the particle in its event.
    event_key : (n,) uint64
        Random key of its event.
    key : uint64
        Key of the stage.
    expected : (n_species, n) float64
        From `expect_tags`.
    tag : (n,) bool
        Out: tagged as a muon; never outside the acceptance.
    error, n_sigma : (n_species, n) float64
        Out; NaN outside the acceptance, n_sigma also if the width is 0.
    """
    for i in range(len(tag)):
        u, _ = uniforms(key, event_key[i], index[i], _SLOT_TAG)
        tag[i] = u < chance_true[i]
    for h in range(len(expected)):
        for i in range(len(tag)):
            chance = expected[h, i]
            width = math.sqrt(chance * (1.0 - chance))
            error[h, i] = width
            n_sigma[h, i] = ((1.0 if tag[i] else 0.0) - chance) / (width if width > 0.0 else np.nan)


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
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *_TRACK))
        self.writes = for_stage(MUON, self.kind, name)
        by_name = _absorber_maps(config) if config.model == "absorber" else _load_maps(name, config, setup)
        names = sorted(by_name, key=SPECIES.index)
        maps = [by_name[s] for s in names]
        self._maps = pack_maps(maps)
        self._is_modulus = np.array([m.axes[0].name == "abs_eta" for m in maps])
        chosen = choose_maps(names)
        self._map_of = np.array([names.index(s) for s in chosen], np.int64)
        # the code whose tracks need no stand-in, 0 for a species without a map
        self._own_pdg = np.array([code if s in names else 0 for s, code in zip(SPECIES, SPECIES_PDG, strict=True)])

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
        species = track["species_true"]
        expected, error, n_sigma = (np.empty((len(SPECIES), n)) for _ in range(3))
        answers, tag = np.empty((len(SPECIES), n), np.int8), np.empty(n, np.bool_)
        expect_tags(
            track["eta"],
            track["tgl"],
            track["q_over_pt"],
            self._maps,
            self._is_modulus,
            self._map_of,
            CHARGE,
            float(self.config.eta_max),
            float(self.config.p_min),
            answers,
            expected,
        )
        # a particle without a LUT of its own is tracked as a species of the same |charge|: its momentum is right
        rows = np.arange(n)
        answer = answers[species, rows]
        # a tag is only looked for where the track points to the chambers
        chance = np.where(np.isnan(expected[species, rows]), np.nan, self._chances_of_truth(track))
        event_key = batch["event"]["key"][track.event_index]
        tag_tracks(chance, track["particle_index"], event_key, draw.key, expected, tag, error, n_sigma)
        if np.any(answer == FORBIDDEN):
            hint = "change the rule of the axis, or eta_max and p_min of the stage"
            raise StageError("a track lies outside a map whose axis does not allow it", self.name, hint)
        is_accepted = (answer == INSIDE) | (answer == CLAMPED)
        stand_in = is_accepted & (np.abs(track["pdg_true"]) != self._own_pdg[species])
        counts = {
            "tracks that follow the map of another species": int(stand_in.sum()),
            "out of range: muon map, edge bin used": int((answer == CLAMPED).sum()),
        }
        columns = {
            "has_acceptance": is_accepted,
            "has_signal": tag,
            **by_species("expected", expected),
            **by_species("expected_error", error),
            **by_species("n_sigma", n_sigma),
        }
        return StageOutput((Table(self.name, track.offsets, columns),), counts)

    def _chances_of_truth(self, track: Table) -> NDArray[np.float64]:
        """(n,) probability of a tag at the true eta and p, NaN outside the acceptance."""
        species = track["species_true"]
        tgl = np.sinh(track["eta_true"])
        # in units of the species' own charge, as `expect_tags` multiplies by that
        q_over_pt = CHARGE[species] / track["pt_true"]
        for values in (tgl, q_over_pt):
            values.flags.writeable = False  # as columns of a table are: one specialisation of the kernel for both
        answers, chances = np.empty((len(SPECIES), track.n_rows), np.int8), np.empty((len(SPECIES), track.n_rows))
        expect_tags(
            track["eta_true"],
            tgl,
            q_over_pt,
            self._maps,
            self._is_modulus,
            self._map_of,
            CHARGE,
            float(self.config.eta_max),
            float(self.config.p_min),
            answers,
            chances,
        )
        return np.asarray(chances[species, np.arange(track.n_rows)])


def _load_maps(name: str, config: MuonConfig, setup: Setup) -> dict[str, Map]:
    """Maps of the card's files."""
    if setup.load_map is None:
        raise StageError("the stage needs maps, but nothing loads them", name, "pass Setup(load_map=...)")
    maps = {}
    for species, file in config.maps.items():
        maps[str(species)] = setup.load_map(file)
        _check_map(maps[species], f"{name}.maps.{species}: {file}")
    return maps


def _absorber_maps(config: MuonConfig) -> dict[str, Map]:
    """Maps of the absorber model."""
    absorber = config.absorber or AbsorberConfig()
    return build_absorber_maps(Absorber(**{field: getattr(absorber, field) for field in AbsorberConfig.model_fields}))


def _check_map(m: Map, where: str) -> None:
    """Refuse maps over other axes, or of something that is no probability."""
    names = tuple(axis.name for axis in m.axes)
    if names not in _AXES or m.axes[1].unit != "GeV":
        raise LutError(f"axes {names}; allowed: (abs_eta, p) or (eta, p), p in GeV", where)
    if not ((m.values >= 0.0) & (m.values <= 1.0)).all():
        raise LutError("values outside [0, 1]; a map of tags holds probabilities", where)
