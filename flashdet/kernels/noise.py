"""Random numbers for many particles at a time, the same ones as `flashdet.kernels.philox` gives one by one.

The ten rounds of Philox for four particles go into the vector instructions of one, if a loop does nothing else: two
normal numbers take half the time, a uniform one a third.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import _X, _rejected, _unit, words

_U = np.uint64


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
    for j in range(n):
        first[j] = _normal(bits[0, j], 0, key, event_key[j], index[j], slot)
    for j in range(n):
        second[j] = _normal(bits[1, j], 1, key, event_key[j], index[j], slot)


@inline
def _normal(word: np.uint64, which: int, key: np.uint64, event_key: np.uint64, index: int, slot: int) -> float:
    """Normal number of a word, see `flashdet.kernels.philox`."""
    layer = np.int64(word & _U(255))
    x = _unit(word) * _X[layer]
    if x < _X[layer + 1]:
        return float(-x if (word & _U(256)) != _U(0) else x)
    return float(_rejected(word, np.int64(which), key, event_key, np.int64(index), np.int64(slot)))
