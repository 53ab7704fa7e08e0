"""Muon identification behind an absorber, from first principles: maps of the probability of a tag.

Range of muons in iron, multiple scattering within a match window, decays in flight of pions and kaons with their
two-body kinematics, and punch-through are integrated once into maps over |eta| and momentum, which
:mod:`flashdet.stages.muon` looks up like those of a full simulation. Not included: chambers as such, and particles that
go through gaps of the absorber (the few per cent of muons below threshold that full simulations have).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.lut.axis import Axis
from flashdet.lut.table import Map
from flashdet.species import ELECTRON_MASS, SPECIES, SPECIES_MASS

Floats = NDArray[np.float64]

#: Iron (PDG 2024, atomic and nuclear properties): density, radiation length [cm], <Z/A>, mean excitation energy [GeV].
_DENSITY, _X0, _Z_OVER_A, _I = 7.874, 1.757, 0.46557, 286.0e-9
#: Density effect of iron: C, x0, x1, a, k, delta0 of Sternheimer, Berger, Seltzer, ADNDT 30 (1984) 261.
_C, _LOW, _HIGH, _A, _EXPONENT, _DELTA0 = 4.2911, -0.0012, 3.1531, 0.14680, 2.9632, 0.12
#: K = 4 pi N_A r_e^2 m_e c^2 (PDG review, passage of particles through matter) [GeV cm2/mol].
_K = 0.307075e-3
_MUON_MASS, _PION_MASS, _KAON_MASS, _PROTON_MASS = (SPECIES_MASS[i] for i in (1, 2, 3, 4))
#: Mean decay lengths c tau [cm] and branching fractions into mu nu (PDG 2024).
_C_TAU = {"pion": 780.45, "kaon": 371.1}
_TO_MUON = {"pion": 0.99988, "kaon": 0.6356}
#: Momentum at which the attenuation of hadrons is given [GeV].
_P_REFERENCE = 3.0
#: Grids: momenta of muons within the integrals, places of a decay, decay angles, steps of scattering, azimuths.
_N_MUON, _N_PLACE, _N_ANGLE, _N_STEP, _N_AZIMUTH = 160, 12, 24, 40, 4
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
    attenuation : float
        Length of iron by which the number of hadrons that are tagged falls by e at 3 GeV/c.
    attenuation_growth : float
        Power of p with which that length grows.
    """

    abs_eta: tuple[float, ...]
    iron: tuple[float, ...]
    spread: tuple[float, ...]
    radius: float
    chamber_radius: float
    cell: float
    efficiency: float
    match_sigmas: float
    attenuation: float
    attenuation_growth: float


@kernel
def iron_loss(beta_gamma: float, mass: float) -> float:
    """Mean ionisation loss of charge 1 in iron (Bethe formula, PDG review eq. 34.5) [GeV/cm].

    Radiation is left out: 2 % of the loss of a muon of 10 GeV (Groom, Mokhov, Striganov, ADNDT 78 (2001) 183).
    """
    bg2 = beta_gamma * beta_gamma
    beta2 = bg2 / (1.0 + bg2)
    ratio = ELECTRON_MASS / mass
    t_max = 2.0 * ELECTRON_MASS * bg2 / (1.0 + 2.0 * math.sqrt(1.0 + bg2) * ratio + ratio * ratio)
    x = math.log10(beta_gamma)
    if x >= _HIGH:
        delta = 2.0 * math.log(10.0) * x - _C
    elif x >= _LOW:
        delta = 2.0 * math.log(10.0) * x - _C + _A * (_HIGH - x) ** _EXPONENT
    else:
        delta = _DELTA0 * 10.0 ** (2.0 * (x - _LOW))
    bracket = 0.5 * math.log(2.0 * ELECTRON_MASS * bg2 * t_max / (_I * _I)) - beta2 - 0.5 * delta
    return _DENSITY * _K * _Z_OVER_A / beta2 * bracket


def iron_range(mass: float, momentum: Floats) -> Floats:
    """Range in iron in the continuous-slowing-down approximation.

    Parameters
    ----------
    mass : float
        Mass of a particle of charge 1 [GeV].
    momentum : (n,) float64
        Momenta [GeV] up to 500 masses.

    Returns
    -------
    (n,) float64
        Ranges [cm]; what lies below beta gamma 0.1 (30 um of iron for muons) is left out.
    """
    beta_gamma = np.geomspace(0.1, 1000.0, 4001)
    loss = np.array([iron_loss(float(b), mass) for b in beta_gamma])
    # dT = m beta d(beta gamma)
    integrand = mass * beta_gamma / np.sqrt(1.0 + beta_gamma**2) / loss
    steps = 0.5 * (integrand[1:] + integrand[:-1]) * np.diff(beta_gamma)
    total = np.concatenate([[0.0], np.cumsum(steps)])
    return np.asarray(np.interp(momentum / mass, beta_gamma, total))


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


def scattering_size(momentum: Floats, mass: float, iron: float, lever: float) -> Floats:
    """Standard deviation per direction of the place at the chambers from scattering in the absorber.

    The iron is spread evenly over the lever arm; in each step the variance of the angle is that of Highland's formula
    without its logarithm (PDG review, passage of particles through matter) at the momentum left there.

    Parameters
    ----------
    momentum : (n,) float64
        Momenta in front [GeV].
    mass : float
        Mass [GeV].
    iron : float
        Length of iron [cm].
    lever : float
        Distance from the front of the absorber to the chambers [cm].

    Returns
    -------
    (n,) float64
        [cm]; for particles that stop, what they collect until they have 50 MeV/c.
    """
    grid = np.geomspace(0.05, 200.0, 2000)
    ranges = iron_range(mass, grid)
    before = np.interp(momentum, grid, ranges)
    variance = np.zeros_like(momentum)
    for k in range(_N_STEP):
        part = (k + 0.5) / _N_STEP
        p = np.interp(before - part * iron, ranges, grid)
        beta = p / np.hypot(p, mass)
        variance += (lever * (1.0 - part) * 0.0136 / (beta * p)) ** 2 * iron / _N_STEP / _X0
    return np.asarray(np.sqrt(variance))


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
    cosh_eta = math.cosh(abs_eta)
    lever = (absorber.chamber_radius - absorber.radius) * cosh_eta
    cell2 = absorber.cell**2 / 12.0
    muon_p = np.geomspace(_P_MUON_LOW, _P_MUON_HIGH, _N_MUON)
    passing = _passing(iron_range(_MUON_MASS, muon_p), iron, spread)
    size = scattering_size(muon_p, _MUON_MASS, iron, lever)
    # what a track is expected to scatter if it is a muon sets the window
    expected = scattering_size(momentum, _MUON_MASS, iron, lever)
    window = absorber.match_sigmas * np.sqrt(expected**2 + cell2)
    share = np.array(
        [window_share(0.0, math.hypot(s, math.sqrt(cell2)), w) for s, w in zip(expected, window, strict=True)]
    )
    tags = {"muon": absorber.efficiency * share * _passing(iron_range(_MUON_MASS, momentum), iron, spread)}
    through = np.exp(-iron / (absorber.attenuation * (momentum / _P_REFERENCE) ** absorber.attenuation_growth))
    for species, mass in (("pion", _PION_MASS), ("kaon", _KAON_MASS), ("proton", _PROTON_MASS)):
        alone = absorber.efficiency * through * _passing(iron_range(mass, momentum), iron, spread)
        if species not in _C_TAU:
            tags[species] = alone
            continue
        rates = np.array(
            [
                _decay_tags(
                    float(p), mass, _C_TAU[species], cosh_eta, absorber.radius, absorber.chamber_radius, muon_p,
                    passing, size, cell2, float(w),
                )
                for p, w in zip(momentum, window, strict=True)
            ]
        )  # fmt: skip
        tags[species] = alone * (1.0 - rates[:, 0]) + absorber.efficiency * _TO_MUON[species] * rates[:, 1]
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
