"""Electron pairs of photons in silicon: how often, and how they share the energy.

Cross section and energy spectrum are those of the standard electromagnetic physics of Geant4
(G4BetheHeitlerModel, https://github.com/Geant4/geant4; Physics Reference Manual, "Gamma conversion"), for Z = 14. Where
photons convert is :mod:`.photons`, and at which angles their pairs leave :mod:`.kinematics`.
"""

from __future__ import annotations

import math

import numpy as np

from flashdet.kernels.elementary import exp, log
from flashdet.kernels.jit import inline
from flashdet.kernels.philox import uniforms
from flashdet.species import ELECTRON_MASS

#: J. H. Hubbell, H. A. Gimm, I. Overbo, J. Phys. Chem. Ref. Data 9 (1980) 1023, as fitted for Geant: sigma = Z (Z + 1)
#: (F1 + F2 Z + F3/Z) microbarn, F polynomials in X = ln(E/m) with these coefficients, from 1.5 MeV to 100 GeV. Here
#: they are summed for Z = 14.
_F1 = (8.7842e2, -1.9625e3, 1.2949e3, -2.0028e2, 1.2575e1, -2.8333e-1)
_F2 = (-1.0342e1, 1.7692e1, -8.2381, 1.3063, -9.0815e-2, 2.3586e-3)
_F3 = (-4.5263e2, 1.1161e3, -8.6749e2, 2.1773e2, -2.0467e1, 6.5372e-1)
_Z = 14.0
_F = np.array([a + _Z * b + c / _Z for a, b, c in zip(_F1, _F2, _F3, strict=True)])
LEAST_ENERGY, _E_HIGH = 1.5e-3, 100.0
#: Pairs per radiation length at high energy (Y.-S. Tsai, Rev. Mod. Phys. 46 (1974) 815; PDG review eq. 34.32).
HIGH_ENERGY = 7.0 / 9.0
#: The fitted cross section exceeds its value at 100 GeV nowhere by more than this factor.
MOST_OF_HIGH_ENERGY = 1.005
#: Below 2 MeV the energy is shared evenly; from 50 MeV on the Coulomb correction counts.
_E_EVEN, _E_COULOMB = 2e-3, 50e-3
#: Screening: delta = 136 m / (E Z^(1/3) x (1 - x)).
_DELTA = 136.0 * ELECTRON_MASS / _Z ** (1.0 / 3.0)
#: F(Z) = 8/3 ln Z, and with 8 f_c(Z) of H. Davies, H. A. Bethe, L. C. Maximon, Phys. Rev. 93 (1954) 788.
_A2 = (_Z / 137.035999) ** 2
_COULOMB = _A2 * (1.0 / (1.0 + _A2) + 0.20206 - 0.0369 * _A2 + 0.0083 * _A2**2 - 0.002 * _A2**3)
_F_LOW = 8.0 / 3.0 * math.log(_Z)
_F_HIGH = _F_LOW + 8.0 * _COULOMB


@inline
def pairs_per_length(energy: float) -> float:
    """Mean number of pairs per radiation length of silicon: 7/9 times the cross section over that at 100 GeV.

    Below 1.5 MeV it is 0; from 100 GeV on 7/9.
    """
    if energy < LEAST_ENERGY:
        return 0.0
    return HIGH_ENERGY * _polynomial(min(energy, _E_HIGH)) / _AT_HIGH


@inline
def _polynomial(energy: float) -> float:
    x = math.log(energy / ELECTRON_MASS)
    return float(_F[0] + x * (_F[1] + x * (_F[2] + x * (_F[3] + x * (_F[4] + x * _F[5])))))


#: The fit at 100 GeV.
_AT_HIGH = float(_polynomial(_E_HIGH))


@inline
def full_screening_share(u: float) -> float:
    """Part x of the energy for one of the two, of density 1 - 4/3 x (1 - x) (PDG review eq. 34.31).

    The distribution function is a cubic in x - 1/2 with one real root: sinh(asinh(...)/3), here by the cube root of the
    exponential of asinh.
    """
    size = 1.75 * math.sqrt(2.0) * abs(u - 0.5)
    root = exp(log(size + math.sqrt(1.0 + size * size)) / 3.0)
    distance = math.sqrt(0.5) * (root - 1.0 / root)
    return 0.5 + (distance if u > 0.5 else -distance)


@inline
def _screening(delta: float, f: float) -> tuple[float, float]:
    """(3 phi1 - phi2 - F, 3/2 phi1 + phi2/2 - F): J. C. Butcher, H. Messel, Nucl. Phys. 20 (1960) 15."""
    if delta <= 1.0:
        phi1 = 20.867 - 3.242 * delta + 0.625 * delta * delta
        phi2 = 20.209 - 1.930 * delta - 0.086 * delta * delta
    else:
        phi1 = phi2 = 21.12 - 4.184 * math.log(delta + 0.952)
    return 3.0 * phi1 - phi2 - f, 1.5 * phi1 + 0.5 * phi2 - f


@inline
def spectrum(share: float, energy: float) -> float:
    """Density of the part of the energy that one of the two takes, not normalised.

    [x^2 + (1 - x)^2] (phi1 - F/2) + 2/3 x (1 - x) (phi2 - F/2), which with t = (x - 1/2)^2 is a third of 2 t (3 phi1 -
    phi2 - F) + (3/2 phi1 + phi2/2 - F). It is 0 where this is negative, and where an electron would have less than its
    mass.
    """
    if not ELECTRON_MASS < share * energy < energy - ELECTRON_MASS:
        return 0.0
    if energy < _E_EVEN:
        return 1.0
    delta = _DELTA / (energy * share * (1.0 - share))
    first, second = _screening(delta, _F_HIGH if energy > _E_COULOMB else _F_LOW)
    t = (share - 0.5) * (share - 0.5)
    return max((2.0 * t * first + second) / 3.0, 0.0)


@inline
def draw_share(key: np.uint64, event_key: np.uint64, index: int, slot: int, energy: float) -> float:
    """Part of the energy that the positron takes, by rejection from the spectrum at full screening.

    Parameters
    ----------
    key, event_key, index
        Of the random numbers.
    slot : int
        First of them; how many are needed is not known beforehand.
    energy : float
        Of the photon, above 1.5 MeV [GeV].

    Returns
    -------
    float
    """
    # The ratio of the two spectra lies between its values for x = 1/2 and for x = 0, and falls with delta but for a
    # step of 0.4 % at delta = 1.
    if energy < _E_EVEN:
        most = 1.0 / (2.0 / 3.0)
    else:
        first, second = _screening(4.0 * _DELTA / energy, _F_HIGH if energy > _E_COULOMB else _F_LOW)
        most = 1.01 * max(0.5 * second, (0.5 * first + second) / 3.0)
    while True:
        u, chance = uniforms(key, event_key, index, slot)
        share = full_screening_share(u)
        if chance * most * (1.0 - 4.0 / 3.0 * share * (1.0 - share)) < spectrum(share, energy):
            return share
        slot += 1
