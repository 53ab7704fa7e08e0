"""Energy that particles leave in a calorimeter, particle by particle.

Kernels of :mod:`.stage`, which holds the stage. Where particles enter is in
:mod:`.front`, how much energy hadrons leave in :mod:`.showers`; how deposits merge in
:mod:`.merging`, and what is measured of them in :mod:`.clusters`.
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
from flashdet.stages.emcal.front import first_hit, may_hit
from flashdet.stages.emcal.showers import Hadrons, available_energy, hadronic_energy, shower_start
from flashdet.stages.neutrals import Neutrals
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]

ELECTRON, MUON = SPECIES.index("electron"), SPECIES.index("muon")
PHOTON = 22
#: Slots of the random numbers of a particle: noise and width, place, ionisation and clock, hadronic shower.
SLOT_NOISE_WIDTH, SLOT_POSITION, SLOT_IONISATION_TIME, _SLOT_SHOWER = range(4)
#: What a deposit comes from; also the order of the counters of lost clusters.
_PHOTON, _CHARGED, _NEUTRAL_HADRON = range(3)
#: Kinds of deposits, rows of `Response.widths`.
ELECTROMAGNETIC, IONISATION, HADRONIC = range(3)


class Charged(NamedTuple):
    """Truth of charged particles, from ``track`` (``*_true``) or ``charged``."""

    particle_index: NDArray[np.int32]
    species: NDArray[np.int8]
    pdg: NDArray[np.int32]
    charge: NDArray[np.int8]
    mass: Floats
    pt: Floats
    tgl: Floats
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
        Logarithm of the mean width [cm] and relative spread: electromagnetic, ionisation, hadronic.
    hadrons : Hadrons
    """

    regions: Floats
    ionisation: Floats
    widths: Floats
    hadrons: Hadrons


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
    log_width: Floats
    noise: Floats


def empty_deposits(n: int) -> Deposits:
    """Memory for `n` deposits."""
    short, long = np.empty((2, n), np.int8), np.empty((2, n), np.int32)
    return Deposits(long[0], short[0], short[1], long[1], *np.empty((8, n)))


@inline
def _ionise(charge2: float, kinetic: float, g: float, ionisation: Floats) -> float:
    """Energy left by ionisation: a Moyal variable if g is a standard normal number, at most the kinetic energy."""
    left: float = min(charge2 * (ionisation[0] - ionisation[1] * math.log(g * g)), kinetic)
    return left


@inline
def _energy_left(
    total: float, mass: float, charge2: float, pdg: int, key: np.uint64, event_key: np.uint64, index: int,
    ionisation: Floats, depth: float, shares: Floats,
) -> tuple[int, float]:  # fmt: skip
    """Kind of a deposit and its energy [GeV]; kind -1 if there is none.

    `charge2` is the squared charge of ionising particles, 0 for neutral ones and electrons; `pdg` is the code of a
    hadron, 0 for what makes no hadronic shower; `depth` and `shares` are those of `Hadrons`.
    """
    kind, left = ELECTROMAGNETIC, total
    if charge2 > 0.0:
        g, _ = normals(key, event_key, index, SLOT_IONISATION_TIME)
        kind, left = IONISATION, _ionise(charge2, total - mass, g, ionisation)
    if pdg != 0 and depth > 0.0:
        u_start, u_share = uniforms(key, event_key, index, _SLOT_SHOWER)
        start = shower_start(u_start, depth)
        if start < 1.0:
            available = available_energy(total, mass, pdg)
            shower = hadronic_energy(available, start, u_share, shares)
            kind, left = HADRONIC, min(shower + (start * left if charge2 > 0.0 else 0.0), available)
        elif charge2 == 0.0:
            kind = -1
    return kind, left


@inline
def _write(
    out: Deposits, row: int, index: int, origin: int, hit: int, x: float, y: float, z: float, left: float,
    total: float, time: float, log_width: float, noise: float,
) -> None:  # fmt: skip
    """Write one deposit."""
    out.particle_index[row], out.origin[row], out.surface[row], out.n_particles[row] = index, origin, hit, 1
    out.x[row], out.y[row], out.z[row] = x, y, z
    out.left[row], out.total[row], out.time[row] = left, total, time
    out.log_width[row], out.noise[row] = log_width, noise


@kernel
def choose_neutrals(
    particles: Neutrals, is_gone: NDArray[np.bool_], offsets: NDArray[np.int64], with_hadrons: bool, surfaces: Floats,
    rows: NDArray[np.int32], row_offsets: NDArray[np.int64],
) -> None:  # fmt: skip
    """Find the neutral particles that may reach the calorimeter.

    Passes without branches over the rows of an event: of ten rows per track in the record of a pp event two are neutral
    and final, and half a one points at the barrel.

    Parameters
    ----------
    particles : Neutrals
        The generator record.
    is_gone : (n_particles,) bool
        Particles that something in front of the calorimeter took away; empty if there are none.
    offsets : (n_events + 1,) int64
        Rows of the events.
    with_hadrons : bool
        Whether neutral hadrons count, or only photons.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    rows : (n_particles,) int32
        Out: the chosen rows.
    row_offsets : (n_events + 1,) int64
        Out: those of the events among `rows`.
    """
    n, most = 0, 0
    for event in range(len(offsets) - 1):
        most = max(most, offsets[event + 1] - offsets[event])
    is_neutral = np.empty(most, np.uint8)
    for event in range(len(offsets) - 1):
        row_offsets[event] = n
        first, last, n_neutral = offsets[event], offsets[event + 1], n
        # over views from 0 on: LLVM makes vector instructions of it
        status, code = particles.status[first:last], particles.pdg[first:last]
        for i in range(len(code)):
            is_neutral[i] = (status[i] == 1) & ((code[i] == PHOTON) | (with_hadrons & _is_neutral_hadron(code[i])))
        for i in range(len(code)):
            rows[n_neutral] = first + i
            n_neutral += is_neutral[i]
        for j in range(n, n_neutral):
            i = rows[j]
            px, py, x, y = particles.px[i], particles.py[i], particles.vx[i], particles.vy[i]
            across2 = px * px + py * py
            rows[n] = i
            # a photon along the beam has no azimuth and reaches no surface
            n += may_hit(abs(x) + abs(y), particles.vz[i], across2, particles.pz[i], 0.0, surfaces) & (across2 > 0.0)
        if len(is_gone) > 0:
            n_left = row_offsets[event]
            for j in range(row_offsets[event], n):
                rows[n_left], n_left = rows[j], n_left + (not is_gone[rows[j]])
            n = n_left
    row_offsets[len(offsets) - 1] = n


@inline
def _is_neutral_hadron(code: int) -> bool:
    """Whether a neutral hadron lives long enough to reach a calorimeter: n, K0, Lambda, Xi0."""
    size = abs(code)
    return (size == 2112) | (code == 130) | (code == 310) | (size == 3122) | (size == 3322)


@inline
def _deposit_neutrals(
    particles: Neutrals, rows: NDArray[np.int32], begin: int, end: int, first: int, collision_time: float,
    event_key: np.uint64, key: np.uint64, surfaces: Floats, response: Response, out: Deposits, n: int,
) -> int:  # fmt: skip
    """Deposits of the chosen neutral particles of one event, from row `n` on; returns the next free row."""
    ionisation, widths = response.ionisation, response.widths
    depth, shares = response.hadrons.interaction_lengths, response.hadrons.shares
    for j in range(begin, end):
        i = rows[j]
        px, py, code = particles.px[i], particles.py[i], particles.pdg[i]
        inverse_pt = 1.0 / math.sqrt(px * px + py * py)
        hit, path, x, y, z = first_hit(
            particles.vx[i], particles.vy[i], particles.vz[i], px * inverse_pt, py * inverse_pt,
            particles.pz[i] * inverse_pt, 0.0, surfaces,
        )  # fmt: skip
        if hit < 0:
            continue
        total, index, mass, time = particles.energy[i], i - first, 0.0, particles.vt[i] + collision_time
        kind, left, origin = ELECTROMAGNETIC, total, _PHOTON
        if code != PHOTON:
            mass, origin = particles.mass[i], _NEUTRAL_HADRON
            kind, left = _energy_left(total, mass, 0.0, code, key, event_key, index, ionisation, depth, shares)
            if kind < 0:
                continue
        noise, swing = normals(key, event_key, index, SLOT_NOISE_WIDTH)
        time += path / (_beta(mass, total) * C_LIGHT)
        _write(out, n, index, origin, hit, x, y, z, left, total, time, widths[kind, 0] + widths[kind, 1] * swing, noise)
        n += 1
    return n


@inline
def _beta(mass: float, total: float) -> float:
    """Velocity in units of c."""
    return math.sqrt(max(1.0 - (mass / total) ** 2, 1e-12))


@kernel
def make_deposits(
    neutrals: Neutrals, neutral_offsets: NDArray[np.int64], chosen: NDArray[np.int32],
    chosen_offsets: NDArray[np.int64], charged: Charged, charged_offsets: NDArray[np.int64], collision_time: Floats,
    event_key: NDArray[np.uint64], key: np.uint64, bz: float, surfaces: Floats, response: Response, deposits: Deposits,
    offsets: NDArray[np.int64], surface: NDArray[np.int8], deposit_of: NDArray[np.int64],
) -> None:  # fmt: skip
    """Send all particles to the calorimeter.

    The energy left by ionisation is z^2 times a variable with the distribution of J. E. Moyal (Phil. Mag. 46 (1955)
    263), of which -ln(g^2) is a sample if g is a standard normal number, and at most the kinetic energy: a slow
    particle stops. Photons and electrons leave all their energy, hadrons that interact what
    `flashdet.stages.emcal.showers.hadronic_energy` says and the ionisation on the way to it.

    Parameters
    ----------
    neutrals : Neutrals
        The generator record.
    neutral_offsets, charged_offsets : (n_events + 1,) int64
        Rows of the events.
    chosen, chosen_offsets : (n_chosen,) int32 and (n_events + 1,) int64
        From `choose_neutrals`.
    charged : Charged
        Charged particles.
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
    ionisation, widths = response.ionisation, response.widths
    depth, shares = response.hadrons.interaction_lengths, response.hadrons.shares
    for event in range(len(event_key)):
        n = _deposit_neutrals(
            neutrals, chosen, chosen_offsets[event], chosen_offsets[event + 1], neutral_offsets[event],
            collision_time[event], event_key[event], key, surfaces, response, deposits, n,
        )  # fmt: skip
        for i in range(charged_offsets[event], charged_offsets[event + 1]):
            surface[i], deposit_of[i] = -1, -1
            tgl, charge, pt = charged.tgl[i], float(charged.charge[i]), charged.pt[i]
            x, y, z, k = charged.vx[i], charged.vy[i], charged.vz[i], curvature(charge / pt, bz)
            if not may_hit(abs(x) + abs(y), z, 1.0, tgl, k, surfaces):
                continue
            phi = charged.phi[i]
            hit, path, x, y, z = first_hit(x, y, z, math.cos(phi), math.sin(phi), tgl, k, surfaces)
            if hit < 0:
                continue
            mass, species, index = charged.mass[i], charged.species[i], charged.particle_index[i]
            total = math.sqrt(pt * pt * (1.0 + tgl * tgl) + mass * mass)
            charge2, pdg = 0.0 if species == ELECTRON else charge * charge, charged.pdg[i] if species > MUON else 0
            kind, left = _energy_left(
                total, mass, charge2, pdg, key, event_key[event], index, ionisation, depth, shares
            )  # fmt: skip
            noise, swing = normals(key, event_key[event], index, SLOT_NOISE_WIDTH)
            time, width = (
                charged.vt[i] + path / (_beta(mass, total) * C_LIGHT),
                widths[kind, 0] + widths[kind, 1] * swing,
            )
            _write(deposits, n, index, _CHARGED, hit, x, y, z, left, total, time, width, noise)
            surface[i], deposit_of[i] = hit, n
            n += 1
        offsets[event + 1] = n
