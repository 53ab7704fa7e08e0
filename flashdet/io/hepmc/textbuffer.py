"""Text of an input in memory: lines, events, and as many whole events as a buffer holds."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.hepmc.source import Source
from flashdet.kernels.bits import load8, load64
from flashdet.kernels.jit import bare_kernel, inline

#: Bytes read, and parsed, in one go: they are still in the cache of the processor when they are parsed.
PIECE = 1 << 20
#: Bytes behind the text that a parser may load but does not use.
_PADDING = 64
#: No event and no line is longer; a central Pb-Pb event has 2e7 bytes.
_MAX_EVENT, _MAX_LINE = 1 << 30, 1 << 24
#: Bytes searched at a time for the end of a line.
_LINE = 1 << 12

_U = np.uint64
_ONES, _HIGHS = _U(0x0101010101010101), _U(0x8080808080808080)
_E, _H, _NEWLINE = 69, 72, 10
#: ``HepMC::``, the first byte lowest, and the bits of its seven bytes.
_LISTING, _SEVEN = _U(int.from_bytes(b"HepMC::", "little")), _U(2**56 - 1)


@inline
def _has(word: np.uint64, byte: int) -> bool:
    """Tell whether one of eight bytes is `byte`."""
    other = word ^ (_ONES * _U(byte))
    return bool(((other - _ONES) & ~other & _HIGHS) != _U(0))


@inline
def _is_start(text: NDArray[np.uint8], i: int, stop: int) -> bool:
    """Tell whether a line that begins with ``E `` or ``HepMC::`` begins here."""
    if load8(text, i - 1) != _NEWLINE:
        return False
    if load8(text, i) == _E:
        return bool(i + 1 < stop and load8(text, i + 1) == 32)
    return bool(i + 7 <= stop and (load64(text, i) & _SEVEN) == _LISTING)


@bare_kernel
def _last_start(text: NDArray[np.uint8], first: int, stop: int) -> int:
    """Last line of ``text[first:stop]`` that begins an event or ends a listing, -1 for none.

    Eight bytes at a time from behind: 10 times faster than ``bytearray.rfind``, which takes as long as the parser. At
    least 8 readable bytes follow `stop`.
    """
    i = stop
    while i > first:
        i -= 8
        word = load64(text, max(i, 0))
        if i <= first or _has(word, _E) or _has(word, _H):
            for k in range(i + 7, max(i - 1, first), -1):
                if _is_start(text, k, stop):
                    return k
    return -1


def _first_start(text: bytes) -> int:
    """First line behind the first one that begins an event or ends a listing, 0 for none."""
    event = text.find(b"\nE ")
    listing = text.find(b"\nHepMC::", 0, event if event >= 0 else len(text))
    return (listing if listing >= 0 else event) + 1


class TextBuffer:
    """Bytes of a source with a place in them.

    Parameters
    ----------
    source : Source

    Attributes
    ----------
    line, offset : int
        Line (from 1) and byte (from 0) of the place in the decompressed input.
    damage : InputError or None
        Why the input ended early.
    at : int
        The place in `text`.
    text : (n,) uint8
        The memory, renewed by every call that reads on.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.text = np.empty(2 * PIECE + _PADDING, np.uint8)
        self.at = self._end = 0
        self.line, self.offset = 1, 0
        self.damage: InputError | None = None
        self._at_end = False

    def _fill(self) -> bool:
        """Append a piece; False at the end. Damaged compression ends the input and is remembered."""
        if self._at_end:
            return False
        self._make_room(PIECE)
        n = 0
        try:
            n = self._source.read_into(self.text.data[self._end : self._end + PIECE])
        except InputError as error:
            self.damage = error
        self._end += n
        self._at_end = n == 0
        return n > 0

    def _make_room(self, n: int) -> None:
        """Move what is left to the front, or into larger memory, so that `n` more bytes fit."""
        if self._end + n + _PADDING <= len(self.text):
            return
        rest = self.text[self.at : self._end]
        if len(rest) + n + _PADDING > len(self.text) or self.at < len(rest) // 2:
            self.text = np.empty(2 * (len(rest) + n) + _PADDING, np.uint8)
        self.text.data[: len(rest)] = rest.data  # within the same memory NumPy would make a copy first
        self.at, self._end = 0, len(rest)

    def _bytes(self, start: int, stop: int) -> bytes:
        return self.text[start:stop].tobytes()

    def advance(self, n_bytes: int, n_lines: int) -> None:
        """Move on over text that was parsed."""
        self.at += n_bytes
        self.offset += n_bytes
        self.line += n_lines

    def _take(self, stop: int) -> bytes:
        piece = self._bytes(self.at, stop)
        self.advance(len(piece), piece.count(b"\n"))
        return piece

    def peek(self, size: int) -> bytes:
        """Up to `size` next bytes without moving on."""
        while self._end - self.at < size and self._fill():
            pass
        return self._bytes(self.at, min(self.at + size, self._end))

    def take_line(self) -> bytes:
        """Next line with its end, empty at the end of the input.

        Raises
        ------
        InputError
            The line is too long to be one of HepMC text.
        """
        searched = 0
        while True:
            stop = min(self.at + searched + _LINE, self._end)
            end = self._bytes(self.at + searched, stop).find(b"\n")
            if end >= 0:
                return self._take(self.at + searched + end + 1)
            searched = stop - self.at
            if searched > _MAX_LINE:
                raise self._too_long(f"a line is longer than {_MAX_LINE} bytes")
            if stop == self._end and not self._fill():
                return self._take(self._end)

    def take_event(self) -> tuple[bytes, bool]:
        """Text from here (an E line) to before the next E or HepMC:: line, and whether the input ended instead.

        Raises
        ------
        InputError
            The event is too long to be one.
        """
        stop = self.whole_events(1, one=True)
        return (self._take(stop), False) if stop > self.at else (self._take(self._end), True)

    def whole_events(self, size: int, *, one: bool = False) -> int:
        """End of the last event in memory that is known to be whole, after reading on to `size` bytes at least.

        Parameters
        ----------
        size : int
            Bytes wanted.
        one : bool
            End of the first event instead of the last.

        Returns
        -------
        int
            Place in `text`; `at` if the input ends inside this event.

        Raises
        ------
        InputError
            The event is too long to be one.
        """
        while self._end - self.at < size and self._fill():
            pass
        searched = 0
        while True:
            start = self.at + searched
            if one:
                end = start + _first_start(self._bytes(start, self._end))
            else:
                # A listing that ends in between stops the parser by itself.
                end = _last_start(self.text, start, self._end)
            if end > start:
                return end
            searched = max(0, self._end - self.at - len(b"\nHepMC:"))
            if searched > _MAX_EVENT:
                raise self._too_long(f"an event is longer than {_MAX_EVENT} bytes")
            if not self._fill():
                return self.at

    def _too_long(self, message: str) -> InputError:
        where = f"{self._source.name}: line {self.line}, byte {self.offset}"
        return InputError(message, where, "this is no HepMC text")
