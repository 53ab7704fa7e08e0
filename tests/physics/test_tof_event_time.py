"""The time of the collision from several TOF detectors together, and how far it lets them tell pions from kaons."""

import math
from pathlib import Path

import numpy as np
import pytest
from pid_tracks import make_tracks, packed
from pydantic import ValidationError
from tof_kit import COMMON, KAON, PION, PROTON, matrix, of_true_species, sample, shares

from flashdet import Pipeline
from flashdet.card import Card
from flashdet.errors import CardError
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup
from flashdet.stages.priors import fill_shares, pack_shares, prior_at
from flashdet.stages.tof.flight import pulls
from flashdet.stages.tof.jointtime import EventTime, EventTimeStageConfig
from flashdet.stages.tof.stage import Tof, TofConfig
from flashdet.stages.tof.timesearch import self_included_width
from flashdet.testing import check_stage, gun

INNER = {"cylinder": {"radius": "19 cm", "half_length": "62 cm"}}
OUTER = {"cylinder": {"radius": "85 cm", "half_length": "340 cm"}}


def detect(batch, **settings):
    """Hits of an inner and an outer TOF that leave the event time to others."""
    for name, shape in (("itof", INNER), ("otof", OUTER)):
        values = {"shape": shape, "time_resolution": "20 ps", "event_time": {"method": "shared"}, **settings}
        tof = Tof(name, TofConfig.model_validate(values), Setup(2.0))
        for table in tof.run(batch, Draw.of(1, name)).tables:
            batch.add(table)
    return batch


def joint(**settings):
    config = EventTimeStageConfig.model_validate({"detectors": ["itof", "otof"], **settings})
    return EventTime("t0", config, Setup(2.0))


def find(batch, **settings):
    batch = batch.copy()
    output = joint(**settings).run(batch, Draw.of(1, "t0"))
    for table in output.tables:
        batch.add(table)
    return batch


def near_and_far(pull):
    return pull[abs(pull) < 5], np.mean(abs(pull) >= 5)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 30])
def test_leave_one_out_pulls_are_one(n):
    """Event time and n_sigma of both detectors, hits of the track itself left out everywhere."""
    rng = np.random.default_rng(n)
    n_events = max(300, 4000 // n)
    batch, true = sample(rng, n_events, n, COMMON)
    done = find(detect(batch))
    t0 = done["t0"]
    pull = (t0["event_time"] - np.repeat(true, n)) / t0["event_time_error"]
    values = [pull] + [of_true_species(matrix(done[d], "n_sigma"), batch) for d in ("itof", "otof")]
    for found in values:
        near, far = near_and_far(found[np.isfinite(found)])
        assert far < 0.01
        assert near.std() == pytest.approx(1, abs=0.04 + 4 / math.sqrt(2 * n_events))
        assert near.mean() == pytest.approx(0, abs=0.05 + 4 / math.sqrt(n_events))
    for detector in ("itof", "otof"):
        np.testing.assert_array_equal(done[detector]["event_time"], t0["event_time"])
    event = done["t0_event"]
    near, _ = near_and_far((event["time"] - true) / event["time_error"])
    assert near.std() == pytest.approx(1, abs=0.04 + 4 / math.sqrt(2 * n_events))


def test_no_own_hit_enters():
    """A wrong time of one track in one detector changes the event time of all others, but not its own."""
    batch, _ = sample(np.random.default_rng(1), 1, 12, COMMON)
    batch = detect(batch)
    before = find(batch)["t0"]["event_time"]
    layer = batch["itof"]
    changed = batch.copy()
    times = layer["time"].copy()
    times[3] += 0.015
    changed.tables["itof"] = type(layer)("itof", layer.offsets, {**dict(layer), "time": times})
    after = find(changed)["t0"]["event_time"]
    assert after[3] == pytest.approx(before[3], abs=2e-4)
    assert np.all(np.delete(after - before, 3) > 2e-4)


def test_self_included_width():
    """Tracks with one hypothesis and two hits each: sqrt((1 - f)/(1 + f)) with the own hits, 1 without."""
    n_events, n = 3000, 7
    vt = np.repeat(np.random.default_rng(4).normal(0, 0.2, n_events), n)
    vertex = np.stack([0 * vt, 0 * vt, 0 * vt, vt], axis=1)
    tracks = make_tracks(
        PION, np.full(len(vt), 0.5), 0.2, 0.3, np.zeros(15), vertex=vertex, sizes=[n] * n_events, smear=False
    )  # fmt: skip
    done = find(detect(tracks), hypotheses={"pion": 1}, outlier_fraction=1e-6)
    event, outer = done["t0_event"], done["otof"]
    assert outer["n_sigma_pion"].std() == pytest.approx(1, abs=0.02)
    assert event["time_error"].mean() == pytest.approx(0.020 / math.sqrt(2 * n), rel=0.01)
    own = pulls(
        outer["time"], outer["time_error"], np.repeat(event["time"], n), np.repeat(event["time_error"], n),
        matrix(outer, "expected"), matrix(outer, "expected_error"),
    )[PION]  # fmt: skip
    # the hit has one part in 2n of the weight
    assert own.std() == pytest.approx(self_included_width(1 / (2 * n)), abs=0.015)
    assert done["itof"]["event_time_error"] == pytest.approx(0.020 / math.sqrt(2 * n - 2), rel=0.02)


def test_two_detectors_are_better_than_one():
    """The pair of times of a track tells its mass without any event time."""
    n = 3
    batch, true = sample(np.random.default_rng(3), 1500, n, shares(pion=0.4, kaon=0.3, proton=0.3))
    batch = detect(batch)
    mix = {"pion": 0.4, "kaon": 0.3, "proton": 0.3}
    both, outer = find(batch, hypotheses=mix), find(batch, hypotheses=mix, detectors=["otof"])
    wrong = [np.mean(abs(done["t0_event"]["time"] - true) > 0.1) for done in (both, outer)]
    assert wrong[0] < 0.7 * wrong[1]
    errors = [np.median(done["t0_event"]["time_error"]) for done in (both, outer)]
    assert errors[0] < 0.85 * errors[1]


def test_correlated_errors_of_one_momentum():
    """Soft kaons: the error of the momentum exceeds that of the times, in both detectors alike."""
    n_events, n = 1500, 8
    vt = np.repeat(np.random.default_rng(5).normal(0, 0.2, n_events), n)
    vertex = np.stack([0 * vt, 0 * vt, 0 * vt, vt], axis=1)
    cov = packed(y=0.002, z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=0.01 / 0.45)
    tracks = make_tracks(KAON, np.full(len(vt), 0.45), 0.2, 0.3, cov, vertex=vertex, sizes=[n] * n_events)
    done = find(detect(tracks), hypotheses={"kaon": 1}, outlier_fraction=1e-4)
    pull = (done["t0_event"]["time"] - vt[::n]) / done["t0_event"]["time_error"]
    assert pull.std() == pytest.approx(1, abs=4.5 / math.sqrt(2 * n_events))


def test_one_bad_hit_of_a_track_leaves_the_other():
    n_events, n = 200, 10
    batch, true = sample(np.random.default_rng(6), n_events, n, COMMON)
    batch = detect(batch)
    layer = batch["otof"]
    late = layer["time"] + np.where(np.arange(n_events * n) % n < 4, 0.4, 0.0)
    batch.tables["otof"] = type(layer)("otof", layer.offsets, {**dict(layer), "time": late})
    event = find(batch)["t0_event"]
    near, far = near_and_far((event["time"] - true) / event["time_error"])
    assert far < 0.02
    assert near.std() < 1.25
    # 16 good hits of 20
    assert np.median(event["time_error"]) < 0.020 / math.sqrt(16) * 1.25


@pytest.mark.parametrize("n", [30, 300])
def test_shares_of_hypotheses_decide_on_the_bias(n):
    """Shares near the mixture: mean within 0.15 sigma; too many heavy particles: the time is early, more so with n."""
    n_events = 15000 // n
    batch, true = sample(np.random.default_rng(n), n_events, n, COMMON)
    batch = detect(batch)
    means = []
    for shares_ in ({}, {"hypotheses": {"pion": 0.34, "kaon": 0.33, "proton": 0.33}}):
        event = find(batch, detectors=["itof"], **shares_)["t0_event"]
        means.append(np.mean((event["time"] - true) / event["time_error"]))
    error = 1 / math.sqrt(n_events)
    assert means[0] == pytest.approx(0, abs=0.15 + 4 * error)
    # the same hits in both: their difference has little noise
    assert means[1] - means[0] < -0.2 * math.sqrt(n / 30)


def test_abundances_are_lines_between_points():
    pt = np.linspace(0, 6, 777)
    priors = EventTimeStageConfig(detectors=("a",)).hypotheses | {"helium3": 0.5}
    charges = [2 if name == "helium3" else 1 for name in priors]
    share = np.empty((len(priors), len(pt)))
    fill_shares(pt, pack_shares(zip(priors.values(), charges, strict=True)), share, np.empty(100))
    expected = np.array([prior_at(p, z * pt) * np.ones(len(pt)) for p, z in zip(priors.values(), charges, strict=True)])
    np.testing.assert_allclose(share, expected / expected.sum(axis=0), rtol=1e-12)


def test_abundances_follow_the_momentum():
    """Heavy particles are more frequent at high pt, where times are ambiguous: shares of all pt alike bias the time."""
    n, n_events = 300, 60
    rng = np.random.default_rng(3)
    size = n * n_events
    pt, vt = 0.8 + rng.exponential(0.6, size), np.repeat(rng.normal(0, 0.2, n_events), n)
    priors = EventTimeStageConfig(detectors=("a",)).hypotheses
    share = np.array([prior_at(prior, pt) * np.ones(size) for prior in priors.values()])
    chosen = (rng.random(size) > np.cumsum(share / share.sum(axis=0), axis=0)).sum(axis=0)
    species = np.array([SPECIES.index(name) for name in priors])[chosen]
    vertex = np.stack([0 * vt, 0 * vt, 0 * vt, vt], axis=1)
    cov = packed(y=np.full(size, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=0.007 / pt)
    batch = detect(make_tracks(species, pt, rng.uniform(-1, 1, size), 0.3, cov, vertex=vertex, sizes=[n] * n_events))
    means = []
    for settings in ({}, {"hypotheses": {"pion": 0.84, "kaon": 0.1, "proton": 0.06, "electron": 0.02}}):
        event = find(batch, **settings)["t0_event"]
        means.append(np.mean((event["time"] - vt[::n]) / event["time_error"]))
    assert means[0] == pytest.approx(0, abs=4 / math.sqrt(n_events))
    # the same hits in both: their difference has little noise
    assert means[1] - means[0] > 0.15


def test_some_hypothesis_must_be_possible():
    nothing = {"pt": ["1 GeV/c", "2 GeV/c"], "value": [0.0, 1.0]}
    with pytest.raises(ValidationError, match="no hypothesis has an abundance above zero at pt = 0 GeV/c"):
        EventTimeStageConfig.model_validate({"detectors": ["a"], "hypotheses": {"kaon": nothing}})


def test_start_detector_and_beams():
    n_events = 4000
    sizes = [0, 1] * (n_events // 2)
    rng = np.random.default_rng(7)
    vt = rng.normal(0.3, 0.2, n_events // 2)
    vertex = np.stack([0 * vt, 0 * vt, 0 * vt, vt], axis=1)
    batch = detect(
        make_tracks(PION, np.full(n_events // 2, 1.0), 0.1, 0.2, np.zeros(15), vertex=vertex, sizes=sizes)
    )  # fmt: skip
    true = batch["event"]["vt"] + batch["event"]["collision_time"]
    done = find(batch, mean="300 ps", start_time={"resolution": "30 ps", "efficiency": 0.8})
    event = done["t0_event"]
    seen = np.isfinite(event["start_time"])
    assert seen.mean() == pytest.approx(0.8, abs=4.5 * math.sqrt(0.16 / n_events))
    np.testing.assert_array_equal(event["start_time_error"][seen], 0.03)
    pull = ((event["start_time"] - true) / 0.03)[seen]
    assert pull.std() == pytest.approx(1, abs=4.5 / math.sqrt(2 * len(pull)))
    empty = event["n_tracks"] == 0
    both = 1 / math.hypot(1 / 0.03, 1 / 0.2)
    assert event["time_error"][empty & seen] == pytest.approx(both)
    assert set(event["time_error"][empty & ~seen]) == {0.2}
    assert set(event["time"][empty & ~seen]) == {0.3}
    # the only track of an event sees the prior
    alone = np.flatnonzero(~empty)
    pull = (done["t0"]["event_time"] - true[alone]) / done["t0"]["event_time_error"]
    assert pull.std() == pytest.approx(1, abs=4.5 / math.sqrt(2 * len(pull)))
    again = find(batch, mean="300 ps", start_time={"resolution": "30 ps", "efficiency": 0.8})
    np.testing.assert_array_equal(again["t0_event"]["time"], event["time"])


@pytest.mark.parametrize("method", ["tracks", "truth_mass"])
def test_stage_keeps_its_promises(method):
    batch, _ = sample(np.random.default_rng(9), 8, 11, COMMON)
    check_stage(joint(method=method, start_time={"resolution": "50 ps"}), detect(batch))


def card(tmp_path: Path, **changes: str) -> Card:
    text = Card.load("alice3").resolved()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    path = tmp_path / "changed.yaml"
    path.write_text(text)
    return Card.load(path)


def test_dry_run_knows_who_finds_the_time(tmp_path):
    with pytest.raises(CardError, match=r"writes itof.beta, itof.event_time.*which stage 'itof' writes already"):
        Pipeline(card(tmp_path, **{"method: shared": "method: tracks"}))
    with pytest.raises(CardError, match=r"stages.ftof: leaves ftof.beta.* to a later stage, and none writes it"):
        Pipeline(Card.load("alice3", overrides=["stages.t0.detectors=[itof, otof]"]))


# --- targets ---------------------------------------------------------------------------------------------------------
def test_pions_and_kaons_to_2_gev_through_the_chain():
    """3 sigma at 2 GeV/c with the outer TOF of the shipped card, errors of tracking and event time included."""
    pipeline = Pipeline(Card.load("alice3"), seed=3)
    pieces = []
    for code in (211, 321):
        events = gun(
            [code, 211, 211, 321, -211], n_events=150, particles=25, pt=(1.95, 2.05), eta=(-0.3, 0.3), seed=code
        )
        pieces.append(pipeline.run(events).batch)
    n_sigma, species, errors = [], [], []
    for batch in pieces:
        tof, track = batch["otof"], batch["track"]
        seen = tof["has_signal"]
        n_sigma.append(np.array([tof["n_sigma_pion"], tof["n_sigma_kaon"]])[:, seen])
        species.append(track["species_true"][seen])
        tracking = np.array([tof[f"expected_error_{SPECIES[s]}"] for s in (PION, KAON)])[:, seen]
        errors.append(np.sqrt(tof["time_error"][seen] ** 2 + tof["event_time_error"][seen] ** 2 + tracking**2))
    n_sigma, species, total = np.concatenate(n_sigma, 1), np.concatenate(species), np.concatenate(errors, 1)
    pions, kaons = species == PION, species == KAON
    assert pions.sum() > 1000
    assert kaons.sum() > 500
    # the mean distance of kaons from the pion hypothesis, in sigma of everything, and the width
    separation = np.median(n_sigma[0, kaons]) - np.median(n_sigma[0, pions])
    print(f"pi/K at 2 GeV/c: {separation:.2f} sigma, total error {1e3 * np.median(total[0]):.1f} ps")
    assert separation > 3
    for values in (n_sigma[0, pions], n_sigma[1, kaons]):
        near, far = near_and_far(values)
        assert far < 0.02
        assert near.std() == pytest.approx(1, abs=0.06)
        assert near.mean() == pytest.approx(0, abs=0.1)
    assert PROTON not in species
