"""RICH: log-likelihood of every hypothesis, from rings, missing rings and photons."""

import math

import numpy as np
import pytest
from pid_tracks import make_tracks, packed
from scipy import stats

from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.likelihood import MANY, few, many
from flashdet.stages.rich.optics import cherenkov_angle
from flashdet.stages.rich.stage import Rich

ELECTRON, MUON, PION, KAON, PROTON = range(5)
SIMPLE = {"shape": {"cylinder": {"radius": "86 cm", "half_length": "250 cm"}}}
TILES = {"model": "projective", "tiles": {"n_azimuthal_tiles": 36}, "photon_efficiency": 0.4266}
NOISY = {**TILES, "background": {"dark_count_rate": "50 kHz/mm2", "time_window": "2 ns"}}
#: Photons at right angles, simple model: 490/cm over 2 cm, 40 % of them detected.
YIELD = 490 * 2 * 0.4


def run(batch, base):
    return Rich("rich", RichConfig.model_validate(base), Setup(2.0)).run(batch, Draw.of(1, "rich")).tables[0]


def matrix(table, what):
    return np.array([table[f"{what}_{species}"] for species in SPECIES])


def tracks(n, species, p, relative=0.01, per_event=5, seed=1):
    rng = np.random.default_rng(seed)
    eta = rng.uniform(-1.3, 1.3, n)
    pt = np.broadcast_to(p, n) / np.cosh(eta)
    cov = packed(tgl=np.full(n, 1e-3), q_over_pt=relative / pt)
    return make_tracks(species, pt, eta, rng.uniform(-3, 3, n), cov, sizes=[per_event] * (n // per_event))


def poisson(n, mean):
    return n * math.log(mean) - mean - math.lgamma(n + 1)


@pytest.mark.parametrize("threshold", [1, 2, 3, 4, 5, 17, MANY - 1])
def test_probability_of_too_few_photons(threshold):
    means = np.append(np.geomspace(1e-3, 5, 40), threshold * np.linspace(0.3, 3, 80))
    found = [few(mean, threshold) for mean in means]
    np.testing.assert_allclose(found, stats.poisson.cdf(threshold - 1, means), rtol=1e-13)
    assert few(0.0, threshold) == 1


@pytest.mark.parametrize("threshold", [MANY, 23, 60, 125, 423, 2000])
def test_probability_of_fewer_than_many_photons(threshold):
    """The expansion on both sides of the threshold, at it, where its two forms of eta meet, and far away."""
    near = threshold * (1 + np.array([-1.0001e-2, -0.9999e-2, -1e-5, -1e-12, 0, 1e-12, 1e-5, 0.9999e-2, 1.0001e-2]))
    means = np.concatenate([[0.0, 1e-310, 1e-3], near, threshold * np.linspace(0.01, 5, 500)])
    found = [many(mean, float(threshold)) for mean in means]
    np.testing.assert_allclose(found, stats.poisson.cdf(threshold - 1, means), rtol=0, atol=2e-11)


def test_closed_form_of_a_ring():
    """Exact momentum, simple model: Poisson times Gauss, plus the outliers, up to log n!."""
    batch = make_tracks(PION, np.full(50, 4.0), 0.0, 0.1, np.zeros(15), smear=False)
    table = run(batch, SIMPLE)
    assert table["has_signal"].all()
    limit = YIELD * (1 - 1 / 1.03**2)
    for species in (ELECTRON, PION, KAON):
        theta = cherenkov_angle(np.array([4.0]), SPECIES_MASS[species], 1.03)[0]
        for i in range(50):
            n, angle = int(table["n_photons"][i]), table["angle"][i]
            sigma = 7e-3 / math.sqrt(n)
            # sin^2(a) - sin^2(b) = sin(a + b) sin(a - b)
            pull = math.sin(angle - theta) / sigma
            ring = poisson(n, YIELD * math.sin(theta) ** 2) - pull**2 / 2 - math.log(sigma * math.sqrt(2 * math.pi))
            outlier = math.log(1e-4 / (math.acos(1 / 1.03) * (limit + 1)))
            wanted = np.logaddexp(ring, outlier) + math.lgamma(n + 1)
            assert table[f"log_likelihood_{SPECIES[species]}"][i] == pytest.approx(wanted, abs=1e-9)


def test_veto():
    """No ring: the probability of too few photons; 1 below threshold."""
    batch = make_tracks(KAON, np.full(3, 1.5), 0.0, 0.1, np.zeros(15), smear=False)
    table = run(batch, SIMPLE)
    assert not table["has_signal"].any()
    for species in (KAON, PROTON):
        np.testing.assert_allclose(table[f"log_likelihood_{SPECIES[species]}"], 0, atol=1e-12)
    mean = YIELD * math.sin(cherenkov_angle(np.array([1.5]), SPECIES_MASS[PION], 1.03)[0]) ** 2
    wanted = math.log(1e-4 + (1 - 1e-4) * math.exp(-mean) * (1 + mean + mean**2 / 2))
    np.testing.assert_allclose(table["log_likelihood_pion"], wanted, rtol=1e-12)
    assert wanted < -7


@pytest.mark.parametrize("base", [SIMPLE, TILES, NOISY], ids=["simple", "tiles", "noise"])
def test_finite_everywhere_and_zero_outside(base):
    rng = np.random.default_rng(2)
    n = 2000
    pt = rng.uniform(0.1, 12, n)
    batch = make_tracks(
        rng.integers(0, 9, n), pt, rng.uniform(-2.5, 2.5, n), rng.uniform(-3, 3, n), packed(q_over_pt=0.02 / pt),
        sizes=[20] * (n // 20), sign=rng.choice([-1, 1], n),
    )  # fmt: skip
    table = run(batch, base)
    values = matrix(table, "log_likelihood")
    assert np.isfinite(values).all()
    outside = ~table["has_acceptance"]
    assert outside.any()
    assert not values[:, outside].any()
    assert (values[:, ~outside] != 0).any(axis=0).mean() > 0.7


@pytest.mark.parametrize("base", [SIMPLE, TILES, NOISY], ids=["simple", "tiles", "noise"])
@pytest.mark.parametrize(("one", "other", "p"), [(PION, KAON, 2.1), (PION, KAON, 10.0), (PION, KAON, 2.02),
                                                 (KAON, PROTON, 3.9), (ELECTRON, PION, 0.58)])  # fmt: skip
def test_ratio_is_the_odds(base, one, other, p):
    """A likelihood ratio tells the odds: of equal samples, P(one | ratio) = 1/(1 + 1/ratio).

    Tested by its integral: the mean of P(one) over tracks of `one` plus that over tracks of `other` is 1. Below and
    near thresholds this only holds if missing rings, photons and angles are all weighted rightly.
    """
    n = 6000
    share = []
    for species in (one, other):
        table = run(tracks(n, species, p, seed=species), base)
        ratio = table[f"log_likelihood_{SPECIES[one]}"] - table[f"log_likelihood_{SPECIES[other]}"]
        ratio = ratio[table["has_acceptance"]]
        share.append((1 / (1 + np.exp(-np.clip(ratio, -50, 50)))).mean())
    assert sum(share) == pytest.approx(1, abs=0.02)
    assert share[0] > 0.75


def test_photons_count_where_angles_do_not():
    """Doubly charged particles of the same angle have four times the photons."""
    batch = make_tracks(8, np.full(200, 60.0), 0.0, 0.1, np.zeros(15), smear=False, sizes=[1] * 200)
    table = run(batch, {**TILES, "tiles": {}})
    assert (table["log_likelihood_alpha"] - table["log_likelihood_pion"]).min() > 5


def test_momentum_below_the_threshold_by_chance_does_not_exclude():
    """Kaons just above threshold whose measured momentum is below: the likelihood knows the error of the momentum."""
    threshold = SPECIES_MASS[KAON] / math.sqrt(1.03**2 - 1)
    table = run(tracks(20000, KAON, threshold * 1.02, relative=0.02), SIMPLE)
    odd = table["has_signal"] & np.isnan(table["expected_kaon"])
    assert odd.sum() > 20
    assert (table["log_likelihood_kaon"] > table["log_likelihood_pion"] + 3)[odd].mean() > 0.95
    assert (table["log_likelihood_kaon"] > table["log_likelihood_proton"])[odd].mean() > 0.95


@pytest.mark.parametrize("base", [SIMPLE, NOISY])
def test_without_likelihood_the_other_columns_are_the_same(base):
    batch = tracks(600, np.resize([ELECTRON, PION, KAON, PROTON], 600), np.geomspace(0.3, 12, 600))
    whole, light = run(batch, base), run(batch, {**base, "likelihood": False})
    assert set(whole) - set(light) == {f"log_likelihood_{species}" for species in SPECIES}
    for name in light:
        assert whole[name].tobytes() == light[name].tobytes(), name
