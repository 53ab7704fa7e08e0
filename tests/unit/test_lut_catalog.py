"""Names of shipped tables, paths, and the index."""

from __future__ import annotations

import dataclasses
import json

import pytest
from lut_tables import alice_bytes, smooth_lut

from flashdet.errors import LutError
from flashdet.lut import catalog
from flashdet.lut.files import write_table
from flashdet.lut.table import Lut, Map


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "luts"
    (folder / "toy").mkdir(parents=True)
    lut = smooth_lut(n_eta=4, n_pt=5)
    write_table(lut, folder / "toy" / "pion.lut.npz")
    values = lut.efficiency[0]
    write_table(Map("tag", "", lut.efficiency_axes[1:], values, {"source": "test"}), folder / "toy" / "tag.lut.npz")
    catalog.write_index(folder)
    return folder


def test_the_index_lists_origin_hash_and_axes(folder):
    index = catalog.read_index(folder)
    assert list(index) == ["toy/pion", "toy/tag"]
    assert (index["toy/pion"].kind, index["toy/tag"].kind) == ("lut", "map")
    assert index["toy/pion"].origin == "analytic model of the tests"
    assert [line.split(":")[0] for line in index["toy/pion"].axes] == ["nch", "radius", "eta", "pt"]
    assert len(index["toy/pion"].sha256) == 64
    before = (folder / "index.json").read_bytes()
    catalog.write_index(folder)
    assert (folder / "index.json").read_bytes() == before


def test_names_and_paths(folder, tmp_path, monkeypatch):
    assert isinstance(catalog.load("toy/pion", folder=folder), Lut)
    assert isinstance(catalog.load_map("toy/tag", folder=folder), Map)
    (tmp_path / "card").mkdir()
    write_table(smooth_lut(n_eta=3, n_pt=5), tmp_path / "card" / "mine.lut.npz")
    (tmp_path / "card" / "lutCovm.pi.dat").write_bytes(alice_bytes())
    for directories in (tmp_path / "card", [tmp_path, tmp_path / "card"]):
        assert catalog.load_lut("mine.lut.npz", directories, folder).valid.shape == (1, 3, 5)
        assert catalog.load_lut("lutCovm.pi.dat", directories, folder).eigen is not None
    monkeypatch.chdir(tmp_path)
    assert catalog.load_lut("card/mine.lut.npz").species == "pion"
    assert catalog.load_lut(tmp_path / "card" / "mine.lut.npz", folder).species == "pion"


def test_the_wrong_kind(folder):
    with pytest.raises(LutError, match="a tracking LUT is needed"):
        catalog.load_lut("toy/tag", folder=folder)
    with pytest.raises(LutError, match="a map is needed"):
        catalog.load_map("toy/pion", folder=folder)


def test_near_names(folder, tmp_path):
    with pytest.raises(LutError, match=r"name toy/poin\n  did you mean toy/pion"):
        catalog.load("toy/poin", tmp_path, folder)
    (tmp_path / "lutCovm.pi.dat").write_bytes(b"")
    with pytest.raises(LutError, match=r"did you mean .*lutCovm\.pi\.dat"):
        catalog.load("lutCovm.ka.dat", tmp_path, folder)
    with pytest.raises(LutError, match="shipped: toy/pion, toy/tag"):
        catalog.load("zzz", tmp_path, folder)
    with pytest.raises(LutError, match="shipped: none"):
        catalog.load("zzz", tmp_path, tmp_path)


def test_a_shipped_table_that_was_changed_is_refused(folder):
    write_table(smooth_lut(n_eta=5, n_pt=5), folder / "toy" / "pion.lut.npz", overwrite=True)
    with pytest.raises(LutError, match="missing or damaged"):
        catalog.load("toy/pion", folder=folder)
    (folder / "toy" / "pion.lut.npz").unlink()
    with pytest.raises(LutError, match="missing or damaged"):
        catalog.load("toy/pion", folder=folder)


def test_files_that_are_no_tables(folder, tmp_path):
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(LutError, match=r"note\.txt: is no lookup table: it begins with b'hell'"):
        catalog.load("note.txt", tmp_path, folder)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "x", "version": 1}', '{"format": 3'])
def test_a_damaged_index(folder, content):
    (folder / "index.json").write_text(content)
    with pytest.raises(LutError, match=r"index\.json"):
        catalog.load("toy/pion", folder=folder)


def test_an_index_entry_without_a_key(folder):
    index = json.loads((folder / "index.json").read_text())
    del index["tables"]["toy/tag"]["sha256"]
    (folder / "index.json").write_text(json.dumps(index))
    with pytest.raises(LutError, match="sha256"):
        catalog.read_index(folder)


def test_tables_that_may_not_be_shipped(folder):
    lut = smooth_lut(n_eta=4, n_pt=5)
    write_table(dataclasses.replace(lut, meta={}), folder / "nobody.lut.npz")
    with pytest.raises(LutError, match="does not say where it comes from"):
        catalog.write_index(folder)
    lut.valid[0, 2, 2] = False
    write_table(lut, folder / "nobody.lut.npz", overwrite=True)
    with pytest.raises(LutError, match="holes"):
        catalog.write_index(folder)


def test_what_is_shipped_is_sound():
    for name in catalog.read_index():
        catalog.load(name).validate()
