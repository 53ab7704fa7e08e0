"""CPU time until a job simulates: imports, the command's help, first call with and without kept kernels, tables.

    python -m pytest benchmarks/bench_startup.py --benchmark-enable --benchmark-columns=median

Each number is CPU time of a process of its own, as a user sees it; the asserts are the promises. What takes a minute
runs only with ``--benchmark-enable``.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "pp14.hepmc3.zst"
COMMAND = "from flashdet.cli.main import main; main()"


def cpu(*arguments: str, **environment: str) -> float:
    """CPU seconds of a Python process and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], env={**os.environ, **environment}, stdout=subprocess.PIPE, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def note(benchmark, name: str, seconds: float) -> float:
    benchmark.extra_info[name] = round(seconds, 3)
    return seconds


@pytest.mark.parametrize(
    ("what", "program", "limit"),
    [
        ("python alone", "pass", 0.5),
        ("import flashdet", "import flashdet", 0.5),
        ("flashdet --help", "import sys; sys.argv[1:] = ['--help']; " + COMMAND, 0.5),
        ("import flashdet.run", "import flashdet.run", 3.0),
    ],
)
def test_imports(benchmark, what, program, limit):
    times = [cpu("-c", program) for _ in range(5 if benchmark.enabled else 1)]
    benchmark.pedantic(lambda: None)
    assert note(benchmark, what, statistics.median(times)) < limit


def test_second_run_starts(benchmark, tmp_path):
    """Phases of a start whose kernels are kept already, as `flashdet bench` prints them."""
    arguments = ("-c", COMMAND, "bench", str(EXAMPLE), "--card", "alice3", "--events", "1", "--repeat", "1", "--json")
    subprocess.run([sys.executable, "-c", COMMAND, "warmup"], check=True, stdout=subprocess.PIPE)
    benchmark.pedantic(lambda: None)
    output = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, cwd=tmp_path).stdout
    (report,) = json.loads(output)
    assert report["n_compiled"] == 0
    for phase, seconds in report["start"].items():
        note(benchmark, phase, seconds)
    assert note(benchmark, "sum", sum(report["start"].values())) < 3.0 * (1 if benchmark.enabled else 3)


def test_first_run_compiles(benchmark):
    if not benchmark.enabled:
        pytest.skip("compiling everything takes a minute: --benchmark-enable")
    benchmark.pedantic(lambda: None)
    command = ("-c", COMMAND, "warmup")
    note(benchmark, "compiling", cpu(*command, FLASHDET_DISABLE_JIT_CACHE="1"))
    note(benchmark, "from the cache", cpu(*command))


def test_tables_are_built(benchmark, tmp_path):
    """Tables of all species from a layout in under a minute, kernels compiled before."""
    if not benchmark.enabled:
        pytest.skip("building tables takes a minute: --benchmark-enable")
    benchmark.pedantic(lambda: None)
    build = ("-c", COMMAND, "lut", "build", "layout", "alice3_v3", "-o")
    cpu(*build, str(tmp_path / "one"), "--species", "pion")
    assert note(benchmark, "nine tables", cpu(*build, str(tmp_path / "all"))) < 60.0
