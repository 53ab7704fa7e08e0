"""Tracks for tests of PID stages: generated particles, and measured parameters smeared with a known covariance."""

from __future__ import annotations

import numpy as np

from flashdet.columns import TRACK
from flashdet.event import EventBatch, Table
from flashdet.kernels.helix import curvature, perigee
from flashdet.species import SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.testing import make_events


def packed(y=0.0, z=0.0, snp=0.0, tgl=0.0, q_over_pt=0.0, tgl_q=0.0):
    """Packed covariance from standard deviations, uncorrelated but for tgl and q/pt (correlation `tgl_q`)."""
    cov = np.zeros((*np.shape(q_over_pt), 15))
    for i, sigma in zip((0, 2, 5, 9, 14), (y, z, snp, tgl, q_over_pt), strict=True):
        cov[..., i] = np.square(sigma)
    cov[..., 13] = tgl_q * tgl * q_over_pt
    return cov


def full(cov):
    """(n, 5, 5) matrices of packed covariances."""
    matrix = np.zeros((len(cov), 5, 5))
    row, col = np.tril_indices(5)
    matrix[:, row, col] = cov
    matrix[:, col, row] = cov
    return matrix


def make_tracks(species, pt, eta, phi, cov, *, bz=2.0, vertex=(0, 0, 0, 0), sizes=None, sign=1, seed=1, smear=True):
    """A batch with tables event and track: `cov` (15,) or (n, 15), `vertex` (4,) or (n, 4), `sizes` tracks by event."""
    species, pt, eta, phi, sign = (np.atleast_1d(a) for a in np.broadcast_arrays(species, pt, eta, phi, sign))
    n = len(species)
    cov = np.ascontiguousarray(np.broadcast_to(cov, (n, 15)), np.float64)
    vertex = np.broadcast_to(np.asarray(vertex, float), (n, 4))
    charge = np.array(SPECIES_CHARGE)[species] * sign
    tgl = np.sinh(eta)
    closest = np.array(
        [perigee(vertex[i, 0], vertex[i, 1], phi[i], curvature(charge[i] / pt[i], bz)) for i in range(n)]
    ).reshape(n, 3)
    alpha = closest[:, 0]
    true = np.stack([closest[:, 1], vertex[:, 2] + tgl * closest[:, 2], np.zeros(n), tgl, charge / pt], axis=1)
    noise = np.zeros((n, 5))
    if smear and n:
        values, vectors = np.linalg.eigh(full(cov))
        unit = np.random.default_rng(seed).standard_normal((n, 5))
        noise = np.einsum("nij,nj->ni", vectors, np.sqrt(np.maximum(values, 0)) * unit)
    y, z, snp, slope, q = (true + noise).T
    batch = make_events(np.array(SPECIES_PDG)[species] * sign, pt, eta, phi, sizes=sizes, vertex=vertex)
    offsets = batch["particle"].offsets
    values = {
        "particle_index": np.arange(n) - np.repeat(offsets[:-1], np.diff(offsets)),
        "x": 0, "alpha": alpha, "y": y, "z": z, "snp": snp, "tgl": slope, "q_over_pt": q, "cov": cov,
        "pt": 1 / abs(q), "eta": np.arcsinh(slope), "phi": alpha + np.arcsin(snp), "charge": np.sign(q),
        "species_true": species, "pdg_true": np.array(SPECIES_PDG)[species] * sign, "charge_true": charge,
        "mass_true": np.array(SPECIES_MASS)[species], "pt_true": pt, "eta_true": eta, "phi_true": phi,
        "vx_true": vertex[:, 0], "vy_true": vertex[:, 1], "vz_true": vertex[:, 2], "vt_true": vertex[:, 3],
    }  # fmt: skip
    columns = {
        c.name: np.array(np.broadcast_to(values[c.name], (n, *c.shape)), c.dtype) for c in TRACK if c.name in values
    }
    tables = EventBatch({}, batch.weight_names)
    tables.add(Table("event", batch["event"].offsets, dict(batch["event"])))
    # the time of an event is that of its first particle
    first = np.append(vertex[:, 3], 0.0)[np.minimum(offsets[:-1], n)]
    tables["event"].attach("collision_time", np.where(np.diff(offsets) > 0, first, 0.0))
    tables.add(Table("track", offsets, columns))
    return tables
