"""Muon identification behind an absorber, from first principles: maps of the probability of a tag.

Range of muons in iron, multiple scattering within a match window, decays in flight of pions and kaons with their
two-body kinematics, and hadrons that get through are integrated once into maps over |eta| and momentum, which
:mod:`flashdet.stages.muon.stage` looks up like those of a full simulation. Energy loss and scattering in iron are in
:mod:`flashdet.lut.iron`, cross sections in :mod:`flashdet.lut.hadrons`.
Not included: chambers as such, and particles that go through gaps of the absorber (the few per cent of muons below
threshold that full simulations have).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.lut.axis import Axis
from flashdet.lut.hadrons import interaction_lengths
from flashdet.lut.iron import iron_range, momentum_left, scattering_size
from flashdet.lut.table import Map
from flashdet.species import SPECIES, SPECIES_MASS

Floats = NDArray[np.float64]

_MUON_MASS, _PION_MASS, _KAON_MASS, _PROTON_MASS = (SPECIES_MASS[i] for i in (1, 2, 3, 4))
#: Mean decay lengths c tau [cm] and branching fractions into mu nu (PDG 2024).
_C_TAU = {"pion": 780.45, "kaon": 371.1}
_TO_MUON = {"pion": 0.99988, "kaon": 0.6356}
#: Grids: momenta of muons within the integrals, places of a decay, decay angles, steps of the way, azimuths.
_N_MUON, _N_PLACE, _N_ANGLE, _N_STEP, _N_AZIMUTH = 160, 12, 24, 20, 4
_P_MUON_LOW, _P_MUON_HIGH = 0.1, 100.0


@dataclass(frozen=True)
class Absorber:
    """An absorber around the beam with chambers behind it; lengths in cm.

    Attributes
    ----------
    abs_eta : tuple of float
        Rising |eta|, of the next two.
    iron : tuple of float
        Iron of the same energy loss on the way of a straight track, everything in front of the chambers included.
    spread : tuple of float
        Relative standard deviation of that, range straggling included.
    radius : float
        Radius where decays end because hadrons begin to interact.
    chamber_radius : float
        Radius of the chambers.
    cell : float
        Size of the chambers' cells.
    efficiency : float
        Of the chambers for muons that reach them.
    match_sigmas : float
        Half width of the match window in standard deviations of scattering and cell, in each direction.
    quasi_elastic : float
        Part of the quasi-elastic interactions after which a hadron stays within the match window.
    regeneration : float
        Mean number of hadrons from an interaction that go on like the one before, if they need no momentum for it.
    """

    abs_eta: tuple[float, ...]
    iron: tuple[float, ...]
    spread: tuple[float, ...]
    radius: float
    chamber_radius: float
    cell: float
    efficiency: float
    match_sigmas: float
    quasi_elastic: float
    regeneration: float


@inline
def decay_muon(p: float, mass: float, cosine: float) -> tuple[float, float]:
    """Muon of a decay in flight into a muon and a neutrino.

    In the rest frame the muon has p* = (m^2 - mu^2)/(2 m) and E* = (m^2 + mu^2)/(2 m); along the flight the boost gives
    gamma (p* cos + beta E*), across it p* sin.

    Parameters
    ----------
    p, mass : float
        Of the mother [GeV].
    cosine : float
        Cosine of the muon's angle in the mother's rest frame.

    Returns
    -------
    momentum : float
        [GeV]
    tangent : float
        Of the angle between muon and mother; inf if it flies backwards.
    """
    p_star = (mass * mass - _MUON_MASS * _MUON_MASS) / (2.0 * mass)
    e_star = (mass * mass + _MUON_MASS * _MUON_MASS) / (2.0 * mass)
    gamma, beta_gamma = math.sqrt(1.0 + (p / mass) ** 2), p / mass
    along = gamma * p_star * cosine + beta_gamma * e_star
    across = p_star * math.sqrt(max(1.0 - cosine * cosine, 0.0))
    return math.sqrt(along * along + across * across), across / along if along > 0.0 else np.inf


@inline
def _normal(x: float) -> float:
    """Distribution function of a standard normal number."""
    return 0.5 * math.erfc(-x * math.sqrt(0.5))


@inline
def window_share(offset: float, sigma: float, window: float) -> float:
    """Part of a two-dimensional Gaussian around a point at distance `offset` that lies in the square |x|, |y| < window.

    Averaged over the azimuth of the offset.
    """
    total = 0.0
    for k in range(_N_AZIMUTH):
        # within a quarter turn: the square looks the same from all quarters
        angle = 0.5 * math.pi * (k + 0.5) / _N_AZIMUTH
        x, y = offset * math.cos(angle), offset * math.sin(angle)
        in_x = _normal((window - x) / sigma) - _normal((-window - x) / sigma)
        total += in_x * (_normal((window - y) / sigma) - _normal((-window - y) / sigma))
    return total / _N_AZIMUTH


@kernel
def _decay_tags(
    p: float, mass: float, c_tau: float, cosh_eta: float, radius: float, chamber: float, muon_p: Floats,
    passing: Floats, size: Floats, cell2: float, window: float,
) -> tuple[float, float]:  # fmt: skip
    """Probability to decay in front of the absorber, and to decay there into a muon that is tagged.

    Equal shares of the decay probability along the path, and equal steps of the cosine in the rest frame; `passing` and
    `size` are tabulated over the logarithm of the muon's momentum.
    """
    length = p / mass * c_tau
    total = 1.0 - math.exp(-radius * cosh_eta / length)
    tagged = 0.0
    per_log = (len(muon_p) - 1) / math.log(muon_p[-1] / muon_p[0])
    for i in range(_N_PLACE):
        path = -length * math.log(1.0 - total * (i + 0.5) / _N_PLACE)
        for j in range(_N_ANGLE):
            momentum, tangent = decay_muon(p, mass, (2.0 * j + 1.0) / _N_ANGLE - 1.0)
            at = min(max(math.log(momentum / muon_p[0]) * per_log, 0.0), len(muon_p) - 1.000001)
            k = int(at)
            t = at - k
            chance = passing[k] + t * (passing[k + 1] - passing[k])
            if chance < 1e-6 or not tangent < 10.0:
                continue
            sigma = math.sqrt((size[k] + t * (size[k + 1] - size[k])) ** 2 + cell2)
            tagged += chance * window_share(tangent * (chamber * cosh_eta - path), sigma, window)
    return total, total * tagged / (_N_PLACE * _N_ANGLE)


def _passing(ranges: Floats, iron: float, spread: float) -> Floats:
    """Probability that particles of these ranges [cm] come through: Gaussian straggling."""
    sigma = spread * iron
    return np.array([_normal((r - iron) / sigma) for r in ranges])


def interactions(absorber: Absorber, species: str, sign: int, iron: float, momentum: Floats) -> Floats:
    """Mean number of interactions on the way through iron that take a hadron away, energy loss included.

    Parameters
    ----------
    absorber : Absorber
        Its `quasi_elastic` is used.
    species, sign, momentum
        As in `flashdet.lut.hadrons.interaction_lengths`.
    iron : float
        [cm]

    Returns
    -------
    (n,) float64
        For particles that stop, with the cross sections at the lowest momentum from there on.
    """
    mass = {"pion": _PION_MASS, "kaon": _KAON_MASS, "proton": _PROTON_MASS}[species]
    number = np.zeros_like(momentum)
    for k in range(_N_STEP):
        p = momentum_left(momentum, mass, (k + 0.5) / _N_STEP * iron)
        inelastic, production = interaction_lengths(species, sign, p)
        number += (absorber.quasi_elastic / production + (1.0 - absorber.quasi_elastic) / inelastic) * iron / _N_STEP
    return number


def punch_through(absorber: Absorber, species: str, iron: float, momentum: Floats) -> Floats:
    """Part of the hadrons that get through, themselves or by a hadron from an interaction.

    After n interactions on average it is exp(-n (1 - r)): each leaves on average r hadrons that go on as the first did.
    Their momenta are spread evenly up to that of the first one, and they need that of a pion with the range of the
    absorber, so r is `regeneration` times 1 - p_range/p. Averaged over both charges.

    Parameters
    ----------
    absorber : Absorber
    species : {"pion", "kaon", "proton"}
        Kind.
    iron : float
        [cm]
    momentum : (n,) float64
        [GeV]

    Returns
    -------
    (n,) float64
        Whether they stop for their own loss of energy is not part of it.
    """
    grid = np.geomspace(0.1, 10.0, 400)
    needed = float(np.interp(iron, iron_range(_PION_MASS, grid), grid))
    left = absorber.regeneration * np.maximum(1.0 - needed / momentum, 0.0)
    numbers = [interactions(absorber, species, sign, iron, momentum) for sign in (1, -1)]
    return np.asarray(np.mean([np.exp(-n * (1.0 - left)) for n in numbers], axis=0))


class _Way(NamedTuple):
    """Muons on their way at one |eta|: what gets through and scatters, over momentum, and the windows of the tracks."""

    momentum: Floats
    passing: Floats
    size: Floats
    window: Floats


def _decay_rates(absorber: Absorber, species: str, mass: float, abs_eta: float, momentum: Floats, way: _Way) -> Floats:
    """(n, 2) probability to decay in front of the absorber, and to decay there into a muon that is tagged."""
    return np.array(
        [
            _decay_tags(
                float(p), mass, _C_TAU[species], math.cosh(abs_eta), absorber.radius, absorber.chamber_radius,
                way.momentum, way.passing, way.size, absorber.cell**2 / 12.0, float(w),
            )
            for p, w in zip(momentum, way.window, strict=True)
        ]
    )  # fmt: skip


def tag_probabilities(absorber: Absorber, abs_eta: float, momentum: Floats) -> dict[str, Floats]:
    """Probability of a tag of muons, pions, kaons and protons at one |eta|.

    Parameters
    ----------
    absorber : Absorber
    abs_eta : float
    momentum : (n,) float64
        Momenta [GeV].

    Returns
    -------
    dict of str to (n,) float64
    """
    iron = float(np.interp(abs_eta, absorber.abs_eta, absorber.iron))
    spread = float(np.interp(abs_eta, absorber.abs_eta, absorber.spread))
    lever = (absorber.chamber_radius - absorber.radius) * math.cosh(abs_eta)
    cell = absorber.cell / math.sqrt(12.0)
    muon_p = np.geomspace(_P_MUON_LOW, _P_MUON_HIGH, _N_MUON)
    # what a track is expected to scatter if it is a muon sets the window
    scattered = np.hypot(scattering_size(momentum, _MUON_MASS, iron, lever), cell)
    window = absorber.match_sigmas * scattered
    share = np.array([window_share(0.0, float(s), float(w)) for s, w in zip(scattered, window, strict=True)])
    way = _Way(
        muon_p,
        _passing(iron_range(_MUON_MASS, muon_p), iron, spread),
        scattering_size(muon_p, _MUON_MASS, iron, lever),
        window,
    )
    tags = {"muon": absorber.efficiency * share * _passing(iron_range(_MUON_MASS, momentum), iron, spread)}
    for species, mass in (("pion", _PION_MASS), ("kaon", _KAON_MASS), ("proton", _PROTON_MASS)):
        stays = _passing(iron_range(mass, momentum), iron, spread)
        alone = absorber.efficiency * share * stays * punch_through(absorber, species, iron, momentum)
        if species in _C_TAU:
            rates = _decay_rates(absorber, species, mass, abs_eta, momentum, way)
            alone = alone * (1.0 - rates[:, 0]) + absorber.efficiency * _TO_MUON[species] * rates[:, 1]
        tags[species] = alone
    return tags


def build_absorber_maps(absorber: Absorber) -> dict[str, Map]:
    """Build the maps of electron, muon, pion, kaon and proton.

    Parameters
    ----------
    absorber : Absorber

    Returns
    -------
    dict of str to Map
        By species; axes ``abs_eta`` (outside: rejected) and ``p`` [GeV] (logarithmic; outside: clamped), both
        interpolated. Electrons are never tagged.
    """
    n_eta = max(2, round(absorber.abs_eta[-1] / 0.1) + 1)
    half = 0.5 * absorber.abs_eta[-1] / (n_eta - 1)
    eta_axis = Axis("abs_eta", "", n_eta, -half, absorber.abs_eta[-1] + half, out_of_range="reject")
    p_axis = Axis("p", "GeV", 90, 0.5, 50.0, "log")
    columns = [tag_probabilities(absorber, max(float(eta), 0.0), p_axis.centers) for eta in eta_axis.centers]
    maps = {}
    for species in SPECIES[:5]:
        values = np.zeros((n_eta, p_axis.n_bins)) if species == "electron" else np.stack([c[species] for c in columns])
        meta = {"source": "absorber model", "species": species, "builder": "flashdet.lut.absorber.build_absorber_maps"}
        maps[species] = Map(
            f"probability of a muon tag for a {species}", "", (eta_axis, p_axis), np.ascontiguousarray(values), meta
        )
    return maps
