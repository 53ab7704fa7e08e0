"""How the energy loss of a fast particle in a thin silicon layer fluctuates.

The photo-absorption ionisation model: the probability of a single energy transfer follows from the dielectric function
of silicon and from free electrons behind it; the distribution in a layer is the compound Poisson distribution of many
such transfers, found with a Fourier transform. This holds for layers where Landau's distribution is far too narrow, and
for slow nuclei where it has too long a tail. What a detector makes of the energy is in :mod:`.stage`.

Sources: U. Fano, Ann. Rev. Nucl. Sci. 13 (1963) 1; W. W. M. Allison and J. H. Cobb, Ann. Rev. Nucl. Part. Sci. 30
(1980) 253, with the loss function Im(-1/epsilon) in place of the cross section of photons as for solids in H. Bichsel,
Rev. Mod. Phys. 60 (1988) 663. Energies in this module are in eV, lengths in um.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

#: Fine-structure constant (CODATA 2022), hbar c [eV um], electron mass [eV].
_ALPHA, _HBAR_C, _ELECTRON = 7.2973525643e-3, 0.1973269804, 510998.95069
#: Plasma energy of all 14 electrons of silicon [eV] (PDG, atomic and nuclear properties of materials).
PLASMA_ENERGY = 31.05
_Z = 14
#: Valence electrons: an oscillator that puts the bulk plasmon at 16.7 eV with a width of 3.2 eV (H. R. Philipp and
#: H. Ehrenreich, Phys. Rev. 129 (1963) 1550: 16.6 eV), with 4 electrons: 4/14 of the square of the plasma energy.
_VALENCE, _VALENCE_ENERGY, _VALENCE_WIDTH = 4.0, 3.0, 3.2
#: K shell: edge [eV]; photo-absorption falls as E^-2.74 above it (NIST XCOM, Si, 2 to 10 keV: 2777 to 33.9 cm2/g).
_K_EDGE, _K_POWER = 1839.0, 2.74
#: L shell: edge [eV]; flat above it, then falling as E^-2.65 (NIST XCOM, Si, 1 to 1.5 keV: 1570 to 535 cm2/g).
_L_EDGE, _L_POWER = 99.8, 2.65
#: Electrons of the K shell in the sum rule: 2883 cm2/g at the edge, integrated; those of the L shell complete the 14.
_K_ELECTRONS = 1.4
#: Where the absorption of the L shell bends [eV]: fixes the mean excitation energy, 173 eV (ICRU report 37, 1984).
_L_BEND = 240.0
#: Single transfers: grid of energies, equidistant in the logarithm [eV].
_LOWEST, _PER_DECADE = 1.2, 150


class Dielectric(NamedTuple):
    """The dielectric function of silicon on a grid of energies."""

    energy: Floats
    """(n,) transfers [eV], equidistant in the logarithm."""
    real: Floats
    """(n,) real part."""
    imaginary: Floats
    """(n,) imaginary part."""
    loss: Floats
    """(n,) loss function Im(-1/epsilon)."""
    free: Floats
    """(n,) integral of E loss(E) dE up to each energy [eV^2]: electrons that are as good as free."""


def absorption(energy: Floats) -> Floats:
    """Imaginary part of the dielectric function from the oscillator strengths of the shells.

    Parameters
    ----------
    energy : (n,) float64
        Transfer [eV].

    Returns
    -------
    (n,) float64
        Obeys the sum rule: the integral of E eps2 dE is pi/2 times the square of the plasma energy (Fano 1963).
    """
    square = PLASMA_ENERGY**2 / _Z
    width = _VALENCE_WIDTH * energy
    valence = _VALENCE * square * width / ((_VALENCE_ENERGY**2 - energy**2) ** 2 + width**2)
    k_shell = np.where(energy >= _K_EDGE, (energy / _K_EDGE) ** -_K_POWER, 0.0)
    k_norm = _K_EDGE / (_K_POWER - 1.0)
    l_norm = np.trapezoid(_l_shape(fine := np.geomspace(_L_EDGE, 1e6, 20001)) * fine, np.log(fine))
    l_electrons = _Z - _VALENCE - _K_ELECTRONS
    shells = _K_ELECTRONS * k_shell / k_norm + l_electrons * _l_shape(energy) / l_norm
    total: Floats = valence + 0.5 * np.pi * square * shells / energy
    return total


def _l_shape(energy: Floats) -> Floats:
    """Absorption of the L shell, not normalised."""
    return np.where(energy >= _L_EDGE, 1.0 / (1.0 + (energy / _L_BEND) ** _L_POWER), 0.0)


@cache
def dielectric(highest: float) -> Dielectric:
    """Dielectric function up to an energy; the real part by the relation of Kramers and Kronig.

    The principal value is taken on two interleaved grids (K. Ohta and H. Ishida, Appl. Spectrosc. 42 (1988) 952).

    Parameters
    ----------
    highest : float
        Largest transfer of the grid [eV].

    Returns
    -------
    Dielectric
    """
    n = int(np.ceil(np.log10(max(highest, 1e4) / _LOWEST) * _PER_DECADE))
    step = np.log(10.0) / _PER_DECADE
    energy = _LOWEST * np.exp(step * np.arange(n + 1))
    between = np.concatenate([_LOWEST * np.exp(-step * (np.arange(300) + 0.5))[::-1], energy * np.exp(0.5 * step)])
    weight = between**2 * absorption(between) * step
    real = np.array([1.0 + 2.0 / np.pi * np.sum(weight / (between**2 - e**2)) for e in energy])
    imaginary = absorption(energy)
    loss = imaginary / (real**2 + imaginary**2)
    area = energy**2 * loss
    free = np.concatenate([[0.0], np.cumsum(0.5 * (area[1:] + area[:-1]) * step)])
    return Dielectric(energy, real, imaginary, loss, free)


def largest_transfer(beta_gamma: float) -> float:
    """Largest energy that a particle much heavier than the electron gives to a free one (PDG review, eq. 34.4).

    Parameters
    ----------
    beta_gamma : float
        p / m.

    Returns
    -------
    float
        2 m_e c^2 beta^2 gamma^2 [eV].
    """
    return 2.0 * _ELECTRON * beta_gamma**2


@lru_cache(maxsize=8)
def transfers(beta_gamma: float, cut: float) -> tuple[Floats, Floats]:
    """Spectrum of single energy transfers of charge 1.

    Parameters
    ----------
    beta_gamma : float
        p / m.
    cut : float
        Larger transfers [eV] are left out: their electrons leave the layer.

    Returns
    -------
    energy : (n,) float64
        Transfers [eV].
    density : (n,) float64
        Collisions per energy and length [1/(eV um)].

    Notes
    -----
    The arrays are read-only: callers share them.
    """
    top = min(largest_transfer(beta_gamma), cut)
    grid = dielectric(cut)
    inside = grid.energy <= top
    e, real, imaginary, loss, free = (values[inside] for values in grid)
    beta2 = beta_gamma**2 / (1.0 + beta_gamma**2)
    one = 1.0 - beta2 * (real + 1j * imaginary)
    resonance = loss * np.log(2.0 * _ELECTRON * beta2 / (e * np.abs(one)))
    cherenkov = (beta2 - real / (real**2 + imaginary**2)) * np.angle(one.conjugate())
    rutherford = free / e**2 * (1.0 - beta2 * e / largest_transfer(beta_gamma))
    density = _ALPHA / (np.pi * beta2 * _HBAR_C) * np.maximum(resonance + cherenkov + rutherford, 0.0)
    e.flags.writeable = density.flags.writeable = False
    return e, density


def layer_density(
    beta_gamma: float, path: float, cut: float, noise: float, n_bins: int = 4096
) -> tuple[Floats, Floats]:
    """Distribution of the energy left in a layer, with Gaussian noise: a compound Poisson law.

    Its characteristic function is exp(path * integral of n(E) (exp(ikE) - 1) dE), with n(E) the spectrum of single
    transfers (Bichsel 1988, section III; that review folds instead of transforming).

    Parameters
    ----------
    beta_gamma : float
        p / m.
    path : float
        Length in silicon times the square of the charge [um].
    cut : float
        Largest single transfer that stays in the layer [eV].
    noise : float
        Standard deviation of the Gaussian noise [eV].
    n_bins : int
        Bins of the grid of energies.

    Returns
    -------
    energy : (n_bins,) float64
        Energies [eV], equidistant; the first ones are negative if there is noise.
    density : (n_bins,) float64
        Probability of each bin; the sum is 1.
    """
    e, n = transfers(beta_gamma, cut)
    step = np.log(10.0) / _PER_DECADE
    number = n * e * step * path
    number[[0, -1]] *= 0.5
    mean = np.sum(number * e)
    sigma = np.sqrt(np.sum(number * e * e) + noise * noise)
    low = -6.0 * noise
    bin_width = (mean + 6.0 * sigma + 2.0 * min(cut, largest_transfer(beta_gamma)) - low) / n_bins
    place = e / bin_width
    lower = place.astype(np.int64)
    share = place - lower
    # sharing between two bins keeps number and mean of the transfers
    rate = np.bincount(lower, number * (1.0 - share), n_bins) + np.bincount(lower + 1, number * share, n_bins)
    # the noise leaves nothing of higher frequencies, exp(-50) at most: 0.87 of the time, and the same bits
    n_waves = n_bins // 2 + 1
    if noise > 0.0:
        n_waves = min(n_waves, int(10.0 * bin_width / noise * n_bins / (2.0 * np.pi)) + 2)
    wave = 2.0 * np.pi / n_bins * np.arange(n_waves)
    log_phi = np.fft.rfft(rate)[:n_waves] - rate.sum() - 0.5 * np.square(wave * noise / bin_width)
    log_phi -= 1j * wave * round(-low / bin_width)
    density = np.fft.irfft(np.exp(log_phi), n_bins)
    return (np.arange(n_bins) - round(-low / bin_width)) * bin_width, np.maximum(density, 0.0)
