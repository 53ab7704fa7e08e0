"""Chances of counts made of independent trials that differ from each other (Poisson-binomial distribution)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import kernel


@kernel
def accepted(
    found: NDArray[np.float64],
    right: NDArray[np.float64],
    n: int,
    min_right: int,
    max_wrong: int,
    table: NDArray[np.float64],
) -> float:
    """Probability of enough right and not too many wrong hits, exactly, by adding one layer at a time.

    Parameters
    ----------
    found : (m,) float64
        Chance of each layer to give a hit.
    right : (m,) float64
        Chance of that hit to be the right one.
    n : int
        Layers that count: the first n.
    min_right, max_wrong : int
        Least number of right hits and largest number of wrong ones.
    table : (min_right + 1, max_wrong + 1) float64
        Work space: probability of the counts so far, "min_right or more" in its last row.

    Returns
    -------
    float
    """
    table[:] = 0.0
    table[0, 0] = 1.0
    for i in range(n):
        p_right, p_wrong = found[i] * right[i], found[i] * (1.0 - right[i])
        p_none = 1.0 - found[i]
        for a in range(min_right, -1, -1):
            for b in range(max_wrong, -1, -1):
                value = table[a, b] * (p_none + (p_right if a == min_right else 0.0))
                if a > 0:
                    value += table[a - 1, b] * p_right
                if b > 0:
                    value += table[a, b - 1] * p_wrong
                table[a, b] = value
    total = 0.0
    for b in range(max_wrong + 1):
        total += table[min_right, b]
    return min(total, 1.0)
