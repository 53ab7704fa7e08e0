"""Helix: signs, closed forms, limits and status codes."""

import math

import numpy as np
import pytest

from flashdet.kernels import gradients as g
from flashdet.kernels import helix as h
from flashdet.units import C_LIGHT, PT_PER_TESLA_CM


def lorentz(x, p, charge, bz, length, steps=4000):
    """Runge-Kutta integration of dp/ds = q v x B: GeV, T, metres; no helix in it."""
    state = np.array([*np.asarray(x) / 100.0, *p], np.float64)
    size = math.sqrt(sum(c * c for c in p))

    def change(u):
        px, py, pz = u[3:]
        return np.array([px, py, pz, 0.299792458 * charge * py * bz, -0.299792458 * charge * px * bz, 0.0]) / size

    step = length / 100.0 / steps
    for _ in range(steps):
        a = change(state)
        b = change(state + 0.5 * step * a)
        c = change(state + 0.5 * step * b)
        d = change(state + step * c)
        state = state + step / 6.0 * (a + 2 * b + 2 * c + d)
    return state[:3] * 100.0, state[3:]


@pytest.mark.parametrize("charge", [1, -1, 2, 0])
@pytest.mark.parametrize("bz", [2.0, -0.5, 0.0])
def test_advance_agrees_with_the_lorentz_force(charge, bz):
    pt, phi, tgl, start = 0.7, 2.1, -0.8, (3.0, -2.0, 1.0)
    p = (pt * math.cos(phi), pt * math.sin(phi), pt * tgl)
    s = 150.0
    position, momentum = lorentz(start, p, charge, bz, s * math.hypot(1.0, tgl))
    x, y, z, end = h.advance(*start, phi, tgl, h.curvature(charge / pt, bz), s)
    np.testing.assert_allclose([x, y, z], position, atol=1e-7)
    np.testing.assert_allclose([pt * math.cos(end), pt * math.sin(end)], momentum[:2], atol=1e-9)
    assert momentum[2] == pytest.approx(pt * tgl)


def test_positive_charge_in_positive_field_turns_clockwise():
    assert h.curvature(1.0, 2.0) < 0 < h.curvature(-1.0, 2.0)
    *_, phi = h.advance(0.0, 0.0, 0.0, 0.0, 0.0, h.curvature(1.0, 2.0), 10.0)
    assert phi < 0
    # 1 GeV in 1 T: radius 333.564 cm
    assert abs(1.0 / h.curvature(1.0, 1.0)) == pytest.approx(333.5640952)


@pytest.mark.parametrize("dx", [0.01, 5.0, 60.0])
@pytest.mark.parametrize("q_over_pt", [1.3, -2.0, 1e-6])
def test_advance_agrees_with_the_step_of_the_alice_parametrisation(dx, q_over_pt):
    """The step in local x of TrackParametrization::propagateTo, written down here independently."""
    y, z, snp, tgl, bz = 0.3, -1.0, 0.2, 0.7, 0.5
    curvature = q_over_pt * bz * 10 * -0.299792458e-3
    f1, f2 = snp, snp + curvature * dx
    r1, r2 = math.sqrt(1 - f1 * f1), math.sqrt(1 - f2 * f2)
    dy_dx = (f1 + f2) / (r1 + r2)
    bend = math.asin(r1 * f2 - r2 * f1)
    # short steps take the projection of the chord for the arc: good to (turning angle)^2 / 6
    is_short = abs(curvature * dx) < 0.05
    z_step = dx * (r2 + f2 * dy_dx) if is_short else bend / curvature
    arc = bend / curvature if abs(bend) > 1e-6 else z_step
    x_new, y_new, z_new, phi = h.advance(0.0, y, z, math.asin(snp), tgl, h.curvature(q_over_pt, bz), arc)
    assert (x_new, y_new, math.sin(phi)) == pytest.approx((dx, y + dx * dy_dx, f2), rel=1e-9)
    assert z_new - z == pytest.approx(z_step * tgl, rel=(curvature * dx) ** 2 / 5 + 1e-9)


def test_straight_lines_are_exact():
    for k in (0.0, 1e-300, -1e-15):
        status, path, x, y, z, phi = h.to_cylinder(0.0, 1.0, 2.0, 0.0, 0.5, k, 10.0)
        assert status == h.REACHED
        assert (x, y, phi) == pytest.approx((math.sqrt(99.0), 1.0, 0.0), rel=1e-13, abs=1e-12)
        assert path == pytest.approx(math.sqrt(99.0) * math.hypot(1.0, 0.5), rel=1e-14)
        assert z == pytest.approx(2.0 + 0.5 * math.sqrt(99.0), rel=1e-14)
        alpha, d, s = h.perigee(-3.0, 4.0, 0.0, k)
        assert (alpha, d, s) == pytest.approx((0.0, 4.0, 3.0), abs=1e-12)


def test_path_from_the_origin_is_the_chord_formula():
    for pt in (0.15, 0.3, 1.0, 50.0, 1e5):
        rho = pt / (PT_PER_TESLA_CM * 2.0)
        if rho < 40.0:
            continue
        status, path, x, y, *_ = h.to_cylinder(0.0, 0.0, 0.0, 0.4, 1.0, h.curvature(-1.0 / pt, 2.0), 80.0)
        assert status == h.REACHED
        assert path == pytest.approx(2 * rho * math.asin(80.0 / (2 * rho)) * math.sqrt(2.0), rel=1e-13)
        assert math.atan2(y, x) == pytest.approx(0.4 + math.asin(80.0 / (2 * rho)), rel=1e-13)


def test_arc_of_more_than_half_a_turn():
    # Circle of radius 50 about (0, 45): it leaves the cylinder around +y, for both ends of the arc outside.
    k, radius = 0.02, 85.0
    centre = np.array([0.0, 45.0])
    start_angle = math.radians(60.0)
    x, y = centre + 50.0 * np.array([math.cos(start_angle), math.sin(start_angle)])
    status, path, hx, hy, _, phi = h.to_cylinder(x, y, 0.0, start_angle + math.pi / 2, 0.0, k, radius)
    # law of cosines for the angle at the centre between +y and the crossing
    inside = math.acos((radius**2 - 50.0**2 - 45.0**2) / (2 * 50.0 * 45.0))
    assert math.hypot(x, y) > radius  # outside: the circle leaves the cylinder around +y
    assert status == h.OUTSIDE
    begin = math.pi / 2 + inside + 0.01  # just came in through the cylinder
    x, y = centre + 50.0 * np.array([math.cos(begin), math.sin(begin)])
    status, path, hx, hy, _, phi = h.to_cylinder(x, y, 0.0, h.wrap_angle(begin + math.pi / 2), 0.0, k, radius)
    assert status == h.REACHED
    turned = 2 * math.pi - 2 * inside - 0.01
    assert turned > math.pi
    assert path == pytest.approx(50.0 * turned, rel=1e-12)
    end = math.pi / 2 - inside
    assert (hx, hy) == pytest.approx(tuple(centre + 50.0 * np.array([math.cos(end), math.sin(end)])))
    assert math.cos(phi - (end + math.pi / 2)) == pytest.approx(1.0)


def test_turning_tracks_miss_the_cylinder_and_reach_the_disc():
    k = h.curvature(1.0 / 0.02, 2.0)  # 20 MeV: circle of radius 3.3 cm
    assert h.to_cylinder(0.0, 0.0, 0.0, 0.3, 0.01, k, 20.0)[0] == h.NEVER
    status, path, x, y, z, phi = h.to_plane(0.0, 0.0, 0.0, 0.3, 0.01, k, 100.0)
    turns = 100.0 / 0.01 * k
    assert status == h.REACHED
    assert abs(turns) / (2 * math.pi) > 400
    assert path == pytest.approx(100.0 * math.hypot(1.0, 0.01) / 0.01, rel=1e-14)
    assert z == 100.0
    assert x == pytest.approx((math.sin(0.3 + turns) - math.sin(0.3)) / k, abs=1e-9)
    assert y == pytest.approx((math.cos(0.3) - math.cos(0.3 + turns)) / k, abs=1e-9)
    assert math.cos(phi - 0.3 - turns) == pytest.approx(1.0)


def test_surfaces_that_are_not_ahead():
    assert h.to_cylinder(10.0, 0.0, 0.0, 0.0, 0.0, 0.01, 10.0)[0] == h.OUTSIDE
    assert h.to_plane(0.0, 0.0, 0.0, 0.0, 0.0, 0.01, 10.0)[0] == h.NEVER
    assert h.to_plane(0.0, 0.0, 0.0, 0.0, -1.0, 0.01, 10.0)[0] == h.OUTSIDE
    assert h.to_plane(0.0, 0.0, 10.0, 0.0, 1.0, 0.01, 10.0)[0] == h.OUTSIDE
    assert h.to_plane(0.0, 0.0, 0.0, 0.0, -1.0, 0.01, -10.0)[0] == h.REACHED
    # a circle about the z axis stays at its radius
    assert h.to_cylinder(5.0, 0.0, 0.0, math.pi / 2, 0.0, 0.2, 6.0)[0] == h.NEVER


def test_perigee_of_a_known_circle():
    # counter-clockwise about (30, 40) with radius 45: passes the axis at distance 5, axis inside the circle or not
    for radius, distance in ((45.0, 5.0), (55.0, -5.0)):
        angle = 1.0
        x, y = 30.0 + radius * math.cos(angle), 40.0 + radius * math.sin(angle)
        alpha, d, s = h.perigee(x, y, angle + math.pi / 2, 1.0 / radius)
        normal = np.array([-math.sin(alpha), math.cos(alpha)])
        np.testing.assert_allclose(d * normal, np.array([0.6, 0.8]) * (50.0 - radius), atol=1e-12)
        assert abs(d) == pytest.approx(abs(distance))
        assert abs(s) <= math.pi * radius
        assert h.advance(x, y, 0.0, angle + math.pi / 2, 0.0, 1.0 / radius, s)[:2] == pytest.approx(tuple(d * normal))


def test_from_track_and_pseudorapidity():
    x, y, z, phi = h.from_track(0.5, 3.0, 3.0, 0.5)
    assert (x, y, z) == pytest.approx((-0.5 * math.sin(3.0), 0.5 * math.cos(3.0), 3.0))
    assert phi == pytest.approx(3.0 + math.asin(0.5) - 2 * math.pi)
    for tgl in (0.0, 1e-12, -0.3, 4.0, -1e5):
        assert h.pseudorapidity(tgl) == pytest.approx(math.asinh(tgl), rel=1e-14, abs=4e-16)
    for angle in (-10.0, -math.pi, 0.0, math.pi, 3.2, 1e3):
        wrapped = h.wrap_angle(angle)
        assert -math.pi <= wrapped <= math.pi
        assert math.cos(wrapped - angle) == pytest.approx(1.0)


@pytest.mark.parametrize("pt", [0.3, 0.5, 1.0, 5.0])
@pytest.mark.parametrize("eta", [0.0, 0.9, -1.4])
def test_time_error_from_gradients_is_the_closed_form(pt, eta):
    """d t/d pt and d t/d eta at R = 80 cm, 2 T for a kaon from the origin, as in the O2Physics on-the-fly TOF task."""
    mass, radius, bz = 0.493677, 80.0, 2.0
    tgl = math.sinh(eta)
    k = h.curvature(1.0 / pt, bz)
    _, path, x, y, *_ = h.to_cylinder(0.0, 0.0, 0.0, 0.0, tgl, k, radius)
    gradient = g.path_to_cylinder(0.0, 0.0, 0.0, tgl, 1.0 / pt, bz, x, y, path)
    p = pt * math.cosh(eta)
    energy_over_p = math.sqrt(1.0 + (mass / p) ** 2)
    slow = -(path * mass**2 / p**3) / energy_over_p
    dt_dpt = (-gradient[4] / pt**2 * energy_over_p + slow * math.cosh(eta)) / C_LIGHT
    dt_deta = (gradient[3] * math.cosh(eta) * energy_over_p + slow * pt * math.sinh(eta)) / C_LIGHT

    a0 = mass**2
    a1 = 0.299792458 * bz * 2.99792458e-1  # per ns
    a2 = (radius / 100.0 * 0.299792458 * bz) ** 2 / 2.0
    energy = math.sqrt(a0 + p * p)
    arc = math.acos(1.0 - a2 / pt**2)
    bend = 2.0 * a2 * pt**2 * energy**2 / math.sqrt(a2 * (2.0 * pt**2 - a2))
    assert dt_dpt == pytest.approx((pt**4 * math.cosh(eta) ** 2 * arc - bend) / (a1 * pt**3 * energy), rel=1e-8)
    expected = pt**2 * math.sinh(eta) * math.cosh(eta) * arc / (a1 * energy)
    assert dt_deta == pytest.approx(expected, rel=1e-8, abs=1e-12)
