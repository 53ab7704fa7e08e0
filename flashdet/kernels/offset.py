"""Common offset of many ambiguous measurements, and the same without each one of them in turn.

Every measurement i says: the offset t is ``d[i, h]`` with variance ``1/inverse[i, h]`` under its hypothesis h, or the
measurement is an outlier that says nothing. Its likelihood, in units of the outlier density, is the mixture

    L_i(t) = 1 + sum_h amplitude[i, h] exp(-(d[i, h] - t)^2 inverse[i, h] / 2),

the offset itself has a normal prior around zero. Hypotheses are never decided, so that nothing flips when a measurement
is left out. Two ways to the posterior, both of a cost proportional to the number of measurements:

* up to `N_GRID` measurements, where several solutions may compete: mean and standard deviation of the posterior by
  summation over a grid (the trapezoidal rule on analytic peaks, exact to better than 1e-3 of the width);
* more measurements: the highest maximum found by a vote on a grid, refined by Newton steps, with the curvature there as
  information. Leaving one out is one more Newton step with its share of gradient and curvature taken off: exact where
  the likelihoods are Gaussian, of second order in 1/n otherwise.

Sums run in row order. Nothing here knows what is measured.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import inline, kernel

Floats = NDArray[np.float64]

#: Up to this number of measurements the posterior is summed on a grid.
N_GRID = 6
#: The grids cover the prior up to this many of its standard deviations.
_REACH = 5.0
#: Grid step over the smallest width a posterior can have; the trapezoidal rule then errs by exp(-2 pi^2/1.69) ~ 1e-5.
_STEP = 1.3
#: A peak is cut off this many standard deviations away, where it is below any useful outlier density.
_CUT = 6.0
#: Peaks wider than this times the narrowest do not vote (they carry less than 4 % of its weight).
_WIDE = 5.0
#: So many measurements, evenly chosen, vote for the starting point: it only has to lie on the right peak.
_VOTERS = 24
#: Share of the certain information below which a curvature is not trusted: the peak is not Gaussian there.
_FLAT = 0.25


def scratch_sizes(sigma_prior: float, sigma_min: float) -> tuple[int, int]:
    """Space that :func:`common_offset` needs.

    Parameters
    ----------
    sigma_prior : float
        Standard deviation of the prior.
    sigma_min : float
        Smallest standard deviation of a measurement.

    Returns
    -------
    n_rows, n_points : int
        Shape of the scratch array.
    """
    information = 1.0 / sigma_prior**2 + N_GRID / sigma_min**2
    return 2 * N_GRID + 1, int(2.0 * _REACH * sigma_prior * math.sqrt(information) / min(_STEP, 1.0)) + 3


@inline
def _add_peak(row: Floats, first: float, step: float, n: int, d: float, inverse: float, amplitude: float) -> None:
    """Add a Gaussian to a grid by recurrence: the ratio of neighbours changes by a constant factor."""
    reach = _CUT / math.sqrt(inverse)
    begin = max(0, math.ceil((d - reach - first) / step))
    end = min(n, math.floor((d + reach - first) / step) + 1)
    if begin >= end:
        return
    x = first + begin * step - d
    value = amplitude * math.exp(-0.5 * inverse * x * x)
    ratio = math.exp(-inverse * step * (x + 0.5 * step))
    change = math.exp(-inverse * step * step)
    for k in range(begin, end):
        row[k] += value
        value *= ratio
        ratio *= change


@inline
def _moments(before: Floats, after: Floats, n: int, first: float, step: float) -> tuple[float, float]:
    """Mean and standard deviation of the density before * after on a grid."""
    a0, a1, a2 = 0.0, 0.0, 0.0
    b0, b1, b2 = 0.0, 0.0, 0.0
    # even and odd points apart: two chains of additions run at once; n is even
    for k in range(0, n, 2):
        even, odd = before[k] * after[k], before[k + 1] * after[k + 1]
        even_k, odd_k = even * k, odd * (k + 1)
        a0 += even
        b0 += odd
        a1 += even_k
        b1 += odd_k
        a2 += even_k * k
        b2 += odd_k * (k + 1)
    mean = (a1 + b1) / (a0 + b0)
    return first + step * mean, step * math.sqrt((a2 + b2) / (a0 + b0) - mean * mean)


@inline
def _sum_on_grid(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float,
    left_out: Floats, left_out_error: Floats, scratch: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Posterior of few measurements; see :func:`common_offset`."""
    information = 1.0 / (sigma_prior * sigma_prior)
    for i in range(n):
        best = 0.0
        for h in range(d.shape[1]):
            best = max(best, inverse[i, h])
        information += best
    first = -_REACH * sigma_prior
    step = _STEP / math.sqrt(information)
    n_points = 2 * int(-first / step) + 2
    # rows of scratch: the product of prior and L_0 ... L_i-1; L_i; the product of L_i+1 ... L_n-1
    before = scratch[0]
    before[:n_points] = 0.0
    _add_peak(before, first, step, n_points, 0.0, 1.0 / (sigma_prior * sigma_prior), 1.0)
    scratch[2 * n, :n_points] = 1.0
    for i in range(n - 1, -1, -1):
        row, after = scratch[1 + i], scratch[n + 1 + i]
        row[:n_points] = 1.0
        for h in range(d.shape[1]):
            if amplitude[i, h] > 0.0:
                _add_peak(row, first, step, n_points, d[i, h], inverse[i, h], amplitude[i, h])
        if i > 0:
            for k in range(n_points):
                scratch[n + i, k] = row[k] * after[k]
    for i in range(n):
        left_out[i], left_out_error[i] = _moments(before, scratch[n + 1 + i], n_points, first, step)
        row = scratch[1 + i]
        for k in range(n_points):
            before[k] *= row[k]
    return _moments(before, scratch[2 * n], n_points, first, step)


@inline
def _slopes(d: Floats, inverse: Floats, amplitude: Floats, i: int, t: float) -> tuple[float, float, float]:
    """Gradient of log L_i, minus its second derivative, and the information if the hypotheses were certain."""
    total, gradient, square, certain = 1.0, 0.0, 0.0, 0.0
    for h in range(d.shape[1]):
        pull = (d[i, h] - t) * inverse[i, h]
        exponent = 0.5 * (d[i, h] - t) * pull
        if exponent < 0.5 * _CUT * _CUT:
            weight = amplitude[i, h] * math.exp(-exponent)
            total += weight
            gradient += weight * pull
            square += weight * pull * pull
            certain += weight * inverse[i, h]
    scale = 1.0 / total
    gradient *= scale
    certain *= scale
    return gradient, certain - square * scale + gradient * gradient, certain


@inline
def _vote(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float, votes: Floats, mine: Floats
) -> float:  # fmt: skip
    """Grid point with the highest sum of log-likelihoods, each taken as the largest log amplitude - x^2/2 or 0."""
    narrowest = 0.0
    stride = 1 + (n - 1) // _VOTERS
    for i in range(0, n, stride):
        for h in range(d.shape[1]):
            narrowest = max(narrowest, inverse[i, h])
    first = -_REACH * sigma_prior
    step = 1.0 / math.sqrt(narrowest)
    n_points = int(-2.0 * first / step) + 1
    for k in range(n_points):
        x = (first + k * step) / sigma_prior
        votes[k] = -0.5 * x * x
    for i in range(0, n, stride):
        mine[:n_points] = 0.0
        for h in range(d.shape[1]):
            if amplitude[i, h] <= 1.0 or inverse[i, h] * (_WIDE * _WIDE) < narrowest:
                continue
            height = math.log(amplitude[i, h])
            half = 0.5 * inverse[i, h]
            reach = math.sqrt(height / half)
            begin = max(0, math.ceil((d[i, h] - reach - first) / step))
            end = min(n_points, math.floor((d[i, h] + reach - first) / step) + 1)
            for k in range(begin, end):
                x = first + k * step - d[i, h]
                vote = height - half * x * x
                if vote > mine[k]:
                    votes[k] += vote - mine[k]
                    mine[k] = vote
    best = 0
    for k in range(1, n_points):
        if votes[k] > votes[best]:
            best = k
    return first + best * step


@inline
def _climb(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float, max_iterations: int,
    left_out: Floats, left_out_error: Floats, scratch: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Posterior of many measurements; see :func:`common_offset`."""
    prior = 1.0 / (sigma_prior * sigma_prior)
    t = _vote(d, inverse, amplitude, n, sigma_prior, scratch[0], scratch[1])
    gradient, information, certain = 0.0, prior, prior
    for iteration in range(max_iterations):
        gradient, information, certain = -t * prior, prior, prior
        for i in range(n):
            g, c, w = _slopes(d, inverse, amplitude, i, t)
            left_out[i] = g
            left_out_error[i] = c
            gradient += g
            information += c
            certain += w
        # Newton steps converge quadratically: 10 % of the error leaves 1 % of it after the last step below
        step = gradient / max(information, _FLAT * certain)
        if step * step * certain < 1e-2 or iteration == max_iterations - 1:
            break
        t += step
    floor = _FLAT * certain
    for i in range(n):
        others = max(information - left_out_error[i], floor)
        left_out[i] = t + (gradient - left_out[i]) / others
        left_out_error[i] = 1.0 / math.sqrt(others)
    information = max(information, floor)
    return t + gradient / information, 1.0 / math.sqrt(information)


@kernel
def common_offset(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float, max_iterations: int,
    left_out: Floats, left_out_error: Floats, scratch: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Find the offset from all measurements and from all but each one.

    Parameters
    ----------
    d, inverse, amplitude : (capacity, n_hypotheses) float64
        Offset, inverse variance and peak likelihood over outlier density of each measurement and hypothesis; an
        amplitude of 0 switches a hypothesis off.
    n : int
        Rows in use.
    sigma_prior : float
        Standard deviation of the prior around 0.
    max_iterations : int
        Bound on the Newton steps, at least 1.
    left_out, left_out_error : (capacity,) float64
        Filled: offset and its error without measurement i.
    scratch : (n_rows, n_points) float64
        At least of the shape of :func:`scratch_sizes`.

    Returns
    -------
    offset, error : float
        From all measurements; (0, sigma_prior) if there is none.
    """
    if n == 0:
        return 0.0, sigma_prior
    if n <= N_GRID:
        offset, error = _sum_on_grid(
            d, inverse, amplitude, n, sigma_prior, left_out, left_out_error, scratch
        )  # fmt: skip
        if n == 1:
            left_out[0], left_out_error[0] = 0.0, sigma_prior
        return offset, error
    return _climb(d, inverse, amplitude, n, sigma_prior, max_iterations, left_out, left_out_error, scratch)
