"""What a calorimeter says of a track: its cluster, and the energy that each hypothesis expects.

Kernel of :mod:`.stage`; which cluster a track has is found in :mod:`.matching`, the mean
response to hadrons is tabulated in :mod:`.showers`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.stages.emcal.clusters import Clusters, energy_variance
from flashdet.stages.emcal.deposits import ELECTRON, MUON, Response
from flashdet.stages.emcal.showers import MOYAL_MEAN, MOYAL_SIGMA, place_in_table
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity

Floats = NDArray[np.float64]

#: Rows of the block of numbers of the tracks: those of the cluster, then expected energies, then n-sigma.
ENERGY, ENERGY_ERROR, E_OVER_P, DISTANCE, TIME, N_SIGMA_WIDTH, EXPECTED = range(7)
N_SIGMA = EXPECTED + N_SPECIES
N_ROWS = N_SIGMA + N_SPECIES


@inline
def _ionising(
    p2: float, relative2: float, charge2: float, mass: float, ionisation: Floats
) -> tuple[float, float]:  # fmt: skip
    """Mean energy left by ionisation and its variance, for momentum squared p2 of relative error squared relative2."""
    mean = charge2 * (ionisation[0] + ionisation[1] * MOYAL_MEAN)
    total = math.sqrt(p2 + mass * mass)
    kinetic = p2 / (total + mass)
    if kinetic > mean:
        return mean, (charge2 * ionisation[1] * MOYAL_SIGMA) ** 2
    # what stops in the calorimeter leaves its kinetic energy, as well known as its momentum: dE = p^2/E dp/p
    return kinetic, (p2 / total) ** 2 * relative2


@kernel
def describe_tracks(
    tgl: Floats, q_over_pt: Floats, cov: Floats, surface: NDArray[np.int8], row: NDArray[np.int64],
    offsets: NDArray[np.int64], cluster_offsets: NDArray[np.int64], clusters: Clusters, response: Response,
    means: Floats, index: NDArray[np.int32], values: Floats,
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
    index : (n,) int32
        Out: row of the cluster within the event, -1 if none.
    values : (24, n) float64
        Out, but for the distance: rows as named in this module; NaN without a cluster (expected energies: for tracks
        that reach no surface).
    """
    values[:DISTANCE, :] = np.nan
    values[TIME:, :] = np.nan
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            j, hit = row[i], surface[i]
            index[i] = j - cluster_offsets[event] if j >= 0 else -1
            if hit < 0 and j < 0:
                continue
            r = rigidity(tgl[i], q_over_pt[i])
            if j >= 0:
                values[ENERGY, i], values[ENERGY_ERROR, i] = clusters.energy[j], clusters.energy_error[j]
                values[E_OVER_P, i], values[TIME, i] = clusters.energy[j] / r, clusters.time[j]
                values[N_SIGMA_WIDTH, i] = clusters.n_sigma_width[j]
            if hit < 0:
                continue
            relative2 = log_momentum_variance(tgl[i], q_over_pt[i], cov[i])
            bin_, t = place_in_table(r, means)
            for h in range(N_SPECIES):
                charge, mass = CHARGE[h], MASS[h]
                p2 = (charge * r) ** 2
                if h == ELECTRON:
                    e, variance = math.sqrt(p2 + mass * mass), p2 * relative2
                elif h <= MUON or len(means) == 0:
                    e, variance = _ionising(p2, relative2, charge * charge, mass, response.ionisation)
                else:
                    e = r * (means[h, bin_, 0] + t * (means[h, bin_ + 1, 0] - means[h, bin_, 0]))
                    spread = r * (means[h, bin_, 1] + t * (means[h, bin_ + 1, 1] - means[h, bin_, 1]))
                    variance = spread * spread
                width = math.sqrt(energy_variance(e, response.regions, hit) + variance)
                values[EXPECTED + h, i] = e
                values[N_SIGMA + h, i] = (values[ENERGY, i] - e) / width
