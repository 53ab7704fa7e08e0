"""One pass over the bytes of an event: every line is what its format says, with the right number of sound fields.

Here are the outcomes and the fields; the lines of the two formats are in :mod:`.scan3` and :mod:`.scan2`.

The kernels stop at the first bad line; they also pick out the links between particles and vertices, so that
:mod:`.integrity` can check that they hold together. Values are not kept: that is the parser's work.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel

#: Outcomes of a scan.
GOOD, BAD_P, BAD_V, BAD_A, BAD_ORDER, BAD_PREFIX, BAD_ID = range(7)

_NEWLINE, _BLANK, _MINUS, _PLUS, _DOT = 10, 32, 45, 43, 46
_0, _9 = 48, 57
_E, _SMALL_E = 69, 101
_MAX_INT = 2147483647


@inline
def _is_digit(byte: int) -> bool:
    return _0 <= byte <= _9


@inline
def integer(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """Value of a 32-bit integer and the place behind it; -1 for the place if there is none."""
    n = len(text)
    sign = 1
    if at < n and text[at] == _MINUS:
        sign = -1
        at += 1
    start, value = at, 0
    while at < n and _is_digit(text[at]):
        value = value * 10 + int(text[at]) - _0
        if value > _MAX_INT:
            return 0, -1
        at += 1
    if at == start:
        return 0, -1
    return sign * value, at


@inline
def _digits(text: NDArray[np.uint8], at: int) -> int:
    while at < len(text) and _is_digit(text[at]):
        at += 1
    return at


@inline
def _number(text: NDArray[np.uint8], at: int) -> int:
    """Place behind a decimal number, -1 if there is none."""
    n = len(text)
    if at < n and (text[at] == _MINUS or text[at] == _PLUS):
        at += 1
    start = at
    at = _digits(text, at)
    n_digits = at - start
    if at < n and text[at] == _DOT:
        start = at + 1
        at = _digits(text, start)
        n_digits += at - start
    if n_digits == 0:
        return -1
    if at < n and (text[at] == _E or text[at] == _SMALL_E):
        at += 1
        if at < n and (text[at] == _MINUS or text[at] == _PLUS):
            at += 1
        start = at
        at = _digits(text, at)
        if at == start or at - start > 4:
            return -1
    return at


@inline
def next_integer(text: NDArray[np.uint8], at: int) -> tuple[int, int]:
    """As `integer`, behind exactly one blank."""
    if at < 0 or at >= len(text) or text[at] != _BLANK:
        return 0, -1
    return integer(text, at + 1)


@inline
def next_numbers(text: NDArray[np.uint8], at: int, n: int) -> int:
    """Place behind `n` numbers with one blank before each, -1 if they are not there."""
    for _ in range(n):
        if at < 0 or at >= len(text) or text[at] != _BLANK:
            return -1
        at = _number(text, at + 1)
    return at


@inline
def line_end(text: NDArray[np.uint8], at: int) -> int:
    """Place of the next line if nothing but blanks is left on this one, else -1."""
    if at < 0:
        return -1
    while at < len(text) and text[at] == _BLANK:
        at += 1
    if at < len(text) and text[at] != _NEWLINE:
        return -1
    return at + 1


@kernel
def next_line(text: NDArray[np.uint8], at: int) -> int:
    """Place of the next line."""
    while at < len(text) and text[at] != _NEWLINE:
        at += 1
    return at + 1
