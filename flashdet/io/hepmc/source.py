"""Inputs as streams of bytes: plain, gzip, xz, zstandard, standard input.

The compression is told by the first bytes, never by the name. Whatever goes wrong while opening or decompressing is an
:class:`~flashdet.errors.InputError` with the name of the input and the byte where it happened. Nothing here knows what
the bytes mean.
"""

from __future__ import annotations

import io
import lzma
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from flashdet.errors import InputError

#: Bytes read at a time: plain, and compressed (they become several times more).
CHUNK, COMPRESSED_CHUNK = 1 << 20, 1 << 17

_MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}
# A zstandard file may begin with frames to be skipped: RFC 8878, 3.1.2, magic numbers 0x184D2A50 to 0x184D2A5F.
_ZSTD_SKIPPABLE = tuple(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))
_REFUSED = {
    b"BZh": "a bzip2 file",
    b"PK\x03\x04": "a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


def compression(start: bytes) -> str | None:
    """Compression of a stream from its first bytes.

    Parameters
    ----------
    start : bytes
        At least 6 bytes unless the stream is shorter.

    Returns
    -------
    str or None
        ``"gzip"``, ``"xz"``, ``"zstd"`` or None.
    """
    if start.startswith(_ZSTD_SKIPPABLE):
        return "zstd"
    return next((name for name, magic in _MAGIC.items() if start.startswith(magic)), None)


class _Rejoined(io.RawIOBase):
    """A stream whose first bytes were already taken."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        if not self._start:
            return self._rest.readinto(buffer)  # type: ignore[attr-defined,no-any-return]
        piece, self._start = self._start[: len(buffer)], self._start[len(buffer) :]
        buffer[: len(piece)] = piece
        return len(piece)


class _Members:
    """Content of a compressed stream: one member (gzip), stream (xz) or frame (zstandard) after the other.

    Unlike the files of the libraries it hands out everything in front of the damage before it fails, and it notices a
    cut last frame of zstandard.
    """

    def __init__(self, raw: io.BufferedReader, kind: str) -> None:
        self._raw, self._kind, self._new = raw, kind, _decompressor(kind)
        self._input = b""
        self._member: Any = None

    def read(self, size: int, /) -> bytes:
        while True:
            self._input = self._input or self._raw.read(size)
            if self._member is None and self._kind != "zstd":
                self._input = self._input.lstrip(b"\0")  # padding between members (gzip manual, xz format 2.2)
            if not self._input:
                if self._member is not None:
                    raise EOFError("the end is missing")
                if self._raw.peek(1):
                    continue
                return b""
            self._member = self._member or self._new()
            output: bytes = self._member.decompress(self._input)
            self._input = self._member.unused_data
            if self._member.eof:
                self._member = None
            if output:
                return output


def _decompressor(kind: str) -> Callable[[], Any]:
    """Maker of objects with decompress(), eof and unused_data."""
    if kind == "gzip":
        from isal import isal_zlib

        return lambda: isal_zlib.decompressobj(wbits=31)  # 16 + 15: gzip header, largest window
    if kind == "xz":
        return lzma.LZMADecompressor
    import zstandard

    return zstandard.ZstdDecompressor().decompressobj


def _failures() -> tuple[Any, ...]:
    """What decompressors raise on damaged data."""
    import zstandard
    from isal import isal_zlib

    return (OSError, EOFError, zlib.error, lzma.LZMAError, zstandard.ZstdError, isal_zlib.error)


class Source:
    """One input, decompressed.

    Parameters
    ----------
    name : str or Path
        A path, or ``"-"`` for standard input.

    Attributes
    ----------
    name : str
        As shown to the user.
    kind : str
        ``"plain"``, ``"gzip"``, ``"xz"`` or ``"zstd"``.

    Raises
    ------
    InputError
        The file does not exist, cannot be opened or is empty.
    """

    def __init__(self, name: str | Path) -> None:
        self.name = "standard input" if str(name) == "-" else str(name)
        self._is_stdin = str(name) == "-"
        try:
            self._file: BinaryIO = sys.stdin.buffer if self._is_stdin else open(name, "rb")  # noqa: SIM115
            start = self._file.read(16)
            while 0 < len(start) < 16 and (more := self._file.read(16 - len(start))):  # pipes give what they have
                start += more
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(f"cannot be opened: {reason}", self.name, "check the path") from None
        if not start:
            self.close()
            raise InputError("the input is empty (0 bytes)", self.name, "expected HepMC events")
        self.start = start
        raw: Any = io.BufferedReader(_Rejoined(start, self._file))
        kind = compression(start)
        self.kind = kind or "plain"
        self._stream: Any = _Members(raw, kind) if kind else raw
        self._chunk = CHUNK if kind is None else COMPRESSED_CHUNK
        self._n_bytes = 0
        self._rest = memoryview(b"")

    def read(self) -> bytes:
        """Next piece of decompressed bytes, empty at the end.

        Raises
        ------
        InputError
            The compressed data is damaged or cut.
        """
        piece: bytes = self._attempt(self._stream.read, self._chunk)
        self._n_bytes += len(piece)
        return piece

    def read_into(self, room: memoryview) -> int:
        """Write the next decompressed bytes into memory.

        Parameters
        ----------
        room : memoryview
            Receives them; not empty.

        Returns
        -------
        int
            How many there are, 0 at the end.

        Raises
        ------
        InputError
            As in `read`.
        """
        if self.kind == "plain":
            n: int = self._attempt(self._stream.readinto, room)  # no copy of the text in between
            self._n_bytes += n
            return n
        self._rest = self._rest or memoryview(self.read())
        n = min(len(room), len(self._rest))
        room[:n], self._rest = self._rest[:n], self._rest[n:]
        return n

    def _attempt(self, action: Callable[[Any], Any], argument: Any) -> Any:
        try:
            return action(argument)
        except _failures() as error:
            kind = f"{self.kind} data" if self.kind != "plain" else "file"
            raise InputError(
                f"the {kind} is cut or damaged after {self._n_bytes} good bytes of content: {error}",
                self.name,
                "copy or produce the file again, or use what is good with --on-bad-event skip",
            ) from error

    def close(self) -> None:
        """Close the file; standard input stays open."""
        if not self._is_stdin:
            self._file.close()


def describe(start: bytes) -> str:
    """Say what a stream is that is no HepMC text, from its first bytes.

    Parameters
    ----------
    start : bytes
        First bytes after decompression.

    Returns
    -------
    str
        For an error message.
    """
    kind = compression(start)
    if kind is not None:
        return f"{kind} data inside the compressed data (compressed twice?)"
    for magic, text in _REFUSED.items():
        if start.startswith(magic):
            return text
    line = start.lstrip().split(b"\n", 1)[0][:60]
    if line.startswith(b"<LesHouchesEvents") or b"<LesHouchesEvents" in start:
        return "a Les Houches event file: partons before the shower; let a generator shower and hadronise them first"
    if b"\0" in start or any(byte < 9 for byte in line):
        return f"binary data beginning with {start[:8]!r}"
    return f"text beginning with {line.decode('ascii', 'replace')!r}"
