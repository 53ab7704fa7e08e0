"""Radiators of the RICH as planes in space: layout of the projective barrel, discs, and which of them a track crosses.

Tracks cross with their true helix, from where they were made. The optics of a tile is in
:mod:`flashdet.stages.rich_optics`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import REACHED, curvature, to_cylinder
from flashdet.kernels.jit import inline, kernel
from flashdet.stages.rich_config import Discs, RichConfig, Tiles
from flashdet.stages.rich_optics import ANNULUS, FREE, LIMIT_RADIUS, RECTANGLE, pack_optic
from flashdet.stages.surface import first_crossing, pack

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Places in a packed sector: edges in z/r, direction of the normal, distance of the plane, middle of the radiator.
_LOW, _HIGH, _COS, _SIN, _PLANE, _R, _Z = range(7)
#: Half the entries of the table of sectors.
_HALF_TABLE = 128
#: Length of a packed surface.
_SURFACE = 4
#: A crossing is exact to this [cm].
_PRECISION = 1e-3
#: Steps to it; more are only needed by tracks that graze a tile.
_MAX_STEPS = 8


@dataclass(frozen=True)
class Sector:
    """One sector of a projective barrel: a ring of tiles.

    Attributes
    ----------
    low, high : float
        Edges in z/r as seen from the centre.
    tilt : float
        Angle of the normal to the transverse plane [rad].
    r, z : float
        Middle of the radiator [cm].
    detector_r, detector_z : float
        Middle of the photon detectors [cm].
    radiator_size : float
        Length of the radiator along z and r [cm].
    gap : float
        From the back of the radiator to the photon detectors [cm].
    """

    low: float
    high: float
    tilt: float
    r: float
    z: float
    detector_r: float
    detector_z: float
    radiator_size: float
    gap: float

    def mirrored(self) -> Sector:
        """The sector on the other side."""
        return Sector(
            -self.high, -self.low, -self.tilt, self.r, -self.z, self.detector_r, -self.detector_z, self.radiator_size,
            self.gap,
        )  # fmt: skip


# --- layout ----------------------------------------------------------------------------------------------------------
def lay_out(tiles: Tiles, thickness: float) -> tuple[Sector, ...]:
    """Sectors from the most negative to the most positive z.

    Each tile touches the line of sight along the edge of its inner neighbour, faces the centre, and touches the
    cylinder of the photon detectors; formulas of O2Physics ``onTheFlyRichPid``.

    Parameters
    ----------
    tiles : Tiles
        Radii, size and number.
    thickness : float
        Of the radiator [cm].

    Returns
    -------
    tuple of Sector
    """
    side, r_in, r_out = tiles.tile_size, tiles.inner_radius, tiles.outer_radius
    forward: list[Sector] = []
    central: tuple[Sector, ...] = ()
    if tiles.n_sectors % 2:
        edge = side / (2.0 * r_out)
        size = side * r_in / r_out
        middle = r_in + 0.5 * thickness
        central = (Sector(-edge, edge, 0.0, middle, 0.0, r_out, 0.0, size, r_out - r_in - thickness),)
    else:
        edge = 0.5 * tiles.central_gap / r_out
    ratio = 2.0 * r_out / side
    for _ in range(tiles.n_sectors // 2):
        slope = (math.sqrt((edge * ratio) ** 2 + ratio**2 - 1.0) + edge * ratio**2) / (ratio**2 - 1.0)
        forward.append(_next_sector(tiles, thickness, edge, slope))
        edge = forward[-1].high
    return (*(s.mirrored() for s in reversed(forward)), *central, *forward)


def _next_sector(tiles: Tiles, thickness: float, edge: float, slope: float) -> Sector:
    """The sector that begins at z/r = `edge`, with its middle at `slope`."""
    side, r_in, r_out = tiles.tile_size, tiles.inner_radius, tiles.outer_radius
    stretch, tilt = math.sqrt(1.0 + slope * slope), math.atan(slope)
    high = math.tan(tilt + math.atan(side / (2.0 * r_out * stretch - side * slope)))
    detector = r_out - 0.5 * side * math.sin(tilt)
    size = stretch * r_in * side / (stretch * r_out - slope * side)
    depth = stretch * (r_out - r_in) - 0.5 * slope * (side + size)
    r = detector - (depth - 0.5 * thickness) * math.cos(tilt)
    gap = math.hypot(detector - r, (detector - r) * slope) - 0.5 * thickness
    return Sector(edge, high, tilt, r, r * slope, detector, detector * slope, size, gap)


@dataclass(frozen=True)
class Geometry:
    """Everything that kernels need to place rings.

    Attributes
    ----------
    optics : (n_optics, N_OPTIC) float64
        From `flashdet.stages.rich_optics.pack_optic`.
    planes : (n_optics, 7) or (n_surfaces, 4) float64
        Sectors of a barrel, or surfaces of `flashdet.stages.surface`.
    tilts : (n_azimuthal, 2) float64
        Cosine and sine of the middle of each azimuthal tile; no rows: continuous.
    areas : (n_cells,) float64
        Photon detectors of each cell in which hits are counted [cm^2].
    cells : (n_rows, 2) float64
        Discs: first cell and number of cells of each ring of cells of equal width.
    table : (n_entries,) int64
        Barrel: first sector that ends beyond the lower edge of each of equal steps in cos(theta).
    """

    optics: Floats
    planes: Floats
    tilts: Floats
    areas: Floats
    cells: Floats
    table: Integers


def make_geometry(config: RichConfig) -> Geometry:
    """Geometry of any RICH.

    Parameters
    ----------
    config : RichConfig
        Checked configuration.

    Returns
    -------
    Geometry
    """
    if config.tiles is not None:
        return _barrel(config, config.tiles)
    if config.discs is not None:
        return _end_caps(config, config.discs)
    assert config.shape is not None
    optic = pack_optic(config, config.refractive_index, 0.0, (FREE, 0.0, 0.0))
    none = np.empty((0, 2))
    return Geometry(np.array([optic]), pack(config.shape), none, np.ones(1), none, np.empty(0, np.int64))


def _barrel(config: RichConfig, tiles: Tiles) -> Geometry:
    sectors = lay_out(tiles, config.radiator_thickness)
    half = 0.5 * tiles.tile_size
    n_phi = tiles.n_azimuthal_tiles
    optics, planes = [], []
    for i, s in enumerate(sectors):
        # sectors are numbered from one end, the list of indices from the centre outward
        outward = abs(2 * i - len(sectors) + 1) // 2
        index = config.refractive_index if tiles.sector_indices is None else tiles.sector_indices[outward]
        optics.append(pack_optic(config, index, s.gap, (RECTANGLE, half, half if n_phi else np.inf)))
        cosine, sine = math.cos(s.tilt), math.sin(s.tilt)
        planes.append([s.low, s.high, cosine, sine, s.r * cosine + s.z * sine, s.r, s.z])
    # without tiles around the axis, hits are counted in cells of about the same size
    n_cells = n_phi or max(round(2.0 * math.pi * tiles.outer_radius / tiles.tile_size), 1)
    width = [tiles.tile_size if n_phi else 2.0 * math.pi * s.detector_r / n_cells for s in sectors]
    middle = (np.arange(n_phi or 0) + 0.5) * 2.0 * math.pi / (n_phi or 1)
    areas = np.repeat(np.array(width) * tiles.tile_size, n_cells)
    tilts = np.ascontiguousarray(np.column_stack([np.cos(middle), np.sin(middle)]))
    # an entry more for directions along the beam
    below = np.arange(2 * _HALF_TABLE + 1) / _HALF_TABLE - 1.0
    slopes = below / np.sqrt(np.maximum(1.0 - below * below, 1e-12))
    table = np.searchsorted([s.high for s in sectors], slopes, side="right").astype(np.int64)
    return Geometry(np.array(optics), np.array(planes), tilts, areas, np.empty((0, 2)), table)


def _end_caps(config: RichConfig, discs: Discs) -> Geometry:
    z = discs.z + 0.5 * config.radiator_thickness
    optic = pack_optic(config, config.refractive_index, discs.gap, (ANNULUS, discs.r_min, discs.r_max))
    planes = np.array([[1.0, side * z, discs.r_min, discs.r_max] for side in (1.0, -1.0)])
    # cells of about the size of a ring at saturation: those that can disturb each other
    size = 2.0 * optic[LIMIT_RADIUS]
    n_rows = max(round((discs.r_max - discs.r_min) / size), 1)
    edges = np.linspace(discs.r_min, discs.r_max, n_rows + 1)
    count = np.maximum(np.round(math.pi * (edges[1:] + edges[:-1]) / size), 1.0)
    first = np.concatenate([[0.0], np.cumsum(count)[:-1]])
    areas = np.repeat(math.pi * np.diff(edges**2) / count, count.astype(np.int64))
    cells = np.ascontiguousarray(np.column_stack([first, count]))
    return Geometry(np.array([optic, optic]), planes, np.empty((0, 2)), np.tile(areas, 2), cells, np.empty(0, np.int64))


# --- crossings -------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Crossings:
    """Where tracks cross radiators.

    Attributes
    ----------
    optic : (n,) int64
        Row of the tile in `Geometry.optics`, -1 outside the acceptance.
    cell : (n,) int64
        Cell of the photon detectors.
    u, v : (n,) float64
        Place on the tile [cm], see `flashdet.stages.rich_optics.kept_fraction`.
    """

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
        From :func:`make_geometry`.

    Returns
    -------
    Crossings
    """
    vx, vy, vz = track["vx_true"], track["vy_true"], track["vz_true"]
    pt, eta, phi, charge = track["pt_true"], track["eta_true"], track["phi_true"], track["charge_true"]
    n, planes = len(pt), geometry.planes
    found = Crossings(np.empty(n, np.int64), np.zeros(n, np.int64), np.zeros(n), np.zeros(n))
    if planes.shape[1] == _SURFACE:
        _surface_kernel(
            vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.cells, len(geometry.areas) // 2,
            found.optic, found.cell, found.u, found.v,
        )  # fmt: skip
    else:
        _tile_kernel(
            vx, vy, vz, pt, eta, phi, charge, float(bz), planes, geometry.tilts, geometry.table,
            len(geometry.areas) // len(planes), found.optic, found.cell, found.u, found.v,
        )  # fmt: skip
    return found


@inline
def _place(slope: float) -> int:
    """Entry of the table of sectors for z/r = `slope`."""
    return int((slope / math.sqrt(1.0 + slope * slope) + 1.0) * _HALF_TABLE)


@inline
def _sector(slope: float, planes: Floats, table: Integers) -> int:
    """First sector that ends beyond z/r = `slope`; a table instead of a search saves 100 ns per track."""
    sector = int(table[_place(slope)])
    while sector < planes.shape[0] and slope >= planes[sector, _HIGH]:
        sector += 1
    return sector


@inline
def _start(slope: float, planes: Floats, table: Integers) -> tuple[int, float]:
    """Sector in the direction z/r = `slope` and the radius at which it is met; the last one outside of all."""
    sector = min(_sector(slope, planes, table), planes.shape[0] - 1)
    row = planes[sector]
    slope = min(max(slope, row[_LOW]), row[_HIGH])
    return sector, row[_PLANE] / (row[_COS] + slope * row[_SIN])


@inline
def _tile(x: float, y: float, n: int) -> int:
    """Azimuthal tile of a point."""
    turn = math.atan2(y, x) / (2.0 * math.pi)
    return min(int((turn if turn >= 0.0 else turn + 1.0) * n), n - 1)


@inline
def _step(x: float, y: float, cosine: float, sine: float, k: float, s: float) -> tuple[float, float, float, float]:
    """Point and direction after a short arc: error (k s)^2 s/6, and no sine or cosine (a third of the time)."""
    half = 0.5 * k * s
    x, y = x + s * (cosine - half * sine), y + s * (sine + half * cosine)
    scale = 1.0 - 2.0 * half * half
    return x, y, scale * cosine - 2.0 * half * sine, scale * sine + 2.0 * half * cosine


@kernel
def _tile_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    planes: Floats, tilts: Floats, table: Integers, n_cells: int, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> None:  # fmt: skip
    n_phi, half_width = tilts.shape[0], math.tan(math.pi / n_cells)
    for i in range(len(pt)):
        optic[i] = -1
        growth = math.exp(eta[i])
        tgl, k = 0.5 * (growth - 1.0 / growth), curvature(charge[i] / pt[i], bz)
        sector, start = _start(tgl + vz[i] / planes[0, _R], planes, table)
        status, _, x, y, z, direction = to_cylinder(vx[i], vy[i], vz[i], phi[i], tgl, k, start)
        if status != REACHED:
            continue
        along, aside = math.cos(direction), math.sin(direction)
        tile = _tile(x, y, n_phi) if n_phi > 0 else 0
        for _ in range(_MAX_STEPS):
            if n_phi > 0:
                cosine, sine = tilts[tile, 0], tilts[tile, 1]
            else:
                radius = math.sqrt(x * x + y * y)
                cosine, sine = x / radius, y / radius
            across = x * cosine + y * sine
            slope = z / across
            if not planes[sector, _LOW] <= slope < planes[sector, _HIGH]:
                sector = _sector(slope, planes, table)
                if sector == planes.shape[0] or slope < planes[sector, _LOW]:
                    break
            row = planes[sector]
            missing = row[_PLANE] - across * row[_COS] - z * row[_SIN]
            if abs(missing) < _PRECISION:
                v[i] = y * cosine - x * sine
                if n_phi == 0 or abs(v[i]) > half_width * across:
                    right = _tile(x, y, n_cells)
                    if n_phi > 0 and right != tile:
                        tile = right
                        continue
                    tile = right
                optic[i], cell[i] = sector, sector * n_cells + tile
                u[i] = (z - row[_Z]) * row[_COS] - (across - row[_R]) * row[_SIN]
                break
            rate = (along * cosine + aside * sine) * row[_COS] + tgl * row[_SIN]
            if not rate > 0.0:
                break
            s = missing / rate
            x, y, along, aside = _step(x, y, along, aside, k, s)
            z += s * tgl


@kernel
def _surface_kernel(
    vx: Floats, vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    surfaces: Floats, cells: Floats, n_cells: int, optic: Integers, cell: Integers, u: Floats, v: Floats,
) -> None:  # fmt: skip
    n_rows = cells.shape[0]
    for i in range(len(pt)):
        tgl, k = math.sinh(eta[i]), curvature(charge[i] / pt[i], bz)
        hit, _, x, y, _, _ = first_crossing(vx[i], vy[i], vz[i], phi[i], tgl, k, surfaces)
        optic[i] = min(hit, 0)
        if hit < 0 or n_rows == 0:
            continue
        optic[i], u[i] = hit, math.sqrt(x * x + y * y)
        width = (surfaces[hit, 3] - surfaces[hit, 2]) / n_rows
        row = min(int((u[i] - surfaces[hit, 2]) / width), n_rows - 1)
        turn = math.atan2(y, x) / (2.0 * math.pi) + 0.5
        place = min(int(turn * cells[row, 1]), int(cells[row, 1]) - 1)
        cell[i] = hit * n_cells + int(cells[row, 0]) + place
