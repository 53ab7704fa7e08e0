"""Which radiator of the RICH a track crosses, and where.

Tracks cross with their true helix, from where they were made. The radiators are laid out in :mod:`.tiles`, those of a
barrel are searched in :mod:`.barrel`; light and rings are made in :mod:`.rings`.

Most tracks of a collision miss a detector. They are turned away by bounds that hold for any helix, before any sine is
computed: 60 % of the tracks of pp events in the barrel of ``alice3``, at a tenth of the price of a crossing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, exp
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.rich.barrel import FAR, in_turns, tile_kernel
from flashdet.stages.rich.barrel import N_VALUES as N_BARREL_VALUES
from flashdet.stages.rich.tiles import Geometry
from flashdet.stages.surface import MAX_TURNS, first_crossing

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Length of a packed surface.
_SURFACE = 4
_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS
#: Tracks of a block on their way to a disc.
_BLOCK = 128
#: Places of the values of a block: dz/ds, arc to the disc, half the angle it turns by, start, azimuth of the momentum
#: and then of the chord, radius, place along and across the chord.
_SLOPE, _ARC, _HALF, _X, _Y, _PHI, _RADIUS, _ALONG, _ACROSS = (i * _BLOCK for i in range(9))
_N_VALUES = 9 * _BLOCK


@dataclass(frozen=True)
class Crossings:
    """Where tracks cross radiators: only those that do.

    Attributes
    ----------
    rows : (n_inside,) int64
        Rows of these tracks, rising.
    optic : (n_inside,) int64
        Row of the tile in `Geometry.optics`.
    cell : (n_inside,) int64
        Cell of the photon detectors.
    u, v : (n_inside,) float64
        Place on the tile [cm], see `flashdet.stages.rich.optics.kept_fraction`.
    """

    rows: Integers
    optic: Integers
    cell: Integers
    u: Floats
    v: Floats


def cross(track: Mapping[str, NDArray[Any]], bz: float, geometry: Geometry) -> Crossings:
    """Follow the generated particles to the radiators.

    Parameters
    ----------
    track : mapping of str to array
        Columns ``vx_true vy_true vz_true pt_true eta_true phi_true charge_true``.
    bz : float
        Field [T].
    geometry : Geometry
        From `flashdet.stages.rich.tiles.make_geometry`.

    Returns
    -------
    Crossings
    """
    vx, vy, vz = track["vx_true"], track["vy_true"], track["vz_true"]
    pt, eta, phi, charge = track["pt_true"], track["eta_true"], track["phi_true"], track["charge_true"]
    n, planes = len(pt), geometry.planes
    # memory that is not touched costs nothing: of these only the front is
    integers, floats = np.empty((3, n), np.int64), np.empty((2, n))
    found = (*integers, *floats)
    if planes.shape[1] != _SURFACE:
        n_inside = tile_kernel(
            vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.tilts, geometry.table,
            len(geometry.areas) // len(planes), geometry.closest, geometry.steepest,
            math.asinh(FAR * geometry.steepest), np.empty(N_BARREL_VALUES), np.empty(_BLOCK, np.int64),
            np.empty(_BLOCK, np.int64), *found,
        )  # fmt: skip
    elif len(geometry.cells) > 0:
        n_cells = len(geometry.areas) // 2
        n_inside = _disc_kernel(
            vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.cells, n_cells,
            np.empty(_N_VALUES), np.empty(_BLOCK, np.int64), *found,
        )  # fmt: skip
    else:
        n_inside = _surface_kernel(vx, vy, vz, pt, eta, phi, charge, float(bz), planes, *found)
    return Crossings(*(values[:n_inside] for values in found))


# --- discs and other surfaces ----------------------------------------------------------------------------------------
@bare_kernel
def _disc_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    discs: Floats, cells: Floats, n_cells: int, a: Floats, place: Integers,
    rows: Integers, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> int:  # fmt: skip
    n_rows, n_inside, n = cells.shape[0], 0, len(pt)
    z, r_min, r_max = discs[0, 1], discs[0, 2], discs[0, 3]
    width, per_charge = (r_max - r_min) / n_rows, curvature(1.0, bz)
    for first in range(0, n, _BLOCK):
        size = min(_BLOCK, n - first)
        for j in range(size):
            i = first + j
            growth = exp(eta[i])
            slope = 0.5 * (growth - 1.0 / growth)
            # the disc ahead, which is met from its front
            arc = ((z if slope > 0.0 else -z) - vz[i]) / slope
            a[_SLOPE + j], a[_ARC + j], a[_HALF + j] = slope, arc, 0.5 * per_charge * charge[i] / pt[i] * arc
        n_near = _may_hit(first, size, vx, vy, phi, r_min, r_max, a, place)
        _arrive(n_near, a)
        for j in range(n_near):
            if not r_min <= a[_RADIUS + j] <= r_max:
                continue
            # the second disc is that on the negative side
            side, row = int(a[_SLOPE + j] < 0.0), min(int((a[_RADIUS + j] - r_min) / width), n_rows - 1)
            azimuth = a[_PHI + j] + _angle(a[_ACROSS + j], a[_ALONG + j])
            spot = side * n_cells + int(cells[row, 0]) + in_turns(azimuth + math.pi, int(cells[row, 1]))
            rows[n_inside], optic[n_inside], cell[n_inside] = place[j], side, spot
            u[n_inside], v[n_inside] = a[_RADIUS + j], 0.0
            n_inside += 1
    return n_inside


@inline
def _may_hit(
    first: int, size: int, vx: Floats, vy: Floats, phi: Floats, r_min: float, r_max: float, a: Floats, place: Integers
) -> int:
    """Keep the tracks of a block that can end on the disc in any direction; their number.

    The chord of an arc s that turns by 2 h is between s (1 - h^2/6) and s, and it begins up to |x| + |y| off the axis.
    """
    n = 0
    for j in range(size):
        i, arc, half = first + j, a[_ARC + j], a[_HALF + j]
        away = abs(vx[i]) + abs(vy[i])
        if not arc > 0.0 or abs(half) > 0.5 * _MAX_ANGLE or arc + away < r_min:
            continue
        if abs(half) < 1.5 and arc * (1.0 - half * half / 6.0) - away > r_max:
            continue
        place[n], a[_SLOPE + n], a[_ARC + n], a[_HALF + n] = i, a[_SLOPE + j], arc, half
        a[_X + n], a[_Y + n], a[_PHI + n] = vx[i], vy[i], phi[i]
        n += 1
    return n


@inline
def _arrive(n: int, a: Floats) -> None:
    """Where arcs end: without a branch, for vectors of tracks (2.5 times faster)."""
    for j in range(n):
        half = a[_HALF + j]
        _, sine = cosine_and_sine(half)
        square = half * half
        # sin(h)/h; the next term of the series is below 2e-16
        chord = a[_ARC + j] * (1.0 - square / 6.0 * (1.0 - 0.05 * square) if square < 1e-4 else sine / half)
        direction = a[_PHI + j] + half
        cosine, sine = cosine_and_sine(direction)
        x, y = a[_X + j] + chord * cosine, a[_Y + j] + chord * sine
        a[_PHI + j], a[_RADIUS + j] = direction, math.sqrt(x * x + y * y)
        a[_ALONG + j], a[_ACROSS + j] = x * cosine + y * sine, y * cosine - x * sine


@inline
def _angle(across: float, along: float) -> float:
    """atan2(across, along): a series for small angles, exact to 1e-17."""
    if not abs(across) <= 0.01 * along:
        return math.atan2(across, along)
    x = across / along
    square = x * x
    return x * (1.0 - square * (1.0 / 3.0 - square * (0.2 - square / 7.0)))


@bare_kernel
def _surface_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    surfaces: Floats, rows: Integers, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> int:  # fmt: skip
    n_inside = 0
    for i in range(len(pt)):
        tgl, k = math.sinh(eta[i]), curvature(charge[i] / pt[i], bz)
        hit, _, _, _, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
        if hit >= 0:
            # all surfaces have the same radiator
            rows[n_inside], optic[n_inside], cell[n_inside], u[n_inside], v[n_inside] = i, 0, 0, 0.0, 0.0
            n_inside += 1
    return n_inside
