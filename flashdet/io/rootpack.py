"""Content of ROOT baskets: big-endian bytes, packed in ROOT's compressed blocks.

A block is a header of 9 bytes, then the packed bytes; each says how it was packed, so that the baskets of one tree may
differ (ROOT, core/zip/src/RZip.cxx and core/lz4/src/ZipLZ4.cxx). Here ``fast`` packs what a detector measured with
:mod:`flashdet.kernels.lz4` and what repeats with ZSTD, ``small`` everything with ZSTD. Trees and keys are in
:mod:`flashdet.io.roottree`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.io.setup import Compression
from flashdet.kernels import lz4
from flashdet.kernels.jit import kernel

#: Level 1 of ZSTD is as small as level 3 for floats, at half the time.
COMPRESSION_LEVEL = 1

#: A compressed block has 3 bytes for each length; whole words.
_BLOCK = (1 << 24) - 4
_HEAD, _CHECKSUM = 9, 8
_ZSTD = b"ZS\x01"
#: Baskets whose first bytes ZSTD shrinks by less than an eighth are stored as they are: they are a quarter of the bytes
#: and cost a sixth of the time to make the file 5 % smaller.
_SAMPLE, _WORTH = 16_384, 0.875
_threads = threading.local()


@dataclass(frozen=True)
class Lists:
    """Content of a branch with a list of numbers per row.

    Attributes
    ----------
    offsets : (n + 1,) int64
        List i is ``content[offsets[i]:offsets[i + 1]]``.
    content : (n_values,) array
        All lists one after the other.
    counter : str
        Branch with the lengths of the lists; empty: one of its own, ``<branch>_size``.
    """

    offsets: NDArray[np.int64]
    content: NDArray[Any]
    counter: str = ""

    def __len__(self) -> int:
        return len(self.offsets) - 1


class Scratch:
    """Memory for packed baskets, used again for every chunk: fresh pages cost as much as packing."""

    def __init__(self) -> None:
        self._buffer = np.empty(0, np.uint8)

    def take(self, n_bytes: int) -> NDArray[np.uint8]:
        """At least so many bytes; the content of an earlier call is gone."""
        if len(self._buffer) < n_bytes:
            self._buffer = np.empty(n_bytes + n_bytes // 4, np.uint8)
        return self._buffer


class Packer:
    """Packs baskets; the columns of a detector share plans of their gaps. The bytes do not depend on what came before.

    Parameters
    ----------
    compression : {"fast", "small"}
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._plans = lz4.Plans(0)

    def pack(self, raw: Raw, out: NDArray[np.uint8], start: int) -> int:
        """Write a basket's content.

        Parameters
        ----------
        raw : Raw
        out : (...) uint8
            Takes `bound` bytes from `start` on.
        start : int

        Returns
        -------
        int
            One past the last byte. As many bytes as came: the content as it is.
        """
        if raw.n_bytes <= _BLOCK:
            return self._pack_block(raw, out, start)
        end = start
        for first in range(0, raw.n_bytes, _BLOCK):
            part = raw.part(first, first + _BLOCK)
            begin, end = end, self._pack_block(part, out, end)
            if end - begin == part.n_bytes:
                return lz4.copy(raw.words, raw.tail, raw.swap, out, start)
        return end

    def _pack_block(self, raw: Raw, out: NDArray[np.uint8], start: int) -> int:
        """One block behind its header, or the content as it is."""
        if self._compression == "fast":
            if self._plans.n_words < len(raw.words):
                self._plans = lz4.Plans(len(raw.words))
            end, what = _pack_measured(raw.words, raw.tail, raw.swap, *self._plans.arrays, out, start)
            if what != lz4.REPEATS:
                return int(end)
        else:
            end = lz4.copy(raw.words, raw.tail, raw.swap, out, start)
        packed = _zstd(out[start:end].data, sample=self._compression == "small")
        if packed is None:
            return int(end)
        head = _ZSTD + len(packed).to_bytes(3, "little") + raw.n_bytes.to_bytes(3, "little")
        end = start + _HEAD + len(packed)
        out[start:end] = np.frombuffer(head + packed, np.uint8)
        return int(end)


class Raw(NamedTuple):
    """Bytes of a basket before packing.

    Attributes
    ----------
    words : (n,) uint32
        Its words.
    tail : (m,) uint8
        What is left behind them, less than a word.
    swap : bool
        Whether the words have to be turned to become big-endian.
    """

    words: NDArray[np.uint32]
    tail: NDArray[np.uint8]
    swap: bool

    @property
    def n_bytes(self) -> int:
        """Bytes altogether."""
        return 4 * len(self.words) + len(self.tail)

    def part(self, first: int, last: int) -> Raw:
        """Bytes ``first:last``, multiples of four, with the tail if they reach the end."""
        tail = self.tail if last >= self.n_bytes else self.tail[:0]
        return Raw(self.words[first // 4 : last // 4], tail, self.swap)


def of_values(values: NDArray[Any] | Lists, key_length: int) -> Raw:
    """Content of a basket; lists are followed by the places where they begin, counted from the start of the key.

    Parameters
    ----------
    values : array or Lists
    key_length : int
        Bytes of the basket's key.

    Returns
    -------
    Raw
    """
    if isinstance(values, Lists):
        content = np.ascontiguousarray(values.content)
        first = (values.offsets * content.itemsize + key_length).astype(np.int32)
        places = np.concatenate([np.array([len(first)], np.int32), first])
        if content.itemsize == 4:
            return _raw(np.concatenate([content.view(np.uint32), places.view(np.uint32)]), _EMPTY, True)
        return _of_bytes(np.concatenate([_big_endian(content), _big_endian(places)]))
    if values.dtype.itemsize == 4:
        return _raw(np.ascontiguousarray(values).reshape(-1).view(np.uint32), _EMPTY, True)
    return _of_bytes(_big_endian(values))


_EMPTY = np.empty(0, np.uint8)
_EMPTY.flags.writeable = False


def bound(n_bytes: int) -> int:
    """Most bytes that `Packer.pack` writes, on its way, for so many bytes."""
    n_blocks = n_bytes // _BLOCK + 1
    return n_blocks * (_HEAD + _CHECKSUM) + lz4.bound(n_bytes)


def _of_bytes(raw: NDArray[np.uint8]) -> Raw:
    n = len(raw) // 4 * 4
    return _raw(raw[:n].view(np.uint32), raw[n:], False)


def _raw(words: NDArray[np.uint32], tail: NDArray[np.uint8], swap: bool) -> Raw:
    """Content that cannot be written, whatever it was made of: one type for the kernels."""
    words.flags.writeable = tail.flags.writeable = False
    return Raw(words, tail, swap)


def _big_endian(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of numbers as ROOT has them."""
    turned = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">"), copy=False))
    return turned.reshape(-1).view(np.uint8)


@kernel
def _pack_measured(
    words: NDArray[np.uint32],
    tail: NDArray[np.uint8],
    swap: bool,
    gaps: NDArray[np.uint8],
    shape: NDArray[np.uint8],
    row: NDArray[np.uint32],
    place: NDArray[np.uint32],
    state: NDArray[np.int64],
    seen: NDArray[np.uint32],
    earlier: NDArray[np.int64],
    out: NDArray[np.uint8],
    start: int,
) -> tuple[int, int]:
    """Pack with `lz4.pack` behind header and checksum; a copy if it does not become smaller, or if it repeats."""
    begin, n_bytes = start + _HEAD + _CHECKSUM, 4 * len(words) + len(tail)
    end, what = lz4.pack(words, tail, swap, gaps, shape, row, place, state, seen, earlier, out, begin)
    if what != lz4.PACKED or end - start >= n_bytes:
        return lz4.copy(words, tail, swap, out, start), lz4.REPEATS if what == lz4.REPEATS else lz4.RAW
    checksum = lz4.xxh64(out, begin, end)
    for i in range(_CHECKSUM):
        out[begin - 1 - i] = (checksum >> np.uint64(8 * i)) & np.uint64(255)
    out[start], out[start + 1], out[start + 2] = ord("L"), ord("4"), 1
    for i in range(3):
        out[start + 3 + i] = ((end - begin + _CHECKSUM) >> (8 * i)) & 255
        out[start + 6 + i] = (n_bytes >> (8 * i)) & 255
    return end, what


def _zstd(raw: memoryview, *, sample: bool) -> bytes | None:
    """Packed bytes; None if they are not worth it."""
    compressor = _compressor()
    if sample and len(raw) > 4 * _SAMPLE and len(compressor.compress(raw[:_SAMPLE])) > _WORTH * _SAMPLE:
        return None
    packed: bytes = compressor.compress(raw)
    return packed if len(packed) + _HEAD < len(raw) else None


def packer(compression: Compression) -> Packer:
    """Packer of this thread."""
    made: Packer | None = getattr(_threads, compression, None)
    if made is None:
        made = Packer(compression)
        setattr(_threads, compression, made)
    return made


def _compressor() -> Any:
    """Compressor of this thread: making one for every basket costs as much as a small basket."""
    if not hasattr(_threads, "compressor"):
        import zstandard

        _threads.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    return _threads.compressor
