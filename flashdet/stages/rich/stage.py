"""Ring-imaging Cherenkov detector: photons, the angle of the ring, and its comparison with every hypothesis.

Room: the stage. Its configuration is in :mod:`.config`, optics in :mod:`.optics`, tiles in :mod:`.tiles`, which of them
a track crosses in :mod:`.crossing`, whether its particle lives to see it in :mod:`.survivors`, photons and rings in
:mod:`.rings`, hypotheses in :mod:`.hypotheses`. The photons and the angle are made from the generated particle, the
comparison uses measured values only. Where single photons land is not simulated.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import EVENT, RICH, TRACK, TRACK_END, for_stage, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.pid import by_species
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import cross
from flashdet.stages.rich.hypotheses import compare_hypotheses
from flashdet.stages.rich.rings import make_rings
from flashdet.stages.rich.survivors import survivors
from flashdet.stages.rich.tiles import make_geometry

_MEASURED = ("tgl", "q_over_pt", "cov")
_TRUTH = (
    "particle_index", "vx_true", "vy_true", "vz_true", "pt_true", "eta_true", "phi_true", "mass_true", "charge_true",
)  # fmt: skip


class Rich(Stage):
    """Simulate a RICH; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "rich"
    Config: ClassVar[type[StageConfig]] = RichConfig
    config: RichConfig

    def __init__(self, name: str, config: RichConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self._geometry = make_geometry(config)
        self.reads = (
            *pick(EVENT, "key"), *pick(TRACK, *_MEASURED, *_TRUTH), *(TRACK_END if config.decays else ()),
        )  # fmt: skip
        written = [c for c in RICH if config.likelihood or not c.name.startswith("log_likelihood")]
        self.writes = for_stage(written, self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see `flashdet.stages.base.Stage`.

        Counts: particles with fewer photons than a ring needs, and rings made of background.
        """
        track, geometry, config = batch["track"], self._geometry, self.config
        crossings = cross(track, self.setup.magnetic_field, geometry)
        if config.decays:
            crossings = survivors(crossings, track, self.setup.magnetic_field, geometry)
        rings = make_rings(track, track.offsets, batch["event"]["key"], crossings, geometry, config, draw)
        compared = compare_hypotheses(track, rings, crossings, geometry, config)
        columns: dict[str, NDArray[Any]] = {
            "has_acceptance": compared.has_acceptance,
            "has_signal": compared.has_signal,
            "angle": compared.angle,
            "angle_error": compared.angle_error,
            "n_photons": compared.n_photons,
            "n_photons_gas": rings.n_gas,
            **by_species("expected", compared.expected),
            **by_species("n_sigma", compared.n_sigma),
            **(by_species("log_likelihood", compared.log_likelihood) if config.likelihood else {}),
        }
        n_faint = int(np.count_nonzero((rings.n_photons > 0) & ~rings.found))
        counts = {"rings with too few photons": n_faint, "ghost rings": rings.n_ghosts}
        return StageOutput((Table(self.name, track.offsets, columns),), counts)
