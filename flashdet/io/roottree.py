"""TTrees with one basket per branch, turned into bytes here because uproot's own way costs 0.15 s per directory.

uproot makes the file, the directories and the keys; here are only the streamed forms of TTree, TBranch, TLeaf and
TBasket, as ROOT's classes define them (TTree version 20, TBranch 13, TLeaf 2, TBasket 3: ROOT, tree/tree/inc, and the
description of the file format in io/doc/TFile). The baskets of a tree are compressed by a few threads and written with
one call. Directories of 27 trees and 430 branches cost 30 ms instead of 180 ms (benchmarks/bench_writers.py). What the
branches mean is not known here.
"""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Level 1 of ZSTD writes 250 MB/s of floats where ZLIB-1 writes 28 MB/s, and is as small (benchmarks/bench_writers.py).
COMPRESSION_LEVEL = 1

_BYTE_COUNT, _NEW_CLASS = 0x4000_0000, 0xFFFF_FFFF
#: Bits of a TObject: on the heap and not deleted; and what TTree and TBranch add (kMustCleanup, kDoNotUseBufferMap).
_ON_HEAP, _MUST_CLEANUP, _NO_BUFFER_MAP = 0x0300_0000, 0x8, 0x0040_0000
#: Leaf class, letter of the leaf and format of its least and largest value, by dtype.
_LEAVES = {
    np.dtype(np.bool_): ("O", "??"),
    np.dtype(np.int8): ("B", "bb"),
    np.dtype(np.uint8): ("b", "bb"),
    np.dtype(np.int16): ("S", "hh"),
    np.dtype(np.uint16): ("s", "hh"),
    np.dtype(np.int32): ("I", "ii"),
    np.dtype(np.uint32): ("i", "ii"),
    np.dtype(np.int64): ("L", "qq"),
    np.dtype(np.uint64): ("l", "qq"),
    np.dtype(np.float32): ("F", "ff"),
    np.dtype(np.float64): ("D", "dd"),
}
_KEY = struct.Struct(">ihiIhhqq")
_BASKET = struct.Struct(">HiiiiB")
#: Version of a key with 64-bit positions; the date of a key that bears none.
_KEY_VERSION, _NO_DATE = 1004, 0
#: A compressed block has a header of 9 bytes with 3 bytes for each length.
_BLOCK = (1 << 24) - 1
_BUFFER_SIZE = 32_000
#: Baskets whose first bytes shrink by less than an eighth are stored as they are: they are a quarter of the bytes and
#: cost a sixth of the time to make the file 5 % smaller.
_SAMPLE, _WORTH = 16_384, 0.875
#: An empty TObjArray, and the TIOFeatures of a branch and of a tree.
_EMPTY_ARRAY = bytes.fromhex("40000015 0003 0001 00000000 03000000 00 00000000 00000000")
_FEATURES = bytes.fromhex("40000007 0000 1aa12f10 00")
_threads = threading.local()

Buffer = bytes | memoryview


@dataclass(frozen=True)
class Lists:
    """Content of a branch with a list of integers per row.

    Attributes
    ----------
    offsets : (n + 1,) int64
        List i is ``content[offsets[i]:offsets[i + 1]]``.
    content : (n_values,) array
        All lists one after the other.
    """

    offsets: NDArray[np.int64]
    content: NDArray[Any]

    def __len__(self) -> int:
        return len(self.offsets) - 1


@dataclass(frozen=True)
class _Basket:
    """One basket as it lies in the file: the key but for its first numbers (`_KEY`), then the content."""

    head: bytes
    packed: Buffer
    key_length: int
    content_length: int

    @property
    def stored(self) -> int:
        """Bytes in the file, the key included."""
        return self.key_length + len(self.packed)


@dataclass(frozen=True)
class _Branch:
    """What the description of a branch needs."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    counter: str
    largest: int
    offsets_length: int


def write_trees(directory: Any, trees: Mapping[str, Mapping[str, Any]], pool: Executor | None = None) -> None:
    """Write whole trees into a directory.

    Parameters
    ----------
    directory : uproot.WritableDirectory
        Where they go.
    trees : mapping of str to mapping of str to array or Lists
        Content of the branches by tree: (n, ...) arrays, or `Lists` (a counter branch called ``<branch>_size`` comes
        before them).
    pool : concurrent.futures.Executor, optional
        Compresses the baskets; the bytes do not depend on it.
    """
    mapper: Callable[..., Iterable[_Basket]] = map if pool is None else pool.map
    for name, content in trees.items():
        columns = _with_counters(content)
        branches = [_describe(branch, values, content) for branch, values in columns.items()]
        n_rows = len(next(iter(columns.values())))
        baskets = list(mapper(lambda item, tree=name: _basket(tree, *item), columns.items())) if n_rows else []
        places = _write_baskets(directory, baskets)
        _write_object(directory, name, _tree(name, branches, n_rows, baskets, places))


def _with_counters(content: Mapping[str, Any]) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for name, values in content.items():
        if isinstance(values, Lists):
            columns[f"{name}_size"] = np.diff(values.offsets).astype(np.int32)
        columns[name] = values
    return columns


def _describe(name: str, values: Any, content: Mapping[str, Any]) -> _Branch:
    if isinstance(values, Lists):
        return _Branch(name, values.content.dtype, (), f"{name}_size", -1, 4 * len(values))
    counts = name.removesuffix("_size")
    is_counter = name not in content and counts in content
    largest = int(values.max(initial=0)) if is_counter else -1
    return _Branch(name, values.dtype, values.shape[1:], "", largest, 0)


# --- baskets ---------------------------------------------------------------------------------------------------------
def _basket(tree: str, name: str, values: Any) -> _Basket:
    """One basket with all rows of a branch; numbers are big-endian in ROOT."""
    names = _text("TBasket") + _text(name) + _text(tree)
    key_length = _KEY.size + len(names) + _BASKET.size
    if isinstance(values, Lists):
        first = values.offsets * values.content.itemsize + key_length
        pieces = _big_endian(values.content), struct.pack(">i", len(first)), _big_endian(first.astype(np.int32))
        raw: Buffer = b"".join(pieces)
        size, last = len(first) + 1, int(first[-1])
    else:
        raw = _big_endian(values)
        size, last = values.itemsize * math.prod(values.shape[1:]), key_length + len(raw)
    basket = _BASKET.pack(3, _BUFFER_SIZE, size, len(values), last, 0)
    return _Basket(names + basket, _compress(raw), key_length, len(raw))


def _big_endian(values: NDArray[Any]) -> memoryview:
    """Bytes of numbers as ROOT has them."""
    swapped = np.ascontiguousarray(values.astype(values.dtype.newbyteorder(">"), copy=False))
    return swapped.reshape(-1).view(np.uint8).data


def _compress(raw: Buffer) -> Buffer:
    """ROOT's form of ZSTD: blocks with a header of 9 bytes; what does not shrink stays as it is."""
    compressor = _compressor()
    sample = raw[:_SAMPLE]
    if len(raw) > 4 * _SAMPLE and len(compressor.compress(sample)) > _WORTH * len(sample):
        return raw
    parts = []
    for start in range(0, len(raw), _BLOCK):
        block = raw[start : start + _BLOCK]
        packed = compressor.compress(block)
        if len(packed) >= len(block):
            return raw
        parts += [b"ZS\x01", len(packed).to_bytes(3, "little"), len(block).to_bytes(3, "little"), packed]
    packed = b"".join(parts)
    return packed if len(packed) < len(raw) else raw


def _compressor() -> Any:
    """Compressor of this thread: making one for every basket costs as much as a small basket."""
    if not hasattr(_threads, "compressor"):
        import zstandard

        _threads.compressor = zstandard.ZstdCompressor(level=COMPRESSION_LEVEL)
    return _threads.compressor


def _write_baskets(directory: Any, baskets: list[_Basket]) -> list[int]:
    """Put baskets one after the other into the file and tell where each begins."""
    if not baskets:
        return []
    inner, sink = directory._cascading, directory._file.sink
    position = inner.freesegments.allocate(sum(b.stored for b in baskets), dry_run=False)
    parent, start, places, parts = inner.key.location, position, [], []
    for b in baskets:
        places.append(position)
        key = (b.stored, _KEY_VERSION, b.content_length, _NO_DATE, b.key_length, 0, position, parent)
        parts += [_KEY.pack(*key), b.head, b.packed]
        position += b.stored
    sink.write(start, b"".join(parts))
    return places


def _write_object(directory: Any, name: str, raw: bytes) -> None:
    """Add a tree to the listing of its directory."""
    inner, sink = directory._cascading, directory._file.sink
    inner.add_object(sink, "TTree", name, name, raw, len(raw), replaces=None, big=True)
    inner.freesegments.write(sink)
    sink.set_file_length(inner.freesegments.fileheader.end)


# --- streamed objects ------------------------------------------------------------------------------------------------
def _text(text: str) -> bytes:
    raw = text.encode()
    return (bytes([len(raw)]) if len(raw) < 255 else struct.pack(">BI", 255, len(raw))) + raw


def _versioned(version: int, body: bytes) -> bytes:
    """Body of a class behind its byte count and version."""
    return struct.pack(">IH", (len(body) + 2) | _BYTE_COUNT, version) + body


def _of_class(name: str, body: bytes) -> bytes:
    """Object in an array, behind the name of its class."""
    tagged = struct.pack(">I", _NEW_CLASS) + name.encode() + b"\0" + body
    return struct.pack(">I", len(tagged) | _BYTE_COUNT) + tagged


def _named(name: str, title: str, bits: int) -> bytes:
    return _versioned(1, struct.pack(">HII", 1, 0, bits | _ON_HEAP) + _text(name) + _text(title))


def _array_head(n: int) -> bytes:
    """TObject, empty name, length and lower bound of a TObjArray."""
    return struct.pack(">HIIBii", 1, 0, _ON_HEAP, 0, n, 0)


def _leaf(branch: _Branch, counter_place: int) -> tuple[str, bytes]:
    """Class and streamed form of the only leaf of a branch."""
    letter, limits = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = branch.name + (f"[{branch.counter}]" if branch.counter else "") + shape
    length = math.prod(branch.shape)
    is_unsigned, is_range = letter.islower(), branch.largest >= 0
    body = _named(branch.name, title, 0) + struct.pack(
        ">iii??I", length, branch.dtype.itemsize, 0, is_range, is_unsigned, counter_place
    )
    least_and_largest = struct.pack(">" + limits, 0, max(branch.largest, 0))
    return f"TLeaf{letter.upper()}", _versioned(1, _versioned(2, body) + least_and_largest)


def _tree(name: str, branches: list[_Branch], n_rows: int, baskets: list[_Basket], places: list[int]) -> bytes:
    """Streamed form of a tree. References to leaves count bytes from the start of the tree's key."""
    total = sum(b.key_length + b.content_length for b in baskets)
    stored = sum(b.stored for b in baskets)
    head = b"".join(
        (
            _named(name, name, _MUST_CLEANUP),
            # TAttLine, TAttFill and TAttMarker as ROOT sets them
            _versioned(2, struct.pack(">hhh", 602, 1, 1)),
            _versioned(2, struct.pack(">hh", 0, 1001)),
            _versioned(2, struct.pack(">hhf", 1, 1, 1.0)),
            struct.pack(">5qd", n_rows, total, stored, 0, 0, 1.0),
            struct.pack(">4iI", 0, 25, 0, 1000, 0),
            struct.pack(">6q", 10**12, 10**12, 0, -300_000_000, -30_000_000, 1_000_000),
            b"\0\0",
            _FEATURES,
        )
    )
    key_length = _KEY.size + len(_text("TTree")) + 2 * len(_text(name))
    start = key_length + 6 + len(head) + 6 + len(_array_head(0))
    streamed: list[bytes] = []
    leaves: dict[str, int] = {}
    size = 0
    for i, branch in enumerate(branches):
        counter = leaves.get(branch.counter, 0)
        basket = (baskets[i], places[i]) if baskets else None
        raw, leaf_place = _branch(branch, counter, n_rows, basket)
        leaves[branch.name] = start + size + leaf_place + 2
        streamed.append(raw)
        size += len(raw)
    array = _versioned(3, b"".join((_array_head(len(branches)), *streamed)))
    references = _versioned(3, _array_head(len(branches)) + np.array(list(leaves.values()), ">u4").tobytes())
    # no aliases, indices, friends, user information, references of branches
    return _versioned(20, b"".join((head, array, references, bytes(28))))


def _branch(branch: _Branch, counter: int, n_rows: int, basket: tuple[_Basket, int] | None) -> tuple[bytes, int]:
    """Streamed form of a branch, and where its leaf begins in it."""
    letter, _ = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = f"{branch.name}{f'[{branch.counter}]' if branch.counter else ''}{shape}/{letter}"
    content, stored, place = 0, 0, 0
    if basket is not None:
        content, stored, place = basket[0].key_length + basket[0].content_length, basket[0].stored, basket[1]
    n_baskets = int(basket is not None)
    # one basket and the entry after it, so that ROOT knows how many rows the basket has
    capacity = 2
    head = b"".join(
        (
            _named(branch.name, title, _NO_BUFFER_MAP),
            _versioned(2, struct.pack(">hh", 0, 1001)),
            struct.pack(">4iq", 0, _BUFFER_SIZE, branch.offsets_length, n_baskets, n_rows),
            _FEATURES,
            struct.pack(">iIi4q", 0, capacity, 0, n_rows, 0, content, stored),
            _EMPTY_ARRAY,
        )
    )
    leaf = _of_class(*_leaf(branch, counter))
    tail = b"".join(
        (
            b"\1" + struct.pack(">2i", stored, 0),
            b"\1" + struct.pack(">2q", 0, n_rows),
            b"\1" + struct.pack(">2q", place, 0),
            b"\0",
        )
    )
    body = b"".join((head, _versioned(3, _array_head(1) + leaf), _EMPTY_ARRAY, tail))
    raw = _of_class("TBranch", _versioned(13, body))
    # byte count, tag and class name; byte count and version of TBranch, and of the array
    return raw, 4 + 4 + len(b"TBranch\0") + 6 + len(head) + 6 + len(_array_head(1))
