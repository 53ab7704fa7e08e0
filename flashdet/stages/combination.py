"""Combined identification: likelihoods of all detectors and, with priors, the probability of every species.

The detectors are named in the configuration and met in their columns only. A detector without a signal for a track
contributes nothing. What a detector measures belongs to its own stage; how pure a selection is can be computed with
:mod:`flashdet.report.purity`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, model_validator

from flashdet.columns import PID, TRACK, Column, for_stage, pick
from flashdet.config import EnergyOrZero, StageConfig, StrictModel
from flashdet.event import EventBatch, Table
from flashdet.kernels.jit import kernel
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import N_SPECIES, by_species

Floats = NDArray[np.float64]

SpeciesName = Literal["electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha"]
#: Probabilities of a tag are kept this far from 0 and 1: a map made of a finite sample does not know better.
_RAREST_TAG = 1e-4


# --- configuration ---------------------------------------------------------------------------------------------------
class Source(StrictModel):
    """One detector."""

    name: str
    """Name of its stage in the card."""
    use: Literal["n_sigma", "log_likelihood", "tag"] = "n_sigma"
    """What is taken from it: ``n_sigma`` columns as Gaussians of equal width, ``log_likelihood`` columns as they are,
    or the ``tag`` of a muon identifier with its expected probability."""


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


def _named(value: object) -> object:
    """Accept the bare name of a detector."""
    return {"name": value} if isinstance(value, str) else value


class PidConfig(StageConfig):
    """Combination of detectors."""

    detectors: tuple[Annotated[Source, BeforeValidator(_named)], ...] = Field(min_length=1)
    """Stages of the card: names, or ``{name: rich, use: log_likelihood}``."""
    priors: dict[SpeciesName, Annotated[float, Field(ge=0)] | PriorCurve] = Field(
        default=dict.fromkeys(("electron", "muon", "pion", "kaon", "proton"), 1.0)
    )
    """Relative abundance of each species, a number or points in pt; a species that is not listed has none."""
    excluded_n_sigma: Annotated[float, Field(gt=0)] = 5.0
    """With ``n_sigma``: distance of a hypothesis that expects no signal (NaN) where the detector has one."""

    @model_validator(mode="after")
    def _check_all(self) -> Self:
        names = [source.name for source in self.detectors]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise ValueError(f"{', '.join(doubled)} more than once; a detector counts once")
        if not any(max(p.value) > 0 if isinstance(p, PriorCurve) else p > 0 for p in self.priors.values()):
            raise ValueError("at least one species needs a prior above zero")
        return self


# --- physics ---------------------------------------------------------------------------------------------------------
def gaussian_log_likelihood(n_sigma: Floats, excluded_n_sigma: float) -> tuple[Floats, NDArray[np.bool_]]:
    """Likelihoods -n^2/2 of Gaussians with equal widths.

    Parameters
    ----------
    n_sigma : (n_species, n) float64
        Distances, NaN without a signal or where a hypothesis expects none.
    excluded_n_sigma : float
        Distance of such a hypothesis if others expect the signal.

    Returns
    -------
    log_likelihood : (n_species, n) float64
        0 without a signal.
    has_signal : (n,) bool
        True if any distance is finite.
    """
    has_signal: NDArray[np.bool_] = np.asarray(~np.isnan(n_sigma).all(axis=0))
    filled = np.where(np.isnan(n_sigma), excluded_n_sigma, n_sigma)
    return np.where(has_signal, -0.5 * np.square(filled), 0.0), has_signal


def tag_log_likelihood(
    tag: NDArray[np.bool_], has_acceptance: NDArray[np.bool_], chance: Floats
) -> tuple[Floats, NDArray[np.bool_]]:
    """Likelihood of a tag, or of its absence, under every hypothesis: ln P or ln(1 - P).

    Parameters
    ----------
    tag, has_acceptance : (n,) bool
        Whether the track is tagged, and could be.
    chance : (n_species, n) float64
        Probability of a tag, NaN outside the acceptance.

    Returns
    -------
    log_likelihood : (n_species, n) float64
        0 outside the acceptance.
    has_signal : (n,) bool
        The acceptance under any hypothesis.
    """
    known = ~np.isnan(chance) & has_acceptance
    p = np.clip(np.where(known, chance, 0.5), _RAREST_TAG, 1.0 - _RAREST_TAG)
    log_likelihood = np.where(tag, np.log(p), np.log1p(-p))
    # a hypothesis that the maps do not cover is judged like the average of the others
    n_known = known.sum(axis=0)
    mean = np.where(known, log_likelihood, 0.0).sum(axis=0) / np.maximum(n_known, 1)
    return np.where(known, log_likelihood, mean), n_known > 0


def posterior(log_likelihood: Floats, prior: Floats) -> Floats:
    """Probability of every species: Bayes' theorem (ALICE, Eur. Phys. J. Plus 131 (2016) 168, eq. 4).

    Parameters
    ----------
    log_likelihood : (n_species, n) float64
        Sum over the detectors.
    prior : (n_species, n) float64
        Relative abundances, not negative.

    Returns
    -------
    (n_species, n) float64
        Sums to 1; 0 for all if no species with a prior is there (all priors 0 at this pt).
    """
    probability = np.empty_like(log_likelihood)
    _posterior_kernel(np.ascontiguousarray(log_likelihood), np.ascontiguousarray(prior), probability)
    return probability


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _posterior_kernel(log_likelihood: Floats, prior: Floats, probability: Floats) -> None:
    for i in range(log_likelihood.shape[1]):
        highest = -math.inf
        for h in range(log_likelihood.shape[0]):
            if prior[h, i] > 0.0:
                highest = max(highest, log_likelihood[h, i])
        total = 0.0
        for h in range(log_likelihood.shape[0]):
            value = 0.0
            if prior[h, i] > 0.0:
                # relative to the highest: no underflow of all of them
                value = prior[h, i] * math.exp(log_likelihood[h, i] - highest)
            probability[h, i] = value
            total += value
        if total > 0.0:
            for h in range(log_likelihood.shape[0]):
                probability[h, i] /= total


# --- stage -----------------------------------------------------------------------------------------------------------
#: Columns read from a detector: those per species, and flags.
_PER_SPECIES = {"n_sigma": "n_sigma", "log_likelihood": "log_likelihood", "tag": "expected"}
_FLAGS = {"n_sigma": ("has_signal",), "log_likelihood": (), "tag": ("has_acceptance", "has_signal")}


class Pid(Stage):
    """Combine detectors; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "pid"
    Config: ClassVar[type[StageConfig]] = PidConfig
    config: PidConfig

    def __init__(self, name: str, config: PidConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (*pick(TRACK, "pt"), *(c for source in config.detectors for c in _columns(source)))
        self.writes = for_stage(PID, self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Combine one batch; see `flashdet.stages.base.Stage`. Counts: tracks that no detector saw."""
        track = batch["track"]
        total = np.zeros((N_SPECIES, track.n_rows))
        n_detectors = np.zeros(track.n_rows, np.int8)
        for source in self.config.detectors:
            log_likelihood, has_signal = self._from(source, batch)
            total += log_likelihood
            n_detectors += has_signal
        has_signal = n_detectors > 0
        prior = np.stack([self._prior(i, track["pt"]) for i in range(N_SPECIES)])
        probability = posterior(total, prior)
        is_decided = has_signal & (probability.sum(axis=0) > 0.0)
        most_likely = np.where(is_decided, probability.argmax(axis=0), -1).astype(np.int8)
        columns: dict[str, NDArray[Any]] = {
            "has_signal": has_signal,
            "n_detectors": n_detectors,
            "most_likely": most_likely,
            **by_species("log_likelihood", total),
            **by_species("probability", probability),
        }
        counts = {"tracks without any signal": int(np.count_nonzero(~has_signal))}
        return StageOutput((Table(self.name, track.offsets, columns),), counts)

    def _from(self, source: Source, batch: EventBatch) -> tuple[Floats, NDArray[np.bool_]]:
        """Log-likelihoods of one detector and where it has any."""
        table = batch[source.name]
        rows = np.stack([table[f"{_PER_SPECIES[source.use]}_{species}"] for species in SPECIES])
        if source.use == "tag":
            return tag_log_likelihood(table["has_signal"], table["has_acceptance"], rows)
        if source.use == "n_sigma":
            rows = np.where(table["has_signal"], rows, np.nan)
            return gaussian_log_likelihood(rows, self.config.excluded_n_sigma)
        # a detector that knows nothing gives every hypothesis the same likelihood, or NaN
        has_signal = ~np.isnan(rows).any(axis=0) & (rows != rows[:1]).any(axis=0)
        return np.where(has_signal, rows, 0.0), has_signal

    def _prior(self, i: int, pt: Floats) -> Floats:
        """Prior of a species at the transverse momenta that the hypothesis gives to the tracks."""
        prior = self.config.priors.get(SPECIES[i], 0.0)  # type: ignore[call-overload]
        if isinstance(prior, PriorCurve):
            return np.interp(SPECIES_CHARGE[i] * pt, prior.pt, prior.value)
        return np.full(len(pt), float(prior))


def _columns(source: Source) -> tuple[Column, ...]:
    """Columns that a detector must have."""
    flags = (Column(source.name, flag, "?", "", "") for flag in _FLAGS[source.use])
    prefix = _PER_SPECIES[source.use]
    return (*flags, *(Column(source.name, f"{prefix}_{species}", "f8", "", "") for species in SPECIES))
