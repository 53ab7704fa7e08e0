"""The exact helix of a charged particle in a uniform field along z, as scalar helpers for kernels.

A state is a point (x, y, z) [cm] of the laboratory, the azimuth `phi` [rad] of the momentum, ``tgl`` = pz/pt and the
signed curvature ``k`` [1/cm] of :func:`curvature`. With s [cm] the arc length in the transverse plane, phi(s) = phi +
k s and z(s) = z + tgl s; the length in space is s sqrt(1 + tgl^2). k = 0 (neutral particle or no field) is an exact
straight line, and no formula divides by a small k: chords are written as s sinc(k s / 2). Nothing here knows
particles, detectors or errors of measurement; gradients for error propagation are in
:mod:`flashdet.kernels.gradients`.

The circle's geometry is elementary; the closed forms of :func:`perigee` and :func:`to_cylinder` are derived in their
docstrings.
"""

from __future__ import annotations

import math

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import inline
from flashdet.units import PT_PER_TESLA_CM

#: The surface is reached ahead.
REACHED = 0
#: The state lies on or outside the cylinder, or on or beyond the plane as seen along the motion.
OUTSIDE = 1
#: The trajectory turns inside the cylinder for ever, or runs parallel to the plane.
NEVER = 2

_TWO_PI = 2.0 * math.pi


@inline
def curvature(q_over_pt: float, bz: float) -> float:
    """Signed curvature of the transverse projection, d phi / d s.

    A positive charge in a field along +z turns clockwise: the curvature is negative (sign convention of the ALICE O2
    track parametrisation, ``TrackParametrization``).

    Parameters
    ----------
    q_over_pt : float
        Charge over transverse momentum [e/GeV]: 2/pt for alpha particles.
    bz : float
        Field along z [T], sign included.

    Returns
    -------
    float
        Curvature [1/cm].
    """
    return -PT_PER_TESLA_CM * bz * q_over_pt


@inline
def pseudorapidity(tgl: float) -> float:
    """Pseudorapidity asinh(tgl) of |tgl| < 1e150, to 5e-16 absolute, without a call (3 ns in a loop, else 15 ns)."""
    size = abs(tgl)
    eta = log(size + math.sqrt(1.0 + size * size))
    return -eta if tgl < 0.0 else eta


@inline
def wrap_angle(angle: float) -> float:
    """The angle in [-pi, pi] that differs by full turns."""
    if -math.pi <= angle <= math.pi:
        return angle
    return angle - _TWO_PI * math.floor(angle / _TWO_PI + 0.5)


@inline
def sinc(x: float) -> float:
    """Return sin(x)/x, also for x = 0."""
    if abs(x) < 1e-2:
        # the next term is below 2e-16
        square = x * x
        return 1.0 - square / 6.0 * (1.0 - square / 20.0)
    return math.sin(x) / x


@inline
def sinc_of(x: float, sine: float) -> float:
    """Return sin(x)/x for a known sine, also for x = 0."""
    if abs(x) < 1e-2:
        square = x * x
        return 1.0 - square / 6.0 * (1.0 - square / 20.0)
    return sine / x


@inline
def advance(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, s: float
) -> tuple[float, float, float, float]:
    """Move a state by a transverse arc length.

    Parameters
    ----------
    x, y, z, phi, tgl, k : float
        State.
    s : float
        Transverse arc length [cm]; negative: backwards.

    Returns
    -------
    x, y, z : float
        New point [cm].
    phi : float
        New azimuth of the momentum [rad], in [-pi, pi].
    """
    half = 0.5 * k * s
    chord = s * sinc(half)
    return (
        x + chord * math.cos(phi + half),
        y + chord * math.sin(phi + half),
        z + s * tgl,
        wrap_angle(phi + 2.0 * half),
    )


@inline
def _turn_to_axis(u: float, along: float, across: float, k: float) -> tuple[float, float]:
    """Turning angle atan2(-along, across) and arc length to the perigee, with along = k u.

    The series for small angles saves the arctangent (25 ns) for particles made near the axis and is exact for k = 0;
    its next term is below 1e-18.
    """
    if across > 0.5 and abs(along) < 0.01:
        slope = -along / across
        q = slope * slope
        series = 1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q / 9.0)))
        return slope * series, -u / across * series
    turn = math.atan2(-along, across)
    return turn, turn / k


@inline
def to_perigee(x: float, y: float, cos_phi: float, sin_phi: float, k: float) -> tuple[float, float, float]:
    """Way to the point of closest approach to the z axis in the transverse plane.

    With (u, w) the start point along and across the momentum, the vector from the axis to the circle's centre, times
    k, is (k u, 1 + k w) = (1 + k d) n, where n is the normal at the closest point and d its signed distance. Hence the
    turning angle atan2(-k u, 1 + k w), and d = (k (u^2 + w^2) + 2 w)/(1 + h) with h = |(k u, 1 + k w)|, free of
    cancellation.

    Parameters
    ----------
    x, y : float
        Start point [cm]; for the closest approach to another point, relative to that.
    cos_phi, sin_phi : float
        Transverse direction of the momentum.
    k : float
        Curvature [1/cm].

    Returns
    -------
    turn : float
        Angle by which the momentum turns on the way [rad].
    d : float
        Signed distance [cm]: the closest point is d (-sin, cos) of the azimuth there.
    s : float
        Transverse arc length [cm], at most half a turn either way.
    """
    u = x * cos_phi + y * sin_phi
    w = y * cos_phi - x * sin_phi
    across = 1.0 + k * w
    along = k * u
    h = math.sqrt(along * along + across * across)
    d = (k * (u * u + w * w) + 2.0 * w) / (1.0 + h)
    turn, s = _turn_to_axis(u, along, across, k)
    return turn, d, s


@inline
def perigee(x: float, y: float, phi: float, k: float) -> tuple[float, float, float]:
    """Point of closest approach to the z axis in the transverse plane; see :func:`to_perigee`.

    Parameters
    ----------
    x, y, phi, k : float
        State; for the closest approach to another point, pass x and y relative to it.

    Returns
    -------
    alpha : float
        Azimuth of the momentum at the closest point [rad], in [-pi, pi].
    d : float
        Signed distance [cm]: the closest point is d (-sin alpha, cos alpha).
    s : float
        Transverse arc length from the start to the closest point [cm], at most half a turn either way.
    """
    turn, d, s = to_perigee(x, y, math.cos(phi), math.sin(phi), k)
    return wrap_angle(phi + turn), d, s


@inline
def cross_cylinder(
    x: float, y: float, z: float, cos_phi: float, sin_phi: float, tgl: float, k: float, radius: float
) -> tuple[int, float, float, float, float]:
    """First crossing of a cylinder around the z axis from inside, for a known direction; see :func:`to_cylinder`.

    Parameters
    ----------
    x, y, z, tgl, k : float
        State.
    cos_phi, sin_phi : float
        Transverse direction of the momentum.
    radius : float
        Radius of the cylinder [cm].

    Returns
    -------
    status : int
        As there.
    s : float
        Arc length in the transverse plane [cm].
    x, y, z : float
        Crossing point [cm].
    """
    if not x * x + y * y < radius * radius:
        return OUTSIDE, 0.0, x, y, z
    u = x * cos_phi + y * sin_phi
    w = y * cos_phi - x * sin_phi
    across = 1.0 + k * w
    along = k * u
    h = math.sqrt(along * along + across * across)
    if not 1.0 + h > abs(k) * radius:
        return NEVER, 0.0, x, y, z
    d = (k * (u * u + w * w) + 2.0 * w) / (1.0 + h)
    a = math.sqrt((radius - d) * (radius + d))
    b = math.sqrt((1.0 + h - abs(k) * radius) * (1.0 + h + abs(k) * radius))
    _, s = _turn_to_axis(u, along, across, k)
    s += 2.0 * a / b if abs(k) * radius < 1e-9 else 2.0 * math.atan2(k * a, b) / k
    # the hit in the frame of the closest point, then rotated by alpha
    hit_u = 0.5 * a * b / h
    hit_w = d + 0.5 * k * a * a / h
    cos_alpha = (cos_phi * across + sin_phi * along) / h
    sin_alpha = (sin_phi * across - cos_phi * along) / h
    return (
        REACHED,
        s,
        hit_u * cos_alpha - hit_w * sin_alpha,
        hit_u * sin_alpha + hit_w * cos_alpha,
        z + s * tgl,
    )


@inline
def to_cylinder(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, radius: float
) -> tuple[int, float, float, float, float, float]:
    """First crossing of a cylinder around the z axis from inside.

    Seen from the closest point to the axis (distance d, turning angle a): r^2 = d^2 + 4 (1 + k d)/k^2 sin^2(a/2). So
    the way out is at tan(a/2) = k A/B with A^2 = (R - d)(R + d) and B^2 = (2 + k d)^2 - (k R)^2, whatever the arc (it
    may exceed half a turn from the start); B^2 < 0 means that the circle stays inside.

    Parameters
    ----------
    x, y, z, phi, tgl, k : float
        State.
    radius : float
        Radius of the cylinder [cm].

    Returns
    -------
    status : int
        `REACHED`, `OUTSIDE` or `NEVER`; the other values mean nothing unless it is `REACHED`.
    path : float
        Length of the trajectory in space [cm].
    x, y, z : float
        Crossing point [cm]; the caller compares z with the half-length.
    phi : float
        Azimuth of the momentum there [rad], in [-pi, pi].
    """
    status, s, x, y, z = cross_cylinder(x, y, z, math.cos(phi), math.sin(phi), tgl, k, radius)
    if status != REACHED:
        return status, 0.0, x, y, z, phi
    return REACHED, s * math.sqrt(1.0 + tgl * tgl), x, y, z, wrap_angle(phi + k * s)


@inline
def to_plane(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, z_plane: float
) -> tuple[int, float, float, float, float, float]:
    """Crossing of a plane z = constant (a disc), also after many turns.

    Parameters
    ----------
    x, y, z, phi, tgl, k : float
        State.
    z_plane : float
        Position of the plane [cm].

    Returns
    -------
    status : int
        `REACHED`, `OUTSIDE` (on or beyond the plane) or `NEVER` (tgl = 0); the other values mean nothing unless
        `REACHED`.
    path : float
        Length of the trajectory in space [cm].
    x, y, z : float
        Crossing point [cm]; the caller compares the radius with those of the disc.
    phi : float
        Azimuth of the momentum there [rad], in [-pi, pi].
    """
    if tgl == 0.0:
        return NEVER, 0.0, x, y, z, phi
    s = (z_plane - z) / tgl
    if not s > 0.0:
        return OUTSIDE, 0.0, x, y, z, phi
    x, y, _, phi = advance(x, y, z, phi, tgl, k, s)
    return REACHED, s * math.sqrt(1.0 + tgl * tgl), x, y, z_plane, phi


@inline
def from_track(y: float, z: float, alpha: float, snp: float) -> tuple[float, float, float, float]:
    """State at the reference point of a track, whose local x is 0.

    Parameters
    ----------
    y, z : float
        Local coordinates [cm] in the frame rotated by `alpha`.
    alpha : float
        Rotation of the frame [rad].
    snp : float
        Sine of the azimuth of the momentum in that frame, -1 to 1.

    Returns
    -------
    x, y, z : float
        Laboratory point [cm].
    phi : float
        Azimuth of the momentum [rad], in [-pi, pi].
    """
    return -y * math.sin(alpha), y * math.cos(alpha), z, wrap_angle(alpha + math.asin(snp))
