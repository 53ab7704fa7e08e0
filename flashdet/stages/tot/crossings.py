"""Crossings of the layers of a silicon tracker: kernels of `flashdet.stages.tot.stage`, block by block of tracks.

On its way out a track gets farther from the axis and goes on along it, so that few points decide about many layers: the
squared radii where it leaves the ends of barrels of one length decide about all of their cylinders, and the arcs to the
edges of discs of one size about all of those discs. What is left for a layer is a comparison: half of the time of
testing each layer on its own. All is done for the tracks of a block at once, without a branch, in loops that become
vector instructions. What the layers measure is :mod:`.losses`.
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

#: Above this |sin| of the incidence in the transverse plane a cylinder gives no usable signal: the path is then more
#: than five times the thickness.
_MAX_SINE = 0.98
#: Tracks of a block: arrays of their crossings stay in the first two levels of cache.
BLOCK = 128
#: The same for indices: those that may be negative are tested, and then loops are not vectors.
ALL = np.uint64(BLOCK)
#: Stands for infinity where that times 0 must be 0.
_HUGE = 1e60
#: Series of asin(x)/x in x^2, good to 5e-8 up to x = 1/2, and of sin(x)/x, good to 4e-12 up to pi/2.
_ASIN = tuple(math.comb(2 * i, i) / 4.0**i / (2 * i + 1) for i in range(9))
_SINC = tuple((-1.0) ** i / math.factorial(2 * i + 1) for i in range(8))
_QUARTER2 = 0.25 * math.pi * math.pi
# Quantities of tracks, as rows of BLOCK numbers of one array: LLVM makes vectors of a loop over many arrays only if it
# knows that none overlaps another. Lengths are in cm.
#: Start in z; pz/pt of the particle and its inverse; curvature, its size's inverse, signed distance d of closest
#: approach to the axis, h = 1 + k d and its inverse.
_Z, _SLOPE, _PER_SLOPE, _K, _PER_K, _D, _H, _PER_H = (np.uint64(i * BLOCK) for i in range(8))
#: Distance from the axis where it is made, arc from the closest approach to there, square of the largest radius that it
#: reaches without crossing a cylinder too flatly; cosine and sine of the azimuth.
_START, _ARC, _MOST2, _COSINE, _SINE = (np.uint64(i * BLOCK) for i in range(8, 13))
#: Measured curvature/2, squared; logarithm of the path across a cylinder that the measured track meets at a right angle
#: to the axis, the same for a disc; logarithm of p/m, squared charge and its logarithm.
HALF_K2, ON_CYLINDER, ON_DISC, LOG_SPEED, SQUARE, LOG_SQUARE = (np.uint64(i * BLOCK) for i in range(13, 19))
N_QUANTITIES = 19


class Layers(NamedTuple):
    """The layers by their shape; numbers that several layers share are kept once."""

    radius: Floats
    """(n_cylinders,) radius [cm]."""
    end: Integers
    """(n_cylinders,) which half-length each cylinder has."""
    half_length: Floats
    """(n_ends,) half-lengths [cm]."""
    z: Floats
    """(n_discs,) place of each disc [cm]."""
    inner: Integers
    """(n_discs,) which edge is its inner one."""
    outer: Integers
    """(n_discs,) which edge is its outer one."""
    edge: Floats
    """(n_edges,) radii of edges [cm]."""


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


class Crossed(NamedTuple):
    """Scratch space of a block of tracks."""

    track: Floats
    """(N_QUANTITIES * BLOCK,) what is known of each track."""
    low2: Floats
    """(n_ends * BLOCK,) a cylinder that ends there is crossed if its squared radius [cm^2] is not below this, ..."""
    high2: Floats
    """... and not above this."""
    arc: Floats
    """(n_edges * BLOCK,) arc from the closest approach to each edge [cm]."""
    step: Integers
    """(n_cylinders * BLOCK,) BLOCK where a track crosses a cylinder, else 0."""
    n_cylinders: Integers
    """(BLOCK,) number of cylinders that a track crosses, times BLOCK."""
    n_discs: Integers
    """(BLOCK,) number of discs that it crosses."""


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
    radius, length = surfaces[is_cylinder, 1:3].T
    z, *edges = surfaces[~is_cylinder, 1:].T
    half_length, end = np.unique(length, return_inverse=True)
    edge, which = np.unique(np.concatenate(edges), return_inverse=True)
    inner, outer = which.reshape(2, len(z))
    return Layers(radius.copy(), end.astype(np.int64), half_length, z.copy(), inner.copy(), outer.copy(), edge)


# --- tracks ----------------------------------------------------------------------------------------------------------
@bare_kernel
def set_functions(
    start: int, n: int, truth: Truth, tgl: Floats, q_over_pt: Floats, bz: float, log_thickness: float, track: Floats
) -> None:
    """Slopes, directions and path lengths of `n` tracks: loops over so few arrays that they become vectors."""
    eta, phi, charge = truth.eta_true, truth.phi_true, truth.charge_true
    for i in range(n):
        up = exp(abs(eta[start + i]))
        slope = math.copysign(0.5 * (up - 1.0 / up), eta[start + i])
        j = np.uint64(i)
        track[j + _SLOPE], track[j + _PER_SLOPE] = slope, 1.0 / slope if abs(slope) > 1.0 / _HUGE else _HUGE
    for i in range(n):
        j = np.uint64(i)
        track[j + _COSINE], track[j + _SINE] = cosine_and_sine(phi[start + i])
    for i in range(n):
        half_k, j = 0.5 * curvature(q_over_pt[start + i], bz), np.uint64(i)
        track[j + HALF_K2] = half_k * half_k
    for i in range(n):
        j = np.uint64(i)
        track[j + ON_CYLINDER] = log_thickness + 0.5 * log(1.0 + tgl[start + i] * tgl[start + i])
    for i in range(n):
        j = np.uint64(i)
        track[j + ON_DISC] = track[j + ON_CYLINDER] - log(max(abs(tgl[start + i]), 1e-9))
    for i in range(n):
        j = np.uint64(i)
        track[j + SQUARE] = float(charge[start + i]) * float(charge[start + i])


@bare_kernel
def set_circles(start: int, n: int, truth: Truth, bz: float, track: Floats) -> None:
    """Circles and logarithms of the speeds of `n` tracks from `start` on."""
    vx, vy, pt, mass, charge = truth.vx_true, truth.vy_true, truth.pt_true, truth.mass_true, truth.charge_true
    for i in range(n):
        row, j = start + i, np.uint64(i)
        k, cosine, sine = curvature(charge[row] / pt[row], bz), track[j + _COSINE], track[j + _SINE]
        along, across = vx[row] * cosine + vy[row] * sine, vy[row] * cosine - vx[row] * sine
        square, inside = along * along + across * across, 1.0 + k * across
        h = math.sqrt(inside * inside + k * k * along * along)
        per_k = 1.0 / abs(k) if k != 0.0 else _HUGE
        track[j + _Z], track[j + _K], track[j + _PER_K] = truth.vz_true[row], k, per_k
        track[j + _D], track[j + _H], track[j + _PER_H] = (k * square + 2.0 * across) / (1.0 + h), h, 1.0 / h
        # arc from the closest point to the start, off by k^2 along^3/3: 1 mm for 10 cm and 300 MeV in 2 T
        track[j + _START], track[j + _ARC] = math.sqrt(square), along / inside if inside > 0.0 else along
        reach = (1.0 + h) * per_k
        track[j + _MOST2] = min(reach * reach, _MAX_SINE * _MAX_SINE / max(track[j + HALF_K2], 1.0 / _HUGE))
        track[j + LOG_SPEED] = pt[row] / mass[row]
    for at in range(ALL):
        slope = track[at + _SLOPE]
        track[at + LOG_SPEED] = log(track[at + LOG_SPEED] * math.sqrt(1.0 + slope * slope))
        track[at + LOG_SQUARE] = log(track[at + SQUARE])


# --- crossings -------------------------------------------------------------------------------------------------------
@bare_kernel
def _set_end(track: Floats, half_length: float, end2: Floats) -> None:
    """Squared radii where tracks on their way out meet an end of a barrel, behind them if `half_length` is negative.

    At the arc s from the closest approach it is d^2 + h c^2 with the chord c = 2 sin(k s/2)/k, see
    `flashdet.kernels.helix.to_cylinder`. Infinite if they turn back before, -1 if they are there before the closest
    approach.
    """
    a = _SINC
    for j in range(ALL):
        k, d, h = track[j + _K], track[j + _D], track[j + _H]
        end = math.copysign(half_length, half_length * track[j + _PER_SLOPE])
        s = (end - track[j + _Z]) * track[j + _PER_SLOPE] + track[j + _ARC]
        half = 0.5 * k * s
        q = min(half * half, 4.0)  # beyond half a turn any number does
        p = q * q
        series = (a[0] + a[1] * q) + p * (a[2] + a[3] * q) + p * p * ((a[4] + a[5] * q) + p * (a[6] + a[7] * q))
        chord = s * series
        square = d * d + h * (chord * chord) if q <= _QUARTER2 else np.inf
        end2[j] = square if s > 0.0 else -1.0


@bare_kernel
def _set_arcs(track: Floats, radius: float, arc: Floats) -> None:
    """Arcs from the closest approach to a radius; 0 inside of it, half a turn where it is not reached.

    A point at radius r lies a chord c from the closest point, with c^2 = (r^2 - d^2)/h, see
    `flashdet.kernels.helix.to_cylinder`; the arc is 2 asin(k c/2)/k. For half an angle above 30 degrees the arcsine is
    that of (1 - sin)/2, so that one series does for both.
    """
    a = _ASIN
    for j in range(ALL):
        k, d = track[j + _K], track[j + _D]
        chord = math.sqrt(max((radius - d) * (radius + d) * track[j + _PER_H], 0.0))
        x = min(0.5 * abs(k) * chord, 1.0)
        is_small = x < 0.5
        q = x * x if is_small else 0.5 * (1.0 - x)
        p = q * q
        series = (a[0] + a[1] * q) + p * (a[2] + a[3] * q) + p * p * ((a[4] + a[5] * q) + p * (a[6] + a[7] * q))
        series += p * p * p * p * a[8]
        turned = track[j + _PER_K] * (math.pi - 4.0 * math.sqrt(q) * series)
        arc[j] = chord * series if is_small else turned


@bare_kernel
def _cross_cylinder(
    track: Floats, low2: Floats, high2: Floats, radius: float, step: Integers, n_cylinders: Integers
) -> None:
    """Mark the tracks of a block that cross a cylinder."""
    square = radius * radius
    for j in range(ALL):
        is_between = (low2[j] <= square) & (square <= high2[j])
        step[j] = BLOCK if is_between & (track[j + _START] < radius) & (square <= track[j + _MOST2]) else 0
    for j in range(ALL):
        n_cylinders[j] += step[j]


@bare_kernel
def _cross_disc(track: Floats, inner: Floats, outer: Floats, z: float, n_discs: Integers) -> None:
    """Count a disc for the tracks of a block that cross it in their first half turn."""
    for j in range(ALL):
        ahead = (z - track[j + _Z]) * track[j + _PER_SLOPE]
        size = abs(ahead + track[j + _ARC])
        n_discs[j] += 1 if (ahead > 0.0) & (inner[j] <= size) & (size <= outer[j]) else 0


@bare_kernel
def cross(layers: Layers, work: Crossed) -> None:
    """Cylinders that the tracks of a block cross, and numbers of discs."""
    track, low2, high2, arc = work.track, work.low2, work.high2, work.arc
    for i in range(len(layers.half_length)):
        _set_end(track, -layers.half_length[i], low2[i * BLOCK :])
        _set_end(track, layers.half_length[i], high2[i * BLOCK :])
    for i in range(len(layers.edge)):
        _set_arcs(track, layers.edge[i], arc[i * BLOCK :])
    for i in range(BLOCK):
        work.n_cylinders[i], work.n_discs[i] = 0, 0
    for i in range(len(layers.radius)):
        at = layers.end[i] * BLOCK
        _cross_cylinder(track, low2[at:], high2[at:], layers.radius[i], work.step[i * BLOCK :], work.n_cylinders)
    for i in range(len(layers.z)):
        _cross_disc(track, arc[layers.inner[i] * BLOCK :], arc[layers.outer[i] * BLOCK :], layers.z[i], work.n_discs)
