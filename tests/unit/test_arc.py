"""Arcs without branches against the branching functions of the helix and the library's arctangent."""

import math

import numpy as np
import pytest

from flashdet.kernels.arc import angle_over, arc_to_cylinder
from flashdet.kernels.helix import OUTSIDE, REACHED, to_cylinder
from flashdet.kernels.jit import kernel


@kernel
def both(x, y, phi, k, radius, status, expected, found):
    for i in range(len(x)):
        status[i], expected[0, i], expected[1, i], expected[2, i], _, _ = to_cylinder(
            x[i], y[i], 0.0, phi[i], 0.0, k[i], radius
        )
        cosine, sine = math.cos(phi[i]), math.sin(phi[i])
        s, (along, across), (u, w) = arc_to_cylinder(
            x[i] * cosine + y[i] * sine, y[i] * cosine - x[i] * sine, k[i], radius
        )
        size = math.hypot(along, across)
        cos_alpha, sin_alpha = (cosine * across + sine * along) / size, (sine * across - cosine * along) / size
        found[0, i], found[1, i], found[2, i] = s, u * cos_alpha - w * sin_alpha, u * sin_alpha + w * cos_alpha


def cross(x, y, phi, k, radius):
    n = len(x)
    status, expected, found = np.empty(n, np.int64), np.empty((3, n)), np.empty((3, n))
    both(x, y, phi, k, radius, status, expected, found)
    return status, expected, found


@pytest.mark.parametrize("radius", [2.0, 19.0, 85.0])
def test_any_start_and_curvature(radius):
    rng = np.random.default_rng(1)
    n = 20000
    r, angle = radius * 1.1 * np.where(rng.random(n) < 0.5, rng.random(n), 1e-4), rng.uniform(-np.pi, np.pi, n)
    size = np.where(rng.random(n) < 0.5, 10.0 ** rng.uniform(-14, 0.5, n), rng.uniform(0.0, 2.1, n) / radius)
    k = rng.choice([-1, 1], n) * size
    k[:100] = 0.0
    phi = rng.uniform(-np.pi, np.pi, n)
    status, expected, found = cross(r * np.cos(angle), r * np.sin(angle), phi, k, radius)
    reached = status == REACHED
    assert 0.5 * n < np.count_nonzero(reached) < 0.95 * n
    # arcs beyond half a turn are there
    assert np.count_nonzero(np.abs(k * expected[0])[reached] > 1.1 * math.pi) > 50
    np.testing.assert_array_equal(np.isfinite(found[0]) & (status != OUTSIDE), reached)
    np.testing.assert_allclose(found[:, reached], expected[:, reached], rtol=1e-11, atol=1e-11 * radius)


def test_abeam_of_the_axis():
    """Starts exactly across from the axis, also beyond the centre of the circle, where the closest point is behind."""
    y = np.array([0.0, 1.0, -1.0, 15.0, -15.0, 15.0, -15.0])
    k = np.array([0.01, 0.01, 0.01, 0.09, 0.09, -0.09, -0.09])
    status, expected, found = cross(0.0 * y, y, 0.0 * y, k, 19.0)
    assert (status == REACHED).sum() >= 5
    np.testing.assert_allclose(found[:, status == REACHED], expected[:, status == REACHED], rtol=1e-12, atol=1e-12)


def test_arctangent():
    t = np.concatenate([[0.0, 1e-300, 1e-9], np.geomspace(1e-6, 1e6, 2001)])
    for value in (*t, *-t[1:]):
        exact = math.atan(value) / value if value else 1.0
        assert angle_over(value, 3.0) == pytest.approx(3.0 * exact, rel=1e-15)
