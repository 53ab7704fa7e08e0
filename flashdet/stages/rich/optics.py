"""Optics of a proximity-focusing RICH: Cherenkov angle, resolution of one photon, size and losses of a ring.

Scalar helpers for kernels, and the same as functions of arrays. Which tile a track crosses is in
:mod:`.tiles`. Tracks are taken to cross radiators at right angles, as in the published
parametrisation: right for stiff tracks from the centre of a projective barrel. The helpers take an *optic*, a row of
constants of one tile that :func:`pack_optic` makes.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.stages.rich.config import Dispersion, RichConfig

Floats = NDArray[np.float64]

#: Places in an optic: how edges cut rings, photons at right angles, edges.
EDGES, PHOTONS, EDGE_A, EDGE_B = range(4)
#: What rings are made of: index, fixed resolution, (n'/n)^2 - 1 with the index n' of the gap, factors of the three
#: variances of a photon and of a denominator, half the thickness, gap and n/n' for the radius.
INDEX, RESOLUTION, _EXIT, _PIXEL, _DEPTH, _ALONG, _SPREAD, _HALF, _GAP, _SNELL = range(4, 14)
#: Derived: resolution and radius at saturation, width [cm] and number of the windows for rings.
LIMIT_RESOLUTION, LIMIT_ANGLE, LIMIT_RADIUS, WINDOW, N_WINDOWS = range(14, 19)
N_OPTIC = 19
#: No edge (EDGES): fixed resolution and no ring radius; rectangle of half sides A and B; annulus of radii A and B.
FREE, RECTANGLE, ANNULUS = 0.0, 1.0, 2.0

#: Width of the window around a ring in which photons are taken for its own, in standard deviations of one photon.
WINDOW_SIGMAS = 6.0
#: Variance of a photon that lies anywhere in the window, in units of the resolution of one photon.
FLAT = WINDOW_SIGMAS**2 / 12.0
#: Index at which the coefficients of the dispersion were determined (O2Physics ``onTheFlyRichPid``).
_DISPERSION_INDEX = 1.0307
#: asin(x) = x sum_k a_k x^(2k), a_k = (2k)!/(4^k (k!)^2 (2k + 1)); and up to which x^2 these terms are exact to 1e-17.
_ARC = tuple(math.comb(2 * k, k) / (4.0**k * (2 * k + 1)) for k in range(15))
ARC_LIMIT = 0.1


# --- physics ---------------------------------------------------------------------------------------------------------
def cherenkov_angle(momentum: Floats, mass: float | Floats, refractive_index: float) -> Floats:
    """Angle of the photons: cos(theta) = 1/(beta n) (Frank and Tamm 1937; PDG review, eq. 34.42 of 2024).

    Parameters
    ----------
    momentum : (n,) float64
        Momentum [GeV].
    mass : float or (n,) float64
        Mass [GeV].
    refractive_index : float
        Index of the radiator.

    Returns
    -------
    (n,) float64
        Angle [rad], NaN below threshold.
    """
    cosine = np.sqrt(1.0 + np.square(mass / momentum)) / refractive_index
    return np.arccos(cosine, where=cosine < 1.0, out=np.full(np.shape(cosine), np.nan))


def mean_photons(angle: Floats, charge: float | Floats, config: RichConfig) -> Floats:
    """Mean number of detected photons without losses: yield z^2 sin^2(theta) L efficiency (Frank and Tamm 1937).

    Parameters
    ----------
    angle : (n,) float64
        Angle [rad].
    charge : float or (n,) float64
        Charge [e].
    config : RichConfig
        Yield, thickness and efficiency.

    Returns
    -------
    (n,) float64
        NaN where the angle is.
    """
    return photons_at_right_angle(config) * np.square(charge * np.sin(angle))


def photons_at_right_angle(config: RichConfig) -> float:
    """Mean detected photons of charge 1, were the angle 90 degrees."""
    return float(config.photon_yield * config.radiator_thickness * config.photon_efficiency)


def index_spread(index: float, dispersion: Dispersion) -> float:
    """Standard deviation of the refractive index over the wavelengths of detected photons.

    dn/dL of n^2 = 1 + A L^2/(L^2 - L0^2), scaled to the index (O2Physics ``onTheFlyRichPid``).

    Parameters
    ----------
    index : float
        Refractive index.
    dispersion : Dispersion
        A, L0, L and the standard deviation of L.

    Returns
    -------
    float
    """
    a, pole, wave = dispersion.strength, dispersion.pole**2, dispersion.wavelength
    square = wave * wave
    slope = a * pole * wave / ((square - pole) ** 1.5 * math.sqrt(square * (1.0 + a) - pole))
    return float(slope * index / _DISPERSION_INDEX * dispersion.spread)


def pack_optic(config: RichConfig, index: float, gap: float, edges: tuple[float, float, float]) -> list[float]:
    """Constants of one tile for kernels.

    Parameters
    ----------
    config : RichConfig
        Either model.
    index : float
        Refractive index of the tile's radiator.
    gap : float
        From the back of the radiator to the photon detectors [cm]; without meaning in the simple model.
    edges : (kind, a, b)
        `FREE`; `RECTANGLE` with half sides along z and azimuth; `ANNULUS` with inner and outer radius [cm].

    Returns
    -------
    list of float, length N_OPTIC
    """
    row = [0.0] * N_OPTIC
    row[EDGES], row[EDGE_A], row[EDGE_B] = edges
    row[INDEX], row[PHOTONS], thickness = index, photons_at_right_angle(config), config.radiator_thickness
    cosine = 1.0 / index
    row[LIMIT_ANGLE] = math.acos(cosine)
    if config.optics is None:
        assert config.single_photon_resolution is not None
        row[RESOLUTION] = row[LIMIT_RESOLUTION] = config.single_photon_resolution
        return row
    ratio, scale = config.optics.gap_index / index, index * index / gap
    row[_EXIT], row[_SNELL] = ratio * ratio - 1.0, 1.0 / ratio
    row[_PIXEL], row[_DEPTH] = (scale * config.optics.pixel_size) ** 2 / 12.0, (scale * thickness) ** 2 / 12.0
    row[_ALONG], row[_SPREAD] = 0.5 * thickness * scale, (index_spread(index, config.optics.dispersion) / index) ** 2
    row[_HALF], row[_GAP] = 0.5 * thickness, gap
    optic = np.array(row)
    sine = math.sqrt(1.0 - cosine * cosine)
    row[LIMIT_RESOLUTION] = math.sqrt(sum(variances(cosine, sine, optic, 1, 0)))
    row[LIMIT_RADIUS] = radius_of(cosine, sine, optic, 1, 0)
    step = 1e-5
    smaller = row[LIMIT_ANGLE] - step
    slope = (row[LIMIT_RADIUS] - radius_of(math.cos(smaller), math.sin(smaller), optic, 1, 0)) / step
    row[WINDOW] = WINDOW_SIGMAS * row[LIMIT_RESOLUTION] * slope
    row[N_WINDOWS] = max(row[LIMIT_ANGLE] / (WINDOW_SIGMAS * row[LIMIT_RESOLUTION]), 1.0)
    return row


# --- kernel helpers --------------------------------------------------------------------------------------------------
@inline
def small_angle(sine: float, square: float) -> float:
    """asin(sine) for square = sine^2 below `ARC_LIMIT`; without a branch, so that loops over tracks use vectors."""
    a, q = _ARC, square * square
    # pairs of pairs: see flashdet.kernels.elementary
    p = q * q
    low = (a[0] + a[1] * square) + q * (a[2] + a[3] * square)
    middle = (a[4] + a[5] * square) + q * (a[6] + a[7] * square)
    high = (a[8] + a[9] * square) + q * (a[10] + a[11] * square)
    return sine * (low + p * (middle + p * (high + p * ((a[12] + a[13] * square) + q * a[14]))))


@inline
def angle_of(square: float) -> float:
    """Angle with sin^2 = `square`, 0 to 1."""
    sine = math.sqrt(square)
    return small_angle(sine, square) if square < ARC_LIMIT else math.asin(sine)


def variances(cosine: float, sine: float, optic: Floats, step: int, first: int) -> tuple[float, float, float]:
    """Variances of the angle of one photon from the pixel, the unknown point of emission, and the wavelength.

    Derivatives of the angle for a track at right angles to the radiator and a photon along one axis of the pixels:
    formalism of Nucl. Instrum. Meth. A 343 (1994) 324 as O2Physics ``onTheFlyRichPid`` has it; errors of a uniform
    distribution over pixel and thickness.

    Parameters
    ----------
    cosine, sine : float
        Of the Cherenkov angle.
    optic : float64
        Tile: an optic; or more of them, with the value of each place `step` behind that of the last one and the first
        at `first`.
    step, first : int
        For that.

    Returns
    -------
    pixel, emission, chromatic : float
        [rad^2]; the last one grows without bound towards the threshold.
    """
    # one division for 1/cos and 1/(sin cos); constants of the tile are in the factors
    inverse = 1.0 / (cosine * sine)
    e3 = cosine * cosine + optic[_EXIT * step + first]
    slope = math.sqrt(e3) * inverse * sine
    square = slope * slope
    by_depth = square / (1.0 + optic[_ALONG * step + first] * square * slope)
    return (
        optic[_PIXEL * step + first] * e3 * e3 * square,
        optic[_DEPTH * step + first] * e3 * sine * sine * by_depth * by_depth,
        optic[_SPREAD * step + first] * inverse * inverse,
    )


@inline
def photon_variance(cosine: float, sine: float, optic: Floats, step: int, first: int) -> float:
    """Variance of the angle of one photon [rad^2], of either model; parameters as in :func:`variances`."""
    pixel, depth, colour = photon_variances(cosine, sine, optic, step, first)
    fixed = optic[RESOLUTION * step + first]
    # one model has the first term only, the other one the rest
    return fixed * fixed + pixel + depth + colour  # type: ignore[no-any-return]


def radius_of(cosine: float, sine: float, optic: Floats, step: int, first: int) -> float:
    """Radius of the ring on the photon detectors [cm], for photons from the middle of the radiator.

    (T/2) tan(theta) in the radiator and gap tan(theta') behind it, with Snell's law n sin(theta) = n' sin(theta').
    Parameters as in :func:`variances`.
    """
    bent = optic[_SNELL * step + first] * sine
    inside, gap = optic[_HALF * step + first], optic[_GAP * step + first]
    return inside * sine / cosine + gap * bent / math.sqrt(1.0 - bent * bent)  # type: ignore[no-any-return]


#: Compiled; layouts are made with the plain functions, which saves a second of compilation.
photon_variances, ring_radius = inline(variances), inline(radius_of)


@inline
def background_photons(density: float, radius: float, kept: float, optic: Floats) -> float:
    """Mean number of background photons in the window around a ring.

    Parameters
    ----------
    density : float
        Hits per area [1/cm^2].
    radius, kept : float
        Of the ring [cm], and its share on the tile.
    optic : (N_OPTIC,) float64
        Tile.

    Returns
    -------
    float
    """
    return density * 2.0 * math.pi * radius * kept * optic[WINDOW]  # type: ignore[no-any-return]


@inline
def arc_cosine(x: float) -> float:
    """Arc cosine for 0 <= x <= 1 to 2e-8 (Abramowitz and Stegun 4.4.46), a third of the library's time."""
    series = 0.0066700901 - 0.0012624911 * x
    series = 0.0308918810 - x * (0.0170881256 - x * series)
    series = 0.0889789874 - x * (0.0501743046 - x * series)
    series = 1.5707963050 - x * (0.2145988016 - x * series)
    return math.sqrt(1.0 - x) * series


@inline
def kept_by_rectangle(u: float, v: float, radius: float, a: float, b: float) -> float:
    """Share of a ring on a rectangle of half sides `a` and `b`: see :func:`kept_fraction`; without a branch."""
    inverse, quarter = 1.0 / (radius + 1e-300), 0.5 * math.pi
    # half the angle of the arc beyond each edge
    up = arc_cosine(min(max(a - u, 0.0) * inverse, 1.0))
    down = arc_cosine(min(max(a + u, 0.0) * inverse, 1.0))
    left = arc_cosine(min(max(b - v, 0.0) * inverse, 1.0))
    right = arc_cosine(min(max(b + v, 0.0) * inverse, 1.0))
    lost = min(up + left, quarter) + min(up + right, quarter) + min(down + left, quarter) + min(down + right, quarter)
    return 1.0 - lost / (4.0 * quarter)


@inline
def _within(centre: float, radius: float, limit: float) -> float:
    """Share of a circle around a point `centre` away from the axis that lies less than `limit` from the axis."""
    x = (limit * limit - centre * centre - radius * radius) / (2.0 * centre * radius + 1e-300)
    # 1 or more: all of it; -1 or less: nothing
    x = min(max(x, -1.0), 1.0)
    beyond = arc_cosine(abs(x)) / math.pi
    return 1.0 - beyond if x >= 0.0 else beyond


@inline
def kept_by_annulus(u: float, radius: float, a: float, b: float) -> float:
    """Share of a ring `u` away from the axis between the radii `a` and `b`: see :func:`kept_fraction`; no branch."""
    return _within(u, radius, b) - _within(u, radius, a)


@inline
def kept_fraction(u: float, v: float, radius: float, optic: Floats) -> float:
    """Share of a ring that falls on its tile.

    Rectangle: each edge cuts an arc of half angle acos(distance/radius) off; in each quarter of the ring the arcs of
    two edges may overlap, and together they take at most all of it. With one edge this is the 1 - acos((h - u)/rho)/pi
    of O2Physics ``onTheFlyRichPid``. Annulus: the circle's intersections with both radii.

    Parameters
    ----------
    u, v : float
        Place of the track on its tile [cm]: along z and azimuth from the middle, or distance from the axis and 0.
    radius : float
        Radius of the ring [cm].
    optic : (N_OPTIC,) float64
        Tile.

    Returns
    -------
    float
        0 to 1; 1 in the simple model.
    """
    if optic[EDGES] == FREE:
        return 1.0
    if optic[EDGES] == ANNULUS:
        return kept_by_annulus(u, radius, optic[EDGE_A], optic[EDGE_B])
    return kept_by_rectangle(u, v, radius, optic[EDGE_A], optic[EDGE_B])


# --- arrays ----------------------------------------------------------------------------------------------------------
@kernel
def _ring_kernel(angle: Floats, u: Floats, v: Floats, optic: Floats, out: Floats) -> None:
    for i in range(len(angle)):
        cosine, sine = math.cos(angle[i]), math.sin(angle[i])
        out[0, i] = photon_variance(cosine, sine, optic, 1, 0)
        out[1, i] = ring_radius(cosine, sine, optic, 1, 0)
        out[2, i] = kept_fraction(u[i], v[i], out[1, i], optic)


def ring(angle: Floats, u: Floats, v: Floats, optic: Floats) -> tuple[Floats, Floats, Floats]:
    """Rings of given angles on a tile of the projective model.

    Parameters
    ----------
    angle : (n,) float64
        Cherenkov angle [rad].
    u, v : (n,) float64
        As in :func:`kept_fraction`.
    optic : (N_OPTIC,) float64
        Tile.

    Returns
    -------
    resolution : (n,) float64
        Standard deviation of the angle of one photon [rad].
    radius : (n,) float64
        [cm].
    kept : (n,) float64
        Share of the ring that is on the tile.
    """
    out = np.empty((3, len(angle)))
    _ring_kernel(angle, u, v, optic, out)
    return np.sqrt(out[0]), out[1], out[2]
