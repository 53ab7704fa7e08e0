"""Where particles enter a calorimeter: the surface that a helix or a straight line meets first, at the lowest price.

The same geometry as :func:`flashdet.stages.surface.first_crossing`, but for a direction that is known as cosine and
sine, and with cheap tests for what cannot arrive: of the final-state particles of pp collisions one in five does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import REACHED, cross_cylinder, sinc
from flashdet.kernels.jit import inline
from flashdet.stages.surface import CYLINDER, MAX_TURNS

Floats = NDArray[np.float64]

_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS


@inline
def may_hit(from_axis: float, z: float, across2: float, along: float, k: float, surfaces: Floats) -> bool:
    """False if no surface can be met.

    The way to a cylinder is at least its distance, however the path bends, and a circle gets no farther from the axis
    than its diameter. Spares three of four particles the exact crossing.

    Parameters
    ----------
    from_axis, z : float
        Start point: distance to the z axis or more, z [cm].
    across2, along : float
        Squared transverse and longitudinal momentum, or 1 and the slope; their ratio counts, which may be infinite.
    k : float
        Curvature [1/cm], 0 for a straight line.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    bool
    """
    possible = False
    farthest = 2.0 + from_axis * abs(k)
    for i in range(surfaces.shape[0]):
        if surfaces[i, 0] == CYLINDER:
            radius = surfaces[i, 1]
            # in squares, which spares the caller a root
            way, room = along * max(radius - from_axis, 0.0), surfaces[i, 2] + abs(z)
            possible |= (way * way <= across2 * room * room) & (farthest > abs(k) * radius)
        else:
            possible |= (surfaces[i, 1] - z) * along > 0.0
    return possible


@inline
def first_hit(
    x: float, y: float, z: float, cos_phi: float, sin_phi: float, tgl: float, k: float, surfaces: Floats
) -> tuple[int, float, float, float, float]:
    """Find the surface that a helix meets first within its bounds and within `MAX_TURNS`.

    Parameters
    ----------
    x, y, z : float
        Start point [cm].
    cos_phi, sin_phi : float
        Transverse direction of the momentum there.
    tgl, k : float
        Slope and curvature [1/cm], 0 for a straight line.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    i : int
        Index of the surface, -1 if none is met.
    path : float
        Length in space to it [cm].
    x, y, z : float
        Where [cm].
    """
    best = -1
    best_s, best_x, best_y, best_z = np.inf, x, y, z
    for i in range(surfaces.shape[0]):
        if surfaces[i, 0] == CYLINDER:
            is_reached, s, hit_x, hit_y, hit_z = _to_cylinder(x, y, z, cos_phi, sin_phi, tgl, k, surfaces[i, 1])
            is_inside = is_reached and abs(hit_z) <= surfaces[i, 2]
        else:
            s, hit_x, hit_y, hit_z = _to_plane(x, y, z, cos_phi, sin_phi, tgl, k, surfaces[i, 1])
            square = hit_x * hit_x + hit_y * hit_y
            is_inside = s > 0.0 and surfaces[i, 2] * surfaces[i, 2] <= square <= surfaces[i, 3] * surfaces[i, 3]
        if is_inside and s < best_s and abs(k) * s <= _MAX_ANGLE:
            best = i
            best_s, best_x, best_y, best_z = s, hit_x, hit_y, hit_z
    return best, best_s * math.sqrt(1.0 + tgl * tgl), best_x, best_y, best_z


@inline
def _to_cylinder(
    x: float, y: float, z: float, cos_phi: float, sin_phi: float, tgl: float, k: float, radius: float
) -> tuple[bool, float, float, float, float]:
    """Whether a cylinder is reached from inside, transverse arc length to it, and where."""
    if k != 0.0:
        status, s, hit_x, hit_y, hit_z = cross_cylinder(x, y, z, cos_phi, sin_phi, tgl, k, radius)
        return status == REACHED, s, hit_x, hit_y, hit_z
    # a straight line, for a third of the price of a helix
    across = y * cos_phi - x * sin_phi
    s = math.sqrt((radius - across) * (radius + across)) - (x * cos_phi + y * sin_phi)
    return x * x + y * y < radius * radius, s, x + s * cos_phi, y + s * sin_phi, z + s * tgl


@inline
def _to_plane(
    x: float, y: float, z: float, cos_phi: float, sin_phi: float, tgl: float, k: float, z_plane: float
) -> tuple[float, float, float, float]:
    """Transverse arc length to a plane z = constant (not positive if it is not ahead), and where it is crossed."""
    if tgl == 0.0:
        return 0.0, x, y, z
    s = (z_plane - z) / tgl
    half = 0.5 * k * s
    chord, cosine, sine = s * sinc(half), math.cos(half), math.sin(half)
    return (
        s,
        x + chord * (cos_phi * cosine - sin_phi * sine),
        y + chord * (sin_phi * cosine + cos_phi * sine),
        z_plane,
    )
