"""Photon conversions: photons that make an electron and a positron in the material of the tracker.

The pairs are a table of their own that `propagate` adds to the charged particles, so that they are tracked like any
other. The generator record is not changed: the photons stay in it, and what sees photons later (the calorimeter) leaves
out those whose pair was made. Which photons convert is :mod:`.photons`, where the material is :mod:`.material`, and how
their pairs look :mod:`.kinematics`.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from pydantic import Field

from flashdet.columns import CONVERSIONS_PAIR, EVENT, PARTICLE, for_stage, pick
from flashdet.config import StageConfig
from flashdet.errors import StageError
from flashdet.event import EventBatch, Table
from flashdet.layout import read_layout
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.conversions.kinematics import Found, Pairs, make_pairs
from flashdet.stages.conversions.material import describe
from flashdet.stages.conversions.photons import find_conversions
from flashdet.stages.neutrals import Neutrals
from flashdet.stages.rows import empty_columns


# --- configuration ---------------------------------------------------------------------------------------------------
class ConversionsConfig(StageConfig):
    """Configuration of the conversions."""

    layout: str = Field(min_length=1)
    """Tracker layout whose layers are the material: name of a shipped one or path."""


# --- stage -----------------------------------------------------------------------------------------------------------
class Conversions(Stage):
    """Convert photons in the material of a layout; comes before `propagate`, whose ``secondaries`` name its table.

    Photons are final-state particles (status 1) of the generator record. ``particle_index`` of the pair is negative,
    because the pair has no row in that record: -2 - 2 i for the positron and -3 - 2 i for the electron of the photon in
    row i (`flashdet.stages.secondaries.photon_row` finds it). So random numbers of later stages are those of two
    particles of their own, and labels of output formats are -1, "no particle".

    A pair made at a large radius crosses few layers; tables of the tracker for displaced particles know that. With
    tables for the beam line only every pair is tracked as if made there (`out_of_range`, radius, of `tracking`), which
    finds too many.
    """

    kind: ClassVar[str] = "conversions"
    Config: ClassVar[type[StageConfig]] = ConversionsConfig
    config: ConversionsConfig

    def __init__(self, name: str, config: ConversionsConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (*pick(EVENT, "key"), *pick(PARTICLE, *Neutrals._fields))
        self.writes = for_stage(CONVERSIONS_PAIR, self.kind, name)
        layers = [layer for layer in read_layout(config.layout).layers if layer.x_over_x0 > 0.0]
        if not layers:
            raise StageError(f"the layout {config.layout!r} has no material", f"stage {name}")
        self._material = describe(layers)
        #: Names of the layers, by the column ``layer``.
        self.layer_names = tuple(layer.name for layer in layers)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch; see :class:`flashdet.stages.base.Stage`.

        Counts: photons that convert.
        """
        particle, event_key = batch["particle"], batch["event"]["key"]
        photons = Neutrals(*(particle[c] for c in Neutrals._fields))
        n, offsets = particle.n_rows, np.empty(batch.n_events + 1, np.int64)
        # one longer than the record: the row after the last one kept is written, too
        found = Found(
            np.empty(n + 1, np.int64), np.empty(n + 1, np.int64), np.empty(n + 1, np.int64), np.empty(n + 1)
        )  # fmt: skip
        n = int(find_conversions(photons, particle.offsets, event_key, draw.key, self._material, found, offsets))
        pairs = Pairs(*empty_columns(CONVERSIONS_PAIR, 2 * n))
        found = Found(found.row[:n], found.event[:n], found.layer[:n], found.path[:n])
        make_pairs(found, photons, particle.offsets, event_key, draw.key, pairs)
        table = Table(f"{self.name}_pair", offsets, pairs._asdict())
        return StageOutput((table,), {"photons converted": n})
