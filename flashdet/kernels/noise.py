"""Random numbers for many particles at a time, the same ones as `flashdet.kernels.philox` gives one by one.

The ten rounds of Philox for four particles go into the vector instructions of one, if a loop does nothing else, and so
do four normal numbers, if nothing asks for their signs or for the rare ones outside of the quick part of the ziggurat:
a branch on a random bit is guessed wrongly every second time. Two normal numbers take a third of the time, a uniform
one a third.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import _X, _rejected, words

_U = np.uint64
#: Bits of 1, and 1 less half of the step between numbers above it.
_ONE, _BELOW_ONE = _U(0x3FF0_0000_0000_0000), 1.0 - 2.0**-53


@inline
def _unit(word: np.uint64) -> float:
    """The number of `flashdet.kernels.philox`, bit for bit, without the conversion that has no vector instruction."""
    return float(_U((word >> _U(12)) | _ONE).view(np.float64) - _BELOW_ONE)


@bare_kernel
def uniform_rows(
    key: np.uint64,
    event_key: NDArray[np.uint64],
    index: NDArray[np.int64],
    slot: int,
    n: int,
    out: NDArray[np.float64],
) -> None:
    """Write the first of the numbers of `flashdet.kernels.philox.uniforms`.

    Parameters
    ----------
    key : uint64
        Stream of the stage.
    event_key, index : (n,) uint64, int64
        Counter word of the event, and place in it, of each particle.
    slot : int
        Purpose within the stage.
    n : int
        Particles; the arrays may be longer.
    out : (n,) float64
        Written.
    """
    for j in range(n):
        out[j] = _unit(words(key, event_key[j], index[j], slot)[0])


@bare_kernel
def uniform_pair_rows(
    key: np.uint64,
    event_key: NDArray[np.uint64],
    index: NDArray[np.int64],
    slot: int,
    n: int,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
) -> None:
    """Write both numbers of `flashdet.kernels.philox.uniforms`.

    Parameters
    ----------
    key, event_key, index, slot, n
        As in `uniform_rows`.
    first, second : (n,) float64
        Written.
    """
    for j in range(n):
        a, b = words(key, event_key[j], index[j], slot)
        first[j], second[j] = _unit(a), _unit(b)


@bare_kernel
def normal_rows(
    key: np.uint64,
    event_key: NDArray[np.uint64],
    index: NDArray[np.int64],
    slot: int,
    n: int,
    bits: NDArray[np.uint64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
) -> None:
    """Write both numbers of `flashdet.kernels.philox.normals`.

    Parameters
    ----------
    key, event_key, index, slot, n
        As in `uniform_rows`.
    bits : (2, n) uint64
        Scratch space.
    first, second : (n,) float64
        Written.
    """
    for j in range(n):
        bits[0, j], bits[1, j] = words(key, event_key[j], index[j], slot)
    _numbers(bits[0], 0, key, event_key, index, slot, n, first)
    _numbers(bits[1], 1, key, event_key, index, slot, n, second)


@bare_kernel
def _numbers(
    bits: NDArray[np.uint64], which: int, key: np.uint64, event_key: NDArray[np.uint64], index: NDArray[np.int64],
    slot: int, n: int, out: NDArray[np.float64],
) -> None:  # fmt: skip
    """Normal numbers of words."""
    for j in range(n):
        x, edge = _quick(bits[j])
        out[j] = x if abs(x) < edge else np.nan
    for j in range(n):
        if out[j] != out[j]:
            out[j] = _rejected(bits[j], np.int64(which), key, event_key[j], np.int64(index[j]), np.int64(slot))


@inline
def _quick(word: np.uint64) -> tuple[float, float]:
    """Normal number of a word, see `flashdet.kernels.philox`, and the size below which it is one."""
    layer = word & _U(255)
    x = np.float64(_unit(word) * _X[layer]).view(_U) | ((word & _U(256)) << _U(55))
    return float(_U(x).view(np.float64)), float(_X[layer + _U(1)])


@inline
def _normal(word: np.uint64, which: int, key: np.uint64, event_key: np.uint64, index: int, slot: int) -> float:
    """Normal number of a word."""
    x, edge = _quick(word)
    if abs(x) < edge:
        return x
    return float(_rejected(word, np.int64(which), key, event_key, np.int64(index), np.int64(slot)))
