"""What the detectors that identify particles share: hypotheses, and the momentum of a track with its error.

Every hypothesis is a species of :data:`flashdet.species.SPECIES`. The tracker measures the rigidity p/|z|, so the
momentum under a hypothesis is |z| times that. What a detector makes of it is in the detector's stage.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.gradients import Gradient
from flashdet.kernels.jit import inline
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS

Floats = NDArray[np.float64]

N_SPECIES = len(SPECIES)
#: Mass [GeV] and |charge| [e] of each hypothesis, for kernels.
MASS = np.array(SPECIES_MASS, np.float64)
CHARGE = np.array(SPECIES_CHARGE, np.float64)
MASS.flags.writeable = False
CHARGE.flags.writeable = False


@inline
def rigidity(tgl: float, q_over_pt: float) -> float:
    """Momentum over |charge| [GeV] of a track with slope `tgl` and `q_over_pt` [1/GeV]."""
    return math.sqrt(1.0 + tgl * tgl) / abs(q_over_pt)


@inline
def log_momentum_covariance(gradient: Gradient, tgl: float, q_over_pt: float, cov: Floats) -> float:
    """Covariance of a quantity with log p, the relative change of the momentum, which is the same for all hypotheses.

    From p = |z| sqrt(1 + tgl^2)/|q/pt|: d log p = tgl/(1 + tgl^2) d tgl - d(q/pt)/(q/pt). The three zeros of that
    gradient are left out, which halves the time of `flashdet.kernels.gradients.covariance`.

    Parameters
    ----------
    gradient : tuple of 5 float
        Derivatives of the quantity with respect to (y, z, snp, tgl, q_over_pt).
    tgl, q_over_pt : float
        pz/pt and charge over transverse momentum [1/GeV].
    cov : (15,) float64
        Packed covariance.

    Returns
    -------
    float
    """
    g0, g1, g2, g3, g4 = gradient
    with_tgl = g0 * cov[6] + g1 * cov[7] + g2 * cov[8] + g3 * cov[9] + g4 * cov[13]
    with_q_over_pt = g0 * cov[10] + g1 * cov[11] + g2 * cov[12] + g3 * cov[13] + g4 * cov[14]
    result: float = with_tgl * tgl / (1.0 + tgl * tgl) - with_q_over_pt / q_over_pt
    return result


@inline
def log_momentum_variance(tgl: float, q_over_pt: float, cov: Floats) -> float:
    """Squared relative error of the momentum; parameters as in :func:`log_momentum_covariance`."""
    slope, inverse = tgl / (1.0 + tgl * tgl), 1.0 / q_over_pt
    result: float = slope * slope * cov[9] - 2.0 * slope * inverse * cov[13] + inverse * inverse * cov[14]
    return result


def by_species(prefix: str, rows: Floats) -> dict[str, Floats]:
    """Columns ``<prefix>_<species>`` from the rows of a matrix.

    Parameters
    ----------
    prefix : str
        ``expected``, ``expected_error`` or ``n_sigma``.
    rows : (n_species, n_tracks) float64
        C-contiguous: every row becomes a column without a copy.

    Returns
    -------
    dict of str to (n_tracks,) float64
    """
    return {f"{prefix}_{species}": rows[i] for i, species in enumerate(SPECIES)}
