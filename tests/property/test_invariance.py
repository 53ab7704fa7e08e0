"""The promise of the whole chain: tables are bitwise equal for any batches, threads and order of the input."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flashdet
from flashdet import EventBatch, Pipeline
from flashdet.card import Card
from flashdet.event import concat
from flashdet.run import results
from flashdet.testing import make_events

N_EVENTS = 24
CODES = np.array([211, -211, 321, -321, 2212, -2212, 11, -11, 13, -13, 22, 22, 2112, 1000010020, 1000020030, 3222, 12])


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(Card.load("alice3"), seed=11)


@pytest.fixture(scope="module")
def events() -> EventBatch:
    generator = np.random.default_rng(5)
    sizes = generator.integers(0, 60, N_EVENTS)
    n = int(sizes.sum())
    spread = np.array([0.01, 0.01, 5.0, 0.0])
    vertex = np.repeat(generator.normal(0, 1, (N_EVENTS, 4)) * spread, sizes, axis=0)
    pt, eta = generator.exponential(1.0, n) + 0.05, generator.uniform(-4, 4, n)
    return make_events(
        generator.choice(CODES, n), pt, eta, generator.uniform(-3.1, 3.1, n), sizes=list(sizes), vertex=vertex
    )


@pytest.fixture(scope="module")
def expected(pipeline, events) -> EventBatch:
    return pipeline.run(events).batch


def assert_equal(one: EventBatch, other: EventBatch) -> None:
    assert one.tables.keys() == other.tables.keys()
    for name, table in one.tables.items():
        assert np.array_equal(table.offsets, other[name].offsets), name
        assert set(table) == set(other[name])
        for column, values in table.items():
            assert values.tobytes() == other[name][column].tobytes(), f"{name}.{column}"


def test_the_sample_reaches_every_detector(expected):
    for stage in ("itof", "otof", "ftof", "rich", "frich", "emcal"):
        assert expected[stage]["has_signal"].sum() > 5, stage
    assert expected["muon"]["has_acceptance"].sum() > 5
    assert expected["vertex"].n_rows > N_EVENTS / 2


@settings(max_examples=10, deadline=None)
@given(cuts=st.sets(st.integers(1, N_EVENTS - 1), max_size=6), threads=st.integers(1, 4))
def test_any_batches_and_threads(pipeline, events, expected, cuts, threads):
    edges = [0, *sorted(cuts), N_EVENTS]
    parts = (events.slice_events(a, b) for a, b in itertools.pairwise(edges))
    assert_equal(concat([r.batch for r in results(parts, pipeline, threads)]), expected)


@settings(max_examples=5, deadline=None)
@given(order=st.permutations(range(N_EVENTS)))
def test_any_order_of_events(pipeline, events, expected, order):
    shuffled = concat([events.slice_events(i, i + 1) for i in order])
    done = pipeline.run(shuffled).batch
    assert_equal(concat([expected.slice_events(i, i + 1) for i in order]), done)


def test_other_stages_keep_their_numbers_without_one(events, expected, tmp_path):
    text = Card.load("alice3").resolved()
    # the RICH detectors, and the combination that needs them
    for first, following in (("- kind: rich", "- kind: emcal"), ("- kind: pid", "output:")):
        text = text[: text.index(first)] + text[text.index(following) :]
    (tmp_path / "less.yaml").write_text(text)
    less = Pipeline(Card.load(tmp_path / "less.yaml"), seed=11).run(events).batch
    for name, table in less.tables.items():
        for column, values in table.items():
            assert values.tobytes() == expected[name][column].tobytes(), f"{name}.{column}"


def test_another_seed_changes_the_numbers(events, expected):
    other = Pipeline(Card.load("alice3"), seed=12).run(events).batch
    both = min(len(other["track"]["pt"]), len(expected["track"]["pt"]))
    assert not np.any(other["track"]["pt"][:both] == expected["track"]["pt"][:both])


def test_simulate_says_what_it_left_out(tmp_path, caplog):
    text = (Path(__file__).parents[1] / "data" / "pp14.hepmc3").read_text()
    place = text.rindex("\nP ") + 1
    damaged = tmp_path / "bad.hepmc3"
    damaged.write_text(text[:place] + "P rubbish" + text[text.index("\n", place) :])
    array = flashdet.simulate(damaged, "minimal", on_bad_event="skip")
    assert len(array) == 5
    assert "left out" in caplog.text
    assert "event 5" in caplog.text
