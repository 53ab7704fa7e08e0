"""Mixing of 64-bit words: scramble one word, absorb several.

Used to make short names of long contents (event keys). This is no random-number generator: see
:mod:`flashdet.kernels.philox`.
"""

from __future__ import annotations

import numpy as np

from flashdet.kernels.jit import inline

_U = np.uint64
_GOLDEN = _U(0x9E3779B97F4A7C15)
_M1, _M2 = _U(0xBF58476D1CE4E5B9), _U(0x94D049BB133111EB)
_30, _27, _31 = _U(30), _U(27), _U(31)


@inline
def scramble(word: np.uint64) -> np.uint64:
    """Map a 64-bit word to another one, one to one, so that a changed bit changes about half of all bits.

    Parameters
    ----------
    word : uint64

    Returns
    -------
    uint64
        The output function of splitmix64 (Steele, Lea, Flood, OOPSLA 2014, with the constants of its reference code)
        for this state.
    """
    word = word + _GOLDEN
    word = (word ^ (word >> _30)) * _M1
    word = (word ^ (word >> _27)) * _M2
    return word ^ (word >> _31)


@inline
def absorb(state: np.uint64, word: np.uint64) -> np.uint64:
    """Mix a word into a state; the order of words matters.

    Parameters
    ----------
    state, word : uint64

    Returns
    -------
    uint64
        The new state.
    """
    return scramble(state ^ word)
