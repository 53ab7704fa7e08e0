"""Common offset of many ambiguous measurements, and the same without each one of them in turn.

Every measurement i says: the offset t is ``d[h, i]`` with variance ``1/inverse[h, i]`` under its hypothesis h, or the
measurement is an outlier that says nothing. Its likelihood, in units of the outlier density, is the mixture

    L_i(t) = 1 + sum_h amplitude[h, i] exp(-(d[h, i] - t)^2 inverse[h, i] / 2),

the offset itself has a normal prior. Hypotheses are never decided, so that nothing flips when a measurement
is left out. Two ways to the posterior, both of a cost proportional to the number of measurements:

* up to `N_GRID` measurements: mean and standard deviation by :mod:`flashdet.kernels.offsetgrid`;
* more measurements: the highest maximum found by a vote on a grid, refined by Newton steps, with the curvature there as
  information. Leaving one out is one more Newton step with its share of gradient and curvature taken off: exact where
  the likelihoods are Gaussian, of second order in 1/n otherwise.

Sums run in row order. Nothing here knows what is measured.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.exponential import exp_minus
from flashdet.kernels.jit import inline, kernel
from flashdet.kernels.offsetgrid import N_GRID, REACH, scratch_sizes, sum_on_grid

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: A peak counts up to this many standard deviations, where it is below any useful outlier density.
_CUT = 6.0
#: Peaks wider than this times the narrowest do not vote (they carry less than 4 % of its weight).
_WIDE = 5.0
#: So many measurements, evenly chosen, vote for the starting point: it only has to lie on the right peak.
_VOTERS = 12
#: Share of the certain information below which a curvature is not trusted: the peak is not Gaussian there.
_FLAT = 0.25
#: So many rows give the starting point of the steps with all rows, if those are at least twice as many.
_SAMPLE = 256


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
    rows : (4, capacity) float64
        Sums of each measurement.
    few : (3, N_GRID, n_components) float64
        Mixture of few measurements.
    grid : (n_rows, n_points) float64
        Of the shape of :func:`flashdet.kernels.offsetgrid.scratch_sizes`.
    """

    rows: Floats
    few: Floats
    grid: Floats


def space(capacity: int, n_components: int, sigma_prior: float, sigma_min: float) -> Space:
    """Memory for events of up to `capacity` rows.

    Parameters
    ----------
    capacity : int
        Rows.
    n_components : int
        Components of one measurement, at most.
    sigma_prior, sigma_min : float
        Standard deviation of the prior, and the smallest of a measurement.

    Returns
    -------
    Space
    """
    rows = np.empty((4, max(capacity, N_GRID)))
    return Space(rows, np.empty((3, N_GRID, n_components)), np.empty(scratch_sizes(sigma_prior, sigma_min)))


@inline
def _add_more(
    mixture: Mixture, begin: int, n: int, more: tuple[int, int], t: float, slope: Floats, rows: Floats
) -> None:  # fmt: skip
    """Add the further components to the sums of `_evaluate`."""
    total, certain, square = rows[0], rows[1], rows[2]
    for j in range(more[0], more[1]):
        i = mixture.more_row[j] - begin
        pull = (mixture.more[0, j] - t) * mixture.more[1, j]
        exponent = 0.5 * (mixture.more[0, j] - t) * pull
        if i < n and exponent < 0.5 * _CUT * _CUT:
            w = mixture.more[2, j] * math.exp(-exponent)
            total[i] += w
            certain[i] += w * mixture.more[1, j]
            slope[i] += w * pull
            square[i] += w * pull * pull


@inline
def _evaluate(
    mixture: Mixture, begin: int, end: int, more: tuple[int, int], t: float, slope: Floats, bend: Floats, rows: Floats
) -> tuple[float, float, float]:  # fmt: skip
    """Derivatives of the log-likelihood of the rows from `begin` to `end`.

    Filled for each row: gradient of log L_i and minus its second derivative. Returned: their sums, and the information
    if the hypotheses were certain. Loops over slices from 0 with few arrays each become vector instructions: more
    loops, but a third of the time of one loop over measurements.
    """
    n = end - begin
    total, certain, square, weight = rows[0, :n], rows[1, :n], rows[2, :n], rows[3, :n]
    slope, bend = slope[:n], bend[:n]
    total[:], certain[:], square[:], slope[:] = 1.0, 0.0, 0.0, 0.0
    for h in range(len(mixture.d)):
        d, inverse, amplitude = mixture.d[h, begin:end], mixture.inverse[h, begin:end], mixture.amplitude[h, begin:end]
        for i in range(n):
            exponent = 0.5 * (d[i] - t) * (d[i] - t) * inverse[i]
            weight[i] = amplitude[i] * exp_minus(exponent) if exponent < 0.5 * _CUT * _CUT else 0.0
        for i in range(n):
            total[i] += weight[i]
        for i in range(n):
            weight[i] *= inverse[i]
        for i in range(n):
            certain[i] += weight[i]
        for i in range(n):
            slope[i] += weight[i] * (d[i] - t)
        for i in range(n):
            square[i] += weight[i] * (d[i] - t) * (d[i] - t) * inverse[i]
    _add_more(mixture, begin, n, more, t, slope, rows)
    for i in range(n):
        total[i] = 1.0 / total[i]
    for i in range(n):
        slope[i] *= total[i]
    for i in range(n):
        certain[i] *= total[i]
    for i in range(n):
        bend[i] = certain[i] - square[i] * total[i] + slope[i] * slope[i]
    gradient, information, sure = 0.0, 0.0, 0.0
    for i in range(n):
        gradient += slope[i]
        information += bend[i]
        sure += certain[i]
    return gradient, information, sure


@inline
def _ballot(
    mixture: Mixture, i: int, narrowest: float, first: float, step: float, n_points: int, votes: Floats, mine: Floats
) -> None:  # fmt: skip
    """Add the vote of one measurement: the largest log amplitude - x^2/2 of its hypotheses, or 0; `mine` stays 0."""
    low, high = n_points, 0
    for h in range(len(mixture.d)):
        d, inverse, amplitude = mixture.d[h, i], mixture.inverse[h, i], mixture.amplitude[h, i]
        if amplitude <= 1.0 or inverse * (_WIDE * _WIDE) < narrowest:
            continue
        height = math.log(amplitude)
        half = 0.5 * inverse
        reach = math.sqrt(height / half)
        begin = max(0, math.ceil((d - reach - first) / step))
        end = min(n_points, math.floor((d + reach - first) / step) + 1)
        if begin >= end:
            continue
        low, high = min(low, begin), max(high, end)
        part, x = mine[begin:end], first + begin * step - d
        for k in range(len(part)):
            part[k] = max(part[k], height - half * (x + k * step) * (x + k * step))
    if low < high:
        total, part = votes[low:high], mine[low:high]
        for k in range(len(part)):
            total[k] += part[k]
        part[:] = 0.0


@inline
def _vote(
    mixture: Mixture, rows: tuple[int, int], n_used: int, prior: tuple[float, float], votes: Floats, mine: Floats
) -> float:  # fmt: skip
    """Grid point with the most votes of evenly chosen measurements and the prior."""
    narrowest = 1.0 / (prior[1] * prior[1])
    stride = 1 + (n_used - 1) // _VOTERS
    count = -1
    for i in range(rows[0], rows[1]):
        count += mixture.used[i]
        if mixture.used[i] and count % stride == 0:
            for h in range(len(mixture.d)):
                if mixture.amplitude[h, i] > 1.0:
                    narrowest = max(narrowest, mixture.inverse[h, i])
    first = prior[0] - REACH * prior[1]
    step = 1.0 / math.sqrt(narrowest)
    n_points = int(2.0 * REACH * prior[1] / step) + 1
    for k in range(n_points):
        x = (first + k * step - prior[0]) / prior[1]
        votes[k] = -0.5 * x * x
    mine[:n_points] = 0.0
    count = -1
    for i in range(rows[0], rows[1]):
        count += mixture.used[i]
        if mixture.used[i] and count % stride == 0:
            _ballot(mixture, i, narrowest, first, step, n_points, votes, mine)
    best = 0
    for k in range(1, n_points):
        if votes[k] > votes[best]:
            best = k
    if 0 < best < n_points - 1:
        # the top of the parabola through three points spares a Newton step
        bend = 2.0 * votes[best] - votes[best - 1] - votes[best + 1]
        if bend > 0.0:
            shift: float = 0.5 * (votes[best + 1] - votes[best - 1]) / bend
            return first + (best + shift) * step
    return first + best * step


@inline
def _climb(
    mixture: Mixture, begin: int, end: int, more: tuple[int, int], t: float, prior: tuple[float, float],
    max_iterations: int, slope: Floats, bend: Floats, rows: Floats,
) -> tuple[float, float, float, float]:  # fmt: skip
    """Newton steps from `t`: last place, and gradient, information and certain information there."""
    known = 1.0 / (prior[1] * prior[1])
    gradient, information, certain = 0.0, known, known
    for iteration in range(max_iterations):
        gradient, information, certain = _evaluate(mixture, begin, end, more, t, slope, bend, rows)
        gradient, information, certain = gradient - (t - prior[0]) * known, information + known, certain + known
        # Newton steps converge quadratically: 10 % of the error leaves 1 % of it after the last step of the caller
        step = gradient / max(information, _FLAT * certain)
        if step * step * certain < 1e-2 or iteration == max_iterations - 1:
            break
        t += step
    return t, gradient, information, certain


@inline
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
    values, errors = memory.rows[0], memory.rows[1]
    offset, error = sum_on_grid(few[0], few[1], few[2], k, prior[1], values, errors, memory.grid)
    k = 0
    for i in range(rows[0], rows[1]):
        j = i - rows[0]
        left_out[j], left_out_error[j] = prior[0] + offset, error
        if mixture.used[i]:
            left_out[j], left_out_error[j] = prior[0] + values[k], errors[k]
            k += 1
    return prior[0] + offset, error


@kernel
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
    t = _vote(mixture, rows, n_used, prior, memory.grid[0], memory.grid[1])
    if end - begin >= 2 * _SAMPLE:
        t, gradient, information, certain = _climb(
            mixture, begin, begin + _SAMPLE, more, t, prior, max_iterations, left_out, left_out_error, memory.rows
        )  # fmt: skip
        t += gradient / max(information, _FLAT * certain)
    t, gradient, information, certain = _climb(
        mixture, begin, end, more, t, prior, max_iterations, left_out, left_out_error, memory.rows
    )  # fmt: skip
    floor = _FLAT * certain
    for i in range(end - begin):
        others = max(information - left_out_error[i], floor)
        left_out[i] = t + (gradient - left_out[i]) / others
        left_out_error[i] = 1.0 / math.sqrt(others)
    information = max(information, floor)
    return t + gradient / information, 1.0 / math.sqrt(information)
