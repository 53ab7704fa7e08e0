"""Lookup tables in memory: the tracking LUT of one species, and maps of one value over named axes.

Files are read and written by `flashdet.lut.files` and `flashdet.lut.alice`; kernels get their arrays from
`flashdet.lut.pack`; `flashdet.lut.checks` judges what is in a table.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.lut.axis import Axis
from flashdet.lut.content import SampleContent

#: Names of the axes of a `Lut`.
EFFICIENCY_AXES = ("nch", "eta", "pt")
COVARIANCE_AXES = ("radius", "eta", "pt")


@dataclass(frozen=True, eq=False)
class AliceEigen:
    """Eigen-decomposition as stored in an ALICE file, kept so that tracks can be smeared as ALICE does.

    Attributes
    ----------
    values : (n_radius, n_eta, n_pt, 5) float32
    vectors, inverse : (n_radius, n_eta, n_pt, 5, 5) float32
        Column k of `vectors` is eigenvector k.
    """

    values: NDArray[np.float32]
    vectors: NDArray[np.float32]
    inverse: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class AliceSource:
    """What an ALICE file holds beyond a `Lut`, kept so that the file can be written back byte by byte.

    Attributes
    ----------
    header : bytes
        The 80 bytes of the header, padding zeroed.
    words : tuple of 8 uint32 arrays
        Bits of nch, eta, pt, valid, eff, eff2, itof and otof over (nch, radius, eta, pt); an axis along which a value
        never changes has length 1.
    exceptions : (n,) int64
        Entries (flat index) whose covariance or eigenvectors differ from those of the `Lut`: none of them is valid.
    exception_words : (n, 70) uint32
        Their covm, eigval, eigvec and eiginv.
    fingerprint : str
        Of the `Lut` as read; another fingerprint means that the table was changed since.
    """

    header: bytes
    words: tuple[NDArray[np.uint32], ...]
    exceptions: NDArray[np.int64]
    exception_words: NDArray[np.uint32]
    fingerprint: str


@dataclass(frozen=True, eq=False, repr=False)
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
    alice : AliceSource, optional
        Likewise.
    sample : SampleContent, optional
        Only for tables made from full simulation.
    displaced : tuple of Lut
        The same species for particles made farther out, from inside out: the radius axis of each begins where the one
        before ends, and each has an efficiency, and eta, pt and nch axes, of its own. Their rules hold beyond the last.
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
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)
    eigen: AliceEigen | None = None
    alice: AliceSource | None = None
    sample: SampleContent | None = None
    displaced: tuple[Lut, ...] = ()

    def validate(self) -> None:
        """Check that the table makes sense.

        Raises
        ------
        LutError
            Lists every kind of problem with its places: species and numbers that contradict each other, axes and shapes
            that do not fit, efficiencies outside [0, 1], covariances of valid cells that are not finite or not positive
            definite, holes (cells that are not valid although the table is valid on both sides of them along eta, or
            both below and above them in pt); the same of the tables of displaced particles, and gaps between them.
        """
        from flashdet.lut.checks import check_lut

        check_lut(self)

    @property
    def parts(self) -> tuple[Lut, ...]:
        """The table itself and those of displaced particles, by production radius."""
        return (self, *self.displaced)

    def at_radius(self, radius: float) -> Lut:
        """Table for a production radius.

        Parameters
        ----------
        radius : float
            Production radius [cm].

        Returns
        -------
        Lut
            One of `parts`: the last that begins at or below `radius`, else the first.
        """
        return [self, *(part for part in self.displaced if part.covariance_axes[0].low <= radius)][-1]

    def info(self) -> str:
        """Axes, units, shapes, ranges and provenance as text."""
        efficiency = self.efficiency[:, self.valid.any(axis=0)]
        smallest, largest = (efficiency.min(), efficiency.max()) if efficiency.size else (0.0, 0.0)
        lines = [
            f"LUT of {self.species}: pdg {self.pdg}, |charge| {self.charge}, mass {self.mass:.7g} GeV, "
            f"field {self.field:g} T",
            f"efficiency over {_shape_text(self.efficiency_axes)}, {smallest:.4g} to {largest:.4g} where valid",
            f"covariance of (y, z, snp, tgl, q/pt) [cm, cm, 1, 1, 1/GeV] over {_shape_text(self.covariance_axes)}, "
            f"{int(self.valid.sum())} of {self.valid.size} cells valid",
            *(f"  {axis}" for axis in (self.efficiency_axes[0], *self.covariance_axes)),
            *(self.sample.info() if self.sample is not None else ()),
            *(part._radius_line() for part in self.displaced),
            *_meta_lines(self.meta),
        ]
        return "\n".join(lines)

    def _radius_line(self) -> str:
        radius = self.covariance_axes[0]
        return (
            f"made at {radius.low:.4g} to {radius.high:.4g} {radius.unit}: {_shape_text(self.efficiency_axes)}, "
            f"{int(self.valid.sum())} of {self.valid.size} cells valid, outside: {radius.out_of_range}"
        )

    def __str__(self) -> str:
        return self.info()

    def __repr__(self) -> str:
        return f"<Lut {self.species}, {_shape_text(self.efficiency_axes)}>"


@dataclass(frozen=True, eq=False, repr=False)
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
    meta: dict[str, Any] = dataclasses.field(default_factory=dict)

    def validate(self) -> None:
        """Check that the map makes sense.

        Raises
        ------
        LutError
            The shape does not fit the axes, two axes have one name, or a value is not finite.
        """
        from flashdet.lut.checks import check_map

        check_map(self)

    def info(self) -> str:
        """Axes, unit, shape, range and provenance as text."""
        unit = f" [{self.unit}]" if self.unit else ""
        span = f"{self.values.min():.4g} to {self.values.max():.4g}" if self.values.size else "empty"
        first = f"map {self.name}{unit} over {_shape_text(self.axes)}, {span}"
        return "\n".join([first, *(f"  {axis}" for axis in self.axes), *_meta_lines(self.meta)])

    def __str__(self) -> str:
        return self.info()

    def __repr__(self) -> str:
        return f"<Map {self.name}, {_shape_text(self.axes)}>"


def _shape_text(axes: Sequence[Axis]) -> str:
    return f"({', '.join(axis.name for axis in axes)}) = {' x '.join(str(axis.n_bins) for axis in axes)}"


def _meta_lines(meta: dict[str, Any]) -> list[str]:
    return [f"{key}: {value if isinstance(value, str) else json.dumps(value)}" for key, value in meta.items()]
