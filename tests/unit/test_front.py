"""Where particles enter a calorimeter: the search block by block against the general one, and what cannot hit."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flashdet.stages.emcal import front
from flashdet.stages.emcal.front import BLOCK, N_WAY, cross, mark
from flashdet.stages.surface import first_crossing

SURFACES = np.array([(0.0, 125.0, 266.0, 0.0), (1.0, 320.0, 15.0, 160.0), (1.0, -450.0, 15.0, 160.0)])


def fill(way, **rows):
    for name, values in rows.items():
        first = int(getattr(front, name.upper()))
        way[first : first + len(values)] = values


def possible(distance, z, across2, along, k, surfaces):
    way, found = np.full(N_WAY * BLOCK, np.nan), np.full(BLOCK, 7)
    fill(way, distance=distance, from_z=z, across2=across2, slope=along, curvature=k)
    mark(len(z), way, surfaces, found)
    assert (found[len(z) :] == 7).all()
    return found[: len(z)] == 1


@pytest.mark.parametrize("straight", [0.3, 1.0])
def test_against_the_general_search(straight):
    """The same surface, path and place for lines and helices from anywhere; never a hit that the test excludes."""
    rng = np.random.default_rng(3)
    n_hits, n_barrel, n_excluded, n_all = 0, 0, 0, 0
    for n in (*[BLOCK] * 30, 17, 1):
        k = np.where(rng.random(n) < straight, 0.0, rng.normal(size=n) * 0.02)
        tgl = np.where(rng.random(n) < 0.02, 0.0, np.sinh(rng.uniform(-4, 4, n)))
        x, y, z = rng.normal(size=(3, n)) * 10.0 ** rng.uniform(-3, 2.2, n)
        phi = rng.uniform(-math.pi, math.pi, n)
        way = np.full(N_WAY * BLOCK, np.nan)
        fill(way, from_x=x, from_y=y, from_z=z, cosine=np.cos(phi), sine=np.sin(phi), slope=tgl, curvature=k)
        cross(n, way, straight == 1.0, SURFACES)
        found = way.reshape(N_WAY, BLOCK)[:, :n]
        may_hit = possible(np.hypot(x, y), z, np.ones(n), tgl, k, SURFACES)
        may_barrel = possible(np.hypot(x, y), z, np.ones(n), tgl, k, SURFACES[:1])
        for i in range(n):
            state = x[i], y[i], z[i], phi[i], tgl[i], k[i]
            expected = first_crossing(*state, SURFACES)
            assert found[7, i] == expected[0]
            if expected[0] >= 0:
                n_hits += 1
                assert may_hit[i]
                path = found[8, i] * math.sqrt(1 + tgl[i] ** 2)
                np.testing.assert_allclose([path, *found[9:, i]], expected[1:5], rtol=1e-9, atol=1e-7)
            in_barrel = first_crossing(*state, SURFACES[:1])[0] >= 0
            assert may_barrel[i] or not in_barrel
            n_barrel, n_excluded, n_all = n_barrel + in_barrel, n_excluded + (not may_barrel[i]), n_all + 1
    # the sample has both, and the test is worth its price
    assert n_hits > 0.3 * n_all
    assert n_barrel > 0.1 * n_all
    assert n_excluded > 0.7 * (n_all - n_barrel)


def test_a_particle_along_the_beam_meets_nothing():
    z, along = np.zeros(2), np.full(2, 10.0)
    across2 = np.array([0.0, 1e-6])
    assert not possible(z, z, across2, along, z, SURFACES[:1]).any()
    assert list(possible(z, z, across2, along, z, SURFACES)) == [False, True]
