"""What a writer must know besides the events: which tables and particles, and whose rows belong together.

Nothing here writes anything; that is :mod:`flashdet.io.output`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from flashdet import columns
from flashdet.columns import Column, for_stage
from flashdet.errors import OutputError
from flashdet.event import EventBatch, Table

#: Tables that are written only when the card lists them.
NOT_BY_DEFAULT = ("charged",)
#: Which generated particles are written. ``acceptance``: final-state and decayed ones within the acceptance of the
#: tracker; ``tracked``: those that a written table points at; both with their family (`flashdet.pruning.family`).
Particles = Literal["all", "acceptance", "tracked", "none"]
#: ``fast``: little time; ``small``: ZSTD level 1 for every column.
Compression = Literal["fast", "small"]


@dataclass(frozen=True)
class OutputSetup:
    """What a writer must know besides the events.

    Attributes
    ----------
    tables : tuple of str, optional
        Names of the tables to write: a stage's name or kind stands for all its tables; None: all but `NOT_BY_DEFAULT`.
        The table ``event`` is always written.
    stage_kinds : mapping of str to str
        Kind of each stage by its name in the card.
    magnetic_field : float
        B_z [T].
    weight_names : tuple of str
        Names of the columns of ``event.weights``.
    provenance : mapping
        Where the events come from, ready for JSON. It is written into the file: leave out what differs between two
        identical jobs (see :func:`flashdet.provenance.reproducible`).
    run_number : int
        Run number of all events.
    particles : {"all", "acceptance", "tracked", "none"}, optional
        Which generated particles are written (`Particles`); None: as the format has it.
    eta_max : float
        Largest |eta| of the acceptance.
    derived : bool
        Whether columns are written that follow from others of their row (`flashdet.column.Column.derived`).
    copies : mapping of str to str
        Columns that equal another column of the same row in this card, and which, as ``table.column``.
    compression : {"fast", "small"}
        How files are packed, see the format.
    threads : int
        Threads that may compress; the bytes do not depend on it.
    """

    tables: tuple[str, ...] | None = None
    stage_kinds: Mapping[str, str] = field(default_factory=dict)
    magnetic_field: float = 0.0
    weight_names: tuple[str, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    run_number: int = 1
    particles: Particles | None = None
    eta_max: float = math.inf
    derived: bool = False
    copies: Mapping[str, str] = field(default_factory=dict)
    compression: Compression = "fast"
    threads: int = 1

    def owner(self, table: str) -> str:
        """Name of the stage a table belongs to, or the table's own name if it belongs to none."""
        if table not in self._owners:
            stages = [s for s in self.stage_kinds if table == s or table.startswith(s + "_")]
            self._owners[table] = max(stages, key=len, default=table)
        return self._owners[table]

    def kind(self, table: str) -> str:
        """Name the table would have if its stage were named as its kind: ``otof_event`` is a ``tof_event``."""
        owner = self.owner(table)
        return self.stage_kinds.get(owner, owner) + table[len(owner) :]

    def is_per_event(self, table: str) -> bool:
        """Whether the table has exactly one row per event: ``event`` and the ``<stage>_event`` tables."""
        return table == "event" or table.endswith("_event")

    def is_per_track(self, table: str) -> bool:
        """Whether the rows of the table are those of ``track``: tables named as a stage, the vertex apart."""
        return table in self.stage_kinds and self.stage_kinds[table] != "vertex" and table not in ("track", "charged")

    def selected(self, batch: EventBatch) -> tuple[str, ...]:
        """Tables of a batch that are written.

        Raises
        ------
        OutputError
            The card lists a table that no stage writes.
        """
        hidden = ("particle",) if self.particles == "none" else ()
        present = [name for name, table in batch.tables.items() if len(table) and name not in hidden]
        if self.tables is None:
            return tuple(n for n in present if n not in NOT_BY_DEFAULT)
        kept = {"event"}
        for wanted in self.tables:
            matches = {
                n for n in present if wanted in (n, self.owner(n)) or self.stage_kinds.get(self.owner(n)) == wanted
            }
            if not matches:
                raise OutputError(
                    f"no stage writes a table {wanted!r}; there are: {', '.join(present)}",
                    "output.tables",
                )
            kept |= matches
        return tuple(n for n in present if n in kept)

    @cached_property
    def _owners(self) -> dict[str, str]:
        """What `owner` found: it is asked a hundred times per directory."""
        return {}

    @property
    def declared(self) -> Mapping[str, Column]:
        """All declared columns as ``table.column``, under the stages' names in the card."""
        return _declared_by(tuple(self.stage_kinds.items()))

    def kept(self, table: Table) -> tuple[str, ...]:
        """Columns of a table that are written: not those without content, nor those of `left_out`."""
        out = self.left_out(table)
        return tuple(c for c, v in table.items() if c not in out and (v.ndim == 1 or v.shape[1] > 0))

    def left_out(self, table: Table) -> dict[str, str]:
        """Columns of a table that are not written because they follow from others, and how."""
        if self.derived:
            return {}
        prefix = f"{table.name}."
        rules = {column: self._rules.get(prefix + column) for column in table}
        return {column: rule for column, rule in rules.items() if rule}

    @cached_property
    def _rules(self) -> dict[str, str]:
        """How columns follow from others, as ``table.column``."""
        return {name: column.derived for name, column in self.declared.items() if column.derived} | dict(self.copies)


@cache
def _declared() -> dict[str, Column]:
    """All declared columns as ``table.column``, under the kinds of the stages."""
    every = [c for group in vars(columns).values() if isinstance(group, tuple) for c in group if type(c) is Column]
    return {str(c): c for c in (*every, columns.EVENT_WEIGHTS)}


@cache
def _declared_by(stage_kinds: tuple[tuple[str, str], ...]) -> Mapping[str, Column]:
    """The same under the names of stages, given with their kinds; 3 ms, which count where files are small."""
    found = dict(_declared())
    for name, kind in stage_kinds:
        mine = [c for c in _declared().values() if c.table == kind or c.table.startswith(kind + "_")]
        found |= {str(c): c for c in for_stage(mine, kind, name)}
    return MappingProxyType(found)


def check_alignment(batch: EventBatch, written: tuple[str, ...], setup: OutputSetup) -> None:
    """Refuse tables whose rows do not follow tracks or events as their names promise.

    Parameters
    ----------
    batch : EventBatch
    written : tuple of str
        Tables to check.
    setup : OutputSetup

    Raises
    ------
    OutputError
        A table ``<stage>_event`` without one row per event, or a table ``<stage>`` without the rows of ``track``.
    """
    for name in written:
        if setup.is_per_event(name) and batch[name].n_rows != batch.n_events:
            raise OutputError("a table named *_event must have one row per event", name)
        if not setup.is_per_track(name):
            continue
        if "track" not in written:
            raise OutputError("its rows follow those of 'track', which is not written; list both", name)
        if not np.array_equal(batch[name].offsets, batch["track"].offsets):
            raise OutputError("a table that bears a stage's name must have the rows of 'track'", name)
