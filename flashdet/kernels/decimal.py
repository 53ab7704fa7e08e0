"""Decimal text to integers and correctly rounded doubles.

The method is that of Lemire, "Number parsing at a gigabyte per second", Softw. Pract. Exper. 51 (2021) 1700, with the
proof of Mushtak and Lemire (2023) that 128 bits of the power of five decide every number of up to 19 digits. Longer
mantissas are decided when truncation does not matter, and handed back otherwise (`UNDECIDED`), to be read exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.bits import as_double, high64, leading_zeros, load64
from flashdet.kernels.jit import inline, kernel

#: Status of a parsed field.
OK, UNDECIDED, BAD = 0, 1, 2

_LOWEST, _HIGHEST = -342, 308
_U = np.uint64
_ONE = _U(1)


def _powers_of_five() -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Upper and lower 64 bits of 5**q for q = -342..308, scaled to 128 bits: truncated for q >= 0, rounded up below."""
    high, low = [], []
    for q in range(_LOWEST, _HIGHEST + 1):
        if q >= 0:
            power = 5**q
            shift = 128 - power.bit_length()
            power = power << shift if shift >= 0 else power >> -shift
        else:
            power = 5**-q
            bits = power.bit_length()
            scale = bits + 127 if q >= -27 else 2 * bits + 128
            power = (1 << scale) // power + 1
            power >>= max(power.bit_length() - 128, 0)
        high.append(power >> 64)
        low.append(power & (2**64 - 1))
    return np.array(high, np.uint64), np.array(low, np.uint64)


_POW_HIGH, _POW_LOW = _powers_of_five()


@kernel
def to_double(w: np.uint64, q: int) -> float:
    """Nearest double to ``w * 10**q``, ties to even.

    Parameters
    ----------
    w : uint64
        Decimal mantissa, exact.
    q : int64
        Decimal exponent.

    Returns
    -------
    float64
        inf where it overflows.
    """
    if w == _U(0) or q < _LOWEST:
        return 0.0
    if q > _HIGHEST:
        return np.inf
    zeros = leading_zeros(w)
    w = w << _U(zeros)
    five = _POW_HIGH[q - _LOWEST]
    upper = high64(w, five)
    lower = w * five
    if (upper & _U(0x1FF)) == _U(0x1FF):
        more = high64(w, _POW_LOW[q - _LOWEST])
        lower = lower + more
        if more > lower:
            upper = upper + _ONE
    top = int(upper >> _U(63))
    mantissa = upper >> _U(top + 9)
    exponent = ((217706 * q) >> 16) + 63 + top - zeros + 1023
    if exponent <= 0:
        if exponent <= -63:
            return 0.0
        mantissa = mantissa >> _U(1 - exponent)
        mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
        return as_double(mantissa)  # a carry into bit 52 makes the smallest normal number by itself
    if lower <= _ONE and -4 <= q <= 23 and (mantissa & _U(3)) == _ONE and (mantissa << _U(top + 9)) == upper:
        mantissa = mantissa & ~_ONE  # exactly half way: round to even
    mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
    if mantissa >= _U(1 << 53):
        mantissa = _U(1 << 52)
        exponent += 1
    if exponent >= 2047:
        return np.inf
    return as_double((mantissa & _U((1 << 52) - 1)) | (_U(exponent) << _U(52)))


@inline
def _eight_digits(word: np.uint64) -> np.uint64:
    """Value of eight ASCII digits loaded with the first one lowest."""
    word = ((word & _U(0x0F0F0F0F0F0F0F0F)) * _U(2561)) >> _U(8)
    word = ((word & _U(0x00FF00FF00FF00FF)) * _U(6553601)) >> _U(16)
    return ((word & _U(0x0000FFFF0000FFFF)) * _U(42949672960001)) >> _U(32)


@inline
def _are_digits(word: np.uint64) -> bool:
    """Tell whether all eight bytes are ASCII digits."""
    high = _U(0xF0F0F0F0F0F0F0F0)
    return bool(((word & high) | (((word + _U(0x0606060606060606)) & high) >> _U(4))) == _U(0x3333333333333333))


@kernel
def _mantissa(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[np.uint64, int, int, int]:
    """Digits with or without a point: up to 19 significant ones, their power of ten, next byte, and a status.

    The status is `BAD` without a digit, `UNDECIDED` if a digit other than 0 was cut off.
    """
    w = _U(0)
    q = 0
    kept = 0
    status = BAD
    point = False
    while i < stop:
        c = buffer[i]
        if 48 <= c <= 57:
            if status == BAD:
                status = OK
            if kept < 19:
                w = w * _U(10) + _U(c - 48)
                kept += w != _U(0)
                q -= point
            else:
                if c != 48:
                    status = UNDECIDED
                q += not point
        elif c == 46 and not point:
            point = True
        else:
            break
        i += 1
    return w, q, i, status


@kernel
def _exponent(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[int, int, int]:
    """``e`` or ``E`` with an integer behind it, or nothing: exponent, next byte, status."""
    if i >= stop or (buffer[i] != 101 and buffer[i] != 69):
        return 0, i, OK
    i += 1
    sign = 1
    if i < stop and (buffer[i] == 45 or buffer[i] == 43):
        sign = -1 if buffer[i] == 45 else 1
        i += 1
    e = 0
    status = BAD
    while i < stop and 48 <= buffer[i] <= 57:
        status = OK
        e = min(10 * e + int(buffer[i]) - 48, 100000)
        i += 1
    return sign * e, i, status


@kernel
def _general_double(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[float, int, int]:
    """Any decimal number; it ends at white space or at `stop`."""
    negative = False
    if i < stop and (buffer[i] == 45 or buffer[i] == 43):
        negative = buffer[i] == 45
        i += 1
    w, q, i, status = _mantissa(buffer, i, stop)
    if status == BAD:
        return 0.0, i, BAD
    e, i, status_e = _exponent(buffer, i, stop)
    if status_e == BAD or (i < stop and buffer[i] > 32):
        return 0.0, i, BAD
    value = to_double(w, q + e)
    if status == UNDECIDED and value == to_double(w + _ONE, q + e):
        status = OK
    return (-value if negative else value), i, status


@inline
def read_double(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[float, int, int]:
    """Double at ``buffer[i:]``.

    The form that HepMC writes (``[-]d.dddddddddddddddde+dd``) has a short way of its own: 16 digits in two loads.

    Parameters
    ----------
    buffer : (n,) uint8
        Text.
    i, stop : int64
        First byte, and end of the text that belongs to the caller.

    Returns
    -------
    value : float64
    i : int64
        Byte after the number.
    status : int64
        `OK`, `UNDECIDED` (over 19 digits that matter) or `BAD` (no number).
    """
    negative = i < stop and buffer[i] == 45
    j = i + 1 if negative else i
    if j + 22 < stop and buffer[j + 1] == 46 and (buffer[j + 18] | 32) == 101 and buffer[j + 22] <= 32:
        a = load64(buffer, j + 2)
        b = load64(buffer, j + 10)
        tens = int(buffer[j + 20]) - 48
        ones = int(buffer[j + 21]) - 48
        first = int(buffer[j]) - 48
        sign = buffer[j + 19]
        if (
            _are_digits(a)
            and _are_digits(b)
            and 0 <= tens <= 9
            and 0 <= ones <= 9
            and 0 <= first <= 9
            and (sign == 43 or sign == 45)
        ):
            w = (_U(first) * _U(100000000) + _eight_digits(a)) * _U(100000000) + _eight_digits(b)
            e = 10 * tens + ones
            value = to_double(w, (-e if sign == 45 else e) - 16)
            return (-value if negative else value), j + 22, OK
    return _general_double(buffer, i, stop)


@inline
def read_int(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[int, int, int]:
    """Integer at ``buffer[i:]`` that fits into 32 bits; arguments and results as in :func:`read_double`."""
    negative = False
    if i < stop and (buffer[i] == 45 or buffer[i] == 43):
        negative = buffer[i] == 45
        i += 1
    value = 0
    first = i
    while i < stop and 48 <= buffer[i] <= 57:
        value = 10 * value + int(buffer[i]) - 48
        i += 1
    status = OK
    if (
        i == first
        or i - first > 18
        or value > 2147483648 - (0 if negative else 1)
        or (i < stop and buffer[i] > 32 and buffer[i] != 44 and buffer[i] != 93)
    ):
        status = BAD
    return (-value if negative else value), i, status
