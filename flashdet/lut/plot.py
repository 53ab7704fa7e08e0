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
    """Draw the efficiency and the resolutions of pt, dca_xy and dca_z against pt and against eta.

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
    figure = Figure(figsize=(11, 13), layout="constrained")
    panels = figure.subplots(4, 2, sharex="col")
    rows: tuple[tuple[str, str, Callable[[Lut], NDArray[np.float64]]], ...] = (
        ("efficiency", "linear", lambda lut: efficiency(lut, _bin(lut.efficiency_axes[0], nch))),
        (r"$\sigma(p_T)/p_T$ [%]", "log", pt_resolution),
        (r"$\sigma(\mathrm{DCA}_{xy})$ [$\mu$m]", "log", dca_xy_resolution),
        (r"$\sigma(\mathrm{DCA}_{z})$ [$\mu$m]", "log", dca_z_resolution),
    )
    for (title, scale, quantity), (left, right) in zip(rows, panels, strict=True):
        for lut, label, style in zip(luts, labels, _STYLES, strict=False):
            _draw(left, right, quantity(lut), lut, label, style, etas, pts)
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
    title = ", ".join(dict.fromkeys(f"{lut.species}, B = {lut.field:g} T" for lut in luts))
    figure.suptitle(rf"{title}, efficiency at $dN_{{ch}}/d\eta$ = {nch:g}")
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


def _draw(
    left: Axes,
    right: Axes,
    values: NDArray[np.float64],
    lut: Lut,
    label: str,
    style: str,
    etas: Sequence[float],
    pts: Sequence[float],
) -> None:
    """Curves of one table: against pt on the left, against eta on the right."""
    eta, pt = lut.covariance_axes[1:]
    options: dict[str, Any] = {"linestyle": style, "linewidth": 1.3}
    for value, color in zip(etas, _COLORS, strict=False):
        i = _bin(eta, value)
        left.plot(pt.centers, values[i], color=color, label=rf"{label}, $\eta$ = {eta.centers[i]:.2f}", **options)
    for value, color in zip(pts, _COLORS, strict=False):
        i = _bin(pt, value)
        text = f"{label}, $p_T$ = {pt.centers[i]:.3g} GeV/$c$"
        right.plot(eta.centers, values[:, i], color=color, label=text, **options)
