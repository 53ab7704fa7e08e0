"""Crossings of the layers of a silicon tracker: kernels of `flashdet.stages.tot`, block by block of tracks.

Each step is a loop of arithmetic over a few arrays of its own, so that it becomes vector instructions. What the layers
measure is :mod:`flashdet.stages.losses`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, exp, log
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Above this |sin| of the incidence in the transverse plane a cylinder gives no usable signal: the path is then more
#: than five times the thickness.
_MAX_SINE = 0.98
#: Tracks of a block: arrays of their crossings stay in the first two levels of cache.
BLOCK = 64


class Layers(NamedTuple):
    """The layers in the order in which particles meet them.

    Attributes
    ----------
    cylinder : (3, n) float64
        Radius, half-length and the largest half-length from there on [cm], by rising radius.
    disc : (2, 4, m) float64
        For particles that move up and down in z, in the order in which they get there: z, squares of the inner and the
        outer radius, largest square of an outer radius from there on [cm].
    cylinder_index, disc_index : (n,), (2, m) int64
        Places in the card; they decide on the random numbers.
    n_behind : (2,) int64
        Discs that the particles of z = 0 leave behind.
    """

    cylinder: Floats
    disc: Floats
    cylinder_index: Integers
    disc_index: Integers
    n_behind: Integers


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

    slope: Floats
    """(BLOCK,) pz/pt of the particle, and so on for the next ones."""
    cosine: Floats
    """Cosine of its azimuth."""
    sine: Floats
    """Sine of its azimuth."""
    k: Floats
    """Its curvature [1/cm]."""
    d: Floats
    """Its signed distance of closest approach to the axis [cm]."""
    h: Floats
    """1 + k d."""
    start: Floats
    """Distance from the axis where it is made [cm]."""
    arc: Floats
    """Arc from the closest approach to there [cm]."""
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
    first: Integers
    """(BLOCK + 1,) their first crossing."""
    owner: Integers
    """(n,) track of a crossing."""
    layer: Integers
    """(n,) layer of a crossing; when its bits are drawn, the first number of its quantiles in the tables."""
    length: Floats
    """(n,) logarithm of its path [cm]."""
    sine2: Floats
    """(n,) squared sine of the incidence on a cylinder in the transverse plane."""
    key: Words
    """(n,) counter word of its event."""
    particle: Integers
    """(n,) place of its particle."""
    draw: Floats
    """(n,) uniform number, then the quantile, then the signal, or -1 without one."""
    lowest: Floats
    """(n,) signals of one track."""
    across: Floats
    """(n,) weight of the next longer path of the tables."""
    log_square: Floats
    """(BLOCK,) logarithm of the squared charge of the tracks."""


def order(surfaces: Floats) -> Layers:
    """Put packed surfaces in order.

    Parameters
    ----------
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    Layers
    """
    is_cylinder = surfaces[:, 0] == CYLINDER
    inward, across = np.flatnonzero(is_cylinder), np.flatnonzero(~is_cylinder)
    inward, across = inward[np.argsort(surfaces[inward, 1])], across[np.argsort(surfaces[across, 1])]
    cylinder, disc = surfaces[inward, 1:3], surfaces[across, 1:4]
    longest = np.maximum.accumulate(cylinder[::-1, 1])[::-1]
    rows = np.stack([disc[:, 0], disc[:, 1] ** 2, disc[:, 2] ** 2])
    ways = [np.vstack([way, np.maximum.accumulate(way[2, ::-1])[::-1]]) for way in (rows, rows[:, ::-1])]
    behind = [np.count_nonzero(rows[0] < 0.0), np.count_nonzero(rows[0] > 0.0)]
    return Layers(
        np.vstack([cylinder.T, longest]), np.stack(ways), inward, np.stack([across, across[::-1]]),
        np.array(behind, np.int64),
    )  # fmt: skip


# --- tracks ----------------------------------------------------------------------------------------------------------
@bare_kernel
def set_functions(start: int, n: int, eta: Floats, phi: Floats, tgl: Floats, log_thickness: float, work: Work) -> None:
    """Slopes, directions and logarithms of path lengths: loops over so few arrays that they become vectors."""
    slope, cosine, sine, length, on_disc = work.slope, work.cosine, work.sine, work.log_path, work.log_path_disc
    for j in range(n):
        up = exp(abs(eta[start + j]))
        slope[j] = math.copysign(0.5 * (up - 1.0 / up), eta[start + j])
    for j in range(n):
        cosine[j], sine[j] = cosine_and_sine(phi[start + j])
    for j in range(n):
        length[j] = log_thickness + 0.5 * log(1.0 + tgl[start + j] * tgl[start + j])
    for j in range(n):
        on_disc[j] = length[j] - log(max(abs(tgl[start + j]), 1e-9))


@bare_kernel
def set_circles(start: int, n: int, truth: Truth, bz: float, work: Work) -> None:
    """Circles and logarithms of the speeds of `n` tracks from `start` on."""
    vx, vy, pt, mass, charge = truth.vx_true, truth.vy_true, truth.pt_true, truth.mass_true, truth.charge_true
    slope, cosine, sine, weight = work.slope, work.cosine, work.sine, work.weight
    for j in range(n):
        row = start + j
        k = curvature(charge[row] / pt[row], bz)
        along, across = vx[row] * cosine[j] + vy[row] * sine[j], vy[row] * cosine[j] - vx[row] * sine[j]
        square, inside = along * along + across * across, 1.0 + k * across
        h = math.sqrt(inside * inside + k * k * along * along)
        work.k[j], work.h[j], work.start[j] = k, h, math.sqrt(square)
        work.d[j] = (k * square + 2.0 * across) / (1.0 + h)
        # arc from the closest point to the start, off by k^2 along^3/3: 1 mm for 10 cm and 300 MeV in 2 T
        work.arc[j] = along / inside if inside > 0.0 else along
    for j in range(n):
        work.square[j] = float(charge[start + j]) * float(charge[start + j])
    for j in range(n):
        work.log_square[j] = log(work.square[j])
    for j in range(n):
        weight[j] = log(pt[start + j] * math.sqrt(1.0 + slope[j] * slope[j]) / mass[start + j])


# --- crossings -------------------------------------------------------------------------------------------------------
@inline
def _arc_to_cylinder(radius: float, d: float, h: float, k: float) -> float:
    """Arc in the transverse plane from the closest approach to a cylinder that is reached.

    A point at radius r lies a chord c from the closest point, with c^2 = (r^2 - d^2)/h, see
    `flashdet.kernels.helix.to_cylinder`.
    """
    square = (radius - d) * (radius + d) / h
    q = min(0.25 * k * k * square, 1.0)
    if q < 0.09:
        # the series of asin(x)/x is good to 1e-7 and saves the arcsine
        stretch = 1.0 + q * (1 / 6 + q * (3 / 40 + q * (15 / 336 + q * (105 / 3456))))
    else:
        x = math.sqrt(q)
        stretch = math.asin(x) / x
    return math.sqrt(square) * stretch


@bare_kernel
def cross_cylinders(j: int, z0: float, half_k: float, layers: Layers, work: Work, n: int) -> int:
    """Add the crossings of track `j`, which starts at `z0`, to the `n` that there are; `half_k` is the measured one.

    Not in vectors like those of discs: most forward tracks leave after one or two layers, and then that takes longer.
    """
    cylinder, index, owner = layers.cylinder, layers.cylinder_index, work.owner
    slope, k, d, h, start, arc = work.slope[j], work.k[j], work.d[j], work.h[j], work.start[j], work.arc[j]
    length = work.log_path[j]
    for c in range(len(index)):
        radius = cylinder[0, c]
        sine = half_k * radius
        if not 1.0 + h > abs(k) * radius or abs(sine) > _MAX_SINE:
            break
        if start >= radius:
            continue
        here = z0 + slope * (_arc_to_cylinder(radius, d, h, k) - arc)
        if math.copysign(here, here * slope) > cylinder[2, c]:
            break
        owner[n], work.layer[n], work.length[n], work.sine2[n] = j, index[c], length, sine * sine
        n += abs(here) <= cylinder[1, c]
    return n


@bare_kernel
def _radii_at(
    first: int, z: Floats, z0: float, inverse: float, arc: float, k: float, d: float, h: float, out: Floats
) -> None:
    """Squared radius of a track at planes from the `first` on, infinite after half a turn: a loop of vectors."""
    for i in range(first, len(z)):
        s = (z[i] - z0) * inverse + arc
        half = 0.5 * k * s
        q = half * half
        # the series of sin(x)/x up to pi/2, good to 4e-12; the sine takes 10 ns
        series = 1.0 - q / 72.0 * (1.0 - q / 110.0 * (1.0 - q / 156.0 * (1.0 - q / 210.0)))
        chord = s * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0 * series)))
        out[i] = d * d + h * chord * chord if q <= 0.25 * math.pi * math.pi else np.inf


@bare_kernel
def cross_discs(j: int, z0: float, layers: Layers, work: Work, n: int) -> int:
    """Add the crossings of discs in the first half turn of track `j` to the `n` that there are."""
    slope, k, d, h, arc = work.slope[j], work.k[j], work.d[j], work.h[j], work.arc[j]
    if slope == 0.0:
        return n
    side = 0 if slope > 0.0 else 1
    disc, index = layers.disc[side], layers.disc_index[side]
    z, inner2, outer2, squares = disc[0], disc[1], disc[2], work.lowest
    sign, inverse = 1.0 - 2.0 * side, 1.0 / slope
    first, m = layers.n_behind[side], len(index)
    while first > 0 and (z[first - 1] - z0) * sign > 0.0:
        first -= 1
    while first < m and (z[first] - z0) * sign <= 0.0:
        first += 1
    if first == m:
        return n
    # sin(x)/x > 1 - x^2/6, and the chord grows with s: most particles of the barrel end here at their first disc
    s = (z[first] - z0) * inverse + arc
    q = 0.25 * k * k * s * s
    least = s * (1.0 - q / 6.0)
    if s > 0.0 and (q > 0.25 * math.pi * math.pi or d * d + h * least * least > disc[3, first]):
        return n
    _radii_at(first, z, z0, inverse, arc, k, d, h, squares)
    owner, layer, length, sine2 = work.owner, work.layer, work.length, work.sine2
    for i in range(first, m):
        owner[n], layer[n], length[n], sine2[n] = j, index[i], work.log_path_disc[j], 0.0
        n += (inner2[i] <= squares[i]) & (squares[i] <= outer2[i])
    return n
