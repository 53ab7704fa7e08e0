"""Decimal text to integers and correctly rounded doubles.

The method is that of Lemire, "Number parsing at a gigabyte per second", Softw. Pract. Exper. 51 (2021) 1700, with the
proof of Mushtak and Lemire (2023) that 128 bits of the power of five decide every number of up to 19 digits. Longer
mantissas are decided when truncation does not matter, and handed back otherwise (`UNDECIDED`), to be read exactly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.bits import as_double, high64, leading_zeros, load8, load64, trailing_zeros
from flashdet.kernels.jit import bare_kernel, inline

#: Status of a parsed field.
OK, UNDECIDED, BAD = 0, 1, 2

_LOWEST, _HIGHEST = -342, 308
#: Digits of an exponent: nobody writes more, so more are damage.
_EXPONENT = 4
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


@bare_kernel
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
def _odd_digits(word: np.uint64) -> np.uint64:
    """0 if all eight bytes are ASCII digits."""
    high = _U(0xF0F0F0F0F0F0F0F0)
    both = (word & high) | (((word + _U(0x0606060606060606)) & high) >> _U(4))
    return both ^ _U(0x3333333333333333)


@inline
def _normal_double(w: np.uint64, q: int) -> np.uint64:
    """Bits of the double nearest to ``w * 10**q`` for 1 <= w < 2**63 and -290 < q < 280, as :func:`to_double`."""
    zeros = _U(leading_zeros(w))
    scaled = w << zeros
    place = _U(q - _LOWEST)
    five = _POW_HIGH[place]
    upper = high64(scaled, five)
    lower = scaled * five
    if (upper & _U(0x1FF)) == _U(0x1FF):
        more = high64(scaled, _POW_LOW[place])
        lower = lower + more
        if more > lower:
            upper = upper + _ONE
    top = upper >> _U(63)
    mantissa = upper >> (top + _U(9))
    if lower <= _ONE and -4 <= q <= 23 and (mantissa & _U(3)) == _ONE and (mantissa << (top + _U(9))) == upper:
        mantissa = mantissa & ~_ONE  # exactly half way: round to even
    mantissa = (mantissa + (mantissa & _ONE)) >> _ONE
    exponent = _U(((217706 * q) >> 16) + 1085) + top - zeros
    return mantissa + (exponent << _U(52))  # the leading bit of the mantissa, and a carry, count in the exponent


@inline
def written_double(buffer: NDArray[np.uint8], i: int, end: int) -> tuple[float, int, np.uint64]:
    """Double of the form ``[-]d.dddddddddddddddde+dd`` that HepMC writes, and the byte `end` behind it.

    Nothing branches on the text, so that the fields of a line are worked on at the same time.

    Parameters
    ----------
    buffer : (n,) uint8
        At least 32 bytes follow ``buffer[i]``.
    i : int64
        First byte.
    end : int64
        What must follow.

    Returns
    -------
    value : float64
        Rubbish if there are faults.
    i : int64
        Behind `end`.
    faults : uint64
        0 if the text has this form.
    """
    negative = 1 if load8(buffer, i) == 45 else 0
    i += negative
    first = load64(buffer, i)
    a = load64(buffer, i + 2)
    b = load64(buffer, i + 10)
    tail = load64(buffer, i + 18)  # e, sign, two digits, end
    sign = int(np.int64((tail >> _U(8)) & _U(0xFF)))
    faults = _odd_digits(a) | _odd_digits(b)
    faults |= _odd_digits((first & _U(0xFF)) | ((tail >> _U(8)) & _U(0xFFFF00)) | _U(0x3030303030000000))
    faults |= (first & _U(0xFF00)) ^ _U(46 << 8)
    faults |= (tail & _U(0xFF000000DF)) ^ _U((end << 32) | 69)
    faults |= _U((sign - 43) & 0xFD)  # + is 43, - is 45
    digits = (first & _U(15)) * _U(100000000) + _eight_digits(a)
    w = digits * _U(100000000) + _eight_digits(b)
    e = int(np.int64(((tail >> _U(16)) & _U(15)) * _U(10) + ((tail >> _U(24)) & _U(15))))
    bits = _normal_double(w | _ONE if w == _U(0) else w, (-e if sign == 45 else e) - 16)
    bits = _U(0) if w == _U(0) else bits
    return as_double(bits | (_U(negative) << _U(63))), i + 23, faults


@inline
def written_int(buffer: NDArray[np.uint8], i: int, end: int) -> tuple[int, int, np.uint64]:
    """Integer of one to seven digits, and the byte `end` behind it; as :func:`written_double`."""
    negative = load8(buffer, i) == 45
    i += 1 if negative else 0
    digits = load64(buffer, i) ^ _U(0x3030303030303030)
    others = ((digits + _U(0x7676767676767676)) | digits) & _U(0x8080808080808080)
    n = trailing_zeros(others) >> 3
    behind = (load8(buffer, i + n) ^ end) | (1 if n == 0 else 0) | (n & 8)
    value = int(np.int64(_eight_digits(digits << _U((64 - 8 * n) & 63))))
    return (-value if negative else value), i + n + 1, _U(behind)


@bare_kernel
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


@bare_kernel
def _exponent(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[int, int, int]:
    """``e`` or ``E`` with an integer of a few digits, or nothing: exponent, next byte, status."""
    if i >= stop or (buffer[i] != 101 and buffer[i] != 69):
        return 0, i, OK
    i += 1
    sign = 1
    if i < stop and (buffer[i] == 45 or buffer[i] == 43):
        sign = -1 if buffer[i] == 45 else 1
        i += 1
    e = 0
    first = i
    while i < stop and 48 <= buffer[i] <= 57:
        e = min(10 * e + int(buffer[i]) - 48, 100000)
        i += 1
    status = OK if 0 < i - first <= _EXPONENT else BAD
    return sign * e, i, status


@inline
def _is_end(buffer: NDArray[np.uint8], i: int, stop: int) -> bool:
    """Tell whether a number may end here."""
    return bool(i >= stop or buffer[i] == 32 or buffer[i] == 10 or buffer[i] == 13)


@bare_kernel
def _general_double(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[float, int, int]:
    """Any decimal number; it ends at a blank, at the end of the line or at `stop`."""
    negative = False
    if i < stop and (buffer[i] == 45 or buffer[i] == 43):
        negative = buffer[i] == 45
        i += 1
    w, q, i, status = _mantissa(buffer, i, stop)
    if status == BAD:
        return 0.0, i, BAD
    e, i, status_e = _exponent(buffer, i, stop)
    if status_e == BAD or not _is_end(buffer, i, stop):
        return 0.0, i, BAD
    value = to_double(w, q + e)
    if status == UNDECIDED and value == to_double(w + _ONE, q + e):
        status = OK
    return (-value if negative else value), i, status


@inline
def read_double(buffer: NDArray[np.uint8], i: int, stop: int) -> tuple[float, int, int]:
    """Double at ``buffer[i:]``.

    The form that HepMC writes (:func:`written_double`) has a short way of its own.

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
    if i + 24 < stop and load8(buffer, i) != 32:
        value, j, faults = written_double(buffer, i, 32)
        if faults == _U(0):
            return value, j - 1, OK
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
        or not (_is_end(buffer, i, stop) or buffer[i] == 44 or buffer[i] == 93)
    ):
        status = BAD
    return (-value if negative else value), i, status
