"""Tracking: which charged particles are reconstructed, and with which parameters and covariance.

One lookup per particle in the LUT of its species gives the efficiency and the covariance at its multiplicity,
production radius, eta and pt; one uniform number decides, five normal ones (or a stored residual of full simulation)
make the parameters. The LUTs themselves
are :mod:`flashdet.lut`, their interpolation :mod:`flashdet.kernels.grid`; the vertex is fitted in
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
from flashdet.kernels.choose import choose_cell
from flashdet.kernels.grid import (
    FORBIDDEN,
    HIGH,
    INVALID,
    NOT_A_NUMBER,
    OUTSIDE,
    REJECT,
    REJECTED,
    RULE,
    lookup_linear,
    lookup_nearest,
)
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals, uniforms
from flashdet.kernels.smear import smear_linear, smear_nearest, smear_shaped
from flashdet.lut.axis import OutOfRange
from flashdet.lut.pack import PackedShapes, pack, pack_shapes
from flashdet.lut.table import Lut
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.codes import nearest_species
from flashdet.stages.rows import Charged, Tracks, empty_columns, write_track

#: The LUTs' field may differ by this fraction from the card's: tables are made at rounded fields.
_FIELD_TOLERANCE = 0.01
#: Slots of the random numbers of a particle.
_SLOT_EFFICIENCY, _SLOT_YZ, _SLOT_ANGLES, _SLOT_MOMENTUM, _SLOT_SHAPE = range(5)
#: Ways of smearing, as the kernel knows them.
_SMEARING = {"gaussian": 0, "tails": 1, "library": 2}
#: Axes in the order of `flashdet.kernels.grid`.
_AXES = ("nch", "radius", "eta", "pt")
#: Counters of the kernel, after 16 for queries outside an axis (axis, below or above, kept or rejected) ...
_INEFFICIENT, _UNRECONSTRUCTABLE, _OUTSIDE, _NO_LUT, _UNPHYSICAL = range(16, 21)
_LOST = {
    _INEFFICIENT: "lost: inefficiency",
    _UNRECONSTRUCTABLE: "lost: not reconstructable",
    _OUTSIDE: "lost: outside the LUT",
    _NO_LUT: "lost: no LUT for this charge",
    _UNPHYSICAL: "lost: unphysical snp",
}
#: ... and one per species for particles that use the LUT of another one.
_STAND_INS = 21
_N_COUNTS = _STAND_INS + len(SPECIES)


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


# --- kernels ---------------------------------------------------------------------------------------------------------
@inline
def count_outside(
    i_table: int,
    status: int,
    query: tuple[float, float, float, float],
    layout: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Count a query outside axes of its LUT by axis, side and rule."""
    for axis in range(4):
        if status & (OUTSIDE << axis):
            above = query[axis] >= layout[i_table, axis, HIGH]
            counts[4 * axis + 2 * above + (layout[i_table, axis, RULE] == REJECT)] += 1


@kernel
def reconstruct(
    offsets: NDArray[np.int64],
    truth: Charged,
    event_keys: NDArray[np.uint64],
    dndeta: NDArray[np.float64],
    layout: NDArray[np.float64],
    efficiencies: NDArray[np.float32],
    cells: NDArray[np.float32],
    has_lut: NDArray[np.bool_],
    field_sign: NDArray[np.float64],
    shapes: PackedShapes,
    smearing: int,
    is_nearest: bool,
    is_efficiency_on: bool,
    key: np.uint64,
    tracks: Tracks,
    track_offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> int:
    """Accept and smear all particles of a batch.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    truth : Charged
        The charged particles.
    event_keys, dndeta : (n_events,) uint64, float64
        Counter word and multiplicity of each event.
    layout, efficiencies, cells : arrays
        Members of `PackedLuts`: LUTs of all species, packed for the interpolation wanted.
    has_lut : (n_species,) bool
        Species that have a LUT.
    field_sign : (n_species,) float64
        -1 if the LUT was made in the opposite field.
    shapes : PackedShapes
        Biases, tails and libraries of the LUTs' cells; without any cell if no LUT has them.
    smearing : int
        A value of `_SMEARING`.
    is_nearest, is_efficiency_on : bool
        Options of the card.
    key : uint64
        Key of the stage's random numbers.
    tracks : Tracks
        Written: rows of the accepted particles, without gaps.
    track_offsets : (n_events + 1,) int64
        Written.
    counts : (n_counts,) int64
        Incremented.

    Returns
    -------
    int
        First row whose query the LUT forbids or that is not a number, -1 if there is none.
    """
    numbers = np.empty(6)
    params = np.empty(5)
    cov = np.empty(15)
    factor = np.empty(25)
    failed = -1
    n = 0
    for event in range(len(offsets) - 1):
        track_offsets[event] = n
        event_key = event_keys[event]
        for i in range(offsets[event], offsets[event + 1]):
            species = int(truth.species[i])
            if not has_lut[species]:
                species = nearest_species(int(truth.charge[i]), truth.mass[i], has_lut)
                if species < 0:
                    counts[_NO_LUT] += 1
                    continue
                counts[_STAND_INS + species] += 1
            index = truth.particle_index[i]
            query = (
                dndeta[event],
                math.sqrt(truth.vx[i] * truth.vx[i] + truth.vy[i] * truth.vy[i]),
                truth.eta[i],
                truth.pt[i],
            )
            if is_nearest:
                efficiency, status = lookup_nearest(
                    species, query[0], query[1], query[2], query[3], layout, efficiencies, cells, cov, factor
                )
            else:
                efficiency, status = lookup_linear(
                    species, query[0], query[1], query[2], query[3], layout, efficiencies, cells, cov, factor
                )
            if status:
                count_outside(species, status, query, layout, counts)
                if status & (FORBIDDEN | NOT_A_NUMBER):
                    failed = i if failed < 0 else failed
                    continue
                if status & (REJECTED | INVALID):
                    counts[_OUTSIDE if status & REJECTED else _UNRECONSTRUCTABLE] += 1
                    continue
            if is_efficiency_on and not uniforms(key, event_key, index, _SLOT_EFFICIENCY)[0] <= efficiency:
                counts[_INEFFICIENT] += 1
                continue
            numbers[0], numbers[1] = normals(key, event_key, index, _SLOT_YZ)
            numbers[2], numbers[3] = normals(key, event_key, index, _SLOT_ANGLES)
            numbers[4], numbers[5] = normals(key, event_key, index, _SLOT_MOMENTUM)
            params[:] = 0.0
            # A LUT describes positive particles in its own field. What turns the other way is its mirror image: y and
            # snp change sign, and q/pt does with the charge. The ALICE algorithm knows no mirror for the charge.
            if is_nearest:
                smear_nearest(params, numbers, factor, 5)
                turn, charge = field_sign[species], 1.0
            else:
                if len(shapes.bias) == 0:
                    smear_linear(params, numbers, factor, 5)
                else:
                    choice, _ = uniforms(key, event_key, index, _SLOT_SHAPE)
                    cell, rest = choose_cell(species, query[1], query[2], query[3], layout, cells, choice)
                    smear_shaped(params, numbers, factor, cov, shapes, cell, rest, smearing)
                charge = math.copysign(1.0, truth.q_over_pt[i])
                turn = field_sign[species] * charge
            params[0] = truth.y[i] + turn * params[0]
            params[1] += truth.z[i]
            params[2] *= turn
            params[3] += truth.tgl[i]
            params[4] = truth.q_over_pt[i] + charge * params[4]
            if not (abs(params[2]) < 1.0 and params[4] != 0.0):
                counts[_UNPHYSICAL] += 1
                continue
            write_track(n, i, species, turn, charge, params, cov, truth, tracks)
            n += 1
    track_offsets[len(offsets) - 1] = n
    return failed


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
            A covariance is not positive definite.
        """
        super().__init__(name, config, setup)
        self.reads = (
            *pick(EVENT, "number", "key"),
            *pick(EVENT_PROPAGATE, "dndeta"),
            *pick(CHARGED, *Charged._fields),
        )
        self.writes = TRACK
        luts = self._checked(setup.luts)
        tables = [luts.get(species) for species in SPECIES]
        self._luts = pack(tables, config.interpolation)
        self._shapes = pack_shapes(tables, config.smearing == "library")
        self._has_lut = np.array([species in luts for species in SPECIES])
        opposite = {s for s, lut in luts.items() if lut.field * setup.magnetic_field < 0}
        self._field_sign = np.array([-1.0 if species in opposite else 1.0 for species in SPECIES])

    def _checked(self, luts: Mapping[str, Lut]) -> dict[str, Lut]:
        """LUTs by species, with the card's rules outside their axes."""
        where, field = f"stage {self.name}", self.setup.magnetic_field
        if not luts:
            raise StageError("the card names no LUT", where, f"add luts: with at least one of {', '.join(SPECIES)}")
        self._check_smearing(luts)
        rules = self.config.out_of_range
        checked = {}
        for species, lut in luts.items():
            if abs(abs(lut.field) - abs(field)) > _FIELD_TOLERANCE * abs(field):
                raise StageError(
                    f"the LUT of {species} was made for {lut.field:g} T, the card says {field:g} T",
                    where,
                    "use LUTs of this field (flashdet lut build layout makes them)",
                )
            nch, radius, eta, pt = (
                axis if rule is None else replace(axis, out_of_range=rule)
                for axis, rule in zip(
                    (lut.efficiency_axes[0], *lut.covariance_axes),
                    (rules.nch, rules.radius, rules.eta, rules.pt),
                    strict=True,
                )
            )
            checked[species] = replace(lut, efficiency_axes=(nch, eta, pt), covariance_axes=(radius, eta, pt))
        return checked

    def _check_smearing(self, luts: Mapping[str, Lut]) -> None:
        """Refuse ways of smearing that the LUTs have no numbers for."""
        smearing, where = self.config.smearing, f"stage {self.name}"
        if smearing == "gaussian":
            return
        if self.config.interpolation == "nearest":
            raise StageError(f"smearing {smearing!r} needs interpolation: linear, not nearest", where)
        missing = [name for name, lut in luts.items() if lut.sample is None]
        if smearing == "library":
            missing += [
                n for n, lut in luts.items() if lut.sample is not None and not lut.sample.has_library(lut.valid)
            ]
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
        offsets = np.empty(batch.n_events + 1, np.int64)
        counts = np.zeros(_N_COUNTS, np.int64)
        failed = reconstruct(
            charged.offsets,
            truth,
            event["key"],
            event["dndeta"],
            *self._luts,
            self._has_lut,
            self._field_sign,
            self._shapes,
            _SMEARING[self.config.smearing],
            self.config.interpolation == "nearest",
            self.config.efficiency,
            draw.key,
            tracks,
            offsets,
            counts,
        )
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
    for i in np.flatnonzero(counts[_STAND_INS:]):
        named[f"lut stand-in: {SPECIES[i]}"] = int(counts[_STAND_INS + i])
    return named
