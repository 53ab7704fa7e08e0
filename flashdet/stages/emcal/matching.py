"""Tracks and calorimeter clusters: which belong together.

Kernels of :mod:`.stage`; the clusters are made in :mod:`.clusters`, what they say of the
tracks is in :mod:`.energies`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.stages.emcal.candidates import Chosen
from flashdet.stages.emcal.clusters import CLUSTER_X, CLUSTER_Y, CLUSTER_Z, Clusters
from flashdet.stages.emcal.deposits import LEFT, Deposits, Work
from flashdet.stages.emcal.front import (
    ACROSS2,
    BLOCK,
    COSINE,
    CURVATURE,
    DISTANCE,
    FROM_X,
    FROM_Y,
    FROM_Z,
    HIT_X,
    HIT_Y,
    HIT_Z,
    N_WAY,
    SINE,
    SLOPE,
    SURFACE,
    cross,
    mark,
)
from flashdet.stages.emcal.neighbours import Grid, find_near, put_item

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Where more quantities of tracks start in the array of a block, see `flashdet.stages.emcal.front`.
_ALPHA, _LOCAL_Y, _SNP = (np.uint64((N_WAY + i) * BLOCK) for i in range(3))


class Tracks(NamedTuple):
    """Columns of ``track`` that lead to the calorimeter."""

    alpha: Floats
    y: Floats
    z: Floats
    snp: Floats
    tgl: Floats
    q_over_pt: Floats


@kernel
def link_rows(
    index: NDArray[np.int32], pdg: NDArray[np.int32], offsets: NDArray[np.int64], all_index: NDArray[np.int32],
    all_pdg: NDArray[np.int32], all_offsets: NDArray[np.int64], rows: NDArray[np.int64],
) -> None:  # fmt: skip
    """Row in ``charged`` of each track: the tracks are some of its rows, in the same order.

    Parameters
    ----------
    index, pdg : (n,) int32
        Particle and code of the tracks.
    all_index, all_pdg : (n_charged,) int32
        Of the charged particles.
    offsets, all_offsets : (n_events + 1,) int64
        Rows of the events.
    rows : (n,) int64
        Out: -1 if there is none.
    """
    for event in range(len(offsets) - 1):
        j, end = all_offsets[event], all_offsets[event + 1]
        for i in range(offsets[event], offsets[event + 1]):
            while j < end and (all_index[j] != index[i] or all_pdg[j] != pdg[i]):
                j += 1
            rows[i] = j if j < end else -1


@kernel
def match_truth(
    offsets: Rows, rows: Rows, chosen: Chosen, neutral_offsets: Rows, leader: Rows, cluster_of: Rows,
    deposits: Deposits, clusters: Clusters, surface: NDArray[np.int8], row: Rows,
) -> None:  # fmt: skip
    """Give every track the cluster that its own particle is part of.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of the tracks.
    rows : (n_tracks,) int64
        Row of each track among the charged particles, -1 if there is none: it reaches no surface. Rising.
    chosen : Chosen
        Charged particles with a row in `deposits`.
    neutral_offsets : (n_events + 1,) int64
        Neutral ones that come before them.
    leader, cluster_of : (n_deposits,) int64
        From `merge_deposits` and `measure_clusters`.
    deposits : Deposits
        To choose, among the tracks of a cluster, the one whose particle left most.
    clusters : Clusters
        ``track_index`` is written.
    surface : (n_tracks,) int8
        Out: surface that the particle reaches, -1 if none.
    row : (n_tracks,) int64
        Out: row of the cluster in the batch, -1 if none.
    """
    most = np.empty(len(clusters.surface))
    for event in range(len(offsets) - 1):
        k, last = chosen.offsets[event], chosen.offsets[event + 1]
        for i in range(offsets[event], offsets[event + 1]):
            surface[i], row[i] = -1, -1
            while k < last and chosen.rows[k] < rows[i]:
                k += 1
            if rows[i] < 0 or k == last or chosen.rows[k] != rows[i]:
                continue
            deposit = k + neutral_offsets[event + 1]
            surface[i] = deposits.surface[deposit]
            if surface[i] < 0:
                continue
            cluster = cluster_of[leader[deposit]]
            row[i] = cluster
            left = deposits.numbers[deposit, LEFT]
            if cluster >= 0 and (clusters.track_index[cluster] < 0 or left > most[cluster]):
                clusters.track_index[cluster], most[cluster] = i - offsets[event], left


@bare_kernel
def match_nearest(
    offsets: Rows, tracks: Tracks, bz: float, surfaces: Floats, grid: Grid, cluster_offsets: Rows, clusters: Clusters,
    places: Floats, work: Work, surface: NDArray[np.int8], row: Rows, gap: Floats,
) -> None:  # fmt: skip
    """Follow the measured tracks to the calorimeter and give each the nearest cluster there.

    Several tracks may have the same cluster; its ``track_index`` is the nearest of them.

    Parameters
    ----------
    offsets, cluster_offsets : (n_events + 1,) int64
        Rows of the events.
    tracks : Tracks
        Measured tracks.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    grid : Grid
        Empty, of the largest distance [cm].
    clusters : Clusters
        ``track_index`` is written.
    places : (n_clusters, 4) float64
        Scratch space.
    work : Work
        Scratch space.
    surface : (n_tracks,) int8
        Out: surface that the measured track reaches, -1 if none.
    row : (n_tracks,) int64
        Out: row of the cluster in the batch, -1 if none.
    gap : (n_tracks,) float64
        Out: distance between track and cluster [cm], NaN without one.
    """
    numbers = clusters.numbers
    for event in range(len(offsets) - 1):
        first_cluster = cluster_offsets[event]
        for j in range(first_cluster, cluster_offsets[event + 1]):
            x, y, z = numbers[CLUSTER_X, j], numbers[CLUSTER_Y, j], numbers[CLUSTER_Z, j]
            places[j, 0], places[j, 1], places[j, 2] = x, y, z
            put_item(grid, j, clusters.surface[j], x, y, z, surfaces)
        for start in range(offsets[event], offsets[event + 1], BLOCK):
            n = min(BLOCK, offsets[event + 1] - start)
            for i in range(start, start + n):
                surface[i], row[i], gap[i] = -1, -1, np.nan
            n = _choose_tracks(start, n, tracks, bz, surfaces, work)
            _set_directions(n, work.way)
            cross(n, work.way, bz == 0.0, surfaces)
            for k in range(n):
                _take_nearest(
                    work.member[k], np.uint64(k), offsets[event], first_cluster, work.way, surfaces, grid, places,
                    clusters.track_index, surface, row, gap,
                )  # fmt: skip


@inline
def _choose_tracks(start: int, n: int, tracks: Tracks, bz: float, surfaces: Floats, work: Work) -> int:
    """Load those of `n` tracks from `start` on that may reach the calorimeter; returns how many."""
    way, y, z, tgl, q_over_pt = work.way, tracks.y, tracks.z, tracks.tgl, tracks.q_over_pt
    for k in range(n):
        i, j = start + k, np.uint64(k)
        way[DISTANCE + j], way[FROM_Z + j], way[ACROSS2 + j], way[SLOPE + j] = abs(y[i]), z[i], 1.0, tgl[i]
        way[CURVATURE + j] = curvature(q_over_pt[i], bz)
    mark(n, way, surfaces, work.possible)
    m = 0
    for k in range(n):
        work.member[m] = start + k
        m += work.possible[k]
    for k in range(m):
        i, j = work.member[k], np.uint64(k)
        way[_ALPHA + j], way[_LOCAL_Y + j], way[_SNP + j] = tracks.alpha[i], y[i], tracks.snp[i]
        way[FROM_Z + j], way[SLOPE + j], way[CURVATURE + j] = z[i], tgl[i], curvature(q_over_pt[i], bz)
    return m


@bare_kernel
def _set_directions(n: int, way: Floats) -> None:
    """Start and direction of tracks from their reference points."""
    for j in range(np.uint64(n)):
        y, snp = way[_LOCAL_Y + j], way[_SNP + j]
        up, across = cosine_and_sine(way[_ALPHA + j])
        cosine = math.sqrt((1.0 - snp) * (1.0 + snp))
        way[FROM_X + j], way[FROM_Y + j] = -y * across, y * up
        way[COSINE + j], way[SINE + j] = up * cosine - across * snp, across * cosine + up * snp


@inline
def _take_nearest(
    i: int, j: np.uint64, first: int, first_cluster: int, way: Floats, surfaces: Floats, grid: Grid, places: Floats,
    track_index: NDArray[np.int32], surface: NDArray[np.int8], row: Rows, gap: Floats,
) -> None:  # fmt: skip
    """Give track i the cluster nearest to its place, which is in place j of the block."""
    hit = int(way[SURFACE + j])
    surface[i] = hit
    if hit < 0:
        return
    n = find_near(grid, first_cluster, hit, way[HIT_X + j], way[HIT_Y + j], way[HIT_Z + j], surfaces, places)
    best, square = -1, np.inf
    for candidate in range(n):
        near = grid.near[candidate]
        # of two at the same distance the first row, whatever their order in the grid
        if grid.square[candidate] < square or (grid.square[candidate] == square and near < best):
            best, square = near, grid.square[candidate]
    if best < 0:
        return
    row[i], gap[i] = best, math.sqrt(square)
    other = track_index[best]
    if other < 0 or gap[i] < gap[first + other]:
        track_index[best] = i - first
