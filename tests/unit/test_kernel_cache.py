"""Kernels on disk: never a stale one, any place or none, and one specialisation of helpers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

pytest.importorskip("numba")

from flashdet.kernels import cache
from flashdet.kernels.philox import normals

HELPER = """
    from typing import NamedTuple
    import numpy as np
    from flashdet.kernels.jit import kernel, inline

    SCALE = {scale}
    TABLE = np.array([{entry}, 2.0])

    class Pair(NamedTuple):
        {fields}

    @inline
    def deep(x):
        return x + {shift}

    @kernel
    def helper(x):
        return deep(x) * SCALE + TABLE[0]
"""
MAIN = """
    import numpy as np
    import helper_module as hm
    from flashdet.kernels.jit import kernel
    from helper_module import Pair, helper

    @kernel
    def main(x, out):
        for i in range(x.size):
            out[i] = helper(x[i]) + hm.SCALE

    @kernel
    def first(pair):
        return pair.a

    x, out = np.ones(1), np.empty(1)
    main(x, out)
    print(out[0], first(Pair(b=2.0, a=1.0)), sum(d.stats.cache_hits[s] for d in (main, first) for s in d.signatures))
"""


def _run(folder: Path, environment: dict[str, str] | None = None, **helper: str) -> tuple[list[float], str]:
    """Values of a program with a helper module, and what it says on standard error."""
    settings = {"scale": "3.0", "entry": "0.5", "shift": "1.0", "fields": "a: float; b: float", **helper}
    (folder / "helper_module.py").write_text(textwrap.dedent(HELPER).format(**settings))
    (folder / "main_module.py").write_text(textwrap.dedent(MAIN))
    kept = {k: v for k, v in os.environ.items() if not k.endswith("_CACHE_DIR")}
    given = {"FLASHDET_CACHE_DIR": str(folder / "kept")} if environment is None else environment
    command = [sys.executable, "-B", "-c", "import main_module"]
    path = os.pathsep.join([str(folder), *sys.path])
    done = subprocess.run(
        command, cwd=folder, env={**kept, "PYTHONPATH": path, **given}, capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()], done.stderr


def test_changes_in_other_modules_are_noticed(tmp_path: Path) -> None:
    assert _run(tmp_path)[0] == [9.5, 1.0, 0]
    assert _run(tmp_path, shift="2.0")[0] == [12.5, 1.0, 1]  # a function that the helper calls
    assert _run(tmp_path, fields="b: float; a: float")[0] == [9.5, 1.0, 1]  # only the kernel that takes the tuple
    assert _run(tmp_path)[0] == [9.5, 1.0, 2]  # back again: the first compilations are still there


@pytest.mark.parametrize(
    "change", ["SCALE = 4.0", "TABLE[0] = 7", "module.value = 2", "PAIR = (2, None)", "g = lambda x: x"]
)
def test_globals_are_part_of_the_fingerprint(change: str) -> None:
    module = ModuleType("helpers")
    module.__dict__.update(value=1, other=1)
    code = "def f(x):\n    return g(x) * SCALE + TABLE[0] + module.value + len(PAIR)"
    space = {"SCALE": 3.0, "TABLE": np.ones(2), "module": module, "PAIR": (1, "two", None), "__name__": "here"}
    exec(code, space)

    def digest() -> bytes:
        return cache.KernelCache(space["f"], "").fingerprint()  # type: ignore[arg-type]

    before = digest()
    module.__dict__["other"] = 2  # nobody reads it
    space["unused"] = 5
    assert digest() == before
    exec(change, space)
    assert digest() != before


def test_damaged_files_are_compiled_again(tmp_path: Path) -> None:
    _run(tmp_path)
    files = sorted((tmp_path / "kept").rglob("main_module.*.nbc"))
    assert [f.name.split("-")[0] for f in files] == ["main_module.first", "main_module.main"]
    for file in files:
        content = bytearray(file.read_bytes())
        content[-1] ^= 1
        file.write_bytes(content)
    values, said = _run(tmp_path)
    assert values == [9.5, 1.0, 0]
    assert "damaged" in said


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    values, said = _run(tmp_path, {"FLASHDET_CACHE_DIR": str(tmp_path / "file" / "kept")})
    assert values == [9.5, 1.0, 0]
    assert said.count("compiled kernels cannot be kept") == 1  # although several kernels were compiled
    assert "FLASHDET_CACHE_DIR" in said
    assert list((tmp_path / "__pycache__").glob("*.nbc"))  # the next place was taken instead


def test_order_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    function = normals.py_func
    monkeypatch.delenv("FLASHDET_CACHE_DIR", raising=False)
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    beside = Path(cache.__file__).parent / "__pycache__"
    user = tmp_path / "user" / "flashdet" / "flashdet.kernels"
    assert list(cache.directories(function)) == [beside, user]
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "numba"))
    assert next(cache.directories(function)) == tmp_path / "numba" / "flashdet.kernels"
    monkeypatch.setenv("FLASHDET_CACHE_DIR", str(tmp_path / "own"))
    assert list(cache.directories(function)) == [tmp_path / "own" / "flashdet.kernels", beside, user]


def test_no_place_at_all(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    cache._report.cache_clear()
    with caplog.at_level(logging.WARNING):
        cache._report("Read-only file system")
        cache._report("Read-only file system")
    assert len(caplog.records) == 1
    assert "set FLASHDET_CACHE_DIR" in caplog.text
    cache._report.cache_clear()


def test_old_versions_are_removed(tmp_path: Path) -> None:
    old, other, recent = (tmp_path / n for n in ("m.f-aaaa.nbc", "m.fg-aaaa.nbc", "m.f-bbbb.nbc"))
    for file in (old, other, recent):
        file.write_text("")
    for file in (old, other):
        os.utime(file, (0, 0))
    cache._write(tmp_path, "m.f-cccc.nbc", b"machine code")
    assert {f.name for f in tmp_path.iterdir()} == {"m.fg-aaaa.nbc", "m.f-bbbb.nbc", "m.f-cccc.nbc"}
    assert cache._read(tmp_path / "m.f-cccc.nbc") == b"machine code"


def test_fingerprints_reach_through_modules() -> None:
    from flashdet.kernels import philox

    names = set()
    todo = [philox.normals._cache]
    while todo:
        source = todo.pop()
        function = getattr(source, "function", source)
        if function.__qualname__ not in names:
            names.add(function.__qualname__)
            todo += cache.describe(function)[1]
    assert {"normals", "words", "block"} <= names


def test_literals_and_narrow_integers_share_a_specialisation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLASHDET_CACHE_DIR", str(tmp_path))
    from flashdet.kernels.jit import kernel

    @kernel
    def half(i: int, x: float) -> float:
        return x * i

    @kernel
    def whole(index: np.ndarray) -> float:
        return half(0, 1.0) + half(1, 2.0) + half(index[0], 3.0)

    assert whole(np.array([2], np.int32)) == 8.0
    assert whole(np.array([2], np.int8)) == 8.0
    assert len(half.inner.signatures) == 1  # type: ignore[attr-defined]
    assert half(2, 2.0) == 4.0  # from Python as well
    assert len(half.signatures) == 1  # type: ignore[attr-defined]
