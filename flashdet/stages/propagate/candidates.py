"""Kernels of propagate: choose particles of a record, count them, and write their rows of ``charged``.

A record has about ten particles for each one that is tracked. So the choice goes in steps that each leave fewer:
final ones, charged ones, those within the acceptance. Each step writes the rows it keeps one after the other without
asking whether: the processor cannot guess what comes next, and a wrong guess costs more than the step (choosing takes
half the time of one loop with branches). What is chosen and what losses mean is :mod:`.stage`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.angles import arctangent2
from flashdet.kernels.helix import curvature, pseudorapidity, to_perigee
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.philox import normals
from flashdet.kernels.scratch import LENGTH, at
from flashdet.species import SPECIES_PDG
from flashdet.stages.codes import (
    ALL_SPECIES,
    BY_MASS,
    CHARGED,
    NEUTRAL,
    STRANGE,
    UNKNOWN,
    CodeTable,
    charge_of_nucleus,
    find_code,
    nearest_species,
)
from flashdet.stages.rows import Charged, Particles

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Fates of charged particles, beside `KEPT`; the first ones are kinds of codes.
KEPT, ETA, PT, FAR, NOT_FINITE, N_FATES = CHARGED, 5, 6, 7, 8, 9
_FINAL = 1
#: Row of the random numbers that belong to an event, not to a particle: no event has that many particles.
_EVENT_INDEX = 0xFFFFFFFF
_SPECIES_PDG = np.array(SPECIES_PDG, np.int64)
#: Rows of the memory of a block of `fill`: what is known, and what follows.
_PX, _PY, _PZ, _VX, _VY, _VZ, _CHARGE, _PT, _ETA, _PHI, _ALPHA, _Y, _Z, _TGL, _Q = range(15)
_TURN, _S, _IS_FAR, _N_ROWS = range(15, 19)


class Limits(NamedTuple):
    """Which charged particles are tracked and counted."""

    slope_max: float
    """Largest |pz|/pt of those that are tracked."""
    pt_min: float
    """Smallest pt of those [GeV]."""
    radius_max: float
    """Largest radius of the production point [cm]."""
    z_max: float
    """Largest |z| of the production point [cm]."""
    slope_counted: float
    """Largest |pz|/pt of those that are counted."""


class Chosen(NamedTuple):
    """Rows that `choose` keeps, and scratch space; all as long as the record, but for the offsets."""

    row: Integers
    """Rows of the record that are tracked, without gaps."""
    offsets: Integers
    """(n_events + 1,) where the rows of each event begin."""
    n_counted: Integers
    """(n_events,) charged particles that count for the multiplicity."""
    odd: Integers
    """Rows of unknown codes, then, from the end, of numbers that are not finite."""


@kernel
def _kind_of_nucleus(code: int) -> int:
    """Kind of a code that the table does not list."""
    is_nucleus, charge = charge_of_nucleus(code)
    if not is_nucleus:
        return UNKNOWN
    if charge == 0:
        return NEUTRAL
    return STRANGE if nearest_species(charge, 0.0, ALL_SPECIES) < 0 else CHARGED


@kernel
def _final_rows(first: int, last: int, status: NDArray[np.int32], rows: Integers) -> int:
    """Rows of final particles between two rows."""
    n = 0
    for i in range(first, last):
        rows[n] = i
        n += status[i] == _FINAL
    return n


@kernel
def _charged_rows(
    n: int, pdg: NDArray[np.int32], table: CodeTable, final: Integers, rows: Integers, kinds: NDArray[np.int8]
) -> int:
    """Those of `n` final rows that are not neutral, and their kinds."""
    codes, direct, kind_of_row = table.pdg, table.direct, table.kind
    m = 0
    for j in range(n):
        i = final[j]
        kind = int(kind_of_row[find_code(pdg[i], codes, direct)])
        if kind == UNKNOWN:
            kind = _kind_of_nucleus(pdg[i])
        rows[m], kinds[m] = i, kind
        m += kind != NEUTRAL
    return m


@kernel
def _not_finite(n: int, particles: Particles, rows: Integers, counts: Integers, odd: Integers) -> None:
    """Count numbers that are not finite, and keep their rows at the end of `odd`."""
    for i in rows[:n]:
        px, py = particles.px[i], particles.py[i]
        total = px * px + py * py + particles.pz[i] + particles.vx[i] + particles.vy[i] + particles.vz[i]
        if not math.isfinite(total + particles.vt[i]):
            counts[NOT_FINITE] += 1
            odd[-counts[NOT_FINITE]] = i


@kernel
def choose(
    offsets: Integers, particles: Particles, table: CodeTable, limits: Limits, chosen: Chosen, counts: Integers
) -> None:
    """Choose particles.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of n particles.
    table : CodeTable
        Known codes.
    limits : Limits
        Acceptance.
    chosen : Chosen
        Written.
    counts : (N_FATES,) int64
        Incremented: charged particles by fate; those with numbers that are not finite count twice.
    """
    px, py, pz = particles.px, particles.py, particles.pz
    vx, vy, vz, vt = particles.vx, particles.vy, particles.vz, particles.vt
    slope2, counted2 = limits.slope_max * limits.slope_max, limits.slope_counted * limits.slope_counted
    pt2, radius2, z_max = limits.pt_min * limits.pt_min, limits.radius_max * limits.radius_max, limits.z_max
    largest = 0
    for event in range(len(offsets) - 1):
        largest = max(largest, offsets[event + 1] - offsets[event])
    final, rows = np.empty(largest + 1, np.int64), np.empty(largest + 1, np.int64)
    kinds, kept = np.empty(largest + 1, np.int8), chosen.row
    n = 0
    for event in range(len(offsets) - 1):
        chosen.offsets[event] = n
        n_final = _final_rows(offsets[event], offsets[event + 1], particles.status, final)
        n_charged = _charged_rows(n_final, particles.pdg, table, final, rows, kinds)
        n_counted, n_odd = 0, 0
        for j in range(n_charged):
            i, kind = rows[j], int(kinds[j])
            square, pz2 = px[i] * px[i] + py[i] * py[i], pz[i] * pz[i]
            total = square + pz[i] + vx[i] + vy[i] + vz[i] + vt[i]
            n_odd += not math.isfinite(total)
            n_counted += (kind != UNKNOWN) & (square > 0.0) & (pz2 <= counted2 * square)
            is_far = not ((vx[i] * vx[i] + vy[i] * vy[i] <= radius2) & (abs(vz[i]) <= z_max))
            is_out = not ((square > 0.0) & (pz2 <= slope2 * square))
            fate = FAR if is_far else KEPT
            fate = PT if square < pt2 else fate
            fate = ETA if is_out else fate
            fate = kind if kind != CHARGED else fate
            if kind == UNKNOWN:
                chosen.odd[counts[UNKNOWN]] = i
            counts[fate] += 1
            kept[n] = i
            n += fate == KEPT
        chosen.n_counted[event] = n_counted
        if n_odd > 0:
            _not_finite(n_charged, particles, rows, counts, chosen.odd)
    chosen.offsets[len(offsets) - 1] = n


@kernel
def count_within(
    offsets: Integers, particles: Particles, is_counted: NDArray[np.bool_], slope_max: float, numbers: Integers
) -> None:
    """Chosen particles of each event within a pseudorapidity.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of n particles.
    is_counted : (n,) bool
        Particles that count.
    slope_max : float
        Largest |pz|/pt.
    numbers : (n_events,) int64
        Written.
    """
    for event in range(len(numbers)):
        number = 0
        for i in range(offsets[event], offsets[event + 1]):
            if is_counted[i]:
                px, py, pz = particles.px[i], particles.py[i], particles.pz[i]
                square = px * px + py * py
                number += square > 0.0 and pz * pz <= slope_max * slope_max * square
        numbers[event] = number


@kernel
def draw_collision_times(key: np.uint64, event_keys: NDArray[np.uint64], spread: float, times: Floats) -> None:
    """Gaussian offset of each collision from its bunch crossing [ns]; slot 0 of the event's own row."""
    for event in range(len(times)):
        times[event] = spread * normals(key, event_keys[event], _EVENT_INDEX, 0)[0]


@kernel
def _identify(
    start: int, stop: int, shift: int, row: Integers, particles: Particles, table: CodeTable, charged: Charged,
    stand_ins: Integers,
) -> None:  # fmt: skip
    """Code, charge, mass and species of the chosen `start` to `stop`, whose rows are `shift` further."""
    pdg, codes, direct = particles.pdg, table.pdg, table.direct
    charge3, masses, kinds = table.charge3, table.mass, table.species
    for k in range(start + shift, stop + shift):
        i = row[k - shift]
        code = int(pdg[i])
        at = find_code(code, codes, direct)
        if at >= 0:
            charge, mass, species = int(charge3[at]) // 3, masses[at], int(kinds[at])
        else:
            charge, mass, species = charge_of_nucleus(code)[1], 0.0, BY_MASS
        if species == BY_MASS:
            mass = particles.mass[i]
            species = nearest_species(charge, mass, ALL_SPECIES)
        stand_ins[species] += _SPECIES_PDG[species] != abs(code)
        charged.pdg[k], charged.species[k], charged.charge[k], charged.mass[k] = code, species, charge, mass


@bare_kernel
def _gather(start: int, m: int, shift: int, row: Integers, particles: Particles, charged: Charged, p: Floats) -> None:
    """Momenta, production points and charges of the `m` chosen from `start` on; parameters as in `_identify`."""
    px, py, pz, vx, vy, vz = particles.px, particles.py, particles.pz, particles.vx, particles.vy, particles.vz
    out_vx, out_vy, out_vz, charge = charged.vx, charged.vy, charged.vz, charged.charge
    for j in range(m):
        k = np.uint64(start) + np.uint64(j)
        i, k = np.uint64(row[k]), k + np.uint64(shift)
        p[at(_PX, j)], p[at(_PY, j)], p[at(_PZ, j)] = px[i], py[i], pz[i]
        p[at(_VX, j)], p[at(_VY, j)], p[at(_VZ, j)], p[at(_CHARGE, j)] = vx[i], vy[i], vz[i], charge[k]
        out_vx[k], out_vy[k], out_vz[k] = vx[i], vy[i], vz[i]


@bare_kernel
def _bend(m: int, bz: float, p: Floats) -> None:
    """Momentum and point of closest approach of a block; `flashdet.kernels.helix.to_perigee` tells how."""
    dk = curvature(1.0, bz)
    for j in range(m):
        px, py, vx, vy = p[at(_PX, j)], p[at(_PY, j)], p[at(_VX, j)], p[at(_VY, j)]
        pt = math.sqrt(px * px + py * py)
        p[at(_PT, j)], p[at(_TGL, j)] = pt, p[at(_PZ, j)] / pt
        q_over_pt = p[at(_CHARGE, j)] / pt
        p[at(_Q, j)] = q_over_pt
        k, cosine, sine = q_over_pt * dk, px / pt, py / pt
        u, w = vx * cosine + vy * sine, vy * cosine - vx * sine
        along, across = k * u, 1.0 + k * w
        h = math.sqrt(along * along + across * across)
        p[at(_Y, j)] = (k * (u * u + w * w) + 2.0 * w) / (1.0 + h)
        # series of the arctangent for particles made near the axis, which is exact for no curvature
        p[at(_IS_FAR, j)] = 0.0 if (across > 0.5) & (abs(along) < 0.01) else 1.0
        slope = -along / across
        q = slope * slope
        series = 1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q / 9.0)))
        p[at(_TURN, j)], p[at(_S, j)] = slope * series, -u / across * series
    for j in range(m):
        if p[at(_IS_FAR, j)] != 0.0:
            pt = p[at(_PT, j)]
            p[at(_TURN, j)], _, p[at(_S, j)] = to_perigee(
                p[at(_VX, j)], p[at(_VY, j)], p[at(_PX, j)] / pt, p[at(_PY, j)] / pt, p[at(_Q, j)] * dk
            )
    for j in range(m):
        p[at(_PHI, j)] = arctangent2(p[at(_PY, j)], p[at(_PX, j)])
    for j in range(m):
        # off by one turn at most
        angle = p[at(_PHI, j)] + p[at(_TURN, j)]
        angle = angle - 2.0 * math.pi if angle > math.pi else angle
        p[at(_ALPHA, j)] = angle + 2.0 * math.pi if angle < -math.pi else angle
    for j in range(m):
        p[at(_Z, j)] = p[at(_VZ, j)] + p[at(_TGL, j)] * p[at(_S, j)]
        p[at(_ETA, j)] = pseudorapidity(p[at(_TGL, j)])


@bare_kernel
def _copy(m: int, start: int, p: Floats, row: int, out: Floats) -> None:
    """Write a row of the block's memory."""
    for j in range(m):
        out[np.uint64(start) + np.uint64(j)] = p[at(row, j)]


@bare_kernel
def _write(m: int, start: int, p: Floats, charged: Charged) -> None:
    """Columns of a block whose rows begin at `start`."""
    _copy(m, start, p, _PT, charged.pt)
    _copy(m, start, p, _ETA, charged.eta)
    _copy(m, start, p, _PHI, charged.phi)
    _copy(m, start, p, _ALPHA, charged.alpha)
    _copy(m, start, p, _Y, charged.y)
    _copy(m, start, p, _Z, charged.z)
    _copy(m, start, p, _TGL, charged.tgl)
    _copy(m, start, p, _Q, charged.q_over_pt)


@kernel
def fill(
    offsets: Integers, particles: Particles, index: NDArray[np.int32], table: CodeTable, bz: float,
    collision_time: Floats, chosen: Chosen, place: Integers, charged: Charged, stand_ins: Integers,
) -> None:  # fmt: skip
    """Write the rows of the chosen particles.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of each event.
    particles : Particles
        Columns of the generator record, or of particles made later.
    index : (n,) or (0,) int32
        What the particles are called; empty: by their row in the event.
    table : CodeTable
        Known codes.
    bz : float
        Field [T].
    collision_time : (n_events,) float64
        Added to the production time [ns].
    chosen : Chosen
        From `choose`.
    place : (n_events,) int64
        First row to write of each event.
    charged : Charged
        Written.
    stand_ins : (n_species,) int64
        Incremented: particles of another kind that use the LUT of a species.
    """
    row, has_index, p = chosen.row, len(index) > 0, np.empty(_N_ROWS * LENGTH)
    for event in range(len(offsets) - 1):
        first, last = chosen.offsets[event], chosen.offsets[event + 1]
        shift = place[event] - first
        # blocks stay in the first level of cache from one loop to the next
        for start in range(first, last, LENGTH):
            m = min(LENGTH, last - start)
            _identify(start, start + m, shift, row, particles, table, charged, stand_ins)
            _gather(start, m, shift, row, particles, charged, p)
            _bend(m, bz, p)
            _write(m, start + shift, p, charged)
        for k in range(first, last):
            charged.particle_index[k + shift] = index[row[k]] if has_index else row[k] - offsets[event]
            charged.vt[k + shift] = particles.vt[row[k]] + collision_time[event]
