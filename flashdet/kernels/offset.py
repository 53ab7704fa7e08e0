"""Common offset of many ambiguous measurements, and the same without each one of them in turn.

Every measurement i says: the offset t is ``d[h, i]`` with variance ``1/inverse[h, i]`` under its hypothesis h, or the
measurement is an outlier that says nothing. Its likelihood, in units of the outlier density, is the mixture

    L_i(t) = 1 + sum_h amplitude[h, i] exp(-(d[h, i] - t)^2 inverse[h, i] / 2),

the offset itself has a normal prior. Hypotheses are never decided, so that nothing flips when a measurement
is left out. Two ways to the posterior, both of a cost proportional to the number of measurements:

* up to `N_GRID` measurements: mean and standard deviation by :mod:`flashdet.kernels.offsetgrid`;
* more measurements: the place where most of them agree in a histogram, refined by Newton steps, with the curvature
  there as information. Leaving one out is one more Newton step with its share of gradient and curvature taken off:
  exact where the likelihoods are Gaussian, of second order in 1/n otherwise.

Sums run in row order. Nothing here knows what is measured.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.exponential import exp_minus
from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.offsetgrid import N_GRID, REACH, scratch_sizes, sum_on_grid

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A peak counts up to this many standard deviations, where it is below any useful outlier density.
_CUT = 6.0
#: Share of the certain information below which a curvature is not trusted: the peak is not Gaussian there.
_FLAT = 0.25
#: Measurements in a block: its sums fit into the first cache.
_BLOCK = 128
_U = np.uint64
#: Where sums of the measurements of a block start in the scratch array; LLVM makes vectors of loops over one array with
#: known distances without asking whether parts of it overlap.
_TOTAL, _CERTAIN, _SLOPE, _SQUARE, _BEND = (_U(i * _BLOCK) for i in range(5))
_WEIGHT, _MOMENT, _PLACE = (_U(i * _BLOCK) for i in range(3))
#: Added to a number, it leaves the nearest integer in the lowest bits; the exponent of a double stands 12 bits higher
#: than its unit in the bits that are taken here.
_ROUND = 1.5 * 2.0**52
_ROUND_BITS = int(np.float64(_ROUND).view(np.int64))
_PER_BITS = 2.0**-12
#: Up to so many measurements, histograms are too rough.
_SMALL = 16
#: A second place of the histogram that has so much less than the first (in binary logarithms of likelihoods) is out.
_DOUBT = 15.0
#: Width of a bin of the histogram over the smallest standard deviation of a measurement.
_BIN = 1.5


class Mixture(NamedTuple):
    """Likelihoods of measurements.

    Attributes
    ----------
    used : (capacity,) bool
        Whether a row is a measurement; others have amplitudes of 0.
    d, inverse, amplitude : (n_hypotheses, capacity) float64
        Offset, inverse variance and peak likelihood over outlier density of each measurement and hypothesis; finite.
    more : (3, n_more) float64
        The same three of further components of few measurements.
    more_row : (n_more,) int64
        Their rows, rising.
    """

    used: NDArray[np.bool_]
    d: Floats
    inverse: Floats
    amplitude: Floats
    more: Floats
    more_row: Integers


class Space(NamedTuple):
    """Memory for :func:`common_offset`; `space` makes it.

    Attributes
    ----------
    number : (5 * _BLOCK,) float64
        Sums of each measurement of a block.
    few : (3, N_GRID, n_components) float64
        Mixture of few measurements.
    grid : (n_rows, n_points) float64
        Of the shape of :func:`flashdet.kernels.offsetgrid.scratch_sizes`.
    step : float
        Width of a bin of the histogram.
    """

    number: Floats
    few: Floats
    grid: Floats
    step: float


def space(n_components: int, sigma_prior: float, sigma_min: float) -> Space:
    """Memory for events of any size.

    Parameters
    ----------
    n_components : int
        Components of one measurement, at most.
    sigma_prior, sigma_min : float
        Standard deviation of the prior, and the smallest of a measurement.

    Returns
    -------
    Space
    """
    few, grid = np.empty((3, N_GRID, n_components)), np.empty(scratch_sizes(sigma_prior, sigma_min))
    return Space(np.empty(5 * _BLOCK), few, grid, _BIN * sigma_min)


@bare_kernel
def _add_more(mixture: Mixture, first: int, n: int, more: tuple[int, int], t: float, number: Floats) -> None:
    """Add the further components of the rows from `first` on to the sums of `_evaluate`."""
    for j in range(more[0], more[1]):
        row = mixture.more_row[j] - first
        away = mixture.more[0, j] - t
        pull = away * mixture.more[1, j]
        if 0 <= row < n and 0.5 * away * pull < 0.5 * _CUT * _CUT:
            i, w = _U(row), mixture.more[2, j] * math.exp(-0.5 * away * pull)
            number[i + _TOTAL] += w
            number[i + _CERTAIN] += w * mixture.more[1, j]
            number[i + _SLOPE] += w * pull
            number[i + _SQUARE] += w * pull * pull


@bare_kernel
def _evaluate(
    mixture: Mixture, begin: int, end: int, more: tuple[int, int], t: float, slope: Floats, bend: Floats, number: Floats
) -> tuple[float, float, float]:  # fmt: skip
    """Derivatives of the log-likelihood of the rows from `begin` to `end`.

    Filled for each row: gradient of log L_i and minus its second derivative. Returned: their sums, and the information
    if the hypotheses were certain.
    """
    gradient, information, sure = 0.0, 0.0, 0.0
    for first in range(begin, end, _BLOCK):
        n = min(_BLOCK, end - first)
        for i in range(_U(n)):
            number[i + _TOTAL], number[i + _CERTAIN], number[i + _SLOPE], number[i + _SQUARE] = 1.0, 0.0, 0.0, 0.0
        for h in range(len(mixture.d)):
            d, inverse = mixture.d[h, first : first + n], mixture.inverse[h, first : first + n]
            amplitude = mixture.amplitude[h, first : first + n]
            for i in range(_U(n)):
                away = d[i] - t
                pull = away * inverse[i]
                exponent = 0.5 * away * pull
                weight = amplitude[i] * exp_minus(exponent) if exponent < 0.5 * _CUT * _CUT else 0.0
                number[i + _TOTAL] += weight
                number[i + _CERTAIN] += weight * inverse[i]
                number[i + _SLOPE] += weight * pull
                number[i + _SQUARE] += weight * pull * pull
        _add_more(mixture, first, n, more, t, number)
        for i in range(_U(n)):
            scale = 1.0 / number[i + _TOTAL]
            one, certain = number[i + _SLOPE] * scale, number[i + _CERTAIN] * scale
            number[i + _SLOPE], number[i + _CERTAIN] = one, certain
            number[i + _BEND] = certain - number[i + _SQUARE] * scale + one * one
        for i in range(_U(n)):
            gradient += number[i + _SLOPE]
            information += number[i + _BEND]
            sure += number[i + _CERTAIN]
        slopes, bends = slope[first - begin :], bend[first - begin :]
        for i in range(_U(n)):
            slopes[i] = number[i + _SLOPE]
        for i in range(_U(n)):
            bends[i] = number[i + _BEND]
    return gradient, information, sure


@bare_kernel
def _vote(mixture: Mixture, rows: tuple[int, int], n_used: int, prior: tuple[float, float], memory: Space) -> float:
    """Where most measurements agree: a histogram of the solutions of all hypotheses of all of them.

    Each solution counts with the logarithm of its amplitude, so that bins are about logarithms of likelihoods, and with
    its information, as it belongs to more than one bin if that is small. Hypotheses that are rarer than believed still
    win if they agree. The mean over the neighbours of the best bin spares a Newton step. Where few vote, or two bins
    have nearly the same, the likelihood itself decides.
    """
    number, step = memory.number, memory.step
    first, n_points = prior[0] - REACH * prior[1], int(2.0 * REACH * prior[1] / step) + 2
    # the first and the last bin take what lies outside
    votes, moment = memory.grid[0, : n_points + 1], memory.grid[1, : n_points + 1]
    votes[:] = 0.0
    moment[:] = 0.0
    for begin in range(rows[0], rows[1], _BLOCK):
        n = min(_BLOCK, rows[1] - begin)
        for h in range(len(mixture.d)):
            d, inverse = mixture.d[h, begin : begin + n], mixture.inverse[h, begin : begin + n]
            amplitude = mixture.amplitude[h, begin : begin + n]
            for i in range(_U(n)):
                # the bits of a number are about its logarithm
                bits = (np.float64(max(amplitude[i], 1.0)).view(np.int64) >> 40) + _ROUND_BITS
                height = (np.int64(bits).view(np.float64) - _ROUND) * _PER_BITS - 1023.0
                weight = height * inverse[i] * (step * step)
                number[i + _WEIGHT], number[i + _MOMENT] = weight, weight * d[i]
                number[i + _PLACE] = min(max((d[i] - first) * (1.0 / step) + 1.0, 0.0), float(n_points))
            for i in range(_U(n)):
                k = int(number[i + _PLACE])
                votes[k] += number[i + _WEIGHT]
                moment[k] += number[i + _MOMENT]
    best, most = _best_bin(votes, 0, n_points, first - prior[0], step, prior[1])
    other, less = _best_bin(votes, best, n_points, first - prior[0], step, prior[1])
    highest = -math.inf
    t = _mean_around(votes, moment, best, prior[0])
    if n_used > _SMALL and less <= most - _DOUBT:
        return t
    for j in range(10):
        # five places within two thirds of the neighbours of either bin
        place = first + ((best if j < 5 else other) - 0.5 + 0.5 * (j % 5 - 2)) * step
        log_likelihood = _log_likelihood(mixture, rows, place, prior, number)
        if log_likelihood > highest:
            t, highest = place, log_likelihood
    return t


@bare_kernel
def _best_bin(
    votes: Floats, skip: int, n_points: int, first: float, step: float, sigma_prior: float
) -> tuple[int, float]:
    """Bin that has, with its neighbours, most votes; not one next to `skip`, which may be 0. And how many."""
    best, most = 1, -math.inf
    for k in range(1, n_points):
        x = (first + (k - 0.5) * step) / sigma_prior
        around = votes[max(k - 1, 1)] + votes[k] + votes[min(k + 1, n_points - 1)] - x * x
        if around > most and (skip == 0 or abs(k - skip) > 3):
            best, most = k, around
    return best, most


@bare_kernel
def _mean_around(votes: Floats, moment: Floats, best: int, otherwise: float) -> float:
    """Mean of the votes for a bin and its neighbours."""
    total, mean = 0.0, 0.0
    for k in range(max(1, best - 2), min(len(votes) - 1, best + 3)):
        total, mean = total + votes[k], mean + moment[k]
    return mean / total if total > 0.0 else otherwise


@bare_kernel
def _log_likelihood(
    mixture: Mixture, rows: tuple[int, int], t: float, prior: tuple[float, float], number: Floats
) -> float:
    """Logarithm of the posterior at `t`, up to a constant, without further components."""
    x = (t - prior[0]) / prior[1]
    result = -0.5 * x * x
    for begin in range(rows[0], rows[1], _BLOCK):
        n = min(_BLOCK, rows[1] - begin)
        for i in range(_U(n)):
            number[i + _TOTAL] = 1.0
        for h in range(len(mixture.d)):
            d, inverse = mixture.d[h, begin : begin + n], mixture.inverse[h, begin : begin + n]
            amplitude = mixture.amplitude[h, begin : begin + n]
            for i in range(_U(n)):
                exponent = 0.5 * (d[i] - t) * (d[i] - t) * inverse[i]
                number[i + _TOTAL] += amplitude[i] * exp_minus(exponent) if exponent < 0.5 * _CUT * _CUT else 0.0
        for i in range(_U(n)):
            result += math.log(number[i + _TOTAL])
    return result


@bare_kernel
def _climb(
    mixture: Mixture, begin: int, end: int, more: tuple[int, int], t: float, prior: tuple[float, float],
    max_iterations: int, slope: Floats, bend: Floats, number: Floats,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Newton steps from `t`: last place, and gradient, information and certain information there."""
    known = 1.0 / (prior[1] * prior[1])
    gradient, information, certain = 0.0, known, known
    for iteration in range(max_iterations):
        gradient, information, certain = _evaluate(mixture, begin, end, more, t, slope, bend, number)
        gradient, information, certain = gradient - (t - prior[0]) * known, information + known, certain + known
        # Newton steps converge quadratically: 10 % of the error leaves 1 % of it after the last step of the caller
        step = gradient / max(information, _FLAT * certain)
        if step * step * certain < 1e-2 or iteration == max_iterations - 1:
            break
        t += step
    return t, gradient, information, certain


@bare_kernel
def _few(
    mixture: Mixture, rows: tuple[int, int], more: tuple[int, int], prior: tuple[float, float],
    left_out: Floats, left_out_error: Floats, memory: Space,
) -> tuple[float, float]:  # fmt: skip
    """Gather few measurements and sum them on a grid."""
    few, k = memory.few, 0
    for i in range(rows[0], rows[1]):
        if not mixture.used[i]:
            continue
        c = 0
        for h in range(len(mixture.d)):
            if mixture.amplitude[h, i] > 0.0:
                few[0, k, c] = mixture.d[h, i] - prior[0]
                few[1, k, c], few[2, k, c] = mixture.inverse[h, i], mixture.amplitude[h, i]
                c += 1
        for j in range(more[0], more[1]):
            if mixture.more_row[j] == i:
                few[0, k, c] = mixture.more[0, j] - prior[0]
                few[1, k, c], few[2, k, c] = mixture.more[1, j], mixture.more[2, j]
                c += 1
        few[2, k, c:] = 0.0
        k += 1
    values, errors = memory.number[:N_GRID], memory.number[_BLOCK : _BLOCK + N_GRID]
    offset, error = sum_on_grid(few[0], few[1], few[2], k, prior[1], values, errors, memory.grid)
    k = 0
    for i in range(rows[0], rows[1]):
        j = i - rows[0]
        left_out[j], left_out_error[j] = prior[0] + offset, error
        if mixture.used[i]:
            left_out[j], left_out_error[j] = prior[0] + values[k], errors[k]
            k += 1
    return prior[0] + offset, error


@bare_kernel
def common_offset(
    mixture: Mixture, rows: tuple[int, int], more: tuple[int, int], n_used: int, prior: tuple[float, float],
    max_iterations: int, left_out: Floats, left_out_error: Floats, memory: Space,
) -> tuple[float, float]:  # fmt: skip
    """Find the offset from all measurements and from all but each one.

    Parameters
    ----------
    mixture : Mixture
        Measurements.
    rows, more : tuple of int
        Beginning and end of the rows, and of their further components.
    n_used : int
        Measurements among the rows.
    prior : tuple of float
        Mean and standard deviation of the prior.
    max_iterations : int
        Bound on the Newton steps, at least 1.
    left_out, left_out_error : (n_rows,) float64
        Filled: offset and its error without that row; rows that are no measurements leave nothing out.
    memory : Space
        Scratch memory.

    Returns
    -------
    offset, error : float
        From all measurements; the prior if there is none.
    """
    begin, end = rows
    if n_used == 0:
        left_out[:], left_out_error[:] = prior
        return prior
    if n_used <= N_GRID:
        return _few(mixture, rows, more, prior, left_out, left_out_error, memory)
    t = _vote(mixture, rows, n_used, prior, memory)
    t, gradient, information, certain = _climb(
        mixture, begin, end, more, t, prior, max_iterations, left_out, left_out_error, memory.number
    )  # fmt: skip
    floor = _FLAT * certain
    for i in range(end - begin):
        others = max(information - left_out_error[i], floor)
        left_out[i] = t + (gradient - left_out[i]) / others
        left_out_error[i] = 1.0 / math.sqrt(others)
    information = max(information, floor)
    return t + gradient / information, 1.0 / math.sqrt(information)
