"""Content of ROOT baskets: big-endian bytes, packed in ROOT's compressed blocks.

A block is a header of 9 bytes, then the packed bytes; each says how it was packed, so that the baskets of one tree may
differ (ROOT, core/zip/src/RZip.cxx and core/lz4/src/ZipLZ4.cxx). Here ``fast`` packs what a detector measured with
:mod:`flashdet.kernels.lz4` and what repeats with ZSTD, ``small`` everything with ZSTD. Trees and keys are in
:mod:`flashdet.io.roottree`.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.io.setup import Compression
from flashdet.kernels import lz4

#: Level 1 of ZSTD is as small as level 3 for floats, at half the time.
COMPRESSION_LEVEL = 1

#: A compressed block has 3 bytes for each length; whole words.
_BLOCK = (1 << 24) - 4
_HEAD, _CHECKSUM = 9, 8
_ZSTD, _LZ4 = b"ZS\x01", b"L4\x01"
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
        if raw.n_bytes > _BLOCK:
            return self._pack_blocks(raw, out, start)
        end = self._pack_block(raw, out, start)
        return end if 0 < end < start + raw.n_bytes else _copy(raw, out, start)

    def _pack_blocks(self, raw: Raw, out: NDArray[np.uint8], start: int) -> int:
        end = start
        for first in range(0, raw.n_bytes, _BLOCK):
            end = self._pack_block(raw.part(first, first + _BLOCK), out, end)
            if end == 0:
                return _copy(raw, out, start)
        return end if end < start + raw.n_bytes else _copy(raw, out, start)

    def _pack_block(self, raw: Raw, out: NDArray[np.uint8], start: int) -> int:
        """One block behind its header; 0 if it does not become smaller."""
        begin = start + _HEAD + _CHECKSUM
        if self._compression == "fast":
            if self._plans.n_words < len(raw.words):
                self._plans = lz4.Plans(len(raw.words))
            p = self._plans
            end, what = lz4.pack(raw.words, raw.tail, raw.swap, p.gaps, p.shape, p.row, p.place, p.state, out, begin)
            if what == lz4.PACKED:
                checksum = int(lz4.xxh64(out, begin, end))
                out[begin - _CHECKSUM : begin] = np.frombuffer(checksum.to_bytes(8, "big"), np.uint8)
                _put_head(out, start, _LZ4, end - begin + _CHECKSUM, raw.n_bytes)
                return int(end)
            if what == lz4.RAW:
                return 0
        else:
            _copy(raw, out, begin)
        packed = _zstd(out[begin : begin + raw.n_bytes].data, sample=self._compression == "small")
        if packed is None:
            return 0
        begin = start + _HEAD
        out[begin : begin + len(packed)] = np.frombuffer(packed, np.uint8)
        _put_head(out, start, _ZSTD, len(packed), raw.n_bytes)
        return begin + len(packed)


@dataclass(frozen=True)
class Raw:
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
            return Raw(np.concatenate([content.view(np.uint32), places.view(np.uint32)]), _EMPTY, True)
        return _of_bytes(np.concatenate([_big_endian(content), _big_endian(places)]))
    if values.dtype.itemsize == 4:
        return Raw(np.ascontiguousarray(values).reshape(-1).view(np.uint32), _EMPTY, True)
    return _of_bytes(_big_endian(values))


_EMPTY = np.empty(0, np.uint8)
_EMPTY.flags.writeable = False


def bound(n_bytes: int) -> int:
    """Most bytes that `Packer.pack` writes, on its way, for so many bytes."""
    n_blocks = n_bytes // _BLOCK + 1
    return n_blocks * (_HEAD + _CHECKSUM) + lz4.bound(n_bytes)


def _of_bytes(raw: NDArray[np.uint8]) -> Raw:
    n = len(raw) // 4 * 4
    return Raw(raw[:n].view(np.uint32), raw[n:], False)


def _big_endian(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Bytes of numbers as ROOT has them."""
    turned = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">"), copy=False))
    return turned.reshape(-1).view(np.uint8)


def _copy(raw: Raw, out: NDArray[np.uint8], start: int) -> int:
    lz4.copy(raw.words, raw.tail, raw.swap, out, start)
    return start + raw.n_bytes


def _put_head(out: NDArray[np.uint8], start: int, method: bytes, n_packed: int, n_bytes: int) -> None:
    head = method + n_packed.to_bytes(3, "little") + n_bytes.to_bytes(3, "little")
    out[start : start + _HEAD] = np.frombuffer(head, np.uint8)


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
