"""Likelihood of rings and of missing rings: what is common to all hypotheses of a track, and what differs.

Scalar helpers of the kernels in :mod:`.hypotheses`, which has the formulas' meaning in its docstring. All
densities of a ring are taken relative to that of a ring that is not the track's own: with the common parts out of the
way, a hypothesis costs two logarithms and two exponentials, all of them for vectors of tracks.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.elementary import exp, log
from flashdet.kernels.jit import inline
from flashdet.stages.rich.optics import INDEX, LIMIT_ANGLE, LIMIT_RESOLUTION, PHOTONS, WINDOW_SIGMAS

Floats = NDArray[np.float64]

#: Errors of the momentum below the threshold down to which a hypothesis may radiate after all.
NEAR = 5.0
_ROOT2 = math.sqrt(2.0)
LOG_ROOT_2PI = 0.5 * math.log(2.0 * math.pi)
#: Photons from which on an expansion takes the place of a sum, and the inverse of those below.
MANY = 20
_INVERSE = np.array([1.0 / max(k, 1) for k in range(MANY)])
_INVERSE.flags.writeable = False
#: Beyond so many (w) a probability is zero or one.
_FARTHEST = 6.5
_ROOT_4PI = math.sqrt(4.0 * math.pi)


def _expansion() -> tuple[tuple[float, ...], ...]:
    """Coefficients of powers of eta in the terms 1, 1/n, 1/n^2, ... of the sum S in :func:`many` (DLMF 8.12.9 on)."""
    n_terms = (12, 8, 6, 4, 2, 1)
    gamma = (1.0, 1 / 12, 1 / 288, -139 / 51840, -571 / 2488320, 163879 / 209018880)
    n = n_terms[0] + 2 * len(n_terms)
    alpha = [0.0, 1.0]
    for k in range(2, n + 2):
        alpha.append((alpha[k - 1] - sum(j * alpha[j] * alpha[k - j + 1] for j in range(2, k))) / (k + 1))
    rows = [[-1.0 / 3.0, *((k + 2) * alpha[k + 2] for k in range(1, n))]]
    for order in range(1, len(n_terms)):
        last, sign = rows[-1], (-1.0) ** order * gamma[order]
        rows.append([sign * rows[0][k] + (k + 2) * last[k + 2] for k in range(len(last) - 2)])
    return tuple(tuple(row[:terms]) for row, terms in zip(rows, n_terms, strict=True))


def _tail_polynomial(degree: int) -> tuple[tuple[float, ...], float, float]:
    """Polynomial in z = slope t + start of erfc(x) exp(x^2)/t with t = 4/(4 + x), through Chebyshev's points."""
    last = 4.0 / (4.0 + _FARTHEST)
    z = np.cos(np.pi * (np.arange(degree + 1) + 0.5) / (degree + 1))
    t = 0.5 * (z + 1.0) * (1.0 - last) + last
    values = [math.erfc(x) * math.exp(x * x) / (4.0 / (4.0 + x)) for x in (4.0 / t - 4.0).tolist()]
    slope = 2.0 / (1.0 - last)
    return tuple(np.linalg.solve(np.vander(z, increasing=True), values).tolist()), slope, 1.0 - slope


_S0, _S1, _S2, _S3, _S4, _S5 = _expansion()
_TAIL, _TAIL_SLOPE, _TAIL_START = _tail_polynomial(12)


# --- rings -----------------------------------------------------------------------------------------------------------
def log_flat(optics: Floats, outliers: float) -> Floats:
    """Log-densities of rings that may be anywhere.

    Parameters
    ----------
    optics : (n_optics, N_OPTIC) float64
        Tiles.
    outliers : float
        Share of rings with any angle and any number of photons up to that of saturation.

    Returns
    -------
    (n_optics, 2) float64
        Of outliers, in angle and number of photons; of ghosts, in the angle.
    """
    photons = optics[:, PHOTONS] * (1.0 - 1.0 / np.square(optics[:, INDEX]))
    outlier = outliers / (optics[:, LIMIT_ANGLE] * (photons + 1.0))
    ghost = 1.0 / (WINDOW_SIGMAS * optics[:, LIMIT_RESOLUTION])
    return np.ascontiguousarray(np.log(np.column_stack([outlier, ghost])))


# --- missing rings ---------------------------------------------------------------------------------------------------
@inline
def positive_part(mean: float, sigma: float) -> float:
    """Mean of the positive part of a normal number: how the error of the momentum blurs the threshold."""
    if mean > NEAR * sigma:
        return mean
    x = mean / sigma
    return sigma * math.exp(-0.5 * x * x - LOG_ROOT_2PI) + 0.5 * mean * math.erfc(-x / _ROOT2)


@inline
def few(mean: float, n: int) -> float:
    """Probability of fewer than `n` photons: its sum, for `n` below `MANY`."""
    total = 1.0
    for k in range(n - 1, 0, -1):
        total = 1.0 + total * (mean * _INVERSE[k])
    return total * exp(max(-mean, -700.0))


@inline
def many(mean: float, n: float) -> float:
    """Probability of fewer than `n` photons, for `n` from `MANY` on: to 2e-11, absolute.

    The uniform expansion of the incomplete gamma function: with (1/2) eta^2 = x - 1 - log x for x = mean/n it is
    erfc(w)/2 + exp(-w^2) S(eta, 1/n)/sqrt(2 pi n), w = eta sqrt(n/2) (Temme, SIAM J. Math. Anal. 10 (1979) 757; DLMF
    8.12). No branch and no sum over photons: central Pb-Pb events ask for up to 500 of them, and vectors of tracks take
    a tenth of the sum's time.
    """
    ratio = mean / n
    above = ratio - 1.0
    half = max(above - log(max(ratio, 1e-300)), 0.0)
    series = above * (
        1.0 - above * (1.0 / 3.0 - above * (7.0 / 36.0 - above * (73.0 / 540.0 - above * 1331.0 / 12960.0)))
    )
    eta = math.copysign(math.sqrt(2.0 * half), above)
    eta = series if abs(above) < 1e-2 else eta
    scale = math.sqrt(0.5 * n)
    w = min(max(eta * scale, -_FARTHEST), _FARTHEST)
    size, eta = abs(w), w / scale
    gauss = exp(-w * w)
    tail = 0.5 * gauss * _scaled_tail(size)
    tail = tail if w >= 0.0 else 1.0 - tail
    return tail + gauss * _rest(eta, 1.0 / n) / (scale * _ROOT_4PI)


@inline
def _scaled_tail(x: float) -> float:
    """Complementary error function times exp(x^2), for 0 <= x <= `_FARTHEST`, to 1e-11: a polynomial in 4/(4 + x)."""
    t, c = 4.0 / (4.0 + x), _TAIL
    z = _TAIL_SLOPE * t + _TAIL_START
    p = z * z
    q = p * p
    low = (c[0] + c[1] * z) + p * (c[2] + c[3] * z)
    middle = (c[4] + c[5] * z) + p * (c[6] + c[7] * z)
    high = (c[8] + c[9] * z) + p * (c[10] + c[11] * z)
    return t * (low + q * (middle + q * (high + q * c[12])))


@inline
def _rest(eta: float, s: float) -> float:
    """The sum S of :func:`many` for s = 1/n, up to s^5."""
    a, b, c, d, e, f = _S0, _S1, _S2, _S3, _S4, _S5
    p = eta * eta
    q = p * p
    first = ((a[0] + a[1] * eta) + p * (a[2] + a[3] * eta)) + q * ((a[4] + a[5] * eta) + p * (a[6] + a[7] * eta))
    first += q * q * ((a[8] + a[9] * eta) + p * (a[10] + a[11] * eta))
    second = ((b[0] + b[1] * eta) + p * (b[2] + b[3] * eta)) + q * ((b[4] + b[5] * eta) + p * (b[6] + b[7] * eta))
    third = ((c[0] + c[1] * eta) + p * (c[2] + c[3] * eta)) + q * (c[4] + c[5] * eta)
    fourth, fifth = (d[0] + d[1] * eta) + p * (d[2] + d[3] * eta), e[0] + e[1] * eta
    return first + s * (second + s * (third + s * (fourth + s * (fifth + s * f[0]))))


@inline
def log_gas(n: int, ratio: float, yield_: float, index: float, floor: float) -> float:
    """Log of the Poisson probability of photons of the gas, without n!, of at least `floor` photons on average."""
    mean = max(yield_ * (1.0 - (1.0 + ratio) / (index * index)), floor)
    return n * math.log(mean) - mean
