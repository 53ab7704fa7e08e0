"""Megabytes and rows per second of every writer, against `numpy.savez` of the same arrays.

Run ``pytest benchmarks/bench_writers.py --benchmark-enable -s``. One thousand hand-made events with 60 tracks, 500
particles and eight detector tables make one full chunk: 50 000 tracks with 200 columns of noise, which hardly
compresses. Megabytes are those of the float32 tables before compression. Printed and kept in ``extra_info``; watch the
ratio to the yardstick, which is measured in the same run and neither compresses nor names 300 branches. All generated
particles are written, so that every writer has the same to do; what it costs to choose some of them stands apart, and
so does the cost of each tree of an AOD file, of a file through the trees of uproot, of ways to pack, and of copies.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from writer_events import SETUP, jagged, make_batch, narrow

from flashdet import pruning
from flashdet.event import concat
from flashdet.io import rootfile
from flashdet.io.aod import AodWriter, build_trees
from flashdet.io.chunk import Chunk
from flashdet.io.nano import NanoWriter
from flashdet.io.parquet import ParquetWriter
from flashdet.io.read import read_batch
from flashdet.io.rootpack import Lists, Scratch
from flashdet.io.roottree import Tree, write_trees

ALL = replace(SETUP, particles="all")


@pytest.fixture(scope="module")
def batch():
    return concat([make_batch(250, seed=i, tracks=60, particles=500) for i in range(4)])


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
        with writer(path, setup=ALL, overwrite=True) as w:
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


def test_tables_of_an_aod_file(benchmark, tmp_path, batch):
    """Microseconds per event and share of the bytes of each tree, turning and compressing included."""
    light = narrow(batch, ALL.selected(batch))
    trees = build_trees(light, ALL, tuple(light.tables), 1, 0)
    building = cpu_seconds(lambda: build_trees(light, ALL, tuple(light.tables), 1, 0))
    costs = {"(building)": (building, 0)}
    for name, branches in trees.items():
        size = {}

        def write(name=name, branches=branches, size=size):
            size["file"] = write_file(tmp_path / "one.root", {name: branches})

        costs[name] = cpu_seconds(write), size["file"]
    benchmark.pedantic(lambda: write_file(tmp_path / "all.root", trees), rounds=1)
    print()
    for name, (seconds, size) in costs.items():
        print(f"{name:24} {1e6 * seconds / batch.n_events:8.1f} us/event {size / batch.n_events / 1e3:8.2f} kB/event")
    benchmark.extra_info |= {name: 1e6 * seconds / batch.n_events for name, (seconds, _) in costs.items()}


def test_our_trees_against_those_of_uproot(benchmark, tmp_path, batch):
    light = narrow(batch, ALL.selected(batch))
    trees = build_trees(light, ALL, tuple(light.tables), 1, 0)
    ours = cpu_seconds(lambda: write_file(tmp_path / "ours.root", trees))
    theirs = cpu_seconds(lambda: write_with_uproot(tmp_path / "theirs.root", trees))
    benchmark.pedantic(lambda: write_file(tmp_path / "ours.root", trees), rounds=1)
    benchmark.extra_info["uproot_over_ours"] = theirs / ours
    print(f"\nours {1e3 * ours:.0f} ms, uproot {1e3 * theirs:.0f} ms per directory")


def test_packing_of_a_column_with_gaps(benchmark):
    """Microseconds and bytes for 44 kB with gaps in half of the rows: by its gaps, with ZSTD level 1, and with LZ4."""
    import cramjam
    import zstandard

    rng = np.random.default_rng(1)
    values = np.where(rng.random(11_000) < 0.5, np.nan, rng.normal(size=11_000)).astype(np.float32)
    tree, big, out = Tree("t"), values.byteswap().tobytes(), np.zeros(100_000, np.uint8)
    zstd, rows = zstandard.ZstdCompressor(level=1), tree.prepare({"x": values})
    ways = {
        "gaps": lambda: tree.pack(rows, out, 0),
        "zstd": lambda: len(zstd.compress(big)),
        "lz4": lambda: len(cramjam.lz4.compress_block(big, store_size=False)),
    }
    print()
    for name, way in ways.items():
        size, seconds = way(), cpu_seconds(lambda way=way: [way() for _ in range(300)]) / 300
        benchmark.extra_info |= {f"{name}_us": 1e6 * seconds, f"{name}_bytes": size}
        print(f"{name:6} {1e6 * seconds:6.1f} us {size:7d} bytes")
    benchmark.pedantic(ways["gaps"], rounds=5)


def test_memory_that_is_used_again(benchmark, batch):
    """The chunk against arrays of each batch that are put together in the end."""
    tables = ALL.selected(batch)
    pieces = [batch.slice_events(i, i + 50) for i in range(0, batch.n_events, 50)]
    chunk = Chunk({name: ALL.kept(batch[name]) for name in tables})

    def fill():
        chunk.clear()
        for piece in pieces:
            chunk.append(piece, 0, piece.n_events)
        return chunk.events()

    ours, theirs = cpu_seconds(fill), cpu_seconds(lambda: concat([narrow(piece, tables) for piece in pieces]))
    benchmark.pedantic(fill, rounds=2)
    benchmark.extra_info["together_over_chunk"] = theirs / ours
    print(f"\nchunk {1e3 * ours:.0f} ms, put together {1e3 * theirs:.0f} ms")


@pytest.mark.parametrize("derived", [False, True])
@pytest.mark.parametrize("compression", ["fast", "small"])
def test_settings_of_an_aod_file(benchmark, tmp_path, batch, compression, derived):
    setup, path = replace(ALL, compression=compression, derived=derived), tmp_path / "out"

    def write():
        with AodWriter(path, setup=setup, overwrite=True) as w:
            w.write(batch)

    seconds = cpu_seconds(write)
    benchmark.pedantic(write, rounds=1)
    benchmark.extra_info |= {"us_per_track": 1e6 * seconds / batch["track"].n_rows, "MB": path.stat().st_size / 1e6}
    print(f"\n{compression} derived={derived}", *(f"{k} {v:.3g}" for k, v in benchmark.extra_info.items()), sep="  ")


def test_choice_of_particles(benchmark, batch):
    def choose():
        chosen = pruning.pointed_at(batch, ("track", "emcal_cluster")) | pruning.within(batch, 1.0)
        return pruning.prune(batch, pruning.family(batch, chosen))

    seconds = cpu_seconds(choose)
    benchmark.pedantic(choose, rounds=1)
    benchmark.extra_info["ns_per_particle"] = 1e9 * seconds / batch["particle"].n_rows
    print(f"\nchoice of particles {benchmark.extra_info['ns_per_particle']:.0f} ns each")


def write_file(path, trees):
    with path.open("w+b") as file:
        root = rootfile.RootFile(file, "{}")
        directory = root.mkdir("DF_1")
        write_trees(directory, trees, Scratch())
        directory.close()
        root.close()
    return path.stat().st_size


def write_with_uproot(path, trees):
    import uproot

    with uproot.recreate(path, compression=uproot.ZSTD(1)) as root:
        for name, branches in trees.items():
            types = {k: "var * int32" if isinstance(v, Lists) else (v.dtype, v.shape[1:]) for k, v in branches.items()}
            tree = root.mktree(f"DF_1/{name}", types, counter_name=lambda branch: f"{branch}_size")
            arrays = {k: jagged(v.offsets, v.content) if isinstance(v, Lists) else v for k, v in branches.items()}
            if len(next(iter(arrays.values()))):
                tree.extend(arrays)
        root.close()
