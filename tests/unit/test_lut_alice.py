"""ALICE lutCovm binaries, compared with bytes made without FlashDet's code."""

from __future__ import annotations

import dataclasses
import struct

import numpy as np
import pytest
from lut_tables import ALICE_AXES, ENTRY, alice_bytes, alice_centers, alice_entries, alice_header, smooth_lut

from flashdet.errors import LutError, OutputError
from flashdet.lut.alice import find_species, read_alice, write_alice
from flashdet.lut.files import read_table, write_table
from flashdet.species import SPECIES, SPECIES_PDG


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "lutCovm.pi.20kG.dat"
    file.write_bytes(alice_bytes())
    return file


def test_the_sizes_of_the_c_structures():
    assert ENTRY.itemsize == 312
    assert [ENTRY.fields[n][1] for n in ("valid", "eff", "covm", "eigval", "eigvec", "eiginv")] == [
        12,
        16,
        32,
        92,
        112,
        212,
    ]
    assert len(alice_header()) == 80
    assert len(alice_bytes()) == 99_920


def test_the_table_has_the_numbers_of_the_file(path):
    lut, entries = read_alice(path), alice_entries()
    assert (lut.species, lut.pdg, lut.charge, lut.field) == ("pion", 211, 1, 2.0)
    assert lut.mass == np.float32(0.13957)
    assert [a.name for a in lut.efficiency_axes] == ["nch", "eta", "pt"]
    assert [(a.n_bins, a.scale, a.out_of_range) for a in lut.covariance_axes] == [
        (1, "linear", "clamp"),
        (8, "linear", "clamp"),
        (10, "log", "clamp"),
    ]
    assert lut.covariance_axes[2].low == pytest.approx(0.01)
    assert lut.covariance_axes[2].high == pytest.approx(100.0)
    assert np.array_equal(lut.valid, entries["valid"][0] == 1)
    assert np.array_equal(lut.efficiency, entries["eff"][:, 0])
    assert np.array_equal(lut.covariance, entries["covm"][0])
    assert np.array_equal(lut.eigen.vectors, entries["eigvec"][0])
    assert np.array_equal(lut.eigen.inverse, entries["eiginv"][0])
    lut.validate()


def test_the_second_efficiency(path):
    entries = alice_entries()
    lut = read_alice(path, efficiency=2)
    assert np.array_equal(lut.efficiency, entries["eff2"][:, 0])
    out = path.with_name("out.dat")
    write_alice(lut, out)
    assert out.read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="allowed: 1, 2"):
        read_alice(path, efficiency=3)


def _round_trip(path, content: bytes) -> bytes:
    path.write_bytes(content)
    out = path.with_name("out.dat")
    write_alice(read_alice(path), out, overwrite=True)
    return out.read_bytes()


def test_bytes_come_back(path):
    content = alice_bytes()
    assert _round_trip(path, content) == content


def test_bytes_come_back_with_everything_odd_that_a_valid_file_may_hold(path):
    rng = np.random.default_rng(4)
    entries = alice_entries()
    entries["nch"] = 0.0  # as one of ALICE's writers leaves it
    entries["itof"] = rng.random(entries.shape)
    entries["otof"] = np.nan
    entries["eff"] = rng.random(entries.shape)
    entries["eigvec"][..., 0] *= -1  # another sign
    entries["eiginv"][..., 0, :] *= -1
    entries["valid"][2, 0, 3, 4] = 0  # a hole at one multiplicity, erased there
    for name in ("eff", "covm", "eigval", "eigvec", "eiginv"):
        entries[name][2, 0, 3, 4] = 0
    entries["valid"][0, 0, 5, 5] = 0  # a hole that keeps its covariance
    lost = np.argwhere(entries["valid"][:, 0] == 0)[0]
    entries["covm"][lost[0], 0, lost[1], lost[2]] = np.frombuffer(b"\x01\x00\xa0\x7f", "<f4")  # a signalling NaN
    content = alice_bytes(entries)
    assert _round_trip(path, content) == content


def test_bytes_come_back_for_other_axes_and_species(path):
    axes = ((1, 0.0, 4.0, 1), (2, 0.0, 30.0, 0), (3, -1.6, 1.7, 0), (7, -1.3, 1.1, 1))
    content = alice_bytes(alice_entries(axes), pdg=1000020030, axes=axes, mass=2.8084, field=-0.5)
    assert _round_trip(path, content) == content
    assert read_alice(path).charge == 2


def test_padding_is_ignored_and_written_as_zeros(path):
    content = bytearray(alice_bytes())
    for start in range(29, 80, 16):
        content[start : start + 3] = b"abc"
    for start in range(80 + 13, len(content), 312):
        content[start : start + 3] = b"\xff\xfe\xfd"
    assert _round_trip(path, bytes(content)) == alice_bytes()


def test_changed_rules_keep_the_bytes_and_changed_numbers_do_not(path):
    lut = read_alice(path)
    radius, eta, pt = lut.covariance_axes
    rules = (radius, dataclasses.replace(eta, out_of_range="reject"), pt)
    out = path.with_name("out.dat")
    write_alice(dataclasses.replace(lut, covariance_axes=rules, meta={"x": 1}), out)
    assert out.read_bytes() == path.read_bytes()
    write_alice(dataclasses.replace(lut, covariance=2 * lut.covariance), out, overwrite=True)
    assert out.read_bytes() != path.read_bytes()
    assert np.array_equal(read_alice(out).covariance, 2 * lut.covariance)


def test_a_hole_at_some_multiplicities_is_an_efficiency_of_zero(path):
    entries = alice_entries()
    entries["valid"][2, 0, 3, 4] = 0
    path.write_bytes(alice_bytes(entries))
    lut = read_alice(path)
    assert lut.valid[0, 3, 4]
    assert lut.efficiency[2, 3, 4] == 0.0
    assert (lut.efficiency[[0, 1, 3], 3, 4] > 0.0).all()


def test_covariances_that_depend_on_multiplicity_are_refused(path):
    entries = alice_entries()
    entries["covm"][1, 0, 3, 6, 0] *= 1.1
    path.write_bytes(alice_bytes(entries))
    with pytest.raises(LutError, match=r"covariance of 1 valid entries depends on multiplicity, first at nch 42\.17"):
        read_alice(path)


@pytest.mark.parametrize(("name", "value"), [("eff", 0.123), ("valid", 0)])
def test_efficiencies_that_depend_on_the_radius_make_a_table_each(path, tmp_path, name, value):
    axes = (ALICE_AXES[0], (2, 0.0, 100.0, 0), *ALICE_AXES[2:])
    entries = alice_entries(axes)
    entries[name][1, 1, 3, 6] = value
    path.write_bytes(alice_bytes(entries, axes=axes))
    lut = read_alice(path)
    assert [(part.covariance_axes[0].low, part.covariance_axes[0].high) for part in lut.parts] == [(0, 50), (50, 100)]
    lut.validate()
    for i, part in enumerate(lut.parts):
        expected = np.where(entries["valid"][:, i], entries["eff"][:, i], 0.0)
        assert np.array_equal(part.efficiency.astype(np.float32), expected)
        assert np.array_equal(
            part.covariance[0].astype(np.float32)[part.valid[0]], entries["covm"][0, i][part.valid[0]]
        )
    assert lut.displaced[0].efficiency[1, 3, 6] == (np.float32(0.123) if name == "eff" else 0.0)
    # and back: equal bins of radius are what the format has
    write_alice(lut, tmp_path / "again.dat")
    back = read_alice(tmp_path / "again.dat")
    assert len(back.displaced) == 1
    for part, again in zip(lut.parts, back.parts, strict=True):
        assert again.covariance_axes == part.covariance_axes
        assert np.array_equal(again.efficiency, part.efficiency)
        assert np.array_equal(again.covariance[part.valid], part.covariance[part.valid])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (alice_header()[:79], "79 bytes"),
        (alice_bytes(version=20210802), "version 20210802; allowed: 20210801"),
        (alice_bytes(pdg=3312), "pdg 3312"),
        (alice_bytes()[:-1], "99919 bytes; its axes .4 x 1 x 8 x 10 bins. need 99920"),
        (alice_bytes() + b"\0", "99921 bytes"),
        (alice_header(axes=((0, 0.5, 3.5, 1), *ALICE_AXES[1:])), "0 bins"),
        (alice_header(axes=((2**31 - 1, 0.5, 3.5, 1), *ALICE_AXES[1:])), "2147483647 bins"),
        (alice_header(axes=((4, 3.5, 0.5, 1), *ALICE_AXES[1:])), "axis nch"),
        (alice_header(axes=((4, 0.5, float("nan"), 1), *ALICE_AXES[1:])), "axis nch"),
        (alice_header(axes=((4, -400.0, 400.0, 1), *ALICE_AXES[1:])), "axis nch"),
        (alice_header() + b"\x02" * (320 * 312), "neither 0 nor 1"),
    ],
)
def test_files_that_are_none(path, content, message):
    path.write_bytes(content)
    with pytest.raises(LutError, match=message) as error:
        read_alice(path)
    assert "lutCovm" in str(error.value) or "pdg" in message


def test_the_species_asked_for(path):
    assert read_alice(path, species="pion").species == "pion"
    with pytest.raises(LutError, match=r"is for pion \(pdg 211\), not for kaon"):
        read_alice(path, species="kaon")
    with pytest.raises(LutError, match="cannot be read"):
        read_alice(path.with_name("nowhere.dat"))


def test_species_of_codes():
    assert [find_species(code) for code in SPECIES_PDG] == list(SPECIES)
    assert find_species(-211) == "pion"
    with pytest.raises(LutError, match="3122"):
        find_species(3122)


def test_a_native_table_written_for_alice(tmp_path):
    lut, out = smooth_lut(n_eta=8, n_pt=10), tmp_path / "lutCovm.pi.dat"
    write_alice(lut, out)
    content = out.read_bytes()
    assert struct.unpack_from("<ii", content) == (20210801, 211)
    entries = np.frombuffer(content, ENTRY, offset=80).reshape(4, 1, 8, 10)
    for name, axis in zip(("nch", "eta", "pt"), (ALICE_AXES[0], *ALICE_AXES[2:]), strict=True):
        found = np.unique(entries[name])
        np.testing.assert_allclose(found, np.unique(alice_centers(*axis)), rtol=2e-7)
    assert np.array_equal(entries["valid"][3], lut.valid)
    valid = entries["valid"] == 1
    assert np.array_equal(
        entries["covm"][valid], np.broadcast_to(lut.covariance, (4, 1, 8, 10, 15))[valid].astype("f4")
    )
    assert not entries["covm"][~valid].any()
    assert not entries["eff"][~valid].any()
    assert np.array_equal(entries["eff"][valid], entries["eff2"][valid])
    values, vectors = entries["eigval"][valid].astype(float), entries["eigvec"][valid].astype(float)
    assert (np.diff(values, axis=1) <= 0).all()
    again = np.einsum("nik,nk,nkj->nij", vectors, values, entries["eiginv"][valid].astype(float))
    rows, columns = np.tril_indices(5)
    sigma = np.sqrt(entries["covm"][valid][:, [0, 2, 5, 9, 14]].astype(float))
    error = (again[:, rows, columns] - entries["covm"][valid]) / values[:, :1]
    assert np.abs(error).max() < 1e-6
    assert sigma.min() > 0
    first = np.argmax(np.abs(vectors) > 0, axis=1)
    assert (np.take_along_axis(vectors, first[:, None], axis=1) > 0).all()
    write_alice(read_alice(out), tmp_path / "again.dat")
    assert (tmp_path / "again.dat").read_bytes() == content
    with pytest.raises(OutputError, match="exists"):
        write_alice(lut, out)


def test_a_table_that_is_not_usable_is_not_written(tmp_path):
    lut = smooth_lut(n_eta=8, n_pt=10)
    lut.efficiency[0, 0, 0] = 2.0
    with pytest.raises(LutError, match=r"outside \[0, 1\]"):
        write_alice(lut, tmp_path / "x.dat")


def test_from_alice_to_native_and_back(path, tmp_path):
    lut = read_alice(path)
    write_table(lut, tmp_path / "pion.lut.npz")
    back = read_table(tmp_path / "pion.lut.npz")
    back.validate()
    write_alice(back, tmp_path / "back.dat")
    again = read_alice(tmp_path / "back.dat")
    assert np.array_equal(again.efficiency, lut.efficiency)
    np.testing.assert_allclose(again.covariance[lut.valid], lut.covariance[lut.valid], rtol=1e-6, atol=1e-14)
    assert (tmp_path / "pion.lut.npz").stat().st_size < 0.15 * path.stat().st_size
