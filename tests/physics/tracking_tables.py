"""Tables and helpers for tests of tracking: LUTs with a known covariance at every point, and runs of the two stages."""

import numpy as np

from flashdet.lut.axis import Axis
from flashdet.lut.table import Lut
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.propagate.stage import Propagate, PropagateConfig
from flashdet.stages.tracking.stage import Tracking, TrackingConfig

PARAMETERS = ("y", "z", "snp", "tgl", "q_over_pt")
DIAGONAL = (0, 2, 5, 9, 14)
CORRELATION = np.eye(5)
for i, j, rho in ((0, 2, -0.65), (1, 3, -0.70), (0, 4, 0.25), (2, 4, -0.40)):
    CORRELATION[i, j] = CORRELATION[j, i] = rho


def sigmas(pt, eta, charge=1):
    """Standard deviations that follow powers of pt and exponentials of eta: linear in the coordinates of the table."""
    pt, eta = np.broadcast_arrays(pt, eta)
    stretch = np.exp(0.3 * np.asarray(eta))
    return np.stack(
        [2e-3 / pt * stretch, 3e-3 / pt * stretch, 1e-3 / pt * stretch, 2e-3 / np.sqrt(pt), 0.01 * charge / pt], -1
    )


def make_lut(species, field=2.0, efficiency=lambda nch, eta, pt: 0.8 + 0 * (nch + eta + pt), scale=1.0, **meta):
    charge, i = SPECIES_CHARGE[SPECIES.index(species)], SPECIES.index(species)
    nch = Axis("nch", "", 4, 1.0, 1e4, "log")
    radius = Axis("radius", "cm", 1, 0.0, 100.0)
    eta = Axis("eta", "", 16, -4.0, 4.0)
    pt = Axis("pt", "GeV", 20, 0.01, 100.0, "log")
    sigma = scale * sigmas(pt.centers[None, :], eta.centers[:, None], charge)
    covariance = (sigma[..., :, None] * sigma[..., None, :] * CORRELATION)[..., *np.tril_indices(5)]
    values = efficiency(nch.centers[:, None, None], eta.centers[:, None], pt.centers)
    return Lut(
        species=species,
        pdg=SPECIES_PDG[i],
        mass=SPECIES_MASS[i],
        charge=charge,
        field=field,
        efficiency_axes=(nch, eta, pt),
        efficiency=np.ascontiguousarray(values),
        covariance_axes=(radius, eta, pt),
        covariance=covariance[None],
        valid=np.ones((1, 16, 20), np.bool_),
        meta=meta,
    )


def offered(batch, bz=2.0, **config):
    """The batch after propagate."""
    result = batch.copy()
    for table in Propagate("propagate", PropagateConfig(**config), Setup(bz)).run(batch, Draw.of(1, "p")).tables:
        result.add(table)
    return result


def tracked(batch, luts, bz=2.0, seed=1, **config):
    """Tracks, the truth of each of them, and the counters."""
    first = {lut.species: lut for lut in reversed(luts)}
    further = {s: tuple(lut for lut in luts if lut.species == s and lut is not first[s]) for s in first}
    setup = Setup(bz, first, None, further)
    output = Tracking("tracking", TrackingConfig(**config), setup).run(batch, Draw.of(seed, "tracking"))
    (track,) = output.tables
    charged = batch["charged"]
    place = {key: row for row, key in enumerate(identities(charged))}
    rows = [place[key] for key in identities(track)]
    return track, {name: values[rows] for name, values in charged.items()}, output.counts


def identities(table):
    """(event, particle) of each row."""
    return list(zip(table.event_index.tolist(), table["particle_index"].tolist(), strict=True))


def deviations(track, truth):
    """(n, 5) measured minus generated parameters."""
    true = {**truth, "snp": np.zeros(track.n_rows)}
    return np.stack([track[name] - true[name] for name in PARAMETERS], -1)
