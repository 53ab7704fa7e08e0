"""Tracks and calorimeter clusters: which belong together, and which energy each hypothesis expects.

Kernels of :mod:`flashdet.stages.emcal`; the clusters are made in :mod:`flashdet.stages.clusters`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.cells import Cells, cell_key, insert
from flashdet.kernels.helix import curvature, wrap_angle
from flashdet.kernels.jit import kernel
from flashdet.stages.clusters import Clusters, Deposits
from flashdet.stages.merging import nearest_item, surface_cell
from flashdet.stages.pid import log_momentum_variance, rigidity
from flashdet.stages.showers import MOYAL_MEAN, MOYAL_SIGMA
from flashdet.stages.surface import first_crossing

Floats = NDArray[np.float64]


class Tracks(NamedTuple):
    """Columns of ``track`` that lead to the calorimeter."""

    particle_index: NDArray[np.int32]
    pdg_true: NDArray[np.int32]
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
    offsets: NDArray[np.int64], rows: NDArray[np.int64], deposit_of: NDArray[np.int64], leader: NDArray[np.int64],
    cluster_of: NDArray[np.int64], deposits: Deposits, cluster_offsets: NDArray[np.int64], clusters: Clusters,
    row: NDArray[np.int64],
) -> None:  # fmt: skip
    """Give every track the cluster that its own particle is part of.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of the tracks.
    rows : (n_tracks,) int64
        Row of each track among the charged particles.
    deposit_of : (n_charged,) int64
        From `flashdet.stages.clusters.make_deposits`.
    leader, cluster_of : (n_deposits,) int64
        From `merge_deposits` and `measure_clusters`.
    deposits : Deposits
        To choose, among the tracks of a cluster, the one whose particle left most.
    cluster_offsets : (n_events + 1,) int64
        Rows of the clusters.
    clusters : Clusters
        ``track_index`` is written.
    row : (n_tracks,) int64
        Out: row of the cluster in the batch, -1 if none.
    """
    for event in range(len(offsets) - 1):
        first = offsets[event]
        for i in range(first, offsets[event + 1]):
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
    offsets: NDArray[np.int64], tracks: Tracks, bz: float, surfaces: Floats, distance: float, cells: Cells,
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
    distance : float
        Largest distance [cm].
    cells : Cells
        For the clusters of the largest event.
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
            s = clusters.surface[j]
            u, v, _ = surface_cell(s, clusters.x[j], clusters.y[j], clusters.z[j], surfaces, distance)
            insert(cells, cell_key(s, u, v), event, j)
        for i in range(first, offsets[event + 1]):
            alpha = tracks.alpha[i]
            k = curvature(tracks.q_over_pt[i], bz)
            hit, _, x, y, z, _ = first_crossing(
                -tracks.y[i] * math.sin(alpha), tracks.y[i] * math.cos(alpha), tracks.z[i],
                wrap_angle(alpha + math.asin(tracks.snp[i])), tracks.tgl[i], k, surfaces,
            )  # fmt: skip
            surface[i], row[i], gap[i] = hit, -1, np.nan
            if hit < 0:
                continue
            best, square = nearest_item(
                hit, x, y, z, clusters.x, clusters.y, clusters.z, surfaces, distance, cells, event
            )
            if best < 0:
                continue
            row[i], gap[i] = best, math.sqrt(square)
            other = clusters.track_index[best]
            if other < 0 or gap[i] < gap[first + other]:
                clusters.track_index[best] = i - first


@kernel
def gather(
    row: NDArray[np.int64], offsets: NDArray[np.int64], cluster_offsets: NDArray[np.int64], clusters: Clusters,
    index: NDArray[np.int32], values: Floats,
) -> None:  # fmt: skip
    """Values of the clusters that the tracks have.

    Parameters
    ----------
    row : (n_tracks,) int64
        From `match_truth` or `match_nearest`.
    offsets, cluster_offsets : (n_events + 1,) int64
        Rows of the events.
    clusters : Clusters
    index : (n_tracks,) int32
        Out: row of the cluster within the event, -1 if none.
    values : (4, n_tracks) float64
        Out: energy, its error, time, n-sigma of the width; NaN without a cluster.
    """
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            j = row[i]
            index[i] = j - cluster_offsets[event] if j >= 0 else -1
            values[0, i] = clusters.energy[j] if j >= 0 else np.nan
            values[1, i] = clusters.energy_error[j] if j >= 0 else np.nan
            values[2, i] = clusters.time[j] if j >= 0 else np.nan
            values[3, i] = clusters.n_sigma_width[j] if j >= 0 else np.nan


@kernel
def prepare_tracks(
    tgl: Floats, q_over_pt: Floats, cov: Floats, surface: NDArray[np.int8], regions: Floats, rigidity2: Floats,
    spread2: Floats, squares: Floats,
) -> None:  # fmt: skip
    """Squared rigidity, squared error of an electron's energy [GeV2], and squared resolution terms where a track hits.

    Parameters
    ----------
    tgl, q_over_pt : (n,) float64
        Measured slope and charge over transverse momentum.
    cov : (n, 15) float64
        Packed covariance of the track.
    surface : (n,) int8
        Surface reached, -1 if none.
    regions : (n_surfaces, 8) float64
        See `flashdet.stages.clusters.Response`.
    rigidity2, spread2 : (n,) float64
        Out: NaN for tracks that reach no surface. For electrons dE = (p^2/E) dp/p = dp: m^2 is below 1e-6 p^2 wherever
        a track reaches a calorimeter.
    squares : (3, n) float64
        Out: a^2, b^2, c^2 of that surface.
    """
    for i in range(len(tgl)):
        s = surface[i]
        rigidity2[i] = rigidity(tgl[i], q_over_pt[i]) ** 2 if s >= 0 else np.nan
        spread2[i] = rigidity2[i] * log_momentum_variance(tgl[i], q_over_pt[i], cov[i])
        s = max(s, 0)
        for term in range(3):
            squares[term, i] = regions[s, term] ** 2


@kernel
def compare_hypothesis(
    rigidity2: Floats, spread2: Floats, energy: Floats, squares: Floats, ionisation: Floats, mass: float,
    charge: float, is_electron: bool, expected: Floats, error: Floats, n_sigma: Floats,
) -> None:  # fmt: skip
    """Expected energy, its width and the distance of the measured energy to it, for one species.

    An electron of momentum p is expected at E = sqrt(p^2 + m^2) with the resolution at E and the error of the track;
    any other species at the mean energy left by ionisation with the standard deviation of its distribution. The loop
    has no branches: with vector instructions it takes 2 ns per track, 40 ns otherwise.

    Parameters
    ----------
    rigidity2, spread2 : (n,) float64
        From `prepare_tracks`.
    energy : (n,) float64
        Measured energy [GeV], NaN if none.
    squares : (3, n) float64
        From `prepare_tracks`.
    ionisation : (2,) float64
        Most probable energy of charge 1, width.
    mass, charge : float
        Of the species.
    is_electron : bool
        True for the species that showers.
    expected, error, n_sigma : (n,) float64
        Out; NaN for tracks that do not reach a surface.
    """
    a2, b2, c2 = squares[0], squares[1], squares[2]
    charge2, mass2 = charge * charge, mass * mass
    mean = np.inf if is_electron else charge2 * (ionisation[0] + ionisation[1] * MOYAL_MEAN)
    width2 = 0.0 if is_electron else (charge2 * ionisation[1] * MOYAL_SIGMA) ** 2
    for i in range(len(energy)):
        p2 = charge2 * rigidity2[i]
        total = math.sqrt(p2 + mass2)
        if is_electron:
            e, variance = total, spread2[i]
        else:
            kinetic = p2 / (total + mass)
            # what stops in the calorimeter leaves its kinetic energy, as well known as its momentum: dE = p/E dp
            stopped = p2 * charge2 * spread2[i] / (total * total)
            e, variance = (mean, width2) if kinetic > mean else (kinetic, stopped)
        width = math.sqrt(a2[i] + e * (b2[i] + c2[i] * e) + variance)
        expected[i] = e
        error[i] = width
        n_sigma[i] = (energy[i] - e) / width
