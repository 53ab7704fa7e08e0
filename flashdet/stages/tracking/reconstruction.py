"""Kernels of tracking: accept particles, draw their parameters and write the rows of ``track``.

Particles go through in blocks of a few hundred, one short loop after the other: each loop has work for the processor
that does not wait for branches or memory of the one before. With all of it in one loop over the particles the same
takes 1.6 times as long. Which tables are used, and what the counters mean, is :mod:`.stage`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.choose import choose_cell, table_at
from flashdet.kernels.grid import (
    FORBIDDEN,
    HIGH,
    INVALID,
    NOT_A_NUMBER,
    OUTSIDE,
    REJECT,
    REJECTED,
    RULE,
    average_shape,
    check_query,
    efficiency_column,
    enclose,
    unpack_shape,
)
from flashdet.kernels.helix import pseudorapidity, wrap_angle
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.kernels.nearest import lookup_nearest
from flashdet.kernels.noise import normal_rows, uniform_rows
from flashdet.kernels.philox import uniforms
from flashdet.kernels.smear import smear_nearest, smear_shaped
from flashdet.lut.pack import PackedLuts, PackedRadii, PackedShapes
from flashdet.species import SPECIES
from flashdet.stages.codes import nearest_species
from flashdet.stages.rows import Charged, Tracks

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a particle; the normal ones take three.
_SLOT_EFFICIENCY, _SLOT_NORMALS, _SLOT_SHAPE = 0, 1, 4
#: Counters, after 16 for queries outside an axis (axis, below or above, kept or rejected) ...
INEFFICIENT, UNRECONSTRUCTABLE, OUT_OF_TABLE, NO_LUT, UNPHYSICAL = range(16, 21)
#: ... and one per species for particles that use the LUT of another one.
STAND_INS = 21
N_COUNTS = STAND_INS + len(SPECIES)
#: Particles of a block: its arrays fit into the first two levels of cache.
_BLOCK = 256


class Response(NamedTuple):
    """The tables of all species, and how they are used.

    Attributes
    ----------
    luts : PackedLuts
        Packed for the interpolation wanted.
    radii : PackedRadii
        Which table serves a production radius.
    has_lut : (n_species,) bool
        Species that have a LUT.
    field_sign : (n_species,) float64
        -1 if the LUT was made in the opposite field.
    shapes : PackedShapes
        Biases, tails and libraries of the LUTs' cells; without any cell if no LUT has them.
    """

    luts: PackedLuts
    radii: PackedRadii
    has_lut: NDArray[np.bool_]
    field_sign: Floats
    shapes: PackedShapes


class Block(NamedTuple):
    """What is known of the particles of a block, in the end of the accepted ones.

    Attributes
    ----------
    row, event, species : (n,) int64
        Row of ``charged``, event, and species whose LUT is used.
    key, particle : (n,) uint64, int64
        Counter word of the event and place in it, for random numbers.
    draw : (n,) float64
        Uniform number that decides.
    corner, weight, n_corners : (n, 8) int64, (n, 8) float64, (n,) int64
        From `flashdet.kernels.grid.enclose`.
    numbers, bits : (6, n) float64, (2, n) uint64
        Standard normal numbers, and scratch space for them.
    """

    row: Integers
    event: Integers
    species: Integers
    key: NDArray[np.uint64]
    particle: Integers
    draw: Floats
    corner: Integers
    weight: Floats
    n_corners: Integers
    numbers: Floats
    bits: NDArray[np.uint64]


@inline
def _count_outside(
    i_table: int, status: int, query: tuple[float, float, float, float], layout: Floats, counts: Integers
) -> None:
    """Count a query outside axes of its LUT by axis, side and rule."""
    for axis in range(4):
        if status & (OUTSIDE << axis):
            above = query[axis] >= layout[i_table, axis, HIGH]
            counts[4 * axis + 2 * above + (layout[i_table, axis, RULE] == REJECT)] += 1


@inline
def _is_lost(
    i_table: int, status: int, query: tuple[float, float, float, float], layout: Floats, counts: Integers
) -> bool:
    """Count what a status says; true if there is no track, whatever the efficiency."""
    _count_outside(i_table, status, query, layout, counts)
    if status & (FORBIDDEN | NOT_A_NUMBER):
        return True
    if status & (REJECTED | INVALID):
        counts[OUT_OF_TABLE if status & REJECTED else UNRECONSTRUCTABLE] += 1
        return True
    return False


@bare_kernel
def _begin(
    start: int, stop: int, event: int, offsets: Integers, particle_index: NDArray[np.int32],
    event_keys: NDArray[np.uint64], key: np.uint64, block: Block,
) -> int:  # fmt: skip
    """Events and uniform numbers of the rows `start` to `stop`; `event` is that of the row before, or the first."""
    for i in range(start, stop):
        while i >= offsets[event + 1]:
            event += 1
        block.event[i - start], block.key[i - start], block.particle[i - start] = (
            event,
            event_keys[event],
            particle_index[i],
        )
    uniform_rows(key, block.key, block.particle, _SLOT_EFFICIENCY, stop - start, block.draw)
    return event


@kernel
def _accept(
    start: int, stop: int, truth: Charged, dndeta: Floats, response: Response, is_nearest: bool,
    is_efficiency_on: bool, failed: Integers, block: Block, counts: Integers,
) -> int:  # fmt: skip
    """Keep the accepted ones of the rows `start` to `stop` in a block; return their number.

    `failed` holds the first row that a LUT must not be asked about, or -1.
    """
    layout, efficiencies, cells = response.luts.layout, response.luts.efficiencies, response.luts.cells
    has_lut, corner, weight = response.has_lut, block.corner, block.weight
    first_displaced, edges = response.radii.first, response.radii.edges
    cov, factor = np.empty(15), np.empty(25)
    last_event, last_table, column, step, fn = -1, -1, 0, 0, 0.0
    m = 0
    for i in range(start, stop):
        j = i - start
        event, species = block.event[j], int(truth.species[i])
        if not has_lut[species]:
            species = nearest_species(int(truth.charge[i]), truth.mass[i], has_lut)
            if species < 0:
                counts[NO_LUT] += 1
                continue
            counts[STAND_INS + species] += 1
        radius = math.sqrt(truth.vx[i] * truth.vx[i] + truth.vy[i] * truth.vy[i])
        table = table_at(species, radius, first_displaced, edges)
        nch, eta, pt = dndeta[event], truth.eta[i], truth.pt[i]
        n, efficiency = 0, 0.0
        if is_nearest:
            efficiency, status = lookup_nearest(
                table, nch, radius, eta, pt, layout, efficiencies, cells, cov, factor
            )  # fmt: skip
        else:
            status = check_query(table, nch, radius, eta, pt, layout)
            if not status & (REJECTED | FORBIDDEN | NOT_A_NUMBER):
                if table != last_table or event != last_event:
                    last_event, last_table = event, table
                    column, step, fn = efficiency_column(table, nch, layout)
                efficiency, n = enclose(
                    table, column, step, fn, radius, eta, pt, layout, efficiencies, cells, corner, weight, m
                )
                status |= INVALID if n == 0 else 0
        if status and _is_lost(table, status, (nch, radius, eta, pt), layout, counts):
            if status & (FORBIDDEN | NOT_A_NUMBER) and failed[0] < 0:
                failed[0] = i
            continue
        is_seen = block.draw[j] <= efficiency or not is_efficiency_on
        block.row[m], block.event[m], block.species[m], block.n_corners[m] = i, event, species, n
        block.key[m], block.particle[m] = block.key[j], block.particle[j]
        # without a branch: the processor cannot guess this one
        counts[INEFFICIENT] += not is_seen
        m += is_seen
    return m


@kernel
def _smear(m: int, first: int, truth: Charged, response: Response, block: Block, tracks: Tracks) -> int:
    """Parameters and covariances of a block by linear interpolation, Gaussian; return the number of physical ones.

    A LUT describes positive particles in its own field. What turns the other way is its mirror image: y and snp change
    sign, and q/pt does with the charge. With these signs in the rows of the factor they are in the noise and the
    covariance, too.
    """
    cells, field_sign, numbers = response.luts.cells, response.field_sign, block.numbers
    corner, weight, n_corners, row = block.corner, block.weight, block.n_corners, block.row
    out_y, out_z, out_snp, out_tgl = tracks.y, tracks.z, tracks.snp, tracks.tgl
    out_q, out_cov = tracks.q_over_pt, tracks.cov
    y, z, tgl, q_over_pt = truth.y, truth.z, truth.tgl, truth.q_over_pt
    shape, f = np.empty(16), np.empty(15)
    n = 0
    for j in range(m):
        i = row[j]
        charge = math.copysign(1.0, q_over_pt[i])
        average_shape(corner, weight, j, n_corners[j], cells, shape)
        unpack_shape(shape, 1.0 / shape[15], field_sign[block.species[j]] * charge, charge, out_cov[first + n], f)
        a, b, c, d, e = numbers[0, j], numbers[1, j], numbers[2, j], numbers[3, j], numbers[4, j]
        snp = f[3] * a + f[4] * b + f[5] * c
        q = q_over_pt[i] + (f[10] * a + f[11] * b + f[12] * c + f[13] * d + f[14] * e)
        k = first + n
        out_y[k], out_z[k], out_snp[k] = y[i] + f[0] * a, z[i] + (f[1] * a + f[2] * b), snp
        out_tgl[k], out_q[k] = tgl[i] + (f[6] * a + f[7] * b + f[8] * c + f[9] * d), q
        block.row[n], block.event[n], block.species[n] = i, block.event[j], block.species[j]
        n += abs(snp) < 1.0 and q != 0.0
    return n


@kernel
def _smear_other(
    m: int, first: int, truth: Charged, dndeta: Floats, response: Response, smearing: int, is_nearest: bool,
    key: np.uint64, block: Block, tracks: Tracks,
) -> int:  # fmt: skip
    """The same in the bins of the LUTs, or with the shapes of full simulation.

    The ALICE algorithm (`is_nearest`) knows no mirror for the charge.
    """
    layout, efficiencies, cells = response.luts.layout, response.luts.efficiencies, response.luts.cells
    params, numbers, cov, factor, shape = np.empty(5), np.empty(6), np.empty(15), np.empty(25), np.empty(16)
    n = 0
    for j in range(m):
        i, event, species = block.row[j], block.event[j], block.species[j]
        for k in range(6):
            numbers[k] = block.numbers[k, j]
        params[:] = 0.0
        radius = math.sqrt(truth.vx[i] * truth.vx[i] + truth.vy[i] * truth.vy[i])
        turn, charge = response.field_sign[species], 1.0
        table = table_at(species, radius, response.radii.first, response.radii.edges)
        if is_nearest:
            lookup_nearest(
                table, dndeta[event], radius, truth.eta[i], truth.pt[i], layout, efficiencies, cells, cov, factor
            )  # fmt: skip
            smear_nearest(params, numbers, factor, 5)
        else:
            average_shape(block.corner, block.weight, j, block.n_corners[j], cells, shape)
            unpack_shape(shape, 1.0 / shape[15], 1.0, 1.0, cov, factor)
            choice, _ = uniforms(key, block.key[j], block.particle[j], _SLOT_SHAPE)
            cell, rest = choose_cell(table, radius, truth.eta[i], truth.pt[i], layout, cells, choice)
            smear_shaped(params, numbers, factor, cov, response.shapes, cell, rest, smearing)
            charge = math.copysign(1.0, truth.q_over_pt[i])
            turn *= charge
        k = first + n
        tracks.y[k], tracks.z[k] = truth.y[i] + turn * params[0], truth.z[i] + params[1]
        tracks.snp[k], tracks.tgl[k] = turn * params[2], truth.tgl[i] + params[3]
        tracks.q_over_pt[k] = truth.q_over_pt[i] + charge * params[4]
        _mirror(turn, charge, cov, tracks.cov[k])
        block.row[n], block.event[n], block.species[n] = i, event, species
        n += abs(tracks.snp[k]) < 1.0 and tracks.q_over_pt[k] != 0.0
    return n


@inline
def _mirror(turn: float, charge: float, cov: Floats, out: Floats) -> None:
    """Covariance with the signs of y and snp and of q/pt."""
    sign = (turn, 1.0, turn, 1.0, charge)
    k = 0
    for a in range(5):
        for b in range(a + 1):
            out[k] = sign[a] * sign[b] * cov[k]
            k += 1


@kernel
def _write(m: int, first: int, truth: Charged, block: Block, tracks: Tracks) -> None:
    """Columns of a block that follow from its parameters, and its truth.

    Column after column: writing 24 of them row by row takes 1.5 times as long.
    """
    row = block.row
    for j in range(m):
        i, k = row[j], first + j
        tracks.x[k] = 0.0
        tracks.alpha[k] = truth.alpha[i]
        tracks.pt[k] = 1.0 / abs(tracks.q_over_pt[k])
        tracks.charge[k] = 1 if tracks.q_over_pt[k] > 0.0 else -1
        tracks.species_true[k] = block.species[j]
    for k in range(first, first + m):
        tracks.eta[k] = pseudorapidity(tracks.tgl[k])
    for k in range(first, first + m):
        tracks.phi[k] = wrap_angle(tracks.alpha[k] + math.asin(tracks.snp[k]))
    for j in range(m):
        i, k = row[j], first + j
        tracks.particle_index[k], tracks.pdg_true[k] = truth.particle_index[i], truth.pdg[i]
        tracks.charge_true[k], tracks.mass_true[k] = truth.charge[i], truth.mass[i]
    for j in range(m):
        i, k = row[j], first + j
        tracks.pt_true[k], tracks.eta_true[k], tracks.phi_true[k] = truth.pt[i], truth.eta[i], truth.phi[i]
    for j in range(m):
        i, k = row[j], first + j
        tracks.vx_true[k], tracks.vy_true[k] = truth.vx[i], truth.vy[i]
        tracks.vz_true[k], tracks.vt_true[k] = truth.vz[i], truth.vt[i]


@kernel
def reconstruct(
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
    """Accept and smear all particles of a batch.

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
    smearing : int
        0 Gaussian, 1 with a wide component, 2 residuals of the library.
    is_nearest, is_efficiency_on : bool
        Options of the card.
    key : uint64
        Key of the stage's random numbers.
    tracks : Tracks
        Written: rows of the accepted particles, without gaps; as long as `truth`.
    track_offsets : (n_events + 1,) int64
        Written.
    counts : (N_COUNTS,) int64
        Incremented.

    Returns
    -------
    int
        First row whose query the LUT forbids or that is not a number, -1 if there is none.
    """
    block = Block(
        np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64), np.empty(_BLOCK, np.int64),
        np.empty(_BLOCK, np.uint64), np.empty(_BLOCK, np.int64), np.empty(_BLOCK), np.empty((_BLOCK, 8), np.int64),
        np.empty((_BLOCK, 8)), np.empty(_BLOCK, np.int64), np.empty((6, _BLOCK)), np.empty((2, _BLOCK), np.uint64),
    )  # fmt: skip
    failed = np.full(1, -1)
    track_offsets[:] = 0
    n, event = 0, 0
    for start in range(0, offsets[-1], _BLOCK):
        stop = min(start + _BLOCK, offsets[-1])
        event = _begin(start, stop, event, offsets, truth.particle_index, event_keys, key, block)
        m = _accept(start, stop, truth, dndeta, response, is_nearest, is_efficiency_on, failed, block, counts)
        numbers = block.numbers
        for k in range(3):
            slot = _SLOT_NORMALS + k
            normal_rows(key, block.key, block.particle, slot, m, block.bits, numbers[2 * k], numbers[2 * k + 1])
        if is_nearest or len(response.shapes.bias) > 0:
            physical = _smear_other(
                m, n, truth, dndeta, response, smearing, is_nearest, key, block, tracks
            )  # fmt: skip
        else:
            physical = _smear(m, n, truth, response, block, tracks)
        counts[UNPHYSICAL] += m - physical
        for j in range(physical):
            track_offsets[block.event[j] + 1] += 1
        _write(physical, n, truth, block, tracks)
        n += physical
    for event in range(len(track_offsets) - 1):
        track_offsets[event + 1] += track_offsets[event]
    return int(failed[0])
