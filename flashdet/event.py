"""Batches of events: tables of equal-length columns with the rows of whole events one after the other.

A column is attached once and then cannot be written. This module knows no file format and no stage.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import Column
from flashdet.errors import ColumnError

Offsets = NDArray[np.int64]


def same_offsets(first: Offsets, second: Offsets) -> bool:
    """Whether two tables have the same rows per event; most often they share the array."""
    return first is second or np.array_equal(first, second)


class Table(Mapping[str, NDArray[Any]]):
    """Columns of equal length and the row where each event starts.

    Parameters
    ----------
    name : str
        Name of the table.
    offsets : (n_events + 1,) int64
        Rows of event i are ``offsets[i]:offsets[i + 1]``.
    columns : mapping of str to array, optional
        Contiguous arrays whose first length is ``offsets[-1]``.

    Raises
    ------
    ColumnError
        A length differs, a column is attached twice or an array is not contiguous.
    """

    def __init__(self, name: str, offsets: Offsets, columns: Mapping[str, NDArray[Any]] | None = None) -> None:
        self.name = name
        self.offsets = np.ascontiguousarray(offsets, np.int64)
        self.offsets.flags.writeable = False
        self._columns: dict[str, NDArray[Any]] = {}
        self._n_rows = int(self.offsets[-1])
        for key, values in (columns or {}).items():
            self.attach(key, values)

    @classmethod
    def per_event(cls, name: str, n_events: int, columns: Mapping[str, NDArray[Any]] | None = None) -> Table:
        """Build a table with exactly one row per event."""
        return cls(name, np.arange(n_events + 1, dtype=np.int64), columns)

    def attach(self, column: str, values: NDArray[Any]) -> None:
        """Add a column and make it read-only.

        Parameters
        ----------
        column : str
            Its name.
        values : (n_rows, ...) array
            Contiguous values.

        Raises
        ------
        ColumnError
            It exists already, has another length or is not contiguous.
        """
        if column in self._columns:
            raise ColumnError("the column exists already; a column is attached once", f"{self.name}.{column}")
        if len(values) != self._n_rows:
            text = f"got {len(values)} rows, the table has {self._n_rows}"
            raise ColumnError(text, f"{self.name}.{column}")
        if not values.flags.c_contiguous:
            text = "the array is not contiguous; pass numpy.ascontiguousarray(values)"
            raise ColumnError(text, f"{self.name}.{column}")
        values.setflags(write=False)
        self._columns[column] = values

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return self._n_rows

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.offsets) - 1

    @property
    def event_index(self) -> NDArray[np.int64]:
        """(n_rows,) int64: the event of each row."""
        return np.repeat(np.arange(self.n_events), np.diff(self.offsets))

    def select(self, mask: NDArray[np.bool_]) -> Table:
        """Keep the rows where `mask` is true, in order.

        Parameters
        ----------
        mask : (n_rows,) bool

        Returns
        -------
        Table
            A new table with copies of the kept rows.
        """
        kept = np.concatenate([[0], np.cumsum(mask, dtype=np.int64)])
        return Table(self.name, kept[self.offsets], {k: v[mask] for k, v in self.items()})

    def slice_events(self, start: int, stop: int) -> Table:
        """Events ``start:stop`` as views on the same memory."""
        first, last = self.offsets[start], self.offsets[stop]
        return Table(self.name, self.offsets[start : stop + 1] - first, {k: v[first:last] for k, v in self.items()})

    def __getitem__(self, column: str) -> NDArray[Any]:
        try:
            return self._columns[column]
        except KeyError:
            have = ", ".join(self._columns) or "none"
            raise ColumnError(f"no such column; the table has: {have}", f"{self.name}.{column}") from None

    def __contains__(self, column: object) -> bool:
        return column in self._columns

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def items(self) -> ItemsView[str, NDArray[Any]]:
        """Names and columns; the one of `Mapping` takes a microsecond per column."""
        return self._columns.items()

    def __repr__(self) -> str:
        return f"Table({self.name!r}, {self.n_events} events, {self.n_rows} rows: {', '.join(self._columns)})"


@dataclass
class EventBatch:
    """Tables of the same events.

    Attributes
    ----------
    tables : dict of str to Table
        ``event`` has one row per event.
    weight_names : tuple of str
        Names of the columns of ``event.weights``.
    """

    tables: dict[str, Table] = field(default_factory=dict)
    weight_names: tuple[str, ...] = ()

    @property
    def n_events(self) -> int:
        """Number of events."""
        return self["event"].n_events

    def __getitem__(self, table: str) -> Table:
        try:
            return self.tables[table]
        except KeyError:
            have = ", ".join(self.tables) or "none"
            raise ColumnError(f"no such table; the batch has: {have}", table) from None

    def __contains__(self, table: str) -> bool:
        return table in self.tables

    def column(self, column: Column) -> NDArray[Any]:
        """Values of a declared column."""
        return self[column.table][column.name]

    def add(self, table: Table) -> None:
        """Add a new table, or its columns to the table of that name.

        Raises
        ------
        ColumnError
            Rows or events do not match, or a column exists already.
        """
        if self.tables and table.n_events != self.n_events:
            raise ColumnError(f"got {table.n_events} events, the batch has {self.n_events}", table.name)
        if table.name not in self.tables:
            self.tables[table.name] = table
            return
        mine = self.tables[table.name]
        if not same_offsets(mine.offsets, table.offsets):
            raise ColumnError("the rows per event differ from those of the table in the batch", table.name)
        for name, values in table.items():
            mine.attach(name, values)

    def copy(self) -> EventBatch:
        """Return a batch with the same columns to which others can be attached."""
        tables = {name: Table(name, t.offsets, dict(t)) for name, t in self.tables.items()}
        return EventBatch(tables, self.weight_names)

    def slice_events(self, start: int, stop: int) -> EventBatch:
        """Events ``start:stop`` as views on the same memory."""
        return EventBatch({n: t.slice_events(start, stop) for n, t in self.tables.items()}, self.weight_names)

    def to_awkward(self) -> Any:
        """Events as one awkward array: a record per event with a list per table (``event`` without the list).

        The ``particle_index`` of tracks is missing (None) where it is negative, so that indexing the particles with it
        gives None for pairs of converted photons, instead of a particle counted from the end.
        """
        import awkward as ak

        def record(table: Table) -> Any:
            columns = dict(table.items())
            index = columns.get("particle_index")
            if index is not None and table.name in ("charged", "track") and (index < 0).any():
                columns["particle_index"] = ak.mask(index, index >= 0)
            content = ak.zip(columns, depth_limit=1)
            if table.name == "event":
                return content
            return ak.Array(ak.contents.ListOffsetArray(ak.index.Index64(table.offsets), content.layout))

        return ak.zip({name: record(t) for name, t in self.tables.items() if len(t)}, depth_limit=1)


def concat(batches: Sequence[EventBatch]) -> EventBatch:
    """Put batches with the same tables and columns one after the other.

    Parameters
    ----------
    batches : sequence of EventBatch
        At least one.

    Returns
    -------
    EventBatch

    Raises
    ------
    ColumnError
        Tables, columns or weight names differ.
    """
    first = batches[0]
    result = EventBatch({}, first.weight_names)
    for name, table in first.tables.items():
        parts = [b[name] for b in batches]
        starts = np.cumsum([0] + [p.n_rows for p in parts])
        offsets = np.concatenate([p.offsets[:-1] + s for p, s in zip(parts, starts, strict=False)] + [starts[-1:]])
        for part, batch in zip(parts, batches, strict=True):
            if set(part) != set(table) or batch.weight_names != first.weight_names:
                raise ColumnError("the batches differ in their columns or weight names", name)
        result.add(Table(name, offsets, {c: np.concatenate([p[c] for p in parts]) for c in table}))
    return result
