"""Readers of full simulation: the same toy through CSV, Parquet and ROOT gives the same sums; wrong input is told."""

import numpy as np
import pandas as pd
import pytest
import uproot
from toy_sample import BZ, toy

from flashdet.errors import CardError, InputError
from flashdet.io.samples.flat import pair_files, read_flat
from flashdet.io.samples.mapping import read_map
from flashdet.io.samples.parameters import charged_density, local_of_perigee
from flashdet.lut.axis import Axis
from flashdet.lut.cells import Binning, Cells

BINNING = Binning(
    eta=Axis("eta", "", 4, -1.0, 1.0, "linear", "reject", "linear"),
    pt=Axis("pt", "GeV", 4, 0.2, 10.0, "log", "clamp", "linear"),
    keep=100,
)
COVARIANCE = [f"c{i}{j}" for i in range(5) for j in range(i + 1)]
LOCAL = ["x", "alpha", "y", "z", "snp", "tgl", "q_over_pt"]
MAP = """\
schema_version: 1
length: {length}
momentum: GeV
rows: 700
particles:
  file: "*.particles.{suffix}"
  tree: particles
  event: event
  label: [id, sub]
  pdg: pdg
  momentum: [px, py, pz]
  vertex: [vx, vy, vz]
tracks:
  file: "*.tracks.{suffix}"
  tree: tracks
  event: event
  label: [id, sub]
  parameters: local
  columns: [x, alpha, y, z, snp, tgl, q_over_pt]
  covariance: [{covariance}]
"""


def frames(chunk, scale=1.0):
    """Particles and tracks as tables, with lengths in other units."""
    p, t = chunk.particles, chunk.tracks
    particles = pd.DataFrame(
        {"event": p.event, "id": p.label, "sub": 0, "pdg": p.pdg, "px": p.px, "py": p.py, "pz": p.pz}
    )
    for name in ("vx", "vy", "vz"):
        particles[name] = getattr(p, name) / scale
    tracks = pd.DataFrame({"event": t.event, "id": t.label, "sub": 0})
    unit = {"x": scale, "y": scale, "z": scale}
    for i, name in enumerate(LOCAL):
        tracks[name] = t.params[:, i] / unit.get(name, 1.0)
    rows, columns = np.tril_indices(5)
    sizes = np.array([scale, scale, 1.0, 1.0, 1.0])
    for k, name in enumerate(COVARIANCE):
        tracks[name] = t.cov[:, k] / sizes[rows[k]] / sizes[columns[k]]
    return particles, tracks


def write(folder, chunk, suffix, scale=1.0):
    tables = dict(zip(("particles", "tracks"), frames(chunk, scale), strict=True))
    paths = []
    for name, table in tables.items():
        path = folder / f"toy.{name}.{suffix}"
        if suffix == "csv":
            table.to_csv(path, index=False)
        elif suffix == "parquet":
            table.to_parquet(path)
        else:
            with uproot.recreate(path) as file:
                file.mktree(name, {c: table[c].dtype for c in table})
                file[name].extend({c: table[c].to_numpy() for c in table})
        paths.append(path)
    mapping = folder / "map.yaml"
    length = {1.0: "cm", 0.1: "mm"}[scale]
    mapping.write_text(MAP.format(suffix=suffix, length=length, covariance=", ".join(COVARIANCE)))
    return paths, read_map(mapping)


def sums(chunks):
    cells = Cells(BINNING, BZ)
    for chunk in chunks:
        cells.add(chunk)
    cells.settle()
    return cells


@pytest.mark.parametrize("suffix", ["csv", "parquet", "root"])
def test_formats_give_the_same_sums(tmp_path, suffix):
    chunk, _ = toy(2000)
    paths, mapping = write(tmp_path, chunk, suffix)
    pairs = pair_files(paths[::-1], mapping)
    assert pairs == [tuple(paths)]
    pieces = list(read_flat(*pairs[0], mapping))
    assert len(pieces) > 2  # read in pieces
    ours, direct = sums(pieces), sums([chunk])
    assert np.array_equal(ours.generated, direct.generated)
    assert np.array_equal(ours.found, direct.found)
    assert ours.counts == direct.counts
    assert np.array_equal(ours.used, direct.used)


def test_units_are_applied(tmp_path):
    chunk, _ = toy(300)
    paths, mapping = write(tmp_path, chunk, "csv", 0.1)
    pieces = list(read_flat(*pair_files(paths, mapping)[0], mapping))
    params, cov = (np.concatenate([getattr(piece.tracks, name) for piece in pieces]) for name in ("params", "cov"))
    assert params == pytest.approx(chunk.tracks.params, rel=1e-12, abs=1e-15)
    assert cov == pytest.approx(chunk.tracks.cov, rel=1e-12, abs=1e-20)
    assert np.concatenate([p.particles.vz for p in pieces]) == pytest.approx(chunk.particles.vz, rel=1e-12)


def test_trees_with_one_vector_per_event(tmp_path):
    import awkward as ak

    chunk, _ = toy(600)
    particles, tracks = frames(chunk)
    for table in (particles, tracks):
        table["event"] //= 10
    particles["id"], tracks["id"] = chunk.particles.event % 10, chunk.tracks.event % 10
    paths = []
    for name, table in (("particles", particles), ("tracks", tracks)):
        counts = np.bincount(table["event"], minlength=60)
        path = tmp_path / f"toy.{name}.root"
        columns = {c: ak.unflatten(table[c].to_numpy(), counts) for c in table if c != "event"}
        with uproot.recreate(path) as file:
            file[name] = {"event": np.arange(60), **columns}
        paths.append(path)
    (tmp_path / "map.yaml").write_text(MAP.format(suffix="root", length="cm", covariance=", ".join(COVARIANCE)))
    mapping = read_map(tmp_path / "map.yaml")
    pieces = list(read_flat(*paths, mapping))
    assert np.concatenate([p.particles.pdg for p in pieces]).tolist() == chunk.particles.pdg.tolist()
    assert np.array_equal(np.concatenate([p.tracks.params for p in pieces]), chunk.tracks.params)
    assert np.array_equal(sums(pieces).found, sums([chunk]).found)


def test_unsorted_tables_are_refused(tmp_path):
    chunk, _ = toy(50)
    paths, mapping = write(tmp_path, chunk, "csv")
    table = pd.read_csv(paths[1])
    table.iloc[::-1].to_csv(paths[1], index=False)
    with pytest.raises(InputError, match="not sorted by event"):
        list(read_flat(*paths, mapping))


def test_missing_columns_and_partners_are_told(tmp_path):
    chunk, _ = toy(50)
    paths, mapping = write(tmp_path, chunk, "csv")
    with pytest.raises(InputError, match="no partner"):
        pair_files(paths[:1], mapping)
    with pytest.raises(InputError, match="fits none of the mapping's patterns"):
        pair_files([*paths, tmp_path / "other.txt"], mapping)
    pd.read_csv(paths[0]).drop(columns="pdg").to_csv(paths[0], index=False)
    with pytest.raises(InputError, match="pdg"):
        list(read_flat(*paths, mapping))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("length: cm", "length: inch", "map.yaml:2"),
        ("columns: [x, ", "columns: [", "7 columns, not 6"),
        (
            "  event: event\n  label: [id, sub]\n  pdg",
            "  evnt: event\n  label: [id, sub]\n  pdg",
            "did you mean 'event'",
        ),
        ("  pdg: pdg\n", "", "missing"),
    ],
)
def test_wrong_mappings_are_told(tmp_path, old, new, message):
    text = MAP.format(suffix="csv", length="cm", covariance=", ".join(COVARIANCE))
    assert old in text
    (tmp_path / "map.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(CardError, match=message):
        read_map(tmp_path / "map.yaml")


def test_shipped_mappings_can_be_read():
    mapping = read_map("acts_root")
    assert mapping.tracks.zero_is_fake
    with pytest.raises(CardError, match="acts_root"):
        read_map("nothing")


def test_perigee_parameters_and_their_covariance():
    """The covariance is that of many smeared perigees."""
    rng = np.random.default_rng(5)
    center = np.array([0.02, 1.5, 0.7, 0.9, -0.5])
    sigma = np.array([1e-3, 2e-3, 1e-3, 2e-3, 1e-3])
    smeared = center + sigma * rng.standard_normal((20000, 5))
    cov = np.zeros((1, 15))
    cov[0, [0, 2, 5, 9, 14]] = sigma**2
    params, moved = local_of_perigee(center[None], cov)
    assert params[0] == pytest.approx([0.0, 0.7, 0.02, 1.5, 0.0, 1 / np.tan(0.9), -0.5 / np.sin(0.9)])
    many, _ = local_of_perigee(smeared, np.repeat(cov, 20000, axis=0))
    found = np.cov(many[:, 5:], rowvar=False)
    assert moved[0, [9, 13, 14]] == pytest.approx([found[0, 0], found[1, 0], found[1, 1]], rel=0.05)


def test_multiplicity_counts_charged_particles_of_the_event():
    event, pdg = np.array([1, 1, 1, 2]), np.array([211, 22, -321, 11], np.int32)
    one, zero = np.ones(4), np.zeros(4)
    assert charged_density(event, pdg, one, zero, np.array([0.1, 0.1, 3.0, 0.0])).tolist() == [1.0, 1.0, 1.0, 1.0]
