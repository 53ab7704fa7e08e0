"""Columns as LZ4 blocks: what the baskets of ROOT files are packed with.

A general compressor looks for equal bytes anywhere. Columns are simpler. Measurements are numbers that no compressor
makes smaller, with gaps where a detector saw nothing, and the columns of a detector have the same gaps: they are packed
by a plan of their gaps that is made once for all of them, without any search. Columns whose numbers repeat (codes,
indices, flags) are searched word by word: twice as fast as ZSTD level 1, and about twice as large. All others are left
as they are. How much faster: benchmarks/bench_writers.py.

Format: LZ4 blocks (https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md). Nothing here knows ROOT or columns.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.words import store32, swapped

Bytes = NDArray[np.uint8]
Words = NDArray[np.uint32]
Rows = NDArray[np.int64]

#: Entries of a `Gaps` state: words of the column, and edges of its gaps.
N_WORDS, N_EDGES = 0, 1

#: The format reaches back 65535 bytes.
_REACH = 16384
#: Words before the end that no match may cover, and from which on none may begin (5 and 12 bytes).
_LAST_LITERALS, _LAST_START = 2, 3
_HASH_BITS = 12
#: A column is judged by so many pieces of so many words.
_PIECES, _PIECE = 16, 32
#: Share of repetitions from which on a search is worth its time: with gaps a column becomes smaller without one too, in
#: a third of the time.
_REPEATED, _REPEATED_GAPS = 0.33, 0.8
#: A column with a smaller share of gaps, or with fewer words, is left as it is.
_FEW_GAPS, _SHORTEST = 0.12, 16
#: Words that are compared before it is asked whether they were equal: whole vectors, without a jump per word.
_STRIDE = 64
#: Words that are copied at once where there are few: as long as one vector.
_WIDE = 8
#: Searches step faster by one word for each so many words without a match, as in the reference implementation.
_PATIENCE = 6


class Gaps:
    """Gaps of the last columns of one length; memory that is used again and again.

    Parameters
    ----------
    n_words : int
        Words of the longest column.

    Attributes
    ----------
    gaps : (n_slots, n_words) uint32
        1 where a column has its filler.
    edges : (n_slots, n_words + 1) int32
        First words of gaps and of what is between them, in turn.
    state : (n_slots + 1, 2) int64
        `N_WORDS` and `N_EDGES` of each slot; in the last row the slot to be used next.
    arrays : tuple
        All of these in the order in which `pack` takes them, and one for its own use.
    """

    #: Signal, acceptance and two more: `rich` has others for each species, which do not come back.
    n_slots = 4

    def __init__(self, n_words: int) -> None:
        self.n_words = n_words
        self.gaps = np.zeros((self.n_slots, n_words), np.uint32)
        self.edges = np.zeros((self.n_slots, n_words + 1), np.int32)
        self.state = np.zeros((self.n_slots + 1, 2), np.int64)
        self.arrays = (self.gaps, self.edges, self.state, np.zeros(2 << _HASH_BITS, np.uint32))


def bound(n_bytes: int) -> int:
    """Most bytes that `pack` writes for so many bytes."""
    return n_bytes + n_bytes // 64 + 64


@bare_kernel
def pack(
    words: Words,
    tail: Bytes,
    swap: bool,
    gaps: NDArray[np.uint32],
    edges: NDArray[np.int32],
    state: Rows,
    seen: Words,
    out: Bytes,
    start: int,
) -> int:
    """Pack a column if it has gaps or repeats.

    Parameters
    ----------
    words : (n,) uint32
        The column.
    tail : (m,) uint8
        Bytes behind the words, which are not packed.
    swap : bool
        Whether the bytes of each word are written in the opposite order.
    gaps, edges, state, seen
        `Gaps.arrays` for at least n words.
    out : (...) uint8
        Takes the block; `bound` bytes from `start` on.
    start : int

    Returns
    -------
    int
        One past the last byte of the block; `start` if there is none: nothing in the column can be packed.
    """
    n = len(words)
    if n < _SHORTEST:
        return start
    filler, share, repeated = _look(words, seen)
    has_gaps = share >= _FEW_GAPS
    if repeated > (_REPEATED_GAPS if has_gaps else _REPEATED):
        return _search(words, tail, swap, seen, out, start)
    if not has_gaps:
        return start
    slot = _find_gaps(words, filler, gaps, state)
    if slot < 0:
        n_slots = len(gaps)
        slot = int(state[n_slots, 0])
        state[n_slots, 0] = (slot + 1) % n_slots
        state[slot, N_WORDS], state[slot, N_EDGES] = n, _find_edges(words, filler, gaps[slot], edges[slot])
    return _skip_gaps(words, tail, swap, edges[slot], state[slot, N_EDGES], out, start)


@inline
def _look(words: Words, seen: Words) -> tuple[np.uint32, float, float]:
    """Most frequent number of a sample, its share, and the share of the others that stand there before."""
    n, size = len(words), 1 << _HASH_BITS
    for i in range(len(seen)):
        seen[i] = 0
    n_seen, n_again, most, filler = 0, 0, 0, np.uint32(0)
    n_pieces = max(min(n // _PIECE, _PIECES), 1)
    for piece in range(n_pieces):
        first = piece * (n - min(_PIECE, n)) // max(n_pieces - 1, 1)
        for i in range(first, min(first + _PIECE, n)):
            word = words[i]
            slot = _slot(np.uint64(word))
            if seen[slot] != word:
                seen[slot], seen[size + slot] = word, 0
            n_again += seen[size + slot] > 0
            seen[size + slot] += 1
            n_seen += 1
            if seen[size + slot] > most:
                most, filler = int(np.int64(seen[size + slot])), word
    return filler, most / n_seen, (n_again - most + 1) / max(n_seen - most, 1)


@inline
def _find_gaps(words: Words, filler: np.uint32, gaps: NDArray[np.uint32], state: Rows) -> int:
    """Slot with the gaps of a column, -1 if none is there."""
    n = len(words)
    for slot in range(len(gaps)):
        if state[slot, N_WORDS] != n:
            continue
        mask = gaps[slot]
        n_different = 0
        for first in range(0, n, _STRIDE):
            for i in range(first, min(first + _STRIDE, n)):
                n_different += np.uint32(words[i] == filler) != mask[i]
            if n_different:
                break
        if n_different == 0:
            return slot
    return -1


@inline
def _slot(word: np.uint64) -> np.int64:
    """Hash of a word or two: upper bits of its product with 2^64 / golden ratio (Knuth, TAOCP 3, 6.4)."""
    return np.int64((word * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - _HASH_BITS))


@bare_kernel
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
    end = _copy(words, 0, len(words), swap, out, start)
    for i in range(len(tail)):
        out[end + i] = tail[i]
    return end + len(tail)


@bare_kernel
def _copy(words: Words, first: int, last: int, swap: bool, out: Bytes, start: int) -> int:
    """Words ``first:last`` as they are."""
    if swap:
        for i in range(first, last):
            store32(out, start + 4 * (i - first), swapped(words[i]))
    else:
        for i in range(first, last):
            store32(out, start + 4 * (i - first), words[i])
    return start + 4 * (last - first)


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


@bare_kernel
def _finish(words: Words, anchor: int, tail: Bytes, swap: bool, out: Bytes, end: int) -> int:
    """Last sequence: words from `anchor` on, and the tail."""
    n = len(words)
    end = _open(out, end, 4 * (n - anchor) + len(tail), 0)
    end = _copy(words, anchor, n, swap, out, end)
    for i in range(len(tail)):
        out[end + i] = tail[i]
    return end + len(tail)


# --- columns that repeat ---------------------------------------------------------------------------------------------
@inline
def _pair(words: Words, i: int) -> np.uint64:
    return np.uint64(words[i]) | (np.uint64(words[i + 1]) << np.uint64(32))


@bare_kernel
def _search(words: Words, tail: Bytes, swap: bool, seen: Words, out: Bytes, start: int) -> int:
    """Block of a column that repeats: the last place of each pair of words, as long as words are equal from there.

    A match of one word costs three bytes, as many as it saves with the token it needs; two words are looked for.
    """
    n, end, anchor, n_missed = len(words), start, 0, 0
    # the bytes must not depend on the columns before
    for k in range(1 << _HASH_BITS):
        seen[k] = 0
    i = 1
    while i < n - _LAST_START:
        pair = _pair(words, i)
        slot = _slot(pair)
        j = int(np.int64(seen[slot]))
        seen[slot] = i
        if _pair(words, j) != pair or i - j >= _REACH:
            n_missed += 1
            i += 1 + (n_missed >> _PATIENCE)
            continue
        length = 2
        while i + length < n - _LAST_LITERALS and words[i + length] == words[j + length]:
            length += 1
        while i > anchor and j > 0 and words[i - 1] == words[j - 1]:
            i, j, length = i - 1, j - 1, length + 1
        end = _open(out, end, 4 * (i - anchor), 4 * length)
        end = _literals(words, anchor, i, swap, out, end)
        end = _close(out, end, 4 * (i - j), 4 * length)
        i += length
        anchor, n_missed = i, 0
        seen[_slot(_pair(words, i - 2))] = i - 2
    return _finish(words, anchor, tail, swap, out, end)


@inline
def _literals(words: Words, first: int, last: int, swap: bool, out: Bytes, end: int) -> int:
    """A few words: eight at once, of which those too many are written over, and others as they are."""
    if last - first <= _WIDE and first + _WIDE <= len(words):
        for i in range(_WIDE):
            store32(out, end + 4 * i, swapped(words[first + i]) if swap else words[first + i])
        return end + 4 * (last - first)
    return _copy(words, first, last, swap, out, end)


# --- columns with gaps -----------------------------------------------------------------------------------------------
@inline
def _find_edges(words: Words, filler: np.uint32, mask: NDArray[np.uint32], edges: NDArray[np.int32]) -> int:
    """Mark the gaps, and list where each begins and ends; how many edges. Without a jump per word."""
    n_edges, before = 0, np.uint32(0)
    for i in range(len(words)):
        is_gap = np.uint32(words[i] == filler)
        mask[i] = is_gap
        edges[n_edges] = i
        n_edges += is_gap != before
        before = is_gap
    if before:
        edges[n_edges] = len(words)
        n_edges += 1
    return n_edges


@bare_kernel
def _skip_gaps(
    words: Words, tail: Bytes, swap: bool, edges: NDArray[np.int32], n_edges: int, out: Bytes, start: int
) -> int:
    """Block of a column by the edges of its gaps: each gap copies an earlier one, 3 bytes.

    A gap that is longer than all within reach repeats its own first word, 7 bytes, and the next ones copy it.
    """
    n, end, anchor = len(words), start, 0
    model, longest = -_REACH, 0
    for k in range(0, n_edges, 2):
        i, stop = int(edges[k]), min(int(edges[k + 1]), n - _LAST_LITERALS)
        begin, distance = i, i - model
        if stop - i > longest or distance >= _REACH:
            model, longest = i, stop - i
            begin, distance = i + 1, 1
        if begin >= min(stop, n - _LAST_START):
            continue
        end = _open(out, end, 4 * (begin - anchor), 4 * (stop - begin))
        end = _literals(words, anchor, begin, swap, out, end)
        end = _close(out, end, 4 * distance, 4 * (stop - begin))
        anchor = stop
    return _finish(words, anchor, tail, swap, out, end)
