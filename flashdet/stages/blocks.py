"""Surfaces that particles meet first, for a block of particles at a time.

The geometry is that of :func:`flashdet.stages.surface.first_crossing`. Cheap tests for all of a block come first, the
exact crossing for those that may get to a surface, both in loops without branches that become vector instructions: a
third of the time of one particle after the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import arc_to_cylinder
from flashdet.kernels.elementary import cosine_and_sine, exp
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel
from flashdet.stages.surface import CYLINDER, MAX_TURNS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Particles of a block: what is known of them stays in the first two levels of cache.
BLOCK = 256
_U = np.uint64
#: Where quantities start in the scratch array; LLVM makes vectors of loops over one array with known distances without
#: asking whether parts of it overlap. Of all particles of the block: slope, curvature, shortest path. Of those
#: that may get to a surface: start, direction, slope, curvature, path.
TGL, K, BEST, _X, _Y, _Z, _PHI, _SLOPE, _BENT, _PATH = (_U(i * BLOCK) for i in range(10))
_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS


class Helices(NamedTuple):
    """Columns of the generated particles of tracks, see :data:`flashdet.columns.TRACK`."""

    vx_true: Floats
    vy_true: Floats
    vz_true: Floats
    pt_true: Floats
    eta_true: Floats
    phi_true: Floats
    charge_true: NDArray[np.int8]


class Block(NamedTuple):
    """Scratch memory of a block; `block` makes it."""

    row: Integers
    """(BLOCK,) particles that may get to a surface, by their place in the block."""
    flag: Integers
    """(BLOCK,) 1 for particles that may get to a surface, else 0."""
    number: Floats
    """(10 * BLOCK,) see `TGL` and so on."""


def block() -> Block:
    """Memory for :func:`cross`."""
    return Block(np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64), np.empty(10 * BLOCK))


@bare_kernel
def _set_helices(begin: int, n: int, helices: Helices, bz: float, number: Floats) -> None:
    """Slopes and curvatures of the particles of a block; no path is known yet."""
    eta, charge, pt = (
        helices.eta_true[begin : begin + n],
        helices.charge_true[begin : begin + n],
        helices.pt_true[begin:],
    )
    for i in range(_U(n)):
        # the absolute error of the difference is that of rounding
        grow = exp(min(max(eta[i], -700.0), 700.0))
        number[i + TGL] = 0.5 * (grow - 1.0 / grow)
    for i in range(_U(n)):
        number[i + K] = curvature(charge[i] / pt[i], bz)
    for i in range(_U(n)):
        number[i + BEST] = math.inf


@bare_kernel
def _select(begin: int, n: int, helices: Helices, surface: Floats, work: Block) -> int:
    """Note the particles of a block that may get to a surface; return how many.

    The way to a cylinder is at least its distance, however the path bends, and a circle gets no farther from the axis
    than its diameter.
    """
    vx, vy, vz = (
        helices.vx_true[begin : begin + n],
        helices.vy_true[begin : begin + n],
        helices.vz_true[begin : begin + n],
    )
    number, flag, row = work.number, work.flag, work.row
    place, first = surface[1], surface[2]
    if surface[0] == CYLINDER:
        for i in range(_U(n)):
            # a little more than the way, for rounding
            way = (place - abs(vx[i]) - abs(vy[i])) * (1.0 - 1e-9)
            is_near = abs(number[i + TGL]) * way <= first + abs(vz[i])
            flag[i] = 1 if is_near & (abs(number[i + K]) * way <= 2.0) else 0
    else:
        for i in range(_U(n)):
            tgl, way = number[i + TGL], place - vz[i]
            turned, reach = abs(number[i + K] * way), abs(way) + (abs(vx[i]) + abs(vy[i])) * abs(tgl)
            is_ahead = (way * tgl > 0.0) & (turned <= (1.0 + 1e-9) * _MAX_ANGLE * abs(tgl))
            flag[i] = 1 if is_ahead & (first * abs(tgl) <= (1.0 + 1e-9) * reach) else 0
    m = 0
    for i in range(n):
        row[m] = i
        m += flag[i]
    return m


@bare_kernel
def _gather(begin: int, m: int, helices: Helices, row: Integers, number: Floats) -> None:
    """Helices of the particles that may get to a surface."""
    for j in range(_U(m)):
        i = _U(row[j])
        at = _U(begin) + i
        number[j + _X], number[j + _Y], number[j + _Z] = helices.vx_true[at], helices.vy_true[at], helices.vz_true[at]
        number[j + _PHI], number[j + _SLOPE], number[j + _BENT] = helices.phi_true[at], number[i + TGL], number[i + K]


@bare_kernel
def _cross_cylinder(m: int, radius: float, half_length: float, number: Floats) -> None:
    """Paths to a cylinder, infinite where it is not met."""
    for j in range(_U(m)):
        cosine, sine = cosine_and_sine(number[j + _PHI])
        x, y, tgl, k = number[j + _X], number[j + _Y], number[j + _SLOPE], number[j + _BENT]
        s, _, _ = arc_to_cylinder(x * cosine + y * sine, y * cosine - x * sine, k, radius)
        is_met = (abs(number[j + _Z] + s * tgl) <= half_length) & (abs(k) * s <= _MAX_ANGLE)
        is_met &= x * x + y * y < radius * radius
        number[j + _PATH] = s * math.sqrt(1.0 + tgl * tgl) if is_met else math.inf


@bare_kernel
def _cross_disc(m: int, z: float, r_min: float, r_max: float, number: Floats) -> None:
    """Paths to a disc, infinite where it is not met."""
    for j in range(_U(m)):
        tgl, k = number[j + _SLOPE], number[j + _BENT]
        s = (z - number[j + _Z]) / tgl
        half = 0.5 * k * s
        _, sine = cosine_and_sine(half)
        q = half * half
        # the series of `flashdet.kernels.helix.sinc`
        ratio = 1.0 - q / 6.0 * (1.0 - q / 20.0) if abs(half) < 1e-2 else sine / half
        cosine, sine = cosine_and_sine(number[j + _PHI] + half)
        x, y = number[j + _X] + s * ratio * cosine, number[j + _Y] + s * ratio * sine
        square = x * x + y * y
        is_met = (s > 0.0) & (abs(k) * s <= _MAX_ANGLE) & (r_min * r_min <= square) & (square <= r_max * r_max)
        number[j + _PATH] = s * math.sqrt(1.0 + tgl * tgl) if is_met else math.inf


@bare_kernel
def cross(
    begin: int, n: int, helices: Helices, bz: float, surfaces: Floats, work: Block, nearest: NDArray[np.int8]
) -> None:
    """Cross surfaces with the particles of a block.

    Parameters
    ----------
    begin, n : int
        First particle of the block, and how many, at most `BLOCK`.
    helices : Helices
        All particles.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    work : Block
        Scratch memory; filled: the path to the nearest surface [cm] from `BEST` on, infinite without one, the
        slopes from `TGL` and the curvatures from `K` on.
    nearest : (n,) int8
        Filled: the surface that each particle meets first, -1 for none.
    """
    _set_helices(begin, n, helices, bz, work.number)
    number, row = work.number, work.row
    nearest[:] = -1
    for layer in range(len(surfaces)):
        surface = surfaces[layer]
        m = _select(begin, n, helices, surface, work)
        _gather(begin, m, helices, row, number)
        if surface[0] == CYLINDER:
            _cross_cylinder(m, surface[1], surface[2], number)
        else:
            _cross_disc(m, surface[1], surface[2], surface[3], number)
        for j in range(_U(m)):
            i = _U(row[j])
            if number[j + _PATH] < number[i + BEST]:
                number[i + BEST], nearest[i] = number[j + _PATH], layer
