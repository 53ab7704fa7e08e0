"""Events per second of the reader, and its cost as a multiple of pyhepmc's own loop over the same file.

    python -m pytest benchmarks/bench_reader.py --benchmark-enable --benchmark-columns=median

pyhepmc checks nothing and fills no columns; a ratio above 1 is what integrity checks and columns cost.
"""

from __future__ import annotations

import time
from pathlib import Path

import pyhepmc
import pytest

from flashdet.io.hepmc import open_events

EXAMPLES = Path(__file__).parents[1] / "examples"
SAMPLES = {"pp, HepMC3": ("pp14.hepmc3.zst", 60), "Pb-Pb, HepMC2": ("pbpb5360.hepmc2.zst", 2)}


def ours(path: Path) -> int:
    with open_events([path]) as reader:
        for _ in reader.batches():
            pass
    return reader.n_read


def bare(path: Path) -> int:
    with pyhepmc.open(path) as file:
        return sum(1 for _ in file)


@pytest.mark.parametrize("sample", SAMPLES)
def test_reader(benchmark, tmp_path, sample):
    import zstandard

    name, n = SAMPLES[sample]
    path = tmp_path / name.removesuffix(".zst")  # both read plain text: this is about the parser
    path.write_bytes(zstandard.ZstdDecompressor().decompress((EXAMPLES / name).read_bytes()))
    assert ours(path) == n  # compiles
    reference = []
    for _ in range(3):
        start = time.perf_counter()
        assert bare(path) == n
        reference.append(time.perf_counter() - start)
    benchmark.pedantic(ours, args=(path,), rounds=3)
    if benchmark.stats is not None:
        median = benchmark.stats.stats.median
        benchmark.extra_info["events per second"] = n / median
        benchmark.extra_info["time over bare pyhepmc"] = median / sorted(reference)[1]
