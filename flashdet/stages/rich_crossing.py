"""Which radiator of the RICH a track crosses, and where.

Tracks cross with their true helix, from where they were made. The radiators are laid out in
:mod:`flashdet.stages.rich_tiles`; light and rings are made in :mod:`flashdet.stages.rich_rings`.

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

from flashdet.kernels.helix import REACHED, cross_cylinder, curvature, sinc
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.rich_tiles import COS, HALF_TABLE, HIGH, LOW, PLANE, SIN, Geometry, R, Z
from flashdet.stages.surface import MAX_TURNS, first_crossing

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Length of a packed surface.
_SURFACE = 4
#: A crossing is exact to this [cm].
_PRECISION = 1e-3
#: Steps to it; more are only needed by tracks that graze a tile.
_MAX_STEPS = 8
#: Directions steeper than this times the last sector are turned away without the slope of the track.
_FAR = 1.15
_TWO_PI = 2.0 * math.pi
_MAX_ANGLE = _TWO_PI * MAX_TURNS


@dataclass(frozen=True)
class Crossings:
    """Where tracks cross radiators.

    Attributes
    ----------
    rows : (n_inside,) int64
        Rows of the tracks that cross one, rising.
    optic : (n,) int64
        Row of the tile in `Geometry.optics`, -1 outside the acceptance.
    cell : (n,) int64
        Cell of the photon detectors.
    u, v : (n,) float64
        Place on the tile [cm], see `flashdet.stages.rich_optics.kept_fraction`.
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
        From `flashdet.stages.rich_tiles.make_geometry`.

    Returns
    -------
    Crossings
    """
    vx, vy, vz = track["vx_true"], track["vy_true"], track["vz_true"]
    pt, eta, phi, charge = track["pt_true"], track["eta_true"], track["phi_true"], track["charge_true"]
    n, planes = len(pt), geometry.planes
    (rows, optic), cell, (u, v) = np.empty((2, n), np.int64), np.zeros(n, np.int64), np.zeros((2, n))
    found = (rows, optic, cell, u, v)
    if planes.shape[1] != _SURFACE:
        n_inside = _tile_kernel(
            vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.tilts, geometry.table,
            len(geometry.areas) // len(planes), geometry.closest, geometry.steepest,
            math.asinh(_FAR * geometry.steepest), *found,
        )  # fmt: skip
    elif len(geometry.cells) > 0:
        n_cells = len(geometry.areas) // 2
        n_inside = _disc_kernel(vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.cells, n_cells, *found)
    else:
        n_inside = _surface_kernel(vx, vy, vz, pt, eta, phi, charge, float(bz), planes, rows, optic)
    return Crossings(rows[:n_inside], optic, cell, u, v)


# --- barrel ----------------------------------------------------------------------------------------------------------
@inline
def _place(slope: float) -> int:
    """Entry of the table of sectors for z/r = `slope`."""
    return int((slope / math.sqrt(1.0 + slope * slope) + 1.0) * HALF_TABLE)


@inline
def _sector(slope: float, planes: Floats, table: Integers) -> int:
    """First sector that ends beyond z/r = `slope`; a table instead of a search saves 100 ns per track."""
    sector = int(table[_place(slope)])
    while sector < planes.shape[0] and slope >= planes[sector, HIGH]:
        sector += 1
    return sector


@inline
def _start(slope: float, planes: Floats, table: Integers) -> tuple[int, float]:
    """Sector in the direction z/r = `slope` and the radius at which it is met; the last one outside of all."""
    sector = min(_sector(slope, planes, table), planes.shape[0] - 1)
    row = planes[sector]
    slope = min(max(slope, row[LOW]), row[HIGH])
    return sector, row[PLANE] / (row[COS] + slope * row[SIN])


@inline
def _in_turns(azimuth: float, n: int) -> int:
    """Which of `n` equal parts of a turn an azimuth lies in."""
    turn = azimuth / _TWO_PI
    return min(int((turn - math.floor(turn)) * n), n - 1)


@inline
def _step(x: float, y: float, cosine: float, sine: float, k: float, s: float) -> tuple[float, float, float, float]:
    """Point and direction after a short arc: error (k s)^2 s/6, and no sine or cosine (a third of the time)."""
    half = 0.5 * k * s
    x, y = x + s * (cosine - half * sine), y + s * (sine + half * cosine)
    scale = 1.0 - 2.0 * half * half
    return x, y, scale * cosine - 2.0 * half * sine, scale * sine + 2.0 * half * cosine


@inline
def _never_gets_there(
    away: float, z: float, eta: float, k: float, closest: float, steepest: float, eta_far: float
) -> bool:
    """True if no point of the helix can be on a sector, whatever the helix does.

    From `away` of the axis it has to go at least closest - away in the transverse plane: too far for a circle that is
    smaller, and by then |z| has grown by |tgl| times that, beyond the steepest sector.
    """
    gap = closest - away
    return gap > 0.0 and (abs(k) * gap > 2.0 or (abs(eta) > eta_far and (_FAR * gap - closest) * steepest > abs(z)))


@bare_kernel
def _tile_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    planes: Floats, tilts: Floats, table: Integers, n_cells: int, closest: float, steepest: float, eta_far: float,
    rows: Integers, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> int:  # fmt: skip
    n_phi, half_width, n_inside = tilts.shape[0], math.tan(math.pi / n_cells), 0
    for i in range(len(pt)):
        optic[i] = -1
        k = curvature(charge[i] / pt[i], bz)
        if _never_gets_there(abs(vx[i]) + abs(vy[i]), vz[i], eta[i], k, closest, steepest, eta_far):
            continue
        growth = math.exp(eta[i])
        tgl = 0.5 * (growth - 1.0 / growth)
        sector, start = _start(tgl + vz[i] / planes[0, R], planes, table)
        along, aside = math.cos(phi[i]), math.sin(phi[i])
        status, s, x, y, z = cross_cylinder(vx[i], vy[i], vz[i], along, aside, tgl, k, start)
        if status != REACHED:
            continue
        # on a circle the direction changes with the place
        along, aside = along - k * (y - vy[i]), aside + k * (x - vx[i])
        # the azimuth of a track from the axis; the last step of the search finds the right tile for all
        tile = _in_turns(phi[i] + 0.5 * k * s, n_phi) if n_phi > 0 else 0
        for _ in range(_MAX_STEPS):
            if n_phi > 0:
                cosine, sine = tilts[tile, 0], tilts[tile, 1]
            else:
                radius = math.sqrt(x * x + y * y)
                cosine, sine = x / radius, y / radius
            across = x * cosine + y * sine
            slope = z / across
            if not planes[sector, LOW] <= slope < planes[sector, HIGH]:
                sector = _sector(slope, planes, table)
                if sector == planes.shape[0] or slope < planes[sector, LOW]:
                    break
            row = planes[sector]
            missing = row[PLANE] - across * row[COS] - z * row[SIN]
            if abs(missing) < _PRECISION:
                place = y * cosine - x * sine
                if n_phi == 0 or abs(place) > half_width * across:
                    right = _in_turns(math.atan2(y, x), n_cells)
                    if n_phi > 0 and right != tile:
                        tile = right
                        continue
                    tile = right
                optic[i], cell[i], v[i] = sector, sector * n_cells + tile, place
                u[i] = (z - row[Z]) * row[COS] - (across - row[R]) * row[SIN]
                rows[n_inside] = i
                n_inside += 1
                break
            rate = (along * cosine + aside * sine) * row[COS] + tgl * row[SIN]
            if not rate > 0.0:
                break
            s = missing / rate
            x, y, along, aside = _step(x, y, along, aside, k, s)
            z += s * tgl
    return n_inside


# --- discs and other surfaces ----------------------------------------------------------------------------------------
@inline
def _misses(s: float, half: float, away: float, r_min: float, r_max: float) -> bool:
    """True if an arc of length `s` that turns by 2 `half` ends inside or outside of a disc in any direction.

    Its chord is between s (1 - half^2/6) and s, and it begins `away` from the axis.
    """
    return s + away < r_min or (abs(half) < 1.5 and s * (1.0 - half * half / 6.0) - away > r_max)


@bare_kernel
def _disc_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    discs: Floats, cells: Floats, n_cells: int,
    rows: Integers, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> int:  # fmt: skip
    n_rows, n_inside = cells.shape[0], 0
    z, r_min, r_max = discs[0, 1], discs[0, 2], discs[0, 3]
    width = (r_max - r_min) / n_rows
    for i in range(len(pt)):
        optic[i] = -1
        growth = math.exp(eta[i])
        tgl, k = 0.5 * (growth - 1.0 / growth), curvature(charge[i] / pt[i], bz)
        away = abs(vx[i]) + abs(vy[i])
        # the disc on the other side first: in front of particles that are made beyond it
        for step in range(2):
            side = int(tgl > 0.0) ^ step
            s = ((z if side == 0 else -z) - vz[i]) / tgl
            half = 0.5 * k * s
            if not s > 0.0 or abs(half) > 0.5 * _MAX_ANGLE or _misses(s, half, away, r_min, r_max):
                continue
            chord, cosine, sine = s * sinc(half), math.cos(phi[i] + half), math.sin(phi[i] + half)
            x, y = vx[i] + chord * cosine, vy[i] + chord * sine
            radius = math.sqrt(x * x + y * y)
            if not r_min <= radius <= r_max:
                continue
            along, across = x * cosine + y * sine, y * cosine - x * sine
            # the arctangent is a small correction for particles from near the axis
            turn = phi[i] + half + _small_angle(across, along) if along > 0.0 else math.atan2(y, x)
            row = min(int((radius - r_min) / width), n_rows - 1)
            place = _in_turns(turn + math.pi, int(cells[row, 1]))
            optic[i], cell[i], u[i] = side, side * n_cells + int(cells[row, 0]) + place, radius
            rows[n_inside] = i
            n_inside += 1
            break
    return n_inside


@inline
def _small_angle(across: float, along: float) -> float:
    """atan2(across, along) for a positive `along`: a series if the angle is small, exact to 1e-17."""
    x = across / along
    if abs(x) > 0.01:
        return math.atan(x)
    square = x * x
    return x * (1.0 - square * (1.0 / 3.0 - square * (0.2 - square / 7.0)))


@bare_kernel
def _surface_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    surfaces: Floats, rows: Integers, optic: Integers,
) -> int:  # fmt: skip
    n_inside = 0
    for i in range(len(pt)):
        tgl, k = math.sinh(eta[i]), curvature(charge[i] / pt[i], bz)
        hit, _, _, _, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
        # all surfaces have the same radiator
        optic[i] = min(hit, 0)
        if hit >= 0:
            rows[n_inside] = i
            n_inside += 1
    return n_inside
