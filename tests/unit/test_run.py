"""One job from reader to writer: summary, manifest, refusals, and files that are equal for any number of threads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from flashdet import registry, simulate
from flashdet.card import Card
from flashdet.errors import CardError, InputError, OutputError
from flashdet.event import EventBatch
from flashdet.io import output
from flashdet.io.hepmc.interface import Skipped
from flashdet.io.nano import NanoWriter
from flashdet.io.read import read, read_header
from flashdet.provenance import checksum_of, read_manifest, verify
from flashdet.registry import Registry
from flashdet.run import Job, default_output, run
from flashdet.summary import INPUT
from flashdet.testing import make_events

PLUGIN = Path(__file__).parents[1] / "plugin"
CARD = """
schema_version: 1
detector: test
magnetic_field: 2 T
stages: [{kind: propagate}, {kind: dummy}]
output: {format: nano}
"""
N_EVENTS = 40


class FakeReader:
    """Gives events that are there already."""

    size = 7

    def __init__(self, inputs, *, first, events, on_bad_event):
        stop = N_EVENTS if events is None else first + events
        self.range, self.skipped, self.counts = (
            (first, min(stop, N_EVENTS)),
            [],
            {"warning: repeated event": 2, "ok": 1},
        )
        self.failing = "broken" in inputs[0] and on_bad_event == "fail"
        if "broken" in inputs[0] and on_bad_event == "skip":
            self.skipped = [Skipped("broken.hepmc, event 3", "garbled", 2)]

    def batches(self):
        for i in range(*self.range, self.size):
            if self.failing and i > self.size:
                raise InputError("garbled", "broken.hepmc")
            yield all_events().slice_events(i, min(i + self.size, self.range[1]))

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def all_events() -> EventBatch:
    n = N_EVENTS * 6
    pdg = np.resize([211, -321, 2212, 22, 11, 111], n)
    return make_events(pdg, np.linspace(0.2, 5, n), np.linspace(-2, 2, n), 0.3, sizes=[6] * N_EVENTS)


@pytest.fixture(autouse=True)
def _workplace(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(PLUGIN)
    stages = {"propagate": "flashdet.stages.propagate.stage:Propagate"}
    monkeypatch.setattr(registry, "stages", Registry("stages", "stage kind", stages))
    monkeypatch.setattr(registry, "readers", Registry("readers", "reader", {}))
    registry.readers.add("hepmc", FakeReader, "this test")
    monkeypatch.chdir(tmp_path)
    Path("card.yaml").write_text(CARD)
    Path("in.hepmc").write_text("events")
    Path("broken.hepmc").write_text("events")


def job(**settings) -> Job:
    return Job(**{"inputs": ("in.hepmc",), "card": Card.load("card.yaml"), **settings})


def test_summary_and_manifest_agree_with_the_file():
    calls = []
    summary = run(job(), calls.append)
    assert (summary.n_events, summary.n_charged, summary.n_skipped) == (N_EVENTS, N_EVENTS * 4, 0)
    assert calls == [7, 14, 21, 28, 35, 40]
    assert summary.output == Path("in.nano.root")
    manifest = verify(summary.output)
    assert manifest["n_events"] == len(read(summary.output)) == N_EVENTS
    assert manifest["counters"]["dummy"]["particles"] == N_EVENTS * 6
    assert manifest["counters"][INPUT] == {"warning: repeated event": 2, "ok": 1}
    assert "(input): repeated event: 2" in manifest["warnings"]
    assert "dummy: odd: 6" in manifest["warnings"]
    origin = manifest["provenance"]
    assert origin["card"]["hash"] == Card.load("card.yaml").hash
    assert origin["seed"] == 1
    assert origin["inputs"][0]["name"] == "in.hepmc"
    Path("again.yaml").write_text(origin["card"]["text"])
    assert Card.load("again.yaml").hash == origin["card"]["hash"]


def test_the_summary_can_be_read():
    text = run(job()).text
    assert "40 events in" in text
    assert "160 charged particles in, 0 tracks out" in text
    assert "dummy: particles: 240" in text
    assert "warning: (input): repeated event: 2" in text
    assert "time: read" in text
    assert "wrote in.nano.root" in text


def test_shares_add_up():
    summary = run(job())
    assert set(summary.nanoseconds) == {"read", "write", "stage propagate", "stage dummy"}
    assert sum(summary.nanoseconds.values()) <= summary.seconds * 1e9


@pytest.mark.parametrize("threads", [2, 4])
def test_files_are_bitwise_equal_for_any_number_of_threads(threads):
    run(job(output=Path("one.root")))
    run(job(output=Path("many.root"), threads=threads))
    assert Path("one.root").read_bytes() == Path("many.root").read_bytes()


@pytest.mark.parametrize(("threads", "size"), [(2, 7), (1, 3), (3, 40)])
def test_aod_files_are_bitwise_equal_for_any_threads_and_batches(monkeypatch, threads, size):
    monkeypatch.setitem(output.CHUNK_ROWS, "event", 9)
    card = Card.load("card.yaml", ["output.format=aod"])
    run(job(card=card, output=Path("one.root")))
    monkeypatch.setattr(FakeReader, "size", size)
    summary = run(job(card=card, output=Path("many.root"), threads=threads))
    assert Path("one.root").read_bytes() == Path("many.root").read_bytes()
    assert summary.n_events == N_EVENTS


def test_manifest_and_header_say_which_particles_are_in_the_file():
    card = Card.load("card.yaml", ["output.format=aod"])
    n_particles = all_events()["particle"].n_rows
    manifest = read_manifest(run(job(card=card)).output)
    assert manifest["particles"] == {"kept": "acceptance", "read": n_particles, "written": n_particles}
    assert read_header("in.aod.root")["particles"] == "acceptance"
    card = Card.load("card.yaml", ["output.format=aod", "output.particles=tracked"])
    manifest = read_manifest(run(job(card=card, overwrite=True)).output)
    assert manifest["particles"]["kept"] == "tracked"
    assert manifest["particles"]["written"] == 0  # the card makes no tracks
    assert read_manifest(run(job()).output)["particles"]["kept"] == "all"


@pytest.mark.parametrize("algorithm", ["xxh3-128", "sha256"])
def test_the_card_says_how_inputs_and_output_are_summed_up(algorithm):
    card = Card.load("card.yaml", [f"output.checksum={algorithm}"])
    manifest = verify(run(job(card=card)).output)
    for file in (manifest["output"], *manifest["provenance"]["inputs"]):
        assert file["checksum"] == checksum_of(file["name"], algorithm)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_failing_writer_leaves_nothing(monkeypatch, threads):
    def fail(*_):
        raise OSError(28, "No space left on device")

    before = set(Path().iterdir())
    monkeypatch.setattr(NanoWriter, "_write_chunk", fail)
    monkeypatch.setitem(output.CHUNK_ROWS, "event", 9)
    with pytest.raises(OutputError, match="No space left"):
        run(job(threads=threads))
    assert set(Path().iterdir()) == before


def test_parts_of_the_input_give_the_same_events():
    whole = run(job(output=Path("whole.root")))
    run(job(output=Path("one.root"), events=13))
    run(job(output=Path("two.root"), first=13))
    expected = read(whole.output).dummy_particle.noise
    parts = [read("one.root").dummy_particle.noise, read("two.root").dummy_particle.noise]
    assert np.array_equal(np.ravel(expected), np.concatenate([np.ravel(p) for p in parts]))


def test_events_that_are_skipped_are_counted_and_named():
    summary = run(job(inputs=("broken.hepmc",), on_bad_event="skip"))
    assert summary.n_skipped == 2
    assert "2 skipped" in summary.text
    assert "skipped broken.hepmc, event 3: garbled" in summary.text
    assert read_manifest(summary.output)["skipped"] == ["broken.hepmc, event 3: garbled"]


def test_a_failing_input_leaves_nothing():
    before = set(Path().iterdir())
    for threads in (1, 2):
        with pytest.raises(InputError, match="garbled"):
            run(job(inputs=("broken.hepmc",), threads=threads))
        assert set(Path().iterdir()) == before


@pytest.mark.parametrize("threads", [1, 3])
def test_a_failing_stage_leaves_nothing(threads):
    before = set(Path().iterdir())
    card = Card.load("card.yaml", ["stages.dummy.fault=crash"])
    with pytest.raises(ZeroDivisionError):
        run(job(card=card, threads=threads))
    assert set(Path().iterdir()) == before


def test_an_existing_output_is_refused_before_the_work():
    Path("in.nano.root").write_text("precious")
    with pytest.raises(OutputError, match=r"in\.nano\.root: exists already"):
        run(job())
    assert Path("in.nano.root").read_text() == "precious"
    run(job(overwrite=True))
    assert len(read("in.nano.root")) == N_EVENTS


def test_an_input_is_never_overwritten():
    with pytest.raises(OutputError, match="is an input of this job"):
        run(job(output=Path("./in.hepmc"), overwrite=True))
    assert Path("in.hepmc").read_text() == "events"


def test_no_events_make_a_file_without_events():
    summary = run(job(first=1000))
    assert summary.n_events == 0
    assert read_header(summary.output)["format"] == "nano"


def test_the_header_has_no_clock():
    header = json.dumps(read_header(run(job()).output))
    assert "started" not in header


@pytest.mark.parametrize(
    ("source", "output"),
    [
        ("a/b/pp14.hepmc3.zst", "pp14.aod.root"),
        ("events.hepmc", "events.aod.root"),
        ("events.v2.hepmc2.gz", "events.v2.aod.root"),
        ("tree.root", "tree.aod.root"),
        ("-", "stdin.aod.root"),
        ("gun:pdg=211,pt=1", "gun.aod.root"),
        ("noending", "noending.aod.root"),
        (".hepmc", ".hepmc.aod.root"),
    ],
)
def test_default_names_of_outputs(source, output):
    assert default_output(source, ".aod.root") == Path(output)


def test_simulate_gives_the_same_as_a_job():
    run(job())
    from_file = read("in.nano.root")
    in_memory = simulate("in.hepmc", "card.yaml")
    assert in_memory.fields == ["event", "particle", "dummy_particle"]
    assert np.array_equal(
        np.float32(np.ravel(in_memory.dummy_particle.noise)), np.ravel(from_file.dummy_particle.noise)
    )
    batch = simulate(all_events(), Card.load("card.yaml"), first=5, n_events=3, threads=2)
    assert np.array_equal(np.ravel(batch.dummy_particle.noise), np.ravel(in_memory.dummy_particle.noise[5:8]))
    other = simulate(all_events(), "card.yaml", seed=2)
    assert not np.any(np.ravel(other.dummy_particle.noise) == np.ravel(in_memory.dummy_particle.noise))
    wider = simulate(all_events(), "card.yaml", overrides=["stages.dummy.width=40 ps"])
    assert np.array_equal(np.ravel(wider.dummy_particle.noise), 2 * np.ravel(in_memory.dummy_particle.noise))


def test_settings_for_a_loaded_card_are_refused():
    with pytest.raises(CardError, match="a loaded card cannot be changed"):
        simulate(all_events(), Card.load("card.yaml"), overrides=["stages.dummy.width=40 ps"])


@pytest.mark.parametrize("threads", [0, -2])
def test_a_number_of_threads_that_cannot_be(threads):
    with pytest.raises(CardError, match=f"threads={threads}; allowed: 1 or more"):
        simulate("in.hepmc", "card.yaml", threads=threads)
    with pytest.raises(CardError, match=f"threads={threads}; allowed: 1 or more"):
        run(job(threads=threads))
    assert not list(Path().glob("*.root*"))
