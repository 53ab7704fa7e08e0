"""Columns with gaps as LZ4 blocks, and the XXH64 checksum: what the baskets of ROOT files are packed with.

A general compressor looks for equal bytes anywhere. Columns of measurements are simpler: numbers that no compressor
makes smaller, with gaps where a detector saw nothing, and the columns of a detector have the same gaps. `pack`
therefore searches nothing. It leaves columns without gaps as they are, and packs others by a plan of their gaps that is
made once for all columns of a detector (how much faster: benchmarks/bench_writers.py). Columns whose numbers repeat are
left to others.

Formats: LZ4 blocks (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md) and XXH64
(https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md). Nothing here knows ROOT or columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.bits import load64
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.words import rotated, store32, swapped

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Places = NDArray[np.uint32]
Rows = NDArray[np.int64]

#: Entries of a `Plans` state: words of the column, bytes and literals of the plan, first word behind it, gaps.
N_WORDS, N_BYTES, N_LITERALS, ANCHOR, N_GAPS = 0, 1, 2, 3, 4
#: What becomes of a column: nothing, packed, or nothing because it repeats and another compressor should see it.
RAW, PACKED, REPEATS = 0, 1, 2

#: The format reaches back 65535 bytes.
_REACH = 16384
#: Words before the end that no match may cover, and from which on none may begin (5 and 12 bytes).
_LAST_LITERALS, _LAST_START = 2, 3
_HASH_BITS = 12
#: Gaps up to this length copy an earlier gap, which costs 3 bytes; longer ones repeat their first word, 7 bytes.
_COPIED = 16
#: Words looked at to find out whether numbers repeat, and the share of repetitions from which on another compressor is
#: worth its time: with gaps a plan makes the column smaller too, in a fifth of the time.
_SAMPLE, _REPEATED, _REPEATED_GAPS = 512, 0.33, 0.5
#: A column with fewer gaps than one word in so many, or with fewer words than so many, is left as it is.
_FEW_GAPS, _SHORTEST = 8, 16

_P1, _P2, _P3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_P4, _P5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)


class Plans:
    """Plans of the gaps of the last columns of one length; memory that is used again and again.

    Parameters
    ----------
    n_words : int
        Words of the longest column.

    Attributes
    ----------
    gaps : (n_slots, n_words) uint8
        1 where a column has its filler.
    shape : (n_slots, ...) uint8
        Bytes of the packed column, what stands between the numbers.
    row, place : (n_slots, n_words) uint32
        Word that goes to each place of the packed column.
    state : (n_slots + 1, 5) int64
        `N_WORDS`, `N_BYTES`, `N_LITERALS`, `ANCHOR`, `N_GAPS` of each plan; in the last row the slot to be used next.
    arrays : tuple
        All of these in the order in which `pack` takes them, and two for its own use.
    """

    #: Signal, acceptance and two more: `rich` has others for each species, which do not come back.
    n_slots = 4

    def __init__(self, n_words: int) -> None:
        self.n_words = n_words
        self.gaps = np.zeros((self.n_slots, n_words), np.uint8)
        self.shape = np.zeros((self.n_slots, bound(4 * n_words)), np.uint8)
        self.row = np.zeros((self.n_slots, n_words), np.uint32)
        self.place = np.zeros((self.n_slots, n_words), np.uint32)
        self.state = np.zeros((self.n_slots + 1, 5), np.int64)
        own = np.zeros(1 << _HASH_BITS, np.uint32), np.zeros(_COPIED + 1, np.int64)
        self.arrays = (self.gaps, self.shape, self.row, self.place, self.state, *own)


def bound(n_bytes: int) -> int:
    """Most bytes that `pack` writes for so many bytes."""
    return n_bytes + n_bytes // 64 + 64


@kernel
def pack(
    words: Words,
    tail: Bytes,
    swap: bool,
    gaps: NDArray[np.uint8],
    shape: NDArray[np.uint8],
    row: Places,
    place: Places,
    state: Rows,
    seen: Words,
    earlier: Rows,
    out: Bytes,
    start: int,
) -> tuple[int, int]:
    """Pack a column if it has gaps and is smaller for it.

    Parameters
    ----------
    words : (n,) uint32
        The column.
    tail : (m,) uint8
        Bytes behind the words.
    swap : bool
        Whether the bytes of each word are written in the opposite order.
    gaps, shape, row, place, state, seen, earlier
        `Plans.arrays` for at least n words.
    out : (...) uint8
        Takes the block; `bound` bytes from `start` on.
    start : int

    Returns
    -------
    end : int
        One past the last byte of the block; `start` if there is none.
    what : int
        `RAW`, `PACKED` or `REPEATS`.
    """
    raw = 4 * len(words) + len(tail)
    filler = _find_filler(words)
    word = words[max(filler, 0)] if len(words) else np.uint32(0)
    n_gaps = _count(words, word) if filler >= 0 else 0
    has_gaps = n_gaps * _FEW_GAPS >= len(words) and len(words) >= _SHORTEST
    share = _REPEATED_GAPS if has_gaps else _REPEATED
    if _repeats(words, word, filler >= 0, seen) > share:
        return start, REPEATS
    if has_gaps:
        slot = _plan(words, word, n_gaps, gaps, shape, row, place, state, earlier)
        end = _fill(words, tail, swap, shape[slot], row[slot], place[slot], state[slot], out, start)
        if end - start < raw:
            return end, PACKED
    return start, RAW


@inline
def _find_filler(words: Words) -> int:
    """First word that is followed by its like, -1 if there is none."""
    found = -1
    for i in range(len(words) - 1):
        if words[i] == words[i + 1]:
            found = i
            break
    return found


@inline
def _count(words: Words, word: np.uint32) -> int:
    n = 0
    for i in range(len(words)):
        n += words[i] == word
    return n


@inline
def _repeats(words: Words, filler: np.uint32, has_filler: bool, seen: Words) -> float:
    """Share of numbers between the gaps that repeat: a sample of them through a table of the last ones."""
    seen[:] = filler
    n, again = 0, 0
    for i in range(len(words)):
        word = words[i]
        if has_filler and word == filler:
            continue
        slot = _slot(word)
        again += seen[slot] == word
        seen[slot] = word
        n += 1
        if n == _SAMPLE:
            break
    return again / max(n, 1)


@inline
def _slot(word: np.uint32) -> np.int64:
    """Hash of a word: upper bits of its product with 2^32 / golden ratio (Knuth, TAOCP 3, 6.4)."""
    return np.int64((np.uint64(word) * np.uint64(2654435761) >> np.uint64(32 - _HASH_BITS)) & np.uint64(0xFFF))


@kernel
def copy(words: Words, tail: Bytes, swap: bool, out: Bytes, start: int) -> int:
    """Write a column as it is, with the bytes of its words in the order asked for.

    Parameters
    ----------
    words, tail, swap, out, start
        As for `pack`.

    Returns
    -------
    int
        One past the last byte.
    """
    return _copy(words, 0, len(words), tail, swap, out, start)


@inline
def _copy(words: Words, first: int, last: int, tail: Bytes, swap: bool, out: Bytes, start: int) -> int:
    """Words ``first:last`` and the tail as they are."""
    if swap:
        for i in range(first, last):
            store32(out, start + 4 * (i - first), swapped(words[i]))
    else:
        for i in range(first, last):
            store32(out, start + 4 * (i - first), words[i])
    end = start + 4 * (last - first)
    for i in range(len(tail)):
        out[end + i] = tail[i]
    return end + len(tail)


# --- blocks ----------------------------------------------------------------------------------------------------------
@inline
def _extend(out: Bytes, end: int, length: int) -> int:
    """What a length of 15 or more adds behind its four bits."""
    while length >= 255:
        out[end] = 255
        end += 1
        length -= 255
    out[end] = length
    return end + 1


@inline
def _open(out: Bytes, end: int, n_literals: int, n_matched: int) -> int:
    """Token of a sequence and the length of its literals, both in bytes; `n_matched` 0: the last sequence."""
    match = n_matched - 4 if n_matched else 0
    out[end] = (min(n_literals, 15) << 4) | min(match, 15)
    end += 1
    return _extend(out, end, n_literals - 15) if n_literals >= 15 else end


@inline
def _close(out: Bytes, end: int, distance: int, n_matched: int) -> int:
    """Distance and length of a match, both in bytes."""
    out[end] = distance & 255
    out[end + 1] = distance >> 8
    end += 2
    return _extend(out, end, n_matched - 19) if n_matched >= 19 else end


@inline
def _plan(
    words: Words,
    filler: np.uint32,
    n_gaps: int,
    gaps: NDArray[np.uint8],
    shape: NDArray[np.uint8],
    row: Places,
    place: Places,
    state: Rows,
    earlier: Rows,
) -> int:
    """Slot of the plan for the gaps of a column, made if none is there."""
    n, n_slots = len(words), len(gaps)
    for slot in range(n_slots):
        if state[slot, N_WORDS] == n and state[slot, N_GAPS] == n_gaps:
            differs = 0
            for i in range(n):
                differs |= (words[i] == filler) ^ gaps[slot, i]
            if differs == 0:
                return slot
    slot = int(state[n_slots, 0])
    state[n_slots, 0] = (slot + 1) % n_slots
    for i in range(n):
        gaps[slot, i] = words[i] == filler
    state[slot, N_WORDS], state[slot, N_GAPS] = n, n_gaps
    _make_plan(gaps[slot, :n], shape[slot], row[slot], place[slot], state[slot], earlier)
    return slot


@inline
def _make_plan(gaps: Bytes, shape: Bytes, row: Places, place: Places, state: Rows, earlier: Rows) -> None:
    """Sequences of a column with these gaps, without its numbers."""
    n, end, anchor, n_literals, i = len(gaps), 0, 0, 0, 0
    # start of the last gap of at least so many words
    earlier[:] = -_REACH
    while i < n - _LAST_START:
        if not gaps[i]:
            i += 1
            continue
        length = 1
        while i + length < n - _LAST_LITERALS and gaps[i + length]:
            length += 1
        begin, distance = i, 1
        if length <= _COPIED and i - earlier[length] < _REACH:
            distance = i - earlier[length]
        else:
            begin += 1
        for k in range(1, min(length, _COPIED) + 1):
            earlier[k] = i
        i += length
        if begin < i and begin < n - _LAST_START:
            end = _open(shape, end, 4 * (begin - anchor), 4 * (i - begin))
            for k in range(anchor, begin):
                row[n_literals] = k
                place[n_literals] = end
                n_literals += 1
                end += 4
            end = _close(shape, end, 4 * distance, 4 * (i - begin))
            anchor = i
    state[N_LITERALS] = n_literals
    state[ANCHOR] = anchor
    state[N_BYTES] = end


@inline
def _fill(
    words: Words,
    tail: Bytes,
    swap: bool,
    shape: Bytes,
    row: Places,
    place: Places,
    state: Rows,
    out: Bytes,
    start: int,
) -> int:
    """Block of a column by its plan: the bytes of the plan, then each number at its place."""
    n_bytes, anchor = state[N_BYTES], state[ANCHOR]
    for i in range(n_bytes):
        out[start + i] = shape[i]
    if swap:
        for k in range(state[N_LITERALS]):
            store32(out, start + place[k], swapped(words[row[k]]))
    else:
        for k in range(state[N_LITERALS]):
            store32(out, start + place[k], words[row[k]])
    end = _open(out, start + n_bytes, 4 * (len(words) - anchor) + len(tail), 0)
    return _copy(words, anchor, len(words), tail, swap, out, end)


# --- checksum --------------------------------------------------------------------------------------------------------
@inline
def _round(lane: np.uint64, value: np.uint64) -> np.uint64:
    return rotated(lane + value * _P2, np.uint64(31)) * _P1


@inline
def _merged(total: np.uint64, lane: np.uint64) -> np.uint64:
    return (total ^ _round(np.uint64(0), lane)) * _P1 + _P4


@kernel
def xxh64(data: Bytes, start: int, end: int) -> np.uint64:
    """XXH64 with seed 0 of ``data[start:end]``.

    Parameters
    ----------
    data : (...) uint8
    start, end : int

    Returns
    -------
    uint64
    """
    i = start
    total = _P5
    if end - start >= 32:
        a, b, c, d = _P1 + _P2, _P2, np.uint64(0), np.uint64(0) - _P1
        while i + 32 <= end:
            a = _round(a, load64(data, i))
            b = _round(b, load64(data, i + 8))
            c = _round(c, load64(data, i + 16))
            d = _round(d, load64(data, i + 24))
            i += 32
        total = (
            rotated(a, np.uint64(1)) + rotated(b, np.uint64(7)) + rotated(c, np.uint64(12)) + rotated(d, np.uint64(18))
        )
        total = _merged(_merged(_merged(_merged(total, a), b), c), d)
    total += np.uint64(end - start)
    while i + 8 <= end:
        total = rotated(total ^ _round(np.uint64(0), load64(data, i)), np.uint64(27)) * _P1 + _P4
        i += 8
    while i + 4 <= end:
        word = np.uint64(0)
        for k in range(4):
            word |= np.uint64(data[i + k]) << np.uint64(8 * k)
        total = rotated(total ^ (word * _P1), np.uint64(23)) * _P2 + _P3
        i += 4
    while i < end:
        total = rotated(total ^ (np.uint64(data[i]) * _P5), np.uint64(11)) * _P1
        i += 1
    total = (total ^ (total >> np.uint64(33))) * _P2
    total = (total ^ (total >> np.uint64(29))) * _P3
    return total ^ (total >> np.uint64(32))
