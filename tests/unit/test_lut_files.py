"""Native files: what comes back, equal bytes, and files that are damaged or lie."""

from __future__ import annotations

import dataclasses
import io
import json
import zipfile
import zlib

import numpy as np
import pytest
from lut_tables import smooth_lut

from flashdet.errors import LutError, OutputError
from flashdet.lut.alice import read_alice, write_alice
from flashdet.lut.atomic import sha256_of
from flashdet.lut.axis import Axis
from flashdet.lut.files import read_table, write_table
from flashdet.lut.table import Lut, Map

DIAGONAL = [0, 2, 5, 9, 14]


@pytest.fixture
def lut_file(tmp_path):
    path = tmp_path / "pion.lut.npz"
    write_table(smooth_lut(n_eta=8, n_pt=10, n_radius=2), path)
    return path


def _map() -> Map:
    axes = (Axis("eta", "", 4, -1.0, 1.0, "linear", "reject"), Axis("p", "GeV", 3, 1.0, 8.0, "log", "clamp", "none"))
    return Map("muon tag", "", axes, np.arange(12.0).reshape(4, 3) / 7, {"source": "test", "date": "2025-01-01"})


def _repack(path, header=None, replace=None, drop=(), compression=zipfile.ZIP_DEFLATED):
    """Write the archive again with changed members."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    if header is not None:
        content = json.loads(members["header.json"])
        header(content)
        members["header.json"] = json.dumps(content).encode()
    members |= replace or {}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            if name not in drop:
                archive.writestr(name, content)


def _npy(array, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def test_a_lut_comes_back(lut_file):
    lut, back = smooth_lut(n_eta=8, n_pt=10, n_radius=2), read_table(lut_file)
    assert isinstance(back, Lut)
    for name in ("species", "pdg", "mass", "charge", "field", "efficiency_axes", "covariance_axes", "meta"):
        assert getattr(back, name) == getattr(lut, name)
    assert np.array_equal(back.valid, lut.valid)
    assert np.array_equal(back.efficiency, lut.efficiency.astype(np.float32))
    sigma = np.sqrt(lut.covariance[lut.valid][:, DIAGONAL])
    np.testing.assert_allclose(np.sqrt(back.covariance[lut.valid][:, DIAGONAL]), sigma, rtol=6e-8)
    rows, columns = np.tril_indices(5)
    error = (back.covariance - lut.covariance)[lut.valid] / (sigma[:, rows] * sigma[:, columns])
    assert np.abs(error).max() < 3e-7
    assert not back.covariance[~lut.valid].any()
    back.validate()


def test_a_map_comes_back(tmp_path):
    write_table(_map(), tmp_path / "m.lut.npz")
    back = read_table(tmp_path / "m.lut.npz")
    assert isinstance(back, Map)
    assert (back.name, back.unit, back.axes, back.meta) == (_map().name, "", _map().axes, _map().meta)
    assert np.array_equal(back.values, _map().values.astype(np.float32))


def test_equal_tables_give_equal_bytes_also_after_a_round_trip(lut_file, tmp_path):
    again, third = tmp_path / "again.lut.npz", tmp_path / "third.lut.npz"
    write_table(smooth_lut(n_eta=8, n_pt=10, n_radius=2), again)
    write_table(read_table(again), third)
    assert lut_file.read_bytes() == again.read_bytes() == third.read_bytes()
    assert len(sha256_of(again)) == 64


def test_fewer_bits_are_smaller_and_as_exact_as_promised(tmp_path):
    lut = smooth_lut()
    full, short = tmp_path / "full.lut.npz", tmp_path / "short.lut.npz"
    write_table(lut, full)
    write_table(lut, short, bits=12)
    assert short.stat().st_size < 0.6 * full.stat().st_size
    back = read_table(short)
    sigma = np.sqrt(lut.covariance[lut.valid][:, DIAGONAL])
    assert np.abs(np.sqrt(back.covariance[lut.valid][:, DIAGONAL]) / sigma - 1).max() <= 2.0**-12
    assert np.abs(back.efficiency - lut.efficiency).max() <= 2.0**-13 + 1e-7
    back.validate()
    with pytest.raises(ValueError, match="8 to 23"):
        write_table(lut, tmp_path / "x.lut.npz", bits=30)


def test_nearly_dependent_parameters_stay_positive_definite(tmp_path):
    lut = smooth_lut(n_eta=8, n_pt=10)
    correlation = 1.0 - 1e-9
    lut.covariance[..., 3] = correlation * np.sqrt(lut.covariance[..., 0] * lut.covariance[..., 5])
    lut.covariance[..., [1, 4, 6, 7, 8, 10, 11, 12, 13]] = 0.0
    lut.validate()
    write_table(lut, tmp_path / "a.lut.npz", bits=12)
    read_table(tmp_path / "a.lut.npz").validate()


def test_numpy_opens_the_arrays(lut_file):
    with np.load(lut_file, allow_pickle=False) as arrays:
        assert arrays["sigma"].shape == (5, 2, 8, 10)
        assert arrays["sigma"].dtype == np.float32


def test_nothing_is_overwritten_or_left_half_written(lut_file, tmp_path):
    before = lut_file.read_bytes()
    with pytest.raises(OutputError, match="exists"):
        write_table(_map(), lut_file)
    assert lut_file.read_bytes() == before
    write_table(_map(), lut_file, overwrite=True)
    assert lut_file.read_bytes() != before
    with pytest.raises(OutputError, match=r"\.lut\.npz"):
        write_table(_map(), tmp_path / "map.npz")
    with pytest.raises(OutputError, match="cannot be written"):
        write_table(_map(), tmp_path / "missing" / "map.lut.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["pion.lut.npz"]


def test_what_cannot_be_stored_is_refused(tmp_path):
    lut = smooth_lut(n_eta=8, n_pt=10)
    bad = lut.covariance.copy()
    bad[0, 4, 5, 9] = -1.0
    for table, message in (
        (dataclasses.replace(lut, covariance=bad), "not positive definite"),
        (dataclasses.replace(lut, meta={"x": object()}), "JSON"),
        (dataclasses.replace(lut, meta={"x": float("nan")}), "JSON"),
    ):
        with pytest.raises(LutError, match=message):
            write_table(table, tmp_path / "x.lut.npz")
    assert not list(tmp_path.iterdir())


def test_missing_empty_foreign_and_cut_files(lut_file, tmp_path):
    for name, content in (("empty", b""), ("text", b"hello world" * 100), ("cut", lut_file.read_bytes()[:-200])):
        path = tmp_path / f"{name}.lut.npz"
        path.write_bytes(content)
        with pytest.raises(LutError, match=f"{name}.lut.npz"):
            read_table(path)
    with pytest.raises(LutError, match="cannot be read"):
        read_table(tmp_path / "nowhere.lut.npz")
    np.savez(tmp_path / "other.lut.npz", a=np.zeros(3))
    with pytest.raises(LutError, match=r"no header\.json"):
        read_table(tmp_path / "other.lut.npz")


def test_every_flipped_byte_is_noticed_or_harmless(lut_file):
    good, content = read_table(lut_file), bytearray(lut_file.read_bytes())
    rng = np.random.default_rng(11)
    refused = 0
    for place in rng.integers(0, len(content), 150):
        damaged = content.copy()
        damaged[place] ^= 0x41
        lut_file.write_bytes(damaged)
        try:
            back = read_table(lut_file)
        except LutError:
            refused += 1
        else:  # a byte of the zip directory that carries no content
            assert np.array_equal(back.covariance, good.covariance)
            assert np.array_equal(back.efficiency, good.efficiency)
    assert refused > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h.update(format="else"), "not a FlashDet table"),
        (lambda h: h.update(version=4), "format version 4"),
        (lambda h: h.update(kind="histogram"), "kind 'histogram'"),
        (lambda h: h.pop("efficiency_axes"), "efficiency_axes"),
        (lambda h: h["efficiency_axes"].pop(), "axes"),
        (lambda h: h["covariance_axes"][1].update(n_bins=9), "the header says"),
        (lambda h: h["covariance_axes"][1].update(n_bins=10**12), "ask for"),
        (lambda h: h["covariance_axes"][1].update(n_bins=10**400), "ask for"),
        (lambda h: h["covariance_axes"][1].update(low=9.0), "not an axis"),
        (lambda h: h["covariance_axes"][1].update(n_bins="8"), "n_bins"),
        (lambda h: h["arrays"]["sigma"].update(sha256="0" * 64), "SHA-256"),
        (lambda h: h.pop("arrays"), "arrays"),
        (lambda h: h.update(mass="heavy"), "mass"),
        (lambda h: h.update(pdg=True), "pdg"),
        (lambda h: h.update(meta=[]), "meta"),
    ],
)
def test_headers_that_lie(lut_file, change, message):
    _repack(lut_file, header=change)
    with pytest.raises(LutError, match=message) as error:
        read_table(lut_file)
    assert "pion.lut.npz" in str(error.value)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((5, 2, 8, 10), np.float64),
        np.zeros((5, 2, 8, 10), ">f4"),
        np.zeros((5, 2, 10, 8), np.float32),
        np.zeros((4, 2, 8, 10), np.float32),
        np.asfortranarray(np.zeros((5, 2, 8, 10), np.float32)),
        np.zeros((5, 2, 8, 10), "V4"),
        np.full((5, 2, 8, 10), None, dtype=object),
    ],
    ids=["float64", "big endian", "shape", "size", "fortran", "void", "object"],
)
def test_arrays_that_are_not_what_the_header_says(lut_file, array):
    _repack(lut_file, replace={"sigma.npy": _npy(array)})
    with pytest.raises(LutError, match="sigma"):
        read_table(lut_file)


def test_pickles_are_never_loaded(lut_file):
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("the pickle was run",))

    _repack(lut_file, replace={"sigma.npy": _npy(np.array([Bomb()], dtype=object), allow_pickle=True)})
    with pytest.raises(LutError):
        read_table(lut_file)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(lut_file):
    _repack(lut_file, replace={"sigma.npy": b"\0" * 30_000_000})
    with pytest.raises(LutError, match="unpacks to 30000000 bytes"):
        read_table(lut_file)
    _repack(lut_file, replace={"header.json": b" " * 2_000_000})
    with pytest.raises(LutError, match=r"header\.json of sensible size"):
        read_table(lut_file)


def test_members_missing_too_many_doubled_or_packed_otherwise(lut_file):
    content = lut_file.read_bytes()
    _repack(lut_file, drop=("ratio.npy",))
    with pytest.raises(LutError, match="ratio"):
        read_table(lut_file)
    lut_file.write_bytes(content)
    _repack(lut_file, replace={"extra.npy": _npy(np.zeros(2))})
    with pytest.raises(LutError, match="extra"):
        read_table(lut_file)
    lut_file.write_bytes(content)
    _repack(lut_file, compression=zipfile.ZIP_BZIP2)
    with pytest.raises(LutError, match="compressed"):
        read_table(lut_file)
    lut_file.write_bytes(content)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(lut_file, "a") as archive:
        archive.writestr("sigma.npy", b"second")
    with pytest.raises(LutError, match="holds"):
        read_table(lut_file)


def test_values_that_make_no_covariance_are_refused(lut_file):
    with zipfile.ZipFile(lut_file) as archive:
        sigma = np.load(io.BytesIO(archive.read("sigma.npy")))
    import hashlib

    for bad in (np.nan, np.inf, 0.0, -1.0):
        damaged = sigma.copy()
        damaged[2, 0, 4, 5] = bad
        digest = hashlib.sha256(damaged.tobytes()).hexdigest()
        _repack(lut_file, lambda h, d=digest: h["arrays"]["sigma"].update(sha256=d), {"sigma.npy": _npy(damaged)})
        with pytest.raises(LutError, match="not finite or not positive"):
            read_table(lut_file)


def test_the_compressed_size_of_a_big_table(tmp_path):
    lut = smooth_lut(n_eta=80, n_pt=200, n_nch=20)
    write_table(lut, tmp_path / "big.lut.npz", bits=14)
    assert (tmp_path / "big.lut.npz").stat().st_size < 250_000  # of 99.8 MB in the ALICE format
    assert zlib.crc32((tmp_path / "big.lut.npz").read_bytes())


# --- displaced particles ---------------------------------------------------------------------------------------------
def _displaced_lut() -> Lut:
    inner = smooth_lut(n_eta=8, n_pt=10)
    low = inner.covariance_axes[0].high
    outer = []
    for n_eta, n_pt, scale in ((4, 6, 2.0), (2, 5, 5.0)):
        part = smooth_lut(n_eta=n_eta, n_pt=n_pt, n_nch=3)
        radius = Axis("radius", "cm", 1, low, low + 4.0, "linear", "reject", "none")
        low += 4.0
        axes = (radius, *part.covariance_axes[1:])
        outer.append(dataclasses.replace(part, covariance_axes=axes, covariance=scale * part.covariance, meta={}))
    return dataclasses.replace(inner, displaced=tuple(outer))


def test_tables_of_displaced_particles_come_back(tmp_path):
    lut, path = _displaced_lut(), tmp_path / "pion.lut.npz"
    write_table(lut, path)
    back = read_table(path)
    back.validate()
    assert len(back.displaced) == 2
    for part, again in zip(lut.parts, back.parts, strict=True):
        assert (again.efficiency_axes, again.covariance_axes) == (part.efficiency_axes, part.covariance_axes)
        assert (again.species, again.meta, again.charge) == (part.species, part.meta, part.charge)
        assert np.array_equal(again.valid, part.valid)
        assert np.array_equal(again.efficiency, part.efficiency.astype(np.float32))
        sigma = np.sqrt(part.covariance[part.valid][:, DIAGONAL])
        np.testing.assert_allclose(np.sqrt(again.covariance[part.valid][:, DIAGONAL]), sigma, rtol=6e-8)
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("header.json"))["version"] == 3
        assert "displaced2_sigma.npy" in archive.namelist()
    write_table(back, tmp_path / "again.lut.npz")
    assert (tmp_path / "again.lut.npz").read_bytes() == path.read_bytes()


def test_tables_of_one_radius_are_written_as_before(tmp_path):
    write_table(dataclasses.replace(_displaced_lut(), displaced=()), tmp_path / "a.lut.npz")
    with zipfile.ZipFile(tmp_path / "a.lut.npz") as archive:
        assert json.loads(archive.read("header.json"))["version"] == 1
        assert sorted(archive.namelist()) == sorted(
            ["header.json", "valid.npy", "efficiency.npy", "sigma.npy", "ratio.npy"]
        )


@pytest.mark.parametrize("displaced", [None, 3, ["a"], [{}]])
def test_damaged_headers_of_displaced_tables(tmp_path, displaced):
    path = tmp_path / "pion.lut.npz"
    write_table(_displaced_lut(), path)
    _repack(path, header=lambda h: h.update(displaced=displaced))
    with pytest.raises(LutError, match="damaged"):
        read_table(path)


def test_an_alice_file_of_a_displaced_table_is_told_to_be_incomplete(tmp_path, caplog):
    write_alice(_displaced_lut(), tmp_path / "lutCovm.dat")
    assert "made beyond 100 cm are left out" in caplog.text
    assert read_alice(tmp_path / "lutCovm.dat").displaced == ()
