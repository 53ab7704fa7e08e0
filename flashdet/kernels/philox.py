"""Counter-based random numbers: Philox4x32-10 bits, ziggurat normals, uniforms, Poisson and binomial numbers.

Every number is a pure function of (key, event key, index, slot): nothing is carried from one call to the next, so no
order of calls, batch or thread can change it. ``slot`` tells the purposes within one stage apart; calls with another
slot are independent. Slots are below 65536; the upper half of the counter word serves the rare rejections.

Sources: Philox: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC11 (2011).
Ziggurat: Marsaglia and Tsang, J. Stat. Softw. 5 (2000) 8, with a bit of the word for each decision as asked for by
Doornik, "An improved ziggurat method to generate normal random samples" (2005).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.factorial import log_factorial
from flashdet.kernels.jit import inline, kernel

_U = np.uint64
_LOW = _U(0xFFFFFFFF)
_32 = _U(32)
_M0, _M1 = _U(0xD2511F53), _U(0xCD9E8D57)
_W0, _W1 = _U(0x9E3779B9), _U(0xBB67AE85)

#: Right edge of the base layer of the 256-layer ziggurat (Marsaglia and Tsang 2000).
_R = 3.6541528853610088
_LAYERS = 256


def _ziggurat() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Edges x[0..256] of layers of equal area under exp(-x^2/2), and the density at each edge."""
    density = math.exp(-0.5 * _R * _R)
    area = _R * density + math.sqrt(0.5 * math.pi) * math.erfc(_R / math.sqrt(2.0))
    x = np.zeros(_LAYERS + 1)
    x[0], x[1] = area / density, _R
    for i in range(1, _LAYERS - 1):
        x[i + 1] = math.sqrt(-2.0 * math.log(area / x[i] + math.exp(-0.5 * x[i] * x[i])))
    f = np.exp(-0.5 * x * x)
    return x, f


_X, _F = _ziggurat()


@inline
def block(
    c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64, k0: np.uint64, k1: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Ten rounds of Philox4x32.

    Parameters
    ----------
    c0, c1, c2, c3, k0, k1 : uint64
        Counter and key words, each below 2**32.

    Returns
    -------
    tuple of four uint64
        Output words, each below 2**32.
    """
    for _ in range(10):
        p0 = _M0 * c0
        p1 = _M1 * c2
        c0, c1, c2, c3 = (p1 >> _32) ^ c1 ^ k0, p1 & _LOW, (p0 >> _32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _W0) & _LOW
        k1 = (k1 + _W1) & _LOW
    return c0, c1, c2, c3


@inline
def words(
    key: np.uint64, event_key: np.uint64, index: int | np.int64, slot: int | np.int64
) -> tuple[np.uint64, np.uint64]:
    """Two 64-bit words of one block.

    Parameters
    ----------
    key, event_key : uint64
        Stream of the stage and counter word of the event.
    index : int
        Place of the particle in its event, below 2**32.
    slot : int
        Purpose within the stage.

    Returns
    -------
    tuple of two uint64
    """
    k, e = _U(key), _U(event_key)
    a, b, c, d = block(e & _LOW, e >> _32, _U(index) & _LOW, _U(slot) & _LOW, k & _LOW, k >> _32)
    return (a << _32) | b, (c << _32) | d


@inline
def _unit(word: np.uint64) -> float:
    """52 bits to the middle of a cell of width 2**-52: never 0 and never 1."""
    return (float(np.int64(word >> _U(12))) + 0.5) * 2.220446049250313e-16


@inline
def uniforms(key: np.uint64, event_key: np.uint64, index: int, slot: int) -> tuple[float, float]:
    """Two independent uniform numbers in the open interval (0, 1); parameters as in :func:`words`."""
    a, b = words(key, event_key, index, slot)
    return _unit(a), _unit(b)


@kernel
def _rejected(
    word: np.uint64, which: np.int64, key: np.uint64, event_key: np.uint64, index: np.int64, slot: np.int64
) -> float:
    """Finish a normal whose first word fell outside its layer's rectangle (1.2 % of them)."""
    attempt = 1
    while True:
        layer = np.int64(word & _U(255))
        negative = (word & _U(256)) != _U(0)
        x = float(_unit(word) * _X[layer])
        if x >= _X[layer + 1]:
            if layer == 0:
                # Marsaglia's tail: exponential proposal beyond R.
                while True:
                    a, b = words(key, event_key, index, slot | ((2 * attempt + which) << 16))
                    attempt += 1
                    x = -math.log(_unit(a)) / _R
                    if -2.0 * math.log(_unit(b)) > x * x:
                        x += _R
                        break
            else:
                a, b = words(key, event_key, index, slot | ((2 * attempt + which) << 16))
                attempt += 1
                height = _F[layer] + _unit(a) * (_F[layer + 1] - _F[layer])
                if height >= math.exp(-0.5 * x * x):
                    word = b
                    continue
        return -x if negative else x


@inline
def normals(key: np.uint64, event_key: np.uint64, index: int, slot: int) -> tuple[float, float]:
    """Two independent standard normal numbers; parameters as in :func:`words`."""
    # One specialisation of the long part for all integer types of the callers: the whole chain compiles 13 % faster.
    return _normals(_U(key), _U(event_key), np.int64(index), np.int64(slot))


@kernel
def _normals(key: np.uint64, event_key: np.uint64, index: np.int64, slot: np.int64) -> tuple[float, float]:
    a, b = words(key, event_key, index, slot)
    layer = np.int64(a & _U(255))
    x = _unit(a) * _X[layer]
    if x < _X[layer + 1]:
        x = -x if (a & _U(256)) != _U(0) else x
    else:
        x = _rejected(a, np.int64(0), key, event_key, index, slot)
    layer = np.int64(b & _U(255))
    y = _unit(b) * _X[layer]
    if y < _X[layer + 1]:
        y = -y if (b & _U(256)) != _U(0) else y
    else:
        y = _rejected(b, np.int64(1), key, event_key, index, slot)
    return x, y


@kernel
def poisson(key: np.uint64, event_key: np.uint64, index: int, slot: int, mean: float) -> int | np.int64:
    """One Poisson number.

    One uniform number is used up by the probabilities of mode, mode + 1, mode - 1, mode + 2, ... in turn: exact to
    rounding for any mean, about sqrt(mean) steps.

    Parameters
    ----------
    key, event_key, index, slot
        As in :func:`words`.
    mean : float
        Not negative.

    Returns
    -------
    int64
        0 for a mean of 0.
    """
    if not mean > 0.0:
        return 0
    u, _ = uniforms(key, event_key, index, slot)
    return poisson_at(u, mean)


@kernel
def poisson_at(u: float, mean: float) -> int | np.int64:
    """The Poisson number that belongs to a uniform number.

    Parameters
    ----------
    u : float
        In the open interval (0, 1).
    mean : float
        Not negative.

    Returns
    -------
    int64
        0 for a mean of 0. It does not rise with `u`: see :func:`poisson`.
    """
    if not mean > 0.0:
        return 0
    # the probability of 0 comes first if the mean is below 1, and it is at least 1 - mean
    if u < 1.0 - mean:
        return 0
    mode = np.int64(mean)
    up = math.exp(mode * math.log(mean) - mean - log_factorial(mode))
    down = up
    u -= up
    if u < 0.0:
        return mode
    high = mode
    low = mode
    while up > 1e-300 or down > 1e-300:
        high += 1
        up *= mean / high
        u -= up
        if u < 0.0:
            return high
        if low > 0:
            down *= low / mean
            low -= 1
            u -= down
            if u < 0.0:
                return low
        else:
            down = 0.0
    return mode


@kernel
def binomial(key: np.uint64, event_key: np.uint64, index: int, slot: int, n: int, p: float) -> int | np.int64:
    """One binomial number by the same search from the mode as :func:`poisson`.

    Parameters
    ----------
    key, event_key, index, slot
        As in :func:`words`.
    n : int
        Trials, not negative.
    p : float
        Probability; below 0 counts as 0 and above 1 as 1.

    Returns
    -------
    int64
    """
    if n <= 0 or not p > 0.0:
        return 0
    if p >= 1.0:
        return n
    u, _ = uniforms(key, event_key, index, slot)
    mode = min(np.int64((n + 1) * p), np.int64(n))
    log_pmf = log_factorial(n) - log_factorial(mode) - log_factorial(n - mode)
    up = math.exp(log_pmf + mode * math.log(p) + (n - mode) * math.log1p(-p))
    down = up
    u -= up
    if u < 0.0:
        return mode
    odds = p / (1.0 - p)
    high = mode
    low = mode
    while up > 1e-300 or down > 1e-300:
        if high < n:
            up *= odds * (n - high) / (high + 1.0)
            high += 1
            u -= up
            if u < 0.0:
                return high
        else:
            up = 0.0
        if low > 0:
            down *= low / (odds * (n - low + 1.0))
            low -= 1
            u -= down
            if u < 0.0:
                return low
        else:
            down = 0.0
    return mode
