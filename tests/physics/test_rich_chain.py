"""RICH behind the tracker of the card ``alice3``: public targets of the barrel, measured on simulated tracks."""

import math

import numpy as np
import pytest

from flashdet.card import Card
from flashdet.pipeline import Pipeline
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.testing import make_events

PDG = {"electron": 11, "pion": 211, "kaon": 321, "proton": 2212}
#: 3 sigma over these momenta [GeV]: CERN EP newsletter, "ALICE 3 RICH" (node 3564).
TARGETS = [("electron", "pion", 0.5, 2.0), ("pion", "kaon", 2.0, 10.0), ("kaon", "proton", 4.0, 16.0)]
#: Stages of the card that a ring needs.
NEEDED = ("conversions", "propagate", "tracking", "decay", "rich")
THRESHOLD = dict(zip(SPECIES, (m / math.sqrt(1.03**2 - 1) for m in SPECIES_MASS), strict=True))


@pytest.fixture(scope="module")
def pipeline():
    pipeline = Pipeline(Card.load("alice3"), seed=3)
    pipeline.stages = tuple(s for s in pipeline.stages if s.name in NEEDED)
    return pipeline


def sample(pipeline, species, p, n=2500, per_event=5):
    """Columns of the tracks in the acceptance, flat in eta and azimuth, a few tracks per event."""
    rng = np.random.default_rng(1)
    eta, phi = rng.uniform(-1.75, 1.75, n), rng.uniform(-np.pi, np.pi, n)
    sign = rng.choice([-1, 1], n)
    batch = make_events(PDG[species] * sign, p / np.cosh(eta), eta, phi, sizes=[per_event] * (n // per_event))
    made = pipeline.run(batch).batch
    rich, inside = made["rich"], made["rich"]["has_acceptance"]
    # of those that do not decay on the way
    n_gone = (
        n - made["charged"].n_rows + (made["track"]["end_path_true"] < 85 * np.cosh(made["track"]["eta_true"])).sum()
    )
    assert inside.sum() > 0.7 * (n - n_gone)
    return {name: column[inside] for name, column in rich.items()}


def width(values):
    """Half the central 68.27 %: not moved by the few ghost rings."""
    return float(np.diff(np.quantile(values, [0.15865, 0.84135]))[0] / 2)


@pytest.mark.parametrize(("light", "heavy", "low", "high"), TARGETS)
def test_targets(pipeline, light, heavy, low, high):
    for p in np.geomspace(low, high, 5):
        for own, other in ((light, heavy), (heavy, light)):
            rich = sample(pipeline, own, p)
            better = rich[f"log_likelihood_{own}"] - rich[f"log_likelihood_{other}"]
            # beyond 1.5 sigma from the middle of two peaks 3 sigma apart: 6.7 %, and more where rings lose photons
            assert (better > 0).mean() > 0.9, f"{own} as {other} at {p:.3g} GeV"
            if p < 1.1 * THRESHOLD[heavy]:
                # no ring of the heavier one, or hardly any: as good as 3 sigma if it is told apart as often
                assert (better > 0).mean() > 0.9865, f"{own} as {other} at {p:.3g} GeV"
                continue
            found = rich["has_signal"]
            assert found.mean() > 0.98 or p < 1.5 * THRESHOLD[own]
            separation = abs(np.median(rich[f"n_sigma_{other}"][found]))
            # the error of a median of normal numbers, three times
            separation += 3 * 1.25 / math.sqrt(found.sum())
            assert separation > 3, f"{own} from {other} at {p:.3g} GeV: {separation:.2f} sigma"


def test_the_reach_ends_where_it_should(pipeline):
    """Ring errors of 1.1 to 1.4 mrad at saturation: 3 sigma for pions and kaons end between 9.5 and 12 GeV."""
    reach = []
    for p in (9.5, 12.0):
        rich = sample(pipeline, "pion", p)
        reach.append(abs(np.median(rich["n_sigma_kaon"][rich["has_signal"]])))
    assert reach[0] > 3 > reach[1]


@pytest.mark.parametrize("species", ["pion", "kaon", "proton"])
@pytest.mark.parametrize("ratio", [1.1, 1.15, 1.3, 2.0, 4.0])
def test_pulls_above_the_threshold(pipeline, species, ratio):
    rich = sample(pipeline, species, ratio * THRESHOLD[species], n=5000)
    pull = rich[f"n_sigma_{species}"][rich["has_signal"]]
    pull = pull[np.isfinite(pull)]
    assert len(pull) > 2000
    assert width(pull) == pytest.approx(1, abs=0.05)
    # ghosts of dark counts are the only tail
    assert (abs(pull) > 5).mean() < 0.02
    assert pull[abs(pull) < 5].std() == pytest.approx(1, abs=0.05)


def test_crowded_events_are_worse_but_known(pipeline):
    """1500 tracks with rings in the barrel: two on each tile."""
    rng = np.random.default_rng(4)
    n = 6000
    p, eta = 4.0, rng.uniform(-1.75, 1.75, n)
    batch = make_events(211, p / np.cosh(eta), eta, rng.uniform(-3.14, 3.14, n), sizes=[1500] * (n // 1500))
    crowded = pipeline.run(batch).batch["rich"]
    quiet = sample(pipeline, "pion", p)
    found = crowded["has_signal"]
    assert 0.3 < found[crowded["has_acceptance"]].mean() < quiet["has_signal"].mean()
    assert np.median(crowded["angle_error"][found]) > 1.05 * np.median(quiet["angle_error"][quiet["has_signal"]])
    assert width(crowded["n_sigma_pion"][found]) == pytest.approx(1, abs=0.06)
