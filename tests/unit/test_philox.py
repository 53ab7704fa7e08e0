"""Known answers of Philox4x32-10 and the distributions built on it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from flashdet.errors import CardError
from flashdet.kernels import philox
from flashdet.kernels.jit import kernel
from flashdet.rng import Draw, stream_key

KEY, EVENT = np.uint64(0x1234_5678_9ABC_DEF0), np.uint64(42)


@kernel
def _block(words, out):
    out[0], out[1], out[2], out[3] = philox.block(words[0], words[1], words[2], words[3], words[4], words[5])


@kernel
def _fill_normals(key, event_key, slot, first, out):
    for i in range(out.shape[0]):
        out[i, 0], out[i, 1] = philox.normals(key, event_key, first + i, slot)


@kernel
def _fill_uniforms(key, event_key, slot, out):
    for i in range(out.shape[0]):
        out[i, 0], out[i, 1] = philox.uniforms(key, event_key, i, slot)


@kernel
def _fill_poisson(key, event_key, slot, mean, out):
    for i in range(out.shape[0]):
        out[i] = philox.poisson(key, event_key, i, slot, mean)


@kernel
def _fill_binomial(key, event_key, slot, n, p, out):
    for i in range(out.shape[0]):
        out[i] = philox.binomial(key, event_key, i, slot, n, p)


def _normals(n: int, key: np.uint64 = KEY, event: np.uint64 = EVENT, slot: int = 0, first: int = 0) -> np.ndarray:
    out = np.empty((n, 2))
    _fill_normals(key, event, slot, first, out)
    return out


@pytest.mark.parametrize(
    ("counter_and_key", "expected"),
    [
        # Known-answer vectors of the Random123 distribution (kat_vectors, philox4x32 10).
        ([0] * 6, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 6, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344, 0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_known_answers(counter_and_key, expected):
    out = np.zeros(4, np.uint64)
    _block(np.array(counter_and_key, np.uint64), out)
    assert [int(x) for x in out] == expected


def test_counter_words_reach_their_places():
    """Event key, index and slot fill counter words 0-1, 2 and 3; the key fills both key words."""
    out = np.zeros(4, np.uint64)
    _block(np.array([0x22222222, 0x11111111, 7, 9, 0x44444444, 0x33333333], np.uint64), out)
    first, second = philox.words(np.uint64(0x3333333344444444), np.uint64(0x1111111122222222), 7, 9)
    assert int(first) == int(out[0]) << 32 | int(out[1])
    assert int(second) == int(out[2]) << 32 | int(out[3])


def test_normal_moments_and_tails():
    x = _normals(2_000_000).ravel()
    n = len(x)
    # z-scores of the first four moments: standard errors 1, 2, 15, 96 over n.
    scores = [
        x.mean() * math.sqrt(n),
        (x.var() - 1) * math.sqrt(n / 2),
        (x**3).mean() * math.sqrt(n / 15),
        ((x**4).mean() - 3) * math.sqrt(n / 96),
    ]
    assert np.all(np.abs(scores) < 4), scores
    for cut in (1, 2, 3, 4, 4.5):
        expected = n * math.erfc(cut / math.sqrt(2))
        assert abs((np.abs(x) > cut).sum() - expected) < 4 * math.sqrt(expected)
    assert (x > 4).sum() > 0
    assert (x < -4).sum() > 0
    assert stats.kstest(x[:500_000], "norm").pvalue > 1e-4


def test_ziggurat_tail_follows_the_normal_beyond_its_base():
    """Numbers beyond R = 3.654 come from the tail branch alone: test their shape, not only their rate."""
    x = np.abs(_normals(6_000_000, slot=5).ravel())
    tail = x[x > 3.6541528853610088]
    norm = stats.norm.sf(3.6541528853610088)
    assert abs(len(tail) - 2 * norm * len(x)) < 4 * math.sqrt(2 * norm * len(x))
    assert stats.kstest(1 - stats.norm.sf(tail) / norm, "uniform").pvalue > 1e-4


def test_normals_are_uncorrelated_across_slots_indices_and_keys():
    n = 300_000
    columns = [
        _normals(n),
        _normals(n, slot=1),
        _normals(n, first=1),
        _normals(n, event=np.uint64(43)),
        _normals(n, key=np.uint64(int(KEY) + 1)),
    ]
    rho = np.corrcoef(np.concatenate(columns, axis=1).T)
    # `first=1` is the same sequence shifted by one row: also uncorrelated row by row.
    assert np.abs(rho[np.triu_indices_from(rho, 1)]).max() < 4.5 / math.sqrt(n)
    squares = np.corrcoef((np.concatenate(columns, axis=1) ** 2).T)
    assert np.abs(squares[np.triu_indices_from(squares, 1)]).max() < 4.5 / math.sqrt(n)


def test_normals_do_not_depend_on_what_was_drawn_before():
    whole = _normals(1000)
    parts = np.concatenate([_normals(1, first=i) for i in range(0, 1000, 1)])
    np.testing.assert_array_equal(whole, parts)


def test_uniforms_are_open_and_flat():
    out = np.empty((500_000, 2))
    _fill_uniforms(KEY, EVENT, 3, out)
    assert out.min() > 0
    assert out.max() < 1
    assert stats.kstest(out.ravel(), "uniform").pvalue > 1e-4
    assert abs(np.corrcoef(out.T)[0, 1]) < 4 / math.sqrt(len(out))


@pytest.mark.parametrize("mean", [0.02, 0.7, 3.0, 22.5, 60.0, 900.0])
def test_poisson(mean):
    out = np.empty(200_000, np.int64)
    _fill_poisson(KEY, EVENT, 4, mean, out)
    k = np.arange(out.max() + 2)
    expected = len(out) * stats.poisson.pmf(k, mean)
    seen = np.bincount(out, minlength=len(k))
    kept = expected > 10
    chi2 = ((seen - expected)[kept] ** 2 / expected[kept]).sum()
    assert stats.chi2.sf(chi2, kept.sum()) > 1e-4


@pytest.mark.parametrize(("n", "p"), [(1, 0.3), (30, 0.4), (64, 0.02), (200, 0.97)])
def test_binomial(n, p):
    out = np.empty(200_000, np.int64)
    _fill_binomial(KEY, EVENT, 4, n, p, out)
    assert out.min() >= 0
    assert out.max() <= n
    k = np.arange(n + 1)
    expected = len(out) * stats.binom.pmf(k, n, p)
    kept = expected > 10
    chi2 = ((np.bincount(out, minlength=n + 1) - expected)[kept] ** 2 / expected[kept]).sum()
    assert stats.chi2.sf(chi2, kept.sum()) > 1e-4


def test_counting_numbers_at_their_limits():
    assert philox.poisson(KEY, EVENT, 0, 0, 0.0) == 0
    assert philox.binomial(KEY, EVENT, 0, 0, 10, 0.0) == 0
    assert philox.binomial(KEY, EVENT, 0, 0, 10, 1.0) == 10
    assert philox.binomial(KEY, EVENT, 0, 0, 0, 0.5) == 0


def test_streams_of_seeds_and_names_differ():
    keys = {int(stream_key(seed, name)) for seed in range(50) for name in ("tof", "itof", "otof", "rich", "tracking")}
    assert len(keys) == 250
    assert Draw.of(1, "otof").key == stream_key(1, "otof")
    for seed in (-1, 2**64, 1.5, "1"):
        with pytest.raises(CardError, match="whole numbers from 0 to"):
            stream_key(seed, "tof")
    assert stream_key(np.int64(3), "tof") == stream_key(3, "tof")
