"""Common offset of many ambiguous measurements, and the same without each one of them in turn.

Every measurement i says: the offset t is ``d[i, h]`` with variance ``1/inverse[i, h]`` under its hypothesis h, or the
measurement is an outlier that says nothing. Its likelihood, in units of the outlier density, is the mixture

    L_i(t) = 1 + sum_h amplitude[i, h] exp(-(d[i, h] - t)^2 inverse[i, h] / 2),

the offset itself has a normal prior around zero. Hypotheses are never decided, so that nothing flips when a measurement
is left out. Two ways to the posterior, both of a cost proportional to the number of measurements:

* up to `N_GRID` measurements, where several solutions may compete: mean and standard deviation of the posterior by
  summation over a grid (the trapezoidal rule on analytic peaks, exact to better than 1e-3 of the width), without far
  solutions of less than 3 % probability;
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
#: Bins in which the stretch of the grid is looked for: a bit of a word each.
_BINS = 62
#: Far solutions are cut off if the mean is so many standard deviations away: less than 2.7 % of probability.
_TRUST = 6.0
#: Bound on the rounds in which far solutions are cut off.
_CLIPS = 40
#: Move of an edge, in standard deviations, that ends them.
_SETTLED = 1e-3
#: A peak is cut off this many standard deviations away, where it is below any useful outlier density.
_CUT = 6.0
#: Measurements agree in the sense of the stretch within so many standard deviations.
_NEAR = 4.0
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
    return N_GRID + 2, int(2.0 * _REACH * sigma_prior * math.sqrt(information) / min(_STEP, 1.0)) + 3


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
def _stretch(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float
) -> tuple[float, float]:  # fmt: skip
    """Begin and end of the stretch that matters: elsewhere five measurements fewer agree than at best.

    Even without one of the best, each disagreement costs a factor of its amplitude there. Bit b of a mask says that a
    measurement has a peak in the bin b; `ones`, `twos` and `fours` are the binary digits of the number of masks.
    """
    first = -_REACH * sigma_prior
    width = -2.0 * first / _BINS
    ones, twos, fours = 0, 0, 0
    for i in range(n):
        mask = 0
        for h in range(d.shape[1]):
            if amplitude[i, h] == 0.0:
                break
            reach = _NEAR / math.sqrt(inverse[i, h])
            begin = max(0.0, math.floor((d[i, h] - reach - first) / width))
            end = min(_BINS, math.floor((d[i, h] + reach - first) / width) + 1.0)
            if begin < end:
                mask |= ((1 << int(end - begin)) - 1) << int(begin)
        carry = ones & mask
        ones ^= mask
        fours ^= twos & carry
        twos ^= carry
    chosen, best = 0, -1
    for count in range(n, -1, -1):
        equal = (ones if count & 1 else ~ones) & (twos if count & 2 else ~twos) & (fours if count & 4 else ~fours)
        equal &= (1 << _BINS) - 1
        if best < 0 and equal != 0:
            best = count
        if best - 5 < count <= best:
            chosen |= equal
    low, high = 0, _BINS
    while not (chosen >> low) & 1:
        low += 1
    while not (chosen >> (high - 1)) & 1:
        high -= 1
    return first + low * width, first + high * width


@inline
def _to_edge(g0: float, g1: float, g2: float, g3: float, v: float) -> float:
    """What a sum up to the second of four neighbouring points lacks as an integral up to the edge at their middle + v.

    The sum is the midpoint rule up to the middle, less the first term of its error (slope/24, Euler and Maclaurin). The
    integral from there is that of the cubic through the points. Unit: the distance of the points.
    """
    slope = (27.0 * (g2 - g1) - (g3 - g0)) / 24.0
    middle = (9.0 * (g1 + g2) - (g0 + g3)) / 16.0
    bend, twist = 0.5 * (g0 - g1 - g2 + g3), g3 - g0 - 3.0 * (g2 - g1)
    return slope / 24.0 + v * (middle + v * (slope / 2.0 + v * (bend / 6.0 + v * twist / 24.0)))


@inline
def _edge_moments(weights: Floats, n: int, edge: float, side: int, origin: int) -> tuple[float, float, float]:
    """What the sums of `_moments` lack as integrals up to an edge above (`side` 1) or below (-1) the points summed."""
    last = math.floor(edge) if side > 0 else math.ceil(edge)
    v = side * (edge - last) - 0.5
    x = float(last - origin)
    w0 = weights[last - side] if 0 <= last - side < n else 0.0
    w1 = weights[last] if 0 <= last < n else 0.0
    w2 = weights[last + side] if 0 <= last + side < n else 0.0
    w3 = weights[last + 2 * side] if 0 <= last + 2 * side < n else 0.0
    x0, x2, x3 = x - side, x + side, x + 2 * side
    e0 = _to_edge(w0, w1, w2, w3, v)
    w0, w1, w2, w3 = w0 * x0, w1 * x, w2 * x2, w3 * x3
    e1 = _to_edge(w0, w1, w2, w3, v)
    return e0, e1, _to_edge(w0 * x0, w1 * x, w2 * x2, w3 * x3, v)


@inline
def _moments(weights: Floats, n: int, first: float, step: float) -> tuple[float, float]:
    """Mean and standard deviation of the density on a grid, within `_TRUST` standard deviations of the mean.

    Far solutions of little probability (less than 1/(1 + _TRUST^2) altogether) are thus outliers of the result and do
    not widen its error; more probable ones do. The edges lie between grid points: at grid points they would move the
    deviation by up to 8 %.
    """
    low, high = -1.0, float(n)
    mean, deviation = 0.0, 0.0
    for _ in range(_CLIPS):
        begin, end = max(0, math.ceil(low)), min(n, math.floor(high) + 1)
        a0, a1, a2 = 0.0, 0.0, 0.0
        for k in range(begin, end):
            weighted = weights[k] * (k - begin)
            a0 += weights[k]
            a1 += weighted
            a2 += weighted * (k - begin)
        if low >= 0.0:
            e0, e1, e2 = _edge_moments(weights, n, low, -1, begin)
            a0, a1, a2 = a0 + e0, a1 + e1, a2 + e2
        if high < n:
            e0, e1, e2 = _edge_moments(weights, n, high, 1, begin)
            a0, a1, a2 = a0 + e0, a1 + e1, a2 + e2
        mean = a1 / a0
        deviation = math.sqrt(max(0.0, a2 / a0 - mean * mean))
        mean += begin
        tolerance = _SETTLED * deviation
        new_low, new_high = max(low, mean - _TRUST * deviation), min(high, mean + _TRUST * deviation)
        if new_low - low <= tolerance and high - new_high <= tolerance:
            break
        low, high = new_low, new_high
    return first + step * mean, step * deviation


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
            if amplitude[i, h] == 0.0:
                break
            best = max(best, inverse[i, h])
        information += best
    step = _STEP / math.sqrt(information)
    first, last = _stretch(d, inverse, amplitude, n, sigma_prior)
    n_points = int((last - first) / step) + 2
    # rows of scratch: the product of prior and all L_i; L_0 ... L_n-1; a density
    product, density = scratch[0], scratch[n + 1]
    product[:n_points] = 0.0
    _add_peak(product, first, step, n_points, 0.0, 1.0 / (sigma_prior * sigma_prior), 1.0)
    for i in range(n):
        row = scratch[1 + i]
        row[:n_points] = 1.0
        for h in range(d.shape[1]):
            if amplitude[i, h] == 0.0:
                break
            _add_peak(row, first, step, n_points, d[i, h], inverse[i, h], amplitude[i, h])
        for k in range(n_points):
            product[k] *= row[k]
    for i in range(n):
        # every L is at least 1: taking it off is a division
        row = scratch[1 + i]
        for k in range(n_points):
            density[k] = product[k] / row[k]
        left_out[i], left_out_error[i] = _moments(density, n_points, first, step)
    return _moments(product, n_points, first, step)


@inline
def _slopes(d: Floats, inverse: Floats, amplitude: Floats, i: int, t: float) -> tuple[float, float, float]:
    """Gradient of log L_i, minus its second derivative, and the information if the hypotheses were certain."""
    total, gradient, square, certain = 1.0, 0.0, 0.0, 0.0
    for h in range(d.shape[1]):
        if amplitude[i, h] == 0.0:
            break
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
    narrowest = 1.0 / (sigma_prior * sigma_prior)
    stride = 1 + (n - 1) // _VOTERS
    for i in range(0, n, stride):
        for h in range(d.shape[1]):
            if amplitude[i, h] == 0.0:
                break
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
    if 0 < best < n_points - 1:
        # the top of the parabola through three points spares a Newton step
        bend = 2.0 * votes[best] - votes[best - 1] - votes[best + 1]
        if bend > 0.0:
            shift: float = 0.5 * (votes[best + 1] - votes[best - 1]) / bend
            return first + (best + shift) * step
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
        amplitude of 0 ends the list of a measurement.
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
