"""Tables of the analytic tracker: continuity from barrel to discs, symmetry, interpolation, nothing frozen in."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from flashdet.errors import LutError
from flashdet.kernels.symmat import to_dense
from flashdet.kernels.trace import N_CROSSING_COLUMNS, SURFACE, trace
from flashdet.layout import read_layout
from flashdet.lut.axis import Axis
from flashdet.lut.checks import find_holes
from flashdet.lut.files import read_table
from flashdet.lut.shells import DEFAULT_AXES, default_axes, production_radii
from flashdet.lut.tracker import build_luts, solve, write_luts
from flashdet.species import SPECIES, SPECIES_MASS, SPECIES_PDG

SMALL = replace(
    DEFAULT_AXES,
    nch=Axis("nch", "", 3, 1.0, 1e4, "log"),
    eta=Axis("eta", "", 17, -4.0, 4.0, "linear", "reject"),
    pt=Axis("pt", "GeV", 20, 0.02, 100.0, "log"),
)


@pytest.fixture(scope="module")
def v3():
    return read_layout("alice3_v3")


def crossed(layout, pt, eta):
    """Indices of the layers that a pion crosses, in order."""
    rows = layout.rows()
    crossings = np.empty((len(rows), N_CROSSING_COLUMNS))
    n = trace(
        rows,
        layout.field,
        SPECIES_MASS[2],
        1.0,
        pt,
        eta,
        0.0,
        layout.maximum_snp,
        np.empty(len(rows), np.bool_),
        crossings,
    )
    return tuple(int(i) for i in crossings[:n, SURFACE])


@pytest.mark.parametrize("pt", [0.2, 1.0, 20.0])
def test_resolutions_are_continuous_while_the_layers_are_the_same(v3, pt):
    etas = np.arange(0.001, 3.99, 0.004)
    sigma = np.array([np.sqrt(np.diag(solve(v3, "pion", pt, eta).covariance)) for eta in etas])
    layers = [crossed(v3, pt, eta) for eta in etas]
    assert np.isfinite(sigma).all()
    step = np.abs(np.log(sigma[1:] / sigma[:-1]))
    same = np.array([a == b for a, b in pairwise(layers)])
    assert step[same].max() < 0.04
    changes = np.flatnonzero(~same)
    assert 20 < len(changes) < 80
    for i in changes:
        # where a layer comes or goes, the layers common to both sides give a continuous answer
        common = tuple(v3.layers[j] for j in sorted(set(layers[i]) & set(layers[i + 1])))
        reduced = replace(v3, layers=common, minimum_hits=4)
        both = [np.sqrt(np.diag(solve(reduced, "pion", pt, eta).covariance)) for eta in etas[i : i + 2]]
        assert np.abs(np.log(both[1] / both[0])).max() < 0.04


def test_losing_a_hit_never_improves_the_covariance(v3):
    thinner = replace(v3, layers=tuple(layer for layer in v3.layers if layer.name != "B03"))
    blind = replace(v3, layers=tuple(replace(a, is_inert=a.is_inert or a.name == "B03") for a in v3.layers))
    full, lost = solve(v3, "pion", 0.7, 0.4).covariance, solve(blind, "pion", 0.7, 0.4).covariance
    assert np.linalg.eigvalsh(lost - full).min() > -1e-12 * np.linalg.eigvalsh(full).max()
    # but its material may be worth losing
    assert solve(thinner, "pion", 0.7, 0.4).n_hits == solve(v3, "pion", 0.7, 0.4).n_hits - 1


def test_beam_pipe_worsens_the_impact_parameter(v3):
    bare = replace(v3, layers=tuple(layer for layer in v3.layers if layer.name != "inner_wall"))
    ratio = solve(v3, "pion", 0.3, 0.0).covariance[0, 0] / solve(bare, "pion", 0.3, 0.0).covariance[0, 0]
    # 0.16 % at 0.48 cm in front of 0.076 % at 0.5 cm: the variance becomes about three times as large
    assert 2.2 < ratio < 3.6


def test_tables_of_all_species(v3):
    calls = []
    luts = build_luts(v3, axes=SMALL, progress=lambda *call: calls.append(call))
    assert tuple(luts) == SPECIES
    assert calls[0] == (0, 9, "electron")
    assert calls[-1] == (9, 9, "")
    for i, lut in enumerate(luts.values()):
        lut.validate()
        assert (lut.pdg, lut.mass, lut.field) == (SPECIES_PDG[i], SPECIES_MASS[i], 2.0)
        assert lut.efficiency[:, lut.valid[0]].max() > 0.99
        assert (lut.efficiency[:, ~lut.valid[0]] == 0.0).all()
        assert (np.diff(lut.efficiency, axis=0) <= 1e-12).all()
        assert not find_holes(lut.valid).any()
    # every species is different from the pion, where material matters
    pion = luts["pion"]
    for name in set(SPECIES) - {"pion"}:
        both = pion.valid & luts[name].valid
        assert (luts[name].covariance[both][:, 0] != pion.covariance[both][:, 0]).all()


def test_symmetric_layouts_are_mirrored_right(v3):
    lut = build_luts(v3, ["kaon"], SMALL)["kaon"]
    one_sided = replace(v3, layers=(*v3.layers, replace(v3.layers[-1], name="far", position=-900.0)))
    assert not one_sided.is_symmetric
    full = build_luts(one_sided, ["kaon"], SMALL)["kaon"]
    assert np.array_equal(full.valid, lut.valid)
    inside = np.abs(SMALL.eta.centers) < 2.9  # the extra disc is not reached there
    sigma = np.sqrt(lut.covariance[..., [0, 2, 5, 9, 14]])
    rows, columns = np.tril_indices(5)
    scale = (sigma[..., rows] * sigma[..., columns])[:, inside]
    difference = np.abs(full.covariance - lut.covariance)[:, inside][scale > 0.0] / scale[scale > 0.0]
    assert difference.max() < 1e-6
    assert full.efficiency[:, inside] == pytest.approx(lut.efficiency[:, inside], abs=1e-6)


def test_correlations_are_kept(v3):
    # the table has the full covariance: d0 against direction and curvature, z0 against tgl, and the mixed ones
    lut = build_luts(v3, ["pion"], SMALL)["pion"]
    dense = to_dense(lut.covariance[lut.valid])
    sigma = np.sqrt(np.diagonal(dense, axis1=1, axis2=2))
    rho = dense / (sigma[:, :, None] * sigma[:, None, :])
    assert np.median(rho[:, 0, 2]) < -0.5
    assert np.median(rho[:, 1, 3]) < -0.5
    assert (np.abs(rho[:, 0, 1]) > 1e-4).mean() > 0.3
    assert (np.abs(rho).max(axis=(1, 2)) < 1.0 + 1e-12).all()


def test_linear_interpolation_is_good_enough(v3):
    # log sigma between bin centres, as `flashdet.lut.pack` does, half-way in eta and pt, where no layer edge is near
    worst = []
    axes = DEFAULT_AXES
    for eta_bin, pt_bin in [(42, 45), (42, 60), (42, 110), (47, 50), (47, 80), (61, 40), (66, 70), (72, 90), (77, 60)]:
        eta, pt = axes.eta.centers[eta_bin : eta_bin + 2], axes.pt.centers[pt_bin : pt_bin + 2]
        middle = solve(v3, "pion", math.sqrt(pt[0] * pt[1]), eta.mean())
        corners = [solve(v3, "pion", p, e) for p in pt for e in eta]
        if len({crossed(v3, p, e) for p in pt for e in eta}) > 1:
            continue
        mean = np.mean([0.5 * np.log(np.diag(c.covariance)) for c in corners], axis=0)
        worst.append(np.abs(mean - 0.5 * np.log(np.diag(middle.covariance))).max())
    assert len(worst) >= 4
    assert max(worst) < 0.01


def test_efficiency_between_multiplicities(v3):
    nch = DEFAULT_AXES.nch.centers
    for pt, eta in [(0.1, 0.0), (0.15, 1.0), (0.3, 2.5), (1.0, 0.5)]:
        fine = np.geomspace(nch[0], nch[-1], 50)
        exact = solve(v3, "pion", pt, eta, fine).efficiency
        table = np.interp(np.log(fine), np.log(nch), solve(v3, "pion", pt, eta, nch).efficiency)
        assert np.abs(table - exact).max() < 0.03


def test_files(tmp_path, v3):
    luts = build_luts(v3, ["pion", "alpha"], SMALL)
    paths = write_luts(luts, tmp_path / "new")
    assert [path.name for path in paths] == ["pion.lut.npz", "alpha.lut.npz"]
    back = read_table(paths[0])
    assert back.meta["layout_sha256"] == v3.sha256
    valid = luts["pion"].valid
    sigma = np.sqrt(luts["pion"].covariance[valid][:, [0, 2, 5, 9, 14]])
    assert np.sqrt(back.covariance[valid][:, [0, 2, 5, 9, 14]]) == pytest.approx(sigma, rel=3e-4)


def test_wrong_arguments(v3):
    with pytest.raises(LutError, match="unknown species 'sigma'"):
        build_luts(v3, ["sigma"])
    with pytest.raises(LutError, match="symmetric about 0"):
        build_luts(v3, ["pion"], replace(SMALL, eta=Axis("eta", "", 5, -1.0, 2.0)))


# --- production radius ------------------------------------------------------------------------------------------------
def test_shells_begin_at_the_layers(v3):
    edges = np.array(production_radii(v3))
    assert (np.diff(edges) > 0).all()
    for layer in v3.layers:
        if layer.kind == "cylinder" and not layer.is_inert and layer.position < 30.0:
            nearest = edges[np.argmin(abs(edges - layer.position))]
            # just inside, so that what is made in the layer is behind it, whatever the rounding
            assert 0.0 < layer.position - nearest < 1e-5
    assert edges[0] == pytest.approx(0.5)
    for inert in (2.6, 5.7, 19.0):  # cold plate, beam pipe, inner TOF
        assert edges[np.argmin(abs(edges - inert))] == pytest.approx(inert)
    assert (edges[1:] / edges[:-1]).max() < 1.75
    # cylinders alone need no finer shells, and rows of a gas detector do not get one each
    assert production_radii(read_layout("reference_barrel"))[:4] == pytest.approx((0.5, 1.2, 2.5, 3.75))
    assert len(production_radii(read_layout("delphes_o2_its1"))) < 25


def test_tables_follow_the_production_radius(v3):
    lut = build_luts(v3, ["pion"])["pion"]
    lut.validate()
    radii = [part.covariance_axes[0] for part in lut.parts]
    assert (radii[0].low, radii[0].out_of_range) == (0.0, "clamp")
    assert all(a.high == b.low for a, b in pairwise(radii))
    assert {axis.out_of_range for axis in radii[1:]} == {"reject"}
    assert 30.0 < radii[-1].high < 50.0  # beyond, fewer than five layers are left everywhere
    eta, pt = 0.31, 2.0
    for part in lut.displaced[:8]:
        axis = part.covariance_axes[0]
        exact = solve(v3, "pion", pt, eta, 1.0, radius=axis.low + 0.1 * (axis.high - axis.low))
        i, j = (
            int(np.searchsorted(part.covariance_axes[1].edges, eta)) - 1,
            int(np.searchsorted(part.covariance_axes[2].edges, pt)) - 1,
        )
        sigma = np.sqrt(part.covariance[0, i, j, [0, 2, 5, 9, 14]])
        assert sigma == pytest.approx(np.sqrt(np.diag(exact.covariance)), rel=0.1)
        assert part.valid[0, i, j]
    assert lut.at_radius(0.0) is lut
    assert lut.at_radius(3.0).covariance_axes[0].low < 3.0 < lut.at_radius(3.0).covariance_axes[0].high
    assert lut.at_radius(1e3) is lut.displaced[-1]
    assert "made at 9 to 12 cm" in lut.info()


def test_prompt_tables_are_those_of_one_radius(v3):
    prompt, all_radii = (build_luts(v3, ["kaon"], axes)["kaon"] for axes in (default_axes(v3)[:1], default_axes(v3)))
    assert prompt.displaced == ()
    assert np.array_equal(prompt.covariance, all_radii.covariance)
    assert np.array_equal(prompt.efficiency, all_radii.efficiency)


def test_gaps_between_radii_are_no_tables(v3):
    lut = build_luts(v3, ["pion"])["pion"]
    with pytest.raises(LutError, match=r"it begins at 0.85 cm, the one before ends at 0.5 cm"):
        replace(lut, displaced=lut.displaced[1:]).validate()
    with pytest.raises(LutError, match="species, mass or field"):
        replace(lut, displaced=(replace(lut.displaced[0], field=1.0),)).validate()
