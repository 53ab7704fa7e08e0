"""Events that wait to be written: float32 columns in memory that is used again for every chunk.

Columns come in batches of any size and are turned and copied once, to where they stay until they are written. Arrays of
each batch that are put together in the end take 3 times as long for pp events, 6 times for Pb-Pb events, most of it for
fresh pages of memory (benchmarks/bench_writers.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import ColumnError
from flashdet.event import EventBatch, Table


class Chunk:
    """Columns that grow by batches of events.

    Parameters
    ----------
    columns : mapping of str to sequence of str
        Columns to keep by table; others are passed over.
    expected : mapping of str to int, optional
        Rows by table for which there is memory as soon as there is a second batch. What is not used costs no page.
    """

    def __init__(self, columns: Mapping[str, Sequence[str]], expected: Mapping[str, int] | None = None) -> None:
        self._expected = dict(expected or {})
        self._columns = {table: tuple(names) for table, names in columns.items()}
        self._memory: dict[str, dict[str, NDArray[Any]]] = {table: {} for table in columns}
        self._ends: dict[str, list[NDArray[np.int64]]] = {table: [] for table in columns}
        self._rows = dict.fromkeys(columns, 0)
        #: Rows that the memory of each table has place for; dtype and shape of its columns as they come.
        self._room = dict.fromkeys(columns, 0)
        self._kinds: dict[str, list[tuple[Any, tuple[int, ...]]]] = {}
        self._weight_names: tuple[str, ...] = ()
        self.n_events = 0

    def append(self, batch: EventBatch, start: int, stop: int) -> None:
        """Add the events ``start:stop`` of a batch.

        Parameters
        ----------
        batch : EventBatch
            With the tables and columns asked for.
        start, stop : int

        Raises
        ------
        ColumnError
            A table or column is missing, or a column has another dtype or shape than before.
        """
        for name, columns in self._columns.items():
            table, n = batch[name], self._rows[name]
            first, last = int(table.offsets[start]), int(table.offsets[stop])
            values = [table[column] for column in columns]
            kinds = [(v.dtype, v.shape[1:]) for v in values]
            if self._kinds.setdefault(name, kinds) != kinds:
                self._check(name, kinds)
            end = n + last - first
            if end >= self._room[name]:
                self._grow(name, end)
            for column, memory in zip(values, self._memory[name].values(), strict=True):
                memory[n:end] = column[first:last]
            self._ends[name].append(table.offsets[start + 1 : stop + 1] - first + n)
            self._rows[name] = end
        self._weight_names = batch.weight_names
        self.n_events += stop - start

    def _grow(self, table: str, n_rows: int) -> None:
        """Make room for so many rows; those that are there stay."""
        n_kept, memory = self._rows[table], self._memory[table]
        # half as much again: chunks of about the same size do not move again and again
        self._room[table] = max(self._expected.get(table, 0) if n_kept else 0, n_rows + n_rows // 2) + 1
        for column, (dtype, shape) in zip(self._columns[table], self._kinds[table], strict=True):
            larger = np.empty((self._room[table], *shape), np.float32 if dtype == np.float64 else dtype)
            if n_kept:
                larger[:n_kept] = memory[column][:n_kept]
            memory[column] = larger

    def _check(self, table: str, kinds: Sequence[tuple[Any, tuple[int, ...]]]) -> None:
        """Refuse columns that do not fit those before; float64 fits float32."""
        for column, (dtype, shape) in zip(self._columns[table], kinds, strict=True):
            memory = self._memory[table][column]
            kept = np.dtype(np.float32) if dtype == np.float64 else dtype
            if kept != memory.dtype or shape != memory.shape[1:]:
                text = f"got {kept} {shape}, earlier events have {memory.dtype} {memory.shape[1:]}"
                raise ColumnError(text, f"{table}.{column}")

    def events(self) -> EventBatch:
        """All events, in memory that the next chunk overwrites."""
        batch = EventBatch({}, self._weight_names)
        for name, columns in self._columns.items():
            offsets = np.concatenate([np.zeros(1, np.int64), *self._ends[name]])
            n, memory = self._rows[name], self._memory[name]
            batch.add(Table(name, offsets, {c: memory[c][:n] for c in columns}))
        return batch

    def clear(self) -> None:
        """Forget the events, keep the memory."""
        for name in self._columns:
            self._ends[name].clear()
            self._rows[name] = 0
        self.n_events = 0
