"""Rings of a RICH: signal, dark counts and photons of other rings, and the rings that are found among them.

Made from generated particles only, whose own photons are made in :mod:`.light`. Single hits are not
simulated: a ring is its number of photons and its angle. What is concluded from a ring is in
:mod:`.hypotheses`.

The number of detected photons is a Poisson number (Frank and Tamm 1937 for its mean), reduced by what falls beside the
tile. The density of background hits is that of dark counts plus the photons of all other tracks on the same tile; in a
window of six standard deviations around the ring it adds a Poisson number of photons with a flat distribution. The
window follows the mean of its photons, so that only the n photons of the track hold it: with m of the background, of
variance 3 sigma^2, the error is sigma sqrt(n + 3 m)/n. Elsewhere on the tile the fullest of the other windows may have
more photons: then a ghost ring is found instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import cosine_and_sine
from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import normals, poisson_at, uniforms
from flashdet.rng import Draw
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import Crossings
from flashdet.stages.rich.light import (
    ANGLE,
    BLOCK,
    COSINE,
    N_VALUES,
    RADIUS,
    SINE,
    VARIANCE,
    gas_kernel,
    gather,
    rings_of_block,
    signal_kernel,
)
from flashdet.stages.rich.optics import (
    LIMIT_ANGLE,
    LIMIT_RADIUS,
    LIMIT_RESOLUTION,
    N_WINDOWS,
    PHOTONS,
    WINDOW_SIGMAS,
    background_photons,
    kept_fraction,
)
from flashdet.stages.rich.tiles import Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: Slots of the random numbers of a track, besides those of its photons.
_SLOT_ANGLE, _SLOT_GHOST = 1, 3
#: Variance of a photon that lies anywhere in the window, in units of the resolution of one photon.
_FLAT = WINDOW_SIGMAS**2 / 12.0
_ROOT2 = math.sqrt(2.0)


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
    density : (n_inside,) float64
        Expected background hits per area around each crossing [1/cm^2].
    kept, background : (n_inside,) float64
        Share of a ring of the measured angle that is on the tile, and expected background photons in its window;
        without meaning if there is no ring.
    threshold : (n_inside,) int32
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
    kept: Floats
    background: Floats
    threshold: NDArray[np.int32]
    n_ghosts: int


def make_rings(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: NDArray[np.uint64], crossings: Crossings,
    geometry: Geometry, config: RichConfig, draw: Draw,
) -> Rings:  # fmt: skip
    """Let the generated particles radiate, add the background and find rings.

    How is said at the top of this module.

    Parameters
    ----------
    track : mapping of str to array
        Columns of the track table (the ``*_true`` ones and ``particle_index``).
    offsets, event_key : (n_events + 1,) int64, (n_events,) uint64
        Rows and counter words of the events.
    crossings, geometry : Crossings, Geometry
        From `flashdet.stages.rich.crossing.cross`, and the tiles.
    config : RichConfig
        Gas, background, and the number of photons that a ring needs.
    draw : Draw
        Random numbers.

    Returns
    -------
    Rings
    """
    n, n_inside = len(track["pt_true"]), len(crossings.rows)
    n_photons, n_gas, found = np.zeros(n, np.int32), np.zeros(n, np.int32), np.zeros(n, np.bool_)
    angle, error = np.full(n, np.nan), np.full(n, np.nan)
    signal, threshold = np.empty((2, n_inside), np.int32)
    true, variance, windows, chance, kept, background = np.empty((6, n_inside))
    values, place, optics = np.empty(N_VALUES), np.empty(BLOCK, np.int64), geometry.optics
    index = track["particle_index"]
    rows, tile, u, v = crossings.rows, crossings.optic, crossings.u, crossings.v
    pt, eta, mass, charge = track["pt_true"], track["eta_true"], track["mass_true"], track["charge_true"]
    signal_kernel(
        rows, offsets, event_key, index, pt, eta, mass, charge, tile, u, v, optics, draw.key, values, place,
        signal, true, variance, windows, chance,
    )  # fmt: skip
    gas = config.gas
    if gas is not None:
        light = gas.photon_yield * gas.length
        gas_kernel(rows, offsets, event_key, index, pt, eta, mass, charge, gas.refractive_index, light, draw.key, n_gas)
    density = _densities(offsets, crossings, signal, geometry, config)
    significance = 0.0 if config.background is None else config.background.min_significance
    n_ghosts = _ring_kernel(
        rows, offsets, event_key, index, tile, u, v, optics, signal, true, variance, windows, chance, density,
        config.min_photons, significance, draw.key, n_photons, found, angle, threshold,
    )  # fmt: skip
    _measure_kernel(rows, tile, u, v, optics, density, n_photons, found, angle, values, place, error, kept, background)
    return Rings(n_photons, found, angle, error, n_gas, density, kept, background, threshold, int(n_ghosts))


def _densities(
    offsets: Integers, crossings: Crossings, signal: NDArray[np.int32], geometry: Geometry, config: RichConfig
) -> Floats:
    """Expected background hits per area around each crossing: dark counts and the photons of the others on its tile."""
    density, noise = np.zeros(len(signal)), config.background
    if noise is not None:
        dark = noise.dark_count_rate * noise.time_window
        hits = np.zeros(len(geometry.areas))
        _density_kernel(
            crossings.rows, offsets, crossings.cell, signal, dark, noise.overlap, geometry.areas, hits, density
        )
    return density


# --- kernels ---------------------------------------------------------------------------------------------------------
@bare_kernel
def _density_kernel(
    rows: Integers, offsets: Integers, cell: Integers, signal: NDArray[np.int32], dark: float, overlap: bool,
    areas: Floats, hits: Floats, density: Floats,
) -> None:  # fmt: skip
    first = 0
    for event in range(len(offsets) - 1):
        last = first
        while last < len(rows) and rows[last] < offsets[event + 1]:
            last += 1
        if overlap:
            for j in range(first, last):
                hits[cell[j]] += signal[j]
        for j in range(first, last):
            others = hits[cell[j]] - signal[j] if overlap else 0.0
            density[j] = dark + others / areas[cell[j]]
        for j in range(first, last):
            hits[cell[j]] = 0.0
        first = last


@inline
def _rarely(windows: float, mean: float, least: int) -> float:
    """An upper bound of the probability that the largest of some Poisson numbers is `least` or more.

    P(k >= m) is at most mean^m/m! and at most pmf(m) (m + 1)/(m + 1 - mean), by geometric series.
    """
    if least <= 4:
        bound = windows
        for k in range(1, least + 1):
            bound *= mean / k
        return bound
    if not mean < least + 1.0:
        return 1.0
    pmf = math.exp(least * math.log(mean) - mean - log_factorial(least)) if mean > 0.0 else 0.0
    return windows * pmf * (least + 1.0) / (least + 1.0 - mean)


@inline
def _fullest_window(normal: float, windows: float, mean: float, least: int) -> int:
    """Largest of some equal Poisson numbers, from a normal number; 0 instead of anything below `least`.

    Its distribution is F(k)^windows. The bound spares nearly all tracks the sum.
    """
    rarely = _rarely(windows, mean, least)
    # 3 standard deviations: 1.35e-3
    if rarely < 1e-3 and normal < 3.0:
        return 0
    # the normal number as a uniform one
    tail = 0.5 * math.erfc(normal / _ROOT2)
    if tail > rarely:
        return 0
    wanted = math.exp(math.log1p(-tail) / windows)
    term = math.exp(-mean)
    total, k = term, 0
    while total < wanted and term > 0.0:
        k += 1
        term *= mean / k
        total += term
    return k


@bare_kernel
def _ring_kernel(
    rows: Integers, offsets: Integers, event_key: NDArray[np.uint64], particle_index: NDArray[np.int32],
    tile: Integers, u: Floats, v: Floats, optics: Floats, signal: NDArray[np.int32], true: Floats, variances: Floats,
    windows: Floats, chances: Floats, density: Floats, min_photons: int, significance: float, key: np.uint64,
    n_photons: NDArray[np.int32], found: NDArray[np.bool_], angle: Floats, threshold: NDArray[np.int32],
) -> int:  # fmt: skip
    n_ghosts, event = 0, 0
    for j in range(len(rows)):
        i, optic = rows[j], optics[tile[j]]
        while i >= offsets[event + 1]:
            event += 1
        where, index = event_key[event], particle_index[i]
        n, extra, least, ghost = signal[j], 0, min_photons, 0
        noise, other = normals(key, where, index, _SLOT_ANGLE)
        if density[j] > 0.0:
            radius = optic[LIMIT_RADIUS]
            share = kept_fraction(u[j], v[j], radius, optic)
            full = background_photons(density[j], radius, share, optic)
            least = max(min_photons, math.ceil(full + significance * math.sqrt(full)))
            # all hits within the largest ring, spread over as many windows as fit
            mean = density[j] * math.pi * radius * radius * share / optic[N_WINDOWS]
            extra = int(poisson_at(chances[j], density[j] * windows[j]))
            ghost = _fullest_window(other, optic[N_WINDOWS], mean, least)
        threshold[j], n_photons[i] = least, n + extra
        if ghost > n + extra and ghost >= least:
            n_ghosts += 1
            place, _ = uniforms(key, where, index, _SLOT_GHOST)
            n_photons[i], angle[i] = ghost, optic[LIMIT_ANGLE] * math.sqrt(place)
        elif n + extra >= least:
            # an angle has no sign: the few below zero are reflected
            flat = _FLAT * optic[LIMIT_RESOLUTION] * optic[LIMIT_RESOLUTION]
            angle[i] = abs(true[j] + noise * _spread(n, extra, variances[j], flat))
        else:
            continue
        found[i] = True
    return n_ghosts


@inline
def _spread(n: int, extra: int, variance: float, flat: float) -> float:
    """Standard deviation of the angle of a ring of `n` photons with `extra` ones of the background in its window."""
    return math.sqrt(min((n * variance + extra * flat) / (max(n, 1) * float(max(n, 1))), flat))


@bare_kernel
def _measure_kernel(
    rows: Integers, tile: Integers, u: Floats, v: Floats, optics: Floats, density: Floats, n_photons: NDArray[np.int32],
    found: NDArray[np.bool_], angle: Floats, a: Floats, place: Integers, error: Floats, kept: Floats,
    background: Floats,
) -> None:  # fmt: skip
    n = 0
    for j in range(len(rows)):
        if found[rows[j]]:
            place[n] = j
            n += 1
        if n == BLOCK or (n > 0 and j == len(rows) - 1):
            gather(a, place, 0, n, tile, optics)
            for k in range(n):
                # a ring beyond saturation is one at saturation
                limit = optics[tile[place[k]], LIMIT_ANGLE]
                a[ANGLE + k] = max(min(angle[rows[place[k]]], limit), 1e-6)
            for k in range(n):
                a[COSINE + k], a[SINE + k] = cosine_and_sine(a[ANGLE + k])
            rings_of_block(a, n)
            for k in range(n):
                q = place[k]
                i, optic = rows[q], optics[tile[q]]
                kept[q] = kept_fraction(u[q], v[q], a[RADIUS + k], optic)
                background[q] = background_photons(density[q], a[RADIUS + k], kept[q], optic)
                signal = optic[PHOTONS] * a[SINE + k] * a[SINE + k] * kept[q]
                error[i] = _error(n_photons[i], signal, background[q], a[VARIANCE + k], optic)
            n = 0


@inline
def _error(n: int, s: float, b: float, variance: float, optic: Floats) -> float:
    """Error of a measured ring.

    How many of the `n` photons are the ring's own is not known. With s of its own expected (for the charge, 1 or 2,
    that suits n better) and b of the background they are a binomial number with the mean n s/(s + b), and the error is
    the mean of the variance over that number. n - b would be wrong: rings are found where the background is high by
    chance, and pulls in central Pb-Pb would be up to 1.5 wide.
    """
    if float(n) * n > (s + b) * (4.0 * s + b):
        s *= 4.0
    own = n * s / (s + b) if s > 0.0 else 0.0
    flat = _FLAT * optic[LIMIT_RESOLUTION] * optic[LIMIT_RESOLUTION]
    if own < 1.0:
        return math.sqrt(flat)
    # second order in the fluctuations of a binomial number: mean of 1/k and of 1/k^2
    scatter = b / ((s + b) * own)
    first, second = (1.0 + scatter) / own, (1.0 + 3.0 * scatter) / (own * own)
    return math.sqrt(min(variance * first + flat * (n * second - first), flat))
