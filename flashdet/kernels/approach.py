"""Distances of tracks to a point near which they are straight lines: measurements for a fit of a common point.

Every track gives its signed transverse distance d and its distance z along the beam at its closest approach, with their
covariance. What is done with them is :mod:`flashdet.kernels.vertexfit`; helix geometry is in
:mod:`flashdet.kernels.helix` and `gradients`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine
from flashdet.kernels.gradients import bend
from flashdet.kernels.helix import curvature, sinc_of, to_perigee
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.scratch import LENGTH, at

#: Values kept per track: d, z, (-sin, cos) of the azimuth, tgl (cos, sin), inverse covariance dd, dz, zz, weight, and
#: what the track adds to the normal equations of the point: matrix (6) and right-hand side (3).
N_WORK = 19
#: Rows of the memory of a block of tracks: parameters; closest approach; derivatives of d and z with respect to y, snp
#: and q/pt; covariance of d and z.
_Y, _Z, _ALPHA, _SNP, _TGL, _Q, _D, _S, _HALF, _IS_FAR, _COS_PHI, _COS, _SIN, _Y_D, _SNP_D, _Q_D = range(16)
_Y_Z, _SNP_Z, _Q_Z, _DD, _DZ, _ZZ, N_ROWS = range(16, 23)

Floats = NDArray[np.float64]


class Parameters(NamedTuple):
    """Parameters of tracks at their reference points, (n,) float64 each."""

    y: Floats
    """[cm]"""
    z: Floats
    """[cm]"""
    alpha: Floats
    """[rad]"""
    snp: Floats
    tgl: Floats
    q_over_pt: Floats
    """[1/GeV]"""


@inline
def _information(work: Floats, i: int) -> tuple[float, float, float, float, float, float]:
    """Inverse covariance of the point as seen by track i alone (rank 2): H^T C^-1 H, packed."""
    hx, hy, tx, ty = work[i, 2], work[i, 3], work[i, 4], work[i, 5]
    dd, dz, zz = work[i, 6], work[i, 7], work[i, 8]
    ax, ay = dd * hx - dz * tx, dd * hy - dz * ty
    bx, by = dz * hx - zz * tx, dz * hy - zz * ty
    return hx * ax - tx * bx, hx * ay - tx * by, hy * ay - ty * by, bx, by, zz


@inline
def _gradient(work: Floats, i: int) -> tuple[float, float, float]:
    """Right-hand side of track i, H^T C^-1 (d, z)."""
    d, z = work[i, 0], work[i, 1]
    a = work[i, 6] * d + work[i, 7] * z
    b = work[i, 7] * d + work[i, 8] * z
    return work[i, 2] * a - work[i, 4] * b, work[i, 3] * a - work[i, 5] * b, b


@inline
def _store(
    work: Floats, i: int, d: float, z: float, cosine: float, sine: float, tgl: float, dd: float, dz: float, zz: float
) -> None:
    """Keep the linear measurement of one track with its inverse covariance."""
    scale = 1.0 / (dd * zz - dz * dz)
    work[i, 0], work[i, 1] = d, z
    work[i, 2], work[i, 3] = -sine, cosine
    work[i, 4], work[i, 5] = tgl * cosine, tgl * sine
    work[i, 6], work[i, 7], work[i, 8] = zz * scale, -dz * scale, dd * scale
    work[i, 10], work[i, 11], work[i, 12], work[i, 13], work[i, 14], work[i, 15] = _information(work, i)
    work[i, 16], work[i, 17], work[i, 18] = _gradient(work, i)


@bare_kernel
def linearise(
    params: Parameters, cov: Floats, bz: float, x: float, y: float, z: float, first: int, last: int, p: Floats,
    work: Floats,
) -> None:  # fmt: skip
    """Measurements of (d, z) relative to the point (x, y, z), with their covariance; `p` is scratch space.

    What `flashdet.kernels.gradients.closest_approach` and its gradients give, but with cosines and sines of sums in
    place of angles, without the zeros of the gradients, and in blocks of tracks.
    """
    for start in range(first, last, LENGTH):
        m = min(LENGTH, last - start)
        for j in range(m):
            i = np.uint64(start) + np.uint64(j)
            p[at(_Y, j)], p[at(_Z, j)], p[at(_ALPHA, j)] = params.y[i], params.z[i], params.alpha[i]
            p[at(_SNP, j)], p[at(_TGL, j)], p[at(_Q, j)] = params.snp[i], params.tgl[i], params.q_over_pt[i]
        _approach(m, bz, x, y, z, p)
        for j in range(m):
            if p[at(_IS_FAR, j)] != 0.0:
                _approach_far(j, bz, x, y, p)
        _propagate_errors(m, start, bz, cov, p)
        for j in range(m):
            _store(
                work, start + j, p[at(_D, j)], p[at(_Z, j)] + p[at(_S, j)] * p[at(_TGL, j)] - z, p[at(_COS, j)],
                p[at(_SIN, j)], p[at(_TGL, j)], p[at(_DD, j)], p[at(_DZ, j)], p[at(_ZZ, j)],
            )  # fmt: skip


@bare_kernel
def _approach(m: int, bz: float, x: float, y: float, z: float, p: Floats) -> None:
    """Closest approach of a block of tracks to a point, and what it depends on, by series for small turning angles."""
    dk = curvature(1.0, bz)
    for j in range(m):
        py, snp, k = p[at(_Y, j)], p[at(_SNP, j)], p[at(_Q, j)] * dk
        cos_alpha, sin_alpha = cosine_and_sine(p[at(_ALPHA, j)])
        cos_phi = math.sqrt(1.0 - snp * snp)
        # as in `flashdet.kernels.helix.to_perigee`
        px, py = -py * sin_alpha - x, py * cos_alpha - y
        cosine, sine = cos_alpha * cos_phi - sin_alpha * snp, sin_alpha * cos_phi + cos_alpha * snp
        u, w = px * cosine + py * sine, py * cosine - px * sine
        along, across = k * u, 1.0 + k * w
        h = math.sqrt(along * along + across * across)
        p[at(_D, j)] = (k * (u * u + w * w) + 2.0 * w) / (1.0 + h)
        p[at(_IS_FAR, j)] = 0.0 if (across > 0.5) & (abs(along) < 0.01) else 1.0
        slope = -along / across
        q = slope * slope
        series = 1.0 - q * (1.0 / 3.0 - q * (1.0 / 5.0 - q * (1.0 / 7.0 - q / 9.0)))
        p[at(_HALF, j)], p[at(_S, j)] = 0.5 * slope * series, -u / across * series
        p[at(_COS_PHI, j)], p[at(_COS, j)], p[at(_SIN, j)] = cos_phi, cos_alpha, sin_alpha
    for j in range(m):
        half = p[at(_HALF, j)]
        q = half * half
        # the next terms are below 2e-17; nearly all tracks come from close by
        cos_half, sinc_half = 1.0 - q * (0.5 - q / 24.0 * (1.0 - q / 30.0)), 1.0 - q / 6.0 * (1.0 - q / 20.0)
        lag = -half * (1.0 / 3.0 - q * (1.0 / 30.0 - q / 840.0))
        _derive(j, dk, cos_half, half * sinc_half, sinc_half, lag, p)


@bare_kernel
def _approach_far(j: int, bz: float, x: float, y: float, p: Floats) -> None:
    """The same for one track at any turning angle."""
    dk = curvature(1.0, bz)
    py, snp, k = p[at(_Y, j)], p[at(_SNP, j)], p[at(_Q, j)] * dk
    cos_alpha, sin_alpha = cosine_and_sine(p[at(_ALPHA, j)])
    cos_phi = math.sqrt(1.0 - snp * snp)
    turn, d, s = to_perigee(
        -py * sin_alpha - x, py * cos_alpha - y, cos_alpha * cos_phi - sin_alpha * snp,
        sin_alpha * cos_phi + cos_alpha * snp, k,
    )  # fmt: skip
    half = 0.5 * turn
    cos_half, sin_half = cosine_and_sine(half)
    sinc_half = sinc_of(half, sin_half)
    p[at(_D, j)], p[at(_S, j)], p[at(_COS_PHI, j)] = d, s, cos_phi
    p[at(_COS, j)], p[at(_SIN, j)] = cos_alpha, sin_alpha
    # for a chord along the first axis, and with its scale at 1, the first number is the lag
    lag, _ = bend(1.0, 0.0, cos_half, sinc_half, half, math.sqrt(2.0))
    _derive(j, dk, cos_half, sin_half, sinc_half, lag, p)


@inline
def _derive(
    j: int, dk: float, cos_half: float, sin_half: float, sinc_half: float, lag: float, p: Floats
) -> None:  # fmt: skip
    """Derivatives of d with respect to y (cos_end), snp and q/pt, and of z; that of z to z is 1, and to tgl s.

    Directions are in the frame of the track: of the chord to the closest point (mid), and there (end). The `lag` and
    the change with the curvature are those of `flashdet.kernels.gradients.bend`.
    """
    snp, tgl, k = p[at(_SNP, j)], p[at(_TGL, j)], p[at(_Q, j)] * dk
    cos_phi, d, s = p[at(_COS_PHI, j)], p[at(_D, j)], p[at(_S, j)]
    cos_mid, sin_mid = cos_phi * cos_half - snp * sin_half, snp * cos_half + cos_phi * sin_half
    cos_end, sin_end = cos_mid * cos_half - sin_mid * sin_half, sin_mid * cos_half + cos_mid * sin_half
    move_u, move_w = s * sinc_half * cos_mid, s * sinc_half * sin_mid
    scale = 0.5 * s * s
    bend_u, bend_w = scale * (lag * cos_mid - sinc_half * sin_mid), scale * (lag * sin_mid + sinc_half * cos_mid)
    inverse = -tgl / (1.0 + k * d)
    p[at(_Y_D, j)] = cos_end
    p[at(_SNP_D, j)] = (move_w * sin_end + move_u * cos_end) / cos_phi
    p[at(_Q_D, j)] = (bend_w * cos_end - bend_u * sin_end) * dk
    p[at(_Y_Z, j)] = sin_end * inverse
    p[at(_SNP_Z, j)] = (move_u * sin_end - move_w * cos_end + d) / cos_phi * inverse
    p[at(_Q_Z, j)] = (bend_u * cos_end + bend_w * sin_end + d * s) * dk * inverse
    cos_alpha, sin_alpha = p[at(_COS, j)], p[at(_SIN, j)]
    p[at(_COS, j)], p[at(_SIN, j)] = (
        cos_alpha * cos_end - sin_alpha * sin_end,
        sin_alpha * cos_end + cos_alpha * sin_end,
    )


@bare_kernel
def _propagate_errors(m: int, start: int, bz: float, cov: Floats, p: Floats) -> None:
    """Covariance of (d, z) of a block of tracks."""
    for j in range(m):
        i = np.uint64(start) + np.uint64(j)
        y_y, z_y, z_z, snp_y, snp_z = cov[i, 0], cov[i, 1], cov[i, 2], cov[i, 3], cov[i, 4]
        snp_snp, tgl_y, tgl_z, tgl_snp, tgl_tgl = cov[i, 5], cov[i, 6], cov[i, 7], cov[i, 8], cov[i, 9]
        q_y, q_z, q_snp, q_tgl, q_q = cov[i, 10], cov[i, 11], cov[i, 12], cov[i, 13], cov[i, 14]
        a, b, c, s = p[at(_Y_D, j)], p[at(_SNP_D, j)], p[at(_Q_D, j)], p[at(_S, j)]
        e, f, g = p[at(_Y_Z, j)], p[at(_SNP_Z, j)], p[at(_Q_Z, j)]
        y_d, snp_d = a * y_y + b * snp_y + c * q_y, a * snp_y + b * snp_snp + c * q_snp
        q_d, z_d = a * q_y + b * q_snp + c * q_q, a * z_y + b * snp_z + c * q_z
        tgl_d = a * tgl_y + b * tgl_snp + c * q_tgl
        p[at(_DD, j)] = a * y_d + b * snp_d + c * q_d
        p[at(_DZ, j)] = e * y_d + z_d + f * snp_d + s * tgl_d + g * q_d
        zz = e * (e * y_y + 2.0 * (z_y + f * snp_y + s * tgl_y + g * q_y))
        zz += z_z + 2.0 * (f * snp_z + s * tgl_z + g * q_z)
        zz += f * (f * snp_snp + 2.0 * (s * tgl_snp + g * q_snp)) + s * (s * tgl_tgl + 2.0 * g * q_tgl)
        p[at(_ZZ, j)] = zz + g * g * q_q
