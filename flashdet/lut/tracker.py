"""The analytic tracker: lookup tables of a layout, from a Kalman filter along the helix of each species.

For each (eta, pt) a positive particle of the species' own mass and charge starts at the origin, or at a radius that it
moves away from, and is followed through all layers beyond, inert ones included (:mod:`flashdet.kernels.trace`). The
covariance at the point of closest approach to the
z axis comes from all hits on the way, with all correlations, without a vertex constraint and without a start
covariance (:mod:`flashdet.kernels.kalman`). The efficiency is the probability of enough right hits given the efficiency
of each layer and the density of other particles' hits; no random number is involved.

Tables are for positive charge in a positive field, and the pt axis is the true transverse momentum, twice the rigidity
for helium. For the opposite charge or field the covariances of y, snp or q/pt with z or tgl change sign.

Left out: radiation of electrons. Their table has the Gaussian part only (scattering, ionisation); a Bethe-Heitler
variance in a Gaussian fit would spoil the core for the sake of the tail. Also left out: nuclear interactions, decays in
flight, noise, tracks of secondaries in the hit density.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError
from flashdet.kernels.counting import accepted
from flashdet.kernels.jit import kernel
from flashdet.kernels.kalman import confusion, covariance_of, fit_inward
from flashdet.kernels.trace import EFFICIENCY, MEASURED, N_CROSSING_COLUMNS, STRAGGLE, trace
from flashdet.lut.checks import find_holes
from flashdet.lut.files import SUFFIX, write_table
from flashdet.lut.layout import Layout
from flashdet.lut.shells import Axes, default_axes
from flashdet.lut.table import Lut
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.units import PT_PER_TESLA_CM

#: Goes up when the physics of the tables changes.
BUILDER_VERSION = 3
#: Packed covariances that change sign under z -> -z: exactly one of z and tgl.
_ODD_IN_Z = np.array([1, 4, 6, 8, 11, 13])


@dataclass(frozen=True)
class Solution:
    """The tracker's answer for one particle.

    Attributes
    ----------
    covariance : (5, 5) float64
        Of (y, z, snp, tgl, q/pt) at the origin [cm, cm, 1, 1, e/GeV]; NaN if not valid.
    efficiency : (n_nch,) float64
        For each multiplicity asked for.
    n_hits : int
        Measuring layers crossed.
    is_valid : bool
        False if the particle cannot be reconstructed.
    confusion : (n_hits,) float64
        Expected number of nearer foreign hits per unit of dN_ch/deta, for each hit from inside out.
    """

    covariance: NDArray[np.float64]
    efficiency: NDArray[np.float64]
    n_hits: int
    is_valid: bool
    confusion: NDArray[np.float64]


@kernel
def _solve_grid(
    surfaces: NDArray[np.float64],
    field: float,
    with_straggling: bool,
    mass: float,
    charge: float,
    eta: NDArray[np.float64],
    pt: NDArray[np.float64],
    nch: NDArray[np.float64],
    radius: float,
    min_hits: int,
    max_wrong: int,
    max_snp: float,
    min_pt: float,
    covariance: NDArray[np.float64],
    efficiency: NDArray[np.float64],
    n_hits: NDArray[np.int64],
    valid: NDArray[np.bool_],
    coefficients: NDArray[np.float64],
) -> None:
    """Fill covariance (eta, pt, 15), efficiency (nch, eta, pt), n_hits and valid (eta, pt)."""
    n_surfaces = surfaces.shape[0]
    passed = np.empty(n_surfaces, np.bool_)
    crossings = np.empty((n_surfaces, N_CROSSING_COLUMNS))
    predictions = np.empty((n_surfaces, 5, 5))
    info, work = np.empty((5, 5)), np.empty(15)
    table = np.empty((min_hits + 1, max_wrong + 1))
    found, right = np.empty(n_surfaces), np.empty(n_surfaces)
    for i in range(len(eta)):
        tgl = math.sinh(eta[i])
        for j in range(len(pt)):
            n = trace(surfaces, field, mass, charge, pt[j], eta[i], radius, max_snp, passed, crossings)
            hits = 0
            for m in range(n):
                hits += int(crossings[m, MEASURED])
                if not with_straggling:
                    crossings[m, STRAGGLE] = 0.0
            n_hits[i, j] = hits
            if hits < min_hits or pt[j] < min_pt:
                continue
            fit_inward(surfaces, crossings, n, tgl, field, predictions, info)
            if not covariance_of(info, covariance[i, j], work):
                covariance[i, j] = 0.0
                continue
            valid[i, j] = True
            confusion(surfaces, crossings, n, tgl, field, predictions, coefficients)
            for m in range(hits):
                found[m] = surfaces[int(coefficients[m, 1]), EFFICIENCY]
            for k in range(len(nch)):
                for m in range(hits):
                    right[m] = 1.0 / (1.0 + coefficients[m, 0] * nch[k])
                efficiency[k, i, j] = accepted(found, right, hits, min_hits, max_wrong, table)


def _run(layout: Layout, i_species: int, eta: Any, pt: Any, nch: Any, radius: float) -> tuple[NDArray[Any], ...]:
    """Call the kernel; returns covariance, efficiency, n_hits, valid and the confusion of the last point."""
    eta, pt, nch = (np.ascontiguousarray(np.atleast_1d(v), np.float64) for v in (eta, pt, nch))
    surfaces = layout.rows()
    charge = float(SPECIES_CHARGE[i_species])
    covariance = np.zeros((len(eta), len(pt), 15))
    efficiency = np.zeros((len(nch), len(eta), len(pt)))
    n_hits = np.zeros((len(eta), len(pt)), np.int64)
    valid = np.zeros((len(eta), len(pt)), np.bool_)
    coefficients = np.zeros((len(surfaces), 2))
    _solve_grid(
        surfaces,
        float(layout.field),
        bool(layout.energy_straggling),
        float(SPECIES_MASS[i_species]),
        charge,
        eta,
        pt,
        nch,
        float(radius),
        int(layout.minimum_hits),
        int(layout.maximum_wrong_hits),
        float(layout.maximum_snp),
        PT_PER_TESLA_CM * charge * abs(layout.field) * layout.minimum_radius / (2.0 * layout.maximum_snp),
        covariance,
        efficiency,
        n_hits,
        valid,
        coefficients,
    )
    return covariance, efficiency, n_hits, valid, coefficients


def _index(species: str) -> int:
    if species not in SPECIES:
        raise LutError(f"unknown species {species!r}; allowed: {', '.join(SPECIES)}", "tracker")
    return SPECIES.index(species)


def solve(
    layout: Layout, species: str, pt: float, eta: float, nch: float | Sequence[float] = 100.0, radius: float = 0.0
) -> Solution:
    """Track one particle.

    Parameters
    ----------
    layout : Layout
        The tracker.
    species : str
        One of `flashdet.species.SPECIES`.
    pt : float
        True transverse momentum [GeV].
    eta : float
        Pseudorapidity.
    nch : float or sequence of float
        dN_ch/deta of the event.
    radius : float
        Production radius [cm]; the momentum points away from the origin.

    Returns
    -------
    Solution

    Raises
    ------
    LutError
        Unknown species.
    """
    covariance, efficiency, n_hits, valid, coefficients = _run(layout, _index(species), eta, pt, nch, radius)
    rows, columns = np.tril_indices(5)
    dense = np.full((5, 5), np.nan)
    if valid[0, 0]:
        dense[rows, columns] = dense[columns, rows] = covariance[0, 0]
    count = int(n_hits[0, 0])
    return Solution(dense, efficiency[:, 0, 0], count, bool(valid[0, 0]), coefficients[:count, 0].copy())


def build_luts(
    layout: Layout,
    species: Sequence[str] = SPECIES,
    axes: Axes | Sequence[Axes] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> dict[str, Lut]:
    """Build the tables of a tracker.

    Parameters
    ----------
    layout : Layout
        The tracker.
    species : sequence of str
        Which species, of `flashdet.species.SPECIES`.
    axes : Axes or sequence of Axes, optional
        One per shell of production radius, from inside out; default: `default_axes`. Outer shells in which nothing can
        be tracked are left out, the radius then ends where they begin.
    progress : callable, optional
        Called as ``progress(done, total, species)`` before each species and once at the end with "".

    Returns
    -------
    dict of str to Lut
        One table per species, in the order asked for.

    Raises
    ------
    LutError
        Unknown species, or an eta axis that is not symmetric about 0.
    """
    shells = (axes,) if isinstance(axes, Axes) else tuple(axes or default_axes(layout))
    if any(shell.eta.low != -shell.eta.high for shell in shells):
        raise LutError("the eta axis must be symmetric about 0", "tracker")
    luts = {}
    indices = [_index(name) for name in species]
    for done, (name, index) in enumerate(zip(species, indices, strict=True)):
        if progress:
            progress(done, len(species), name)
        parts = [_build(layout, index, shell) for shell in shells]
        while len(parts) > 1 and not parts[-1].valid.any():
            parts.pop()
        luts[name] = replace(parts[0], displaced=tuple(parts[1:]))
    if progress:
        progress(len(species), len(species), "")
    return luts


def _build(layout: Layout, index: int, axes: Axes) -> Lut:
    eta = axes.eta.centers
    half = eta[len(eta) // 2 :] if layout.is_symmetric else eta
    covariance, efficiency, _, valid, _ = _run(
        layout, index, half, axes.pt.centers, axes.nch.centers, axes.production_radius
    )
    if layout.is_symmetric:
        n_left = len(eta) // 2  # a bin at eta = 0 is its own mirror image
        mirrored = covariance[::-1][:n_left].copy()
        mirrored[..., _ODD_IN_Z] *= -1.0
        covariance = np.concatenate([mirrored, covariance])
        efficiency = np.concatenate([efficiency[:, ::-1][:, :n_left], efficiency], axis=1)
        valid = np.concatenate([valid[::-1][:n_left], valid])
    meta: dict[str, Any] = {"cells_without_acceptance_filled": _fill_holes(covariance, valid)}
    if axes.production_radius > 0.0:
        meta["production_radius"] = axes.production_radius
    else:
        meta = _meta(layout) | meta
    return Lut(
        species=SPECIES[index],
        pdg=SPECIES_PDG[index],
        mass=SPECIES_MASS[index],
        charge=SPECIES_CHARGE[index],
        field=layout.field,
        efficiency_axes=(axes.nch, axes.eta, axes.pt),
        efficiency=efficiency,
        covariance_axes=(axes.radius, axes.eta, axes.pt),
        covariance=covariance[np.newaxis],
        valid=valid[np.newaxis],
        meta=meta,
    )


def _meta(layout: Layout) -> dict[str, Any]:
    return {
        "source": f"analytic tracker, layout {layout.name}",
        "builder_version": BUILDER_VERSION,
        "convention": "positive charge in a positive field; the pt axis is the true pt, also for |charge| 2",
        "layout_source": layout.source,
        "layout_sha256": layout.sha256,
        "minimum_hits": layout.minimum_hits,
        "maximum_wrong_hits": layout.maximum_wrong_hits,
    }


def _fill_holes(covariance: NDArray[np.float64], valid: NDArray[np.bool_]) -> int:
    """Give single cells between valid ones the mean covariance of these, in place; returns how many.

    At the lowest pt the set of layers that a helix crosses can change so that one bin lacks a hit and both its
    neighbours do not. Such a cell keeps its efficiency of zero, but does not cut the valid region.
    """
    n_filled = 0
    while (holes := np.argwhere(find_holes(valid[np.newaxis])[0])).size:
        for i, j in holes:
            in_pt = np.flatnonzero(valid[i])
            below, above = in_pt[in_pt < j], in_pt[in_pt > j]
            pair = ((i, below[-1]), (i, above[0])) if below.size and above.size else ((i - 1, j), (i + 1, j))
            covariance[i, j] = 0.5 * (covariance[pair[0]] + covariance[pair[1]])
        valid[holes[:, 0], holes[:, 1]] = True
        n_filled += len(holes)
    return n_filled


def write_luts(luts: Mapping[str, Lut], directory: str | Path, overwrite: bool = False) -> list[Path]:
    """Write one native file per species, ``directory/pion.lut.npz``.

    Numbers are rounded to 12 bits (1e-4), far below the accuracy of the model, which halves the files.

    Parameters
    ----------
    luts : mapping of str to Lut
        From :func:`build_luts`.
    directory : str or pathlib.Path
        Made if it does not exist.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    list of pathlib.Path
        The files.

    Raises
    ------
    OutputError
        A file exists or cannot be written.
    """
    folder = Path(directory)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}{SUFFIX}" for name in luts]
    for lut, path in zip(luts.values(), paths, strict=True):
        write_table(lut, path, overwrite, bits=12)
    return paths
