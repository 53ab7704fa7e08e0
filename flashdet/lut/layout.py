"""What a tracker is made of: layers in a solenoidal field, and what a found track needs.

Plain data, without units in the text: cards are read in :mod:`flashdet.layout`, tables are built in
:mod:`flashdet.lut.tracker`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.trace import surface_rows

#: Fewest hits a track may need: three hits fix five parameters but leave nothing to test a hit with.
FEWEST_HITS = 4


@dataclass(frozen=True)
class Layer:
    """One cylinder around the z axis, or one disc across it.

    Attributes
    ----------
    name : str
        Unique in the layout.
    kind : {"cylinder", "disc"}
        Shape.
    position : float
        Radius of a cylinder, z of a disc [cm].
    low, high : float
        Range in z of a cylinder, in radius of a disc [cm].
    x_over_x0 : float
        Thickness along the normal in radiation lengths.
    areal_density : float
        Thickness along the normal for the energy loss [g/cm2].
    resolution_rphi : float
        Of a hit, across the radius [cm]; 0 for inert material.
    resolution_z : float
        Of a hit along z (cylinder) or along the radius (disc) [cm]; 0 for inert material.
    efficiency : float
        Probability of a hit.
    is_inert : bool
        Only material: no hit.
    """

    name: str
    kind: Literal["cylinder", "disc"]
    position: float
    low: float
    high: float
    x_over_x0: float
    areal_density: float
    resolution_rphi: float
    resolution_z: float
    efficiency: float
    is_inert: bool


@dataclass(frozen=True)
class Layout:
    """A tracker.

    Attributes
    ----------
    name : str
        Of the detector.
    field : float
        Field along z [T].
    layers : tuple of Layer
        In any order.
    minimum_hits : int
        Right hits that a track needs; the efficiency counts them, and no track is found that crosses fewer layers.
    maximum_wrong_hits : int
        Hits of other particles that a found track may have.
    maximum_snp : float
        Largest sine of the angle of incidence, in the transverse plane, under which a cylinder gives a hit. A particle
        of curvature radius R meets a cylinder of radius r under r/(2 R). (Default: DetectorK of DelphesO2.)
    minimum_radius : float
        The helix must be able to reach this radius [cm] under `maximum_snp`: pt >= 0.3 |charge| B r/(2 maximum_snp).
    energy_straggling : bool
        Let the fluctuation of the energy loss enter the covariance.
    source : str
        Where the numbers come from.
    """

    name: str
    field: float
    layers: tuple[Layer, ...]
    minimum_hits: int = FEWEST_HITS
    maximum_wrong_hits: int = 0
    maximum_snp: float = 0.85
    minimum_radius: float = 0.0
    energy_straggling: bool = True
    source: str = ""

    def __post_init__(self) -> None:
        n_active = sum(not layer.is_inert for layer in self.layers)
        if self.field == 0.0:
            raise LutError("a tracker without a field measures no momentum; allowed: any field but 0 T", self.name)
        if self.minimum_hits < FEWEST_HITS:
            raise LutError(f"{self.minimum_hits} minimum hits; allowed: {FEWEST_HITS} or more", self.name)
        if not 0.0 < self.maximum_snp <= 1.0:
            raise LutError(f"maximum_snp {self.maximum_snp:g}; allowed: above 0, at most 1", self.name)
        if n_active < self.minimum_hits:
            raise LutError(f"{n_active} measuring layers cannot give {self.minimum_hits} hits", self.name)
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            doubled = sorted({name for name in names if names.count(name) > 1})
            raise LutError(f"layer names must differ; doubled: {', '.join(doubled)}", self.name)

    @property
    def is_symmetric(self) -> bool:
        """True if the tracker looks the same from both sides in z."""
        cylinders = all(layer.low == -layer.high for layer in self.layers if layer.kind == "cylinder")
        discs = [tuple(asdict(layer).items())[2:] for layer in self.layers if layer.kind == "disc"]
        flipped = [(("position", -disc[0][1]), *disc[1:]) for disc in discs]
        return cylinders and sorted(discs) == sorted(flipped)

    @property
    def sha256(self) -> str:
        """Hash of all numbers of the layout, for the header of the tables."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def rows(self) -> NDArray[np.float64]:
        """(n, 10) surfaces for :func:`flashdet.kernels.trace.trace`."""
        return surface_rows([_surface(layer) for layer in self.layers])


def _surface(layer: Layer) -> dict[str, Any]:
    return {
        "kind": 0.0 if layer.kind == "cylinder" else 1.0,
        "position": layer.position,
        "low": layer.low,
        "high": layer.high,
        "x_over_x0": layer.x_over_x0,
        "thickness": layer.areal_density,
        "sigma_1": layer.resolution_rphi,
        "sigma_2": layer.resolution_z,
        "efficiency": layer.efficiency,
        "active": 0.0 if layer.is_inert else 1.0,
    }
