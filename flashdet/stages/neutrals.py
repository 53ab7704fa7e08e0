"""Neutral particles of the generator record, for stages that follow them on a straight line."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Neutrals(NamedTuple):
    """Columns of ``particle`` of a neutral particle: what it is, where it comes from and where it goes."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    energy: NDArray[np.float64]
    mass: NDArray[np.float64]
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    vz: NDArray[np.float64]
    vt: NDArray[np.float64]
