"""Whether arrays hold only finite numbers: one pass over the bits, many arrays per call.

What an infinite or missing number means, and who is told, is not decided here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, kernel

#: Arrays of one call: a tuple of another length would be another specialisation.
N_ARRAYS = 16
#: Bits of a double to look at: exponent only, neither infinite nor NaN passes; all but the sign, NaN passes.
FINITE, FINITE_OR_NAN = 0x7FF0_0000_0000_0000, 0x7FFF_FFFF_FFFF_FFFF
_INFINITY = np.uint64(0x7FF0_0000_0000_0000)


@bare_kernel
def _has(words: NDArray[np.uint64], mask: np.uint64) -> bool:
    """Whether any word has the bits of infinity under a mask."""
    n = 0
    for i in range(len(words)):
        # counting instead of stopping: four words per instruction
        n += (words[i] & mask) == _INFINITY
    return n > 0


@kernel
def odd_arrays(arrays: tuple[NDArray[np.float64], ...], masks: NDArray[np.uint64]) -> int:
    """Tell the arrays with numbers that must not be there.

    Parameters
    ----------
    arrays : tuple of `N_ARRAYS` (n,) float64
        Read-only; their lengths may differ.
    masks : (N_ARRAYS,) uint64
        `FINITE` or `FINITE_OR_NAN` for each.

    Returns
    -------
    int
        Bit i is set if array i has such a number.
    """
    odd = 0
    for i in range(N_ARRAYS):
        if _has(arrays[i].view(np.uint64), masks[i]):
            odd |= 1 << i
    return odd
