"""Gradients of helix lengths and of the closest approach with respect to track parameters, for error propagation.

Parameters are (y, z, snp, tgl, q_over_pt) at the reference point of a track (local x = 0 in the frame rotated by
alpha), in the order of the covariance. All derivatives are analytic: the trajectory is r(s), its change at fixed arc
length is ``dr/dp``, and the arc length moves so that the end condition (on the surface, or closest to a point) stays
true. Helix geometry itself is in :mod:`flashdet.kernels.helix`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import curvature, perigee, sinc
from flashdet.kernels.jit import inline

Gradient = tuple[float, float, float, float, float]


@inline
def bend(
    cos_mid: float, sin_mid: float, cos_half: float, sinc_half: float, half: float, s: float
) -> tuple[float, float]:
    """Change of the point at arc length s with the curvature: the integral of s (-sin, cos)(phi + k s).

    `half` is k s/2, `mid` the direction phi + k s/2 of the chord.
    """
    if abs(half) < 0.25:
        # (cos x - sin(x)/x)/x; the terms left out are below 1e-15 of the sum
        q = half * half
        lag = -half * (1.0 / 3.0 - q * (1.0 / 30.0 - q * (1.0 / 840.0 - q * (1.0 / 45360.0 - q / 3991680.0))))
    else:
        lag = (cos_half - sinc_half) / half
    scale = 0.5 * s * s
    return scale * (lag * cos_mid - sinc_half * sin_mid), scale * (lag * sin_mid + sinc_half * cos_mid)


@inline
def path_to_cylinder(
    y: float, alpha: float, snp: float, tgl: float, q_over_pt: float, bz: float, hit_x: float, hit_y: float, path: float
) -> Gradient:
    """Gradient of the path length from the reference point to a cylinder around the z axis.

    Parameters
    ----------
    y, alpha, snp, tgl, q_over_pt : float
        Parameters of the track.
    bz : float
        Field [T].
    hit_x, hit_y, path : float
        Crossing point in the laboratory [cm] and length in space [cm], from `flashdet.kernels.helix.to_cylinder`.

    Returns
    -------
    tuple of 5 float
        d path / d (y, z, snp, tgl, q_over_pt) [1, 1, cm, cm, cm GeV].
    """
    k = curvature(q_over_pt, bz)
    slope = math.sqrt(1.0 + tgl * tgl)
    s = path / slope
    cos_alpha, sin_alpha = math.cos(alpha), math.sin(alpha)
    u = hit_x * cos_alpha + hit_y * sin_alpha
    w = hit_y * cos_alpha - hit_x * sin_alpha
    # directions at the start, of the chord and at the hit; from coordinates, which takes half the time of sines
    cos_start = math.sqrt(1.0 - snp * snp)
    chord = math.sqrt(u * u + (w - y) * (w - y))
    cos_mid, sin_mid = u / chord, (w - y) / chord
    cos_half = cos_start * cos_mid + snp * sin_mid
    cos_end, sin_end = 2.0 * cos_half * cos_mid - cos_start, 2.0 * cos_half * sin_mid - snp
    outward = u * cos_end + w * sin_end
    bend_u, bend_w = bend(cos_mid, sin_mid, cos_half, chord / s, 0.5 * k * s, s)
    scale = -slope / outward
    return (
        scale * w,
        0.0,
        scale * u * y / cos_start,
        s * tgl / slope,
        scale * (u * bend_u + w * bend_w) * curvature(1.0, bz),
    )


@inline
def path_to_plane(tgl: float, path: float) -> Gradient:
    """Gradient of the path length from the reference point to a plane z = constant.

    Parameters
    ----------
    tgl, path : float
        pz/pt of the track and length in space [cm], from `flashdet.kernels.helix.to_plane`.

    Returns
    -------
    tuple of 5 float
        d path / d (y, z, snp, tgl, q_over_pt) [1, 1, cm, cm, cm GeV].
    """
    slope_squared = 1.0 + tgl * tgl
    return 0.0, -math.sqrt(slope_squared) / tgl, 0.0, -path / (tgl * slope_squared), 0.0


@inline
def variance(gradient: Gradient, cov: NDArray[np.float64]) -> float:
    """Variance of a quantity from its gradient and the packed covariance.

    Parameters
    ----------
    gradient : tuple of 5 float
        Derivatives with respect to (y, z, snp, tgl, q_over_pt).
    cov : (15,) float64
        Lower triangle, row by row.

    Returns
    -------
    float
    """
    return covariance(gradient, gradient, cov)


@inline
def covariance(a: Gradient, b: Gradient, cov: NDArray[np.float64]) -> float:
    """Covariance of two quantities from their gradients and the packed covariance of the parameters."""
    a0, a1, a2, a3, a4 = a
    b0, b1, b2, b3, b4 = b
    total: float = (
        a0 * b0 * cov[0]
        + (a1 * b0 + a0 * b1) * cov[1]
        + a1 * b1 * cov[2]
        + (a2 * b0 + a0 * b2) * cov[3]
        + (a2 * b1 + a1 * b2) * cov[4]
        + a2 * b2 * cov[5]
        + (a3 * b0 + a0 * b3) * cov[6]
        + (a3 * b1 + a1 * b3) * cov[7]
        + (a3 * b2 + a2 * b3) * cov[8]
        + a3 * b3 * cov[9]
        + (a4 * b0 + a0 * b4) * cov[10]
        + (a4 * b1 + a1 * b4) * cov[11]
        + (a4 * b2 + a2 * b4) * cov[12]
        + (a4 * b3 + a3 * b4) * cov[13]
        + a4 * b4 * cov[14]
    )
    return total


@inline
def closest_approach(
    y: float, z: float, alpha: float, snp: float, tgl: float, q_over_pt: float, bz: float, vx: float, vy: float
) -> tuple[float, float, float, float]:
    """Transverse closest approach of a track to a point.

    Parameters
    ----------
    y, z, alpha, snp, tgl, q_over_pt : float
        Parameters of the track (local x = 0).
    bz : float
        Field [T].
    vx, vy : float
        The point [cm].

    Returns
    -------
    dca_xy : float
        Signed distance [cm]: the closest point is (vx, vy) + dca_xy (-sin phi, cos phi), as in the ALICE O2
        ``propagateToDCA``.
    z : float
        z of the closest point [cm]; dca_z = z - vz.
    phi : float
        Azimuth of the momentum there [rad].
    s : float
        Transverse arc length from the reference point [cm].
    """
    x_lab, y_lab = -y * math.sin(alpha), y * math.cos(alpha)
    phi, distance, s = perigee(x_lab - vx, y_lab - vy, alpha + math.asin(snp), curvature(q_over_pt, bz))
    return distance, z + s * tgl, phi, s


@inline
def closest_approach_gradients(
    y: float, alpha: float, snp: float, tgl: float, q_over_pt: float, bz: float, dca_xy: float, s: float
) -> tuple[Gradient, Gradient, Gradient]:
    """Gradients of the closest approach to a point: the rows y, z and phi of the transport Jacobian.

    At the closest point the displacement across the momentum changes dca_xy at fixed arc length; the arc length itself
    follows from (r - v) . t = 0.

    Parameters
    ----------
    y, alpha, snp, tgl, q_over_pt : float
        Parameters of the track (local x = 0).
    bz : float
        Field [T].
    dca_xy, s : float
        From :func:`closest_approach`.

    Returns
    -------
    d_dca_xy, d_z, d_phi : tuple of 5 float
        Derivatives with respect to (y, z, snp, tgl, q_over_pt); tgl and q_over_pt themselves do not change. They also
        hold for dca_z at a fixed vertex.
    """
    k = curvature(q_over_pt, bz)
    dk = curvature(1.0, bz)
    phi = math.asin(snp)
    cos_phi = math.sqrt(1.0 - snp * snp)
    half = 0.5 * k * s
    sinc_half = sinc(half)
    cos_mid, sin_mid = math.cos(phi + half), math.sin(phi + half)
    move_u, move_w = s * sinc_half * cos_mid, s * sinc_half * sin_mid
    bend_u, bend_w = bend(cos_mid, sin_mid, math.cos(half), sinc_half, half, s)
    cos_end, sin_end = math.cos(phi + k * s), math.sin(phi + k * s)
    inverse = 1.0 / (1.0 + k * dca_xy)
    # displacement across (-sin, cos) and along (cos, sin) the momentum at the closest point, per parameter
    across_phi = (move_w * sin_end + move_u * cos_end) / cos_phi
    across_q = (bend_w * cos_end - bend_u * sin_end) * dk
    ds_y = -sin_end * inverse
    ds_snp = -(move_u * sin_end - move_w * cos_end + dca_xy) / cos_phi * inverse
    ds_q = -(bend_u * cos_end + bend_w * sin_end + dca_xy * s) * dk * inverse
    return (
        (cos_end, 0.0, across_phi, 0.0, across_q),
        (tgl * ds_y, 1.0, tgl * ds_snp, s, tgl * ds_q),
        (k * ds_y, 0.0, 1.0 / cos_phi + k * ds_snp, 0.0, s * dk + k * ds_q),
    )


@inline
def place_on_surface(
    y: float, snp: float, tgl: float, q_over_pt: float, bz: float, hit_u: float, hit_w: float, path: float,
    is_cylinder: bool,
) -> tuple[Gradient, Gradient]:  # fmt: skip
    """Gradients of the crossing point of a surface around or across the z axis.

    Parameters
    ----------
    y, snp, tgl, q_over_pt : float
        Parameters of the track (local x = 0).
    bz : float
        Field [T].
    hit_u, hit_w, path : float
        Crossing point in the local frame [cm] and length in space [cm].
    is_cylinder : bool
        A cylinder, else a plane z = constant.

    Returns
    -------
    across, along : tuple of 5 float
        Derivatives with respect to (y, z, snp, tgl, q_over_pt): of the way along the circumference and of z on a
        cylinder, of the local x and y on a plane.
    """
    s = path / math.sqrt(1.0 + tgl * tgl)
    dk = curvature(1.0, bz)
    half = 0.5 * dk * q_over_pt * s
    phi = math.asin(snp)
    cos_mid, sin_mid = math.cos(phi + half), math.sin(phi + half)
    bend_u, bend_w = bend(cos_mid, sin_mid, math.cos(half), sinc(half), half, s)
    cos_end, sin_end = math.cos(phi + 2.0 * half), math.sin(phi + 2.0 * half)
    turn = 1.0 / math.sqrt(1.0 - snp * snp)
    # displacement at fixed arc length by y, snp and q/pt
    snp_u, snp_w = (y - hit_w) * turn, hit_u * turn
    q_u, q_w = bend_u * dk, bend_w * dk
    if not is_cylinder:
        ds_z, ds_tgl = -1.0 / tgl, -s / tgl
        return (
            (0.0, cos_end * ds_z, snp_u, cos_end * ds_tgl, q_u),
            (1.0, sin_end * ds_z, snp_w, sin_end * ds_tgl, q_w),
        )
    outward = -1.0 / (hit_u * cos_end + hit_w * sin_end)
    ds_y = hit_w * outward
    ds_snp = (hit_u * snp_u + hit_w * snp_w) * outward
    ds_q = (hit_u * q_u + hit_w * q_w) * outward
    radius = math.sqrt(hit_u * hit_u + hit_w * hit_w)
    around_u, around_w = -hit_w / radius, hit_u / radius
    around_end = around_u * cos_end + around_w * sin_end
    return (
        (
            around_w + around_end * ds_y,
            0.0,
            around_u * snp_u + around_w * snp_w + around_end * ds_snp,
            0.0,
            around_u * q_u + around_w * q_w + around_end * ds_q,
        ),
        (tgl * ds_y, 1.0, tgl * ds_snp, s, tgl * ds_q),
    )
