"""Tracking: which charged particles are reconstructed, and with which parameters and covariance.

One lookup per particle in the LUT of its species, charge and azimuth, in its table for the production radius, gives the
efficiency and the covariance at its multiplicity, eta and pt; one uniform number decides, five normal ones (or a stored
residual of full simulation) make the parameters. The LUTs themselves are :mod:`flashdet.lut`, their interpolation
:mod:`flashdet.kernels.grid`, the kernels :mod:`.reconstruction`; the vertex is fitted in
:mod:`flashdet.stages.vertex`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import CHARGED, EVENT, EVENT_PROPAGATE, TRACK, pick
from flashdet.config import StageConfig, StrictModel
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.lut.axis import OutOfRange
from flashdet.lut.pack import lut_rows, pack, pack_radii, pack_shapes, pack_variants
from flashdet.lut.selection import Selection
from flashdet.lut.table import Lut
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.rows import Charged, Tracks, empty_columns
from flashdet.stages.tracking.block import (
    INEFFICIENT,
    N_COUNTS,
    NO_LUT,
    OUT_OF_TABLE,
    STAND_INS,
    UNPHYSICAL,
    UNRECONSTRUCTABLE,
    Response,
)
from flashdet.stages.tracking.other import reconstruct_other
from flashdet.stages.tracking.reconstruction import reconstruct

#: The LUTs' field may differ by this fraction from the card's: tables are made at rounded fields.
_FIELD_TOLERANCE = 0.01
#: Ways of smearing, as the kernel knows them.
_SMEARING = {"gaussian": 0, "tails": 1, "library": 2}
#: Axes in the order of `flashdet.kernels.grid`.
_AXES = ("nch", "radius", "eta", "pt")
#: What the kernel's counters of lost particles mean.
_LOST = {
    INEFFICIENT: "lost: inefficiency",
    UNRECONSTRUCTABLE: "lost: not reconstructable",
    OUT_OF_TABLE: "lost: outside the LUT",
    NO_LUT: "lost: no LUT for this charge",
    UNPHYSICAL: "lost: unphysical snp",
}


# --- configuration ---------------------------------------------------------------------------------------------------
class OutOfRangeConfig(StrictModel):
    """What to do with queries outside an axis of the LUTs; what is not given is left to the LUT's own rule."""

    nch: OutOfRange | None = None
    """Multiplicity outside: use the edge bin, lose the track, or stop the job."""
    radius: OutOfRange | None = None
    """Production radius outside."""
    eta: OutOfRange | None = None
    """Pseudorapidity outside."""
    pt: OutOfRange | None = None
    """Transverse momentum outside."""


class TrackingConfig(StageConfig):
    """Configuration of the tracker's response."""

    interpolation: Literal["linear", "nearest"] = "linear"
    """Between the bins of the LUTs: multilinear, or the bin that contains the particle (the ALICE algorithm)."""
    efficiency: bool = True
    """Lose particles with the LUT's probability; false: keep all that the LUT calls reconstructable."""
    smearing: Literal["gaussian", "tails", "library"] = "gaussian"
    """How the parameters are drawn: five correlated Gaussians; with a wide component; or residuals of full simulation
    drawn from the LUT's library. Biases of LUTs made from full simulation are applied in each case."""
    out_of_range: OutOfRangeConfig = OutOfRangeConfig()
    """Rules outside the axes of the LUTs."""


# --- stage -----------------------------------------------------------------------------------------------------------
class Tracking(Stage):
    """Efficiency and smearing from the card's LUTs."""

    kind: ClassVar[str] = "tracking"
    Config: ClassVar[type[StageConfig]] = TrackingConfig
    uses_luts: ClassVar[bool] = True
    config: TrackingConfig

    def __init__(self, name: str, config: TrackingConfig, setup: Setup) -> None:
        """Pack the LUTs.

        Raises
        ------
        StageError
            There is no LUT, or one was made for another field.
        LutError
            A covariance is not positive definite, or the LUTs of a species do not share out all charges and azimuths.
        """
        super().__init__(name, config, setup)
        self.reads = (
            *pick(EVENT, "number", "key"),
            *pick(EVENT_PROPAGATE, "dndeta"),
            *pick(CHARGED, *Charged._fields),
        )
        self.writes = TRACK
        luts = self._checked({s: (lut, *setup.variants.get(s, ())) for s, lut in setup.luts.items()})
        groups = [luts.get(species, ()) for species in SPECIES]
        variants, tables = pack_variants(groups), lut_rows(groups)
        opposite = {s for s, some in luts.items() if some[0].field * setup.magnetic_field < 0}
        self._response = Response(
            pack(tables, config.interpolation),
            pack_radii(tables),
            np.array([species in luts for species in SPECIES]),
            np.array([-1.0 if species in opposite else 1.0 for species in SPECIES]),
            pack_shapes(tables, config.smearing == "library"),
            variants,
        )

    def _checked(self, luts: Mapping[str, tuple[Lut, ...]]) -> dict[str, tuple[Lut, ...]]:
        """LUTs by species, with the card's rules outside their axes."""
        where, field = f"stage {self.name}", self.setup.magnetic_field
        if not luts:
            raise StageError("the card names no LUT", where, f"add luts: with at least one of {', '.join(SPECIES)}")
        self._check_smearing(luts)
        checked: dict[str, tuple[Lut, ...]] = {}
        for species, lut in ((species, lut) for species, some in luts.items() for lut in some):
            if abs(abs(lut.field) - abs(field)) > _FIELD_TOLERANCE * abs(field):
                raise StageError(
                    f"the LUT of {species} was made for {lut.field:g} T, the card says {field:g} T",
                    where,
                    "use LUTs of this field (flashdet lut build layout makes them)",
                )
            if lut.field * field < 0.0 and Selection.of(lut).charge != "both":
                raise StageError(
                    f"a LUT of {species} for one sign of the charge was made for {lut.field:g} T, the card says "
                    f"{field:g} T: there the other sign bends as it did",
                    where,
                    "use LUTs for both signs, or made in the card's field",
                )
            first, *others = (self._with_rules(part) for part in lut.parts)
            checked[species] = (*checked.get(species, ()), replace(first, displaced=tuple(others)))
        return checked

    def _with_rules(self, lut: Lut) -> Lut:
        """Table with the card's rules outside its axes."""
        rules = self.config.out_of_range
        nch, radius, eta, pt = (
            axis if rule is None else replace(axis, out_of_range=rule)
            for axis, rule in zip(
                (lut.efficiency_axes[0], *lut.covariance_axes),
                (rules.nch, rules.radius, rules.eta, rules.pt),
                strict=True,
            )
        )
        return replace(lut, efficiency_axes=(nch, eta, pt), covariance_axes=(radius, eta, pt))

    def _check_smearing(self, luts: Mapping[str, tuple[Lut, ...]]) -> None:
        """Refuse ways of smearing that the LUTs have no numbers for."""
        smearing, where = self.config.smearing, f"stage {self.name}"
        if smearing == "gaussian":
            return
        if self.config.interpolation == "nearest":
            raise StageError(f"smearing {smearing!r} needs interpolation: linear, not nearest", where)
        parts = [(name, part) for name, some in luts.items() for lut in some for part in lut.parts]
        missing = [name for name, part in parts if part.sample is None]
        if smearing == "library":
            missing += [n for n, part in parts if part.sample is not None and not part.sample.has_library(part.valid)]
        missing = list(dict.fromkeys(missing))
        if missing:
            raise StageError(
                f"smearing {smearing!r} needs LUTs made from full simulation; not so: {', '.join(missing)}",
                where,
                "make them with flashdet lut build sample (with a library), or use smearing: gaussian",
            )

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Accept and smear; see `Stage.run`.

        Raises
        ------
        StageError
            A particle lies outside an axis whose rule is ``error``.
        """
        charged, event = batch["charged"], batch["event"]
        truth = Charged(*(charged[name] for name in Charged._fields))
        tracks = Tracks(*empty_columns(TRACK, charged.n_rows))
        offsets, counts = np.zeros(batch.n_events + 1, np.int64), np.zeros(N_COUNTS, np.int64)
        generated = charged.offsets, truth, event["key"], event["dndeta"], self._response
        made = draw.key, tracks, offsets, counts
        config, is_nearest = self.config, self.config.interpolation == "nearest"
        if is_nearest or len(self._response.shapes.bias):
            smearing = _SMEARING[config.smearing]
            failed = reconstruct_other(*generated, smearing, is_nearest, config.efficiency, *made)
        else:
            failed = reconstruct(*generated, config.efficiency, *made)
        if failed >= 0:
            raise self._forbidden(batch, failed)
        # views: memory beyond the last accepted row was never touched, so it costs nothing
        columns = {name: values[: offsets[-1]] for name, values in tracks._asdict().items()}
        return StageOutput((Table("track", offsets, columns),), _named(counts))

    def _forbidden(self, batch: EventBatch, row: int) -> StageError:
        """Error for a particle that the LUT must not be asked about."""
        charged, event = batch["charged"], batch["event"]
        i_event = int(np.searchsorted(charged.offsets, row, side="right")) - 1
        query = (
            event["dndeta"][i_event],
            math.hypot(charged["vx"][row], charged["vy"][row]),
            charged["eta"][row],
            charged["pt"][row],
        )
        species = SPECIES[charged["species"][row]]
        values = ", ".join(f"{axis} {value:g}" for axis, value in zip(_AXES, query, strict=True))
        return StageError(
            f"a {species} (PDG {charged['pdg'][row]}) lies outside an axis of its LUT whose rule is 'error': {values}",
            f"stage {self.name}, event {event['number'][i_event]}, particle {charged['particle_index'][row]}",
            "cut on generated particles in propagate, or set out_of_range to clamp or reject",
        )


def _named(counts: NDArray[np.int64]) -> dict[str, int]:
    """Counters of the kernel by name, without the zeros."""
    named = {text: int(counts[i]) for i, text in _LOST.items() if counts[i]}
    for i in np.flatnonzero(counts[:16]):
        side, rule = ("below", "above")[i // 2 % 2], ("clamped", "rejected")[i % 2]
        named[f"out of range: {_AXES[i // 4]} {side} ({rule})"] = int(counts[i])
    for i in np.flatnonzero(counts[STAND_INS:]):
        named[f"lut stand-in: {SPECIES[i]}"] = int(counts[STAND_INS + i])
    return named
