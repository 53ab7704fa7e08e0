"""RICH, projective model: published geometry and resolutions, tiles against explicit planes, edges, pulls, gas."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from pid_tracks import make_tracks, packed
from pydantic import ValidationError

from flashdet.kernels.helix import advance, curvature
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.rich.config import RichConfig, Tiles
from flashdet.stages.rich.crossing import cross
from flashdet.stages.rich.optics import (
    EDGE_A,
    EDGE_B,
    EDGES,
    INDEX,
    PHOTONS,
    RECTANGLE,
    arc_cosine,
    cherenkov_angle,
    kept_fraction,
    ring,
    variances,
)
from flashdet.stages.rich.stage import Rich
from flashdet.stages.rich.tiles import lay_out, make_geometry
from flashdet.testing import check_stage

ELECTRON, MUON, PION, KAON, PROTON, DEUTERON, TRITON, HELIUM3, ALPHA = range(9)
#: Photons that O2Physics has at eta = 0: 24.
PUBLISHED = {"model": "projective", "tiles": {}, "photon_efficiency": 0.4266}
DISCS = {
    "model": "projective",
    "discs": {"z": "375 cm", "gap": "30 cm", "r_min": "13.74 cm", "r_max": "103.95 cm"},
    "photon_efficiency": 0.4266,
}
#: Half of the sectors: edge in eta, tilt [deg], radiator r and z, gap [cm].
SECTORS = [
    (0.082, 0.0, 86.0, 0.0, 25.0), (0.248, 9.4, 87.2, 14.4, 22.7), (0.417, 18.7, 88.3, 29.8, 20.9),
    (0.588, 27.6, 89.4, 46.6, 19.7), (0.760, 35.9, 90.3, 65.4, 19.1), (0.935, 43.5, 91.1, 86.5, 19.0),
    (1.110, 50.3, 91.8, 110.6, 19.6), (1.287, 56.3, 92.3, 138.5, 20.8), (1.464, 61.5, 92.7, 170.9, 22.6),
    (1.642, 66.0, 92.9, 208.9, 25.3), (1.820, 69.8, 93.1, 253.6, 28.8),
]  # fmt: skip
SATURATION = math.acos(1 / 1.03)


def config(base=PUBLISHED, **settings):
    return RichConfig.model_validate({**base, **settings})


def run(batch, base=PUBLISHED, **settings):
    return Rich("rich", config(base, **settings), Setup(2.0)).run(batch, Draw.of(1, "rich")).tables[0]


def matrix(table, what):
    return np.array([table[f"{what}_{species}"] for species in SPECIES])


def straight(eta, species=ELECTRON, p=1e3, **settings):
    """Tracks that the field does not bend, without errors."""
    eta = np.atleast_1d(np.asarray(eta, float))
    return make_tracks(species, p / np.cosh(eta), eta, 0.1, np.zeros(15), smear=False, **settings)


def crossed(track, geometry, bz=2.0):
    """Tile of every track, -1 outside, and its place on it."""
    found, n = cross(track, bz, geometry), len(track["pt_true"])
    tile, place = np.full(n, -1), np.zeros((2, n))
    tile[found.rows], place[:, found.rows] = found.optic, (found.u, found.v)
    return tile, *place


# --- geometry --------------------------------------------------------------------------------------------------------
def test_sectors_are_the_published_ones():
    sectors = lay_out(Tiles(), 2.0)
    assert len(sectors) == 21
    for sector, (edge, tilt, r, z, gap) in zip(sectors[10:], SECTORS, strict=True):
        assert math.asinh(sector.high) == pytest.approx(edge, abs=1e-3)
        assert math.degrees(sector.tilt) == pytest.approx(tilt, abs=0.06)
        assert sector.r == pytest.approx(r, abs=0.06)
        assert sector.z == pytest.approx(z, abs=0.06)
        assert sector.gap == pytest.approx(gap, abs=0.1)
    for left, right in zip(sectors, reversed(sectors), strict=True):
        assert (left.low, left.tilt, left.z, left.gap) == (-right.high, -right.tilt, -right.z, right.gap)


@pytest.mark.parametrize("n", [1, 2, 20, 21, 24, 25])
def test_tiles_close_up(n):
    """Each tile begins in the line of sight where the last one ends, and its corners lie on the edges."""
    tiles = Tiles(n_sectors=n)
    sectors = lay_out(tiles, 2.0)
    assert len(sectors) == n
    for left, right in itertools.pairwise(sectors):
        if n % 2 == 0 and left.high < 0 < right.low:
            assert 112 * (right.low - left.high) == pytest.approx(1.0)
        else:
            assert left.high == pytest.approx(right.low, abs=1e-12)
    for s in sectors:
        along = 9.2 * np.array([-math.sin(s.tilt), math.cos(s.tilt)])
        for sign, edge in ((-1, s.low), (1, s.high)):
            r, z = np.array([s.detector_r, s.detector_z]) + sign * along
            assert z / r == pytest.approx(edge, abs=1e-9)
            assert r <= 112 + 1e-9
        # the radiator is as long as the view from the centre asks for
        rays = [(s.r**2 + s.z**2) / (s.r + s.z * t) for t in (s.low, s.high)]
        size = math.hypot(rays[0] - rays[1], rays[0] * s.low - rays[1] * s.high)
        assert size == pytest.approx(s.radiator_size, rel=0.04)


def test_25_sectors_reach_further():
    assert math.asinh(lay_out(Tiles(n_sectors=25), 2.0)[-1].high) > 2.1


def test_acceptance_ends_at_the_last_sectors_on_both_sides():
    """No sector is left out: the most backward one is the mirror image of the most forward one."""
    eta = np.concatenate([np.linspace(-1.8975, 1.8975, 760), [-1.8195, -1.7, 1.7, 1.8195, 1.8205, -1.8205]])
    inside = run(straight(eta))["has_acceptance"]
    np.testing.assert_array_equal(inside, abs(eta) < 1.82)
    two = run(straight(eta), tiles={"n_sectors": 22})["has_acceptance"]
    assert not two[abs(np.sinh(eta)) < 0.4 / 112].any()
    assert two[(abs(np.sinh(eta)) > 0.6 / 112) & (abs(eta) < 1.82)].all()


def test_hits_lie_on_the_tile_where_the_helix_meets_it():
    """From displaced vertices: found tiles against a search along the helix in small steps."""
    rng = np.random.default_rng(3)
    n = 60
    pt, eta, phi = rng.uniform(0.4, 3, n), rng.uniform(-1.7, 1.7, n), rng.uniform(-3, 3, n)
    vertex = np.column_stack([rng.normal(0, 1, (n, 2)), rng.normal(0, 8, n), np.zeros(n)])
    sign = rng.choice([-1, 1], n)
    track = make_tracks(PION, pt, eta, phi, np.zeros(15), vertex=vertex, sign=sign, smear=False)["track"]
    for n_phi in (None, 36):
        geometry = make_geometry(config(tiles={"n_azimuthal_tiles": n_phi}))
        tile, along, aside = crossed(track, geometry)
        sectors = lay_out(Tiles(), 2.0)
        checked = 0
        for i in range(n):
            k = curvature(sign[i] / pt[i], 2.0)
            s = np.arange(80.0, 400.0, 0.02) if n_phi is None else np.arange(80.0, 400.0, 0.05)
            points = np.array([advance(*vertex[i, :3], phi[i], math.sinh(eta[i]), k, x)[:3] for x in s])
            x, y, z = points.T
            azimuth = np.arctan2(y, x) % (2 * np.pi)
            middle = azimuth if n_phi is None else (np.floor(azimuth / (2 * np.pi) * n_phi) + 0.5) * 2 * np.pi / n_phi
            r, v = x * np.cos(middle) + y * np.sin(middle), y * np.cos(middle) - x * np.sin(middle)
            hits = []
            for j, q in enumerate(sectors):
                distance = (r - q.r) * math.cos(q.tilt) + (z - q.z) * math.sin(q.tilt)
                passes = (distance[:-1] < 0) & (distance[1:] >= 0) & (abs(middle[1:] - middle[:-1]) < 0.01)
                hits += [(s[m], j, m + 1) for m in np.flatnonzero(passes) if q.low <= z[m] / r[m] < q.high]
            if not hits:
                continue
            candidates = {j: m for _, j, m in hits}
            j = tile[i]
            if j < 0:
                continue
            assert j in candidates
            m, q = candidates[j], sectors[j]
            u = (z[m] - q.z) * math.cos(q.tilt) - (r[m] - q.r) * math.sin(q.tilt)
            assert along[i] == pytest.approx(u, abs=0.15)
            assert aside[i] == pytest.approx(v[m], abs=0.1)
            assert abs(aside[i]) <= (1e-9 if n_phi is None else q.r * math.tan(math.pi / 36) + 0.6)
            checked += 1
        assert checked > 0.9 * n


def test_the_vertex_moves_the_hit():
    geometry = make_geometry(config())
    eta = np.array([0.5, 0.5])
    track = straight(eta, vertex=[[0, 0, 0, 0], [0, 0, 5, 0]])["track"]
    found = cross(track, 2.0, geometry)
    tilt = math.radians(27.6)
    assert found.optic[0] == found.optic[1] == 13
    # along the tile: 5 cm of z seen under the angle between track and tile
    theta = 2 * math.atan(math.exp(-0.5))
    assert found.u[1] - found.u[0] == pytest.approx(
        5 * math.sin(theta) / math.cos(math.pi / 2 - theta - tilt), abs=0.01
    )


def test_discs_against_steps_along_the_helix():
    """From displaced vertices, up to one and a half turns; a disc is met from its front."""
    rng = np.random.default_rng(3)
    n = 400
    pt, eta = rng.uniform(0.05, 2, n), rng.choice([-1, 1], n) * rng.uniform(1.5, 4.2, n)
    phi, sign = rng.uniform(-np.pi, np.pi, n), rng.choice([-1, 1], n)
    vertex = np.column_stack([rng.normal(0, 3, (n, 2)), rng.normal(0, 30, n), np.zeros(n)])
    track = make_tracks(PION, pt, eta, phi, np.zeros(15), vertex=vertex, sign=sign, smear=False)["track"]
    tile, along, _ = crossed(track, make_geometry(config(DISCS)))
    for i in range(n):
        s = (math.copysign(376, eta[i]) - vertex[i, 2]) / math.sinh(eta[i])
        x, y, z, _ = advance(*vertex[i, :3], phi[i], math.sinh(eta[i]), curvature(sign[i] / pt[i], 2.0), s)
        assert z == pytest.approx(math.copysign(376, eta[i]))
        inside = 13.74 <= math.hypot(x, y) <= 103.95 and abs(curvature(1 / pt[i], 2.0)) * s <= 4 * math.pi
        assert (tile[i] >= 0) == inside
        if inside:
            assert tile[i] == (eta[i] < 0)
            assert along[i] == pytest.approx(math.hypot(x, y), rel=1e-12)
    assert 0.3 < (tile >= 0).mean() < 0.9
    behind = make_tracks(PION, 1.0, -0.8, 0.1, np.zeros(15), vertex=[0, 0, 400, 0], smear=False)["track"]
    assert crossed(behind, make_geometry(config(DISCS)))[0] == -1


def test_bounds_turn_no_track_away_that_arrives():
    """The tiles that are found are those without the bounds, which a radiator at the axis disables."""
    rng = np.random.default_rng(4)
    n = 20000
    pt, eta = rng.uniform(0.2, 0.5, n), rng.uniform(-2.3, 2.3, n)
    vertex = np.column_stack([rng.normal(0, 10, (n, 2)), rng.normal(0, 30, n), np.zeros(n)])
    track = make_tracks(
        PION, pt, eta, rng.uniform(-np.pi, np.pi, n), np.zeros(15), vertex=vertex, sign=rng.choice([-1, 1], n),
        smear=False,
    )["track"]  # fmt: skip
    geometry = make_geometry(config(tiles={"n_azimuthal_tiles": 36}))
    fast, slow = crossed(track, geometry), crossed(track, dataclasses.replace(geometry, closest=0.0))
    assert 0.1 < (fast[0] >= 0).mean() < 0.9
    for one, other in zip(fast, slow, strict=True):
        np.testing.assert_array_equal(one, other)


# --- optics ----------------------------------------------------------------------------------------------------------
def test_resolution_at_saturation():
    optic = make_geometry(config()).optics[10]
    pixel, depth, colour = (1e3 * math.sqrt(v) for v in variances(1 / 1.03, math.sin(SATURATION), optic, 1, 0))
    assert pixel == pytest.approx(1.05, abs=0.005)
    assert depth == pytest.approx(5.00, abs=0.005)
    assert colour == pytest.approx(1.14, abs=0.005)
    sigma, radius, kept = (a[0] for a in ring(np.array([SATURATION]), np.zeros(1), np.zeros(1), optic))
    photons = optic[PHOTONS] * math.sin(SATURATION) ** 2 * kept
    assert 1e3 * sigma == pytest.approx(5.23, abs=0.005)
    assert radius == pytest.approx(6.61, abs=0.005)
    assert photons == pytest.approx(24, rel=1e-3)
    assert 1e3 * sigma / math.sqrt(photons) == pytest.approx(1.07, abs=0.005)


@pytest.mark.parametrize(
    ("eta", "kept", "error"),
    [(0.05, 0.766, 1.22), (0.082, 0.605, 1.37), (0.5, 1, 1.33), (0.85, None, 1.37), (1.2, 1, 1.27), (1.55, 1, 1.06),
     (1.7, 0.84, 1.03)],
)  # fmt: skip
def test_ring_resolution_against_eta(eta, kept, error):
    """Numbers of onTheFlyRichPid at saturation; the place on the tile is that of the track."""
    geometry = make_geometry(config())
    for sign in (-1, 1):
        found = cross(straight(sign * eta)["track"], 2.0, geometry)
        optic = geometry.optics[found.optic[0]]
        sigma, _, share = (a[0] for a in ring(np.array([SATURATION]), found.u, found.v, optic))
        if kept is not None:
            assert share == pytest.approx(kept, abs=0.005 if kept < 1 else 0.02)
        photons = optic[PHOTONS] * math.sin(SATURATION) ** 2 * share
        assert 1e3 * sigma / math.sqrt(photons) == pytest.approx(error, abs=0.015)


def test_arc_cosine():
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose([arc_cosine(v) for v in x], np.arccos(x), atol=3e-8)


@pytest.mark.parametrize("place", [(0, 0), (5, 0), (0, 6), (7, 7), (-8, 3), (9, -9), (9.2, 9.2), (2, -8.5)])
@pytest.mark.parametrize("radius", [2.0, 6.6, 7.6])
def test_edges_cut_rings(place, radius):
    """Against points on the circle, also in corners where two edges cut the same arc."""
    optic = make_geometry(config(tiles={"n_azimuthal_tiles": 36})).optics[10].copy()
    assert optic[EDGES] == RECTANGLE
    assert optic[EDGE_A] == optic[EDGE_B] == 9.2
    psi = (np.arange(200000) + 0.5) / 200000 * 2 * np.pi
    on = (abs(place[0] + radius * np.cos(psi)) < 9.2) & (abs(place[1] + radius * np.sin(psi)) < 9.2)
    assert kept_fraction(*map(float, place), radius, optic) == pytest.approx(on.mean(), abs=2e-5)


@pytest.mark.parametrize("centre", [13.8, 15, 20, 21.5, 60, 97, 101, 103.9])
def test_discs_cut_rings(centre):
    optic = make_geometry(config(DISCS)).optics[0]
    psi = (np.arange(200000) + 0.5) / 200000 * 2 * np.pi
    away = np.hypot(centre + 7.7 * np.cos(psi), 7.7 * np.sin(psi))
    on = (away > 13.74) & (away < 103.95)
    assert kept_fraction(centre, 0.0, 7.7, optic) == pytest.approx(on.mean(), abs=2e-5)


def test_index_of_each_sector():
    indices = [1.03 + 0.001 * i for i in range(11)]
    geometry = make_geometry(config(tiles={"sector_indices": indices}))
    np.testing.assert_allclose(geometry.optics[:, INDEX], indices[::-1] + indices[1:])
    rich = run(straight([0.0, 1.7, -1.7]), tiles={"sector_indices": indices})
    for i, index in ((0, 1.03), (1, 1.04), (2, 1.04)):
        assert rich["expected_electron"][i] == pytest.approx(math.acos(1 / index), abs=1e-6)


# --- photons ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("eta", "kept"), [(0.0, 1.0), (0.05, 0.766), (0.082, 0.605)])
def test_photons_are_poisson_and_lost_at_edges(eta, kept):
    """The same number of photons makes the signal and the resolution, and it fluctuates."""
    n = 20000
    rich = run(straight(np.full(n, eta), p=50.0, sizes=[100] * (n // 100)))
    photons = rich["n_photons"]
    mean = 24 * kept
    assert photons.mean() == pytest.approx(mean, rel=2e-3, abs=4 * math.sqrt(mean / n))
    assert photons.var() == pytest.approx(photons.mean(), rel=5 * math.sqrt(2 / n))
    seen = rich["has_signal"]
    np.testing.assert_allclose(rich["angle_error"][seen], 5.23e-3 / np.sqrt(photons[seen]), rtol=0.03)
    assert np.std(rich["n_sigma_electron"][seen]) == pytest.approx(1, abs=5 / math.sqrt(2 * n))


def test_azimuthal_tiles_lose_photons():
    """Averaged over azimuth: the losses of a ring at the middle of the sector, computed point by point."""
    n = 20000
    phi = np.random.default_rng(1).uniform(-np.pi, np.pi, n)
    batch = make_tracks(ELECTRON, 50.0, np.zeros(n), phi, np.zeros(15), smear=False, sizes=[100] * (n // 100))
    rich = run(batch, tiles={"n_azimuthal_tiles": 36})
    v = 86 * np.tan((np.arange(200) + 0.5) / 200 * math.pi / 36)
    ring_v = v[:, None] + 6.61 * np.sin((np.arange(2000) + 0.5) / 2000 * 2 * np.pi)
    mean = 24 * (abs(ring_v) < 9.2).mean()
    assert mean < 22
    assert rich["n_photons"].mean() == pytest.approx(mean, abs=0.02 + 5 * math.sqrt(2 * mean / n))


def test_charge_squared():
    n = 2000
    for species, charge in ((TRITON, 1), (ALPHA, 2)):
        rich = run(straight(np.zeros(n), species, p=60.0, sizes=[100] * (n // 100)))
        theta = cherenkov_angle(np.array([60.0]), SPECIES_MASS[species], 1.03)[0]
        kept = 1.0
        mean = 418.07 * charge**2 * math.sin(theta) ** 2 * kept
        assert rich["n_photons"].mean() == pytest.approx(mean, abs=5 * math.sqrt(mean / n))
        assert rich[f"expected_{SPECIES[species]}"][0] == pytest.approx(theta, rel=1e-9)


def test_too_few_photons_are_no_ring():
    """No n-sigma without a ring, and a mean above the minimum does not make one."""
    n = 5000
    p = 0.62
    rich = run(straight(np.zeros(n), PION, p=p, sizes=[100] * (n // 100)))
    mean = 418.07 * math.sin(cherenkov_angle(np.array([p]), SPECIES_MASS[PION], 1.03)[0]) ** 2
    assert mean > 3
    lost = math.exp(-mean) * (1 + mean + mean**2 / 2)
    assert 1 - rich["has_signal"].mean() == pytest.approx(lost, abs=5 * math.sqrt(lost / n))
    np.testing.assert_array_equal(np.isfinite(rich["n_sigma_pion"]), rich["has_signal"])
    np.testing.assert_array_equal(rich["has_signal"], rich["n_photons"] >= 3)


def test_gas_counts_photons():
    """Momenta at which 230/cm over 25 cm of gas with n = 1.0006 give three photons on average."""
    n = 4000
    for species, p in ((ELECTRON, 0.020), (MUON, 4.06), (PION, 5.36), (KAON, 19.0), (PROTON, 36.0)):
        bz = 0.0 if species == ELECTRON else 2.0
        batch = straight(np.zeros(n), species, p=p, sizes=[100] * (n // 100))
        stage = Rich("rich", config(gas={}), Setup(bz))
        rich = stage.run(batch, Draw.of(1, "rich")).tables[0]
        assert rich["n_photons_gas"].mean() == pytest.approx(3, abs=0.06 + 5 * math.sqrt(3 / n))
        assert rich["n_photons_gas"].var() == pytest.approx(rich["n_photons_gas"].mean(), rel=0.15)
    assert not run(straight(np.zeros(10)))["n_photons_gas"].any()
    # the gas tells electrons from pions where their rings are the same
    rich = run(straight(np.zeros(500), ELECTRON, p=4.5), gas={})
    gain = rich["log_likelihood_electron"] - rich["log_likelihood_pion"]
    without = run(straight(np.zeros(500), ELECTRON, p=4.5))
    assert np.median(gain - without["log_likelihood_electron"] + without["log_likelihood_pion"]) > 3


# --- pulls -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("base", [PUBLISHED, DISCS], ids=["tiles", "discs"])
@pytest.mark.parametrize(("low", "high"), [(1.1, 1.15), (1.15, 1.3), (1.3, 1.6), (1.6, 4.0)])
def test_pulls_have_unit_width_from_the_threshold_on(base, low, high):
    """Momentum errors of 1 to 1.5 %; the linear error of the angle would give up to 1.3."""
    rng = np.random.default_rng(7)
    n = 8000
    species = rng.choice([KAON, PROTON, PION], n)
    threshold = np.array(SPECIES_MASS)[species] / math.sqrt(1.03**2 - 1)
    p = threshold * rng.uniform(low, high, n)
    eta = rng.uniform(-1.2, 1.2, n) if base is PUBLISHED else rng.uniform(2.2, 3.4, n)
    pt = p / np.cosh(eta)
    cov = packed(tgl=np.full(n, 1e-3), q_over_pt=rng.uniform(0.01, 0.015, n) / pt)
    batch = make_tracks(species, pt, eta, rng.uniform(-3, 3, n), cov, sign=rng.choice([-1, 1], n))
    rich = run(batch, base)
    n_sigma = matrix(rich, "n_sigma")[species, np.arange(n)]
    n_sigma = n_sigma[np.isfinite(n_sigma)]
    assert len(n_sigma) > 0.5 * n
    assert n_sigma.std() == pytest.approx(1, abs=0.05)
    assert abs(n_sigma.mean()) < 0.1


def test_stage_keeps_its_promises():
    rng = np.random.default_rng(51)
    size = 60
    pt = rng.uniform(0.1, 6.0, size)
    batch = make_tracks(
        rng.integers(0, 9, size), pt, rng.uniform(-3, 3, size), rng.uniform(-3, 3, size),
        packed(tgl=1e-3, q_over_pt=0.03 / pt), vertex=rng.normal(0, 1, (size, 4)), sizes=[0, 1, 2, 7, 0, 50],
        sign=rng.choice([-1, 1], size),
    )  # fmt: skip
    noise = {"dark_count_rate": "100 kHz/mm2", "time_window": "5 ns"}
    for base in (PUBLISHED, DISCS, {**PUBLISHED, "tiles": {"n_azimuthal_tiles": 36}}):
        check_stage(Rich("brich", config(base, background=noise, gas={}), Setup(2.0)), batch)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"model": "projective"}, "either tiles"),
        ({**PUBLISHED, **{k: DISCS[k] for k in ("discs",)}}, "exactly one"),
        ({**PUBLISHED, "single_photon_resolution": "5 mrad"}, "no meaning in the projective model"),
        ({**PUBLISHED, "shape": {"cylinder": {"radius": "1 m", "half_length": "2 m"}}}, "no meaning"),
        ({"tiles": {}, "shape": {"cylinder": {"radius": "1 m", "half_length": "2 m"}}}, "no meaning in the simple"),
        ({}, "shape is missing"),
        ({**PUBLISHED, "tiles": {"n_azimuthal_tiles": 28}}, "overlap or leave"),
        ({**PUBLISHED, "tiles": {"n_azimuthal_tiles": 40}}, "overlap or leave"),
        ({**PUBLISHED, "tiles": {"sector_indices": [1.03]}}, "needs 11 values"),
        ({**PUBLISHED, "tiles": {"inner_radius": "2 m"}}, "smaller than outer_radius"),
        ({**PUBLISHED, "optics": {"gap_index": 1.2}}, "do not get into a gap"),
        ({**PUBLISHED, "refractive_index": 1.47}, "do not get into a gap"),
        ({**PUBLISHED, "background": {"dark_count_rate": "5 kHz"}}, "rate per area"),
    ],
)
def test_wrong_settings(settings, text):
    with pytest.raises(ValidationError, match=text):
        RichConfig.model_validate(settings)
