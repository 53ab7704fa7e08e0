"""Arc lengths of circles without a branch or a call, for loops that work on vectors of tracks.

The geometry is that of :mod:`flashdet.kernels.helix`; its functions call the library's arctangent once or twice for
every track, which no vector instruction can do: 60 ns for a crossing, 10 ns here.
"""

from __future__ import annotations

import math

from flashdet.kernels.jit import inline

#: atan(t)/t as a polynomial in t^2 for |t| <= tan(pi/8): through the Chebyshev points, computed with 60 digits, off by
#: 4e-17.
_A = tuple(
    float.fromhex(c)
    for c in (
        "0x1.0000000000000p+0",
        "-0x1.55555555551e3p-2",
        "0x1.9999999934cfcp-3",
        "-0x1.249249008ec7dp-3",
        "0x1.c71c6488ac72ep-4",
        "-0x1.745ba9f715ab9p-4",
        "0x1.3afaff0729265p-4",
        "-0x1.0ffbceb95936dp-4",
        "0x1.d1fc5e5c44049p-5",
        "-0x1.642e7ce496477p-5",
        "0x1.5a416174e9066p-6",
    )
)
#: Added to a length [cm] where nothing else can be there: 0/0 does not arise for a start exactly abeam of the axis.
_TINY = 1e-90


@inline
def angle_over(t: float, scale: float) -> float:
    """Return scale atan(t)/t for any t, also 0; atan(t) = 2 atan(t/(1 + sqrt(1 + t^2))), twice."""
    first = 1.0 / (1.0 + math.sqrt(1.0 + t * t))
    t *= first
    second = 1.0 / (1.0 + math.sqrt(1.0 + t * t))
    t *= second
    a, q = _A, t * t
    p = q * q
    low = (a[1] + a[2] * q) + p * (a[3] + a[4] * q)
    high = (a[5] + a[6] * q) + p * ((a[7] + a[8] * q) + p * (a[9] + a[10] * q))
    return 4.0 * scale * first * second * (1.0 + q * (low + p * p * high))


@inline
def arc_to_cylinder(
    u: float, w: float, k: float, radius: float
) -> tuple[float, tuple[float, float], tuple[float, float]]:
    """First crossing of a cylinder around the z axis from inside.

    Half the turning angle on the way is the sum of two angles within a quarter of a turn (notation of
    :func:`flashdet.kernels.helix.to_cylinder`): from the start to the closest point, atan2(-k u, h + 1 + k w), and from
    there to the cylinder, atan2(k A, B). The sum is atan2(k N, D) with N = (h + 1 + k w) A - u B and D = (h + 1 + k w)
    B + k^2 u A. Both vectors have lengths known in closed form, whose product is M, hence the tangent of a
    quarter of the turning angle is k N/(D + M), for any arc: no case is told apart, not even a straight line.

    Parameters
    ----------
    u, w : float
        Start point along and across the transverse momentum, seen from the axis [cm].
    k : float
        Curvature [1/cm], 0 for a straight line.
    radius : float
        Radius of the cylinder [cm].

    Returns
    -------
    s : float
        Arc length in the transverse plane [cm]; NaN if the circle stays inside, without meaning for a start outside.
    normal : tuple of 2 float
        (k u, 1 + k w): divided by its length it is the cosine across and the sine along of minus the angle by which the
        momentum turns on the way to the closest point.
    hit : tuple of 2 float
        The crossing as seen from the closest point to the axis, along and across the momentum there [cm].
    """
    u += _TINY
    along, across = k * u, 1.0 + k * w
    h = math.sqrt(along * along + across * across)
    d = (k * (u * u + w * w) + 2.0 * w) / (1.0 + h)
    a = math.sqrt((radius - d) * (radius + d))
    b = math.sqrt((1.0 + h - abs(k) * radius) * (1.0 + h + abs(k) * radius))
    # h + across, without cancellation
    size = h + abs(across)
    reach = size if across >= 0.0 else along * along / size
    n = reach * a - u * b
    total = reach * b + k * along * a + 2.0 * h * math.sqrt(2.0 * reach)
    scale = n / total
    s = angle_over(k * scale, 4.0 * scale)
    half = 0.5 / h
    return s if 1.0 + h > abs(k) * radius else math.nan, (along, across), (half * a * b, d + k * half * a * a)
