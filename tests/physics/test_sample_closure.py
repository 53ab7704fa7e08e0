"""Tables built from a toy full simulation reproduce the toy, and so does the tracking stage with them."""

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats
from toy_sample import BIAS, BZ, CORRELATION, REPORTED, TAIL_FRACTION, TAIL_WIDTH, efficiency, moved, sigmas, toy
from tracking_tables import deviations, offered, tracked

from flashdet.lut.axis import Axis
from flashdet.lut.build import BuildOptions, build_sample_luts
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.checks import is_positive_definite
from flashdet.lut.content import EXTRAPOLATED, HOLE, MEASURED, POOLED
from flashdet.lut.files import read_table, write_table
from flashdet.lut.sample import SampleTracks
from flashdet.testing import make_events

DIAGONAL = [0, 2, 5, 9, 14]
AXES = {
    "eta": Axis("eta", "", 6, -1.0, 1.0, "linear", "reject", "linear"),
    "pt": Axis("pt", "GeV", 8, 0.2, 10.0, "log", "clamp", "linear"),
}
"""Coarse on purpose: sigma changes by a third within a cell."""


def filled(n=120_000, binning=None, **options):
    cells = Cells(binning or Binning(**AXES, keep=2500), BZ)
    cells.start_input("toy")
    for first in range(0, n, 40_000):
        cells.add(toy(min(40_000, n - first), first, **options)[0])
    return cells


@pytest.fixture(scope="module")
def lut():
    return build_sample_luts(filled())["pion"]


def events(chunk):
    """The toy's particles as the tracker sees them."""
    p = chunk.particles
    n, pt = len(p.pdg), np.hypot(p.px, p.py)
    vertex = np.stack([p.vx, p.vy, p.vz, np.zeros(n)], -1)
    batch = make_events(
        p.pdg, pt, np.arcsinh(p.pz / pt), np.arctan2(p.py, p.px), vertex=vertex, sizes=[100] * (n // 100)
    )
    return offered(batch, bz=BZ)


def centers(lut):
    return np.meshgrid(lut.covariance_axes[1].centers, lut.covariance_axes[2].centers, indexing="ij")


def pulls_of_cells(lut, eta, pt, found, relative_error=0.0):
    """(n_eta, n_pt) deviations of found particles from the toy's efficiency, in standard deviations.

    Each particle counts with its own efficiency, so that the cells' width plays no role; `relative_error` is that of
    another binomial number, in units of the error of this one.
    """
    axes = lut.efficiency_axes[1:]
    cell = tuple(np.searchsorted(axis.edges, v, side="right") - 1 for axis, v in zip(axes, (eta, pt), strict=True))
    chance = efficiency(eta, pt)
    excess, variance = np.zeros([axis.n_bins for axis in axes]), np.zeros([axis.n_bins for axis in axes])
    np.add.at(excess, cell, found - chance)
    np.add.at(variance, cell, chance * (1.0 - chance) * (1.0 + relative_error**2))
    return excess / np.sqrt(variance)


def assert_normal(pull):
    """Not more cells beyond three standard deviations than chance explains in so many cells, and no common trend."""
    n = pull.size
    beyond = int((abs(pull) > 3.0).sum())
    assert stats.binom.sf(beyond - 1, n, 2 * stats.norm.sf(3.0)) > 1e-3, pull
    assert 1e-4 < stats.chi2.sf((pull**2).sum(), n) < 1 - 1e-4
    assert abs(pull.mean()) < 4.0 / np.sqrt(n)


def test_efficiency_within_its_errors(lut):
    drawn = [toy(40_000, first)[1] for first in range(0, 120_000, 40_000)]
    eta, pt, found = (np.concatenate([part[i] for part in drawn]) for i in (0, 1, 3))
    assert_normal(pulls_of_cells(lut, eta, pt, found))
    # and the table has just these counts, with errors that are those of the counts
    measured = lut.efficiency[0] * lut.sample.generated[0]
    assert measured == pytest.approx(lut.sample.found[0][0], abs=1e-6)
    p, n = lut.efficiency[0], lut.sample.generated[0]
    assert lut.sample.efficiency_error()[0] == pytest.approx(np.sqrt(p * (1 - p) / n), rel=0.05, abs=1e-3)


@pytest.mark.parametrize("smearing", ["gaussian", "library"])
def test_efficiency_of_the_tracking_stage_closes_in_each_cell(lut, smearing):
    n = 40_000
    chunk, (eta, pt, _, _, _) = toy(n, first=2 * 10**6)
    track, _, _ = tracked(events(chunk), [lut], bz=BZ, smearing=smearing)
    found = np.zeros(n, np.bool_)
    found[100 * track.event_index + track["particle_index"]] = True
    # the table comes from three times as many particles; where its cells are wide, it follows the slope linearly
    pull = pulls_of_cells(lut, eta, pt, found, relative_error=np.sqrt(n / 120_000))
    assert_normal(pull[:, 1:])


def test_standard_deviations_within_their_errors(lut):
    sigma = np.sqrt(lut.covariance[0][..., DIAGONAL])
    pull = (sigma / sigmas(*centers(lut)) - 1.0) / lut.sample.sigma_error[0]
    # the 5 % of wide vectors that hide in the core make it 0.4 % wider, a third of the error
    assert abs(pull.mean(axis=(0, 1)) - 0.3).max() < 0.8
    assert (pull.std(axis=(0, 1)) < 1.5).all()
    assert (abs(sigma / sigmas(*centers(lut)) - 1.0) < 0.08).all()
    # the average of what was reported would be 20 % too small
    reported = np.sqrt(lut.sample.reported[0][..., DIAGONAL])
    assert reported / sigma == pytest.approx(REPORTED, rel=0.12)
    assert lut.sample.pull.mean() == pytest.approx(1 / REPORTED, rel=0.01)


def test_correlations_biases_and_tails(lut):
    cov = lut.covariance.reshape(-1, 15)
    dense = np.zeros((len(cov), 5, 5))
    dense[:, *np.tril_indices(5)] = cov
    sigma = np.sqrt(cov[:, DIAGONAL])
    correlation = (dense / (sigma[:, :, None] * sigma[:, None, :])).mean(axis=0)
    assert np.tril(correlation, -1) == pytest.approx(np.tril(CORRELATION, -1), abs=0.01)
    assert (lut.sample.bias.reshape(-1, 5) / sigma).mean(axis=0) == pytest.approx(BIAS, abs=0.02)
    fraction, width = lut.sample.tail.reshape(-1, 2).mean(axis=0)
    assert fraction == pytest.approx(TAIL_FRACTION, abs=0.005)
    assert width == pytest.approx(TAIL_WIDTH, rel=0.04)
    assert is_positive_definite(cov).all()


def test_negative_particles_are_mirrored():
    """Without the mirror biases of y and q/pt cancel, and correlations with z and tgl vanish."""
    lut = build_sample_luts(filled(40_000, bias=[0.5, 0.3, 0, 0, -0.4]))["pion"]
    shift = lut.sample.bias / np.sqrt(lut.covariance[..., DIAGONAL])
    assert shift.mean(axis=(0, 1, 2)) == pytest.approx([0.5, 0.3, 0.0, 0.0, -0.4], abs=0.03)


@pytest.mark.parametrize("smearing", ["gaussian", "tails", "library"])
def test_tracking_with_the_table_is_the_toy_again(lut, smearing, tmp_path):
    path = tmp_path / "pion.lut.npz"
    write_table(lut, path)
    table = read_table(path)
    chunk, (eta, _, _, found, noise) = toy(40_000, first=10**6)
    track, truth, _ = tracked(events(chunk), [table], bz=BZ, smearing=smearing)
    mirror = np.where(truth["charge"] > 0, 1.0, -1.0)[:, None] ** np.array([1, 0, 1, 0, 1])
    ours = deviations(track, truth) * mirror / sigmas(truth["eta"], truth["pt"])
    assert track.n_rows / len(eta) == pytest.approx(found.mean(), abs=0.012)
    distance = [stats.ks_2samp(ours[:, i], noise[found][:, i]).statistic for i in range(5)]
    # a tenth of the tracks is at the edges of the axes, where tables cannot follow sigma
    limit = {"gaussian": 0.05, "tails": 0.02, "library": 0.02}[smearing]
    assert max(distance) < limit
    wide = (abs(ours - BIAS) > 6).any(axis=1).mean()
    expected = (abs(noise[found] - BIAS) > 6).any(axis=1).mean()
    if smearing == "gaussian":
        assert wide < 0.1 * expected
    else:
        assert wide == pytest.approx(expected, rel=0.15)


@pytest.mark.parametrize("smearing", ["gaussian", "library"])
def test_each_production_radius_closes(smearing):
    """Efficiency and resolution of displaced particles: the toy loses 40 % of them and sees the rest as before."""
    kept = 0.6

    def sample(n, first, arc):
        chunk, (eta, pt, _, found, _) = toy(n, first=first)
        if arc == 0.0:
            return chunk, eta, pt, found
        alive = np.random.default_rng(first).random(n) < kept
        tracks = SampleTracks(
            *(getattr(chunk.tracks, field.name)[alive[found]] for field in fields(SampleTracks))
        )  # fmt: skip
        return moved(replace(chunk, tracks=tracks), arc), eta, pt, found & alive

    radius = Axis("radius", "cm", 2, 0.0, 40.0, "linear", "reject", "none")
    cells = Cells(Binning(**AXES, radius=radius, keep=2500), BZ)
    n = 40_000
    for k, arc in enumerate((0.0, 25.0)):
        cells.add(sample(n, k * n, arc)[0])
    lut = build_sample_luts(cells)["pion"]
    near, far = lut.parts
    assert np.median(far.efficiency / near.efficiency) == pytest.approx(kept, abs=0.02)
    sigma = [np.sqrt(part.covariance[..., DIAGONAL]) for part in lut.parts]
    assert np.median(sigma[1] / sigma[0], axis=(0, 1, 2)) == pytest.approx(np.ones(5), abs=0.05)
    for k, (arc, scale) in enumerate(((0.0, 1.0), (25.0, kept))):
        chunk, eta, pt, _ = sample(n, (10 + k) * n, arc)
        track, truth, counts = tracked(events(chunk), [lut], bz=BZ, smearing=smearing)
        assert not any(name.startswith("out of range: radius") for name in counts)
        expected = scale * efficiency(eta, pt)
        sigma_sum = np.sqrt(2.0 * (expected * (1 - expected)).sum())
        # cells at low pt are wide: half a per cent
        assert track.n_rows == pytest.approx(expected.sum(), abs=4 * sigma_sum + 0.005 * n)
        assert np.hypot(truth["vx"], truth["vy"]).mean() == pytest.approx(arc, abs=0.8)


def test_sparse_cells_are_filled_and_marked():
    """A smooth detector is reproduced where cells are empty, and nothing is invented where no track ever was."""
    binning = Binning(**AXES, keep=2500)
    cells = filled(60_000, binning)
    thin = build_sample_luts(cells)["pion"]
    n_pt = binning.pt.n_bins
    gone = [2 * n_pt + 3, 3 * n_pt + 4, *range(5 * n_pt, 6 * n_pt)]
    pion = 2 * 6 * n_pt
    keep = ~np.isin(cells.cell - pion, gone)
    cells.rows, cells.cell, cells.priority = cells.rows[keep], cells.cell[keep], cells.priority[keep]
    full, lut = thin, build_sample_luts(cells)["pion"]
    origin = lut.sample.origin[0]
    assert origin[2, 3] == origin[3, 4] == POOLED
    assert (origin[5] == HOLE).all()
    assert not lut.valid[0, 5].any()
    assert (origin[:5] == MEASURED).sum() == 5 * n_pt - 2
    for e, t in ((2, 3), (3, 4)):
        sigma, truth = (np.sqrt(table.covariance[0, e, t][DIAGONAL]) for table in (lut, full))
        assert sigma == pytest.approx(truth, rel=0.10)  # 1000 tracks per cell, cells wide by 63 % in pt
    lut.validate()
    few = build_sample_luts(filled(3000, binning), options=BuildOptions(fewest_tracks=60))["pion"]
    assert set(np.unique(few.sample.origin)) <= {HOLE, MEASURED, POOLED, EXTRAPOLATED}
    assert (few.sample.origin == POOLED).any()
    assert is_positive_definite(few.covariance[few.valid]).all()


def test_the_end_of_a_sample_is_no_hole():
    """The last bin in pt is filled by a twentieth: cells with a few tracks stand beside cells with none."""
    axes = {"eta": Axis("eta", "", 40, -1.0, 1.0), "pt": Axis("pt", "GeV", 12, 0.2, 12.0, "log")}
    edge = axes["pt"].edges[9]
    cells = Cells(Binning(**axes, keep=500), BZ)
    cells.add(toy(20_000, pt=(0.2, edge))[0])
    cells.add(toy(60, first=10**6, pt=(edge, 1.02 * edge))[0])
    options = BuildOptions(fewest_tracks=20, library=0)
    lut = build_sample_luts(cells, options=options)["pion"]
    lut.validate()
    origin = lut.sample.origin[0]
    assert (origin[:, :9] != HOLE).all()
    assert set(np.unique(origin[:, 9])) <= {EXTRAPOLATED, HOLE, MEASURED, POOLED}
    assert (origin[:, 10:] == HOLE).all()
    sigma = np.sqrt(lut.covariance[0, :, 9][origin[:, 9] == EXTRAPOLATED][:, DIAGONAL])
    expected = sigmas(lut.covariance_axes[1].centers[origin[:, 9] == EXTRAPOLATED], lut.covariance_axes[2].centers[9])
    assert np.median(sigma / expected) == pytest.approx(1.0, abs=0.15)


def test_gaussian_smearing_without_bias_is_unchanged(lut):
    """A table without content of a sample is smeared as before it could have any."""
    plain = replace(lut, sample=None)
    chunk, _ = toy(500, first=7)
    batch = events(chunk)
    a, _, _ = tracked(batch, [plain], bz=BZ)
    zero = replace(lut, sample=replace(lut.sample, bias=np.zeros_like(lut.sample.bias)))
    b, _, _ = tracked(batch, [zero], bz=BZ)
    assert a["q_over_pt"] == pytest.approx(b["q_over_pt"], rel=1e-12)
