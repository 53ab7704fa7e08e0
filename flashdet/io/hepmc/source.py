"""Inputs as streams of bytes: plain, gzip, xz, zstandard, standard input.

The compression is told by the first bytes, never by the name. Whatever goes wrong while opening or decompressing is an
:class:`~flashdet.errors.InputError` with the name of the input and the byte where it happened. Nothing here knows what
the bytes mean.
"""

from __future__ import annotations

import lzma
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from flashdet.errors import InputError

#: Bytes asked from the operating system at a time.
CHUNK = 1 << 20

_MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\x00", "zstd": b"\x28\xb5\x2f\xfd"}
# A zstandard file may begin with frames to be skipped: RFC 8878, 3.1.2, magic numbers 0x184D2A50 to 0x184D2A5F.
_ZSTD_SKIPPABLE = tuple(bytes([0x50 + i]) + b"\x2a\x4d\x18" for i in range(16))
_REFUSED = {
    b"BZh": "a bzip2 file",
    b"PK\x03\x04": "a zip archive",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
}


class _Reads(Protocol):
    def read(self, size: int, /) -> bytes: ...


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


class _Rejoined:
    """A stream whose first bytes were already taken."""

    def __init__(self, start: bytes, rest: BinaryIO) -> None:
        self._start, self._rest = start, rest

    def read(self, size: int, /) -> bytes:
        if self._start:
            piece, self._start = self._start[:size], self._start[size:]
            return piece
        return self._rest.read(size)


class _Zstd:
    """Frame after frame of a zstandard stream; unlike the library's own reader it notices a cut last frame."""

    def __init__(self, raw: _Reads) -> None:
        import zstandard

        self._context = zstandard.ZstdDecompressor()
        self._raw, self._input = raw, b""
        self._frame: Any = None

    def read(self, size: int, /) -> bytes:
        while True:
            self._input = self._input or self._raw.read(size)
            if not self._input:
                if self._frame is not None:
                    raise EOFError("the last frame is cut")
                return b""
            if self._frame is None:
                self._frame = self._context.decompressobj()
            output: bytes = self._frame.decompress(self._input)
            self._input = self._frame.unused_data
            if self._frame.eof:
                self._frame = None
            if output:
                return output


def _decompressor(kind: str, raw: _Reads) -> Any:
    if kind == "gzip":
        from isal import igzip

        return igzip.IGzipFile(fileobj=raw)
    if kind == "xz":
        return lzma.LZMAFile(raw)  # type: ignore[arg-type]  # reads with read(size) only
    return _Zstd(raw)


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
        raw = _Rejoined(start, self._file)
        kind = compression(start)
        self.kind = kind or "plain"
        self._stream: Any = _decompressor(kind, raw) if kind else raw
        self._n_bytes = 0

    def read(self) -> bytes:
        """Next piece of decompressed bytes, empty at the end.

        Raises
        ------
        InputError
            The compressed data is damaged or cut.
        """
        try:
            piece: bytes = self._stream.read(CHUNK)
        except _failures() as error:
            kind = f"{self.kind} data" if self.kind != "plain" else "file"
            raise InputError(
                f"the {kind} is cut or damaged after {self._n_bytes} good bytes of content: {error}",
                self.name,
                "copy or produce the file again, or use what is good with --on-bad-event skip",
            ) from error
        self._n_bytes += len(piece)
        return piece

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
