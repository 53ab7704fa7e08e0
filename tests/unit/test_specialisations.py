"""Every kernel is compiled once: a second specialisation means mixed types of arguments and a slower first start."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

#: Kernels with two specialisations, and why.
ALLOWED = {
    "flashdet.stages.codes.nearest_species": "a constant array is read-only for Numba, the card's own selection is not",
}
PROGRAM = """
import json, sys, tempfile
from pathlib import Path
from flashdet.card import Card
from flashdet.cli.warmup import _run_all

with tempfile.TemporaryDirectory() as folder:
    for name in sys.argv[1:]:
        (Path(folder) / name).mkdir()
        _run_all(Card.load(name), None, Path(folder) / name)
found = {}
for module in [m for n, m in sys.modules.items() if n.startswith("flashdet.")]:
    for kernel in vars(module).values():
        if hasattr(kernel, "inner") and hasattr(kernel, "signatures"):
            function = kernel.py_func
            name = f"{function.__module__}.{function.__qualname__}"
            found[name] = [list(map(str, d.signatures)) for d in (kernel, kernel.inner)]
json.dump(found, sys.stdout)
"""


def test_one_specialisation_per_kernel(slow: bool) -> None:
    """Kernels from the cache show how Python calls them; `--slow` compiles all and shows how they call each other."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    if slow:
        environment["FLASHDET_DISABLE_JIT_CACHE"] = "1"
    command = [sys.executable, "-c", PROGRAM, "alice3", "minimal"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found["flashdet.stages.tracking.reconstruction.reconstruct"][0]) == 1  # the run reached the kernels
    doubled = {name: kinds for name, kinds in found.items() if any(len(types) > 1 for types in kinds)}
    unknown = {name: kinds for name, kinds in doubled.items() if name not in ALLOWED}
    assert not unknown, json.dumps(unknown, indent=2)
    assert all(len(types) <= 2 for kinds in doubled.values() for types in kinds)
