"""Combined identification: Bayes' theorem, missing signals, vetoes, calibration of the probabilities."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from flashdet.columns import Column
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup
from flashdet.stages.combination import Pid, PidConfig, tag_log_likelihood
from flashdet.testing import check_stage

PION, KAON, PROTON = 2, 3, 4
HADRONS = {"pion": 1.0, "kaon": 0.3, "proton": 0.1}


def make(detectors, pt=1.0, n=None, sizes=None):
    """A batch with the tables of `detectors`: name -> columns."""
    n = n or len(next(iter(next(iter(detectors.values())).values())))
    offsets = np.cumsum([0, *(sizes or [n])])
    batch = EventBatch()
    batch.add(Table.per_event("event", len(offsets) - 1, {"key": np.arange(len(offsets) - 1, dtype=np.uint64)}))
    batch.add(Table("track", offsets, {"pt": np.array(np.broadcast_to(pt, n), float)}))
    for name, columns in detectors.items():
        batch.add(Table(name, offsets, {k: np.ascontiguousarray(v) for k, v in columns.items()}))
    return batch


def sigmas(matrix, has_signal=None):
    """Columns n_sigma of a detector from a (n_species, n) matrix."""
    has_signal = ~np.isnan(matrix).all(axis=0) if has_signal is None else has_signal
    return {"has_signal": has_signal, **{f"n_sigma_{s}": matrix[i] for i, s in enumerate(SPECIES)}}


def run(batch, detectors, priors=HADRONS, **settings):
    config = PidConfig.model_validate({"detectors": detectors, "priors": priors, **settings})
    return Pid("pid", config, Setup(2.0)).run(batch, Draw.of(1, "pid")).tables[0]


def far(n=1):
    return np.full((len(SPECIES), n), 10.0)


def test_bayes_with_two_detectors():
    first, second = far(), far()
    first[[PION, KAON, PROTON], 0] = 0.5, 1.5, 4.0
    second[[PION, KAON, PROTON], 0] = -2.0, 0.2, 1.0
    table = run(make({"a": sigmas(first), "b": sigmas(second)}), ["a", "b"])
    weight = {
        "pion": 1.0 * math.exp(-(0.5**2 + 2.0**2) / 2),
        "kaon": 0.3 * math.exp(-(1.5**2 + 0.2**2) / 2),
        "proton": 0.1 * math.exp(-(4.0**2 + 1.0**2) / 2),
    }
    for species, value in weight.items():
        assert table[f"probability_{species}"][0] == pytest.approx(value / sum(weight.values()))
    assert table["probability_electron"][0] == 0
    assert table["log_likelihood_kaon"][0] == pytest.approx(-(1.5**2 + 0.2**2) / 2)
    assert (table["n_detectors"][0], SPECIES[table["most_likely"][0]]) == (2, "pion")


def test_missing_signals_contribute_nothing():
    seen, lost = far(2), np.full((len(SPECIES), 2), np.nan)
    seen[KAON] = 0.0
    alone = run(make({"a": sigmas(seen)}), ["a"])
    both = run(make({"a": sigmas(seen), "b": sigmas(lost)}), ["a", "b"])
    for species in SPECIES:
        np.testing.assert_array_equal(alone[f"probability_{species}"], both[f"probability_{species}"])
    assert list(both["n_detectors"]) == [1, 1]
    nothing = run(make({"b": sigmas(lost)}), ["b"])
    assert list(nothing["most_likely"]) == [-1, -1]
    assert not nothing["has_signal"].any()
    assert nothing["probability_pion"][0] == pytest.approx(1 / 1.4)


def test_a_flag_without_signal_wins_over_a_number():
    table = run(make({"a": sigmas(far(), np.array([False]))}), ["a"])
    assert table["n_detectors"][0] == 0


def test_hypothesis_that_expects_no_signal_is_not_preferred():
    """A ring was found, protons are below threshold (NaN): they may not win because they lose nothing."""
    ring = far()
    ring[PION], ring[PROTON] = 3.0, np.nan
    table = run(make({"rich": sigmas(ring)}), ["rich"], priors={"pion": 1, "proton": 1})
    assert table["log_likelihood_proton"][0] == pytest.approx(-12.5)
    assert SPECIES[table["most_likely"][0]] == "pion"


def test_veto_through_likelihoods():
    """No ring: n_sigma is NaN for all, but the likelihood says that a pion would have radiated."""
    n_sigma = sigmas(np.full((len(SPECIES), 1), np.nan))
    veto = {f"log_likelihood_{s}": np.array([-20.0 if i <= PION else -0.05]) for i, s in enumerate(SPECIES)}
    batch = make({"rich": {**n_sigma, **veto}})
    assert run(batch, ["rich"])["most_likely"][0] == -1
    table = run(batch, [{"name": "rich", "use": "log_likelihood"}])
    assert SPECIES[table["most_likely"][0]] == "kaon"
    assert table["probability_pion"][0] < 1e-7
    flat = {f"log_likelihood_{s}": np.zeros(1) for s in SPECIES}
    assert not run(make({"rich": flat}), [{"name": "rich", "use": "log_likelihood"}])["has_signal"][0]


def test_tags():
    chance = np.full((len(SPECIES), 3), 0.01)
    chance[1] = 0.95
    chance[:, 2] = np.nan
    tag, inside = np.array([True, False, False]), np.array([True, True, False])
    log_likelihood, has_signal = tag_log_likelihood(tag, inside, chance)
    assert list(has_signal) == [True, True, False]
    assert log_likelihood[1, 0] - log_likelihood[2, 0] == pytest.approx(math.log(95))
    assert log_likelihood[1, 1] - log_likelihood[2, 1] == pytest.approx(math.log(0.05 / 0.99))
    assert not log_likelihood[:, 2].any()
    columns = {"has_signal": tag, "has_acceptance": inside} | {
        f"expected_{s}": chance[i] for i, s in enumerate(SPECIES)
    }
    table = run(make({"muon": columns}), [{"name": "muon", "use": "tag"}], priors={"pion": 1, "muon": 0.05})
    assert table["probability_muon"][0] == pytest.approx(0.05 * 0.95 / (0.05 * 0.95 + 0.01))


def test_priors_that_depend_on_pt():
    priors = {"pion": 1, "kaon": {"pt": ["1 GeV/c", "3 GeV/c"], "value": [0.1, 0.5]}, "alpha": 0}
    flat = np.zeros((len(SPECIES), 4))
    flat[PION] = 1e-9
    table = run(make({"a": sigmas(flat)}, pt=[0.5, 1.0, 2.0, 9.0]), ["a"], priors)
    prior = np.array([0.1, 0.1, 0.3, 0.5])
    np.testing.assert_allclose(table["probability_kaon"], prior / (1 + prior), rtol=1e-6)


def test_hopeless_tracks_have_finite_probabilities():
    table = run(make({"a": sigmas(far() * 100)}), ["a"])
    assert table["probability_pion"][0] == pytest.approx(1 / 1.4)
    assert np.isfinite(table["log_likelihood_pion"][0])


def test_probabilities_are_calibrated():
    """Among tracks with probability p of being kaons, a fraction p are kaons, if the priors are the true abundances."""
    rng = np.random.default_rng(1)
    n = 60_000
    species = rng.choice([PION, KAON, PROTON], n, p=np.array([1.0, 0.3, 0.1]) / 1.4)
    detectors = {}
    for name, distance in (("a", 1.2), ("b", 0.7)):
        place = np.zeros(len(SPECIES))
        place[[PION, KAON, PROTON]] = 0, distance, 2.5 * distance
        measured = place[species] + rng.normal(size=n)
        measured[rng.random(n) < 0.2] = np.nan
        detectors[name] = sigmas(measured - place[:, np.newaxis])
    table = run(make(detectors), ["a", "b"])
    probability = table["probability_kaon"]
    for low in np.arange(0.1, 0.7, 0.1):
        chosen = (probability >= low) & (probability < low + 0.1)
        error = math.sqrt(0.25 / chosen.sum())
        assert np.mean(species[chosen] == KAON) == pytest.approx(probability[chosen].mean(), abs=4 * error)
    np.testing.assert_allclose(sum(table[f"probability_{s}"] for s in SPECIES), 1, rtol=1e-12)


def test_without_any_prior_all_probabilities_are_zero():
    """The curve ends at 0 above 2 GeV/c, where no other species has a prior."""
    priors = {"kaon": {"pt": ["1 GeV/c", "2 GeV/c"], "value": [0.5, 0.0]}}
    table = run(make({"a": sigmas(far(2))}, pt=[1.0, 3.0]), ["a"], priors)
    assert list(table["probability_kaon"]) == [1, 0]
    assert list(table["most_likely"]) == [KAON, -1]
    assert list(table["n_detectors"]) == [1, 1]


def test_against_numpy():
    """All hypotheses, missing values anywhere, more tracks than one block, likelihoods that underflow."""
    rng = np.random.default_rng(2)
    n, excluded = 1000, 4.0
    n_sigma, likelihood = rng.normal(0, 3, (9, n)), rng.normal(0, 2, (9, n))
    n_sigma[rng.random((9, n)) < 0.2] = np.nan
    n_sigma[:, ::5] = np.nan
    n_sigma[KAON, ::9] = 60.0
    likelihood[:, ::3] = -1.0
    likelihood[4, ::7] = np.nan
    flag, pt = rng.random(n) < 0.9, rng.uniform(0.1, 3, n)
    priors = {"pion": 1, "kaon": {"pt": ["0.5 GeV/c", "2 GeV/c"], "value": [0.2, 0.4]}, "helium3": 0.3, "proton": 0}
    columns = {f"log_likelihood_{s}": likelihood[i] for i, s in enumerate(SPECIES)}
    table = run(
        make({"a": sigmas(n_sigma, flag), "b": columns}, pt=pt),
        ["a", {"name": "b", "use": "log_likelihood"}], priors, excluded_n_sigma=excluded,
    )  # fmt: skip
    seen_a = flag & ~np.isnan(n_sigma).all(axis=0)
    seen_b = ~np.isnan(likelihood).any(axis=0) & (likelihood != likelihood[0]).any(axis=0)
    total = np.where(seen_a, -0.5 * np.where(np.isnan(n_sigma), excluded, n_sigma) ** 2, 0)
    total += np.where(seen_b, np.nan_to_num(likelihood), 0)
    prior = np.zeros((9, n))
    prior[PION], prior[KAON], prior[7] = 1, np.interp(pt, [0.5, 2], [0.2, 0.4]), 0.3
    with np.errstate(divide="ignore"):
        expected = np.exp(total + np.log(prior) - total.max(axis=0))
    expected /= expected.sum(axis=0)
    for i, s in enumerate(SPECIES):
        np.testing.assert_allclose(table[f"log_likelihood_{s}"], total[i], rtol=1e-12)
        np.testing.assert_allclose(table[f"probability_{s}"], expected[i], rtol=1e-9, atol=1e-300)
    np.testing.assert_array_equal(table["n_detectors"], seen_a.astype(int) + seen_b)
    np.testing.assert_array_equal(table["most_likely"], np.where(seen_a | seen_b, expected.argmax(axis=0), -1))


def test_reads_what_the_detectors_must_have():
    config = PidConfig.model_validate({"detectors": ["itof", {"name": "rich", "use": "log_likelihood"}]})
    reads = {str(c) for c in Pid("pid", config, Setup(2.0)).reads}
    assert {"itof.n_sigma_kaon", "itof.has_signal", "rich.log_likelihood_kaon", "track.pt"} <= reads
    assert "rich.n_sigma_kaon" not in reads
    assert all(isinstance(c, Column) for c in Pid("pid", config, Setup(2.0)).reads)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"detectors": []}, "at least 1"),
        ({"detectors": ["a", "a"]}, "more than once"),
        ({"detectors": ["a"], "priors": {"pion": 0}}, "above zero"),
        ({"detectors": ["a"], "priors": {"pion": -1}}, "greater than or equal to 0"),
        ({"detectors": ["a"], "priors": {"kaon": {"pt": ["2 GeV", "1 GeV"], "value": [1, 1]}}}, "must rise"),
        ({"detectors": ["a"], "priors": {"kaon": {"pt": ["1 GeV", "2 GeV"], "value": [1]}}}, "2 values of pt but 1"),
        ({"detectors": [{"name": "a", "use": "angle"}]}, "n_sigma"),
    ],
)
def test_bad_configurations(settings, message):
    with pytest.raises(ValidationError, match=message):
        PidConfig.model_validate(settings)


def test_stage_conforms():
    rng = np.random.default_rng(1)
    matrix = rng.normal(0, 3, (len(SPECIES), 60))
    matrix[:, ::7] = np.nan
    batch = make({"a": sigmas(matrix), "b": sigmas(matrix[::-1])}, pt=rng.uniform(0.1, 5, 60), sizes=[20, 0, 15, 25])
    check_stage(Pid("pid", PidConfig.model_validate({"detectors": ["a", "b"]}), Setup(2.0)), batch)
