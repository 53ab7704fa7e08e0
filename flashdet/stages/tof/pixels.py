"""Pixels with insensitive borders: which points of a surface see a particle.

Here are their configuration, the packing into an array and the test of a point; surfaces are in
:mod:`flashdet.stages.surface`.
"""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.config import Length, StrictModel
from flashdet.kernels.jit import inline
from flashdet.stages.surface import CYLINDER, Surface

Floats = NDArray[np.float64]


# --- configuration ---------------------------------------------------------------------------------------------------
class Pixels(StrictModel):
    """Rectangular pixels that tile a surface, each with an insensitive border of the same width all around."""

    r_phi: Length
    """Size along the circumference of a cylinder, along x on a disc."""
    z: Length
    """Size along the beam on a cylinder, along y on a disc."""
    inactive_fraction: Annotated[float, Field(ge=0, lt=1)]
    """Share of the area that the borders cover."""


# --- physics ---------------------------------------------------------------------------------------------------------
def border(width: float, height: float, fraction: float) -> float:
    """Width of a border that covers a fraction f of a rectangle.

    The active part (w - 2b)(h - 2b) = (1 - f) w h gives b = (w + h - sqrt((w + h)^2 - 4 f w h))/4, written here
    without cancellation.

    Parameters
    ----------
    width, height : float
        Sides [cm].
    fraction : float
        Covered share, 0 to 1.

    Returns
    -------
    float
        Width [cm].
    """
    both, covered = width + height, fraction * width * height
    return covered / (both + math.sqrt(both * both - 4.0 * covered))


def pack_pixels(pixels: Pixels | None, shape: tuple[Surface, ...]) -> Floats:
    """Pixels of each surface as an array for kernels.

    A cylinder holds a whole number of pixels around and along it: the sizes are rounded to the nearest that fit, so
    that no pixel is cut and the covered share is exact. On a disc the grid is centred on the beam; its edge cuts some.

    Parameters
    ----------
    pixels : Pixels or None
        None: all of the surface is sensitive.
    shape : tuple of Surface
        Surfaces of the detector.

    Returns
    -------
    (n_surfaces, 3) float64
        Size across and along, and width of the border [cm]; no rows without pixels.
    """
    if pixels is None or pixels.inactive_fraction == 0.0:
        return np.empty((0, 3))
    rows = []
    for surface in shape:
        width, height = pixels.r_phi, pixels.z
        if surface.cylinder is not None:
            around, length = 2.0 * math.pi * surface.cylinder.radius, 2.0 * surface.cylinder.half_length
            width, height = around / max(1, round(around / width)), length / max(1, round(length / height))
        rows.append((width, height, border(width, height, pixels.inactive_fraction)))
    return np.array(rows, np.float64)


# --- kernel helper ---------------------------------------------------------------------------------------------------
@inline
def is_sensitive(pixels: Floats, surfaces: Floats, surface: int, x: float, y: float, z: float) -> bool:
    """Whether a point of a surface lies within the borders of its pixel.

    Parameters
    ----------
    pixels : (n_surfaces, 3) or (0, 3) float64
        From :func:`pack_pixels`.
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    surface : int
        The surface.
    x, y, z : float
        The point [cm].

    Returns
    -------
    bool
    """
    if pixels.shape[0] == 0:
        return True
    width, height, edge = pixels[surface, 0], pixels[surface, 1], pixels[surface, 2]
    if surfaces[surface, 0] == CYLINDER:
        # the azimuth may be negative: the fraction of a pixel below is that of the floor
        across, along = surfaces[surface, 1] * math.atan2(y, x) / width, (z + surfaces[surface, 2]) / height
    else:
        across, along = x / width, y / height
    across -= math.floor(across)
    along -= math.floor(along)
    inside_across: bool = edge <= across * width <= width - edge
    inside_along: bool = edge <= along * height <= height - edge
    return inside_across and inside_along
