"""TOF: expected times and errors against closed forms, hits, the event time, and pulls."""

import math

import numpy as np
import pytest
from pid_tracks import full, make_tracks, packed
from pydantic import ValidationError
from tof_kit import (
    BARREL,
    COMMON,
    DEUTERON,
    ELECTRON,
    HELIUM3,
    KAON,
    MUON,
    PION,
    PROTON,
    cylinder,
    disc,
    matrix,
    of_true_species,
    run,
    sample,
    shares,
    stage,
    surfaces_of,
)  # fmt: skip

from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.tof.flight import expect_times, pulls, time_of_flight
from flashdet.stages.tof.stage import TofConfig
from flashdet.stages.tof.timesearch import self_included_width
from flashdet.testing import check_stage
from flashdet.units import C_LIGHT, PT_PER_TESLA_CM


# --- expected times --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("radius", "bz", "reach", "pt_min"),
    [
        (19, 2.0, (0.314, 0.194, 1.059, 1.759, 3.590), 0.057),
        (20, 2.0, (0.323, 0.200, 1.088, 1.809, 3.690), 0.060),
        (80, 2.0, (0.662, 0.434, 2.220, 3.727, 7.588), 0.240),
        (85, 2.0, (0.683, 0.449, 2.290, 3.844, 7.826), 0.255),
        (100, 2.0, (0.743, 0.491, 2.486, 4.175, 8.499), 0.300),
        (85, 0.5, (0.675, 0.435, 2.287, 3.842, 7.825), 0.064),
        (100, 0.5, (0.733, 0.474, 2.483, 4.173, 8.498), 0.075),
    ],
)
def test_separation_at_eta_zero(radius, bz, reach, pt_min):
    """Largest p with 3 sigma at 20 ps: numbers computed from the helix length and p alone, outside this program."""
    p = np.geomspace(0.04, 12, 3000)
    batch = make_tracks(PION, p, 0.0, 0.3, np.zeros(15), bz=bz, smear=False)
    path, expected, _ = expect_times(
        batch["track"], np.zeros(len(p), np.int8), bz, surfaces_of(cylinder(radius))
    )  # fmt: skip
    pairs = ((ELECTRON, PION), (MUON, PION), (PION, KAON), (KAON, PROTON), (PROTON, DEUTERON))
    for (light, heavy), wanted in zip(pairs, reach, strict=True):
        got = p[(expected[heavy] - expected[light]) / 0.020 >= 3].max()
        assert got == pytest.approx(wanted, rel=0.02)
    assert p[np.isfinite(path)].min() == pytest.approx(pt_min, rel=0.02)
    closest = PT_PER_TESLA_CM * bz * radius / 2
    np.testing.assert_array_equal(np.isfinite(path), p > closest)


@pytest.mark.parametrize(
    ("shape", "eta", "reach"),
    [
        (cylinder(85), 1.0, (0.856, 2.852, 4.791)),
        (disc(200), 2.5, (1.05, 3.54, 5.97)),
        (disc(405), 2.5, (1.49, 5.05, 8.51)),
    ],
)
def test_separation_forward(shape, eta, reach):
    p = np.geomspace(0.5, 12, 3000)
    batch = make_tracks(PION, p / math.cosh(eta), eta, 0.3, np.zeros(15), smear=False)
    _, expected, _ = expect_times(batch["track"], np.zeros(len(p), np.int8), 2.0, surfaces_of(shape))
    for (light, heavy), wanted in zip(((ELECTRON, PION), (PION, KAON), (KAON, PROTON)), reach, strict=True):
        got = p[(expected[heavy] - expected[light]) / 0.020 >= 3].max()
        assert got == pytest.approx(wanted, rel=0.02)


def closed_form_error(mass, pt, eta, radius, bz, sigma_pt, sigma_eta):
    """Tracking error of the time to a cylinder for a track from the origin, as in the ALICE 3 on-the-fly simulation."""
    k = PT_PER_TESLA_CM * bz
    a2 = (radius * k) ** 2 / 2
    energy = math.sqrt(mass**2 + (pt * math.cosh(eta)) ** 2)
    turn = math.acos(1 - a2 / pt**2)
    root = math.sqrt(a2 * (2 * pt**2 - a2))
    scale = 1 / (C_LIGHT * k)
    by_pt = (pt**4 * math.cosh(eta) ** 2 * turn - 2 * a2 * pt**2 * energy**2 / root) / (pt**3 * energy) * scale
    by_eta = pt**2 * math.sinh(eta) * math.cosh(eta) * turn / energy * scale
    return math.hypot(by_pt * sigma_pt, by_eta * sigma_eta)


@pytest.mark.parametrize(("pt", "picoseconds"), [(0.3, 69.5), (0.5, 22.9), (1.0, 6.5), (2.0, 1.7)])
def test_error_of_kaons_at_80_cm(pt, picoseconds):
    batch = make_tracks(KAON, pt, 0.0, 1.0, packed(q_over_pt=0.01 / pt), smear=False)
    _, _, error = expect_times(batch["track"], np.zeros(1, np.int8), 2.0, surfaces_of(cylinder(80)))
    assert error[KAON, 0] * 1e3 == pytest.approx(picoseconds, abs=0.06)


@pytest.mark.parametrize("eta", [0.0, 0.7, -1.2])
@pytest.mark.parametrize("pt", [0.4, 1.0, 5.0])
def test_error_against_the_closed_form(pt, eta):
    sigma_eta = 0.004
    cov = packed(tgl=math.cosh(eta) * sigma_eta, q_over_pt=0.02 / pt)
    batch = make_tracks(PION, pt, eta, 1.0, cov, smear=False)
    _, _, error = expect_times(batch["track"], np.zeros(1, np.int8), 2.0, surfaces_of(cylinder(80)))
    for species in (PION, KAON, PROTON, DEUTERON):
        wanted = closed_form_error(SPECIES_MASS[species], pt, eta, 80.0, 2.0, 0.02 * pt, sigma_eta)
        assert error[species, 0] == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize("shape", [cylinder(85), disc(250), disc(-90)])
def test_error_against_finite_differences(shape):
    """All five parameters with correlations, displaced tracks, every hypothesis."""
    rng = np.random.default_rng(3)
    n = 60
    root = rng.normal(size=(n, 5, 5)) * np.array([0.1, 0.1, 1e-3, 1e-3, 1e-2])[:, None]
    matrices = root @ root.transpose(0, 2, 1)
    cov = matrices[:, *np.tril_indices(5)]
    np.testing.assert_array_equal(full(cov), matrices)
    eta = rng.uniform(0.3, 1.5, n) * (-1 if "-90" in str(shape) else 1)
    vertex = np.concatenate([rng.normal(0, 3, (n, 3)), np.zeros((n, 1))], axis=1)
    sign = rng.choice([-1, 1], n)
    batch = make_tracks(PION, rng.uniform(0.5, 3, n), eta, rng.uniform(-3, 3, n), cov, vertex=vertex, sign=sign)
    where, surfaces = np.zeros(n, np.int8), surfaces_of(shape)
    _, expected, error = expect_times(batch["track"], where, 2.0, surfaces)
    assert np.isfinite(expected).all()
    slopes = np.empty((5, len(SPECIES), n))
    steps = {"y": 1e-4, "z": 1e-4, "snp": 1e-6, "tgl": 1e-6, "q_over_pt": 1e-6}
    for j, (name, step) in enumerate(steps.items()):
        up, down = (
            expect_times({**batch["track"], name: batch["track"][name] + s}, where, 2.0, surfaces)[1]
            for s in (step, -step)
        )
        slopes[j] = (up - down) / (2 * step)
    wanted = np.sqrt(np.einsum("ihn,nij,jhn->hn", slopes, matrices, slopes))
    np.testing.assert_allclose(error, wanted, rtol=1e-5)


def test_expected_times_use_the_charge_of_the_hypothesis():
    batch = make_tracks(PION, 1.5, 0.4, 0.2, np.zeros(15), smear=False)
    path, expected, _ = expect_times(batch["track"], np.zeros(1, np.int8), 2.0, surfaces_of(cylinder(85)))
    rigidity = 1.5 * np.cosh(0.4)
    rho = 1.5 / (PT_PER_TESLA_CM * 2.0)
    assert path[0] == pytest.approx(2 * rho * math.asin(85 / (2 * rho)) * math.cosh(0.4))
    for i, (mass, charge) in enumerate(zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)):
        wanted = time_of_flight(path, np.array([charge * rigidity]), mass)
        np.testing.assert_allclose(expected[i], wanted, rtol=1e-13)


# --- hits ------------------------------------------------------------------------------------------------------------
def test_hits_are_where_the_particle_goes():
    shape = [cylinder(85, 340), disc(370, 15, 90), disc(-370, 15, 90)]
    eta = np.array([0.0, 1.9, 2.1, 2.5, -2.5, 4.2])
    batch = make_tracks(PION, 5.0, eta, 0.5, np.zeros(15), smear=False)
    tof, _, _ = run(stage(shape), batch)
    np.testing.assert_array_equal(tof["surface"], [0, 0, -1, 1, 2, -1])
    np.testing.assert_array_equal(tof["has_signal"], tof["surface"] >= 0)
    for name in ("time", "time_error", "path_length", "path_length_true", "beta", "expected_kaon", "n_sigma_kaon"):
        np.testing.assert_array_equal(np.isnan(tof[name]), ~tof["has_signal"])
    # a vertex 30 cm away moves the edges
    moved = make_tracks(PION, 5.0, [2.1, -2.1], 0.5, np.zeros(15), vertex=(0, 0, -30, 0), smear=False)
    np.testing.assert_array_equal(run(stage(shape), moved)[0]["surface"], [0, 2])


def test_time_is_made_from_truth():
    n = 20000
    batch = make_tracks(
        HELIUM3, np.full(n, 3.0), 0.5, 0.1, np.zeros(15), vertex=(0.5, -1.0, 4.0, 0.7), smear=False, sizes=[50] * 400
    )
    tof, _, _ = run(stage(event_time={"method": "none"}), batch)
    # true momentum and charge 2: the circle of rigidity 1.5 GeV
    wanted = 0.7 + time_of_flight(tof["path_length_true"], np.full(n, 3.0 * math.cosh(0.5)), SPECIES_MASS[HELIUM3])
    pull = (tof["time"] - wanted) / 0.020
    assert pull.mean() == pytest.approx(0, abs=5 / math.sqrt(n))
    assert pull.std() == pytest.approx(1, abs=5 / math.sqrt(2 * n))
    rho = 1.5 / (PT_PER_TESLA_CM * 2.0)
    straight = 2 * rho * math.asin(85 / (2 * rho)) * math.cosh(0.5)
    assert tof["path_length_true"][0] == pytest.approx(straight, abs=2.0)


def test_efficiency_is_binomial():
    batch = make_tracks(PION, np.full(20000, 2.0), 0.0, 0.1, np.zeros(15), smear=False, sizes=[100] * 200)
    tof, _, _ = run(stage(efficiency=0.9), batch)
    assert tof["has_signal"].mean() == pytest.approx(0.9, abs=5 * math.sqrt(0.09 / 20000))
    full_efficiency, _, _ = run(stage(), batch)
    seen = tof["has_signal"]
    np.testing.assert_array_equal(tof["time"][seen], full_efficiency["time"][seen])


def test_measured_track_that_misses_the_surface_has_no_signal():
    # 0.26 GeV/c just reaches 85 cm in 2 T; measured 10 % low it does not
    batch = make_tracks(PION, np.full(400, 0.265), 0.0, 0.1, packed(q_over_pt=0.1 / 0.265))
    tof, _, counts = run(stage(), batch)
    short = batch["track"]["pt"] < PT_PER_TESLA_CM * 2 * 85 / 2
    assert 50 < short.sum() < 350
    np.testing.assert_array_equal(tof["has_signal"], ~short)
    assert counts["hits missed by the measured track"] == short.sum()


def test_interpretation_uses_no_truth():
    rng = np.random.default_rng(8)
    batch, _ = sample(rng, 5, 12, COMMON)
    tof, event, _ = run(stage(), batch)
    track = dict(batch["track"])
    path, expected, error = expect_times(track, tof["surface"], 2.0, surfaces_of(BARREL))
    for what, values in (("expected", expected), ("expected_error", error)):
        np.testing.assert_array_equal(matrix(tof, what), values)
    np.testing.assert_array_equal(tof["path_length"], path)
    # other true species and charges with the same hits: nothing changes
    lied = batch.copy()
    lied.tables["track"] = type(batch["track"])(
        "track", batch["track"].offsets, {**track, "species_true": np.zeros_like(track["species_true"])}
    )
    again, again_event, _ = run(stage(), lied)
    np.testing.assert_array_equal(matrix(again, "n_sigma"), matrix(tof, "n_sigma"))
    np.testing.assert_array_equal(again_event["time"], event["time"])


# --- event time ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [8, 32, 128])
def test_event_time_resolution_is_that_of_the_mean(n):
    rng = np.random.default_rng(n)
    n_events = 40000 // n
    batch, true = sample(rng, n_events, n, COMMON, pt_error=1e-4)
    tof, event, _ = run(stage(), batch)
    spread = event["time"] - true
    # tracks whose hypotheses overlap say less: up to 10 % more than 20 ps/sqrt(n)
    tolerance = 4 / math.sqrt(2 * n_events)
    assert spread.std() == pytest.approx(0.020 / math.sqrt(n), rel=0.1 + tolerance)
    assert spread.mean() == pytest.approx(0, abs=0.05 * spread.std() + 4 * spread.std() / math.sqrt(n_events))
    assert np.median(event["time_error"]) == pytest.approx(spread.std(), rel=0.05 + tolerance)
    np.testing.assert_array_equal(event["n_tracks"], n)
    assert tof["event_time_error"].mean() == pytest.approx(0.020 / math.sqrt(n - 1), rel=0.1 + tolerance)


@pytest.mark.parametrize("mix", [COMMON, shares(kaon=1.0), shares(proton=1.0), shares(pion=0.4, kaon=0.3, proton=0.3)])
@pytest.mark.parametrize("n", [5, 15, 60])
def test_event_time_needs_no_masses(n, mix):
    rng = np.random.default_rng(n)
    n_events = 9000 // n
    batch, true = sample(rng, n_events, n, mix)
    tof, event, _ = run(stage(event_time={"hypotheses": {"pion": 0.6, "kaon": 0.2, "proton": 0.2}}), batch)
    pull = (event["time"] - true) / event["time_error"]
    assert np.mean(abs(pull) > 5) < (5e-3 if n < 10 else 1e-9)
    good = abs(pull) < 5
    assert pull[good].mean() == pytest.approx(0, abs=0.15 + 4 / math.sqrt(n_events))
    assert pull[good].std() < 1.1 + 4 / math.sqrt(2 * n_events)
    leave_out = (tof["event_time"] - np.repeat(true, n)) / tof["event_time_error"]
    assert leave_out[abs(leave_out) < 5].std() < 1.1 + 4 / math.sqrt(2 * n_events)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7])
@pytest.mark.parametrize("outliers", [1e-3, 0.02, 0.05])
def test_few_tracks(n, outliers):
    """Errors tell how ambiguous the time is; that outliers are feared does not widen them."""
    rng = np.random.default_rng(n)
    n_events = 6000 // n
    mix = {"pion": 0.6, "kaon": 0.2, "proton": 0.2}
    batch, true = sample(rng, n_events, n, shares(**mix))
    tof, event, _ = run(stage(event_time={"outlier_fraction": outliers, "hypotheses": mix}), batch)
    pull = (tof["event_time"] - np.repeat(true, n)) / tof["event_time_error"]
    if n == 1:
        np.testing.assert_array_equal(tof["event_time"], 0.0)
        np.testing.assert_array_equal(tof["event_time_error"], 0.2)
    n_sigma = of_true_species(matrix(tof, "n_sigma"), batch)
    for values in (pull, n_sigma):
        assert np.mean(abs(values) > 5) < 0.01, "wrong solutions"
        near = values[abs(values) < 5]
        # one error of event times is shared by the tracks of an event
        # with one other track alone the fear of an outlier is not resolved
        slack = 0.15 if (n, outliers) == (2, 0.05) else 0.05
        assert near.std() == pytest.approx(1, abs=slack + 4 / math.sqrt(2 * n_events))
        assert near.mean() == pytest.approx(0, abs=0.05 + 4 / math.sqrt(n_events))
    assert np.median(event["time_error"]) < (0.15, 0.05, 0.02, 0.013, 0.011, 0.01, 0.009)[n - 1]


def test_outliers_do_not_move_the_event_time():
    rng = np.random.default_rng(12)
    n_events, n = 300, 24
    batch, true = sample(rng, n_events, n, COMMON)
    track = dict(batch["track"])
    late = np.arange(n_events * n) % n < 5
    track["vt_true"] = track["vt_true"] + np.where(late, rng.uniform(0.1, 3.0, len(late)), 0.0)
    batch.tables["track"] = type(batch["track"])("track", batch["track"].offsets, track)
    _, event, _ = run(stage(), batch)
    pull = (event["time"] - true) / event["time_error"]
    assert abs(pull).max() < 6
    assert pull.std() < 1.35
    assert np.median(event["time_error"]) < 0.020 / math.sqrt(n - 5) * 1.25
    # tracks that miss the beam axis do not enter at all
    displaced = {**track, "y": np.where(late, 0.5, 0.0)}
    batch.tables["track"] = type(batch["track"])("track", batch["track"].offsets, displaced)
    np.testing.assert_array_equal(run(stage(), batch)[1]["n_tracks"], n - 5)


def test_leave_one_out_is_unbiased_and_self_inclusion_is_not():
    """Five equal tracks, one hypothesis: the width is 1 without the own hit, sqrt((1 - f)/(1 + f)) with it."""
    n_events, n = 4000, 5
    vt = np.repeat(np.random.default_rng(4).normal(0, 0.2, n_events), n)
    vertex = np.stack([0 * vt, 0 * vt, 0 * vt, vt], axis=1)
    batch = make_tracks(
        PION, np.full(len(vt), 0.5), 0.2, 0.3, np.zeros(15), vertex=vertex, sizes=[n] * n_events, smear=False
    )
    tof, event, _ = run(stage(event_time={"hypotheses": {"pion": 1}, "outlier_fraction": 1e-6}), batch)
    assert tof["n_sigma_pion"].mean() == pytest.approx(0, abs=0.02)
    assert tof["n_sigma_pion"].std() == pytest.approx(1, abs=0.02)
    own = pulls(
        tof["time"], tof["time_error"], np.repeat(event["time"], n), np.repeat(event["time_error"], n),
        matrix(tof, "expected"), matrix(tof, "expected_error"),
    )[PION]  # fmt: skip
    assert self_included_width(1 / n) == pytest.approx(0.816, abs=1e-3)
    assert own.std() == pytest.approx(self_included_width(1 / n), abs=0.02)


def test_methods():
    rng = np.random.default_rng(21)
    batch, true = sample(rng, 200, 20, COMMON)
    tof, event, _ = run(stage(event_time={"method": "truth"}), batch)
    np.testing.assert_array_equal(event["time"], true)
    np.testing.assert_array_equal(tof["event_time"], np.repeat(true, 20))
    np.testing.assert_array_equal(event["time_error"], 0)
    tof, event, _ = run(stage(event_time={"method": "none", "spread": "150 ps"}), batch)
    assert set(event["time"]) == {0.0}
    assert set(tof["event_time_error"]) == {0.15}
    _, with_masses, _ = run(stage(event_time={"method": "truth_mass"}), batch)
    _, without, _ = run(stage(), batch)
    assert (with_masses["time"] - true).std() == pytest.approx((without["time"] - true).std(), rel=0.15)
    _, starved, counts = run(stage(event_time={"min_tracks": 21}), batch)
    assert set(starved["time_error"]) == {0.2}
    assert counts["events without tracks for the event time"] == 0


# --- pulls and promises ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["truth", "tracks"])
def test_true_hypothesis_has_a_unit_pull(method):
    """Every species, correlated errors of all parameters, mean 0 and width 1."""
    rng = np.random.default_rng(31)
    n_events, n = 600, 45
    size = n_events * n
    species = np.tile(np.arange(9), size // 9)
    pt = rng.uniform(0.8, 4.0, size) * np.array(SPECIES_CHARGE)[species]
    cov = packed(y=np.full(size, 0.003), z=0.004, snp=1e-3, tgl=2e-3, q_over_pt=0.01 / pt, tgl_q=0.6)
    vertex = np.zeros((size, 4))
    vertex[:, 3] = np.repeat(rng.normal(0, 0.2, n_events), n)
    batch = make_tracks(
        species, pt, rng.uniform(-1, 1, size), rng.uniform(-3, 3, size), cov, vertex=vertex, sizes=[n] * n_events,
        sign=rng.choice([-1, 1], size),
    )  # fmt: skip
    hypotheses = dict.fromkeys(SPECIES, 1)
    tof, _, _ = run(stage(event_time={"method": method, "hypotheses": hypotheses}), batch)
    n_sigma = of_true_species(matrix(tof, "n_sigma"), batch)
    assert n_sigma.mean() == pytest.approx(0, abs=0.02)
    assert n_sigma.std() == pytest.approx(1, abs=0.02)
    for i in range(9):
        mine = n_sigma[species == i]
        assert mine.mean() == pytest.approx(0, abs=4.5 / math.sqrt(len(mine)))
        assert mine.std() == pytest.approx(1, abs=0.01 + 4.5 / math.sqrt(2 * len(mine)))
    assert np.median(tof["n_sigma_proton"][species == PION]) < -3, "a pion arrives before a proton"


def test_beta():
    rng = np.random.default_rng(41)
    batch, _ = sample(rng, 100, 30, COMMON, pt_error=1e-3)
    tof, _, _ = run(stage(), batch)
    track = batch["track"]
    p = track["pt_true"] * np.cosh(track["eta_true"])
    true = p / np.hypot(p, track["mass_true"])
    relative = (tof["beta"] / true - 1) * tof["path_length"] / (C_LIGHT * true) / 0.0205
    assert np.median(relative) == pytest.approx(0, abs=0.1)
    assert np.diff(np.percentile(relative, [15.87, 84.13]))[0] / 2 == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize("method", ["tracks", "truth_mass", "truth", "none", "shared"])
def test_stage_keeps_its_promises(method):
    rng = np.random.default_rng(51)
    size = 60
    pt = rng.uniform(0.1, 2.0, size)
    batch = make_tracks(
        rng.integers(0, 9, size), pt, rng.uniform(-4, 4, size), rng.uniform(-3, 3, size),
        packed(y=np.full(size, 0.01), z=0.01, snp=1e-3, tgl=1e-3, q_over_pt=0.03 / pt),
        vertex=rng.normal(0, 1, (size, 4)), sizes=[0, 1, 2, 7, 0, 50], sign=rng.choice([-1, 1], size),
    )  # fmt: skip
    check_stage(stage([cylinder(85, 340), disc(370, 15, 100)], efficiency=0.9, event_time={"method": method}), batch)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"event_time": {"hypotheses": {"muno": 1}}}, "muno is no hypothesis"),
        ({"event_time": {"hypotheses": {}}}, "allowed: electron"),
        ({"event_time": {"method": "magic"}}, "'tracks'"),
        ({"event_time": {"spread": 0.2}}, "needs a unit"),
        ({"efficiency": 1.5}, "less than or equal to 1"),
        ({"time_resolution": "0 ps"}, "greater than zero"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(ValidationError, match=text):
        TofConfig.model_validate({"shape": BARREL, "time_resolution": "20 ps", **settings})
