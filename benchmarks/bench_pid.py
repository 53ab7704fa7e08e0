"""Where the time of the TOF and event-time stages goes, in nanoseconds per track on one core.

Run ``pytest benchmarks/bench_pid.py --benchmark-enable -s``. Each part is measured for few tracks per event (the event
time is then summed on a grid), for pp and for Pb-Pb events; nine hypotheses everywhere. The yardstick of the ratio is
the same expected times written with NumPy, without their errors. Whole stages are in ``bench_stages.py``.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "physics"))

from pid_tracks import make_tracks, packed

from flashdet.rng import Draw
from flashdet.species import SPECIES_CHARGE, SPECIES_MASS
from flashdet.stages.base import Setup
from flashdet.stages.surface import pack
from flashdet.stages.tof import stage as tof
from flashdet.stages.tof.eventtime import EventTimeConfig, know_before
from flashdet.stages.tof.flight import expect_times, time_of_flight
from flashdet.stages.tof.jointtime import EventTime, EventTimeStageConfig
from flashdet.stages.tof.timeresponse import pack_response
from flashdet.stages.tof.timesearch import find_event_times, stack_hits

#: CPU time: other jobs on the machine disturb it less.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
FIELD, RESOLUTION = 2.0, 0.020
PARTS = (
    "tof: hits", "tof: expected times", "tof: event time", "tof: stage", "tof: stage without event time",
    "event_time: stage, two detectors",
)  # fmt: skip


@pytest.fixture(scope="module", params=[(4000, 5), (700, 30), (8, 2500)], ids=["5 tracks", "pp", "Pb-Pb"])
def tracks(request):
    n_events, n_tracks = request.param
    rng = np.random.default_rng(1)
    n = n_events * n_tracks
    pt = 0.3 + rng.exponential(0.6, n)
    vertex = np.repeat(np.column_stack([np.zeros((n_events, 3)), rng.normal(0, 0.2, n_events)]), n_tracks, 0)
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=0.007 / pt)
    species = rng.choice([2, 3, 4], n, p=(0.8, 0.12, 0.08))
    eta, phi = rng.uniform(-1.5, 1.5, n), rng.uniform(-3, 3, n)
    return make_tracks(species, pt, eta, phi, cov, vertex=vertex, sizes=[n_tracks] * n_events)


def stage_of(name, radius, half_length, method):
    shape = {"cylinder": {"radius": f"{radius} cm", "half_length": f"{half_length} cm"}}
    settings = {"shape": shape, "time_resolution": "20 ps", "event_time": {"method": method}}
    return tof.Tof(name, tof.TofConfig.model_validate(settings), Setup(FIELD))


def parts(batch):
    """Name -> call without arguments."""
    track, offsets, event = batch["track"], batch["track"].offsets, batch["event"]
    inner, outer = stage_of("itof", 19, 62, "shared"), stage_of("otof", 85, 340, "shared")
    alone, draw = stage_of("otof", 85, 340, "tracks"), Draw.of(1, "otof")
    both = batch.copy()
    for stage in (inner, outer):
        for table in stage.run(batch, Draw.of(1, stage.name)).tables:
            both.add(table)
    hit, settings = both["otof"], EventTimeConfig()
    surfaces, prior = pack(alone.config.shape), know_before(event, settings, draw)
    response, pixels = pack_response(RESOLUTION, None, 1), np.empty((0, 3))
    joint = EventTime("t0", EventTimeStageConfig(detectors=("itof", "otof")), Setup(FIELD))
    return {
        "tof: hits": lambda: tof.make_hits(track, offsets, event["key"], FIELD, surfaces, pixels, response, 1.0, draw),
        "tof: expected times": lambda: expect_times(track, hit["surface"], FIELD, surfaces),
        "tof: event time": lambda: find_event_times(
            offsets, stack_hits([hit], track, False, settings), prior, settings
        ),
        "tof: stage": lambda: alone.run(batch, draw),
        "tof: stage without event time": lambda: outer.run(batch, draw),
        "event_time: stage, two detectors": lambda: joint.run(both, draw),
    }


def with_numpy(track):
    """Expected times from the origin under nine hypotheses."""
    rho = 1 / (0.00299792458 * FIELD * abs(track["q_over_pt"]))
    slope = np.sqrt(1 + track["tgl"] ** 2)
    path = 2 * rho * np.arcsin(np.minimum(85 / (2 * rho), 1)) * slope
    p = track["pt"] * slope
    return [time_of_flight(path, z * p, m) for m, z in zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)]


@pytest.mark.parametrize("part", PARTS)
def test_part(benchmark, part, tracks):
    call = parts(tracks)[part]
    call()
    benchmark(call)
    n = tracks["track"].n_rows
    yardstick = min(timed(lambda: with_numpy(tracks["track"])) for _ in range(10))
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min
        benchmark.extra_info.update(ns_per_track=1e9 * best / n, ratio_to_yardstick=best / yardstick)
        print(f"{part}: {1e9 * best / n:.0f} ns/track, {best / yardstick:.1f} times expected times with NumPy")


def timed(function):
    start = time.process_time()
    function()
    return time.process_time() - start
