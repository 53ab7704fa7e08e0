"""What particles leave in an electromagnetic calorimeter: ionisation, electromagnetic and hadronic showers.

Simple models with few numbers, for :mod:`.deposits`, which knows where the particles go. Light, cells
and leakage of electromagnetic showers are not here: they are part of the resolution in the card.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.species import SPECIES_CHARGE, SPECIES_MASS

Floats = NDArray[np.float64]

#: Mean and standard deviation of the Moyal distribution in units of its width: Euler's gamma + ln 2 and pi/sqrt(2).
MOYAL_MEAN, MOYAL_SIGMA = 1.2703628454614782, 2.221441469079183
#: Standard deviation per coordinate of an electromagnetic shower in Moliere radii, if its density falls exponentially
#: with the radius and 90 % of it lie within one Moliere radius: 90 % of r exp(-r) lie below 3.8897, the variance is 3.
LATERAL = math.sqrt(3.0) / 3.889720169867429
#: R. K. Bock, T. Hansl-Kozanecka, T. P. Shah, NIM 186 (1981) 533: dE/ds = w gamma(a_em, b_em X0) + (1 - w)
#: gamma(a_had, b_had lambda) with a = 0.6165 + 0.3183 ln E/GeV for both parts.
_A0, _A1 = 0.6165, 0.3183
_B_EM = 0.2198
_B_HAD0, _B_HAD1 = 0.9099, -0.0237
_W = 0.4634
#: Energies of the table of contained shares [GeV]. The parametrisation is used from 1 GeV on; below, as at 1 GeV.
_E_LOW, _E_HIGH, _N_ENERGY, _N_DEPTH = 1.0, 1000.0, 24, 33
_LOG_LOW = math.log(_E_LOW)
#: Rigidities of the table of mean responses [GeV].
_R_LOW, _R_HIGH, _N_RIGIDITY = 0.1, 100.0, 121
_ELECTRON, _MUON, _FIRST_HADRON = 0, 1, 2
_N_POINTS = 64


class Hadrons(NamedTuple):
    """Numbers of the hadronic response, for kernels.

    Attributes
    ----------
    interaction_lengths : float
        Depth of the calorimeter; 0: hadrons do not interact.
    shares : (n_energy, n_depth, 2) float64
        Parts of the electromagnetic and of the other energy of a shower that are seen, over log E and the depth left
        behind its start in units of the whole depth.
    """

    interaction_lengths: float
    shares: Floats


@kernel
def gamma_share(a: float, x: float) -> float:
    """Regularised lower incomplete gamma function P(a, x), to 1e-12.

    Its power series, x^a exp(-x)/Gamma(a + 1) (1 + x/(a + 1) + x^2/((a + 1)(a + 2)) + ...) (DLMF 8.11.4), which needs
    some 40 terms for the arguments of a calorimeter (x < 15).
    """
    if x <= 0.0:
        return 0.0
    term = math.exp(a * math.log(x) - x - math.lgamma(a + 1.0))
    total = term
    n = 0
    while term > 1e-13 * total and n < 1000:
        n += 1
        term *= x / (a + n)
        total += term
    return min(total, 1.0)


def make_hadrons(interaction_lengths: float, radiation_lengths: float, response: float) -> Hadrons:
    """Tabulate the longitudinal shower profile of Bock et al. (1981).

    Parameters
    ----------
    interaction_lengths, radiation_lengths : float
        Depth of the calorimeter; 0 interaction lengths turn hadronic showers off.
    response : float
        h/e: signal of a shower's other energy in units of that of electrons.

    Returns
    -------
    Hadrons
    """
    shares = np.zeros((_N_ENERGY, _N_DEPTH, 2))
    log_energy = np.linspace(math.log(_E_LOW), math.log(_E_HIGH), _N_ENERGY)
    for i, log_e in enumerate(log_energy):
        a, b_had = _A0 + _A1 * log_e, _B_HAD0 + _B_HAD1 * log_e
        for j, left in enumerate(np.linspace(0.0, 1.0, _N_DEPTH)):
            shares[i, j, 0] = gamma_share(a, _B_EM * radiation_lengths * left)
            shares[i, j, 1] = response * gamma_share(a, b_had * interaction_lengths * left)
    return Hadrons(float(interaction_lengths), shares)


@inline
def seen_shares(log_energy: float, left: float, shares: Floats) -> tuple[float, float]:
    """Parts of a shower that are seen: of its electromagnetic and of its other energy.

    Parameters
    ----------
    log_energy : float
        Logarithm of the energy of the shower [GeV].
    left : float
        Depth behind its start, from 0 to 1 of the whole depth.
    shares : (n_energy, n_depth, 2) float64
        From `make_hadrons`.

    Returns
    -------
    electromagnetic, hadronic : float
    """
    n_energy, n_depth, _ = shares.shape
    per_log = (n_energy - 1) / math.log(_E_HIGH / _E_LOW)
    at = min(max((log_energy - _LOG_LOW) * per_log, 0.0), n_energy - 1.000001)
    along = left * (n_depth - 1) * 0.999999
    i, j = int(at), int(along)
    t, s = at - i, along - j
    w00, w01, w10, w11 = (1.0 - t) * (1.0 - s), (1.0 - t) * s, t * (1.0 - s), t * s
    e = w00 * shares[i, j, 0] + w01 * shares[i, j + 1, 0] + w10 * shares[i + 1, j, 0] + w11 * shares[i + 1, j + 1, 0]
    h = w00 * shares[i, j, 1] + w01 * shares[i, j + 1, 1] + w10 * shares[i + 1, j, 1] + w11 * shares[i + 1, j + 1, 1]
    return e, h


@inline
def hadronic_energy(available: float, log_available: float, start: float, u: float, shares: Floats) -> float:
    """Energy seen of a hadronic shower.

    The electromagnetic part w of a shower fluctuates: here it is uniform from 0 to twice the mean 0.4634 of Bock et al.
    (1981), a simple assumption. The parts seen behind the start are those of their mean profile.

    Parameters
    ----------
    available, log_available : float
        Energy of the shower [GeV], and its logarithm.
    start : float
        Place of the interaction in units of the depth, below 1.
    u : float
        Uniform number.
    shares : (n_energy, n_depth, 2) float64
        From `make_hadrons`.

    Returns
    -------
    float
        [GeV]
    """
    e, h = seen_shares(log_available, 1.0 - start, shares)
    w = 2.0 * _W * u
    return available * (w * e + (1.0 - w) * h)


@inline
def available_energy(total: float, mass: float, pdg: int) -> float:
    """Energy that a hadron brings into a shower.

    A meson brings its total energy, a baryon (code above 1000) its kinetic energy, and an antibaryon its kinetic energy
    and twice its mass, because it annihilates.
    """
    return total - mass if pdg > 1000 else (total + mass if pdg < -1000 else total)


@kernel
def _mean_and_square(
    available: float, kinetic: float, charge2: float, mip: float, width: float, hadrons: Hadrons
) -> tuple[float, float]:
    """Mean and mean square of the energy left by a hadron, over the place of its interaction and the parts."""
    depth = hadrons.interaction_lengths
    through = math.exp(-depth)
    mean_mip, sigma_mip = charge2 * (mip + width * MOYAL_MEAN), charge2 * width * MOYAL_SIGMA
    if mean_mip >= kinetic:
        mean_mip, sigma_mip = kinetic, 0.0
    first, second = through * mean_mip, through * (mean_mip * mean_mip + sigma_mip * sigma_mip)
    for k in range(_N_POINTS):
        # midpoints of equal probability of the place of the interaction
        start = -math.log(1.0 - (k + 0.5) / _N_POINTS * (1.0 - through)) / depth
        e, h = seen_shares(math.log(available), 1.0 - start, hadrons.shares)
        mean = available * (_W * e + (1.0 - _W) * h) + start * mean_mip
        variance = (available * _W * (e - h)) ** 2 / 3.0 + (start * sigma_mip) ** 2
        first += (1.0 - through) / _N_POINTS * mean
        second += (1.0 - through) / _N_POINTS * (mean * mean + variance)
    return first, second


def mean_response(mip: float, width: float, hadrons: Hadrons) -> Floats:
    """Mean and standard deviation of the energy left under each hypothesis, in units of the rigidity.

    Parameters
    ----------
    mip, width : float
        Ionisation of charge 1: most probable energy and scale [GeV].
    hadrons : Hadrons
        With interactions.

    Returns
    -------
    (n_species, 121, 2) float64
        Over equal steps of the logarithm of the rigidity from 0.1 to 100 GeV; electrons and muons are left 0. Both
        charges of a species are averaged: antibaryons annihilate.
    """
    table = np.zeros((len(SPECIES_MASS), _N_RIGIDITY, 2))
    grid = np.geomspace(_R_LOW, _R_HIGH, _N_RIGIDITY)
    for h in range(_FIRST_HADRON, len(SPECIES_MASS)):
        mass, charge = SPECIES_MASS[h], SPECIES_CHARGE[h]
        for i, rigidity in enumerate(grid):
            total = math.hypot(charge * rigidity, mass)
            moments = np.zeros(2)
            signs = (1, -1) if mass > 0.9 else (0,)
            for sign in signs:
                available = available_energy(total, mass, 10_000 * sign)
                moments += _mean_and_square(available, total - mass, float(charge**2), mip, width, hadrons)
            first, second = moments / len(signs)
            table[h, i] = first / rigidity, math.sqrt(max(second - first * first, 0.0)) / rigidity
    return table


@inline
def place_in_table(log_rigidity: float, table: Floats) -> tuple[int, float]:
    """Row of a table of `mean_response` and the part of the step behind it; beyond its ends, at them."""
    n = table.shape[1]
    per_log = (n - 1) / math.log(_R_HIGH / _R_LOW)
    at = min(max((log_rigidity - math.log(_R_LOW)) * per_log, 0.0), n - 1.000001)
    return int(at), at - int(at)
