"""Sections of a report about events, tracks and vertices."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch, Table
from flashdet.report.figures import (
    COLORS,
    COMMON,
    LABELS,
    Section,
    histogram,
    log_axis,
    new_figure,
    picture,
    points,
    pull_panel,
    spread_in_bins,
)
from flashdet.report.purity import ratio
from flashdet.species import SPECIES_PDG

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Arrays = NDArray[Any]

#: Bins of the transverse momentum [GeV].
PT_EDGES = np.geomspace(0.05, 20.0, 27)
_OFFERED = "charged particles offered to the tracker"
_TRUTH = ("pt_true", "eta_true", "species_true", "charge_true", "cov", "q_over_pt", "tgl")


def lacks(table: str, *columns: str) -> str:
    """Sentence about what a file must have for a section.

    Parameters
    ----------
    table : str
        Name of the table.
    *columns : str
        Columns that are needed; none: the table itself.

    Returns
    -------
    str
    """
    what = f"the columns {', '.join(columns)} of the table {table}" if columns else f"the table {table}"
    return f"Skipped: the file does not have {what}."


def has(batch: EventBatch, table: str, *columns: str) -> bool:
    """Whether a batch has all these columns.

    Parameters
    ----------
    batch : EventBatch
    table : str
    *columns : str

    Returns
    -------
    bool
    """
    return table in batch and all(column in batch[table] for column in columns)


def from_collision(batch: EventBatch) -> NDArray[np.bool_]:
    """Tracks of particles made within 1 mm of the collision.

    Parameters
    ----------
    batch : EventBatch
        With ``track``.

    Returns
    -------
    (n,) bool
        All true if the file does not say where particles are made.
    """
    track, event = batch["track"], batch["event"]
    names = ("vx", "vy", "vz")
    if not (has(batch, "track", *(f"{name}_true" for name in names)) and has(batch, "event", *names)):
        return np.ones(track.n_rows, np.bool_)
    of = track.event_index
    squares = [np.square(track[f"{name}_true"].astype(np.float64) - event[name][of]) for name in names]
    return np.asarray(sum(squares) < 0.1**2, np.bool_)


def draw_multiplicity(batch: EventBatch) -> Section:
    """Tracks per event, their pseudorapidity and transverse momentum.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Multiplicity"
    if not has(batch, "track", "eta", "pt"):
        return Section(title, lacks("track", "eta", "pt"))
    track = batch["track"]
    n_tracks = np.diff(track.offsets)
    figure, (first, second, third) = new_figure(3)
    top = max(int(n_tracks.max(initial=0)), 1)
    step = max(1, top // 60)
    histogram(first, n_tracks, np.arange(0, top + 2 * step, step) - 0.5, color=COLORS[2], fill=True)
    first.set(xlabel="tracks per event", ylabel="events")
    counts, edges = np.histogram(track["eta"], np.linspace(-4.5, 4.5, 46))
    second.stairs(counts / batch.n_events / np.diff(edges), edges, color=COLORS[2], fill=True)
    second.set(xlabel=r"$\eta$", ylabel=r"tracks per event and unit of $\eta$")
    histogram(third, track["pt"], np.geomspace(0.03, 50, 50), color=COLORS[2], fill=True)
    third.set(xlabel=r"$p_T/|z|$ [GeV/$c$]", ylabel="tracks", yscale="log")
    log_axis(third)
    text = f"{batch.n_events} events, {track.n_rows} tracks, {n_tracks.mean():.1f} per event."
    return Section(title, text, [(picture(figure), "tracks per event, pseudorapidity, transverse momentum")])


def draw_efficiency(batch: EventBatch, particles: str = "all") -> Section:
    """Fraction of charged particles that become tracks.

    Parameters
    ----------
    batch : EventBatch
    particles : str
        Which generated particles the file keeps; those of ``tracked`` only are no sample for an efficiency.

    Returns
    -------
    Section
    """
    title = "Tracking efficiency"
    if not has(batch, "track", "pt_true", "eta_true", "species_true", "pdg_true"):
        return Section(title, lacks("track", "pt_true", "eta_true", "species_true", "pdg_true"))
    offered = _offered(batch, particles)
    if offered is None:
        text = "Skipped: the file has neither the table charged nor the particles that were not tracked."
        return Section(title, f"{text} Add charged to output.tables of the card.")
    source, total_values = offered
    track = batch["track"]
    found = {"pt": track["pt_true"], "eta": track["eta_true"], "pdg": track["pdg_true"]}
    if source != _OFFERED and has(batch, "track", "particle_index"):
        # pairs of converted photons are no particles of the generator
        found = {name: values[track["particle_index"] >= 0] for name, values in found.items()}
    figure, (left, right) = new_figure(2)
    for ax, name, edges in ((left, "pt", PT_EDGES), (right, "eta", np.linspace(-4.5, 4.5, 31))):
        for s in COMMON:
            total, passed = (_count(values, name, edges, SPECIES_PDG[s]) for values in (total_values, found))
            fraction, error = ratio(passed, total)
            points(ax, edges, np.where(total >= 5, fraction, np.nan), error, color=COLORS[s], label=LABELS[s])
        ax.set(ylim=(0, 1.08), ylabel="tracks / charged particles")
    left.set(xlabel=r"$p_T$ [GeV/$c$] for $|\eta|$ < 1")
    log_axis(left)
    right.set(xlabel=r"$\eta$ for $p_T$ > 0.5 GeV/$c$")
    _legend(right)
    text = f"Tracks over {source}. Bins with fewer than 5 are left out."
    return Section(title, text, [(picture(figure), "efficiency against transverse momentum and pseudorapidity")])


def _offered(batch: EventBatch, particles: str) -> tuple[str, dict[str, Arrays]] | None:
    """What could have become a track: particles offered to the tracker, or all final ones of the generator."""
    if has(batch, "charged", "pt", "eta", "pdg"):
        table = batch["charged"]
        return _OFFERED, {name: table[name] for name in ("pt", "eta", "pdg")}
    if particles == "tracked" or not has(batch, "particle", "px", "py", "pz", "pdg", "status"):
        return None
    table = batch["particle"]
    is_final = table["status"] == 1
    px, py, pz = (table[name][is_final].astype(np.float64) for name in ("px", "py", "pz"))
    pt = np.hypot(px, py)
    eta = np.arcsinh(np.divide(pz, pt, where=pt > 0, out=np.full(len(pt), np.inf)))
    return "final particles of the generator", {"pt": pt, "eta": eta, "pdg": table["pdg"][is_final]}


def _count(values: dict[str, Arrays], name: str, edges: Arrays, pdg: int) -> Arrays:
    """Particles of a code in bins: of pt in the central barrel, of eta above the threshold."""
    inside = np.abs(values["eta"]) < 1 if name == "pt" else values["pt"] > 0.5
    return np.histogram(values[name][inside & (np.abs(values["pdg"]) == pdg)], edges)[0]


def draw_resolution(batch: EventBatch) -> Section:
    """Resolution of momentum and pointing, and pulls of the fitted parameters.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Tracking resolution and pulls"
    if not has(batch, "track", *_TRUTH):
        return Section(title, lacks("track", *_TRUTH))
    track = batch["track"]
    figure, (first, second, third) = new_figure(3)
    species, pt = track["species_true"], track["pt_true"]
    z = np.abs(track["charge_true"].astype(np.float64))
    relative = z / np.abs(track["q_over_pt"]) / pt - 1.0
    direct = from_collision(batch)
    for s in COMMON:
        chosen = species == s
        style = {"color": COLORS[s], "label": LABELS[s], "marker": "o", "markersize": 3.5, "linewidth": 1.2}
        _line(first, 100 * spread_in_bins(pt[chosen], relative[chosen], PT_EDGES), **style)
        if has(batch, "track", "dca_xy"):
            primary = chosen & direct
            _line(second, 1e4 * spread_in_bins(pt[primary], track["dca_xy"][primary], PT_EDGES), **style)
    first.set(xlabel=r"$p_T$ [GeV/$c$]", ylabel=r"$\sigma(p_T)/p_T$ [%]", yscale="log")
    second.set(xlabel=r"$p_T$ [GeV/$c$]", ylabel=r"$\sigma$(DCA$_{xy}$) [$\mu$m]", yscale="log")
    for ax in (first, second):
        log_axis(ax)
        log_axis(ax, "y")
    _legend(first)
    pull_panel(third, _pulls(track), 5.0, "(measured - true)/error")
    text = (
        "Half the width of the central 68 % of the residuals; bins with fewer than 20 tracks are left out. Distances "
        "to the vertex are those of particles made within 1 mm of the collision."
    )
    return Section(title, text, [(picture(figure), "resolution of pt, of the distance to the vertex, and pulls")])


def _pulls(track: Table) -> Iterator[tuple[Arrays, str, str]]:
    """Pulls of q/pt and tgl, with their names and colours."""
    slope = np.sinh(track["eta_true"].astype(np.float64))
    cov = track["cov"]
    for column, true, variance, label, color in (
        ("q_over_pt", track["charge_true"] / track["pt_true"], cov[:, 14], r"$q/p_T$", COLORS[0]),
        ("tgl", slope, cov[:, 9], r"$\tan\lambda$", COLORS[2]),
    ):
        is_known = variance > 0
        yield (track[column] - true)[is_known] / np.sqrt(variance[is_known]), label, color


def _line(ax: Axes, y: Arrays, **style: Any) -> None:
    centre = np.sqrt(PT_EDGES[1:] * PT_EDGES[:-1])
    is_known = np.isfinite(y) & (y > 0)
    if is_known.any():
        ax.plot(centre[is_known], y[is_known], **style)


def _legend(ax: Axes) -> None:
    if ax.get_legend_handles_labels()[1]:
        ax.legend(ncols=2, fontsize=9)


def draw_vertex(batch: EventBatch) -> Section:
    """Primary vertices against the generated ones.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Primary vertex"
    if not has(batch, "vertex", "x", "y", "z", "n_contributors"):
        return Section(title, lacks("vertex"))
    vertex, event = batch["vertex"], batch["event"]
    of = vertex.event_index
    figure, axes = new_figure(3)
    for ax, names, color in ((axes[0], ("x", "y"), COLORS[0]), (axes[1], ("z",), COLORS[2])):
        for name, shade in zip(names, (color, COLORS[4]), strict=False):
            if f"v{name}" not in event:
                continue
            residual = 1e4 * (vertex[name] - event[f"v{name}"][of])
            limit = max(float(np.quantile(np.abs(residual), 0.98)), 1.0) if len(residual) else 1.0
            width = np.subtract(*np.quantile(residual, (0.84135, 0.15865))) / 2 if len(residual) else np.nan
            label = f"{name}: {width:.1f} \N{MICRO SIGN}m"
            histogram(ax, residual, np.linspace(-limit, limit, 41), color=shade, label=label)
        ax.set(xlabel=r"measured - generated [$\mu$m]", ylabel="vertices")
        ax.legend(fontsize=9)
    top = max(int(vertex["n_contributors"].max(initial=0)), 1)
    histogram(
        axes[2], vertex["n_contributors"], np.arange(0, top + 2, max(1, top // 40)) - 0.5, color=COLORS[2], fill=True
    )
    axes[2].set(xlabel="contributors", ylabel="vertices")
    text = f"{vertex.n_rows} vertices in {batch.n_events} events."
    return Section(title, text, [(picture(figure), "residuals of the vertex, and its contributors")])
