"""The command as users run it: real files, exit codes, signals.

What needs a process of its own has one; the rest runs in this one, which saves seconds per test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from flashdet import registry
from flashdet.cli.main import execute
from flashdet.registry import Registry

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "tests" / "plugin"
CARD = """
schema_version: 1
detector: test
magnetic_field: 2 T
stages: [{kind: propagate}, {kind: dummy}]
output: {format: nano}
"""
HEAVY = ("numba", "awkward", "uproot", "pandas", "scipy", "pyhepmc")


def program() -> list[str]:
    """The installed script, or the same entry point of a source tree that is not installed."""
    script = shutil.which("flashdet", path=str(Path(sys.executable).parent))
    return [script] if script else [sys.executable, "-c", "from flashdet.cli.main import main; main()"]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{PLUGIN}", "COLUMNS": "100"}


def process(*arguments: str, cwd: Path, text_in: str | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*program(), *map(str, arguments)],
        cwd=cwd,
        env=environment(),
        input=text_in,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def flashdet(tmp_path, monkeypatch, capsys):
    """The command line in this process, with plugins, in an empty folder."""
    built_in = {
        n: registry.stages.entry(n).target for n in ("propagate", "tracking", "vertex", "rich", "emcal", "muon")
    }
    monkeypatch.setattr(registry, "stages", Registry("stages", "stage kind", built_in))
    monkeypatch.syspath_prepend(PLUGIN)  # only now: the real registry must not see the plugins
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> SimpleNamespace:
        code = execute([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return SimpleNamespace(returncode=code, stdout=out, stderr=err)

    return run


def hepmc3(n_events: int) -> str:
    """Events of one vertex with a pion, a kaon and a photon, as HepMC3 text."""
    lines = ["HepMC::Version 3.02.06", "HepMC::Asciiv3-START_EVENT_LISTING", "W Default"]
    for i in range(n_events):
        lines += [f"E {i} 1 5", "U GEV MM", "W 1.0"]
        lines += ["P 1 0 2212 0 0 6999.99 7000 0.93827 4", "P 2 0 2212 0 0 -6999.99 7000 0.93827 4", "V -1 0 [1,2]"]
        lines += [f"P 3 -1 211 1.0 {0.1 * i} 0.5 {(1 + 0.01 * i * i + 0.25 + 0.01948) ** 0.5} 0.13957 1"]
        lines += ["P 4 -1 -321 -1.0 0.2 0.1 1.1361 0.49368 1", "P 5 -1 22 0.3 0.4 0 0.5 0 1"]
    return "\n".join([*lines, "HepMC::Asciiv3-END_EVENT_LISTING"]) + "\n"


@pytest.fixture
def here(tmp_path):
    (tmp_path / "card.yaml").write_text(CARD)
    (tmp_path / "in.hepmc").write_text(hepmc3(20))
    return tmp_path


def test_version_and_help_import_nothing_heavy(tmp_path):
    for argument in ("--version", "--help"):
        code = (
            "import sys; from flashdet.cli.main import execute; code = execute([sys.argv[1]]); "
            f"print([m for m in {HEAVY} if m in sys.modules], code)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, argument], env=environment(), capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines()[-1] == "[] 0"


def test_version_is_that_of_the_distribution(tmp_path):
    done = process("--version", cwd=tmp_path)
    declared = next(
        line for line in (ROOT / "pyproject.toml").read_text().splitlines() if line.startswith("version = ")
    )
    assert done.stdout == f"flashdet {declared.split(chr(34))[1]}\n"
    assert done.returncode == 0


def test_a_job_from_text_to_file(here, flashdet):
    done = process("sim", "in.hepmc", "--card", "card.yaml", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "20 events in" in done.stderr
    assert "40 charged particles in, 0 tracks out" in done.stderr
    assert done.stdout == ""
    assert {p.name for p in here.iterdir()} == {"card.yaml", "in.hepmc", "in.nano.root", "in.nano.root.json"}
    manifest = json.loads((here / "in.nano.root.json").read_text())
    assert manifest["n_events"] == 20
    assert manifest["provenance"]["command"][1:] == ["sim", "in.hepmc", "--card", "card.yaml"]

    shown = flashdet("inspect", "in.nano.root")
    assert shown.returncode == 0
    assert "in.nano.root: nano" in shown.stdout
    assert "20 rows" in shown.stdout
    assert "the checksum is right; 20 events, 0 skipped" in shown.stdout

    again = flashdet("sim", "in.hepmc", "--card", "card.yaml")
    assert again.returncode == 1
    assert again.stderr == "flashdet: error: in.nano.root: exists already\n  choose another name or pass --overwrite\n"


def test_inspect_of_a_cut_output_is_bad_input(here, flashdet):
    assert flashdet("sim", "in.hepmc", "--card", "card.yaml", "--format", "aod", "-o", "x.root").returncode == 0
    whole = (here / "x.root").read_bytes()
    assert "first event 0, all events" in flashdet("inspect", "x.root").stdout
    # wherever it is cut: before, among or after the trees
    for part in (0.02, 0.3, 0.6, 0.95):
        (here / "cut.root").write_bytes(whole[: int(part * len(whole))])
        done = flashdet("inspect", "cut.root")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("flashdet: error: cut.root: is damaged")


def test_quiet_says_nothing_and_options_reach_the_job(here, flashdet):
    done = flashdet(
        *("sim", "in.hepmc", "in.hepmc", "--card", "card.yaml", "-o", "x.parquet", "--format", "parquet", "--quiet"),
        *("--first", "15", "--events", "10", "--seed", "7", "--threads", "2", "--set", "stages.dummy.width=1 ns"),
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    manifest = json.loads((here / "x.parquet.json").read_text())
    assert manifest["n_events"] == 10
    assert manifest["provenance"]["seed"] == 7
    assert "width: 1 ns" in manifest["provenance"]["card"]["text"]


def test_events_come_through_a_pipe(here):
    done = process("sim", "-", "--card", "card.yaml", cwd=here, text_in=hepmc3(5))
    assert done.returncode == 0, done.stderr
    assert (here / "stdin.nano.root").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("sim", "in.hepmc"), 2, "--card"),
        (("sim", "in.hepmc", "--card", "card.yaml", "--seed", "-1"), 2, "--seed"),
        (("sim", "in.hepmc", "--card", "card.yaml", "--on-bad-event", "ignore"), 2, "--on-bad-event"),
        (("sim", "in.hepmc", "--card", "alcie3"), 2, "did you mean 'alice3'"),
        (("sim", "in.hepmc", "--card", "card.yaml", "--set", "stages.dumy.n=1"), 2, "stages has: propagate, dummy"),
        (("sim", "in.hepmc", "--card", "card.yaml", "--format", "nanoo"), 2, "did you mean 'nano'"),
        (("sim", "nothing.hepmc", "--card", "card.yaml"), 3, "nothing.hepmc"),
        (("sim", "cut.hepmc", "--card", "card.yaml"), 3, "cut.hepmc"),
        (("sim", "in.hepmc", "--card", "card.yaml", "-o", "no/such/folder.root"), 1, "no/such/folder.root"),
        (("inspect", "nothing.root"), 3, "nothing.root"),
        (("card", "check", "bad.yaml"), 2, "bad.yaml:2:11 detector: must be a valid string; got 3"),
        (("lut", "info", "alice3/poin"), 2, "alice3/poin"),
        (("simulate",), 2, "simulate"),
    ],
)  # fmt: skip
def test_failures_have_their_exit_code_and_no_traceback(here, flashdet, arguments, code, message):
    (here / "cut.hepmc").write_text(hepmc3(20)[:-400])
    (here / "bad.yaml").write_text("schema_version: 1\ndetector: 3\nmagnetic_field: 2 T\nstages: []\n")
    before = {p.name for p in here.iterdir()}
    done = flashdet(*arguments)
    assert done.returncode == code, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert {p.name for p in here.iterdir()} == before


def test_skipped_events_have_their_own_exit_code(here, flashdet):
    text = hepmc3(20)
    bad = text.replace("P 4 -1 -321 -1.0 0.2", "P 4 -1 -321 nan 0.2", 1)
    (here / "bad.hepmc").write_text(bad)
    done = flashdet("sim", "bad.hepmc", "--card", "card.yaml", "--on-bad-event", "skip")
    assert done.returncode == 4, done.stderr
    assert "19 events" in done.stderr
    assert "1 skipped" in done.stderr
    failed = flashdet("sim", "bad.hepmc", "--card", "card.yaml", "-o", "failed.root")
    assert failed.returncode == 3
    assert not (here / "failed.root").exists()


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_nothing(here, number, threads):
    before = {p.name for p in here.iterdir()}
    delay = "60 s" if threads == 1 else "3 s"
    command = [*program(), "sim", "in.hepmc", "--card", "card.yaml", "--set", f"stages.dummy.delay={delay}"]
    job = subprocess.Popen(
        [*command, "--threads", str(threads)], cwd=here, env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not (here / "in.nano.root.part").exists():
        assert time.monotonic() < deadline
        assert job.poll() is None, job.stderr.read()
        time.sleep(0.05)
    job.send_signal(number)
    _, errors = job.communicate(timeout=30)
    assert job.returncode == 128 + number
    assert errors.endswith(f"flashdet: stopped by {signal.Signals(number).name}\n")
    assert {p.name for p in here.iterdir()} == before


def test_a_signal_that_is_dropped_is_raised_again():
    """Callbacks from compiled code, as Numba has them, print what is raised in them and go on."""
    code = """if True:
        import ctypes, os, signal, sys, time
        from flashdet.cli import main
        def stop():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.1)
        callback = ctypes.CFUNCTYPE(None)(stop)
        try:
            with main.interruptible():
                callback()
                print("dropped", flush=True)
                time.sleep(30)
        except main.InterruptedBySignal as interruption:
            print(interruption.number)
        """
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, timeout=25)
    assert done.stdout.split() == ["dropped", str(int(signal.SIGTERM))]
    assert "InterruptedBySignal" in done.stderr


def test_card_commands(here, flashdet):
    shown = flashdet("card", "show", "card.yaml", "--set", "detector=mine")
    assert "detector: mine" in shown.stdout
    (here / "shown.yaml").write_text(shown.stdout)
    checked = flashdet("card", "check", "shown.yaml")
    assert checked.stdout.startswith("shown.yaml: ok, mine, 2 T\n")
    listed = flashdet("card", "list")
    assert {line.split()[0] for line in listed.stdout.splitlines()} >= {"alice3", "minimal", "reference_barrel"}
    schema = json.loads(flashdet("card", "schema").stdout)
    assert "DummyStage" in schema["$defs"]


def test_a_broken_plugin_is_a_warning_unless_the_card_asks_for_it(here, flashdet, caplog):
    done = flashdet("card", "schema")
    assert done.returncode == 0
    assert "flashdet-broken 0.1" in caplog.text
    (here / "broken.yaml").write_text(CARD.replace("dummy", "broken"))
    asked = flashdet("card", "check", "broken.yaml")
    assert asked.returncode == 2
    assert "broken.yaml:5:36 stages.broken.kind: stage kind 'broken'" in asked.stderr
    assert "flashdet-broken 0.1" in asked.stderr
