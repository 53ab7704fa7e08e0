"""Propagate: choose the final-state charged particles and put them on their helix.

Here truth becomes the table `charged`: charge, mass and LUT species of each particle, its parameters at the point of
closest approach to the beam line, and per event the multiplicity and the time of the collision. Nothing is measured
yet; that is :mod:`flashdet.stages.tracking`. What the generator calls final is tracked, what it lets decay is not; what
it leaves alive decays here, if the card says so. The kernels are :mod:`.candidates` and :mod:`.decays`.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import CHARGED, CHARGED_DECAY, CONVERSIONS_PAIR, EVENT, EVENT_PROPAGATE, PARTICLE, for_stage, pick
from flashdet.config import EnergyOrZero, Length, StageConfig, StrictModel, TimeOrZero
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES, particle_table
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.codes import FRACTIONAL, STRANGE, UNKNOWN, code_table
from flashdet.stages.propagate.candidates import (
    ETA,
    FAR,
    KEPT,
    N_FATES,
    NOT_FINITE,
    PT,
    Chosen,
    Limits,
    choose,
    count_within,
    draw_collision_times,
    fill,
)
from flashdet.stages.propagate.decays import draw_lives, make_work, place_lives
from flashdet.stages.rows import Charged, Particles, empty_columns
from flashdet.truth import is_physical_primary

#: Fates of charged particles that are losses.
_LOST = {
    UNKNOWN: "lost: unknown PDG",
    FRACTIONAL: "lost: fractional charge",
    STRANGE: "lost: no species of this charge",
    ETA: "lost: eta outside acceptance",
    PT: "lost: pt below acceptance",
    FAR: "lost: produced outside the tracker",
}
#: |PDG code| of the charged hadrons and leptons of the "primaries" multiplicity (O2Physics ALICE 3 on-the-fly tracker).
_PRIMARY_CODES = (11, 13, 211, 321, 2212)

#: Particles of the record are called by their row.
_NO_INDEX = np.empty(0, np.int32)
_NO_INDEX.flags.writeable = False

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


# --- configuration ---------------------------------------------------------------------------------------------------
class Multiplicity(StrictModel):
    """Which particles make the charged multiplicity that the efficiency depends on."""

    kind: Literal["charged_final", "primaries"] = "charged_final"
    """``charged_final``: all charged final-state particles (DelphesO2); ``primaries``: physical primaries among e, mu,
    pi,
    K, p (O2Physics on-the-fly tracker)."""
    eta_max: float = Field(default=2.0, gt=0, le=10)
    """Particles with |eta| up to this count; the number is divided by twice this."""


class DecaysConfig(StrictModel):
    """A cylinder around the interaction point that a particle must leave to be found as a track."""

    radius: Length
    """Radius: of the layer with which there are hits enough."""
    half_length: Length
    """Half-length: |z| of the disc with which there are hits enough."""


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
    decays: DecaysConfig | None = None
    """Let particles decay that the generator left alive; those that do so within this cylinder are lost. Where the
    others decay is for a stage of kind ``decay``."""
    secondaries: tuple[str, ...] = ()
    """Stages of kind ``conversions`` before this one, by name, whose particles are propagated too."""


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
        self.writes = (*CHARGED, *(CHARGED_DECAY if config.decays else ()), *EVENT_PROPAGATE)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Choose particles; see `Stage.run`.

        Raises
        ------
        StageError
            A momentum or production point is not finite, or a PDG code is unknown and the card says ``error``.
        """
        table, event = batch["particle"], batch["event"]
        particles = Particles(*(table[name] for name in Particles._fields))
        collision_time = np.zeros(batch.n_events)
        if self.config.collision_time_spread > 0:
            draw_collision_times(draw.key, event["key"], self.config.collision_time_spread, collision_time)
        stand_ins = np.zeros(len(SPECIES), np.int64)
        chosen, counts = self._choose(batch, table, particles)
        sources = [(table, particles, chosen)]
        for stage in self.config.secondaries:
            made = batch[f"{stage}_pair"]
            pairs = Particles(*(made[name] for name in Particles._fields))
            taken, lost = self._choose(batch, made, pairs)
            counts = {cause: counts.get(cause, 0) + lost.get(cause, 0) for cause in counts | lost}
            sources.append((made, pairs, taken))
        decays = self._decay(event["key"], sources, draw, counts) if self.config.decays else {}
        charged, offsets = self._fill(sources, collision_time, stand_ins)
        counts |= {f"lut stand-in: {SPECIES[i]}": int(stand_ins[i]) for i in np.flatnonzero(stand_ins)}
        per_event = {"dndeta": self._dndeta(batch, particles, chosen), "collision_time": collision_time}
        tables = (
            Table("charged", offsets, charged._asdict() | decays),
            Table.per_event("event", batch.n_events, per_event),
        )
        return StageOutput(tables, counts)

    def _choose(self, batch: EventBatch, table: Table, particles: Particles) -> tuple[Chosen, dict[str, int]]:
        """Rows of the particles that are tracked, and the counts of `StageOutput`."""
        config = self.config
        limits = Limits(
            math.sinh(config.eta_max), config.pt_min, config.radius_max, config.z_max,
            math.sinh(config.multiplicity.eta_max),
        )  # fmt: skip
        n, n_events = table.n_rows, table.n_events
        # one longer than the record: the row after the last one kept is written, too
        chosen = Chosen(
            np.empty(n + 1, np.int64), np.empty(n_events + 1, np.int64), np.empty(n_events, np.int64),
            np.empty(n, np.int64),
        )  # fmt: skip
        counts = np.zeros(N_FATES, np.int64)
        choose(table.offsets, particles, code_table(), limits, chosen, counts)
        if counts[NOT_FINITE]:
            where = self._where(batch, table, int(chosen.odd[-1]))
            raise StageError("momentum, production point or time of a final-state particle is not finite", where)
        result = {_LOST[i]: int(counts[i]) for i in _LOST if counts[i]}
        if counts[UNKNOWN]:
            unknown = particles.pdg[chosen.odd[: counts[UNKNOWN]]]
            for code, number in zip(*np.unique(unknown, return_counts=True), strict=True):
                result[f"warning: unknown PDG code {code}"] = int(number)
            if config.unknown_pdg == "error":
                raise StageError(
                    f"unknown PDG code {unknown[0]} of a final-state particle",
                    self._where(batch, table, int(chosen.odd[0])),
                    "set unknown_pdg: skip to lose such particles, counted",
                )
        return chosen._replace(row=chosen.row[: counts[KEPT]]), result

    def _decay(
        self, event_keys: NDArray[np.uint64], sources: list[tuple[Table, Particles, Chosen]], draw: Draw,
        counts: dict[str, int],
    ) -> dict[str, Floats]:  # fmt: skip
        """Drop particles that decay too early, count them, and give the paths of the others as a column."""
        assert self.config.decays is not None
        cylinder, ctau = (self.config.decays.radius, self.config.decays.half_length), particle_table().ctau
        paths, n_lost, work = [], 0, make_work()
        for k, (table, particles, chosen) in enumerate(sources):
            path = np.empty(len(chosen.row))
            is_made = "particle_index" in table
            index = table["particle_index"] if is_made else _NO_INDEX
            # both tables of codes are sorted by code
            n_lost += draw_lives(
                table.offsets, particles, index, code_table(), ctau, event_keys, draw.key, cylinder, chosen.row,
                chosen.offsets, work, path,
            )  # fmt: skip
            sources[k] = table, particles, chosen._replace(row=chosen.row[: chosen.offsets[-1]])
            paths.append(path)
        if n_lost:
            counts["lost: decayed before a track"] = n_lost
        offsets = np.sum([chosen.offsets for _, _, chosen in sources], axis=0)
        place, column = offsets[:-1].copy(), np.empty(int(offsets[-1]))
        for path, (_, _, chosen) in zip(paths, sources, strict=True):
            place_lives(chosen.offsets, place, path, column)
            place += np.diff(chosen.offsets)
        return {"decay_path": column}

    def _fill(
        self, sources: list[tuple[Table, Particles, Chosen]], collision_time: Floats, stand_ins: Integers
    ) -> tuple[Charged, Integers]:
        """Rows of the chosen particles of all sources and their offsets: source after source in each event."""
        offsets = np.sum([chosen.offsets for _, _, chosen in sources], axis=0)
        charged = Charged(*empty_columns(CHARGED, int(offsets[-1])))
        place, bz = offsets[:-1].copy(), float(self.setup.magnetic_field)
        for table, particles, chosen in sources:
            is_made = "particle_index" in table
            index = table["particle_index"] if is_made else _NO_INDEX
            fill(
                table.offsets, particles, index, code_table(), bz, collision_time, chosen, place, charged, stand_ins
            )  # fmt: skip
            place += np.diff(chosen.offsets)
        return charged, offsets

    def _where(self, batch: EventBatch, table: Table, row: int) -> str:
        """Name the stage, event and particle of a row."""
        event = int(np.searchsorted(table.offsets, row, side="right")) - 1
        index = int(table["particle_index"][row]) if "particle_index" in table else row - table.offsets[event]
        return f"stage {self.name}, event {batch['event']['number'][event]}, particle {index}"

    def _dndeta(self, batch: EventBatch, particles: Particles, chosen: Chosen) -> Floats:
        """Charged multiplicity per event, as the card defines it."""
        multiplicity, numbers = self.config.multiplicity, chosen.n_counted
        if multiplicity.kind == "primaries":
            is_counted = is_physical_primary(batch) & np.isin(np.abs(particles.pdg), _PRIMARY_CODES)
            numbers = np.empty(batch.n_events, np.int64)
            slope = math.sinh(multiplicity.eta_max)
            count_within(batch["particle"].offsets, particles, is_counted, slope, numbers)
        return numbers / (2.0 * multiplicity.eta_max)
