"""Photon conversions: cross section, rates per layer, kinematics of the pair, and pairs tracked like all others."""

from __future__ import annotations

import math

import awkward as ak
import numpy as np
import pytest
from scipy import integrate, stats

import flashdet
from flashdet.card import Card
from flashdet.columns import CHARGED
from flashdet.event import EventBatch, Table
from flashdet.kernels.jit import kernel
from flashdet.kernels.material import SILICON_X0
from flashdet.layout import read_layout
from flashdet.pipeline import Pipeline
from flashdet.rng import Draw
from flashdet.species import ELECTRON_MASS
from flashdet.stages.base import Setup
from flashdet.stages.conversions.pairs import (
    MOST_OF_HIGH_ENERGY,
    _polynomial,
    draw_share,
    full_screening_share,
    pairs_per_length,
    spectrum,
)
from flashdet.stages.conversions.stage import Conversions, ConversionsConfig
from flashdet.stages.propagate.stage import Propagate, PropagateConfig
from flashdet.stages.secondaries import photon_row
from flashdet.testing import assert_same_tables, check_stage, make_events
from flashdet.units import C_LIGHT

LAYERS = [layer for layer in read_layout("alice3_v3").layers if layer.x_over_x0 > 0]


def make_stage(layout="alice3_v3", name="conversions"):
    return Conversions(name, ConversionsConfig(layout=layout), Setup(2.0))


def photons(n, energy, eta, **kwargs):
    return make_events(np.full(n, 22), energy / np.cosh(eta), eta, np.linspace(-3, 3, n), **kwargs)


def run(batch, stage=None, seed=1):
    out = (stage or make_stage()).run(batch, Draw.of(seed, "conversions"))
    return out.tables[0], out.counts


def test_cross_section():
    """At 100 GeV the tabulated cross section on silicon is 7/9 per radiation length within 1 %; it rises to that."""
    per_barn = 6.02214e23 / 28.0855 * 21.82 * 1e-24
    assert 14 * 15 * _polynomial(100.0) * 1e-6 * per_barn == pytest.approx(7 / 9, rel=0.01)
    assert pairs_per_length(200.0) == pairs_per_length(100.0) == 7 / 9
    assert pairs_per_length(1e-3) == 0.0
    rates = np.array([pairs_per_length(float(e)) for e in np.geomspace(2e-3, 100, 50)])
    # the fit has a dip of 0.1 % at 10 GeV
    assert (np.diff(rates) > -1e-3).all()
    assert rates.max() < 7 / 9 * MOST_OF_HIGH_ENERGY
    assert 0.94 < pairs_per_length(1.0) * 9 / 7 < 0.96
    assert 0.25 < pairs_per_length(0.01) * 9 / 7 < 0.28


def test_share_at_full_screening():
    """Distribution function of 1 - 4/3 x (1 - x)."""
    u = np.linspace(0.001, 0.999, 201)
    x = np.array([full_screening_share(float(v)) for v in u])
    for value, share in zip(u[::20], x[::20], strict=True):
        area, _ = integrate.quad(lambda y: (1 - 4 / 3 * y * (1 - y)) * 9 / 7, 0, share)
        assert area == pytest.approx(value, abs=1e-9)
    assert x + x[::-1] == pytest.approx(1.0)


@kernel
def _shares(energy, out):
    for i in range(len(out)):
        out[i] = draw_share(np.uint64(5), np.uint64(i), 0, 3, energy)


@pytest.mark.parametrize("energy", [1.6e-3, 2.5e-3, 8e-3, 0.04, 0.06, 0.5, 50.0])
def test_share_of_the_energy(energy):
    """Shares follow the Bethe-Heitler spectrum with screening, which gives the cross section back when integrated."""
    shares = np.empty(20000)
    _shares(energy, shares)
    grid = np.linspace(0.0, 1.0, 4001)
    density = np.array([spectrum(float(x), energy) for x in grid])
    cumulative = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    total = cumulative[-1]
    assert stats.kstest(shares, lambda x: np.interp(x, grid, cumulative / total)).pvalue > 1e-4
    least = ELECTRON_MASS / energy
    assert least < shares.min() < shares.max() < 1 - least
    if energy >= 8e-3:
        # sigma = alpha r_e^2 Z (Z + xi) * 2 * integral; xi about 1.2 for silicon, the fit has Z (Z + 1)
        absolute = 2.8179403e-13**2 / 137.036 * 14 * (14 + 1.2) * total * 1e30
        assert absolute == pytest.approx(14 * 15 * _polynomial(energy), rel=0.08)
    # at low energy the spectrum is flat, at high energy uneven shares are more frequent
    middle = np.mean(abs(shares - 0.5) < 0.25)
    full = np.interp(0.75, grid, grid - 2 / 3 * grid**2 + 4 / 9 * grid**3) * 9 / 7
    assert middle >= 2 * full - 1 - 4 / math.sqrt(20000)
    if energy == 50.0:
        assert middle == pytest.approx(2 * full - 1, abs=4 * 0.5 / math.sqrt(20000))


def expected_depths(eta):
    """Radiation lengths of each layer for a photon from the origin."""
    tgl = math.sinh(eta)
    depths = []
    for layer in LAYERS:
        if layer.kind == "cylinder":
            is_hit = layer.low <= layer.position * tgl <= layer.high
            factor = math.cosh(eta)
        else:
            is_hit = layer.position * tgl > 0 and layer.low <= layer.position / tgl <= layer.high
            factor = math.cosh(eta) / abs(tgl) if tgl else 0.0
        depths.append(layer.x_over_x0 * factor if is_hit else 0.0)
    return np.array(depths)


@pytest.mark.parametrize(("eta", "energy"), [(0.0, 50.0), (0.0, 0.05), (0.9, 2.0), (-2.2, 1.0), (3.2, 5.0)])
def test_rate_per_layer(eta, energy):
    """1 - exp(-rate x/X0 / cos) in each layer, and what is left over for the next; vertex on the layer."""
    n = 60000
    pairs, counts = run(photons(n, energy, eta))
    depths = expected_depths(eta)
    slope = max(abs(math.sinh(eta)), 1e-9)
    radius = [layer.position if layer.kind == "cylinder" else abs(layer.position) / slope for layer in LAYERS]
    rate = pairs_per_length(energy)
    survive = 1.0
    seen = np.bincount(pairs["layer"][::2], minlength=len(LAYERS))
    for i in np.argsort(radius, kind="stable"):
        chance = survive * -math.expm1(-rate * depths[i])
        survive *= math.exp(-rate * depths[i])
        if chance == 0:
            assert seen[i] == 0
        else:
            assert stats.binomtest(int(seen[i]), n, chance).pvalue > 1e-5
            where = np.hypot(pairs["vx"], pairs["vy"])[pairs["layer"] == i]
            assert where == pytest.approx(radius[i], rel=1e-9)
    assert counts["photons converted"] == seen.sum() > 100
    total = math.exp(-rate * depths.sum())
    assert stats.binomtest(int(seen.sum()), n, 1 - total).pvalue > 1e-5


def test_displaced_photons():
    """From outside a layer it is not crossed; time and place follow the line from the real vertex."""
    n = 20000
    vertex = np.tile([10.0, 0.0, 20.0, 0.3], (n, 1))
    batch = photons(n, 10.0, 0.2, vertex=vertex)
    pairs, _ = run(batch)
    radius = np.hypot(pairs["vx"], pairs["vy"])
    assert radius.min() >= 12 - 1e-9
    path = np.sqrt((pairs["vx"] - 10) ** 2 + pairs["vy"] ** 2 + (pairs["vz"] - 20) ** 2)
    assert pairs["vt"] == pytest.approx(0.3 + path / C_LIGHT)
    assert (pairs["vz"] - 20) == pytest.approx(path * math.tanh(0.2))
    # a photon along a tangent goes through more material, but not without limit
    assert len(radius) / 2 / n < 0.5


def test_kinematics_of_the_pair():
    """Energy is conserved exactly, directions are those of the photon within a few m/E, charges are opposite."""
    n, energy = 50000, 2.0
    batch = photons(n, energy, 0.5)
    pairs, _ = run(batch)
    p = np.sqrt(pairs["px"] ** 2 + pairs["py"] ** 2 + pairs["pz"] ** 2)
    e = np.hypot(p, ELECTRON_MASS)
    assert e[::2] + e[1::2] == pytest.approx(energy, rel=1e-12)
    assert (pairs["pdg"][::2] == -11).all()
    assert (pairs["pdg"][1::2] == 11).all()
    assert (pairs["photon_index"] == photon_row(pairs["particle_index"])).all()
    assert len(np.unique(pairs["particle_index"])) == pairs.n_rows
    assert (pairs["particle_index"] < -1).all()
    row = pairs["photon_index"]
    photon = np.stack([batch["particle"][c][row] for c in ("px", "py", "pz")])
    cross = np.linalg.norm(np.cross(np.stack([pairs[c] for c in ("px", "py", "pz")]), photon, axis=0), axis=0)
    scaled = np.arcsin(cross / (p * energy)) * e / ELECTRON_MASS
    # mean of u: 2/a with chance 1/4, 2/(3 a) with chance 3/4
    mean = 0.25 * 2 / 0.625 + 0.75 * 2 / (3 * 0.625)
    assert scaled.mean() == pytest.approx(mean, rel=0.03)
    # transverse momenta cancel to first order
    total = sum(np.stack([pairs[c][k::2] for c in ("px", "py", "pz")]) for k in (0, 1))
    direction = photon[:, ::2] / energy
    across = total - direction * (total * direction).sum(axis=0)
    assert np.quantile(np.abs(across), 0.98) < 1e-5
    share = e[::2] / energy
    grid = np.linspace(0.0, 1.0, 2001)
    cumulative = integrate.cumulative_trapezoid([spectrum(float(x), energy) for x in grid], grid, initial=0.0)
    assert stats.kstest(share, lambda x: np.interp(x, grid, cumulative / cumulative[-1])).pvalue > 1e-4


def test_only_final_photons_convert():
    batch = make_events([22, 22, 111, 2112], 5.0, 0.1, [0.0, 1.0, 2.0, 3.0], status=[2, 44, 1, 1])
    assert run(batch)[0].n_rows == 0
    along = photons(3, 5.0, 0.0)
    for name in ("px", "py"):
        along["particle"][name].flags.writeable = True
        along["particle"][name][:] = 0.0
    assert run(along)[0].n_rows == 0


def test_promises_of_a_stage():
    rng = np.random.default_rng(1)
    n = 400
    batch = make_events(
        rng.choice([22, 22, 211, 111], n), rng.uniform(0.1, 5, n), rng.uniform(-4, 4, n), rng.uniform(-3, 3, n),
        sizes=[100, 0, 250, 50], vertex=np.column_stack([rng.normal(size=(n, 2)), 5 * rng.normal(size=n), np.zeros(n)]),
    )  # fmt: skip
    assert check_stage(make_stage(name="gamma"), batch).tables[0].n_rows > 10


def propagate(batch, secondaries=()):
    stage = Propagate("propagate", PropagateConfig(secondaries=secondaries, collision_time_spread="200 ps"), Setup(2.0))
    out = stage.run(batch, Draw.of(1, "propagate"))
    return out.tables, out.counts


def test_pairs_join_the_charged_particles():
    """Behind the generator's rows of each event, which stay as they were; dN/deta too."""
    n = 600
    rng = np.random.default_rng(3)
    batch = make_events(
        rng.choice([22, 211], n), 2.0, rng.uniform(-1, 1, n), rng.uniform(-3, 3, n), sizes=[200, 0, 399, 1]
    )
    alone, alone_event = propagate(batch)[0]
    pairs, _ = run(batch)
    full = EventBatch({**batch.tables, "conversions_pair": pairs})
    check_stage(Propagate("propagate", PropagateConfig(secondaries=("conversions",)), Setup(2.0)), full)
    charged, event = propagate(full, ("conversions",))[0]
    is_old = charged["particle_index"] >= 0
    for column in CHARGED:
        np.testing.assert_array_equal(charged[column.name][is_old], alone[column.name])
    np.testing.assert_array_equal(event["dndeta"], alone_event["dndeta"])
    assert (np.diff(charged.offsets) == np.diff(alone.offsets) + np.diff(pairs.offsets)).all()
    new = charged.select(~is_old)
    np.testing.assert_array_equal(new["particle_index"], pairs["particle_index"])
    assert (new["charge"] == -np.sign(pairs["pdg"])).all()
    assert (new["vt"] - pairs["vt"]) == pytest.approx(event["collision_time"][pairs.event_index])


def test_whole_chain_on_and_off(tmp_path):
    """Other particles' tracks and signals are bitwise the same with and without conversions; pairs are tracked."""
    n = 3000
    rng = np.random.default_rng(5)
    batch = make_events(
        rng.choice([22, 211, -321], n), rng.uniform(0.5, 4, n), rng.uniform(-1, 1, n), rng.uniform(-3, 3, n),
        sizes=[1000, 2000],
    )  # fmt: skip
    stages = """
  - {kind: propagate%s}
  - {kind: tracking}
  - {kind: tof, name: otof, shape: {cylinder: {radius: 85 cm, half_length: 340 cm}}, time_resolution: 20 ps}
  - {kind: muon}
"""
    head = "schema_version: 1\ndetector: test\nmagnetic_field: 2 T\nluts: alice3\nstages:"
    off, on = tmp_path / "off.yaml", tmp_path / "on.yaml"
    off.write_text(head + stages % "")
    on.write_text(
        head + "\n  - {kind: conversions, layout: alice3_v3}" + stages % ", secondaries: [conversions]"
    )  # fmt: skip
    without = Pipeline(Card.load(off)).run(batch).batch
    having = Pipeline(Card.load(on)).run(batch).batch
    is_old = having["track"]["particle_index"] >= 0
    assert_same_tables(
        EventBatch({"track": without["track"], "muon": without["muon"]}),
        EventBatch({"track": having["track"].select(is_old), "muon": having["muon"].select(is_old)}),
    )
    np.testing.assert_array_equal(having["otof"]["path_length_true"][is_old], without["otof"]["path_length_true"])
    tracks = having["track"].select(~is_old)
    assert tracks.n_rows > 20
    assert set(np.abs(tracks["pdg_true"])) == {11}
    radius = np.hypot(tracks["vx_true"], tracks["vy_true"])
    assert radius.max() > 1.0
    # two legs of a pair draw numbers of their own: their errors are not the same
    same = np.flatnonzero(np.diff(photon_row(tracks["particle_index"])) == 0)
    assert len(same) > 5
    pull = (tracks["z"] - 0.0) / np.sqrt(tracks["cov"][:, 2])
    assert (np.abs(pull[same] - pull[same + 1]) > 1e-9).all()


def test_material_of_a_tangent_is_finite():
    """Grazing a cylinder of thickness d and radius r crosses at most sqrt(2 d r + d^2)."""
    layer = next(layer for layer in LAYERS if layer.name == "B03")
    d = layer.x_over_x0 * SILICON_X0
    most = math.sqrt(2 * d * layer.position + d * d) / SILICON_X0
    n = 40000
    # from a point on the inner side of the layer, along the tangent
    vertex = np.tile([layer.position - 1e-6, 0.0, 0.0, 0.0], (n, 1))
    batch = make_events(np.full(n, 22), 50.0, 0.0, math.pi / 2, vertex=vertex)
    pairs, _ = run(batch)
    i = LAYERS.index(layer)
    chance = 1 - math.exp(-pairs_per_length(50.0) * most)
    assert np.mean(pairs["layer"][::2] == i) * len(pairs["layer"]) / 2 / n == pytest.approx(chance, rel=0.06)


def test_table_of_pairs_survives_selection():
    """Rows below -1 are photons' pairs, -1 and above are not."""
    index = np.array([0, 7, -1, -2, -3, -4, -9], np.int32)
    assert list(photon_row(index)) == [-1, -1, -1, 0, 0, 1, 3]
    assert Table("x", np.array([0, 7]), {"particle_index": index}).n_rows == 7


def test_users_find_no_particle_behind_a_pair():
    """Indexing the generator's particles with the tracks' index gives None, not a particle counted from the end."""
    n = 400
    rng = np.random.default_rng(5)
    batch = make_events(rng.choice([22, 211], n), 3.0, rng.uniform(-1, 1, n), rng.uniform(-3, 3, n), sizes=[200, 200])
    events = flashdet.simulate(batch, card="alice3", overrides=["output.particles=all"])
    code = events.particle.pdg[events.track.particle_index]
    missing = ak.is_none(code, axis=1)
    assert ak.sum(missing) > 3
    assert ak.all(abs(events.track.pdg_true[missing]) == 11)
    assert ak.all(ak.drop_none(code) == events.track.pdg_true[~missing])
