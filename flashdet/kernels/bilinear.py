"""Lookup of one value over two regular axes, many tables at once.

Rows of the array of axes are made by :func:`flashdet.lut.maps.pack_maps`. What the value means, and what happens to an
object outside the axes, is decided by the caller.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline

#: Numbers of a packed axis: transformed lower edge, bins per unit of the transformed value, edges, number of bins, 1 if
#: logarithmic, rule outside, 1 if interpolated.
LOW, STEP, EDGE_LOW, EDGE_HIGH, N_BINS, IS_LOG, RULE, IS_LINEAR = range(8)
#: Answers: inside, and outside an axis that says clamp, reject or error (also the packed rule of an axis).
INSIDE, CLAMPED, REJECTED, FORBIDDEN = 0, 1, 2, 3


@inline
def _place(axis: NDArray[np.float64], value: float) -> tuple[int, int, float, int]:
    """Neighbouring bins, the weight of the upper one, and the answer of one axis."""
    answer = INSIDE if axis[EDGE_LOW] <= value < axis[EDGE_HIGH] else int(axis[RULE])
    n = int(axis[N_BINS])
    x = value
    if axis[IS_LOG] != 0.0:
        x = math.log10(value) if value > 0.0 else -math.inf
    place = (x - axis[LOW]) * axis[STEP]
    if axis[IS_LINEAR] == 0.0 or n == 1:
        own = int(min(max(place, 0.0), n - 1.0))
        return own, own, 0.0, answer
    place = min(max(place - 0.5, 0.0), n - 1.0)
    lower = min(int(place), n - 2)
    return lower, lower + 1, place - lower, answer


@inline
def lookup(
    axes: NDArray[np.float64],
    start: NDArray[np.int64],
    values: NDArray[np.float64],
    i: int,
    first: float,
    second: float,
) -> tuple[float, int]:
    """Value of table `i` at two coordinates.

    Parameters
    ----------
    axes : (n_tables, 2, 8) float64
        Packed axes.
    start : (n_tables,) int64
        First value of each table.
    values : (n,) float64
        All values, the second axis fastest.
    i : int
        Table.
    first, second : float
        Coordinates; beyond the outer bin centres the outer bin is used.

    Returns
    -------
    value : float
        The value; without meaning if the answer is not `INSIDE` or `CLAMPED`.
    answer : int
        The strictest answer of the two axes.
    """
    a0, a1, fa, answer_a = _place(axes[i, 0], first)
    b0, b1, fb, answer_b = _place(axes[i, 1], second)
    n = int(axes[i, 1, N_BINS])
    k = start[i]
    low = (1.0 - fb) * values[k + a0 * n + b0] + fb * values[k + a0 * n + b1]
    high = (1.0 - fb) * values[k + a1 * n + b0] + fb * values[k + a1 * n + b1]
    return (1.0 - fa) * low + fa * high, max(answer_a, answer_b)
