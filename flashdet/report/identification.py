"""Sections of a report about detectors that identify particles.

A detector is recognised by its columns, not by its name: ``beta`` makes a time of flight, ``angle`` a RICH, ``signal``
and ``n_layers`` an energy loss, ``e_over_p`` a calorimeter, a tag with expected probabilities a muon identifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch, Table
from flashdet.report.figures import (
    COLORS,
    COMMON,
    LABELS,
    Section,
    density,
    histogram,
    log_axis,
    median_in_bins,
    new_figure,
    note,
    picture,
    points,
    pull_panel,
)
from flashdet.report.purity import confusion, ratio, select
from flashdet.report.tracks import from_collision, has, lacks
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]

#: Bins of the momentum [GeV]: coarse for medians, fine for densities.
P_EDGES, P_FINE = np.geomspace(0.1, 20.0, 31), np.geomspace(0.08, 20.0, 121)
#: Pairs of species whose separation is drawn.
PAIRS = (("electron", "pion"), ("muon", "pion"), ("pion", "kaon"), ("kaon", "proton"))
_PAIR_COLORS = (COLORS[0], COLORS[1], COLORS[2], COLORS[3])
_KINDS: dict[str, tuple[str, ...]] = {
    "time of flight": ("beta",),
    "RICH": ("angle",),
    "energy loss": ("signal", "n_layers"),
    "calorimeter": ("e_over_p",),
}
#: What is drawn beside the signal of each kind.
_PULLS = "distance to the true species in units of the error, for particles made within 1 mm of the collision"
_RIGHT = dict.fromkeys(_KINDS, _PULLS) | {"calorimeter": "E/p of each true species"}
_PROBABILITY = tuple(f"probability_{species}" for species in SPECIES)


def rigidity(batch: EventBatch) -> Floats:
    """Measured p/|z| of each track.

    Parameters
    ----------
    batch : EventBatch
        With ``track.pt`` and ``track.eta``.

    Returns
    -------
    (n,) float64
        [GeV].
    """
    track = batch["track"]
    return np.asarray(track["pt"] * np.cosh(track["eta"].astype(np.float64)), np.float64)


def detectors(batch: EventBatch, kind: str) -> Iterator[Table]:
    """Tables of all detectors of a kind.

    Parameters
    ----------
    batch : EventBatch
    kind : str
        A key of the kinds above.

    Yields
    ------
    Table
    """
    if "track" not in batch:
        return
    for table in batch.tables.values():
        is_like_track = np.array_equal(table.offsets, batch["track"].offsets)
        if is_like_track and all(column in table for column in (*_KINDS[kind], "n_sigma_pion")):
            yield table


def draw_signals(batch: EventBatch) -> list[Section]:
    """Measured signal against momentum for every detector: beta, angle, energy loss, E/p.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    list of Section
    """
    if not has(batch, "track", "pt", "eta"):
        return [Section("Signals", lacks("track", "pt", "eta"))]
    draw: dict[str, Callable[[EventBatch, Table], tuple[str, str]]] = {
        "time of flight": _draw_beta, "RICH": _draw_angle, "energy loss": _draw_loss, "calorimeter": _draw_e_over_p,
    }  # fmt: skip
    sections = []
    for kind, function in draw.items():
        found = [table for table in detectors(batch, kind) if table["has_signal"].any()]
        if not found:
            text = f"Skipped: the file has no table of a {kind} with signals."
            sections.append(Section(kind[0].upper() + kind[1:], text))
        for table in found:
            share = f"{table['has_signal'].sum()} of {table.n_rows} tracks have a signal."
            image, what = function(batch, table)
            text = f"{share} Left: {what} against momentum. Right: {_RIGHT[kind]}."
            sections.append(
                Section(f"{table.name}: {what}", text, [(image, f"{what} of {table.name} against momentum")])
            )
    return sections


def _draw_beta(batch: EventBatch, table: Table) -> tuple[str, str]:
    figure, (ax, right) = new_figure(2)
    density(figure, ax, rigidity(batch), table["beta"], P_FINE, np.linspace(0.2, 1.2, 121))
    for s in COMMON:
        ax.plot(P_FINE, 1 / np.sqrt(1 + (SPECIES_MASS[s] / P_FINE) ** 2), color=COLORS[0], linewidth=0.7, alpha=0.7)
    ax.set(xlabel=r"$p/|z|$ [GeV/$c$]", ylabel=r"$\beta$", ylim=(0.2, 1.2), xlim=(0.08, 20))
    log_axis(ax)
    _draw_pulls(right, batch, table)
    return picture(figure), "beta"


def _draw_angle(batch: EventBatch, table: Table) -> tuple[str, str]:
    figure, (ax, right) = new_figure(2)
    top = float(np.nanmax(table["angle"])) * 1e3
    top = 1.04 * max(min(top, 1.3 * float(np.nanquantile(table["angle"], 0.99)) * 1e3), 1.0)
    density(figure, ax, rigidity(batch), 1e3 * table["angle"], P_FINE, np.linspace(0, top, 121))
    ax.set(xlabel=r"$p/|z|$ [GeV/$c$]", ylabel="Cherenkov angle [mrad]", xlim=(0.08, 20))
    log_axis(ax)
    _draw_pulls(right, batch, table)
    return picture(figure), "Cherenkov angle"


def _draw_loss(batch: EventBatch, table: Table) -> tuple[str, str]:
    figure, (ax, right) = new_figure(2)
    # GeV/cm in keV/um
    signal = 100.0 * table["signal"].astype(np.float64)
    low, high = np.nanquantile(signal, (0.0, 0.999))
    density(figure, ax, rigidity(batch), signal, P_FINE, np.geomspace(0.8 * low, 1.5 * high, 121))
    for s in COMMON:
        expected = 100.0 * median_in_bins(rigidity(batch), table[f"expected_{SPECIES[s]}"], P_EDGES)
        ax.plot(np.sqrt(P_EDGES[1:] * P_EDGES[:-1]), expected, color=COLORS[0], linewidth=0.8, alpha=0.8)
    ax.set(xlabel=r"$p/|z|$ [GeV/$c$]", ylabel=r"energy loss [keV/$\mu$m]", xlim=(0.08, 20))
    log_axis(ax)
    log_axis(ax, "y")
    _draw_pulls(right, batch, table)
    return picture(figure), "energy loss"


def _draw_e_over_p(batch: EventBatch, table: Table) -> tuple[str, str]:
    figure, (ax, right) = new_figure(2)
    value, p = table["e_over_p"].astype(np.float64), rigidity(batch)
    density(figure, ax, p, value, P_FINE, np.linspace(0, 1.6, 81))
    ax.set(xlabel=r"$p/|z|$ [GeV/$c$]", ylabel=r"$E/p$", xlim=(0.08, 20))
    log_axis(ax)
    edges = np.linspace(0, 1.6, 65)
    for s in _species(batch):
        chosen = (batch["track"]["species_true"] == s) & np.isfinite(value) & (p > 0.5)
        if chosen.sum() >= 10:
            histogram(right, value[chosen], edges, is_density=True, color=COLORS[s], label=LABELS[s])
    right.set(xlabel=r"$E/p$ for $p$ > 0.5 GeV/$c$", ylabel="density", yscale="log")
    if right.get_legend_handles_labels()[1]:
        right.legend(ncols=2, fontsize=9)
    return picture(figure), "E/p"


def _species(batch: EventBatch) -> list[int]:
    return list(COMMON) if "species_true" in batch["track"] else []


def _draw_pulls(ax: Axes, batch: EventBatch, table: Table) -> None:
    """Distances to the true hypothesis of particles from the collision, by species."""
    direct, species = from_collision(batch), _species(batch)
    pulls = [
        (table[f"n_sigma_{SPECIES[s]}"][direct & (batch["track"]["species_true"] == s)], LABELS[s], COLORS[s])
        for s in species
    ]
    pull_panel(ax, pulls, 6.0, r"$n_\sigma$ of the true species")


def separation(batch: EventBatch, table: Table, first: str, second: str, edges: Floats) -> Floats:
    """How far apart a detector sees two species, in bins of the momentum.

    The difference of both distances, n_sigma(first) - n_sigma(second), is the distance of the two expectations in units
    of the resolution; its median is taken over all tracks, whatever they are.

    Parameters
    ----------
    batch : EventBatch
        With the table ``track``.
    table : Table
        A detector.
    first, second : str
        Names of species.
    edges : (n_bins + 1,) float64
        Momenta [GeV].

    Returns
    -------
    (n_bins,) float64
        NaN with fewer than 10 tracks.
    """
    distance = np.abs(table[f"n_sigma_{first}"].astype(np.float64) - table[f"n_sigma_{second}"])
    return median_in_bins(rigidity(batch), distance, edges)


def draw_separation(batch: EventBatch) -> Section:
    """Separation power of every detector and pair of species against the momentum.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Separation power"
    found = [table for kind in _KINDS for table in detectors(batch, kind) if table["has_signal"].any()]
    if not found:
        return Section(title, "Skipped: the file has no table of a detector with n_sigma columns and signals.")
    n_rows = -(-len(found) // 3)
    figure, axes = new_figure(min(len(found), 3), n_rows)
    rows = [("detector", *(f"{a} / {b}" for a, b in PAIRS))]
    centre = np.sqrt(P_EDGES[1:] * P_EDGES[:-1])
    for ax, table in zip(axes, found, strict=False):
        reach = []
        for (a, b), color in zip(PAIRS, _PAIR_COLORS, strict=True):
            value = separation(batch, table, a, b, P_EDGES)
            labels = (LABELS[SPECIES.index(a)], LABELS[SPECIES.index(b)])
            is_known = np.isfinite(value)
            ax.plot(centre[is_known], value[is_known], color=color, linewidth=1.5, label="/".join(labels))
            above = np.flatnonzero(is_known & (value >= 3))
            reach.append(f"{P_EDGES[above[0]]:.2g} to {P_EDGES[above[-1] + 1]:.2g}" if len(above) else "never")
        rows.append((table.name, *reach))
        ax.axhline(3, color="0.4", linestyle=":", linewidth=1)
        ax.set(xlabel=r"$p/|z|$ [GeV/$c$]", ylabel=r"separation [$\sigma$]", title=table.name, ylim=(0.05, 300))
        ax.set_yscale("log")
        ax.set_xlim(0.1, 20)
        log_axis(ax)
    for ax in axes[len(found) :]:
        ax.set_visible(False)
    axes[0].legend(ncols=2, fontsize=9)
    text = (
        "Median of the difference of two n_sigma over all tracks with a signal, at all pseudorapidities together. The "
        "table gives the momenta [GeV/c] of the lowest and highest bin with at least 3 sigma; the curve may dip in "
        "between."
    )
    return Section(title, text, [(picture(figure), "separation against momentum")], rows)


def draw_muons(batch: EventBatch) -> Section:
    """Efficiency of the muon tag and its rate for other species.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Muon identification"
    names = ("has_acceptance", "has_signal", "expected_muon")
    others = {column for columns in _KINDS.values() for column in columns} | {"angle", "energy"}
    found = [t for t in batch.tables.values() if all(n in t for n in names) and not others & set(t)]
    if not found or not has(batch, "track", "species_true", "pt", "eta"):
        return Section(title, "Skipped: the file has no table of a muon identifier, or no truth for its tracks.")
    table = found[0]
    figure, (left, right) = new_figure(2)
    p, species = rigidity(batch), batch["track"]["species_true"]
    edges = np.geomspace(0.8, 20, 19)
    for s in COMMON:
        inside = (species == s) & table["has_acceptance"]
        total = np.histogram(p[inside], edges)[0]
        fraction, error = ratio(np.histogram(p[inside & table["has_signal"]], edges)[0], total)
        fraction = np.where(total >= 5, fraction, np.nan)
        points(left if s == 1 else right, edges, fraction, error, color=COLORS[s], label=LABELS[s])
    left.set(xlabel=r"$p$ [GeV/$c$]", ylabel="tagged muons", ylim=(0, 1.08), xlim=(0.8, 20))
    right.set(xlabel=r"$p$ [GeV/$c$]", ylabel="other tracks tagged", xlim=(0.8, 20), ylim=(0, None))
    for ax in (left, right):
        log_axis(ax)
        if ax.get_legend_handles_labels()[1]:
            ax.legend()
        else:
            note(ax, "fewer than 5 tracks in every bin")
    text = f"Tags by {table.name} of {int(table['has_acceptance'].sum())} tracks in its acceptance."
    return Section(title, text, [(picture(figure), "muon efficiency, and rate of tags of other species")])


def draw_combination(batch: EventBatch) -> Section:
    """Efficiency and purity of selections by the combined probability, and the confusion of species.

    Parameters
    ----------
    batch : EventBatch

    Returns
    -------
    Section
    """
    title = "Combined identification"
    found = [t for t in batch.tables.values() if "most_likely" in t and all(c in t for c in _PROBABILITY)]
    if not found or not has(batch, "track", "species_true", "pt", "eta"):
        text = "Skipped: the file has no table of probabilities (add a stage of kind pid), or no truth for its tracks."
        return Section(title, text)
    table, species = found[0], batch["track"]["species_true"]
    figure, (left, right) = new_figure(2)
    p = rigidity(batch)
    for s in COMMON:
        result = select(species, table[f"probability_{SPECIES[s]}"], s, 0.5, p * SPECIES_CHARGE[s], P_EDGES)
        # errors above 0.15 are those of a handful of tracks
        for ax, value, error in (
            (left, result.efficiency, result.efficiency_error),
            (right, result.purity, result.purity_error),
        ):
            points(ax, P_EDGES, np.where(error < 0.15, value, np.nan), error, color=COLORS[s], label=LABELS[s])
    left.set(xlabel=r"$p$ [GeV/$c$]", ylabel="efficiency", ylim=(0, 1.08))
    right.set(xlabel=r"$p$ [GeV/$c$]", ylabel="purity in this file", ylim=(0, 1.08))
    for ax in (left, right):
        log_axis(ax)
    if left.get_legend_handles_labels()[1]:
        left.legend(ncols=2, fontsize=9)
    matrix = confusion(species, table["most_likely"], len(SPECIES))
    shown = [i for i in range(len(SPECIES)) if np.isfinite(matrix[i]).all()]
    rows = [("true \\ identified", *(SPECIES[i] for i in shown), "others", "none")]
    for i in shown:
        others = matrix[i, :-1].sum() - matrix[i, shown].sum()
        rows.append((SPECIES[i], *(f"{v:.3f}" for v in (*matrix[i, shown], others, matrix[i, -1]))))
    text = (
        f"Selections with a probability above 0.5 in {table.name}. The purity depends on the particles of the input. "
        "Bins with an error above 0.15 are left out. The table gives how often tracks of each true species are "
        "identified as which."
    )
    return Section(title, text, [(picture(figure), "efficiency and purity against momentum")], rows)
