"""Covariance of a track fit along a given trajectory, as an information filter, and the confusion of hits.

The state is (y, z, snp, tgl, q/pt) in the plane that contains the z axis direction and is perpendicular to the
transverse momentum of the reference trajectory (:mod:`flashdet.kernels.trace`), so that snp = 0 on it and the transport
along the exact helix has a short closed form. The filter carries the inverse covariance (R. Fruehwirth, NIM A 262
(1987) 444, section 3, in its information form): a fit starts with exactly no information instead of a large covariance,
a hit adds h h^T / sigma^2, and scattering with direction g and variance v takes away (I g)(I g)^T / (1/v + g^T I g).
Forward and backward information add up, which gives at every layer the prediction from all other layers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import sinc
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.symmat import cholesky, invert
from flashdet.kernels.trace import (
    ARC,
    COSINE,
    CURVATURE,
    GAIN,
    KIND,
    MEASURED,
    MIX,
    Q_OUT,
    RADIUS,
    SCATTER,
    SIGMA_1,
    SIGMA_2,
    SINE,
    STRAGGLE,
    SURFACE,
    Z,
)
from flashdet.units import PT_PER_TESLA_CM


@kernel
def transport(jacobian: NDArray[np.float64], arc: float, k: float, tgl: float, field: float) -> None:
    """Derivatives of the state after an arc of the helix with respect to the state before.

    A small change of the start moves the end point by dr = dy e_y + dphi z x D + domega G, with D the chord and G =
    integral of s e_y(s) ds; the plane at the end is met after an extra arc -dr.e_x, which also changes z and phi. With
    t = k s: dy' = dy cos t + dphi sin(t)/k + domega (1 - cos t)/k^2 and so on, finite for k -> 0.

    Parameters
    ----------
    jacobian : (5, 5) float64
        Receives the derivatives.
    arc : float
        Transverse arc [cm]; negative: backwards, which gives the inverse matrix.
    k : float
        Curvature [1/cm].
    tgl : float
        pz / pt.
    field : float
        Field along z [T].
    """
    turn = k * arc
    half = sinc(0.5 * turn)
    versine = 0.5 * arc * arc * half * half  # (1 - cos t)/k^2
    # (t - sin t)/k^2; the series is exact to 1e-16 below 0.02
    late = arc * arc * (turn / 6.0 - turn**3 / 120.0 if abs(turn) < 0.02 else (turn - math.sin(turn)) / turn**2)
    per_q = -PT_PER_TESLA_CM * field
    jacobian[:] = 0.0
    jacobian[0, 0] = math.cos(turn)
    jacobian[0, 2] = arc * sinc(turn)
    jacobian[0, 4] = per_q * versine
    jacobian[1, 0] = -tgl * math.sin(turn)
    jacobian[1, 1] = 1.0
    jacobian[1, 2] = -tgl * k * versine
    jacobian[1, 3] = arc
    jacobian[1, 4] = -tgl * per_q * late
    jacobian[2, 0] = -k * math.sin(turn)
    jacobian[2, 2] = math.cos(turn)
    jacobian[2, 4] = per_q * arc * sinc(turn)
    jacobian[3, 3] = 1.0
    jacobian[4, 4] = 1.0


@inline
def _move(info: NDArray[np.float64], jacobian: NDArray[np.float64], work: NDArray[np.float64]) -> None:
    """Replace I by J^T I J: information about b = J a becomes information about a."""
    for i in range(5):
        for j in range(5):
            total = 0.0
            for m in range(5):
                total += info[i, m] * jacobian[m, j]
            work[i, j] = total
    for i in range(5):
        for j in range(i + 1):
            total = 0.0
            for m in range(5):
                total += jacobian[m, i] * work[m, j]
            info[i, j] = total
            info[j, i] = total


@inline
def _blur(info: NDArray[np.float64], g3: float, g2: float, g4: float, variance: float) -> None:
    """Lose information to noise of the given variance along (0, 0, g2, g3, g4)."""
    if variance <= 0.0:
        return
    v0 = info[0, 2] * g2 + info[0, 3] * g3 + info[0, 4] * g4
    v1 = info[1, 2] * g2 + info[1, 3] * g3 + info[1, 4] * g4
    v2 = info[2, 2] * g2 + info[2, 3] * g3 + info[2, 4] * g4
    v3 = info[3, 2] * g2 + info[3, 3] * g3 + info[3, 4] * g4
    v4 = info[4, 2] * g2 + info[4, 3] * g3 + info[4, 4] * g4
    scale = 1.0 / (1.0 / variance + v2 * g2 + v3 * g3 + v4 * g4)
    v = (v0, v1, v2, v3, v4)
    for i in range(5):
        for j in range(5):
            info[i, j] -= scale * v[i] * v[j]


@inline
def _scatter(info: NDArray[np.float64], row: NDArray[np.float64], tgl: float) -> None:
    """Noise of one layer, in the state behind it.

    Two independent angles theta0: one turns the azimuth by theta/cos(lambda), one the dip angle, which at constant
    momentum changes tgl by theta (1 + tgl^2) and q/pt by theta tgl q/pt.
    """
    slope2 = 1.0 + tgl * tgl
    _blur(info, 0.0, math.sqrt(slope2), 0.0, row[SCATTER])
    _blur(info, slope2, 0.0, row[Q_OUT] * tgl, row[SCATTER])
    _blur(info, 0.0, 0.0, 1.0, row[STRAGGLE])


@inline
def _directions(row: NDArray[np.float64], kind: float, tgl: float) -> tuple[float, float, float, float]:
    """Derivatives (a_y, a_z, b_y, b_z) of the two measured coordinates with respect to y and z of the state.

    A displacement in the plane of the state is carried along the track to the surface: on a cylinder r-phi changes by
    dy/cos psi and z by dz - tgl tan(psi) dy; on a disc, r-phi by dy cos psi + dz sin(psi)/tgl and r by dy sin psi - dz
    cos(psi)/tgl, with psi the angle from the momentum to the radius vector.
    """
    c, s = row[COSINE], row[SINE]
    if kind == 0.0:
        return 1.0 / c, 0.0, -tgl * s / c, 1.0
    return c, s / tgl, s, -c / tgl


@inline
def _measure(info: NDArray[np.float64], row: NDArray[np.float64], surface: NDArray[np.float64], tgl: float) -> None:
    """Add the information of the hit of one layer."""
    ay, az, by, bz = _directions(row, surface[KIND], tgl)
    w1, w2 = 1.0 / (surface[SIGMA_1] * surface[SIGMA_1]), 1.0 / (surface[SIGMA_2] * surface[SIGMA_2])
    info[0, 0] += w1 * ay * ay + w2 * by * by
    info[0, 1] += w1 * ay * az + w2 * by * bz
    info[1, 0] = info[0, 1]
    info[1, 1] += w1 * az * az + w2 * bz * bz


@kernel
def covariance_of(info: NDArray[np.float64], packed: NDArray[np.float64], work: NDArray[np.float64]) -> bool:
    """Invert an information matrix, scaled to a unit diagonal first (its elements span 10 orders of magnitude).

    Parameters
    ----------
    info : (5, 5) float64
        Information.
    packed, work : (15,) float64
        Receives the covariance, lower triangle row by row; work space.

    Returns
    -------
    bool
        False if some combination of the parameters is not measured; `packed` is then undefined.
    """
    for i in range(5):
        if not info[i, i] > 0.0:
            return False
    for i in range(5):
        for j in range(i + 1):
            packed[i * (i + 1) // 2 + j] = info[i, j] / math.sqrt(info[i, i] * info[j, j])
    if not cholesky(packed, 5, work):
        return False
    for i in range(5):
        # unmeasured combinations leave a pivot of rounding errors, about 1e-8
        if work[i * (i + 1) // 2 + i] < 1e-7:
            return False
    invert(work, 5, packed)
    for i in range(5):
        for j in range(i + 1):
            packed[i * (i + 1) // 2 + j] /= math.sqrt(info[i, i] * info[j, j])
    return True


@kernel
def fit_inward(
    surfaces: NDArray[np.float64],
    crossings: NDArray[np.float64],
    n_crossings: int,
    tgl: float,
    field: float,
    predictions: NDArray[np.float64],
    info: NDArray[np.float64],
) -> None:
    """Filter from the last crossing to the origin.

    Parameters
    ----------
    surfaces : (n, 10) float64
        Surfaces.
    crossings : (m, 14) float64
        From :func:`flashdet.kernels.trace.trace`; the first `n_crossings` count.
    n_crossings : int
        Number of crossings.
    tgl : float
        pz / pt.
    field : float
        Field along z [T].
    predictions : (m, 5, 5) float64
        Receives the information from the layers outside each crossing, on its inner side.
    info : (5, 5) float64
        Receives the information at the origin.
    """
    jacobian, work = np.empty((5, 5)), np.empty((5, 5))
    info[:] = 0.0
    for i in range(n_crossings - 1, -1, -1):
        row = crossings[i]
        _scatter(info, row, tgl)
        _loss(jacobian, row[GAIN], row[MIX])
        _move(info, jacobian, work)
        predictions[i] = info
        surface = surfaces[int(row[SURFACE])]
        if row[MEASURED] > 0.0:
            _measure(info, row, surface, tgl)
        transport(jacobian, row[ARC], row[CURVATURE], tgl, field)
        _move(info, jacobian, work)


@inline
def _loss(jacobian: NDArray[np.float64], gain: float, mix: float) -> None:
    """Derivatives of the state behind a layer with respect to that in front."""
    jacobian[:] = 0.0
    for i in range(4):
        jacobian[i, i] = 1.0
    jacobian[4, 3] = mix
    jacobian[4, 4] = gain


@kernel
def confusion(
    surfaces: NDArray[np.float64],
    crossings: NDArray[np.float64],
    n_crossings: int,
    tgl: float,
    field: float,
    predictions: NDArray[np.float64],
    coefficients: NDArray[np.float64],
) -> int:
    """Expected number of other particles' hits nearer than the own one, per unit of dN_ch/deta, at each hit.

    The chance that the own hit is the nearest to the prediction is 1/(1 + c dN_ch/deta) with c = 2 pi sqrt(det S) rho,
    where S is the covariance of hit minus prediction and rho the density of hits (the formula of DetectorK in
    https://github.com/AliceO2Group/DelphesO2, which combines only the variances of the passes from inside and outside;
    here the prediction uses all other layers with their full covariance). A flat dN/deta of straight primaries gives
    rho = sin(theta)/(2 pi r^2) on a cylinder and |cos(theta)|/(2 pi r^2) on a disc.

    Parameters
    ----------
    surfaces, crossings, n_crossings, tgl, field
        As for :func:`fit_inward`.
    predictions : (m, 5, 5) float64
        From :func:`fit_inward`.
    coefficients : (m, 2) float64
        Receives c (inf where the other layers do not predict the hit) and the row of the surface, one row per hit.

    Returns
    -------
    int
        Number of hits.
    """
    jacobian, work = np.empty((5, 5)), np.empty((5, 5))
    info, both = np.zeros((5, 5)), np.empty((5, 5))
    packed, factor = np.empty(15), np.empty(15)
    n_hits = 0
    for i in range(n_crossings):
        row = crossings[i]
        surface = surfaces[int(row[SURFACE])]
        transport(jacobian, -row[ARC], row[CURVATURE], tgl, field)
        _move(info, jacobian, work)
        if row[MEASURED] > 0.0:
            both[:] = info + predictions[i]
            coefficients[n_hits, 0] = math.inf
            if covariance_of(both, packed, factor):
                coefficients[n_hits, 0] = _nearest(row, surface, tgl, packed)
            coefficients[n_hits, 1] = row[SURFACE]
            n_hits += 1
            _measure(info, row, surface, tgl)
        _loss(jacobian, 1.0 / row[GAIN], -row[MIX] / row[GAIN])
        _move(info, jacobian, work)
        _scatter(info, row, tgl)
    return n_hits


@inline
def _nearest(row: NDArray[np.float64], surface: NDArray[np.float64], tgl: float, cov: NDArray[np.float64]) -> float:
    """2 pi sqrt(det S) times the density of hits for dN_ch/deta = 1."""
    ay, az, by, bz = _directions(row, surface[KIND], tgl)
    s11 = ay * ay * cov[0] + 2.0 * ay * az * cov[1] + az * az * cov[2] + surface[SIGMA_1] ** 2
    s22 = by * by * cov[0] + 2.0 * by * bz * cov[1] + bz * bz * cov[2] + surface[SIGMA_2] ** 2
    s12 = ay * by * cov[0] + (ay * bz + az * by) * cov[1] + az * bz * cov[2]
    r, z = row[RADIUS], row[Z]
    projection = r if surface[KIND] == 0.0 else abs(z)
    density = projection / math.sqrt(r * r + z * z) / (2.0 * math.pi * r * r)
    area = 2.0 * math.pi * math.sqrt(max(s11 * s22 - s12 * s12, 0.0))
    return float(area * density)
