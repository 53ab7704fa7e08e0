"""Charged particles that the generator did not make: how to know them.

What makes such particles is a stage of its own (:mod:`flashdet.stages.conversions.stage`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def photon_row(particle_index: NDArray[np.int32]) -> NDArray[np.int32]:
    """Rows of the photons that made particles, from their ``particle_index``.

    Parameters
    ----------
    particle_index : (n,) int32
        Of charged particles or tracks.

    Returns
    -------
    (n,) int32
        Within the event; -1 for particles that the generator made.
    """
    return np.where(particle_index < -1, (-2 - particle_index) // 2, -1).astype(np.int32)
