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
    """

    def __init__(self, columns: Mapping[str, Sequence[str]]) -> None:
        self._columns = {table: tuple(names) for table, names in columns.items()}
        self._memory: dict[tuple[str, str], NDArray[Any]] = {}
        self._ends: dict[str, list[NDArray[np.int64]]] = {table: [] for table in columns}
        self._rows = dict.fromkeys(columns, 0)
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
            for column in columns:
                values = table[column]
                memory = self._room(name, column, values, n, n + last - first)
                memory[n : n + last - first] = values[first:last]
            self._ends[name].append(table.offsets[start + 1 : stop + 1] - first + n)
            self._rows[name] = n + last - first
        self._weight_names = batch.weight_names
        self.n_events += stop - start

    def _room(self, table: str, column: str, values: NDArray[Any], n_kept: int, n_rows: int) -> NDArray[Any]:
        """Memory of a column for so many rows, of which the first `n_kept` stay."""
        memory = self._memory.get((table, column))
        dtype = np.dtype(np.float32) if values.dtype == np.float64 else values.dtype
        if memory is not None and (memory.dtype != dtype or memory.shape[1:] != values.shape[1:]):
            raise ColumnError(
                f"got {dtype} {values.shape[1:]}, earlier events have {memory.dtype} {memory.shape[1:]}",
                f"{table}.{column}",
            )
        if memory is None or len(memory) < n_rows:
            # powers of two: chunks of about the same size do not move again and again
            larger = np.empty((1 << n_rows.bit_length(), *values.shape[1:]), dtype)
            if memory is not None:
                larger[:n_kept] = memory[:n_kept]
            memory = self._memory[table, column] = larger
        return memory

    def events(self) -> EventBatch:
        """All events, in memory that the next chunk overwrites."""
        batch = EventBatch({}, self._weight_names)
        for name, columns in self._columns.items():
            offsets = np.concatenate([np.zeros(1, np.int64), *self._ends[name]])
            batch.add(Table(name, offsets, {c: self._memory[name, c][: self._rows[name]] for c in columns}))
        return batch

    def clear(self) -> None:
        """Forget the events, keep the memory."""
        for name in self._columns:
            self._ends[name].clear()
            self._rows[name] = 0
        self.n_events = 0
