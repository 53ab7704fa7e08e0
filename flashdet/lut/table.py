"""Lookup tables in memory: the tracking LUT of one species, and maps of one value over named axes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.lut.axis import Axis


@dataclass(frozen=True)
class AliceEigen:
    """Eigen-decomposition as stored in an ALICE file, kept so that the file can be written back byte-exactly.

    Attributes
    ----------
    values : (n_radius, n_eta, n_pt, 5) float32
    vectors, inverse : (n_radius, n_eta, n_pt, 5, 5) float32
        Column k of `vectors` is eigenvector k.
    """

    values: NDArray[np.float32]
    vectors: NDArray[np.float32]
    inverse: NDArray[np.float32]


@dataclass(frozen=True)
class Lut:
    """Tracking efficiency and covariance of one species.

    The efficiency depends on multiplicity, the covariance does not; it is stored once (20 times smaller than the ALICE
    format).

    Attributes
    ----------
    species : str
        One of `flashdet.species.SPECIES`.
    pdg : int
        Positive PDG code.
    mass : float
        Mass [GeV] used to build it.
    charge : int
        |charge| [e].
    field : float
        Magnetic field [T].
    efficiency_axes : tuple of Axis
        (nch, eta, pt); nch is dN_ch/deta.
    efficiency : (n_nch, n_eta, n_pt) float64
        Probability in [0, 1].
    covariance_axes : tuple of Axis
        (radius, eta, pt); radius [cm] of the production point, same eta and pt axes as the efficiency.
    covariance : (n_radius, n_eta, n_pt, 15) float64
        Lower triangle, row by row, of (y, z, snp, tgl, q/pt) at the reference point [cm, cm, 1, 1, 1/GeV].
    valid : (n_radius, n_eta, n_pt) bool
        False where the particle cannot be reconstructed.
    meta : dict
        Source, date, builder version, hash of the layout, ...: JSON values only.
    eigen : AliceEigen, optional
        Only for tables read from an ALICE file.
    """

    species: str
    pdg: int
    mass: float
    charge: int
    field: float
    efficiency_axes: tuple[Axis, Axis, Axis]
    efficiency: NDArray[np.float64]
    covariance_axes: tuple[Axis, Axis, Axis]
    covariance: NDArray[np.float64]
    valid: NDArray[np.bool_]
    meta: dict[str, Any] = field(default_factory=dict)
    eigen: AliceEigen | None = None


@dataclass(frozen=True)
class Map:
    """One value over named axes, e.g. the probability of a muon tag over (eta, p).

    Attributes
    ----------
    name : str
        What it is.
    unit : str
        Unit of the values, empty for none.
    axes : tuple of Axis
    values : float64 array
        Shape given by the axes.
    meta : dict
        Source, date, ...: JSON values only.
    """

    name: str
    unit: str
    axes: tuple[Axis, ...]
    values: NDArray[np.float64]
    meta: dict[str, Any] = field(default_factory=dict)
