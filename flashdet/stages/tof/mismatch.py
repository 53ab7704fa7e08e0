"""Tracks matched to hits that are not theirs: from a template of times, or from the other tracks of the event.

Here are the configuration and the replacement of times. It happens after the detector has measured its own hits
(:mod:`.stage`) and before anything is made of them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flashdet.config import AnyTime, Length, StrictModel
from flashdet.kernels.gradients import covariance, place_on_surface
from flashdet.kernels.helix import advance, curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.surface import CYLINDER, crossing
from flashdet.stages.tof.timeresponse import quantile
from flashdet.units import C_LIGHT

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slot of the random numbers of a track.
_SLOT_MISMATCH = 4
#: Nodes of the tabulated template.
_N_NODES = 4096
#: Rings of equal width (in z on cylinders, in r on discs) in each of which the density of hits is taken as even. On the
#: forward discs of ALICE 3 it falls by a factor of 40 from the inner to the outer edge: one density for all would be
#: eleven times too small at the inner edge.
_N_RINGS = 16


# --- configuration ---------------------------------------------------------------------------------------------------
class TemplateNode(StrictModel):
    """Density of the template at one time; linear between nodes, zero outside."""

    time: AnyTime
    """Measured time since the collision, less the time of light on the straight line from the centre to the hit."""
    density: Annotated[float, Field(ge=0)]
    """Relative density there."""


class TemplateMismatch(StrictModel):
    """A share of the hits has times from a template, as in the mismatch of DelphesO2 (``TOFLayer``)."""

    kind: Literal["template"]
    """Which model."""
    probability: Annotated[float, Field(gt=0, le=1)]
    """Share of the hits."""
    template: Annotated[tuple[TemplateNode, ...], Field(min_length=2)]
    """Density of times."""

    @field_validator("template")
    @classmethod
    def _check_template(cls, value: tuple[TemplateNode, ...]) -> tuple[TemplateNode, ...]:
        times = [node.time for node in value]
        if any(b <= a for a, b in itertools.pairwise(times)) or not any(node.density for node in value):
            raise ValueError("times must increase from node to node, and one density must be above zero")
        return value


class OccupancyMismatch(StrictModel):
    """A track takes the nearest hit of its surface, which may be that of another track of the event.

    The density of hits is that of the ring of the surface, in the same event, in which the track arrives.
    """

    kind: Literal["occupancy"]
    """Which model."""
    position_error: Length
    """Error of the place of a hit in each direction, added to that of the extrapolated track."""
    hits_per_track: Annotated[float, Field(gt=0)] = 1.0
    """Hits on the surface for each that belongs to an accepted track: secondaries and noise raise it."""


Mismatch = Annotated[TemplateMismatch | OccupancyMismatch, Field(discriminator="kind")]


# --- physics ---------------------------------------------------------------------------------------------------------
@inline
def wrong_probability(density: float, area: float) -> float:
    """Probability that a foreign hit is nearer to the extrapolated track than its own.

    With normal errors of covariance C the squared distance r^2 of the own hit is chi2-distributed with two degrees of
    freedom; a foreign hit is not within it with exp(-density pi r^2 sqrt(det C)). The mean over r^2 is
    1/(1 + 2 pi density sqrt(det C)).

    Parameters
    ----------
    density : float
        Foreign hits per area [1/cm^2], evenly spread.
    area : float
        sqrt(det C) [cm^2].

    Returns
    -------
    float
    """
    x = 2.0 * math.pi * density * area
    return x / (1.0 + x)


def ring_areas(surfaces: Floats) -> Floats:
    """Areas of the rings of equal width of each surface.

    Parameters
    ----------
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.

    Returns
    -------
    (n_surfaces, n_rings) float64
        [cm^2].
    """
    edges = np.linspace(0.0, 1.0, _N_RINGS + 1)
    areas = np.empty((len(surfaces), _N_RINGS))
    for row, (kind, place, first, second) in zip(areas, surfaces, strict=True):
        if kind == CYLINDER:
            row[:] = 2.0 * np.pi * place * 2.0 * first / _N_RINGS
        else:
            row[:] = np.pi * np.diff(np.square(first + (second - first) * edges))
    return areas


def template_table(template: tuple[TemplateNode, ...]) -> Floats:
    """Cumulative distribution of a density that is linear between nodes, for `.timeresponse.quantile`.

    Parameters
    ----------
    template : tuple of TemplateNode

    Returns
    -------
    (2, n) float64
        Times [ns] and probabilities below them, from 0 to 1.
    """
    nodes, density = np.array([(node.time, node.density) for node in template]).T
    times = np.union1d(np.linspace(nodes[0], nodes[-1], _N_NODES), nodes)
    values = np.interp(times, nodes, density)
    below = np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(times))])
    return np.ascontiguousarray([times, below / below[-1]])


def mismatch_hits(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event: Mapping[str, NDArray[Any]], bz: float,
    surfaces: Floats, hits: tuple[NDArray[np.int8], Floats, Floats], config: Mismatch, draw: Draw,
    is_wrong: NDArray[np.bool_],
) -> None:  # fmt: skip
    """Replace times of hits by those of others, in place.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table.
    offsets : (n_events + 1,) int64
        Rows of each event.
    event : mapping of str to array
        Columns ``key``, and for templates ``vt`` and ``collision_time``.
    bz : float
        Field [T].
    surfaces : (n_surfaces, 4) float64
        From `flashdet.stages.surface.pack`.
    hits : tuple of (n,) array
        Surface, true path [cm] and measured time [ns] of each hit; the time changes.
    config : TemplateMismatch or OccupancyMismatch
        The model.
    draw : Draw
        Random numbers.
    is_wrong : (n,) bool
        False; becomes true where the time is not that of the track's own hit.
    """
    surface, path, time = hits
    if isinstance(config, TemplateMismatch):
        _template_kernel(
            offsets, event["key"], event["vt"] + event["collision_time"], track["particle_index"], track["vx_true"],
            track["vy_true"], track["vz_true"], track["pt_true"], track["eta_true"], track["phi_true"],
            track["charge_true"], float(bz), surface, path, config.probability, template_table(config.template),
            draw.key, time, is_wrong,
        )  # fmt: skip
        return
    n = len(surface)
    _occupancy_kernel(
        offsets, event["key"], track["particle_index"], track["y"], track["z"], track["snp"], track["tgl"],
        track["q_over_pt"], track["cov"], float(bz), surfaces, surface, config.hits_per_track / ring_areas(surfaces),
        config.position_error, np.empty((len(surfaces), _N_RINGS), np.int64), np.empty(n), np.empty(n, np.int64),
        draw.key, time.copy(), time, is_wrong,
    )  # fmt: skip


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _template_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], start: Floats, particle_index: NDArray[np.int32], vx: Floats,
    vy: Floats, vz: Floats, pt: Floats, eta: Floats, phi: Floats, charge: NDArray[np.int8], bz: float,
    surface: NDArray[np.int8], path: Floats, probability: float, table: Floats, key: np.uint64, time: Floats,
    is_wrong: NDArray[np.bool_],
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            if surface[i] < 0:
                continue
            u, v = uniforms(key, event_key[event], particle_index[i], _SLOT_MISMATCH)
            if u >= probability:
                continue
            s = path[i] / math.cosh(eta[i])
            k = curvature(charge[i] / pt[i], bz)
            x, y, z, _ = advance(vx[i], vy[i], vz[i], phi[i], math.sinh(eta[i]), k, s)
            time[i] = start[event] + math.sqrt(x * x + y * y + z * z) / C_LIGHT + quantile(table, v)
            is_wrong[i] = True


@inline
def _match_area(
    y: float, z: float, snp: float, tgl: float, q_over_pt: float, cov: Floats, bz: float, surfaces: Floats,
    surface: int, position_error: float,
) -> tuple[float, int]:  # fmt: skip
    """Root of the determinant of the covariance of track and hit on the surface [cm^2], and the ring; -1: not reached.

    Measured tracks may pass a little outside the edge: they belong to the outermost ring.
    """
    k = curvature(q_over_pt, bz)
    is_reached, path, u, w, place, _ = crossing(0.0, y, z, math.asin(snp), tgl, k, surfaces, surface)
    if not is_reached:
        return 0.0, -1
    is_cylinder = surfaces[surface, 0] == CYLINDER
    across, along = place_on_surface(y, snp, tgl, q_over_pt, bz, u, w, path, is_cylinder)
    floor = position_error * position_error
    mixed = covariance(across, along, cov)
    square = (covariance(across, across, cov) + floor) * (covariance(along, along, cov) + floor) - mixed * mixed
    if is_cylinder:
        part = 0.5 * (place / surfaces[surface, 2] + 1.0)
    else:
        part = (math.sqrt(u * u + w * w) - surfaces[surface, 2]) / (surfaces[surface, 3] - surfaces[surface, 2])
    ring = min(max(math.floor(part * _N_RINGS), 0), _N_RINGS - 1)
    return math.sqrt(max(0.0, square)), ring


@kernel
def _occupancy_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], y: Floats, z: Floats,
    snp: Floats, tgl: Floats, q_over_pt: Floats, cov: Floats, bz: float, surfaces: Floats, surface: NDArray[np.int8],
    inverse_area: Floats, position_error: float, n_hits: Integers, area: Floats, ring: Integers, key: np.uint64,
    own_time: Floats, time: Floats, is_wrong: NDArray[np.bool_],
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        begin, end = offsets[event], offsets[event + 1]
        n_hits[:] = 0
        for i in range(begin, end):
            ring[i] = -1
            if surface[i] >= 0:
                area[i], ring[i] = _match_area(
                    y[i], z[i], snp[i], tgl[i], q_over_pt[i], cov[i], bz, surfaces, surface[i], position_error
                )  # fmt: skip
            if ring[i] >= 0:
                n_hits[surface[i], ring[i]] += 1
        for i in range(begin, end):
            n_others = n_hits[surface[i], ring[i]] - 1 if ring[i] >= 0 else 0
            if n_others == 0:
                continue
            u, v = uniforms(key, event_key[event], particle_index[i], _SLOT_MISMATCH)
            if u >= wrong_probability(n_others * inverse_area[surface[i], ring[i]], area[i]):
                continue
            # any other hit of the ring with the same chance
            left = int(v * n_others)
            for other in range(begin, end):
                if surface[other] == surface[i] and ring[other] == ring[i] and other != i:
                    if left == 0:
                        time[i], is_wrong[i] = own_time[other], True
                        break
                    left -= 1
