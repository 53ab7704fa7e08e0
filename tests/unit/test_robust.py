"""The core of samples with outliers: unbiased for a Gaussian, and its errors are the scatter that samples show."""

import numpy as np
import pytest

from flashdet.lut.robust import fit_core


def gaussian(rng, n):
    return rng.standard_normal((n, 5))


def radiating(rng, n):
    """A third of the vectors has an exponential tail to one side in the last component, as electrons in q/pt."""
    values = rng.standard_normal((n, 5))
    values[:, 4] += (rng.random(n) < 1 / 3) * rng.exponential(8.0, n)
    return values


def fits(draw, n, n_samples):
    rng = np.random.default_rng(3)
    results = [fit_core(draw(rng, n)) for _ in range(n_samples)]
    sigma = np.sqrt([np.diag(fit.covariance) for fit in results])
    return sigma.mean(axis=0), sigma.std(axis=0) / sigma.mean(axis=0), np.mean([fit.error for fit in results], axis=0)


def test_gaussian_core_and_its_errors():
    mean, scatter, error = fits(gaussian, 800, 150)
    # 150 samples: the scatter is known within 6 %, the mean within 0.25 %
    assert mean == pytest.approx(1.0, abs=0.01)
    assert error == pytest.approx(1.0 / np.sqrt(2 * 0.79 * 800), rel=0.05)
    assert scatter == pytest.approx(error, rel=0.2)


def test_errors_know_that_the_cut_runs_through_a_tail():
    """The error of a Gaussian sample of that size would be less than half of what samples scatter by."""
    _, scatter, error = fits(radiating, 2000, 100)
    gauss = 1.0 / np.sqrt(2 * 0.79 * 2000)
    assert scatter[4] > 1.8 * gauss
    assert error[4] == pytest.approx(scatter[4], rel=0.4)
    assert error[:4] == pytest.approx(scatter[:4], rel=0.25)


def test_samples_that_do_not_span_the_space_have_no_core():
    rng = np.random.default_rng(1)
    flat = rng.standard_normal((100, 5))
    flat[:, 2] = flat[:, 1]
    assert fit_core(flat) is None
    assert fit_core(flat[:6]) is None
    flat[:, 2] = 0.0
    assert fit_core(flat) is None
