"""Energy loss in silicon: the straggling model against published numbers, and the stage against the model."""

import math

import numpy as np
import pytest
from pid_tracks import make_tracks, packed

from flashdet.kernels.material import stopping_power
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.tot.stage import Tot, TotConfig
from flashdet.stages.tot.straggling import (
    PLASMA_ENERGY,
    absorption,
    dielectric,
    largest_transfer,
    layer_density,
    transfers,
)
from flashdet.stages.tot.truncated import escape_energy, loss_tables, n_kept
from flashdet.testing import check_stage

ELECTRON, MUON, PION, KAON, PROTON, DEUTERON, TRITON, HELIUM3, ALPHA = range(9)
BARREL = [{"cylinder": {"radius": f"{r} cm", "half_length": "130 cm"}} for r in (7, 9, 12, 20, 30, 45, 60, 80)]
DISCS = [{"disc": {"z": f"{z} cm", "r_min": "7 cm", "r_max": "68 cm"}} for z in (150, 180, 220, 260, -150, -180, -220)]
#: No cut on transfers: the whole distribution of a thin layer up to 1 MeV.
NO_CUT = 1e6


def stage(shape=BARREL, **settings):
    config = TotConfig.model_validate({"shape": shape, "thickness": "20 um", **settings})
    return Tot("tot", config, Setup(2.0))


def tracks(species, p, eta=0.0, n=4000, seed=1, q_error=0.007):
    rng = np.random.default_rng(seed)
    pt = np.full(n, p / math.cosh(eta))
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=q_error / pt)
    return make_tracks(np.full(n, species), pt, eta, rng.uniform(-3, 3, n), cov, sizes=[10] * (n // 10), seed=seed)


def run(batch, seed=1, **settings):
    return stage(**settings).run(batch, Draw.of(seed, "tot")).tables[0]


def peak_and_width(beta_gamma, thickness):
    """Most probable energy loss and full width at half maximum [eV]."""
    energy, density = layer_density(beta_gamma, thickness, NO_CUT, 0.0, 65536)
    step = energy[1] - energy[0]
    smooth = np.ones(max(int(thickness * 1.5 / step), 1))
    density = np.convolve(density, smooth / len(smooth), "same")
    top = int(np.argmax(density))
    near = slice(int(top * 0.85), int(top * 1.2))
    a, b, c, _ = np.polyfit(energy[near] - energy[top], density[near], 3)
    roots = (-b + np.array([1, -1]) * math.sqrt(b * b - 3 * a * c)) / (3 * a)
    half = energy[density >= density.max() / 2]
    return energy[top] + roots[np.argmin(abs(roots))], half[-1] - half[0]


def landau_peak(beta_gamma, thickness):
    """Delta_p = xi (ln(2 m b2 g2/I) + ln(xi/I) + 0.2 - b2 - delta) of the PDG review, density effect of Sternheimer."""
    beta2 = beta_gamma**2 / (1 + beta_gamma**2)
    xi = 17.825 * thickness / beta2
    x = math.log10(beta_gamma)
    delta = 0.14 * 10 ** (2 * (x - 0.2015)) if x < 0.2015 else 2 * math.log(10) * x - 4.4355
    if 0.2015 <= x < 2.8716:
        delta += 0.14921 * (2.8716 - x) ** 3.2546
    logs = math.log(2 * 510998.95 * beta_gamma**2 / 173) + math.log(xi / 173)
    return xi * (logs + 0.2 - beta2 - delta)


# --- the model of straggling -----------------------------------------------------------------------------------------
def test_sum_rules():
    grid = dielectric(NO_CUT)
    whole = 0.5 * math.pi * PLASMA_ENERGY**2
    log_e = np.log(grid.energy)
    assert np.trapezoid(grid.energy**2 * absorption(grid.energy), log_e) == pytest.approx(whole, rel=0.005)
    assert grid.free[-1] == pytest.approx(whole, rel=0.005)
    mean_log = np.trapezoid(grid.energy**2 * grid.loss * log_e, log_e) / grid.free[-1]
    assert math.exp(mean_log) == pytest.approx(173, rel=0.01)
    assert grid.energy[np.argmax(grid.loss)] == pytest.approx(16.7, rel=0.02)


@pytest.mark.parametrize("beta_gamma", [0.2, 0.5, 1.0, 3.5, 10.0])
def test_mean_loss_is_that_of_bethe(beta_gamma):
    energy, density = transfers(beta_gamma, 1e9)
    mean = np.trapezoid(energy**2 * density, np.log(energy))
    # GeV cm2/g of an infinitely heavy particle to eV/um
    assert mean == pytest.approx(stopping_power(beta_gamma, 1e6, 1.0) * 2.329 * 1e5, rel=0.01)


#: E^2 times collisions per energy and length [eV/um] by transfer E [eV], of pions of 45 GeV (kinetic) in silicon:
#: Bichsel's own program with his tables of optical constants and generalised oscillator strengths (github.com/pitzl/
#: bichsel, eesig-pi45000.dat), which knows transfers up to 1.3 MeV.
_BICHSEL = {
    12.0: 9.6, 25.0: 17.1, 30.0: 13.1, 150.7: 90.1, 200.0: 85.8, 301.4: 77.6, 399.4: 60.4, 503.5: 48.5, 601.6: 42.7,
    800.0: 34.2, 1002.7: 29.4, 1501.0: 23.5, 1761.0: 21.95, 1859.0: 65.3, 2049.0: 58.4, 3000.0: 41.0, 4979.0: 28.8,
    7037.0: 24.2, 10070.0: 21.4, 20141.0: 19.05, 50024.0: 18.12, 100048.0: 17.96, 213531.0: 17.886,
}  # fmt: skip


def test_spectrum_of_transfers_is_that_of_bichsel():
    """Nothing here is fitted to it: the model has five oscillator strengths for his tables of hundreds of numbers."""
    energy, density = transfers(323.4, 1.3e6)
    log_e = np.log(energy)
    assert np.trapezoid(energy**2 * density, log_e) == pytest.approx(373.9, rel=0.01)
    assert np.trapezoid(energy * density, log_e) == pytest.approx(1 / 0.2602, rel=0.08)
    for transfer, wanted in _BICHSEL.items():
        found = np.interp(transfer, energy, energy**2 * density)
        assert found == pytest.approx(wanted, rel=0.12 if transfer < 4e4 else 0.01), transfer


@pytest.mark.parametrize("beta_gamma", [0.3, 1.0, 3.0, 30.0])
def test_large_transfers_are_those_of_rutherford(beta_gamma):
    """n(E) = xi/E^2 (1 - beta^2 E/E_max) per length, xi = 0.1535 MeV cm2/g Z/A rho/beta^2 (PDG review, eq. 34.3)."""
    energy, density = transfers(beta_gamma, 1e9)
    beta2 = beta_gamma**2 / (1 + beta_gamma**2)
    xi = 0.307075 / 2 * 14 / 28.0855 * 2.329 / beta2 * 1e2
    far = (energy > 3e4) & (energy < 0.9 * largest_transfer(beta_gamma))
    assert far.any()
    wanted = xi / energy**2 * (1 - beta2 * energy / largest_transfer(beta_gamma))
    np.testing.assert_allclose(density[far], wanted[far], rtol=0.03)


@pytest.mark.parametrize(("beta_gamma", "tolerance"), [(0.5, 0.03), (3.5, 0.025), (10.0, 0.03), (1000.0, 0.025)])
@pytest.mark.parametrize("thickness", [80.0, 160.0, 320.0])
def test_most_probable_loss(beta_gamma, tolerance, thickness):
    peak, _ = peak_and_width(beta_gamma, thickness)
    assert peak == pytest.approx(landau_peak(beta_gamma, thickness), rel=tolerance)


def test_minimum_ionising_in_300_um():
    """78 to 84 keV: PDG review (0.28 keV/um at the minimum in 300 um, 82 keV in measurements of strip detectors)."""
    peaks = [peak_and_width(bg, 300.0)[0] for bg in (2.0, 2.5, 3.0, 3.5, 4.0)]
    assert 78e3 < min(peaks) < 84e3
    assert peak_and_width(1000.0, 300.0)[0] / min(peaks) == pytest.approx(1.08, abs=0.03)


@pytest.mark.parametrize("thickness", [20.0, 40.0, 80.0, 160.0, 320.0, 640.0])
def test_fast_particles_in_thin_layers(thickness):
    """Peak and width at p/m > 500 in eV for t in um, fitted by Bichsel (Rev. Mod. Phys. 60 (1988) 663) to his model."""
    t, log_t = thickness, math.log(thickness)
    peak, width = peak_and_width(1000.0, t)
    assert peak == pytest.approx(t * (100.6 + 35.35 * log_t) if t < 110 else t * (190 + 16.3 * log_t), rel=0.05)
    if t > 30:
        wanted = t * (259.6 - 28.41 * log_t) if t < 260 else 71.3 * t * (1 + 39.4 / t**0.8)
        assert width == pytest.approx(wanted, rel=0.06)
    # far wider than the 4.02 xi of Landau in the thinnest, nearly equal to it in the thickest
    ratio = width / (4.018 * 17.825 * t)
    assert ratio > 2 if t < 50 else ratio > 1


def test_density_effect_saturates():
    assert peak_and_width(1e4, 80.0)[0] == pytest.approx(peak_and_width(1e3, 80.0)[0], rel=0.005)
    assert largest_transfer(1.0) == pytest.approx(1.022e6, rel=1e-3)


def test_layer_density_keeps_number_and_mean():
    energy, density = layer_density(3.5, 20.0, 47e3, 360.0)
    assert density.sum() == pytest.approx(1, abs=1e-6)
    spectrum, number = transfers(3.5, 47e3)
    mean = 20 * np.trapezoid(spectrum**2 * number, np.log(spectrum))
    assert (energy * density).sum() == pytest.approx(mean, rel=2e-3)
    quiet = layer_density(3.5, 20.0, 47e3, 0.0)
    added = _variance(energy, density) - _variance(*quiet)
    assert added == pytest.approx(360.0**2, rel=0.1)


def _variance(energy, density):
    mean = (energy * density).sum()
    return (energy**2 * density).sum() - mean**2


def test_charge_two_is_four_times_the_path():
    """z^2 scales the rate of transfers, not their energies."""
    table = loss_tables(20.0, 3, 0.5, 360.0, 0.05, 400.0)
    assert np.exp(table.path[0]) == pytest.approx(20e-4)
    assert escape_energy(20.0) == pytest.approx(47e3, rel=0.02)


@pytest.mark.parametrize(("n", "kept"), [(1, 1), (2, 1), (3, 2), (4, 2), (5, 3), (6, 3), (7, 4), (8, 4)])
def test_kept_signals(n, kept):
    assert n_kept(n, 0.5) == kept
    assert n_kept(n, 1.0) == n


@pytest.mark.parametrize("kept_fraction", [0.5, 1.0])
def test_moments_of_truncated_means(kept_fraction):
    """The exact moments against means of sorted numbers drawn from the same quantiles."""
    table = loss_tables(20.0, 8, kept_fraction, 360.0, 0.05, 400.0)
    body, tail = np.split(table.quantile[30, 0], 2)
    grid = np.linspace(0, 1, len(body))
    nodes = np.concatenate([grid[:-1], 1 - (1 - grid) / 64])
    values = np.concatenate([body[:-1], tail])
    rng = np.random.default_rng(1)
    for n in (3, 8):
        drawn = np.sort(np.interp(rng.random((40_000, n)), nodes, values), axis=1)[:, : n_kept(n, kept_fraction)]
        mean, width = table.moments[n, 30, 0]
        sample = drawn.mean(axis=1)
        assert mean == pytest.approx(sample.mean(), abs=4 * sample.std() / 200)
        assert width == pytest.approx(sample.std(), rel=0.03)


# --- the stage -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("species", "p"), [(PION, 0.4), (PION, 2.0), (KAON, 0.5), (PROTON, 0.7), (DEUTERON, 1.5), (ALPHA, 4.0)]
)
def test_pulls_of_the_true_hypothesis(species, p):
    table = run(tracks(species, p, eta=0.3, n=8000))
    pull = table[f"n_sigma_{SPECIES[species]}"]
    assert table["has_signal"].mean() > 0.99
    pull = pull[table["has_signal"]]
    assert abs(pull.mean()) < 4 / math.sqrt(len(pull)) + 0.01
    # the kurtosis of the truncated mean widens the error of the width
    assert pull.std() == pytest.approx(1, abs=0.05)


def test_pulls_follow_the_error_of_the_momentum():
    table = run(tracks(PROTON, 0.8, n=8000, q_error=0.08))
    assert table["n_sigma_proton"].std() == pytest.approx(1, abs=0.05)


def test_separation():
    """K and pi apart by more than 3 sigma at 0.4 GeV, protons by more at 0.8; together where the curves cross."""

    def distance(p, heavy, light):
        table = run(tracks(heavy, p, n=1000))
        return np.nanmean(table[f"n_sigma_{SPECIES[light]}"])

    assert distance(0.4, KAON, PION) > 3
    assert distance(0.8, PROTON, PION) > 3
    assert abs(distance(1.1, KAON, PION)) < 1.5
    assert distance(1.0, ALPHA, PROTON) > 10


def test_layers_of_barrel_and_discs():
    config = BARREL + DISCS
    central = run(tracks(PION, 5.0, eta=0.0, n=500), shape=config, efficiency=1.0)
    forward = run(tracks(PION, 20.0, eta=2.2, n=500), shape=config, efficiency=1.0)
    # at eta = 2.2 (tgl = 4.457) the cylinders end at 130 cm: r < 29.2; discs at 150 to 260 cm are met at r 33.7 to 58.3
    assert set(central["n_layers"]) == {8}
    assert set(forward["n_layers"]) == {8}
    backward = run(tracks(PION, 20.0, eta=-2.2, n=500), shape=config, efficiency=1.0)
    assert set(backward["n_layers"]) == {7}


def test_looping_tracks_reach_what_their_circle_reaches():
    # pt 0.1 GeV in 2 T: radius 16.68 cm, reaches r < 33.4 cm
    table = run(tracks(PION, 0.1, n=500), efficiency=1.0)
    assert set(table["n_layers"]) == {5}


def crossed_on_the_way(batch, shape, step=0.04):
    """Layers that a helix meets in its first half turn, followed in small steps."""
    t = {name: batch["track"][f"{name}_true"] for name in ("vx", "vy", "vz", "pt", "eta", "phi", "charge")}
    k, tgl = -0.00299792458 * 2.0 * t["charge"] / t["pt"], np.sinh(t["eta"])
    way = np.arange(0, 250, step)[:, np.newaxis]
    direction = t["phi"] + k * way
    x = t["vx"] + (np.sin(direction) - np.sin(t["phi"])) / k
    y = t["vy"] - (np.cos(direction) - np.cos(t["phi"])) / k
    z, r, inside = t["vz"] + tgl * way, np.hypot(x, y), (abs(k) * way < math.pi)[1:]
    n = np.zeros(len(k), int)
    for surface in shape:
        (kind, layer), *_ = surface.items()
        size = {name: float(text.split()[0]) for name, text in layer.items()}
        if kind == "cylinder":
            met = (r[:-1] < size["radius"]) & (size["radius"] <= r[1:]) & (abs(z[1:]) <= size["half_length"])
            flat = 0.5 * abs(k) * size["radius"] > 0.98
            n += (met & inside).any(axis=0) & ~flat
        else:
            met = (z[:-1] - size["z"]) * (z[1:] - size["z"]) <= 0
            n += (met & inside & (size["r_min"] <= r[1:]) & (r[1:] <= size["r_max"])).any(axis=0)
    return n


def test_layers_are_those_that_the_helix_meets():
    """Ends of barrels, edges of discs, tracks that turn back, vertices off the axis and beyond ends of barrels."""
    rng = np.random.default_rng(5)
    n = 300
    pt = rng.choice([0.03, 0.05, 0.07, 0.1, 0.15, 0.25, 0.6, 2.0], n) * rng.uniform(1, 1.3, n)
    vertex = np.column_stack([rng.normal(0, 0.5, (n, 2)), rng.normal(0, 60, n), np.zeros(n)])
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=1e-6 / pt)
    batch = make_tracks(
        np.full(n, PION), pt, rng.uniform(-2.5, 2.5, n), rng.uniform(-3, 3, n), cov, vertex=vertex, sizes=[100] * 3,
        sign=rng.choice([-1, 1], n),
    )  # fmt: skip
    shape = [*BARREL[:5], *({"cylinder": {"radius": f"{r} cm", "half_length": "64 cm"}} for r in (50, 65)), *DISCS]
    found = run(batch, shape=shape, efficiency=1.0, threshold="0 keV", min_layers=1)["n_layers"]
    wanted = crossed_on_the_way(batch, shape)
    assert len(set(wanted)) > 6
    # steps of 0.4 mm and the arc of the start, good to 0.1 mm, decide only at edges
    assert (found != wanted).mean() < 0.01


@pytest.mark.parametrize("n", [3, 8, 9, 14])
@pytest.mark.parametrize("kept_fraction", [0.5, 1.0])
def test_lowest_of_many_layers(n, kept_fraction):
    """Up to eight crossings are sorted by a network, more in passes: both against the exact moments of n layers."""
    shape = [{"cylinder": {"radius": f"{5 + i} cm", "half_length": "130 cm"}} for i in range(n)]
    tracker = stage(shape, efficiency=1.0, kept_fraction=kept_fraction, threshold="0 keV")
    table = tracker.run(tracks(PION, 3.0), Draw.of(1, "tot")).tables[0]
    assert set(table["n_layers"]) == {n}
    pull = table["n_sigma_pion"]
    assert abs(pull.mean()) < 4 / math.sqrt(len(pull)) + 0.01
    assert pull.std() == pytest.approx(1, abs=0.08)


def test_layers_are_independent():
    """Four layers share a block of random bits: hits of all pairs of layers occur as often as their chances say."""
    lone = [run(tracks(PION, 3.0, n=40_000), shape=BARREL[:m], efficiency=0.6, min_layers=1) for m in range(1, 7)]
    hits = np.diff([table["n_layers"].astype(int) for table in lone], axis=0, prepend=0)
    chance = hits.mean()
    assert chance == pytest.approx(0.6 * 0.995, abs=0.01)
    correlation = np.corrcoef(hits)[~np.eye(6, dtype=bool)]
    assert abs(correlation).max() < 4.5 / math.sqrt(40_000)


def test_inefficiency_and_noise():
    table = run(tracks(PION, 1.0, n=8000), efficiency=0.9)
    assert table["n_layers"].mean() == pytest.approx(8 * 0.9, abs=4 * math.sqrt(8 * 0.09 / 8000))
    few = run(tracks(PION, 1.0, n=2000), efficiency=0.2)
    is_short = few["n_layers"] < 3
    assert is_short.any()
    assert np.array_equal(np.isnan(few["signal"]), is_short)
    assert np.array_equal(few["has_signal"], ~is_short)


def test_truth_only_through_the_particle():
    """The expectation uses the measured momentum: the generated one may not leak into it."""
    batch = tracks(KAON, 0.5, n=100, q_error=0.2)
    table = run(batch)
    order = np.argsort(batch["track"]["pt"])
    expected = table["expected_kaon"][order][table["n_layers"][order] == 8]
    assert (np.diff(expected) < 0).all()


def test_log_likelihood_is_a_density():
    table = run(tracks(PION, 0.6, n=500))
    pull = table["n_sigma_proton"]
    error = (table["signal"] - table["expected_proton"]) / pull
    wanted = -0.5 * pull**2 - np.log(error * math.sqrt(2 * math.pi))
    np.testing.assert_allclose(table["log_likelihood_proton"], wanted, rtol=1e-12)


def test_stage_conforms():
    rng = np.random.default_rng(3)
    n = 300
    pt = rng.uniform(0.08, 5, n)
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=0.01 / pt)
    vertex = np.column_stack([rng.normal(0, 1, (n, 2)), rng.normal(0, 5, n), np.zeros(n)])
    batch = make_tracks(
        rng.integers(0, 9, n), pt, rng.uniform(-3.5, 3.5, n), rng.uniform(-3, 3, n), cov, vertex=vertex,
        sizes=[100, 0, 150, 50], sign=rng.choice([-1, 1], n),
    )  # fmt: skip
    check_stage(stage(BARREL + DISCS), batch)


def test_slow_particles_are_counted():
    output = stage().run(tracks(ALPHA, 0.2, n=100), Draw.of(1, "tot"))
    assert 2 * 0.2 / 2 / SPECIES_MASS[ALPHA] < 0.08
    assert sum(count for name, count in output.counts.items() if name.startswith("out of range")) == 100
