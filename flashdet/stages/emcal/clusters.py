"""What a calorimeter measures of deposits: energy, position, time and width of its clusters.

Kernels of :mod:`.stage`; the deposits come from :mod:`.deposits` and
:mod:`.merging`. Clusters go through in blocks, in loops that become vector instructions: half the time of one after the
other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.arc import angle_over
from flashdet.kernels.elementary import cosine_and_sine, exp, log
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.noise import normal_rows
from flashdet.stages.emcal.deposits import (
    ELECTROMAGNETIC,
    LEFT,
    LOG_WIDTH,
    NOISE,
    SLOT_IONISATION_TIME,
    SLOT_POSITION,
    TIME,
    TOTAL,
    Deposits,
    Response,
    Work,
    X,
    Y,
    Z,
)
from flashdet.stages.emcal.front import BLOCK
from flashdet.stages.surface import CYLINDER

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

#: Rows of `Clusters.numbers`, in the order of :data:`flashdet.columns.EMCAL_CLUSTER`.
(
    ENERGY, ENERGY_ERROR, CLUSTER_X, CLUSTER_Y, CLUSTER_Z, _POSITION_ERROR, _ETA, _PHI, _ENERGY_TRUE, CLUSTER_TIME,
    _TIME_ERROR, _WIDTH, N_SIGMA_WIDTH,
) = range(13)  # fmt: skip
_N_NUMBERS = 13
#: Where the quantities of clusters start in the array of a block, see `flashdet.stages.emcal.front`: first those that
#: are measured, as above; then the surface's a, b and c, A and B, constant and 1 GeV term of the clock, radius of a
#: cylinder or 0; squared width, energy left and whether several particles made it.
(
    _E, _E_ERROR, _X, _Y, _Z, _ERROR, _ETA_AT, _PHI_AT, _TRUE, _T, _T_ERROR, _W, _N_SIGMA,
    _A, _B, _C, _PLACE_A, _PLACE_B, _CLOCK_0, _CLOCK_1, _RADIUS, _LOG_W, _MEAN,
) = (np.uint64(i * BLOCK) for i in range(23))  # fmt: skip


class Clusters(NamedTuple):
    """Clusters of a batch: the integers of :data:`flashdet.columns.EMCAL_CLUSTER` and (13, n) numbers."""

    particle_index: NDArray[np.int32]
    track_index: NDArray[np.int32]
    n_particles: NDArray[np.int32]
    surface: NDArray[np.int8]
    numbers: Floats


def empty_clusters(n: int) -> Clusters:
    """Memory for `n` clusters: three blocks, 15 ns per track less than one array per column."""
    particle, track, n_particles = np.empty((3, n), np.int32)
    return Clusters(particle, track, n_particles, np.empty(n, np.int8), np.empty((_N_NUMBERS, n)))


def columns_of(clusters: Clusters, n: int) -> dict[str, NDArray[np.generic]]:
    """Columns of :data:`flashdet.columns.EMCAL_CLUSTER` for the first `n` clusters."""
    numbers = clusters.numbers
    return {
        "particle_index": clusters.particle_index[:n],
        "track_index": clusters.track_index[:n],
        "surface": clusters.surface[:n],
        "energy": numbers[ENERGY, :n],
        "energy_error": numbers[ENERGY_ERROR, :n],
        "x": numbers[CLUSTER_X, :n],
        "y": numbers[CLUSTER_Y, :n],
        "z": numbers[CLUSTER_Z, :n],
        "position_error": numbers[_POSITION_ERROR, :n],
        "eta": numbers[_ETA, :n],
        "phi": numbers[_PHI, :n],
        "energy_true": numbers[_ENERGY_TRUE, :n],
        "n_particles": clusters.n_particles[:n],
        "time": numbers[CLUSTER_TIME, :n],
        "time_error": numbers[_TIME_ERROR, :n],
        "width": numbers[_WIDTH, :n],
        "n_sigma_width": numbers[N_SIGMA_WIDTH, :n],
    }


@inline
def energy_variance(energy: float, a: float, b: float, c: float) -> float:
    """Variance of a measured energy, a^2 + b^2 E + c^2 E^2 [GeV2]."""
    variance: float = a * a + energy * (b * b + c * c * energy)
    return variance


@bare_kernel
def measure_clusters(
    deposits: Deposits, deposit_offsets: Rows, leader: Rows, event_key: NDArray[np.uint64], key: np.uint64,
    surfaces: Floats, response: Response, work: Work, clusters: Clusters, offsets: Rows, cluster_of: Rows, lost: Rows,
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
    work : Work
        Scratch space.
    clusters : Clusters
        Out: in the order of the leading deposits; no track is matched.
    offsets : (n_events + 1,) int64
        Out: rows of the events in `clusters`.
    cluster_of : (n_deposits,) int64
        Out: row of the cluster of each leader, -1 if it was lost.
    lost : (3,) int64
        Out: clusters below the threshold led by photons, charged particles and neutral hadrons.
    """
    start, n = 0, 0
    lost[:] = 0
    regions = response.regions
    for event in range(len(event_key)):
        offsets[event] = start + n
        for i in range(deposit_offsets[event], deposit_offsets[event + 1]):
            if leader[i] != i or deposits.surface[i] < 0:
                continue
            hit, left = deposits.surface[i], deposits.numbers[i, LEFT]
            variance = energy_variance(left, regions[hit, 0], regions[hit, 1], regions[hit, 2])
            measured = left + deposits.numbers[i, NOISE] * math.sqrt(variance)
            cluster_of[i] = -1
            if not measured > regions[hit, 5]:
                lost[deposits.origin[i]] += 1
                continue
            cluster_of[i] = start + n
            work.key[n] = event_key[event]
            _load(n, deposits, i, measured, surfaces, regions, work)
            row = start + n
            clusters.particle_index[row], clusters.track_index[row] = deposits.particle_index[i], -1
            clusters.surface[row], clusters.n_particles[row] = hit, deposits.n_particles[i]
            n += 1
            if n == BLOCK:
                _measure(n, start, key, response, work, clusters.numbers)
                start, n = start + n, 0
    offsets[len(event_key)] = start + n
    _measure(n, start, key, response, work, clusters.numbers)


@inline
def _load(n: int, deposits: Deposits, i: int, measured: float, surfaces: Floats, regions: Floats, work: Work) -> None:
    """Put the cluster led by deposit i into place n of the block."""
    way, j, hit, numbers = work.way, np.uint64(n), deposits.surface[i], deposits.numbers[i]
    way[_E + j], way[_TRUE + j], way[_T + j] = measured, numbers[TOTAL], numbers[TIME]
    way[_X + j], way[_Y + j], way[_Z + j], way[_LOG_W + j] = numbers[X], numbers[Y], numbers[Z], numbers[LOG_WIDTH]
    way[_A + j], way[_B + j], way[_C + j] = regions[hit, 0], regions[hit, 1], regions[hit, 2]
    way[_PLACE_A + j], way[_PLACE_B + j] = regions[hit, 3], regions[hit, 4]
    way[_CLOCK_0 + j], way[_CLOCK_1 + j] = regions[hit, 6], regions[hit, 7]
    way[_RADIUS + j] = surfaces[hit, 1] if surfaces[hit, 0] == CYLINDER else 0.0
    way[_MEAN + j] = 1.0 if deposits.n_particles[i] > 1 else 0.0
    work.place[n] = deposits.particle_index[i]


@bare_kernel
def _measure(n: int, start: int, key: np.uint64, response: Response, work: Work, numbers: Floats) -> None:
    """Measure a block of clusters, as rows from `start` on."""
    way, regions = work.way, response.regions
    normal_rows(key, work.key, work.place, SLOT_POSITION, n, work.bits, work.first, work.second)
    for j in range(np.uint64(n)):
        energy = way[_E + j]
        way[_ERROR + j] = math.sqrt(
            way[_PLACE_A + j] * way[_PLACE_A + j] + way[_PLACE_B + j] * way[_PLACE_B + j] / energy
        )
        way[_E_ERROR + j] = math.sqrt(energy_variance(energy, way[_A + j], way[_B + j], way[_C + j]))
    _move(n, way, work.first, work.second)
    mean, spread = response.widths[ELECTROMAGNETIC, 0], response.widths[ELECTROMAGNETIC, 1]
    for j in range(np.uint64(n)):
        way[_W + j], way[_N_SIGMA + j] = exp(way[_LOG_W + j]), (way[_LOG_W + j] - mean) / spread
        way[_T_ERROR + j] = 0.0
    clock = 0.0
    for i in range(len(regions)):
        clock += regions[i, 6] + regions[i, 7]
    # a perfect clock needs no random number
    if clock > 0.0:
        normal_rows(key, work.key, work.place, SLOT_IONISATION_TIME, n, work.bits, work.first, work.second)
        for j in range(np.uint64(n)):
            late = way[_CLOCK_1 + j] / way[_E + j]
            way[_T_ERROR + j] = math.sqrt(way[_CLOCK_0 + j] * way[_CLOCK_0 + j] + late * late)
            way[_T + j] += work.second[j] * way[_T_ERROR + j]
    for column in range(_N_NUMBERS):
        row, first = numbers[column], np.uint64(column * BLOCK)
        for j in range(np.uint64(n)):
            row[np.uint64(start) + j] = way[first + j]


@bare_kernel
def _move(n: int, way: Floats, first: Floats, second: Floats) -> None:
    """Move true positions along their surfaces by two lengths, in standard deviations; set the directions."""
    for j in range(np.uint64(n)):
        x, y, z, radius = way[_X + j], way[_Y + j], way[_Z + j], way[_RADIUS + j]
        across, along = first[j] * way[_ERROR + j], second[j] * way[_ERROR + j]
        # the mean of points of a cylinder lies inside it
        scale = radius / math.sqrt(x * x + y * y) if way[_MEAN + j] > 0.0 else 1.0
        cosine, sine = cosine_and_sine(across / radius)
        is_cylinder = radius > 0.0
        x, y, z = (
            (x * cosine - y * sine) * scale if is_cylinder else x + across,
            (x * sine + y * cosine) * scale if is_cylinder else y + along,
            z + along if is_cylinder else z,
        )
        way[_X + j], way[_Y + j], way[_Z + j] = x, y, z
    for j in range(np.uint64(n)):
        x, y, z = way[_X + j], way[_Y + j], way[_Z + j]
        radius = math.sqrt(x * x + y * y)
        slope = abs(z) / radius
        way[_ETA_AT + j] = math.copysign(log(slope + math.sqrt(1.0 + slope * slope)), z)
        # half of the angle to the nearer half of the x axis
        half = y / (radius + abs(x))
        angle = 2.0 * angle_over(half, half)
        way[_PHI_AT + j] = angle if x >= 0.0 else math.copysign(math.pi, y) - angle
