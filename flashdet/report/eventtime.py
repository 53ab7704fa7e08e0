"""Section of a report about the time of the collision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch, Table
from flashdet.report.figures import COLORS, Section, log_axis, new_figure, note, picture, points, pull_panel
from flashdet.report.tracks import lacks

Floats = NDArray[np.float64]

_SUFFIX = "_event"
_COLUMNS = ("time", "time_error", "n_tracks")
#: Fewer events in a bin give no width.
_LEAST = 10


def draw_event_time(batch: EventBatch) -> Section:
    """Resolution and pull of the time of the collision against the number of tracks that it comes from.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Event time"
    found = {name.removesuffix(_SUFFIX): table for name, table in batch.tables.items() if _is_event_time(name, table)}
    if not found:
        return Section(title, "Skipped: the file has no table <name>_event of the time of the collision.")
    if "event" not in batch or not all(name in batch["event"] for name in ("vt", "collision_time")):
        return Section(title, lacks("event", "vt", "collision_time"))
    event = batch["event"]
    true = event["vt"].astype(np.float64) + event["collision_time"]
    colors = dict(zip(found, (COLORS[2], COLORS[0], COLORS[1], COLORS[3], COLORS[4]) * len(found), strict=False))
    figure, (first, second, third) = new_figure(3)
    rows: list[tuple[str, ...]] = [("detector", "events", "with tracks", "resolution [ps]", "pull: median, width")]
    pulls = []
    for name, table in found.items():
        residual, n_tracks = table["time"] - true, table["n_tracks"]
        pull = residual / table["time_error"]
        edges = contributor_edges(int(n_tracks.max(initial=0)))
        style = {"color": colors[name], "label": name}
        _, _, width, width_error = moments_in_bins(n_tracks, 1e3 * residual, edges)
        points(first, edges, width, width_error, **style)
        errors = [_median(1e3 * table["time_error"][chosen]) for chosen in _bins(n_tracks, edges)]
        first.stairs(
            np.array(errors), edges, baseline=None, color=colors[name], linewidth=1, linestyle=":",
            label=f"{name}: error",
        )  # fmt: skip
        middle, middle_error, width, width_error = moments_in_bins(n_tracks, pull, edges)
        points(second, edges, width, width_error, **{**style, "label": f"{name}: width"})
        points(second, edges, middle, middle_error, linestyle=":", **{**style, "label": f"{name}: median"})
        with_tracks = n_tracks > 0
        pulls.append((pull[with_tracks], name, colors[name]))
        rows.append(_row(name, residual[with_tracks], pull[with_tracks], len(true)))
    first.set(xlabel="contributing tracks", ylabel="width of measured - generated [ps]", yscale="log")
    second.set(xlabel="contributing tracks", ylabel="pull: width and median", ylim=(-0.9, 2.0))
    second.axhline(1.0, color="k", linestyle="--", linewidth=1)
    second.axhline(0.0, color="0.6", linestyle="--", linewidth=1)
    for ax in (first, second):
        log_axis(ax)
        if ax.get_legend_handles_labels()[1]:
            ax.legend(fontsize=8)
        else:
            note(ax, f"fewer than {_LEAST} events in any bin")
    log_axis(first, "y")
    pull_panel(third, pulls, 5.0, "(measured - generated)/error")
    text = (
        "Time of the collision from all tracks of an event against the generated one. Widths: half of the central "
        f"68 %; bins with fewer than {_LEAST} events are left out. Dotted on the left: the median of the errors that "
        "belong to the times. Without tracks the time is the prior."
    )
    alt = "resolution and pull of the event time against the number of tracks, and pulls of all events with tracks"
    return Section(title, text, [(picture(figure), alt)], rows)


def contributor_edges(most: int) -> Floats:
    """Edges of bins of the number of tracks: every number up to 4, then three bins for each factor of two.

    Parameters
    ----------
    most : int
        Largest number.

    Returns
    -------
    (n_bins + 1,) float64
        Half-integers from 0.5 to above `most`.
    """
    edges = [0.5, 1.5, 2.5, 3.5, 4.5]
    while edges[-1] < most:
        edges.append(np.floor(max(edges[-1] * 2.0 ** (1 / 3), edges[-1] + 1.0) - 0.5) + 0.5)
    return np.array(edges)


def moments_in_bins(n_tracks: NDArray[np.integer], values: Floats, edges: Floats) -> Floats:
    """Median and half the width of the central 68.27 %, each with its error for normal values.

    Parameters
    ----------
    n_tracks : (n_events,) int
        Contributing tracks.
    values : (n_events,) float64
        Values.
    edges : (n_bins + 1,) float64
        From `contributor_edges`.

    Returns
    -------
    (4, n_bins) float64
        Median, its error, width, its error; NaN for bins with fewer than ten events.
    """
    result = np.full((4, len(edges) - 1), np.nan)
    for i, chosen in enumerate(_bins(n_tracks, edges)):
        n = np.count_nonzero(chosen)
        if n >= _LEAST:
            middle, width = _median_and_width(values[chosen])
            # quantiles q and 1 - q, density f at them: variances q (1 - q)/(n f^2), covariance q^2/(n f^2)
            errors = np.sqrt(0.25 / n) / 0.39894, np.sqrt(0.5 * 0.15865 * 0.6827 / n) / 0.24197
            result[:, i] = middle, width * errors[0], width, width * errors[1]
    return result


def _bins(n_tracks: NDArray[np.integer], edges: Floats) -> Iterator[NDArray[np.bool_]]:
    for low, high in itertools.pairwise(edges):
        yield (n_tracks > low) & (n_tracks < high)


def _median_and_width(values: Floats) -> tuple[float, float]:
    low, middle, high = np.quantile(values, (0.15865, 0.5, 0.84135))
    return float(middle), float(high - low) / 2


def _median(values: Floats) -> float:
    return float(np.median(values)) if len(values) else np.nan


def _row(name: str, residual: Floats, pull: Floats, n_events: int) -> tuple[str, ...]:
    """Numbers of all events with tracks."""
    if len(residual) < _LEAST:
        return name, str(n_events), str(len(residual)), "too few events", "too few events"
    width, (middle, spread) = _median_and_width(1e3 * residual)[1], _median_and_width(pull)
    return name, str(n_events), str(len(residual)), f"{width:.1f}", f"{middle:.2f}, {spread:.2f}"


def _is_event_time(name: str, table: Table) -> bool:
    return name.endswith(_SUFFIX) and all(column in table for column in _COLUMNS)
