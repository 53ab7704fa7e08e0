"""Arctangent and arcsine without a branch or a call, for loops that work on vectors of numbers.

Like :mod:`flashdet.kernels.elementary`: 2 ns per number in such a loop, against 10 to 25 ns for the functions of
:mod:`math`. Both come from the arctangent of a ratio between tan(-pi/8) and tan(pi/8), to which one division leads.
"""

from __future__ import annotations

import math

from flashdet.kernels.jit import inline

_TAN_EIGHTH = math.tan(math.pi / 8.0)
#: pi/4 and pi/2 in two parts each: the second is what the first leaves out.
_QUARTER, _QUARTER_REST = 0.25 * math.pi, 3.061616997868383e-17
_HALF, _HALF_REST = 0.5 * math.pi, 6.123233995736766e-17
#: Polynomial in q = t^2 for (atan(t)/t - 1)/q, by interpolation in exact fractions at the Chebyshev nodes of
#: 0 <= q <= tan(pi/8)^2: atan(t)/t is right to 7e-18 before rounding.
_P = (
    -0.3333333333333333, 0.1999999999999552, -0.14285714284666542, 0.11111111015256361, -0.09090904578123873,
    0.07692183190825433, -0.06664511447372731, 0.05858148912722141, -0.05085449737521256, 0.039231658283482254,
    -0.019176887104237574,
)  # fmt: skip


@inline
def _of_ratio(low: float, high: float) -> float:
    """Arctangent of low/high for 0 <= low <= high."""
    is_steep = low > _TAN_EIGHTH * high
    # atan(a) = pi/4 + atan((a - 1)/(a + 1))
    t = (low - high if is_steep else low) / (high + low if is_steep else high)
    p, q = _P, t * t
    f = q * q
    even = (p[0] + p[1] * q) + f * ((p[2] + p[3] * q) + f * (p[4] + p[5] * q))
    odd = (p[6] + p[7] * q) + f * ((p[8] + p[9] * q) + f * p[10])
    angle = t * (q * (even + (f * f * f) * odd))
    return _QUARTER + (_QUARTER_REST + (angle + t)) if is_steep else angle + t


@inline
def arctangent2(y: float, x: float) -> float:
    """Azimuth of a point, in (-pi, pi], to 5e-16; the point is not the origin."""
    a, b = abs(x), abs(y)
    is_swapped = b > a
    angle = _of_ratio(a if is_swapped else b, b if is_swapped else a)
    angle = (_HALF - angle) + _HALF_REST if is_swapped else angle
    angle = (math.pi - angle) + 2.0 * _HALF_REST if x < 0.0 else angle
    return -angle if y < 0.0 else angle


@inline
def arcsine(x: float) -> float:
    """Arcsine of -1 <= x <= 1, to 4e-16."""
    a, b = math.sqrt((1.0 - x) * (1.0 + x)), abs(x)
    is_swapped = b > a
    angle = _of_ratio(a if is_swapped else b, b if is_swapped else a)
    angle = (_HALF - angle) + _HALF_REST if is_swapped else angle
    return -angle if x < 0.0 else angle
