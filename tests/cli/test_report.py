"""Reports: what is drawn from which tables, sentences for what is missing, a page that stands alone, clear errors."""

import base64
import math
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "physics"))

from pid_tracks import make_tracks, packed

from flashdet.cli.main import execute
from flashdet.event import EventBatch, Table
from flashdet.io.output import OutputSetup
from flashdet.io.parquet import ParquetWriter
from flashdet.report.eventtime import contributor_edges, draw_event_time, moments_in_bins
from flashdet.report.figures import median_in_bins, spread_in_bins
from flashdet.report.identification import draw_combination, draw_muons, draw_separation, draw_signals, separation
from flashdet.report.page import render
from flashdet.report.purity import confusion, ratio, select
from flashdet.report.tracks import draw_efficiency, draw_multiplicity, draw_resolution, draw_vertex, from_collision
from flashdet.species import SPECIES

ORIGIN = {
    "seed": 7,
    "card": {"name": "test.yaml", "hash": "c0ffee", "text": "detector: <test> & more"},
    "inputs": [{"name": "gun:", "checksum": "xxh3-128:ab"}],
    "luts": {"alice3/pion": "1234"},
    "software": {"numpy": "2"},
}


@pytest.fixture(scope="module")
def batch():
    """Tracks of five species with a Gaussian detector whose expectations are 2 sigma apart per unit of species."""
    rng = np.random.default_rng(1)
    n = 1000
    species, pt = rng.integers(0, 5, n), 0.2 * 50 ** rng.random(n)
    cov = packed(y=np.full(n, 1e-3), z=1e-3, snp=1e-3, tgl=1e-3, q_over_pt=0.01 / pt)
    sizes = [100] * 10
    made = make_tracks(species, pt, rng.uniform(-1, 1, n), rng.uniform(-3, 3, n), cov, sizes=sizes)
    measured = 2.0 * species + rng.normal(size=n)
    n_sigma = {f"n_sigma_{s}": measured - 2.0 * i for i, s in enumerate(SPECIES)}
    seen = {"has_signal": np.ones(n, bool), **n_sigma}
    offsets = made["track"].offsets
    expected = {f"expected_{s}": np.full(n, 0.002 + 0.001 * i) for i, s in enumerate(SPECIES)}
    signal = {"signal": 0.002 + 0.001 * species, "n_layers": np.full(n, 8, np.int8), **expected}
    chance = {f"expected_{s}": np.full(n, 0.95 if s == "muon" else 0.01) for s in SPECIES}
    probability = {f"probability_{s}": np.where(species == i, 0.9, 0.0) for i, s in enumerate(SPECIES)}
    added = {
        "otof": {**seen, "beta": 1 - 0.01 * species},
        "rich": {**seen, "angle": 0.24 - 0.01 * species},
        "tot": {**seen, **signal},
        "emcal": {**seen, "e_over_p": np.where(species == 0, 1.0, 0.3)},
        "muon": {"has_acceptance": np.ones(n, bool), "has_signal": species == 1, **chance},
        "pid": {**probability, "has_signal": np.ones(n, bool), "most_likely": species.astype(np.int8)},
    }
    for name, columns in added.items():
        made.add(Table(name, offsets, columns))
    vertex = {name: rng.normal(0, 1e-3, 10) for name in ("x", "y", "z")}
    made.add(Table.per_event("vertex", 10, {**vertex, "n_contributors": np.full(10, 90, np.int32)}))
    event_time = {"time": rng.normal(0, 0.01, 10), "time_error": np.full(10, 0.01)}
    made.add(Table.per_event("t0_event", 10, {**event_time, "n_tracks": np.full(10, 90, np.int32)}))
    charged = {"pt": pt.copy(), "eta": made["track"]["eta_true"].copy(), "pdg": made["track"]["pdg_true"].copy()}
    made.add(Table("charged", offsets, charged))
    return made


def without(batch, *tables):
    return EventBatch({name: table for name, table in batch.tables.items() if name not in tables})


@pytest.fixture(scope="module")
def file(batch, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "events.parquet"
    kinds = {name: name for name in ("tracking", "vertex", "rich", "tot", "emcal", "muon", "pid")} | {
        "otof": "tof",
        "t0": "event_time",
    }
    setup = OutputSetup(stage_kinds=kinds, magnetic_field=2.0, provenance=ORIGIN)
    writer = ParquetWriter(path, setup=setup)
    writer.write(without(batch, "charged"))
    writer.close()
    return path


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.outside, self.images, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag == "img":
            self.images.append(values)
        self.outside += [v for k, v in values.items() if k in ("src", "href") and not v.startswith(("data:", "#"))]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


# --- the page --------------------------------------------------------------------------------------------------------
def test_page_stands_alone(file, capsys):
    page = file.parent / "report.html"
    assert execute(["report", str(file)]) == 0
    text = page.read_text()
    links = Links()
    links.feed(text)
    assert not links.open
    assert not links.outside
    assert "<script" not in text
    assert len(links.images) >= 9
    for image in links.images:
        assert image["alt"]
        assert base64.b64decode(image["src"].split(",")[1])[:8] == b"\x89PNG\r\n\x1a\n"
    for wanted in (
        "test.yaml",
        "c0ffee",
        "alice3/pion",
        "1234",
        "otof: beta",
        "rich: Cherenkov angle",
        "tot: energy loss",
    ):
        assert wanted in text
    assert "detector: &lt;test&gt; &amp; more" in text
    out = capsys.readouterr().out
    assert f"wrote {page}" in out
    assert out.count("Skipped") == out.count("Tracking efficiency: Skipped") <= 1


def test_no_overwriting(file, tmp_path, capsys):
    page = tmp_path / "page.html"
    page.write_text("mine")
    assert execute(["report", str(file), "-o", str(page)]) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert page.read_text() == "mine"


@pytest.mark.parametrize(("content", "message"), [(None, "cannot be read"), (b"hello", "neither a ROOT nor a Parquet")])
def test_bad_files(tmp_path, capsys, content, message):
    path = tmp_path / "bad.root"
    if content:
        path.write_bytes(content)
    assert execute(["report", str(path)]) == 3
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report.html").exists()


def test_counters_and_missing_origin():
    manifest = {"counters": {"tracking": {"lost: inefficiency": 12, "nothing": 0}}, "warnings": ["careful"]}
    text = render("a <b>", [("events", "1")], [], {}, manifest)
    assert "lost: inefficiency" in text
    assert "nothing" not in text
    assert "careful" in text
    assert "a &lt;b&gt;" in text
    assert "does not say where it comes from" in text
    assert "there is no manifest" in render("a", [], [], ORIGIN, None)


# --- sections --------------------------------------------------------------------------------------------------------
def test_efficiency_of_what_was_offered(batch):
    section = draw_efficiency(batch)
    assert "offered to the tracker" in section.text
    assert len(section.images) == 1


def test_missing_tables_are_told(batch):
    bare = without(batch, "track")
    for section in (draw_multiplicity(bare), draw_efficiency(bare), draw_resolution(bare), *draw_signals(bare)):
        assert section.text.startswith("Skipped")
        assert "track" in section.text
    few = without(batch, "otof", "t0_event", "rich", "tot", "emcal", "muon", "pid", "vertex", "charged", "particle")
    drawn = (*draw_signals(few), draw_muons(few), draw_combination(few), draw_separation(few), draw_event_time(few))
    texts = [s.text for s in drawn]
    assert all(t.startswith("Skipped") for t in texts)
    assert draw_vertex(few).text.startswith("Skipped")
    assert "charged" in draw_efficiency(few).text


def test_kept_particles_of_tracks_give_no_efficiency(batch):
    # all that is there was tracked: the ratio would be 1
    assert draw_efficiency(without(batch, "charged"), "tracked").text.startswith("Skipped")


def test_separation_is_the_distance_of_the_expectations(batch):
    value = separation(batch, batch["otof"], "pion", "kaon", np.array([0.3, 1.0, 5.0]))
    np.testing.assert_allclose(value, 2.0)
    rows = draw_separation(batch).rows
    assert rows[0][0] == "detector"
    table = {row[0]: row[1:] for row in rows[1:]}
    # e and pi are two species apart: 4 sigma; all others one: 2 sigma
    assert re.fullmatch(r"[\d.]+ to [\d.]+", table["otof"][0])
    assert table["otof"][1:] == ("never",) * 3


def timed_events(n_events, with_truth=True):
    """Times that are right by 30 ps over the root of the number of tracks, errors of that; every fifth is the prior."""
    rng = np.random.default_rng(3)
    n_tracks = (5 * rng.random(n_events)).astype(np.int32) ** 2
    true = rng.normal(0, 0.2, n_events)
    error = np.where(n_tracks > 0, 0.030 / np.sqrt(np.maximum(n_tracks, 1)), 0.2)
    time = np.where(n_tracks > 0, true + error * (0.5 + rng.normal(size=n_events)), 0.0)
    batch = EventBatch()
    truth = {"vt": 0.25 * true, "collision_time": 0.75 * true} if with_truth else {"vt": true}
    batch.add(Table.per_event("event", n_events, truth))
    batch.add(Table.per_event("t0_event", n_events, {"time": time, "time_error": error, "n_tracks": n_tracks}))
    return batch


def test_event_time_against_the_truth():
    section = draw_event_time(timed_events(5000))
    assert len(section.images) == 1
    head, (name, n_events, n_with, resolution, pull) = section.rows
    assert head[0] == "detector"
    assert (name, n_events) == ("t0", "5000")
    assert int(n_with) == pytest.approx(4000, abs=4 * math.sqrt(800))
    # a mixture of 30, 15, 10 and 7.5 ps, displaced by half a sigma each
    assert 12 < float(resolution) < 20
    median, width = (float(value) for value in pull.split(", "))
    assert median == pytest.approx(0.5, abs=4 * 1.25 / math.sqrt(4000) + 0.005)
    assert width == pytest.approx(1.0, abs=4 / math.sqrt(4000) + 0.005)


def test_event_time_of_few_events_or_without_truth():
    assert draw_event_time(timed_events(5)).rows[1][3] == "too few events"
    assert draw_event_time(timed_events(50, with_truth=False)).text.startswith("Skipped")


# --- numbers ---------------------------------------------------------------------------------------------------------
def test_ratio():
    fraction, error = ratio(np.array([0, 5, 10]), np.array([0, 10, 10]))
    assert np.isnan(fraction[0])
    assert np.isnan(error[0])
    assert list(fraction[1:]) == [0.5, 1.0]
    # beta distribution (6, 6): variance 36/(144 * 13); (11, 1): not zero
    assert error[1] == pytest.approx(math.sqrt(36 / (144 * 13)))
    assert error[2] == pytest.approx(math.sqrt(11 / (144 * 13)))


def test_select():
    species = np.array([2, 2, 2, 3, 3])
    probability = np.array([0.9, 0.8, 0.1, 0.7, np.nan])
    result = select(species, probability, 2, 0.5, np.full(5, 1.0), np.array([0.5, 2.0, 3.0]))
    assert result.efficiency[0] == pytest.approx(2 / 3)
    assert result.purity[0] == pytest.approx(2 / 3)
    assert np.isnan(result.purity[1])


def test_confusion():
    matrix = confusion(np.array([0, 0, 1, 1]), np.array([0, 1, 1, -1]), 3)
    np.testing.assert_allclose(matrix[:2], [[0.5, 0.5, 0, 0], [0, 0.5, 0, 0.5]])
    assert np.isnan(matrix[2]).all()


def test_medians_and_spreads():
    rng = np.random.default_rng(2)
    x, y = np.repeat([0.5, 1.5], 5000), rng.normal(3, 2, 10_000)
    y[::10] = np.nan
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    median, spread = median_in_bins(x, y, edges), spread_in_bins(x, y, edges)
    assert median[:2] == pytest.approx([3, 3], abs=0.15)
    assert spread[:2] == pytest.approx([2, 2], abs=0.15)
    assert np.isnan(median[2])
    assert np.isnan(spread[2])


@pytest.mark.parametrize("most", [0, 1, 7, 5000])
def test_every_number_of_contributors_has_a_bin(most):
    edges = contributor_edges(most)
    assert edges[0] == 0.5
    assert edges[-1] > most
    assert np.all(edges % 1 == 0.5)
    assert np.all(np.diff(edges) >= 1)
    assert np.all(edges[5:] / edges[4:-1] < 1.35)


def test_errors_of_medians_and_widths():
    """The scatter of both over many samples of normal numbers."""
    rng = np.random.default_rng(4)
    found = [moments_in_bins(np.full(400, 3), rng.normal(1, 2, 400), np.array([2.5, 3.5]))[:, 0] for _ in range(2000)]
    median, median_error, width, width_error = np.array(found).T
    assert median.mean() == pytest.approx(1, abs=0.01)
    assert width.mean() == pytest.approx(2, rel=0.01)
    # 2000 samples: 1.6 % for a standard deviation
    assert median.std() == pytest.approx(median_error.mean(), rel=0.07)
    assert width.std() == pytest.approx(width_error.mean(), rel=0.07)


def test_particles_from_the_collision_are_told_from_daughters():
    """1 mm around the vertex of their own event."""
    zeros = np.zeros(3)
    batch = EventBatch()
    batch.add(Table.per_event("event", 2, {"vx": zeros[:2], "vy": zeros[:2], "vz": np.array([0.0, 5.0])}))
    z = np.array([0.09, 0.0, 5.05])
    batch.add(Table("track", np.array([0, 1, 3]), {"vx_true": zeros, "vy_true": zeros, "vz_true": z}))
    assert list(from_collision(batch)) == [True, False, True]
