"""Configuration of :mod:`.stage`, and its numbers as arrays for the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler, field_validator
from pydantic_core import CoreSchema, core_schema

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
from flashdet.stages.emcal.deposits import Response
from flashdet.stages.emcal.showers import LATERAL, make_hadrons
from flashdet.stages.surface import Shape


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
    """Hadrons that interact in the calorimeter; see :mod:`.showers`.

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
    return many(value if isinstance(value, list | tuple) else [value])


class _Lone:
    """Allows a lone item where a list is meant, and tells editors so."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_wrap_validator_function(_one_or_many, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


class EMCalConfig(StageConfig):
    """Configuration of the calorimeter."""

    shape: Shape
    """Front surfaces."""
    energy_resolution: Annotated[tuple[EnergyResolution, ...], _Lone()] = (EnergyResolution(),)
    """Energy resolution: one for all surfaces or one for each."""
    position_resolution: Annotated[tuple[PositionResolution, ...], _Lone()] = (PositionResolution(),)
    """Position resolution: one for all surfaces or one for each."""
    time_resolution: Annotated[tuple[TimeResolution, ...], _Lone()] = (TimeResolution(),)
    """Time resolution: one for all surfaces or one for each."""
    threshold: Annotated[tuple[EnergyOrZero, ...], _Lone()] = ("50 MeV",)  # type: ignore[assignment]
    """Clusters with a measured energy up to this are lost: one for all surfaces or one for each."""
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
    decays: bool = False
    """Whether particles that decayed in flight on their way leave nothing; `propagate` (with ``decays``) says where,
    or a stage of kind ``decay`` for charged: reconstructed."""

    @field_validator("energy_resolution", "position_resolution", "time_resolution", "threshold")
    @classmethod
    def _check_count(cls, value: tuple[Any, ...], info: Any) -> tuple[Any, ...]:
        n = len(info.data.get("shape", value))
        if len(value) not in (1, n):
            what = info.field_name.replace("_", " ") + "s"
            raise ValueError(f"{len(value)} {what} for {n} surfaces; give one, or one for each surface")
        return value


def pack_response(config: EMCalConfig) -> Response:
    """Numbers of the card as arrays for kernels.

    Parameters
    ----------
    config : EMCalConfig

    Returns
    -------
    Response
    """
    rows = []
    for i in range(len(config.shape)):
        e = config.energy_resolution[i % len(config.energy_resolution)]
        p = config.position_resolution[i % len(config.position_resolution)]
        t = config.time_resolution[i % len(config.time_resolution)]
        threshold = config.threshold[i % len(config.threshold)]
        rows.append((e.a, e.b, e.c, p.A, p.B, threshold, t.constant, t.at_1_gev))
    w = config.widths
    relative = ((1.0, w.electromagnetic_spread), (w.ionisation, w.ionisation_spread), (w.hadronic, w.hadronic_spread))
    widths = [(math.log(LATERAL * w.moliere_radius * mean), spread) for mean, spread in relative]
    h = config.hadronic_showers
    hadrons = make_hadrons(h.interaction_lengths, h.radiation_lengths, h.h_over_e) if h else make_hadrons(0.0, 1.0, 1.0)
    return Response(
        np.array(rows, np.float64),
        np.array([config.mip.energy, config.mip.width], np.float64),
        np.array(widths),
        hadrons,
    )
