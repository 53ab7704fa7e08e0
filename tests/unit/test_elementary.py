"""Elementary functions for vectors of numbers against those of NumPy."""

import numpy as np
import pytest

from flashdet.kernels import elementary
from flashdet.kernels.jit import kernel


@kernel
def fill(which, x, out):
    for i in range(len(x)):
        if which == 0:
            out[0, i] = elementary.exp(x[i])
        elif which == 1:
            out[0, i] = elementary.log(x[i])
        else:
            out[0, i], out[1, i] = elementary.cosine_and_sine(x[i])


def values(which, x):
    out = np.empty((2, len(x)))
    fill(which, x, out)
    return out


@pytest.fixture
def rng():
    return np.random.default_rng(1)


@pytest.mark.parametrize("limit", [1e-3, 0.7, 30.0, 700.0])
def test_exp(rng, limit):
    x = np.append(rng.uniform(-limit, limit, 200000), [0.0, limit, -limit])
    np.testing.assert_allclose(values(0, x)[0], np.exp(x), rtol=4e-16)


@pytest.mark.parametrize("power", [1e-3, 0.4, 30.0, 700.0])
def test_log(rng, power):
    x = np.append(np.exp(rng.uniform(-power, power, 200000)), [1.0, 2.0, 0.5, 2.3e-308, 1e308])
    np.testing.assert_allclose(values(1, x)[0], np.log(x), rtol=5e-16)


@pytest.mark.parametrize("limit", [1e-3, 1.0, 7.0, 1500.0])
def test_cosine_and_sine(rng, limit):
    x = np.append(rng.uniform(-limit, limit, 200000), [0.0, np.pi, -np.pi, np.pi / 2, np.pi / 4])
    cosine, sine = values(2, x)
    np.testing.assert_allclose(cosine, np.cos(x), rtol=0, atol=3e-16)
    np.testing.assert_allclose(sine, np.sin(x), rtol=0, atol=3e-16)
    # small angles keep their relative precision
    small = abs(x) < 0.7
    np.testing.assert_allclose(sine[small], np.sin(x[small]), rtol=4e-16)


@kernel
def fill_where(condition, value, other, out):
    for i in range(len(out)):
        out[i] = elementary.select(condition[i], value[i], other[i])


def test_select(rng):
    condition, value, other = rng.random(1000) < 0.5, rng.normal(size=1000), rng.normal(size=1000)
    value[:3], other[:3] = [np.nan, np.inf, -0.0], [np.inf, np.nan, 0.0]
    out = np.empty(1000)
    fill_where(condition, value, other, out)
    np.testing.assert_array_equal(out.view(np.int64), np.where(condition, value, other).view(np.int64))
