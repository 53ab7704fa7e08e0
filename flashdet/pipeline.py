"""The stages of a card in their order: checked before the first event, and after each stage of each batch.

A pipeline knows neither files nor threads; one pipeline may run several batches at the same time because stages keep no
state.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flashdet import columns as declared
from flashdet.card import Card, StageEntry
from flashdet.columns import Column
from flashdet.errors import CardError, ColumnError, FlashDetError, LutError, StageError
from flashdet.event import EventBatch, Table, same_offsets
from flashdet.kernels import finite
from flashdet.lut import catalog
from flashdet.lut.atomic import sha256_of
from flashdet.lut.selection import sectors
from flashdet.lut.table import Lut, Map
from flashdet.registry import near, writers
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput

#: Fills up the columns of one call of `finite.odd_arrays`.
_NOTHING = np.empty(0)
_NOTHING.flags.writeable = False
#: Columns that the reader brings.
INPUT = (*declared.EVENT, declared.EVENT_WEIGHTS, *declared.PARTICLE)
#: Kind of stage that makes a column of the data model, to say what a card lacks.
_MAKERS = {
    str(column): kind
    for kind, made in {
        "conversions": declared.CONVERSIONS_PAIR,
        "propagate": (*declared.CHARGED, *declared.CHARGED_DECAY, *declared.EVENT_PROPAGATE),
        "tracking": declared.TRACK,
        "vertex": (*declared.VERTEX, *declared.TRACK_VERTEX),
        "decay": declared.TRACK_END,
        "tof": (*declared.TOF, *declared.TOF_EVENT),
        "event_time": (*declared.EVENT_TIME, *declared.EVENT_TIME_EVENT, *declared.EVENT_TIME_START),
        "rich": declared.RICH,
        "emcal": (*declared.EMCAL, *declared.EMCAL_CLUSTER),
        "muon": declared.MUON,
        "tot": declared.TOT,
        "pid": declared.PID,
    }.items()
    for column in made
}


@dataclass(frozen=True)
class Result:
    """What a pipeline made of one batch.

    Attributes
    ----------
    batch : EventBatch
        The input's tables and those of all stages.
    counts : dict of str to dict of str to int
        Counters of each stage, by its name.
    nanoseconds : dict of str to int
        Time spent in each stage, checks of its columns included.
    """

    batch: EventBatch
    counts: dict[str, dict[str, int]]
    nanoseconds: dict[str, int]


class Pipeline:
    """All stages of a card, ready to run.

    Parameters
    ----------
    card : Card
        What to build.
    seed : int
        Seed of all random numbers.

    Raises
    ------
    CardError
        A stage cannot be built, or the stages do not fit together (see `check`).
    LutError
        A table is missing or damaged.
    """

    def __init__(self, card: Card, seed: int = 1) -> None:
        self.card, self.seed = card, seed
        luts = load_luts(card)
        setup = Setup(
            card.model.magnetic_field,
            {species: tables[0] for species, tables in luts.items()},
            lambda name: load_map(card, name),
            {species: tables[1:] for species, tables in luts.items()},
        )
        self.luts = setup.luts
        self.stages = _build(card, setup)
        self.draws = {s.name: Draw.of(seed, s.name) for s in self.stages}
        self._promises = {s.name: _Promise(s) for s in self.stages}
        self.check()

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of all tables that a batch has at the end."""
        made = (c.table for s in self.stages for c in s.writes)
        return tuple(dict.fromkeys(["event", "particle", *made]))

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns that a batch has at the end."""
        return (*INPUT, *(c for s in self.stages for c in s.writes))

    @property
    def lut_hashes(self) -> dict[str, str]:
        """SHA-256 of the file of each tracking LUT, by its name in the card."""
        names = (name for names in self.card.model.tables.values() for name in names)
        return {name: sha256_of(catalog.find(name, self.card.directories)) for name in names}

    def check(self) -> None:
        """Replay who reads and writes what, without events.

        Raises
        ------
        CardError
            A column is read before it is written, or written twice; LUTs are given that no stage uses, or the other way
            round; a table to be written does not exist; the output format is unknown. All of it at once.
        """
        lines = [line for i in range(len(self.stages)) for line in self._check_stage(i)]
        users = [s.name for s in self.stages if s.uses_luts]
        if self.luts and not users:
            lines.append(f"{self.card.where('luts')}: no stage of the card uses the tracking LUTs; remove them")
        if users and not self.luts:
            where = self.card.where("stages", users[0])
            lines.append(f"{where}: the stage needs tracking LUTs; add luts: to the card, e.g. luts: alice3")
        output = self.card.model.output
        owners = [s for s in self.stages if any(f"{t}_".startswith(f"{s.name}_") for t in self.tables)]
        tables = {*self.tables, *(name for s in owners for name in (s.name, s.kind))}
        for i, table in enumerate(output.tables or ()):
            if table not in tables:
                where = self.card.where("output", "tables", i)
                lines.append(f"{where}: no stage makes a table {table!r}; {near(table, tables)}")
        lines += self._check_tracks()
        if output.format not in writers.names():
            where = self.card.where("output", "format")
            lines.append(f"{where}: unknown output format {output.format!r}; {near(output.format, writers.names())}")
        if lines:
            raise CardError("\n".join(lines))

    def _check_tracks(self) -> Iterable[str]:
        """Tables whose rows are those of ``track`` cannot be written without it."""
        wanted = self.card.model.output.tables
        if wanted is None or "track" in wanted:
            return
        for i, table in enumerate(wanted):
            if any(table in (s.name, s.kind) and s.kind != "vertex" and s.name in self.tables for s in self.stages):
                where = self.card.where("output", "tables", i)
                yield f"{where}: the rows of {table!r} are those of 'track': list both"

    def _check_stage(self, i: int) -> Iterable[str]:
        """Problems of stage `i` with those before it."""
        stage = self.stages[i]
        where = self.card.where("stages", stage.name)
        makers = {str(c): "the input" for c in INPUT}
        makers.update((str(c), f"stage {s.name!r}") for s in self.stages[:i] for c in s.writes)
        doubled: dict[str, list[str]] = {}
        for column in stage.writes:
            if str(column) in makers:
                doubled.setdefault(makers[str(column)], []).append(str(column))
        for maker, names in doubled.items():
            yield f"{where}: writes {_some(names)}, which {maker} writes already"
        missing = [c for c in stage.reads if str(c) not in makers]
        later = {str(c): s.name for s in reversed(self.stages[i + 1 :]) for c in s.writes}
        before = {s.kind: s.name for s in self.stages[:i]}
        reasons: dict[str, list[str]] = {}
        for column in missing:
            reasons.setdefault(_advice(column, before, later), []).append(str(column))
        for reason, names in reasons.items():
            yield f"{where}: needs {_some(names)}; {reason}"
        left = [str(c) for c in stage.expects if str(c) not in later]
        if left:
            yield f"{where}: leaves {_some(left)} to a later stage, and none writes it"

    def run(self, batch: EventBatch) -> Result:
        """Simulate one batch.

        Parameters
        ----------
        batch : EventBatch
            Tables ``event`` and ``particle`` as a reader gives them; it is not changed.

        Returns
        -------
        Result

        Raises
        ------
        StageError
            A stage did not write what it promised, or a value is not finite where it must be.
        """
        batch = batch.copy()
        counts, nanoseconds = {}, {}
        for stage in self.stages:
            start = time.perf_counter_ns()
            try:
                output = stage.run(batch, self.draws[stage.name])
                self._promises[stage.name].attach(batch, output)
            except ColumnError as error:
                raise StageError(str(error), f"stage {stage.name!r}") from error
            except Exception as error:
                error.add_note(f"in stage {stage.name!r} of kind {stage.kind!r}")
                raise
            counts[stage.name] = output.counts
            nanoseconds[stage.name] = time.perf_counter_ns() - start
        return Result(batch, counts, nanoseconds)


def load_luts(card: Card) -> dict[str, tuple[Lut, ...]]:
    """Tracking LUTs of each species of a card: one, or several that share out its charges and azimuths.

    Raises
    ------
    LutError
        All tables that cannot be read or do not fit together, one line each with the place in the card.
    """
    luts, lines = {}, []
    for species, names in card.model.tables.items():
        try:
            tables = tuple(catalog.load_lut(name, card.directories) for name in names)
            for name, lut in zip(names, tables, strict=True):
                if lut.species != species:
                    raise LutError(f"{name} is a table of {lut.species}")
            sectors(tables, names)
            luts[species] = tables
        except LutError as error:
            lines.append(f"{card.where('luts', species)}: {error}")
    if lines:
        raise LutError("\n".join(lines))
    return luts


def load_map(card: Card, name: str) -> Map:
    """Map of a card by its name or path; see `flashdet.lut.catalog`."""
    return catalog.load_map(name, card.directories)


def _build(card: Card, setup: Setup) -> tuple[Stage, ...]:
    stages, lines = [], []
    for entry in card.stages:
        try:
            stages.append(_instance(entry, setup))
        except FlashDetError as error:
            lines.append(f"{card.where('stages', entry.name)}: {error}")
    if lines:
        raise CardError("\n".join(lines))
    return tuple(stages)


def _instance(entry: StageEntry, setup: Setup) -> Stage:
    stage: Any = entry.stage_class(entry.name, entry.config, setup)
    for attribute in ("reads", "writes"):
        if not hasattr(stage, attribute):
            raise CardError(f"the stage class {entry.stage_class.__name__} does not say what it {attribute}")
    return stage  # type: ignore[no-any-return]


def _some(names: list[str]) -> str:
    """List of names, cut if it is long."""
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _advice(column: Column, before: dict[str, str], later: dict[str, str]) -> str:
    """What to do about a column that is not there: names of stages before by kind, and of stages later by column."""
    if str(column) in later:
        return f"stage {later[str(column)]!r} writes it but comes later in the card: put it before this one"
    kind = _MAKERS.get(str(column))
    if kind in before:
        return f"stage {before[kind]!r} writes it only if so configured; it is: {column.doc}"
    return f"no stage of the card writes it; add a stage of kind {kind!r}" if kind else "no stage of the card writes it"


class _Promise:
    """What a stage promised to write, laid out for the checks after each of its runs."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.columns = stage, {(c.table, c.name): c for c in stage.writes}
        self.types = {key: (np.dtype(c.dtype), c.shape, _mask(c)) for key, c in self.columns.items()}

    def attach(self, batch: EventBatch, output: StageOutput) -> None:
        """Check what the stage wrote and add its columns to the batch.

        Raises
        ------
        StageError
            Columns are missing or too many, or of another type, or a value is not finite where it must be.
        ColumnError
            Rows do not fit.
        """
        stage, given = self.stage, [(t.name, name) for t in output.tables for name in t]
        if len(given) != len(self.columns) or not self.columns.keys() >= set(given):
            lacking = ", ".join(".".join(k) for k in sorted(self.columns.keys() - set(given))) or "nothing"
            extra = ", ".join(".".join(k) for k in sorted(set(given) - self.columns.keys())) or "nothing"
            text = f"does not write what it promises; missing: {lacking}; not promised: {extra}"
            raise StageError(text, _name(stage))
        for table in output.tables:
            batch.add(table)
            if table.name == stage.name and stage.kind != "vertex" and not _same_rows(batch, table, "track"):
                text = f"the rows of {table.name} are not those of track, as they must be in a table named as its stage"
                raise StageError(text, _name(stage))
            if table.name.endswith("_event") and not _same_rows(batch, table, "event"):
                raise StageError(f"{table.name} has not one row per event, as its name promises", _name(stage))
        self._check_values(batch, output.tables)

    def _check_values(self, batch: EventBatch, tables: Iterable[Table]) -> None:
        """Data types, shapes of rows and finite numbers of all columns, many columns at a time."""
        keys: list[tuple[str, str]] = []
        arrays: list[Any] = []
        masks: list[int] = []
        for table in tables:
            for name, values in table.items():
                key = table.name, name
                dtype, shape, mask = self.types[key]
                if values.dtype != dtype or values.shape[1:] != shape:
                    got, wanted = f"{values.dtype}{list(values.shape[1:])}", f"{dtype}{list(shape)}"
                    text = f"got values of type {got}, the data model says {wanted}"
                    raise StageError(text, f"{_name(self.stage)}, column {self.columns[key]}")
                if mask:
                    keys.append(key)
                    arrays.append(values.reshape(-1) if shape else values)
                    masks.append(mask)
                elif dtype.kind == "f":
                    self._check_column(batch, key)
        n_more = -len(keys) % finite.N_ARRAYS
        arrays += [_NOTHING] * n_more
        all_masks = np.array(masks + [0] * n_more, np.uint64)
        for start in range(0, len(keys), finite.N_ARRAYS):
            some = slice(start, start + finite.N_ARRAYS)
            odd = finite.odd_arrays(tuple(arrays[some]), all_masks[some])
            if odd:
                self._check_column(batch, keys[start + (odd & -odd).bit_length() - 1])

    def _check_column(self, batch: EventBatch, key: tuple[str, str]) -> None:
        """Report the first value of a column that is not finite."""
        table, column = batch[key[0]], self.columns[key]
        values = table[column.name]
        bad = np.isinf(values) if column.missing else ~np.isfinite(values)
        if not bad.any():
            return
        row = int(np.flatnonzero(bad.reshape(len(values), -1).any(axis=1))[0])
        event = int(np.searchsorted(table.offsets, row, side="right")) - 1
        allowed = "finite or NaN" if column.missing else "finite"
        number = int(batch["event"]["number"][event])
        raise StageError(
            f"event {number}, {_particle(batch, table, row, event)}: the value is {values[row]}, must be {allowed}; "
            f"{int(bad.any(axis=tuple(range(1, values.ndim))).sum())} of {len(values)} rows",
            f"{_name(self.stage)}, column {column}",
        )


def _mask(column: Column) -> int:
    """Bits to look at in the doubles of a column; 0 if it has none."""
    if np.dtype(column.dtype) != np.float64:
        return 0
    return finite.FINITE_OR_NAN if column.missing else finite.FINITE


def _same_rows(batch: EventBatch, table: Table, other: str) -> bool:
    return other in batch and same_offsets(table.offsets, batch[other].offsets)


def _name(stage: Stage) -> str:
    return f"stage {stage.name!r}"


def _particle(batch: EventBatch, table: Table, row: int, event: int) -> str:
    """Who the row belongs to."""
    for owner in (table, batch.tables.get("track")):
        if owner is not None and "particle_index" in owner and np.array_equal(owner.offsets, table.offsets):
            return f"particle {int(owner['particle_index'][row])}"
    return f"row {row - int(table.offsets[event])}"
