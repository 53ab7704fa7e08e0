"""Muon identifier: shipped maps against the tabulated numbers, tag rates, acceptance and stand-in maps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from flashdet.errors import LutError, StageError
from flashdet.event import EventBatch, Table
from flashdet.lut.axis import Axis
from flashdet.lut.files import read_table
from flashdet.lut.maps import pack_maps
from flashdet.lut.muon_map import HADRON, HADRON_EDGE, HADRON_EDGE_P, HADRON_P, MUON, MUON_ETA, MUON_P, build_muon_maps
from flashdet.lut.table import Map
from flashdet.rng import Draw
from flashdet.shipped import shipped
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.muon.config import MuonConfig, choose_maps
from flashdet.stages.muon.stage import Muon
from flashdet.testing import check_stage

DRAW = Draw.of(3, "muon")
BUILT = build_muon_maps()


def load(name):
    return BUILT[name.rsplit("/", 1)[1]]


def make_stage(loader=load, name="muon", **config):
    return Muon(name, MuonConfig(**config), Setup(2.0, {}, loader))


def make_tracks(species, p, eta, pdg=None, sizes=None, mismeasured=1.0):
    """Track table: p is the true momentum, z times the rigidity; `mismeasured` is measured over true."""
    species, p, eta = np.broadcast_arrays(*map(np.atleast_1d, (species, p, eta)))
    n = len(p)
    index = np.array([SPECIES.index(s) for s in species], np.int64)
    charge = np.array(SPECIES_CHARGE)[index]
    sizes = [n] if sizes is None else sizes
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    event = np.repeat(np.arange(len(sizes)), sizes)
    columns = {
        "particle_index": (np.arange(n) - offsets[event]).astype(np.int32),
        "eta": eta.astype(float),
        "tgl": np.sinh(eta),
        "q_over_pt": charge / (p / np.cosh(eta)) / mismeasured,
        "pt_true": p / np.cosh(eta),
        "eta_true": eta.astype(float),
        "species_true": index.astype(np.int8),
        "pdg_true": np.array(SPECIES_PDG, np.int32)[index] if pdg is None else np.full(n, pdg, np.int32),
        "charge_true": charge.astype(np.int8),
    }
    batch = EventBatch()
    keys = (np.arange(len(sizes), dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    batch.add(Table.per_event("event", len(sizes), {"key": keys}))
    batch.add(Table("track", offsets, {k: np.ascontiguousarray(v) for k, v in columns.items()}))
    return batch


def run(batch, stage=None, draw=DRAW):
    out = (stage or make_stage()).run(batch, draw)
    return out.tables[0], out.counts


def test_maps_hold_the_tabulated_points():
    """Expected probability of the stage at every point of the tables (0.005 allowed, exact found)."""
    eta, p = np.meshgrid(MUON_ETA, MUON_P, indexing="ij")
    table, _ = run(make_tracks("muon", p.ravel(), eta.ravel()), make_stage(eta_max=1.65, p_min="1.15 GeV/c"))
    assert table["expected_muon"] == pytest.approx(np.ravel(MUON), abs=1e-9)
    for species, values in HADRON.items():
        table, _ = run(make_tracks(species, HADRON_P, 0.0), make_stage(p_min="0.9 GeV/c"))
        assert table[f"expected_{species}"] == pytest.approx(values, abs=1e-9)
        stage = make_stage(eta_max=1.65, p_min="0.9 GeV/c")
        table, _ = run(make_tracks(species, HADRON_EDGE_P, -1.6), stage)
        assert table[f"expected_{species}"] == pytest.approx(HADRON_EDGE[species], abs=1e-9)
        # the table of eta = 0 is kept until the edge
        table, _ = run(make_tracks(species, HADRON_P, 1.5), stage)
        assert table[f"expected_{species}"] == pytest.approx(values, abs=1e-9)


def test_maps_are_probabilities_and_fall_at_the_edge():
    assert set(BUILT) == {"electron", "muon", "pion", "kaon", "proton"}
    assert not BUILT["electron"].values.any()
    for species, m in BUILT.items():
        assert ((m.values >= 0) & (m.values <= 1)).all(), species
        assert m.meta["source"].startswith("muonAccEffPID.root")
        assert (m.values[-1] <= m.values[0] + 1e-12).all(), species


@pytest.mark.parametrize("species", ["electron", "muon", "pion", "kaon", "proton"])
@pytest.mark.parametrize(("p", "eta"), [(1.45, 0.0), (2.5, -0.6), (5.0, 1.45), (15.0, 1.58)])
def test_tag_rate_is_binomial(species, p, eta):
    n = 20000
    table, _ = run(make_tracks(np.full(n, species), p, eta))
    chance = table[f"expected_{species}"]
    assert np.ptp(chance) < 1e-12
    tagged = int(table["has_signal"].sum())
    if species == "electron":
        assert tagged == 0
    else:
        assert stats.binomtest(tagged, n, chance[0]).pvalue > 1e-4
    assert table["has_acceptance"].all()


def test_pulls_of_the_true_hypothesis():
    n = 40000
    rng = np.random.default_rng(1)
    table, _ = run(make_tracks(np.full(n, "muon"), rng.uniform(1.25, 3.0, n), rng.uniform(-1.5, 1.5, n)))
    pull = table["n_sigma_muon"]
    assert np.isfinite(pull).all()
    assert abs(pull.mean()) < 4 / np.sqrt(n)
    # fourth moment of a Bernoulli pull is 1/(P(1-P)) - 3: take the error of the width from the sample
    assert pull.std() == pytest.approx(1.0, abs=4 * pull.std() * np.sqrt(stats.kurtosis(pull) + 2) / 2 / np.sqrt(n))
    assert np.isnan(table["n_sigma_electron"]).all()
    assert (table["expected_electron"] == 0).all()


def test_acceptance():
    """|eta| < 1.6 and p > 1.2 GeV/c; without acceptance there is neither tag nor expectation."""
    batch = make_tracks("muon", [1.2, 1.21, 5, 5, 5, 50], [0, 0, 1.599, 1.6, -2.0, 0])
    table, counts = run(batch)
    assert list(table["has_acceptance"]) == [False, True, True, False, False, True]
    assert not table["has_signal"][[0, 3, 4]].any()
    assert np.isnan(table["expected_muon"][[0, 3, 4]]).all()
    assert counts["out of range: muon map, edge bin used"] == 1
    assert table["expected_muon"][5] == pytest.approx(MUON[0][-1])
    narrow, _ = run(batch, make_stage(eta_max=1.3))
    assert list(narrow["has_acceptance"]) == [False, True, False, False, False, True]


def test_momentum_of_ions_is_not_their_rigidity():
    """An alpha of 2 GeV/c has a rigidity of 1 GeV/c: accepted under its own hypothesis, not under that of a pion."""
    table, counts = run(make_tracks("alpha", 2.0, 0.0))
    assert table["has_acceptance"][0]
    assert table["expected_alpha"][0] == pytest.approx(HADRON["proton"][4])
    assert np.isnan(table["expected_pion"][0])
    assert counts["tracks that follow the map of another species"] == 1


def test_species_without_a_map_follow_the_declared_rule():
    five = ("electron", "muon", "pion", "kaon", "proton")
    assert choose_maps(five) == [*five, "proton", "proton", "proton", "proton"]
    assert choose_maps(("electron", "muon", "pion", "alpha"))[3:] == ["pion"] * 4 + ["alpha", "alpha"]
    # a Sigma+ tracked with the proton's LUT is no electron, it is counted
    table, counts = run(make_tracks(np.full(30000, "proton"), 6.0, 0.0, pdg=3222))
    assert counts["tracks that follow the map of another species"] == 30000
    assert stats.binomtest(int(table["has_signal"].sum()), 30000, HADRON["proton"][8]).pvalue > 1e-4
    _, counts = run(make_tracks(five, 3.0, 0.0))
    assert counts["tracks that follow the map of another species"] == 0


def test_bad_configurations_are_refused():
    with pytest.raises(ValidationError, match="no map for muon"):
        MuonConfig(maps={"electron": "a", "pion": "b"})
    with pytest.raises(ValidationError, match="at least one hadron"):
        MuonConfig(maps={"electron": "a", "muon": "b"})
    with pytest.raises(ValidationError, match="needs a unit"):
        MuonConfig(p_min=1.2)
    with pytest.raises(StageError, match="nothing loads them"):
        make_stage(loader=None)
    wrong = Map("x", "", (Axis("pt", "GeV", 2, 0, 1), Axis("eta", "", 2, 0, 1)), np.zeros((2, 2)))
    with pytest.raises(LutError, match="abs_eta, p"):
        make_stage(loader=lambda name: wrong)
    axes = (Axis("abs_eta", "", 2, 0, 1), Axis("p", "GeV", 2, 0, 1))
    with pytest.raises(LutError, match=r"outside \[0, 1\]"):
        make_stage(loader=lambda name: Map("x", "", axes, np.full((2, 2), 1.5)))
    with pytest.raises(LutError, match="two axes"):
        pack_maps([Map("x", "", axes, np.zeros((3, 2)))])


def test_rules_of_the_axes():
    """Signed eta without interpolation on a logarithmic p axis; reject, and error, do what they say."""
    values = np.array([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]])

    def loader(rule):
        eta = Axis("eta", "", 2, -1.0, 1.0, out_of_range="clamp", interpolation="none")
        return lambda name: Map(name, "", (eta, Axis("p", "GeV", 3, 1.0, 1000.0, "log", rule, "none")), values)

    batch = make_tracks("pion", [2, 9.9, 10.1, 500, 500, 2000], [-0.5, -0.01, 0.01, 0.99, 1.2, 0.5])
    table, counts = run(batch, make_stage(loader("clamp"), p_min="0 GeV"))
    assert table["expected_pion"] == pytest.approx([0.1, 0.1, 0.5, 0.6, 0.6, 0.6])
    assert counts["out of range: muon map, edge bin used"] == 2
    table, counts = run(batch, make_stage(loader("reject"), p_min="0 GeV"))
    assert list(table["has_acceptance"]) == [True] * 5 + [False]
    assert np.isnan(table["expected_pion"][5])
    with pytest.raises(StageError, match="does not allow"):
        run(batch, make_stage(loader("error"), p_min="0 GeV"))


def test_interpolation_is_linear_between_centres():
    eta = Axis("abs_eta", "", 2, 0.0, 1.0)
    p = Axis("p", "GeV", 2, 1.0, 100.0, "log")
    values = np.array([[0.0, 0.2], [0.4, 0.8]])
    stage = make_stage(lambda name: Map(name, "", (eta, p), values), p_min="0 GeV")
    # centres: eta 0.25, 0.75; p 10**0.5, 10**1.5
    table, _ = run(make_tracks("kaon", [10.0, 10**0.5, 10**0.75], [0.5, 0.1, 0.25]), stage)
    assert table["expected_kaon"] == pytest.approx([0.35, 0.0, 0.05])


def test_promises_of_a_stage():
    rng = np.random.default_rng(2)
    sizes = [5, 0, 20, 1]
    batch = make_tracks(rng.choice(SPECIES, 26), rng.uniform(0.5, 30, 26), rng.uniform(-2, 2, 26), sizes=sizes)
    check_stage(make_stage(name="mid"), batch)


def test_losing_other_tracks_changes_nothing():
    rng = np.random.default_rng(3)
    batch = make_tracks(rng.choice(SPECIES, 200), rng.uniform(0.5, 30, 200), rng.uniform(-2, 2, 200))
    keep = rng.random(200) < 0.5
    fewer = EventBatch({"event": batch["event"], "track": batch["track"].select(keep)})
    np.testing.assert_array_equal(run(batch)[0]["has_signal"][keep], run(fewer)[0]["has_signal"])


def test_shipped_files_are_what_the_builder_makes():
    """The files hold binary32 numbers: equal within their rounding, axes exactly."""
    for species, built in BUILT.items():
        table = read_table(shipped("luts") / "alice3_mid" / f"{species}.lut.npz")
        assert isinstance(table, Map)
        assert table.axes == built.axes
        assert table.meta["source"] == built.meta["source"]
        np.testing.assert_allclose(table.values, built.values, rtol=1e-7, atol=0)


def test_truth_gives_the_tag_and_the_measurement_its_expectation():
    """The maps are made in generated eta and p: a muon at threshold is tagged as its true momentum says."""
    batch = make_tracks(["muon"] * 20_000, 1.35, 0.0, mismeasured=1.3)
    table, _ = run(batch)
    truth, _ = run(make_tracks(["muon"], 1.35, 0.0))
    measured, _ = run(make_tracks(["muon"], 1.35 * 1.3, 0.0))
    chance = truth["expected_muon"][0]
    assert measured["expected_muon"][0] > chance + 0.2
    np.testing.assert_allclose(table["expected_muon"], measured["expected_muon"][0])
    assert table["has_signal"].mean() == pytest.approx(chance, abs=4 * math.sqrt(chance * (1 - chance) / 20_000))
