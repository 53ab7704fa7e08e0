"""Kit for tests of time of flight: stages, runs and samples of primary tracks."""

from __future__ import annotations

import numpy as np
from pid_tracks import make_tracks, packed

from flashdet.rng import Draw
from flashdet.species import SPECIES
from flashdet.stages.base import Setup
from flashdet.stages.surface import Surface, pack
from flashdet.stages.tof.stage import Tof, TofConfig

ELECTRON, MUON, PION, KAON, PROTON, DEUTERON, TRITON, HELIUM3, ALPHA = range(9)
BARREL = {"cylinder": {"radius": "85 cm", "half_length": "340 cm"}}
DRAW = Draw.of(1, "otof")


def stage(shape=BARREL, bz=2.0, resolution="20 ps", **settings):
    config = TofConfig.model_validate({"shape": shape, "time_resolution": resolution, **settings})
    return Tof("otof", config, Setup(bz))


def run(tof, batch, draw=DRAW):
    output = tof.run(batch, draw)
    return (*output.tables, output.counts)


def matrix(table, what):
    return np.array([table[f"{what}_{species}"] for species in SPECIES])


def of_true_species(values, batch):
    return values[batch["track"]["species_true"], np.arange(values.shape[1])]


def surfaces_of(*shapes):
    return pack(tuple(Surface.model_validate(shape) for shape in shapes))


def cylinder(radius, half_length=1e5):
    return {"cylinder": {"radius": f"{radius} cm", "half_length": f"{half_length} cm"}}


def disc(z, r_min=0.0, r_max=1e5):
    return {"disc": {"z": f"{z} cm", "r_min": f"{r_min} cm", "r_max": f"{r_max} cm"}}


def sample(rng, n_events, n, mix, spread=0.2, pt_error=0.007):
    """Primary tracks with a soft spectrum; collision times of width `spread`; also the true times."""
    size = n_events * n
    species = rng.choice(9, size, p=mix)
    pt = 0.3 + rng.exponential(0.6, size)
    vertex = np.zeros((size, 4))
    vertex[:, 2] = np.repeat(rng.normal(0, 5, n_events), n)
    vertex[:, 3] = np.repeat(rng.normal(0, spread, n_events), n)
    cov = packed(y=np.full(size, 0.002), z=0.002, snp=1e-3, tgl=1e-3, q_over_pt=pt_error / pt)
    batch = make_tracks(
        species, pt, rng.uniform(-1, 1, size), rng.uniform(-3.1, 3.1, size), cov, vertex=vertex,
        sizes=[n] * n_events, sign=rng.choice([-1, 1], size), seed=n,
    )  # fmt: skip
    return batch, vertex[::n, 3]


def shares(**mix):
    return np.array([mix.get(name, 0.0) for name in SPECIES])


COMMON = shares(pion=0.8, kaon=0.12, proton=0.08)
