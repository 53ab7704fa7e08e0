"""The XXH64 checksum (https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md), for kernels that pack."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.bits import load64
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.words import rotated

_P1, _P2, _P3 = np.uint64(0x9E3779B185EBCA87), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0x165667B19E3779F9)
_P4, _P5 = np.uint64(0x85EBCA77C2B2AE63), np.uint64(0x27D4EB2F165667C5)


@inline
def _round(lane: np.uint64, value: np.uint64) -> np.uint64:
    return rotated(lane + value * _P2, np.uint64(31)) * _P1


@inline
def _merged(total: np.uint64, lane: np.uint64) -> np.uint64:
    return (total ^ _round(np.uint64(0), lane)) * _P1 + _P4


@bare_kernel
def xxh64(data: NDArray[np.uint8], start: int, end: int) -> np.uint64:
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
