"""Where particles end: decays in flight of those that the generator left alive, and walls that absorb them.

Generators stop at particles that live long enough (usually more than 1 cm/c): pions, kaons, muons, charged hyperons;
detectors are metres away. This stage draws how far each accepted particle gets; detectors that are told to (``decays:
true``) then see no signal of a particle that ended before them. Daughters are not followed: a hit of the muon from a
pion is lost, too. DelphesO2 drops such tracks altogether (its module ``DecayFilter``); here the track stays. Particles
also end at `absorbers`: without them a particle that bends back behind a calorimeter would reach a disc.
"""

from __future__ import annotations

import math
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.columns import EVENT, TRACK, TRACK_END, pick
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, kernel
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.species import particle_table
from flashdet.stages.base import Setup, Stage, StageOutput
from flashdet.stages.codes import code_table, find_code
from flashdet.stages.surface import Shape, first_crossing, pack

Floats = NDArray[np.float64]

#: Slot of the random number of a particle.
_SLOT_LIFE = 0


# --- configuration ---------------------------------------------------------------------------------------------------
class DecayConfig(StageConfig):
    """Decays in flight, and what stops particles."""

    absorbers: Shape | None = None
    """Surfaces where all particles end, such as the front of a calorimeter that is followed by a magnet."""


# --- kernel ----------------------------------------------------------------------------------------------------------
class Truth(NamedTuple):
    """Columns of the tracks, all of the same length."""

    particle_index: NDArray[np.int32]
    pdg_true: NDArray[np.int32]
    charge_true: NDArray[np.int8]
    mass_true: Floats
    pt_true: Floats
    eta_true: Floats
    phi_true: Floats
    vx_true: Floats
    vy_true: Floats
    vz_true: Floats


@bare_kernel
def _draw_lives(
    offsets: NDArray[np.int64], event_key: NDArray[np.uint64], truth: Truth, codes: NDArray[np.int32],
    direct: NDArray[np.int16], ctau: Floats, key: np.uint64, path: Floats,
) -> None:  # fmt: skip
    """The path is c tau (p/m) times a number from the exponential distribution of unit mean; infinite if stable."""
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            path[i] = math.inf
            row = find_code(truth.pdg_true[i], codes, direct)
            if row < 0 or not ctau[row] < np.inf:
                continue
            u, _ = uniforms(key, event_key[event], truth.particle_index[i], _SLOT_LIFE)
            grow = math.exp(truth.eta_true[i])
            momentum = truth.pt_true[i] * 0.5 * (grow + 1.0 / grow)
            path[i] = -math.log(u) * ctau[row] * momentum / truth.mass_true[i]


@bare_kernel
def _stop(truth: Truth, bz: float, absorbers: Floats, path: Floats) -> None:
    """End the paths at the absorbers."""
    for i in range(len(path)):
        grow = math.exp(truth.eta_true[i])
        tgl, k = 0.5 * (grow - 1.0 / grow), curvature(truth.charge_true[i] / truth.pt_true[i], bz)
        _, way, _, _, _, _ = first_crossing(
            truth.vx_true[i], truth.vy_true[i], truth.vz_true[i], truth.phi_true[i], tgl, k, absorbers
        )
        path[i] = min(path[i], way)


@kernel
def _end_kernel(
    offsets: NDArray[np.int64], event_key: NDArray[np.uint64], truth: Truth, codes: NDArray[np.int32],
    direct: NDArray[np.int16], ctau: Floats, bz: float, absorbers: Floats, key: np.uint64, path: Floats,
) -> None:  # fmt: skip
    """Paths to the end of all particles, NaN where there is none."""
    _draw_lives(offsets, event_key, truth, codes, direct, ctau, key, path)
    if len(absorbers):
        _stop(truth, bz, absorbers, path)
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
        self.reads = (*pick(EVENT, "key"), *pick(TRACK, *Truth._fields))
        self.writes = TRACK_END
        self._codes = code_table()
        # both tables are sorted by code
        self._ctau = particle_table().ctau
        self._absorbers = np.empty((0, 4)) if config.absorbers is None else pack(config.absorbers)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Draw for one batch; see `flashdet.stages.base.Stage`."""
        track, path = batch["track"], np.empty(batch["track"].n_rows)
        _end_kernel(
            track.offsets, batch["event"]["key"], Truth(*(track[name] for name in Truth._fields)), self._codes.pdg,
            self._codes.direct, self._ctau, float(self.setup.magnetic_field), self._absorbers, draw.key, path,
        )  # fmt: skip
        return StageOutput((Table("track", track.offsets, {"end_path_true": path}),))
