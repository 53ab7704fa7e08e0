"""The streamed form of a TTree whose numbers are still zero, and where they stand in it.

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
KEY = struct.Struct(">ihiIhhqq")
BASKET = struct.Struct(">HiiiiB")
#: Version of a key with 64-bit positions; the date of a key that bears none.
KEY_VERSION, NO_DATE = 1004, 0
BUFFER_SIZE = 32_000
#: An empty TObjArray, and the TIOFeatures of a branch and of a tree.
_EMPTY_ARRAY = bytes.fromhex("40000015 0003 0001 00000000 03000000 00 00000000 00000000")
FEATURES = bytes.fromhex("40000007 0000 1aa12f10 00")

#: What a branch says of its content, and the numbers of the tree.
BRANCH_NUMBERS, TREE_NUMBERS = struct.Struct(f">4iq{len(FEATURES)}siIi4q"), struct.Struct(">5qd")


class Branch(NamedTuple):
    """What is the same for all trees with this branch."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...] = ()
    counter: str = ""
    is_counter: bool = False


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


# --- form of a tree --------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Places:
    """Where the numbers of a branch stand: `BRANCH_NUMBERS`, `arrays_of`, and the largest value of a counter."""

    counts: int
    arrays: int
    largest: int


@dataclass(frozen=True)
class Form:
    """A streamed tree whose numbers are still zero, and where they stand; `numbers`: those of the tree."""

    raw: bytes
    numbers: int
    places: tuple[Places, ...]


@functools.lru_cache(maxsize=4096)
def basket_names(tree: str, branch: str) -> bytes:
    """Class and names in the key of a basket."""
    return _text("TBasket") + _text(branch) + _text(tree)


@functools.lru_cache(maxsize=16)
def arrays_of(capacity: int) -> struct.Struct:
    """Bytes, first rows and places of the baskets of a branch, and the name of no file."""
    return struct.Struct(f">B{capacity}iB{capacity}qB{capacity}qB")


def _leaf(branch: Branch, counter_place: int) -> tuple[str, bytes]:
    """Class and streamed form of the only leaf of a branch."""
    letter, limits = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = branch.name + (f"[{branch.counter}]" if branch.counter else "") + shape
    body = _named(branch.name, title, 0) + struct.pack(
        ">iii??I",
        math.prod(branch.shape),
        branch.dtype.itemsize,
        0,
        branch.is_counter,
        letter.islower(),
        counter_place,
    )
    return f"TLeaf{letter.upper()}", _versioned(1, _versioned(2, body) + struct.pack(">" + limits, 0, 0))


@functools.lru_cache(maxsize=256)
def form(name: str, branches: tuple[Branch, ...], n_baskets: int) -> Form:
    """Streamed form of a tree. References to leaves count bytes from the start of the tree's key."""
    before = b"".join(
        (
            _named(name, name, _MUST_CLEANUP),
            # TAttLine, TAttFill and TAttMarker as ROOT sets them
            _versioned(2, struct.pack(">hhh", 602, 1, 1)),
            _versioned(2, struct.pack(">hh", 0, 1001)),
            _versioned(2, struct.pack(">hhf", 1, 1, 1.0)),
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
    key_length = KEY.size + len(_text("TTree")) + 2 * len(_text(name))
    start = 6 + len(head) + 6 + len(_array_head(0))
    streamed: list[bytes] = []
    leaves: dict[str, int] = {}
    places = []
    for branch in branches:
        raw, leaf, found = _branch(branch, leaves.get(branch.counter, 0), n_baskets)
        leaves[branch.name] = key_length + start + leaf + 2
        places.append(Places(*(start + place for place in found)))
        streamed.append(raw)
        start += len(raw)
    array = _versioned(3, b"".join((_array_head(len(branches)), *streamed)))
    references = _versioned(3, _array_head(len(branches)) + np.array(list(leaves.values()), ">u4").tobytes())
    # no aliases, indices, friends, user information, references of branches
    raw = _versioned(20, b"".join((head, array, references, bytes(28))))
    return Form(raw, 6 + len(before), tuple(places))


def _branch(branch: Branch, counter: int, n_baskets: int) -> tuple[bytes, int, tuple[int, int, int]]:
    """Streamed form of a branch, where its leaf begins in it, and the places of its numbers."""
    letter, _ = _LEAVES[branch.dtype]
    shape = "".join(f"[{n}]" for n in branch.shape)
    title = f"{branch.name}{f'[{branch.counter}]' if branch.counter else ''}{shape}/{letter}"
    before = _named(branch.name, title, _NO_BUFFER_MAP) + _versioned(2, struct.pack(">hh", 0, 1001))
    # at least one basket and the row after it, so that ROOT knows how many rows the last basket has
    arrays = arrays_of(max(n_baskets + 1, 2))
    leaf = _of_class(*_leaf(branch, counter))
    leaves = _versioned(3, _array_head(1) + leaf)
    body = b"".join((before, bytes(BRANCH_NUMBERS.size), _EMPTY_ARRAY, leaves, _EMPTY_ARRAY, bytes(arrays.size)))
    raw = _of_class("TBranch", _versioned(13, body))
    # byte count, tag and class name; byte count and version of TBranch
    first = 4 + 4 + len(b"TBranch\0") + 6
    of_leaf = first + len(before) + BRANCH_NUMBERS.size + len(_EMPTY_ARRAY) + len(leaves) - len(leaf)
    return raw, of_leaf, (first + len(before), len(raw) - arrays.size, of_leaf + len(leaf) - 4)
