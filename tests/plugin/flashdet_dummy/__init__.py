"""A plugin as a user would write it: one stage in a package of its own, found through an entry point."""

from __future__ import annotations

import time
from typing import Literal

import numpy as np

from flashdet.columns import EVENT, PARTICLE, Column, for_stage
from flashdet.config import StageConfig, Time, TimeOrZero
from flashdet.event import EventBatch, Table
from flashdet.kernels.philox import normals
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput

NOISE = Column("dummy_particle", "noise", "f8", "ns", "a normal number per particle")


class DummyConfig(StageConfig):
    """How wide, and what to do wrong on purpose."""

    width: Time = "20 ps"
    """Standard deviation."""
    fault: Literal["none", "nan", "dtype", "missing", "extra", "rows", "crash"] = "none"
    """What to do wrong."""
    delay: TimeOrZero = "0 s"
    """How long to sleep before each batch."""


class Dummy(Stage):
    """A number for each particle."""

    kind = "dummy"
    Config = DummyConfig

    def __init__(self, name: str, config: DummyConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (*(c for c in EVENT if c.name == "key"), *(c for c in PARTICLE if c.name == "pdg"))
        self.writes = for_stage((NOISE,), self.kind, name)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Draw one number per particle."""
        time.sleep(self.config.delay * 1e-9)
        particle, key = batch["particle"], batch["event"]["key"]
        noise = np.empty(particle.n_rows)
        for event, (start, stop) in enumerate(zip(particle.offsets[:-1], particle.offsets[1:], strict=True)):
            for i in range(start, stop):
                noise[i] = self.config.width * normals(draw.key, key[event], i - start, 0)[0]
        columns = {"noise": noise}
        fault = self.config.fault
        if fault == "nan" and len(noise) > 3:
            noise[3] = np.nan
        elif fault == "dtype":
            columns = {"noise": noise.astype(np.float32)}
        elif fault == "missing":
            columns = {}
        elif fault == "extra":
            columns["more"] = noise.copy()
        elif fault == "crash":
            raise ZeroDivisionError("on purpose")
        offsets = particle.offsets if fault != "rows" else np.arange(batch.n_events + 1)
        if fault == "rows":
            columns = {"noise": noise}
        counts = {"particles": int(particle.n_rows), "warning: odd": int(batch.n_events % 2)}
        return StageOutput((Table(f"{self.name}_particle", offsets, columns),), counts)
