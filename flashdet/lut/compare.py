"""Two tracking tables compared: at the same places, whatever their cells, with the errors of those from samples."""

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


@dataclass(frozen=True)
class Comparison:
    """Second table against the first at the centres of the first one's cells.

    Attributes
    ----------
    labels : (str, str)
        Names of the tables.
    eta : (n_eta,) float64
        Centres of the cells.
    pt : (n_pt,) float64
        Likewise [GeV].
    efficiency : (2, n_eta, n_pt) float64
        Of each; 0 where a particle cannot be reconstructed.
    efficiency_error : (n_eta, n_pt) float64
        Of their difference; 0 for tables without statistics.
    ratio : (n_eta, n_pt, 5) float64
        Standard deviations of the second over those of the first; NaN unless both are valid.
    ratio_error : (n_eta, n_pt, 5) float64
        Relative statistical errors; 0 for tables without statistics, NaN for cells filled from neighbours.
    """

    labels: tuple[str, str]
    eta: NDArray[np.float64]
    pt: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    efficiency_error: NDArray[np.float64]
    ratio: NDArray[np.float64]
    ratio_error: NDArray[np.float64]

    def lines(self, n_worst: int = 5) -> list[str]:
        """Summary and the worst cells of each quantity as text."""
        known = ~np.isnan(self.ratio).any(axis=-1)
        lines = [
            f"{self.labels[1]} against {self.labels[0]}: {known.sum()} of {known.size} cells valid in both",
            _summary("efficiency difference", self.efficiency[1] - self.efficiency[0]),
            *self._worst("efficiency", self.efficiency[1] - self.efficiency[0], self.efficiency_error, n_worst),
        ]
        for i, name in enumerate(PARAMETERS):
            ratio = np.where(known, self.ratio[..., i], np.nan)
            lines.append(_summary(f"sigma({name}) ratio", ratio[known]))
            lines += self._worst(f"sigma({name})", ratio - 1.0, self.ratio_error[..., i], n_worst)
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


def _summary(name: str, values: NDArray[np.float64]) -> str:
    if values.size == 0:
        return f"{name}: nothing to compare"
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    return f"{name}: median {middle:.4f}, 90 % between {low:.4f} and {high:.4f}"


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
        Tables; the second is interpolated to the cells of the first.
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
        The tables are of different species or fields.
    """
    if first.species != second.species:
        raise LutError(f"{labels[0]} is of {first.species}, {labels[1]} of {second.species}; allowed: one species")
    if abs(first.field) != abs(second.field):
        raise LutError(f"{labels[0]} is made for {first.field:g} T, {labels[1]} for {second.field:g} T")
    eta, pt = first.covariance_axes[1].centers, first.covariance_axes[2].centers
    shape = (len(eta), len(pt))
    efficiency, sigma = np.zeros((2, *shape)), np.empty((2, *shape, 5))
    errors, relative = np.zeros(shape), np.zeros((*shape, 5))
    for i, lut in enumerate((first, second)):
        n_here, r_here = _within(lut.efficiency_axes[0], nch), _within(lut.covariance_axes[0], radius)
        packed = pack([lut])
        arrays = (packed.layout, packed.efficiencies, packed.cells)
        _look_up(n_here, r_here, eta, pt, *arrays, efficiency[i], sigma[i])
        if lut.sample is not None:
            e, t = (_nearest(axis, values) for axis, values in zip(lut.covariance_axes[1:], (eta, pt), strict=True))
            n = int(_nearest(lut.efficiency_axes[0], np.array([n_here]))[0])
            errors = np.hypot(errors, lut.sample.efficiency_error()[n][np.ix_(e, t)])
            own = np.where(lut.sample.origin[0, ..., None] == MEASURED, lut.sample.sigma_error[0], np.nan)
            relative = np.hypot(relative, own[np.ix_(e, t)])
    return Comparison(labels, eta, pt, efficiency, errors, sigma[1] / sigma[0], relative)


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
