"""Energy that particles leave in a calorimeter, particle by particle.

Kernels of :mod:`.stage`. Which particles may arrive is found in :mod:`.candidates`, where they enter in
:mod:`.front`, how much energy hadrons leave in :mod:`.showers`; how deposits merge in :mod:`.merging`, and what is
measured of them in :mod:`.clusters`.

Particles go through in blocks, step by step, in loops of few numbers each that become vector instructions: half the
time of one particle after the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine, log
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.noise import normal_rows, uniform_pair_rows
from flashdet.species import SPECIES
from flashdet.stages.emcal.candidates import PHOTON, Charged, Chosen
from flashdet.stages.emcal.front import (
    ARC,
    BLOCK,
    COSINE,
    CURVATURE,
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
)
from flashdet.stages.emcal.showers import Hadrons, available_energy, hadronic_energy
from flashdet.stages.neutrals import Neutrals
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]

ELECTRON, MUON = SPECIES.index("electron"), SPECIES.index("muon")
#: Slots of the random numbers of a particle: noise and width, place, ionisation and clock, hadronic shower.
SLOT_NOISE_WIDTH, SLOT_POSITION, SLOT_IONISATION_TIME, _SLOT_SHOWER = range(4)
#: What a deposit comes from; also the order of the counters of lost clusters.
_PHOTON, _CHARGED, _NEUTRAL_HADRON = range(3)
#: Kinds of deposits, rows of `Response.widths`.
ELECTROMAGNETIC, IONISATION, HADRONIC = range(3)
#: Columns of `Deposits.numbers`.
X, Y, Z, LEFT, TOTAL, TIME, LOG_WIDTH, NOISE = range(8)
#: Where more quantities of particles start in the array of a block, see `flashdet.stages.emcal.front`: momentum px and
#: py of neutral particles, azimuth, pt and charge of charged ones; energy, mass, time of the production and later of
#: the arrival. Then those of its hadrons and muons, one after the other: logarithm of the squared number that stands
#: for the ionisation, place of the interaction, energy of a shower and its logarithm.
_PX, _PY, _AZIMUTH, _PT, _CHARGE, _TOTAL, _MASS, _TIME, _LEFT, _LOSS, _START, _AVAILABLE, _LOG_AVAILABLE = (
    np.uint64((N_WAY + i) * BLOCK) for i in range(13)
)
N_WORK = N_WAY + 13


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
    """Energy left by particles; merging turns the leading one of each cluster into the whole cluster.

    A row of what may arrive and does not has the surface -1 and no other value. The numbers of a deposit lie in one
    line of the cache: place [cm], energy left, energy of the particles [GeV], time [ns], logarithm of the width [cm],
    noise of the energy in standard deviations.
    """

    particle_index: NDArray[np.int32]
    n_particles: NDArray[np.int32]
    origin: NDArray[np.int8]
    surface: NDArray[np.int8]
    numbers: Floats


class Work(NamedTuple):
    """Scratch space of a block of particles, and of those among them that ionise or may make a hadronic shower."""

    way: Floats
    possible: Rows
    key: NDArray[np.uint64]
    place: Rows
    slot: Rows
    pdg: Rows
    kind: Rows
    noise: Floats
    swing: Floats
    bits: NDArray[np.uint64]
    member: Rows
    member_key: NDArray[np.uint64]
    member_place: Rows
    first: Floats
    second: Floats


def empty_deposits(n: int) -> Deposits:
    """Memory for `n` deposits."""
    (index, n_particles), (origin, surface) = np.empty((2, n), np.int32), np.empty((2, n), np.int8)
    return Deposits(index, n_particles, origin, surface, np.empty((n, 8)))


def make_work() -> Work:
    """Scratch space for one thread."""
    whole, words, numbers = np.empty((6, BLOCK), np.int64), np.empty((4, BLOCK), np.uint64), np.empty((4, BLOCK))
    possible, place, slot, pdg, kind, member = whole
    return Work(
        np.empty(N_WORK * BLOCK), possible, words[0], place, slot, pdg, kind, numbers[0], numbers[1], words[2:],
        member, words[1], np.empty(BLOCK, np.int64), numbers[2], numbers[3],
    )  # fmt: skip


# --- kernels ---------------------------------------------------------------------------------------------------------
@bare_kernel
def make_deposits(
    neutrals: Neutrals, neutral_offsets: Rows, chosen: Chosen, charged: Charged, chosen_charged: Chosen, ends: Floats,
    collision_time: Floats, event_key: NDArray[np.uint64], key: np.uint64, bz: float, surfaces: Floats,
    response: Response, work: Work, deposits: Deposits, offsets: Rows,
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
    neutral_offsets : (n_events + 1,) int64
        Its rows of the events.
    chosen, chosen_charged : Chosen
        Rows from `flashdet.stages.emcal.candidates`.
    charged : Charged
        Charged particles.
    ends : (n_charged,) or (0,) float64
        Paths after which they are gone [cm], NaN for never; empty: all stay.
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
    work : Work
        Scratch space.
    deposits : Deposits
        Out: a row for each that was chosen, neutrals first in each event.
    offsets : (n_events + 1,) int64
        Out: rows of the events in `deposits`.
    """
    n_events = len(event_key)
    for event in range(n_events + 1):
        offsets[event] = chosen.offsets[event] + chosen_charged.offsets[event]
    event = 0
    for start in range(0, chosen.offsets[n_events], BLOCK):
        n = min(BLOCK, chosen.offsets[n_events] - start)
        for k in range(n):
            while start + k >= chosen.offsets[event + 1]:
                event += 1
            work.key[k], work.slot[k] = event_key[event], start + k + chosen_charged.offsets[event]
            _load_neutral(k, neutrals, chosen.rows[start + k], neutral_offsets[event], collision_time[event], work)
        _set_direction(n, work.way)
        cross(n, work.way, True, surfaces)
        _respond(n, False, key, response, work, deposits)
    event = 0
    for start in range(0, chosen_charged.offsets[n_events], BLOCK):
        n = min(BLOCK, chosen_charged.offsets[n_events] - start)
        for k in range(n):
            while start + k >= chosen_charged.offsets[event + 1]:
                event += 1
            work.key[k], work.slot[k] = event_key[event], start + k + chosen.offsets[event + 1]
            _load_charged(k, charged, chosen_charged.rows[start + k], work)
        _set_circle(n, bz, work.way)
        cross(n, work.way, bz == 0.0, surfaces)
        if len(ends) > 0:
            _end(n, chosen_charged.rows[start : start + n], ends, work.way)
        _respond(n, True, key, response, work, deposits)


@inline
def _load_neutral(k: int, neutrals: Neutrals, i: int, first: int, collision_time: float, work: Work) -> None:
    """Put a neutral particle into place k of the block; `first` is the first row of its event."""
    way, j, code = work.way, np.uint64(k), neutrals.pdg[i]
    way[FROM_X + j], way[FROM_Y + j], way[FROM_Z + j] = neutrals.vx[i], neutrals.vy[i], neutrals.vz[i]
    way[_PX + j], way[_PY + j], way[SLOPE + j] = neutrals.px[i], neutrals.py[i], neutrals.pz[i]
    way[_TOTAL + j], way[_TIME + j], way[_CHARGE + j] = neutrals.energy[i], neutrals.vt[i] + collision_time, 0.0
    work.place[k] = i - first
    # the column of masses is only read for hadrons
    way[_MASS + j], work.pdg[k] = 0.0 if code == PHOTON else neutrals.mass[i], code


@inline
def _load_charged(k: int, charged: Charged, i: int, work: Work) -> None:
    """Put a charged particle into place k of the block."""
    way, j, species = work.way, np.uint64(k), charged.species[i]
    way[FROM_X + j], way[FROM_Y + j], way[FROM_Z + j] = charged.vx[i], charged.vy[i], charged.vz[i]
    way[_AZIMUTH + j], way[SLOPE + j], way[_PT + j] = charged.phi[i], charged.tgl[i], charged.pt[i]
    way[_CHARGE + j], way[_MASS + j], way[_TIME + j] = float(charged.charge[i]), charged.mass[i], charged.vt[i]
    work.place[k] = charged.particle_index[i]
    # electrons leave their energy as photons do, muons make no shower
    work.pdg[k] = charged.pdg[i] if species > MUON else (0 if species == MUON else PHOTON)


@bare_kernel
def _set_direction(n: int, way: Floats) -> None:
    """Direction and slope of a block of neutral particles from their momenta."""
    for j in range(np.uint64(n)):
        px, py = way[_PX + j], way[_PY + j]
        inverse = 1.0 / math.sqrt(px * px + py * py)
        way[COSINE + j], way[SINE + j], way[SLOPE + j] = px * inverse, py * inverse, way[SLOPE + j] * inverse
        way[CURVATURE + j] = 0.0


@bare_kernel
def _set_circle(n: int, bz: float, way: Floats) -> None:
    """Direction, curvature and energy of a block of charged particles."""
    for j in range(np.uint64(n)):
        way[COSINE + j], way[SINE + j] = cosine_and_sine(way[_AZIMUTH + j])
    for j in range(np.uint64(n)):
        pt, slope, mass = way[_PT + j], way[SLOPE + j], way[_MASS + j]
        way[CURVATURE + j] = curvature(way[_CHARGE + j] / pt, bz)
        way[_TOTAL + j] = math.sqrt(pt * pt * (1.0 + slope * slope) + mass * mass)


@bare_kernel
def _end(n: int, rows: NDArray[np.int32], ends: Floats, way: Floats) -> None:
    """Take away what ended before it got to the calorimeter, which may itself be the end."""
    for k in range(n):
        j = np.uint64(k)
        path = way[ARC + j] * math.sqrt(1.0 + way[SLOPE + j] * way[SLOPE + j])
        if path * (1.0 - 1e-9) > ends[rows[k]]:
            way[SURFACE + j] = -1.0


@bare_kernel
def _respond(n: int, is_charged: bool, key: np.uint64, response: Response, work: Work, deposits: Deposits) -> None:
    """Energy left by a block of particles that were followed to the surface, as rows of `deposits`."""
    way = work.way
    for j in range(np.uint64(n)):
        mass, total, slope = way[_MASS + j], way[_TOTAL + j], way[SLOPE + j]
        beta = math.sqrt(max(1.0 - (mass / total) ** 2, 1e-12))
        way[_TIME + j] += way[ARC + j] * math.sqrt(1.0 + slope * slope) / (beta * C_LIGHT)
        way[_LEFT + j] = total
    for k in range(n):
        work.kind[k] = ELECTROMAGNETIC
    normal_rows(key, work.key, work.place, SLOT_NOISE_WIDTH, n, work.bits, work.noise, work.swing)
    _leave_by_hadrons(n, is_charged, key, response, work)
    widths = response.widths
    for k in range(n):
        row, at, kind = work.slot[k], np.uint64(k), work.kind[k]
        hit = int(way[SURFACE + at])
        if hit < 0 or kind < 0:
            deposits.surface[row] = -1
            continue
        deposits.particle_index[row], deposits.n_particles[row], deposits.surface[row] = work.place[k], 1, hit
        deposits.origin[row] = _CHARGED if is_charged else (_PHOTON if work.pdg[k] == PHOTON else _NEUTRAL_HADRON)
        numbers = deposits.numbers[row]
        numbers[X], numbers[Y], numbers[Z] = way[HIT_X + at], way[HIT_Y + at], way[HIT_Z + at]
        numbers[LEFT], numbers[TOTAL], numbers[TIME] = way[_LEFT + at], way[_TOTAL + at], way[_TIME + at]
        numbers[LOG_WIDTH], numbers[NOISE] = widths[kind, 0] + widths[kind, 1] * work.swing[k], work.noise[k]


@bare_kernel
def _leave_by_hadrons(n: int, is_charged: bool, key: np.uint64, response: Response, work: Work) -> None:
    """Kind and energy of the deposits of hadrons and muons of a block; kind -1 if there is none."""
    way, m, depth = work.way, 0, response.hadrons.interaction_lengths
    for k in range(n):
        j, pdg = np.uint64(k), work.pdg[k]
        work.member[m], work.member_key[m], work.member_place[m] = k, work.key[k], work.place[k]
        available = available_energy(way[_TOTAL + j], way[_MASS + j], pdg)
        way[_AVAILABLE + np.uint64(m)] = available
        m += (pdg != PHOTON) & (way[SURFACE + j] >= 0.0)
    if is_charged:
        normal_rows(
            key, work.member_key, work.member_place, SLOT_IONISATION_TIME, m, work.bits, work.first, work.second
        )
        for i in range(m):
            way[_LOSS + np.uint64(i)] = log(work.first[i] * work.first[i])
    if depth > 0.0:
        uniform_pair_rows(key, work.member_key, work.member_place, _SLOT_SHOWER, m, work.first, work.second)
        for i in range(m):
            way[_START + np.uint64(i)] = -log(work.first[i]) / depth
        for i in range(np.uint64(m)):
            # a baryon at rest brings nothing
            way[_LOG_AVAILABLE + i] = log(max(way[_AVAILABLE + i], 1e-300))
    for k in range(m):
        at, owner = np.uint64(k), work.member[k]
        whole = np.uint64(owner)
        charge, left = way[_CHARGE + whole], 0.0
        if is_charged:
            kinetic, energy, width = (
                way[_TOTAL + whole] - way[_MASS + whole],
                response.ionisation[0],
                response.ionisation[1],
            )
            left = min(charge * charge * (energy - width * way[_LOSS + at]), kinetic)
        start = way[_START + at] if depth > 0.0 and work.pdg[owner] != 0 else 1.0
        work.kind[owner] = IONISATION if is_charged else -1
        if start < 1.0:
            available = way[_AVAILABLE + at]
            shower = hadronic_energy(
                available, way[_LOG_AVAILABLE + at], start, work.second[k], response.hadrons.shares
            )  # fmt: skip
            work.kind[owner], left = HADRONIC, min(shower + start * left, available)
        way[_LEFT + whole] = left
