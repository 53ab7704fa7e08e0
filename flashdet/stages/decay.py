"""Where particles end: at their decay in flight, which `propagate` has drawn, or in a wall that absorbs them.

Detectors that are told to (``decays: true``) see no signal of a particle that ended before them. Daughters are not
followed: a hit of the muon from a pion is lost, too; the track stays. Particles also end at `absorbers`: without them
one that bends back behind a calorimeter would reach a disc.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import CHARGED, CHARGED_DECAY, TRACK, TRACK_END, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.blocks import BEST, BLOCK, Block, Helices, block, cross
from flashdet.stages.surface import Shape, pack

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Indices = NDArray[np.int32]


# --- configuration ---------------------------------------------------------------------------------------------------
class DecayConfig(StageConfig):
    """What stops particles, beside their decays."""

    absorbers: Shape | None = None
    """Surfaces where all particles end, such as the front of a calorimeter that is followed by a magnet."""


# --- kernel ----------------------------------------------------------------------------------------------------------
@bare_kernel
def _gather(
    offsets: Integers, index: Indices, charged_offsets: Integers, charged_index: Indices, decay_path: Floats,
    path: Floats,
) -> None:  # fmt: skip
    """Paths of the tracks' particles, infinite if stable: tracks are in the order of the particles."""
    for event in range(len(offsets) - 1):
        k = charged_offsets[event]
        for i in range(offsets[event], offsets[event + 1]):
            while charged_index[k] != index[i]:
                k += 1
            path[i] = decay_path[k] if decay_path[k] >= 0.0 else math.inf


@bare_kernel
def _stop(helices: Helices, bz: float, absorbers: Floats, work: Block, nearest: NDArray[np.int8], path: Floats) -> None:
    """End the paths at the absorbers."""
    for begin in range(0, len(path), BLOCK):
        n = min(BLOCK, len(path) - begin)
        cross(begin, n, helices, bz, absorbers, work, nearest[:n])
        for i in range(n):
            path[begin + i] = min(path[begin + i], work.number[np.uint64(i) + BEST])


@kernel
def _end_kernel(
    offsets: Integers, index: Indices, charged_offsets: Integers, charged_index: Indices, decay_path: Floats,
    helices: Helices, bz: float, absorbers: Floats, work: Block, nearest: NDArray[np.int8], path: Floats,
) -> None:  # fmt: skip
    """Paths to the end of all particles, NaN where there is none."""
    _gather(offsets, index, charged_offsets, charged_index, decay_path, path)
    if len(absorbers):
        _stop(helices, bz, absorbers, work, nearest, path)
    for i in range(len(path)):
        path[i] = path[i] if path[i] < math.inf else math.nan


# --- stage -----------------------------------------------------------------------------------------------------------
class Decay(Stage):
    """Find where particles end; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "decay"
    Config: ClassVar[type[StageConfig]] = DecayConfig
    config: DecayConfig

    def __init__(self, name: str, config: DecayConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (
            *pick(CHARGED, "particle_index"), *CHARGED_DECAY, *pick(TRACK, "particle_index", *Helices._fields),
        )  # fmt: skip
        self.writes = TRACK_END
        self._absorbers = np.empty((0, 4)) if config.absorbers is None else pack(config.absorbers)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """End the particles of one batch; see `flashdet.stages.base.Stage`. No random number is drawn."""
        charged, track = batch["charged"], batch["track"]
        path = np.empty(track.n_rows)
        _end_kernel(
            track.offsets, track["particle_index"], charged.offsets, charged["particle_index"], charged["decay_path"],
            Helices(*(track[name] for name in Helices._fields)), float(self.setup.magnetic_field), self._absorbers,
            block(), np.empty(BLOCK, np.int8), path,
        )  # fmt: skip
        return StageOutput((Table("track", track.offsets, {"end_path_true": path}),))
