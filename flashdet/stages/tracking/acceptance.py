"""Kernels that choose the particles of a block that are reconstructed: one lookup, one random number.

What the numbers of a block mean is told in :mod:`.block`; parameters are drawn in :mod:`.smearing`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.choose import table_at, variant_of
from flashdet.kernels.elementary import log
from flashdet.kernels.grid import (
    FORBIDDEN,
    HIGH,
    INVALID,
    NOT_A_NUMBER,
    OUTSIDE,
    REJECT,
    REJECTED,
    RULE,
    check_query,
    enclose,
    surround,
)
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.kernels.noise import uniform_rows
from flashdet.stages.codes import nearest_species
from flashdet.stages.rows import Charged
from flashdet.stages.tracking.block import (
    INEFFICIENT,
    NO_LUT,
    OUT_OF_TABLE,
    SLOT_EFFICIENCY,
    STAND_INS,
    UNRECONSTRUCTABLE,
    Block,
    Response,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_PER_LOG10 = 1.0 / math.log(10.0)
#: Smallest number that `elementary.log` takes.
_LEAST = 2.3e-308


@bare_kernel
def begin(
    start: int, stop: int, event: int, offsets: Integers, particle_index: NDArray[np.int32], pt: Floats,
    event_keys: NDArray[np.uint64], key: np.uint64, block: Block,
) -> int:  # fmt: skip
    """Events, logarithms and uniform numbers of the rows `start` to `stop`; `event` is that of the row before."""
    for i in range(start, stop):
        while i >= offsets[event + 1]:
            event += 1
        block.event[i - start], block.key[i - start], block.particle[i - start] = (
            event,
            event_keys[event],
            particle_index[i],
        )
    _logarithms(pt[start:stop], block.log_pt)
    uniform_rows(key, block.key, block.particle, SLOT_EFFICIENCY, stop - start, block.draw)
    return event


@bare_kernel
def _logarithms(pt: Floats, out: Floats) -> None:
    for i in range(len(pt)):
        out[i] = log(max(pt[i], _LEAST)) * _PER_LOG10


@inline
def is_lost(
    i_table: int, status: int, query: tuple[float, float, float, float], layout: Floats, counts: Integers
) -> bool:
    """Count what a status says by axis, side and rule; true if there is no track, whatever the efficiency."""
    for axis in range(4):
        if status & (OUTSIDE << axis):
            above = query[axis] >= layout[i_table, axis, HIGH]
            counts[4 * axis + 2 * above + (layout[i_table, axis, RULE] == REJECT)] += 1
    if status & (FORBIDDEN | NOT_A_NUMBER):
        return True
    if status & (REJECTED | INVALID):
        counts[OUT_OF_TABLE if status & REJECTED else UNRECONSTRUCTABLE] += 1
        return True
    return False


@kernel
def find_tables(start: int, stop: int, truth: Charged, response: Response, block: Block, counts: Integers) -> None:
    """Species whose LUT is used for the rows `start` to `stop`, and its table for their charge, azimuth and radius."""
    has_lut, first, edges = response.has_lut, response.radii.first, response.radii.edges
    species, charge, mass = truth.species[start:stop], truth.charge[start:stop], truth.mass[start:stop]
    vx, vy, phi = truth.vx[start:stop], truth.vy[start:stop], truth.phi[start:stop]
    azimuths, variants = response.variants
    for j in range(stop - start):
        kind = int(species[j])
        if not has_lut[kind]:
            kind = nearest_species(int(charge[j]), mass[j], has_lut)
            counts[NO_LUT if kind < 0 else STAND_INS + kind] += 1
        radius = math.sqrt(vx[j] * vx[j] + vy[j] * vy[j])
        block.species[j] = kind
        lut = kind
        if kind >= 0 and variants.size:
            lut = variant_of(kind, int(charge[j]), phi[j], azimuths, variants)
        block.table[j] = table_at(lut, radius, first, edges) if kind >= 0 else -1


@kernel
def locate(
    start: int, stop: int, truth: Charged, dndeta: Floats, response: Response, failed: Integers, block: Block,
    counts: Integers,
) -> None:  # fmt: skip
    """Cells around the rows `start` to `stop`; those without an answer lose their table.

    `failed` holds the first row that a LUT must not be asked about, or -1.
    """
    layout, place, share = response.luts.layout, block.place, block.share
    vx, vy, eta, pt = truth.vx[start:stop], truth.vy[start:stop], truth.eta[start:stop], truth.pt[start:stop]
    last_event, nch, log_nch = -1, 0.0, 0.0
    for j in range(stop - start):
        table, event = block.table[j], block.event[j]
        if table < 0:
            continue
        if event != last_event:
            last_event, nch = event, dndeta[event]
            log_nch = math.log10(nch) if nch > 0.0 else -math.inf
        radius = math.sqrt(vx[j] * vx[j] + vy[j] * vy[j])
        status = check_query(table, nch, radius, eta[j], pt[j], layout)
        if status and is_lost(table, status, (nch, radius, eta[j], pt[j]), layout, counts):
            if status & (FORBIDDEN | NOT_A_NUMBER) and failed[0] < 0:
                failed[0] = start + j
            block.table[j] = -1
            continue
        surround(table, (nch, radius, eta[j], pt[j]), log_nch, block.log_pt[j], layout, place, share, j)


@kernel
def accept(
    start: int, stop: int, response: Response, is_efficiency_on: bool, block: Block, counts: Integers
) -> int:  # fmt: skip
    """Keep the accepted ones of the rows `start` to `stop` in a block; return their number."""
    efficiencies, cells = response.luts.efficiencies, response.luts.cells
    place, share, corner, weight = block.place, block.share, block.corner, block.weight
    m = 0
    for j in range(stop - start):
        if block.table[j] < 0:
            continue
        efficiency, n = enclose(place, share, j, efficiencies, cells, corner, weight, m)
        if n == 0:
            counts[UNRECONSTRUCTABLE] += 1
            continue
        block.n_corners[m] = n
        m += keep(start, j, m, efficiency, is_efficiency_on, block, counts)
    return m


@inline
def keep(
    start: int, j: int, m: int, efficiency: float, is_efficiency_on: bool, block: Block, counts: Integers
) -> int:  # fmt: skip
    """Write particle `j` to place `m` and return 1 if it is seen; without a branch, which would be guessed wrongly."""
    is_seen = block.draw[j] <= efficiency or not is_efficiency_on
    block.row[m], block.event[m], block.species[m] = start + j, block.event[j], block.species[j]
    block.key[m], block.particle[m], block.table[m] = block.key[j], block.particle[j], block.table[j]
    counts[INEFFICIENT] += not is_seen
    return int(is_seen)
