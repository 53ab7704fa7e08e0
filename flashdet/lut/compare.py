"""Two tracking tables compared cell by cell, whatever their cells, with the errors of those made from samples.

The cells are those of the coarser table within the range of both. Tables from samples hold means over their cells, so
the coarser table counts with the numbers of its cells, and the finer one with its mean over them.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError, OutputError
from flashdet.kernels.grid import NO_ANSWER, lookup_linear
from flashdet.kernels.jit import kernel
from flashdet.lut.atomic import write_bytes
from flashdet.lut.axis import Axis
from flashdet.lut.content import MEASURED
from flashdet.lut.pack import pack
from flashdet.lut.table import Lut

#: What is compared beside the efficiency.
PARAMETERS = ("y", "z", "snp", "tgl", "q/pt")
_SUFFIXES = ("png", "pdf", "svg")
#: Points per cell and direction at which tables are looked up: the mean of a parabola is right within 1 %.
_POINTS = 5
#: Deviations of more standard errors than this are counted.
_FAR = 3.0


@dataclass(frozen=True)
class Comparison:
    """Second table against the first.

    Attributes
    ----------
    labels : (str, str)
        Names of the tables.
    eta : (n_eta,) float64
        Centres of the cells.
    pt : (n_pt,) float64
        Likewise [GeV].
    efficiency : (2, n_eta, n_pt) float64
        Mean of each; 0 where a particle cannot be reconstructed.
    efficiency_error : (n_eta, n_pt) float64
        Of their difference; 0 for tables without statistics.
    sigma : (2, n_eta, n_pt, 5) float64
        Geometric means of the standard deviations of each, over the part of the cell where it is valid; else NaN.
    ratio_error : (n_eta, n_pt, 5) float64
        Relative statistical errors; 0 for tables without statistics, NaN for cells filled from neighbours.
    """

    labels: tuple[str, str]
    eta: NDArray[np.float64]
    pt: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    efficiency_error: NDArray[np.float64]
    sigma: NDArray[np.float64]
    ratio_error: NDArray[np.float64]

    @property
    def ratio(self) -> NDArray[np.float64]:
        """(n_eta, n_pt, 5) standard deviations of the second over those of the first."""
        return np.asarray(self.sigma[1] / self.sigma[0])

    def lines(self, n_worst: int = 5) -> list[str]:
        """Summary and the worst cells of each quantity as text."""
        known = ~np.isnan(self.ratio).any(axis=-1)
        lines = [
            f"{self.labels[1]} against {self.labels[0]}: {known.sum()} of {known.size} cells valid in both",
            _summary("efficiency difference", self.efficiency[1] - self.efficiency[0], self.efficiency_error),
            *self._worst("efficiency", self.efficiency[1] - self.efficiency[0], self.efficiency_error, n_worst),
        ]
        for i, name in enumerate(PARAMETERS):
            ratio, error = np.where(known, self.ratio[..., i], np.nan), self.ratio_error[..., i]
            lines.append(_summary(f"sigma({name}) ratio", ratio[known], error[known], 1.0))
            lines += self._worst(f"sigma({name})", ratio - 1.0, error, n_worst)
        return lines

    def _worst(self, name: str, deviation: NDArray[np.float64], error: NDArray[np.float64], n_worst: int) -> list[str]:
        size = np.where(np.isnan(deviation), -1.0, np.abs(deviation))
        order = np.argsort(-size, axis=None, kind="stable")[:n_worst]
        lines = []
        for e, t in zip(*np.unravel_index(order, size.shape), strict=True):
            if size[e, t] <= 0.0:
                break
            text = f"  worst {name}: eta {self.eta[e]:.3g}, pt {self.pt[t]:.3g} GeV: {deviation[e, t]:+.4f}"
            if error[e, t] > 0.0:
                text += f" ({deviation[e, t] / error[e, t]:+.1f} standard errors)"
            lines.append(text)
        return lines


def _summary(name: str, values: NDArray[np.float64], error: NDArray[np.float64], equal: float = 0.0) -> str:
    if values.size == 0:
        return f"{name}: nothing to compare"
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    text = f"{name}: median {middle:.4f}, 90 % between {low:.4f} and {high:.4f}"
    has_error = error > 0.0
    if has_error.any():
        n_far = int((abs(values - equal)[has_error] > _FAR * error[has_error]).sum())
        text += f"; {n_far} of {has_error.sum()} measured cells differ by more than {_FAR:g} standard errors"
    return text


@kernel
def _look_up(
    nch: float,
    radius: float,
    eta: NDArray[np.float64],
    pt: NDArray[np.float64],
    layout: NDArray[np.float64],
    efficiencies: NDArray[np.float32],
    cells: NDArray[np.float32],
    efficiency: NDArray[np.float64],
    sigma: NDArray[np.float64],
) -> None:
    covariance, factor = np.empty(15), np.empty(15)
    for e in range(len(eta)):
        for t in range(len(pt)):
            efficiency[e, t], status = lookup_linear(
                0, nch, radius, eta[e], pt[t], layout, efficiencies, cells, covariance, factor
            )
            outside = status & (NO_ANSWER | 2 | 4 | 8 | 16)
            for k in range(5):
                sigma[e, t, k] = np.nan if outside else np.sqrt(covariance[k * (k + 3) // 2])


def compare_luts(
    first: Lut, second: Lut, labels: tuple[str, str], nch: float = 100.0, radius: float = 0.0
) -> Comparison:
    """Compare two tables of one species.

    Parameters
    ----------
    first, second : Lut
        Tables.
    labels : (str, str)
        Their names.
    nch, radius : float
        dN_ch/deta and production radius [cm] at which they are compared; outside an axis the edge is used.

    Returns
    -------
    Comparison

    Raises
    ------
    LutError
        The tables are of different species or fields, or share no cell.
    """
    if first.species != second.species:
        raise LutError(f"{labels[0]} is of {first.species}, {labels[1]} of {second.species}; allowed: one species")
    if abs(first.field) != abs(second.field):
        raise LutError(f"{labels[0]} is made for {first.field:g} T, {labels[1]} for {second.field:g} T")
    axes = [_Cells.of(a, b, labels) for a, b in zip(first.covariance_axes[1:], second.covariance_axes[1:], strict=True)]
    shape = (len(axes[0].centers), len(axes[1].centers))
    efficiency, sigma = np.empty((2, *shape)), np.empty((2, *shape, 5))
    errors, relative = np.zeros(shape), np.zeros((*shape, 5))
    for i, lut in enumerate((first, second)):
        n_here, r_here = _within(lut.efficiency_axes[0], nch), _within(lut.covariance_axes[0], radius)
        efficiency[i], sigma[i] = _means(lut, n_here, r_here, *axes)
        if lut.sample is not None:
            e, t = (_nearest(axis, cells.centers) for axis, cells in zip(lut.covariance_axes[1:], axes, strict=True))
            n = int(_nearest(lut.efficiency_axes[0], np.array([n_here]))[0])
            errors = np.hypot(errors, lut.sample.efficiency_error()[n][np.ix_(e, t)])
            own = np.where(lut.sample.origin[0, ..., None] == MEASURED, lut.sample.sigma_error[0], np.nan)
            relative = np.hypot(relative, own[np.ix_(e, t)])
    sigma[:, np.isnan(sigma).any(axis=(0, 3))] = np.nan
    return Comparison(labels, axes[0].centers, axes[1].centers, efficiency, errors, sigma, relative)


def _means(
    lut: Lut, nch: float, radius: float, eta: _Cells, pt: _Cells
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean efficiency and geometric means of the standard deviations of a table over cells."""
    (etas, n_eta), (pts, n_pt) = (
        cells.points(axis) for cells, axis in zip((eta, pt), lut.covariance_axes[1:], strict=True)
    )
    efficiency, sigma = np.zeros((len(etas), len(pts))), np.empty((len(etas), len(pts), 5))
    packed = pack([lut])
    _look_up(nch, radius, etas, pts, packed.layout, packed.efficiencies, packed.cells, efficiency, sigma)
    split = (len(eta.centers), n_eta, len(pt.centers), n_pt)
    return _mean(efficiency.reshape(split)), np.exp(_mean(np.log(sigma).reshape(*split, 5)))


@dataclass(frozen=True)
class _Cells:
    """Cells along one axis, within both tables: the axis that has them, and which of its bins they are."""

    axis: Axis
    inside: NDArray[np.int64]

    @property
    def centers(self) -> NDArray[np.float64]:
        """Their centres."""
        return self.axis.centers[self.inside]

    def points(self, axis: Axis) -> tuple[NDArray[np.float64], int]:
        """Where a table is looked up, and how often per cell: a table that has the cells gives their own numbers."""
        if axis.has_bins_of(self.axis):
            return self.centers, 1
        edges = self.axis.transform(self.axis.edges)
        places = (np.arange(_POINTS) + 0.5) / _POINTS
        at = edges[self.inside, None] + (edges[self.inside + 1] - edges[self.inside])[:, None] * places
        points = (10.0**at if self.axis.scale == "log" else at).ravel()
        return np.clip(points, axis.low, np.nextafter(axis.high, axis.low)), _POINTS

    @classmethod
    def of(cls, first: Axis, second: Axis, labels: tuple[str, str]) -> _Cells:
        """Those of the coarser axis that lie within both."""
        low, high = max(first.low, second.low), min(first.high, second.high)
        width = [np.mean(np.diff(axis.transform(axis.edges[[0, -1]]))) / axis.n_bins for axis in (first, second)]
        axis = first if width[0] >= width[1] else second
        edges = axis.transform(axis.edges)
        slack = 1e-9 * (edges[-1] - edges[0])
        ends = axis.transform(np.array([low, high]))
        inside = np.flatnonzero((edges[:-1] >= ends[0] - slack) & (edges[1:] <= ends[1] + slack))
        if len(inside) == 0:
            raise LutError(f"{labels[0]} and {labels[1]} have no cell in {axis.name} in common")
        return cls(axis, inside)


def _mean(split: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the points (second and fourth axis) of each cell that are known; NaN if none is."""
    known = ~np.isnan(split)
    number = known.sum(axis=(1, 3))
    total = np.where(known, split, 0.0).sum(axis=(1, 3))
    return np.asarray(np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0))


def _within(axis: Axis, value: float) -> float:
    return float(min(max(value, axis.low), np.nextafter(axis.high, axis.low)))


def _nearest(axis: Axis, values: NDArray[np.float64]) -> NDArray[np.int64]:
    bins: NDArray[np.int64] = np.searchsorted(axis.edges, values, side="right") - 1
    return np.clip(bins, 0, axis.n_bins - 1)


def plot_comparison(comparison: Comparison, path: str | Path, overwrite: bool = False) -> None:
    """Draw maps over (eta, pt) of the efficiency difference and of the ratios of the standard deviations.

    Parameters
    ----------
    comparison : Comparison
        What to draw.
    path : path
        ``.png``, ``.pdf`` or ``.svg``.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        Another suffix, or the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in _SUFFIXES:
        raise OutputError(f"{suffix!r} is no picture format; allowed: {', '.join(_SUFFIXES)}", str(path))
    figure = Figure(figsize=(13, 8), layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True).ravel()
    maps = [("efficiency difference", comparison.efficiency[1] - comparison.efficiency[0], 0.0)]
    maps += [(rf"$\sigma$({name}) ratio", comparison.ratio[..., i], 1.0) for i, name in enumerate(PARAMETERS)]
    for panel, (title, values, middle) in zip(panels, maps, strict=True):
        known = values[~np.isnan(values)]
        span = float(max(np.quantile(np.abs(known - middle), 0.98), 0.01)) if known.size else 0.01
        image: Any = panel.pcolormesh(
            comparison.eta,
            comparison.pt,
            values.T,
            cmap="RdBu_r",
            vmin=middle - span,
            vmax=middle + span,
            shading="auto",
        )
        figure.colorbar(image, ax=panel)
        panel.set_title(title)
        panel.set_yscale("log")
    for panel in panels[3:]:
        panel.set_xlabel(r"$\eta$")
    for panel in panels[::3]:
        panel.set_ylabel(r"$p_T$ [GeV/$c$]")
    figure.suptitle(f"{comparison.labels[1]} against {comparison.labels[0]}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=120)
    write_bytes(path, [buffer.getvalue()], overwrite)


def write_cells(comparison: Comparison, path: str | Path, overwrite: bool = False) -> None:
    """Write all cells as CSV.

    Parameters
    ----------
    comparison : Comparison
        What to write: eta, pt, both efficiencies and the error of their difference, and of each parameter both standard
        deviations, their ratio and its relative error; unknown numbers are empty.
    path : path
        File.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    OutputError
        The file exists or cannot be written.
    """
    names = ["eta", "pt", "efficiency_a", "efficiency_b", "efficiency_error"]
    for name in PARAMETERS:
        names += [f"sigma_{name}_a", f"sigma_{name}_b", f"ratio_{name}", f"ratio_error_{name}"]
    lines = [",".join(names)]
    ratio = comparison.ratio
    for e, eta in enumerate(comparison.eta):
        for t, pt in enumerate(comparison.pt):
            row = [eta, pt, *comparison.efficiency[:, e, t], comparison.efficiency_error[e, t]]
            for i in range(len(PARAMETERS)):
                row += [*comparison.sigma[:, e, t, i], ratio[e, t, i], comparison.ratio_error[e, t, i]]
            lines.append(",".join("" if np.isnan(value) else f"{value:.6g}" for value in row))
    write_bytes(path, ["\n".join([*lines, ""]).encode()], overwrite)
