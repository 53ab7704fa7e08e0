"""Cells over surfaces against brute force: what is near a point, across seams, edges and events."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from flashdet.stages.emcal.neighbours import find_near, make_grid, plan_grid, put_item

CYLINDER, DISC = (0.0, 125.0, 266.0, 0.0), (1.0, -450.0, 15.0, 160.0)


def points(surface, n, rng):
    """Points of a surface, some of them a little beyond its edges as measured ones may be."""
    if surface[0] == 0.0:
        phi = rng.uniform(-np.pi, np.pi, n)
        return surface[1] * np.cos(phi), surface[1] * np.sin(phi), rng.uniform(-1.02, 1.02, n) * surface[2]
    x, y = rng.uniform(-1.02, 1.02, (2, n)) * surface[3]
    return x, y, np.full(n, surface[1])


@pytest.mark.parametrize("distance", [0.1, 3.0, 40.0, 170.0, 600.0])
def test_against_brute_force(distance):
    rng = np.random.default_rng(1)
    surfaces = np.array([CYLINDER, DISC])
    sizes = [60, 0, 1, 200]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    n = offsets[-1]
    hit = rng.integers(0, 2, n)
    x, y, z = np.where(hit == 0, points(CYLINDER, n, rng), points(DISC, n, rng))
    # clumps, so that small distances find something, and points on the seam
    x[1::2], y[1::2], z[1::2] = x[::2][: n // 2], y[::2][: n // 2], z[::2][: n // 2]
    hit[1::2] = hit[::2][: n // 2]
    x[:4], y[:4], hit[:4] = -125.0, (0.0, -0.0, 0.05, -0.05), 0
    grid = make_grid(plan_grid(surfaces, distance), distance, offsets)
    assert len(grid.cells) <= 16_384
    places = np.stack([x, y, z, np.full(n, np.nan)], axis=1)
    for first, last in itertools.pairwise(offsets):
        for i in range(first, last):
            put_item(grid, i, hit[i], x[i], y[i], z[i], surfaces)
        for i in range(first, last):
            found = find_near(grid, first, hit[i], x[i], y[i], z[i], surfaces, places)
            square = (x - x[i]) ** 2 + (y - y[i]) ** 2 + (z - z[i]) ** 2
            rows = np.arange(n)
            expected = rows[(square < distance**2) & (hit == hit[i]) & (rows >= first) & (rows < last)]
            assert sorted(grid.near[:found]) == list(expected)
            assert grid.square[:found] == pytest.approx(square[grid.near[:found]], abs=1e-12)
