"""Megabytes and rows per second of every writer, against `numpy.savez` of the same arrays.

Run ``pytest benchmarks/bench_writers.py --benchmark-enable -s``. One thousand hand-made events with 60 tracks, 500
particles and eight detector tables make one full chunk: 50 000 tracks with 200 columns of noise, which hardly
compresses. Megabytes are those of the float32 tables before compression. Printed and kept in ``extra_info``; watch the
ratio to the yardstick, which is measured in the same run and neither compresses nor names 300 branches.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from writer_events import SETUP, make_batch

from flashdet.event import concat
from flashdet.io.aod import AodWriter
from flashdet.io.nano import NanoWriter
from flashdet.io.parquet import ParquetWriter
from flashdet.io.read import read_batch
from flashdet.io.tables import narrow


@pytest.fixture(scope="module")
def batch():
    return concat([make_batch(250, tracks=60, particles=500)] * 4)


def arrays_of(batch):
    light = narrow(batch, tuple(batch.tables))
    return {f"{t}.{c}": v for t in light.tables for c, v in light[t].items()}


def cpu_seconds(function, repeats=3):
    """Fastest of a few calls, after one that compiles."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return min(seconds)


@pytest.mark.parametrize("writer", [AodWriter, NanoWriter, ParquetWriter], ids=lambda w: w.format)
def test_write(benchmark, tmp_path, batch, writer):
    path = tmp_path / "out"
    arrays = arrays_of(batch)
    megabytes = sum(v.nbytes for v in arrays.values()) / 1e6

    def write():
        with writer(path, setup=SETUP, overwrite=True) as w:
            w.write(batch)

    yardstick = cpu_seconds(lambda: np.savez(tmp_path / "yardstick.npz", **arrays))
    seconds = cpu_seconds(write)
    benchmark.pedantic(write, rounds=2)
    start = time.process_time()
    read_batch(path)
    reading = time.process_time() - start
    benchmark.extra_info |= {
        "MB_per_s": megabytes / seconds,
        "ktracks_per_s": batch["track"].n_rows / seconds / 1e3,
        "kparticles_per_s": batch["particle"].n_rows / seconds / 1e3,
        "compression": path.stat().st_size / 1e6 / megabytes,
        "times_savez": seconds / yardstick,
        "read_MB_per_s": megabytes / reading,
    }
    print(f"\n{writer.format:8}", *(f"{k} {v:.3g}" for k, v in benchmark.extra_info.items()), sep="  ")
