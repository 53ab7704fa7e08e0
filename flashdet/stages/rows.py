"""Tables as tuples of arrays, so that kernels read and write columns by name.

Numba sees neither `flashdet.event.Table` nor a dictionary; it does see named tuples. The columns themselves are
declared in :mod:`flashdet.columns`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Particles(NamedTuple):
    """Columns of the generator record, as declared in :data:`flashdet.columns.PARTICLE`."""

    pdg: NDArray[np.int32]
    status: NDArray[np.int32]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    mass: NDArray[np.float64]
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    vz: NDArray[np.float64]
    vt: NDArray[np.float64]


class Charged(NamedTuple):
    """Columns of :data:`flashdet.columns.CHARGED`, in its order."""

    particle_index: NDArray[np.int32]
    pdg: NDArray[np.int32]
    species: NDArray[np.int8]
    charge: NDArray[np.int8]
    mass: NDArray[np.float64]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    vz: NDArray[np.float64]
    vt: NDArray[np.float64]
    alpha: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    tgl: NDArray[np.float64]
    q_over_pt: NDArray[np.float64]


class Tracks(NamedTuple):
    """Columns of `flashdet.columns.TRACK`, in its order."""

    particle_index: NDArray[np.int32]
    x: NDArray[np.float64]
    alpha: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    snp: NDArray[np.float64]
    tgl: NDArray[np.float64]
    q_over_pt: NDArray[np.float64]
    cov: NDArray[np.float64]
    pt: NDArray[np.float64]
    eta: NDArray[np.float64]
    phi: NDArray[np.float64]
    charge: NDArray[np.int8]
    species_true: NDArray[np.int8]
    pdg_true: NDArray[np.int32]
    charge_true: NDArray[np.int8]
    mass_true: NDArray[np.float64]
    pt_true: NDArray[np.float64]
    eta_true: NDArray[np.float64]
    phi_true: NDArray[np.float64]
    vx_true: NDArray[np.float64]
    vy_true: NDArray[np.float64]
    vz_true: NDArray[np.float64]
    vt_true: NDArray[np.float64]
