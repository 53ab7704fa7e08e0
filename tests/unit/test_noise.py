"""Random numbers for many particles are those for one."""

import numpy as np

from flashdet.kernels.noise import normal_rows, uniform_pair_rows, uniform_rows
from flashdet.kernels.philox import normals, uniforms

KEY = np.uint64(0x0123_4567_89AB_CDEF)


def test_rows_are_the_numbers_of_single_particles():
    """Enough of them that 300 normal numbers lie outside of the quick part of the ziggurat."""
    n = 12_345
    event_key = (np.arange(n) // 50).astype(np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    index = np.where(np.arange(n) % 7 == 0, -2 - np.arange(n), np.arange(n))
    first, second, uniform, bits = np.empty(n + 3), np.empty(n), np.full(n + 1, 7.0), np.empty((2, n), np.uint64)
    normal_rows(KEY, event_key, index, 3, n, bits, first, second)
    uniform_rows(KEY, event_key, index, 0, n, uniform)
    pair = np.empty((2, n))
    uniform_pair_rows(KEY, event_key, index, 0, n, pair[0], pair[1])
    for j in range(n):
        assert (first[j], second[j]) == normals(KEY, event_key[j], index[j], 3)
        assert tuple(pair[:, j]) == uniforms(KEY, event_key[j], index[j], 0)
    assert (uniform[:n] == pair[0]).all()
    assert np.max(np.abs(first[:n])) > 3.6541528853610088  # the tail was met
    assert uniform[n] == 7.0
