"""CPU time of the reader against pyhepmc's own loop over the same file, in the same run.

    python -m pytest benchmarks/bench_reader.py --benchmark-enable --benchmark-columns=median

pyhepmc's loop makes objects, checks nothing and fills no columns. Ours checks every line, resolves positions, names the
events, and ends in batches. Both read plain text from the page cache. Files of your own are measured with
``FLASHDET_BENCH_FILES`` (names between colons).
"""

from __future__ import annotations

import itertools
import os
import statistics
import time
from pathlib import Path

import pyhepmc
import pytest

from flashdet.io.hepmc import open_events

EXAMPLES = Path(__file__).parents[1] / "examples"
#: Events that pyhepmc gets: its time per event of a central Pb-Pb collision in Asciiv3 is minutes.
SAMPLES = {"pp14.hepmc3.zst": 60, "pbpb5360.hepmc2.zst": 2}
OWN = [name for name in os.environ.get("FLASHDET_BENCH_FILES", "").split(":") if name]
#: The promise: the reader alone takes a twelfth of pyhepmc's loop at most.
LEAST = 12.0


def ours(path: Path, n: int) -> float:
    begin = time.process_time()
    with open_events([path], events=n) as reader:
        for _ in reader.batches():
            pass
    assert reader.n_read == n
    return time.process_time() - begin


def bare(path: Path, n: int) -> float:
    begin = time.process_time()
    with pyhepmc.open(path) as file:
        assert sum(1 for _ in itertools.islice(file, n)) == n
    return time.process_time() - begin


@pytest.mark.parametrize("name", [*SAMPLES, *OWN])
def test_reader(benchmark, tmp_path, name):
    import zstandard

    path = Path(name)
    if name in SAMPLES:
        path = tmp_path / path.stem  # both read plain text: this is about the parser
        path.write_bytes(zstandard.ZstdDecompressor().decompress((EXAMPLES / name).read_bytes()))
    with open_events([path]) as reader:  # compiles
        n = sum(batch.n_events for batch in reader.batches())
    size = path.stat().st_size
    pairs = [(ours(path, n), bare(path, n)) for _ in range(5 if benchmark.enabled else 1)]
    our_time, their_time = (statistics.median(times) for times in zip(*pairs, strict=True))
    benchmark.pedantic(ours, args=(path, n), rounds=3)
    ratio = their_time / our_time
    benchmark.extra_info |= {
        "events": n,
        "MB/s": round(size / our_time * 1e-6, 1),
        "MB/s of pyhepmc": round(size / their_time * 1e-6, 1),
        "ratio": round(ratio, 1),
    }
    print(f"{name}: {size / our_time * 1e-6:.0f} MB/s, pyhepmc {size / their_time * 1e-6:.0f} MB/s, ratio {ratio:.1f}")
    assert ratio > (LEAST if benchmark.enabled else LEAST / 4)
