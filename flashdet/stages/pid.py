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
def log_momentum_gradient(tgl: float, q_over_pt: float) -> Gradient:
    """Gradient of log p, the relative change of the momentum, which is the same under every hypothesis.

    From p = |z| sqrt(1 + tgl^2)/|q/pt|: d log p = tgl/(1 + tgl^2) d tgl - d(q/pt)/(q/pt).

    Parameters
    ----------
    tgl, q_over_pt : float
        pz/pt and charge over transverse momentum [1/GeV].

    Returns
    -------
    tuple of 5 float
        d log p / d (y, z, snp, tgl, q_over_pt).
    """
    return 0.0, 0.0, 0.0, tgl / (1.0 + tgl * tgl), -1.0 / q_over_pt


def by_species(prefix: str, rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
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
