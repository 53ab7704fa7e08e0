"""Configuration of :mod:`.stage`, and the maps that it chooses."""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from flashdet.config import EnergyOrZero, Length, LengthOrZero, StageConfig, StrictModel
from flashdet.errors import LutError, StageError
from flashdet.lut.absorber import Absorber, build_absorber_maps
from flashdet.lut.table import Map
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.base import Setup

_LEPTONS = ("electron", "muon")
#: Names of the axes of a map: pseudorapidity or its modulus, and momentum.
_AXES = (("abs_eta", "p"), ("eta", "p"))

SpeciesName = Literal["electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha"]


# --- configuration ---------------------------------------------------------------------------------------------------
class AbsorberConfig(StrictModel):
    """Absorber and chambers of the model in :mod:`flashdet.lut.absorber`.

    The defaults describe the ALICE 3 muon identifier. The iron, as a function of |eta|, is the range of the muons at
    half of the plateau of the map in :mod:`flashdet.lut.muon_map`, its spread the width of the rise of that map; so the
    absorber's thickness is taken from there. The rates of hadrons follow from cross sections; one number, the
    regeneration, is chosen such that those of the map agree best.
    """

    abs_eta: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5)
    """Where iron and spread are given, rising from 0; linear in between, no tag beyond."""
    iron: tuple[Length, ...] = (
        "100.2 cm", "97.0 cm", "99.3 cm", "106.3 cm", "112.2 cm", "121.8 cm", "126.4 cm", "140.8 cm", "154.1 cm",
    )  # type: ignore[assignment]  # fmt: skip
    """Iron of the same energy loss on a straight track's way to the chambers, calorimeter and coil included."""
    spread: tuple[float, ...] = (0.055, 0.076, 0.073, 0.082, 0.078, 0.122, 0.105, 0.170, 0.222)
    """Relative standard deviation of that, range straggling included."""
    radius: Length = "125 cm"  # type: ignore[assignment]
    """Radius where decays end because hadrons interact: the front of the calorimeter."""
    chamber_radius: Length = "301 cm"  # type: ignore[assignment]
    """Radius of the chambers (AliceO2, Detectors/Upgrades/ALICE3/MID)."""
    cell: LengthOrZero = "4 cm"  # type: ignore[assignment]
    """Size of a chamber's cells (arXiv:2507.02817)."""
    efficiency: float = Field(default=0.992, gt=0, le=1)
    """Of the chambers; with the window, the default has the plateau of the map, 0.987."""
    match_sigmas: float = Field(default=3.0, gt=0)
    """Half width of the match window in standard deviations of scattering and cell."""
    quasi_elastic: float = Field(default=0.5, ge=0, le=1)
    """Part of the quasi-elastic interactions after which a hadron stays within the match window."""
    regeneration: float = Field(default=0.22, ge=0, lt=1)
    """Mean number of hadrons from an interaction that go on like the one before."""

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


# --- maps ------------------------------------------------------------------------------------------------------------
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


def make_maps(name: str, config: MuonConfig, setup: Setup) -> dict[str, Map]:
    """Maps of the species, from files or from the absorber model.

    Parameters
    ----------
    name : str
        Name of the stage, for errors.
    config : MuonConfig
    setup : Setup
        Loads the files.

    Returns
    -------
    dict of str to Map
        By species.

    Raises
    ------
    StageError
        Nothing loads files.
    LutError
        A map has other axes, or values that are no probabilities.
    """
    if config.model == "map":
        return _load_maps(name, config, setup)
    absorber = config.absorber or AbsorberConfig()
    return build_absorber_maps(Absorber(**{field: getattr(absorber, field) for field in AbsorberConfig.model_fields}))


def _load_maps(name: str, config: MuonConfig, setup: Setup) -> dict[str, Map]:
    """Maps of the card's files."""
    if setup.load_map is None:
        raise StageError("the stage needs maps, but nothing loads them", name, "pass Setup(load_map=...)")
    maps = {}
    for species, file in config.maps.items():
        maps[str(species)] = setup.load_map(file)
        _check_map(maps[species], f"{name}.maps.{species}: {file}")
    return maps


def _check_map(m: Map, where: str) -> None:
    """Refuse maps over other axes, or of something that is no probability."""
    names = tuple(axis.name for axis in m.axes)
    if names not in _AXES or m.axes[1].unit != "GeV":
        raise LutError(f"axes {names}; allowed: (abs_eta, p) or (eta, p), p in GeV", where)
    if not ((m.values >= 0.0) & (m.values <= 1.0)).all():
        raise LutError("values outside [0, 1]; a map of tags holds probabilities", where)
