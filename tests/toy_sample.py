"""A toy full simulation with known resolution, bias, tails and efficiency, in counter-based random numbers."""

import math
from dataclasses import replace

import numpy as np

from flashdet.kernels.helix import advance, curvature, perigee
from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import normals, uniforms
from flashdet.kernels.symmat import to_packed
from flashdet.lut.sample import SampleChunk, SampleParticles, SampleTracks

BZ = 2.0
CORRELATION = np.eye(5)
for i, j, rho in ((0, 2, -0.65), (1, 3, -0.70), (0, 4, 0.25), (2, 4, -0.40)):
    CORRELATION[i, j] = CORRELATION[j, i] = rho
FACTOR = np.linalg.cholesky(CORRELATION)
#: In standard deviations, for positive particles.
BIAS = np.array([0.3, 0.0, 0.0, 0.0, -0.2])
TAIL_FRACTION, TAIL_WIDTH = 0.05, 4.0
#: The reconstruction believes to be better than it is.
REPORTED = 0.8


def sigmas(eta, pt):
    """(..., 5) standard deviations."""
    eta, pt = np.broadcast_arrays(np.asarray(eta, float), np.asarray(pt, float))
    stretch = np.cosh(eta) ** 0.5
    soft = np.hypot(1.0, 1.0 / pt)
    columns = [1e-3 * soft, 2e-3 * soft * stretch, 5e-4 * soft, 1e-3 * soft * stretch, 0.01 * np.hypot(1.0, 0.3 / pt)]
    return np.stack(columns, -1)


def efficiency(eta, pt, tail=1.0):
    """Probability of reconstruction."""
    return 0.95 / (1.0 + (0.15 / pt) ** 4) * (1.0 - 0.05 * abs(eta))


@kernel
def _toy(key, first, n, eta_max, pt_low, pt_high, bz, factor, bias, tail_fraction, out, noise):
    for i in range(n):
        event = np.uint64(first + i)
        u, v = uniforms(key, event, 0, 0)
        out[i, 0] = eta_max * (2.0 * u - 1.0)
        out[i, 1] = pt_low * (pt_high / pt_low) ** v
        u, v = uniforms(key, event, 0, 1)
        out[i, 2] = 2.0 * math.pi * u - math.pi
        out[i, 3] = 1.0 if v < 0.5 else -1.0
        out[i, 4], out[i, 5] = normals(key, event, 0, 2)
        out[i, 6], out[i, 7] = uniforms(key, event, 0, 3)
        a, b = normals(key, event, 0, 4)
        c, d = normals(key, event, 0, 5)
        e, _ = normals(key, event, 0, 6)
        g = np.array([a, b, c, d, e])
        scale = TAIL_WIDTH if out[i, 7] < tail_fraction else 1.0
        for k in range(5):
            noise[i, k] = bias[k]
            for m in range(k + 1):
                noise[i, k] += scale * factor[k, m] * g[m]


@kernel
def _perigees(px, py, vx, vy, vz, tgl, q_over_pt, bz, out):
    for i in range(len(px)):
        k = curvature(q_over_pt[i], bz)
        out[i, 0], out[i, 1], s = perigee(vx[i], vy[i], math.atan2(py[i], px[i]), k)
        out[i, 2] = vz[i] + tgl[i] * s


def toy(
    n, first=0, seed=11, bz=BZ, eta_max=1.0, pt=(0.2, 10.0), bias=BIAS, tail_fraction=TAIL_FRACTION, pdg=211, scale=1.0
):
    """One particle per event: the chunk, and what was drawn as (eta, pt, charge, is found, noise).

    `scale` multiplies the standard deviations, not the bias.
    """
    out, noise = np.empty((n, 8)), np.empty((n, 5))
    _toy(
        np.uint64(seed),
        first,
        n,
        eta_max,
        *map(float, pt),
        bz,
        scale * FACTOR,
        np.asarray(bias),
        tail_fraction,
        out,
        noise,
    )
    eta, pt, phi, charge = out[:, 0], out[:, 1], out[:, 2], out[:, 3]
    px, py, pz = pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)
    vx, vy, vz = 0.01 * out[:, 4], 0.01 * out[:, 5], 5.0 * (out[:, 4] + out[:, 5])
    event, zero = np.arange(first, first + n), np.zeros(n, np.int64)
    pdgs = (pdg * charge).astype(np.int32)
    particles = SampleParticles(event, zero, pdgs, px, py, pz, vx, vy, vz, np.full(n, 10.0))
    true = np.empty((n, 3))
    tgl, q_over_pt = pz / pt, charge / pt
    _perigees(px, py, vx, vy, vz, tgl, q_over_pt, bz, true)
    found = out[:, 6] < efficiency(eta, pt)
    sigma = sigmas(eta, pt)
    shift = sigma * noise
    params = np.stack(
        [
            np.zeros(n),
            true[:, 0],
            true[:, 1] + charge * shift[:, 0],
            true[:, 2] + shift[:, 1],
            charge * shift[:, 2],
            tgl + shift[:, 3],
            q_over_pt + charge * shift[:, 4],
        ],
        -1,
    )[found]
    sign = np.stack([charge, np.ones(n), charge, np.ones(n), charge], -1)[found]
    reported = REPORTED * sigma[found] * sign
    cov = to_packed(CORRELATION * reported[:, :, None] * reported[:, None, :])
    tracks = SampleTracks(event[found], zero[found], zero[found], params, cov)
    return SampleChunk("toy", particles, tracks), (eta, pt, charge, found, noise)


@kernel
def _advance(arc, columns, charge, bz):
    px, py, pz, vx, vy, vz = columns
    for i in range(len(px)):
        pt = math.sqrt(px[i] * px[i] + py[i] * py[i])
        phi = math.atan2(py[i], px[i])
        vx[i], vy[i], vz[i], phi = advance(
            vx[i], vy[i], vz[i], phi, pz[i] / pt, curvature(charge[i] / pt, bz), arc[i]
        )  # fmt: skip
        px[i], py[i] = pt * math.cos(phi), pt * math.sin(phi)


def moved(chunk, arc, bz=BZ):
    """The chunk with its particles made farther along their helices; their tracks are the same."""
    p = chunk.particles
    names = ("px", "py", "pz", "vx", "vy", "vz")
    columns = tuple(np.array(getattr(p, name), float) for name in names)
    arcs = np.broadcast_to(np.asarray(arc, float), len(p.pdg)).copy()
    _advance(arcs, columns, np.sign(p.pdg).astype(float), bz)
    return replace(chunk, particles=replace(p, **dict(zip(names, columns, strict=True))))
