"""``flashdet bench`` and ``flashdet warmup`` through the real entry point."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flashdet.cli import collector, yardstick
from flashdet.cli.main import execute
from flashdet.cli.warmup import TEXTS

PARTS = ("read", "simulate", "write", "checksums")


def copies(path: Path, text: str, n: int) -> Path:
    """A file of `n` times the event of a text of `warmup`."""
    mark = "\nE 0 "
    head, body = text.split(mark)
    body, end, foot = body.rpartition("HepMC::")
    path.write_text(head + "".join(f"\nE {i} {body.rstrip()}" for i in range(n)) + "\n" + end + foot)
    return path


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return [copies(tmp_path / name, text, 7) for name, text in TEXTS.items()]


def test_report_adds_up(inputs, capsys):
    assert execute(["bench", *map(str, inputs), "--card", "minimal", "--repeat", "2", "--json", "--events", "5"]) == 0
    for report, layout in zip(json.loads(capsys.readouterr().out), ("HepMC3", "HepMC2"), strict=True):
        assert len(report["passes"]) == 2
        for one in report["passes"]:
            assert (one["n_events"], one["n_particles"]) == (5, 25)
            assert one["total"] == pytest.approx(sum(one[part] for part in PARTS))
            assert one["simulate"] == pytest.approx(sum(one["stages"].values()))
            assert list(one["stages"]) == ["propagate", "tracking", "vertex"]
        yard = report["yardstick"]
        assert (yard["layout"], yard["n_events"]) == (layout, 5)
        assert report["ratio"] == pytest.approx(yard["seconds"] / yard["ours"])
        assert report["output_bytes"] > 0
        assert report["machine"]["pyhepmc"]
        assert next(iter(report["start"])) == "interpreter, command line"
        assert min(report["start"].values()) >= 0


def test_table(inputs, capsys):
    command = ["bench", str(inputs[0]), "--card", "minimal", "--repeat", "1", "--pyhepmc-events", "2"]
    assert execute([*command, "--format", "nano"]) == 0
    out = capsys.readouterr().out
    for word in ("read ", "  tracking ", "write ", "total ", "ns/track", "MB/s", "peak memory", "imports", "numba"):
        assert word in out
    assert "format nano: 7 events, 35 particles" in out
    assert "HepMC3 text, first 2 events on both sides" in out
    shares = [
        float(line.split()[2]) for line in out.splitlines() if line.startswith(("read", "simulate", "write", "ch"))
    ]
    assert sum(shares) == pytest.approx(100, abs=0.3)


def test_guns_have_no_yardstick(inputs, capsys):
    assert execute(["bench", "gun:n=3,particles=4", "--card", "minimal", "--repeat", "1"]) == 0
    assert "not compared" in capsys.readouterr().out


def test_bad_input_is_an_error(inputs, capsys):
    assert execute(["bench", "nowhere.hepmc", "--card", "minimal", "--repeat", "1"]) == 3


def test_text_of_the_first_events(inputs, tmp_path):
    zstandard = pytest.importorskip("zstandard")
    packed = tmp_path / "e.hepmc.zst"
    packed.write_bytes(zstandard.ZstdCompressor().compress(inputs[0].read_bytes()))
    assert yardstick.decompressed(str(packed), tmp_path / "plain", 7) == "HepMC3"
    assert (tmp_path / "plain").read_bytes() == inputs[0].read_bytes()
    assert yardstick.bare_loop(tmp_path / "plain", 3, 60.0)[1] == 3
    assert yardstick.bare_loop(tmp_path / "plain", 7, 0.0)[1] == 1  # the budget ends it after the event it is in
    start = inputs[0].read_bytes().index(b"\nE 4 ") + 1
    assert yardstick.bytes_of(inputs[0], 4) == start
    (tmp_path / "other").write_text("<LesHouchesEvents>")
    assert yardstick.decompressed(str(tmp_path / "other"), tmp_path / "plain", 7) is None


def test_warmup_makes_later_jobs_load_everything(inputs, tmp_path, capsys):
    assert execute(["warmup", "--card", "minimal"]) == 0
    assert "minimal: " in capsys.readouterr().out
    program = "from flashdet.cli.main import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [
        sys.executable,
        "-c",
        program,
        "bench",
        *map(str, inputs),
        "--card",
        "minimal",
        "--repeat",
        "1",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert [report["n_compiled"] for report in json.loads(done.stdout)] == [0, 0]
    assert execute(["warmup", "--card", "minimal"]) == 0
    out = capsys.readouterr().out
    assert "minimal: 0 functions compiled" in out
    assert "compiled kernels: " in out


def test_the_collector_rests_only_while_starting():
    before = gc.get_threshold()
    collector.relax()
    assert gc.get_threshold()[0] > 50 * before[0]
    collector.resume()
    assert gc.get_threshold() == before
    gc.unfreeze()
