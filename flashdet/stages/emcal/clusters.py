"""What a calorimeter measures of deposits: energy, position, time and width of its clusters.

Kernels of :mod:`.stage`; the deposits come from :mod:`.deposits` and
:mod:`.merging`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import pseudorapidity
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals
from flashdet.stages.emcal.deposits import ELECTROMAGNETIC, SLOT_IONISATION_TIME, SLOT_POSITION, Deposits, Response
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]


class Clusters(NamedTuple):
    """Columns of :data:`flashdet.columns.EMCAL_CLUSTER`, in its order."""

    particle_index: NDArray[np.int32]
    track_index: NDArray[np.int32]
    surface: NDArray[np.int8]
    energy: Floats
    energy_error: Floats
    x: Floats
    y: Floats
    z: Floats
    position_error: Floats
    eta: Floats
    phi: Floats
    energy_true: Floats
    n_particles: NDArray[np.int32]
    time: Floats
    time_error: Floats
    width: Floats
    n_sigma_width: Floats


def empty_clusters(n: int) -> Clusters:
    """Memory for `n` clusters: three blocks, 15 ns per track less than one array per column."""
    (particle, track, n_particles), numbers = np.empty((3, n), np.int32), np.empty((13, n))
    return Clusters._make([particle, track, np.empty(n, np.int8), *numbers[:9], n_particles, *numbers[9:]])


@inline
def energy_variance(energy: float, regions: Floats, i: int) -> float:
    """Variance of a measured energy on surface i, a^2 + b^2 E + c^2 E^2 [GeV2]."""
    a, b, c = regions[i, 0], regions[i, 1], regions[i, 2]
    variance: float = a * a + energy * (b * b + c * c * energy)
    return variance


@kernel
def measure_clusters(
    deposits: Deposits, deposit_offsets: NDArray[np.int64], leader: NDArray[np.int64], event_key: NDArray[np.uint64],
    key: np.uint64, surfaces: Floats, response: Response, clusters: Clusters, offsets: NDArray[np.int64],
    cluster_of: NDArray[np.int64], lost: NDArray[np.int64],
) -> None:  # fmt: skip
    """Measure energy, position, time and width of the clusters.

    Gaussian errors: of the energy around the sum of the energies left, of the position in both directions of the
    surface (z and the circumference of a cylinder, x and y of a disc), and of the time.

    Parameters
    ----------
    deposits : Deposits
        Leaders are whole clusters.
    deposit_offsets : (n_events + 1,) int64
        Rows of the events in `deposits`.
    leader : (n_deposits,) int64
        From `flashdet.stages.emcal.merging.merge_deposits`, or the rows themselves.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    response : Response
        Numbers of the card.
    clusters : Clusters
        Out: in the order of the leading deposits; no track is matched.
    offsets : (n_events + 1,) int64
        Out: rows of the events in `clusters`.
    cluster_of : (n_deposits,) int64
        Out: row of the cluster of each leader, -1 if it was lost.
    lost : (3,) int64
        Out: clusters below the threshold led by photons, charged particles and neutral hadrons.
    """
    n = 0
    lost[:] = 0
    regions = response.regions
    mean, spread = response.widths[ELECTROMAGNETIC, 0], response.widths[ELECTROMAGNETIC, 1]
    for event in range(len(event_key)):
        offsets[event] = n
        for i in range(deposit_offsets[event], deposit_offsets[event + 1]):
            if leader[i] != i:
                continue
            hit, left = deposits.surface[i], deposits.left[i]
            measured = left + deposits.noise[i] * math.sqrt(energy_variance(left, regions, hit))
            cluster_of[i] = -1
            if not measured > regions[hit, 5]:
                lost[deposits.origin[i]] += 1
                continue
            cluster_of[i] = n
            index, log_width = deposits.particle_index[i], deposits.log_width[i]
            move_1, move_2 = normals(key, event_key[event], index, SLOT_POSITION)
            error = math.sqrt(regions[hit, 3] * regions[hit, 3] + regions[hit, 4] * regions[hit, 4] / measured)
            x, y, z, radius = _moved(
                deposits.x[i], deposits.y[i], deposits.z[i], deposits.n_particles[i] > 1, move_1 * error,
                move_2 * error, hit, surfaces,
            )  # fmt: skip
            late, time_error = _clock(measured, regions[hit, 6], regions[hit, 7], key, event_key[event], index)
            clusters.particle_index[n], clusters.track_index[n], clusters.surface[n] = index, -1, hit
            clusters.energy[n] = measured
            clusters.energy_error[n] = math.sqrt(energy_variance(measured, regions, hit))
            clusters.x[n], clusters.y[n], clusters.z[n], clusters.position_error[n] = x, y, z, error
            clusters.eta[n], clusters.phi[n] = pseudorapidity(z / radius), math.atan2(y, x)
            clusters.energy_true[n], clusters.n_particles[n] = deposits.total[i], deposits.n_particles[i]
            clusters.time[n], clusters.time_error[n] = deposits.time[i] + late, time_error
            clusters.width[n], clusters.n_sigma_width[n] = math.exp(log_width), (log_width - mean) / spread
            n += 1
    offsets[len(event_key)] = n


@inline
def _clock(
    energy: float, constant: float, at_1_gev: float, key: np.uint64, event_key: np.uint64, index: int
) -> tuple[float, float]:
    """Shift of a measured time and its error [ns]; a perfect clock needs no random number."""
    if constant + at_1_gev == 0.0:
        return 0.0, 0.0
    error = math.sqrt(constant * constant + (at_1_gev / energy) ** 2)
    _, late = normals(key, event_key, index, SLOT_IONISATION_TIME)
    return late * error, error


@inline
def _moved(
    x: float, y: float, z: float, is_mean: bool, first: float, second: float, hit: int, surfaces: Floats
) -> tuple[float, float, float, float]:
    """Measured position and its distance to the axis: the true one moved by two lengths along its surface.

    `is_mean`: of several particles.
    """
    if surfaces[hit, 0] != CYLINDER:
        x, y = x + first, y + second
        return x, y, z, math.sqrt(x * x + y * y)
    radius = surfaces[hit, 1]
    if is_mean:
        # the mean of points of a cylinder lies inside it
        scale = radius / math.sqrt(x * x + y * y)
        x, y = x * scale, y * scale
    cosine, sine = _cos_sin(first / radius)
    return x * cosine - y * sine, x * sine + y * cosine, z + second, radius


@inline
def _cos_sin(angle: float) -> tuple[float, float]:
    """Cosine and sine; the series for small angles is exact to 1e-17 and spares 20 ns."""
    if abs(angle) < 0.02:
        q = angle * angle
        cosine = 1.0 - q / 2.0 * (1.0 - q / 12.0 * (1.0 - q / 30.0))
        return cosine, angle * (1.0 - q / 6.0 * (1.0 - q / 20.0 * (1.0 - q / 42.0)))
    return math.cos(angle), math.sin(angle)
