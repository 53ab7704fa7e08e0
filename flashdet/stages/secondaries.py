"""Charged particles that the generator did not make: their rows in ``charged``, and how to know them.

What makes such particles is a stage of its own (:mod:`flashdet.stages.conversions`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.stages.rows import Charged

Offsets = NDArray[np.int64]


def append_rows(first: Charged, first_offsets: Offsets, second: Charged, second_offsets: Offsets) -> Charged:
    """Join two tables event by event: the rows of `second` follow those of `first`.

    Parameters
    ----------
    first, second : Charged
        Columns.
    first_offsets, second_offsets : (n_events + 1,) int64
        Rows of the same events; those of the result are their sum.

    Returns
    -------
    Charged
    """
    events = np.arange(len(first_offsets) - 1)
    event = np.concatenate([np.repeat(events, np.diff(offsets)) for offsets in (first_offsets, second_offsets)])
    order = np.argsort(event, kind="stable")
    return Charged(*(np.concatenate([a, b])[order] for a, b in zip(first, second, strict=True)))


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
