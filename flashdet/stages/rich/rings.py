"""Rings of a RICH: signal, dark counts and photons of other rings, and the rings that are found among them.

Made from generated particles only, whose own photons are made in :mod:`.light`. Single hits are not
simulated: a ring is its number of photons and its angle. Its error, and what is concluded from it, is in
:mod:`.measured` and :mod:`.hypotheses`.

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

from flashdet.kernels.counts import poisson_of
from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import uniforms
from flashdet.rng import Draw
from flashdet.stages.rich.blocks import BLOCK, N_VALUES
from flashdet.stages.rich.config import RichConfig
from flashdet.stages.rich.crossing import Crossings
from flashdet.stages.rich.light import gas_kernel, signal_kernel, unit32
from flashdet.stages.rich.optics import FLAT, LIMIT_ANGLE, LIMIT_RESOLUTION, N_WINDOWS
from flashdet.stages.rich.tiles import Geometry

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Slot of the random numbers of a track for ghosts, besides those of :mod:`.light`.
_SLOT_GHOST = 1
#: Places of the values of a block: photons that a ring needs, of the background (first their mean), of the particle;
#: resolution at saturation; mean photons in any other window.
_LEAST, _EXTRA, _OWN, _FLAT, _OTHER = (i * BLOCK for i in range(5))
_INVERSE = (0.0, 1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0)
_LOW_BITS = np.uint64(7)
_HIGH = np.uint64(32)
_LOG_8, _INVERSE_E = math.log(8.0), math.exp(-1.0)


@dataclass(frozen=True)
class Rings:
    """What the photon detectors see of each track that crosses a radiator; all arrays but one (n_inside,).

    Attributes
    ----------
    n_photons : int64
        Detected photons of the radiator, those of the background within the ring included.
    found : bool
        A ring is found.
    angle : float64
        Its measured angle [rad]; NaN without a ring.
    density : float64
        Expected background hits per area around the crossing [1/cm^2].
    threshold : int64
        Photons that a ring needs here.
    n_gas : (n,) int32
        Detected photons of the gas, for all tracks.
    n_ghosts : int
        Rings that are made of background.
    """

    n_photons: Integers
    found: NDArray[np.bool_]
    angle: Floats
    density: Floats
    threshold: Integers
    n_gas: NDArray[np.int32]
    n_ghosts: int


def make_rings(
    track: Mapping[str, NDArray[Any]], offsets: Integers, event_key: Words, crossings: Crossings, geometry: Geometry,
    config: RichConfig, draw: Draw,
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
    signal, n_photons, threshold = np.empty((3, n_inside), np.int64)
    true, variance, windows, noise, angle = np.empty((5, n_inside))
    crowd = np.empty((2, n_inside))
    left, found, n_gas = np.empty(n_inside, np.uint64), np.empty(n_inside, np.bool_), np.zeros(n, np.int32)
    index, optics = track["particle_index"], geometry.optics
    rows, tile, u, v = crossings.rows, crossings.optic, crossings.u, crossings.v
    pt, eta, mass, charge = track["pt_true"], track["eta_true"], track["mass_true"], track["charge_true"]
    signal_kernel(
        rows, offsets, event_key, index, pt, eta, mass, charge, tile, u, v, optics, geometry.is_uniform,
        geometry.edges, draw.key, np.empty(N_VALUES), np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64),
        np.empty(BLOCK, np.uint64), np.empty((2, BLOCK), np.uint64), signal, true, variance, windows, noise, left,
        config.background is not None, crowd,
    )  # fmt: skip
    gas = config.gas
    if gas is not None:
        light = gas.photon_yield * gas.length
        gas_kernel(rows, offsets, event_key, index, pt, eta, mass, charge, gas.refractive_index, light, draw.key, n_gas)
    density = _densities(offsets, crossings, signal, geometry, config)
    significance = 0.0 if config.background is None else config.background.min_significance
    n_ghosts = _ring_kernel(
        rows, offsets, event_key, index, tile, optics, signal, true, variance, windows, noise, left, density, crowd,
        config.min_photons, significance, draw.key, np.empty(5 * BLOCK), n_photons, found, angle, threshold,
    )  # fmt: skip
    return Rings(n_photons, found, angle, density, threshold, n_gas, int(n_ghosts))


def _densities(
    offsets: Integers, crossings: Crossings, signal: Integers, geometry: Geometry, config: RichConfig
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
    rows: Integers, offsets: Integers, cell: Integers, signal: Integers, dark: float, overlap: bool,
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


@bare_kernel
def _ring_kernel(
    rows: Integers, offsets: Integers, event_key: Words, particle_index: NDArray[np.int32], tile: Integers,
    optics: Floats, signal: Integers, true: Floats, variances: Floats, windows: Floats, noise: Floats, left: Words,
    density: Floats, crowd: Floats, min_photons: int, significance: float, key: np.uint64, a: Floats,
    n_photons: Integers, found: NDArray[np.bool_], angle: Floats, threshold: Integers,
) -> int:  # fmt: skip
    n_ghosts, event = 0, 0
    for first in range(0, len(rows), BLOCK):
        size = min(BLOCK, len(rows) - first)
        # views that begin with the block: indices that start at zero make vectors
        _thresholds(
            size,
            density[first:],
            windows[first:],
            crowd[0][first:],
            crowd[1][first:],
            float(min_photons),
            significance,
            a,
        )
        for k in range(size):
            j = first + k
            extra = 0
            if density[j] > 0.0:
                extra = poisson_of(unit32(left[j] >> _HIGH), a[_EXTRA + k])
            a[_EXTRA + k], a[_OWN + k], a[_FLAT + k] = extra, signal[j], optics[tile[j], LIMIT_RESOLUTION]
        _spread(size, true[first:], noise[first:], variances[first:], a, angle[first:])
        for k in range(size):
            j = first + k
            least, n, n_windows = int(a[_LEAST + k]), signal[j] + int(a[_EXTRA + k]), optics[tile[j], N_WINDOWS]
            threshold[j], n_photons[j], found[j] = least, n, n >= least
            if density[j] > 0.0 and not ((left[j] & _LOW_BITS) > 0 and _is_rare(n_windows, a[_OTHER + k], least)):
                while rows[j] >= offsets[event + 1]:
                    event += 1
                fine, place = uniforms(key, event_key[event], particle_index[rows[j]], _SLOT_GHOST)
                tail = 0.125 * (float(np.int64(left[j] & _LOW_BITS)) + fine)
                ghost = _fullest_window(tail, n_windows, a[_OTHER + k], least)
                if ghost > n and ghost >= least:
                    n_ghosts += 1
                    n_photons[j], found[j], angle[j] = ghost, True, optics[tile[j], LIMIT_ANGLE] * math.sqrt(place)
    return n_ghosts


@inline
def _thresholds(
    size: int,
    density: Floats,
    windows: Floats,
    widest: Floats,
    others: Floats,
    min_photons: float,
    significance: float,
    a: Floats,
) -> None:
    """Photons that rings of a block need, and mean photons of the background in the window and in any other one."""
    for k in range(size):
        full = density[k] * widest[k] if density[k] > 0.0 else 0.0
        a[_LEAST + k] = max(min_photons, math.ceil(full + significance * math.sqrt(full)))
        a[_EXTRA + k], a[_OTHER + k] = density[k] * windows[k], density[k] * others[k]


@inline
def _spread(size: int, true: Floats, noise: Floats, variances: Floats, a: Floats, angle: Floats) -> None:
    """Measured angles of a block: the variance of a ring of n photons with others of the background in its window."""
    for k in range(size):
        n, extra, flat = a[_OWN + k], a[_EXTRA + k], FLAT * a[_FLAT + k] * a[_FLAT + k]
        own = max(n, 1.0)
        sigma = math.sqrt(min((n * variances[k] + extra * flat) / (own * own), flat))
        # an angle has no sign: the few below zero are reflected
        measured = abs(true[k] + noise[k] * sigma)
        angle[k] = measured if n + extra >= a[_LEAST + k] else math.nan


# --- ghosts ----------------------------------------------------------------------------------------------------------
@inline
def _is_rare(windows: float, mean: float, least: int) -> bool:
    """True if the largest of some Poisson numbers certainly is `least` or more with a probability below 1/8.

    Bernstein's inequality, P(k >= m) <= exp(-(m - mean)^2/(2 mean + 2 (m - mean)/3)), without the exponential; and the
    logarithm of the number of windows is at most that over e.
    """
    if least <= 4:
        return _rarely(windows, mean, least) < 0.125
    gap = least - mean
    return gap > 0.0 and gap * gap > (2.0 * mean + 2.0 / 3.0 * gap) * (_LOG_8 + windows * _INVERSE_E)


@inline
def _rarely(windows: float, mean: float, least: int) -> float:
    """An upper bound of the probability that the largest of some Poisson numbers is `least` or more.

    P(k >= m) is at most mean^m/m! and at most pmf(m) (m + 1)/(m + 1 - mean), by geometric series.
    """
    if least <= 4:
        bound = windows
        for k in range(1, least + 1):
            bound *= mean * _INVERSE[k]
        return bound
    if not mean < least + 1.0:
        return 1.0
    pmf = math.exp(least * math.log(mean) - mean - log_factorial(least)) if mean > 0.0 else 0.0
    return windows * pmf * (least + 1.0) / (least + 1.0 - mean)


@inline
def _fullest_window(tail: float, windows: float, mean: float, least: int) -> int:
    """Largest of some equal Poisson numbers, from a uniform number; 0 instead of anything below `least`.

    Its distribution is F(k)^windows. The bound spares nearly all tracks the sum.
    """
    if tail > _rarely(windows, mean, least):
        return 0
    wanted = math.exp(math.log1p(-tail) / windows)
    term = math.exp(-mean)
    total, k = term, 0
    while total < wanted and term > 0.0:
        k += 1
        term *= mean / k
        total += term
    return k
