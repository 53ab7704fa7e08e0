"""The material of a tracker layout as photons see it: layers, which of them are within reach, and where a photon stops.

How often photons convert per radiation length is :mod:`.pairs`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.material import SILICON_X0, shell_factor
from flashdet.lut.layout import Layer
from flashdet.stages.conversions.pairs import HIGH_ENERGY, MOST_OF_HIGH_ENERGY
from flashdet.stages.surface import CYLINDER, DISC

Floats = NDArray[np.float64]

#: Bins of |eta| and its range, for the layers that a photon from near the origin can cross.
_N_ETA, ETA_MAX = 160, 8.0
#: How far from the origin along the beam is near [cm]: three widths of the collision region.
_NEAR_Z = 20.0


class Material(NamedTuple):
    """Layers, and which of them a photon from near the origin can cross in each bin of pseudorapidity.

    Attributes
    ----------
    layers : (n_layers, 5) float64
        Kind (`CYLINDER` or `DISC`), radius or z [cm], lowest and highest z or radius [cm], x/X0 along the normal.
    near : (2,) float64
        Largest distance of the production vertex from the axis, and from the origin along it, for which the bins hold
        [cm].
    threshold : (n_bins + 1,) float64
        A uniform number u up to this means no conversion in any layer, whatever the energy, where depths are -ln u; the
        last is for vertices that are not near: 0.
    candidates : (n_bins + 1, n_layers) int64
        Rows of the layers, about in the order in which they are crossed, -1 after the last one.
    """

    layers: Floats
    near: Floats
    threshold: Floats
    candidates: NDArray[np.int64]


class Crossed(NamedTuple):
    """Memory for the layers that one photon crosses, as long as there are layers."""

    depth: Floats
    """Radiation lengths."""
    path: Floats
    """Transverse path to the layer [cm]."""
    layer: NDArray[np.int64]
    """Row of the layer."""


@inline
def _thickness(
    i: int, x: float, y: float, z: float, ux: float, uy: float, tgl: float, slope: float, layers: Floats
) -> tuple[float, float]:
    """Radiation lengths of layer `i` on a straight line (0 if it misses it), and the transverse path to it.

    (ux, uy) is the direction across the beam, `slope` the length in space of a transverse path of 1. A cylinder is
    crossed from inside only.
    """
    position, low, high, x_over_x0 = layers[i, 1], layers[i, 2], layers[i, 3], layers[i, 4]
    if layers[i, 0] == CYLINDER:
        along, inside = x * ux + y * uy, position * position - x * x - y * y
        if inside <= 0.0:
            return 0.0, 0.0
        root = math.sqrt(along * along + inside)
        path = inside / (root + along) if along > 0.0 else root - along
        if not low <= z + tgl * path <= high:
            return 0.0, path
        factor = shell_factor(root / position, x_over_x0 * SILICON_X0 / position)
        return x_over_x0 * factor * slope, path
    if (position - z) * tgl <= 0.0:
        return 0.0, 0.0
    path = (position - z) / tgl
    radius2 = (x + path * ux) ** 2 + (y + path * uy) ** 2
    if not low * low <= radius2 <= high * high:
        return 0.0, path
    return x_over_x0 * slope / abs(tgl), path


@bare_kernel
def first_passed(
    wanted: float, x: float, y: float, z: float, ux: float, uy: float, tgl: float, layers: Floats,
    candidates: NDArray[np.int64], place: int, crossed: Crossed,
) -> tuple[int, float]:  # fmt: skip
    """Layer after which `wanted` radiation lengths are passed (-1: none), and the transverse path to it.

    Parameters
    ----------
    wanted : float
        Radiation lengths.
    x, y, z, ux, uy, tgl : float
        Start of a straight line, its direction across the beam and its slope.
    layers, candidates : arrays
        Of a `Material`.
    place : int
        Row of `candidates`.
    crossed : Crossed
        Scratch space.

    Returns
    -------
    layer : int
        Row of `layers`.
    path : float
        [cm].
    """
    depths, paths, rows = crossed
    slope, total, n = math.sqrt(1.0 + tgl * tgl), 0.0, 0
    for candidate in range(candidates.shape[1]):
        i = candidates[place, candidate]
        if i < 0:
            break
        depth, path = _thickness(i, x, y, z, ux, uy, tgl, slope, layers)
        if depth > 0.0:
            # candidates come nearly in order; of two layers at the same place the later row comes second
            k = n
            while k > 0 and (paths[k - 1] > path or (paths[k - 1] == path and rows[k - 1] > i)):
                depths[k], paths[k], rows[k] = depths[k - 1], paths[k - 1], rows[k - 1]
                k -= 1
            depths[k], paths[k], rows[k] = depth, path, i
            total += depth
            n += 1
    if wanted >= total:
        return -1, 0.0
    k = 0
    wanted -= depths[0]
    while wanted >= 0.0 and k < n - 1:  # by rounding of the sum it may be the last one
        k += 1
        wanted -= depths[k]
    return rows[k], paths[k]


def describe(layers: Sequence[Layer]) -> Material:
    """Lay layers out for :func:`flashdet.stages.conversions.photons.find_conversions`.

    Most photons convert in no layer. For those from near the origin an upper limit of the material in their bin of
    pseudorapidity tells so from one random number, and only layers within reach are looked at. Measured: 3.5 times less
    time than looking at all layers of a tracker with discs.

    Parameters
    ----------
    layers : sequence of Layer
        With material.

    Returns
    -------
    Material
    """
    rows = np.array(
        [
            (CYLINDER if layer.kind == "cylinder" else DISC, layer.position, layer.low, layer.high, layer.x_over_x0)
            for layer in layers
        ]
    )
    near_r = 0.5 * min((layer.position for layer in layers if layer.kind == "cylinder"), default=2.0)
    edges = np.linspace(-ETA_MAX, ETA_MAX, _N_ETA + 1)
    edges[0], edges[-1] = -np.inf, np.inf
    tgl = np.sinh(edges)
    candidates = np.full((_N_ETA + 1, len(rows)), -1, np.int64)
    candidates[-1] = np.arange(len(rows))
    threshold = np.zeros(_N_ETA + 1)
    plain, slopes = rows.tolist(), tgl.tolist()  # NumPy's numbers take ten times as long
    for i in range(_N_ETA):
        most = [_most_of(row, slopes[i], slopes[i + 1], near_r) for row in plain]
        slope = max(abs(slopes[min(i + 1, _N_ETA // 2)] if i < _N_ETA // 2 else slopes[i]), 1e-9)
        reached = [k for k in np.argsort([_distance(row, slope) for row in plain], kind="stable") if most[k] > 0.0]
        candidates[i, : len(reached)] = reached
        threshold[i] = math.exp(-HIGH_ENERGY * MOST_OF_HIGH_ENERGY * sum(most))
    return Material(rows, np.array([near_r, _NEAR_Z]), threshold, candidates)


def _distance(layer: Sequence[float], slope: float) -> float:
    """Radius where a photon from the origin crosses a layer."""
    return layer[1] if layer[0] == CYLINDER else abs(layer[1]) / slope


def _most_of(layer: Sequence[float], low: float, high: float, near_r: float) -> float:
    """Upper limit of a layer's radiation lengths for tgl from `low` to `high` and near vertices; 0 out of reach."""
    kind, position, first, last, x_over_x0 = layer
    if kind == CYLINDER:
        cosine = math.sqrt(1.0 - (near_r / position) ** 2)  # of the largest angle of incidence across the beam
        inner, outer = position - near_r, position + near_r
        if max(high * inner, high * outer) + _NEAR_Z < first or min(low * inner, low * outer) - _NEAR_Z > last:
            return 0.0
        slope = min(max(abs(low), abs(high)), (max(abs(first), abs(last)) + _NEAR_Z) / inner)
        return x_over_x0 / cosine * math.sqrt(1.0 + slope * slope)
    if abs(position) <= _NEAR_Z:
        return math.inf
    if position < 0.0:
        low, high = -high, -low
    if high <= 0.0:
        return 0.0
    nearest, farthest = abs(position) - _NEAR_Z, abs(position) + _NEAR_Z
    longest = farthest / low if low > 0.0 else math.inf
    if nearest / high - near_r > last or longest + near_r < first:
        return 0.0
    slope = max(low, nearest / (last + near_r))
    return x_over_x0 * math.sqrt(1.0 + 1.0 / (slope * slope))
