"""Which tile of a barrel RICH a track crosses, and where.

Tracks are worked on in blocks: those that cannot arrive are left out, the others are brought to the cylinder around the
sector they go towards without a branch, as vectors of tracks (half the time), and from there in a few short steps to
the plane of the tile.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import arc_to_cylinder
from flashdet.kernels.elementary import cosine_and_sine, exp
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.rich.tiles import COS, HALF_TABLE, HIGH, LOW, PLANE, SIN, R, Z

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A crossing is exact to this [cm].
_PRECISION = 1e-3
#: Steps to it; more are only needed by tracks that graze a tile.
_MAX_STEPS = 8
#: Directions steeper than this times the last sector are turned away without the slope of the track.
FAR = 1.15
_TWO_PI = 2.0 * math.pi
#: Tracks of a block.
BLOCK = 128
#: Places of the values of a block: curvature, point, direction as azimuth and pseudorapidity (later dz/ds), its cosine
#: and sine, radius of the cylinder, half the angle by which the track turns.
_K, _X, _Y, _Z, _PHI, _ETA, _ALONG, _ASIDE, _START, _TURN = (i * BLOCK for i in range(10))
N_VALUES = 10 * BLOCK


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
def in_turns(azimuth: float, n: int) -> int:
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
    return gap > 0.0 and (abs(k) * gap > 2.0 or (abs(eta) > eta_far and (FAR * gap - closest) * steepest > abs(z)))


@inline
def _facing(x: float, y: float, tilts: Floats, tile: int) -> tuple[float, float]:
    """Azimuth that the tile faces, as cosine and sine; that of the point itself without tiles."""
    if tilts.shape[0] > 0:
        return tilts[tile, 0], tilts[tile, 1]
    radius = math.sqrt(x * x + y * y)
    return x / radius, y / radius


@bare_kernel
def tile_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    planes: Floats, tilts: Floats, table: Integers, n_cells: int, closest: float, steepest: float, eta_far: float,
    a: Floats, place: Integers, sector: Integers, rows: Integers, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> int:  # fmt: skip
    """Tracks that cross a tile, their tiles, cells and places on the tile; their number."""
    per_charge, n_inside = curvature(1.0, bz), 0
    for first in range(0, len(pt), BLOCK):
        size, n = min(BLOCK, len(pt) - first), 0
        for j in range(size):
            a[_TURN + j] = per_charge * (charge[first + j] / pt[first + j])
        for j in range(size):
            i, k = first + j, a[_TURN + j]
            if not _never_gets_there(abs(vx[i]) + abs(vy[i]), vz[i], eta[i], k, closest, steepest, eta_far):
                place[n], a[_K + n], a[_X + n], a[_Y + n], a[_Z + n] = i, k, vx[i], vy[i], vz[i]
                a[_PHI + n], a[_ETA + n] = phi[i], eta[i]
                n += 1
        _aim(a, n, planes, table, sector)
        _arrive(a, n)
        for j in range(n):
            # not a number: the track stays inside
            if abs(a[_TURN + j]) >= 0.0:
                found, where, spot, along, across = _land(a, j, sector[j], planes, tilts, table, n_cells)
                if found:
                    rows[n_inside], optic[n_inside], cell[n_inside] = place[j], where, spot
                    u[n_inside], v[n_inside] = along, across
                    n_inside += 1
    return n_inside


@inline
def _aim(a: Floats, n: int, planes: Floats, table: Integers, sector: Integers) -> None:
    """Slopes and directions of the tracks of a block, the sectors they go towards and the radii of these."""
    for j in range(n):
        growth = exp(a[_ETA + j])
        a[_ETA + j] = 0.5 * (growth - 1.0 / growth)
        a[_ALONG + j], a[_ASIDE + j] = cosine_and_sine(a[_PHI + j])
    for j in range(n):
        sector[j], a[_START + j] = _start(a[_ETA + j] + a[_Z + j] / planes[0, R], planes, table)


@inline
def _arrive(a: Floats, n: int) -> None:
    """Bring tracks to their cylinders: point, direction, and half the angle they turn by."""
    for j in range(n):
        x, y, k, cosine, sine = a[_X + j], a[_Y + j], a[_K + j], a[_ALONG + j], a[_ASIDE + j]
        radius = a[_START + j]
        s, (along, across), (hit_along, hit_across) = arc_to_cylinder(
            x * cosine + y * sine, y * cosine - x * sine, k, radius
        )
        s = s if x * x + y * y < radius * radius else math.nan
        a[_Z + j] += s * a[_ETA + j]
        a[_TURN + j] = 0.5 * k * s
        inverse = 1.0 / math.sqrt(along * along + across * across)
        # direction at the point closest to the axis
        turned_cosine, turned_sine = (
            (cosine * across + sine * along) * inverse,
            (sine * across - cosine * along) * inverse,
        )
        a[_X + j] = hit_along * turned_cosine - hit_across * turned_sine
        a[_Y + j] = hit_along * turned_sine + hit_across * turned_cosine
        # on a circle the direction changes with the place
        a[_ALONG + j], a[_ASIDE + j] = cosine - k * (a[_Y + j] - y), sine + k * (a[_X + j] - x)


@inline
def _land(
    a: Floats, j: int, sector: int, planes: Floats, tilts: Floats, table: Integers, n_cells: int
) -> tuple[bool, int, int, float, float]:
    """Step from a cylinder to a tile: whether there is one, its sector, its cell, and the place on it."""
    n_phi, half_width = tilts.shape[0], math.tan(math.pi / n_cells)
    x, y, z, k, tgl, along, aside = (
        a[_X + j],
        a[_Y + j],
        a[_Z + j],
        a[_K + j],
        a[_ETA + j],
        a[_ALONG + j],
        a[_ASIDE + j],
    )
    # the azimuth of a track from the axis; the last step of the search finds the right tile for all
    tile = in_turns(a[_PHI + j] + a[_TURN + j], n_phi) if n_phi > 0 else 0
    for _ in range(_MAX_STEPS):
        cosine, sine = _facing(x, y, tilts, tile)
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
                last, tile = tile, in_turns(math.atan2(y, x), n_cells)
                if n_phi > 0 and tile != last:
                    continue
            along_tile = (z - row[Z]) * row[COS] - (across - row[R]) * row[SIN]
            return True, sector, sector * n_cells + tile, along_tile, place
        rate = (along * cosine + aside * sine) * row[COS] + tgl * row[SIN]
        if not rate > 0.0:
            break
        s = missing / rate
        x, y, along, aside = _step(x, y, along, aside, k, s)
        z += s * tgl
    return False, 0, 0, 0.0, 0.0
