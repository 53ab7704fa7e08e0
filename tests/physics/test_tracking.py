"""Tracking: pulls, efficiencies, covariances, nuclei, losses and counters."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tracking_tables import (
    CORRELATION,
    DIAGONAL,
    PARAMETERS,
    deviations,
    identities,
    make_lut,
    offered,
    sigmas,
    tracked,
)

from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.kernels.symmat import to_dense, to_packed
from flashdet.species import SPECIES, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.tracking.stage import Tracking, TrackingConfig
from flashdet.testing import check_stage, gun, make_events


@pytest.fixture(scope="module")
def all_species():
    """20 000 particles of all species over the whole table."""
    return offered(gun(n_events=40, particles=500, pt=(0.3, 30.0), eta=(-3.8, 3.8)))


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_pulls_are_standard_normal_per_parameter_species_and_region(all_species, interpolation):
    luts = [make_lut(s) for s in SPECIES]
    track, truth, counts = tracked(all_species, luts, interpolation=interpolation)
    pulls = deviations(track, truth) / np.sqrt(track["cov"][:, DIAGONAL])
    assert "lost: unphysical snp" not in counts
    regions = [truth["species"] == i for i in range(9)]
    regions += [(truth["eta"] > a) & (truth["eta"] <= a + 2) for a in (-4, -2, 0, 2)]
    regions += [(truth["pt"] > a) & (truth["pt"] <= b) for a, b in ((0.3, 1), (1, 5), (5, 30))]
    for region in regions:
        n = region.sum()
        assert n > 1000
        # 80 comparisons each: 4.5 standard deviations
        assert np.all(np.abs(pulls[region].mean(axis=0)) < 4.5 / math.sqrt(n))
        assert np.all(np.abs(pulls[region].std(axis=0) - 1.0) < 4.5 / math.sqrt(2 * n))
    correlation = np.corrcoef(pulls.T)
    np.testing.assert_allclose(correlation, CORRELATION, atol=4.5 / math.sqrt(len(pulls)))


def test_chi2_of_the_full_covariance(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    matrix = np.zeros((track.n_rows, 5, 5))
    row, column = np.tril_indices(5)
    matrix[:, row, column] = matrix[:, column, row] = track["cov"]
    d = deviations(track, truth)
    chi2 = np.einsum("ni,ni->n", d, np.linalg.solve(matrix, d[..., None])[..., 0])
    n = len(chi2)
    assert chi2.mean() == pytest.approx(5.0, abs=4.5 * math.sqrt(10 / n))
    assert chi2.var() == pytest.approx(10.0, abs=4.5 * math.sqrt((8 * 10 + 480 / 4) * 10 / n))
    # 9.236 is the 90 % point for five degrees of freedom
    assert np.mean(chi2 > 9.2364) == pytest.approx(0.1, abs=4.5 * math.sqrt(0.09 / n))


def test_linear_interpolation_of_the_covariance_is_exact_for_power_laws(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    inside = np.abs(truth["eta"]) < 3.7
    sigma = sigmas(truth["pt"], truth["eta"])
    sigma[:, 4] *= np.abs(truth["charge"])
    expected = (sigma[:, :, None] * sigma[:, None, :] * CORRELATION)[:, *np.tril_indices(5)]
    size = (sigma[:, :, None] * sigma[:, None, :])[:, *np.tril_indices(5)]
    np.testing.assert_allclose((track["cov"] / size)[inside], (expected / size)[inside], atol=5e-6)


def test_efficiencies_are_binomial():
    def efficiency(nch, eta, pt):
        return np.clip(0.5 + 0.1 * np.log10(pt) + 0.05 * eta - 0.04 * np.log10(nch) + 0 * nch, 0.0, 1.0)

    batch = offered(gun((211,), n_events=30, particles=1000, pt=(0.05, 20.0), eta=(-3.5, 3.5)))
    lut = make_lut("pion", efficiency=efficiency)
    track, _, counts = tracked(batch, [lut])
    charged = batch["charged"]
    dndeta = batch["event"]["dndeta"][charged.event_index]
    # linear in every coordinate of the table, so interpolation is exact inside the outer bin centres
    p = efficiency(dndeta, charged["eta"], charged["pt"])
    accepted = np.zeros(charged.n_rows, np.bool_)
    place = charged.offsets[track.event_index] + track["particle_index"]
    accepted[place] = True
    for low, high in ((-3.5, -1.2), (-1.2, 1.2), (1.2, 3.5)):
        for pt_low, pt_high in ((0.05, 0.5), (0.5, 3.0), (3.0, 20.0)):
            cell = (charged["eta"] > low) & (charged["eta"] <= high)
            cell &= (charged["pt"] > pt_low) & (charged["pt"] <= pt_high)
            sigma = math.sqrt((p * (1 - p))[cell].sum())
            assert accepted[cell].sum() == pytest.approx(p[cell].sum(), abs=4 * sigma)
    assert counts["lost: inefficiency"] == charged.n_rows - track.n_rows
    every, _, counts = tracked(batch, [lut], efficiency=False)
    assert every.n_rows == charged.n_rows
    assert counts == {}


def test_columns_agree_with_each_other(all_species):
    track, truth, _ = tracked(all_species, [make_lut(s) for s in SPECIES])
    np.testing.assert_array_equal(track["x"], 0.0)
    np.testing.assert_allclose(track["pt"], 1 / np.abs(track["q_over_pt"]))
    np.testing.assert_allclose(np.sinh(track["eta"]), track["tgl"], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(np.cos(track["phi"] - track["alpha"] - np.arcsin(track["snp"])), 1.0)
    assert np.all(np.abs(track["phi"]) <= math.pi)
    np.testing.assert_array_equal(track["charge"], np.sign(track["q_over_pt"]))
    for name in ("pdg", "charge", "mass", "pt", "eta", "phi", "vx", "vy", "vz", "vt", "species"):
        np.testing.assert_array_equal(track[f"{name}_true"], truth[name])
    np.testing.assert_array_equal(track["alpha"], truth["alpha"])


# --- nuclei and particles without a LUT of their own -----------------------------------------------------------------
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
@pytest.mark.parametrize("code", [1000020030, 1000020040, -1000020040])
def test_nuclei_are_looked_up_at_their_pt_not_at_their_rigidity(code, interpolation):
    """pt 2 GeV, rigidity 1: only the bin of pt = 2 is efficient."""
    species = SPECIES[SPECIES_PDG.index(abs(code))]

    def efficiency(nch, eta, pt):
        return np.where(pt > 1.3, 1.0, 0.0) + 0 * (nch + eta)

    batch = offered(make_events([code] * 400, 2.0, 0.1, 0.3))
    track, truth, counts = tracked(batch, [make_lut(species, efficiency=efficiency)], interpolation=interpolation)
    assert track.n_rows == 400, counts
    np.testing.assert_allclose(truth["q_over_pt"], math.copysign(1.0, code))
    assert track["pt"].mean() == pytest.approx(1.0, abs=0.01)
    assert np.all(track["charge"] == np.sign(code))
    assert np.all(track["pt_true"] == pytest.approx(2.0))


def test_species_without_lut_takes_the_nearest_mass_of_the_same_charge():
    batch = offered(make_events([3334, 1000010020, 321, 1000020040], 2.0, 0.1, 0.3))
    luts = [make_lut(s, efficiency=lambda nch, eta, pt: 1.0 + 0 * (nch + eta + pt)) for s in ("pion", "proton")]
    track, _, counts = tracked(batch, luts)
    # Omega (1.67), deuteron (1.88): proton; kaon (0.494): pion (0.354 away) rather than proton (0.445 away)
    assert [SPECIES[s] for s in track["species_true"]] == ["proton", "proton", "pion"]
    assert counts == {
        "lost: no LUT for this charge": 1,
        "lut stand-in: pion": 1,
        "lut stand-in: proton": 2,
    }


# --- field -----------------------------------------------------------------------------------------------------------
def test_luts_must_fit_the_field():
    with pytest.raises(StageError, match=r"LUT of pion was made for 0.5 T, the card says 2 T"):
        Tracking("tracking", TrackingConfig(), Setup(2.0, {"pion": make_lut("pion", field=0.5)}))
    Tracking("tracking", TrackingConfig(), Setup(-2.01, {"pion": make_lut("pion", field=2.0)}))
    with pytest.raises(StageError, match="no LUT"):
        Tracking("tracking", TrackingConfig(), Setup(2.0))


def test_opposite_field_flips_the_correlations_of_q_over_pt():
    """The tracker measures the curvature, q/pt times field: positions do not know the sign of the field."""
    batch = offered(make_events([211] * 20000, 1.0, 0.1, 0.3), bz=-2.0)
    for lut_field in (2.0, -2.0):
        track, truth, _ = tracked(batch, [make_lut("pion", field=lut_field)], bz=-2.0)
        correlation = np.corrcoef(deviations(track, truth).T)
        sign = np.sign(lut_field * -2.0)
        expected = CORRELATION.copy()
        expected[4, :4] *= sign
        expected[:4, 4] *= sign
        np.testing.assert_allclose(correlation, expected, atol=4.5 / math.sqrt(track.n_rows))
        quoted = track["cov"][:, [10, 12]] / np.sqrt(track["cov"][:, [0, 5]] * track["cov"][:, [14]])
        np.testing.assert_allclose(quoted, np.broadcast_to(expected[4, [0, 2]], quoted.shape), rtol=1e-4)


# --- losses ----------------------------------------------------------------------------------------------------------
def _twisted(species="pion"):
    """A LUT in which the momentum correlates with tgl and z, as energy loss and scattering make it at low momentum."""
    lut = make_lut(species)
    dense = to_dense(lut.covariance)
    sigma = np.sqrt(np.diagonal(dense, axis1=-2, axis2=-1))
    for i, rho in ((1, 0.2), (3, 0.4)):
        dense[..., i, 4] = dense[..., 4, i] = rho * sigma[..., i] * sigma[..., 4]
    return replace(lut, covariance=to_packed(dense))


@pytest.mark.parametrize(("charge", "bz", "sign"), [(1, 2.0, 1), (-1, 2.0, -1), (1, -2.0, 1), (-1, -2.0, -1)])
def test_momentum_and_angle_correlate_alike_for_both_charges(charge, bz, sign):
    """|1/pt| and tgl do not know the charge: their correlation may not change, so that of q/pt must change sign."""
    batch = offered(gun([charge * 211], n_events=40, particles=200, both_charges=False), bz=bz)
    track, truth, _ = tracked(batch, [_twisted()], bz=bz, efficiency=False)
    cov = track["cov"]
    np.testing.assert_allclose(cov[:, 13] / np.sqrt(cov[:, 9] * cov[:, 14]), 0.4 * sign, atol=0.02)
    np.testing.assert_allclose(cov[:, 11] / np.sqrt(cov[:, 2] * cov[:, 14]), 0.2 * sign, atol=0.02)
    pulls = deviations(track, truth) / np.sqrt(cov[:, DIAGONAL])
    inverse = pulls[:, 4] * sign
    assert np.corrcoef(inverse, pulls[:, 3])[0, 1] == pytest.approx(0.4, abs=4 / np.sqrt(len(pulls)))
    assert np.corrcoef(inverse, pulls[:, 1])[0, 1] == pytest.approx(0.2, abs=4 / np.sqrt(len(pulls)))


@pytest.mark.parametrize("bz", [2.0, -2.0])
def test_opposite_charge_is_the_mirror_image(bz):
    """Same random numbers, opposite charge, from the origin: y, snp and q/pt change sign, nothing else does."""
    tracks = []
    for charge in (1, -1):
        batch = offered(gun([charge * 211], n_events=3, particles=50, both_charges=False), bz=bz)
        tracks.append(tracked(batch, [_twisted()], bz=bz, efficiency=False)[0])
    for name, sign in zip(PARAMETERS, (-1, 1, -1, 1, -1), strict=True):
        np.testing.assert_allclose(tracks[1][name], sign * tracks[0][name], rtol=1e-12, atol=1e-15, err_msg=name)


def test_unphysical_angles_are_lost_and_counted():
    wide = make_lut("pion", efficiency=lambda nch, eta, pt: 1.0 + 0 * (nch + eta + pt))
    cov = wide.covariance.copy()
    cov[..., :] = 0.0
    cov[..., DIAGONAL] = (1e-6, 1e-6, 0.25, 1e-6, 1e-6)
    n = 10000
    track, _, counts = tracked(offered(make_events([211] * n, 1.0, 0.1, 0.3)), [replace(wide, covariance=cov)])
    # beyond two standard deviations on either side
    expected = n * math.erfc(2 / math.sqrt(2))
    assert counts["lost: unphysical snp"] == pytest.approx(expected, abs=4.5 * math.sqrt(expected))
    assert track.n_rows + counts["lost: unphysical snp"] == n
    assert np.all(np.abs(track["snp"]) < 1)


def test_charge_can_be_mismeasured():
    batch = offered(make_events([211] * 5000, 50.0, 0.1, 0.3))
    track, _, _ = tracked(batch, [make_lut("pion", scale=100.0)])
    # q/pt = 0.02 with an error of 0.02: one standard deviation
    wrong = 0.5 * math.erfc(1 / math.sqrt(2))
    assert np.mean(track["charge"] < 0) == pytest.approx(wrong, abs=4.5 * math.sqrt(wrong / track.n_rows))


def test_cells_that_are_not_valid():
    lut = make_lut("pion")
    valid = lut.valid.copy()
    valid[:, :8] = False
    track, truth, counts = tracked(
        offered(gun((211,), n_events=4, particles=250, eta=(-3, 3))), [replace(lut, valid=valid)]
    )
    assert np.all(truth["eta"] >= 0)
    assert 400 < counts["lost: not reconstructable"] < 600
    assert track.n_rows + counts["lost: not reconstructable"] + counts["lost: inefficiency"] == 1000


@pytest.mark.parametrize(
    ("axis", "kwargs", "side"),
    [
        ("pt", {"pt": 0.005}, "below"),
        ("pt", {"pt": 150.0}, "above"),
        ("eta", {"eta": 4.2}, "above"),
        ("radius", {"vertex": (0.0, 120.0, 0.0, 0.0)}, "above"),
    ],
)
def test_out_of_range_rules(axis, kwargs, side):
    values = {"pt": 1.0, "eta": 0.1, "phi": 0.3} | kwargs
    batch = offered(make_events([211] * 100, **values), eta_max=5, radius_max="2 m")
    luts = [make_lut("pion", scale=1e-3)]
    track, _, counts = tracked(batch, luts)
    assert track.n_rows > 50
    assert counts[f"out of range: {axis} {side} (clamped)"] == 100
    track, _, counts = tracked(batch, luts, out_of_range={axis: "reject"})
    assert track.n_rows == 0
    counts.pop("out of range: nch below (clamped)", None)
    assert counts == {f"out of range: {axis} {side} (rejected)": 100, "lost: outside the LUT": 100}
    with pytest.raises(StageError, match=rf"event 0, particle 0: a pion .*{axis} "):
        tracked(batch, luts, out_of_range={axis: "error"})


def test_multiplicity_out_of_range():
    batch = offered(make_events([211], 1.0, 0.1, 0.3))
    track, _, counts = tracked(batch, [make_lut("pion")], out_of_range={"nch": "reject"})
    assert counts == {"out of range: nch below (rejected)": 1, "lost: outside the LUT": 1}
    assert track.n_rows == 0


# --- promises --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_conformance(interpolation):
    setup = Setup(2.0, {s: make_lut(s) for s in SPECIES if s != "kaon"})
    stage = Tracking("tracking", TrackingConfig(interpolation=interpolation), setup)
    check_stage(stage, offered(gun(n_events=7, particles=15, eta=(-4, 4), pt=(0.005, 5))))


def test_rows_do_not_know_each_other(all_species):
    """Fewer particles of the same events, in another order of rows: the same numbers for each."""
    luts = [make_lut(s) for s in SPECIES]
    whole, _, _ = tracked(all_species, luts)
    charged = all_species["charged"]
    chosen = np.arange(charged.n_rows) % 7 == 3
    part = EventBatch({}, all_species.weight_names)
    part.add(all_species["event"])
    backwards = np.lexsort((-np.arange(charged.n_rows), charged.event_index))
    part.add(Table("charged", charged.offsets, {n: v[backwards] for n, v in charged.items()}).select(chosen))
    track, _, _ = tracked(part, luts)
    place = {key: row for row, key in enumerate(identities(whole))}
    rows = [place[key] for key in identities(track)]
    assert track.n_rows > 1000
    for name in whole:
        assert whole[name][rows].tobytes() == track[name].tobytes(), name


def test_seed_and_stage_name_change_the_numbers(all_species):
    luts = [make_lut(s) for s in SPECIES]
    one, _, _ = tracked(all_species, luts)
    two, _, _ = tracked(all_species, luts, seed=2)
    n = min(one.n_rows, two.n_rows)
    assert np.mean(one["y"][:n] == two["y"][:n]) < 0.001
