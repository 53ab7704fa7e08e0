"""The kernel of tracking for what most cards do without: the bins of ALICE's algorithm, and shapes of full simulation.

A kernel of its own, so that nobody else waits for its compilation; everything else is as in :mod:`.reconstruction`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.choose import choose_cell
from flashdet.kernels.grid import FORBIDDEN, NOT_A_NUMBER
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.nearest import lookup_nearest
from flashdet.kernels.philox import uniforms
from flashdet.kernels.scratch import LENGTH, at
from flashdet.kernels.shape import average_shape, unpack_shape
from flashdet.kernels.smear import smear_nearest, smear_shaped
from flashdet.stages.rows import Charged, Tracks
from flashdet.stages.tracking.acceptance import accept, begin, find_tables, is_lost, keep, locate
from flashdet.stages.tracking.block import (
    PARAMS,
    SLOT_SHAPE,
    UNPHYSICAL,
    Block,
    Response,
    empty_block,
)
from flashdet.stages.tracking.reconstruction import sum_up, write_block
from flashdet.stages.tracking.smearing import draw_normals, gather_truth, keep_physical

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@kernel
def _accept_nearest(
    start: int, stop: int, truth: Charged, dndeta: Floats, response: Response, is_efficiency_on: bool,
    failed: Integers, block: Block, counts: Integers,
) -> int:  # fmt: skip
    """Keep the accepted ones of the rows `start` to `stop`, by the bins of the LUTs; `failed` as in `locate`."""
    layout, efficiencies, cells = response.luts.layout, response.luts.efficiencies, response.luts.cells
    cov, factor = np.empty(15), np.empty(25)
    m = 0
    for j in range(stop - start):
        i, table, nch = start + j, block.table[j], dndeta[block.event[j]]
        if table < 0:
            continue
        radius = math.sqrt(truth.vx[i] * truth.vx[i] + truth.vy[i] * truth.vy[i])
        efficiency, status = lookup_nearest(
            table, nch, radius, truth.eta[i], truth.pt[i], layout, efficiencies, cells, cov, factor
        )  # fmt: skip
        if status and is_lost(table, status, (nch, radius, truth.eta[i], truth.pt[i]), layout, counts):
            if status & (FORBIDDEN | NOT_A_NUMBER) and failed[0] < 0:
                failed[0] = i
            continue
        m += keep(start, j, m, efficiency, is_efficiency_on, block, counts)
    return m


@kernel
def _smear(
    m: int, truth: Charged, dndeta: Floats, response: Response, smearing: int, is_nearest: bool, key: np.uint64,
    block: Block,
) -> None:  # fmt: skip
    """Parameters in the bins of the LUTs, or with the shapes of full simulation; covariances in ``block.average``.

    The ALICE algorithm (`is_nearest`) knows no mirror for the charge.
    """
    layout, efficiencies, cells = response.luts.layout, response.luts.efficiencies, response.luts.cells
    params, numbers, cov, factor, shape = np.empty(5), np.empty(5), np.empty(15), np.empty(25), np.empty(16)
    p = block.space
    for j in range(m):
        i, event, species, table = block.row[j], block.event[j], block.species[j], block.table[j]
        for k in range(5):
            numbers[k] = block.numbers[k, j]
        for k in range(5):
            params[k] = 0.0
        radius = math.sqrt(truth.vx[i] * truth.vx[i] + truth.vy[i] * truth.vy[i])
        turn, charge = response.field_sign[species], 1.0
        if is_nearest:
            lookup_nearest(
                table, dndeta[event], radius, truth.eta[i], truth.pt[i], layout, efficiencies, cells, cov, factor
            )  # fmt: skip
            smear_nearest(params, numbers, factor, 5)
        else:
            average_shape(block.corner, block.weight, j, block.n_corners[j], cells, shape)
            unpack_shape(shape, 1.0 / shape[15], 1.0, 1.0, cov, factor)
            choice, _ = uniforms(key, block.key[j], block.particle[j], SLOT_SHAPE)
            cell, rest = choose_cell(table, radius, truth.eta[i], truth.pt[i], layout, cells, choice)
            smear_shaped(params, numbers, factor, cov, response.shapes, cell, rest, smearing)
            charge = math.copysign(1.0, truth.q_over_pt[i])
            turn *= charge
        signs = turn, 1.0, turn, 1.0, charge
        for k in range(5):
            p[at(PARAMS + k, j)] += signs[k] * params[k]
        _mirror(signs, cov, block.average[j])


@inline
def _mirror(signs: tuple[float, float, float, float, float], cov: Floats, out: Floats) -> None:
    """Covariance with the signs of y and snp and of q/pt."""
    k = 0
    for a in range(5):
        for b in range(a + 1):
            out[k] = signs[a] * signs[b] * cov[k]
            k += 1


@kernel
def reconstruct_other(
    offsets: Integers,
    truth: Charged,
    event_keys: NDArray[np.uint64],
    dndeta: Floats,
    response: Response,
    smearing: int,
    is_nearest: bool,
    is_efficiency_on: bool,
    key: np.uint64,
    tracks: Tracks,
    track_offsets: Integers,
    counts: Integers,
) -> int:
    """What :func:`flashdet.stages.tracking.reconstruction.reconstruct` does, by other rules.

    Parameters
    ----------
    smearing : int
        0 Gaussian, 1 with a wide component, 2 residuals of the library.
    is_nearest : bool
        Take the bin that contains the particle, as ALICE does.
    offsets, truth, event_keys, dndeta, response, is_efficiency_on, key, tracks, track_offsets, counts
        As there.

    Returns
    -------
    int
        As there.
    """
    block, failed = empty_block(), np.full(1, -1)
    n, event = 0, 0
    for start in range(0, offsets[-1], LENGTH):
        stop = min(start + LENGTH, offsets[-1])
        event = begin(start, stop, event, offsets, truth.particle_index, truth.pt, event_keys, key, block)
        find_tables(start, stop, truth, response, block, counts)
        if is_nearest:
            m = _accept_nearest(start, stop, truth, dndeta, response, is_efficiency_on, failed, block, counts)
        else:
            locate(start, stop, truth, dndeta, response, failed, block, counts)
            m = accept(start, stop, response, is_efficiency_on, block, counts)
        draw_normals(m, key, block)
        gather_truth(m, truth, block)
        _smear(m, truth, dndeta, response, smearing, is_nearest, key, block)
        physical = keep_physical(m, block)
        counts[UNPHYSICAL] += m - physical
        for j in range(physical):
            for k in range(15):
                tracks.cov[n + j, k] = block.average[j, k]
        write_block(physical, n, truth, block, tracks, track_offsets)
        n += physical
    sum_up(track_offsets)
    return int(failed[0])
