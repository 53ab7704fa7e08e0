"""Text of an input in memory: lines, events, and as many whole events as a buffer holds."""

from __future__ import annotations

import numpy as np

from flashdet.errors import InputError
from flashdet.io.hepmc.source import CHUNK, Source

#: Text that is parsed in one go: about 1e5 particles, small enough for the memory of a grid job.
PIECE = 16 << 20
#: Bytes behind the text that a parser may load but does not use.
_PADDING = 64
#: No event and no line is longer; a central Pb-Pb event has 2e7 bytes.
_MAX_EVENT, _MAX_LINE = 1 << 30, 1 << 24


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
        # Memory that is not written yet costs nothing.
        self._data = bytearray(PIECE + 2 * CHUNK + _PADDING)
        self.text = np.frombuffer(self._data, np.uint8)
        self.at = self._end = 0
        self.line, self.offset = 1, 0
        self.damage: InputError | None = None
        self._at_end = False

    def _fill(self) -> bool:
        """Append a piece; False at the end. Damaged compression ends the input and is remembered."""
        if self._at_end:
            return False
        try:
            piece = self._source.read()
        except InputError as error:
            self.damage, piece = error, b""
        self._make_room(len(piece))
        self._data[self._end : self._end + len(piece)] = piece
        self._end += len(piece)
        self._at_end = not piece
        return bool(piece)

    def _make_room(self, n: int) -> None:
        """Move what is left to the front, or into larger memory, so that `n` more bytes fit."""
        if self._end + n + _PADDING <= len(self._data):
            return
        rest = bytes(memoryview(self._data)[self.at : self._end])
        if len(rest) + n + _PADDING > len(self._data) or self.at < len(rest) // 2:
            self._data = bytearray(2 * (len(rest) + n) + _PADDING)
            self.text = np.frombuffer(self._data, np.uint8)
        self._data[: len(rest)] = rest
        self.at, self._end = 0, len(rest)

    def advance(self, n_bytes: int, n_lines: int) -> None:
        """Move on over text that was parsed."""
        self.at += n_bytes
        self.offset += n_bytes
        self.line += n_lines

    def _take(self, stop: int) -> bytes:
        piece = bytes(memoryview(self._data)[self.at : stop])
        self.advance(len(piece), piece.count(b"\n"))
        return piece

    def peek(self, size: int) -> bytes:
        """Up to `size` next bytes without moving on."""
        while self._end - self.at < size and self._fill():
            pass
        return bytes(memoryview(self._data)[self.at : min(self.at + size, self._end)])

    def take_line(self) -> bytes:
        """Next line with its end, empty at the end of the input.

        Raises
        ------
        InputError
            The line is too long to be one of HepMC text.
        """
        searched = 0
        while (end := self._data.find(b"\n", self.at + searched, self._end)) < 0:
            searched = self._end - self.at
            if searched > _MAX_LINE:
                raise self._too_long(f"a line is longer than {_MAX_LINE} bytes")
            if not self._fill():
                return self._take(self._end)
        return self._take(end + 1)

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
                event = self._data.find(b"\nE ", start, self._end)
                listing = self._data.find(b"\nHepMC::", start, event if event >= 0 else self._end)
                end = listing if listing >= 0 else event
            else:
                # A listing that ends in between stops the parser by itself.
                end = self._data.rfind(b"\nE ", start, self._end)
                if end < 0:
                    end = self._data.find(b"\nHepMC::", start, self._end)
            if end >= 0:
                return end + 1
            searched = max(0, self._end - self.at - len(b"\nHepMC:"))
            if searched > _MAX_EVENT:
                raise self._too_long(f"an event is longer than {_MAX_EVENT} bytes")
            if not self._fill():
                return self.at

    def _too_long(self, message: str) -> InputError:
        where = f"{self._source.name}: line {self.line}, byte {self.offset}"
        return InputError(message, where, "this is no HepMC text")
