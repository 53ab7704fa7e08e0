"""Blocks of rings: the values that kernels work on, one place after the other, so that loops use vectors of rings.

Constants of the tiles, and radius, resolution and losses of the rings of a block, are here because light and
measurement share them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline
from flashdet.stages.rich.optics import (
    ANNULUS,
    EDGE_A,
    EDGE_B,
    FREE,
    N_OPTIC,
    RECTANGLE,
    kept_by_annulus,
    kept_by_rectangle,
    photon_variance,
    ring_radius,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Tracks of a block.
BLOCK = 64
#: Places of the values of a block. The first N_OPTIC are the constants of the tiles; then the place on the tile and the
#: ring: angle, its cosine and sine, radius, variance of a photon (later the squared error of the angle), share of the
#: ring on the tile.
_PLACES = range(N_OPTIC * BLOCK, (N_OPTIC + 32) * BLOCK, BLOCK)
U, V, ANGLE, COSINE, SINE, RADIUS, VARIANCE, KEPT = _PLACES[:8]
#: The particle's sin^2, mean photons, pseudorapidity, m/pt.
SQUARE, PHOTONS_MEAN, ETA, MASS_OVER_PT = _PLACES[8:12]
#: Photons found (or asked for, without a ring), mean photons of charge 1 at right angles with losses, background in the
#: window (without a ring: over radius and share of the ring).
COUNT, YIELD, NOISE = _PLACES[8:11]
#: What the hypotheses share: bend/p^2 and 1 - bend with bend = 1/n^2, twice the relative error of the momentum.
SLOW, LIMIT, ERROR = _PLACES[11:14]
#: For the likelihood of rings: that of other rings, shares of outliers and ghosts among them, and what takes the
#: log-density of an own ring to one over that of other rings.
OTHER, OUTLIER, GHOST, SCALE = _PLACES[14:18]
#: Of one hypothesis: expected angle, distance in standard deviations, inverse of these, pull squared (without a ring
#: the error of sin^2), best sin^2, mean photons, log-likelihood.
EXPECTED, N_SIGMA, WEIGHT, PULL, BEST, MEAN, VALUE = _PLACES[18:25]
N_VALUES = (N_OPTIC + 25) * BLOCK


@inline
def gather(
    a: Floats, size: int, place: Integers, tile: Integers, u: Floats, v: Floats, optics: Floats, is_uniform: bool
) -> None:
    """Places on the tiles, and constants of the tiles unless they are all the same, see :func:`fill`."""
    for k in range(size):
        a[U + k], a[V + k] = u[place[k]], v[place[k]]
    if not is_uniform:
        for k in range(size):
            t = tile[place[k]]
            for p in range(N_OPTIC):
                a[p * BLOCK + k] = optics[t, p]


@inline
def fill(a: Floats, optics: Floats) -> None:
    """Constants of the first tile in the places of all."""
    for p in range(N_OPTIC):
        for k in range(BLOCK):
            a[p * BLOCK + k] = optics[0, p]


@inline
def rings_of_block(a: Floats, size: int) -> None:
    """Radius and variance of one photon for the cosines and sines of a block."""
    for k in range(size):
        a[RADIUS + k] = ring_radius(a[COSINE + k], a[SINE + k], a, BLOCK, k)
    for k in range(size):
        a[VARIANCE + k] = photon_variance(a[COSINE + k], a[SINE + k], a, BLOCK, k)


@inline
def kept_of_block(a: Floats, size: int, edges: float) -> None:
    """Shares of the rings of a block that are on their tiles, which all have edges of one kind."""
    if edges == FREE:
        for k in range(size):
            a[KEPT + k] = 1.0
    if edges == RECTANGLE:
        for k in range(size):
            edge_a, edge_b = a[EDGE_A * BLOCK + k], a[EDGE_B * BLOCK + k]
            a[KEPT + k] = kept_by_rectangle(a[U + k], a[V + k], a[RADIUS + k], edge_a, edge_b)
    if edges == ANNULUS:
        for k in range(size):
            edge_a, edge_b = a[EDGE_A * BLOCK + k], a[EDGE_B * BLOCK + k]
            a[KEPT + k] = kept_by_annulus(a[U + k], a[RADIUS + k], edge_a, edge_b)
