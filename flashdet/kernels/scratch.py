"""Rows of constant length in one flat array: memory for loops over a block of things.

LLVM turns a loop into vector instructions only if it can tell that what it writes is not what it reads next. For a few
arrays it adds tests of their addresses to the loop, for many it gives up. Rows at constant distances in one array need
no tests: with `at` a loop may read and write dozens of rows (parameters and covariances of tracks: 40 to 29 ns).
"""

from __future__ import annotations

import numpy as np

from flashdet.kernels.jit import inline

#: Things of a block: its rows stay in the first two levels of cache.
LENGTH = 128


@inline
def at(row: int, i: int) -> np.uint64:
    """Place of number `i`, not negative, of a row; without a sign, so that no loop asks whether it is negative."""
    return np.uint64(row * LENGTH) + np.uint64(i)
