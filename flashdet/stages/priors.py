"""Abundances of species that may depend on the momentum, as cards give them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from flashdet.config import EnergyOrZero, StrictModel
from flashdet.kernels.jit import kernel

Floats = NDArray[np.float64]


class PriorCurve(StrictModel):
    """A prior that depends on the transverse momentum: straight lines between points, constant outside."""

    pt: tuple[EnergyOrZero, ...] = Field(min_length=2)
    """Rising transverse momenta."""
    value: tuple[Annotated[float, Field(ge=0)], ...]
    """Priors there."""

    @model_validator(mode="after")
    def _check_points(self) -> Self:
        if len(self.pt) != len(self.value):
            raise ValueError(f"{len(self.pt)} values of pt but {len(self.value)} of the prior")
        if any(not b > a for a, b in zip(self.pt, self.pt[1:], strict=False)):
            raise ValueError("the values of pt must rise")
        return self


def prior_at(prior: float | PriorCurve, pt: Floats) -> float | Floats:
    """Prior of a species.

    Parameters
    ----------
    prior : float or PriorCurve
        From a card.
    pt : (n,) float64
        Transverse momenta under this hypothesis [GeV].

    Returns
    -------
    float or (n,) float64
    """
    return np.interp(pt, prior.pt, prior.value) if isinstance(prior, PriorCurve) else prior


class Shares(NamedTuple):
    """Abundances of hypotheses for kernels: sums of ramps, which need no search for the interval.

    Attributes
    ----------
    value : (n_hypotheses,) float64
        Abundances at pt = 0.
    begin, length, slope : (n_hypotheses, n_ramps) float64
        Where the abundance changes [GeV], over which length [GeV] and how fast [1/GeV].
    """

    value: Floats
    begin: Floats
    length: Floats
    slope: Floats


def pack_shares(priors: Iterable[tuple[float | PriorCurve, int]]) -> Shares:
    """Pack abundances for `fill_shares`.

    Parameters
    ----------
    priors : iterable of (float or PriorCurve, int)
        Prior and charge [e] of each hypothesis: its pt is that of a track times the charge.

    Returns
    -------
    Shares
    """
    curves = [
        (np.array(p.pt) / charge, np.array(p.value)) if isinstance(p, PriorCurve) else (np.zeros(1), np.array([p]))
        for p, charge in priors
    ]
    ramps = np.zeros((3, len(curves), max(len(pt) for pt, _ in curves)))
    for i, (pt, value) in enumerate(curves):
        ramps[:, i, : len(pt) - 1] = pt[:-1], np.diff(pt), np.diff(value) / np.diff(pt)
    return Shares(np.array([value[0] for _, value in curves]), ramps[0], ramps[1], ramps[2])


@kernel
def fill_shares(pt: Floats, shares: Shares, share: Floats, scratch: Floats) -> None:
    """Probabilities of hypotheses before any measurement; all arithmetic, a tenth of the time of a search.

    Parameters
    ----------
    pt : (n,) float64
        Transverse momenta for charge 1 [GeV].
    shares : Shares
        Abundances.
    share : (n_hypotheses, n) float64
        Filled; the sum over the hypotheses is 1.
    scratch : (n_block,) float64
        Memory: so many tracks are treated together.
    """
    n, n_hypotheses, total = len(pt), len(shares.value), scratch
    for first in range(0, n, len(scratch)):
        end = min(n, first + len(scratch))
        place = pt[first:end]
        total[:] = 0.0
        for h in range(n_hypotheses):
            row = share[h, first:end]
            row[:] = shares.value[h]
            for k in range(shares.begin.shape[1]):
                begin, length, slope = shares.begin[h, k], shares.length[h, k], shares.slope[h, k]
                for i in range(len(row)):
                    row[i] += slope * min(max(place[i] - begin, 0.0), length)
            for i in range(len(row)):
                total[i] += row[i]
        for h in range(n_hypotheses):
            row = share[h, first:end]
            for i in range(len(row)):
                row[i] /= total[i]
