"""Tables and batches: write once, whole events, awkward views."""

from __future__ import annotations

import numpy as np
import pytest

from flashdet import columns
from flashdet.errors import ColumnError
from flashdet.event import EventBatch, Table, concat


def _batch(sizes=(2, 0, 3)) -> EventBatch:
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    n = int(offsets[-1])
    batch = EventBatch(weight_names=("Default",))
    batch.add(Table.per_event("event", len(sizes), {"number": np.arange(len(sizes))}))
    batch.add(Table("track", offsets, {"pt": np.arange(n, dtype=float), "cov": np.zeros((n, 15))}))
    return batch


def test_columns_are_written_once():
    table = _batch()["track"]
    with pytest.raises(ColumnError, match=r"track\.pt: the column exists already"):
        table.attach("pt", np.zeros(5))
    with pytest.raises(ColumnError, match="got 4 rows, the table has 5"):
        table.attach("eta", np.zeros(4))
    with pytest.raises(ColumnError, match="not contiguous"):
        table.attach("eta", np.zeros(10)[::2])
    with pytest.raises(ValueError, match="read-only"):
        table["pt"][0] = 1.0
    with pytest.raises(ColumnError, match=r"track\.nope: no such column; the table has: pt, cov"):
        table["nope"]


def test_tables_of_a_batch_have_the_same_events():
    batch = _batch()
    with pytest.raises(ColumnError, match="got 2 events, the batch has 3"):
        batch.add(Table("photon", np.array([0, 1, 2])))
    with pytest.raises(ColumnError, match="rows per event differ"):
        batch.add(Table("track", np.array([0, 1, 2, 5]), {"eta": np.zeros(5)}))
    with pytest.raises(ColumnError, match="no such table; the batch has: event, track"):
        batch["tof"]
    batch.add(Table("track", batch["track"].offsets, {"eta": np.zeros(5)}))
    assert set(batch["track"]) == {"pt", "cov", "eta"}


def test_select_keeps_events():
    table = _batch()["track"].select(np.array([True, False, False, True, True]))
    assert table.offsets.tolist() == [0, 1, 1, 3]
    assert table["pt"].tolist() == [0.0, 3.0, 4.0]
    assert table.event_index.tolist() == [0, 2, 2]


def test_slices_and_concat_are_inverse():
    batch = _batch()
    parts = [batch.slice_events(0, 1), batch.slice_events(1, 1), batch.slice_events(1, 3)]
    whole = concat(parts)
    for name, table in batch.tables.items():
        assert whole[name].offsets.tolist() == table.offsets.tolist()
        for column in table:
            np.testing.assert_array_equal(whole[name][column], table[column])
    other = _batch()
    other["track"].attach("eta", np.zeros(5))
    with pytest.raises(ColumnError, match="differ in their columns"):
        concat([batch, other])


def test_copy_shares_columns_but_not_tables():
    batch = _batch()
    copy = batch.copy()
    copy["track"].attach("eta", np.zeros(5))
    assert "eta" not in batch["track"]
    assert copy["track"]["pt"] is batch["track"]["pt"]


def test_awkward_view():
    array = _batch().to_awkward()
    assert array.track.pt.tolist() == [[0.0, 1.0], [], [2.0, 3.0, 4.0]]
    assert array.event.number.tolist() == [0, 1, 2]
    assert array.track.cov[0].to_numpy().shape == (2, 15)


def test_declarations_are_unique_and_complete():
    groups = (
        columns.EVENT, columns.EVENT_PROPAGATE, columns.PARTICLE, columns.CHARGED, columns.TRACK, columns.TRACK_VERTEX,
        columns.VERTEX, columns.TOF, columns.TOF_EVENT, columns.RICH, columns.EMCAL, columns.EMCAL_CLUSTER,
        columns.MUON,
    )  # fmt: skip
    everything = [column for group in groups for column in group]
    assert len({str(c) for c in everything}) == len(everything)
    for column in everything:
        np.dtype(column.dtype)
        assert column.doc, column
        assert not column.missing or np.dtype(column.dtype).kind == "f", column


def test_stage_columns_move_to_the_stage_name():
    moved = columns.for_stage((*columns.TOF, *columns.TOF_EVENT, *columns.TRACK[:1]), "tof", "otof")
    assert {c.table for c in moved} == {"otof", "otof_event", "track"}
