"""Tables for displaced particles against fits of real decays: daughters of K0S and Lambda that do not fly radially."""

from dataclasses import replace

import numpy as np
import pytest
from test_tracker_leastsquares import least_squares
from weak_decays import decay

from flashdet.layout import read_layout
from flashdet.lut.tracker import solve

BARREL = read_layout("reference_barrel")


def fitted(layout, daughter):
    """Least-squares fit of the hits beyond the decay vertex, with the real geometry."""
    left = tuple(a for a in layout.layers if a.kind == "cylinder" and a.position > daughter.radius)
    return least_squares(
        replace(layout, layers=left, minimum_hits=4), daughter.species, daughter.pt, daughter.eta, daughter.perigee
    )


@pytest.mark.parametrize("radius", [0.9, 2.0, 5.0, 11.0])
def test_resolutions_of_weak_decay_daughters(radius):
    """The table knows radius, eta and pt only; the decay angle changes path and impact parameter."""
    rng = np.random.default_rng(int(10 * radius))
    ratios, prompt = [], []
    while len(ratios) < 15:
        kind = ("kshort", "lambda")[len(ratios) % 2]
        daughter = decay(kind, 0.4 + rng.exponential(1.0), rng.uniform(-0.9, 0.9), radius, BARREL.field, rng)
        if daughter.pt < 0.25 or abs(daughter.eta) > 1.2 or daughter.arc < 0.0:
            continue
        sigma = np.sqrt(np.diag(fitted(BARREL, daughter)))
        table, origin = (
            solve(BARREL, daughter.species, daughter.pt, daughter.eta, radius=r) for r in (radius, 0.0)
        )  # fmt: skip
        ratios.append(np.sqrt(np.diag(table.covariance)) / sigma)
        prompt.append(np.sqrt(np.diag(origin.covariance)) / sigma)
    ratios, prompt = np.array(ratios), np.array(prompt)
    assert np.median(ratios, axis=0) == pytest.approx(np.ones(5), abs=0.03)
    assert np.quantile(abs(ratios - 1.0), 0.8, axis=0).max() < 0.1
    # a table for the beam line would be wrong by a factor
    assert np.median(prompt[:, :2]) < 0.6
