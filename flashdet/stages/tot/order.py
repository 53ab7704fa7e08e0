"""Tracks of a block in the order of the number of layers that they cross, most layers first, and their scratch space.

Then the tracks with an i-th layer are the first ones for every i. What the layers measure is :mod:`.losses`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline
from flashdet.stages.tot.crossings import (
    ALL,
    BLOCK,
    HALF_K2,
    LOG_SPEED,
    LOG_SQUARE,
    N_QUANTITIES,
    ON_CYLINDER,
    ON_DISC,
    SQUARE,
    Crossed,
    Layers,
)
from flashdet.stages.tot.truncated import CELL, N_PATH, N_SPEED

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Added to a number and taken off again, it leaves the nearest integer.
ROUND = 1.5 * 2.0**52
# Quantities of tracks in their order, as rows of BLOCK numbers: weight of the upper node of the speed, first number of
# the tables at the lower one, number of cylinders; logarithms of the paths across a cylinder and a disc and of the
# squared charge, squared charge; hits, sum of the logarithms of their paths, signals that the mean keeps, their sum.
WEIGHT, BASE, N_CYLINDERS, CYLINDER_PATH, DISC_PATH, LOG_CHARGE2, CHARGE2, HITS, PATHS, KEPT, SUM = (
    np.uint64(i * BLOCK) for i in range(11)
)


class Work(NamedTuple):
    """Scratch space of a block of tracks and of their crossings, the i-th ones of all tracks in a row of BLOCK."""

    crossed: Crossed
    """Tracks as they come."""
    n_longer: Integers
    """(n_layers + 1,) how many tracks cross more than so many layers."""
    next_place: Integers
    """(n_layers + 1,) where the next track of so many layers goes."""
    order: Integers
    """(BLOCK,) which track is at each place."""
    at: Integers
    """(BLOCK,) where the next crossing of each track goes."""
    track: Floats
    """(11 * BLOCK,) quantities of the tracks in their order."""
    key: Words
    """(BLOCK,) counter word of the event of each."""
    particle: Words
    """(BLOCK,) place of its particle."""
    draw: Floats
    """(4 * BLOCK,) uniform numbers of four crossings."""
    length: Floats
    """((n_layers + 1) * BLOCK,) squared cosine of the incidence on a cylinder in the transverse plane, then
    logarithm of the path [cm]."""
    across: Floats
    """(BLOCK,) weight of the next longer path of the tables, for the crossings of one row."""
    place: Floats
    """(BLOCK,) where they are in the tables."""
    level: Floats
    """(BLOCK,) their quantiles, above 1 without a hit."""
    between: Floats
    """(BLOCK,) weight of the next node of the quantiles."""
    four: Floats
    """(4 * BLOCK,) numbers from the tables."""
    signal: Floats
    """((n_layers + 1) * BLOCK,) signals, infinite without a hit."""
    bits: Integers
    """The same as integers."""


def make_work(layers: Layers) -> Work:
    """Scratch space for some layers, made outside of kernels: those without arrays of their own compile faster."""
    n_cylinders, n = len(layers.radius), len(layers.radius) + len(layers.z) + 1

    def rows(n: int) -> Floats:
        return np.ones(n * BLOCK)

    def integers(n: int) -> Integers:
        return np.zeros(n, np.int64)

    n_ends, n_edges = len(layers.half_length), len(layers.edge)
    crossed = Crossed(
        rows(N_QUANTITIES), rows(n_ends), rows(n_ends), rows(n_edges), integers(n_cylinders * BLOCK), integers(BLOCK),
        integers(BLOCK),
    )  # fmt: skip
    signal = rows(n)
    return Work(
        crossed, integers(n), integers(n), integers(BLOCK), integers(BLOCK), rows(11), np.zeros(BLOCK, np.uint64),
        np.zeros(BLOCK, np.uint64), rows(4), rows(n), rows(1), np.zeros(BLOCK), rows(1), rows(1), rows(4), signal,
        signal.view(np.int64),
    )  # fmt: skip


@inline
def node(axis: Floats, value: float, n: float) -> tuple[float, float]:
    """Lower node on a regular axis of `n` nodes, as a float, and weight of the upper one; clamped at both ends."""
    place = min(max((value - axis[0]) * axis[1], 0.0), n - 1.0)
    # on a node it is either of the two intervals, with weight 1 or 0
    lower = min((place - 0.5 + ROUND) - ROUND, n - 2.0)
    return lower, place - lower


# --- order -----------------------------------------------------------------------------------------------------------
@bare_kernel
def count(n_tracks: int, work: Work) -> None:
    """How many tracks cross more than 0, 1, 2, ... layers, and where each track goes."""
    n_cylinders, n_discs, n_longer, next_place = (
        work.crossed.n_cylinders, work.crossed.n_discs, work.n_longer, work.next_place,
    )  # fmt: skip
    for n in range(len(n_longer)):
        n_longer[n] = 0
    for i in range(n_tracks):
        j = np.uint64(i)
        n_longer[np.uint64(n_cylinders[j] // BLOCK + n_discs[j])] += 1
    so_far = 0
    for n in range(len(n_longer) - 1, -1, -1):
        here = n_longer[n]
        n_longer[n], next_place[n] = so_far, so_far
        so_far += here
    for i in range(n_tracks):
        j = np.uint64(i)
        n_crossed = np.uint64(n_cylinders[j] // BLOCK + n_discs[j])
        place = next_place[n_crossed]
        next_place[n_crossed] = place + 1
        work.at[j], work.order[np.uint64(place)] = place, i


@bare_kernel
def put_in_order(n_tracks: int, speed: Floats, work: Work) -> int:
    """Quantities of the tracks in their order; return how many are slower than the tables."""
    old, new, n_cylinders, order = work.crossed.track, work.track, work.crossed.n_cylinders, work.order
    n_clamped = 0
    for i in range(n_tracks):
        # at the upper end the energy loss is constant: nothing is lost there
        n_clamped += old[np.uint64(i) + LOG_SPEED] < speed[0]
    for i in range(n_tracks):
        at = np.uint64(i)
        j = np.uint64(order[at])
        new[at + WEIGHT], new[at + N_CYLINDERS] = old[j + LOG_SPEED], n_cylinders[j] * (1.0 / BLOCK)
        new[at + CYLINDER_PATH], new[at + DISC_PATH] = old[j + ON_CYLINDER], old[j + ON_DISC]
        new[at + LOG_CHARGE2], new[at + CHARGE2] = old[j + LOG_SQUARE], old[j + SQUARE]
    for r in range(ALL):
        lower, new[r + WEIGHT] = node(speed, new[r + WEIGHT], N_SPEED)
        new[r + BASE] = lower * ((N_PATH - 1) * CELL)
        new[r + HITS], new[r + PATHS], new[r + SUM] = 0.0, 0.0, 0.0
    return n_clamped


@bare_kernel
def put_cylinders(n_tracks: int, radius: Floats, work: Work) -> None:
    """Squared cosines of the incidence on cylinders, each track's crossings one after the other."""
    track, step, at, cosine2 = work.crossed.track, work.crossed.step, work.at, work.length
    for c in range(len(radius)):
        square = radius[c] * radius[c]
        of_layer = step[c * BLOCK :]
        for i in range(n_tracks):
            j = np.uint64(i)
            # where the cylinder is not crossed the next one overwrites it, or nobody looks
            cosine2[np.uint64(at[j])] = 1.0 - track[j + HALF_K2] * square
            at[j] += of_layer[j]
