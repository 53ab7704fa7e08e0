"""What a calorimeter makes of particles: deposits at its surfaces, and clusters measured from them.

Kernels of :mod:`flashdet.stages.emcal`, which holds configuration and tables. How much energy a particle leaves is in
:mod:`flashdet.stages.showers`, how deposits merge in :mod:`flashdet.stages.merging`, how tracks find their clusters in
:mod:`flashdet.stages.matching`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals, uniforms
from flashdet.species import SPECIES
from flashdet.stages.showers import Hadrons, available_energy, hadronic_energy, shower_start
from flashdet.stages.surface import CYLINDER, first_crossing
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]

ELECTRON, MUON = SPECIES.index("electron"), SPECIES.index("muon")
#: Slots of the random numbers of a particle.
_SLOT_ENERGY, _SLOT_POSITION, _SLOT_TIME_WIDTH, _SLOT_SHOWER = range(4)
#: What a deposit comes from; also the order of the counters of lost clusters.
_PHOTON, _CHARGED, _NEUTRAL_HADRON = range(3)


class Neutrals(NamedTuple):
    """Columns of ``particle`` that the calorimeter reads."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: Floats
    py: Floats
    pz: Floats
    energy: Floats
    mass: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


class Charged(NamedTuple):
    """Truth of charged particles, from ``track`` (``*_true``) or ``charged``."""

    particle_index: NDArray[np.int32]
    species: NDArray[np.int8]
    pdg: NDArray[np.int32]
    charge: NDArray[np.int8]
    mass: Floats
    pt: Floats
    eta: Floats
    phi: Floats
    vx: Floats
    vy: Floats
    vz: Floats
    vt: Floats


class Response(NamedTuple):
    """Numbers of the card, for kernels.

    Attributes
    ----------
    regions : (n_surfaces, 8) float64
        a, b, c of the energy, A, B of the position, threshold, constant and 1 GeV term of the time resolution.
    ionisation : (2,) float64
        Most probable energy of charge 1, width.
    widths : (3, 2) float64
        Mean width [cm] and relative spread: electromagnetic, ionisation, hadronic.
    hadrons : Hadrons
    codes : (n,) int32
        Neutral hadrons that make showers.
    """

    regions: Floats
    ionisation: Floats
    widths: Floats
    hadrons: Hadrons
    codes: NDArray[np.int32]


class Deposits(NamedTuple):
    """Energy left by particles; merging turns the leading one of each cluster into the whole cluster."""

    particle_index: NDArray[np.int32]
    origin: NDArray[np.int8]
    surface: NDArray[np.int8]
    n_particles: NDArray[np.int32]
    x: Floats
    y: Floats
    z: Floats
    left: Floats
    total: Floats
    time: Floats
    width: Floats
    noise: Floats
    time_noise: Floats


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


@inline
def energy_variance(energy: float, regions: Floats, i: int) -> float:
    """Variance of a measured energy on surface i, a^2 + b^2 E + c^2 E^2 [GeV2]."""
    a, b, c = regions[i, 0], regions[i, 1], regions[i, 2]
    variance: float = a * a + energy * (b * b + c * c * energy)
    return variance


@inline
def _ionise(charge2: float, kinetic: float, g: float, ionisation: Floats) -> float:
    """Energy left by ionisation: a Moyal variable if g is a standard normal number, at most the kinetic energy."""
    left: float = min(charge2 * (ionisation[0] - ionisation[1] * math.log(g * g)), kinetic)
    return left


@inline
def _may_hit(x: float, y: float, z: float, tgl: float, surfaces: Floats) -> bool:
    """False if no surface can be met: the way to a cylinder is at least its distance, however the path bends.

    Spares the exact crossing for particles that leave a barrel through its ends.
    """
    from_axis = math.sqrt(x * x + y * y)
    possible = False
    for i in range(surfaces.shape[0]):
        if surfaces[i, 0] == CYLINDER:
            possible |= abs(tgl) * (surfaces[i, 1] - from_axis) <= surfaces[i, 2] + abs(z)
        else:
            possible |= (surfaces[i, 1] - z) * tgl > 0.0
    return possible


@inline
def _deposit(
    x: float, y: float, z: float, t: float, phi: float, tgl: float, k: float, total: float, mass: float,
    charge2: float, pdg: int, origin: int, index: int, event_key: np.uint64, key: np.uint64, surfaces: Floats,
    response: Response, out: Deposits, row: int,
) -> tuple[int, bool]:  # fmt: skip
    """Send one particle to the calorimeter; return the surface and whether a deposit was written to `row`.

    `charge2` is the squared charge of ionising particles, 0 for neutral ones and electrons; `pdg` is the code of a
    hadron, 0 for what makes no hadronic shower.
    """
    hit, path, x, y, z, _ = first_crossing(x, y, z, phi, tgl, k, surfaces)
    if hit < 0:
        return hit, False
    noise, g = normals(key, event_key, index, _SLOT_ENERGY)
    kind, left = 0, total
    if charge2 > 0.0:
        kind, left = 1, _ionise(charge2, total - mass, g, response.ionisation)
    if pdg != 0 and response.hadrons.interaction_lengths > 0.0:
        u_start, u_share = uniforms(key, event_key, index, _SLOT_SHOWER)
        start = shower_start(u_start, response.hadrons.interaction_lengths)
        if start < 1.0:
            available = available_energy(total, mass, pdg)
            shower = hadronic_energy(available, start, u_share, response.hadrons)
            kind, left = 2, min(shower + (start * left if charge2 > 0.0 else 0.0), available)
        elif charge2 == 0.0:
            return hit, False
    time_noise, swing = normals(key, event_key, index, _SLOT_TIME_WIDTH)
    beta = math.sqrt(max(1.0 - (mass / total) ** 2, 1e-12))
    out.particle_index[row], out.origin[row], out.surface[row], out.n_particles[row] = index, origin, hit, 1
    out.x[row], out.y[row], out.z[row] = x, y, z
    out.left[row], out.total[row], out.time[row] = left, total, t + path / (beta * C_LIGHT)
    out.width[row] = response.widths[kind, 0] * math.exp(response.widths[kind, 1] * swing)
    out.noise[row], out.time_noise[row] = noise, time_noise
    return hit, True


@kernel
def make_deposits(
    neutrals: Neutrals, is_gone: NDArray[np.bool_], neutral_offsets: NDArray[np.int64], charged: Charged,
    charged_offsets: NDArray[np.int64], collision_time: Floats, event_key: NDArray[np.uint64], key: np.uint64,
    bz: float, surfaces: Floats, response: Response, deposits: Deposits, offsets: NDArray[np.int64],
    surface: NDArray[np.int8], deposit_of: NDArray[np.int64],
) -> None:  # fmt: skip
    """Send all particles to the calorimeter.

    The energy left by ionisation is z^2 times a variable with the distribution of J. E. Moyal (Phil. Mag. 46 (1955)
    263), of which -ln(g^2) is a sample if g is a standard normal number, and at most the kinetic energy: a slow
    particle stops. Photons and electrons leave all their energy, hadrons that interact what
    `flashdet.stages.showers.hadronic_energy` says and the ionisation on the way to it.

    Parameters
    ----------
    neutrals : Neutrals
        The generator record; photons and the neutral hadrons of `response`, both of status 1, are used.
    is_gone : (n_neutrals,) bool
        Particles that something in front of the calorimeter took away.
    charged : Charged
        Charged particles.
    neutral_offsets, charged_offsets : (n_events + 1,) int64
        Rows of the events.
    collision_time : (n_events,) float64
        Added to the production time of neutrals [ns]; that of charged particles has it.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    response : Response
        Numbers of the card.
    deposits : Deposits
        Out: neutrals first in each event.
    offsets : (n_events + 1,) int64
        Out: rows of the events in `deposits`.
    surface : (n_charged,) int8
        Out: surface that a charged particle reaches, -1 if none.
    deposit_of : (n_charged,) int64
        Out: its row in `deposits`, -1 if none.
    """
    n = 0
    offsets[0] = 0
    for event in range(len(event_key)):
        first = neutral_offsets[event]
        for i in range(first, neutral_offsets[event + 1]):
            code = neutrals.pdg[i]
            if neutrals.status[i] != 1 or is_gone[i] or not (code == 22 or _is_in(code, response.codes)):
                continue
            px, py, total = neutrals.px[i], neutrals.py[i], neutrals.energy[i]
            # a photon along the beam has an infinite slope and reaches no surface
            tgl = neutrals.pz[i] / math.sqrt(px * px + py * py)
            if not _may_hit(neutrals.vx[i], neutrals.vy[i], neutrals.vz[i], tgl, surfaces):
                continue
            is_photon = code == 22
            _, made = _deposit(
                neutrals.vx[i], neutrals.vy[i], neutrals.vz[i], neutrals.vt[i] + collision_time[event],
                math.atan2(py, px), tgl, 0.0, total, 0.0 if is_photon else neutrals.mass[i], 0.0,
                0 if is_photon else code, _PHOTON if is_photon else _NEUTRAL_HADRON, i - first, event_key[event], key,
                surfaces, response, deposits, n,
            )  # fmt: skip
            n += made
        for i in range(charged_offsets[event], charged_offsets[event + 1]):
            tgl, charge, mass = math.sinh(charged.eta[i]), float(charged.charge[i]), charged.mass[i]
            surface[i], deposit_of[i] = -1, -1
            if not _may_hit(charged.vx[i], charged.vy[i], charged.vz[i], tgl, surfaces):
                continue
            total = math.sqrt(charged.pt[i] ** 2 * (1.0 + tgl * tgl) + mass * mass)
            species = charged.species[i]
            surface[i], made = _deposit(
                charged.vx[i], charged.vy[i], charged.vz[i], charged.vt[i], charged.phi[i], tgl,
                curvature(charge / charged.pt[i], bz), total, mass, 0.0 if species == ELECTRON else charge * charge,
                charged.pdg[i] if species > MUON else 0, _CHARGED, charged.particle_index[i], event_key[event], key,
                surfaces, response, deposits, n,
            )  # fmt: skip
            deposit_of[i] = n if made else -1
            n += made
        offsets[event + 1] = n


@inline
def _is_in(code: int, codes: NDArray[np.int32]) -> bool:
    found = False
    for known in codes:
        found |= code == known
    return found


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
        From `flashdet.stages.merging.merge_deposits`, or the rows themselves.
    event_key : (n_events,) uint64
        Random keys of the events.
    key : uint64
        Key of the stage.
    surfaces, response
        As in `make_deposits`.
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
    mean_width, spread = response.widths[0, 0], response.widths[0, 1]
    for event in range(len(event_key)):
        offsets[event] = n
        for i in range(deposit_offsets[event], deposit_offsets[event + 1]):
            if leader[i] != i:
                continue
            hit, left = deposits.surface[i], deposits.left[i]
            region = response.regions[hit]
            measured = left + deposits.noise[i] * math.sqrt(energy_variance(left, response.regions, hit))
            cluster_of[i] = -1
            if not measured > region[5]:
                lost[deposits.origin[i]] += 1
                continue
            cluster_of[i] = n
            move_1, move_2 = normals(key, event_key[event], deposits.particle_index[i], _SLOT_POSITION)
            error = math.sqrt(region[3] * region[3] + region[4] * region[4] / measured)
            x, y, z = _moved(deposits, i, move_1 * error, move_2 * error, surfaces)
            time_error = math.sqrt(region[6] * region[6] + (region[7] / measured) ** 2)
            clusters.particle_index[n], clusters.track_index[n], clusters.surface[n] = (
                deposits.particle_index[i], -1, hit
            )  # fmt: skip
            clusters.energy[n] = measured
            clusters.energy_error[n] = math.sqrt(energy_variance(measured, response.regions, hit))
            clusters.x[n], clusters.y[n], clusters.z[n], clusters.position_error[n] = x, y, z, error
            clusters.eta[n], clusters.phi[n] = math.asinh(z / math.sqrt(x * x + y * y)), math.atan2(y, x)
            clusters.energy_true[n], clusters.n_particles[n] = deposits.total[i], deposits.n_particles[i]
            clusters.time[n], clusters.time_error[n] = (
                deposits.time[i] + deposits.time_noise[i] * time_error,
                time_error,
            )
            clusters.width[n] = deposits.width[i]
            clusters.n_sigma_width[n] = math.log(deposits.width[i] / mean_width) / spread
            n += 1
    offsets[len(event_key)] = n


@inline
def _moved(deposits: Deposits, i: int, first: float, second: float, surfaces: Floats) -> tuple[float, float, float]:
    """Measured position: the true one moved by two lengths along its surface."""
    hit, x, y, z = deposits.surface[i], deposits.x[i], deposits.y[i], deposits.z[i]
    if surfaces[hit, 0] == CYLINDER:
        radius = surfaces[hit, 1]
        turn = first / radius
        cos_turn, sin_turn = math.cos(turn), math.sin(turn)
        if deposits.n_particles[i] > 1:
            # the mean of points of a cylinder lies inside it
            scale = radius / math.sqrt(x * x + y * y)
            x, y = x * scale, y * scale
        return x * cos_turn - y * sin_turn, x * sin_turn + y * cos_turn, z + second
    return x + first, y + second, z
