"""Poisson numbers from a table against SciPy's distribution."""

import math

import numpy as np
import pytest
from scipy import stats

from flashdet.kernels.counts import poisson_of
from flashdet.kernels.jit import kernel


@kernel
def fill(u, mean, out):
    for i in range(len(u)):
        out[i] = poisson_of(u[i], mean)


def numbers(u, mean):
    out = np.empty(len(u), np.int64)
    fill(u, mean, out)
    return out


@pytest.mark.parametrize("mean", [1e-3, 0.12, 0.125, 0.3, 1, 3.7, 22.7, 63.99, 64, 129.3, 511.5, 575.9, 576, 900])
def test_distribution(mean):
    """Equal steps of the uniform number: far fewer errors than random ones have, for every probability above 1e-4."""
    n = 2**21
    counts = np.bincount(numbers((np.arange(n) + 0.5) / n, float(mean)))
    k = np.arange(len(counts))
    wanted = n * stats.poisson.pmf(k, mean)
    likely = wanted > 1e-4 * n
    # as many edges of steps as the parts of the mean have values
    assert abs(counts - wanted)[likely].max() < 5 * math.sqrt(wanted.max())
    assert (k * counts).sum() / n == pytest.approx(mean, abs=2 * math.sqrt(mean / n))


@pytest.mark.parametrize("mean", [0.6, 7.4, 100.0])
def test_random_numbers_of_32_bits(mean):
    n = 400_000
    u = (np.random.default_rng(3).integers(0, 2**32, n) + 0.5) / 2**32
    found = numbers(u, mean)
    k = np.arange(found.max() + 1)
    wanted = n * stats.poisson.pmf(k, mean)
    many = wanted > 20
    counts = np.bincount(found)[many]
    chi_square = ((counts - wanted[many]) ** 2 / wanted[many]).sum()
    assert stats.chi2.sf(chi_square, many.sum()) > 1e-4
    assert found.var() == pytest.approx(mean, rel=5 * math.sqrt(2 / n + 1 / (n * mean)))


@pytest.mark.parametrize("mean", [0.0, 0.5, 24.3, 70.1, 640.0])
def test_ends_of_the_uniform_number(mean):
    lowest, highest = 0.5 / 2**32, 1 - 0.5 / 2**32
    low, high = numbers(np.array([lowest, highest]), mean)
    assert 0 <= low <= high
    assert high == 0 if mean == 0 else high < mean + 15 * math.sqrt(mean) + 15
    assert low >= mean - 12 * math.sqrt(mean)
