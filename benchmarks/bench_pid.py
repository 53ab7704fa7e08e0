"""Where the time of the TOF stage goes, in nanoseconds per track on one core.

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
from flashdet.stages import tof
from flashdet.stages.eventtime import EventTimeConfig, find_event_times
from flashdet.stages.surface import pack

#: CPU time: other jobs on the machine disturb it less.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
FIELD, RESOLUTION = 2.0, 0.020
SHAPE = {"cylinder": {"radius": "85 cm", "half_length": "340 cm"}}
SURFACES = pack(tof.TofConfig.model_validate({"shape": SHAPE, "time_resolution": "20 ps"}).shape)
DRAW = Draw.of(1, "bench")


@pytest.fixture(scope="module", params=[(4000, 5), (800, 25), (8, 2500)], ids=["5 tracks", "pp", "Pb-Pb"])
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


def parts(batch):
    """Name -> call without arguments."""
    track, offsets, key = batch["track"], batch["track"].offsets, batch["event"]["key"]
    surface, _, times = tof.make_hits(track, offsets, key, FIELD, SURFACES, RESOLUTION, 1.0, DRAW)
    _, expected, error = tof.expect_times(track, surface, FIELD, SURFACES)
    settings, species = EventTimeConfig(), track["species_true"]
    return {
        "tof: hits": lambda: tof.make_hits(track, offsets, key, FIELD, SURFACES, RESOLUTION, 1.0, DRAW),
        "tof: expected times": lambda: tof.expect_times(track, surface, FIELD, SURFACES),
        "tof: event time": lambda: find_event_times(
            offsets, times, RESOLUTION, expected, error, track["y"], species, settings
        ),
    }


def with_numpy(track):
    """Expected times from the origin under nine hypotheses."""
    rho = 1 / (0.00299792458 * FIELD * abs(track["q_over_pt"]))
    slope = np.sqrt(1 + track["tgl"] ** 2)
    path = 2 * rho * np.arcsin(np.minimum(85 / (2 * rho), 1)) * slope
    p = track["pt"] * slope
    return [tof.time_of_flight(path, z * p, m) for m, z in zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)]


@pytest.mark.parametrize("part", ["tof: hits", "tof: expected times", "tof: event time"])
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
