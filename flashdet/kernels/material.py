"""What thin layers of material do to a charged particle: scattering, mean energy loss and its spread.

Scalar helpers for kernels. Energy loss is that of silicon per areal density for every material: the minimum ionisation
per g/cm2 of the light materials of trackers (Be 1.59, C 1.74, Al 1.62, Si 1.66 MeV cm2/g) agrees within 5 %. Radiation
of electrons is not part of it (see :mod:`flashdet.lut.tracker`). Where the layers lie is not known here.
"""

from __future__ import annotations

import math

from flashdet.kernels.jit import inline, kernel

#: Electron mass [GeV], CODATA 2022 (as `flashdet.species.ELECTRON_MASS`; kernels do not import particles).
_ELECTRON_MASS = 0.00051099895069
#: K = 4 pi N_A r_e^2 m_e c^2 = 0.307075 MeV cm2/mol (PDG review, passage of particles through matter) [GeV].
_K = 0.307075e-3
#: Silicon: <Z/A>, mean excitation energy 173 eV [GeV] and the density-effect parameters C, x0, x1, a, k, delta0 of
#: R. M. Sternheimer, M. J. Berger, S. M. Seltzer, At. Data Nucl. Data Tables 30 (1984) 261.
_Z_OVER_A, _I = 0.49848, 173.0e-9
_C, _X0, _X1, _A, _EXPONENT, _DELTA0 = 4.4355, 0.2015, 2.8716, 0.14921, 3.2546, 0.14
#: Radiation length of silicon [cm] (PDG): turns x/X0 into a geometric thickness.
SILICON_X0 = 9.370
#: Below this beta gamma the Bethe formula fails (shell corrections, PDG review 34.2.3); the particle counts as stopped.
#: A pion there has 340 keV and a range of 8 um of silicon, a proton 2.3 MeV and 50 um.
MIN_BETA_GAMMA = 0.07
#: Midpoint steps per layer: within 1e-3 of the exact loss while less than a third of the kinetic energy is lost.
_N_STEPS = 4
#: Full width at half maximum of a Gaussian in units of its sigma.
_FWHM = 2.3548200450309493


@inline
def scattering_variance(x_over_x0: float, p: float, beta: float, charge: float) -> float:
    """Variance of the projected multiple-scattering angle of one thin layer.

    theta0 = 13.6 MeV / (beta c p) |z| sqrt(x/X0) [1 + 0.038 ln(x z^2 / (X0 beta^2))]: V. L. Highland, NIM 129 (1975)
    497, with the constants of G. R. Lynch and O. I. Dahl, NIM B 58 (1991) 6, as in the PDG review, passage of particles
    through matter, "multiple scattering through small angles". The logarithm is taken per layer with the thickness
    crossed at the angle of incidence; the review warns that sums over layers then come out a few per cent low against
    one logarithm for the sum.

    Parameters
    ----------
    x_over_x0 : float
        Thickness crossed, in radiation lengths; at least 1e-11, below which the formula turns negative.
    p : float
        Momentum [GeV].
    beta : float
        Velocity.
    charge : float
        |z| [e].

    Returns
    -------
    float
        theta0^2 [rad^2], zero without material.
    """
    if x_over_x0 <= 0.0:
        return 0.0
    t = x_over_x0 * charge * charge / (beta * beta)
    root = 0.0136 / p * math.sqrt(t) * (1.0 + 0.038 * math.log(t))
    return root * root


@kernel
def stopping_power(beta_gamma: float, mass: float, charge: float) -> float:
    """Mean ionisation energy loss in silicon (Bethe formula, PDG review eq. 34.5).

    Parameters
    ----------
    beta_gamma : float
        p / m.
    mass : float
        Mass [GeV].
    charge : float
        |z| [e].

    Returns
    -------
    float
        -dE/dx [GeV cm2/g], positive.
    """
    bg2 = beta_gamma * beta_gamma
    gamma = math.sqrt(1.0 + bg2)
    beta2 = bg2 / (1.0 + bg2)
    ratio = _ELECTRON_MASS / mass
    t_max = 2.0 * _ELECTRON_MASS * bg2 / (1.0 + 2.0 * gamma * ratio + ratio * ratio)
    x = math.log10(beta_gamma)
    if x >= _X1:
        delta = 2.0 * math.log(10.0) * x - _C
    elif x >= _X0:
        delta = 2.0 * math.log(10.0) * x - _C + _A * (_X1 - x) ** _EXPONENT
    else:
        delta = _DELTA0 * 10.0 ** (2.0 * (x - _X0))
    bracket = 0.5 * math.log(2.0 * _ELECTRON_MASS * bg2 * t_max / (_I * _I)) - beta2 - 0.5 * delta
    return _K * charge * charge * _Z_OVER_A / beta2 * bracket


@kernel
def momentum_after(p: float, mass: float, charge: float, thickness: float) -> float:
    """Momentum behind a layer, from the mean energy loss in a few midpoint steps.

    Parameters
    ----------
    p : float
        Momentum in front [GeV].
    mass : float
        Mass [GeV].
    charge : float
        |z| [e].
    thickness : float
        Areal density crossed [g/cm2].

    Returns
    -------
    float
        Momentum [GeV]; 0 if the particle stops (p / m below `MIN_BETA_GAMMA`).
    """
    if thickness <= 0.0:
        return p
    lowest = mass * MIN_BETA_GAMMA
    if p < lowest:
        return 0.0
    step = thickness / _N_STEPS
    energy = math.sqrt(p * p + mass * mass)
    for _ in range(_N_STEPS):
        middle = energy - 0.5 * step * stopping_power(p / mass, mass, charge)
        if middle <= mass or middle * middle - mass * mass < lowest * lowest:
            return 0.0
        p = math.sqrt(middle * middle - mass * mass)
        energy -= step * stopping_power(p / mass, mass, charge)
        if energy <= mass or energy * energy - mass * mass < lowest * lowest:
            return 0.0
        p = math.sqrt(energy * energy - mass * mass)
    return p


@kernel
def straggling_variance(p: float, mass: float, charge: float, thickness: float) -> float:
    """Variance of the energy loss in a layer, for the Gaussian core of its distribution.

    The smaller of two limits. Thin layers follow Landau's distribution, whose full width at half maximum is 4 xi (PDG
    review 34.2.9) and is taken as that of a Gaussian, as ACTS does (``computeEnergyLossLandauSigma``); thick layers and
    slow nuclei are Gaussian with Bohr's variance xi T_max (1 - beta^2/2) (B. Rossi, High-Energy Particles, 1952).

    Parameters
    ----------
    p : float
        Momentum [GeV].
    mass : float
        Mass [GeV].
    charge : float
        |z| [e].
    thickness : float
        Areal density crossed [g/cm2].

    Returns
    -------
    float
        Variance [GeV^2].
    """
    if thickness <= 0.0:
        return 0.0
    energy = math.sqrt(p * p + mass * mass)
    beta2 = p * p / (energy * energy)
    xi = 0.5 * _K * charge * charge * _Z_OVER_A * thickness / beta2
    ratio = _ELECTRON_MASS / mass
    t_max = 2.0 * _ELECTRON_MASS * (p / mass) ** 2 / (1.0 + 2.0 * energy / mass * ratio + ratio * ratio)
    landau = 4.0 * xi / _FWHM
    return min(landau * landau, xi * t_max * (1.0 - 0.5 * beta2))


@inline
def shell_factor(cosine: float, thickness_over_radius: float) -> float:
    """Path of a straight line through a thin cylindrical shell, in units of its thickness.

    1/cos for small thickness; finite also for a tangent, which enters a shell of thickness d and radius r under
    cos = 0 and leaves it after sqrt(2 d r + d^2).

    Parameters
    ----------
    cosine : float
        |cos| of the angle between direction and normal where the line enters, both in the transverse plane.
    thickness_over_radius : float
        d / r.

    Returns
    -------
    float
    """
    t = thickness_over_radius
    return (2.0 + t) / (math.sqrt(cosine * cosine + 2.0 * t + t * t) + cosine)
