"""Kernels of the energy loss in silicon layers: signals of layers, truncated means, and what is expected.

Tracks go through in blocks, step by step: the layers that they cross (:mod:`flashdet.stages.crossings`), the signals of
all these crossings, the means. In one loop over tracks and layers the same takes 1.6 times as long. The stage and its
configuration are :mod:`flashdet.stages.tot`, the tables :mod:`flashdet.stages.truncated`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.helix import curvature
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.kernels.philox import _unit, words
from flashdet.stages.crossings import (
    BLOCK,
    Layers,
    Truth,
    Work,
    cross_cylinders,
    cross_discs,
    set_circles,
    set_functions,
)
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity
from flashdet.stages.truncated import N_PATH, N_QUANTILE, N_SPEED, TAIL, LossTables

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

_LOG_MASS, _LOG_CHARGE = np.log(MASS), np.log(CHARGE)
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
#: Stored quantiles of one distribution.
_N_NODES = 2 * (N_QUANTILE + 1)
#: One number, one path and one speed further.
_2, _3, _UP = np.uint64(2), np.uint64(3), np.uint64(2 * N_PATH)
_PATHS = np.uint64(N_PATH)
_1, _NEXT, _STEP = np.uint64(1), np.uint64(_N_NODES), np.uint64(N_PATH * _N_NODES)


# --- signals ---------------------------------------------------------------------------------------------------------
@inline
def _node(axis: Floats, value: float, n: int) -> tuple[int, float]:
    """Lower node and weight of the upper one on a regular axis; clamped at both ends."""
    place = min(max((value - axis[0]) * axis[1], 0.0), n - 1.0)
    lower = min(int(place), n - 2)
    return lower, place - lower


@bare_kernel
def _place(n: int, speed: Floats, work: Work) -> int:
    """Nodes of the speeds of `n` tracks; return how many are slower than the tables."""
    weight, node = work.weight, work.node
    n_clamped = 0
    for j in range(n):
        # at the upper end the energy loss is constant: nothing is lost there
        n_clamped += weight[j] < speed[0]
        node[j], weight[j] = _node(speed, weight[j], N_SPEED)
    return n_clamped


@inline
def _sample(quantile: Floats, place: int, a: float, b: float, u: float) -> float:
    """Energy over path at quantile `u`, between the four neighbouring distributions.

    `quantile` is flat, the distributions start at `place`, one after the other along the path and `_STEP` apart along
    the speed: one index instead of three saves a third of the time.
    """
    is_tail = u > 1.0 - TAIL
    where = (u - (1.0 - TAIL)) * (N_QUANTILE / TAIL) if is_tail else u * N_QUANTILE
    k = min(int(where), N_QUANTILE - 1)
    c = where - k
    # unsigned: indices that may be negative are tested, which takes a fifth of the time
    p = np.uint64(place + k + (N_QUANTILE + 1 if is_tail else 0))
    q = p + _STEP
    low = (1.0 - b) * ((1.0 - c) * quantile[p] + c * quantile[p + _1])
    low += b * ((1.0 - c) * quantile[p + _NEXT] + c * quantile[p + _NEXT + _1])
    high = (1.0 - b) * ((1.0 - c) * quantile[q] + c * quantile[q + _1])
    high += b * ((1.0 - c) * quantile[q + _NEXT] + c * quantile[q + _NEXT + _1])
    result: float = (1.0 - a) * low + a * high
    return result


@bare_kernel
def _draw(n: int, key: np.uint64, work: Work) -> None:
    """Uniform number of each crossing: two layers share a block of random bits; and the length of its path."""
    layer, length, sine2, draw = work.layer, work.length, work.sine2, work.draw
    event_key, particle = work.key, work.particle
    for i in range(n):
        first, second = words(key, event_key[i], particle[i], layer[i] >> 1)
        draw[i] = _unit(first) if layer[i] & 1 == 0 else _unit(second)
    for i in range(n):
        length[i] -= 0.5 * log(1.0 - sine2[i])


@bare_kernel
def _choose(n: int, tables: LossTables, efficiency: float, work: Work) -> None:
    """Which crossings make a hit, their distribution and their quantile, which replaces the uniform number."""
    path, chance, owner, node = tables.path, tables.chance, work.owner, work.node
    draw, length, log_square, across = work.draw, work.length, work.log_square, work.across
    for i in range(n):
        j = owner[i]
        a = work.weight[j]
        column, b = _node(path, length[i] + log_square[j], N_PATH)
        at = node[j] * N_PATH + column
        place = np.uint64(at)
        above = (1.0 - a) * ((1.0 - b) * chance[place] + b * chance[place + _1])
        above += a * ((1.0 - b) * chance[place + _PATHS] + b * chance[place + _PATHS + _1])
        above *= efficiency
        is_hit = draw[i] < above
        draw[i] = draw[i] / above if is_hit else -1.0
        # the layer is not needed any more
        work.layer[i], across[i] = at * _N_NODES, b


@bare_kernel
def _measure(n: int, tables: LossTables, work: Work) -> None:
    """Signal of each crossing from its quantile."""
    quantile, owner, weight, square = tables.quantile, work.owner, work.weight, work.square
    draw, place, across = work.draw, work.layer, work.across
    for i in range(n):
        j = owner[i]
        value = square[j] * _sample(quantile, place[i], weight[j], across[i], max(draw[i], 0.0))
        draw[i] = value if draw[i] >= 0.0 else -1.0


@inline
def _lowest(values: Floats, n: int, k: int) -> float:
    """Mean of the k lowest of the first n values, which are moved to the front.

    One pass per kept value without a branch: an insertion sort takes 40 ns more because its branches are guessed wrong.
    """
    total = 0.0
    for i in range(k):
        least = values[n - 1]
        for j in range(n - 2, i - 1, -1):
            other = values[j]
            values[j + 1] = max(least, other)
            least = min(least, other)
        total += least
    return total / k


@bare_kernel
def _collect(
    start: int, n_tracks: int, n_kept: Integers, min_layers: int, work: Work, n_layers: NDArray[np.int8],
    signal: Floats, log_path: Floats,
) -> None:  # fmt: skip
    """Truncated means of a block of tracks."""
    values, draw, length = work.lowest, work.draw, work.length
    for j in range(n_tracks):
        n, total = 0, 0.0
        for i in range(work.first[j], work.first[j + 1]):
            is_hit = draw[i] >= 0.0
            values[n] = draw[i]
            total += length[i] if is_hit else 0.0
            n += is_hit
        n_layers[start + j] = n
        is_measured = n >= min_layers
        signal[start + j] = _lowest(values, n, n_kept[n]) if is_measured else np.nan
        log_path[start + j] = total / n if is_measured else 0.0


@kernel
def make_signals(
    offsets: Integers, event_keys: Words, truth: Truth, tgl: Floats, q_over_pt: Floats, bz: float, layers: Layers,
    thickness: float, efficiency: float, min_layers: int, n_kept: Integers, tables: LossTables, key: np.uint64,
    n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
) -> int:  # fmt: skip
    """Let the generated particles cross the layers, and take the truncated means.

    Parameters
    ----------
    offsets, event_keys : (n_events + 1,) int64, (n_events,) uint64
        Rows of the events and their counter words.
    truth : Truth
        Columns of n tracks.
    tgl, q_over_pt : (n,) float64
        Measured.
    bz : float
        Field [T].
    layers : Layers
        From `order`.
    thickness : float
        Of a layer [cm].
    efficiency : float
        Probability of a hit, before the threshold.
    min_layers : int
        Hits that a signal needs.
    n_kept : (n_surfaces + 1,) int64
        How many of the lowest signals enter the mean, by the number of hits.
    tables : LossTables
        Of the sensor.
    key : uint64
        Key of the random numbers.
    n_layers, signal, log_path : (n,) int8, float64, float64
        Written: hits, truncated mean [GeV/cm] or NaN, mean of ln(path [cm]) over the hits or 0.

    Returns
    -------
    int
        Particles slower than the tables.
    """
    capacity = BLOCK * (layers.cylinder.shape[1] + layers.disc.shape[2]) + 1
    work = Work(
        np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK),
        np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK, np.int64), np.empty(BLOCK), np.empty(BLOCK),
        np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK + 1, np.int64),
        np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity), np.empty(capacity),
        np.empty(capacity, np.uint64), np.empty(capacity, np.int64), np.empty(capacity), np.empty(capacity),
        np.empty(capacity), np.empty(BLOCK),
    )  # fmt: skip
    n_clamped, event = 0, 0
    for start in range(0, len(tgl), BLOCK):
        n_tracks = min(BLOCK, len(tgl) - start)
        set_functions(start, n_tracks, truth.eta_true, truth.phi_true, tgl, math.log(thickness), work)
        set_circles(start, n_tracks, truth, bz, work)
        n_clamped += _place(n_tracks, tables.speed, work)
        n = 0
        for j in range(n_tracks):
            row = start + j
            while row >= offsets[event + 1]:
                event += 1
            work.first[j] = n
            n = cross_cylinders(j, truth.vz_true[row], 0.5 * curvature(q_over_pt[row], bz), layers, work, n)
            n = cross_discs(j, truth.vz_true[row], layers, work, n)
            for i in range(work.first[j], n):
                work.key[i], work.particle[i] = event_keys[event], truth.particle_index[row]
        work.first[n_tracks] = n
        _draw(n, key, work)
        _choose(n, tables, efficiency, work)
        _measure(n, tables, work)
        _collect(start, n_tracks, n_kept, min_layers, work, n_layers, signal, log_path)
    return n_clamped


# --- expectation -----------------------------------------------------------------------------------------------------
@bare_kernel
def _place_paths(
    n_layers: NDArray[np.int8], signal: Floats, log_path: Floats, log_square: float, path: Floats, start: Integers,
    weight: Floats,
) -> None:  # fmt: skip
    """First number of the moments of each track's layers and path, and weight of the next path."""
    for row in range(len(start)):
        j, weight[row] = _node(path, log_path[row] + log_square, N_PATH)
        start[row] = (int(n_layers[row]) * N_SPEED * N_PATH + j) * 2 if signal[row] == signal[row] else 0


@bare_kernel
def _expect(
    log_speed: float, square: float, start: Integers, weight: Floats, relative: Floats, log_rigidity: Floats,
    tables: LossTables, expected: Floats, variance: Floats,
) -> None:  # fmt: skip
    """Expectation of one hypothesis and its variance; `log_speed` is the logarithm of p/m less that of the rigidity."""
    speed, moments = tables.speed, tables.moments
    for row in range(len(expected)):
        i, a = _node(speed, log_rigidity[row] + log_speed, N_SPEED)
        b = weight[row]
        at = np.uint64(start[row] + i * (2 * N_PATH))
        up = at + _UP
        low = (1.0 - b) * moments[at] + b * moments[at + _2]
        high = (1.0 - b) * moments[up] + b * moments[up + _2]
        own = (1.0 - a) * ((1.0 - b) * moments[at + _1] + b * moments[at + _3])
        own += a * ((1.0 - b) * moments[up + _1] + b * moments[up + _3])
        expected[row] = square * ((1.0 - a) * low + a * high)
        variance[row] = square * square * (own * own + (high - low) * (high - low) * relative[row])


@bare_kernel
def _pull(signal: Floats, expected: Floats, error: Floats, n_sigma: Floats, log_likelihood: Floats) -> None:
    """Columns that follow from expectation and variance, which `log_likelihood` holds: loops over few arrays each."""
    for row in range(len(signal)):
        is_missing = signal[row] != signal[row]
        expected[row] = np.nan if is_missing else expected[row]
    for row in range(len(signal)):
        error[row] = math.sqrt(log_likelihood[row]) + 0.0 * expected[row]
    for row in range(len(signal)):
        n_sigma[row] = (signal[row] - expected[row]) / error[row]
    for row in range(len(signal)):
        # variances of tracks without signal are 0: any number does, for their pulls are NaN
        log_variance = log(max(log_likelihood[row], 1e-300))
        log_likelihood[row] = -0.5 * (n_sigma[row] * n_sigma[row] + log_variance) - _HALF_LOG_TWO_PI


@kernel
def compare(
    tgl: Floats, q_over_pt: Floats, cov: Floats, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
    tables: LossTables, expected: Floats, error: Floats, n_sigma: Floats, log_likelihood: Floats,
) -> None:  # fmt: skip
    """Expected truncated mean under every hypothesis, its width, and how far the signal is from it.

    The width is that of the truncated mean of as many layers, and the error of the momentum times the slope of the
    expectation.

    Parameters
    ----------
    tgl, q_over_pt, cov : (n,), (n,), (n, 15) float64
        Measured.
    n_layers, signal, log_path : (n,) arrays
        From `make_signals`.
    tables : LossTables
        Of the sensor.
    expected, error, n_sigma, log_likelihood : (n_species, n) float64
        Written: expectation and width [GeV/cm], (signal - expected)/width, and the logarithm of the Gaussian density of
        the signal [1/(GeV/cm)]; NaN without a signal.
    """
    n_rows = len(signal)
    relative, log_rigidity = np.empty(n_rows), np.empty(n_rows)
    scale = tables.speed[1] * tables.speed[1]
    for row in range(n_rows):
        variance = log_momentum_variance(tgl[row], q_over_pt[row], cov[row])
        relative[row] = max(variance, 0.0) * scale
        log_rigidity[row] = log(rigidity(tgl[row], q_over_pt[row]))
    # the path of a charge z counts z^2 times
    start, weight = np.empty(n_rows, np.int64), np.empty(n_rows)
    last_charge = 0.0
    # species after species: writing 36 columns track by track takes twice the time
    for hypothesis in range(N_SPECIES):
        charge = CHARGE[hypothesis]
        if charge != last_charge:
            last_charge = charge
            _place_paths(n_layers, signal, log_path, 2.0 * _LOG_CHARGE[hypothesis], tables.path, start, weight)
        _expect(
            _LOG_CHARGE[hypothesis] - _LOG_MASS[hypothesis], charge * charge, start, weight, relative, log_rigidity,
            tables, expected[hypothesis], log_likelihood[hypothesis],
        )  # fmt: skip
        _pull(signal, expected[hypothesis], error[hypothesis], n_sigma[hypothesis], log_likelihood[hypothesis])
