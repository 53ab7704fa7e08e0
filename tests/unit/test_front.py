"""Where particles enter a calorimeter: the cheap search against the general one, and its tests for what cannot hit."""

from __future__ import annotations

import math

import numpy as np

from flashdet.stages.emcal.front import first_hit, may_hit
from flashdet.stages.surface import first_crossing

SURFACES = np.array([(0.0, 125.0, 266.0, 0.0), (1.0, 320.0, 15.0, 160.0), (1.0, -450.0, 15.0, 160.0)])


def test_against_the_general_search():
    """The same surface, path and place for lines and helices from anywhere; never a hit that the test excludes."""
    rng = np.random.default_rng(3)
    n, n_hits, n_barrel, n_excluded = 4000, 0, 0, 0
    k = np.where(rng.random(n) < 0.3, 0.0, rng.normal(size=n) * 0.02)
    tgl = np.where(rng.random(n) < 0.02, 0.0, np.sinh(rng.uniform(-4, 4, n)))
    x, y, z = rng.normal(size=(3, n)) * 10.0 ** rng.uniform(-3, 2.2, n)
    phi = rng.uniform(-math.pi, math.pi, n)
    for i in range(n):
        state = x[i], y[i], z[i]
        expected = first_crossing(*state, phi[i], tgl[i], k[i], SURFACES)
        found = first_hit(*state, math.cos(phi[i]), math.sin(phi[i]), tgl[i], k[i], SURFACES)
        possible = may_hit(math.hypot(x[i], y[i]), z[i], 1.0, tgl[i], k[i], SURFACES)
        assert found[0] == expected[0]
        if found[0] >= 0:
            n_hits += 1
            assert possible
            np.testing.assert_allclose(found[1:], expected[1:5], rtol=1e-9, atol=1e-7)
        in_barrel = first_crossing(*state, phi[i], tgl[i], k[i], SURFACES[:1])[0] >= 0
        may_barrel = may_hit(math.hypot(x[i], y[i]), z[i], 1.0, tgl[i], k[i], SURFACES[:1])
        assert may_barrel or not in_barrel
        n_barrel, n_excluded = n_barrel + in_barrel, n_excluded + (not may_barrel)
    # the sample has both, and the test is worth its price
    assert n_hits > 0.3 * n
    assert n_barrel > 0.1 * n
    assert n_excluded > 0.7 * (n - n_barrel)


def test_a_photon_along_the_beam_may_meet_an_end_cap_only():
    assert not may_hit(0.0, 0.0, 0.0, 10.0, 0.0, SURFACES[:1])
    assert may_hit(0.0, 0.0, 0.0, 10.0, 0.0, SURFACES)
