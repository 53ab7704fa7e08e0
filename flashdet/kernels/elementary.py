"""Exponential, logarithm, sine and cosine without a branch or a call, for loops that work on vectors of numbers.

The functions of :mod:`math` are calls to a library, one number at a time, and no loop that calls them uses vector
instructions: 4 to 10 ns for each number, against 2 to 3 ns here. The reductions of the argument are those of Cody and
Waite, "Software Manual for the Elementary Functions" (1980); the series are Taylor's, with so many terms that the next
one is below the rounding. Arguments outside of the ranges given here, and NaN, give numbers without meaning.
"""

from __future__ import annotations

import math

import numpy as np

from flashdet.kernels.jit import inline

#: log 2 and pi/2 in parts whose products with small integers are exact, and the rest.
_LOG2_HIGH, _LOG2_LOW = float.fromhex("0x1.62e42fee00000p-1"), float.fromhex("0x1.a39ef35793c76p-33")
_QUARTER_HIGH, _QUARTER_MIDDLE = float.fromhex("0x1.921fb54000000p+0"), float.fromhex("0x1.10b4611800000p-30")
_QUARTER_LOW = float.fromhex("0x1.313198a2e0370p-61")
_PER_LOG2, _PER_QUARTER = 1.0 / math.log(2.0), 2.0 / math.pi
#: Added to a number and taken off again, it leaves the nearest integer, which is meanwhile in the lowest bits.
_ROUND = 1.5 * 2.0**52
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
#: Bits of 1 and of an exponent; what lifts those of the root of 1/2 to the exponent of 1; bits of 2^52, and
#: 2^52 with the bias of an exponent.
_ONE, _EXPONENT, _52 = np.float64(1.0).view(np.uint64), np.uint64(0x7FF0_0000_0000_0000), np.uint64(52)
_TO_ONE = np.uint64(_ONE - np.float64(math.sqrt(0.5)).view(np.uint64))
_2_52_BITS, _2_52_AND_BIAS = np.float64(2.0**52).view(np.uint64), 2.0**52 + 1023.0
_E = tuple(1.0 / math.factorial(k) for k in range(14))
#: Of (log((1 + f)/(1 - f))/f - 2)/f^2 in f^2 up to f^2 = 0.0295, the best polynomial: seven terms for ten of Taylor's
#: (Sun Microsystems' fdlibm, ``e_log.c``: to 2^-58).
_L = (
    6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01,
    1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01,
)  # fmt: skip
_S = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(8))
_C = tuple((-1.0) ** k / math.factorial(2 * k) for k in range(9))


@inline
def exp(x: float) -> float:
    """Exponential of -700 <= x <= 700, to a relative 3e-16."""
    shifted = x * _PER_LOG2 + _ROUND
    power, n = np.float64(shifted).view(np.int64) - _ROUND_BITS, shifted - _ROUND
    r = (x - n * _LOG2_HIGH) - n * _LOG2_LOW
    e, q = _E, r * r
    # pairs, and pairs of pairs (Estrin's scheme): operations wait for each other half as long as in Horner's
    p = q * q
    low = q * ((e[2] + e[3] * r) + q * (e[4] + e[5] * r)) + p * q * ((e[6] + e[7] * r) + q * (e[8] + e[9] * r))
    low += p * p * q * ((e[10] + e[11] * r) + q * (e[12] + e[13] * r))
    return (1.0 + (r + low)) * np.int64((power + 1023) << 52).view(np.float64)


@inline
def log(x: float) -> float:
    """Natural logarithm of x > 0, at least 2.3e-308, to a relative 4e-16."""
    bits = np.float64(x).view(np.uint64)
    # unsigned, and with the bias of the exponent: there is no vector instruction that shifts signed words to the right
    above = np.uint64(bits + _TO_ONE)
    # between the roots of 1/2 and 2
    m = np.uint64(bits + _ONE - (above & _EXPONENT)).view(np.float64)
    n = np.uint64((above >> _52) | _2_52_BITS).view(np.float64) - _2_52_AND_BIAS
    f = (m - 1.0) / (m + 1.0)
    q, a = f * f, _L
    p = q * q
    rest = (a[0] + a[1] * q) + p * ((a[2] + a[3] * q) + p * ((a[4] + a[5] * q) + p * a[6]))
    return n * _LOG2_HIGH + (n * _LOG2_LOW + (f * (q * rest) + 2.0 * f))


@inline
def select(condition: bool, value: float, other: float) -> float:
    """A value under a condition, else another one, through their bits.

    Of ``x[i] = value if condition else x[i]`` and of ``x[i] += value if condition else 0.0`` the compiler makes masked
    stores, which take five to ten times the time of plain ones on AMD's processors.
    """
    a, b = np.float64(value).view(np.int64), np.float64(other).view(np.int64)
    return np.int64(b ^ ((a ^ b) & -np.int64(condition))).view(np.float64)


@inline
def cosine_and_sine(x: float) -> tuple[float, float]:
    """Cosine and sine of an angle of at most 1000 quarters of a turn, to 2e-16 absolute."""
    shifted = x * _PER_QUARTER + _ROUND
    quarter, n = np.float64(shifted).view(np.int64), shifted - _ROUND
    r = ((x - n * _QUARTER_HIGH) - n * _QUARTER_MIDDLE) - n * _QUARTER_LOW
    q, s, c = r * r, _S, _C
    p = q * q
    sine = (s[1] + s[2] * q) + p * ((s[3] + s[4] * q) + p * ((s[5] + s[6] * q) + p * s[7]))
    cosine = (c[2] + c[3] * q) + p * ((c[4] + c[5] * q) + p * ((c[6] + c[7] * q) + p * c[8]))
    sine, cosine = r + r * (q * sine), 1.0 - (0.5 * q - p * cosine)
    # quarters of a turn swap them and change signs
    is_odd = (quarter & 1) != 0
    first, second = (sine, cosine) if is_odd else (cosine, sine)
    return (-first if ((quarter + 1) & 2) != 0 else first), (-second if (quarter & 2) != 0 else second)
