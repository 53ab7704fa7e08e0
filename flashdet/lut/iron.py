"""Charged particles in iron: energy loss, range and multiple scattering.

For :mod:`flashdet.lut.absorber`; how hadrons interact in it is in :mod:`flashdet.lut.hadrons`.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import kernel
from flashdet.species import ELECTRON_MASS

Floats = NDArray[np.float64]

#: Iron (PDG 2024, atomic and nuclear properties): density, radiation length [cm], <Z/A>, mean excitation energy [GeV].
_DENSITY, _X0, _Z_OVER_A, _I = 7.874, 1.757, 0.46557, 286.0e-9
#: Density effect of iron: C, x0, x1, a, k, delta0 of Sternheimer, Berger, Seltzer, ADNDT 30 (1984) 261.
_C, _LOW, _HIGH, _A, _EXPONENT, _DELTA0 = 4.2911, -0.0012, 3.1531, 0.14680, 2.9632, 0.12
#: K = 4 pi N_A r_e^2 m_e c^2 (PDG review, passage of particles through matter) [GeV cm2/mol].
_K = 0.307075e-3
#: Steps of the way in which scattering is summed.
_N_STEP = 40


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


@cache
def _range_table(mass: float) -> tuple[Floats, Floats]:
    """Momenta [GeV], and ranges [cm] at those, from beta gamma 0.1 to 1000."""
    beta_gamma = np.geomspace(0.1, 1000.0, 4001)
    loss = np.array([iron_loss(float(b), mass) for b in beta_gamma])
    # dT = m beta d(beta gamma)
    integrand = mass * beta_gamma / np.sqrt(1.0 + beta_gamma**2) / loss
    steps = 0.5 * (integrand[1:] + integrand[:-1]) * np.diff(beta_gamma)
    return mass * beta_gamma, np.concatenate([[0.0], np.cumsum(steps)])


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
    return np.asarray(np.interp(momentum, *_range_table(mass)))


def momentum_left(momentum: Floats, mass: float, iron: float) -> Floats:
    """Momentum behind some iron.

    Parameters
    ----------
    momentum : (n,) float64
        In front [GeV].
    mass : float
        Mass of a particle of charge 1 [GeV].
    iron : float
        [cm]

    Returns
    -------
    (n,) float64
        [GeV]; for particles that stop, 0.1 masses.
    """
    momenta, ranges = _range_table(mass)
    return np.asarray(np.interp(np.interp(momentum, momenta, ranges) - iron, ranges, momenta))


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
    variance = np.zeros_like(momentum)
    for k in range(_N_STEP):
        part = (k + 0.5) / _N_STEP
        p = np.maximum(momentum_left(momentum, mass, part * iron), 0.05)
        beta = p / np.hypot(p, mass)
        variance += (lever * (1.0 - part) * 0.0136 / (beta * p)) ** 2 * iron / _N_STEP / _X0
    return np.asarray(np.sqrt(variance))
