"""Branch-free arctangent and arcsine against the library's."""

import math

import numpy as np

from flashdet.kernels.angles import arcsine, arctangent2


def test_arctangent_is_that_of_the_library_all_around():
    rng = np.random.default_rng(1)
    angles = np.concatenate([rng.uniform(-math.pi, math.pi, 5000), np.arange(-15, 17) * math.pi / 16.0])
    for angle, size in zip(angles, 10.0 ** rng.uniform(-9, 9, len(angles)), strict=True):
        x, y = size * math.cos(angle), size * math.sin(angle)
        assert abs(arctangent2(y, x) - math.atan2(y, x)) <= 5e-16
    for ratio in 10.0 ** rng.uniform(-200, 0, 500):
        assert math.isclose(arctangent2(ratio, 1.0), math.atan2(ratio, 1.0), rel_tol=5e-16)


def test_arctangent_on_the_axes():
    for y, x in ((0.0, 1.0), (0.0, -1.0), (1.0, 0.0), (-1.0, 0.0), (1.0, 1.0), (-1.0, -1.0)):
        assert arctangent2(y, x) == math.atan2(y, x)
    assert arctangent2(-0.0, -1.0) == math.pi  # azimuths are in (-pi, pi]


def test_arcsine_is_that_of_the_library():
    rng = np.random.default_rng(2)
    for x in np.concatenate([rng.uniform(-1.0, 1.0, 5000), [-1.0, 0.0, 1.0, 0.5, 1.0 - 2.0**-53]]):
        assert abs(arcsine(x) - math.asin(x)) <= 5e-16
    for x in 10.0 ** rng.uniform(-200, -2, 500):
        assert math.isclose(arcsine(x), math.asin(x), rel_tol=8e-16)
