"""Axes of the tables of a layout: a fine one for particles from the beam line, coarser ones for those made farther out.

A particle made at radius r crosses only what lies beyond r. Between two cylinders nothing depends on r, so each shell
between them gets a table of its own and nothing is interpolated across the step at a layer. How a table is filled is
in :mod:`flashdet.lut.tracker`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

from flashdet.lut.axis import Axis
from flashdet.lut.layout import Layout

#: Edges of shells lie this fraction inside their cylinder, so that what is made in a layer (a converted photon, at the
#: layer's radius but for rounding) counts as made behind it: without a hit there.
_INSIDE = 1e-7
#: Cylinders nearer to another one than this ratio do not begin a shell, unless they are inert and thicker than this
#: [x/X0]: then much is made in them, and whether a particle crosses them decides its resolution.
_RATIO, _THICK = 1.15, 0.005
#: Widest shell of a layout with discs, in cm and as ratio of its edges: a disc at z is left out for particles from
#: beyond r = z/sinh(eta), which is another radius for each eta.
_WIDEST, _WIDEST_RATIO = 5.0, 1.6


@dataclass(frozen=True)
class Axes:
    """Axes of one table of the analytic tracker.

    Attributes
    ----------
    nch : Axis
        dN_ch/deta.
    eta : Axis
        Pseudorapidity; symmetric about 0.
    pt : Axis
        True transverse momentum [GeV].
    radius : Axis
        Production radius [cm]; one bin. A table that begins at 0 is made for the beam line, another one for the middle
        of its bin.
    """

    nch: Axis
    eta: Axis
    pt: Axis
    radius: Axis

    @property
    def production_radius(self) -> float:
        """Radius that the table is made for [cm]."""
        return 0.0 if self.radius.low == 0.0 else 0.5 * (self.radius.low + self.radius.high)


#: Of particles from the beam line. Chosen such that linear interpolation in (log nch, eta, log pt) is within 2 % of the
#: exact sigma away from the edges of layers (tests/physics/test_tracker_tables.py).
DEFAULT_AXES = Axes(
    nch=Axis("nch", "", 12, 1.0, 1e4, "log", "clamp", "linear"),
    eta=Axis("eta", "", 80, -4.0, 4.0, "linear", "reject", "linear"),
    pt=Axis("pt", "GeV", 120, 0.01, 100.0, "log", "clamp", "linear"),
    radius=Axis("radius", "cm", 1, 0.0, 0.5, "linear", "clamp", "none"),
)
#: Of displaced particles: coarser, because there are many tables and few such particles.
DISPLACED_AXES = Axes(
    nch=Axis("nch", "", 6, 1.0, 1e4, "log", "clamp", "linear"),
    eta=Axis("eta", "", 40, -4.0, 4.0, "linear", "reject", "linear"),
    pt=Axis("pt", "GeV", 60, 0.03, 100.0, "log", "clamp", "linear"),
    radius=Axis("radius", "cm", 1, 0.5, 1.0, "linear", "reject", "none"),
)


def default_axes(layout: Layout) -> tuple[Axes, ...]:
    """Axes of a layout's tables, from inside out.

    Parameters
    ----------
    layout : Layout

    Returns
    -------
    tuple of Axes
        The first for particles from within the innermost measuring cylinder, then one per shell of
        `production_radii`. Beyond the last one the rule is to reject: nothing made there can be tracked.
    """
    edges = production_radii(layout)
    radii = [replace(DISPLACED_AXES.radius, low=low, high=high) for low, high in pairwise(edges)]
    first = replace(DEFAULT_AXES.radius, high=edges[0])
    return (replace(DEFAULT_AXES, radius=first), *(replace(DISPLACED_AXES, radius=radius) for radius in radii))


def production_radii(layout: Layout) -> tuple[float, ...]:
    """Edges of the shells of production radius outside the innermost one.

    Every measuring cylinder begins a shell, and so does material between two of them unless it is thin and close to
    one; shells of layouts with discs are divided until they are narrow. They go on to the farthest layer, whether or
    not something made there can be tracked.

    Parameters
    ----------
    layout : Layout

    Returns
    -------
    tuple of float
        Increasing [cm]; at least one.
    """
    cylinders = [layer for layer in layout.layers if layer.kind == "cylinder"]
    discs = [layer for layer in layout.layers if layer.kind == "disc"]
    measuring = sorted({layer.position for layer in cylinders if not layer.is_inert})
    edges = [measuring[0] if measuring else DEFAULT_AXES.radius.high]
    for radius in measuring[1:]:
        if radius >= _RATIO * edges[-1]:
            edges.append(radius)
    inert = [layer for layer in cylinders if layer.is_inert and layer.position > edges[0]]
    for layer in sorted(inert, key=lambda layer: layer.position):
        radius = layer.position
        is_apart = all(max(radius, edge) >= _RATIO * min(radius, edge) for edge in edges)
        if is_apart or (layer.x_over_x0 > _THICK and radius not in edges):
            edges = sorted([*edges, radius])
    if discs:
        edges.append(max(edges[-1], max(disc.high for disc in discs)))
        edges = _divided(edges)
    return tuple(edge * (1.0 - _INSIDE) for edge in edges)


def _divided(edges: list[float]) -> list[float]:
    """Cut intervals into equal ones that are not too wide."""
    finer = [edges[0]]
    for low, high in pairwise(edges):
        n = math.ceil(max((high - low) / _WIDEST, math.log(high / low) / math.log(_WIDEST_RATIO)) - 1e-9)
        finer += [low + (high - low) * (i + 1) / n for i in range(n)]
    return finer
