"""Genealogy of the generator record: mothers, daughters and which particles are primary.

The record is encoded by the vertex each particle comes from and the one where it ends (both numbered within the
event). Here it is turned into lists, once, for stages and writers alike. Nothing about detectors or file formats lives
here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch
from flashdet.kernels.jit import kernel

#: |PDG code| of particles with a mean proper lifetime above 1 cm/c, besides all nuclei: "The ALICE definition of
#: primary particles", ALICE-PUBLIC-2017-005, table 1, and neutrinos.
LONG_LIVED = (11, 12, 13, 14, 16, 22, 130, 211, 310, 321, 2112, 2212, 3112, 3122, 3222, 3312, 3322, 3334)

_LONG_LIVED = np.array(LONG_LIVED, np.int32)
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
        _LONG_LIVED,
        primary,
    )
    return primary


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
def _n_vertices(first: int, last: int, a: NDArray[np.int32], b: NDArray[np.int32]) -> int:
    """One more than the largest vertex of rows first:last."""
    largest = -1
    for i in range(first, last):
        largest = max(largest, a[i], b[i])
    return largest + 1


@kernel
def _count_relatives(
    offsets: NDArray[np.int64], mine: NDArray[np.int32], theirs: NDArray[np.int32], links: NDArray[np.int64]
) -> None:
    total = 0
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        at_vertex = np.zeros(_n_vertices(first, last, mine, theirs), np.int64)
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
        n_vertices = _n_vertices(first, last, mine, theirs)
        start = np.zeros(n_vertices + 2, np.int64)
        for i in range(first, last):
            if theirs[i] >= 0:
                start[theirs[i] + 2] += 1
        for v in range(n_vertices):
            start[v + 2] += start[v + 1]
        members = np.empty(start[n_vertices + 1], np.int32)
        for i in range(first, last):
            if theirs[i] >= 0:
                members[start[theirs[i] + 1]] = i - first
                start[theirs[i] + 1] += 1
        for i in range(first, last):
            for j in range(links[i + 1] - links[i]):
                index[links[i] + j] = members[start[mine[i]] + j]


@kernel
def _lives_long(pdg: int, codes: NDArray[np.int32]) -> bool:
    code = abs(pdg)
    found = code >= _NUCLEUS
    for known in codes:
        found |= code == known
    return found


@kernel
def _find_primaries(
    offsets: NDArray[np.int64],
    pdg: NDArray[np.int32],
    status: NDArray[np.int32],
    production_vertex: NDArray[np.int32],
    end_vertex: NDArray[np.int32],
    codes: NDArray[np.int32],
    primary: NDArray[np.bool_],
) -> None:
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        # the only mother of each vertex; -1: none, -2: several
        mother = np.full(_n_vertices(first, last, production_vertex, end_vertex), -1, np.int64)
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
                or not _lives_long(pdg[i], codes)
            ):
                continue
            primary[i] = True
            v = production_vertex[i]
            # a record without loops has fewer generations than particles
            for _ in range(last - first):
                if v < 0 or mother[v] < 0 or status[mother[v]] != _DECAYED:
                    break
                m = mother[v]
                if not is_copied[m - first] and _lives_long(pdg[m], codes):
                    primary[i] = False
                    break
                v = production_vertex[m]
