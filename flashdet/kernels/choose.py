"""Choosing the table of a particle, and one of the cells around a query with the weights of interpolation.

The table depends on charge, azimuth and production radius. The weights are those of
`flashdet.kernels.grid.lookup_linear`; what is done with the cell is :mod:`flashdet.kernels.smear`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.grid import ETA, FIRST_CELL, N_BINS, PT, RADIUS, START, VALID, between
from flashdet.kernels.jit import inline


@inline
def table_at(i_lut: int, radius: float, first: NDArray[np.int64], edges: NDArray[np.float64]) -> int:
    """Table that serves a production radius.

    Parameters
    ----------
    i_lut : int
        LUT, in the order given to `flashdet.lut.pack.pack`.
    radius : float
        Production radius [cm].
    first, edges : arrays
        Members of `flashdet.lut.pack.PackedRadii`.

    Returns
    -------
    int
        The LUT itself within its innermost range (and for NaN), else one of its tables of displaced particles.
    """
    if not radius >= edges[i_lut, 0]:
        return i_lut
    k = 1
    while k < edges.shape[1] and radius >= edges[i_lut, k]:
        k += 1
    return int(first[i_lut] + k - 1)


@inline
def variant_of(i_lut: int, charge: int, phi: float, edges: NDArray[np.float64], tables: NDArray[np.int64]) -> int:
    """Table of a species that serves a sign of the charge and an azimuth.

    Parameters
    ----------
    i_lut : int
        Species.
    charge : int
        Charge [e].
    phi : float
        Azimuth of the momentum at production [rad].
    edges, tables : arrays
        Members of `flashdet.lut.pack.PackedVariants`.

    Returns
    -------
    int
        LUT for `table_at`. Below the first edge lies the last sector.
    """
    sector = edges.shape[1] - 1
    for k in range(edges.shape[1]):
        if phi >= edges[i_lut, k]:
            sector = k
    return int(tables[i_lut, int(charge > 0), sector])


@inline
def choose_cell(
    i_table: int,
    radius: float,
    eta: float,
    pt: float,
    layout: NDArray[np.float64],
    cells: NDArray[np.float32],
    choice: float,
) -> tuple[int, float]:
    """One of the cells between whose centres a query lies, with the probability of its weight in `lookup_linear`.

    Numbers that cannot be averaged, like the shape of a distribution, are interpolated so: the mixture has the shape
    in between.

    Parameters
    ----------
    i_table : int
        Table.
    radius, eta, pt : float
        Query that `lookup_linear` has an answer for.
    layout, cells : arrays
        Members of `PackedLuts`, packed for linear interpolation.
    choice : float
        Uniform number in (0, 1).

    Returns
    -------
    cell : int
        Row of `cells`.
    rest : float
        A uniform number in [0, 1) that is independent of the cell.
    """
    r0, r1, fr, _ = between(i_table, RADIUS, radius, layout)
    e0, e1, fe, _ = between(i_table, ETA, eta, layout)
    p0, p1, fp, _ = between(i_table, PT, pt, layout)
    n_eta, n_pt = int(layout[i_table, ETA, N_BINS]), int(layout[i_table, PT, N_BINS])
    first = int(layout[i_table, START, FIRST_CELL])
    total = 0.0
    for corner in range(8):
        cell, weight = _corner(corner, first, n_eta, n_pt, r0, r1, fr, e0, e1, fe, p0, p1, fp, cells)
        total += weight
    target = choice * total
    chosen, rest = -1, 0.0
    for corner in range(8):
        cell, weight = _corner(corner, first, n_eta, n_pt, r0, r1, fr, e0, e1, fe, p0, p1, fp, cells)
        if weight > 0.0 and target >= 0.0:
            chosen, rest = cell, min(target / weight, 1.0 - 2.0**-53)
        target -= weight
    return chosen, rest


@inline
def _corner(
    corner: int,
    first: int,
    n_eta: int,
    n_pt: int,
    r0: int,
    r1: int,
    fr: float,
    e0: int,
    e1: int,
    fe: float,
    p0: int,
    p1: int,
    fp: float,
    cells: NDArray[np.float32],
) -> tuple[int, float]:
    r, wr = (r1, fr) if corner & 4 else (r0, 1.0 - fr)
    e, we = (e1, fe) if corner & 2 else (e0, 1.0 - fe)
    p, wp = (p1, fp) if corner & 1 else (p0, 1.0 - fp)
    cell = first + (r * n_eta + e) * n_pt + p
    return cell, wr * we * wp * cells[cell, VALID]
