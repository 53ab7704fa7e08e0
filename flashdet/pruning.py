"""Which generated particles an output keeps, and what their table looks like without the others.

Most of a generator record is partons that no analysis looks at. `family` adds to chosen particles what makes their
history readable; `prune` drops the rest and renumbers everything that points at particles. Who is chosen is the
writer's business, and so is what stands in the file.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch, Table
from flashdet.kernels.group import count_groups, group_rows
from flashdet.kernels.jit import inline, kernel

#: Column by which rows of any table point at generated particles.
POINTER = "particle_index"
#: Column by which pairs point at the photon they come from.
_PHOTON = "photon_index"
_FINAL, _DECAYED, _BEAM = 1, 2, 4
_TOP, _GLUON, _FIRST_HADRON = 6, 21, 100


def pointed_at(batch: EventBatch, tables: tuple[str, ...]) -> NDArray[np.bool_]:
    """Particles that rows of some tables point at with `POINTER`.

    Parameters
    ----------
    batch : EventBatch
    tables : tuple of str
        Tables that count; those without the column do not.

    Returns
    -------
    (n_particles,) bool
    """
    particle = batch["particle"]
    chosen = np.zeros(particle.n_rows, np.bool_)
    for name in tables:
        if POINTER in batch[name]:
            index = origin(batch[name][POINTER])
            rows = index + np.repeat(particle.offsets[:-1], np.diff(batch[name].offsets))
            chosen[rows[index >= 0]] = True
    return chosen


def origin(index: NDArray[np.int32]) -> NDArray[np.int64]:
    """Generated particle behind values of `POINTER`.

    Parameters
    ----------
    index : (n,) int32
        Rows of particles, -1 for none, and below that electrons of photons that converted (``conversions_pair``).

    Returns
    -------
    (n,) int64
        Row of the particle or of the photon, -1 for none.
    """
    wide = index.astype(np.int64)
    # without photons, as in most cards, half the time
    return np.where(wide < -1, (-2 - wide) >> 1, wide) if wide.min(initial=-1) < -1 else wide


def moved(index: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Values of `POINTER` after the particles behind them moved.

    Parameters
    ----------
    index : (n,) int32
        The values before.
    rows : (n,) int64
        New row of what `origin` gives; -1: it is gone.

    Returns
    -------
    (n,) int64
        Still below -1 for electrons of photons.
    """
    if index.min(initial=-1) >= -1:
        return np.where(rows < 0, -1, rows)
    of_photon = -2 - 2 * rows - ((-2 - index.astype(np.int64)) & 1)
    return np.where(rows < 0, -1, np.where(index < -1, of_photon, rows))


def within(batch: EventBatch, eta_max: float) -> NDArray[np.bool_]:
    """Final-state and decayed particles (status 1 and 2) up to a pseudorapidity.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.status``, ``px``, ``py`` and ``pz``.
    eta_max : float
        Largest |eta|; infinite: all of them.

    Returns
    -------
    (n_particles,) bool
    """
    particle = batch["particle"]
    chosen = np.zeros(particle.n_rows, np.bool_)
    slope = math.sinh(min(eta_max, 20.0)) if math.isfinite(eta_max) else math.inf
    _choose_within(particle["status"], particle["px"], particle["py"], particle["pz"], slope, chosen)
    return chosen


def family(batch: EventBatch, chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Chosen particles with their ancestors and the whole decays these belong to.

    Mothers are followed to the beams. Where several particles meet in a vertex all are kept but gluons, light quarks
    and diquarks that are neither the first nor the last of it (the ends of a string): heavy quarks, bosons and hadrons
    among the ancestors stay. A decay is kept with all its daughters, so that it never looks like another one: a decay
    is the end of a kept hadron (status 1 or 2), lepton, boson or top quark that ends alone. A vertex that has one
    particle coming in, or several, has one, or several, afterwards; that is why
    :func:`flashdet.truth.is_physical_primary` says the same of the kept particles as before.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.pdg``, ``status``, ``production_vertex`` and ``end_vertex``.
    chosen : (n_particles,) bool

    Returns
    -------
    (n_particles,) bool
    """
    particle = batch["particle"]
    kept = np.zeros(particle.n_rows, np.bool_)
    _spread(
        particle.offsets,
        particle["pdg"],
        particle["status"],
        particle["production_vertex"],
        particle["end_vertex"],
        np.ascontiguousarray(chosen),
        kept,
    )
    return kept


def prune(batch: EventBatch, kept: NDArray[np.bool_]) -> EventBatch:
    """Drop particles; what points at the others follows them.

    Parameters
    ----------
    batch : EventBatch
    kept : (n_particles,) bool

    Returns
    -------
    EventBatch
        Vertices keep their numbers. `POINTER` is -1 where the particle is gone. Particles have float32 for float64.
    """
    particle = batch["particle"]
    rows = np.flatnonzero(kept)
    place = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])
    offsets = place[particle.offsets]
    pruned = EventBatch({}, batch.weight_names)
    for name, table in batch.tables.items():
        if name == "particle":
            table = Table(name, offsets, {c: _picked(v, rows) for c, v in table.items()})
        elif len(kept) and (POINTER in table or _PHOTON in table):
            columns, sizes = dict(table), np.diff(table.offsets)
            for column in (c for c in (POINTER, _PHOTON) if c in columns):
                index = columns[column]
                behind = origin(index)
                old = np.where(behind >= 0, behind + np.repeat(particle.offsets[:-1], sizes), 0)
                new = place[old] - np.repeat(offsets[:-1], sizes)
                columns[column] = moved(index, np.where((behind >= 0) & kept[old], new, -1)).astype(index.dtype)
            table = Table(name, table.offsets, columns)
        pruned.tables[name] = table
    return pruned


def _picked(values: NDArray[Any], rows: NDArray[np.int64]) -> NDArray[Any]:
    """Some rows of a column; float64 becomes float32, as in files."""
    if values.dtype != np.float64:
        return values.take(rows)
    picked = np.empty(len(rows), np.float32)
    _pick(values, rows, picked)
    return picked


# --- kernels ---------------------------------------------------------------------------------------------------------
@kernel
def _pick(values: NDArray[np.float64], rows: NDArray[np.int64], picked: NDArray[np.float32]) -> None:
    for i in range(len(rows)):
        picked[i] = values[rows[i]]


@kernel
def _choose_within(
    status: NDArray[np.int32],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
    slope: float,
    chosen: NDArray[np.bool_],
) -> None:
    for i in range(len(status)):
        pt = math.sqrt(px[i] * px[i] + py[i] * py[i])
        inside = slope == math.inf or (pt > 0.0 and abs(pz[i]) <= slope * pt)
        chosen[i] = inside and (status[i] == _FINAL or status[i] == _DECAYED)


@inline
def _is_light_parton(pdg: int) -> bool:
    """Gluon, d, u or s quark, or diquark (four digits, the tens zero)."""
    code = abs(pdg)
    return code <= 3 or code == _GLUON or (1000 < code < 10_000 and (code // 10) % 10 == 0)


@inline
def _decays(pdg: int, status: int) -> bool:
    """Whether the daughters of a particle that ends alone are its decay."""
    code = abs(pdg)
    if code >= _FIRST_HADRON and not (1000 < code < 10_000 and (code // 10) % 10 == 0):
        return status in (_FINAL, _DECAYED)
    return status != _BEAM and (code == _TOP or (code > _TOP and code != _GLUON and code < _FIRST_HADRON))


@kernel
def _spread(
    offsets: NDArray[np.int64],
    pdg: NDArray[np.int32],
    status: NDArray[np.int32],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    chosen: NDArray[np.bool_],
    kept: NDArray[np.bool_],
) -> None:
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_vertices = count_groups(first, last, production, end)
        incoming, into = np.zeros(n_vertices + 2, np.int64), np.empty(last - first, np.int64)
        outgoing, out_of = np.zeros(n_vertices + 2, np.int64), np.empty(last - first, np.int64)
        group_rows(first, last, end, incoming, into)
        group_rows(first, last, production, outgoing, out_of)
        is_done = np.zeros(n_vertices, np.bool_)
        todo, n_todo = np.empty(last - first, np.int64), 0
        for i in range(first, last):
            if chosen[i]:
                kept[i] = True
                todo[n_todo] = i
                n_todo += 1
        while n_todo:
            n_todo -= 1
            i = todo[n_todo]
            v = production[i]
            if v >= 0 and not is_done[v]:
                is_done[v] = True
                start, stop = incoming[v], incoming[v + 1]
                for k in range(start, stop):
                    j = into[k]
                    if not kept[j] and (k == start or k == stop - 1 or not _is_light_parton(pdg[j])):
                        kept[j] = True
                        todo[n_todo] = j
                        n_todo += 1
            v = end[i]
            if v >= 0 and incoming[v + 1] - incoming[v] == 1 and _decays(pdg[i], status[i]):
                for k in range(outgoing[v], outgoing[v + 1]):
                    j = out_of[k]
                    if not kept[j]:
                        kept[j] = True
                        todo[n_todo] = j
                        n_todo += 1
