"""Hits of generated particles on timing layers: which surface, after which path, at which measured time.

Particles go through in blocks; their crossings are in :mod:`flashdet.stages.blocks`. Configuration and stage are in
:mod:`.stage`, errors of times in :mod:`.timeresponse`, pixels in :mod:`.pixels`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import advance
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.noise import normal_rows
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.blocks import BEST, BLOCK, TGL, Block, Helices, K, block, cross
from flashdet.stages.tof.pixels import is_sensitive
from flashdet.stages.tof.timeresponse import Response, draw_error, resolution_at
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_EFFICIENCY, _SLOT_TIME = 0, 1
_U = np.uint64
#: Of hits: normal number, the second one, resolution.
_NORMAL, _SECOND, _SIGMA = range(3)
#: Without decays; read-only like a column, so that the kernel is compiled once.
_NO_DECAYS = np.empty(0)
_NO_DECAYS.flags.writeable = False


class Truth(NamedTuple):
    """Columns of the generated particles of tracks, see :data:`flashdet.columns.TRACK`."""

    particle_index: NDArray[np.int32]
    vt_true: Floats
    mass_true: Floats
    helices: Helices


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

    block: Block
    """Of the crossings."""
    row: NDArray[np.int64]
    """(BLOCK,) hits by their place in the block."""
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
        block(), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.uint64), np.empty(BLOCK, np.int64),
        np.empty((2, BLOCK), np.uint64), np.empty((3, BLOCK)),
    )  # fmt: skip
    helices = Helices(*(track[name] for name in Helices._fields))
    truth = Truth(track["particle_index"], track["vt_true"], track["mass_true"], helices)
    alive = track["end_path_true"] if decays else _NO_DECAYS
    _hit_kernel(
        offsets, event_key, truth, alive, float(bz), surfaces, pixels, response, float(efficiency), draw.key, work, out
    )
    return out


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _select_hits(
    begin: int, n: int, event: int, offsets: Integers, event_key: NDArray[np.uint64], truth: Truth, alive: Floats,
    surfaces: Floats, pixels: Floats, nodes: Floats, efficiency: float, key: np.uint64, work: Work, out: HitColumns,
) -> int:  # fmt: skip
    """Note the particles of a block, the first one of `event`, that make a hit, with the resolution there."""
    number, row, m, helices = work.block.number, work.row, 0, truth.helices
    needs_place = len(pixels) > 0 or nodes.shape[2] > 1
    for i in range(n):
        at, path = begin + i, number[_U(i) + BEST]
        layer = out.surface[at]
        out.surface[at] = -1
        if layer < 0 or (len(alive) > 0 and path > alive[at]):
            continue
        while at >= offsets[event + 1]:
            event += 1
        x, y, z = 0.0, 0.0, 0.0
        if needs_place:
            tgl = number[_U(i) + TGL]
            x, y, z, _ = advance(
                helices.vx_true[at], helices.vy_true[at], helices.vz_true[at], helices.phi_true[at], tgl,
                number[_U(i) + K], path / math.sqrt(1.0 + tgl * tgl),
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
    normal, number = work.hit[_NORMAL], work.block.number
    normal_rows(key, work.key, work.particle, _SLOT_TIME, m, work.bits, normal, work.hit[_SECOND])
    for j in range(m):
        i, sigma = work.row[j], work.hit[_SIGMA, j]
        at, tgl, path = begin + i, number[_U(i) + TGL], number[_U(i) + BEST]
        error = draw_error(normal[j], sigma, response, key, work.key[j], work.particle[j], _SLOT_TIME + 1)
        ratio = truth.mass_true[at] / truth.helices.pt_true[at]
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
        cross(begin, n, truth.helices, bz, surfaces, work.block, out.surface[begin : begin + n])
        m = _select_hits(
            begin, n, event, offsets, event_key, truth, alive, surfaces, pixels, response.nodes, efficiency, key, work,
            out,
        )  # fmt: skip
        _measure(begin, m, truth, response, key, work, out)
