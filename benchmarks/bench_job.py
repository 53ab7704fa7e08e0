"""The whole job over the shipped samples: parts, ratio to pyhepmc's own loop, and memory over many events.

    python -m pytest benchmarks/bench_job.py --benchmark-enable --benchmark-columns=median

The work is done by ``flashdet bench`` in a process of its own; other samples: ``FLASHDET_BENCH_FILES`` with paths
separated by colons.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = os.environ.get("FLASHDET_BENCH_FILES", "").split(":") if os.environ.get("FLASHDET_BENCH_FILES") else []
SAMPLES = [EXAMPLES / "pp14.hepmc3.zst", EXAMPLES / "pbpb5360.hepmc2.zst", *map(Path, FILES)]
COMMAND = "from flashdet.cli.main import main; main()"


def bench(*arguments: str) -> dict:
    command = [sys.executable, "-c", COMMAND, "bench", *arguments, "--card", "alice3", "--json"]
    (report,) = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return report


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_parts_and_ratio(benchmark, path):
    benchmark.pedantic(lambda: None)
    report = bench(str(path), "--repeat", "5" if benchmark.enabled else "1")
    middle = sorted(report["passes"], key=lambda one: one["total"])[len(report["passes"]) // 2]
    for part in ("read", "simulate", "write", "checksums", "total"):
        benchmark.extra_info[f"{part} [ms/event]"] = round(1e3 * middle[part] / middle["n_events"], 3)
    benchmark.extra_info["pyhepmc / whole job"] = round(report["ratio"], 2)
    benchmark.extra_info["pyhepmc / reading"] = round(report["ratio_reading"], 2)
    assert report["ratio_reading"] > 1


def test_memory_is_flat(benchmark, tmp_path):
    """Peak memory over many events is that over few: everything is bounded by the size of a batch."""
    benchmark.pedantic(lambda: None)
    repeat = 160 if benchmark.enabled else 8  # copies of 60 events
    text = plain(SAMPLES[0])
    head, mark, rest = text.partition(b"\nE ")
    body, foot_mark, foot = rest.rpartition(b"HepMC::")
    many = tmp_path / "many.hepmc3"
    with many.open("wb") as file:
        file.write(head)
        for _ in range(repeat):
            file.write(mark + body.rstrip())
        file.write(b"\n" + foot_mark + foot)
    few, all_ = (peak(many, n) for n in (60 * repeat // 4, 60 * repeat))
    benchmark.extra_info["events"] = 60 * repeat
    benchmark.extra_info["peak [MiB], a quarter of them"] = few >> 20
    benchmark.extra_info["peak [MiB]"] = all_ >> 20
    if benchmark.enabled:
        assert all_ < 1.15 * few


def plain(path: Path) -> bytes:
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj().decompress(path.read_bytes())


def peak(path: Path, events: int) -> int:
    """Largest resident size [bytes] of a job, in a process of its own."""
    program = (
        "import resource, sys; from flashdet.cli.main import execute; code = execute(sys.argv[1:]); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024); sys.exit(code)"
    )
    output = path.with_suffix(f".{events}.aod.root")
    arguments = ["sim", str(path), "--card", "alice3", "--events", str(events), "-o", str(output), "-q"]
    done = subprocess.run([sys.executable, "-c", program, *arguments], check=True, stdout=subprocess.PIPE)
    output.unlink()
    return int(done.stdout)
