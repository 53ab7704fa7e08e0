"""Poisson numbers from a table: a third of the time of `flashdet.kernels.philox.poisson_at`, and as exact.

The sum of Poisson numbers is one. A mean is split into a multiple of 64, an integer below 64, eighths, and the rest
below 1/8; the distributions of the first three are in the table, and the last one is nearly always 0. One uniform
number serves all of them: what is left of it within the step of one distribution is uniform again.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import exp
from flashdet.kernels.jit import inline
from flashdet.kernels.philox import poisson_at

#: Integers with a row each, rows of multiples of that, and rows of fractions.
_STEP, _N_STEPS, _N_PARTS = 64, 8, 8
#: Steps of the uniform number with a place to begin at.
_N_GUIDES = 64
#: Probability beyond which a distribution is cut: below the steps of a uniform number of 32 bits.
_TINY = 2.0**-36


def _rows() -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Cumulative distributions one after the other, (place of k = 0, ...) of each, and where to begin in them."""
    means = [*range(1, _STEP), *range(_STEP, _STEP * (_N_STEPS + 1), _STEP)]
    means += [i / _N_PARTS for i in range(1, _N_PARTS)]
    sums, zeros, guides, length = [np.ones(1)], [0], [np.zeros(_N_GUIDES, np.int64)], 1
    for mean in means:
        k = np.arange(int(mean + 12.0 * math.sqrt(mean) + 12.0))
        log_factorials = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
        total = np.cumsum(np.exp(k * math.log(mean) - mean - log_factorials))
        low, high = np.searchsorted(total, [_TINY, 1.0 - _TINY])
        kept = total[low : high + 1].copy()
        kept[-1] = 1.0
        sums.append(kept)
        zeros.append(length - int(low))
        guides.append(np.searchsorted(kept, np.arange(_N_GUIDES) / _N_GUIDES, side="right") + length)
        length += len(kept)
    return np.concatenate(sums), np.array(zeros), np.concatenate(guides).astype(np.int64)


_SUMS, _ZEROS, _GUIDES = _rows()
for _table in (_SUMS, _ZEROS, _GUIDES):
    _table.flags.writeable = False


@inline
def _from_row(u: float, row: int) -> tuple[int, float]:
    """Number of a row that belongs to a uniform number, and what is left of that."""
    i = _GUIDES[row * _N_GUIDES + int(u * _N_GUIDES)]
    while u >= _SUMS[i]:
        i += 1
    k = i - _ZEROS[row]
    # the sum before the first one kept is as good as zero; the end of the row before it is 1
    below = _SUMS[i - 1]
    below = below if below <= u else 0.0
    return k, (u - below) / (_SUMS[i] - below)


@inline
def poisson_of(u: float, mean: float) -> int:
    """Poisson number that belongs to a uniform number.

    Parameters
    ----------
    u : float
        In the open interval (0, 1); 32 random bits are enough.
    mean : float
        Not negative.

    Returns
    -------
    int
    """
    if mean >= _STEP * (_N_STEPS + 1):
        return int(poisson_at(u, mean))
    n, whole = 0, int(mean)
    rest = mean - whole
    if whole >= _STEP:
        n, u = _from_row(u, _STEP - 1 + whole // _STEP)
        whole %= _STEP
    if whole > 0:
        more, u = _from_row(u, whole)
        n += more
    part = int(rest * _N_PARTS)
    if part > 0:
        more, u = _from_row(u, _STEP - 1 + _N_STEPS + part)
        n += more
        rest -= part / _N_PARTS
    # at least this is the probability of 0
    if u < 1.0 - rest:
        return n
    term = exp(-rest)
    total, k = term, 0
    while u >= total and term > _TINY:
        k += 1
        term *= rest / k
        total += term
    return n + k
