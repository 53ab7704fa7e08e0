"""`flashdet.read`: what was written comes back, and damage is an error."""

from __future__ import annotations

import contextlib

import awkward as ak
import numpy as np
import pytest
import uproot
from writer_events import SETUP, concat_equal, make_batch, narrow

from flashdet.errors import InputError
from flashdet.event import EventBatch
from flashdet.io import output
from flashdet.io.aod import AodWriter
from flashdet.io.nano import NanoWriter
from flashdet.io.parquet import ParquetWriter
from flashdet.io.read import read, read_batch, read_header
from flashdet.io.rootfile import open_for_reading
from flashdet.provenance import write_manifest

WRITERS = (AodWriter, NanoWriter, ParquetWriter)
each_writer = pytest.mark.parametrize("writer", WRITERS, ids=lambda w: w.format)


@pytest.fixture(scope="module")
def batch():
    return make_batch(12)


@pytest.fixture(scope="module")
def files(batch, tmp_path_factory):
    folder = tmp_path_factory.mktemp("read")
    return {w: write(w, batch, folder / f"o{w.suffix}") for w in WRITERS}


def write(writer, batch, path):
    with writer(path, setup=SETUP) as w:
        w.write(batch)
    return path


@each_writer
def test_tables_come_back_at_float32(files, batch, writer):
    got, header = read_batch(files[writer])
    concat_equal(got, batch, exact=() if writer is AodWriter else ("track",))
    assert header["format"] == writer.format
    assert got.weight_names == SETUP.weight_names
    assert header["magnetic_field"] == 2.0
    assert header["provenance"] == {"seed": 1, "card": {"name": "test"}}


@each_writer
def test_same_awkward_array_as_from_memory(files, batch, writer):
    got = read(files[writer])
    want = narrow(batch, tuple(batch.tables)).to_awkward()
    assert got.fields == want.fields
    assert str(got.type) == str(want.type)
    assert ak.all(got.track.particle_index == want.track.particle_index)
    assert ak.all(ak.num(got.otof) == ak.num(got.track))
    assert got.track.pt.type.content.content.primitive == "float32"


@each_writer
def test_missing_values_survive(files, batch, writer):
    got = read(files[writer])
    missing = np.isnan(batch["otof"]["n_sigma_pion"])
    assert missing.any()
    np.testing.assert_array_equal(np.isnan(ak.to_numpy(ak.flatten(got.otof.n_sigma_pion))), missing)


@each_writer
def test_several_chunks(batch, writer, tmp_path, monkeypatch):
    monkeypatch.setitem(output.CHUNK_ROWS, "track", 25)
    got, _ = read_batch(write(writer, batch, tmp_path / "o"))
    concat_equal(got, batch, exact=() if writer is AodWriter else ("track",))


@each_writer
def test_no_events(writer, tmp_path, batch):
    with writer(tmp_path / "a", setup=SETUP):
        pass
    assert len(read(tmp_path / "a")) == 0
    write(writer, batch.slice_events(0, 0), tmp_path / "b")
    got, _ = read_batch(tmp_path / "b")
    assert not got.tables or got.n_events == 0


@each_writer
def test_header_alone(files, writer):
    header = read_header(files[writer])
    assert header["tables"]["track"]["pt"]["unit"] == "GeV"


@each_writer
def test_cut_files_are_errors(files, writer, tmp_path):
    content = files[writer].read_bytes()
    for share in (0.0005, 0.02, 0.3, 0.6, 0.9, 0.999, 1 - 1 / len(content)):
        cut = tmp_path / f"cut{share}"
        cut.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(InputError, match=r"damaged|neither|not written by"):
            read(cut)


@pytest.mark.parametrize("writer", [AodWriter, NanoWriter], ids=lambda w: w.format)
def test_damaged_root_files_make_no_other_exception(files, writer, tmp_path):
    content = bytearray(files[writer].read_bytes())
    damaged = tmp_path / "damaged"
    for place in np.random.default_rng(7).integers(4, len(content), 12):
        content[place] ^= 0xFF
        damaged.write_bytes(content)
        content[place] ^= 0xFF
        with contextlib.suppress(InputError):
            read(damaged)


def test_damaged_parquet_is_refused_or_reads_the_same(files, tmp_path, batch):
    """Without checksums of the pages most of these flips would read as other numbers."""
    content = bytearray(files[ParquetWriter].read_bytes())
    damaged = tmp_path / "damaged"
    refused = 0
    for place in np.random.default_rng(7).integers(4, len(content), 60):
        content[place] ^= 1
        damaged.write_bytes(content)
        content[place] ^= 1
        try:
            got, _ = read_batch(damaged)
        except InputError:
            refused += 1
        else:
            concat_equal(got, batch, exact=("track",))
    assert refused > 20


@each_writer
def test_one_flipped_bit_is_found_by_the_manifest(files, writer, tmp_path):
    path = tmp_path / "o"
    path.write_bytes(files[writer].read_bytes())
    write_manifest(path, provenance={}, n_events=12, counters={})
    assert len(read(path)) == 12
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match="checksum"):
        read(path)


def test_foreign_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read(tmp_path / "nothing.root")
    (tmp_path / "text").write_text("HepMC::Version 3.02.05\n")
    with pytest.raises(InputError, match="neither a ROOT nor a Parquet"):
        read(tmp_path / "text")
    (tmp_path / "empty").touch()
    with pytest.raises(InputError, match="neither a ROOT nor a Parquet"):
        read(tmp_path / "empty")
    with uproot.recreate(tmp_path / "o.root") as root:
        root.mktree("Events", {"x": np.dtype("f4")}).extend({"x": np.ones(3, "f4")})
    with pytest.raises(InputError, match="not written by FlashDet"):
        read(tmp_path / "o.root")
    ak.to_parquet(ak.Array([{"x": 1}]), tmp_path / "o.parquet")
    with pytest.raises(InputError, match="not written by FlashDet"):
        read(tmp_path / "o.parquet")


@each_writer
def test_other_data_model(writer, tmp_path, batch, monkeypatch):
    monkeypatch.setattr(output, "DATA_MODEL_VERSION", "99.0")
    path = write(writer, batch, tmp_path / "o")
    with pytest.raises(InputError, match=r"data model 99\.0, this FlashDet reads"):
        read(path)


def test_awkward_reads_parquet_by_itself(files, batch):
    array = ak.from_parquet(files[ParquetWriter])
    assert ak.all(array.track.pt == narrow(batch, tuple(batch.tables)).to_awkward().track.pt)
    assert str(array.track.cov.type) == "12 * var * 15 * ?float32"


def test_nano_has_what_nanoaod_readers_look_for(files, batch):
    with open_for_reading(files[NanoWriter]) as root:
        tree = root["Events"]
        scalars = {k: tree[k].array(library="np") for k in ("run", "luminosityBlock", "event", "genWeight", "nTrack")}
        assert set(scalars["run"]) == {1}
        np.testing.assert_array_equal(scalars["event"], batch["event"]["number"])
        np.testing.assert_array_equal(scalars["nTrack"], np.diff(batch["track"].offsets))
        assert tree["Track_pt"].member("fTitle") == "Track_pt[nTrack]/F"
        assert tree["Otof_has_signal"].member("fTitle") == "Otof_has_signal[nOtof]/O"
        assert {"Event_impact_parameter", "EmcalCluster_energy", "OtofEvent_time", "Track_cov_14"} <= set(tree.keys())
        # coffea would make a Muon with four-vector of it and fail
        assert "MuonSignal_n_sigma_pion" in set(tree.keys())
        assert "nMuon" not in set(tree.keys())


def test_tables_are_whole_events(files):
    assert isinstance(read_batch(files[AodWriter])[0], EventBatch)
