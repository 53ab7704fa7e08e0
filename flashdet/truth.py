"""Genealogy of the generator record: mothers, daughters and which particles are primary.

The record is encoded by the vertex each particle comes from and the one where it ends (both numbered within the
event). Here it is turned into lists, once, for stages and writers alike. Nothing about detectors or file formats lives
here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch
from flashdet.kernels.group import count_groups, group_rows
from flashdet.kernels.jit import kernel

#: |PDG code| of particles with a mean proper lifetime above 1 cm/c, besides all nuclei: "The ALICE definition of
#: primary particles", ALICE-PUBLIC-2017-005, table 1, and neutrinos.
LONG_LIVED = (11, 12, 13, 14, 16, 22, 130, 211, 310, 321, 2112, 2212, 3112, 3122, 3222, 3312, 3322, 3334)

#: By |PDG code|: looking at each code of the list instead took three times as long.
_LIVES_LONG = np.isin(np.arange(max(LONG_LIVED) + 1), LONG_LIVED)
_FINAL, _DECAYED = 1, 2
_NUCLEUS = 1_000_000_000


def mothers(batch: EventBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Mothers of every particle: those that end where it is produced, in file order.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.production_vertex`` and ``particle.end_vertex``.

    Returns
    -------
    offsets : (n_particles + 1,) int64
        Mothers of row i are ``index[offsets[i]:offsets[i + 1]]``.
    index : (n_links,) int32
        Rows within the event.
    """
    particle = batch["particle"]
    return _relatives(particle.offsets, particle["production_vertex"], particle["end_vertex"])


def daughters(batch: EventBatch) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Daughters of every particle: those that are produced where it ends, in file order.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.production_vertex`` and ``particle.end_vertex``.

    Returns
    -------
    offsets : (n_particles + 1,) int64
        Daughters of row i are ``index[offsets[i]:offsets[i + 1]]``.
    index : (n_links,) int32
        Rows within the event.
    """
    particle = batch["particle"]
    return _relatives(particle.offsets, particle["end_vertex"], particle["production_vertex"])


def is_physical_primary(batch: EventBatch) -> NDArray[np.bool_]:
    """Particles that are physical primaries as ALICE defines them, from the generator record alone.

    A primary lives longer than 1 cm/c on average (`LONG_LIVED` and nuclei) and comes from the collision or from decays
    of particles that do not ("The ALICE definition of primary particles", ALICE-PUBLIC-2017-005). Where the generator
    leaves long-lived particles alone, this is what the ``isPhysicalPrimary`` of the O2 software says. Two things
    depend on the record: of a particle that is followed by a copy of itself (one daughter of the same code at its end)
    only the last copy counts, and only status 2 with a single mother is a decay: collisions of hadrons with each other
    make primaries.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.pdg``, ``status``, ``production_vertex`` and ``end_vertex``.

    Returns
    -------
    (n_particles,) bool
    """
    particle = batch["particle"]
    primary = np.zeros(particle.n_rows, np.bool_)
    _find_primaries(
        particle.offsets,
        particle["pdg"],
        particle["status"],
        particle["production_vertex"],
        particle["end_vertex"],
        _LIVES_LONG,
        primary,
    )
    return primary


def by_production_vertex(
    batch: EventBatch,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Order in which the daughters of every particle are one range of rows, and all links in that order.

    Parameters
    ----------
    batch : EventBatch
        Reads ``particle.production_vertex`` and ``particle.end_vertex``.

    Returns
    -------
    rows : (n,) int64
        Row in the batch of each particle of the new order: by event, production vertex (none first) and file order.
    daughters : (n, 2) int32
        First and last daughter of each particle of the new order, as rows of the new order; -1 if it has none.
    mother_offsets : (n + 1,) int64
        Mothers of particle i of the new order are ``mothers[mother_offsets[i]:mother_offsets[i + 1]]``.
    mothers : (n_links,) int32
        Rows of the new order.
    """
    particle = batch["particle"]
    offsets, production, end = particle.offsets, particle["production_vertex"], particle["end_vertex"]
    n = particle.n_rows
    rows, rank = np.empty(n, np.int64), np.empty(n, np.int64)
    daughter_range, links = np.full((n, 2), -1, np.int32), np.zeros(n + 1, np.int64)
    _sort_by_production(offsets, production, end, rows, rank, daughter_range, links)
    index = np.empty(links[-1], np.int32)
    _fill_mothers(offsets, production, end, rows, rank, links, index)
    return rows, daughter_range, links, index


def _relatives(
    offsets: NDArray[np.int64], mine: NDArray[np.int32], theirs: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Lists, per particle, of the particles of its event whose vertex `theirs` is its vertex `mine`."""
    links = np.zeros(len(mine) + 1, np.int64)
    _count_relatives(offsets, mine, theirs, links)
    index = np.empty(links[-1], np.int32)
    _fill_relatives(offsets, mine, theirs, links, index)
    return links, index


@kernel
def _count_relatives(
    offsets: NDArray[np.int64], mine: NDArray[np.int32], theirs: NDArray[np.int32], links: NDArray[np.int64]
) -> None:
    total = 0
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        at_vertex = np.zeros(count_groups(first, last, mine, theirs), np.int64)
        for i in range(first, last):
            if theirs[i] >= 0:
                at_vertex[theirs[i]] += 1
        for i in range(first, last):
            if mine[i] >= 0:
                total += at_vertex[mine[i]]
            links[i + 1] = total


@kernel
def _fill_relatives(
    offsets: NDArray[np.int64],
    mine: NDArray[np.int32],
    theirs: NDArray[np.int32],
    links: NDArray[np.int64],
    index: NDArray[np.int32],
) -> None:
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_vertices = count_groups(first, last, mine, theirs)
        start, member = np.zeros(n_vertices + 2, np.int64), np.empty(last - first, np.int64)
        group_rows(first, last, theirs, start, member)
        for i in range(first, last):
            for j in range(links[i + 1] - links[i]):
                index[links[i] + j] = member[start[mine[i]] + j] - first


@kernel
def _sort_by_production(
    offsets: NDArray[np.int64],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    rows: NDArray[np.int64],
    rank: NDArray[np.int64],
    daughter_range: NDArray[np.int32],
    links: NDArray[np.int64],
) -> None:
    """Which particles have a vertex is as good as random: "no vertex" is counted like the others, without a jump."""
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_vertices = count_groups(first, last, production, end)
        # place of the next particle of each vertex, "no vertex" first
        start, n_mothers = np.zeros(n_vertices + 2, np.int64), np.zeros(n_vertices + 1, np.int64)
        for i in range(first, last):
            start[production[i] + 2] += 1
            n_mothers[end[i] + 1] += 1
        n_mothers[0] = 0
        start[0] = first
        for v in range(n_vertices + 1):
            start[v + 1] += start[v]
        for i in range(first, last):
            v = production[i] + 1
            rank[i] = start[v]
            rows[start[v]] = i
            start[v] += 1
        # now start[v + 1] is the end of vertex v and start[v] the end of the one before it
        for place in range(first, last):
            i = rows[place]
            v = max(end[i], 0)
            has_daughters = (end[i] >= 0) & (start[v + 1] > start[v])
            daughter_range[place, 0] = start[v] if has_daughters else -1
            daughter_range[place, 1] = start[v + 1] - 1 if has_daughters else -1
            links[place + 1] = links[place] + n_mothers[production[i] + 1]


@kernel
def _fill_mothers(
    offsets: NDArray[np.int64],
    production: NDArray[np.int32],
    end: NDArray[np.int32],
    rows: NDArray[np.int64],
    rank: NDArray[np.int64],
    links: NDArray[np.int64],
    index: NDArray[np.int32],
) -> None:
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_vertices = count_groups(first, last, production, end)
        # the first particle that ends in each vertex, and the next one after each particle; -1: none
        head, following = np.full(n_vertices + 1, -1, np.int64), np.empty(last - first, np.int64)
        for i in range(last - 1, first - 1, -1):
            following[i - first] = head[end[i] + 1]
            head[end[i] + 1] = i
        head[0] = -1
        for place in range(first, last):
            j, k = head[production[rows[place]] + 1], links[place]
            while j >= 0:
                index[k] = rank[j]
                j, k = following[j - first], k + 1


@kernel
def _lives_long(pdg: int, lives_long: NDArray[np.bool_]) -> bool:
    code = abs(pdg)
    return bool(lives_long[code]) if code < len(lives_long) else code >= _NUCLEUS


@kernel
def _find_primaries(
    offsets: NDArray[np.int64],
    pdg: NDArray[np.int32],
    status: NDArray[np.int32],
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    lives_long: NDArray[np.bool_],
    primary: NDArray[np.bool_],
) -> None:
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        # the only mother of each vertex; -1: none, -2: several
        mother = np.full(count_groups(first, last, production_vertex, end_vertex), -1, np.int64)
        for i in range(first, last):
            v = end_vertex[i]
            if v >= 0:
                mother[v] = i if mother[v] == -1 else -2
        is_copied = np.zeros(last - first, np.bool_)
        for i in range(first, last):
            v = production_vertex[i]
            if v >= 0 and mother[v] >= 0 and pdg[mother[v]] == pdg[i]:
                is_copied[mother[v] - first] = True
        for i in range(first, last):
            if (
                (status[i] != _FINAL and status[i] != _DECAYED)
                or is_copied[i - first]
                or not _lives_long(pdg[i], lives_long)
            ):
                continue
            primary[i] = True
            v = production_vertex[i]
            # a record without loops has fewer generations than particles
            for _ in range(last - first):
                if v < 0 or mother[v] < 0 or status[mother[v]] != _DECAYED:
                    break
                m = mother[v]
                if not is_copied[m - first] and _lives_long(pdg[m], lives_long):
                    primary[i] = False
                    break
                v = production_vertex[m]
