"""Residuals of reconstructed tracks: what reconstruction measured minus what was true, at one common place.

The place is that of our tables: the point where the true helix is closest to the z axis, in the frame whose x axis is
the direction of the true momentum there. Negative particles are mirrored (y, snp and q/pt change sign), so that both
charges fill the same distribution. Material between the reference plane of a track and the axis is not corrected for.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature, perigee, wrap_angle
from flashdet.kernels.jit import inline, kernel
from flashdet.lut.sample import SampleParticles, SampleTracks

#: Step of numerical derivatives in standard deviations: second-order errors of 1e-4, rounding of 1e-9.
_STEP = 0.01


class Residuals(NamedTuple):
    """Residuals of tracks.

    Attributes
    ----------
    value : (n, 5) float64
        Of (y, z, snp, tgl, q/pt) [cm, cm, 1, 1, e/GeV], negative particles mirrored.
    cov : (n, 15) float64
        Reported covariance in the same frame; NaN if there is none.
    is_usable : (n,) bool
        False if the track flies backwards as seen from the true particle, or is not finite.
    """

    value: NDArray[np.float64]
    cov: NDArray[np.float64]
    is_usable: NDArray[np.bool_]


@inline
def true_perigee(
    px: float, py: float, vx: float, vy: float, vz: float, tgl: float, q_over_pt: float, bz: float
) -> tuple[float, float, float]:
    """Azimuth of the momentum [rad], y and z [cm] of the true helix closest to the z axis."""
    alpha, y, s = perigee(vx, vy, math.atan2(py, px), curvature(q_over_pt, bz))
    return alpha, y, vz + tgl * s


@inline
def to_true_frame(
    x: float, alpha: float, y: float, z: float, snp: float, tgl: float, q_over_pt: float, alpha_true: float, bz: float
) -> tuple[float, float, float, bool]:
    """Move a track along its helix to the plane x = 0 of the frame turned by `alpha_true`.

    Parameters
    ----------
    x, alpha, y, z, snp, tgl, q_over_pt : float
        Track in the ALICE convention [cm, rad, e/GeV].
    alpha_true : float
        Azimuth of the true momentum at its perigee [rad].
    bz : float
        Field [T].

    Returns
    -------
    y, z, snp : float
        There. The last step, from the perigee of the track to the plane, is d sin(dphi) of length: microns; it is done
        along the tangent with the turn of the direction.
    is_forward : bool
        False if the track flies away by more than 90 degrees.
    """
    cos_a, sin_a = math.cos(alpha), math.sin(alpha)
    k = curvature(q_over_pt, bz)
    phi, d, s = perigee(x * cos_a - y * sin_a, x * sin_a + y * cos_a, alpha + math.asin(snp), k)
    turn = wrap_angle(phi - alpha_true)
    cos_t, sin_t = math.cos(turn), math.sin(turn)
    if not cos_t > 0.0:
        return 0.0, 0.0, 0.0, False
    step = d * sin_t / cos_t
    return d * cos_t + step * sin_t, z + tgl * (s + step), math.sin(turn + k * step), True


@kernel
def _fill(
    row: NDArray[np.int64],
    px: NDArray[np.float64],
    py: NDArray[np.float64],
    pz: NDArray[np.float64],
    vx: NDArray[np.float64],
    vy: NDArray[np.float64],
    vz: NDArray[np.float64],
    charge: NDArray[np.float64],
    params: NDArray[np.float64],
    cov: NDArray[np.float64],
    bz: float,
    out: Residuals,
) -> None:
    jacobian = np.empty((5, 5))
    local = np.empty(7)
    moved = np.empty((2, 3))
    for i in range(len(row)):
        j = row[i]
        out.is_usable[i] = False
        out.value[i], out.cov[i] = 0.0, np.nan
        pt = math.hypot(px[j], py[j]) if j >= 0 else 0.0
        if pt == 0.0 or not abs(params[i, 4]) < 1.0 or params[i, 6] == 0.0 or not np.all(np.isfinite(params[i])):
            continue
        tgl, q_over_pt = pz[j] / pt, charge[j] / pt
        sign = 1.0 if charge[j] > 0.0 else -1.0
        alpha, y, z = true_perigee(px[j], py[j], vx[j], vy[j], vz[j], tgl, q_over_pt, bz)
        p = params[i]
        y_rec, z_rec, snp_rec, is_forward = to_true_frame(p[0], p[1], p[2], p[3], p[4], p[5], p[6], alpha, bz)
        if not is_forward:
            continue
        out.is_usable[i] = True
        out.value[i, 0], out.value[i, 1], out.value[i, 2] = sign * (y_rec - y), z_rec - z, sign * snp_rec
        out.value[i, 3], out.value[i, 4] = p[5] - tgl, sign * (p[6] - q_over_pt)
        jacobian[:] = 0.0
        jacobian[3, 3] = jacobian[4, 4] = 1.0
        is_known = True
        for k in range(5):
            variance = cov[i, k * (k + 3) // 2]
            if not variance > 0.0:
                is_known = False
                break
            step = _STEP * math.sqrt(variance)
            for side in range(2):
                local[:] = p
                local[2 + k] += step if side else -step
                if not abs(local[4]) < 1.0:
                    is_known = False
                    break
                a, b, c, _ = to_true_frame(
                    local[0], local[1], local[2], local[3], local[4], local[5], local[6], alpha, bz
                )
                moved[side, 0], moved[side, 1], moved[side, 2] = a, b, c
            for m in range(3):
                jacobian[m, k] = (moved[1, m] - moved[0, m]) / (2.0 * step)
        if is_known:
            _transport(jacobian, cov[i], sign, out.cov[i])


@kernel
def _transport(jacobian: NDArray[np.float64], cov: NDArray[np.float64], sign: float, out: NDArray[np.float64]) -> None:
    """J C J^T, packed, with the mirror's sign for y, snp and q/pt."""
    n = 0
    for a in range(5):
        for b in range(a + 1):
            total = 0.0
            for i in range(5):
                for k in range(5):
                    total += (
                        jacobian[a, i]
                        * cov[i * (i + 1) // 2 + k if i >= k else k * (k + 1) // 2 + i]
                        * (jacobian[b, k])
                    )
            mirrored = (a == 1 or a == 3) != (b == 1 or b == 3)
            out[n] = sign * total if mirrored else total
            n += 1


def residuals(
    particles: SampleParticles,
    tracks: SampleTracks,
    row: NDArray[np.int64],
    charge: NDArray[np.float64],
    field: float,
) -> Residuals:
    """Compare tracks with their particles.

    Parameters
    ----------
    particles, tracks : SampleParticles, SampleTracks
        Of one chunk.
    row : (n_tracks,) int64
        Particle of each track, -1: none (`flashdet.lut.sample.match`).
    charge : (n_particles,) float64
        Charge [e].
    field : float
        B_z of the sample [T], sign included.

    Returns
    -------
    Residuals
        Each row depends on its own track and particle only.
    """
    n = len(row)
    out = Residuals(np.empty((n, 5)), np.empty((n, 15)), np.empty(n, np.bool_))
    p = particles
    momenta = (p.px, p.py, p.pz, p.vx, p.vy, p.vz)
    _fill(row, *momenta, charge, np.ascontiguousarray(tracks.params), np.ascontiguousarray(tracks.cov), field, out)
    return out
