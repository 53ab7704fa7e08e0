"""What a table made from full simulation holds beyond efficiency and covariance, and how files store it.

Counts, biases, reported covariances, tails and the library of residuals per cell. It is made in
`flashdet.lut.build`, drawn from by the tracking stage and written as part of a native file by `flashdet.lut.files`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Where the numbers of a cell come from.
HOLE, MEASURED, POOLED, EXTRAPOLATED = range(4)
ORIGINS = ("hole", "measured", "pooled", "extrapolated")

#: Shape beyond the axes and type on disk of each array: over the covariance's axes ...
_CELL_ARRAYS: dict[str, tuple[tuple[int, ...], str]] = {
    "used": ((), "<i8"),
    "origin": ((), "|u1"),
    "bias": ((5,), "<f4"),
    "sigma_error": ((5,), "<f4"),
    "reported": ((15,), "<f4"),
    "pull": ((5,), "<f4"),
    "beyond": ((5,), "<f4"),
    "tail": ((2,), "<f4"),
}
#: ... and over the efficiency's.
_EFFICIENCY_ARRAYS = {"generated": "<i8", "efficiency_origin": "|u1"}
#: Types of the library on disk.
_HALF, _SINGLE = "<f2", "<f4"


@dataclass(frozen=True, eq=False)
class SampleContent:
    """Numbers of a full simulation, per cell.

    Attributes
    ----------
    categories : tuple of str
        Kinds of reconstructed tracks; the first, ``any``, holds all of them.
    generated : (n_nch, n_eta, n_pt) int64
        Particles offered to the reconstruction.
    found : (n_categories, n_nch, n_eta, n_pt) int64
        Those with at least one track of the category.
    efficiency_origin : (n_nch, n_eta, n_pt) uint8
        Index into `ORIGINS`: from the cell's own counts, from those of its neighbourhood, or no particle near.
    used : (n_radius, n_eta, n_pt) int64
        Residuals seen.
    origin : (n_radius, n_eta, n_pt) uint8
        Index into `ORIGINS` of the covariance.
    bias : (n_radius, n_eta, n_pt, 5) float64
        Location of the residuals [cm, cm, 1, 1, e/GeV], for positive particles in the table's field.
    sigma_error : (n_radius, n_eta, n_pt, 5) float64
        Relative statistical errors of the standard deviations; NaN where there is no cell.
    reported : (n_radius, n_eta, n_pt, 15) float64
        Mean covariance that the reconstruction reported; NaN where it reported none.
    pull : (n_radius, n_eta, n_pt, 5) float64
        Robust width of residual over reported standard deviation; NaN where none was reported.
    beyond : (n_radius, n_eta, n_pt, 5) float64
        Fraction of residuals more than three standard deviations from the bias; 0.0027 for a Gaussian.
    tail : (n_radius, n_eta, n_pt, 2) float64
        Fraction of vectors in the wide component, and its width over that of the core (at least 1).
    library : (n, 5) float32
        Residual vectors over the standard deviations (of the table, interpolated) where they were found.
    library_start : (n_cells + 1,) int64
        First vector of each cell, cells in the order (radius, eta, pt).
    """

    categories: tuple[str, ...]
    generated: NDArray[np.int64]
    found: NDArray[np.int64]
    efficiency_origin: NDArray[np.uint8]
    used: NDArray[np.int64]
    origin: NDArray[np.uint8]
    bias: NDArray[np.float64]
    sigma_error: NDArray[np.float64]
    reported: NDArray[np.float64]
    pull: NDArray[np.float64]
    beyond: NDArray[np.float64]
    tail: NDArray[np.float64]
    library: NDArray[np.float32]
    library_start: NDArray[np.int64]

    def efficiency_error(self, category: str = "any") -> NDArray[np.float64]:
        """Binomial errors of the efficiencies.

        Parameters
        ----------
        category : str
            One of `categories`.

        Returns
        -------
        (n_nch, n_eta, n_pt) float64
            Standard deviation of the posterior with a flat prior (T. Ullrich and Z. Xu, physics/0701199, eq. 19):
            neither 0 for cells where all or none were found nor for empty ones.
        """
        k, n = self.found[self.categories.index(category)], self.generated
        error: NDArray[np.float64] = np.sqrt((k + 1) * (k + 2) / ((n + 2) * (n + 3)) - ((k + 1) / (n + 2)) ** 2)
        return error

    def has_library(self, valid: NDArray[np.bool_]) -> bool:
        """True if each valid cell has at least one stored residual."""
        return bool((np.diff(self.library_start)[valid.ravel()] > 0).all())

    def info(self) -> list[str]:
        """Lines of text for `Lut.info`."""
        origins = [f"{int((self.origin == i).sum())} {name}" for i, name in enumerate(ORIGINS)]
        lines = [
            f"full simulation: {int(self.generated.sum())} particles, {int(self.found[0].sum())} found, "
            f"{int(self.used.sum())} residuals, {len(self.library)} in the library",
            f"cells: {', '.join(origins)}",
        ]
        total = int(self.generated.sum())
        for name, found in zip(self.categories, self.found, strict=True):
            lines.append(f"efficiency {name}: {found.sum() / total if total else 0.0:.4f} on average")
        measured = self.origin == MEASURED
        if measured.any():
            lines.append("median pull widths (y, z, snp, tgl, q/pt): " + _medians(self.pull[measured]))
            lines.append("median fraction beyond 3 sigma: " + _medians(self.beyond[measured]))
            fraction, scale = np.median(self.tail[measured], axis=0)
            lines.append(f"median wide component: {100 * fraction:.2f} % of width {scale:.2f}")
        return lines


def _medians(values: NDArray[np.float64]) -> str:
    known = ~np.isnan(values).any(axis=-1)
    if not known.any():
        return "not reported"
    return ", ".join(f"{value:.4g}" for value in np.median(values[known], axis=0))


# --- files -----------------------------------------------------------------------------------------------------------
def library_of(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    """Residuals as a table holds them: with the 11 significant bits of binary16, which halve the file.

    Rounding moves a residual by at most 2^-11 of itself; the distance (Kolmogorov-Smirnov) of 10^4 residuals to the
    rounded ones is 7e-4 and their width changes by 5e-6, far below what so many residuals can tell.

    Parameters
    ----------
    vectors : (n, 5) float64
        Residuals over standard deviations.

    Returns
    -------
    (n, 5) float32
        Numbers that binary16 can hold; the vectors themselves if one is too large for that (65504).
    """
    limit = float(np.finfo(np.float16).max)
    if np.abs(vectors).max(initial=0.0) > limit:
        return vectors.astype(np.float32)
    return vectors.astype(np.float16).astype(np.float32)


def content_header(content: SampleContent) -> dict[str, Any]:
    """What the header of a native file says about the content."""
    header: dict[str, Any] = {"categories": list(content.categories), "n_library": len(content.library)}
    if _is_half(content.library):
        header["library_type"] = _HALF
    return header


def _is_half(library: NDArray[np.float32]) -> bool:
    """True if binary16 holds all of a library exactly."""
    with np.errstate(over="ignore"):
        return bool(len(library)) and np.array_equal(library.astype(np.float16).astype(np.float32), library)


def content_shapes(
    header: Mapping[str, Any], efficiency: tuple[int, ...], covariance: tuple[int, ...]
) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and type on disk of each array.

    Parameters
    ----------
    header : mapping
        Made by `content_header`.
    efficiency, covariance : tuple of int
        Bins of their axes.

    Returns
    -------
    dict of str to (shape, dtype)

    Raises
    ------
    ValueError
        The header is damaged.
    """
    categories, n_library = header["categories"], header["n_library"]
    if not isinstance(categories, list) or not all(isinstance(c, str) for c in categories) or not categories:
        raise ValueError(f"the header's categories are {categories!r}")
    if not isinstance(n_library, int) or isinstance(n_library, bool) or n_library < 0:
        raise ValueError(f"the header's n_library is {n_library!r}")
    shapes = {name: ((*covariance, *tail), dtype) for name, (tail, dtype) in _CELL_ARRAYS.items()}
    shapes |= {name: (efficiency, dtype) for name, dtype in _EFFICIENCY_ARRAYS.items()}
    shapes["found"] = ((len(categories), *efficiency), "<i8")
    kind = header.get("library_type", _SINGLE)
    if kind not in (_HALF, _SINGLE):
        raise ValueError(f"the header's library_type is {kind!r}")
    shapes["library"] = ((n_library, 5), kind)
    shapes["library_start"] = ((int(np.prod(covariance)) + 1,), "<i8")
    return shapes


def content_arrays(content: SampleContent) -> dict[str, NDArray[Any]]:
    """Arrays as they are stored, by name."""
    types = {name: dtype for name, (_, dtype) in _CELL_ARRAYS.items()} | _EFFICIENCY_ARRAYS
    types |= {"found": "<i8", "library": _HALF if _is_half(content.library) else _SINGLE, "library_start": "<i8"}
    return {name: np.ascontiguousarray(getattr(content, name), dtype) for name, dtype in types.items()}


def make_content(header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> SampleContent:
    """Content of a file's header and arrays.

    Raises
    ------
    ValueError
        The library does not fit its cells, a number is not finite that must be, or an origin is unknown.
    """
    start = arrays["library_start"]
    if start[0] != 0 or start[-1] != len(arrays["library"]) or (np.diff(start) < 0).any():
        raise ValueError("the library does not fit its cells")
    for name in ("bias", "tail", "library"):
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{name} is not finite")
    if (arrays["origin"] >= len(ORIGINS)).any() or (arrays["efficiency_origin"] >= len(ORIGINS)).any():
        raise ValueError("a cell is of unknown origin")
    wide = {"bias", "sigma_error", "reported", "pull", "beyond", "tail"}
    names = [field.name for field in fields(SampleContent) if field.name != "categories"]
    values: dict[str, Any] = {n: arrays[n].astype(np.float64) if n in wide else arrays[n] for n in names}
    values["library"] = arrays["library"].astype(np.float32)
    return SampleContent(categories=tuple(header["categories"]), **values)
