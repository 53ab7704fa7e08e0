"""Posterior of the common offset of few measurements, summed on a grid; see :mod:`flashdet.kernels.offset`.

Several solutions may compete here. Mean and standard deviation come from the trapezoidal rule on analytic peaks, exact
to better than 1e-3 of the width, without far solutions of less than 3 % probability.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel, inline

Floats = NDArray[np.float64]

#: Up to this number of measurements the posterior is summed on a grid.
N_GRID = 6
#: The grids cover the prior up to this many of its standard deviations.
REACH = 5.0
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


def scratch_sizes(sigma_prior: float, sigma_min: float) -> tuple[int, int]:
    """Space that :func:`sum_on_grid` and the vote of :mod:`flashdet.kernels.offset` need.

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
    return N_GRID + 2, int(2.0 * REACH * sigma_prior * math.sqrt(information) / min(_STEP, 1.0)) + 3


@bare_kernel
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


@bare_kernel
def _stretch(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float
) -> tuple[float, float]:  # fmt: skip
    """Begin and end of the stretch that matters: elsewhere five measurements fewer agree than at best.

    Even without one of the best, each disagreement costs a factor of its amplitude there. Bit b of a mask says that a
    measurement has a peak in the bin b; `ones`, `twos` and `fours` are the binary digits of the number of masks.
    """
    first = -REACH * sigma_prior
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


@bare_kernel
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


@bare_kernel
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


@bare_kernel
def sum_on_grid(
    d: Floats, inverse: Floats, amplitude: Floats, n: int, sigma_prior: float,
    left_out: Floats, left_out_error: Floats, scratch: Floats,
) -> tuple[float, float]:  # fmt: skip
    """Posterior of at most `N_GRID` measurements, and of all but each one.

    Parameters
    ----------
    d, inverse, amplitude : (>= n, n_components) float64
        Components of the likelihood of each measurement; an amplitude of 0 ends the list of a measurement.
    n : int
        Measurements.
    sigma_prior : float
        Standard deviation of the prior around 0.
    left_out, left_out_error : (>= n,) float64
        Filled: offset and error without measurement i.
    scratch : (n_rows, n_points) float64
        At least of the shape of :func:`scratch_sizes`.

    Returns
    -------
    offset, error : float
        From all measurements.
    """
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
    if n == 1:
        left_out[0], left_out_error[0] = 0.0, sigma_prior
    return _moments(product, n_points, first, step)
