"""Common offset of ambiguous measurements: closed forms, and the posterior integrated with brute force."""

import numpy as np
import pytest

from flashdet.kernels.exponential import LARGEST, exp_minus
from flashdet.kernels.offset import Mixture, common_offset, space
from flashdet.kernels.offsetgrid import N_GRID

PRIOR = 0.2
SIGMA_MIN = 0.015


def search(d, sigma, amplitude, prior=PRIOR, gaps=False):
    """Measurements in rows; `gaps`: with rows between them that are no measurements."""
    d, sigma, amplitude = (np.array(a, float) for a in np.broadcast_arrays(d, sigma, amplitude))
    used = np.ones(len(d), bool)
    if gaps:
        used = np.arange(3 * len(d)) % 3 == 1
    rows = np.zeros((3, d.shape[1], len(used)))
    rows[:, :, used] = d.T, 1 / sigma.T**2, amplitude.T
    found = Mixture(used, *rows, np.empty((3, 0)), np.empty(0, np.int64))
    loo, loo_error = np.full((2, len(used)), np.nan)
    memory = space(d.shape[1], prior, SIGMA_MIN)
    all_ = common_offset(found, (0, len(used)), (0, 0), len(d), (0.0, prior), 20, loo, loo_error, memory)
    if gaps:
        assert set(loo[~used]) == {all_[0]}
        assert set(loo_error[~used]) == {all_[1]}
    return all_, loo[used], loo_error[used]


def posterior(d, sigma, amplitude, prior=PRIOR, trust=np.inf):
    """Mean and deviation of the posterior by brute force, of the part within `trust` deviations of the mean."""
    t = np.linspace(-5 * prior, 5 * prior, 6001)
    density = np.exp(-0.5 * (t / prior) ** 2)
    for i in range(len(d)):
        density *= 1 + (amplitude[i, :, None] * np.exp(-0.5 * ((d[i, :, None] - t) / sigma[i, :, None]) ** 2)).sum(0)
        density /= density.max()
    below = [np.cumsum(density * t**power) - 0.5 * density * t**power for power in range(3)]
    low, high = t[0], t[-1]
    for _ in range(40):
        a, b, c = (np.interp(high, t, part) - np.interp(low, t, part) for part in below)
        mean, width = b / a, np.sqrt(c / a - (b / a) ** 2)
        low, high = max(low, mean - trust * width), min(high, mean + trust * width)
    return mean, width


def mixture(rng, n, outliers=0.1):
    """Three hypotheses as in a time-of-flight measurement: the right one near 0.1, others displaced."""
    sigma = rng.uniform(0.02, 0.05, (n, 3))
    shift = np.sort(rng.exponential(0.3, (n, 3)), axis=1)
    right = rng.choice(3, n, p=(0.6, 0.2, 0.2))
    d = 0.1 + np.take_along_axis(shift, right[:, None], 1) - shift + rng.normal(0, sigma)
    d[rng.random(n) < outliers] += 1.0
    return d, sigma, np.array([0.6, 0.2, 0.2]) * 15 / sigma


@pytest.mark.parametrize("n", [2, N_GRID, N_GRID + 1, 40])
def test_gaussian_case_is_the_weighted_mean(n):
    rng = np.random.default_rng(n)
    sigma = rng.uniform(0.02, 0.05, (n, 1))
    d = 0.15 + rng.normal(0, sigma)
    # outliers a million times less likely: a single normal density is left
    (offset, error), loo, loo_error = search(d, sigma, 1e6)
    weight = 1 / sigma[:, 0] ** 2
    total = weight.sum() + 1 / PRIOR**2
    assert offset == pytest.approx((weight * d[:, 0]).sum() / total, abs=1e-3 * error)
    assert error == pytest.approx(total**-0.5, rel=2e-3)
    for i in range(n):
        rest = np.delete(weight, i)
        total = rest.sum() + 1 / PRIOR**2
        assert loo[i] == pytest.approx((rest * np.delete(d[:, 0], i)).sum() / total, abs=1e-3 * loo_error[i])
        assert loo_error[i] == pytest.approx(total**-0.5, rel=2e-3)


def assert_agrees(found, *measurements):
    """Compare with brute force; the far solutions that are cut off may end anywhere between two grid points."""
    mean, width = posterior(*measurements, trust=6)
    assert found[0] == pytest.approx(mean, abs=2e-3 * width)
    assert found[1] == pytest.approx(width, rel=2e-3)


@pytest.mark.parametrize("n", range(2, N_GRID + 1))
def test_few_ambiguous_measurements_against_brute_force(n):
    rng = np.random.default_rng(10 + n)
    for _ in range(20):
        measurements = mixture(rng, n)
        found, loo, loo_error = search(*measurements)
        assert_agrees(found, *measurements)
        for i in range(n):
            assert_agrees((loo[i], loo_error[i]), *(np.delete(a, i, 0) for a in measurements))


@pytest.mark.parametrize("n", [8, 12, 30, 100])
def test_many_ambiguous_measurements_against_brute_force(n):
    """The peak and its curvature stand for the posterior: close in nearly all cases, wrong peak in none."""
    rng = np.random.default_rng(100 + n)
    shifts, ratios = [], []
    for _ in range(20):
        d, sigma, amplitude = mixture(rng, n)
        (offset, error), loo, loo_error = search(d, sigma, amplitude)
        i = rng.integers(n)
        rest = (np.delete(a, i, 0) for a in (d, sigma, amplitude))
        for (mean, width), value, value_error in (
            (posterior(d, sigma, amplitude), offset, error),
            (posterior(*rest), loo[i], loo_error[i]),
        ):
            shifts.append(abs(value - mean) / width)
            ratios.append(value_error / width)
    assert np.median(shifts) < 0.1
    assert np.percentile(shifts, 85) < 0.25
    assert np.median(ratios) == pytest.approx(1, abs=0.06)
    assert np.percentile(ratios, 15) > 0.8
    if n > 8:
        assert max(shifts) < 0.6


def test_left_out_measurement_changes_nothing():
    rng = np.random.default_rng(5)
    for n in (N_GRID, 30):
        d, sigma, amplitude = mixture(rng, n, outliers=0)
        _, loo, loo_error = search(d, sigma, amplitude)
        moved = d.copy()
        moved[3] += 0.07
        _, other, other_error = search(moved, sigma, amplitude)
        tolerance = 0.02 * loo_error[3] if n > N_GRID else 2e-5 * loo_error[3]
        assert other[3] == pytest.approx(loo[3], abs=tolerance)
        assert other_error[3] == pytest.approx(loo_error[3], rel=0.02)
        assert abs(other[4] - loo[4]) > 1e-4


def test_nothing_and_one():
    empty = np.empty((0, 3))
    assert search(empty, empty + 1, empty)[0] == (0.0, PRIOR)
    (offset, error), loo, loo_error = search([[0.3]], [[0.02]], [[300.0]])
    assert (loo[0], loo_error[0]) == (0.0, PRIOR)
    one = [np.array([[value]]) for value in (0.3, 0.02, 300.0)]
    assert_agrees((offset, error), *one)
    # the outlier hypothesis holds it back and widens it
    assert 0.2 < offset < 0.3 / (1 + (0.02 / PRIOR) ** 2)
    assert error > 0.05


def test_order_of_measurements_hardly_matters():
    rng = np.random.default_rng(9)
    for n in (4, 50):
        d, sigma, amplitude = mixture(rng, n)
        (offset, error), loo, _ = search(d, sigma, amplitude)
        order = rng.permutation(n)
        (again, _), loo_again, _ = search(d[order], sigma[order], amplitude[order])
        assert again == pytest.approx(offset, abs=0.02 * error)
        np.testing.assert_allclose(loo_again, loo[order], atol=0.02 * error)


def test_outliers_lose_their_weight():
    rng = np.random.default_rng(11)
    d = 0.1 + rng.normal(0, 0.02, (40, 1))
    d[::3] += rng.uniform(0.15, 2.0, (14, 1))
    (offset, error), _, _ = search(d, 0.02, 300.0)
    clean = np.delete(d[:, 0], np.s_[::3])
    assert offset == pytest.approx(clean.mean(), abs=0.5 * error)
    assert error == pytest.approx(0.02 / np.sqrt(26), rel=0.2)


@pytest.mark.parametrize("n", [3, 40])
def test_rows_between_measurements_change_nothing(n):
    measurements = mixture(np.random.default_rng(n), n)
    (offset, error), loo, loo_error = search(*measurements)
    (again, error_again), loo_again, loo_error_again = search(*measurements, gaps=True)
    # the gradient of the others is not exactly 0 at the last step
    assert again == pytest.approx(offset, abs=1e-9)
    assert error_again == pytest.approx(error, rel=1e-9)
    np.testing.assert_allclose(loo_again, loo, rtol=1e-9)
    np.testing.assert_allclose(loo_error_again, loo_error, rtol=1e-9)


@pytest.mark.parametrize("n", [4, 30])
def test_further_components_count_like_hypotheses(n):
    """The third hypothesis of every measurement as a component of its own."""
    d, sigma, amplitude = mixture(np.random.default_rng(n), n)
    (offset, error), loo, loo_error = search(d, sigma, amplitude)
    rows = np.array([d.T, 1 / sigma.T**2, amplitude.T])
    first, more = np.ascontiguousarray(rows[:, :2]), np.ascontiguousarray(rows[:, 2])
    found = Mixture(np.ones(n, bool), *first, more, np.arange(n))
    other, other_error = np.empty((2, n))
    memory = space(3, PRIOR, SIGMA_MIN)
    again = common_offset(found, (0, n), (0, n), n, (0.0, PRIOR), 20, other, other_error, memory)
    # another starting point: the peaks of many are found to a hundredth of their width
    assert again == pytest.approx((offset, error), rel=1e-2)
    np.testing.assert_allclose(other, loo, atol=2e-2 * error)
    np.testing.assert_allclose(other_error, loo_error, rtol=1e-2)


def test_many_rows():
    """700 rows: the same as the weighted mean."""
    rng = np.random.default_rng(8)
    d = 0.1 + rng.normal(0, 0.02, (700, 1))
    (offset, error), loo, _ = search(d, 0.02, 1e6)
    assert offset == pytest.approx(d.mean(), abs=0.01 * error)
    assert loo[650] == pytest.approx(np.delete(d, 650).mean(), abs=0.01 * error)


def test_exponential_function():
    x = np.linspace(0, LARGEST, 4001)
    np.testing.assert_allclose([exp_minus(value) for value in x], np.exp(-x), rtol=2e-9)
