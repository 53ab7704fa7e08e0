"""Mistakes that tables are known to be made with; each has a test that would have caught it, here or elsewhere.

Tables from full simulation:

* the average of reported covariances is taken for the resolution; biases, pulls and tails are lost:
  `test_standard_deviations_within_their_errors`, `test_correlations_biases_and_tails` and
  `test_tracking_with_the_table_is_the_toy_again` of ``test_sample_closure``;
* resolutions of all tracks beside efficiencies of primaries: `test_resolutions_and_efficiencies_are_of_the_same_...`;
* only the pion's table is made: `test_every_species_gets_its_own_table`;
* charges are mixed without a mirror: `test_negative_particles_are_mirrored` of ``test_sample_closure``;
* edges of the pt axis off by half a bin: `test_cells_are_where_their_particles_are`;
* the list of found labels begins with zeros, and particle 0 always counts: `test_tracks_find_their_particles_by_label`
  of ``unit/test_sample_cells``;
* time of the matching quadratic in the number of tracks: `test_matching_takes_time_in_proportion`;
* no axis of multiplicity, one number for all its bins: `test_efficiency_depends_on_multiplicity`;
* the maker's and the reader's names differ: `test_a_card_finds_the_tables_of_a_build`;
* valid at |eta| < 0.3 only: `test_tables_are_valid_wherever_tracks_are`;
* multiplicity and second efficiency of the ALICE file 0, skipped bins not written, so that later ones shift:
  `test_holes_do_not_shift_what_comes_after_them`, `test_a_native_table_written_for_alice` of ``unit/test_lut_alice``;
* the z resolution is drawn from the element (z, y): `test_the_z_resolution_is_that_of_z`.

Tables of a layout (analytic tracker), in ``test_tracker`` and ``test_tracker_tables`` unless told otherwise:

* the pion's mass for all species: `test_every_species_has_its_own_mass`, `test_tables_of_all_species`;
* charge 2 with |q| = 1: `test_charge_two`;
* a random number decides about efficiency, is frozen in as a hole, and inefficiency counts twice:
  `test_efficiency_falls_with_multiplicity_and_has_no_randomness`, `test_tables_of_all_species` (holes),
  `test_layer_efficiency_counts_once`;
* multiplicity is not passed on, in the barrel or beyond it: `test_efficiency_falls_with_multiplicity_and_has_no_...`,
  `test_forward_efficiency_depends_on_multiplicity`;
* the number of hits asked for is one off: `test_layer_efficiency_counts_once`;
* the field in whatever unit: `test_the_field_is_in_tesla`.
"""

import struct
import time
from dataclasses import fields, replace

import numpy as np
import pytest
import uproot
from toy_sample import BZ, toy

from flashdet.cli.main import execute
from flashdet.io.aod_tables import PHYSICAL_PRIMARY, TRACK_PARAMETERS, pack_covariance
from flashdet.io.samples.aod import read_aod
from flashdet.layout import read_layout
from flashdet.lut.alice import read_alice, write_alice
from flashdet.lut.axis import Axis
from flashdet.lut.build import build_sample_luts
from flashdet.lut.catalog import load_lut
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.content import EXTRAPOLATED, MEASURED, POOLED
from flashdet.lut.files import write_table
from flashdet.lut.plot import dca_z_resolution
from flashdet.lut.sample import SampleChunk, SampleParticles, SampleTracks, match
from flashdet.lut.tracker import solve
from flashdet.species import SPECIES_MASS

ETA = Axis("eta", "", 4, -1.0, 1.0, "linear", "reject", "linear")
PT = Axis("pt", "GeV", 5, 0.2, 10.0, "log", "clamp", "linear")


def built(*chunks, **binning):
    cells = Cells(Binning(**{"eta": ETA, "pt": PT, "keep": 400} | binning), BZ)
    for chunk in chunks:
        cells.add(chunk)
    return build_sample_luts(cells)


def test_every_species_gets_its_own_table():
    """Not only pions, and not one table for all."""
    luts = built(toy(8000)[0], toy(8000, first=10**5, pdg=2212, bias=[0, 0, 0, 0, 0.9])[0])
    assert sorted(luts) == ["pion", "proton"]
    assert (luts["proton"].pdg, luts["proton"].mass) == (2212, SPECIES_MASS[4])
    shift = [(lut.sample.bias[..., 4] / np.sqrt(lut.covariance[..., 14])).mean() for lut in luts.values()]
    assert shift == pytest.approx([-0.2, 0.9], abs=0.1)


def test_efficiency_depends_on_multiplicity():
    """Half of the tracks of busy events are lost: the table says so, in the bin of busy events."""
    busy = toy(10_000, first=10**6)[0]
    kept = busy.tracks.event % 2 == 0
    tracks = replace(busy.tracks, **{n: getattr(busy.tracks, n)[kept] for n in busy.tracks.__dataclass_fields__})
    busy = replace(busy, tracks=tracks, particles=replace(busy.particles, nch=np.full(10_000, 3000.0)))
    lut = built(toy(10_000)[0], busy, nch=Axis("nch", "", 4, 1.0, 1e4, "log"))["pion"]
    assert lut.efficiency[3] / lut.efficiency[1] == pytest.approx(0.5, abs=0.12)
    assert (lut.sample.generated.sum(axis=(1, 2)) == [0, 10_000, 0, 10_000]).all()
    # multiplicities without events: neither a loss of all tracks nor taken for measured
    middle = 0.5 * (lut.efficiency[1] + lut.efficiency[3])
    assert lut.efficiency[2] == pytest.approx(middle)
    assert np.array_equal(lut.efficiency[0], lut.efficiency[1])
    assert [set(np.unique(marks)) for marks in lut.sample.efficiency_origin] == [
        {EXTRAPOLATED},
        {MEASURED},
        {POOLED},
        {MEASURED},
    ]


def test_cells_are_where_their_particles_are():
    """No half a bin of shift: particles of one momentum fill the cell that holds it, and only that."""
    for value in (PT.centers[2], PT.edges[2] * 1.001, PT.edges[3] * 0.999):
        chunk = toy(3000, pt=(value, value * 1.0001))[0]
        cells = Cells(Binning(eta=ETA, pt=PT, keep=400), BZ)
        cells.add(chunk)
        assert np.flatnonzero(cells.generated.sum(axis=(0, 1, 2, 3, 4))).tolist() == [2]


def test_holes_do_not_shift_what_comes_after_them(tmp_path):
    """A table with empty cells goes to the ALICE format and back with every number in its place."""
    chunk = toy(16_000)[0]
    p, t = chunk.particles, chunk.tracks
    dead = np.arcsinh(p.pz / np.hypot(p.px, p.py)) > 0.5
    kept = ~dead[t.event]
    chunk = replace(chunk, tracks=replace(t, **{n: getattr(t, n)[kept] for n in t.__dataclass_fields__}))
    lut = built(chunk)["pion"]
    assert not lut.valid[0, 3].any()
    assert lut.valid[0, :3].all()
    write_alice(lut, tmp_path / "lutCovm.pi.dat")
    assert (tmp_path / "lutCovm.pi.dat").stat().st_size == 80 + 312 * 4 * 5
    again = read_alice(tmp_path / "lutCovm.pi.dat")
    assert np.array_equal(again.valid, lut.valid)
    assert again.covariance[lut.valid] == pytest.approx(lut.covariance[lut.valid], rel=1e-6)
    alive = np.broadcast_to(lut.valid[0], lut.efficiency.shape)
    assert again.efficiency[alive] == pytest.approx(lut.efficiency[alive], rel=1e-6)
    assert np.array_equal(lut.efficiency[:, 3], np.zeros((1, 5)))  # measured: nothing is found there


def test_the_z_resolution_is_that_of_z():
    lut = built(toy(8000)[0])["pion"]
    assert dca_z_resolution(lut) == pytest.approx(1e4 * np.sqrt(lut.covariance[0, ..., 2]))


def write_ao2d(path, chunk, is_primary):
    """A chunk as the tables of an AO2D file; one collision."""
    p, t = chunk.particles, chunk.tracks
    zero = np.zeros(len(p.pdg), np.int32)
    momenta = {
        f"f{a}{b}": getattr(p, a.lower() + b) for a, b in (*(("P", c) for c in "xyz"), *(("V", c) for c in "xyz"))
    }
    momenta = {name: values.astype(np.float32) for name, values in momenta.items()}
    flags = np.where(is_primary, PHYSICAL_PRIMARY, 0).astype(np.uint8)
    tables = {
        "O2mcparticle_001": {"fIndexMcCollisions": zero, "fPdgCode": p.pdg, "fFlags": flags, **momenta},
        "O2track": {n: t.params[:, i].astype(np.float32) for i, n in enumerate(TRACK_PARAMETERS)},
        "O2trackcov": pack_covariance(t.cov),
        "O2mctracklabel": {"fIndexMcParticles": t.event.astype(np.int32)},
    }
    with uproot.recreate(path) as file:
        for name, columns in tables.items():
            file.mktree(f"DF_1/{name}", {k: v.dtype for k, v in columns.items()})
            file[f"DF_1/{name}"].extend(columns)


def test_resolutions_and_efficiencies_are_of_the_same_particles(tmp_path):
    """Secondaries count in both or in neither: here their residuals are four times as wide."""
    primary, secondary = toy(6000)[0], toy(6000, first=6000, tail_fraction=1.0)[0]
    chunk = SampleChunk(
        "x",
        *(
            kind(
                *(
                    np.concatenate([getattr(getattr(c, table), f.name) for c in (primary, secondary)])
                    for f in fields(kind)
                )
            )
            for kind, table in ((SampleParticles, "particles"), (SampleTracks, "tracks"))
        ),
    )
    write_ao2d(tmp_path / "a.root", chunk, np.arange(12_000) < 6000)
    binning = {"eta": ETA, "pt": PT, "keep": 1000}
    sums = []
    for secondaries in (False, True):
        cells = Cells(Binning(**binning), BZ)
        for piece in read_aod(tmp_path / "a.root", secondaries):
            cells.add(piece)
        sums.append(cells)
    assert [cells.generated.sum() for cells in sums] == [6000, 12_000]
    assert [cells.used.sum() for cells in sums] == [len(primary.tracks.label), len(chunk.tracks.label)]
    ours, theirs = build_sample_luts(sums[0])["pion"], built(primary, keep=1000)["pion"]
    assert np.array_equal(ours.sample.generated, theirs.sample.generated)
    ratio = np.sqrt(ours.covariance[..., [0, 2, 5, 9, 14]] / theirs.covariance[..., [0, 2, 5, 9, 14]])
    assert np.median(ratio) == pytest.approx(1.0, abs=1e-4)  # float32 on disk
    assert ratio == pytest.approx(1.0, abs=0.05)  # a track at the cut of the estimator, or at the edge of a cell
    both = build_sample_luts(sums[1])["pion"]
    assert both.sample.beyond.mean() > 3.0 * ours.sample.beyond.mean()


def test_matching_takes_time_in_proportion():
    """Sixteen times the tracks of an event: a search through lists would take 256 times as long."""

    def seconds(n):
        chunk = SampleChunk("x", *_numbered(n))
        best = np.inf
        for _ in range(5):
            start = time.process_time()
            row = match(chunk)
            best = min(best, time.process_time() - start)
        assert np.array_equal(row, np.arange(n))
        return best

    seconds(1000)  # compiles
    assert seconds(1_280_000) < 100 * seconds(80_000)  # 36: tables outgrow the cache


def _numbered(n):
    """Particles of one event and a track of each."""
    zero, label, nothing = np.zeros(n, np.int64), np.arange(n), np.zeros(n)
    tracks = SampleTracks(zero, label, zero, np.zeros((n, 7)), np.zeros((n, 1)))
    return SampleParticles(zero, label, np.full(n, 211, np.int32), *(nothing,) * 7), tracks


CARD = """
schema_version: 1
detector: test
magnetic_field: 2 T
luts: luts
stages: [{kind: propagate}, {kind: tracking, smearing: library}]
"""


def test_a_card_finds_the_tables_of_a_build(tmp_path):
    """What `lut build sample` writes has the names by which a card looks for it."""
    chunks = toy(8000)[0], toy(8000, first=10**5, pdg=2212)[0]
    for i, chunk in enumerate(chunks):
        write_ao2d(tmp_path / f"{i}.root", chunk, np.ones(8000, np.bool_))
    files = [str(tmp_path / f"{i}.root") for i in range(2)]
    axes = ["--eta", "4:-1:1", "--pt", "5:0.2:10:log", "--field", "2 T"]
    assert execute(["lut", "build", "sample", *files, *axes, "-o", str(tmp_path / "luts")]) == 0
    (tmp_path / "card.yaml").write_text(CARD)
    gun = "gun:pdg=211/2212,pt=0.3..9,eta=-0.9..0.9,n=10,particles=10"
    command = ["sim", gun, "--card", str(tmp_path / "card.yaml"), "-o", str(tmp_path / "o.aod.root"), "--quiet"]
    assert execute(command) == 0


def test_tables_are_valid_wherever_tracks_are():
    eta = Axis("eta", "", 16, -4.0, 4.0, "linear", "reject", "linear")
    lut = built(toy(60_000, eta_max=4.0)[0], eta=eta)["pion"]
    assert lut.valid.all()
    assert (lut.efficiency > 0.3).all()


def test_forward_efficiency_depends_on_multiplicity():
    """At eta = 3 only discs are hit; wrong hits there make tracks of busy events fewer, too."""
    for eta in (0.0, 3.0):
        efficiency = solve(read_layout("alice3_v3"), "pion", 0.3, eta, [1.0, 3000.0, 30_000.0]).efficiency
        assert (np.diff(efficiency) < -1e-4).all()


def test_the_field_is_in_tesla(tmp_path):
    """In the table, in the ALICE file made of it, and in what is read back: 2 T, not 20 kG."""
    lut = built(toy(8000)[0])["pion"]
    write_alice(lut, tmp_path / "lutCovm.pi.dat")
    write_table(lut, tmp_path / "pion.lut.npz")
    content = (tmp_path / "lutCovm.pi.dat").read_bytes()
    assert struct.unpack_from("<iiff", content) == (20210801, 211, pytest.approx(SPECIES_MASS[2]), 2.0)
    for name in ("lutCovm.pi.dat", "pion.lut.npz"):
        assert load_lut(str(tmp_path / name)).field == 2.0
