"""Energy loss in silicon layers (time over threshold): the truncated mean of a track, and what to expect of it.

The signal of each layer is made from the generated particle with the tables of :mod:`.truncated`, which
follow the straggling model of :mod:`.straggling`; the path lengths and the expectations come from the
measured track. Kernels are :mod:`.crossings` and :mod:`.losses`. Time over threshold is
taken as proportional to the charge, so the measured quantity is an energy per path length; clusters and the shape of
pulses are not simulated, nor is the energy that the particle loses on its way.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from flashdet.columns import EVENT, TOT, TRACK, for_stage, pick
from flashdet.config import EnergyOrZero, Length, StageConfig
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import N_SPECIES, by_species
from flashdet.stages.surface import Shape, pack
from flashdet.stages.tot.crossings import Truth, split
from flashdet.stages.tot.expectation import N_WORK, compare
from flashdet.stages.tot.losses import make_signals
from flashdet.stages.tot.order import make_work
from flashdet.stages.tot.truncated import lay_out, loss_tables, n_kept

Floats = NDArray[np.float64]

#: 1 cm in um, 1 GeV in eV.
_UM_PER_CM, _EV_PER_GEV = 1e4, 1e9


# --- configuration ---------------------------------------------------------------------------------------------------
class TotConfig(StageConfig):
    """Energy loss in the layers of a silicon tracker."""

    shape: Shape
    """The layers: cylinders and discs, all with the same sensor."""
    thickness: Length
    """Sensitive thickness of the silicon."""
    efficiency: Annotated[float, Field(gt=0, le=1)] = 0.99
    """Probability that a crossing makes a hit, before the threshold."""
    noise: EnergyOrZero = "0.36 keV"  # type: ignore[assignment]
    """Standard deviation of the noise of a layer's signal; 100 electrons at 3.6 eV each are 0.36 keV."""
    gain_spread: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Relative spread of the gain from pixel to pixel."""
    threshold: EnergyOrZero = "0.4 keV"  # type: ignore[assignment]
    """Layers with a smaller signal make no hit."""
    kept_fraction: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Part of a track's signals, the lowest ones, that enter the truncated mean."""
    min_layers: Annotated[int, Field(ge=1)] = 3
    """Tracks with fewer hits have no signal."""


# --- stage -----------------------------------------------------------------------------------------------------------
_MEASURED = ("tgl", "q_over_pt", "cov")


class Tot(Stage):
    """Measure the energy loss in a silicon tracker; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "tot"
    Config: ClassVar[type[StageConfig]] = TotConfig
    config: TotConfig

    def __init__(self, name: str, config: TotConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self._layers = split(pack(config.shape))
        n = len(config.shape)
        self._n_kept = np.array([n_kept(i, config.kept_fraction) for i in range(n + 1)], np.int64)
        self._tables = lay_out(loss_tables(
            config.thickness * _UM_PER_CM, n, config.kept_fraction, config.noise * _EV_PER_GEV,
            config.gain_spread, config.threshold * _EV_PER_GEV,
        ))  # fmt: skip
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *Truth._fields))
        self.writes = for_stage(TOT, self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: tracks with hits but too few for a signal, and particles too slow for the tables.
        """
        config = self.config
        track = batch["track"]
        n, tgl, q_over_pt = track.n_rows, track["tgl"], track["q_over_pt"]
        n_layers, signal, log_path = np.empty(n, np.int8), np.empty(n), np.empty(n)
        n_clamped = make_signals(
            track.offsets, batch["event"]["key"], Truth(*(track[name] for name in Truth._fields)), tgl, q_over_pt,
            float(self.setup.magnetic_field), self._layers, float(config.thickness), float(config.efficiency),
            config.min_layers, self._n_kept, self._tables, draw.key, make_work(self._layers), n_layers, signal,
            log_path,
        )  # fmt: skip
        # one block: one array per quantity takes 10 ns per track more in page faults
        expected, n_sigma, log_likelihood = np.empty((3, N_SPECIES, n))
        compare(
            tgl, q_over_pt, track["cov"], n_layers, signal, log_path, self._tables, np.empty(N_WORK), expected,
            n_sigma, log_likelihood,
        )  # fmt: skip
        columns: dict[str, NDArray[Any]] = {
            "has_signal": n_layers >= config.min_layers,
            "n_layers": n_layers,
            "signal": signal,
            **by_species("expected", expected),
            **by_species("n_sigma", n_sigma),
            **by_species("log_likelihood", log_likelihood),
        }
        counts = {
            "tracks with too few layers": int(np.count_nonzero((n_layers > 0) & (n_layers < config.min_layers))),
            "out of range: p/m below the tables of energy loss, edge used": n_clamped,
        }
        return StageOutput((Table(self.name, track.offsets, columns),), counts)
