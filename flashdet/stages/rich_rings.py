"""Photons of a RICH: signal, dark counts and photons of other rings, and the rings that are found among them.

Made from generated particles only. Single hits are not simulated: a ring is its number of photons and its angle. What
is concluded from a ring is in :mod:`flashdet.stages.rich_pid`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.philox import normals, poisson, uniforms
from flashdet.rng import Draw
from flashdet.stages.rich_config import RichConfig
from flashdet.stages.rich_optics import (
    EDGES,
    FREE,
    INDEX,
    LIMIT_ANGLE,
    LIMIT_RADIUS,
    LIMIT_RESOLUTION,
    N_WINDOWS,
    PHOTONS,
    RESOLUTION,
    WINDOW,
    WINDOW_SIGMAS,
    kept_fraction,
    photon_variance,
    ring_radius,
)
from flashdet.stages.rich_tiles import Crossings, Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track.
_SLOT_PHOTONS, _SLOT_ANGLE, _SLOT_GAS, _SLOT_BACKGROUND, _SLOT_GHOST = 0, 1, 2, 3, 4
#: Variance of a photon that lies anywhere in the window, in units of the resolution of one photon.
_FLAT = WINDOW_SIGMAS**2 / 12.0


@dataclass(frozen=True)
class Rings:
    """What the photon detectors see of each track.

    Attributes
    ----------
    n_photons : (n,) int32
        Detected photons of the radiator, those of the background within the ring included.
    has_signal : (n,) bool
        A ring is found.
    angle, angle_error : (n,) float64
        Measured angle and its error [rad], NaN without a ring.
    n_gas : (n,) int32
        Detected photons of the gas.
    density : (n,) float64
        Expected background hits per area around the track [1/cm^2].
    threshold : (n,) int32
        Photons that a ring needs here.
    n_ghosts : int
        Rings that are made of background.
    """

    n_photons: NDArray[np.int32]
    has_signal: NDArray[np.bool_]
    angle: Floats
    angle_error: Floats
    n_gas: NDArray[np.int32]
    density: Floats
    threshold: NDArray[np.int32]
    n_ghosts: int


def make_rings(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], crossings: Crossings,
    geometry: Geometry, config: RichConfig, draw: Draw,
) -> Rings:  # fmt: skip
    """Let the generated particles radiate, add the background and find rings.

    The number of detected photons is a Poisson number (Frank and Tamm 1937 for its mean), reduced by what falls beside
    the tile. The density of background hits is that of dark counts plus the photons of all other tracks on the same
    tile; in a window of six standard deviations around the ring it adds a Poisson number of photons with a flat
    distribution. The window follows the mean of its photons, so that only the n photons of the track hold it: with m of
    the background, of variance 3 sigma^2, the error is sigma sqrt(n + 3 m)/n. Elsewhere on the tile the fullest of the
    other windows may have more photons: then a ghost ring is found instead.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``).
    offsets : (n_events + 1,) int64
        Rows of each event.
    event_key : (n_events,) uint64
        Counter words of the events.
    crossings : Crossings
        From `flashdet.stages.rich_tiles.cross`.
    geometry : Geometry
        Tiles.
    config : RichConfig
        Gas, background, and the number of photons that a ring needs.
    draw : Draw
        Random numbers.

    Returns
    -------
    Rings
    """
    n = len(crossings.optic)
    signal, cosine, n_photons, n_gas = np.zeros(n, np.int32), np.empty(n), np.zeros(n, np.int32), np.zeros(n, np.int32)
    truth = (track["particle_index"], track["pt_true"], track["eta_true"], track["mass_true"], track["charge_true"])
    windows, where = np.zeros(n), (crossings.optic, crossings.u, crossings.v)
    _signal_kernel(offsets, event_key, *truth, *where, geometry.optics, draw.key, signal, cosine, windows)
    gas = config.gas
    if gas is not None:
        light = gas.photon_yield * gas.length
        _gas_kernel(offsets, event_key, *truth, crossings.optic, gas.refractive_index, light, draw.key, n_gas)
    density = _densities(offsets, crossings, signal, geometry, config)
    found, angle, error, threshold = np.empty(n, np.bool_), np.empty(n), np.empty(n), np.empty(n, np.int32)
    significance = 0.0 if config.background is None else config.background.min_significance
    n_ghosts = _ring_kernel(
        offsets, event_key, truth[0], *where, geometry.optics, signal, cosine,
        windows, density, config.min_photons, significance, draw.key, n_photons, found, angle, error, threshold,
    )  # fmt: skip
    return Rings(n_photons, found, angle, error, n_gas, density, threshold, int(n_ghosts))


def _densities(
    offsets: Integers, crossings: Crossings, signal: NDArray[np.int32], geometry: Geometry, config: RichConfig
) -> Floats:
    """Expected background hits per area around each track: dark counts and the photons of the others on its tile."""
    density, noise = np.zeros(len(signal)), config.background
    if noise is not None:
        dark = noise.dark_count_rate * noise.time_window
        hits = np.zeros(len(geometry.areas))
        _density_kernel(
            offsets, crossings.optic, crossings.cell, signal, dark, noise.overlap, geometry.areas, hits, density
        )
    return density


# --- kernels ---------------------------------------------------------------------------------------------------------
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


@kernel
def _signal_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], pt: Floats, eta: Floats,
    mass: Floats, charge: NDArray[np.int8], row: Integers, u: Floats, v: Floats, optics: Floats, key: np.uint64,
    signal: NDArray[np.int32], cosines: Floats, windows: Floats,
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            if row[i] < 0:
                continue
            optic = optics[row[i]]
            # cosh(eta)
            growth = math.exp(eta[i])
            ratio = mass[i] / (0.5 * pt[i] * (growth + 1.0 / growth))
            cosine = math.sqrt(1.0 + ratio * ratio) / optic[INDEX]
            cosines[i] = cosine
            if not cosine < 1.0:
                continue
            mean = optic[PHOTONS] * (1.0 - cosine * cosine) * charge[i] * charge[i]
            if optic[EDGES] != FREE:
                radius = ring_radius(cosine, math.sqrt(1.0 - cosine * cosine), optic)
                kept = kept_fraction(u[i], v[i], radius, optic)
                mean *= kept
                windows[i] = background_photons(1.0, radius, kept, optic)
            signal[i] = poisson(key, event_key[event], particle_index[i], _SLOT_PHOTONS, mean)


@kernel
def _gas_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], pt: Floats, eta: Floats,
    mass: Floats, charge: NDArray[np.int8], row: Integers, index: float, yield_: float, key: np.uint64,
    n_gas: NDArray[np.int32],
) -> None:  # fmt: skip
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            ratio = mass[i] / (pt[i] * math.cosh(eta[i]))
            square = (1.0 + ratio * ratio) / (index * index)
            if row[i] >= 0 and square < 1.0:
                mean = yield_ * (1.0 - square) * charge[i] * charge[i]
                n_gas[i] = poisson(key, event_key[event], particle_index[i], _SLOT_GAS, mean)


@kernel
def _density_kernel(
    offsets: Integers, row: Integers, cell: Integers, signal: NDArray[np.int32], dark: float, overlap: bool,
    areas: Floats, hits: Floats, density: Floats,
) -> None:  # fmt: skip
    for event in range(len(offsets) - 1):
        if overlap:
            for i in range(offsets[event], offsets[event + 1]):
                if row[i] >= 0:
                    hits[cell[i]] += signal[i]
        for i in range(offsets[event], offsets[event + 1]):
            if row[i] >= 0:
                others = hits[cell[i]] - signal[i] if overlap else 0.0
                density[i] = dark + others / areas[cell[i]]
        for i in range(offsets[event], offsets[event + 1]):
            if row[i] >= 0:
                hits[cell[i]] = 0.0


@inline
def _poisson(u: float, mean: float) -> int:
    """Poisson number with the distribution function `u`, by summing from zero: for the small means of a background."""
    term = math.exp(-mean)
    total, k = term, 0
    while total < u and term > 0.0:
        k += 1
        term *= mean / k
        total += term
    return k


@inline
def _fullest_window(u: float, windows: float, mean: float, least: int) -> int:
    """Largest of some equal Poisson numbers, from the uniform number `u`; 0 instead of anything below `least`.

    Its distribution is F(k)^windows. P(k >= m) is at most mean^m/m!, which spares most tracks of pp events the rest.
    """
    chance = windows
    for k in range(1, least + 1):
        chance *= mean / k
    if u < 1.0 - chance:
        return 0
    return _poisson(math.exp(math.log(u) / windows), mean)


@kernel
def _ring_kernel(
    offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32], row: Integers, u: Floats,
    v: Floats, optics: Floats, signal: NDArray[np.int32], cosines: Floats, windows: Floats, density: Floats,
    min_photons: int, significance: float, key: np.uint64, n_photons: NDArray[np.int32], found: NDArray[np.bool_],
    angle: Floats, error: Floats, threshold: NDArray[np.int32],
) -> int:  # fmt: skip
    n_ghosts = 0
    for event in range(len(event_key)):
        for i in range(offsets[event], offsets[event + 1]):
            found[i], angle[i], error[i], threshold[i] = False, np.nan, np.nan, min_photons
            if row[i] < 0:
                continue
            optic, where, index = optics[row[i]], event_key[event], particle_index[i]
            n, width, sine = signal[i], 0.0, math.sqrt(max(1.0 - cosines[i] * cosines[i], 0.0))
            extra = 0
            if density[i] > 0.0:
                radius = optic[LIMIT_RADIUS]
                kept = kept_fraction(u[i], v[i], radius, optic)
                full = background_photons(density[i], radius, kept, optic)
                # all hits within the largest ring, spread over as many windows as fit
                mean = density[i] * math.pi * radius * radius * kept / optic[N_WINDOWS]
                threshold[i] = max(min_photons, math.ceil(full + significance * math.sqrt(full)))
                chance, other = uniforms(key, where, index, _SLOT_BACKGROUND)
                if sine > 0.0:
                    width = density[i] * windows[i]
                    extra = _poisson(chance, width)
                ghost = _fullest_window(other, optic[N_WINDOWS], mean, threshold[i])
                if ghost > n + extra and ghost >= threshold[i]:
                    n_ghosts += 1
                    place, _ = uniforms(key, where, index, _SLOT_GHOST)
                    n_photons[i], found[i], angle[i] = ghost, True, optic[LIMIT_ANGLE] * math.sqrt(place)
                    error[i] = _error(angle[i], ghost, mean, optic)
                    continue
            n_photons[i] = n + extra
            if n + extra >= threshold[i]:
                noise, _ = normals(key, where, index, _SLOT_ANGLE)
                flat = _FLAT * optic[LIMIT_RESOLUTION] * optic[LIMIT_RESOLUTION]
                spread = math.sqrt(n * photon_variance(cosines[i], sine, optic) + extra * flat) / max(n, 1)
                spread = min(spread, math.sqrt(flat))
                # an angle has no sign: the few below zero are reflected
                found[i], angle[i] = True, abs(math.acos(cosines[i]) + noise * spread)
                error[i] = _error(angle[i], n + extra, width, optic)
    return n_ghosts


@inline
def _error(angle: float, n: int, background: float, optic: Floats) -> float:
    """Error that the measured ring claims: of `n` photons, `background` of them flat on average."""
    if optic[EDGES] == FREE:
        return optic[RESOLUTION] / math.sqrt(n)  # type: ignore[no-any-return]
    variance = photon_variance(math.cos(angle), math.sin(angle), optic)
    flat = _FLAT * optic[LIMIT_RESOLUTION] * optic[LIMIT_RESOLUTION]
    own = max(n - background, 1.0)
    return math.sqrt(min((own * variance + background * flat) / (own * own), flat))
