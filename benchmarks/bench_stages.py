"""Nanoseconds per track of every stage after tracking, on one core.

Run ``pytest benchmarks/bench_stages.py --benchmark-enable -s``. Tracks are made by hand: no LUT and no generator
enters; the calorimeter gets one photon per track on top. Printed and kept in ``extra_info``: the time per track and its
ratio to a yardstick measured in the same run, NumPy drawing six normal numbers per track. Target: 300 ns per track.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "physics"))

from pid_tracks import make_tracks, packed

from flashdet.event import Table
from flashdet.lut.muon_map import build_muon_maps
from flashdet.registry import stages
from flashdet.rng import Draw
from flashdet.stages.base import Setup
from flashdet.testing import make_events

TARGET = 300.0
BARREL = {"cylinder": {"radius": "85 cm", "half_length": "340 cm"}}
CONFIG = {
    "vertex": {},
    "tof": {"shape": BARREL, "time_resolution": "20 ps"},
    "rich": {"shape": BARREL},
    "emcal": {"shape": {"cylinder": {"radius": "125 cm", "half_length": "266 cm"}}},
    "muon": {},
    "tot": {
        "thickness": "20 um",
        "shape": [
            *({"cylinder": {"radius": f"{r} cm", "half_length": "64 cm"}} for r in (7, 9, 12, 20, 30)),
            *({"cylinder": {"radius": f"{r} cm", "half_length": "128 cm"}} for r in (45, 60, 80)),
            *(
                {"disc": {"z": f"{side * z} cm", "r_min": "7 cm", "r_max": "68 cm"}}
                for z in (150, 180, 220, 260, 300, 350)
                for side in (1, -1)
            ),
        ],
    },
}


def make_batch(n_events, n_tracks):
    """Pions, kaons, protons, electrons and muons with errors of a silicon tracker."""
    rng = np.random.default_rng(1)
    n = n_events * n_tracks
    species = rng.choice([2, 2, 2, 2, 2, 3, 4, 0, 1], n)
    pt, eta, phi = 0.15 + rng.exponential(0.7, n), rng.uniform(-1.5, 1.5, n), rng.uniform(-np.pi, np.pi, n)
    vertex = np.repeat(
        np.column_stack([rng.normal(size=(n_events, 3)) * (0.01, 0.01, 6), np.zeros(n_events)]), n_tracks, 0
    )
    error = 1e-3 / (pt * np.cosh(eta))
    cov = packed(y=1e-3 + 0 * pt, z=1e-3 + 0 * pt, snp=error, tgl=error, q_over_pt=0.01 / pt)
    sizes = [n_tracks] * n_events
    batch = make_tracks(species, pt, eta, phi, cov, vertex=vertex, sizes=sizes)
    batch.add(make_events(22, pt[::-1], eta[::-1], phi[::-1], vertex=vertex, sizes=sizes)["particle"])
    track = batch["track"]
    batch.add(Table("charged", track.offsets, {"particle_index": track["particle_index"].copy()}))
    return batch


@pytest.fixture(scope="module", params=[(600, 25), (5, 3000)], ids=["pp", "Pb-Pb"])
def batch(request):
    return make_batch(*request.param)


@pytest.mark.parametrize("kind", CONFIG)
def test_stage(benchmark, kind, batch):
    maps = build_muon_maps()
    cls = stages.get(kind)
    stage = cls(kind, cls.Config(**CONFIG[kind]), Setup(2.0, {}, lambda name: maps[name.rsplit("/", 1)[1]]))
    draw = Draw.of(1, kind)
    stage.run(batch, draw)
    benchmark(stage.run, batch, draw)
    n = batch["track"].n_rows
    rng = np.random.default_rng(1)
    yardstick = min(timed(lambda: rng.standard_normal((n, 6))) for _ in range(10))
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min
        benchmark.extra_info.update(ns_per_track=1e9 * best / n, target=TARGET, ratio_to_yardstick=best / yardstick)
        print(f"{kind}: {1e9 * best / n:.0f} ns/track, {best / yardstick:.1f} times six normals of NumPy")


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
