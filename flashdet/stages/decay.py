"""Where particles decay that the generator left alive: pions, kaons, muons, charged hyperons.

Generators stop at particles that live long enough (usually more than 1 cm/c), detectors are metres away. This stage
draws how far each accepted particle gets; detectors that are told to (``decays: true``) then see no hit of a particle
that decayed before them. Daughters are not followed: a hit of the muon from a pion is lost, too. DelphesO2 drops such
tracks altogether (its module ``DecayFilter``); here the track stays, as the tracker's tables know no decays.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import EVENT, TRACK, TRACK_DECAY, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.species import particle_table
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.codes import code_table, find_code

Floats = NDArray[np.float64]

#: Slot of the random number of a particle.
_SLOT_LIFE = 0


# --- configuration ---------------------------------------------------------------------------------------------------
class DecayConfig(StageConfig):
    """Decays in flight; there is nothing to choose."""


# --- kernel ----------------------------------------------------------------------------------------------------------
@kernel
def _life_kernel(
    offsets: NDArray[np.int64], event_key: NDArray[np.uint64], particle_index: NDArray[np.int32],
    pdg: NDArray[np.int32], pt: Floats, eta: Floats, mass: Floats, codes: NDArray[np.int32], direct: NDArray[np.int16],
    ctau: Floats, key: np.uint64, path: Floats,
) -> None:  # fmt: skip
    """The path is c tau (p/m) times a number from the exponential distribution of unit mean."""
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            path[i] = np.nan
            row = find_code(pdg[i], codes, direct)
            if row < 0 or not ctau[row] < np.inf:
                continue
            u, _ = uniforms(key, event_key[event], particle_index[i], _SLOT_LIFE)
            grow = math.exp(eta[i])
            momentum = pt[i] * 0.5 * (grow + 1.0 / grow)
            path[i] = -math.log(u) * ctau[row] * momentum / mass[i]


# --- stage -----------------------------------------------------------------------------------------------------------
class Decay(Stage):
    """Draw where particles decay; parameters as in `flashdet.stages.base.Stage`."""

    kind: ClassVar[str] = "decay"
    Config: ClassVar[type[StageConfig]] = DecayConfig
    config: DecayConfig

    def __init__(self, name: str, config: DecayConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = (
            *pick(EVENT, "key"),
            *pick(TRACK, "particle_index", "pdg_true", "pt_true", "eta_true", "mass_true"),
        )
        self.writes = TRACK_DECAY
        self._codes = code_table()
        # both tables are sorted by code
        self._ctau = particle_table().ctau

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Draw for one batch; see `flashdet.stages.base.Stage`."""
        track, path = batch["track"], np.empty(batch["track"].n_rows)
        _life_kernel(
            track.offsets, batch["event"]["key"], track["particle_index"], track["pdg_true"], track["pt_true"],
            track["eta_true"], track["mass_true"], self._codes.pdg, self._codes.direct, self._ctau, draw.key, path,
        )  # fmt: skip
        return StageOutput((Table("track", track.offsets, {"decay_path_true": path}),))
