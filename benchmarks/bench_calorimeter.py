"""Where the time of the calorimeter and of the muon identifier goes, on one core, with real generator events.

Run ``pytest benchmarks/bench_calorimeter.py --benchmark-enable -s``. The stages of the card ``alice3`` get the shipped
pp and Pb-Pb events, tracked. Printed and kept in ``extra_info``: nanoseconds per track and per object (photons, neutral
hadrons and charged particles that reach the calorimeter; accepted tracks for muons), and the ratio to a yardstick of
the same run: NumPy taking all photons of the record along straight lines to the barrel.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from flashdet.card import Card
from flashdet.io.hepmc import open_events
from flashdet.pipeline import Pipeline
from flashdet.stages.emcal import stage as emcal

#: CPU time: other jobs on the machine disturb it less.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
EXAMPLES = Path(__file__).parent.parent / "examples"
PARTS = (
    "choose_neutrals", "choose_charged", "make_deposits", "merge_deposits", "measure_clusters", "match_nearest",
    "describe_tracks",
)  # fmt: skip


@pytest.fixture(scope="module")
def pipeline():
    return Pipeline(Card.load("alice3"), 1)


@pytest.fixture(scope="module", params=["pp14.hepmc3.zst", "pbpb5360.hepmc2.zst"], ids=["pp", "Pb-Pb"])
def batch(request, pipeline):
    """A batch of generator events, propagated and tracked."""
    with open_events([EXAMPLES / request.param]) as reader:
        tracked = next(iter(reader.batches()))
    for stage in pipeline.stages:
        if stage.kind in ("conversions", "propagate", "tracking"):
            for table in stage.run(tracked, pipeline.draws[stage.name]).tables:
                tracked.add(table)
    return tracked


def stage_of(pipeline, kind):
    stage = next(s for s in pipeline.stages if s.kind == kind)
    return lambda batch: stage.run(batch, pipeline.draws[stage.name])


def with_numpy(batch):
    """z of all final-state photons at the barrel."""
    p = batch["particle"]
    use = (p["pdg"] == 22) & (p["status"] == 1)
    px, py, pz, x, y, z = (p[c][use] for c in ("px", "py", "pz", "vx", "vy", "vz"))
    pt = np.hypot(px, py)
    across, along = (y * px - x * py) / pt, (x * px + y * py) / pt
    return z + pz / pt * (np.sqrt(125.0**2 - across**2) - along)


def best_of(function, n=10):
    """CPU time of the fastest of `n` calls [s]."""
    times = []
    for _ in range(n):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


@pytest.mark.parametrize("kind", ["emcal", "muon"])
def test_stage(benchmark, pipeline, batch, kind):
    run = stage_of(pipeline, kind)
    tables = run(batch).tables
    n_objects = int(tables[0]["has_acceptance"].sum()) if kind == "muon" else int(tables[1]["n_particles"].sum())
    benchmark(run, batch)
    if benchmark.stats is None:
        return
    n, best, yardstick = batch["track"].n_rows, benchmark.stats.stats.min, best_of(lambda: with_numpy(batch))
    benchmark.extra_info.update(
        ns_per_track=1e9 * best / n, ns_per_object=1e9 * best / n_objects, ratio_to_yardstick=best / yardstick
    )
    print(
        f"{kind}: {1e9 * best / n:.0f} ns/track, {1e9 * best / n_objects:.0f} ns/object, {n_objects / n:.2f}/track, "
        f"{best / yardstick:.1f} times straight lines with NumPy"
    )


def test_parts_of_the_calorimeter(benchmark, monkeypatch, pipeline, batch):
    """Fastest call of each kernel within the stage."""
    fastest = dict.fromkeys(PARTS, np.inf)

    def timed(part):
        kernel = getattr(emcal, part)

        def call(*arguments):
            start = time.process_time()
            kernel(*arguments)
            fastest[part] = min(fastest[part], time.process_time() - start)

        return call

    for part in PARTS:
        monkeypatch.setattr(emcal, part, timed(part))
    run = stage_of(pipeline, "emcal")
    benchmark.pedantic(run, (batch,), rounds=30, warmup_rounds=2)
    assert np.isfinite(list(fastest.values())).all()
    per_track = {part: 1e9 * seconds / batch["track"].n_rows for part, seconds in fastest.items()}
    benchmark.extra_info.update(per_track)
    print("emcal, ns/track:", ", ".join(f"{part} {value:.0f}" for part, value in per_track.items()))
