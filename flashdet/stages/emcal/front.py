"""Where particles enter a calorimeter: the surface that a helix or a straight line meets first, at the lowest price.

The same geometry as :func:`flashdet.stages.surface.first_crossing`, for a block of particles at a time: every loop is a
few numbers of one block, without a branch, and becomes vector instructions. A cheap test tells what cannot arrive: of
the final-state particles of pp collisions one in five does.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import arc_to_cylinder
from flashdet.kernels.elementary import cosine_and_sine
from flashdet.kernels.jit import bare_kernel
from flashdet.stages.surface import CYLINDER, MAX_TURNS

Floats = NDArray[np.float64]

#: Particles of a block: what is known of them stays in the first level of cache.
BLOCK = 128
#: Where the quantities of particles start in the array of a block. They share one array, because LLVM makes vectors of
#: a loop over many arrays only if it knows that none overlaps another; unsigned, because indices that may be negative
#: are tested. Start point [cm], direction in the transverse plane, pz/pt, curvature [1/cm]; then what `cross` finds:
#: the surface or -1, the arc to it in the transverse plane, and where it is met [cm].
FROM_X, FROM_Y, FROM_Z, COSINE, SINE, SLOPE, CURVATURE, SURFACE, ARC, HIT_X, HIT_Y, HIT_Z = (
    np.uint64(i * BLOCK) for i in range(12)
)
#: The same array as `mark` reads it, instead of x and the cosine: distance of the start from the z axis, or more [cm],
#: and squared transverse momentum (with pz in place of the slope), or 1.
DISTANCE, ACROSS2 = FROM_X, COSINE
#: Rows of the array that belong to this module.
N_WAY = 12

_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS


@bare_kernel
def mark(n: int, way: Floats, surfaces: Floats, possible: NDArray[np.int64]) -> None:
    """Tell which particles may meet a surface.

    The way to a cylinder is at least its distance, however the path bends, and a circle gets no farther from the axis
    than its diameter. A particle along the beam has no azimuth and meets nothing.

    Parameters
    ----------
    n : int
        Particles, at most `BLOCK`.
    way : (>= 12 * BLOCK,) float64
        `DISTANCE`, `FROM_Z`, `ACROSS2`, `SLOPE` and `CURVATURE` are read.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    possible : (BLOCK,) int64
        Out: 0 if no surface can be met, else 1.
    """
    for j in range(n):
        possible[j] = 0
    for i in range(surfaces.shape[0]):
        size, half = surfaces[i, 1], surfaces[i, 2]
        if surfaces[i, 0] == CYLINDER:
            for j in range(np.uint64(n)):
                distance, k = way[DISTANCE + j], abs(way[CURVATURE + j])
                # in squares, which spares the caller a root
                along, room = way[SLOPE + j] * max(size - distance, 0.0), half + abs(way[FROM_Z + j])
                is_possible = (along * along <= way[ACROSS2 + j] * room * room) & (2.0 + distance * k > k * size)
                possible[j] |= is_possible & (way[ACROSS2 + j] > 0.0)
        else:
            for j in range(np.uint64(n)):
                is_possible = (size - way[FROM_Z + j]) * way[SLOPE + j] > 0.0
                possible[j] |= is_possible & (way[ACROSS2 + j] > 0.0)


@bare_kernel
def cross(n: int, way: Floats, is_straight: bool, surfaces: Floats) -> None:
    """Find the surface that each particle meets first within its bounds and within `MAX_TURNS`.

    Parameters
    ----------
    n : int
        Particles, at most `BLOCK`.
    way : (>= 12 * BLOCK,) float64
        Start, direction, slope and curvature are read, `SURFACE`, `ARC` and the place of the hit are written; without
        a surface the arc is infinite and the place the start.
    is_straight : bool
        Whether all curvatures are 0: for a third of the price.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    """
    for j in range(np.uint64(n)):
        way[SURFACE + j], way[ARC + j] = -1.0, np.inf
        way[HIT_X + j], way[HIT_Y + j], way[HIT_Z + j] = way[FROM_X + j], way[FROM_Y + j], way[FROM_Z + j]
    for i in range(surfaces.shape[0]):
        if surfaces[i, 0] != CYLINDER:
            _cross_plane(n, way, float(i), surfaces[i, 1], surfaces[i, 2] ** 2, surfaces[i, 3] ** 2)
        elif is_straight:
            _cross_cylinder_straight(n, way, float(i), surfaces[i, 1], surfaces[i, 2])
        else:
            _cross_cylinder(n, way, float(i), surfaces[i, 1], surfaces[i, 2])


@bare_kernel
def _cross_cylinder(n: int, way: Floats, surface: float, radius: float, half_length: float) -> None:
    """Helices and a cylinder around the z axis, from inside."""
    for j in range(np.uint64(n)):
        x, y, cosine, sine, k = (
            way[FROM_X + j], way[FROM_Y + j], way[COSINE + j], way[SINE + j], way[CURVATURE + j],
        )  # fmt: skip
        s, normal, hit = arc_to_cylinder(x * cosine + y * sine, y * cosine - x * sine, k, radius)
        z = way[FROM_Z + j] + s * way[SLOPE + j]
        inverse = 1.0 / math.sqrt(normal[0] * normal[0] + normal[1] * normal[1])
        # the momentum at the point closest to the axis
        turned = (cosine * normal[1] + sine * normal[0]) * inverse
        up = (sine * normal[1] - cosine * normal[0]) * inverse
        is_first = (x * x + y * y < radius * radius) & (abs(z) <= half_length) & (s < way[ARC + j])
        is_first &= abs(k) * s <= _MAX_ANGLE
        way[SURFACE + j] = surface if is_first else way[SURFACE + j]
        way[ARC + j] = s if is_first else way[ARC + j]
        way[HIT_X + j] = hit[0] * turned - hit[1] * up if is_first else way[HIT_X + j]
        way[HIT_Y + j] = hit[0] * up + hit[1] * turned if is_first else way[HIT_Y + j]
        way[HIT_Z + j] = z if is_first else way[HIT_Z + j]


@bare_kernel
def _cross_cylinder_straight(n: int, way: Floats, surface: float, radius: float, half_length: float) -> None:
    """Straight lines and a cylinder around the z axis, from inside."""
    for j in range(np.uint64(n)):
        x, y, cosine, sine = way[FROM_X + j], way[FROM_Y + j], way[COSINE + j], way[SINE + j]
        across = y * cosine - x * sine
        s = math.sqrt((radius - across) * (radius + across)) - (x * cosine + y * sine)
        z = way[FROM_Z + j] + s * way[SLOPE + j]
        is_first = (x * x + y * y < radius * radius) & (abs(z) <= half_length) & (s < way[ARC + j])
        way[SURFACE + j] = surface if is_first else way[SURFACE + j]
        way[ARC + j] = s if is_first else way[ARC + j]
        way[HIT_X + j] = x + s * cosine if is_first else way[HIT_X + j]
        way[HIT_Y + j] = y + s * sine if is_first else way[HIT_Y + j]
        way[HIT_Z + j] = z if is_first else way[HIT_Z + j]


@bare_kernel
def _cross_plane(n: int, way: Floats, surface: float, z_plane: float, inner2: float, outer2: float) -> None:
    """Helices or straight lines and a disc across the z axis."""
    for j in range(np.uint64(n)):
        k, cosine, sine = way[CURVATURE + j], way[COSINE + j], way[SINE + j]
        s = (z_plane - way[FROM_Z + j]) / way[SLOPE + j]
        half = 0.5 * k * s
        turned, up = cosine_and_sine(half)
        square = half * half
        # sin(x)/x, whose series ends below 2e-16
        chord = s * (1.0 - square / 6.0 * (1.0 - square / 20.0) if square < 1e-4 else up / half)
        x = way[FROM_X + j] + chord * (cosine * turned - sine * up)
        y = way[FROM_Y + j] + chord * (sine * turned + cosine * up)
        square = x * x + y * y
        is_first = (s > 0.0) & (s < way[ARC + j]) & (abs(k) * s <= _MAX_ANGLE)
        is_first &= (inner2 <= square) & (square <= outer2)
        way[SURFACE + j] = surface if is_first else way[SURFACE + j]
        way[ARC + j] = s if is_first else way[ARC + j]
        way[HIT_X + j] = x if is_first else way[HIT_X + j]
        way[HIT_Y + j] = y if is_first else way[HIT_Y + j]
        way[HIT_Z + j] = z_plane if is_first else way[HIT_Z + j]
