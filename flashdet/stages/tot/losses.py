"""Kernels of the energy loss in silicon layers: signals of layers, truncated means, and what is expected.

Tracks go through in blocks, step by step: the layers that they cross (:mod:`.crossings`), the signals of
all these crossings, the means. In one loop over tracks and layers the same takes 1.6 times as long. The stage and its
configuration are :mod:`.stage`, the tables :mod:`.truncated`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import bare_kernel, inline, kernel
from flashdet.kernels.philox import _LOW, _32, block
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity
from flashdet.stages.tot.crossings import (
    BLOCK,
    Layers,
    Truth,
    Work,
    add_crossings,
    cross,
    set_circles,
    set_functions,
)
from flashdet.stages.tot.truncated import N_PATH, N_QUANTILE, N_SPEED, TAIL, LossTables

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
_4, _5, _6, _7 = np.uint64(4), np.uint64(5), np.uint64(6), np.uint64(7)
#: Bits of 2^52.
_EXPONENT = np.uint64(0x4330000000000000)
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


@inline
def _unit32(word: np.uint64) -> float:
    """A word of 32 bits to the middle of a cell of width 2**-32, through the bits of a number between 2^52 and 2^53."""
    return (np.uint64(word | _EXPONENT).view(np.float64) - 4503599627370495.5) * 2.3283064365386963e-10


@bare_kernel
def _draw(n: int, key: np.uint64, work: Work) -> None:
    """Uniform numbers of `n` blocks: four from each, for tracks cross eight layers and random bits are dear."""
    event_key, particle, number, draw = work.key, work.particle, work.number, work.draw
    low, high = key & _LOW, key >> _32
    for i in range(n):
        at = _4 * np.uint64(i)
        a, b, c, d = block(
            event_key[i] & _LOW, event_key[i] >> _32, np.uint64(particle[i]) & _LOW, np.uint64(number[i]), low, high
        )
        draw[at], draw[at + _1], draw[at + _2], draw[at + _3] = _unit32(a), _unit32(b), _unit32(c), _unit32(d)


@bare_kernel
def _set_lengths(n: int, work: Work) -> None:
    """Logarithms of path lengths with the inclination in the transverse plane."""
    length, cosine2 = work.length, work.cosine2
    for i in range(n):
        length[i] -= 0.5 * log(cosine2[i])


@bare_kernel
def _choose(n: int, tables: LossTables, efficiency: float, work: Work) -> None:
    """Distributions of `n` crossings, and their quantiles: above 1 without a hit.

    Not in one loop with `_measure`, and not track by track: either takes 30 ns per track more.
    """
    path, chance, owner, node = tables.path, tables.chance, work.owner, work.node
    length, log_square, across, level = work.length, work.log_square, work.across, work.level
    for i in range(n):
        j = owner[i]
        a = work.weight[j]
        column, b = _node(path, length[i] + log_square[j], N_PATH)
        at = node[j] * N_PATH + column
        place = np.uint64(at)
        above = (1.0 - a) * ((1.0 - b) * chance[place] + b * chance[place + _1])
        above += a * ((1.0 - b) * chance[place + _PATHS] + b * chance[place + _PATHS + _1])
        above *= efficiency
        # the numbers below the chance of a hit are uniform again: they are the quantile
        level[i] = work.draw[i + work.shift[j]] / above
        work.place[i], across[i] = at * _N_NODES, b


@bare_kernel
def _measure(n: int, tables: LossTables, work: Work) -> None:
    """Signal of each crossing, infinite without a hit."""
    quantile, owner, weight, square = tables.quantile, work.owner, work.weight, work.square
    place, across, level = work.place, work.across, work.level
    for i in range(n):
        j = owner[i]
        value = square[j] * _sample(quantile, place[i], weight[j], across[i], min(level[i], 1.0))
        work.signal[i] = value if level[i] < 1.0 else np.inf


@inline
def _lowest_of_eight(values: Floats, first: int, n: int, k: int) -> float:
    """Mean of the k lowest of the n <= 8 values from `first` on, without a branch.

    The network of 19 comparisons is the shortest one (D. E. Knuth, The Art of Computer Programming 3, section 5.3.4).
    """
    at, inf = np.uint64(first), np.inf
    a, b = values[at] if n > 0 else inf, values[at + _1] if n > 1 else inf
    c, d = values[at + _2] if n > 2 else inf, values[at + _3] if n > 3 else inf
    e, f = values[at + _4] if n > 4 else inf, values[at + _5] if n > 5 else inf
    g, h = values[at + _6] if n > 6 else inf, values[at + _7] if n > 7 else inf
    a, c = min(a, c), max(a, c)
    b, d = min(b, d), max(b, d)
    e, g = min(e, g), max(e, g)
    f, h = min(f, h), max(f, h)
    a, e = min(a, e), max(a, e)
    b, f = min(b, f), max(b, f)
    c, g = min(c, g), max(c, g)
    d, h = min(d, h), max(d, h)
    a, b = min(a, b), max(a, b)
    c, d = min(c, d), max(c, d)
    e, f = min(e, f), max(e, f)
    g, h = min(g, h), max(g, h)
    c, e = min(c, e), max(c, e)
    d, f = min(d, f), max(d, f)
    b, e = min(b, e), max(b, e)
    d, g = min(d, g), max(d, g)
    b, c = min(b, c), max(b, c)
    d, e = min(d, e), max(d, e)
    f, g = min(f, g), max(f, g)
    total: float = a + (b if k > 1 else 0.0) + (c if k > 2 else 0.0) + (d if k > 3 else 0.0)
    total += (e if k > 4 else 0.0) + (f if k > 5 else 0.0) + (g if k > 6 else 0.0) + (h if k > 7 else 0.0)
    return total / k


@inline
def _lowest(values: Floats, first: int, n: int, k: int) -> float:
    """Mean of the k lowest of the n values from `first` on, which are moved to the front, one pass for each."""
    total = 0.0
    for i in range(first, first + k):
        least = values[first + n - 1]
        for j in range(first + n - 2, i - 1, -1):
            other = values[j]
            values[j + 1] = max(least, other)
            least = min(least, other)
        total += least
    return total / k


@bare_kernel
def _collect(
    n_tracks: int, n_kept: Integers, min_layers: int, work: Work, n_layers: NDArray[np.int8], signal: Floats,
    log_path: Floats,
) -> None:  # fmt: skip
    """Truncated means of a block of tracks."""
    values, length = work.signal, work.length
    for j in range(n_tracks):
        first, n_crossings = work.first[j], work.first[j + 1] - work.first[j]
        n, total = 0, 0.0
        for i in range(first, first + n_crossings):
            is_hit = values[i] < np.inf
            total += length[i] if is_hit else 0.0
            n += is_hit
        n_layers[j] = n
        is_measured = n >= min_layers
        log_path[j] = total / n if is_measured else 0.0
        if not is_measured:
            signal[j] = np.nan
        elif n_crossings <= 8:
            signal[j] = _lowest_of_eight(values, first, n_crossings, n_kept[n])
        else:
            signal[j] = _lowest(values, first, n_crossings, n_kept[n])


@kernel
def _make_work(n_cylinders: int, n_discs: int) -> Work:
    """Scratch space for so many layers."""
    capacity = BLOCK * (n_cylinders + n_discs) + 1
    return Work(
        np.zeros(11 * BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK, np.int64), np.empty(BLOCK),
        np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK), np.empty(BLOCK, np.int64), np.empty(BLOCK),
        np.empty(n_cylinders * BLOCK, np.int64), np.empty(BLOCK + 1, np.int64), np.empty(BLOCK, np.int64),
        np.empty(capacity, np.int64), np.empty(capacity), np.empty(capacity), np.empty(capacity, np.uint64),
        np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(4 * capacity), np.empty(capacity + 8),
        np.empty(capacity, np.int64), np.empty(capacity), np.empty(capacity),
    )  # fmt: skip


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
        From `split`.
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
    work = _make_work(len(layers.cylinder), len(layers.disc))
    n_clamped, event = 0, 0
    for start in range(0, len(tgl), BLOCK):
        n_tracks = min(BLOCK, len(tgl) - start)
        rows = slice(start, start + n_tracks)
        set_functions(start, n_tracks, truth.eta_true, truth.phi_true, tgl, math.log(thickness), work)
        set_circles(start, n_tracks, truth, q_over_pt, bz, work)
        n_clamped += _place(n_tracks, tables.speed, work)
        cross(layers, work)
        n, n_blocks = 0, 0
        for j in range(n_tracks):
            while start + j >= offsets[event + 1]:
                event += 1
            work.first[j], work.shift[j] = n, 4 * n_blocks - n
            n = add_crossings(j, layers, work, n)
            for number in range((n - work.first[j] + 3) >> 2):
                work.key[n_blocks], work.number[n_blocks] = event_keys[event], number
                work.particle[n_blocks] = truth.particle_index[start + j]
                n_blocks += 1
        work.first[n_tracks] = n
        _draw(n_blocks, key, work)
        _set_lengths(n, work)
        _choose(n, tables, efficiency, work)
        _measure(n, tables, work)
        _collect(n_tracks, n_kept, min_layers, work, n_layers[rows], signal[rows], log_path[rows])
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
