"""Where the time of the RICH stage goes, in nanoseconds per track on one core.

Run ``pytest benchmarks/bench_rich.py --benchmark-enable -s``. The simple model, and the two projective detectors of the
card ``alice3`` with their background, for tracks of the whole tracker (|eta| < 4) in pp and in central Pb-Pb events.
The yardstick of the ratio is the expected angles of nine hypotheses written with NumPy. Target: 300 ns per track in pp
for a whole stage, and not more than twice that in Pb-Pb.
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
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import cross
from flashdet.stages.rich.hypotheses import compare_hypotheses
from flashdet.stages.rich.optics import cherenkov_angle
from flashdet.stages.rich.rings import make_rings
from flashdet.stages.rich.stage import Rich
from flashdet.stages.rich.tiles import make_geometry

#: CPU time: other jobs on the machine disturb it less.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
FIELD, DRAW = 2.0, Draw.of(1, "bench")
NOISE = {"photon_efficiency": 0.4266, "background": {"dark_count_rate": "50 kHz/mm2", "time_window": "2 ns"}}
MODELS = {
    "simple": {"shape": {"cylinder": {"radius": "86 cm", "half_length": "258 cm"}}},
    "tiles": {"model": "projective", "tiles": {"n_azimuthal_tiles": 36}, **NOISE},
    "discs": {
        "model": "projective",
        "discs": {"z": "375 cm", "gap": "30 cm", "r_min": "13.74 cm", "r_max": "103.95 cm"},
        **NOISE,
    },
}


def make(n_events, n_tracks):
    rng = np.random.default_rng(1)
    n = n_events * n_tracks
    pt = 0.3 + rng.exponential(0.6, n)
    cov = packed(y=np.full(n, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=0.007 / pt)
    species = rng.choice([2, 3, 4], n, p=(0.8, 0.12, 0.08))
    eta, phi = rng.uniform(-4, 4, n), rng.uniform(-3, 3, n)
    return make_tracks(species, pt, eta, phi, cov, sizes=[n_tracks] * n_events)


@pytest.fixture(scope="module", params=[(400, 50), (4, 5000)], ids=["pp", "Pb-Pb"])
def tracks(request):
    return make(*request.param)


def parts(batch, model):
    """Name -> call without arguments."""
    track, offsets, key = batch["track"], batch["track"].offsets, batch["event"]["key"]
    config = RichConfig.model_validate(MODELS[model])
    geometry = make_geometry(config)
    crossings = cross(track, FIELD, geometry)
    rings = make_rings(track, offsets, key, crossings, geometry, config, DRAW)
    stage = Rich("rich", config, Setup(FIELD))
    return {
        "stage": lambda: stage.run(batch, DRAW),
        "crossings": lambda: cross(track, FIELD, geometry),
        "rings": lambda: make_rings(track, offsets, key, crossings, geometry, config, DRAW),
        "hypotheses": lambda: compare_hypotheses(track, rings, crossings, geometry, config),
    }


def with_numpy(track):
    """Expected angles of nine hypotheses."""
    p = np.sqrt(1 + track["tgl"] ** 2) / abs(track["q_over_pt"])
    return [cherenkov_angle(z * p, m, 1.03) for m, z in zip(SPECIES_MASS, SPECIES_CHARGE, strict=True)]


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("part", ["stage", "crossings", "rings", "hypotheses"])
def test_part(benchmark, part, model, tracks):
    call = parts(tracks, model)[part]
    call()
    benchmark(call)
    n = tracks["track"].n_rows
    yardstick = min(timed(lambda: with_numpy(tracks["track"])) for _ in range(10))
    if benchmark.stats is not None:
        best = benchmark.stats.stats.min
        benchmark.extra_info.update(ns_per_track=1e9 * best / n, ratio_to_yardstick=best / yardstick)
        print(
            f"{model}, {part}: {1e9 * best / n:.0f} ns/track, {best / yardstick:.1f} times expected angles with NumPy"
        )


@pytest.mark.parametrize("model", ["tiles", "discs"])
def test_growth_with_multiplicity(model):
    """Central Pb-Pb events, 5000 tracks each, cost at most twice as much per track as pp events of 50."""
    calls = {name: parts(make(*size), model)["stage"] for name, size in (("pp", (400, 50)), ("Pb-Pb", (4, 5000)))}
    for call in calls.values():
        call()
    # in turns: what else the machine does disturbs both alike
    times = {name: [] for name in calls}
    for _ in range(15):
        for name, call in calls.items():
            times[name].append(timed(call))
    ratio = min(times["Pb-Pb"]) / min(times["pp"])
    print(f"{model}: {1e9 * min(times['pp']) / 20000:.0f} ns/track in pp, {ratio:.2f} times that in Pb-Pb")
    assert ratio < 2


def timed(function):
    """CPU time of one call in seconds."""
    start = time.process_time()
    function()
    return time.process_time() - start
