"""Writers: part file, overwriting, failures, chunks, selection of tables."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from writer_events import SETUP, concat_equal, make_batch

from flashdet import columns as declared
from flashdet.errors import ColumnError, OutputError
from flashdet.event import EventBatch, Table, concat
from flashdet.io import output
from flashdet.io.aod import AodWriter
from flashdet.io.nano import NanoWriter
from flashdet.io.parquet import ParquetWriter
from flashdet.io.read import read_batch
from flashdet.io.setup import OutputSetup
from flashdet.io.tables import camel
from flashdet.provenance import manifest_path
from flashdet.species import SPECIES

WRITERS = (AodWriter, NanoWriter, ParquetWriter)
each_writer = pytest.mark.parametrize("writer", WRITERS, ids=lambda w: w.format)


class Recorder(output.Writer):
    """A format that keeps the chunks it was given."""

    format, suffix = "test", ".test"

    def _begin(self, header, first):
        self.header, self.chunks = header, []

    def _write_chunk(self, batch):
        # a copy: the next chunk has the same memory
        self.chunks.append(concat([batch]))
        self._file.write(b"x")

    def _finish(self):
        self._file.write(b"end")


def counts_of(chunks):
    return [c.n_events for c in chunks]


@each_writer
def test_nothing_under_the_final_name_until_closed(tmp_path, writer):
    path = tmp_path / f"out{writer.suffix}"
    with writer(path, setup=SETUP) as w:
        w.write(make_batch(4))
        assert not path.exists()
        assert w.part.exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name]
    assert w.n_events == 4


@each_writer
def test_refuses_to_overwrite_and_leaves_the_file_alone(tmp_path, writer):
    path = tmp_path / f"out{writer.suffix}"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already") as caught:
        writer(path, setup=SETUP)
    assert "--overwrite" in str(caught.value)
    assert path.read_bytes() == b"precious"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_closing_twice_is_harmless_and_writing_after_it_is_not(tmp_path):
    with Recorder(tmp_path / "out.test", setup=SETUP) as w:
        w.write(make_batch(2))
        w.close()
        with pytest.raises(OutputError, match="closed already"):
            w.write(make_batch(2))
    w.abort()
    assert (tmp_path / "out.test").read_bytes() == b"xend"


def test_refuses_a_file_that_appeared_meanwhile(tmp_path):
    path = tmp_path / "out.test"
    w = Recorder(path, setup=SETUP)
    w.write(make_batch(2))
    path.write_bytes(b"of another job")
    with pytest.raises(OutputError, match="exists already"):
        w.close()
    assert path.read_bytes() == b"of another job"
    assert not w.part.exists()


def test_overwrite_replaces_file_and_forgets_its_manifest(tmp_path):
    path = tmp_path / "out.test"
    path.write_bytes(b"old")
    manifest_path(path).write_text("{}")
    with Recorder(path, setup=SETUP, overwrite=True) as w:
        w.write(make_batch(2))
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"xend"
    assert not manifest_path(path).exists()


@each_writer
@pytest.mark.parametrize("error", [ValueError("a stage failed"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_exception_leaves_nothing(tmp_path, writer, error):
    def job():
        with writer(tmp_path / f"out{writer.suffix}", setup=SETUP) as w:
            w.write(make_batch(3))
            raise error

    with pytest.raises(type(error)):
        job()
    assert list(tmp_path.iterdir()) == []


def test_abort_keeps_the_file_that_was_to_be_overwritten(tmp_path):
    path = tmp_path / "out.test"
    path.write_bytes(b"old")
    w = Recorder(path, setup=SETUP, overwrite=True)
    w.write(make_batch(2))
    w.abort()
    assert path.read_bytes() == b"old"
    assert not w.part.exists()


@pytest.mark.parametrize("where", ["_write_chunk", "_finish"])
def test_full_disk_is_an_output_error_without_a_file(tmp_path, monkeypatch, where):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Recorder, where, fail)
    monkeypatch.setitem(output.CHUNK_ROWS, "event", 1)
    with pytest.raises(OutputError, match="No space left"), Recorder(tmp_path / "out.test", setup=SETUP) as w:
        w.write(make_batch(3))
    assert list(tmp_path.iterdir()) == []


@each_writer
def test_full_device_is_an_output_error(tmp_path, writer):
    # a file-size limit is the nearest to a full disk that needs no privileges; it must not hit pytest itself
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from writer_events import SETUP, concat_equal, make_batch
from {writer.__module__} import {writer.__name__} as W
from flashdet.errors import OutputError
batch = make_batch(4)
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    with W({str(tmp_path / "out")!r}, setup=SETUP) as w:
        w.write(batch)
except OutputError as error:
    print(error)
    sys.exit(7)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "cannot write" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_killed_job_leaves_no_final_file_and_does_not_block_the_next(tmp_path):
    path = tmp_path / "out.aod.root"
    code = f"""
import sys, time
sys.path.insert(0, {str(Path(__file__).parent)!r})
from writer_events import SETUP, concat_equal, make_batch
from flashdet.io import output
from flashdet.io.aod import AodWriter
output.CHUNK_ROWS["event"] = 2
w = AodWriter({str(path)!r}, setup=SETUP)
w.write(make_batch(5))
print("written", flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == "written\n"
        job.send_signal(signal.SIGKILL)
    assert not path.exists()
    with AodWriter(path, setup=SETUP) as w:
        w.write(make_batch(2))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_missing_directory_and_directory_as_name(tmp_path):
    with pytest.raises(OutputError, match="No such file"):
        Recorder(tmp_path / "nowhere" / "out.test", setup=SETUP)
    with pytest.raises(OutputError, match="is a directory"):
        Recorder(tmp_path, setup=SETUP, overwrite=True)


def test_devices_and_pipes_are_not_replaced(tmp_path):
    """An output is renamed over its name: root would lose /dev/null, and opening a pipe would wait for ever."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no regular file"):
            Recorder(pipe, setup=SETUP, overwrite=overwrite)
    assert pipe.is_fifo()


@pytest.mark.parametrize("limit", [("track", 20), ("particle", 50), ("event", 5)], ids=lambda x: x[0])
def test_chunks_depend_on_events_alone(tmp_path, monkeypatch, limit):
    name, rows = limit
    monkeypatch.setitem(output.CHUNK_ROWS, name, rows)
    batch = make_batch(30)
    seen = []
    for cuts in ([0, 30], [0, 1, 2, 17, 17, 30], range(31)):
        with Recorder(tmp_path / f"{len(seen)}.test", setup=SETUP) as w:
            for first, last in pairwise(cuts):
                w.write(batch.slice_events(first, last))
        seen.append(counts_of(w.chunks))
        for chunk in w.chunks[:-1]:
            # full with its last event, not before
            assert chunk[name].n_rows >= rows
            assert chunk.slice_events(0, chunk.n_events - 1)[name].n_rows < rows
    assert len(seen[0]) > 2
    assert seen[0] == seen[1] == seen[2]


def test_chunks_do_not_depend_on_the_tables_that_are_written(tmp_path, monkeypatch):
    monkeypatch.setitem(output.CHUNK_ROWS, "track", 20)
    seen = []
    for tables in (None, ("event",)):
        setup = OutputSetup(tables=tables, stage_kinds=SETUP.stage_kinds)
        with Recorder(tmp_path / f"{len(seen)}.test", setup=setup) as w:
            w.write(make_batch(30))
        seen.append(counts_of(w.chunks))
    assert seen[0] == seen[1]


@each_writer
def test_same_bytes_for_any_batch_size_and_time(tmp_path, monkeypatch, writer):
    monkeypatch.setitem(output.CHUNK_ROWS, "event", 7)
    batch = make_batch(18)
    contents = []
    for i, cuts in enumerate(([0, 18], [0, 3, 3, 10, 18])):
        path = tmp_path / f"{i}{writer.suffix}"
        with writer(path, setup=SETUP) as w:
            for first, last in pairwise(cuts):
                w.write(batch.slice_events(first, last))
        contents.append(path.read_bytes())
        if i == 0:
            time.sleep(1.1)  # the clock in ROOT records has a resolution of one second
    assert contents[0] == contents[1]


def test_selection_by_stage_by_kind_and_by_table(tmp_path):
    batch = make_batch(3)

    def written(*tables):
        return set(OutputSetup(tables=tables, stage_kinds=SETUP.stage_kinds).selected(batch))

    assert written("track") == {"event", "track"}
    assert written("otof") == {"event", "otof", "otof_event"}
    assert written("tof") == {"event", "itof", "itof_event", "otof", "otof_event"}
    assert written("emcal_cluster") == {"event", "emcal_cluster"}
    with pytest.raises(OutputError, match="no stage writes a table 'calo'; there are: event, particle"):
        written("calo")


def test_charged_is_written_only_when_asked_for():
    batch = make_batch(3)
    batch.add(Table("charged", batch["particle"].offsets, {"pdg": batch["particle"]["pdg"].copy()}))
    assert "charged" not in SETUP.selected(batch)
    assert OutputSetup(tables=("charged",)).selected(batch) == ("event", "charged")


def test_header_has_unit_and_sentence_under_the_stage_name(tmp_path):
    with Recorder(tmp_path / "out.test", setup=SETUP) as w:
        w.write(make_batch(2))
    about = w.header["tables"]["otof"]["n_sigma_pion"]
    assert about["doc"] == "(time - event_time - expected)/sigma for a pion"
    assert w.header["tables"]["track"]["cov"]["shape"] == [15]
    assert w.header["tables"]["event"]["key"]["dtype"] == "u8"
    assert w.header["tables"]["emcal_cluster"]["x"]["unit"] == "cm"
    undocumented = [f"{t}.{c}" for t, cols in w.header["tables"].items() for c, a in cols.items() if not a["doc"]]
    assert undocumented == []


def test_batches_with_other_columns_are_refused(tmp_path):
    first, second = make_batch(2), make_batch(2)
    second["track"].attach("surprise", np.zeros(second["track"].n_rows))
    w = Recorder(tmp_path / "o", setup=SETUP)
    w.write(first)
    with pytest.raises(ColumnError, match="differ in their columns"):
        w.write(second)
    assert list(tmp_path.iterdir()) == []


@each_writer
def test_rows_that_follow_neither_tracks_nor_events_are_refused(tmp_path, writer):
    batch = make_batch(6)
    tables = dict(batch.tables)
    tables["rich"] = batch["rich"].select(np.arange(batch["rich"].n_rows) > 0)
    with pytest.raises(OutputError, match=r"rich: .*rows of 'track'"), writer(tmp_path / "o", setup=SETUP) as w:
        w.write(EventBatch(tables, batch.weight_names))
    tables = dict(batch.tables)
    tables["otof_event"] = batch["vertex"].select(np.zeros(batch["vertex"].n_rows, bool))
    with pytest.raises(OutputError, match=r"otof_event: .*one row per event"), writer(tmp_path / "o", setup=SETUP) as w:
        w.write(EventBatch(tables, batch.weight_names))


def test_detector_table_without_track_is_refused(tmp_path):
    setup = OutputSetup(tables=("otof",), stage_kinds=SETUP.stage_kinds)
    with pytest.raises(OutputError, match="list both"), AodWriter(tmp_path / "o", setup=setup) as w:
        w.write(make_batch(3))


def test_camel():
    assert [camel(n) for n in ("n_sigma_pion", "otof", "q_over_pt", "cov_14")] == [
        "NSigmaPion",
        "Otof",
        "QOverPt",
        "Cov14",
    ]


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(OutputError, match="parquet needs pyarrow") as caught:
        ParquetWriter(tmp_path / "o.parquet", setup=SETUP)
    assert "pip install" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@each_writer
def test_columns_that_follow_from_others_are_written_on_demand_only(tmp_path, writer):
    batch, copies = make_batch(12), {"otof.event_time": "itof.event_time"}
    for path, setup in ((tmp_path / "all", SETUP), (tmp_path / "less", replace(SETUP, derived=False, copies=copies))):
        with writer(path, setup=setup) as w:
            w.write(batch)
    (full, _), (less, header) = (read_batch(tmp_path / name) for name in ("all", "less"))
    gone = {f"{stage}.expected_error_{s}" for stage in ("itof", "otof") for s in SPECIES}
    gone.add("otof.event_time")
    assert set(w.left_out) == set(header["left_out"]) == gone
    assert header["left_out"]["otof.event_time"] == "itof.event_time"
    assert header["left_out"]["otof.expected_error_kaon"].startswith(
        "sqrt(((time - event_time - expected_kaon)/n_sigma_kaon)"
    )
    for name, table in full.tables.items():
        assert {c for c in table if f"{name}.{c}" not in gone} == set(less[name])
        for column in less[name]:
            np.testing.assert_array_equal(less[name][column], table[column])


def test_what_follows_from_other_columns_does_so_with_the_precision_of_a_file():
    # the rule in the declaration, applied to float32 columns of one row
    rng = np.random.default_rng(1)
    n = 2000
    f = {c: rng.uniform(0.02, 0.1, n) for c in ("time_error", "event_time_error", "expected_error")}
    f |= {"expected_pion": rng.uniform(1, 20, n), "event_time": rng.normal(0, 0.2, n), "time": rng.uniform(1, 30, n)}
    sigma = np.sqrt(f["time_error"] ** 2 + f["event_time_error"] ** 2 + f["expected_error"] ** 2)
    f["n_sigma_pion"] = (f["time"] - f["event_time"] - f["expected_pion"]) / sigma
    rule = next(c.derived for c in declared.TOF if c.name == "expected_error_pion")
    narrow = {c: v.astype(np.float32).astype(np.float64) for c, v in f.items()}
    found = eval(rule.replace("^", "**"), {"sqrt": np.sqrt}, narrow)
    far = np.abs(f["n_sigma_pion"]) > 3
    np.testing.assert_allclose(found[far], f["expected_error"][far], rtol=2e-3)


@pytest.mark.parametrize("writer", [AodWriter, NanoWriter], ids=lambda w: w.format)
def test_small_files_hold_the_same(tmp_path, writer):
    batch, content = make_batch(200, tracks=20), {}
    for compression in ("fast", "small"):
        with writer(tmp_path / compression, setup=replace(SETUP, compression=compression)) as w:
            w.write(batch)
        content[compression], _header = read_batch(tmp_path / compression)
    concat_equal(content["fast"], content["small"], exact=("track",))
    # noise with gaps: what ZSTD gains over the plan of the gaps
    sizes = [(tmp_path / compression).stat().st_size for compression in ("small", "fast")]
    assert 0.8 < sizes[0] / sizes[1] < 1
