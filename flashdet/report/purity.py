"""How good a selection by probability is: efficiency, purity and confusion of species.

Plain functions of truth and probabilities; drawing them is the business of :mod:`flashdet.report.identification`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Selection:
    """Efficiency and purity of one species in bins.

    Attributes
    ----------
    efficiency, efficiency_error : (n_bins,) float64
        Selected among the tracks of the species, and its binomial error; NaN without tracks.
    purity, purity_error : (n_bins,) float64
        Tracks of the species among the selected; NaN if none is selected.
    """

    efficiency: Floats
    efficiency_error: Floats
    purity: Floats
    purity_error: Floats


def ratio(passed: NDArray[Any], total: NDArray[Any]) -> tuple[Floats, Floats]:
    """Fraction and its error.

    The error is that of the posterior with a flat prior (T. Ullrich and Z. Xu, arXiv:physics/0701199), which does not
    vanish at 0 and 1.

    Parameters
    ----------
    passed, total : (n,) array
        Counts.

    Returns
    -------
    fraction, error : (n,) float64
        NaN where the total is 0.
    """
    k, n = np.asarray(passed, np.float64), np.asarray(total, np.float64)
    fraction = np.divide(k, n, where=n > 0, out=np.full(k.shape, np.nan))
    variance = (k + 1) * (k + 2) / ((n + 2) * (n + 3)) - np.square((k + 1) / (n + 2))
    return fraction, np.where(n > 0, np.sqrt(np.maximum(variance, 0.0)), np.nan)


def select(
    species_true: NDArray[Any], probability: Floats, species: int, threshold: float, value: Floats, edges: Floats
) -> Selection:
    """Efficiency and purity of the selection ``probability > threshold``.

    Parameters
    ----------
    species_true : (n,) int
        Index of the true species.
    probability : (n,) float64
        Probability of the species that is selected; NaN counts as not selected.
    species : int
        Index of that species.
    threshold : float
        Cut.
    value : (n,) float64
        What the bins are in, e.g. the momentum.
    edges : (n_bins + 1,) float64
        Rising edges.

    Returns
    -------
    Selection
    """
    is_selected, is_species = probability > threshold, species_true == species

    def count(mask: NDArray[np.bool_]) -> NDArray[Any]:
        return np.histogram(value[mask], edges)[0]

    both = count(is_selected & is_species)
    return Selection(*ratio(both, count(is_species)), *ratio(both, count(is_selected)))


def confusion(species_true: NDArray[Any], most_likely: NDArray[Any], n_species: int) -> Floats:
    """How tracks of each species are identified.

    Parameters
    ----------
    species_true : (n,) int
        Index of the true species.
    most_likely : (n,) int
        Index of the identified species, -1 for none.
    n_species : int
        Number of species.

    Returns
    -------
    (n_species, n_species + 1) float64
        Row: true species; column: fraction identified as each species, the last column as none. NaN without tracks.
    """
    column = np.where(most_likely < 0, n_species, most_likely)
    counts = np.zeros((n_species, n_species + 1))
    np.add.at(counts, (species_true, column), 1.0)
    total = counts.sum(axis=1, keepdims=True)
    fraction: Floats = np.divide(counts, total, where=total > 0, out=np.full(counts.shape, np.nan))
    return fraction
