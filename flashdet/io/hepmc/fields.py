"""Fields of a HepMC text line: blanks, numbers, line ends, and the lines that both formats share."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.kernels.decimal import BAD, OK, UNDECIDED, read_double, read_int
from flashdet.kernels.jit import bare_kernel, inline

Text = NDArray[np.uint8]


@bare_kernel
def named_value(text: Text, i: int, stop: int) -> bool:
    """Tell whether a name, a blank and something else stand here."""
    first = i
    while i < stop and text[i] > 32:
        i += 1
    return i > first and i < stop and text[i] == 32


@inline
def blanks(text: Text, i: int, stop: int) -> int:
    """First byte that is no blank."""
    while i < stop and text[i] == 32:
        i += 1
    return i


@inline
def at_end(text: Text, i: int, stop: int) -> bool:
    """Tell whether the line ends here."""
    return i >= stop or text[i] == 10 or text[i] == 13


@inline
def is_blank_line(text: Text, i: int, stop: int) -> bool:
    """Tell whether a line of nothing begins here."""
    return bool(text[i] == 10 or (text[i] == 13 and i + 1 < stop and text[i + 1] == 10))


@bare_kernel
def next_line(text: Text, i: int, stop: int) -> int:
    """First byte of the next line."""
    while i < stop and text[i] != 10:
        i += 1
    return min(i + 1, stop)


@bare_kernel
def line_end(text: Text, i: int, stop: int) -> tuple[int, int]:
    """Nothing but blanks may be left of the line."""
    i = blanks(text, i, stop)
    if at_end(text, i, stop):
        return OK, i
    return codes.LONG_LINE, i


@bare_kernel
def starts_with(text: Text, i: int, stop: int, word: Text) -> bool:
    """Tell whether `word` stands at `i`."""
    if i + len(word) > stop:
        return False
    for k in range(len(word)):  # noqa: SIM110 - Numba compiles no generator expressions
        if text[i + k] != word[k]:
            return False
    return True


@inline
def integer_at(text: Text, i: int, stop: int) -> tuple[int, int, int]:
    """Code, next byte and value of the integer that begins here."""
    value, j, status = read_int(text, i, stop)
    if status == BAD:
        return (codes.SHORT_LINE if at_end(text, i, stop) else codes.BAD_NUMBER), i, 0
    return OK, j, value


@bare_kernel
def integer(text: Text, i: int, stop: int) -> tuple[int, int, int]:
    """Code, next byte and value of the integer behind one blank: two blanks shift the fields of other readers."""
    if i >= stop or text[i] != 32:
        return codes.SHORT_LINE, i, 0
    return integer_at(text, i + 1, stop)


@inline
def double_at(text: Text, i: int, stop: int) -> tuple[int, int, float]:
    """Code, next byte and value of the finite number that begins here."""
    value, j, status = read_double(text, i, stop)
    if status != OK:
        if status == UNDECIDED:
            return codes.LONG_NUMBER, i, 0.0
        return _not_a_number(text, i, stop), i, 0.0
    if not math.isfinite(value):
        return codes.NOT_FINITE, i, 0.0
    return OK, j, value


@bare_kernel
def double(text: Text, i: int, stop: int) -> tuple[int, int, float]:
    """Code, next byte and value of the finite number behind one blank."""
    if i >= stop or text[i] != 32:
        return codes.SHORT_LINE, i, 0.0
    return double_at(text, i + 1, stop)


@bare_kernel
def _not_a_number(text: Text, i: int, stop: int) -> int:
    """Tell an empty field, nan and inf from other rubbish."""
    if at_end(text, i, stop):
        return codes.SHORT_LINE
    if text[i] == 43 or text[i] == 45:
        i += 1
    letter = text[i] | 32
    return codes.NOT_FINITE if letter == 110 or letter == 105 else codes.BAD_NUMBER


@bare_kernel
def clear_header(b: Buffers, event: int) -> None:
    """Nothing is known of an event yet: its position is 0, it has no units and no attributes.

    Element by element: Numba compiles assignments to parts of arrays for a second.
    """
    for k in range(b.header.shape[1]):
        b.header[event, k] = np.nan
    for k in range(4):
        b.header[event, buffers.SHIFT + k] = 0.0
    b.header[event, buffers.GEV] = 0.0
    b.header[event, buffers.CM] = 0.0


@bare_kernel
def record(
    text: Text, i: int, stop: int, b: Buffers, event: int, slot: int, fields: tuple[int, int, int]
) -> tuple[int, int]:
    """Keep the numbers of a record of the event from attribute `slot` on; a longer record is one of a newer version.

    `fields` tells how many numbers are kept, how many must be there and how many of them are integers.
    """
    most, least, n_integers = fields
    if not math.isnan(b.header[event, buffers.ATTRIBUTES + slot]):
        return codes.IRREGULAR, i  # a second record of its kind
    for k in range(most):
        i = blanks(text, i, stop)
        if at_end(text, i, stop):
            return (OK if k >= least else codes.SHORT_LINE), i
        code, i, value = double_at(text, i, stop)
        if code != OK:
            return code, i
        if k < n_integers and (value != math.floor(value) or abs(value) > 2147483647.0):
            return codes.BAD_NUMBER, i
        b.header[event, buffers.ATTRIBUTES + slot + k] = value
    return OK, i


@inline
def count(text: Text, i: int, stop: int) -> tuple[int, int, int]:
    """As :func:`integer`, for numbers of things."""
    code, i, n = integer(text, i, stop)
    return (codes.BAD_NUMBER if code == OK and n < 0 else code), i, n


@bare_kernel
def skip(text: Text, i: int, stop: int, n: int) -> tuple[int, int]:
    """Step over `n` finite numbers whose value nobody wants."""
    for _ in range(n):
        code, i, _ = double(text, i, stop)
        if code != OK:
            return code, i
    return OK, i


@bare_kernel
def skip_integers(text: Text, i: int, stop: int, n: int) -> tuple[int, int]:
    """Step over `n` integers whose value nobody wants."""
    for _ in range(n):
        code, i, _ = integer(text, i, stop)
        if code != OK:
            return code, i
    return OK, i


@bare_kernel
def weights(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """All numbers up to the end of the line are weights of the event, which has one such line."""
    if b.event[event, buffers.N_WEIGHTS] >= 0:
        return codes.ORDER, i
    n = np.int64(0)
    i = blanks(text, i, stop)
    while not at_end(text, i, stop):
        if n == b.weights.shape[1]:
            return codes.WEIGHT_COUNT, i
        code, i, value = double_at(text, i, stop)
        if code != OK:
            return code, i
        b.weights[event, n] = value
        n += 1
        i = blanks(text, i, stop)
    b.event[event, buffers.N_WEIGHTS] = n
    return OK, i


@bare_kernel
def units(text: Text, i: int, stop: int, b: Buffers, event: int) -> tuple[int, int]:
    """``U GEV MM``: factors to GeV and cm; an event has one such line."""
    if b.header[event, buffers.GEV] != 0.0:
        return codes.ORDER, i
    i = blanks(text, i + 1, stop)
    if i + 6 > stop:
        return codes.UNITS, i
    if text[i + 1] != 69 or text[i + 2] != 86 or text[i + 3] != 32:  # .EV
        return codes.UNITS, i
    if text[i] == 71:  # G
        b.header[event, buffers.GEV] = 1.0
    elif text[i] == 77:  # M
        b.header[event, buffers.GEV] = 1e-3
    else:
        return codes.UNITS, i
    i = blanks(text, i + 3, stop)
    if i + 2 > stop or text[i + 1] != 77:  # .M
        return codes.UNITS, i
    if text[i] == 77:
        b.header[event, buffers.CM] = 0.1
    elif text[i] == 67:  # C
        b.header[event, buffers.CM] = 1.0
    else:
        return codes.UNITS, i
    return line_end(text, i + 2, stop)
