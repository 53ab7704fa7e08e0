"""Kernel of what is expected of a track in silicon layers under every hypothesis, and of how far its signal is from it.

Only measured quantities enter. The signals are those of :mod:`.losses`, the tables are :mod:`.truncated`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import log
from flashdet.kernels.jit import bare_kernel
from flashdet.stages.pid import CHARGE, MASS, N_SPECIES, log_momentum_variance, rigidity
from flashdet.stages.tot.order import node
from flashdet.stages.tot.truncated import N_PATH, N_SPEED, Sensor

Floats = NDArray[np.float64]

_LOG_MASS, _LOG_CHARGE = np.log(MASS), np.log(CHARGE)
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)
#: Tracks of a block: what is known of them stays in the first cache.
_BLOCK = 256
_1, _2, _3 = np.uint64(1), np.uint64(2), np.uint64(3)
#: Numbers from one path of the tables to the next.
_NEXT = np.uint64(2 * N_SPEED)
#: Rows of the scratch space: squared relative error of the momentum, logarithm of the rigidity, first number of the
#: tables and weight of the next path, the same for the speed of a hypothesis, and 0, or NaN without a signal.
_RELATIVE, _LOG_RIGIDITY, _FIRST, _ACROSS, _PLACE, _WEIGHT, _NOTHING = (np.uint64(i * _BLOCK) for i in range(7))
#: Numbers of the scratch space: with what the tables say, and a variance.
N_WORK = 12 * _BLOCK
#: Rows of what the tables say: mean and width at the lower and at the upper node of the speed.
_LOW, _LOW_WIDTH, _HIGH, _HIGH_WIDTH = (np.uint64(i * _BLOCK) for i in range(4))


@bare_kernel
def _set_tracks(start: int, n: int, tgl: Floats, q_over_pt: Floats, cov: Floats, scale: float, work: Floats) -> None:
    """Momenta and their errors, in units of the distance of nodes of ln(p/m)."""
    for i in range(n):
        row, j = start + i, np.uint64(i)
        variance = log_momentum_variance(tgl[row], q_over_pt[row], cov[row])
        work[j + _RELATIVE] = max(variance, 0.0) * scale * scale
    for i in range(n):
        work[np.uint64(i) + _LOG_RIGIDITY] = log(rigidity(tgl[start + i], q_over_pt[start + i]))


@bare_kernel
def _place_paths(
    start: int, n: int, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats, log_square: float, path: Floats,
    work: Floats,
) -> None:  # fmt: skip
    """First number of the moments of each track's layers and path, and weight of the next path."""
    for i in range(n):
        row, j = start + i, np.uint64(i)
        lower, work[j + _ACROSS] = node(path, log_path[row] + log_square, N_PATH)
        # without a signal those of no layers, which are all 0
        work[j + _FIRST] = (
            (float(n_layers[row]) * N_PATH + lower) * (2 * N_SPEED) if signal[row] == signal[row] else 0.0
        )
        work[j + _NOTHING] = 0.0 * signal[row]


@bare_kernel
def _place_speeds(n: int, log_speed: float, speed: Floats, work: Floats) -> None:
    """First number of the moments and weight of the upper node of the speed of a hypothesis."""
    for i in range(n):
        j = np.uint64(i)
        lower, work[j + _WEIGHT] = node(speed, work[j + _LOG_RIGIDITY] + log_speed, N_SPEED)
        work[j + _PLACE] = work[j + _FIRST] + 2.0 * lower


@bare_kernel
def _look_up(n: int, moments: Floats, work: Floats, four: Floats) -> None:
    """Mean and width at the lower and the upper node of the speed, between the neighbouring paths."""
    for i in range(n):
        j = np.uint64(i)
        p, b = np.uint64(np.int64(work[j + _PLACE])), work[j + _ACROSS]
        q, c = p + _NEXT, 1.0 - b
        four[j + _LOW] = c * moments[p] + b * moments[q]
        four[j + _LOW_WIDTH] = c * moments[p + _1] + b * moments[q + _1]
        four[j + _HIGH] = c * moments[p + _2] + b * moments[q + _2]
        four[j + _HIGH_WIDTH] = c * moments[p + _3] + b * moments[q + _3]


@bare_kernel
def _expect(n: int, square: float, work: Floats, four: Floats, expected: Floats, variance: Floats) -> None:
    """Expectation of one hypothesis and its variance."""
    for i in range(n):
        j = np.uint64(i)
        a, low, high = work[j + _WEIGHT], four[j + _LOW], four[j + _HIGH]
        own, slope = (1.0 - a) * four[j + _LOW_WIDTH] + a * four[j + _HIGH_WIDTH], high - low
        expected[j] = square * ((1.0 - a) * low + a * high) + work[j + _NOTHING]
        variance[j] = square * square * (own * own + slope * slope * work[j + _RELATIVE])


@bare_kernel
def _pull(n: int, signal: Floats, expected: Floats, variance: Floats, n_sigma: Floats, log_likelihood: Floats) -> None:
    """Columns that follow from expectation and variance."""
    for i in range(n):
        j = np.uint64(i)
        n_sigma[j] = (signal[j] - expected[j]) / math.sqrt(variance[j])
    for i in range(n):
        # without a signal the variance is 0 and its logarithm any number, but the pull is NaN
        j = np.uint64(i)
        log_likelihood[j] = -0.5 * (n_sigma[j] * n_sigma[j] + log(variance[j])) - _HALF_LOG_TWO_PI


@bare_kernel
def compare(
    tgl: Floats, q_over_pt: Floats, cov: Floats, n_layers: NDArray[np.int8], signal: Floats, log_path: Floats,
    tables: Sensor, work: Floats, expected: Floats, n_sigma: Floats, log_likelihood: Floats,
) -> None:  # fmt: skip
    """Expected truncated mean under every hypothesis, its width, and how far the signal is from it.

    The width is that of the truncated mean of as many layers, and the error of the momentum times the slope of the
    expectation.

    Parameters
    ----------
    tgl, q_over_pt, cov : (n,), (n,), (n, 15) float64
        Measured.
    n_layers, signal, log_path : (n,) arrays
        From `flashdet.stages.tot.losses.make_signals`.
    tables : Sensor
        Of the sensor.
    work : (N_WORK,) float64
        Scratch space.
    expected, n_sigma, log_likelihood : (n_species, n) float64
        Written: expectation [GeV/cm], (signal - expected)/width, and the logarithm of the density of the signal
        [1/(GeV/cm)]; NaN without a signal.
    """
    four, variance = work[N_WORK - 5 * _BLOCK :], work[N_WORK - _BLOCK :]
    for start in range(0, len(signal), _BLOCK):
        n = min(_BLOCK, len(signal) - start)
        rows = slice(start, start + n)
        _set_tracks(start, n, tgl, q_over_pt, cov, tables.speed[1], work)
        last_charge = 0.0
        for h in range(N_SPECIES):
            charge = CHARGE[h]
            if charge != last_charge:
                # the path of a charge z counts z^2 times
                last_charge = charge
                _place_paths(start, n, n_layers, signal, log_path, 2.0 * _LOG_CHARGE[h], tables.path, work)
            _place_speeds(n, _LOG_CHARGE[h] - _LOG_MASS[h], tables.speed, work)
            _look_up(n, tables.moments, work, four)
            _expect(n, charge * charge, work, four, expected[h, rows], variance)
            _pull(n, signal[rows], expected[h, rows], variance, n_sigma[h, rows], log_likelihood[h, rows])
