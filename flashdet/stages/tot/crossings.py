"""Crossings of the layers of a silicon tracker: kernels of `flashdet.stages.tot.stage`, block by block of tracks.

Every layer is tested for all tracks of a block at once, without a branch, in loops that become vector instructions.
Testing track after track, with the layers out of its reach left out, takes twice the time. What the layers measure is
:mod:`.losses`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, exp, log
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Above this |sin| of the incidence in the transverse plane a cylinder gives no usable signal: the path is then more
#: than five times the thickness.
_MAX_SINE = 0.98
#: Tracks of a block: arrays of their crossings stay in the first two levels of cache.
BLOCK = 64
#: The same for indices: those that may be negative are tested, and then loops are not vectors.
ALL = np.uint64(BLOCK)
#: Where the quantities of tracks start in `Work.circle`. They share one array, because LLVM makes vectors of a loop
#: over many arrays only if it knows that none overlaps another.
_Z, _SLOPE, _PER_SLOPE, _K, _RADIUS, _D, _H, _PER_H, _START, _ARC, _HALF_K = (np.uint64(i * BLOCK) for i in range(11))
#: Series of asin(x)/x in x^2, good to 5e-8 up to x = 1/2, and of sin(x)/x, good to 4e-12 up to pi/2.
_ASIN = tuple(math.comb(2 * i, i) / 4.0**i / (2 * i + 1) for i in range(9))
_SINC = tuple((-1.0) ** i / math.factorial(2 * i + 1) for i in range(8))
_QUARTER2 = 0.25 * math.pi * math.pi


class Layers(NamedTuple):
    """The layers by their shape."""

    cylinder: Floats
    """(n, 2) radius and half-length [cm]."""
    disc: Floats
    """(m, 3) z [cm], squares of the inner and the outer radius."""


class Truth(NamedTuple):
    """Columns of the generated particles of tracks, see :data:`flashdet.columns.TRACK`."""

    particle_index: NDArray[np.int32]
    vx_true: Floats
    vy_true: Floats
    vz_true: Floats
    pt_true: Floats
    eta_true: Floats
    phi_true: Floats
    mass_true: Floats
    charge_true: NDArray[np.int8]


class Work(NamedTuple):
    """Scratch space of a block of tracks and of their crossings."""

    circle: Floats
    """(11 * BLOCK,) for each of the tracks: where it starts in z [cm], pz/pt of the particle and its inverse or 0, its
    curvature [1/cm], twice the inverse of the size of that or 0, its signed distance d of closest approach to the axis
    [cm], h = 1 + k d and its inverse, the distance from the axis where it is made [cm], the arc from the closest
    approach to there [cm], and half the measured curvature."""
    cosine: Floats
    """(BLOCK,) cosine of the azimuth of each particle, and so on for the next ones."""
    sine: Floats
    """Sine of its azimuth."""
    node: Integers
    """Lower node of its speed."""
    weight: Floats
    """Weight of the upper one."""
    square: Floats
    """Its squared charge."""
    log_path: Floats
    """Logarithm of the path [cm] across a cylinder that the measured track meets at a right angle to the axis."""
    log_path_disc: Floats
    """The same for a disc."""
    n_discs: Integers
    """Discs that it crosses."""
    log_square: Floats
    """Logarithm of its squared charge."""
    is_crossed: Integers
    """(n_cylinders * BLOCK,) 1 where a track crosses a cylinder, else 0."""
    first: Integers
    """(BLOCK + 1,) first crossing of each track."""
    shift: Integers
    """(BLOCK,) from the crossings of each track to their random numbers."""
    owner: Integers
    """(n,) track of each crossing."""
    length: Floats
    """(n,) logarithm of the path [cm] of each crossing."""
    cosine2: Floats
    """(n,) squared cosine of the incidence on a cylinder in the transverse plane, 1 on a disc."""
    key: Words
    """(n,) counter word of the event of each block of random numbers."""
    particle: Integers
    """(n,) place of its particle."""
    number: Integers
    """(n,) how many blocks of the particle come before."""
    draw: Floats
    """(4 * n,) uniform numbers."""
    signal: Floats
    """(n,) signals, infinite without a hit."""
    place: Integers
    """(n,) first number of the quantiles of each crossing in the tables."""
    across: Floats
    """(n,) weight of the next longer path of the tables."""
    level: Floats
    """(n,) quantile of the signal, above 1 without one."""


def split(surfaces: Floats) -> Layers:
    """Tell cylinders from discs.

    Parameters
    ----------
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    Layers
    """
    is_cylinder = surfaces[:, 0] == CYLINDER
    disc = surfaces[~is_cylinder, 1:]
    return Layers(
        np.ascontiguousarray(surfaces[is_cylinder, 1:3]), np.stack([disc[:, 0], disc[:, 1] ** 2, disc[:, 2] ** 2], 1)
    )


# --- tracks ----------------------------------------------------------------------------------------------------------
@bare_kernel
def set_functions(start: int, n: int, eta: Floats, phi: Floats, tgl: Floats, log_thickness: float, work: Work) -> None:
    """Slopes, directions and logarithms of path lengths: loops over so few arrays that they become vectors."""
    circle, cosine, sine, length, on_disc = work.circle, work.cosine, work.sine, work.log_path, work.log_path_disc
    for j in range(n):
        up = exp(abs(eta[start + j]))
        circle[_SLOPE + np.uint64(j)] = math.copysign(0.5 * (up - 1.0 / up), eta[start + j])
    for j in range(n):
        cosine[j], sine[j] = cosine_and_sine(phi[start + j])
    for j in range(n):
        length[j] = log_thickness + 0.5 * log(1.0 + tgl[start + j] * tgl[start + j])
    for j in range(n):
        on_disc[j] = length[j] - log(max(abs(tgl[start + j]), 1e-9))


@bare_kernel
def set_circles(start: int, n: int, truth: Truth, q_over_pt: Floats, bz: float, work: Work) -> None:
    """Circles and logarithms of the speeds of `n` tracks from `start` on."""
    vx, vy, pt, mass, charge = truth.vx_true, truth.vy_true, truth.pt_true, truth.mass_true, truth.charge_true
    circle, cosine, sine, weight = work.circle, work.cosine, work.sine, work.weight
    for i in range(n):
        row, j = start + i, np.uint64(i)
        k = curvature(charge[row] / pt[row], bz)
        along, across = vx[row] * cosine[i] + vy[row] * sine[i], vy[row] * cosine[i] - vx[row] * sine[i]
        square, inside = along * along + across * across, 1.0 + k * across
        h = math.sqrt(inside * inside + k * k * along * along)
        slope = circle[_SLOPE + j]
        circle[_Z + j], circle[_PER_SLOPE + j] = truth.vz_true[row], 1.0 / slope if slope != 0.0 else 0.0
        circle[_K + j], circle[_RADIUS + j] = k, 2.0 / abs(k) if k != 0.0 else 0.0
        circle[_D + j], circle[_H + j], circle[_PER_H + j] = (k * square + 2.0 * across) / (1.0 + h), h, 1.0 / h
        # arc from the closest point to the start, off by k^2 along^3/3: 1 mm for 10 cm and 300 MeV in 2 T
        circle[_START + j], circle[_ARC + j] = math.sqrt(square), along / inside if inside > 0.0 else along
        circle[_HALF_K + j] = 0.5 * curvature(q_over_pt[row], bz)
    for i in range(n):
        work.square[i] = float(charge[start + i]) * float(charge[start + i])
    for i in range(n):
        work.log_square[i] = log(work.square[i])
    for i in range(n):
        slope = circle[_SLOPE + np.uint64(i)]
        weight[i] = log(pt[start + i] * math.sqrt(1.0 + slope * slope) / mass[start + i])


# --- crossings -------------------------------------------------------------------------------------------------------
@bare_kernel
def _cross_cylinder(circle: Floats, radius: float, half_length: float, is_crossed: Integers) -> None:
    """Which tracks of a block cross a cylinder.

    A point at radius r lies a chord c from the closest point, with c^2 = (r^2 - d^2)/h, see
    `flashdet.kernels.helix.to_cylinder`; the arc is 2 asin(k c/2)/k. For half an angle above 30 degrees the arcsine is
    that of (1 - sin)/2, so that one series does for both.
    """
    a = _ASIN
    for j in range(ALL):
        k, d, h = circle[j + _K], circle[j + _D], circle[j + _H]
        chord = math.sqrt(max((radius - d) * (radius + d) * circle[j + _PER_H], 0.0))
        x = min(0.5 * abs(k) * chord, 1.0)
        is_small = x < 0.5
        q = x * x if is_small else 0.5 * (1.0 - x)
        p = q * q
        series = (a[0] + a[1] * q) + p * (a[2] + a[3] * q) + p * p * ((a[4] + a[5] * q) + p * (a[6] + a[7] * q))
        series += p * p * p * p * a[8]
        turned = circle[j + _RADIUS] * (0.5 * math.pi - 2.0 * math.sqrt(q) * series)
        arc = (chord * series if is_small else turned) - circle[j + _ARC]
        here = circle[j + _Z] + circle[j + _SLOPE] * arc
        is_reached = (1.0 + h > abs(k) * radius) & (circle[j + _START] < radius)
        is_usable = (abs(circle[j + _HALF_K]) * radius <= _MAX_SINE) & (abs(here) <= half_length)
        is_crossed[j] = 1 if is_reached & is_usable else 0


@bare_kernel
def _cross_disc(circle: Floats, z: float, inner2: float, outer2: float, n_discs: Integers) -> None:
    """Count a disc for the tracks of a block that cross it in their first half turn."""
    a = _SINC
    for j in range(ALL):
        ahead = (z - circle[j + _Z]) * circle[j + _PER_SLOPE]
        s = ahead + circle[j + _ARC]
        half = 0.5 * circle[j + _K] * s
        q = half * half
        p = q * q
        series = (a[0] + a[1] * q) + p * (a[2] + a[3] * q) + p * p * ((a[4] + a[5] * q) + p * (a[6] + a[7] * q))
        chord = s * series
        square = circle[j + _D] * circle[j + _D] + circle[j + _H] * chord * chord
        is_reached = (ahead > 0.0) & (q <= _QUARTER2) & (inner2 <= square) & (square <= outer2)
        n_discs[j] += 1 if is_reached else 0


@bare_kernel
def cross(layers: Layers, work: Work) -> None:
    """Cylinders that the tracks of a block cross, and numbers of discs."""
    for c in range(len(layers.cylinder)):
        of_layer = work.is_crossed[c * BLOCK : (c + 1) * BLOCK]
        _cross_cylinder(work.circle, layers.cylinder[c, 0], layers.cylinder[c, 1], of_layer)
    for j in range(BLOCK):
        work.n_discs[j] = 0
    for c in range(len(layers.disc)):
        _cross_disc(work.circle, layers.disc[c, 0], layers.disc[c, 1], layers.disc[c, 2], work.n_discs)


@bare_kernel
def add_crossings(j: int, layers: Layers, work: Work, n: int) -> int:
    """Append the crossings of track `j` to the `n` that there are; return how many there are then."""
    cylinder, is_crossed = layers.cylinder, work.is_crossed
    owner, length, cosine2 = work.owner, work.length, work.cosine2
    half_k, place = work.circle[_HALF_K + np.uint64(j)], np.uint64(j)
    for c in range(len(cylinder)):
        sine = half_k * cylinder[c, 0]
        owner[n], length[n], cosine2[n] = j, work.log_path[j], 1.0 - sine * sine
        n += is_crossed[place]
        place += ALL
    for _ in range(work.n_discs[j]):
        owner[n], length[n], cosine2[n] = j, work.log_path_disc[j], 1.0
        n += 1
    return n
