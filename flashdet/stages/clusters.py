"""What a calorimeter makes of particles: clusters with energy and position, and the energy expected of each species.

Kernels of :mod:`flashdet.stages.emcal`, which holds configuration and tables.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals
from flashdet.species import SPECIES
from flashdet.stages.pid import log_momentum_variance, rigidity
from flashdet.stages.surface import CYLINDER, first_crossing

Floats = NDArray[np.float64]

ELECTRON = SPECIES.index("electron")
#: Slots of the random numbers of a particle.
_SLOT_ENERGY, _SLOT_POSITION = 0, 1
#: Mean and standard deviation of the Moyal distribution in units of its width: Euler's gamma + ln 2 and pi/sqrt(2).
_MOYAL_MEAN, _MOYAL_SIGMA = 1.2703628454614782, 2.221441469079183


class Photons(NamedTuple):
    """Columns of ``particle`` that the calorimeter reads."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    vx: Floats
    vy: Floats
    vz: Floats


class Tracks(NamedTuple):
    """Columns of ``track`` that make the signal."""

    particle_index: NDArray[np.int32]
    species_true: NDArray[np.int8]
    charge_true: NDArray[np.int8]
    mass_true: Floats
    pt_true: Floats
    eta_true: Floats
    phi_true: Floats
    vx_true: Floats
    vy_true: Floats
    vz_true: Floats


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


@inline
def energy_variance(energy: float, response: Floats) -> float:
    """Variance of a measured energy, a^2 + b^2 E + c^2 E^2 [GeV2]; `response` starts with a, b, c."""
    variance: float = response[0] * response[0] + energy * (response[1] * response[1] + response[2] ** 2 * energy)
    return variance


@inline
def _measure(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, energy: float, kinetic: float, charge2: float,
    index: int, event_key: np.uint64, key: np.uint64, surfaces: Floats, response: Floats, out: Clusters, row: int,
) -> tuple[int, bool]:  # fmt: skip
    """Send one particle to the calorimeter; return the surface and whether a cluster was written to `row`.

    `charge2` is the squared charge of ionising particles, 0 for photons and electrons.
    """
    hit, _, x, y, z, _ = first_crossing(x, y, z, phi, tgl, k, surfaces)
    if hit < 0:
        return hit, False
    noise, g = normals(key, event_key, index, _SLOT_ENERGY)
    left = energy
    if charge2 > 0.0:
        left = min(charge2 * (response[5] - response[6] * math.log(g * g)), kinetic)
    measured = left + noise * math.sqrt(energy_variance(left, response))
    if not measured > response[7]:
        return hit, False
    move_1, move_2 = normals(key, event_key, index, _SLOT_POSITION)
    error = math.sqrt(response[3] * response[3] + response[4] * response[4] / measured)
    if surfaces[hit, 0] == CYLINDER:
        turn = move_1 * error / surfaces[hit, 1]
        cos_turn, sin_turn = math.cos(turn), math.sin(turn)
        x, y, z = x * cos_turn - y * sin_turn, x * sin_turn + y * cos_turn, z + move_2 * error
    else:
        x, y = x + move_1 * error, y + move_2 * error
    out.particle_index[row], out.surface[row] = index, hit
    out.energy[row], out.energy_error[row] = measured, math.sqrt(energy_variance(measured, response))
    out.x[row], out.y[row], out.z[row], out.position_error[row] = x, y, z, error
    out.eta[row], out.phi[row] = math.asinh(z / math.sqrt(x * x + y * y)), math.atan2(y, x)
    out.energy_true[row] = energy
    return hit, True


@kernel
def make_clusters(
    photons: Photons, photon_offsets: NDArray[np.int64], tracks: Tracks, track_offsets: NDArray[np.int64],
    event_key: NDArray[np.uint64], key: np.uint64, bz: float, surfaces: Floats, response: Floats,
    clusters: Clusters, offsets: NDArray[np.int64], surface: NDArray[np.int8], row: NDArray[np.int32],
    energy: Floats, energy_error: Floats, lost: NDArray[np.int64],
) -> None:  # fmt: skip
    """Send photons and tracks to the calorimeter and measure them.

    The energy is drawn from a Gaussian around the energy left. The energy left by ionisation is z^2 times a variable
    with the distribution of J. E. Moyal (Phil. Mag. 46 (1955) 263), of which -ln(g^2) is a sample if g is a standard
    normal number, and at most the kinetic energy: a slow particle stops. The position is moved in both directions of
    the surface: z and the circumference of a cylinder, x and y of a disc.

    Parameters
    ----------
    photons : Photons
        The generator record; only codes 22 of status 1 are used.
    tracks : Tracks
        Accepted tracks.
    photon_offsets, track_offsets : (n_events + 1,) int64
        Rows of the events.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    response : (8,) float64
        a, b, c, A, B, MIP energy, MIP width, threshold.
    clusters : Clusters
        Out: long enough for one cluster per photon and track; photons first in each event.
    offsets : (n_events + 1,) int64
        Out: rows of the events in `clusters`.
    surface : (n_tracks,) int8
        Out: surface that the track reaches, -1 if none.
    row : (n_tracks,) int32
        Out: row of its cluster within the event, -1 if none.
    energy, energy_error : (n_tracks,) float64
        Out: of that cluster [GeV], NaN without one.
    lost : (2,) int64
        Out: photons and tracks that stay below the threshold.
    """
    n = 0
    offsets[0] = 0
    lost[:] = 0
    for event in range(len(event_key)):
        first = photon_offsets[event]
        for i in range(first, photon_offsets[event + 1]):
            if photons.pdg[i] != 22 or photons.status[i] != 1:
                continue
            px, py, total = photons.px[i], photons.py[i], photons.energy[i]
            # a photon along the beam has an infinite slope and reaches no surface
            tgl = photons.pz[i] / math.sqrt(px * px + py * py)
            hit, made = _measure(
                photons.vx[i], photons.vy[i], photons.vz[i], math.atan2(py, px), tgl, 0.0, total, total, 0.0,
                i - first, event_key[event], key, surfaces, response, clusters, n,
            )  # fmt: skip
            if made:
                clusters.track_index[n] = -1
                n += 1
            elif hit >= 0:
                lost[0] += 1
        for i in range(track_offsets[event], track_offsets[event + 1]):
            tgl, charge, mass = math.sinh(tracks.eta_true[i]), float(tracks.charge_true[i]), tracks.mass_true[i]
            p2 = tracks.pt_true[i] ** 2 * (1.0 + tgl * tgl)
            total = math.sqrt(p2 + mass * mass)
            charge2 = 0.0 if tracks.species_true[i] == ELECTRON else charge * charge
            surface[i], made = _measure(
                tracks.vx_true[i], tracks.vy_true[i], tracks.vz_true[i], tracks.phi_true[i], tgl,
                curvature(charge / tracks.pt_true[i], bz), total, p2 / (total + mass), charge2,
                tracks.particle_index[i], event_key[event], key, surfaces, response, clusters, n,
            )  # fmt: skip
            row[i], energy[i], energy_error[i] = -1, np.nan, np.nan
            if made:
                clusters.track_index[n] = i - track_offsets[event]
                row[i], energy[i], energy_error[i] = n - offsets[event], clusters.energy[n], clusters.energy_error[n]
                n += 1
            elif surface[i] >= 0:
                lost[1] += 1
        offsets[event + 1] = n


@kernel
def prepare_tracks(
    tgl: Floats, q_over_pt: Floats, cov: Floats, surface: NDArray[np.int8], rigidity2: Floats, spread2: Floats
) -> None:
    """Squared rigidity, NaN for tracks that reach no surface, and squared error of the energy of an electron [GeV2].

    Parameters
    ----------
    tgl, q_over_pt : (n,) float64
        Measured slope and charge over transverse momentum.
    cov : (n, 15) float64
        Packed covariance of the track.
    surface : (n,) int8
        Surface reached, -1 if none.
    rigidity2, spread2 : (n,) float64
        Out. For electrons dE = (p^2/E) dp/p = dp: m^2 is below 1e-6 p^2 wherever a track reaches a calorimeter.
    """
    for i in range(len(tgl)):
        rigidity2[i] = rigidity(tgl[i], q_over_pt[i]) ** 2 if surface[i] >= 0 else np.nan
        spread2[i] = rigidity2[i] * log_momentum_variance(tgl[i], q_over_pt[i], cov[i])


@kernel
def compare_hypothesis(
    rigidity2: Floats, spread2: Floats, energy: Floats, response: Floats, mass: float, charge: float,
    is_electron: bool, expected: Floats, error: Floats, n_sigma: Floats,
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
    response : (8,) float64
        As in `make_clusters`.
    mass, charge : float
        Of the species.
    is_electron : bool
        True for the species that showers.
    expected, error, n_sigma : (n,) float64
        Out; NaN for tracks that do not reach a surface.
    """
    a2, b2, c2 = response[0] ** 2, response[1] ** 2, response[2] ** 2
    charge2, mass2 = charge * charge, mass * mass
    mean = np.inf if is_electron else charge2 * (response[5] + response[6] * _MOYAL_MEAN)
    width2 = 0.0 if is_electron else (charge2 * response[6] * _MOYAL_SIGMA) ** 2
    for i in range(len(energy)):
        p2 = charge2 * rigidity2[i]
        total = math.sqrt(p2 + mass2)
        if is_electron:
            e, variance = total, spread2[i]
        else:
            kinetic = p2 / (total + mass)
            e, variance = (mean, width2) if kinetic > mean else (kinetic, 0.0)
        width = math.sqrt(a2 + e * (b2 + c2 * e) + variance)
        expected[i] = e
        error[i] = width
        n_sigma[i] = (energy[i] - e) / width
