"""Sums over full simulation: truth matching, clones, fakes, exact merging, cells that the format lacks."""

import json
import zipfile
from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from toy_sample import BZ, sigmas, toy

from flashdet.errors import InputError, LutError
from flashdet.lut.axis import Axis
from flashdet.lut.build import BuildOptions, build_sample_luts
from flashdet.lut.cells import Binning, Cells, merged
from flashdet.lut.content import library_of
from flashdet.lut.files import read_table, write_table
from flashdet.lut.merge import read_part, write_part
from flashdet.lut.residuals import residuals
from flashdet.lut.sample import SampleChunk, SampleParticles, SampleTracks, match
from flashdet.species import SPECIES

BINNING = Binning(
    eta=Axis("eta", "", 4, -1.0, 1.0, "linear", "reject", "linear"),
    pt=Axis("pt", "GeV", 4, 0.2, 10.0, "log", "clamp", "linear"),
    keep=150,
)


def particles(event, label, pdg=211, pt=1.0, **others):
    n = len(event)
    values = {name: np.full(n, 0.0) for name in ("px", "py", "pz", "vx", "vy", "vz", "nch")} | {"px": np.full(n, pt)}
    values |= {name: np.broadcast_to(np.asarray(v, float), n).copy() for name, v in others.items()}
    pdgs = np.broadcast_to(np.asarray(pdg, np.int32), n).copy()
    return SampleParticles(np.asarray(event, np.int64), np.asarray(label, np.int64), pdgs, **values)


def tracks(event, label, category=0, q_over_pt=1.0):
    n = len(event)
    params = np.zeros((n, 7))
    params[:, 6] = q_over_pt
    categories = np.broadcast_to(np.asarray(category, np.int64), n).copy()
    labels = np.asarray(label, np.int64)
    return SampleTracks(np.asarray(event, np.int64), labels, categories, params, np.full((n, 15), np.nan))


def split(chunk, parts):
    """The chunk's events, dealt to parts in turn."""
    for i in range(parts):
        pick, found = chunk.particles.event % parts == i, chunk.tracks.event % parts == i
        yield SampleChunk(
            chunk.source,
            SampleParticles(*(getattr(chunk.particles, n)[pick] for n in SampleParticles.__dataclass_fields__)),
            SampleTracks(*(getattr(chunk.tracks, n)[found] for n in SampleTracks.__dataclass_fields__)),
            chunk.categories,
        )


def test_tracks_find_their_particles_by_label():
    """Particle 0 counts as found only if a track says so, and labels repeat from event to event."""
    chunk = SampleChunk("x", particles([7, 7, 8, 8], [0, 5, 0, 5]), tracks([8, 7, 7, 8, 9], [5, 5, -1, 3, 0]))
    assert match(chunk).tolist() == [3, 1, -1, -1, -1]
    cells = Cells(BINNING, BZ)
    cells.add(chunk)
    pion = SPECIES.index("pion")
    assert cells.generated[pion].sum() == 4
    assert cells.found[pion, :, 0].sum() == 2
    assert cells.counts["tracks without particle (fakes)"] == 1
    assert cells.counts["tracks whose particle is missing"] == 2


def test_same_label_twice_is_an_error():
    with pytest.raises(InputError, match="event 7 has two particles with label 5"):
        match(SampleChunk("x", particles([7, 7], [5, 5]), tracks([], [])))


def test_matching_is_right_for_many_labels():
    rng = np.random.default_rng(3)
    label = rng.permutation(5000)
    asked = rng.integers(0, 6000, 4000)
    row = match(SampleChunk("x", particles(np.zeros(5000), label), tracks(np.zeros(4000), asked)))
    where = {int(v): i for i, v in enumerate(label)}
    assert row.tolist() == [where.get(int(v), -1) for v in asked]


def test_clones_and_categories():
    """Each category counts a particle once; clones count the further tracks; residuals come from the first track."""
    chunk = SampleChunk(
        "x",
        particles([1, 1, 1], [0, 1, 2], pdg=[211, -211, 2212]),
        tracks([1, 1, 1, 1], [0, 0, 1, 0], [1, 0, 1, 1], [1.1, 9.0, -1.2, 9.0]),
        ("long", "upstream"),
    )
    cells = Cells(BINNING, BZ, ("any", "long", "upstream"))
    cells.add(chunk)
    cells.settle()
    pion, proton = SPECIES.index("pion"), SPECIES.index("proton")
    assert cells.found[pion].sum(axis=(2, 3, 4, 5)).tolist() == [[1, 0, 1], [1, 1, 1]]
    assert cells.generated[proton].sum() == 1
    assert not cells.found[proton].any()
    assert cells.clones.sum() == 2
    assert sorted(cells.rows[:, 4].tolist()) == pytest.approx([0.1, 0.2])  # both charges: |q/pt| too large
    with pytest.raises(LutError, match="so far they were long, upstream"):
        cells.add(replace(chunk, categories=("track",)))


def test_leptons_have_the_sign_of_their_charge():
    chunk = SampleChunk("x", particles([1, 2], [0, 0], pdg=[11, -11]), tracks([1, 2], [0, 0], 0, [-1.01, 1.02]))
    cells = Cells(BINNING, BZ)
    cells.add(chunk)
    cells.settle()
    assert sorted(cells.rows[:, 4].tolist()) == pytest.approx([0.01, 0.02], abs=1e-6)
    assert cells.generated[0].sum(axis=(1, 2, 3, 4)).tolist() == [1, 1]


@pytest.mark.parametrize("bz", [2.0, -2.0, 0.5])
def test_residuals_do_not_depend_on_the_reference_of_the_track(bz):
    """The same tracks given at another reference plane and in another frame have the same residuals."""
    chunk, (_, _, charge, found, noise) = toy(300, bz=bz)
    eta, pt = (
        np.arcsinh(chunk.particles.pz / np.hypot(chunk.particles.px, chunk.particles.py)),
        1.0 / abs(1.0 / np.hypot(chunk.particles.px, chunk.particles.py)),
    )
    row = match(chunk)
    here = residuals(chunk.particles, chunk.tracks, row, charge, bz)
    expected = (noise * sigmas(eta, pt))[found]
    assert here.is_usable.all()
    assert here.value[:, 3:] == pytest.approx(expected[:, 3:], abs=1e-12)
    # the perigee of the smeared track is the toy's point up to d dphi^2
    assert here.value[:, :3] == pytest.approx(expected[:, :3], abs=2e-5)
    moved = np.array([_moved(p, 3.0, 0.2, bz) for p in chunk.tracks.params])
    there = residuals(chunk.particles, replace(chunk.tracks, params=moved), row, charge, bz)
    assert there.value == pytest.approx(here.value, abs=1e-9)
    diagonal = [0, 2, 5, 9, 14]
    assert here.cov[:, diagonal] == pytest.approx(chunk.tracks.cov[:, diagonal], rel=0.01)


def _moved(track, s, turn, bz):
    """A track advanced by an arc length, in a frame turned on."""
    x, alpha, y, z, snp, tgl, q_over_pt = track
    k = -0.00299792458 * bz * q_over_pt
    phi = alpha + np.arcsin(snp)
    gx, gy = x * np.cos(alpha) - y * np.sin(alpha), x * np.sin(alpha) + y * np.cos(alpha)
    gx, gy = gx + (np.sin(phi + k * s) - np.sin(phi)) / k, gy - (np.cos(phi + k * s) - np.cos(phi)) / k
    a = alpha + turn
    return [
        gx * np.cos(a) + gy * np.sin(a),
        a,
        gy * np.cos(a) - gx * np.sin(a),
        z + tgl * s,
        np.sin(phi + k * s - a),
        tgl,
        q_over_pt,
    ]


def test_parts_make_the_whole_bit_by_bit(tmp_path):
    """Any split, order and chunk size give the same sums, the same files and the same tables."""
    chunk, _ = toy(6000)
    whole = Cells(BINNING, BZ)
    whole.start_input("whole")
    whole.add(chunk)
    write_table(build_sample_luts(whole)["pion"], tmp_path / "whole.lut.npz")
    parts = []
    for i, piece in enumerate(split(chunk, 3)):
        cells = Cells(BINNING, BZ)
        cells.start_input(f"file {i}")
        for small in split(piece, 2):
            cells.add(small)
        write_part(cells, tmp_path / f"{i}.part.npz")
        parts.append(read_part(tmp_path / f"{i}.part.npz"))
    sums = [merged([parts[i] for i in order]) for order in ((0, 1, 2), (2, 0, 1))]
    sums.append(merged([parts[1], merged([parts[2], parts[0]])]))
    for i, cells in enumerate(sums):
        write_part(cells, tmp_path / f"sum{i}.part.npz")
        write_table(build_sample_luts(cells)["pion"], tmp_path / f"{i}.lut.npz")
        for name in ("generated", "found", "clones", "used", "phi", "rows", "cell", "priority"):
            assert np.array_equal(getattr(cells, name), getattr(whole, name), equal_nan=name == "rows"), name
        assert cells.counts == whole.counts
        assert (tmp_path / f"sum{i}.part.npz").read_bytes() == (tmp_path / "sum0.part.npz").read_bytes()
        assert (tmp_path / f"{i}.lut.npz").read_bytes() == (tmp_path / "0.lut.npz").read_bytes()
    tables = [read_table(tmp_path / f"{name}.lut.npz") for name in ("whole", "0")]
    assert np.array_equal(tables[0].covariance, tables[1].covariance)
    assert np.array_equal(tables[0].sample.library, tables[1].sample.library)
    assert np.bincount(whole.cell).max() == BINNING.keep


def test_the_same_file_twice_is_refused():
    parts = []
    for _ in range(2):
        cells = Cells(BINNING, BZ)
        cells.start_input("a")
        cells.add(toy(500)[0])
        parts.append(cells)
    with pytest.raises(LutError, match="same contents"):
        merged(parts)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Cells(replace(BINNING, keep=99), BZ), "binning"),
        (Cells(BINNING, 1.0), "field"),
        (Cells(BINNING, BZ, ("any", "long")), "categories"),
    ],
)
def test_parts_that_do_not_fit(other, message):
    with pytest.raises(LutError, match=f"differ in their {message}"):
        merged([Cells(BINNING, BZ), other])


def test_damaged_parts(tmp_path):
    path = tmp_path / "a.part.npz"
    write_part(Cells(BINNING, BZ), path)
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(LutError, match="damaged"):
        read_part(path)
    path.write_bytes(b"")
    with pytest.raises(LutError, match="damaged"):
        read_part(path)


def test_axes_that_tables_lack_are_refused():
    with pytest.raises(LutError, match="make a table for each sign of the charge"):
        Binning(nch=Axis("phi", "", 4, 0.0, 6.0))


def test_tables_of_a_charge_or_a_sector(tmp_path):
    """Signs and sectors add up to the whole; the table says what it is of; parts of different ones do not merge."""
    chunk = toy(6000)[0]
    whole = Cells(BINNING, BZ)
    whole.add(chunk)
    signs = []
    for charge in ("positive", "negative"):
        signs.append(Cells(replace(BINNING, charge=charge), BZ))
        signs[-1].add(chunk)
    assert np.array_equal(signs[0].generated + signs[1].generated, whole.generated)
    assert np.array_equal(signs[0].used + signs[1].used, whole.used)
    assert not signs[0].found[:, 0].any()
    assert not signs[1].found[:, 1].any()
    assert signs[0].counts["particles of other charge or azimuth"] == signs[1].generated.sum()
    edges = (-np.pi, -1.0, 2.0, np.pi)
    sectors = [Cells(replace(BINNING, phi=(a, b)), BZ) for a, b in pairwise(edges)]
    sectors.append(Cells(replace(BINNING, phi=(3.0, 4.0)), BZ))  # across the seam
    for cells in sectors:
        cells.add(chunk)
    assert np.array_equal(sum(cells.generated for cells in sectors[:3]), whole.generated)
    phi = np.arctan2(chunk.particles.py, chunk.particles.px)
    assert whole.generated.sum() == len(phi)
    assert sectors[3].generated.sum() == np.count_nonzero((phi > 3.0) | (phi < 4.0 - 2 * np.pi))
    meta = build_sample_luts(sectors[1], options=BuildOptions(fewest_tracks=20))["pion"].meta
    assert meta["phi"] == [-1.0, 2.0]
    write_part(signs[0], tmp_path / "a.part.npz")
    assert read_part(tmp_path / "a.part.npz").binning == signs[0].binning
    with pytest.raises(LutError, match="differ in their particles: positive particles and negative particles"):
        merged([signs[0], signs[1]])
    for wrong in ({"charge": "2"}, {"phi": (1.0, 0.5)}, {"phi": (-4.0, 0.0)}, {"phi": (0.0, 7.0)}):
        with pytest.raises(LutError, match="allowed"):
            replace(BINNING, **wrong)


def test_charge_and_azimuth_are_counted_and_told():
    cells = Cells(BINNING, BZ)
    cells.add(toy(4000)[0])
    lut = build_sample_luts(cells)["pion"]
    by_charge = lut.meta["found_of_generated_by_charge"]
    assert sum(n for _, n in by_charge.values()) == 4000
    assert sum(n for _, n in lut.meta["found_of_generated_by_phi"]) == 4000


def test_production_radius_is_an_axis(tmp_path):
    """Displaced particles have cells of their own: efficiency, covariance, counts and residuals."""
    near, far = toy(8000)[0], toy(8000, first=8000)[0]
    step = 30.0
    far = replace(far, particles=replace(far.particles, vx=far.particles.vx + step))
    lost = far.tracks.event % 2 == 0
    far = replace(far, tracks=SampleTracks(*(getattr(far.tracks, f.name)[~lost] for f in fields(SampleTracks))))
    cells = Cells(replace(BINNING, radius=Axis("radius", "cm", 3, 0.0, 75.0, "linear", "reject", "none")), BZ)
    cells.add(near)
    cells.add(far)
    lut = build_sample_luts(cells, options=BuildOptions(fewest_tracks=50))["pion"]
    lut.validate()
    assert [part.covariance_axes[0].low for part in lut.parts] == [0.0, 25.0, 50.0]
    assert {part.covariance_axes[0].out_of_range for part in lut.parts} == {"reject"}
    alone = Cells(BINNING, BZ)
    alone.add(near)
    prompt = build_sample_luts(alone, options=BuildOptions(fewest_tracks=50))["pion"]
    assert np.array_equal(lut.efficiency, prompt.efficiency)
    assert np.array_equal(lut.covariance, prompt.covariance)
    displaced = lut.displaced[0]
    assert lut.sample.generated.sum() == displaced.sample.generated.sum() == 8000
    ratio = displaced.sample.found[0].sum() / lut.sample.found[0].sum()
    assert ratio == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(8000))
    # the toy's tracks know nothing of the step: their residuals do
    sigma = np.sqrt(displaced.covariance[displaced.valid][:, 0])
    assert np.median(sigma) > 5.0
    # nothing was made farther out: nothing is invented there
    assert not lut.displaced[1].valid.any()
    assert lut.displaced[1].sample.generated.sum() == 0
    write_table(lut, tmp_path / "pion.lut.npz")
    again = read_table(tmp_path / "pion.lut.npz")
    again.validate()
    for part, back in zip(lut.parts, again.parts, strict=True):
        assert np.array_equal(part.sample.library, back.sample.library)
        assert np.array_equal(part.sample.found, back.sample.found)


def test_too_small_a_sample_says_so():
    cells = Cells(BINNING, BZ)
    cells.add(toy(100)[0])
    with pytest.raises(LutError, match="no cell has 100 tracks"):
        build_sample_luts(cells)
    empty = Cells(BINNING, BZ)
    with pytest.raises(LutError, match="no reconstructed particle"):
        build_sample_luts(empty)


def test_libraries_take_two_bytes_a_number(tmp_path):
    cells = Cells(BINNING, BZ)
    cells.add(toy(4000)[0])
    lut = build_sample_luts(cells)["pion"]
    exact = lut.sample.library.astype(np.float64) * (1 + 1e-4)
    assert library_of(exact) == pytest.approx(exact, rel=2.0**-11)
    write_table(lut, tmp_path / "pion.lut.npz")
    with zipfile.ZipFile(tmp_path / "pion.lut.npz") as archive:
        header = json.loads(archive.read("header.json"))
        assert header["sample"]["library_type"] == header["arrays"]["library"]["dtype"] == "<f2"
        assert archive.getinfo("library.npy").file_size < 10 * len(lut.sample.library) + 200
    # what does not fit is kept in single precision, nothing becomes infinite
    far = lut.sample.library.copy()
    far[3, 2] = 1e6
    write_table(replace(lut, sample=replace(lut.sample, library=library_of(far))), tmp_path / "far.lut.npz")
    assert read_table(tmp_path / "far.lut.npz").sample.library[3, 2] == 1e6


def test_libraries_of_older_files_are_read(tmp_path):
    cells = Cells(BINNING, BZ)
    cells.add(toy(4000)[0])
    lut = build_sample_luts(cells)["pion"]
    single = lut.sample.library * np.float32(1.0001)
    write_table(replace(lut, sample=replace(lut.sample, library=single)), tmp_path / "old.lut.npz")
    with zipfile.ZipFile(tmp_path / "old.lut.npz") as archive:
        assert "library_type" not in json.loads(archive.read("header.json"))["sample"]
    assert np.array_equal(read_table(tmp_path / "old.lut.npz").sample.library, single)


def test_bits_of_the_content_survive_the_file(tmp_path):
    cells = Cells(BINNING, BZ)
    cells.add(toy(4000)[0])
    lut = build_sample_luts(cells)["pion"]
    write_table(lut, tmp_path / "pion.lut.npz")
    again = read_table(tmp_path / "pion.lut.npz")
    write_table(again, tmp_path / "again.lut.npz")
    for name in ("generated", "found", "used", "origin", "library", "library_start"):
        assert np.array_equal(getattr(lut.sample, name), getattr(again.sample, name)), name
    assert again.sample.pull == pytest.approx(lut.sample.pull, rel=1e-6, nan_ok=True)
    assert again.sample.categories == ("any", "track")
    assert "full simulation" in again.info()
