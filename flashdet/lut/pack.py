"""Lookup tables laid out for kernels: several species in three flat arrays.

The kernels that read them are in `flashdet.kernels.grid`. Packing is done once per job and factorises every covariance;
the 15 numbers of a cell and its validity fill one 64-byte cache line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels import grid
from flashdet.kernels.symmat import to_dense, to_shape
from flashdet.lut.axis import Axis
from flashdet.lut.selection import sectors
from flashdet.lut.table import AliceEigen, Lut

Interpolation = Literal["linear", "nearest"]

_RULES = {"clamp": grid.CLAMP, "reject": grid.REJECT, "error": grid.ERROR}
#: Elements of a packed 5 x 5 matrix.
_DIAGONAL = (0, 2, 5, 9, 14)
_OFF_DIAGONAL = (1, 3, 4, 6, 7, 8, 10, 11, 12, 13)


class PackedLuts(NamedTuple):
    """Tables as flat arrays.

    Attributes
    ----------
    layout : (n_tables, 5, 8) float64
        Axes and first elements, see the column names in `flashdet.kernels.grid`. All numbers are exact in float64. The
        LUTs in the order given, then their tables of displaced particles (`pack_radii` tells which).
    efficiencies : (n,) float32
        Per table in the order (eta, pt, nch), nch fastest.
    cells : (n_cells, 16) or (n_cells, 48) float32
        Per table in the order (radius, eta, pt). Linear: the shape of `grid.unpack_shape`, then 1 for a valid cell.
        Nearest: covariance (15), 1 for a valid cell, eigenvalues (5), inverse of the eigenvector matrix (25), 2 unused.
    """

    layout: NDArray[np.float64]
    efficiencies: NDArray[np.float32]
    cells: NDArray[np.float32]


class PackedRadii(NamedTuple):
    """Which table serves a production radius; see `flashdet.kernels.choose.table_at`.

    Attributes
    ----------
    first : (n_luts,) int64
        First table of displaced particles of each LUT.
    edges : (n_luts, n) float64
        Radii at which its tables of displaced particles begin [cm]; infinite where there is no further one.
    """

    first: NDArray[np.int64]
    edges: NDArray[np.float64]


class PackedVariants(NamedTuple):
    """Which LUT of a species serves a charge and azimuth; see `flashdet.kernels.choose.variant_of`.

    Attributes
    ----------
    edges : (n_species, n) float64
        Azimuths where sectors begin [rad]; infinite where there is no further one. Empty if no species has several
        LUTs.
    tables : (n_species, 2, n) int64
        LUT of each sign of the charge (negative, positive) and sector, in the order of `lut_rows`.
    """

    edges: NDArray[np.float64]
    tables: NDArray[np.int64]


class PackedShapes(NamedTuple):
    """Shapes of residuals of all cells, in the order of `PackedLuts.cells`; empty if no table has any.

    Attributes
    ----------
    bias : (n_cells, 5) float64
        Location over the cell's standard deviations.
    tail : (n_cells, 2) float64
        Fraction and width of the wide component.
    start : (n_cells + 1,) int64
        First vector of each cell.
    library : (n, 5) float32
        Residuals over standard deviations.
    """

    bias: NDArray[np.float64]
    tail: NDArray[np.float64]
    start: NDArray[np.int64]
    library: NDArray[np.float32]


def lut_rows(groups: Sequence[Sequence[Lut]]) -> list[Lut | None]:
    """LUTs in the order in which they are packed: the first of each species, then all others.

    Parameters
    ----------
    groups : sequence of sequence of Lut
        LUTs of each species.

    Returns
    -------
    list of Lut or None
    """
    return [*(group[0] if group else None for group in groups), *(lut for group in groups for lut in group[1:])]


def pack_variants(groups: Sequence[Sequence[Lut]]) -> PackedVariants:
    """Tell which LUT of a species serves a charge and azimuth.

    Parameters
    ----------
    groups : sequence of sequence of Lut
        LUTs of each species.

    Returns
    -------
    PackedVariants

    Raises
    ------
    LutError
        The LUTs of a species do not share out all charges and azimuths.
    """
    found = [sectors(group) if group else None for group in groups]
    n = max((len(some[0]) for some in found if some), default=0) if any(len(group) > 1 for group in groups) else 0
    edges, tables = np.full((len(groups), n), np.inf), np.zeros((len(groups), 2, n), np.int64)
    further = len(groups)
    for i, some in enumerate(found if n else ()):
        rows = np.array([i, *range(further, further + len(groups[i]) - 1)])
        further += max(len(groups[i]) - 1, 0)
        if some is not None:
            m = len(some[0])
            edges[i, :m] = some[0]
            tables[i] = rows[some[1]][:, np.minimum(np.arange(n), m - 1)]
    return PackedVariants(edges, tables)


def pack_shapes(luts: Sequence[Lut | None], with_library: bool) -> PackedShapes:
    """Lay out biases, tails and libraries of tables made from full simulation.

    Parameters
    ----------
    luts : sequence of Lut or None
        As given to `pack`.
    with_library : bool
        Also the libraries, which take memory.

    Returns
    -------
    PackedShapes
        Cells of tables without `Lut.sample` have no bias, no wide component and no library.
    """
    tables = [lut for lut in _all_tables(luts) if lut is not None]
    if all(lut.sample is None for lut in tables):
        return PackedShapes(np.zeros((0, 5)), np.zeros((0, 2)), np.zeros(1, np.int64), np.zeros((0, 5), np.float32))
    biases, tails, lengths, libraries = [], [], [], [np.zeros((0, 5), np.float32)]
    for lut in tables:
        n = lut.valid.size
        if lut.sample is None:
            biases.append(np.zeros((n, 5)))
            tails.append(np.tile([0.0, 1.0], (n, 1)))
            lengths.append(np.zeros(n, np.int64))
            continue
        sigma = np.sqrt(lut.covariance.reshape(n, 15)[:, _DIAGONAL])
        bias = lut.sample.bias.reshape(n, 5)
        biases.append(np.divide(bias, sigma, out=np.zeros((n, 5)), where=sigma > 0.0))
        tails.append(lut.sample.tail.reshape(n, 2))
        lengths.append(np.diff(lut.sample.library_start) if with_library else np.zeros(n, np.int64))
        libraries.append(lut.sample.library if with_library else libraries[0])
    start = np.concatenate([[0], np.cumsum(np.concatenate(lengths))]).astype(np.int64)
    return PackedShapes(np.concatenate(biases), np.concatenate(tails), start, np.concatenate(libraries))


def pack(luts: Sequence[Lut | None], interpolation: Interpolation = "linear") -> PackedLuts:
    """Lay tables out for `grid.lookup_linear` or `nearest.lookup_nearest`.

    Parameters
    ----------
    luts : sequence of Lut or None
        One entry per species; None where there is no table. Their tables of displaced particles follow after the last.
    interpolation : {"linear", "nearest"}
        Which of the two kernels will read them. Linear honours `Axis.interpolation` of each axis.

    Returns
    -------
    PackedLuts

    Raises
    ------
    LutError
        The covariance of a valid cell is not positive definite.
    """
    tables = _all_tables(luts)
    layout = np.zeros((len(tables), 5, 8))
    layout[:, grid.START] = -1.0
    efficiencies = [np.zeros(0, np.float32)]
    cells = [np.zeros((0, 16 if interpolation == "linear" else 48), np.float32)]
    for i, lut in enumerate(tables):
        if lut is None:
            continue
        for j, axis in enumerate((lut.efficiency_axes[0], *lut.covariance_axes)):
            layout[i, j] = _pack_axis(axis, interpolation)
        layout[i, grid.START, grid.FIRST_CELL] = sum(map(len, cells))
        layout[i, grid.START, grid.FIRST_EFFICIENCY] = sum(map(len, efficiencies))
        efficiencies.append(np.moveaxis(lut.efficiency, 0, -1).astype(np.float32).ravel())
        cells.append(_linear_cells(lut) if interpolation == "linear" else _nearest_cells(lut))
    return PackedLuts(layout, np.concatenate(efficiencies), _aligned(np.concatenate(cells)))


def _all_tables(luts: Sequence[Lut | None]) -> list[Lut | None]:
    """The LUTs, then their tables of displaced particles."""
    return [*luts, *(part for lut in luts if lut is not None for part in lut.displaced)]


def pack_radii(luts: Sequence[Lut | None]) -> PackedRadii:
    """Tell which table serves a production radius.

    Parameters
    ----------
    luts : sequence of Lut or None
        As given to `pack`.

    Returns
    -------
    PackedRadii
    """
    numbers = [0 if lut is None else len(lut.displaced) for lut in luts]
    edges = np.full((len(luts), max(numbers, default=0) + 1), np.inf)
    for row, lut in zip(edges, luts, strict=True):
        if lut is not None:
            row[: len(lut.displaced)] = [part.covariance_axes[0].low for part in lut.displaced]
    return PackedRadii(len(luts) + np.cumsum([0, *numbers])[:-1].astype(np.int64), edges)


def _pack_axis(axis: Axis, interpolation: Interpolation) -> tuple[float, ...]:
    low, high = float(axis.transform(axis.low)), float(axis.transform(axis.high))
    step = axis.n_bins / (high - low)
    if interpolation == "nearest":  # ALICE files hold the transformed edges in binary32 and divide in binary32
        low32 = np.float32(low)
        low, step = float(low32), float((np.float32(high) - low32) / np.float32(axis.n_bins))
    rule, is_linear = float(_RULES[axis.out_of_range]), float(axis.interpolation == "linear")
    return low, step, axis.low, axis.high, float(axis.n_bins), float(axis.scale == "log"), rule, is_linear


def _aligned(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Copy whose rows start at multiples of the 64 bytes of a cache line."""
    memory = np.empty(array.nbytes + 64, np.uint8)
    start = -memory.ctypes.data % 64
    copy: NDArray[np.float32] = memory[start : start + array.nbytes].view(np.float32).reshape(array.shape)
    copy[...] = array
    return copy


def _linear_cells(lut: Lut) -> NDArray[np.float32]:
    valid = lut.valid.ravel()
    try:
        shape = to_shape(lut.covariance.reshape(-1, 15)[valid])
    except np.linalg.LinAlgError:
        raise _indefinite(lut) from None
    cells = np.zeros((valid.size, 16), np.float32)
    packed = np.empty((len(shape), 15))
    packed[:, _DIAGONAL] = np.log(shape[:, :5])
    packed[:, _OFF_DIAGONAL] = shape[:, 5:]
    cells[valid, :15] = packed
    cells[valid, grid.VALID] = 1.0
    return cells


def _indefinite(lut: Lut) -> LutError:
    hint = "`flashdet lut validate` lists the cells"
    return LutError("the covariance of a valid cell is not positive definite", f"LUT of {lut.species}", hint)


def _nearest_cells(lut: Lut) -> NDArray[np.float32]:
    valid = lut.valid.ravel()
    eigen = lut.eigen if lut.eigen is not None else decompose(lut)
    values = eigen.values.reshape(-1, 5)
    if not (values[valid] >= 0.0).all():
        raise _indefinite(lut)
    cells = np.zeros((valid.size, 48), np.float32)
    cells[valid, :15] = lut.covariance.reshape(-1, 15)[valid]
    cells[valid, grid.VALID] = 1.0
    cells[valid, 16:21] = values[valid]
    cells[valid, 21:46] = eigen.inverse.reshape(-1, 25)[valid]
    return cells


def decompose(lut: Lut) -> AliceEigen:
    """Eigenvalues and eigenvectors of all covariances, as ALICE files store them.

    Parameters
    ----------
    lut : Lut
        A table.

    Returns
    -------
    AliceEigen
        Eigenvalues in descending order; the first component of each eigenvector that is not zero is positive. Invalid
        cells have eigenvalues 0 and unit vectors.
    """
    shape, valid = lut.valid.shape, lut.valid.ravel()
    values = np.zeros((valid.size, 5))
    vectors = np.broadcast_to(np.eye(5), (valid.size, 5, 5)).copy()
    ascending, columns = np.linalg.eigh(to_dense(lut.covariance.reshape(-1, 15)[valid]))
    columns = columns[:, :, ::-1]
    first = np.argmax(columns != 0.0, axis=1)
    values[valid] = ascending[:, ::-1]
    vectors[valid] = columns * np.sign(np.take_along_axis(columns, first[:, None, :], axis=1))
    return AliceEigen(
        values.reshape(*shape, 5).astype(np.float32),
        vectors.reshape(*shape, 5, 5).astype(np.float32),
        np.ascontiguousarray(np.swapaxes(vectors, 1, 2)).reshape(*shape, 5, 5).astype(np.float32),
    )
