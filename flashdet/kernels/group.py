"""Rows grouped by a small integer, in linear time. What the integers mean is the caller's business."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import kernel


@kernel
def count_groups(first: int, last: int, a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """Count the groups that two columns of numbers tell apart.

    Parameters
    ----------
    first, last : int
        Rows looked at.
    a, b : (n,) int32
        Group of each row, negative for none.

    Returns
    -------
    int
        One more than the largest number; 0 if there is none.
    """
    largest = -1
    for i in range(first, last):
        largest = max(largest, a[i], b[i])
    return largest + 1


@kernel
def group_rows(
    first: int, last: int, group: NDArray[np.int32], start: NDArray[np.int64], member: NDArray[np.int64]
) -> None:
    """Sort rows by group, keeping their order within each: one counting sort.

    Parameters
    ----------
    first, last : int
        Rows that are sorted.
    group : (n,) int32
        Group of each row, negative for none.
    start : (n_groups + 2,) int64
        Zeros on entry. Rows of group g are ``member[start[g]:start[g + 1]]``.
    member : (last - first,) int64
        Rows by group; the places of rows without group are left as they are.
    """
    for i in range(first, last):
        if group[i] >= 0:
            start[group[i] + 2] += 1
    for g in range(2, len(start)):
        start[g] += start[g - 1]
    for i in range(first, last):
        if group[i] >= 0:
            member[start[group[i] + 1]] = i
            start[group[i] + 1] += 1
