"""The tracking stage looks particles up at their production radius: efficiencies, resolutions, pulls, what is lost."""

import math
from dataclasses import replace

import numpy as np
import pytest
from tracking_tables import DIAGONAL, deviations, make_lut, offered, tracked
from weak_decays import CODES, momenta

from flashdet.errors import StageError
from flashdet.layout import read_layout
from flashdet.lut.axis import Axis
from flashdet.lut.catalog import load_lut
from flashdet.lut.tracker import solve
from flashdet.species import SPECIES
from flashdet.stages.base import Setup
from flashdet.stages.tracking.stage import Tracking, TrackingConfig
from flashdet.testing import check_stage, make_events

EDGES = (2.0, 5.0, 10.0)
EFFICIENCIES, SCALES = (0.9, 0.6, 0.3), (1.0, 3.0, 10.0)


def shells(species="pion", rule="reject"):
    """A table whose parts tell themselves apart: prompt up to 2 cm, then to 5 and to 10 cm."""
    parts, low = [], 0.0
    for high, chance, scale in zip(EDGES, EFFICIENCIES, SCALES, strict=True):
        lut = make_lut(species, efficiency=lambda nch, eta, pt, c=chance: c + 0 * (nch + eta + pt), scale=scale)
        radius = Axis("radius", "cm", 1, low, high, "linear", rule, "none")
        parts.append(replace(lut, covariance_axes=(radius, *lut.covariance_axes[1:])))
        low = high
    return replace(parts[0], displaced=tuple(parts[1:]))


def radial(n, radius, pt, eta, code=211, sizes=None):
    """Particles that leave points at a radius away from the axis."""
    phi = np.linspace(-3.0, 3.0, n)
    radius = np.broadcast_to(radius, n)
    vertex = np.stack([radius * np.cos(phi), radius * np.sin(phi), radius * np.sinh(eta), np.zeros(n)], -1)
    return make_events(np.full(n, code), pt, eta, phi, vertex=vertex, sizes=sizes)


def test_each_particle_gets_the_table_of_its_radius():
    n = 4000
    base = make_lut("pion").covariance[0, 8, 10]
    for radius, chance, scale in zip((1.0, 2.1, 7.0), EFFICIENCIES, SCALES, strict=True):
        batch = offered(radial(n, radius, 1.0, 0.1), radius_max="1 m")
        track, truth, counts = tracked(batch, [shells()])
        sigma = math.sqrt(n * chance * (1 - chance))
        assert track.n_rows == pytest.approx(n * chance, abs=4 * sigma)
        assert counts["lost: inefficiency"] == n - track.n_rows
        pull = deviations(track, truth) / np.sqrt(track["cov"][:, DIAGONAL])
        assert pull.std(axis=0) == pytest.approx(np.ones(5), abs=4 / math.sqrt(2 * track.n_rows))
        assert np.sqrt(np.median(track["cov"][:, 9]) / base[9]) == pytest.approx(scale, rel=0.15)


@pytest.mark.parametrize("rule", ["reject", "clamp", "error"])
def test_beyond_the_last_radius_its_rule_holds(rule):
    n = 2000
    batch = offered(radial(n, np.where(np.arange(n) % 2, 20.0, 0.5), 1.0, 0.1), radius_max="1 m")
    if rule == "error":
        with pytest.raises(StageError, match="radius 20"):
            tracked(batch, [shells(rule=rule)])
        return
    track, _, counts = tracked(batch, [shells(rule=rule)])
    far = np.hypot(track["vx_true"], track["vy_true"]) > 10.0
    if rule == "reject":
        assert not far.any()
        assert counts["out of range: radius above (rejected)"] == counts["lost: outside the LUT"] == n // 2
    else:
        assert counts["out of range: radius above (clamped)"] == n // 2
        assert far.sum() == pytest.approx(0.3 * n / 2, abs=4 * math.sqrt(0.21 * n / 2))


def test_the_rule_of_the_card_holds_for_all_radii():
    batch = offered(radial(500, 20.0, 1.0, 0.1), radius_max="1 m")
    track, _, counts = tracked(batch, [shells()], out_of_range={"radius": "clamp"})
    assert counts["out of range: radius above (clamped)"] == 500
    assert track.n_rows > 100
    soft = offered(radial(500, 7.0, 0.005, 0.1), radius_max="1 m")
    _, _, counts = tracked(soft, [shells()], out_of_range={"pt": "reject"})
    assert counts["out of range: pt below (rejected)"] == 500


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_conformance(interpolation):
    rng = np.random.default_rng(4)
    luts = {s: shells(s) for s in SPECIES if s != "kaon"}
    batch = offered(radial(300, rng.uniform(0, 12, 300), 1.0, 0.3, sizes=[100, 0, 150, 50]), radius_max="1 m")
    stage = Tracking("tracking", TrackingConfig(interpolation=interpolation), Setup(2.0, luts))
    assert check_stage(stage, batch).tables[0].n_rows > 50


def test_prompt_particles_do_not_know_the_other_tables():
    batch = offered(radial(2000, 0.01, 1.0, 0.1))
    alone, _, _ = tracked(batch, [replace(shells(), displaced=())])
    among, _, _ = tracked(batch, [shells()])
    for name in alone:
        assert alone[name].tobytes() == among[name].tobytes(), name


# --- the tables of the card alice3 ------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def alice3():
    return [load_lut(f"alice3/{species}") for species in ("electron", "pion", "proton")]


@pytest.mark.parametrize("radius", [0.0, 0.7, 1.5, 4.0, 8.0, 10.0, 15.0, 18.0, 19.5, 25.0, 40.0])
def test_efficiency_and_resolution_fall_with_the_layers_left_behind(alice3, radius):
    """Against the solution for this very radius, which is checked against fits elsewhere."""
    n, pt, eta = 4000, 1.5, 0.32
    layout = read_layout("alice3_v3")
    track, truth, counts = tracked(offered(radial(n, radius, pt, eta)), alice3)
    exact = solve(layout, "pion", pt, eta, 1.0, radius)
    if radius > 20.0:  # four layers are left, five hits are needed
        assert not exact.is_valid
        assert track.n_rows == 0
        assert sum(v for k, v in counts.items() if k.startswith("lost")) == n
        return
    chance = exact.efficiency[0]
    assert track.n_rows == pytest.approx(n * chance, abs=4 * math.sqrt(n * chance * (1 - chance)) + 0.002 * n)
    pull = deviations(track, truth) / np.sqrt(track["cov"][:, DIAGONAL])
    assert pull.std(axis=0) == pytest.approx(np.ones(5), abs=0.05)
    assert abs(pull.mean(axis=0)).max() < 5 / math.sqrt(track.n_rows)
    sigma = np.sqrt(np.median(track["cov"][:, DIAGONAL], axis=0))
    assert sigma == pytest.approx(np.sqrt(np.diag(exact.covariance)), rel=0.05)


@pytest.mark.parametrize("kind", ["kshort", "lambda"])
def test_daughters_of_weak_decays(alice3, kind):
    """Decays along their flight: tracked if enough layers are left, with unit pulls whatever the radius."""
    rng = np.random.default_rng(7)
    n = 3000
    rows = []
    for radius in rng.uniform(0.0, 40.0, n):
        pt, eta, phi = 1.0 + rng.exponential(1.0), rng.uniform(-1, 1), rng.uniform(-3, 3)
        p = np.array([pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)])
        vertex = (radius * math.cos(phi), radius * math.sin(phi), radius * math.sinh(eta), 0.0)
        for code, d in zip(CODES[kind], momenta(kind, p, rng), strict=True):
            d_pt = math.hypot(d[0], d[1])
            rows.append((code, d_pt, math.asinh(d[2] / d_pt), math.atan2(d[1], d[0]), *vertex))
    rows = np.array(rows)
    code, pt, eta, phi = rows[:, 0].astype(int), *rows[:, 1:4].T
    batch = make_events(code, pt, eta, phi, vertex=rows[:, 4:], sizes=[20] * (2 * n // 20))
    track, truth, _ = tracked(offered(batch), alice3)
    radius = np.hypot(track["vx_true"], track["vy_true"])
    all_radii = np.hypot(rows[:, 4], rows[:, 5])
    hard = (pt > 0.4) & (abs(eta) < 1.2)
    hard_found = (truth["pt"] > 0.4) & (abs(truth["eta"]) < 1.2)
    for low, high, least, most in ((0.0, 7.0, 0.95, 1.0), (7.0, 16.0, 0.9, 1.0), (20.5, 40.0, 0.0, 1e-9)):
        here = (radius >= low) & (radius < high) & hard_found
        share = here.sum() / ((all_radii >= low) & (all_radii < high) & hard).sum()
        assert least <= share <= most, (low, high, share)
    pull = deviations(track, truth) / np.sqrt(track["cov"][:, DIAGONAL])
    for low, high in ((0.0, 2.5), (2.5, 9.0), (9.0, 20.0)):
        mine = pull[(radius >= low) & (radius < high)]
        assert mine.std(axis=0) == pytest.approx(np.ones(5), abs=max(0.05, 4 / math.sqrt(2 * len(mine))))
    # impact parameters are resolved a hundred times worse behind the vertex detector
    wide, narrow = (np.median(track["cov"][sel, 0]) for sel in ((radius > 3) & (radius < 6), radius < 0.4))
    assert math.sqrt(wide / narrow) > 20.0
