"""Propagate: choose the final-state charged particles and put them on their helix.

Here truth becomes the table `charged`: charge, mass and LUT species of each particle, its parameters at the point of
closest approach to the beam line, and per event the multiplicity and the time of the collision. Nothing is measured
yet; that is :mod:`flashdet.stages.tracking`. Decays are the generator's: what it calls final is tracked, what it lets
decay is not.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import CHARGED, CONVERSIONS_PAIR, EVENT, EVENT_PROPAGATE, PARTICLE, for_stage, pick
from flashdet.config import EnergyOrZero, Length, StageConfig, StrictModel, TimeOrZero
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature, pseudorapidity, to_perigee, wrap_angle
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import normals
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_PDG, charge3_of_code
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.codes import ALL_SPECIES, BY_MASS, CodeTable, code_table, find_code, nearest_species
from flashdet.stages.rows import Charged, Particles, empty_columns
from flashdet.stages.secondaries import append_rows
from flashdet.truth import is_physical_primary

_FINAL = 1
#: Row of the random numbers that belong to an event, not to a particle: no event has that many particles.
_EVENT_INDEX = 0xFFFFFFFF
#: Fate of a particle; those from _FRACTIONAL on are charged.
_KEPT, _NOT_FINAL, _NEUTRAL, _NOT_FINITE, _UNKNOWN, _FRACTIONAL, _NO_SPECIES, _ETA, _PT, _FAR = range(10)
_LOST = {
    _UNKNOWN: "lost: unknown PDG",
    _FRACTIONAL: "lost: fractional charge",
    _NO_SPECIES: "lost: no species of this charge",
    _ETA: "lost: eta outside acceptance",
    _PT: "lost: pt below acceptance",
    _FAR: "lost: produced outside the tracker",
}
#: |PDG code| of the charged hadrons and leptons of the "primaries" multiplicity (O2Physics ALICE 3 on-the-fly tracker).
_PRIMARY_CODES = (11, 13, 211, 321, 2212)
_SPECIES_PDG = np.array(SPECIES_PDG, np.int64)


# --- configuration ---------------------------------------------------------------------------------------------------
class Multiplicity(StrictModel):
    """Which particles make the charged multiplicity that the efficiency depends on."""

    kind: Literal["charged_final", "primaries"] = "charged_final"
    """``charged_final``: all charged final-state particles (DelphesO2); ``primaries``: physical primaries among e, mu,
    pi,
    K, p (O2Physics on-the-fly tracker)."""
    eta_max: float = Field(default=2.0, gt=0, le=10)
    """Particles with |eta| up to this count; the number is divided by twice this."""


class PropagateConfig(StageConfig):
    """Which particles are offered to the tracker."""

    eta_max: float = Field(default=4.0, gt=0, le=20)
    """Largest |eta| at production."""
    pt_min: EnergyOrZero = "0 GeV"  # type: ignore[assignment]
    """Smallest transverse momentum."""
    radius_max: Length = "100 cm"  # type: ignore[assignment]
    """Particles made further away from the beam line are lost."""
    z_max: Length = "400 cm"  # type: ignore[assignment]
    """Particles made at larger |z| are lost."""
    unknown_pdg: Literal["error", "skip"] = "skip"
    """A final-state particle whose PDG code is neither known nor a nucleus: stop the job, or lose it and warn."""
    multiplicity: Multiplicity = Multiplicity()
    """Definition of dN/deta."""
    collision_time_spread: TimeOrZero = "0 ps"  # type: ignore[assignment]
    """Gaussian width of the collision time around its bunch crossing."""
    secondaries: tuple[str, ...] = ()
    """Stages of kind ``conversions`` before this one, by name, whose particles are propagated too."""


# --- kernels ---------------------------------------------------------------------------------------------------------
@kernel
def choose(
    particles: Particles,
    table: CodeTable,
    sinh_eta_max: float,
    pt_min: float,
    radius_max: float,
    z_max: float,
    fate: NDArray[np.int8],
    counts: NDArray[np.int64],
) -> None:
    """Decide the fate of every particle.

    Parameters
    ----------
    particles : Particles
        Columns of n particles.
    table : CodeTable
        Known codes.
    sinh_eta_max, pt_min, radius_max, z_max : float
        Acceptance: largest |pz|/pt, smallest pt [GeV], largest radius and |z| of the production point [cm].
    fate : (n,) int8
        Written: why a particle is not tracked, 0 if it is.
    counts : (10,) int64
        Incremented: particles by fate.
    """
    for i in range(len(fate)):
        if particles.status[i] != _FINAL:
            fate[i] = _NOT_FINAL
            continue
        row = find_code(particles.pdg[i], table)
        px, py, pz = particles.px[i], particles.py[i], particles.pz[i]
        x, y, z = particles.vx[i], particles.vy[i], particles.vz[i]
        pt_squared = px * px + py * py
        if not math.isfinite(pt_squared + pz + x + y + z + particles.vt[i]):
            code = _NOT_FINITE
        elif row < 0:
            code = _UNKNOWN
        elif table.charge3[row] == 0:
            code = _NEUTRAL
        elif table.charge3[row] % 3 != 0:
            code = _FRACTIONAL
        elif table.species[row] == -1:
            code = _NO_SPECIES
        elif not (pt_squared > 0.0 and pz * pz <= sinh_eta_max * sinh_eta_max * pt_squared):
            code = _ETA
        elif pt_squared < pt_min * pt_min:
            code = _PT
        elif not (x * x + y * y <= radius_max * radius_max and abs(z) <= z_max):
            code = _FAR
        else:
            code = _KEPT
        fate[i] = code
        counts[code] += 1


@kernel
def count_within(
    offsets: NDArray[np.int64],
    particles: Particles,
    is_counted: NDArray[np.bool_],
    eta_max: float,
    dndeta: NDArray[np.float64],
) -> None:
    """Particles per unit of pseudorapidity.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of n particles.
    is_counted : (n,) bool
        Particles that count.
    eta_max : float
        Largest |eta|.
    dndeta : (n_events,) float64
        Written: number / (2 eta_max).
    """
    slope_squared = math.sinh(eta_max) ** 2
    for event in range(len(dndeta)):
        number = 0
        for i in range(offsets[event], offsets[event + 1]):
            if is_counted[i]:
                px, py, pz = particles.px[i], particles.py[i], particles.pz[i]
                pt_squared = px * px + py * py
                number += pt_squared > 0.0 and pz * pz <= slope_squared * pt_squared
        dndeta[event] = number / (2.0 * eta_max)


@kernel
def draw_collision_times(
    key: np.uint64, event_keys: NDArray[np.uint64], spread: float, times: NDArray[np.float64]
) -> None:
    """Gaussian offset of each collision from its bunch crossing [ns]; slot 0 of the event's own row."""
    for event in range(len(times)):
        times[event] = spread * normals(key, event_keys[event], _EVENT_INDEX, 0)[0]


@kernel
def fill(
    offsets: NDArray[np.int64],
    particles: Particles,
    fate: NDArray[np.int8],
    table: CodeTable,
    bz: float,
    collision_time: NDArray[np.float64],
    charged: Charged,
    charged_offsets: NDArray[np.int64],
    stand_ins: NDArray[np.int64],
) -> None:
    """Write the rows of the chosen particles.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of the generator record.
    fate : (n,) int8
        From :func:`choose`.
    table : CodeTable
        Known codes.
    bz : float
        Field [T].
    collision_time : (n_events,) float64
        Added to the production time [ns].
    charged : Charged
        Written.
    charged_offsets : (n_events + 1,) int64
        Written: rows of each event among the chosen ones.
    stand_ins : (n_species,) int64
        Incremented: particles of another kind that use the LUT of a species.
    """
    k = 0
    for event in range(len(offsets) - 1):
        charged_offsets[event] = k
        for i in range(offsets[event], offsets[event + 1]):
            if fate[i] != _KEPT:
                continue
            code = particles.pdg[i]
            row = find_code(code, table)
            charge = int(table.charge3[row]) // 3
            mass = table.mass[row]
            species = int(table.species[row])
            if species == BY_MASS:
                mass = particles.mass[i]
                species = nearest_species(charge, mass, ALL_SPECIES)
            if _SPECIES_PDG[species] != abs(code):
                stand_ins[species] += 1
            px, py, pz = particles.px[i], particles.py[i], particles.pz[i]
            pt = math.sqrt(px * px + py * py)
            phi = math.atan2(py, px)
            tgl = pz / pt
            turn, y, s = to_perigee(particles.vx[i], particles.vy[i], px / pt, py / pt, curvature(charge / pt, bz))
            charged.particle_index[k] = i - offsets[event]
            charged.pdg[k], charged.species[k], charged.charge[k], charged.mass[k] = code, species, charge, mass
            charged.pt[k], charged.eta[k], charged.phi[k] = pt, pseudorapidity(tgl), phi
            charged.vx[k], charged.vy[k], charged.vz[k] = particles.vx[i], particles.vy[i], particles.vz[i]
            charged.vt[k] = particles.vt[i] + collision_time[event]
            charged.alpha[k], charged.y[k], charged.z[k] = wrap_angle(phi + turn), y, particles.vz[i] + tgl * s
            charged.tgl[k], charged.q_over_pt[k] = tgl, charge / pt
            k += 1
    charged_offsets[len(offsets) - 1] = k


# --- stage -----------------------------------------------------------------------------------------------------------
class Propagate(Stage):
    """Final-state charged particles on their helix."""

    kind: ClassVar[str] = "propagate"
    Config: ClassVar[type[StageConfig]] = PropagateConfig
    config: PropagateConfig

    def __init__(self, name: str, config: PropagateConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        vertices = ("production_vertex", "end_vertex") if config.multiplicity.kind == "primaries" else ()
        pair = pick(CONVERSIONS_PAIR, "particle_index", *Particles._fields)
        made = (column for stage in config.secondaries for column in for_stage(pair, "conversions", stage))
        self.reads = (*pick(EVENT, "number", "key"), *pick(PARTICLE, *Particles._fields, *vertices), *made)
        self.writes = (*CHARGED, *EVENT_PROPAGATE)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Choose particles; see `Stage.run`.

        Raises
        ------
        StageError
            A momentum or production point is not finite, or a PDG code is unknown and the card says ``error``.
        """
        table, event = batch["particle"], batch["event"]
        particles = Particles(*(table[name] for name in Particles._fields))
        codes, fate, counts = self._choose(batch, particles)

        collision_time = np.zeros(batch.n_events)
        if self.config.collision_time_spread > 0:
            draw_collision_times(draw.key, event["key"], self.config.collision_time_spread, collision_time)
        stand_ins = np.zeros(len(SPECIES), np.int64)
        charged, offsets = self._fill(table.offsets, particles, fate, codes, collision_time, stand_ins)
        for stage in self.config.secondaries:
            made = batch[f"{stage}_pair"]
            pairs = Particles(*(made[name] for name in Particles._fields))
            pair_codes, pair_fate, lost = self._choose(batch, pairs)
            counts = {cause: counts.get(cause, 0) + lost.get(cause, 0) for cause in counts | lost}
            more, more_offsets = self._fill(made.offsets, pairs, pair_fate, pair_codes, collision_time, stand_ins)
            more.particle_index[:] = made["particle_index"][pair_fate == _KEPT]
            charged = append_rows(charged, offsets, more, more_offsets)
            offsets = offsets + more_offsets
        counts |= {f"lut stand-in: {SPECIES[i]}": int(stand_ins[i]) for i in np.flatnonzero(stand_ins)}
        per_event = {"dndeta": self._dndeta(batch, particles, fate), "collision_time": collision_time}
        tables = (Table("charged", offsets, charged._asdict()), Table.per_event("event", batch.n_events, per_event))
        return StageOutput(tables, counts)

    def _fill(
        self, offsets: NDArray[np.int64], particles: Particles, fate: NDArray[np.int8], codes: CodeTable,
        collision_time: NDArray[np.float64], stand_ins: NDArray[np.int64],
    ) -> tuple[Charged, NDArray[np.int64]]:  # fmt: skip
        """Rows of the chosen particles and their offsets."""
        charged = Charged(*empty_columns(CHARGED, int(np.count_nonzero(fate == _KEPT))))
        charged_offsets = np.empty(len(offsets), np.int64)
        fill(
            offsets, particles, fate, codes, self.setup.magnetic_field, collision_time, charged, charged_offsets,
            stand_ins,
        )  # fmt: skip
        return charged, charged_offsets

    def _choose(self, batch: EventBatch, particles: Particles) -> tuple[CodeTable, NDArray[np.int8], dict[str, int]]:
        """Fates of the particles, the code table that covers them, and the counts of `StageOutput`."""
        config = self.config
        fate = np.empty(len(particles.pdg), np.int8)
        codes = code_table()
        limits = (math.sinh(config.eta_max), config.pt_min, config.radius_max, config.z_max)
        counts = np.zeros(10, np.int64)
        choose(particles, codes, *limits, fate, counts)
        if counts[_UNKNOWN]:
            unknown = np.unique(particles.pdg[fate == _UNKNOWN])
            nuclei = tuple(int(code) for code in unknown if charge3_of_code(int(code)) is not None)
            if nuclei:
                codes = code_table(nuclei)
                counts[:] = 0
                choose(particles, codes, *limits, fate, counts)
        if counts[_NOT_FINITE]:
            where = self._where(batch, fate == _NOT_FINITE)
            raise StageError("momentum, production point or time of a final-state particle is not finite", where)
        result = {_LOST[i]: int(counts[i]) for i in _LOST if counts[i]}
        if counts[_UNKNOWN]:
            for code, number in zip(*np.unique(particles.pdg[fate == _UNKNOWN], return_counts=True), strict=True):
                result[f"warning: unknown PDG code {code}"] = int(number)
            if config.unknown_pdg == "error":
                raise StageError(
                    f"unknown PDG code {particles.pdg[fate == _UNKNOWN][0]} of a final-state particle",
                    self._where(batch, fate == _UNKNOWN),
                    "set unknown_pdg: skip to lose such particles, counted",
                )
        return codes, fate, result

    def _where(self, batch: EventBatch, mask: NDArray[np.bool_]) -> str:
        """Name the stage, event and particle of the first row of a mask."""
        row = int(np.flatnonzero(mask)[0])
        offsets = batch["particle"].offsets
        event = int(np.searchsorted(offsets, row, side="right")) - 1
        return f"stage {self.name}, event {batch['event']['number'][event]}, particle {row - offsets[event]}"

    def _dndeta(self, batch: EventBatch, particles: Particles, fate: NDArray[np.int8]) -> NDArray[np.float64]:
        """Charged multiplicity per event, as the card defines it."""
        multiplicity = self.config.multiplicity
        if multiplicity.kind == "primaries":
            is_counted = is_physical_primary(batch) & np.isin(np.abs(particles.pdg), _PRIMARY_CODES)
        else:
            is_counted = (fate == _KEPT) | (fate >= _FRACTIONAL)
        dndeta = np.empty(batch.n_events)
        count_within(batch["particle"].offsets, particles, is_counted, multiplicity.eta_max, dndeta)
        return dndeta
