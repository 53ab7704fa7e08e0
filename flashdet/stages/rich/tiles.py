"""Radiators of the RICH as planes in space: layout of the projective barrel, discs, cells of the photon detectors.

Which of them a track crosses is in :mod:`.crossing`, the optics of a tile in
:mod:`.optics`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashdet.stages.rich.config import Discs, RichConfig, Tiles
from flashdet.stages.rich.optics import ANNULUS, EDGES, FREE, LIMIT_RADIUS, RECTANGLE, pack_optic
from flashdet.stages.surface import pack

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Places in a packed sector: edges in z/r, direction of the normal, distance of the plane, middle of the radiator.
LOW, HIGH, COS, SIN, PLANE, R, Z = range(7)
#: Half the entries of the table of sectors.
HALF_TABLE = 128


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
        From `flashdet.stages.rich.optics.pack_optic`.
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
    closest, steepest : float
        Barrel: least distance of a radiator from the axis [cm], greatest |z|/r of a sector; 0 without a barrel.
    """

    optics: Floats
    planes: Floats
    tilts: Floats
    areas: Floats
    cells: Floats
    table: Integers
    closest: float = 0.0
    steepest: float = 0.0

    @property
    def edges(self) -> float:
        """What kind of edges all tiles have, see `flashdet.stages.rich.optics`."""
        return float(self.optics[0, EDGES])

    @property
    def is_uniform(self) -> bool:
        """True if all tiles are the same."""
        return bool((self.optics == self.optics[0]).all())


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
    below = np.arange(2 * HALF_TABLE + 1) / HALF_TABLE - 1.0
    slopes = below / np.sqrt(np.maximum(1.0 - below * below, 1e-12))
    table = np.searchsorted([s.high for s in sectors], slopes, side="right").astype(np.int64)
    last = sectors[-1]
    # a flat radiator is closest at one of its edges: those towards the beam's ends lie nearest to the axis
    closest = min(row[PLANE] / (row[COS] + slope * row[SIN]) for row in planes for slope in row[:2])
    return Geometry(
        np.array(optics), np.array(planes), tilts, areas, np.empty((0, 2)), table, float(closest), last.high
    )


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
