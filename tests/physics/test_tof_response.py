"""TOF: insensitive borders, resolution along eta, tails of the time, and hits of other particles."""

import math

import numpy as np
import pytest
from pid_tracks import make_tracks, packed
from pydantic import ValidationError
from scipy import integrate, stats
from tof_kit import BARREL, COMMON, PION, cylinder, disc, run, sample, stage, surfaces_of

from flashdet.kernels.gradients import place_on_surface
from flashdet.stages.surface import Surface, crossing
from flashdet.stages.tof.flight import expect_times, time_of_flight
from flashdet.stages.tof.mismatch import wrong_probability
from flashdet.stages.tof.pixels import Pixels, border, is_sensitive, pack_pixels
from flashdet.stages.tof.stage import TofConfig
from flashdet.testing import check_stage


# --- pixels ----------------------------------------------------------------------------------------------------------
def shape_of(text):
    return (Surface.model_validate(text),)


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize(("width", "height"), [(0.1, 0.1), (0.05, 2.0)])
def test_border_covers_the_fraction(width, height, fraction):
    edge = border(width, height, fraction)
    assert 1 - (width - 2 * edge) * (height - 2 * edge) / (width * height) == pytest.approx(fraction, rel=1e-12)


@pytest.mark.parametrize("shape", [cylinder(19.03, 62.01), disc(370, 15, 100)])
@pytest.mark.parametrize("fraction", [0.1, 0.37])
def test_inactive_share_of_the_area(shape, fraction):
    """Points spread evenly over all azimuths, up to the very edges."""
    surfaces, pixels = surfaces_of(shape), pack_pixels(
        Pixels.model_validate({"r_phi": "1.3 mm", "z": "0.7 mm", "inactive_fraction": fraction}), shape_of(shape)
    )  # fmt: skip
    n = 40000
    u, v = np.random.default_rng(2).uniform(size=(2, n))
    phi = 2 * np.pi * u - np.pi
    if "cylinder" in shape:
        r, z = np.full(n, 19.03), (2 * v - 1) * 62.01
    else:
        r, z = np.sqrt(15.0**2 + v * (100.0**2 - 15.0**2)), np.full(n, 370.0)
    seen = np.array(
        [is_sensitive(pixels, surfaces, 0, *p) for p in zip(r * np.cos(phi), r * np.sin(phi), z, strict=True)]
    )
    for part in (seen, seen[phi < 0], seen[phi > 0], seen[v < 0.1], seen[v > 0.9]):
        error = math.sqrt(fraction * (1 - fraction) / len(part))
        assert 1 - part.mean() == pytest.approx(fraction, abs=4.5 * error)


def test_pixels_have_their_period_and_end_at_the_edges():
    shape = cylinder(20.0, 1.0)
    around = 2 * math.pi * 20
    config = Pixels.model_validate({"r_phi": f"{around / 100} cm", "z": "0.5 cm", "inactive_fraction": 0.3})
    pixels, surfaces = pack_pixels(config, shape_of(shape)), surfaces_of(shape)
    width, height, edge = pixels[0]
    assert (width, height) == pytest.approx((around / 100, 0.5))
    z = np.array([-1, -1 + 1.01 * edge, -0.5 - 0.99 * edge, -0.5, -0.5 + 1.01 * edge, 0.75, 1 - 1.01 * edge, 1])
    for phi in np.arange(100) * 2 * np.pi / 100 + np.pi / 100:
        seen = [is_sensitive(pixels, surfaces, 0, 20 * math.cos(phi), 20 * math.sin(phi), t) for t in z]
        assert seen == [False, True, False, False, True, True, True, False]
    for phi in np.arange(-5, 5) * 2 * np.pi / 100:
        assert not is_sensitive(pixels, surfaces, 0, 20 * math.cos(phi), 20 * math.sin(phi), 0.75)
    # sizes that do not fit are rounded to a whole number
    odd = Pixels.model_validate({"r_phi": "7 cm", "z": "0.7 cm", "inactive_fraction": 0.3})
    assert pack_pixels(odd, shape_of(shape))[0, :2] == pytest.approx((around / 18, 2 / 3))


def test_dead_area_loses_its_share_of_hits():
    n = 20000
    rng = np.random.default_rng(1)
    batch = make_tracks(
        PION, np.full(n, 3.0), rng.uniform(-1.9, 1.9, n), rng.uniform(-3.1, 3.1, n), np.zeros(15), smear=False
    )
    pixels = {"r_phi": "1 mm", "z": "1 mm", "inactive_fraction": 0.1}
    tof, _, _ = run(stage(pixels=pixels), batch)
    assert tof["has_signal"].mean() == pytest.approx(0.9, abs=4.5 * math.sqrt(0.09 / n))
    whole, _, _ = run(stage(), batch)
    seen = tof["has_signal"]
    np.testing.assert_array_equal(tof["time"][seen], whole["time"][seen])


# --- resolution and tails --------------------------------------------------------------------------------------------
def residuals(tof, batch):
    """Measured minus true time of hits [ns]."""
    track = batch["track"]
    flight = time_of_flight(
        tof["path_length_true"], track["pt_true"] * np.cosh(track["eta_true"]), track["mass_true"]
    )  # fmt: skip
    return tof["time"] - flight - track["vt_true"]


def many_pions(n, eta):
    sizes = [100] * (n // 100)
    return make_tracks(PION, np.full(n, 3.0), eta, 0.1, np.zeros(15), smear=False, sizes=sizes)


def test_resolution_along_eta_and_per_surface():
    n = 12000
    eta = np.random.default_rng(3).uniform(-3, 3, n)
    batch = many_pions(n, eta)
    shape = [cylinder(85, 340), disc(370, 10, 100), disc(-370, 10, 100)]
    nodes = [{"eta": 0.5, "sigma": "20 ps"}, {"eta": 1.5, "sigma": "40 ps"}]
    tof, _, _ = run(stage(shape, resolution={"surfaces": [nodes, "30 ps", "50 ps"]}), batch)
    hit = tof["has_signal"]
    wanted = np.select(
        [tof["surface"] == 0, tof["surface"] == 1, tof["surface"] == 2],
        [np.interp(abs(eta), [0.5, 1.5], [0.02, 0.04]), 0.03, 0.05],
    )
    # a helix meets the cylinder at a slightly larger pseudorapidity than its own
    np.testing.assert_allclose(tof["time_error"][hit], wanted[hit], rtol=1e-3)
    pull = (residuals(tof, batch) / wanted)[hit]
    for part in (pull, pull[abs(eta[hit]) < 0.5], pull[abs(eta[hit]) > 2.3]):
        assert part.mean() == pytest.approx(0, abs=4.5 / math.sqrt(len(part)))
        assert part.std() == pytest.approx(1, abs=4.5 / math.sqrt(2 * len(part)))
    same, _, _ = run(stage(shape, resolution=[{"eta": 0.0, "sigma": "20 ps"}]), batch)
    constant, _, _ = run(stage(shape), batch)
    np.testing.assert_array_equal(same["time"], constant["time"])


@pytest.mark.parametrize(("left", "right"), [(1.0, 1.3), (1.2, 1.6), (1.0, 1.0)])
def test_q_gaussian_tails(left, right):
    batch = many_pions(12000, 0.2)
    tof, _, _ = run(stage(tails={"kind": "q_gaussian", "q_left": left, "q_right": right}), batch)
    x = residuals(tof, batch) / 0.020
    np.testing.assert_array_equal(tof["time_error"], 0.020)

    def density(t):
        q = left if t < 0 else right
        return math.exp(-t * t / 2) if q == 1 else (1 + (q - 1) * t * t / 2) ** (-1 / (q - 1))

    def below(t):
        return integrate.quad(density, -10, min(t, 0))[0] + (integrate.quad(density, 0, t)[0] if t > 0 else 0)

    total = below(20)
    nodes = np.linspace(-10, 20, 1501)
    cumulative = np.array([below(t) / total for t in nodes])
    test = stats.kstest(x, lambda t: np.interp(t, nodes, cumulative))
    assert test.pvalue > 1e-3
    assert -10 <= x.min() < x.max() <= 20
    if (left, right) == (1.0, 1.0):
        gaussian, _, _ = run(stage(), batch)
        np.testing.assert_array_equal(tof["time"], gaussian["time"])
    else:
        assert np.mean(x > 4) == pytest.approx(
            1 - below(4) / total, abs=4.5 * math.sqrt((1 - below(4) / total) / 12000)
        )


@pytest.mark.parametrize("fraction", [0.3, 1.0])
def test_exponential_tails(fraction):
    batch = many_pions(12000, 0.2)
    tails = {"kind": "exponential", "fraction": fraction, "decay": "50 ps"}
    tof, _, _ = run(stage(tails=tails), batch)
    x = residuals(tof, batch)
    late = stats.exponnorm(2.5, scale=0.020)
    test = stats.kstest(x, lambda t: fraction * late.cdf(t) + (1 - fraction) * stats.norm.cdf(t, scale=0.020))
    assert test.pvalue > 1e-3
    # the core is that of the detector without tails
    plain, _, _ = run(stage(), batch)
    assert np.mean(tof["time"] == plain["time"]) == pytest.approx(1 - fraction, abs=4.5 * math.sqrt(0.25 / 12000))
    assert np.all(tof["time"] >= plain["time"])


# --- mismatch --------------------------------------------------------------------------------------------------------
def test_template_mismatch():
    rng = np.random.default_rng(5)
    batch, true = sample(rng, 400, 20, COMMON)
    template = [{"time": "0 ns", "density": 0}, {"time": "2 ns", "density": 1}, {"time": "10 ns", "density": 0}]
    mismatch = {"kind": "template", "probability": 0.2, "template": template}
    tof, _, _ = run(stage(mismatch=mismatch), batch)
    plain, _, _ = run(stage(), batch)
    wrong, hit = tof["is_mismatched_true"], tof["has_signal"]
    assert not plain["is_mismatched_true"].any()
    assert wrong[hit].mean() == pytest.approx(0.2, abs=4.5 * math.sqrt(0.16 / hit.sum()))
    np.testing.assert_array_equal(tof["time"][~wrong], plain["time"][~wrong])
    # distance of the hit from the centre: radius 85 cm and z of the helix
    track = batch["track"]
    slope = np.tanh(track["eta_true"])
    z = track["vz_true"] + tof["path_length_true"] * slope
    excess = tof["time"] - np.repeat(true, 20) - np.hypot(85.0, z) / 29.9792458
    triangle = stats.triang(0.2, loc=0, scale=10)
    assert stats.kstest(excess[wrong], triangle.cdf).pvalue > 1e-3


def test_wrong_probability_against_a_simulation():
    """Matching to the nearest of evenly spread hits, drawn explicitly."""
    rng = np.random.default_rng(6)
    n, density, side = 4000, 0.4, 20.0
    sigma = np.array([0.3, 0.7])
    own = rng.normal(size=(n, 2)) ** 2
    foreign = rng.poisson(density * side**2, n)
    lost = 0
    for i in range(n):
        places = (rng.uniform(-side / 2, side / 2, (foreign[i], 2)) / sigma) ** 2
        lost += bool((places.sum(axis=1) < own[i].sum()).any())
    wanted = wrong_probability(density, sigma[0] * sigma[1])
    assert lost / n == pytest.approx(wanted, abs=4.5 * math.sqrt(wanted * (1 - wanted) / n))


@pytest.mark.parametrize("shape", [cylinder(85), disc(150)])
def test_place_on_surface_against_finite_differences(shape):
    surfaces = surfaces_of(shape)
    start = np.array([0.4, -1.0, 0.1, 0.7, 0.9])

    def place(parameters):
        y, z, snp, tgl, q_over_pt = parameters
        k = -0.00299792458 * 2.0 * q_over_pt
        return crossing(0.0, y, z, math.asin(snp), tgl, k, surfaces, 0)

    _, path, u, w, z, _ = place(start)
    is_cylinder = "cylinder" in shape
    got = place_on_surface(0.4, 0.1, 0.7, 0.9, 2.0, u, w, path, is_cylinder)
    for j in range(5):
        step = np.zeros(5)
        step[j] = 1e-5
        up, down = place(start + step), place(start - step)
        if is_cylinder:
            wanted = (85 * (math.atan2(up[3], up[2]) - math.atan2(down[3], down[2])), up[4] - down[4])
        else:
            wanted = (up[2] - down[2], up[3] - down[3])
        for gradient, difference in zip(got, wanted, strict=True):
            assert gradient[j] == pytest.approx(difference / 2e-5, rel=1e-6, abs=1e-6)
    assert z == pytest.approx(150 if not is_cylinder else z)


def test_occupancy_mismatch():
    rng = np.random.default_rng(7)
    n = 1500
    pt = 0.5 + rng.exponential(1.0, n)
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-4, tgl=1e-4, q_over_pt=1e-4 / pt)
    tracks = (PION, pt, rng.uniform(-1, 1, n), rng.uniform(-3, 3, n), cov)
    settings = {"mismatch": {"kind": "occupancy", "position_error": "1 cm", "hits_per_track": 5}}
    batch = make_tracks(*tracks)
    tof, _, _ = run(stage(**settings), batch)
    plain, _, _ = run(stage(), batch)
    wrong, hit = tof["is_mismatched_true"], tof["has_signal"]
    # tracks spread evenly in eta, so that the density at z is proportional to 1/cosh(eta)
    density = 5 * hit.sum() / 2 / (2 * math.pi * 85 * 85 * np.cosh(batch["track"]["eta_true"][hit]))
    # the position error dominates that of the tracks
    wanted = np.mean([wrong_probability(value, 1.0) for value in density])
    assert wrong[hit].mean() == pytest.approx(wanted, rel=0.03, abs=4.5 * math.sqrt(wanted / hit.sum()))
    assert set(tof["time"][wrong]) <= set(plain["time"][hit])
    assert np.all(tof["time"][wrong] != plain["time"][wrong])
    np.testing.assert_array_equal(tof["time"][~wrong], plain["time"][~wrong])
    _, expected, _ = expect_times(batch["track"], tof["surface"], 2.0, surfaces_of(BARREL))
    np.testing.assert_array_equal(tof["expected_pion"], expected[PION])
    # the same tracks in events of 5 meet next to no foreign hit
    sparse, _, _ = run(stage(**settings), make_tracks(*tracks, sizes=[5] * 300))
    assert sparse["is_mismatched_true"].mean() < 0.01


@pytest.mark.parametrize("n", [2000, 200])
def test_occupancy_of_a_disc_is_that_of_the_place(n):
    """Tracks even in eta have the density n/(2 pi r^2) per unit of eta on a disc: closed form in bins of the radius."""
    rng = np.random.default_rng(8)
    n_events = 40000 // n
    size = n * n_events
    edge = [math.asinh(370 / r) for r in (100, 15)]
    eta = rng.uniform(*edge, size)
    pt = np.full(size, 3.0)
    cov = packed(y=0.001, z=0.001, snp=1e-5, tgl=1e-5, q_over_pt=1e-5)
    settings = {"mismatch": {"kind": "occupancy", "position_error": "1 cm", "hits_per_track": 2}}
    batch = make_tracks(PION, pt, eta, rng.uniform(-3, 3, size), cov, bz=0.5, sizes=[n] * n_events)
    tof, _, _ = run(stage(disc(370, 15, 100), bz=0.5, **settings), batch)
    r, wrong = 370 / np.sinh(eta), tof["is_mismatched_true"]
    for low, high in ((16, 24), (25, 45), (50, 95)):
        chosen = (r > low) & (r < high) & tof["has_signal"]
        # d eta / dr = 1/(r sqrt(1 + (r/z)^2))
        density = 2 * n / (edge[1] - edge[0]) / (2 * math.pi * r[chosen] ** 2 * np.sqrt(1 + (r[chosen] / 370) ** 2))
        wanted = np.mean([wrong_probability(value, 1.0) for value in density])
        error = math.sqrt(wanted / chosen.sum())
        # a ring has one density, and the mean over few hits of p = x/(1 + x) is a little below p at the mean
        assert wrong[chosen].mean() == pytest.approx(wanted, rel=0.1, abs=4.5 * error)


# --- promises --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "mismatch",
    [
        {"kind": "occupancy", "position_error": "3 cm"},
        {
            "kind": "template", "probability": 0.5,
            "template": [{"time": "-1 ns", "density": 1}, {"time": "1 ns", "density": 0.5}],
        },
    ],
)  # fmt: skip
def test_stage_keeps_its_promises(mismatch):
    batch, _ = sample(np.random.default_rng(8), 6, 15, COMMON)
    settings = {
        "pixels": {"r_phi": "1 mm", "z": "2 mm", "inactive_fraction": 0.1},
        "tails": {"kind": "exponential", "fraction": 0.1, "decay": "30 ps"},
        "event_time": {"start_time": {"resolution": "30 ps", "efficiency": 0.7}},
        "mismatch": mismatch,
    }
    check_stage(stage([cylinder(85, 340), disc(370, 15, 100)], efficiency=0.9, **settings), batch)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"time_resolution": [{"eta": 1, "sigma": "20 ps"}, {"eta": 0.5, "sigma": "20 ps"}]}, "eta must increase"),
        ({"time_resolution": []}, "at least 1 item"),
        ({"time_resolution": {"surfaces": ["20 ps", "30 ps"]}}, "2 surfaces, shape has 1"),
        ({"time_resolution": [{"eta": 1, "sigma": 20}]}, "needs a unit"),
        ({"pixels": {"r_phi": "1 mm", "z": "1 mm", "inactive_fraction": 1}}, "less than 1"),
        ({"tails": {"kind": "q_gaussian", "q_right": 0.5}}, "greater than or equal to 1"),
        ({"tails": {"kind": "lorentz"}}, "q_gaussian"),
        ({"mismatch": {"kind": "template", "probability": 0.1, "template": [{"time": "0 ns", "density": 1}] * 2}},
         "times must increase"),
    ],
)  # fmt: skip
def test_wrong_settings(settings, text):
    with pytest.raises(ValidationError, match=text):
        TofConfig.model_validate({"shape": BARREL, "time_resolution": "20 ps", **settings})
