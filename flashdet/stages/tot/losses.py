"""Kernels of what the layers of a silicon tracker measure: signals of layers and truncated means.

Tracks go through in blocks. Those of a block are put in the order of :mod:`.order`, so that each step is a loop over
the tracks with an i-th layer that becomes vector instructions; only the look-ups in tables go number by number. With a
list of the crossings, track by track, the same takes 1.8 times as long. Which layers are crossed is :mod:`.crossings`,
the tables are :mod:`.truncated`, what is expected of a track is :mod:`.expectation`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log, select
from flashdet.kernels.jit import bare_kernel, inline
from flashdet.kernels.philox import _LOW, _32, block
from flashdet.stages.tot.crossings import ALL, BLOCK, Layers, Truth, cross, set_circles, set_functions
from flashdet.stages.tot.order import (
    BASE,
    CHARGE2,
    CYLINDER_PATH,
    DISC_PATH,
    HITS,
    KEPT,
    LOG_CHARGE2,
    N_CYLINDERS,
    PATHS,
    ROUND,
    SUM,
    WEIGHT,
    Work,
    count,
    node,
    put_cylinders,
    put_in_order,
)
from flashdet.stages.tot.truncated import CELL, N_PATH, N_QUANTILE, TAIL, Sensor

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Words = NDArray[np.uint64]

#: Bits of 2^52.
_EXPONENT = np.uint64(0x4330000000000000)
_1, _2, _3, _UP = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64((N_PATH - 1) * CELL)
#: Loops go over a multiple of so many tracks: what is left of them after the vectors would go one by one.
_VECTORS = np.uint64(15)


# --- signals ---------------------------------------------------------------------------------------------------------
@inline
def _unit32(word: np.uint64) -> float:
    """A word of 32 bits to the middle of a cell of width 2**-32, through the bits of a number between 2^52 and 2^53."""
    return (np.uint64(word | _EXPONENT).view(np.float64) - 4503599627370495.5) * 2.3283064365386963e-10


@bare_kernel
def _draw(n: np.uint64, number: int, key: np.uint64, work: Work) -> None:
    """Uniform numbers for four crossings of `n` tracks: random bits are dear."""
    event_key, particle, draw = work.key, work.particle, work.draw
    low, high, word = key & _LOW, key >> _32, np.uint64(number)
    for r in range(n):
        a, b, c, d = block(event_key[r] & _LOW, event_key[r] >> _32, particle[r], word, low, high)
        draw[r], draw[r + ALL] = _unit32(a), _unit32(b)
        draw[r + _2 * ALL], draw[r + _3 * ALL] = _unit32(c), _unit32(d)


@bare_kernel
def _place(
    n: np.uint64, i_crossing: float, path: Floats, track: Floats, length: Floats, across: Floats, place: Floats
) -> None:
    """Paths of the crossings of one row, and where they are in the tables."""
    for r in range(n):
        # there are other numbers in places without a crossing
        on_cylinder = track[r + CYLINDER_PATH] - 0.5 * log(max(length[r], 1e-3))
        length[r] = on_cylinder if i_crossing < track[r + N_CYLINDERS] else track[r + DISC_PATH]
    for r in range(n):
        lower, across[r] = node(path, length[r] + track[r + LOG_CHARGE2], N_PATH)
        place[r] = track[r + BASE] + lower * CELL


@bare_kernel
def _choose(
    m: int, n: np.uint64, table: Floats, efficiency: float, track: Floats, draw: Floats, across: Floats, place: Floats,
    level: Floats, four: Floats,
) -> None:  # fmt: skip
    """Quantiles of the signals of one row: above 1 without a hit."""
    for i in range(m):
        j = np.uint64(i)
        p, a = np.uint64(np.int64(place[j])), track[j + WEIGHT]
        q, b = p + _UP, 1.0 - a
        four[j], four[j + ALL] = b * table[p] + a * table[q], b * table[p + _1] + a * table[q + _1]
    for r in range(n):
        # the numbers below the chance of a hit are uniform again: they are the quantile
        chance = (1.0 - across[r]) * four[r] + across[r] * four[r + ALL]
        level[r] = draw[r] / (chance * efficiency)
    for i in range(m, np.int64(n)):
        level[np.uint64(i)] = np.inf


@bare_kernel
def _look_up(
    m: int, n: np.uint64, table: Floats, track: Floats, level: Floats, place: Floats, between: Floats, four: Floats
) -> None:
    """Numbers of the tables around the quantiles of one row, between the neighbouring speeds."""
    for r in range(n):
        u = min(level[r], 1.0)
        is_tail = u > 1.0 - TAIL
        where = (u - (1.0 - TAIL)) * (N_QUANTILE / TAIL) if is_tail else u * N_QUANTILE
        k = min((where - 0.5 + ROUND) - ROUND, N_QUANTILE - 1.0)
        between[r] = where - k
        place[r] += 2.0 * k + (2.0 * (N_QUANTILE + 1) + 2.0 if is_tail else 2.0)
    for i in range(m):
        j = np.uint64(i)
        p, a = np.uint64(np.int64(place[j])), track[j + WEIGHT]
        q, b = p + _UP, 1.0 - a
        four[j], four[j + ALL] = b * table[p] + a * table[q], b * table[p + _1] + a * table[q + _1]
        four[j + _2 * ALL] = b * table[p + _2] + a * table[q + _2]
        four[j + _3 * ALL] = b * table[p + _3] + a * table[q + _3]


@bare_kernel
def _measure(
    n: np.uint64, track: Floats, length: Floats, across: Floats, level: Floats, between: Floats, four: Floats,
    signal: Floats,
) -> None:  # fmt: skip
    """Signals of one row, infinite without a hit."""
    for r in range(n):
        b, c = across[r], between[r]
        low = (1.0 - b) * four[r] + b * four[r + ALL]
        high = (1.0 - b) * four[r + _2 * ALL] + b * four[r + _3 * ALL]
        value = (1.0 - c) * low + c * high
        signal[r] = value * track[r + CHARGE2] if level[r] < 1.0 else np.inf
    for r in range(n):
        is_hit = level[r] < 1.0
        track[r + HITS] += select(is_hit, 1.0, 0.0)
        track[r + PATHS] += select(is_hit, length[r], 0.0)


# --- truncated means -------------------------------------------------------------------------------------------------
@bare_kernel
def _exchange(n: np.uint64, upper: Integers, lower: Integers) -> None:
    """Move the smaller ones of two rows to the upper one; the bits of positive numbers are ordered like them.

    With min and max of floats the compiler stores only what changes, number by number: twice the time.
    """
    for r in range(n):
        a, b = upper[r], lower[r]
        change = (a ^ b) & -np.int64(b < a)
        upper[r], lower[r] = a ^ change, b ^ change


@bare_kernel
def _add_kept(n: np.uint64, place: float, row: Floats, track: Floats) -> None:
    """Add the signals of a row to the sums of tracks that keep more than `place` signals."""
    for r in range(n):
        track[r + SUM] += select(place < track[r + KEPT], row[r], 0.0)


@bare_kernel
def _add_lowest(n_tracks: int, most: int, n_kept: Integers, work: Work) -> None:
    """Sums of the lowest signals of tracks with up to `most` crossings: each pass brings the next lowest up."""
    track, signal, bits, n_longer = work.track, work.signal, work.bits, work.n_longer
    for i in range(n_tracks):
        r = np.uint64(i)
        track[r + KEPT] = float(n_kept[np.uint64(np.int64(track[r + HITS]))])
    shortest = 0
    for i in range(n_kept[most]):
        # only tracks with this many crossings can keep more than i signals, and they come first
        while n_kept[shortest] <= i:
            shortest += 1
        n_here = n_longer[shortest - 1]
        for j in range(most - 1, i, -1):
            n = (np.uint64(min(n_here, n_longer[j])) + _VECTORS) & ~_VECTORS
            _exchange(n, bits[(j - 1) * BLOCK : j * BLOCK], bits[j * BLOCK :])
        _add_kept((np.uint64(n_here) + _VECTORS) & ~_VECTORS, float(i), signal[i * BLOCK :], track)


@bare_kernel
def _store(
    n_tracks: int, min_layers: int, work: Work, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats
) -> None:
    """Results of a block, in the order of the tracks."""
    track, order = work.track, work.order
    for i in range(n_tracks):
        r = np.uint64(i)
        row, n = np.uint64(order[r]), track[r + HITS]
        is_measured = n >= min_layers
        n_layers[row] = np.int64(n)
        signal[row] = track[r + SUM] / track[r + KEPT] if is_measured else np.nan
        log_path[row] = track[r + PATHS] / n if is_measured else 0.0


@bare_kernel
def make_signals(
    offsets: Integers, event_keys: Words, truth: Truth, tgl: Floats, q_over_pt: Floats, bz: float, layers: Layers,
    thickness: float, efficiency: float, min_layers: int, n_kept: Integers, tables: Sensor, key: np.uint64,
    work: Work, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
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
    tables : Sensor
        Of the sensor.
    key : uint64
        Key of the random numbers.
    work : Work
        From `flashdet.stages.tot.order.make_work`.
    n_layers, signal, log_path : (n,) int8, float64, float64
        Written: hits, truncated mean [GeV/cm] or NaN, mean of ln(path [cm]) over the hits or 0.

    Returns
    -------
    int
        Particles slower than the tables.
    """
    n_clamped, event, most = 0, 0, 0
    track, length, across, place, level = work.track, work.length, work.across, work.place, work.level
    for start in range(0, len(tgl), BLOCK):
        n_tracks = min(BLOCK, len(tgl) - start)
        rows = slice(start, start + n_tracks)
        set_functions(start, n_tracks, truth, tgl, q_over_pt, bz, math.log(thickness), work.crossed.track)
        set_circles(start, n_tracks, truth, bz, work.crossed.track)
        cross(layers, work.crossed)
        count(n_tracks, work)
        for j in range(n_tracks):
            while start + j >= offsets[event + 1]:
                event += 1
            work.key[work.at[j]] = event_keys[event]
            work.particle[work.at[j]] = np.uint64(truth.particle_index[start + j]) & _LOW
        n_clamped += put_in_order(n_tracks, tables.speed, work)
        put_cylinders(n_tracks, layers.radius, work)
        for i in range(len(work.n_longer)):
            m, most = work.n_longer[i], i
            if m == 0:
                break
            n, row = (np.uint64(m) + _VECTORS) & ~_VECTORS, i * BLOCK
            if i % 4 == 0:
                _draw(n, i // 4, key, work)
            _place(n, float(i), tables.path, track, length[row:], across, place)
            draw = work.draw[i % 4 * BLOCK :]
            _choose(m, n, tables.signal, efficiency, track, draw, across, place, level, work.four)
            _look_up(m, n, tables.signal, track, level, place, work.between, work.four)
            _measure(n, track, length[row:], across, level, work.between, work.four, work.signal[row:])
        _add_lowest(n_tracks, most, n_kept, work)
        _store(n_tracks, min_layers, work, n_layers[rows], signal[rows], log_path[rows])
    return n_clamped
