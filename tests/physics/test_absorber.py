"""Absorber model of the muon identifier: range, kinematics, scattering, decays, punch-through, and the ALICE map."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats
from test_muon import make_tracks

from flashdet.lut import absorber as module
from flashdet.lut.absorber import (
    Absorber,
    build_absorber_maps,
    decay_muon,
    interactions,
    punch_through,
    tag_probabilities,
    window_share,
)
from flashdet.lut.hadrons import interaction_lengths, nucleon_cross_sections
from flashdet.lut.iron import iron_loss, iron_range, momentum_left, scattering_size
from flashdet.lut.muon_map import HADRON, HADRON_P, MUON, MUON_ETA, MUON_P
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.muon.config import AbsorberConfig, MuonConfig
from flashdet.stages.muon.stage import Muon
from flashdet.testing import check_stage

CARD = AbsorberConfig()
ALICE = Absorber(**{field: getattr(CARD, field) for field in AbsorberConfig.model_fields})
MUON_MASS, PION, KAON = SPECIES_MASS[1], SPECIES_MASS[2], SPECIES_MASS[3]


@pytest.fixture
def only_decays(monkeypatch):
    """What does not decay never comes through."""
    monkeypatch.setattr(module, "punch_through", lambda absorber, species, iron, momentum: np.zeros(len(momentum)))


def test_energy_loss_in_iron():
    """Minimum of 1.451 MeV cm2/g (PDG, atomic and nuclear properties of iron)."""
    loss = np.array([iron_loss(b, MUON_MASS) for b in np.geomspace(1, 30, 300)]) / 7.874
    assert loss.min() == pytest.approx(1.451e-3, rel=2e-3)


def test_range_is_the_integral_of_the_loss():
    """Losing energy in small steps over the range stops the particle there; ranges over mass scale with beta gamma."""
    p = 2.0
    r = iron_range(MUON_MASS, np.array([p]))[0]
    steps = 20000
    energy = math.hypot(p, MUON_MASS)
    done = 0
    while done < steps and energy > MUON_MASS * math.sqrt(1 + 0.1**2):
        momentum = math.sqrt(energy**2 - MUON_MASS**2)
        energy -= r / steps * iron_loss(momentum / MUON_MASS, MUON_MASS)
        done += 1
    assert done > 0.998 * steps
    ratio = iron_range(KAON, np.array([3.0]))[0] / iron_range(MUON_MASS, np.array([3.0 * MUON_MASS / KAON]))[0]
    assert ratio == pytest.approx(KAON / MUON_MASS, rel=0.02)


@pytest.mark.parametrize("mass", [PION, KAON])
def test_kinematics_of_the_decay(mass):
    """Muon and neutrino together are the mother; the muon's energy is uniform between its limits."""
    p = 2.5
    energies = []
    for cosine in np.linspace(-1, 1, 21):
        momentum, tangent = decay_muon(p, mass, cosine)
        along = momentum / math.sqrt(1 + tangent**2)
        across = along * tangent
        energy = math.hypot(momentum, MUON_MASS)
        energies.append(energy)
        neutrino = math.hypot(p - along, across)
        assert energy + neutrino == pytest.approx(math.hypot(p, mass), rel=1e-12)
    assert np.diff(energies, 2) == pytest.approx(0, abs=1e-12)
    total, beta = math.hypot(p, mass), p / math.hypot(p, mass)
    r = (MUON_MASS / mass) ** 2
    assert energies[0] == pytest.approx(total * (1 + r - beta * (1 - r)) / 2)
    assert energies[-1] == pytest.approx(total * (1 + r + beta * (1 - r)) / 2)


@pytest.mark.parametrize(("offset", "sigma", "window"), [(0.0, 1.0, 2.0), (3.0, 1.0, 4.0), (6.0, 2.0, 5.0)])
def test_window(offset, sigma, window):
    rng = np.random.default_rng(1)
    n = 400_000
    angle = rng.uniform(0, 2 * np.pi, n)
    x, y = offset * np.cos(angle) + sigma * rng.normal(size=n), offset * np.sin(angle) + sigma * rng.normal(size=n)
    sample = np.mean((abs(x) < window) & (abs(y) < window))
    assert window_share(offset, sigma, window) == pytest.approx(sample, abs=4 * 0.5 / np.sqrt(n) + 1e-3)


def test_scattering_of_fast_muons():
    """Without energy loss: lever theta0 / sqrt(3), theta0 = 13.6 MeV/(beta p) sqrt(L/X0)."""
    size = scattering_size(np.array([100.0]), MUON_MASS, 100.0, 150.0)[0]
    assert size == pytest.approx(150 * 0.0136 / 99.3 * math.sqrt(100 / 1.757) / math.sqrt(3), rel=0.02)
    slow, fast = scattering_size(np.array([1.5, 3.0]), MUON_MASS, 100.0, 150.0)
    assert slow > 2 * fast


def sample_decays(p, mass, c_tau, branching, absorber, n=150_000):
    """Tag rate by direct simulation at eta = 0: decay times, isotropic decays, boosts, scattering in two planes."""
    rng = np.random.default_rng(2)
    path = rng.exponential(p / mass * c_tau, n)
    cosine = rng.uniform(-1, 1, n)
    p_star = (mass**2 - MUON_MASS**2) / (2 * mass)
    along = math.hypot(p, mass) / mass * p_star * cosine + p / mass * math.hypot(p_star, MUON_MASS)
    across = p_star * np.sqrt(1 - cosine**2)
    momentum = np.hypot(along, across)
    iron = absorber.iron[0]
    stops = iron * (1 + absorber.spread[0] * rng.normal(size=n))
    lever = absorber.chamber_radius - absorber.radius
    cell = absorber.cell / math.sqrt(12)
    sigma = np.hypot(scattering_size(momentum, MUON_MASS, iron, lever), cell)
    window = absorber.match_sigmas * math.hypot(
        scattering_size(np.array([p]), MUON_MASS, iron, lever)[0], cell
    )  # fmt: skip
    offset = across / along * (absorber.chamber_radius - path)
    angle = rng.uniform(0, 2 * np.pi, n)
    x = offset * np.cos(angle) + sigma * rng.normal(size=n)
    y = offset * np.sin(angle) + sigma * rng.normal(size=n)
    found = (path < absorber.radius) & (along > 0) & (iron_range(MUON_MASS, momentum) > stops)
    found &= (abs(x) < window) & (abs(y) < window)
    return branching * absorber.efficiency * found.mean(), np.sqrt(found.sum()) / n


@pytest.mark.parametrize(("species", "c_tau", "branching"), [("pion", 780.45, 0.99988), ("kaon", 371.1, 0.6356)])
@pytest.mark.parametrize("p", [1.6, 2.5, 6.0])
def test_decays_in_flight_against_direct_simulation(species, c_tau, branching, p, only_decays):
    mass = SPECIES_MASS[SPECIES.index(species)]
    rate, error = sample_decays(p, mass, c_tau, branching, ALICE)
    model = tag_probabilities(ALICE, 0.0, np.array([p]))[species][0]
    assert model == pytest.approx(rate, abs=4 * error + 0.03 * rate)


def test_decay_probability_for_small_angles(only_decays):
    """Far above threshold nearly every pion's muon is found: 1 - exp(-L m/(p c tau))."""
    p = 12.0
    wide = replace(ALICE, match_sigmas=50.0)
    model = tag_probabilities(wide, 0.0, np.array([p]))["pion"][0]
    assert model == pytest.approx(0.992 * (1 - math.exp(-125 * PION / (p * 780.45))), rel=0.02)


# --- hadrons ---------------------------------------------------------------------------------------------------------
def test_interaction_lengths_of_iron():
    """132.1 g/cm2 for nucleons and 160.8 g/cm2 for pions (PDG), made for some 100 GeV; the model's factor is 5 %."""
    proton = [interaction_lengths("proton", 1, np.array([100.0]))[i][0] for i in (0, 1)]
    pion = [interaction_lengths("pion", 1, np.array([100.0]))[i][0] for i in (0, 1)]
    for (inelastic, production), tabulated in ((proton, 132.1 / 7.874), (pion, 160.8 / 7.874)):
        assert 0.95 * inelastic < tabulated < 1.05 * production


def test_order_of_the_hadrons():
    """At 3 GeV/c: no annihilation and few open channels for K+, annihilation of antiprotons."""
    hadrons = (("kaon", 1), ("pion", 1), ("kaon", -1), ("proton", -1))
    lengths = [interaction_lengths(*hadron, np.array([3.0]))[0][0] for hadron in hadrons]
    assert lengths == sorted(lengths, reverse=True)
    for species in ("pion", "kaon", "proton"):
        for sign in (1, -1):
            inelastic, production = interaction_lengths(species, sign, np.array([2.0, 20.0]))
            assert (inelastic < production).all()
    # charge symmetry of pions on a nucleus of nearly as many protons as neutrons
    plus, minus = (interaction_lengths("pion", sign, np.array([3.0]))[0][0] for sign in (1, -1))
    assert plus == pytest.approx(minus, rel=0.01)


@pytest.mark.parametrize(
    ("species", "sign", "total", "elastic"), [("proton", 1, 40.0, 10.0), ("kaon", 1, 17.4, 3.1), ("pion", 1, 25.4, 4.5)]
)
def test_cross_sections_on_nucleons(species, sign, total, elastic):
    """At 10 GeV/c, as the review of particle physics plots them, averaged over protons and neutrons."""
    found = nucleon_cross_sections(species, sign, np.array([10.0]))
    assert found[0][0] == pytest.approx(total, rel=0.05)
    assert found[1][0] == pytest.approx(elastic, rel=0.15)


def test_interactions_are_the_integral_over_the_way():
    """Against small steps; faster pions lose little, so that the length at the start does."""
    p, iron = 2.0, 80.0
    steps = 4000
    number, momentum = 0.0, p
    for _ in range(steps):
        inelastic, production = interaction_lengths("pion", 1, np.array([momentum]))
        number += iron / steps * 0.5 * (1 / inelastic[0] + 1 / production[0])
        energy = math.hypot(momentum, PION) - iron / steps * iron_loss(momentum / PION, PION)
        momentum = math.sqrt(energy**2 - PION**2)
    half = replace(ALICE, quasi_elastic=0.5)
    assert interactions(half, "pion", 1, iron, np.array([p]))[0] == pytest.approx(number, rel=2e-3)
    assert momentum_left(np.array([p]), PION, iron)[0] == pytest.approx(momentum, rel=2e-3)
    fast = interactions(replace(ALICE, quasi_elastic=0.0), "pion", 1, iron, np.array([50.0]))[0]
    assert fast == pytest.approx(iron / interaction_lengths("pion", 1, np.array([50.0]))[0][0], rel=5e-3)


def test_punch_through_without_regeneration_is_exponential():
    plain = replace(ALICE, regeneration=0.0)
    n = [interactions(plain, "kaon", sign, 90.0, np.array([4.0]))[0] for sign in (1, -1)]
    assert punch_through(plain, "kaon", 90.0, np.array([4.0]))[0] == pytest.approx(np.exp(-np.array(n)).mean())
    # nothing that an interaction leaves can have the range of the absorber at 1 GeV/c
    slow, fast = np.array([1.0]), np.array([10.0])
    assert punch_through(ALICE, "pion", 100.0, slow) == punch_through(plain, "pion", 100.0, slow)
    assert punch_through(ALICE, "pion", 100.0, fast) > 1.5 * punch_through(plain, "pion", 100.0, fast)


def slope(absorber):
    """Length in which the rate of pions of 3 GeV/c falls by e between 60 and 100 cm of iron [cm], without decays."""
    lengths = np.array([60.0, 70.0, 80.0, 90.0, 100.0])
    rates = []
    for length in lengths:
        beam = replace(absorber, abs_eta=(0.0, 1.0), iron=(length,) * 2, spread=(0.05,) * 2, radius=0.01)
        rates.append(tag_probabilities(beam, 0.0, np.array([3.0]))["pion"][0])
    return -1 / stats.linregress(lengths, np.log(rates))[0]


def test_beam_test_slope():
    """Pions of 3 GeV/c fall as exp(-L/18.8 cm) (arXiv:2604.00176): a prediction, no number of the model is from there.

    The cross sections are known to 5 %; quasi-elastic scattering may take all pions out of the window or none.
    """
    assert 0.95 * slope(replace(ALICE, quasi_elastic=0.0, regeneration=0.0)) < 18.8
    assert 1.05 * slope(replace(ALICE, quasi_elastic=1.0)) > 18.8
    assert slope(ALICE) == pytest.approx(18.8, rel=0.05)


@pytest.mark.parametrize("i_eta", range(8))
def test_muons_agree_with_the_map(i_eta):
    """Plateau within 1 %, and the momentum of half of it within 30 MeV/c (the thickness is taken from it)."""
    p = np.array(MUON_P)
    mine = tag_probabilities(ALICE, MUON_ETA[i_eta], p)["muon"]
    map_ = np.maximum.accumulate(MUON[i_eta])
    assert mine[-2:] == pytest.approx(map_[-2:], abs=0.01)
    half = np.interp(0.5 * map_[-2], map_, p)
    assert np.interp(0.5 * mine[-2], mine, p) == pytest.approx(half, abs=0.03)
    # the shape was not taken point by point: within 0.1 above the threshold
    above = p > half
    assert mine[above] == pytest.approx(np.array(MUON[i_eta])[above], abs=0.1)


#: Relative error of the cross sections on iron: the factor to the compilation is known to 5 %; those of kaons with the
#: two radii of the nucleus in use, of pions and their own, differ by 20 %.
CROSS_SECTION = {"pion": 0.05, "kaon": 0.10, "proton": 0.05}


def plausible(species, p):
    """Relative error of the model at eta = 0 from what it is made of.

    Hadrons that get through: exp(-n) with n known to the error of the cross sections, to 5 % of the iron, and to a
    quarter of the quasi-elastic interactions. Decays: match windows of 2.5 to 4 standard deviations.
    """
    iron = ALICE.iron[0]
    without, half = (
        np.mean([interactions(replace(ALICE, quasi_elastic=q), species, sign, iron, p) for sign in (1, -1)], axis=0)
        for q in (0.25, 0.5)
    )
    exponent = np.sqrt((half * math.hypot(CROSS_SECTION[species], 0.05)) ** 2 + (without - half) ** 2)
    tags = tag_probabilities(ALICE, 0.0, p)[species]
    through = ALICE.efficiency * punch_through(ALICE, species, iron, p)
    window = [tag_probabilities(replace(ALICE, match_sigmas=s), 0.0, p)[species] / tags for s in (2.5, 4.0)]
    return np.minimum(through / tags, 1.0) * (np.exp(exponent) - 1) + 0.5 * (window[1] - window[0])


@pytest.mark.parametrize(("species", "low"), [("pion", 1.5), ("kaon", 1.5), ("proton", 2.5)])
def test_fake_rates_agree_with_the_map(species, low):
    """From where a particle's range exceeds the absorber (a muon of a decay's, for mesons) up to 20 GeV/c."""
    p = np.array(HADRON_P)
    use = p >= low
    ratio = tag_probabilities(ALICE, 0.0, p)[species][use] / np.array(HADRON[species])[use]
    assert (abs(np.log(ratio)) < np.log1p(plausible(species, p[use]))).all(), ratio.round(2)


def test_fake_rates_of_all_species_from_one_free_number():
    """One number was adjusted; 24 rates agree with it to 16 % (root mean square), none is off by more than 50 %."""
    p = np.array(HADRON_P)
    tags = tag_probabilities(ALICE, 0.0, p)
    logs = np.concatenate(
        [
            np.log(tags[s][p >= low] / np.array(HADRON[s])[p >= low])
            for s, low in (("pion", 1.5), ("kaon", 1.5), ("proton", 2.5))
        ]
    )
    assert len(logs) == 24
    assert np.sqrt(np.mean(logs**2)) < 0.2
    assert abs(logs).max() < math.log(1.5)


def test_protons_stop_below_their_range():
    """A proton needs 2.2 GeV/c for 100 cm of iron, a muon 1.34: below, the map has 0.1 % from secondaries."""
    tags = tag_probabilities(ALICE, 0.0, np.array([1.8, 2.5]))["proton"]
    assert tags[0] < 1e-3 < tags[1]


def test_maps_and_stage():
    maps = build_absorber_maps(ALICE)
    assert not maps["electron"].values.any()
    assert all(((m.values >= 0) & (m.values <= 1)).all() for m in maps.values())
    stage = Muon("muon", MuonConfig(model="absorber", eta_max=1.3), Setup(2.0))
    n = 20000
    batch = make_tracks(np.repeat(["muon", "kaon"], n), 2.5, -0.5)
    table = stage.run(batch, Draw.of(1, "muon")).tables[0]
    truth = tag_probabilities(ALICE, 0.5, np.array([2.5]))
    for i, species in enumerate(("muon", "kaon")):
        rows = slice(i * n, (i + 1) * n)
        assert table[f"expected_{species}"][0] == pytest.approx(truth[species][0], rel=0.02)
        assert stats.binomtest(int(table["has_signal"][rows].sum()), n, table[f"expected_{species}"][0]).pvalue > 1e-4
    rng = np.random.default_rng(2)
    mixed = make_tracks(rng.choice(SPECIES, 26), rng.uniform(0.5, 30, 26), rng.uniform(-2, 2, 26), sizes=[5, 0, 20, 1])
    check_stage(stage, mixed)


def test_bad_configurations_are_refused():
    for wrong, text in [
        ({"abs_eta": (0.0, 1.0)}, "same number"),
        ({"abs_eta": (0.0, 0.2, 0.1), "iron": ("1 m",) * 3, "spread": (0.1,) * 3}, "rise from 0"),
        ({"spread": (0.0,) * 9}, "between 0 and 1"),
        ({"radius": "4 m"}, "smaller than chamber_radius"),
    ]:
        with pytest.raises(ValidationError, match=text):
            AbsorberConfig(**wrong)
    with pytest.raises(ValidationError, match="only for model: absorber"):
        MuonConfig(absorber={})
    with pytest.raises(ValidationError, match="only for model: map"):
        MuonConfig(model="absorber", maps={"electron": "a", "muon": "b", "pion": "c"})
