"""Tracks and calorimeter clusters: which belong together.

Kernels of :mod:`.stage`; the clusters are made in :mod:`.clusters`, what they say of the
tracks is in :mod:`.energies`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.stages.emcal.clusters import Clusters
from flashdet.stages.emcal.deposits import Deposits
from flashdet.stages.emcal.front import first_hit, may_hit
from flashdet.stages.emcal.neighbours import Grid, find_near, put_item

Floats = NDArray[np.float64]


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
    offsets: NDArray[np.int64], rows: NDArray[np.int64], surface_of: NDArray[np.int8], deposit_of: NDArray[np.int64],
    leader: NDArray[np.int64], cluster_of: NDArray[np.int64], deposits: Deposits, clusters: Clusters,
    surface: NDArray[np.int8], row: NDArray[np.int64],
) -> None:  # fmt: skip
    """Give every track the cluster that its own particle is part of.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of the tracks.
    rows : (n_tracks,) int64
        Row of each track among the charged particles, -1 if there is none: it reaches no surface.
    surface_of, deposit_of : (n_charged,) int8 and int64
        From `flashdet.stages.emcal.deposits.make_deposits`.
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
    for event in range(len(offsets) - 1):
        first = offsets[event]
        for i in range(first, offsets[event + 1]):
            surface[i] = surface_of[rows[i]] if rows[i] >= 0 else -1
            row[i] = -1
            deposit = deposit_of[rows[i]] if rows[i] >= 0 else -1
            if deposit < 0:
                continue
            cluster = cluster_of[leader[deposit]]
            row[i] = cluster
            if cluster >= 0:
                other = clusters.track_index[cluster]
                if other < 0 or deposits.left[deposit] > deposits.left[deposit_of[rows[first + other]]]:
                    clusters.track_index[cluster] = i - first


@kernel
def match_nearest(
    offsets: NDArray[np.int64], tracks: Tracks, bz: float, surfaces: Floats, grid: Grid,
    cluster_offsets: NDArray[np.int64], clusters: Clusters, surface: NDArray[np.int8], row: NDArray[np.int64],
    gap: Floats,
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
    surface : (n_tracks,) int8
        Out: surface that the measured track reaches, -1 if none.
    row : (n_tracks,) int64
        Out: row of the cluster in the batch, -1 if none.
    gap : (n_tracks,) float64
        Out: distance between track and cluster [cm], NaN without one.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        for j in range(cluster_offsets[event], cluster_offsets[event + 1]):
            put_item(grid, event, j, clusters.surface[j], clusters.x[j], clusters.y[j], clusters.z[j], surfaces)
        for i in range(first, offsets[event + 1]):
            surface[i], row[i], gap[i] = -1, -1, np.nan
            tgl, k = tracks.tgl[i], curvature(tracks.q_over_pt[i], bz)
            if not may_hit(abs(tracks.y[i]), tracks.z[i], 1.0, tgl, k, surfaces):
                continue
            hit, x, y, z = _follow(tracks, i, k, surfaces)
            surface[i] = hit
            if hit < 0:
                continue
            n = find_near(grid, event, hit, x, y, z, surfaces, clusters.x, clusters.y, clusters.z)
            best, square = -1, np.inf
            for candidate in range(n):
                j = grid.near[candidate]
                # of two at the same distance the first row, whatever their order in the grid
                if grid.square[candidate] < square or (grid.square[candidate] == square and j < best):
                    best, square = j, grid.square[candidate]
            if best < 0:
                continue
            row[i], gap[i] = best, math.sqrt(square)
            other = clusters.track_index[best]
            if other < 0 or gap[i] < gap[first + other]:
                clusters.track_index[best] = i - first


@inline
def _follow(tracks: Tracks, i: int, k: float, surfaces: Floats) -> tuple[int, float, float, float]:
    """Surface that track i meets first, and where, from its reference point."""
    alpha, y, snp = tracks.alpha[i], tracks.y[i], tracks.snp[i]
    cos_alpha, sin_alpha, cosine = math.cos(alpha), math.sin(alpha), math.sqrt((1.0 - snp) * (1.0 + snp))
    hit, _, x, y, z = first_hit(
        -y * sin_alpha, y * cos_alpha, tracks.z[i], cos_alpha * cosine - sin_alpha * snp,
        sin_alpha * cosine + cos_alpha * snp, tracks.tgl[i], k, surfaces,
    )  # fmt: skip
    return hit, x, y, z
