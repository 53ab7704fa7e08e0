"""Fit of one common point to many tracks that may contain outliers, and the distance of each track to it.

Every track gives two measurements of a point v: its signed transverse distance d and its distance z along the beam,
both zero if the track comes from v. They are linear in v near a reference point. It is a
least-squares fit with weights that depend on the distance of the track (iteratively reweighted) and a Gaussian
constraint from the beam spot: O(N) per pass. Weights are first those of a convex loss, which cannot get stuck far from
the bulk of the tracks, then the adaptive ones of R. Fruehwirth, W. Waltenberger and P. Vanlaer (Adaptive Vertex
Fitting, J. Phys. G 34 (2007) N343): w = 1/(1 + exp((chi2 - cut^2)/(2 T))) with T lowered to 1, so that members have
weights close to 1 and the covariance of the least-squares fit stays right.
The measurements are made in :mod:`flashdet.kernels.approach`; nothing here knows detectors or events' tables.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.approach import N_ROWS, N_WORK, Parameters, linearise
from flashdet.kernels.elementary import exp
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.kernels.scratch import LENGTH

#: Bins of the search for the seed over +-5 sigma of the beam spot: 1.2 mm for the 6 cm of a collider.
SEED_BINS = 500
#: Passes with the convex loss, then one pass per temperature, then passes at temperature 1 until nothing moves.
_CONVEX_PASSES = 3
_TEMPERATURES = (16.0, 4.0)
_MAX_PASSES = 15
#: Transverse distance to the reference point [cm] up to which tracks count as straight: over 0.03 cm a circle of radius
#: 10 cm (60 MeV in 2 T) leaves its tangent by 0.5 um, a hundredth of the resolution of such a track.
_STRAIGHT = 0.03
#: A pass that moves the vertex by less than this part of its error (squared: 1e-4) ends the fit.
_CONVERGED = 1e-4

Floats = NDArray[np.float64]


@inline
def _invert3(
    xx: float, xy: float, yy: float, xz: float, yz: float, zz: float
) -> tuple[float, float, float, float, float, float]:
    """Inverse of a symmetric 3 x 3 matrix by cofactors, packed as the argument."""
    c_xx, c_xy, c_xz = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    scale = 1.0 / (xx * c_xx + xy * c_xy + xz * c_xz)
    return (
        c_xx * scale,
        c_xy * scale,
        (xx * zz - xz * xz) * scale,
        c_xz * scale,
        (xy * xz - xx * yz) * scale,
        (xx * yy - xy * xy) * scale,
    )


@inline
def _residual(work: Floats, i: int, ux: float, uy: float, uz: float) -> tuple[float, float]:
    """Distances d and z of track i to the point (ux, uy, uz) relative to the reference point."""
    return (
        work[i, 0] - work[i, 2] * ux - work[i, 3] * uy,
        work[i, 1] + work[i, 4] * ux + work[i, 5] * uy - uz,
    )


@inline
def _chi2(work: Floats, i: int, d: float, z: float) -> float:
    """Squared distance of track i in units of its own covariance."""
    chi2: float = work[i, 6] * d * d + 2.0 * work[i, 7] * d * z + work[i, 8] * z * z
    return chi2


@bare_kernel
def _weights(chi2: Floats, n: int, cut2: float, temperature: float) -> None:
    """Replace chi2 of tracks by weights: adaptive at a temperature above 0, else of the convex loss sqrt(1 + chi2).

    A loop of its own, because it becomes vector instructions.
    """
    if temperature > 0.0:
        scale = 0.5 / temperature
        for i in range(n):
            chi2[i] = 1.0 / (1.0 + exp(min(max((chi2[i] - cut2) * scale, -700.0), 700.0)))
    else:
        for i in range(n):
            chi2[i] = 1.0 / math.sqrt(1.0 + chi2[i])


@bare_kernel
def _sweep(
    work: Floats, first: int, last: int, point: Floats, cut2: float, temperature: float, beam: Floats, system: Floats,
    weights: Floats,
) -> None:  # fmt: skip
    """One pass: weights at `point`, then the normal equations of the beam spot and all tracks into `system`.

    `beam` holds the beam spot relative to the reference point and its inverse variances; `system` receives the packed
    matrix (6) and the right-hand side (3). The sums are scalars: sums in an array wait for its memory, for twice as
    long.
    """
    m0, m1, m2, m3, m4, m5 = beam[3], 0.0, beam[4], 0.0, 0.0, beam[5]
    r0, r1, r2 = beam[3] * beam[0], beam[4] * beam[1], beam[5] * beam[2]
    ux, uy, uz = point[0], point[1], point[2]
    for i in range(first, last):
        d, z = _residual(work, i, ux, uy, uz)
        weights[i - first] = _chi2(work, i, d, z)
    _weights(weights, last - first, cut2, temperature)
    for i in range(first, last):
        w = weights[i - first] if weights[i - first] >= 1e-12 else 0.0
        work[i, 9] = w
        m0 += w * work[i, 10]
        m1 += w * work[i, 11]
        m2 += w * work[i, 12]
        m3 += w * work[i, 13]
        m4 += w * work[i, 14]
        m5 += w * work[i, 15]
        r0 += w * work[i, 16]
        r1 += w * work[i, 17]
        r2 += w * work[i, 18]
    system[0], system[1], system[2], system[3], system[4], system[5] = m0, m1, m2, m3, m4, m5
    system[6], system[7], system[8] = r0, r1, r2


@inline
def _solve(system: Floats, point: Floats, cov: Floats) -> float:
    """Solve the normal equations into `point` and `cov`; return the squared step in units of the inverse covariance."""
    xx, xy, yy, xz, yz, zz = _invert3(system[0], system[1], system[2], system[3], system[4], system[5])
    bx, by, bz = system[6], system[7], system[8]
    x, y, z = xx * bx + xy * by + xz * bz, xy * bx + yy * by + yz * bz, xz * bx + yz * by + zz * bz
    dx, dy, dz = x - point[0], y - point[1], z - point[2]
    point[0], point[1], point[2] = x, y, z
    cov[0], cov[1], cov[2], cov[3], cov[4], cov[5] = xx, xy, yy, xz, yz, zz
    step: float = (
        dx * (system[0] * dx + 2.0 * (system[1] * dy + system[3] * dz))
        + dy * (system[2] * dy + 2.0 * system[4] * dz)
        + system[5] * dz * dz
    )
    return step


@bare_kernel
def _seed_z(work: Floats, first: int, last: int, sigma_z: float, histogram: Floats) -> float:
    """Densest place along the beam: best pair of neighbouring bins, then the mean of its tracks.

    Tracks that miss the beam line count less. `histogram` comes and goes empty; only bins with tracks are touched, so
    that the search costs O(N) also for few tracks.
    """
    n = len(histogram)
    width = 10.0 * sigma_z / n
    best, best_bin = 0.0, -1
    for turn in range(2):
        total, mean = 0.0, 0.0
        for i in range(first, last):
            position = work[i, 1] / width + 0.5 * n
            if not (1.0 <= position < n - 1.0):
                continue
            b = int(position)
            # 1/inverse covariance is the variance at fixed other coordinate: good enough for a seed
            w = 1.0 / (1.0 + work[i, 6] * work[i, 0] * work[i, 0] / 9.0) / (1.0 / work[i, 8] + width * width)
            if turn == 0:
                histogram[b] += w
                for low in (b - 1, b):
                    pair = histogram[low] + histogram[low + 1]
                    if pair > best:
                        best, best_bin = pair, low
            else:
                histogram[b] = 0.0
                if b in (best_bin, best_bin + 1):
                    total += w
                    mean += w * work[i, 1]
        if turn == 1 and total > 0.0:
            return mean / total
    return 0.0


@inline
def _shift_beam(beam_spot: Floats, x: float, y: float, z: float, beam: Floats) -> None:
    """Beam spot relative to a reference point, and its inverse variances."""
    beam[0], beam[1], beam[2] = beam_spot[0] - x, beam_spot[1] - y, beam_spot[2] - z
    for k in range(3):
        beam[3 + k] = 1.0 / (beam_spot[3 + k] * beam_spot[3 + k])


@bare_kernel
def _distances(
    work: Floats, first: int, last: int, system: Floats, contributor: NDArray[np.bool_], dca: Floats
) -> None:
    """Distance of each track to the vertex fitted without it, and its error: columns xy, z, error xy, error z."""
    for i in range(first, last):
        w = work[i, 9]
        xx, xy, yy, xz, yz, zz = _invert3(
            system[0] - w * work[i, 10], system[1] - w * work[i, 11], system[2] - w * work[i, 12],
            system[3] - w * work[i, 13], system[4] - w * work[i, 14], system[5] - w * work[i, 15],
        )  # fmt: skip
        gx, gy, gz = system[6] - w * work[i, 16], system[7] - w * work[i, 17], system[8] - w * work[i, 18]
        dca[0, i], dca[1, i] = _residual(
            work, i, xx * gx + xy * gy + xz * gz, xy * gx + yy * gy + yz * gz, xz * gx + yz * gy + zz * gz
        )
        hx, hy, tx, ty = work[i, 2], work[i, 3], work[i, 4], work[i, 5]
        scale = 1.0 / (work[i, 6] * work[i, 8] - work[i, 7] * work[i, 7])
        dca[2, i] = math.sqrt(work[i, 8] * scale + hx * hx * xx + 2.0 * hx * hy * xy + hy * hy * yy)
        dca[3, i] = math.sqrt(
            work[i, 6] * scale + tx * tx * xx + 2.0 * tx * ty * xy + ty * ty * yy - 2.0 * (tx * xz + ty * yz) + zz
        )
        contributor[i] = w > 0.5


@kernel
def fit_vertices(
    offsets: NDArray[np.int64],
    params: Parameters,
    cov: Floats,
    bz: float,
    beam_spot: Floats,
    cut: float,
    min_tracks: int,
    vertex: Floats,
    vertex_cov: Floats,
    chi2: Floats,
    n_contributors: NDArray[np.int32],
    contributor: NDArray[np.bool_],
    dca: Floats,
) -> None:
    """Fit one vertex per event and the distance of each track to it.

    The distance of a track is taken to the vertex fitted without it: the track's information times its weight is taken
    out of the normal equations. Track and vertex are then independent and their covariances add up.

    Parameters
    ----------
    offsets : (n_events + 1,) int64
        Rows of the events.
    params : Parameters
        Of the tracks.
    cov : (n, 15) float64
        Packed covariances of (y, z, snp, tgl, q_over_pt).
    bz : float
        Field [T].
    beam_spot : (6,) float64
        x, y, z and their standard deviations [cm].
    cut : float
        Distance [sigma] at which a track has weight one half.
    min_tracks : int
        Contributors that a vertex needs.
    vertex : (n_events, 3) float64
        Out: position [cm].
    vertex_cov : (n_events, 6) float64
        Out: covariance xx, xy, yy, xz, yz, zz [cm2].
    chi2 : (n_events,) float64
        Out: weighted sum over the tracks plus the beam spot's term.
    n_contributors : (n_events,) int32
        Out: tracks with a weight above one half; 0 if there is no vertex.
    contributor : (n,) bool
        Out: those tracks.
    dca : (4, n) float64
        Out: distance in xy and z and their errors [cm], NaN without a vertex.
    """
    cut2 = cut * cut
    n = len(params.y)
    work, weights, p = np.empty((n, N_WORK)), np.empty(n), np.empty(N_ROWS * LENGTH)
    histogram = np.zeros(SEED_BINS)
    system, beam, point, v = np.empty(9), np.empty(6), np.empty(3), np.empty(6)
    for event in range(len(offsets) - 1):
        first, last = offsets[event], offsets[event + 1]
        n_contributors[event] = 0
        dca[:, first:last] = np.nan
        contributor[first:last] = False
        if last - first < max(min_tracks, 1):
            continue
        x, y, z = beam_spot[0], beam_spot[1], beam_spot[2]
        linearise(params, cov, bz, x, y, z, first, last, p, work)
        _shift_beam(beam_spot, x, y, z, beam)
        point[0], point[1], point[2] = 0.0, 0.0, _seed_z(work, first, last, beam_spot[5], histogram)
        for _ in range(_CONVEX_PASSES):
            _sweep(work, first, last, point, cut2, 0.0, beam, system, weights)
            _solve(system, point, v)
        for temperature in _TEMPERATURES:
            _sweep(work, first, last, point, cut2, temperature, beam, system, weights)
            _solve(system, point, v)
        for _ in range(_MAX_PASSES):
            if point[0] * point[0] + point[1] * point[1] > _STRAIGHT * _STRAIGHT:
                x, y, z = x + point[0], y + point[1], z + point[2]
                linearise(params, cov, bz, x, y, z, first, last, p, work)
                _shift_beam(beam_spot, x, y, z, beam)
                point[:] = 0.0
            _sweep(work, first, last, point, cut2, 1.0, beam, system, weights)
            if _solve(system, point, v) < _CONVERGED:
                break
        count, total = 0, 0.0
        for k in range(3):
            total += (point[k] - beam[k]) ** 2 * beam[3 + k]
        for i in range(first, last):
            d, dz = _residual(work, i, point[0], point[1], point[2])
            total += work[i, 9] * _chi2(work, i, d, dz)
            if work[i, 9] > 0.5:
                count += 1
        if count < min_tracks:
            continue
        vertex[event, 0], vertex[event, 1], vertex[event, 2] = x + point[0], y + point[1], z + point[2]
        for k in range(6):  # an array assignment would bring in Numba's error texts: 2 s of compilation
            vertex_cov[event, k] = v[k]
        chi2[event] = total
        n_contributors[event] = count
        _distances(work, first, last, system, contributor, dca)
