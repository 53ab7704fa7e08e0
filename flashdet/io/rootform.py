"""The streamed form of a TTree and its baskets whose numbers are still zero, and where they stand in it.

Classes as ROOT defines them: TTree version 20, TBranch 13, TLeaf 2, TBasket 3 (ROOT, tree/tree/inc, and the description
of the file format in io/doc/TFile). A form is made once for all trees with the same branches: filling in the numbers of
500 branches takes 1 ms, making the form 10 ms. Trees with content are in :mod:`flashdet.io.roottree`.
"""

from __future__ import annotations

import functools
import math
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.io.rootstream import KEY, KEY_VERSION, NO_DATE, array_head, named, of_class, text_of, versioned
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.memory import store_big32, store_big64

#: Bits that TTree and TBranch add to those of a TObject (kMustCleanup, kDoNotUseBufferMap).
_MUST_CLEANUP, _NO_BUFFER_MAP = 0x8, 0x0040_0000
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
BASKET = struct.Struct(">HiiiiB")
BUFFER_SIZE = 32_000
#: An empty TObjArray, and the TIOFeatures of a branch and of a tree.
_EMPTY_ARRAY = bytes.fromhex("40000015 0003 0001 00000000 03000000 00 00000000 00000000")
FEATURES = bytes.fromhex("40000007 0000 1aa12f10 00")

#: What a branch says of its content, and the numbers of the tree.
BRANCH_NUMBERS, TREE_NUMBERS = struct.Struct(f">4iq{len(FEATURES)}siIi4q"), struct.Struct(">5qd")


class Branch(NamedTuple):
    """What is the same for all trees with this branch; the letter is that of its dtype, which is slow to hash."""

    name: str
    letter: str
    shape: tuple[int, ...] = ()
    counter: str = ""
    is_counter: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of its numbers."""
        return np.dtype(self.letter)


# --- form of a tree --------------------------------------------------------------------------------------------------
#: Columns of a table of baskets: where the key begins, bytes of key, content and in the file, bytes of the places of
#: lists, largest value of a counter, and rows.
BEGIN, KEY_LENGTH, CONTENT, STORED, OFFSETS, LARGEST, ROWS = range(7)
N_BASKET = 7


@dataclass(frozen=True)
class Form:
    """A streamed tree whose numbers are still zero, and where they stand.

    Attributes
    ----------
    raw : bytes
    numbers : int
        Place of `TREE_NUMBERS`.
    places : (n_branches, 3) int64
        Of each branch: `BRANCH_NUMBERS`, `arrays_of`, and the largest value of a counter (0 for no counter).
    """

    raw: bytes
    numbers: int
    places: NDArray[np.int64]


@dataclass(frozen=True)
class Heads:
    """Keys of the baskets of a tree whose numbers are still zero.

    Attributes
    ----------
    raw : (...) uint8
        One after the other.
    starts : (n_branches + 1,) int64
        Where each begins.
    is_list : (n_branches,) bool
    width : (n_branches,) int64
        Bytes of a row.
    """

    raw: NDArray[np.uint8]
    starts: NDArray[np.int64]
    is_list: NDArray[np.bool_]
    width: NDArray[np.int64]


@functools.lru_cache(maxsize=256)
def heads_of(tree: str, branches: tuple[Branch, ...]) -> Heads:
    """Keys of the baskets of a tree: numbers that depend on the content are zero."""
    names = [text_of("TBasket") + text_of(b.name) + text_of(tree) for b in branches]
    lengths = [KEY.size + len(n) + BASKET.size for n in names]
    raw = b"".join(
        KEY.pack(0, KEY_VERSION, 0, NO_DATE, length, 0, 0, 0) + name + BASKET.pack(3, BUFFER_SIZE, 0, 0, 0, 0)
        for name, length in zip(names, lengths, strict=True)
    )
    is_list = np.array([b.counter != "" for b in branches], np.bool_)
    width = np.array([b.dtype.itemsize * math.prod(b.shape) for b in branches], np.int64)
    return Heads(np.frombuffer(raw, np.uint8), np.cumsum([0, *lengths], dtype=np.int64), is_list, width)


@bare_kernel
def fill_heads(
    baskets: NDArray[np.int64],
    is_list: NDArray[np.bool_],
    width: NDArray[np.int64],
    shift: int,
    parent: int,
    buffer: NDArray[np.uint8],
    seeks: NDArray[np.int64],
) -> None:
    """Fill in the keys of baskets that are in memory.

    Parameters
    ----------
    baskets : (n_branches, N_BASKET) int64
    is_list : (n_branches,) bool
    width : (n_branches,) int64
        Bytes of a row.
    shift : int
        What the place in the file is beyond that in memory.
    parent : int
        Where the directory begins.
    buffer : (...) uint8
        Has the keys; changed.
    seeks : (n_branches,) int64
        Places in the file; set.
    """
    for b in range(len(baskets)):
        begin, key, content = baskets[b, BEGIN], baskets[b, KEY_LENGTH], baskets[b, CONTENT]
        seeks[b] = begin + shift
        store_big32(buffer, begin, baskets[b, STORED])
        store_big32(buffer, begin + 6, content)
        store_big64(buffer, begin + 18, begin + shift)
        store_big64(buffer, begin + 26, parent)
        i = begin + key - 13
        store_big32(buffer, i, baskets[b, ROWS] + 2 if is_list[b] else width[b])
        store_big32(buffer, i + 4, baskets[b, ROWS])
        # the places of lists are 8 bytes more than their number
        places = baskets[b, OFFSETS] + 8 if is_list[b] else 0
        store_big32(buffer, i + 8, key + content - places)


@bare_kernel
def fill_branches(
    places: NDArray[np.int64],
    baskets: NDArray[np.int64],
    seeks: NDArray[np.int64],
    entries: NDArray[np.int64],
    capacity: int,
    raw: NDArray[np.uint8],
) -> None:
    """Fill in the numbers of the branches of a tree.

    Parameters
    ----------
    places : (n_branches, 3) int64
        See `Form`.
    baskets : (n_chunks, n_branches, N_BASKET) int64
    seeks : (n_chunks, n_branches) int64
        Where the baskets begin in the file.
    entries : (n_chunks + 1,) int64
        Rows before each chunk, and all of them.
    capacity : int
        Of `arrays_of`.
    raw : (...) uint8
        The form; changed.
    """
    n_chunks = len(baskets)
    for b in range(len(places)):
        content, stored, offsets, largest = 0, 0, 0, 0
        first = places[b, 1] + 1
        rows, seek = first + 4 * capacity + 1, first + 12 * capacity + 2
        for k in range(n_chunks):
            content += baskets[k, b, KEY_LENGTH] + baskets[k, b, CONTENT]
            stored += baskets[k, b, STORED]
            offsets = max(offsets, baskets[k, b, OFFSETS])
            largest = max(largest, baskets[k, b, LARGEST])
            store_big32(raw, first + 4 * k, baskets[k, b, STORED])
            store_big64(raw, rows + 8 * k, entries[k])
            store_big64(raw, seek + 8 * k, seeks[k, b])
        store_big64(raw, rows + 8 * n_chunks, entries[n_chunks])
        i = places[b, 0]
        store_big32(raw, i + 8, offsets)
        store_big64(raw, i + 16, entries[n_chunks])
        store_big64(raw, i + 47, entries[n_chunks])
        store_big64(raw, i + 63, content)
        store_big64(raw, i + 71, stored)
        if places[b, 2]:
            store_big32(raw, places[b, 2], largest)


@functools.lru_cache(maxsize=16)
def arrays_of(capacity: int) -> struct.Struct:
    """Bytes, first rows and places of the baskets of a branch, and the name of no file."""
    return struct.Struct(f">B{capacity}iB{capacity}qB{capacity}qB")


def _leaf(branch: Branch, counter_place: int) -> tuple[str, bytes]:
    """Class and streamed form of the only leaf of a branch."""
    letter, limits = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = branch.name + (f"[{branch.counter}]" if branch.counter else "") + shape
    body = named(branch.name, title, 0) + struct.pack(
        ">iii??I",
        math.prod(branch.shape),
        branch.dtype.itemsize,
        0,
        branch.is_counter,
        letter.islower(),
        counter_place,
    )
    return f"TLeaf{letter.upper()}", versioned(1, versioned(2, body) + struct.pack(">" + limits, 0, 0))


@functools.lru_cache(maxsize=256)
def form(name: str, branches: tuple[Branch, ...], n_baskets: int) -> Form:
    """Streamed form of a tree. References to leaves count bytes from the start of the tree's key."""
    before = b"".join(
        (
            named(name, name, _MUST_CLEANUP),
            # TAttLine, TAttFill and TAttMarker as ROOT sets them
            versioned(2, struct.pack(">hhh", 602, 1, 1)),
            versioned(2, struct.pack(">hh", 0, 1001)),
            versioned(2, struct.pack(">hhf", 1, 1, 1.0)),
        )
    )
    head = b"".join(
        (
            before,
            bytes(TREE_NUMBERS.size),
            struct.pack(">4iI", 0, 25, 0, 1000, 0),
            struct.pack(">6q", 10**12, 10**12, 0, -300_000_000, -30_000_000, 1_000_000),
            b"\0\0",
            FEATURES,
        )
    )
    key_length = KEY.size + len(text_of("TTree")) + 2 * len(text_of(name))
    start = 6 + len(head) + 6 + len(array_head(0))
    streamed: list[bytes] = []
    leaves: dict[str, int] = {}
    places: list[list[int]] = []
    for branch in branches:
        raw, leaf, found = _branch(branch, leaves.get(branch.counter, 0), n_baskets)
        leaves[branch.name] = key_length + start + leaf + 2
        places.append([start + found[0], start + found[1], (start + found[2]) * branch.is_counter])
        streamed.append(raw)
        start += len(raw)
    array = versioned(3, b"".join((array_head(len(branches)), *streamed)))
    references = versioned(3, array_head(len(branches)) + np.array(list(leaves.values()), ">u4").tobytes())
    # no aliases, indices, friends, user information, references of branches
    raw = versioned(20, b"".join((head, array, references, bytes(28))))
    return Form(raw, 6 + len(before), np.array(places, np.int64).reshape(-1, 3))


def _branch(branch: Branch, counter: int, n_baskets: int) -> tuple[bytes, int, tuple[int, int, int]]:
    """Streamed form of a branch, where its leaf begins in it, and the places of its numbers."""
    letter, _ = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = f"{branch.name}{f'[{branch.counter}]' if branch.counter else ''}{shape}/{letter}"
    before = named(branch.name, title, _NO_BUFFER_MAP) + versioned(2, struct.pack(">hh", 0, 1001))
    # at least one basket and the row after it, so that ROOT knows how many rows the last basket has
    capacity = max(n_baskets + 1, 2)
    zeros = (0,) * capacity
    arrays = arrays_of(capacity).pack(1, *zeros, 1, *zeros, 1, *zeros, 0)
    numbers = BRANCH_NUMBERS.pack(0, BUFFER_SIZE, 0, n_baskets, 0, FEATURES, 0, capacity, 0, 0, 0, 0, 0)
    leaf = of_class(*_leaf(branch, counter))
    leaves = versioned(3, array_head(1) + leaf)
    body = b"".join((before, numbers, _EMPTY_ARRAY, leaves, _EMPTY_ARRAY, arrays))
    raw = of_class("TBranch", versioned(13, body))
    # byte count, tag and class name; byte count and version of TBranch
    first = 4 + 4 + len(b"TBranch\0") + 6
    of_leaf = first + len(before) + BRANCH_NUMBERS.size + len(_EMPTY_ARRAY) + len(leaves) - len(leaf)
    return raw, of_leaf, (first + len(before), len(raw) - len(arrays), of_leaf + len(leaf) - 4)
