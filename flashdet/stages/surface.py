"""Sensitive surfaces of a detector: cylinders around the beam line and discs across it.

Here are their configuration, their packing into one array and the search for the surface that a helix meets first. The
helix itself is in :mod:`flashdet.kernels.helix`; what a detector measures at its surface belongs to its stage.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, GetJsonSchemaHandler, WrapValidator, model_validator
from pydantic_core import CoreSchema

from flashdet.config import AnyLength, Length, LengthOrZero, StrictModel
from flashdet.kernels.helix import REACHED, to_cylinder, to_plane
from flashdet.kernels.jit import inline

#: First number of a packed surface.
CYLINDER = 0.0
DISC = 1.0
#: A particle that has to turn more often on its way to a surface does not get there: it crosses the material of the
#: tracker twice in every turn. Slow forward particles need up to one and a half turns to discs at 4 m; without a limit,
#: particles across the beam would arrive after kilometres.
MAX_TURNS = 2.0
_MAX_ANGLE = 2.0 * math.pi * MAX_TURNS


# --- configuration ---------------------------------------------------------------------------------------------------
class Cylinder(StrictModel):
    """A cylinder around the z axis, met by particles from inside."""

    radius: Length
    """Radius."""
    half_length: Length
    """It covers |z| up to this."""


class Disc(StrictModel):
    """A disc across the z axis; particles get to it within two turns or not at all."""

    z: AnyLength
    """Position, with its sign: an end-cap on both sides is two discs."""
    r_min: LengthOrZero
    """Inner radius."""
    r_max: Length
    """Outer radius."""

    @model_validator(mode="after")
    def _check_radii(self) -> Self:
        if not self.r_min < self.r_max:
            raise ValueError(f"r_min ({self.r_min:g} cm) must be smaller than r_max ({self.r_max:g} cm)")
        return self


class Surface(StrictModel):
    """One surface: ``cylinder: {radius, half_length}`` or ``disc: {z, r_min, r_max}``."""

    cylinder: Cylinder | None = None
    """A cylinder around the z axis."""
    disc: Disc | None = None
    """A disc across the z axis."""

    @model_validator(mode="after")
    def _check_one(self) -> Self:
        if (self.cylinder is None) == (self.disc is None):
            raise ValueError("a surface is either a cylinder or a disc; give exactly one of them")
        return self

    def pack(self) -> tuple[float, float, float, float]:
        """(CYLINDER, radius, half_length, 0) or (DISC, z, r_min, r_max) [cm]."""
        if self.cylinder is not None:
            return CYLINDER, self.cylinder.radius, self.cylinder.half_length, 0.0
        assert self.disc is not None
        return DISC, self.disc.z, self.disc.r_min, self.disc.r_max


def _one_or_many(value: object, many: Callable[[object], Any]) -> Any:
    """Accept a lone surface as a list of one; errors keep the path of the card."""
    if isinstance(value, dict):
        return (Surface.model_validate(value),)
    return many(value)


class _OneOrManySchema:
    """Tells editors that a lone surface needs no list."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        many = handler(schema)
        return {"anyOf": [many["items"], many]}


#: One surface or a list of them: the shape of a detector. The order gives the index in the ``surface`` column.
Shape = Annotated[
    tuple[Surface, ...],
    Field(min_length=1, max_length=127),
    WrapValidator(_one_or_many),
    _OneOrManySchema(),
]


def pack(shape: tuple[Surface, ...]) -> NDArray[np.float64]:
    """Surfaces as an array for kernels.

    Parameters
    ----------
    shape : tuple of Surface

    Returns
    -------
    (n_surfaces, 4) float64
        Rows (CYLINDER, radius, half_length, 0) or (DISC, z, r_min, r_max) [cm].
    """
    return np.array([surface.pack() for surface in shape], np.float64)


# --- kernel helpers --------------------------------------------------------------------------------------------------
@inline
def crossing(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, surfaces: NDArray[np.float64], i: int
) -> tuple[bool, float, float, float, float, float]:
    """Cross one surface, continued without bounds.

    Parameters
    ----------
    x, y, z, phi, tgl, k : float
        State of :mod:`flashdet.kernels.helix`.
    surfaces : (n_surfaces, 4) float64
        From :func:`pack`.
    i : int
        The surface.

    Returns
    -------
    is_reached : bool
        True if the helix gets to it; a cylinder is only reached from inside.
    path : float
        Length in space [cm].
    x, y, z : float
        Where [cm].
    phi : float
        Azimuth of the momentum there [rad].
    """
    if surfaces[i, 0] == CYLINDER:
        status, path, x, y, z, phi = to_cylinder(x, y, z, phi, tgl, k, surfaces[i, 1])
    else:
        status, path, x, y, z, phi = to_plane(x, y, z, phi, tgl, k, surfaces[i, 1])
    return status == REACHED, path, x, y, z, phi


@inline
def first_crossing(
    x: float, y: float, z: float, phi: float, tgl: float, k: float, surfaces: NDArray[np.float64]
) -> tuple[int, float, float, float, float, float]:
    """Find the surface that a helix meets first within its bounds and within `MAX_TURNS`.

    Parameters
    ----------
    x, y, z, phi, tgl, k : float
        State of :mod:`flashdet.kernels.helix`, e.g. at the production vertex.
    surfaces : (n_surfaces, 4) float64
        From :func:`pack`.

    Returns
    -------
    i : int
        Index of the surface, -1 if none is met. A particle made outside a cylinder does not meet it.
    path : float
        Length in space to it [cm].
    x, y, z : float
        Where [cm].
    phi : float
        Azimuth of the momentum there [rad].
    """
    best = -1
    best_path, best_x, best_y, best_z, best_phi = np.inf, x, y, z, phi
    for i in range(surfaces.shape[0]):
        is_reached, path, hit_x, hit_y, hit_z, hit_phi = crossing(x, y, z, phi, tgl, k, surfaces, i)
        if not is_reached or not path < best_path or abs(k) * path > _MAX_ANGLE * math.sqrt(1.0 + tgl * tgl):
            continue
        if surfaces[i, 0] == CYLINDER:
            is_inside = abs(hit_z) <= surfaces[i, 2]
        else:
            square = hit_x * hit_x + hit_y * hit_y
            is_inside = surfaces[i, 2] * surfaces[i, 2] <= square <= surfaces[i, 3] * surfaces[i, 3]
        if is_inside:
            best = i
            best_path, best_x, best_y, best_z, best_phi = path, hit_x, hit_y, hit_z, hit_phi
    return best, best_path, best_x, best_y, best_z, best_phi
