"""Packed symmetric matrices against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from flashdet.kernels import symmat


def _random_covariances(n: int, size: int) -> np.ndarray:
    rng = np.random.default_rng(7)
    root = rng.normal(size=(n, size, size)) * np.logspace(-4, 1, size)[:, None]
    return root @ np.swapaxes(root, 1, 2) + 1e-12 * np.eye(size)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_packed_is_the_lower_triangle_row_by_row(size):
    dense = _random_covariances(4, size)
    packed = symmat.to_packed(dense)
    assert packed.shape == (4, size * (size + 1) // 2)
    for i in range(size):
        for j in range(i + 1):
            assert np.array_equal(packed[:, i * (i + 1) // 2 + j], dense[:, i, j])
    assert np.array_equal(symmat.to_dense(packed, size), dense)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_kernels_agree_with_numpy(size):
    rng = np.random.default_rng(3)
    for dense in _random_covariances(50, size):
        packed, vector = symmat.to_packed(dense), rng.normal(size=size)
        factor, out, inverse, again = (
            np.empty_like(packed),
            np.empty(size),
            np.empty_like(packed),
            np.empty_like(packed),
        )
        assert symmat.cholesky(packed, size, factor)
        lower = np.linalg.cholesky(dense)
        np.testing.assert_allclose(factor, symmat.to_packed(lower), rtol=1e-9, atol=1e-14)
        symmat.from_factor(factor, size, again)
        np.testing.assert_allclose(again, packed, rtol=1e-12, atol=1e-18)
        symmat.multiply_lower(factor, size, vector, out)
        np.testing.assert_allclose(out, lower @ vector, rtol=1e-9, atol=1e-12)
        symmat.solve_lower(factor, size, vector, out)
        assert out @ out == pytest.approx(vector @ np.linalg.solve(dense, vector), rel=1e-6)
        symmat.solve(factor, size, vector, out)
        np.testing.assert_allclose(dense @ out, vector, rtol=1e-6, atol=1e-6)
        symmat.invert(factor, size, inverse)
        np.testing.assert_allclose(symmat.to_dense(inverse[None], size)[0] @ dense, np.eye(size), atol=1e-5)


def test_cholesky_in_place():
    packed = symmat.to_packed(_random_covariances(1, 5))[0]
    factor = np.empty(15)
    symmat.cholesky(packed, 5, factor)
    assert symmat.cholesky(packed, 5, packed)
    assert np.array_equal(packed, factor)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
def test_cholesky_refuses_what_is_not_positive_definite(bad):
    packed = symmat.to_packed(np.eye(5)[None])[0]
    packed[9] = bad
    assert not symmat.cholesky(packed, 5, np.empty(15))


def test_cholesky_refuses_a_correlation_above_one():
    packed = symmat.to_packed(np.eye(5)[None])[0]
    packed[1] = 1.0001
    assert not symmat.cholesky(packed, 5, np.empty(15))


@pytest.mark.parametrize("rows", [2, 5])
def test_similarity_propagates_covariances(rows):
    dense = _random_covariances(1, 5)[0]
    jacobian = np.random.default_rng(5).normal(size=(rows, 5))
    out = np.empty(rows * (rows + 1) // 2)
    symmat.similarity(jacobian, symmat.to_packed(dense), out, np.empty((rows, 5)))
    np.testing.assert_allclose(symmat.to_dense(out[None], rows)[0], jacobian @ dense @ jacobian.T, rtol=1e-10)


def test_shapes_give_the_covariance_back():
    packed = symmat.to_packed(_random_covariances(200, 5))
    shape = symmat.to_shape(packed)
    np.testing.assert_allclose(shape[:, :5] ** 2, packed[:, [0, 2, 5, 9, 14]], rtol=1e-14)
    again = symmat.from_shape(shape)
    sigma = shape[:, :5]
    scale = symmat.to_packed(sigma[:, :, None] * sigma[:, None, :])
    assert np.abs((again - packed) / scale).max() < 1e-13


def test_to_shape_refuses_what_is_not_positive_definite():
    packed = symmat.to_packed(np.stack([np.eye(5), np.eye(5)]))
    for element, value in ((0, 0.0), (0, -1.0), (1, 1.1), (3, np.nan)):
        bad = packed.copy()
        bad[1, element] = value
        with pytest.raises(np.linalg.LinAlgError):
            symmat.to_shape(bad)
