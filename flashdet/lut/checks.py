"""Checks of lookup tables: what makes one usable, and where it is not.

Users call `Lut.validate` and `Map.validate`. Files are checked for damage where they are read (`flashdet.lut.files`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.symmat import to_dense
from flashdet.lut.axis import Axis
from flashdet.lut.selection import Selection
from flashdet.lut.table import COVARIANCE_AXES, EFFICIENCY_AXES, Lut, Map
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_PDG

#: Smallest eigenvalue of a correlation matrix that still counts as positive: a hundred times the rounding of float64.
_SMALLEST_EIGENVALUE = 2e-14
#: Places shown per kind of problem.
_SHOWN = 3


def check_lut(lut: Lut) -> None:
    """Do what `Lut.validate` promises.

    Raises
    ------
    LutError
        See there.
    """
    problems = _header_problems(lut) or [*_efficiency_problems(lut), *_covariance_problems(lut)]
    for inner, outer in pairwise(lut.parts):
        low, high = outer.covariance_axes[0].low, outer.covariance_axes[0].high
        found = _header_problems(outer) or [*_efficiency_problems(outer), *_covariance_problems(outer)]
        if any(getattr(outer, name) != getattr(lut, name) for name in ("species", "mass", "field")):
            found.append("its species, mass or field differs from that of the first table")
        if low != inner.covariance_axes[0].high:
            found.append(f"it begins at {low:g} cm, the one before ends at {inner.covariance_axes[0].high:g} cm")
        if outer.displaced:
            found.append("it has tables of displaced particles of its own")
        if {"charge", "phi"} & outer.meta.keys():
            found.append("its meta has charge or phi: those of the first table hold for all")
        problems += [f"production radius {low:g} to {high:g} cm: {problem}" for problem in found]
    _raise(problems, f"LUT of {lut.species}")


def check_map(table: Map) -> None:
    """Do what `Map.validate` promises.

    Raises
    ------
    LutError
        See there.
    """
    problems = _shape_problems("values", table.values, table.axes, "f")
    if len({axis.name for axis in table.axes}) < len(table.axes) or not table.axes:
        problems.append("axes: at least one axis, each with a name of its own")
    if not problems:
        problems = _places("values that are not finite", ~np.isfinite(table.values), table.axes)
    _raise([*problems, *_meta_problems(table.meta)], f"map {table.name}")


def _raise(problems: list[str], where: str) -> None:
    if problems:
        raise LutError("\n  ".join(["the table is not usable:", *problems]), where)


def _places(what: str, wrong: NDArray[np.bool_], axes: Sequence[Axis]) -> list[str]:
    """One line that counts cells and names the first ones by their centres."""
    n_wrong = int(np.count_nonzero(wrong))
    if n_wrong == 0:
        return []
    places = ["(" + ", ".join(map(_center, axes, row)) + ")" for row in np.argwhere(wrong)[:_SHOWN]]
    more = ", ..." if n_wrong > _SHOWN else ""
    return [f"{what}: {n_wrong} of {wrong.size}, at {', '.join(places)}{more}"]


def _center(axis: Axis, i_bin: int) -> str:
    return f"{axis.name} {axis.centers[i_bin]:.4g} {axis.unit}".rstrip()


def _shape_problems(
    name: str, array: NDArray[Any], axes: Sequence[Axis], kind: str, tail: tuple[int, ...] = ()
) -> list[str]:
    expected = (*(axis.n_bins for axis in axes), *tail)
    if array.shape == expected and array.dtype.kind == kind:
        return []
    wanted = "bool" if kind == "b" else "float64"
    return [f"{name}: shape {array.shape} of {array.dtype}; the axes ask for {expected} of {wanted}"]


def _meta_problems(meta: dict[str, Any]) -> list[str]:
    try:
        json.dumps(meta, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [f"meta: {error}; allowed: JSON values"]
    return []


def _header_problems(lut: Lut) -> list[str]:
    problems = []
    if lut.species not in SPECIES:
        problems.append(f"species {lut.species!r}; allowed: {', '.join(SPECIES)}")
    else:
        i = SPECIES.index(lut.species)
        if (lut.pdg, lut.charge) != (SPECIES_PDG[i], SPECIES_CHARGE[i]):
            problems.append(
                f"pdg {lut.pdg} and |charge| {lut.charge}; {lut.species} has {SPECIES_PDG[i]} and {SPECIES_CHARGE[i]}"
            )
    if not (0.0 < lut.mass < np.inf and np.isfinite(lut.field)):
        problems.append(f"mass {lut.mass} GeV and field {lut.field} T; both finite, the mass positive")
    for axes, names in ((lut.efficiency_axes, EFFICIENCY_AXES), (lut.covariance_axes, COVARIANCE_AXES)):
        if tuple(axis.name for axis in axes) != names:
            problems.append(f"axes ({', '.join(axis.name for axis in axes)}); allowed: ({', '.join(names)})")
    if not problems and not all(
        a.has_bins_of(b) for a, b in zip(lut.efficiency_axes[1:], lut.covariance_axes[1:], strict=True)
    ):
        problems.append("axes: eta and pt of the efficiency differ from those of the covariance")
    problems += _shape_problems("efficiency", lut.efficiency, lut.efficiency_axes, "f")
    problems += _shape_problems("covariance", lut.covariance, lut.covariance_axes, "f", (15,))
    problems += _shape_problems("valid", lut.valid, lut.covariance_axes, "b")
    try:
        Selection.of(lut)
    except LutError as error:
        problems.append(error.message)
    return problems + _meta_problems(lut.meta)


def _efficiency_problems(lut: Lut) -> list[str]:
    wrong = ~((lut.efficiency >= 0.0) & (lut.efficiency <= 1.0))
    return _places("efficiencies outside [0, 1]", wrong, lut.efficiency_axes)


def _covariance_problems(lut: Lut) -> list[str]:
    finite = np.isfinite(lut.covariance).all(axis=-1)
    problems = _places("covariances that are not finite", lut.valid & ~finite, lut.covariance_axes)
    indefinite = np.zeros(lut.valid.shape, bool)
    usable = lut.valid & finite
    indefinite[usable] = ~is_positive_definite(lut.covariance[usable])
    problems += _places("covariances that are not positive definite", indefinite, lut.covariance_axes)
    return problems + _places("holes in the valid region", find_holes(lut.valid), lut.covariance_axes)


def is_positive_definite(covariance: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which covariances can be factorised in float64.

    Parameters
    ----------
    covariance : (n, 15) float64
        Packed 5 x 5 matrices, finite.

    Returns
    -------
    (n,) bool
        All variances are positive and the correlation matrix has no eigenvalue of rounding size or below.
    """
    matrices = to_dense(covariance)
    variance = np.diagonal(matrices, axis1=1, axis2=2)
    positive: NDArray[np.bool_] = np.logical_and.reduce(variance > 0.0, axis=1)
    sigma = np.sqrt(np.where(positive[:, None], variance, 1.0))
    correlation = matrices / (sigma[:, :, None] * sigma[:, None, :])
    correlation[~positive] = np.eye(5)
    smallest: NDArray[np.float64] = np.linalg.eigvalsh(correlation)[:, 0]
    return positive & (smallest > _SMALLEST_EIGENVALUE)


def find_holes(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells that are not valid inside the valid region.

    Parameters
    ----------
    valid : (n_radius, n_eta, n_pt) bool

    Returns
    -------
    (n_radius, n_eta, n_pt) bool
        True where a cell is not valid although both its neighbours in eta are, or some cell below and some cell above
        it in pt are. A gap in eta of several cells may be a real gap between detectors and is no hole.
    """
    below: NDArray[np.bool_] = np.logical_or.accumulate(valid, axis=2)
    above = np.zeros_like(valid)
    np.logical_or.accumulate(valid[:, :, ::-1], axis=2, out=above[:, :, ::-1])
    beside = np.zeros_like(valid)
    beside[:, 1:-1] = valid[:, :-2] & valid[:, 2:]
    return ~valid & ((below & above) | beside)
