"""Tables from the sums over a full simulation: what reconstruction really did, cell by cell.

The covariance of a cell comes from residuals (`flashdet.lut.robust`), not from what the reconstruction reported; that
is kept beside it, with the pulls between the two. Sparse cells are filled by `flashdet.lut.smooth` and marked. The
library holds residuals over the standard deviations *interpolated* to the place of each track, so that drawing from it
and scaling with interpolated standard deviations does not count the width of the cells twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.grid import NO_ANSWER, lookup_linear
from flashdet.kernels.jit import kernel
from flashdet.kernels.symmat import from_shape, to_packed, to_shape
from flashdet.lut.cells import Cells
from flashdet.lut.content import HOLE, MEASURED, SampleContent, library_of
from flashdet.lut.pack import pack
from flashdet.lut.robust import RobustFit, fit_core, fit_tail
from flashdet.lut.smooth import REACH, close_holes, fill_multiplicities, fill_shapes, pool_efficiency
from flashdet.lut.table import Lut
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG

#: Goes up when the numbers of tables change.
BUILDER_VERSION = 3
_DIAGONAL = [0, 2, 5, 9, 14]
_METHOD = (
    "covariance: iterated reweighted estimator of residuals; sparse cells: local polynomial of ln sigma and Cholesky "
    f"ratios within {REACH} cells; efficiency of sparse cells: counts of the smallest square around"
)


@dataclass(frozen=True)
class BuildOptions:
    """How to make tables of sums.

    Attributes
    ----------
    fewest_tracks : int
        Residuals that a cell needs for a covariance of its own: 100 give 7 %.
    fewest_particles : int
        Particles that a cell needs for an efficiency of its own.
    library : int
        Residual vectors stored per cell; 0: none.
    category : str
        Kind of tracks that the efficiency counts.
    """

    fewest_tracks: int = 100
    fewest_particles: int = 20
    library: int = 200
    category: str = "any"


def species_in(cells: Cells) -> list[str]:
    """Species of which at least one particle was found."""
    return [name for i, name in enumerate(SPECIES) if cells.found[i].any()]


def build_sample_luts(
    cells: Cells,
    species: Sequence[str] | None = None,
    options: BuildOptions | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Lut]:
    """Make the tables of the species of a sample.

    Parameters
    ----------
    cells : Cells
        Sums of the whole sample.
    species : sequence of str, optional
        Which; default: all of which a particle was found.
    options : BuildOptions, optional
        How.
    progress : callable, optional
        Called with the number of tables done, their total and the species, and once at the end with "".

    Returns
    -------
    dict of str to Lut
        Valid tables with `Lut.sample`, one for each bin of production radius (`Lut.displaced`); equal sums give equal
        tables.

    Raises
    ------
    LutError
        No cell of a species has enough tracks, or the category is unknown.
    """
    options = options or BuildOptions()
    if options.category not in cells.categories:
        raise LutError(f"no tracks of category {options.category!r}; allowed: {', '.join(cells.categories)}")
    cells.settle()
    wanted = list(species) if species is not None else species_in(cells)
    if not wanted:
        raise LutError(
            "no reconstructed particle of any species lies inside the axes",
            hint="counts: " + ", ".join(f"{name} {n}" for name, n in cells.counts.items()),
        )
    luts = {}
    for i, name in enumerate(wanted):
        if progress is not None:
            progress(i, len(wanted), name)
        luts[name] = _build(cells, name, options)
    if progress is not None:
        progress(len(wanted), len(wanted), "")
    return luts


def _build(cells: Cells, species: str, options: BuildOptions) -> Lut:
    builders = [_Builder(cells, species, options, r) for r in range(cells.binning.radius.n_bins)]
    parts = [builder.build() for builder in builders]
    if not any(part.valid.any() for part in parts):
        fullest = max(int(builder.count.max(initial=0)) for builder in builders)
        raise LutError(
            f"no cell has {options.fewest_tracks} tracks; the fullest has {fullest}",
            f"LUT of {species}, {cells.binning.selection}",
            "use wider bins, fewer --fewest-tracks, or a larger sample",
        )
    return replace(parts[0], displaced=tuple(parts[1:]))


@kernel
def _scales(
    radius: NDArray[np.float64],
    rows: NDArray[np.float64],
    layout: NDArray[np.float64],
    efficiencies: NDArray[np.float32],
    table: NDArray[np.float32],
    sigma: NDArray[np.float64],
) -> None:
    """Interpolated standard deviations at the places of residuals; NaN where the table has no answer."""
    covariance, factor = np.empty(15), np.empty(15)
    for i in range(len(rows)):
        status = lookup_linear(
            0, layout[0, 0, 2], radius[i], rows[i, 5], rows[i, 6], layout, efficiencies, table, covariance, factor
        )[1]
        for k in range(5):
            sigma[i, k] = np.nan if status & NO_ANSWER else np.sqrt(covariance[k * (k + 3) // 2])


class _Builder:
    """One species from one bin of production radius: the rows of its cells, and the arrays of its table."""

    def __init__(self, cells: Cells, species: str, options: BuildOptions, i_radius: int) -> None:
        self.cells, self.options, self.species, self.i_radius = cells, options, species, i_radius
        self.index = SPECIES.index(species)
        b = cells.binning
        edges = b.radius.edges
        self.radius = replace(b.radius, n_bins=1, low=float(edges[i_radius]), high=float(edges[i_radius + 1]))
        self.shape = (1, b.eta.n_bins, b.pt.n_bins)
        n = int(np.prod(self.shape))
        place = self.index * b.radius.n_bins + i_radius
        first, last = np.searchsorted(cells.cell, [place * n, (place + 1) * n])
        self.rows = cells.rows[first:last].astype(np.float64)
        cell = cells.cell[first:last] - place * n
        self.start = np.searchsorted(cell, np.arange(n + 1))
        self.count = np.diff(self.start)
        self.efficiency, self.efficiency_origin = self._efficiencies()

    def build(self) -> Lut:
        """Do all steps; without a cell that has enough tracks nothing of the table is valid."""
        fits = self._fits(self.rows[:, :5])
        measured = np.array([fit is not None for fit in fits])
        covariance, origin = np.zeros((len(fits), 15)), np.zeros(self.shape, np.uint8)
        if measured.any():
            covariance, origin = self._covariances(fits, measured)
        lut = self._table(covariance, origin)
        return self._with_content(lut, origin, self._normalised(lut))

    def _covariances(
        self, fits: list[RobustFit | None], measured: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Covariance of each cell, and where it comes from."""
        covariance = np.zeros((len(fits), 15))
        for i in np.flatnonzero(measured):
            covariance[i] = to_packed(fits[i].covariance)  # type: ignore[union-attr]
        covariance, origin = self._filled(covariance, measured)
        # once more with the variation of sigma inside the cells taken out; dividing by interpolated values instead
        # would amplify the noise between neighbours twofold
        fits = self._fits(self.rows[:, :5] / self._slopes(covariance, origin))
        for i in np.flatnonzero(measured):
            fit = fits[i]
            if fit is None:
                measured[i] = False
                continue
            sigma = np.sqrt(covariance[i, _DIAGONAL])
            covariance[i] = to_packed(fit.covariance * sigma[:, None] * sigma)
        return self._filled(covariance, measured)

    def _fits(self, values: NDArray[np.float64]) -> list[RobustFit | None]:
        fits: list[RobustFit | None] = []
        for first, last in zip(self.start[:-1], self.start[1:], strict=True):
            mine = values[first:last]
            mine = mine[~np.isnan(mine).any(axis=1)]
            fits.append(fit_core(mine) if len(mine) >= self.options.fewest_tracks else None)
        return fits

    def _filled(
        self, covariance: NDArray[np.float64], measured: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        flat = np.zeros((len(covariance), 15))
        flat[measured] = to_shape(covariance[measured])
        flat[measured, :5] = np.log(flat[measured, :5])
        n_radius, n_eta, n_pt = self.shape
        shapes = flat.reshape(*self.shape, 15)
        origin = np.zeros(self.shape, np.uint8)
        known, seen = measured.reshape(self.shape), (self.count > 0).reshape(self.shape)
        for r in range(n_radius):
            weight = self.count.reshape(self.shape)[r].astype(np.float64)
            shapes[r], origin[r] = fill_shapes(shapes[r], weight, known[r], seen[r])
        # without an efficiency a cell is of no use, and none is invented
        useful = (self.efficiency_origin != HOLE).any(axis=0)
        origin[:, ~useful] = HOLE
        for r in range(n_radius):
            weight = self.count.reshape(self.shape)[r].astype(np.float64)
            close_holes(shapes[r], weight, known[r], origin[r], useful)
        valid = origin.ravel() != HOLE
        flat[valid, :5] = np.exp(flat[valid, :5])
        out = np.zeros((n_radius * n_eta * n_pt, 15))
        out[valid] = from_shape(flat[valid])
        return out, origin

    def _efficiencies(self) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Efficiencies over (nch, eta, pt), and where they come from."""
        i, r, category = self.index, self.i_radius, self.cells.categories.index(self.options.category)
        generated = self.cells.generated[i, :, r].sum(axis=0)
        found = self.cells.found[i, :, category, r].sum(axis=0)
        pooled = [pool_efficiency(f, g, self.options.fewest_particles) for f, g in zip(found, generated, strict=True)]
        return fill_multiplicities(np.stack([p[0] for p in pooled]), np.stack([p[1] for p in pooled]))

    def _table(self, covariance: NDArray[np.float64], origin: NDArray[np.uint8]) -> Lut:
        b, i = self.cells.binning, self.index
        return Lut(
            species=self.species,
            pdg=SPECIES_PDG[i],
            mass=SPECIES_MASS[i],
            charge=SPECIES_CHARGE[i],
            field=self.cells.field,
            efficiency_axes=(b.nch, b.eta, b.pt),
            efficiency=self.efficiency,
            covariance_axes=(self.radius, b.eta, b.pt),
            covariance=covariance.reshape(*self.shape, 15),
            valid=origin != HOLE,
            meta=self._meta() if self.i_radius == 0 else {},
        )

    def _meta(self) -> dict[str, Any]:
        """Where the table comes from; nothing that depends on the order or number of the parts."""
        cells, i = self.cells, self.index
        generated, found = cells.generated[i].sum(axis=(1, 2, 3, 4)), cells.found[i, :, 0].sum(axis=(1, 2, 3, 4))
        return cells.binning.selection.meta | {
            "source": f"full simulation, {len(cells.inputs)} files",
            "builder": "sample",
            "builder_version": BUILDER_VERSION,
            "method": _METHOD,
            "category": self.options.category,
            "counts": dict(sorted(cells.counts.items())),
            "found_of_generated_by_charge": {
                name: [int(found[k]), int(generated[k])] for k, name in enumerate(("negative", "positive"))
            },
            "found_of_generated_by_phi": cells.phi[i, ::-1].T.tolist(),
            "clones": int(cells.clones[i].sum()),
        }

    def _slopes(self, covariance: NDArray[np.float64], origin: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Standard deviations at the places of the residuals, from the local slopes of ln sigma in eta and log pt."""
        b = self.cells.binning
        known = origin != HOLE
        logs = np.zeros((*self.shape, 5))
        logs[known] = 0.5 * np.log(covariance.reshape(*self.shape, 15)[known][:, _DIAGONAL])
        cell = np.repeat(np.arange(len(self.count)), self.count)
        total = logs.reshape(-1, 5)[cell]
        for number, (axis, column) in enumerate(((b.eta, 5), (b.pt, 6))):
            edges = axis.transform(axis.edges)
            width = (edges[-1] - edges[0]) / axis.n_bins
            index = cell // self.shape[2] % self.shape[1] if number == 0 else cell % self.shape[2]
            place = (axis.transform(self.rows[:, column]) - edges[0]) / width - index - 0.5
            total = total + _slope(logs, known, 1 + number).reshape(-1, 5)[cell] * place[:, None]
        return np.asarray(np.exp(total))

    def _normalised(self, lut: Lut) -> NDArray[np.float64]:
        sigma = np.empty((len(self.rows), 5))
        radius = np.full(len(self.rows), self.radius.centers[0])
        _scales(radius, self.rows, *pack([lut]), sigma)
        return np.asarray(self.rows[:, :5] / sigma)

    def _with_content(self, lut: Lut, origin: NDArray[np.uint8], normal: NDArray[np.float64]) -> Lut:
        n = len(self.count)
        sigma = np.sqrt(lut.covariance.reshape(n, 15)[:, _DIAGONAL])
        bias, error = np.zeros((n, 5)), np.full((n, 5), np.nan)
        pull, beyond = np.full((n, 5), np.nan), np.full((n, 5), np.nan)
        reported, tail = np.full((n, 15), np.nan), np.tile([0.0, 1.0], (n, 1))
        vectors, lengths = [np.zeros((0, 5))], np.zeros(n, np.int64)
        usable = np.asarray(~np.isnan(normal).any(axis=1))
        # the shape is judged with the slopes, which hold also in the outer halves of the outer cells
        local = self.rows[:, :5] / self._slopes(lut.covariance.reshape(n, 15), origin)
        for i in np.flatnonzero(origin.ravel() != HOLE):
            mine = self._vectors(usable, int(i), bool(origin.ravel()[i] == MEASURED))
            cov = lut.covariance.reshape(n, 15)[i]
            bias[i], error[i], tail[i], beyond[i] = _shape_of(local[mine], cov, sigma[i])
            reported[i], pull[i] = _reported(self.rows[self.start[i] : self.start[i + 1]])
            stored = normal[mine[: self.options.library]]
            vectors.append(stored)
            lengths[i] = len(stored)
        cells, k, r = self.cells, self.index, self.i_radius
        content = SampleContent(
            categories=cells.categories,
            generated=cells.generated[k, :, r].sum(axis=0),
            found=cells.found[k, :, :, r].sum(axis=0),
            efficiency_origin=self.efficiency_origin,
            used=cells.used[k, r : r + 1],
            origin=origin,
            bias=bias.reshape(*self.shape, 5),
            sigma_error=error.reshape(*self.shape, 5),
            reported=reported.reshape(*self.shape, 15),
            pull=pull.reshape(*self.shape, 5),
            beyond=beyond.reshape(*self.shape, 5),
            tail=tail.reshape(*self.shape, 2),
            library=library_of(np.concatenate(vectors)),
            library_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        )
        return replace(lut, sample=content)

    def _vectors(self, usable: NDArray[np.bool_], i: int, is_measured: bool) -> NDArray[np.int64]:
        """Rows of a cell; of the square around it if it has too few of its own."""
        n_eta, n_pt = self.shape[1:]
        e, t = divmod(i, n_pt)
        mine = np.zeros(0, np.int64)
        for reach in range(REACH + 1):
            parts = []
            for ee in range(max(e - reach, 0), min(e + reach + 1, n_eta)):
                first = ee * n_pt
                low, high = first + max(t - reach, 0), first + min(t + reach + 1, n_pt)
                parts.append(np.arange(self.start[low], self.start[high]))
            mine = np.concatenate(parts)
            mine = mine[usable[mine]]
            if is_measured or len(mine) >= self.options.fewest_tracks:
                break
        if not is_measured:  # rows come by cell: spread the choice over the square
            mine = mine[np.argsort(np.arange(len(mine)) * 0.6180339887498949 % 1.0, kind="stable")]
        return mine


def _slope(values: NDArray[np.float64], known: NDArray[np.bool_], axis: int) -> NDArray[np.float64]:
    """Change per cell along an axis, from the known neighbours; 0 where there is none."""
    v, k = np.moveaxis(values, axis, 0), np.moveaxis(known, axis, 0)
    up, down = np.zeros_like(v), np.zeros_like(v)
    both = (k[1:] & k[:-1])[..., None]
    up[:-1] = down[1:] = np.where(both, v[1:] - v[:-1], 0.0)
    number = np.zeros((*k.shape, 1))
    number[:-1] += both
    number[1:] += both
    return np.moveaxis((up + down) / np.maximum(number, 1.0), 0, axis)


def _shape_of(
    normal: NDArray[np.float64], cov: NDArray[np.float64], sigma: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[float, float], NDArray[np.float64]]:
    """Bias, relative errors of sigma, wide component and fractions beyond three standard deviations."""
    from flashdet.kernels.symmat import to_dense

    if len(normal) == 0:
        return np.zeros(5), np.ones(5), (0.0, 1.0), np.full(5, np.nan)
    fit = fit_core(normal)
    location = fit.location if fit is not None else np.median(normal, axis=0)
    error = fit.error if fit is not None else np.full(5, 1.0 / np.sqrt(len(normal)))
    correlation = to_dense(cov) / (sigma[:, None] * sigma)
    white = np.linalg.solve(np.linalg.cholesky(correlation), (normal - location).T)
    tail = fit_tail(np.einsum("ij,ij->j", white, white), 5)
    return location * sigma, error, tail, np.mean(np.abs(normal - location) > 3.0, axis=0)


def _reported(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean reported covariance, and robust widths of residual over reported standard deviation."""
    # a fit may report variances that are not positive: it does not know
    known = rows[~np.isnan(rows[:, 7:]).any(axis=1) & (rows[:, [7 + k for k in _DIAGONAL]] > 0.0).all(axis=1)]
    if len(known) < 7:
        return np.full(15, np.nan), np.full(5, np.nan)
    cov = known[:, 7:]
    fit = fit_core(known[:, :5] / np.sqrt(cov[:, _DIAGONAL]))
    pull = np.sqrt(np.diag(fit.covariance)) if fit is not None else np.full(5, np.nan)
    return cov.mean(axis=0), pull
