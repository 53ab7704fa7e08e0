"""The reference trajectory of a tracker: which surfaces a particle crosses, and what they do to it.

Cylinders around the z axis and discs across it are crossed in the order of the helix. Each crossing notes the arc since
the one before, the angle of incidence, the scattering, and how the energy loss changes q/pt. What a fit makes of it is
in :mod:`flashdet.kernels.kalman`; which layers a detector has is known to :mod:`flashdet.lut.layout`.

A particle starts at a radius and moves away from the axis, as the daughters of a fast particle from the beam line do
and those of a photon. What lies inside of that radius it never crosses. It is followed on its way out only, to the
point farthest from the axis, at most half a turn: what a looping particle does after that is no part of the track that
is fitted.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.helix import advance, curvature
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.material import (
    SILICON_X0,
    momentum_after,
    scattering_variance,
    shell_factor,
    stopping_power,
    straggling_variance,
)

#: Columns of a surface. KIND is 0 for a cylinder (POSITION its radius, z between LOW and HIGH) and 1 for a disc
#: (POSITION its z, radius between LOW and HIGH) [cm]. THICKNESS is an areal density [g/cm2]. SIGMA_1 is the resolution
#: across the radius (r-phi), SIGMA_2 that along z (cylinder) or r (disc) [cm]. ACTIVE is 1 if it measures.
KIND, POSITION, LOW, HIGH, X_OVER_X0, THICKNESS, SIGMA_1, SIGMA_2, EFFICIENCY, ACTIVE = range(10)
N_SURFACE_COLUMNS = 10

#: Columns of a crossing: row of the surface; transverse arc since the previous crossing, for the first one since the
#: point of closest approach to the axis [cm], and curvature on it [1/cm]; q/pt in front and behind [e/GeV]; theta0^2;
#: variance of q/pt behind from straggling; derivatives of q/pt behind with respect to q/pt and tgl in front; cosine and
#: sine of the angle psi from the momentum to the radius vector in the transverse plane; 1 if measured; radius and z
#: [cm].
SURFACE, ARC, CURVATURE, Q_IN, Q_OUT, SCATTER, STRAGGLE, GAIN, MIX, COSINE, SINE, MEASURED, RADIUS, Z = range(14)
N_CROSSING_COLUMNS = 14

_CYLINDER = 0.0


@kernel
def next_crossing(
    surfaces: NDArray[np.float64],
    passed: NDArray[np.bool_],
    x: float,
    y: float,
    z: float,
    phi: float,
    tgl: float,
    k: float,
) -> tuple[int, float]:
    """Nearest surface ahead on the present helix.

    With C the centre of the circle (radius R = 1/|k|, at distance d from the axis) and e the angle at C from the
    direction of the axis, a point at radius r has sin^2(e/2) = (r - q)(r + q)/(4 d R), q = d - R, with e from 0 to pi
    on the way out. q is computed without cancellation from the present point.

    Parameters
    ----------
    surfaces : (n, 10) float64
        Surfaces.
    passed : (n,) bool
        Surfaces that were crossed already.
    x, y, z, phi, tgl, k : float
        State, see :mod:`flashdet.kernels.helix`.

    Returns
    -------
    index : int
        Row of the surface, -1 if none is left on the way out.
    arc : float
        Transverse arc to it [cm].
    """
    radius = 1.0 / abs(k)
    sign = 1.0 if k > 0.0 else -1.0
    rho2 = x * x + y * y
    across = sign * (y * math.cos(phi) - x * math.sin(phi))
    d = math.sqrt(rho2 + 2.0 * radius * across + radius * radius)
    q = (rho2 + 2.0 * radius * across) / (d + radius)
    scale = 4.0 * d * radius
    now = 2.0 * math.asin(math.sqrt(min(max((rho2 - q * q) / scale, 0.0), 1.0)))
    best, best_turn = -1, math.pi - now
    for i in range(surfaces.shape[0]):
        position = surfaces[i, POSITION]
        if passed[i]:
            continue
        if surfaces[i, KIND] == _CYLINDER:
            ratio = (position - q) * (position + q) / scale
            if ratio < 0.0 or ratio > 1.0:
                continue
            # rounding may put a cylinder of the present radius just behind
            turn = max(2.0 * math.asin(math.sqrt(ratio)) - now, 0.0)
        elif (position - z) * tgl < 0.0 or tgl == 0.0:
            continue
        else:
            turn = (position - z) / tgl / radius
        if turn < best_turn:
            best, best_turn = i, turn
    return best, best_turn * radius


@inline
def _note_material(
    row: NDArray[np.float64], surface: NDArray[np.float64], p: float, mass: float, charge: float, tgl: float
) -> float:
    """Fill the columns of a crossing that tell of its material; returns the momentum behind, 0 if stopped."""
    slope = math.sqrt(1.0 + tgl * tgl)
    if surface[KIND] == _CYLINDER:
        factor = slope * shell_factor(abs(row[COSINE]), surface[X_OVER_X0] * SILICON_X0 / surface[POSITION])
    else:
        factor = slope / abs(tgl)
    thickness = factor * surface[THICKNESS]
    p_out = momentum_after(p, mass, charge, thickness)
    if p_out <= 0.0:
        return 0.0
    e_in, e_out = math.sqrt(p * p + mass * mass), math.sqrt(p_out * p_out + mass * mass)
    row[Q_OUT] = row[Q_IN] * p / p_out
    row[SCATTER] = scattering_variance(
        factor * surface[X_OVER_X0], math.sqrt(p * p_out), math.sqrt(p * p_out / (e_in * e_out)), charge
    )
    # dE_out/dE_in is the ratio of the stopping powers (both follow the same curve of energy against depth)
    gain = 1.0
    if thickness > 0.0:
        ratio = stopping_power(p_out / mass, mass, charge) / stopping_power(p / mass, mass, charge)
        gain = ratio * (p / e_in) / (p_out / e_out) * p / p_out
    row[GAIN] = gain * p / p_out
    row[MIX] = row[Q_OUT] * tgl / (1.0 + tgl * tgl) * (1.0 - gain)
    sigma = row[Q_OUT] * e_out / (p_out * p_out)
    row[STRAGGLE] = sigma * sigma * straggling_variance(math.sqrt(p * p_out), mass, charge, thickness)
    return p_out


@kernel
def trace(
    surfaces: NDArray[np.float64],
    field: float,
    mass: float,
    charge: float,
    pt: float,
    eta: float,
    start_radius: float,
    max_snp: float,
    passed: NDArray[np.bool_],
    crossings: NDArray[np.float64],
) -> int:
    """Follow a positive particle from its production point through all surfaces.

    Parameters
    ----------
    surfaces : (n, 10) float64
        Surfaces of the tracker.
    field : float
        Field along z [T], not zero.
    mass, charge : float
        Of the particle [GeV], [e].
    pt, eta : float
        Transverse momentum [GeV] and pseudorapidity at production.
    start_radius : float
        Distance of the production point from the axis [cm]; 0: the origin. The momentum points away from the origin.
    max_snp : float
        A cylinder measures only while |sin psi| is not above this.
    passed : (n,) bool
        Work space.
    crossings : (n, 14) float64
        Receives the crossings.

    Returns
    -------
    int
        Number of crossings; those behind the layer where the particle stops are missing.
    """
    tgl = math.sinh(eta)
    p = pt * math.sqrt(1.0 + tgl * tgl)
    x, y, z, phi = start_radius, 0.0, start_radius * tgl, 0.0
    q_over_pt = charge / pt
    for i in range(len(passed)):
        passed[i] = surfaces[i, KIND] == _CYLINDER and surfaces[i, POSITION] <= start_radius
    n, arc = 0, 0.0
    if start_radius > 0.0:  # the circle's centre is at a right angle to the momentum
        start_k = abs(curvature(q_over_pt, field))
        arc = math.atan(start_radius * start_k) / start_k
    while n < crossings.shape[0]:
        k = curvature(q_over_pt, field)
        i, step = next_crossing(surfaces, passed, x, y, z, phi, tgl, k)
        if i < 0:
            break
        x, y, z, phi = advance(x, y, z, phi, tgl, k, step)
        arc += step
        passed[i] = True
        is_cylinder = surfaces[i, KIND] == _CYLINDER
        radius = math.sqrt(x * x + y * y)
        along = z if is_cylinder else radius
        if along < surfaces[i, LOW] or along > surfaces[i, HIGH]:
            continue
        row = crossings[n]
        row[SURFACE], row[ARC], row[CURVATURE], row[Q_IN] = i, arc, k, q_over_pt
        row[COSINE] = (x * math.cos(phi) + y * math.sin(phi)) / radius
        row[SINE] = (y * math.cos(phi) - x * math.sin(phi)) / radius
        row[MEASURED] = surfaces[i, ACTIVE] if not is_cylinder or abs(row[SINE]) <= max_snp else 0.0
        row[RADIUS], row[Z] = radius, z
        p = _note_material(row, surfaces[i], p, mass, charge, tgl)
        if p <= 0.0:
            break
        q_over_pt = row[Q_OUT]
        arc = 0.0
        n += 1
    return n


def surface_rows(surfaces: list[dict[str, Any]]) -> NDArray[np.float64]:
    """Rows for :func:`trace` from named values.

    Parameters
    ----------
    surfaces : list of dict
        Keys are the lower-case names of the columns of a surface.

    Returns
    -------
    (n, 10) float64
    """
    names = ("kind", "position", "low", "high", "x_over_x0", "thickness", "sigma_1", "sigma_2", "efficiency", "active")
    return np.array([[s[name] for name in names] for s in surfaces], np.float64).reshape(-1, N_SURFACE_COLUMNS)
