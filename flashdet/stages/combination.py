"""Combined identification: likelihoods of all detectors and, with priors, the probability of every species.

The detectors are named in the configuration and met in their columns only. A detector without a signal for a track
contributes nothing. What a detector measures belongs to its own stage; how pure a selection is can be computed with
:mod:`flashdet.report.purity`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field, GetJsonSchemaHandler, model_validator
from pydantic_core import CoreSchema

from flashdet.columns import PID, TRACK, Column, for_stage, pick
from flashdet.config import StageConfig, StrictModel
from flashdet.event import EventBatch, Table
from flashdet.kernels.elementary import exp, select
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import N_SPECIES, by_species
from flashdet.stages.priors import PriorCurve, prior_at

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SpeciesName = Literal["electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha"]
#: Probabilities of a tag are kept this far from 0 and 1: a map made of a finite sample does not know better.
_RAREST_TAG = 1e-4
#: Below this a likelihood relative to the highest one counts as 0: the exponential function ends there.
_LOG_ZERO = -700.0
#: Tracks in a block: its sums for all hypotheses fit into the first cache.
_BLOCK = 256


# --- configuration ---------------------------------------------------------------------------------------------------
class Source(StrictModel):
    """One detector."""

    name: str
    """Name of its stage in the card."""
    use: Literal["n_sigma", "log_likelihood", "tag"] = "n_sigma"
    """What is taken from it: ``n_sigma`` columns as Gaussians of equal width, ``log_likelihood`` columns as they are,
    or the ``tag`` of a muon identifier with its expected probability."""


def _named(value: object) -> object:
    """Accept the bare name of a detector."""
    return {"name": value} if isinstance(value, str) else value


class _NamedSchema:
    """Tells editors that the bare name is enough."""

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(schema)]}


class PidConfig(StageConfig):
    """Combination of detectors."""

    detectors: tuple[Annotated[Source, BeforeValidator(_named), _NamedSchema()], ...] = Field(min_length=1)
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


# --- kernel ----------------------------------------------------------------------------------------------------------
# Hypothesis by hypothesis over blocks of tracks whose sums stay in the cache. Inner loops run over slices from 0: only
# then are they compiled to vector instructions, which take an eighth of the time.
@kernel
def _add_gaussian(
    n_sigma: tuple[Floats, ...], has_signal: NDArray[np.bool_], excluded: float, seen: NDArray[np.bool_],
    total: Floats, n_detectors: NDArray[np.int8],
) -> None:  # fmt: skip
    """Likelihoods -n^2/2 of Gaussians of equal widths; a hypothesis that expects no signal (NaN) is `excluded` away."""
    for begin in range(0, len(seen), _BLOCK):
        end = min(len(seen), begin + _BLOCK)
        some, flag, count = seen[begin:end], has_signal[begin:end], n_detectors[begin:end]
        some[:] = False
        for h in range(N_SPECIES):
            row = n_sigma[h][begin:end]
            for i in range(len(some)):
                some[i] |= row[i] == row[i]
        for i in range(len(some)):
            some[i] &= flag[i]
            count[i] += some[i]
        for h in range(N_SPECIES):
            row, result = n_sigma[h][begin:end], total[h, begin:end]
            for i in range(len(some)):
                distance = row[i] if row[i] == row[i] else excluded
                result[i] += -0.5 * (distance * distance) if some[i] else 0.0


@kernel
def _add_likelihood(
    log_likelihood: tuple[Floats, ...], seen: NDArray[np.bool_], total: Floats, n_detectors: NDArray[np.int8]
) -> None:  # fmt: skip
    """Likelihoods as they are; a detector that knows nothing gives every hypothesis the same, or NaN."""
    for begin in range(0, len(seen), _BLOCK):
        end = min(len(seen), begin + _BLOCK)
        some, first, count = seen[begin:end], log_likelihood[0][begin:end], n_detectors[begin:end]
        some[:] = False
        for h in range(1, N_SPECIES):
            row = log_likelihood[h][begin:end]
            for i in range(len(some)):
                some[i] |= row[i] != first[i]
        for h in range(N_SPECIES):
            row = log_likelihood[h][begin:end]
            for i in range(len(some)):
                some[i] &= row[i] == row[i]
        for i in range(len(some)):
            count[i] += some[i]
        for h in range(N_SPECIES):
            row, result = log_likelihood[h][begin:end], total[h, begin:end]
            for i in range(len(some)):
                result[i] += row[i] if some[i] else 0.0


@bare_kernel
def _raise_to(row: Floats, weight: Floats, highest: Floats) -> None:
    """Highest likelihood of species with a prior."""
    for i in range(len(row)):
        highest[i] = select((weight[i] > 0.0) & (row[i] > highest[i]), row[i], highest[i])


@bare_kernel
def _weigh(row: Floats, weight: Floats, highest: Floats, result: Floats) -> None:
    """Likelihoods times priors, relative to the highest likelihood: no underflow of all of them."""
    for i in range(len(row)):
        below = row[i] - highest[i]
        is_there = (weight[i] > 0.0) & (below > _LOG_ZERO)
        result[i] = select(is_there, weight[i] * exp(select(is_there, below, 0.0)), 0.0)


@bare_kernel
def _normalise(species: float, total: Floats, result: Floats, most: Floats, winner: Floats) -> None:
    """Probabilities of a species, and whether it is the most likely so far."""
    for i in range(len(total)):
        result[i] = result[i] / select(total[i] > 0.0, total[i], 1.0)
    for i in range(len(total)):
        is_more = result[i] > most[i]
        most[i], winner[i] = select(is_more, result[i], most[i]), select(is_more, species, winner[i])


@bare_kernel
def _conclude(
    n_detectors: NDArray[np.int8], winner: Floats, has_signal: NDArray[np.bool_], most_likely: NDArray[np.int8]
) -> None:
    """Whether any detector saw a track, and as what."""
    for i in range(len(winner)):
        has_signal[i] = n_detectors[i] > 0
    for i in range(len(winner)):
        most_likely[i] = np.int8(winner[i]) if n_detectors[i] > 0 else -1


@kernel
def _posterior_kernel(
    log_likelihood: Floats, candidates: Integers, prior: Floats, n_detectors: NDArray[np.int8], probability: Floats,
    has_signal: NDArray[np.bool_], most_likely: NDArray[np.int8],
) -> None:  # fmt: skip
    """Bayes' theorem (ALICE, Eur. Phys. J. Plus 131 (2016) 168, eq. 4); all 0 where no species has a prior.

    `prior` has one column if no prior depends on the momentum.
    """
    scratch, constant = np.empty((4, _BLOCK)), np.empty((len(candidates), _BLOCK))
    is_constant = prior.shape[1] == 1
    for c in range(len(candidates) if is_constant else 0):
        constant[c] = prior[c, 0]
    for begin in range(0, len(n_detectors), _BLOCK):
        end = min(len(n_detectors), begin + _BLOCK)
        size = end - begin
        highest, total, most, winner = scratch[0, :size], scratch[1, :size], scratch[2, :size], scratch[3, :size]
        highest[:], total[:], most[:], winner[:] = -np.inf, 0.0, 0.0, -1.0
        for h in range(N_SPECIES):
            probability[h, begin:end] = 0.0
        for c in range(len(candidates)):
            weight = constant[c, :size] if is_constant else prior[c, begin:end]
            _raise_to(log_likelihood[candidates[c], begin:end], weight, highest)
        for c in range(len(candidates)):
            weight = constant[c, :size] if is_constant else prior[c, begin:end]
            result = probability[candidates[c], begin:end]
            _weigh(log_likelihood[candidates[c], begin:end], weight, highest, result)
            for i in range(size):
                total[i] += result[i]
        for c in range(len(candidates)):
            _normalise(float(candidates[c]), total, probability[candidates[c], begin:end], most, winner)
        _conclude(n_detectors[begin:end], winner, has_signal[begin:end], most_likely[begin:end])


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
        candidates = [i for i, species in enumerate(SPECIES) if config.priors.get(species, 0.0) != 0.0]  # type: ignore[call-overload]
        self._candidates = np.array(candidates, np.int64)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Combine one batch; see `flashdet.stages.base.Stage`. Counts: tracks that no detector saw."""
        track = batch["track"]
        n = track.n_rows
        total, probability = np.zeros((N_SPECIES, n)), np.empty((N_SPECIES, n))
        n_detectors, seen = np.zeros(n, np.int8), np.empty(n, np.bool_)
        for source in self.config.detectors:
            self._add(source, batch, seen, total, n_detectors)
        has_signal, most_likely = np.empty(n, np.bool_), np.empty(n, np.int8)
        prior = self._prior(track["pt"])
        _posterior_kernel(total, self._candidates, prior, n_detectors, probability, has_signal, most_likely)
        columns: dict[str, NDArray[Any]] = {
            "has_signal": has_signal,
            "n_detectors": n_detectors,
            "most_likely": most_likely,
            **by_species("log_likelihood", total),
            **by_species("probability", probability),
        }
        counts = {"tracks without any signal": n - int(np.count_nonzero(has_signal))}
        return StageOutput((Table(self.name, track.offsets, columns),), counts)

    def _prior(self, pt: Floats) -> Floats:
        """Priors of the candidates: (n_candidates, n), or (n_candidates, 1) if none depends on the momentum."""
        priors = [self.config.priors[SPECIES[i]] for i in self._candidates]  # type: ignore[index]
        result = np.empty((len(priors), len(pt) if any(isinstance(p, PriorCurve) for p in priors) else 1))
        for row, prior, i in zip(result, priors, self._candidates, strict=True):
            row[:] = prior_at(prior, SPECIES_CHARGE[i] * pt) if isinstance(prior, PriorCurve) else prior
        return result

    def _add(
        self, source: Source, batch: EventBatch, seen: NDArray[np.bool_], total: Floats, n_detectors: NDArray[np.int8]
    ) -> None:
        """Add the log-likelihoods of one detector; `seen` is overwritten."""
        table = batch[source.name]
        rows = tuple(table[f"{_PER_SPECIES[source.use]}_{species}"] for species in SPECIES)
        if source.use == "n_sigma":
            _add_gaussian(rows, table["has_signal"], self.config.excluded_n_sigma, seen, total, n_detectors)
        elif source.use == "log_likelihood":
            _add_likelihood(rows, seen, total, n_detectors)
        else:
            tagged, inside = tag_log_likelihood(table["has_signal"], table["has_acceptance"], np.stack(rows))
            total += tagged
            n_detectors += inside


def _columns(source: Source) -> tuple[Column, ...]:
    """Columns that a detector must have."""
    flags = (Column(source.name, flag, "?", "", "") for flag in _FLAGS[source.use])
    prefix = _PER_SPECIES[source.use]
    return (*flags, *(Column(source.name, f"{prefix}_{species}", "f8", "", "") for species in SPECIES))
