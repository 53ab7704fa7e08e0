"""How far hadrons get in iron before they interact: cross sections from 1.5 to 100 GeV/c.

Hadron-nucleon cross sections come from published fits, the nucleus from the simplified Glauber model of Geant4. Used by
:mod:`flashdet.lut.absorber`; showers in a calorimeter are not here.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Iron: protons, nucleons, molar mass [g/mol], density [g/cm3] (PDG 2024).
_Z, _A, _MOLAR, _DENSITY = 26, 56, 55.845, 7.874
#: Molar mass over Avogadro's number and density [mb cm].
_MB_CM = 1e3 * _MOLAR / (0.602214076 * _DENSITY)
#: Fits of the review of particle physics to cross sections [mb]: A + B p^n + C ln^2 p + D ln p, p in GeV/c, total and
#: elastic; as in Geant4 (G4HadronNucleonXsc, after V. Uzhinsky; antiprotons: G4ComponentGGHadronNucleusXsc, their
#: elastic ones from the edition of 1994).
_PROTON_ELASTIC = (11.9, 26.9, -1.21, 0.169, -1.85)
_PION_LIKE = ((16.4, 19.3, -0.42, 0.19, 0.0), (0.0, 11.4, -0.40, 0.079, 0.0))
_PION_UNLIKE = ((33.0, 14.0, -1.36, 0.456, -4.03), (1.76, 11.2, -0.64, 0.043, 0.0))
_KAON_ELASTIC = ((5.0, 8.1, -1.8, 0.16, -1.3), (7.3, 0.0, 0.0, 0.29, -2.4))
_ANTIPROTON_ELASTIC = (10.2, 52.7, -1.16, 0.125, -1.28)
#: By species and charge: (total, elastic) on protons and on neutrons.
_FITS = {
    ("pion", 1): (_PION_LIKE, _PION_UNLIKE),
    ("pion", -1): (_PION_UNLIKE, _PION_LIKE),
    ("kaon", 1): (
        ((18.1, 0.0, 0.0, 0.26, -1.0), _KAON_ELASTIC[0]),
        ((18.7, 0.0, 0.0, 0.21, -0.89), _KAON_ELASTIC[1]),
    ),
    ("kaon", -1): (
        ((32.1, 0.0, 0.0, 0.66, -5.6), _KAON_ELASTIC[1]),
        ((25.2, 0.0, 0.0, 0.38, -2.9), _KAON_ELASTIC[0]),
    ),
    ("proton", 1): (
        ((48.0, 0.0, 0.0, 0.522, -4.51), _PROTON_ELASTIC),
        ((47.3, 0.0, 0.0, 0.513, -4.27), _PROTON_ELASTIC),
    ),
    ("proton", -1): (
        ((41.1, 77.2, -0.68, 0.293, -1.82), _ANTIPROTON_ELASTIC),
        ((41.9, 96.2, -0.99, 0.0, -0.154), _ANTIPROTON_ELASTIC),
    ),
}
#: Glauber model of V. M. Grichine, Eur. Phys. J. C 62 (2009) 399, as in Geant4: radius of iron [fm], strength of
#: absorption, and the factor to the cross sections compiled by V. S. Barashenkov (1993).
_RADIUS = 1.08 * _A ** (1.0 / 3.0) * (0.8 + 0.2 * math.exp(-(_A - 20.0) / 20.0))
_KAON_NUCLEUS = (1.3 * _A ** (1.0 / 3.0), 2.2, 1.0)
_NUCLEUS = {
    ("pion", 1): (_RADIUS, 2.4, 1.138),
    ("pion", -1): (_RADIUS, 2.4, 1.138),
    ("kaon", 1): _KAON_NUCLEUS,
    ("kaon", -1): _KAON_NUCLEUS,
    ("proton", 1): (_RADIUS, 2.4, 1.130),
    ("proton", -1): (_RADIUS, 2.2, 1.0),
}
#: Momenta [GeV] between which the fits hold; beyond, their values there.
_P_LOW, _P_HIGH = 1.5, 100.0


def nucleon_cross_sections(species: str, sign: int, momentum: Floats) -> tuple[Floats, Floats]:
    """Total and elastic cross section of a hadron, averaged over the nucleons of iron.

    Parameters
    ----------
    species : {"pion", "kaon", "proton"}
        Kind.
    sign : {1, -1}
        Charge.
    momentum : (n,) float64
        [GeV]

    Returns
    -------
    total, elastic : (n,) float64
        [mb]
    """
    p = np.clip(momentum, _P_LOW, _P_HIGH)
    on_proton, on_neutron = (
        [a + b * p**n + c * np.log(p) ** 2 + d * np.log(p) for a, b, n, c, d in fits] for fits in _FITS[species, sign]
    )
    total, elastic = ((_Z * x + (_A - _Z) * y) / _A for x, y in zip(on_proton, on_neutron, strict=True))
    return total, elastic


def interaction_lengths(species: str, sign: int, momentum: Floats) -> tuple[Floats, Floats]:
    """Mean way in iron to the first inelastic interaction, and to the first that makes particles.

    sigma = (2 pi R^2/c) ln(1 + c A sigma_N/(2 pi R^2)) with the strength of absorption c (Grichine 2009): with the
    total cross section on nucleons all that is inelastic for the nucleus, with the inelastic one what makes particles.
    The difference is quasi-elastic: a nucleon is hit and the hadron goes on.

    Parameters
    ----------
    species, sign, momentum
        As in `nucleon_cross_sections`.

    Returns
    -------
    inelastic, production : (n,) float64
        [cm]
    """
    total, elastic = nucleon_cross_sections(species, sign, momentum)
    radius, strength, factor = _NUCLEUS[species, sign]
    # 1 fm2 is 10 mb
    area = 2.0 * math.pi * radius**2 * 10.0
    inelastic, production = (
        _MB_CM * strength / (factor * area * np.log(1.0 + strength * _A * sigma / area))
        for sigma in (total, total - elastic)
    )
    return inelastic, production
