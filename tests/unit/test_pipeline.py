"""The pipeline: checks of promises, and results that do not depend on batches or threads."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from flashdet import registry
from flashdet.card import Card
from flashdet.errors import CardError, StageError
from flashdet.event import concat
from flashdet.pipeline import Pipeline
from flashdet.registry import Registry
from flashdet.run import results
from flashdet.testing import make_events

PLUGIN = Path(__file__).parents[1] / "plugin"
CARD = "schema_version: 1\ndetector: test\nmagnetic_field: 2 T\nstages:\n"


@pytest.fixture(autouse=True)
def _with_dummy(monkeypatch):
    monkeypatch.syspath_prepend(PLUGIN)
    fresh = Registry("stages", "stage kind", {"vertex": "flashdet.stages.vertex:Vertex"})
    monkeypatch.setattr(registry, "stages", fresh)


def pipeline(tmp_path, stages="  - {kind: dummy}\n", seed=1, overrides=()):
    path = tmp_path / "card.yaml"
    path.write_text(CARD + stages)
    return Pipeline(Card.load(path, overrides), seed)


def events(n_events, first=0, size=5):
    n = n_events * size
    return make_events(np.full(n, 211), np.linspace(1, 2, n), 0.1, 0.2, sizes=[size] * n_events, first_number=first)


def noise(done, name="dummy"):
    return concat([r.batch for r in done])[f"{name}_particle"]["noise"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            "nan",
            "stage 'dummy', column dummy_particle.noise: event 7, row 3: the value is nan, must be finite; "
            "1 of 10 rows",
        ),
        ("dtype", r"column dummy_particle.noise: got values of type float32\[\], the data model says float64\[\]"),
        ("missing", "does not write what it promises; missing: dummy_particle.noise; not promised: nothing"),
        ("extra", "missing: nothing; not promised: dummy_particle.more"),
        ("rows", "stage 'dummy': dummy_particle.noise: got 10 rows, the table has 2"),
    ],
)
def test_a_broken_promise_is_reported(fault, message, tmp_path):
    with pytest.raises(StageError, match=message):
        pipeline(tmp_path, overrides=[f"stages.dummy.fault={fault}"]).run(events(2, first=7))


def test_a_crash_keeps_its_type_and_names_the_stage(tmp_path):
    with pytest.raises(ZeroDivisionError) as caught:
        pipeline(tmp_path, overrides=["stages.dummy.fault=crash"]).run(events(2))
    assert caught.value.__notes__ == ["in stage 'dummy' of kind 'dummy'"]


def test_the_input_is_not_changed_and_counts_are_kept(tmp_path):
    batch = events(3)
    result = pipeline(tmp_path).run(batch)
    assert set(batch.tables) == {"event", "particle"}
    assert result.counts == {"dummy": {"particles": 15, "warning: odd": 1}}
    assert result.nanoseconds["dummy"] > 0


def test_numbers_belong_to_the_stage_name_and_seed(tmp_path):
    both = "  - {kind: dummy}\n  - {kind: dummy, name: other}\n"
    alone = pipeline(tmp_path).run(events(4)).batch
    pair = pipeline(tmp_path, both).run(events(4)).batch
    swapped = pipeline(tmp_path, "  - {kind: dummy, name: other}\n  - {kind: dummy}\n").run(events(4)).batch
    seeded = pipeline(tmp_path, seed=2).run(events(4)).batch
    np.testing.assert_array_equal(alone["dummy_particle"]["noise"], pair["dummy_particle"]["noise"])
    np.testing.assert_array_equal(pair["other_particle"]["noise"], swapped["other_particle"]["noise"])
    assert not np.any(pair["other_particle"]["noise"] == pair["dummy_particle"]["noise"])
    assert not np.any(seeded["dummy_particle"]["noise"] == alone["dummy_particle"]["noise"])


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 3, 20])
def test_results_do_not_depend_on_batches_or_threads(threads, size, tmp_path):
    whole = events(20)
    expected = pipeline(tmp_path).run(whole).batch["dummy_particle"]["noise"]
    parts = (whole.slice_events(i, min(i + size, 20)) for i in range(0, 20, size))
    done = list(results(parts, pipeline(tmp_path), threads))
    assert noise(done).tobytes() == expected.tobytes()


def test_threads_keep_the_order_when_early_batches_are_slow():
    class Slow:
        def run(self, batch):
            time.sleep(0.05 if batch == 0 else 0.0)
            return batch

    assert list(results(iter(range(12)), Slow(), 4)) == list(range(12))


def test_the_queue_is_bounded():
    read, ahead = [], []

    class Counting:
        def run(self, batch):
            return batch

    def batches():
        for i in range(50):
            read.append(i)
            yield i

    ahead.extend(len(read) - done for done in results(batches(), Counting(), 2))
    assert max(ahead) <= 2 * 2


def test_an_error_in_one_batch_ends_the_run_and_the_threads():
    class Failing:
        def run(self, batch):
            if batch == 3:
                raise StageError("broken")
            return batch

    done = []
    with pytest.raises(StageError, match="broken"):
        done.extend(results(iter(range(100)), Failing(), 3))
    assert done in ([], [0, 1, 2])  # extend keeps nothing or what came before


def test_missing_columns_say_who_makes_them(tmp_path):
    with pytest.raises(CardError) as caught:
        pipeline(tmp_path, "  - {kind: dummy}\n  - {kind: vertex}\n")
    assert "card.yaml:6:5 stages.vertex: needs track.alpha" in str(caught.value)
    assert "add a stage of kind 'tracking'" in str(caught.value)


def test_output_tables_and_format_are_checked(tmp_path):
    with pytest.raises(CardError) as caught:
        pipeline(tmp_path, overrides=["output={tables: [event, dumy], format: oad}"])
    assert "no stage makes a table 'dumy'; did you mean 'dummy'?" in str(caught.value)
    assert "unknown output format 'oad'; did you mean 'aod'?" in str(caught.value)
