"""Logarithm of n!, for Poisson and binomial probabilities."""

from __future__ import annotations

import math

import numpy as np

from flashdet.kernels.jit import inline

#: log n! of the usual n, because lgamma takes 30 ns.
_TABLE = np.array([math.lgamma(n + 1.0) for n in range(512)])
_TABLE.flags.writeable = False


@inline
def log_factorial(n: int | np.int64) -> float:
    """Logarithm of n!.

    Parameters
    ----------
    n : int
        Not negative.

    Returns
    -------
    float
    """
    return _TABLE[n] if n < len(_TABLE) else math.lgamma(n + 1.0)
