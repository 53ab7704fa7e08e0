"""How precisely a surface measures times: core resolution along the pseudorapidity, and tails.

Here are the configuration, its packing into arrays, and the sampling. Which surface is hit and what is made of the
time belongs to :mod:`.stage`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, WrapValidator

from flashdet.config import StrictModel, Time
from flashdet.kernels.jit import inline
from flashdet.kernels.philox import uniforms

Floats = NDArray[np.float64]

#: Codes of the tails for kernels.
GAUSSIAN, Q_GAUSSIAN, EXPONENTIAL = 0, 1, 2
#: Range of the q-Gaussian in core widths, as in the DelphesO2 card with tails.
_BELOW, _ABOVE = -10.0, 20.0
#: Nodes of the tabulated distribution: 2.5e-3 of the core width apart, far below any effect.
_N_NODES = 12001


# --- configuration ---------------------------------------------------------------------------------------------------
class ResolutionNode(StrictModel):
    """Resolution at one pseudorapidity; linear between nodes, constant beyond the first and the last."""

    eta: Annotated[float, Field(ge=0)]
    """Absolute pseudorapidity of the hit as seen from the centre of the detector."""
    sigma: Time
    """Standard deviation of the core there."""


_Nodes = Annotated[tuple[ResolutionNode, ...], Field(min_length=1)]


class SurfaceResolutions(StrictModel):
    """Resolutions that differ between the surfaces of a detector."""

    surfaces: Annotated[tuple[SurfaceResolution, ...], Field(min_length=1)]
    """One entry per surface, in the order of ``shape``: a time, or a list of ``{eta, sigma}``."""


def _increasing(nodes: tuple[ResolutionNode, ...]) -> tuple[ResolutionNode, ...]:
    if any(b.eta <= a.eta for a, b in itertools.pairwise(nodes)):
        raise ValueError("eta must increase from node to node")
    return nodes


_TIME: TypeAdapter[float] = TypeAdapter(Time)
_NODES: TypeAdapter[tuple[ResolutionNode, ...]] = TypeAdapter(_Nodes)


def _time_or_nodes(value: object, _: Callable[[object], Any]) -> Any:
    """A list is read as nodes and anything else as a time, so that an error speaks of what was meant."""
    if isinstance(value, list | tuple):
        return _increasing(_NODES.validate_python(value))
    return _TIME.validate_python(value)


def _any_resolution(value: object, _: Callable[[object], Any]) -> Any:
    if isinstance(value, dict | SurfaceResolutions):
        return SurfaceResolutions.model_validate(value)
    return _time_or_nodes(value, _)


#: A time, or nodes along the pseudorapidity.
SurfaceResolution = Annotated[Time | _Nodes, WrapValidator(_time_or_nodes)]
#: The same for all surfaces, or one for each.
Resolution = Annotated[Time | _Nodes | SurfaceResolutions, WrapValidator(_any_resolution)]
SurfaceResolutions.model_rebuild()


class QGaussian(StrictModel):
    """Two-sided q-Gaussian: density e_q(-x^2/2) with q of either side, x in core widths from -10 to 20.

    e_q(y) = (1 + (1 - q) y)^(1/(1 - q)), which is exp(y) for q = 1 and has power-law tails above. It is that of the
    DelphesO2 card with tails (module TimeSmearingTail).
    """

    kind: Literal["q_gaussian"]
    """Which tails."""
    q_left: Annotated[float, Field(ge=1, lt=3)] = 1.0
    """Early side."""
    q_right: Annotated[float, Field(ge=1, lt=3)] = 1.0
    """Late side."""


class Exponential(StrictModel):
    """A share of the hits is late by an exponential time; share 1: the exponentially modified Gaussian."""

    kind: Literal["exponential"]
    """Which tails."""
    fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the hits."""
    decay: Time
    """Mean delay."""


Tails = Annotated[QGaussian | Exponential, Field(discriminator="kind")]


# --- physics ---------------------------------------------------------------------------------------------------------
def q_exponential(y: Floats, q: float) -> Floats:
    """q-exponential (1 + (1 - q) y)^(1/(1 - q)) for y <= 0 and 1 <= q < 3 (C. Tsallis, J. Stat. Phys. 52 (1988) 479).

    Parameters
    ----------
    y : (n,) float64
        Not positive.
    q : float
        1 gives the exponential function.

    Returns
    -------
    (n,) float64
    """
    return np.exp(y) if q == 1.0 else (1.0 + (1.0 - q) * y) ** (1.0 / (1.0 - q))


def q_gaussian_table(q_left: float, q_right: float) -> Floats:
    """Cumulative distribution of the two-sided q-Gaussian.

    Parameters
    ----------
    q_left, q_right : float
        Of the early and of the late side.

    Returns
    -------
    (2, n_nodes) float64
        Position in core widths, and probability below it, from 0 to 1.
    """
    x = np.linspace(_BELOW, _ABOVE, _N_NODES)
    density = np.where(x < 0, q_exponential(-0.5 * x * x, q_left), q_exponential(-0.5 * x * x, q_right))
    steps = 0.5 * (density[1:] + density[:-1])
    below = np.concatenate([[0.0], np.cumsum(steps)])
    return np.ascontiguousarray([x, below / below[-1]])


class Response(NamedTuple):
    """Time response of a detector, for kernels.

    Attributes
    ----------
    nodes : (n_surfaces, 2, n_nodes) float64
        |eta| and resolution [ns] of each node; short lists repeat their last node.
    tail : int
        `GAUSSIAN`, `Q_GAUSSIAN` or `EXPONENTIAL`.
    table : (2, n) float64
        Cumulative distribution of `Q_GAUSSIAN`; else one node.
    fraction, decay : float
        Parameters of `EXPONENTIAL` [1, ns].
    """

    nodes: Floats
    tail: int
    table: Floats
    fraction: float
    decay: float


def pack_response(resolution: Any, tails: QGaussian | Exponential | None, n_surfaces: int) -> Response:
    """Configuration as arrays.

    Parameters
    ----------
    resolution : float, tuple of ResolutionNode or SurfaceResolutions
        From the configuration.
    tails : QGaussian, Exponential or None
        From the configuration.
    n_surfaces : int
        Surfaces of the detector.

    Returns
    -------
    Response
    """
    lists = resolution.surfaces if isinstance(resolution, SurfaceResolutions) else (resolution,) * n_surfaces
    pairs = [[(0.0, r)] if isinstance(r, float) else [(node.eta, node.sigma) for node in r] for r in lists]
    length = max(map(len, pairs))
    nodes = np.array([p + p[-1:] * (length - len(p)) for p in pairs], np.float64).transpose(0, 2, 1)
    tail, table, fraction, decay = GAUSSIAN, np.zeros((2, 1)), 0.0, 0.0
    if isinstance(tails, QGaussian) and (tails.q_left, tails.q_right) != (1.0, 1.0):
        tail, table = Q_GAUSSIAN, q_gaussian_table(tails.q_left, tails.q_right)
    elif isinstance(tails, Exponential):
        tail, fraction, decay = EXPONENTIAL, tails.fraction, tails.decay
    return Response(np.ascontiguousarray(nodes), tail, table, fraction, decay)


# --- kernel helpers --------------------------------------------------------------------------------------------------
@inline
def resolution_at(nodes: Floats, surface: int, x: float, y: float, z: float) -> float:
    """Resolution [ns] of a surface at a point [cm]; `nodes` as in :class:`Response`."""
    n = nodes.shape[2]
    if n == 1:
        return nodes[surface, 1, 0]  # type: ignore[no-any-return]
    eta = abs(math.asinh(z / math.sqrt(x * x + y * y))) if x != 0.0 or y != 0.0 else np.inf
    sigma = nodes[surface, 1, 0]
    for k in range(n - 1):
        low, high = nodes[surface, 0, k], nodes[surface, 0, k + 1]
        if eta > low and high > low:
            share = min(1.0, (eta - low) / (high - low))
            sigma = nodes[surface, 1, k] + share * (nodes[surface, 1, k + 1] - nodes[surface, 1, k])
    return sigma  # type: ignore[no-any-return]


@inline
def quantile(table: Floats, u: float) -> float:
    """Position below which the probability of a tabulated distribution is u: bisection, linear between nodes."""
    low, high = 0, table.shape[1] - 1
    while high - low > 1:
        middle = (low + high) // 2
        if table[1, middle] <= u:
            low = middle
        else:
            high = middle
    share = (u - table[1, low]) / (table[1, high] - table[1, low])
    return table[0, low] + share * (table[0, high] - table[0, low])  # type: ignore[no-any-return]


@inline
def draw_error(
    normal: float, sigma: float, response: Response, key: np.uint64, event_key: np.uint64, index: int, slot: int
) -> float:
    """Error of one time [ns]; uses the slot for tails.

    Parameters
    ----------
    normal : float
        Standard normal number.
    sigma : float
        Core width [ns].
    response : Response
        Time response of the detector.
    key, event_key, index, slot
        Of :mod:`flashdet.kernels.philox`.

    Returns
    -------
    float
    """
    if response.tail == GAUSSIAN:
        return sigma * normal
    u, v = uniforms(key, event_key, index, slot)
    if response.tail == Q_GAUSSIAN:
        return sigma * quantile(response.table, u)
    return sigma * normal - (response.decay * math.log(v) if u < response.fraction else 0.0)
