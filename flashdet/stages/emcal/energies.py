"""What a calorimeter says of a track: its cluster, and the energy that each hypothesis expects.

Kernel of :mod:`.stage`; which cluster a track has is found in :mod:`.matching`, the mean
response to hadrons is tabulated in :mod:`.showers`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.emcal import clusters as measured
from flashdet.stages.emcal.clusters import Clusters, energy_variance
from flashdet.stages.emcal.deposits import ELECTRON, MUON, Response, Work
from flashdet.stages.emcal.front import BLOCK
from flashdet.stages.emcal.showers import MOYAL_MEAN, MOYAL_SIGMA, place_in_table
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Rows of the block of numbers of the tracks: those of the cluster, then expected energies, then n-sigma.
ENERGY, ENERGY_ERROR, E_OVER_P, DISTANCE, TIME, N_SIGMA_WIDTH, EXPECTED = range(7)
N_SIGMA = EXPECTED + N_SPECIES
N_ROWS = N_SIGMA + N_SPECIES
#: Where the quantities of tracks start in the array of a block, see `flashdet.stages.emcal.front`: rigidity, its
#: logarithm, squared relative error, measured energy or NaN, the surface's a, b and c, weight of the upper node of the
#: table of means; expected energy under a hypothesis, its variance or spread, and the distance to it.
_R, _LOG_R, _RELATIVE2, _MEASURED, _A, _B, _C, _WEIGHT, _MEAN, _VARIANCE, _PULL = (
    np.uint64(i * BLOCK) for i in range(11)
)


@bare_kernel
def describe_tracks(
    tgl: Floats, q_over_pt: Floats, cov: Floats, surface: NDArray[np.int8], row: Rows, offsets: Rows,
    cluster_offsets: Rows, clusters: Clusters, response: Response, means: Floats, work: Work,
    index: NDArray[np.int32], values: Floats,
) -> None:  # fmt: skip
    """Values of the clusters of the tracks, and their distance to the energy that every species is expected to leave.

    An electron of momentum p is expected at E = sqrt(p^2 + m^2) with the resolution at E and the error of the track:
    dE = dp, because m^2 is below 1e-6 p^2 wherever a track reaches a calorimeter. Any other species is expected at the
    mean energy left by ionisation with the standard deviation of its distribution, hadrons that shower at the mean and
    standard deviation of `means`.

    Parameters
    ----------
    tgl, q_over_pt : (n,) float64
        Measured slope and charge over transverse momentum.
    cov : (n, 15) float64
        Packed covariance of the tracks.
    surface : (n,) int8
        Surface reached, -1 if none.
    row : (n,) int64
        Row of the cluster in the batch, -1 if none.
    offsets, cluster_offsets : (n_events + 1,) int64
        Rows of the events.
    clusters : Clusters
    response : Response
        Numbers of the card.
    means : (n_species, n_rigidity, 2) float64
        From `flashdet.stages.emcal.showers.mean_response`; empty if hadrons only ionise.
    work : Work
        Scratch space.
    index : (n,) int32
        Out: row of the cluster within the event, -1 if none.
    values : (24, n) float64
        Out, but for the distance: rows as named in this module; NaN without a cluster (expected energies: for tracks
        that reach no surface).
    """
    event, n_tracks = 0, len(surface)
    for start in range(0, n_tracks, BLOCK):
        stop = min(start + BLOCK, n_tracks)
        for column in range(N_ROWS):
            if column != DISTANCE:
                values[column, start:stop] = np.nan
        n = 0
        for i in range(start, stop):
            while i >= offsets[event + 1]:
                event += 1
            index[i] = row[i] - cluster_offsets[event] if row[i] >= 0 else -1
            work.member[n] = i
            n += (surface[i] >= 0) | (row[i] >= 0)
        for k in range(n):
            _load(
                work.member[k],
                np.uint64(k),
                tgl,
                q_over_pt,
                cov,
                surface,
                row,
                clusters,
                response.regions,
                work,
                values,
            )
        _expect(n, response, means, work, values)


@inline
def _load(
    i: int, j: np.uint64, tgl: Floats, q_over_pt: Floats, cov: Floats, surface: NDArray[np.int8], row: Rows,
    clusters: Clusters, regions: Floats, work: Work, values: Floats,
) -> None:  # fmt: skip
    """Put track i into place j of the block, and write what its cluster says."""
    way, numbers, hit, cluster = work.way, clusters.numbers, surface[i], row[i]
    r = rigidity(tgl[i], q_over_pt[i])
    way[_R + j], way[_RELATIVE2 + j] = r, log_momentum_variance(tgl[i], q_over_pt[i], cov[i])
    way[_MEASURED + j], work.slot[j] = np.nan, hit
    way[_A + j], way[_B + j], way[_C + j] = regions[hit, 0], regions[hit, 1], regions[hit, 2]
    if cluster >= 0:
        energy = numbers[measured.ENERGY, cluster]
        way[_MEASURED + j] = energy
        values[ENERGY, i], values[ENERGY_ERROR, i] = energy, numbers[measured.ENERGY_ERROR, cluster]
        values[E_OVER_P, i], values[TIME, i] = energy / r, numbers[measured.CLUSTER_TIME, cluster]
        values[N_SIGMA_WIDTH, i] = numbers[measured.N_SIGMA_WIDTH, cluster]


@bare_kernel
def _expect(n: int, response: Response, means: Floats, work: Work, values: Floats) -> None:
    """Expected energies of the tracks of a block, and their distance to them."""
    way = work.way
    for j in range(np.uint64(n)):
        way[_LOG_R + j] = log(way[_R + j])
    if len(means) > 0:
        for k in range(n):
            at = np.uint64(k)
            work.place[k], way[_WEIGHT + at] = place_in_table(way[_LOG_R + at], means)
    for h in range(N_SPECIES):
        if h == ELECTRON:
            for j in range(np.uint64(n)):
                p2 = way[_R + j] * way[_R + j]
                way[_MEAN + j], way[_VARIANCE + j] = math.sqrt(p2 + MASS[h] * MASS[h]), p2 * way[_RELATIVE2 + j]
        elif h <= MUON or len(means) == 0:
            _ionise(n, CHARGE[h], MASS[h], response.ionisation, way)
        else:
            for k in range(n):
                at, low, high = np.uint64(k), means[h, work.place[k]], means[h, work.place[k] + 1]
                r, t = way[_R + at], way[_WEIGHT + at]
                spread = r * (low[1] + t * (high[1] - low[1]))
                way[_MEAN + at], way[_VARIANCE + at] = r * (low[0] + t * (high[0] - low[0])), spread * spread
        for j in range(np.uint64(n)):
            e = way[_MEAN + j]
            width2 = energy_variance(e, way[_A + j], way[_B + j], way[_C + j]) + way[_VARIANCE + j]
            way[_PULL + j] = (way[_MEASURED + j] - e) / math.sqrt(width2)
        for k in range(n):
            i, at = work.member[k], np.uint64(k)
            # a track that misses as measured may still have the cluster of its particle
            if work.slot[k] >= 0:
                values[EXPECTED + h, i], values[N_SIGMA + h, i] = way[_MEAN + at], way[_PULL + at]


@bare_kernel
def _ionise(n: int, charge: float, mass: float, ionisation: Floats, way: Floats) -> None:
    """Mean energy left by ionisation and its variance, for a block of tracks."""
    mean = charge * charge * (ionisation[0] + ionisation[1] * MOYAL_MEAN)
    square = (charge * charge * ionisation[1] * MOYAL_SIGMA) ** 2
    for j in range(np.uint64(n)):
        p2 = (charge * way[_R + j]) ** 2
        total = math.sqrt(p2 + mass * mass)
        kinetic = p2 / (total + mass)
        is_through = kinetic > mean
        # what stops in the calorimeter leaves its kinetic energy, as well known as its momentum: dE = p^2/E dp/p
        way[_MEAN + j] = mean if is_through else kinetic
        way[_VARIANCE + j] = square if is_through else (p2 / total) ** 2 * way[_RELATIVE2 + j]
