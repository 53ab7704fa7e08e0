"""The analytic tracker against closed forms: resolutions, scattering, reach, mass and charge."""

import math

import numpy as np
import pytest
from tracker_layouts import MICRON, barrel, cylinder, disc

from flashdet.kernels.material import scattering_variance
from flashdet.lut.layout import Layout
from flashdet.lut.tracker import solve
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS
from flashdet.units import PT_PER_TESLA_CM

PION = SPECIES_MASS[2]


def sigmas(layout, species, pt, eta=0.0):
    solution = solve(layout, species, pt, eta)
    assert solution.is_valid
    return np.sqrt(np.diag(solution.covariance))


# --- point resolution -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", [4, 8, 10, 20])
def test_momentum_resolution_is_gluckstern(n):
    # n + 1 equidistant points, R. L. Gluckstern, NIM 24 (1963) 381, in the exact form for finite n
    length, field, pt = 80.0, 2.0, 50.0
    layout = barrel(np.linspace(20.0, 100.0, n + 1), field)
    factor = 720 * n**3 / ((n - 1) * (n + 1) * (n + 2) * (n + 3))
    expected = 10 * MICRON * pt / (PT_PER_TESLA_CM * field * length**2) * math.sqrt(factor)
    assert pt * sigmas(layout, "pion", pt)[4] == pytest.approx(expected, rel=2e-3)
    if n >= 10:
        common = 10 * MICRON * pt / (PT_PER_TESLA_CM * field * length**2) * math.sqrt(720 / (n + 5))
        assert pt * sigmas(layout, "pion", pt)[4] == pytest.approx(common, rel=0.03)


@pytest.mark.parametrize("eta", [0.0, 1.2, -2.5])
def test_straight_line_in_z(eta):
    radii = np.array([2.0, 5.0, 9.0, 20.0, 45.0])
    layout = barrel(radii, sigma=7 * MICRON, sigma_z=20 * MICRON)
    s = sigmas(layout, "pion", 100.0, eta)
    spread = ((radii - radii.mean()) ** 2).sum()
    # the arc differs from the radius by (r/R)^2/24, and z also moves with the curvature's error by tgl r^2/R dphi
    assert s[3] == pytest.approx(20 * MICRON / math.sqrt(spread), rel=1e-3)
    assert s[1] == pytest.approx(20 * MICRON * math.sqrt(1 / len(radii) + radii.mean() ** 2 / spread), rel=1e-3)


def test_impact_parameter_of_two_layers():
    # outer layers measure no z, so that z0 comes from the two inner ones
    a, b, r1, r2 = 5 * MICRON, 12 * MICRON, 1.0, 4.0
    blind = [cylinder(f"O{i}", r, sigma_z=1e6) for i, r in enumerate((20.0, 40.0, 60.0))]
    inner = [cylinder("A", r1, sigma_z=a), cylinder("B", r2, sigma_z=b)]
    layout = Layout("two", 2.0, (*inner, *blind), minimum_hits=4)
    expected = math.hypot(a * r2, b * r1) / (r2 - r1)
    assert sigmas(layout, "pion", 30.0)[1] == pytest.approx(expected, rel=1e-6)


def test_discs_measure_like_planes():
    # along z: r of a straight track is z/tgl, so that sigma(z0) and sigma(tgl) follow from the fit of r against z
    z = np.array([50.0, 70.0, 100.0, 140.0, 200.0])
    layout = Layout("discs", 2.0, tuple(disc(f"D{i}", v) for i, v in enumerate(z)), minimum_hits=4)
    eta = 2.5
    tgl = math.sinh(eta)
    s = sigmas(layout, "pion", 100.0, eta)
    weights = np.linalg.inv(np.array([[len(z), z.sum()], [z.sum(), (z * z).sum()]]))
    # r = r0 + z/tgl: dz0 = -tgl r0, d(tgl) = -tgl^2 d(1/tgl)
    assert s[1] == pytest.approx(10 * MICRON * math.sqrt(weights[0, 0]) * tgl, rel=1e-3)
    assert s[3] == pytest.approx(10 * MICRON * math.sqrt(weights[1, 1]) * tgl**2, rel=1e-3)
    # and the transverse fit sees the radii z/tgl
    r = z / tgl
    design = np.stack([np.ones(5), r, 0.5 * PT_PER_TESLA_CM * 2.0 * r * r], axis=1)
    curvature = math.sqrt(np.linalg.inv(design.T @ design)[2, 2]) * 10 * MICRON
    assert s[4] == pytest.approx(curvature, rel=1e-3)


def test_field_and_resolution_scale():
    radii = np.linspace(5.0, 80.0, 9)
    reference = sigmas(barrel(radii, 1.0), "pion", 20.0)
    assert sigmas(barrel(radii, 2.0), "pion", 20.0)[4] == pytest.approx(reference[4] / 2, rel=1e-2)
    assert sigmas(barrel(radii, 1.0, sigma=20 * MICRON), "pion", 20.0) == pytest.approx(2 * reference, rel=1e-6)
    assert sigmas(barrel(radii, -1.0), "pion", 20.0) == pytest.approx(reference, rel=1e-9)
    assert sigmas(barrel(2 * radii, 1.0), "pion", 20.0)[4] == pytest.approx(reference[4] / 4, rel=1e-2)


# --- scattering -------------------------------------------------------------------------------------------------------
PERFECT = 1e-3 * MICRON


@pytest.mark.parametrize("species", ["electron", "pion", "kaon", "proton", "alpha"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_scattering_in_layer_and_pipe_gives_the_impact_parameter(species, eta):
    # perfect hits: directions are known behind the first layer, so each layer at r adds r^2 var(tgl) to z0 and, with
    # the curvature known from far outside, r^2 var(phi) to d0; the pipe lies inside the first hit
    i = SPECIES.index(species)
    pt, tgl = 3.0, math.sinh(eta)
    p = pt * math.cosh(eta)
    beta = p / math.hypot(p, SPECIES_MASS[i])
    layers = [
        cylinder("pipe", 1.5, sigma=0.0, x_over_x0=0.004),
        cylinder("A", 2.0, sigma=PERFECT, x_over_x0=0.002),
        *[cylinder(f"O{k}", r, sigma=PERFECT) for k, r in enumerate((20.0, 60.0, 100.0, 140.0))],
    ]
    layout = Layout("scatter", 0.2, tuple(layers), minimum_hits=4)
    expected_z = expected_y = 0.0
    for r, x in ((1.5, 0.004), (2.0, 0.002)):
        variance = scattering_variance(x * math.cosh(eta), p, beta, SPECIES_CHARGE[i])
        expected_z += r * r * variance * (1 + tgl * tgl) ** 2
        expected_y += r * r * variance * (1 + tgl * tgl)
    s = sigmas(layout, species, pt, eta)
    assert s[1] == pytest.approx(math.sqrt(expected_z), rel=2e-3)
    assert s[0] == pytest.approx(math.sqrt(expected_y), rel=2e-3)


def test_momentum_resolution_limited_by_scattering():
    # Perfect positions see the direction's random walk: the best curvature is (last - first direction)/length, whose
    # error is the scattering between them. Directions are known between layers, hence n - 2 layers count.
    n, x = 40, 0.0025
    radii = np.linspace(20.0, 100.0, n)
    layout = barrel(radii, 1.0, sigma=PERFECT, x_over_x0=x)
    pt = 2.0
    beta = pt / math.hypot(pt, PION)
    theta = math.sqrt((n - 2) * scattering_variance(x, pt, beta, 1.0))
    length = 80.0 * (n - 2) / (n - 1)
    expected = theta * pt / (PT_PER_TESLA_CM * 1.0 * length)
    assert pt * sigmas(layout, "pion", pt)[4] == pytest.approx(expected, rel=0.01)
    # and does not depend on pt while beta = 1
    assert 20.0 * sigmas(layout, "pion", 20.0)[4] == pytest.approx(expected, rel=0.01)


def test_material_behind_the_last_hit_does_not_matter():
    radii = (2.0, 5.0, 20.0, 50.0)
    bare = sigmas(barrel(radii), "pion", 0.5)
    wall = cylinder("wall", 60.0, sigma=0.0, x_over_x0=0.5, density=10.0)
    assert sigmas(barrel(radii, extra=(wall,)), "pion", 0.5) == pytest.approx(bare, rel=1e-12)


# --- reach ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("species", ["pion", "alpha"])
@pytest.mark.parametrize("field", [0.5, 2.0])
def test_lowest_pt_is_set_by_the_radius(species, field):
    # a circle through the origin meets radius r under sin psi = r/(2 R): pt_min = 0.3 z B r/(2 snp_max)
    charge = SPECIES_CHARGE[SPECIES.index(species)]
    layout = barrel((2.0, 5.0, 10.0, 20.0, 40.0), field)
    edge = PT_PER_TESLA_CM * charge * field * 20.0 / (2 * 0.85)
    assert solve(layout, species, edge * 1.0001, 0.0).n_hits == 4
    assert not solve(layout, species, edge * 0.9999, 0.0).is_valid
    grazing = barrel((2.0, 5.0, 10.0, 20.0, 40.0), field, settings={"maximum_snp": 1.0})
    assert solve(grazing, species, edge * 0.8501, 0.0).n_hits == 4
    assert solve(grazing, species, edge * 0.8499, 0.0).n_hits == 3


def test_minimum_radius():
    layout = barrel((1.0, 2.0, 3.0, 4.0, 60.0), 2.0, settings={"minimum_radius": 20.0})
    edge = PT_PER_TESLA_CM * 2.0 * 20.0 / (2 * 0.85)
    assert solve(layout, "pion", edge * 1.001, 0.0).is_valid
    assert not solve(layout, "pion", edge * 0.999, 0.0).is_valid


def test_half_lengths_and_disc_radii_are_real():
    radii = (2.0, 5.0, 10.0, 20.0, 40.0)
    layout = barrel(radii, half_length=50.0)
    for i, r in enumerate(radii):
        edge = math.asinh(50.0 / r)
        assert solve(layout, "pion", 50.0, edge - 1e-3).n_hits == len(radii) - sum(s > r for s in radii)
        assert solve(layout, "pion", 50.0, -edge - 1e-3).n_hits == i
    ring = Layout("ring", 2.0, tuple(disc(f"D{i}", 10.0 + i, r_min=2.0, r_max=5.0) for i in range(4)))
    assert [solve(ring, "pion", 50.0, math.asinh(11.5 / r)).n_hits for r in (1.5, 3.0, 6.0)] == [0, 4, 0]
    assert solve(ring, "pion", 50.0, -math.asinh(11.5 / 3.0)).n_hits == 0


def test_discs_end_at_the_apex():
    # a helix is followed half a turn: z = pi R tgl
    radius = 0.1 / (PT_PER_TESLA_CM * 2.0)
    z = math.pi * radius * math.sinh(1.0)
    layout = Layout("apex", 2.0, tuple(disc(f"D{i}", z * f) for i, f in enumerate((0.3, 0.5, 0.7, 0.999, 1.001))))
    assert solve(layout, "pion", 0.1, 1.0).n_hits == 4


# --- species ----------------------------------------------------------------------------------------------------------
def test_every_species_has_its_own_mass():
    layout = barrel((2.0, 5.0, 10.0, 20.0, 40.0, 80.0), sigma=PERFECT, x_over_x0=0.01)
    z0 = [sigmas(layout, species, 2.0)[1] for species in SPECIES[:7]]
    beta = 2.0 / np.hypot(2.0, SPECIES_MASS[:7])
    expected = [math.sqrt(scattering_variance(0.01, 2.0, b, 1.0)) for b in beta]
    assert np.array(z0) / z0[2] == pytest.approx(np.array(expected) / expected[2], rel=1e-4)
    assert z0[4] > 1.09 * z0[2]


def test_charge_two():
    bare = barrel((2.0, 5.0, 10.0, 20.0, 40.0, 80.0))
    # pt = 40 GeV: a helium nucleus bends as a pion of 20 GeV; the hits measure q/pt, so that its error is the same
    assert sigmas(bare, "alpha", 40.0) == pytest.approx(sigmas(bare, "pion", 20.0), rel=1e-6)
    thick = barrel((2.0, 5.0, 10.0, 20.0, 40.0, 80.0), sigma=PERFECT, x_over_x0=0.01)
    # scattering at equal p and beta goes with z [1 + 0.038 ln(x z^2/beta^2)]
    ratio = sigmas(thick, "helium3", 30.0)[1] / sigmas(thick, "triton", 30.0)[1]
    beta = 30.0 / math.hypot(30.0, SPECIES_MASS[7])
    expected = math.sqrt(scattering_variance(0.01, 30.0, beta, 2.0) / scattering_variance(0.01, 30.0, beta, 1.0))
    assert ratio == pytest.approx(expected, rel=1e-3)


# --- efficiency -------------------------------------------------------------------------------------------------------
def test_layer_efficiency_counts_once():
    radii = (2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
    every = barrel(radii, minimum_hits=6, efficiency=0.9)
    assert solve(every, "pion", 5.0, 0.0, 1e-9).efficiency[0] == pytest.approx(0.9**6, rel=1e-9)
    one_less = barrel(radii, minimum_hits=5, efficiency=0.9)
    expected = 0.9**6 + 6 * 0.9**5 * 0.1
    assert solve(one_less, "pion", 5.0, 0.0, 1e-9).efficiency[0] == pytest.approx(expected, rel=1e-9)


def test_inert_layers_do_not_enter_the_efficiency():
    radii = (2.0, 5.0, 10.0, 20.0, 40.0)
    pipe = cylinder("pipe", 1.0, sigma=0.0)
    with_pipe = solve(barrel(radii, extra=(pipe,)), "pion", 1.0, 0.0, [100.0, 5000.0])
    assert with_pipe.efficiency == pytest.approx(solve(barrel(radii), "pion", 1.0, 0.0, [100.0, 5000.0]).efficiency)
    assert with_pipe.n_hits == 5


def test_wrong_hits_follow_the_density():
    # without material, the prediction of z at a layer is that of a straight line through the others
    radii = np.array([2.0, 5.0, 10.0, 20.0, 40.0])
    solution = solve(barrel(radii), "pion", 100.0, 0.0, [10.0, 1000.0])
    sigma = 10 * MICRON
    for i, r in enumerate(radii):
        others = np.delete(radii, i)
        lever = ((others - others.mean()) ** 2).sum()
        var_z = sigma**2 * (1 + 1 / 4 + (r - others.mean()) ** 2 / lever)
        design = np.stack([np.ones(4), others, others**2], axis=1)
        at = np.array([1.0, r, r * r])
        var_y = sigma**2 * (1 + at @ np.linalg.inv(design.T @ design) @ at)
        expected = 2 * math.pi * math.sqrt(var_y * var_z) / (2 * math.pi * r * r)
        assert solution.confusion[i] == pytest.approx(expected, rel=2e-3)
    for nch, efficiency in zip((10.0, 1000.0), solution.efficiency, strict=True):
        assert efficiency == pytest.approx(np.prod(1 / (1 + solution.confusion * nch)), rel=1e-9)


def test_density_of_hits_at_an_angle():
    layout = barrel((2.0, 5.0, 10.0, 20.0, 40.0))
    central = solve(layout, "pion", 100.0, 0.0).confusion
    inclined = solve(layout, "pion", 100.0, 0.45).confusion
    # sin(theta) = 1/cosh(0.45) = 0.9069; tan(theta/2) instead of exp(-eta) would give 0.748
    assert inclined / central == pytest.approx(np.full(5, 0.9069), rel=2e-3)


def test_efficiency_falls_with_multiplicity_and_has_no_randomness():
    layout = barrel((0.5, 2.0, 5.0, 10.0, 20.0, 40.0), x_over_x0=0.01, density=0.2)
    nch = np.geomspace(1.0, 1e4, 30)
    first = solve(layout, "pion", 0.3, 0.5, nch).efficiency
    assert (np.diff(first) < 0).all()
    assert 0.0 < first[-1] < first[0] < 1.0
    assert np.array_equal(first, solve(layout, "pion", 0.3, 0.5, nch).efficiency)
