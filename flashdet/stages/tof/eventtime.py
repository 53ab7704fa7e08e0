"""How the time of the collision is found: its configuration, and what is known before any hit.

The search in the hits is in :mod:`.timesearch`. One detector may use it alone
(:mod:`.stage`), several together through the stage of :mod:`.jointtime`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from flashdet.columns import EVENT, EVENT_PROPAGATE, Column, pick
from flashdet.config import AnyTime, Length, StrictModel, Time
from flashdet.event import Table
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import normals, uniforms
from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.priors import PriorCurve, prior_at

Floats = NDArray[np.float64]

#: Slots of the random numbers of an event (place 0); those of tracks are below.
_SLOT_SEEN, _SLOT_START = 64, 65


# --- configuration ---------------------------------------------------------------------------------------------------
class StartTimeConfig(StrictModel):
    """A detector that measures the time of the collision by itself, such as the ALICE FT0."""

    resolution: Time
    """Standard deviation of its time."""
    efficiency: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the events in which it gives one."""


def _curve(*value: float) -> PriorCurve:
    """Abundances between 0 and 4 GeV/c."""
    return PriorCurve.model_validate({"pt": [f"{pt} GeV/c" for pt in (0, 0.3, 0.5, 1, 2, 4)], "value": value})


class EventTimeSearch(StrictModel):
    """How the time of the collision is found from hits."""

    spread: Time = "200 ps"  # type: ignore[assignment]
    """Spread of the collision times: the prior of the search. 200 ps is that of the DelphesO2 beams."""
    mean: AnyTime = "0 ps"  # type: ignore[assignment]
    """Mean of the collision times."""
    start_time: StartTimeConfig | None = None
    """Another detector whose time joins the prior."""
    hypotheses: Mapping[str, Annotated[float, Field(gt=0)] | PriorCurve] = {
        "pion": 1.0,
        "kaon": _curve(0.04, 0.08, 0.12, 0.20, 0.28, 0.35),
        "proton": _curve(0.01, 0.03, 0.05, 0.12, 0.20, 0.20),
        "electron": _curve(0.25, 0.06, 0.03, 0.02, 0.02, 0.02),
    }
    """Species that the search considers and their relative abundances: numbers, or points in pt. The default is about
    that of primary hadrons from PYTHIA 8 in pp collisions (measured ratios rise alike: ALICE, Eur. Phys. J. C 75
    (2015) 226) with the electrons of decays and of photons converted in the first layers. Where times are ambiguous,
    too many heavy particles would pull the time of the collision to early values, too few to late ones."""
    outlier_fraction: Annotated[float, Field(ge=1e-6, le=0.5)] = 0.02
    """Share of hits that fit no hypothesis (decay products, interactions)."""
    outlier_spread: Time = "2 ns"  # type: ignore[assignment]
    """Interval over which outliers spread evenly."""
    max_dca_xy: Length = "1 mm"  # type: ignore[assignment]
    """Tracks farther from the beam axis than this do not enter."""
    min_tracks: Annotated[int, Field(ge=1)] = 1
    """With fewer tracks the event time is that of the prior."""
    max_iterations: Annotated[int, Field(ge=1, le=1000)] = 20
    """Bound on the steps of the search."""

    @field_validator("hypotheses")
    @classmethod
    def _check_species(cls, value: Mapping[str, float | PriorCurve]) -> Mapping[str, float | PriorCurve]:
        unknown = [name for name in value if name not in SPECIES]
        if unknown or not value:
            raise ValueError(f"{', '.join(unknown) or 'nothing'} is no hypothesis; allowed: {', '.join(SPECIES)}")
        pt = np.unique([0.0, *(x for prior in value.values() if isinstance(prior, PriorCurve) for x in prior.pt)])
        empty = sum(np.broadcast_to(prior_at(prior, pt), len(pt)) for prior in value.values()) <= 0.0
        if np.any(empty):
            raise ValueError(f"no hypothesis has an abundance above zero at pt = {pt[empty][0]:g} GeV/c")
        return value


class EventTimeConfig(EventTimeSearch):
    """How a detector gets the time of the collision."""

    method: Literal["tracks", "truth_mass", "truth", "none", "shared"] = "tracks"
    """``tracks``: from the hits, for unknown masses; ``truth_mass``: from the hits with generated species (for
    comparison); ``truth``: the generated collision time without error; ``none``: the prior; ``shared``: a later stage
    of kind ``event_time`` finds it from several detectors and adds the columns that need it."""


# --- physics ---------------------------------------------------------------------------------------------------------
class Prior(NamedTuple):
    """What is known of the time of each collision before its hits: a normal density.

    Attributes
    ----------
    time, error : (n_events,) float64
        Mean and standard deviation [ns].
    start, start_error : (n_events,) float64
        Time of the start detector and its error [ns], NaN without one.
    """

    time: Floats
    error: Floats
    start: Floats
    start_error: Floats


def prior_columns(config: EventTimeSearch) -> tuple[Column, ...]:
    """Columns that :func:`know_before` reads."""
    if config.start_time is None:
        return ()
    return (*pick(EVENT, "key", "vt"), *pick(EVENT_PROPAGATE, "collision_time"))


def know_before(event: Table, config: EventTimeSearch, draw: Draw) -> Prior:
    """Prior of each event: the spread of the collisions and, if there is one, the start detector.

    Both are normal, so is their product: the informations add up.

    Parameters
    ----------
    event : Table
        Columns of :func:`prior_columns`.
    config : EventTimeSearch
        Mean, spread, start detector.
    draw : Draw
        Random numbers.

    Returns
    -------
    Prior
    """
    n = event.n_rows
    time, error = np.full(n, config.mean), np.full(n, config.spread)
    start, start_error = np.full(n, np.nan), np.full(n, np.nan)
    if config.start_time is not None:
        resolution, efficiency = config.start_time.resolution, config.start_time.efficiency
        _start_kernel(event["key"], event["vt"] + event["collision_time"], resolution, efficiency, draw.key, start)
        seen = np.isfinite(start)
        start_error[seen] = resolution
        information = 1.0 / config.spread**2 + 1.0 / resolution**2
        time[seen] = (config.mean / config.spread**2 + start[seen] / resolution**2) / information
        error[seen] = math.sqrt(1.0 / information)
    return Prior(time, error, start, start_error)


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _start_kernel(
    event_key: NDArray[np.uint64], true: Floats, resolution: float, efficiency: float, key: np.uint64, start: Floats
) -> None:
    for event in range(len(start)):
        u, _ = uniforms(key, event_key[event], 0, _SLOT_SEEN)
        if u < efficiency:
            noise, _ = normals(key, event_key[event], 0, _SLOT_START)
            start[event] = true[event] + resolution * noise
