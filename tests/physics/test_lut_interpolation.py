"""Coarse and interpolated beats fine and not interpolated: accuracy of a smooth detector's table against its size."""

import numpy as np
import pytest
from lut_tables import smooth_covariance, smooth_lut

from flashdet.kernels.grid import lookup_linear
from flashdet.kernels.nearest import lookup_nearest
from flashdet.lut.checks import is_positive_definite
from flashdet.lut.pack import pack

DIAGONAL = [0, 2, 5, 9, 14]


def errors(n_eta, n_pt, interpolation):
    """Relative errors of the standard deviations at 3000 places, (n, 5), and the covariances."""
    packed = pack([smooth_lut(n_eta, n_pt)], interpolation)
    look_up = lookup_linear if interpolation == "linear" else lookup_nearest
    rng = np.random.default_rng(2)
    eta, pt = rng.uniform(-2.8, 2.8, 3000), 10.0 ** rng.uniform(-1.3, 1.5, 3000)
    found, factor = np.empty((3000, 15)), np.empty(25)
    for i in range(3000):
        look_up(0, 100.0, 0.0, eta[i], pt[i], *packed, found[i], factor)
    exact = np.sqrt(np.diagonal(smooth_covariance(eta, pt), axis1=1, axis2=2))
    return np.sqrt(found[:, DIAGONAL]) / exact - 1.0, found


@pytest.mark.parametrize(("n_eta", "n_pt"), [(80, 200), (40, 100)])
def test_linear_beats_nearest_at_a_sixteenth_of_the_size(n_eta, n_pt):
    nearest, _ = errors(n_eta, n_pt, "nearest")
    for divide, gain in ((1, 6.0), (4, 1.0)):
        linear, covariances = errors(n_eta // divide, n_pt // divide, "linear")
        assert np.sqrt((nearest**2).mean()) > gain * np.sqrt((linear**2).mean())
        assert is_positive_definite(covariances).all()


def test_the_error_falls_with_the_square_of_the_cells():
    coarse, fine = (np.sqrt((errors(40 * k, 50 * k, "linear")[0] ** 2).mean()) for k in (1, 2))
    assert coarse / fine == pytest.approx(4.0, rel=0.35)
