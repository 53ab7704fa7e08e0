"""Memory of the reader: bounded by a piece of text, a batch and the largest event, never by the input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hepmc_text import END3, START3, VERSION

N = 130_000  # particles of a central Pb-Pb event
PROGRAM = """
import json, resource, sys
from flashdet.io.hepmc import open_events

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

for path in sys.argv[1:]:  # the first one compiles or loads the kernels
    before = peak()
    with open_events([path]) as reader:
        sizes = [batch["particle"].n_rows for batch in reader.batches()]
    print(json.dumps([peak() - before, sizes]))
"""


LONG = " ".join(f"{x:.16e}" for x in (0.5, -0.25, 1.0, 1.2, 0.13957))
SHORT = "0.5 -0.25 1 1.2 0.14"


def write_events(path: Path, n_events: int, n_particles: int, numbers: str) -> Path:
    with path.open("w") as file:
        file.write(VERSION + START3 + "W Default\n")
        for event in range(n_events):
            file.write(f"E {event} 1 {n_particles}\nU GEV MM\nW 1.0\nP 1 0 2212 0 0 7000 7000 0.938 4\n")
            file.write("V -1 0 [1] @ 1 2 3 4\n")
            file.writelines(f"P {k} -1 211 {numbers} 1\n" for k in range(2, n_particles + 1))
        file.write(END3)
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in other units elsewhere")
def test_memory_is_bounded_by_the_largest_event(tmp_path):
    small = write_events(tmp_path / "small", 2, 50, LONG)
    one = write_events(tmp_path / "one", 1, N, LONG)
    many = write_events(tmp_path / "many", 12, N, SHORT)
    command = [sys.executable, "-c", PROGRAM, str(small), str(one), str(many)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    _, (for_one, sizes_one), (more_for_many, sizes_many) = map(json.loads, done.stdout.splitlines())
    assert sizes_one == [N]
    assert sizes_many == [N] * 12
    text, columns = one.stat().st_size / 2**20, N * 92 / 2**20
    # text that doubles when it grows, columns of two batches (one is in use while the next is made) and their vertices
    assert for_one < 3 * text + 4 * columns
    assert more_for_many < 3 * columns


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in other units elsewhere")
def test_memory_does_not_grow_with_the_input(tmp_path):
    """Three full batches, twelve: the same memory."""
    paths = [write_events(tmp_path / str(n), n, 500, SHORT) for n in (2, 600, 2400)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *map(str, paths)], stdout=subprocess.PIPE, text=True, check=True
    )
    _, (for_some, _), (more_for_all, sizes) = map(json.loads, done.stdout.splitlines())
    assert sum(sizes) == 2400 * 500
    assert for_some < 100
    assert more_for_all < 30
