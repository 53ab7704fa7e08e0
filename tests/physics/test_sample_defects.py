"""Mistakes that tables from full simulation are known to be made with; each test would have caught one."""

from dataclasses import replace

import numpy as np
import pytest
from toy_sample import BZ, toy

from flashdet.lut.alice import read_alice, write_alice
from flashdet.lut.axis import Axis
from flashdet.lut.build import build_sample_luts
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.content import EXTRAPOLATED, MEASURED, POOLED
from flashdet.lut.plot import dca_z_resolution
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
    again = read_alice(tmp_path / "lutCovm.pi.dat")
    assert np.array_equal(again.valid, lut.valid)
    assert again.covariance[lut.valid] == pytest.approx(lut.covariance[lut.valid], rel=1e-6)
    alive = np.broadcast_to(lut.valid[0], lut.efficiency.shape)
    assert again.efficiency[alive] == pytest.approx(lut.efficiency[alive], rel=1e-6)
    assert np.array_equal(lut.efficiency[:, 3], np.zeros((1, 5)))  # measured: nothing is found there


def test_the_z_resolution_is_that_of_z():
    lut = built(toy(8000)[0])["pion"]
    assert dca_z_resolution(lut) == pytest.approx(1e4 * np.sqrt(lut.covariance[0, ..., 2]))
