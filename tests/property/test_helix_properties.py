"""Helix: what must hold for any state, found by hypothesis."""

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flashdet.kernels import approach
from flashdet.kernels import gradients as g
from flashdet.kernels import helix as h
from flashdet.kernels.scratch import LENGTH

POSITION = st.floats(-50.0, 50.0)
ANGLE = st.floats(-math.pi, math.pi)
SLOPE = st.floats(-10.0, 10.0)
#: From straight lines to circles of 2 cm.
CURVATURE = st.one_of(st.just(0.0), st.floats(-0.5, 0.5), st.floats(-1e-4, 1e-4), st.floats(-1e-12, 1e-12))
QUICK = settings(max_examples=300, deadline=None)


@QUICK
@given(POSITION, POSITION, POSITION, ANGLE, SLOPE, CURVATURE, st.floats(1.0, 120.0))
def test_first_crossing_of_a_cylinder(x, y, z, phi, tgl, k, radius):
    status, path, hx, hy, hz, h_phi = h.to_cylinder(x, y, z, phi, tgl, k, radius)
    if math.hypot(x, y) >= radius:
        assert status == h.OUTSIDE
        return
    s = path / math.sqrt(1.0 + tgl * tgl)
    if status == h.NEVER:
        centre = (x - math.sin(phi) / k, y + math.cos(phi) / k)
        assert math.hypot(*centre) + 1.0 / abs(k) <= radius * (1 + 1e-12)
        return
    assert status == h.REACHED
    assert s >= -1e-9
    assert math.hypot(hx, hy) == pytest.approx(radius, rel=1e-9)
    ax, ay, az, a_phi = h.advance(x, y, z, phi, tgl, k, s)
    scale = 1e-9 * (radius + s)
    assert (hx, hy, hz) == pytest.approx((ax, ay, az), abs=scale * (1 + abs(tgl)))
    assert math.cos(h_phi - a_phi) == pytest.approx(1.0)
    # outwards, and nowhere earlier
    assert hx * math.cos(h_phi) + hy * math.sin(h_phi) >= -1e-6 * radius
    way = np.linspace(0.0, s, 200)[:-1]
    chord = way * np.sinc(0.5 * k * way / np.pi)
    r = np.hypot(x + chord * np.cos(phi + 0.5 * k * way), y + chord * np.sin(phi + 0.5 * k * way))
    assert np.all(r <= radius * (1 + 1e-9))


@QUICK
@given(POSITION, POSITION, POSITION, ANGLE, SLOPE, CURVATURE, st.floats(-200.0, 200.0))
def test_there_and_back(x, y, z, phi, tgl, k, s):
    there = h.advance(x, y, z, phi, tgl, k, s)
    back = h.advance(*there, tgl, k, -s)
    assert back[:3] == pytest.approx((x, y, z), abs=1e-10)
    assert math.cos(back[3] - phi) == pytest.approx(1.0)
    middle = h.advance(*h.advance(x, y, z, phi, tgl, k, 0.3 * s), tgl, k, 0.7 * s)
    assert middle[:3] == pytest.approx(there[:3], abs=1e-10)


@QUICK
@given(POSITION, POSITION, ANGLE, CURVATURE, st.floats(-1.0, 1.0))
def test_perigee_is_the_nearest_point(x, y, phi, k, offset):
    alpha, d, s = h.perigee(x, y, phi, k)
    # the direction is ill defined for a circle about the axis itself
    assume(k == 0.0 or abs(1.0 + k * d) > 1e-6)
    nearest = h.advance(x, y, 0.0, phi, 0.0, k, s)
    assert nearest[:2] == pytest.approx((-d * math.sin(alpha), d * math.cos(alpha)), abs=1e-8)
    assert math.cos(nearest[3] - alpha) == pytest.approx(1.0)
    assert math.hypot(*h.advance(x, y, 0.0, phi, 0.0, k, s + offset)[:2]) >= abs(d) - 1e-9
    if k != 0.0:
        assert abs(s * k) <= math.pi * (1 + 1e-12)


TRACK = st.tuples(
    st.floats(-5.0, 5.0), st.floats(-20.0, 20.0), st.floats(-0.5, 0.5), st.floats(-3.0, 3.0), st.floats(-4.0, 4.0)
)


def derivative(function, params, i, step):
    up, down = list(params), list(params)
    up[i] += step
    down[i] -= step
    return (np.array(function(up)) - np.array(function(down))) / (2 * step)


@QUICK
@given(TRACK, ANGLE, st.floats(-2.0, 2.0), st.floats(20.0, 80.0))
def test_gradient_of_the_path_to_a_cylinder(params, alpha, bz, radius):
    def crossing(p):
        state = h.from_track(p[0], p[1], alpha, p[2])
        return h.to_cylinder(*state, p[3], h.curvature(p[4], bz), radius)

    status, path, x, y, _, phi = crossing(params)
    # grazing incidence has no derivative
    assume(status == h.REACHED and x * math.cos(phi) + y * math.sin(phi) > 0.3 * radius)
    y0, _, snp, tgl, q = params
    gradient = g.path_to_cylinder(y0, alpha, snp, tgl, q, bz, x, y, path)
    for i in range(5):
        expected = derivative(lambda p: crossing(p)[1], params, i, 1e-5)
        assert gradient[i] == pytest.approx(expected, rel=2e-5, abs=2e-5)


@QUICK
@given(TRACK, ANGLE, st.floats(-2.0, 2.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0))
def test_gradients_of_the_closest_approach(params, alpha, bz, vx, vy):
    def closest(p):
        return h_closest(p)[:3]

    def h_closest(p):
        return g.closest_approach(p[0], p[1], alpha, p[2], p[3], p[4], bz, vx, vy)

    y0, _, snp, tgl, q = params
    d, _, phi, s = h_closest(params)
    assume(abs(1.0 + h.curvature(q, bz) * d) > 0.3 and abs(abs(phi) - math.pi) > 1e-2)
    rows = np.array(g.closest_approach_gradients(y0, alpha, snp, tgl, q, bz, d, s))
    for i in range(5):
        np.testing.assert_allclose(rows[:, i], derivative(closest, params, i, 1e-5), rtol=2e-5, atol=2e-5)


@QUICK
@given(TRACK, ANGLE, st.floats(-2.0, 2.0), st.floats(-3.0, 3.0), st.floats(-3.0, 3.0), st.integers(0, 2**32))
def test_measurements_of_the_vertex_fit_are_the_closest_approach(params, alpha, bz, vx, vy, seed):
    """Without angles and without the zeros, the fit of vertices has the same numbers."""
    y, z, snp, tgl, q = params
    half = np.random.default_rng(seed).normal(size=(5, 5)) * np.array([[0.1], [0.2], [0.01], [0.02], [0.03]])
    cov = (half @ half.T + 1e-6 * np.eye(5))[np.tril_indices(5)]
    d, z_there, phi, s = g.closest_approach(y, z, alpha, snp, tgl, q, bz, vx, vy)
    assume(abs(1.0 + h.curvature(q, bz) * d) > 0.3)
    grad_d, grad_z, _ = g.closest_approach_gradients(y, alpha, snp, tgl, q, bz, d, s)
    dd, dz, zz = g.variance(grad_d, cov), g.covariance(grad_d, grad_z, cov), g.variance(grad_z, cov)
    work, memory = np.empty((1, approach.N_WORK)), np.empty(approach.N_ROWS * LENGTH)
    track = approach.Parameters(*(np.array([value]) for value in (y, z, alpha, snp, tgl, q)))
    approach.linearise(track, cov[None], bz, vx, vy, 0.7, 0, 1, memory, work)
    found = work[0, :9]
    np.testing.assert_allclose(found[:2], [d, z_there - 0.7], rtol=1e-9, atol=1e-10)
    direction = [-math.sin(phi), math.cos(phi), tgl * math.cos(phi), tgl * math.sin(phi)]
    np.testing.assert_allclose(found[2:6], direction, rtol=1e-9, atol=1e-10)
    inverse = np.array([[found[6], found[7]], [found[7], found[8]]])
    product = inverse @ np.array([[dd, dz], [dz, zz]])
    np.testing.assert_allclose(product, np.eye(2), atol=1e-6 * max(1.0, np.linalg.cond(inverse) * 1e-6))


@QUICK
@given(TRACK, st.floats(5.0, 300.0))
def test_gradient_of_the_path_to_a_disc(params, distance):
    _, z0, _, tgl, _ = params
    assume(abs(tgl) > 0.05)
    plane = z0 + math.copysign(distance, tgl)

    def path(p):
        return h.to_plane(*h.from_track(p[0], p[1], 0.3, p[2]), p[3], h.curvature(p[4], 2.0), plane)[1]

    gradient = g.path_to_plane(tgl, path(params))
    for i in range(5):
        assert gradient[i] == pytest.approx(derivative(path, params, i, 1e-5), rel=1e-4, abs=1e-4)


def test_packed_covariance_of_gradients_is_the_matrix_product():
    rng = np.random.default_rng(1)
    root = rng.normal(size=(5, 5))
    matrix = root @ root.T
    a, b = rng.normal(size=(2, 5))
    packed = matrix[np.tril_indices(5)]
    assert g.covariance(tuple(a), tuple(b), packed) == pytest.approx(a @ matrix @ b)
    assert g.variance(tuple(a), packed) == pytest.approx(a @ matrix @ a)
