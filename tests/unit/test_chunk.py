"""Chunks: the same columns at float32, however they come."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from writer_events import make_batch, narrow

from flashdet.errors import ColumnError
from flashdet.event import concat
from flashdet.io.chunk import Chunk

TABLES = ("event", "track", "otof", "emcal_cluster")


def every_column(batch):
    return {name: tuple(batch[name]) for name in TABLES}


def assert_same(got, want):
    assert list(got.tables) == list(want.tables)
    assert got.weight_names == want.weight_names
    for name, table in want.tables.items():
        assert list(got[name]) == list(table)
        np.testing.assert_array_equal(got[name].offsets, table.offsets)
        for column, values in table.items():
            assert got[name][column].dtype == values.dtype
            np.testing.assert_array_equal(got[name][column], values)


@pytest.mark.parametrize("cuts", [(0, 30), (0, 1, 2, 3, 30), (0, 12, 12, 13, 30), range(31)])
def test_events_come_back_as_float32_however_they_are_cut(cuts):
    batch = make_batch(30)
    chunk = Chunk(every_column(batch))
    for start, stop in itertools.pairwise(cuts):
        chunk.append(batch, start, stop)
    assert chunk.n_events == 30
    assert_same(chunk.events(), narrow(batch, TABLES))


def test_memory_is_used_again():
    first, second = make_batch(30, seed=1), make_batch(20, seed=2)
    chunk = Chunk(every_column(first))
    chunk.append(first, 0, 30)
    kept = chunk.events()["track"]["pt"]
    chunk.clear()
    chunk.append(second, 3, 20)
    assert_same(chunk.events(), narrow(concat([second.slice_events(3, 20)]), TABLES))
    assert np.shares_memory(chunk.events()["track"]["pt"], kept)
    chunk.append(first, 0, 30)
    assert_same(chunk.events(), narrow(concat([second.slice_events(3, 20), first]), TABLES))


def test_only_the_columns_asked_for():
    batch = make_batch(5)
    chunk = Chunk({"track": ("pt", "cov")})
    chunk.append(batch, 0, 5)
    assert list(chunk.events().tables) == ["track"]
    assert list(chunk.events()["track"]) == ["pt", "cov"]


def test_dtypes_and_shapes_stay():
    batch = make_batch(5)
    chunk = Chunk({"event": ("weights",)})
    chunk.append(batch, 0, 5)
    other = batch["event"]
    wide = {"weights": np.zeros((5, 4))}
    with pytest.raises(ColumnError, match=r"event.weights: got float32 \(4,\), earlier events have float32 \(3,\)"):
        chunk.append(type(batch)({"event": type(other)("event", other.offsets, wide)}), 0, 5)
