"""The kernel of tracking: block after block of particles from acceptance to the rows of ``track``.

Acceptance is :mod:`.acceptance`, smearing :mod:`.smearing`; what most cards do without is in :mod:`.other`. Which
tables are used, and what the counters mean, is :mod:`.stage`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.angles import arcsine
from flashdet.kernels.helix import pseudorapidity
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.scratch import LENGTH, at
from flashdet.stages.rows import Charged, Tracks
from flashdet.stages.tracking.acceptance import accept, begin, find_tables, locate
from flashdet.stages.tracking.block import (
    ALPHA,
    PARAMS,
    UNPHYSICAL,
    Block,
    Response,
    empty_block,
)
from flashdet.stages.tracking.smearing import (
    draw_normals,
    gather_truth,
    keep_physical,
    smear,
    write_covariances,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@bare_kernel
def _copy(m: int, first: int, p: Floats, row: int, out: Floats) -> None:
    """Write a row of the block's memory."""
    for j in range(m):
        out[np.uint64(first) + np.uint64(j)] = p[at(row, j)]


@bare_kernel
def _write_directions(m: int, first: int, p: Floats, tracks: Tracks) -> None:
    """Columns that follow from the parameters of a block."""
    pt, eta, phi, x = tracks.pt, tracks.eta, tracks.phi, tracks.x
    charge, start = tracks.charge, np.uint64(first)
    for j in range(m):
        pt[start + np.uint64(j)] = 1.0 / abs(p[at(PARAMS + 4, j)])
    for j in range(m):
        eta[start + np.uint64(j)] = pseudorapidity(p[at(PARAMS + 3, j)])
    for j in range(m):
        angle = p[at(ALPHA, j)] + arcsine(p[at(PARAMS + 2, j)])
        # the sum of an azimuth and an arcsine is off by one turn at most
        angle = angle - 2.0 * math.pi if angle > math.pi else angle
        phi[start + np.uint64(j)] = angle + 2.0 * math.pi if angle < -math.pi else angle
    for j in range(m):
        x[start + np.uint64(j)] = 0.0
        charge[start + np.uint64(j)] = 1 if p[at(PARAMS + 4, j)] > 0.0 else -1


@bare_kernel
def _write_truth(m: int, first: int, truth: Charged, block: Block, tracks: Tracks) -> None:
    """True columns of a block."""
    row, species = block.row, block.species
    for j in range(m):
        i, k = np.uint64(row[j]), np.uint64(first) + np.uint64(j)
        tracks.particle_index[k], tracks.pdg_true[k] = truth.particle_index[i], truth.pdg[i]
        tracks.charge_true[k], tracks.species_true[k] = truth.charge[i], species[j]
    for j in range(m):
        i, k = np.uint64(row[j]), np.uint64(first) + np.uint64(j)
        tracks.mass_true[k], tracks.pt_true[k] = truth.mass[i], truth.pt[i]
        tracks.eta_true[k], tracks.phi_true[k] = truth.eta[i], truth.phi[i]
    for j in range(m):
        i, k = np.uint64(row[j]), np.uint64(first) + np.uint64(j)
        tracks.vx_true[k], tracks.vy_true[k] = truth.vx[i], truth.vy[i]
        tracks.vz_true[k], tracks.vt_true[k] = truth.vz[i], truth.vt[i]


@bare_kernel
def write_block(m: int, first: int, truth: Charged, block: Block, tracks: Tracks, track_offsets: Integers) -> None:
    """Rows of a block from `first` on but for the covariances, column after column, and tracks counted by event.

    Row by row it takes 1.5 times as long.
    """
    p, event = block.space, block.event
    _copy(m, first, p, ALPHA, tracks.alpha)
    _copy(m, first, p, PARAMS, tracks.y)
    _copy(m, first, p, PARAMS + 1, tracks.z)
    _copy(m, first, p, PARAMS + 2, tracks.snp)
    _copy(m, first, p, PARAMS + 3, tracks.tgl)
    _copy(m, first, p, PARAMS + 4, tracks.q_over_pt)
    _write_directions(m, first, p, tracks)
    _write_truth(m, first, truth, block, tracks)
    for j in range(m):
        track_offsets[event[j] + 1] += 1


@bare_kernel
def sum_up(offsets: Integers) -> None:
    """Turn numbers per event, from the second place on, into rows where the events begin."""
    offsets[0] = 0
    for event in range(len(offsets) - 1):
        offsets[event + 1] += offsets[event]


@kernel
def reconstruct(
    offsets: Integers,
    truth: Charged,
    event_keys: NDArray[np.uint64],
    dndeta: Floats,
    response: Response,
    is_efficiency_on: bool,
    key: np.uint64,
    tracks: Tracks,
    track_offsets: Integers,
    counts: Integers,
) -> int:
    """Accept and smear all particles of a batch by linear interpolation, with Gaussian numbers.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    truth : Charged
        The charged particles.
    event_keys, dndeta : (n_events,) uint64, float64
        Counter word and multiplicity of each event.
    response : Response
        The LUTs.
    is_efficiency_on : bool
        Option of the card.
    key : uint64
        Key of the stage's random numbers.
    tracks : Tracks
        Written: rows of the accepted particles, without gaps; as long as `truth`.
    track_offsets : (n_events + 1,) int64
        Written; zeros before.
    counts : (N_COUNTS,) int64
        Incremented.

    Returns
    -------
    int
        First row whose query the LUT forbids or that is not a number, -1 if there is none.
    """
    block, failed = empty_block(), np.full(1, -1)
    n, event = 0, 0
    for start in range(0, offsets[-1], LENGTH):
        stop = min(start + LENGTH, offsets[-1])
        event = begin(start, stop, event, offsets, truth.particle_index, truth.pt, event_keys, key, block)
        find_tables(start, stop, truth, response, block, counts)
        locate(start, stop, truth, dndeta, response, failed, block, counts)
        m = accept(start, stop, response, is_efficiency_on, block, counts)
        draw_normals(m, key, block)
        gather_truth(m, truth, block)
        smear(m, response, block)
        physical = keep_physical(m, block)
        counts[UNPHYSICAL] += m - physical
        write_covariances(physical, n, block.space, tracks.cov)
        write_block(physical, n, truth, block, tracks, track_offsets)
        n += physical
    sum_up(track_offsets)
    return int(failed[0])
