"""Decays in flight: exponential in the proper time, shared by all detectors, and what they do to the event time."""

import math

import numpy as np
import pytest

from flashdet import Pipeline
from flashdet.card import Card
from flashdet.errors import CardError
from flashdet.species import particle_table
from flashdet.stages.propagate.decays import path_out
from flashdet.testing import check_stage, gun

CARD = """
schema_version: 1
detector: two layers
magnetic_field: 2 T
luts: alice3
stages:
  - {kind: propagate, decays: {radius: 5 cm, half_length: 10 cm}}
  - kind: tracking
  - kind: decay
  - {kind: tof, name: itof, shape: {cylinder: {radius: 19 cm, half_length: 62 cm}}, time_resolution: 20 ps,
     decays: true, event_time: {method: shared}}
  - {kind: tof, name: otof, shape: {cylinder: {radius: 85 cm, half_length: 340 cm}}, time_resolution: 20 ps,
     decays: true, event_time: {method: shared}}
  - {kind: event_time, name: t0, detectors: [itof, otof]}
"""


@pytest.fixture(scope="module")
def card(tmp_path_factory):
    path = tmp_path_factory.mktemp("card") / "decay.yaml"
    path.write_text(CARD)
    return path


@pytest.fixture(scope="module")
def pipeline(card):
    return Pipeline(Card.load(card), seed=5)


@pytest.mark.parametrize(
    ("code", "p", "ctau"), [(211, 0.6, 780.4), (321, 0.8, 371.1), (3112, 1.5, 4.43), (-3312, 3.0, 4.91)]
)
def test_survival_to_each_detector(pipeline, code, p, ctau):
    """exp(-L m/(p c tau)) with the path of each track; values of c tau from the Review of Particle Physics."""
    result = pipeline.run(gun([code], n_events=60, particles=100, pt=(p, 1.01 * p), eta=(-0.2, 0.2)))
    batch = result.batch
    mass = particle_table().mass[particle_table().find(np.array([code], np.int32))[0]]
    track = batch["track"]
    momentum = track["pt_true"] * np.cosh(track["eta_true"])
    # the cylinder that makes a track: no particle is lost for another reason
    charged = batch["charged"]
    assert charged.n_rows + result.counts["propagate"].get("lost: decayed before a track", 0) == 6000
    expected = np.exp(-5 * np.cosh(charged["eta"]) * mass / (charged["pt"] * np.cosh(charged["eta"]) * ctau)).mean()
    error = math.sqrt(expected * (1 - expected) / 6000)
    assert charged.n_rows / 6000 == pytest.approx(expected, abs=4 * error)
    decayed = [track["end_path_true"] < 19, track["end_path_true"] < 85]
    for tof, radius, early in zip(("itof", "otof"), (19.0, 85.0), decayed, strict=True):
        seen = batch[tof]["has_signal"]
        expected = np.exp(-(radius - 5) * np.cosh(track["eta_true"]) * mass / (momentum * ctau)).mean()
        # the bend of the track makes the path longer by less than 4 %
        error = math.sqrt(expected * (1 - expected) / len(seen))
        assert seen.mean() == pytest.approx(expected, abs=4 * error + 0.04 * -math.log(expected) * expected)
        assert not (seen & early).any()
    # what decayed before the inner detector does not come back in the outer one
    assert not (batch["otof"]["has_signal"] & ~batch["itof"]["has_signal"] & (track["end_path_true"] < 19)).any()


def test_hyperons_do_not_make_the_event_late(card):
    """A sixth of the baryons of a generator are charged hyperons, late by tens of picoseconds where nothing decays."""
    codes = [211] * 12 + [2212] * 2 + [3112, 3222, -3312]
    events = gun(codes, n_events=60, particles=100, pt=(0.8, 2.0), eta=(-1.2, 1.2), seed=2)
    bias = {}
    for decays in ("true", "false"):
        settings = [f"stages.{tof}.decays={decays}" for tof in ("itof", "otof")]
        settings += ["stages.propagate.decays={radius: 1 mm, half_length: 1 mm}"]
        batch = Pipeline(Card.load(card, settings), seed=5).run(events).batch
        event, true = batch["t0_event"], batch["event"]["vt"] + batch["event"]["collision_time"]
        bias[decays] = np.mean((event["time"] - true) / event["time_error"])
    assert bias["true"] == pytest.approx(0, abs=0.3 + 4 / math.sqrt(60))
    assert bias["false"] - bias["true"] > 0.5


def test_stable_particles_and_batches(card, pipeline):
    events = gun([11, 2212, -13, 321, 1000010020], n_events=5, particles=5, pt=(1, 2), eta=(-1, 1))
    batch = pipeline.run(events).batch
    track = batch["track"]
    np.testing.assert_array_equal(np.isnan(track["end_path_true"]), ~np.isin(abs(track["pdg_true"]), (13, 321)))
    propagate, decay = pipeline.stages[0], pipeline.stages[2]
    check_stage(propagate, events)
    plain = batch.copy()
    plain.tables = {name: table for name, table in batch.tables.items() if name in ("event", "particle", "charged")}
    plain.tables["track"] = type(track)(
        "track", track.offsets, {k: v for k, v in track.items() if k != "end_path_true"}
    )
    check_stage(decay, plain)
    settings = ["stages.propagate.decays=null", "stages.itof.decays=false", "stages.otof.decays=false"]
    with pytest.raises(CardError, match=r"charged\.decay_path; stage 'propagate' writes it only if"):
        Pipeline(Card.load(card, settings))


def test_ways_out_of_a_cylinder():
    """Against straight lines in many directions from many points."""
    random = np.random.default_rng(5)
    for _ in range(200):
        start, momentum = random.uniform(-12, 12, 3), random.normal(size=3) * random.uniform(0.1, 5)
        way = path_out(*start, *momentum, 10.0, 8.0)
        if np.hypot(*start[:2]) >= 10 or abs(start[2]) >= 8:
            assert way == 0
            continue
        end = start + way * momentum / np.linalg.norm(momentum)
        assert max(np.hypot(*end[:2]) / 10, abs(end[2]) / 8) == pytest.approx(1, abs=1e-9)
        assert way > 0


WALL = """
schema_version: 1
detector: a wall before a disc
magnetic_field: 2 T
luts: alice3
stages:
  - {kind: propagate, decays: {radius: 1 mm, half_length: 1 mm}}
  - kind: tracking
  - {kind: decay, absorbers: {cylinder: {radius: 125 cm, half_length: 266 cm}}}
  - {kind: tof, name: ftof, shape: {disc: {z: 370 cm, r_min: 15 cm, r_max: 100 cm}}, time_resolution: 20 ps,
     decays: true, event_time: {method: truth_mass, spread: 1 ps}}
"""


def test_particles_end_at_absorbers(tmp_path):
    """Behind the wall tracks of 0.4 to 0.9 GeV/c bend back to the axis and would reach the disc."""
    path = tmp_path / "wall.yaml"
    path.write_text(WALL)
    events = gun([2212, -2212], n_events=30, particles=100, pt=(0.3, 0.9), eta=(0.8, 1.7))
    with_wall = Pipeline(Card.load(path), seed=3).run(events).batch
    without = Pipeline(Card.load(path, ["stages.ftof.decays=false"]), seed=3).run(events).batch
    track = with_wall["track"]
    # a circle through the axis: its chord is the radius of the wall; 0.299792458e-2 GeV/c per T and cm
    diameter = 2 * track["pt_true"] / (2.0 * 0.299792458e-2)
    with np.errstate(invalid="ignore"):
        arc = diameter * np.arcsin(125 / diameter)
    expected = np.where(
        arc * np.sinh(track["eta_true"]) + track["vz_true"] <= 266, arc * np.cosh(track["eta_true"]), np.nan
    )
    np.testing.assert_allclose(track["end_path_true"], expected, rtol=1e-9)
    stopped = ~np.isnan(expected)
    assert 0.2 < stopped.mean() < 0.8
    assert (without["ftof"]["has_signal"] & stopped).sum() > 50
    np.testing.assert_array_equal(with_wall["ftof"]["has_signal"], without["ftof"]["has_signal"] & ~stopped)


RINGS = WALL.replace(
    "  - {kind: tof, name: ftof",
    """
  - {kind: rich, name: barrel, model: projective, tiles: {n_azimuthal_tiles: 36}, decays: true}
  - {kind: rich, name: simple, shape: {cylinder: {radius: 90 cm, half_length: 200 cm}}, decays: true}
  - {kind: rich, name: discs, model: projective, decays: true,
     discs: {z: 375 cm, gap: 30 cm, r_min: 13 cm, r_max: 104 cm}}
  - {kind: tof, name: ftof""",
)


def test_rings_need_a_particle(tmp_path):
    """Where a particle is gone before the radiator there is no ring, and nobody else loses one."""
    path = tmp_path / "rings.yaml"
    path.write_text(RINGS)
    events = gun([321, -321, 2212], n_events=20, particles=100, pt=(0.4, 2), eta=(-3, 3))
    names = ("barrel", "simple", "discs")
    card = Card.load(path)
    plain = Card.load(path, [f"stages.{name}.decays=false" for name in names])
    seen, crossed = (Pipeline(c, seed=3).run(events).batch for c in (card, plain))
    track = seen["track"]
    end, cosh = track["end_path_true"], np.cosh(track["eta_true"])
    sine = np.abs(np.tanh(track["eta_true"]))
    # least and largest paths to the radiators: tiles are tilted, and tracks of 0.4 GeV/c bend by 0.6
    reach = {"barrel": (84 * cosh, 150 * cosh), "simple": (89 * cosh, 98 * cosh), "discs": (375 / sine, 377 / sine)}
    for name in names:
        first, last = reach[name]
        with_decays, without = seen[name]["has_acceptance"], crossed[name]["has_acceptance"]
        assert not (with_decays & ~without).any()
        assert not (with_decays & (end < first)).any()
        np.testing.assert_array_equal(with_decays[~(end < last)], without[~(end < last)])
        gone = without & ~with_decays
        assert 0.02 < gone.sum() / without.sum() < 0.5


SHOWERS = WALL.replace(
    "  - {kind: tof, name: ftof",
    """
  - {kind: emcal, name: all, shape: {cylinder: {radius: 125 cm, half_length: 266 cm}}, charged: all, decays: true}
  - {kind: emcal, name: tracks, shape: {cylinder: {radius: 125 cm, half_length: 266 cm}}, decays: true}
  - {kind: tof, name: ftof""",
)


def test_clusters_need_a_particle(tmp_path):
    """Kaons that are gone before the calorimeter leave nothing there; the absorber itself does see them."""
    path = tmp_path / "showers.yaml"
    path.write_text(SHOWERS)
    events = gun([321, -321], n_events=20, particles=100, pt=(0.6, 2), eta=(-1, 1))
    names = ("all", "tracks")
    card, plain = Card.load(path), Card.load(path, [f"stages.{name}.decays=false" for name in names])
    seen, crossed = (Pipeline(c, seed=3).run(events).batch for c in (card, plain))
    track = seen["track"]
    diameter = 2 * track["pt_true"] / (2.0 * 0.299792458e-2)
    way = diameter * np.arcsin(125 / diameter) * np.cosh(track["eta_true"])
    charged = seen["charged"]
    decayed = charged["decay_path"][np.isin(charged["pt"], track["pt_true"])] < way
    assert 0.1 < decayed.mean() < 0.4
    for name in names:
        np.testing.assert_array_equal(seen[name]["has_signal"], crossed[name]["has_signal"] & ~decayed)
