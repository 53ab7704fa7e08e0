"""Maps of two axes laid out for the kernel :func:`flashdet.kernels.bilinear.lookup`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.bilinear import CLAMPED, FORBIDDEN, REJECTED
from flashdet.lut.axis import Axis
from flashdet.lut.table import Map

_RULES = {"clamp": CLAMPED, "reject": REJECTED, "error": FORBIDDEN}


class PackedMaps(NamedTuple):
    """Several maps as flat arrays.

    Attributes
    ----------
    axes : (n_maps, 2, 8) float64
        See the names in `flashdet.kernels.bilinear`.
    start : (n_maps,) int64
        First value of each map.
    values : (n,) float64
        All values, the second axis fastest.
    """

    axes: NDArray[np.float64]
    start: NDArray[np.int64]
    values: NDArray[np.float64]


def pack_maps(maps: Sequence[Map]) -> PackedMaps:
    """Lay out maps of two axes for kernels.

    Parameters
    ----------
    maps : sequence of Map
        At least one.

    Returns
    -------
    PackedMaps

    Raises
    ------
    LutError
        A map has not two axes, or values of another shape.
    """
    for m in maps:
        shape = tuple(axis.n_bins for axis in m.axes)
        if len(shape) != 2 or m.values.shape != shape:
            raise LutError(
                f"values of shape {m.values.shape} on axes of {shape} bins; allowed: two axes that fit", m.name
            )
    axes = np.array([[_pack_axis(axis) for axis in m.axes] for m in maps], np.float64)
    start = np.cumsum([0] + [m.values.size for m in maps[:-1]]).astype(np.int64)
    return PackedMaps(axes, start, np.concatenate([np.asarray(m.values, np.float64).ravel() for m in maps]))


def _pack_axis(axis: Axis) -> tuple[float, ...]:
    low, high = float(axis.transform(axis.low)), float(axis.transform(axis.high))
    flags = (float(axis.scale == "log"), float(_RULES[axis.out_of_range]), float(axis.interpolation == "linear"))
    return low, axis.n_bins / (high - low), axis.low, axis.high, float(axis.n_bins), *flags
