"""Hits of generated particles on timing layers: which surface, after which path, at which measured time.

Particles go through in blocks: cheap tests for all of a block, the exact crossing for those that may get to a surface,
random numbers for those that did, each in loops without branches that become vector instructions. Configuration and
stage are in :mod:`.stage`, errors of times in :mod:`.timeresponse`, pixels in :mod:`.pixels`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import arc_to_cylinder
from flashdet.kernels.elementary import cosine_and_sine, exp
from flashdet.kernels.helix import advance, curvature
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.noise import normal_rows
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.surface import CYLINDER, MAX_TURNS
from flashdet.stages.tof.pixels import is_sensitive
from flashdet.stages.tof.timeresponse import Response, draw_error, resolution_at
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_EFFICIENCY, _SLOT_TIME = 0, 1
#: Particles of a block: what is known of them stays in the first two levels of cache.
BLOCK = 256
_U = np.uint64
#: Where quantities start in the scratch array; LLVM makes vectors of loops over one array with known distances without
#: asking whether parts of it overlap. Of all particles of the block: slope, curvature, shortest path. Of those
#: that may get to a surface: start, direction, slope, curvature, path.
_TGL, _K, _BEST, _X, _Y, _Z, _PHI, _SLOPE, _BENT, _PATH = (_U(i * BLOCK) for i in range(10))
#: Of hits: normal number, the second one, resolution.
_NORMAL, _SECOND, _SIGMA = range(3)
_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS
#: Without decays; read-only like a column, so that the kernel is compiled once.
_NO_DECAYS = np.empty(0)
_NO_DECAYS.flags.writeable = False


class Truth(NamedTuple):
    """Columns of the generated particles of tracks, see :data:`flashdet.columns.TRACK`."""

    particle_index: NDArray[np.int32]
    vx_true: Floats
    vy_true: Floats
    vz_true: Floats
    vt_true: Floats
    pt_true: Floats
    eta_true: Floats
    phi_true: Floats
    mass_true: Floats
    charge_true: NDArray[np.int8]


class HitColumns(NamedTuple):
    """What a detector measures of each track.

    Attributes
    ----------
    surface : (n,) int8
        The surface hit, -1 if none.
    path : (n,) float64
        True path from the production vertex [cm], NaN without a hit.
    time, time_error : (n,) float64
        Measured time [ns], production time included, and its core resolution; NaN without a hit.
    """

    surface: NDArray[np.int8]
    path: Floats
    time: Floats
    time_error: Floats


class Work(NamedTuple):
    """Scratch memory of a block."""

    row: NDArray[np.int64]
    """(2, BLOCK) particles that may get to a surface, and hits, by their place in the block."""
    flag: NDArray[np.int64]
    """(BLOCK,) 1 for particles that may get to a surface, else 0."""
    number: Floats
    """(10 * BLOCK,) see `_TGL` and so on."""
    key: NDArray[np.uint64]
    """(BLOCK,) counter word of the event of each hit."""
    particle: NDArray[np.int64]
    """(BLOCK,) place of its particle."""
    bits: NDArray[np.uint64]
    """(2, BLOCK) random bits."""
    hit: Floats
    """(3, BLOCK) see `_NORMAL` and so on."""


def make_hits(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], bz: float,
    surfaces: Floats, pixels: Floats, response: Response, efficiency: float, draw: Draw, decays: bool = False,
    out: HitColumns | None = None,
) -> HitColumns:  # fmt: skip
    """Cross the surfaces with the generated particles and measure their times.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``, and ``end_path_true`` for `decays`).
    offsets : (n_events + 1,) int64
        Rows of each event.
    event_key : (n_events,) uint64
        Counter words of the events.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    pixels : (n_surfaces, 3) or (0, 3) float64
        From `flashdet.stages.tof.pixels.pack_pixels`.
    response : Response
        From `flashdet.stages.tof.timeresponse.pack_response`.
    efficiency : float
        Probability of a hit.
    draw : Draw
        Random numbers.
    decays : bool
        Whether particles that ended before the surface make no hit.
    out : HitColumns, optional
        Memory to fill.

    Returns
    -------
    HitColumns
    """
    n = len(track["pt_true"])
    if out is None:
        out = HitColumns(np.empty(n, np.int8), np.empty(n), np.empty(n), np.empty(n))
    work = Work(
        np.empty((2, BLOCK), np.int64), np.empty(BLOCK, np.int64), np.empty(10 * BLOCK), np.empty(BLOCK, np.uint64),
        np.empty(BLOCK, np.int64), np.empty((2, BLOCK), np.uint64), np.empty((3, BLOCK)),
    )  # fmt: skip
    truth = Truth(*(track[name] for name in Truth._fields))
    alive = track["end_path_true"] if decays else _NO_DECAYS
    _hit_kernel(
        offsets, event_key, truth, alive, float(bz), surfaces, pixels, response, float(efficiency), draw.key, work, out
    )
    return out


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _set_helices(begin: int, n: int, truth: Truth, bz: float, number: Floats) -> None:
    """Slopes and curvatures of the particles of a block; no path is known yet."""
    eta, charge, pt = truth.eta_true[begin : begin + n], truth.charge_true[begin : begin + n], truth.pt_true[begin:]
    for i in range(_U(n)):
        # the absolute error of the difference is that of rounding
        grow = exp(min(max(eta[i], -700.0), 700.0))
        number[i + _TGL] = 0.5 * (grow - 1.0 / grow)
    for i in range(_U(n)):
        number[i + _K] = curvature(charge[i] / pt[i], bz)
    for i in range(_U(n)):
        number[i + _BEST] = math.inf


@bare_kernel
def _select(begin: int, n: int, truth: Truth, surface: Floats, work: Work) -> int:
    """Note the particles of a block that may get to a surface; return how many.

    The way to a cylinder is at least its distance, however the path bends, and a circle gets no farther from the axis
    than its diameter.
    """
    vx, vy, vz = truth.vx_true[begin : begin + n], truth.vy_true[begin : begin + n], truth.vz_true[begin : begin + n]
    number, flag, row = work.number, work.flag, work.row[0]
    place, first = surface[1], surface[2]
    if surface[0] == CYLINDER:
        for i in range(_U(n)):
            # a little more than the way, for rounding
            way = (place - abs(vx[i]) - abs(vy[i])) * (1.0 - 1e-9)
            is_near = abs(number[i + _TGL]) * way <= first + abs(vz[i])
            flag[i] = 1 if is_near & (abs(number[i + _K]) * way <= 2.0) else 0
    else:
        for i in range(_U(n)):
            tgl, way = number[i + _TGL], place - vz[i]
            turned, reach = abs(number[i + _K] * way), abs(way) + (abs(vx[i]) + abs(vy[i])) * abs(tgl)
            is_ahead = (way * tgl > 0.0) & (turned <= (1.0 + 1e-9) * _MAX_ANGLE * abs(tgl))
            flag[i] = 1 if is_ahead & (first * abs(tgl) <= (1.0 + 1e-9) * reach) else 0
    m = 0
    for i in range(n):
        row[m] = i
        m += flag[i]
    return m


@bare_kernel
def _gather(begin: int, m: int, truth: Truth, row: Integers, number: Floats) -> None:
    """Helices of the particles that may get to a surface."""
    for j in range(_U(m)):
        i = _U(row[j])
        at = _U(begin) + i
        number[j + _X], number[j + _Y], number[j + _Z] = truth.vx_true[at], truth.vy_true[at], truth.vz_true[at]
        number[j + _PHI], number[j + _SLOPE], number[j + _BENT] = truth.phi_true[at], number[i + _TGL], number[i + _K]


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
def _cross(begin: int, n: int, truth: Truth, surfaces: Floats, work: Work, nearest: NDArray[np.int8]) -> None:
    """Nearest surface of the particles of a block, -1 for none, and the path to it."""
    number, row = work.number, work.row[0]
    nearest[:] = -1
    for layer in range(len(surfaces)):
        surface = surfaces[layer]
        m = _select(begin, n, truth, surface, work)
        _gather(begin, m, truth, row, number)
        if surface[0] == CYLINDER:
            _cross_cylinder(m, surface[1], surface[2], number)
        else:
            _cross_disc(m, surface[1], surface[2], surface[3], number)
        for j in range(_U(m)):
            i = _U(row[j])
            if number[j + _PATH] < number[i + _BEST]:
                number[i + _BEST], nearest[i] = number[j + _PATH], layer


@bare_kernel
def _select_hits(
    begin: int, n: int, event: int, offsets: Integers, event_key: NDArray[np.uint64], truth: Truth, alive: Floats,
    surfaces: Floats, pixels: Floats, nodes: Floats, efficiency: float, key: np.uint64, work: Work, out: HitColumns,
) -> int:  # fmt: skip
    """Note the particles of a block, the first one of `event`, that make a hit, with the resolution there."""
    number, row, m = work.number, work.row[1], 0
    needs_place = len(pixels) > 0 or nodes.shape[2] > 1
    for i in range(n):
        at, path = begin + i, number[_U(i) + _BEST]
        layer = out.surface[at]
        out.surface[at] = -1
        if layer < 0 or (len(alive) > 0 and path > alive[at]):
            continue
        while at >= offsets[event + 1]:
            event += 1
        x, y, z = 0.0, 0.0, 0.0
        if needs_place:
            tgl = number[_U(i) + _TGL]
            x, y, z, _ = advance(
                truth.vx_true[at], truth.vy_true[at], truth.vz_true[at], truth.phi_true[at], tgl, number[_U(i) + _K],
                path / math.sqrt(1.0 + tgl * tgl),
            )  # fmt: skip
            if not is_sensitive(pixels, surfaces, layer, x, y, z):
                continue
        if efficiency < 1.0:
            u, _ = uniforms(key, event_key[event], truth.particle_index[at], _SLOT_EFFICIENCY)
            if u >= efficiency:
                continue
        out.surface[at] = layer
        row[m], work.hit[_SIGMA, m] = i, resolution_at(nodes, layer, x, y, z)
        work.key[m], work.particle[m] = event_key[event], truth.particle_index[at]
        m += 1
    return m


@bare_kernel
def _measure(begin: int, m: int, truth: Truth, response: Response, key: np.uint64, work: Work, out: HitColumns) -> None:
    """Measured times of the hits of a block."""
    normal, number = work.hit[_NORMAL], work.number
    normal_rows(key, work.key, work.particle, _SLOT_TIME, m, work.bits, normal, work.hit[_SECOND])
    for j in range(m):
        i, sigma = work.row[1, j], work.hit[_SIGMA, j]
        at, tgl, path = begin + i, number[_U(i) + _TGL], number[_U(i) + _BEST]
        error = draw_error(normal[j], sigma, response, key, work.key[j], work.particle[j], _SLOT_TIME + 1)
        ratio = truth.mass_true[at] / truth.pt_true[at]
        flight = path / C_LIGHT * math.sqrt(1.0 + ratio * ratio / (1.0 + tgl * tgl))
        out.path[at], out.time[at], out.time_error[at] = path, truth.vt_true[at] + flight + error, sigma


@bare_kernel
def _hit_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], truth: Truth, alive: Floats, bz: float, surfaces: Floats,
    pixels: Floats, response: Response, efficiency: float, key: np.uint64, work: Work, out: HitColumns,
) -> None:  # fmt: skip
    n_rows, event = len(out.surface), 0
    out.path[:], out.time[:], out.time_error[:] = math.nan, math.nan, math.nan
    for begin in range(0, n_rows, BLOCK):
        n = min(BLOCK, n_rows - begin)
        while begin >= offsets[event + 1]:
            event += 1
        _set_helices(begin, n, truth, bz, work.number)
        _cross(begin, n, truth, surfaces, work, out.surface[begin : begin + n])
        m = _select_hits(
            begin, n, event, offsets, event_key, truth, alive, surfaces, pixels, response.nodes, efficiency, key, work,
            out,
        )  # fmt: skip
        _measure(begin, m, truth, response, key, work, out)
