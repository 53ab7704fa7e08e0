"""Pictures of tracking LUTs: efficiency and resolutions against pt and eta, several tables over each other."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError, OutputError
from flashdet.lut.atomic import write_bytes
from flashdet.lut.axis import Axis
from flashdet.lut.table import Lut

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours that are told apart by readers with any colour vision, also when printed in grey (Okabe and Ito, 2008).
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_STYLES = ("-", "--", ":", "-.")
#: Cuts drawn by default.
ETAS = (0.05, 1.05, 2.05, 3.05)
PTS = (0.1, 0.5, 2.0, 10.0)
_SUFFIXES = ("png", "pdf", "svg")
_UM_PER_CM = 1e4
#: Titles of the rows.
_EFFICIENCY, _PT = "efficiency", r"$\sigma(p_T)/p_T$ [%]"
_DCA_XY, _DCA_Z = r"$\sigma(\mathrm{DCA}_{xy})$ [$\mu$m]", r"$\sigma(\mathrm{DCA}_{z})$ [$\mu$m]"


def efficiency(lut: Lut, i_nch: int) -> NDArray[np.float64]:
    """Probability of reconstruction, (n_eta, n_pt); 0 where the table is not valid at the first radius."""
    return np.where(lut.valid[0], lut.efficiency[i_nch], 0.0)


def pt_resolution(lut: Lut) -> NDArray[np.float64]:
    """sigma(pt) / pt in percent at the first radius, (n_eta, n_pt); NaN where the table is not valid.

    pt = |z| / |q/pt|, so sigma(pt) / pt = sigma(q/pt) pt / |z|.
    """
    return 100.0 * _sigma(lut, 14) * lut.covariance_axes[2].centers / lut.charge


def dca_xy_resolution(lut: Lut) -> NDArray[np.float64]:
    """Resolution of the impact parameter across the track in the transverse plane [um], see `pt_resolution`."""
    return _UM_PER_CM * _sigma(lut, 0)


def dca_z_resolution(lut: Lut) -> NDArray[np.float64]:
    """Resolution of the impact parameter along the beam [um], see `pt_resolution`."""
    return _UM_PER_CM * _sigma(lut, 2)


def _sigma(lut: Lut, element: int) -> NDArray[np.float64]:
    valid = lut.valid[0]
    variance = np.full(valid.shape, np.nan)
    variance[valid] = lut.covariance[0, ..., element][valid]
    return np.sqrt(variance)


def plot_lut(
    luts: Sequence[Lut],
    labels: Sequence[str],
    path: str | Path,
    etas: Sequence[float] | None = None,
    pts: Sequence[float] | None = None,
    nch: float = 100.0,
    overwrite: bool = False,
) -> None:
    """Draw efficiency and resolutions of pt, dca_xy and dca_z against pt and eta, and the efficiency against dN/deta.

    The curves show the bins as stored, not interpolated: colours tell the fixed eta or pt, line styles the tables.

    Parameters
    ----------
    luts : sequence of Lut
        One to four tables.
    labels : sequence of str
        Their names in the legend.
    path : path
        ``.png``, ``.pdf`` or ``.svg``.
    etas, pts : sequence of float, optional
        Where to cut, pt in GeV; the bins that contain them are shown. Default: those of `ETAS` and `PTS` that lie
        inside all tables.
    nch : float
        dN_ch/deta of the efficiency.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    LutError
        No table or more than four, not as many labels, or a cut outside the axes.
    OutputError
        Another suffix, or the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    suffix = Path(path).suffix.lstrip(".").lower()
    if suffix not in _SUFFIXES:
        raise OutputError(f"{suffix!r} is no picture format; allowed: {', '.join(_SUFFIXES)}", str(path))
    if not 1 <= len(luts) <= len(_STYLES) or len(labels) != len(luts):
        raise LutError(f"{len(luts)} tables with {len(labels)} labels; allowed: 1 to {len(_STYLES)}, one label each")
    etas = _inside(luts, 1, ETAS) if etas is None else etas
    pts = _inside(luts, 2, PTS) if pts is None else pts
    figure = Figure(figsize=(11, 16), layout="constrained")
    halves: Any = figure.subfigures(2, 1, height_ratios=(4, 1))
    upper, lower = halves
    panels = upper.subplots(4, 2, sharex="col")
    rows: tuple[tuple[str, str, Callable[[Lut], NDArray[np.float64]]], ...] = (
        (_EFFICIENCY, "linear", lambda lut: efficiency(lut, _bin(lut.efficiency_axes[0], nch))),
        (_PT, "log", pt_resolution),
        (_DCA_XY, "log", dca_xy_resolution),
        (_DCA_Z, "log", dca_z_resolution),
    )
    for (title, scale, quantity), (left, right) in zip(rows, panels, strict=True):
        for lut, label, style in zip(luts, labels, _STYLES, strict=False):
            error = _relative_error(lut, title, _bin(lut.efficiency_axes[0], nch))
            _draw(left, right, quantity(lut), error, lut, label, style, etas, pts)
        for panel in (left, right):
            panel.set_yscale(scale)
            panel.grid(True, alpha=0.3)
        left.set_ylabel(title)
    panels[0, 0].set_ylim(0.0, 1.05)
    panels[0, 1].set_ylim(0.0, 1.05)
    panels[0, 0].set_xscale("log")
    panels[3, 0].set_xlabel(r"$p_T$ [GeV/$c$]")
    panels[3, 1].set_xlabel(r"$\eta$")
    for panel in panels[0]:
        panel.legend(fontsize=7, ncols=len(luts), loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _draw_multiplicity(lower.subplots(1, 1), luts, labels, pts)
    title = ", ".join(dict.fromkeys(f"{lut.species}, B = {lut.field:g} T" for lut in luts))
    upper.suptitle(rf"{title}, efficiency at $dN_{{ch}}/d\eta$ = {nch:g}")
    buffer = io.BytesIO()
    figure.savefig(buffer, format=suffix, dpi=120)
    write_bytes(path, [buffer.getvalue()], overwrite)


def _inside(luts: Sequence[Lut], i_axis: int, cuts: Sequence[float]) -> list[float]:
    axes = [lut.covariance_axes[i_axis] for lut in luts]
    return [cut for cut in cuts if all(axis.low <= cut < axis.high for axis in axes)]


def _bin(axis: Axis, value: float) -> int:
    i = int(np.searchsorted(axis.edges, value, side="right")) - 1
    if not 0 <= i < axis.n_bins:
        raise LutError(f"{value:g} lies outside {axis}")
    return i


def _relative_error(lut: Lut, title: str, i_nch: int) -> NDArray[np.float64] | None:
    """Relative statistical errors of a quantity, (n_eta, n_pt), if the table knows any."""
    if lut.sample is None:
        return None
    if title == _EFFICIENCY:
        value = efficiency(lut, i_nch)
        error = lut.sample.efficiency_error()[i_nch]
        return np.asarray(np.divide(error, value, out=np.zeros_like(error), where=value > 0.0))
    parameter = {_PT: 4, _DCA_XY: 0, _DCA_Z: 1}[title]
    return np.asarray(lut.sample.sigma_error[0, ..., parameter])


def _draw_multiplicity(panel: Axes, luts: Sequence[Lut], labels: Sequence[str], pts: Sequence[float]) -> None:
    """Efficiency against multiplicity near eta = 0."""
    for lut, label, style in zip(luts, labels, _STYLES, strict=False):
        nch, eta, pt = lut.efficiency_axes
        e = int(np.argmin(np.abs(eta.centers)))
        for value, color in zip(pts, _COLORS, strict=False):
            i = _bin(pt, value)
            text = rf"{label}, $\eta$ = {eta.centers[e]:.2f}, $p_T$ = {pt.centers[i]:.3g} GeV/$c$"
            marker = "o" if nch.n_bins == 1 else None
            curve = np.where(lut.valid[0, e, i], lut.efficiency[:, e, i], 0.0)
            error = None if lut.sample is None else lut.sample.efficiency_error()[:, e, i]
            panel.errorbar(
                nch.centers, curve, error, color=color, linestyle=style, marker=marker, capsize=2, label=text
            )
    panel.set_xscale("log")
    panel.set_ylim(0.0, 1.05)
    panel.set_xlabel(r"$dN_{ch}/d\eta$")
    panel.set_ylabel(_EFFICIENCY)
    panel.grid(True, alpha=0.3)
    panel.legend(fontsize=7)


def _draw(
    left: Axes,
    right: Axes,
    values: NDArray[np.float64],
    error: NDArray[np.float64] | None,
    lut: Lut,
    label: str,
    style: str,
    etas: Sequence[float],
    pts: Sequence[float],
) -> None:
    """Curves of one table with bands of statistical errors: against pt on the left, against eta on the right."""
    eta, pt = lut.covariance_axes[1:]
    options: dict[str, Any] = {"linestyle": style, "linewidth": 1.3}
    spread = np.zeros_like(values) if error is None else np.nan_to_num(error) * values
    for value, color in zip(etas, _COLORS, strict=False):
        i = _bin(eta, value)
        left.plot(pt.centers, values[i], color=color, label=rf"{label}, $\eta$ = {eta.centers[i]:.2f}", **options)
        left.fill_between(pt.centers, values[i] - spread[i], values[i] + spread[i], color=color, alpha=0.2, lw=0)
    for value, color in zip(pts, _COLORS, strict=False):
        i = _bin(pt, value)
        text = f"{label}, $p_T$ = {pt.centers[i]:.3g} GeV/$c$"
        right.plot(eta.centers, values[:, i], color=color, label=text, **options)
        low, high = values[:, i] - spread[:, i], values[:, i] + spread[:, i]
        right.fill_between(eta.centers, low, high, color=color, alpha=0.2, lw=0)
