"""Baskets of ROOT trees: big-endian bytes behind their key, packed in ROOT's compressed blocks.

A block is a header of 9 bytes, then the packed bytes; a basket may also be stored as it is (ROOT,
core/zip/src/RZip.cxx and core/lz4/src/ZipLZ4.cxx). Here ``fast`` packs with :mod:`flashdet.kernels.lz4`, all columns of
a tree in one call, and ``small`` with ZSTD. Trees and keys are in :mod:`flashdet.io.roottree`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.io.rootform import BEGIN, CONTENT, KEY_LENGTH, N_BASKET, OFFSETS, ROWS, STORED, Heads
from flashdet.io.setup import Compression
from flashdet.kernels import lz4
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.memory import addresses_of, bytes_at, rows_at, store_big32, words_at
from flashdet.kernels.xxh64 import xxh64

#: Level 1 of ZSTD is as small as level 3 for floats, at half the time.
COMPRESSION_LEVEL = 1

#: A compressed block has 3 bytes for each length. Half of them are left to what stands behind the words of a column.
_BLOCK = 1 << 23
_HEAD, _CHECKSUM = 9, 8
_ZSTD = b"ZS\x01"
#: Baskets whose first bytes ZSTD shrinks by less than an eighth are stored as they are: they are a quarter of the bytes
#: and cost a sixth of the time to make the file 5 % smaller.
_SAMPLE, _WORTH = 16_384, 0.875
#: Blocks that LZ4 shrinks by less are stored as they are: unpacking them takes longer than reading them.
_WORTH_LZ4 = 0.96
_threads = threading.local()

#: What a kernel must know of a column: where it is, its bytes, bytes of a number, rows, and where the offsets of its
#: lists are (0: no lists).
_ADDRESS, _N_BYTES, _ITEM, _N_ROWS, _PLACES = range(5)
_N_COLUMN = 5


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


class Columns:
    """Columns of a tree as kernels take them.

    Parameters
    ----------
    values : sequence of array or Lists

    Attributes
    ----------
    table : (n, 5) int64
        Address, bytes, bytes of a number, rows, address of the offsets.
    room : int
        Most bytes that the content of all baskets takes, on its way.
    largest_tail, largest_turned : int
        Most bytes behind the words of a column; most bytes of one whose numbers have neither 1 nor 4 bytes.
    n_words : int
        Words of the longest block.
    """

    def __init__(self, values: Sequence[Any]) -> None:
        # what the addresses belong to
        self._kept: list[NDArray[Any]] = []
        self._offsets: list[NDArray[np.int64]] = []
        rows: list[int] = []
        room, tail, turned, longest = 0, 0, 0, 0
        for value in values:
            n_rows, places, is_list = len(value), 0, type(value) is Lists
            if is_list:
                self._offsets.append(np.ascontiguousarray(value.offsets, np.int64))
                value, places = value.content, 4 * n_rows + 8
                tail = max(tail, places)
            if not value.flags.c_contiguous:
                value = np.ascontiguousarray(value)
            n_bytes, item = value.nbytes, value.itemsize
            self._kept.append(value)
            rows += (0, n_bytes, item, n_rows, is_list)
            room += n_bytes + places
            if n_bytes > longest:
                longest = n_bytes
            if n_bytes > turned and item != 4 and item != 1:
                turned = n_bytes
        n_blocks = len(self._kept) + room // _BLOCK
        self.room = room + room // 64 + n_blocks * (_HEAD + _CHECKSUM + 64)
        self.largest_tail, self.largest_turned, self.n_words = tail + 4, turned, min(longest, _BLOCK) // 4
        self.table = np.array(rows, np.int64).reshape(-1, _N_COLUMN)
        self.table[:, _ADDRESS] = addresses_of(self._kept)
        self.table[self.table[:, _PLACES] != 0, _PLACES] = addresses_of(self._offsets)

    def largest_value(self, i: int) -> int:
        """Largest number of a column, at least 0."""
        return int(self._kept[i].max(initial=0))


class Packer:
    """Packs baskets; the columns of a detector share plans of their gaps. The bytes do not depend on what came before.

    Parameters
    ----------
    compression : {"fast", "small"}
    """

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._gaps = lz4.Gaps(0)
        self._tail, self._turned = Scratch(), Scratch()

    def pack(self, columns: Columns, heads: Heads, out: NDArray[np.uint8], start: int) -> tuple[NDArray[np.int64], int]:
        """Write the baskets of a tree one after the other.

        Parameters
        ----------
        columns : Columns
        heads : Heads
            Their keys.
        out : (...) uint8
            Takes ``columns.room`` bytes and the keys from `start` on.
        start : int

        Returns
        -------
        baskets : (n, N_BASKET) int64
            Table of `flashdet.io.rootform`, but for the largest values.
        end : int
            One past the last byte.
        """
        n = len(columns.table)
        baskets = np.zeros((n, N_BASKET), np.int64)
        is_fast = self._compression == "fast"
        if is_fast and self._gaps.n_words < columns.n_words:
            self._gaps = lz4.Gaps(columns.n_words)
        tail, turned = self._tail.take(columns.largest_tail), self._turned.take(columns.largest_turned)
        places = addresses_of([tail, turned])
        memory = (tail, turned, int(places[0]), int(places[1]), *self._gaps.arrays, out)
        if is_fast:
            with np.errstate(over="ignore"):  # words wrap around; NumPy would mind if the kernels run without Numba
                end = _pack_baskets(columns.table, heads.raw, heads.starts, 0, n, True, *memory, start, baskets)
            return baskets, int(end)
        for i in range(n):
            end = _pack_baskets(columns.table, heads.raw, heads.starts, i, i + 1, False, *memory, start, baskets)
            begin = start + int(baskets[i, KEY_LENGTH])
            start = _zstd(out, begin, int(end))
            baskets[i, STORED] = start - baskets[i, BEGIN]
        return baskets, start


def _zstd(out: NDArray[np.uint8], start: int, end: int) -> int:
    """Pack bytes where they are, if it is worth it."""
    blocks = []
    for first in range(start, end, _BLOCK):
        raw = out[first : min(first + _BLOCK, end)].data
        compressor = _compressor()
        if len(raw) > 4 * _SAMPLE and len(compressor.compress(raw[:_SAMPLE])) > _WORTH * _SAMPLE:
            return end
        packed: bytes = compressor.compress(raw)
        if len(packed) + _HEAD >= len(raw):
            return end
        blocks += [_ZSTD + len(packed).to_bytes(3, "little") + len(raw).to_bytes(3, "little"), packed]
    joined = b"".join(blocks)
    out[start : start + len(joined)] = np.frombuffer(joined, np.uint8)
    return start + len(joined)


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


# --- kernels ---------------------------------------------------------------------------------------------------------
@bare_kernel
def _pack_baskets(
    columns: NDArray[np.int64],
    heads: NDArray[np.uint8],
    starts: NDArray[np.int64],
    first: int,
    last: int,
    is_packed: bool,
    tail: NDArray[np.uint8],
    turned: NDArray[np.uint8],
    tail_address: int,
    turned_address: int,
    gaps: NDArray[np.uint32],
    edges: NDArray[np.int32],
    state: NDArray[np.int64],
    seen: NDArray[np.uint32],
    out: NDArray[np.uint8],
    start: int,
    baskets: NDArray[np.int64],
) -> int:
    for b in range(first, last):
        begin, key_length = start, starts[b + 1] - starts[b]
        for i in range(key_length):
            out[start + i] = heads[starts[b] + i]
        start += key_length
        address, n_bytes, item = columns[b, _ADDRESS], columns[b, _N_BYTES], columns[b, _ITEM]
        if item == 2 or item == 8:
            _turn(bytes_at(address, n_bytes), item, turned)
            address = turned_address
        n_words = n_bytes // 4
        n_tail = n_bytes - 4 * n_words
        rest = bytes_at(address + 4 * n_words, n_tail)
        for i in range(n_tail):
            tail[i] = rest[i]
        n_rows, places = columns[b, _N_ROWS], columns[b, _PLACES]
        if places:
            _write_places(rows_at(places, n_rows + 1), item, key_length, tail, n_tail)
            n_tail += 4 * n_rows + 8
        content, swap = start, item == 4
        if is_packed:
            done = 0
            while True:
                stop = min(done + _BLOCK // 4, n_words)
                behind = bytes_at(tail_address, n_tail if stop == n_words else 0)
                words = words_at(address + 4 * done, stop - done)
                end = _pack_block(words, behind, swap, gaps, edges, state, seen, out, start)
                if end == start:
                    start = content
                    break
                start, done = end, stop
                if done == n_words:
                    break
        if start == content:
            start = lz4.copy(words_at(address, n_words), bytes_at(tail_address, n_tail), swap, out, content)
        baskets[b, BEGIN], baskets[b, KEY_LENGTH], baskets[b, STORED] = begin, key_length, start - begin
        baskets[b, CONTENT] = 4 * n_words + n_tail
        baskets[b, OFFSETS] = 4 * n_rows if places else 0
        baskets[b, ROWS] = n_rows
    return start


@bare_kernel
def _pack_block(
    words: NDArray[np.uint32],
    tail: NDArray[np.uint8],
    swap: bool,
    gaps: NDArray[np.uint32],
    edges: NDArray[np.int32],
    state: NDArray[np.int64],
    seen: NDArray[np.uint32],
    out: NDArray[np.uint8],
    start: int,
) -> int:
    """Pack with `lz4.pack` behind header and checksum; `start` if it does not become smaller."""
    begin, n_bytes = start + _HEAD + _CHECKSUM, 4 * len(words) + len(tail)
    end = lz4.pack(words, tail, swap, gaps, edges, state, seen, out, begin)
    if end == begin or n_bytes > 0xFFFFFF or end - start >= _WORTH_LZ4 * n_bytes:
        return start
    checksum = xxh64(out, begin, end)
    for i in range(_CHECKSUM):
        out[begin - 1 - i] = (checksum >> np.uint64(8 * i)) & np.uint64(255)
    out[start], out[start + 1], out[start + 2] = ord("L"), ord("4"), 1
    for i in range(3):
        out[start + 3 + i] = ((end - begin + _CHECKSUM) >> (8 * i)) & 255
        out[start + 6 + i] = (n_bytes >> (8 * i)) & 255
    return end


@bare_kernel
def _turn(values: NDArray[np.uint8], item: int, turned: NDArray[np.uint8]) -> None:
    """Bytes of each number in the opposite order."""
    for first in range(0, len(values), item):
        for i in range(item):
            turned[first + i] = values[first + item - 1 - i]


@bare_kernel
def _write_places(offsets: NDArray[np.int64], item: int, key_length: int, tail: NDArray[np.uint8], start: int) -> None:
    """Number of the places of lists, then each, counted from the start of the key in bytes."""
    store_big32(tail, start, len(offsets))
    for i in range(len(offsets)):
        store_big32(tail, start + 4 + 4 * i, offsets[i] * item + key_length)
