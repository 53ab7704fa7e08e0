"""RICH: thresholds, photons, separation, pulls."""

import math

import numpy as np
import pytest
from pid_tracks import full, make_tracks, packed
from pydantic import ValidationError

from flashdet.event import Table
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.optics import cherenkov_angle, mean_photons
from flashdet.stages.rich.stage import Rich
from flashdet.testing import check_stage

ELECTRON, MUON, PION, KAON, PROTON, DEUTERON, TRITON, HELIUM3, ALPHA = range(9)
#: A disc that every track towards positive z meets.
EVERYWHERE = {"disc": {"z": "1 cm", "r_min": "0 cm", "r_max": "10 m"}}
BARREL = {"cylinder": {"radius": "100 cm", "half_length": "200 cm"}}
#: Forward gas detector of DelphesO2.
FORWARD = {
    "shape": {"disc": {"z": "200 cm", "r_min": "10 cm", "r_max": "100 cm"}},
    "refractive_index": 1.0014,
    "radiator_thickness": "95 cm",
    "photon_efficiency": 0.2,
    "single_photon_resolution": "1.5 mrad",
}


def config(**settings):
    return RichConfig.model_validate({"shape": BARREL, **settings})


def run(batch, **settings):
    return Rich("rich", config(**settings), Setup(2.0)).run(batch, Draw.of(1, "rich")).tables[0]


def moved(batch, name, step):
    """The batch with one measured parameter moved."""
    track = batch["track"]
    other = batch.copy()
    other.tables["track"] = Table("track", track.offsets, {**track, name: track[name] + step})
    return other


def matrix(table, what):
    return np.array([table[f"{what}_{species}"] for species in SPECIES])


def threshold(mass, index):
    return mass / math.sqrt(index**2 - 1)


def events(n, size=100):
    return [size] * (n // size)


# --- physics ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("settings", "thresholds"),
    [
        ({}, {ELECTRON: 0.0021, MUON: 0.428, PION: 0.566, KAON: 2.000, PROTON: 3.802}),
        (FORWARD, {MUON: 2.00, PION: 2.64, KAON: 9.33, PROTON: 17.7}),
    ],
)
def test_thresholds(settings, thresholds):
    index = config(**settings).refractive_index
    for species, wanted in thresholds.items():
        mass = SPECIES_MASS[species]
        assert threshold(mass, index) == pytest.approx(wanted, rel=0.02)
        p = threshold(mass, index) * np.array([0.999, 1.001])
        batch = make_tracks(PION, p / math.cosh(2.0), 2.0, 0.1, np.zeros(15), smear=False)
        expected = matrix(run(batch, **{**settings, "shape": EVERYWHERE}), "expected")
        assert list(np.isnan(expected[species])) == [True, False]
        assert list(np.isnan(cherenkov_angle(p, mass, index))) == [True, False]


@pytest.mark.parametrize(
    ("settings", "angle", "photons", "ring"),
    [({}, 0.2418, 22.5, 1.476e-3), (FORWARD, 52.88e-3, 26.0, 0.294e-3)],
)
def test_saturation(settings, angle, photons, ring):
    setup = config(**settings)
    theta = cherenkov_angle(np.array([1e3]), SPECIES_MASS[ELECTRON], setup.refractive_index)
    mean = mean_photons(theta, 1.0, setup)
    assert theta[0] == pytest.approx(angle, rel=1e-3)
    assert mean[0] == pytest.approx(photons, rel=2e-3)
    assert setup.single_photon_resolution / math.sqrt(mean[0]) == pytest.approx(ring, rel=1e-3)


def test_saturation_of_alice3():
    """24 photons of 5.23 mrad: 1.07 mrad per ring."""
    setup = config(photon_efficiency=0.4266, single_photon_resolution="5.23 mrad")
    theta = cherenkov_angle(np.array([1e3]), SPECIES_MASS[ELECTRON], setup.refractive_index)
    mean = mean_photons(theta, 1.0, setup)[0]
    assert mean == pytest.approx(24, rel=1e-3)
    assert setup.single_photon_resolution / math.sqrt(mean) == pytest.approx(1.07e-3, rel=5e-3)


@pytest.mark.parametrize(
    ("index", "ring", "reach"),
    [
        (1.03, 1.5e-3, (2.97, 10.1, 17.1)),
        (1.03, 1.25e-3, (3.26, 11.05, 18.7)),
        (1.03, 1.0e-3, (3.64, 12.35, 20.8)),
        (1.03, 1.476e-3, (3.00, 10.2, 17.2)),
        (1.0014, 0.294e-3, (14.4, 49, 83)),
    ],
)
def test_separation(index, ring, reach):
    """Largest p with 3 sigma: numbers computed from cos(theta) = E/(n p) outside this program."""
    p = np.geomspace(0.6, 120, 3000)
    rich = run(make_tracks(PION, p, 0.0, 0.1, np.zeros(15), smear=False), refractive_index=index)
    expected = matrix(rich, "expected")
    for (light, heavy), wanted in zip(((ELECTRON, PION), (PION, KAON), (KAON, PROTON)), reach, strict=True):
        separation = (expected[light] - expected[heavy]) / ring
        assert p[np.nan_to_num(separation) >= 3].max() == pytest.approx(wanted, rel=0.02)


def test_separation_with_the_photons_of_the_stage():
    """DelphesO2 barrel: the error of real rings gives the reach of the table."""
    n = 20000
    batch = make_tracks(PION, np.full(n, 10.2), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(n))
    rich = run(batch)
    distance = (rich["expected_pion"] - rich["expected_kaon"]) / rich["angle_error"]
    assert np.sqrt(np.mean(distance**2)) == pytest.approx(3.0, rel=0.02)


def momentum_part(rich, species):
    """Error of the expected angle: what n-sigma contains besides the error of the measured one."""
    total = (rich["angle"] - rich[f"expected_{species}"]) / rich[f"n_sigma_{species}"]
    return np.sqrt(np.maximum(total**2 - rich["angle_error"] ** 2, 0))


def test_error_against_finite_differences():
    """With so many photons the measured angle is the expected one, and n-sigma has nothing but the track's errors."""
    rng = np.random.default_rng(3)
    n = 80
    root = rng.normal(size=(n, 5, 5)) * np.array([0.1, 0.1, 1e-3, 1e-3, 1e-3])[:, None]
    matrices = root @ root.transpose(0, 2, 1)
    cov = matrices[:, *np.tril_indices(5)]
    np.testing.assert_array_equal(full(cov), matrices)
    sign, pt, eta = rng.choice([-1, 1], n), rng.uniform(5, 12, n), rng.uniform(-1.4, 1.4, n)
    for species in (MUON, PION, KAON, PROTON):
        name = SPECIES[species]
        batch = make_tracks(species, pt, eta, 0.1, cov, sign=sign, smear=False)
        slopes = {}
        for parameter, step in (("tgl", 1e-6), ("q_over_pt", 1e-7)):
            up, down = (run(moved(batch, parameter, s))[f"expected_{name}"] for s in (step, -step))
            slopes[parameter] = (up - down) / (2 * step)
        t, q = slopes["tgl"], slopes["q_over_pt"]
        wanted = np.sqrt(t**2 * cov[:, 9] + 2 * t * q * cov[:, 13] + q**2 * cov[:, 14])
        rich = run(batch, photon_yield="1e9 1/cm")
        assert rich["angle_error"].max() < 2e-6
        np.testing.assert_allclose(momentum_part(rich, name), wanted, rtol=1e-4, atol=1e-9)


# --- rings -----------------------------------------------------------------------------------------------------------
def test_photons_are_poisson_and_rings_a_mixture():
    n = 40000
    batch = make_tracks(ELECTRON, np.full(n, 5.0), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(n))
    rich = run(batch)
    photons = rich["n_photons"]
    assert photons.mean() == pytest.approx(22.5, abs=0.02 + 5 * math.sqrt(22.5 / n))
    assert photons.var() == pytest.approx(photons.mean(), rel=5 * math.sqrt(2 / n))
    residual = rich["angle"] - rich["expected_electron"]
    assert residual.std() == pytest.approx(7e-3 * math.sqrt(np.mean(1 / photons)), rel=5 / math.sqrt(2 * n))
    kurtosis = np.mean(residual**4) / residual.var() ** 2 - 3
    # normal numbers of widths 1/sqrt(n): 3 var(1/n)/mean(1/n)^2
    inverse = 1 / photons
    assert kurtosis == pytest.approx(3 * inverse.var() / inverse.mean() ** 2, abs=5 * math.sqrt(24 / n))
    assert kurtosis > 2 * math.sqrt(24 / n)


def test_one_draw_for_the_angle_and_its_distance():
    rng = np.random.default_rng(5)
    n = 3000
    pt = rng.uniform(0.3, 8, n)
    batch = make_tracks(
        rng.integers(0, 9, n), pt, rng.uniform(-1, 1, n), 0.1, packed(q_over_pt=0.01 / pt), sizes=events(n)
    )  # fmt: skip
    rich = run(batch)
    seen = rich["has_signal"]
    np.testing.assert_array_equal(seen, rich["n_photons"] >= 3)
    np.testing.assert_array_equal(np.isfinite(rich["angle"]), seen)
    np.testing.assert_allclose(rich["angle_error"][seen], 7e-3 / np.sqrt(rich["n_photons"][seen]), rtol=1e-14)
    track = batch["track"]
    inverse = abs(track["q_over_pt"]) / np.sqrt(1 + track["tgl"] ** 2)
    relative = np.sqrt(track["cov"][:, 14]) / abs(track["q_over_pt"])
    for species, mass, charge in zip(SPECIES, SPECIES_MASS, SPECIES_CHARGE, strict=True):
        # the error of sin^2(theta) by its slope between the two angles
        error = 2 * np.square(mass / charge * inverse) / 1.03**2 * relative
        error = error / np.sin(rich["angle"] + rich[f"expected_{species}"])
        wanted = (rich["angle"] - rich[f"expected_{species}"]) / np.hypot(rich["angle_error"], error)
        np.testing.assert_allclose(rich[f"n_sigma_{species}"], wanted, rtol=1e-10)
        known = seen & np.isfinite(rich[f"expected_{species}"])
        np.testing.assert_array_equal(np.isfinite(rich[f"n_sigma_{species}"]), known)


def test_sign_of_n_sigma():
    """A pion has a larger angle than a kaon would have."""
    batch = make_tracks(PION, np.full(1000, 4.0), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(1000))
    assert run(batch)["n_sigma_kaon"].min() > 0
    batch = make_tracks(KAON, np.full(1000, 4.0), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(1000))
    assert run(batch)["n_sigma_pion"].max() < 0


def test_below_threshold_is_a_veto_and_not_a_missing_row():
    p = np.array([1.5, 1.5, 1.5])
    batch = make_tracks([KAON, KAON, PION], p, [0.0, 1.6, 0.0], 0.1, np.zeros(15), smear=False)
    rich = run(batch)
    np.testing.assert_array_equal(rich["has_acceptance"], [True, False, True])
    np.testing.assert_array_equal(rich["has_signal"], [False, False, True])
    np.testing.assert_array_equal(rich["n_photons"][:2], 0)
    # in the acceptance the pion hypothesis expects a ring that is not there; outside nothing is expected
    np.testing.assert_array_equal(np.isfinite(rich["expected_pion"]), [True, False, True])
    assert np.isnan(rich["expected_kaon"]).all()
    assert np.isnan(rich["n_sigma_pion"][:2]).all()


def test_photons_grow_with_the_charge_squared():
    n = 4000
    p = 60.0
    for species, charge in ((DEUTERON, 1), (ALPHA, 2)):
        batch = make_tracks(species, np.full(n, p), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(n))
        rich = run(batch)
        theta = cherenkov_angle(np.array([p]), SPECIES_MASS[species], 1.03)
        mean = 490 * 2 * 0.4 * charge**2 * math.sin(theta[0]) ** 2
        assert rich["n_photons"].mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / n))
        # the tracker measures p/z: the hypothesis of the right charge finds the momentum
        assert rich[f"expected_{SPECIES[species]}"][0] == pytest.approx(theta[0], rel=1e-12)


def test_rings_with_few_photons_are_not_found():
    # mean 3 photons: a fraction exp(-3) (1 + 3 + 9/2) of all has fewer than 3
    n = 20000
    sine = math.sqrt(3 / (490 * 2 * 0.4))
    p = SPECIES_MASS[KAON] / math.sqrt(1.03**2 * (1 - sine**2) - 1)
    batch = make_tracks(KAON, np.full(n, p), 0.0, 0.1, np.zeros(15), smear=False, sizes=events(n))
    rich = run(batch)
    lost = math.exp(-3) * 8.5
    assert rich["has_signal"].mean() == pytest.approx(1 - lost, abs=5 * math.sqrt(lost * (1 - lost) / n))
    assert run(batch, min_photons=1)["has_signal"].mean() == pytest.approx(1 - math.exp(-3), abs=0.01)


def test_acceptance_is_that_of_the_path():
    eta = np.array([0.0, 1.40, 1.50, 3.0])
    batch = make_tracks(PION, 5.0, eta, 0.1, np.zeros(15), smear=False)
    np.testing.assert_array_equal(run(batch)["has_acceptance"], [True, True, False, False])
    np.testing.assert_array_equal(run(batch, **FORWARD)["has_acceptance"], [False, False, True, True])
    # 0.25 GeV/c curls inside 1 m in 2 T
    assert not run(make_tracks(ELECTRON, 0.25, 0.0, 0.1, np.zeros(15), smear=False))["has_acceptance"][0]


# --- pulls and promises ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("shape", ["barrel", "forward"])
def test_true_hypothesis_has_a_unit_pull(shape):
    rng = np.random.default_rng(7)
    n = 27000
    species = np.tile(np.arange(9), n // 9)
    index = 1.03 if shape == "barrel" else 1.0014
    p = np.array([threshold(m, index) for m in SPECIES_MASS])[species] * rng.uniform(1.6, 6, n)
    # electrons: below 1 GeV/c the momentum error of the light ones is nothing
    p = np.maximum(p, 3.0)
    eta = rng.uniform(-1, 1, n) if shape == "barrel" else rng.uniform(1.6, 2.8, n)
    pt = p / np.cosh(eta)
    rigidity = pt / np.array(SPECIES_CHARGE)[species]
    cov = packed(tgl=np.full(n, 2e-3), q_over_pt=0.015 / rigidity, tgl_q=0.7)
    batch = make_tracks(species, pt, eta, rng.uniform(-3, 3, n), cov, sizes=events(n), sign=rng.choice([-1, 1], n))
    rich = run(batch, **({} if shape == "barrel" else FORWARD))
    assert rich["has_signal"].mean() > 0.99
    n_sigma = matrix(rich, "n_sigma")[species, np.arange(n)]
    n_sigma = n_sigma[rich["has_signal"]]
    assert n_sigma.mean() == pytest.approx(0, abs=0.02 + 3 / math.sqrt(n))
    assert n_sigma.std() == pytest.approx(1, abs=0.02)
    share = np.nanmedian((momentum_part(rich, "proton") / rich["angle_error"])[species == PROTON])
    assert share > 0.1, "the momentum error must matter in this test"


def test_interpretation_uses_no_truth():
    rng = np.random.default_rng(9)
    n = 300
    pt = rng.uniform(0.5, 5, n)
    batch = make_tracks(rng.integers(0, 5, n), pt, 0.3, 0.1, packed(q_over_pt=0.05 / pt))
    expected = matrix(run(batch), "expected")
    track = dict(batch["track"])
    momentum = track["pt"] * np.cosh(track["eta"])
    for i, (mass, charge) in enumerate(zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)):
        np.testing.assert_allclose(expected[i], cherenkov_angle(charge * momentum, mass, 1.03), rtol=1e-9)
    lied = batch.copy()
    lied.tables["track"] = Table("track", batch["track"].offsets, {**track, "mass_true": np.full(n, 0.3)})
    np.testing.assert_array_equal(matrix(run(lied), "expected"), expected)


def test_stage_keeps_its_promises():
    rng = np.random.default_rng(51)
    size = 60
    pt = rng.uniform(0.1, 6.0, size)
    batch = make_tracks(
        rng.integers(0, 9, size), pt, rng.uniform(-3, 3, size), rng.uniform(-3, 3, size),
        packed(tgl=1e-3, q_over_pt=0.03 / pt), vertex=rng.normal(0, 1, (size, 4)), sizes=[0, 1, 2, 7, 0, 50],
        sign=rng.choice([-1, 1], size),
    )  # fmt: skip
    stage = Rich("brich", config(shape=[BARREL, FORWARD["shape"]]), Setup(2.0))
    check_stage(stage, batch)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"refractive_index": 1.0}, "greater than 1"),
        ({"photon_yield": 490}, "needs a unit"),
        ({"photon_yield": "490 cm"}, "inverse length"),
        ({"single_photon_resolution": "7 ps"}, "angle"),
        ({"min_photons": 0}, "greater than or equal to 1"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(ValidationError, match=text):
        config(**settings)
