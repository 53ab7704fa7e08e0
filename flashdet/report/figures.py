"""How figures of a report look: sizes, colours, densities in two dimensions, points with errors.

matplotlib is imported when a figure is made; what is drawn is decided elsewhere in this room.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import OutputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Colours that are told apart by readers with any colour vision, also when printed in grey (Okabe and Ito, 2008); one
#: per species of `flashdet.species.SPECIES`.
COLORS = ("#D55E00", "#009E73", "#0072B2", "#E69F00", "#CC79A7", "#56B4E9", "#7F7F7F", "#8B6F00", "#000000")
#: Names of the species in figures.
LABELS = (r"$e$", r"$\mu$", r"$\pi$", r"$K$", r"$p$", r"$d$", r"$t$", r"$^3$He", r"$\alpha$")
#: The species that are drawn apart: e, mu, pi, K, p.
COMMON = range(5)

_STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "figure.dpi": 110,
}


@dataclass
class Section:
    """A part of the page.

    Attributes
    ----------
    title : str
        Heading.
    text : str
        What is shown, in a sentence or two; for a part that cannot be drawn, why.
    images : list of (str, str)
        PNG pictures in base64, and what they show.
    rows : list of tuple of str
        A table; the first row holds the headings.
    """

    title: str
    text: str
    images: list[tuple[str, str]] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)


def new_figure(n_columns: int = 1, n_rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Make a figure with a row or a grid of panels.

    Parameters
    ----------
    n_columns, n_rows : int
        Panels.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : list of matplotlib.axes.Axes
        Row by row.

    Raises
    ------
    OutputError
        matplotlib is not installed.
    """
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OutputError("plots need matplotlib", hint='pip install "flashdet[plots]"') from error
    with mpl.rc_context(_STYLE):
        width, height = 4.6 * n_columns, 3.5 * n_rows
        figure = Figure(figsize=(width, height))
        # margins in inches: an automatic layout draws everything twice
        figure.subplots_adjust(
            left=0.75 / width,
            right=1 - 0.15 / width,
            bottom=0.55 / height,
            top=1 - 0.3 / height,
            wspace=0.28,
            hspace=0.35,
        )
        axes = [figure.add_subplot(n_rows, n_columns, i + 1) for i in range(n_columns * n_rows)]
    for ax in axes:
        ax.grid(alpha=0.25, linewidth=0.6)
    return figure, axes


def picture(figure: Figure) -> str:
    """PNG of a figure in base64.

    Parameters
    ----------
    figure : matplotlib.figure.Figure

    Returns
    -------
    str
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def log_axis(ax: Axes, which: str = "x") -> None:
    """Make an axis logarithmic with plain numbers at 1, 2 and 5.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    which : {"x", "y"}
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis = ax.xaxis if which == "x" else ax.yaxis
    (ax.set_xscale if which == "x" else ax.set_yscale)("log")
    axis.set_major_locator(LogLocator(10, (1.0, 2.0, 5.0)))
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axis.set_minor_locator(NullLocator())


def density(
    figure: Figure, ax: Axes, x: NDArray[Any], y: NDArray[Any], x_edges: NDArray[Any], y_edges: NDArray[Any]
) -> None:
    """Draw the density of points, on a logarithmic scale of colour.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    ax : matplotlib.axes.Axes
    x, y : (n,) array
        Points; those with NaN are left out.
    x_edges, y_edges : array
        Edges of the bins.
    """
    from matplotlib.colors import LogNorm

    is_known = np.isfinite(x) & np.isfinite(y)
    counts, _, _ = np.histogram2d(x[is_known], y[is_known], (x_edges, y_edges))
    masked = np.ma.masked_less(counts.T, 0.5)
    mesh = ax.pcolormesh(
        x_edges, y_edges, masked, norm=LogNorm(1, max(counts.max(), 10)), cmap="viridis", rasterized=True
    )
    figure.colorbar(mesh, ax=ax, label="tracks", pad=0.02)


def histogram(ax: Axes, values: NDArray[Any], edges: NDArray[Any], *, is_density: bool = False, **style: Any) -> None:
    """Draw a histogram as a line or, with ``fill=True``, as an area.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    values : (n,) array
        NaN are left out.
    edges : array
        Edges of the bins.
    is_density : bool
        Divide by the number of values and the width of the bins.
    **style
        Passed to ``stairs``.
    """
    values = values[np.isfinite(values)]
    counts = np.histogram(values, edges)[0].astype(np.float64)
    if is_density:
        counts /= max(len(values), 1) * np.diff(edges)
    ax.stairs(counts, edges, linewidth=1.3, **style)


def points(ax: Axes, edges: NDArray[Any], y: NDArray[Any], error: NDArray[Any], **style: Any) -> None:
    """Draw values in bins with their errors.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    edges : (n + 1,) array
        Edges of the bins, drawn at their geometric centre if all are positive.
    y, error : (n,) array
        NaN: no point.
    **style
        Passed to ``errorbar``.
    """
    centre = np.sqrt(edges[1:] * edges[:-1]) if edges[0] > 0 else 0.5 * (edges[1:] + edges[:-1])
    is_known = np.isfinite(y)
    if is_known.any():
        ax.errorbar(
            centre[is_known], y[is_known], error[is_known], marker="o", markersize=3.5, linewidth=1.2, elinewidth=1,
            **style,
        )  # fmt: skip


def pull_panel(
    ax: Axes, pulls: Iterable[tuple[NDArray[Any], str, str]], reach: float, label: str, least: int = 20
) -> None:  # fmt: skip
    """Draw pulls against the standard normal distribution, their median and width in the legend.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    pulls : iterable of (array, str, str)
        Values (NaN are left out), name and colour.
    reach : float
        The axis goes so far to both sides.
    label : str
        Name of the axis.
    least : int
        Fewer values are not drawn.
    """
    edges = np.linspace(-reach, reach, 41)
    for values, name, color in pulls:
        known = values[np.isfinite(values)]
        if len(known) < least:
            continue
        low, middle, high = np.quantile(known, (0.15865, 0.5, 0.84135))
        text = f"{name}: {middle:.2f}, {(high - low) / 2:.2f}"
        histogram(ax, known, edges, is_density=True, color=color, label=text)
    x = np.linspace(-reach, reach, 201)
    ax.plot(x, np.exp(-0.5 * x**2) / np.sqrt(2 * np.pi), "k--", linewidth=1, label="normal")
    ax.set(xlabel=f"{label} (median, width)", ylabel="density")
    # room for the legend above the highest histogram
    ax.set_ylim(0, max(1.45 * ax.dataLim.y1, 0.6))
    ax.legend(fontsize=8, ncols=2, loc="upper center")


def note(ax: Axes, text: str) -> None:
    """Say in an empty panel why it is empty."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", color="0.4")


def median_in_bins(x: NDArray[Any], y: NDArray[Any], edges: NDArray[Any], least: int = 10) -> NDArray[np.float64]:
    """Median of `y` in bins of `x`.

    Parameters
    ----------
    x, y : (n,) array
        NaN are left out.
    edges : (n_bins + 1,) array
        Edges.
    least : int
        A bin with fewer values is NaN.

    Returns
    -------
    (n_bins,) float64
    """
    return _in_bins(x, y, edges, least, np.median)


def spread_in_bins(x: NDArray[Any], y: NDArray[Any], edges: NDArray[Any], least: int = 20) -> NDArray[np.float64]:
    """Half the width of the central 68.27 % of `y` in bins of `x`; parameters as in `median_in_bins`."""

    def spread(values: NDArray[Any]) -> float:
        low, high = np.quantile(values, (0.15865, 0.84135))
        return float(high - low) / 2

    return _in_bins(x, y, edges, least, spread)


def _in_bins(x: NDArray[Any], y: NDArray[Any], edges: NDArray[Any], least: int, statistic: Any) -> NDArray[np.float64]:
    is_known = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_known], y[is_known]
    place = np.digitize(x, edges) - 1
    result = np.full(len(edges) - 1, np.nan)
    for i in range(len(result)):
        values = y[place == i]
        if len(values) >= least:
            result[i] = statistic(values)
    return result
