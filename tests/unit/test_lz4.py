"""LZ4 blocks and XXH64 from our kernels, by a decoder written from the description of the format and known values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashdet.kernels import lz4
from flashdet.kernels.xxh64 import xxh64


def decoded(block: bytes) -> bytes:
    """Decode an LZ4 block by the rules of the format, those for the end of a block included."""
    out, i, last_match_start = bytearray(), 0, None

    def length(nibble):
        nonlocal i
        total = nibble
        if nibble == 15:
            while True:
                byte = block[i]
                i += 1
                total += byte
                if byte != 255:
                    break
        return total

    while True:
        token = block[i]
        i += 1
        n = length(token >> 4)
        assert i + n <= len(block)
        out += block[i : i + n]
        i += n
        if i == len(block):
            break
        distance = block[i] | block[i + 1] << 8
        i += 2
        assert 0 < distance <= len(out)
        last_match_start = len(out)
        for _ in range(length(token & 15) + 4):
            out.append(out[-distance])
    if last_match_start is not None:
        assert n >= 5
        assert len(out) - last_match_start >= 12
    return bytes(out)


def packed(values, tail=b"", swap=False, memory=None):
    words = np.ascontiguousarray(values).view(np.uint32)
    memory = memory or lz4.Gaps(len(words))
    out = np.full(20 + lz4.bound(4 * len(words) + len(tail)) + 8, 0xEE, np.uint8)
    rest = np.frombuffer(tail, np.uint8)
    end = lz4.pack(words, rest, swap, *memory.arrays, out, 20)
    assert (out[:20] == 0xEE).all()
    assert (out[-8:] == 0xEE).all()
    return out[20:end].tobytes()


def with_gaps(n, share, seed=1, filler=np.nan):
    rng = np.random.default_rng(seed)
    return np.where(rng.random(n) < share, filler, rng.normal(size=n)).astype(np.float32)


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("share", [0.2, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("tail", [b"", b"abc"])
def test_columns_with_gaps_come_back(share, swap, tail):
    values = with_gaps(30_000, share)
    block = packed(values, tail, swap)
    want = values.byteswap() if swap else values
    assert decoded(block) == want.tobytes() + tail
    # a gap costs at most 7 bytes, and one byte for each 255 bytes of its length
    n_numbers = np.isfinite(values).sum()
    n_gaps = np.count_nonzero(np.diff(np.isnan(values).astype(int)) == 1) + 1
    assert len(block) < 4 * n_numbers + 7 * n_gaps + values.nbytes / 255 + 100


@pytest.mark.parametrize("filler", [np.nan, -np.nan, 0.0, -999.0])
def test_the_filler_is_found(filler):
    values = with_gaps(5000, 0.6, filler=filler)
    block = packed(values)
    assert decoded(block) == values.tobytes()


def test_gaps_at_both_ends():
    for first, last in ((100, 100), (0, 3), (3, 0), (1, 1), (0, 50)):
        values = with_gaps(2000, 0.4)
        values[:first] = np.nan
        values[len(values) - last :] = np.nan
        block = packed(values)
        assert decoded(block) == values.tobytes()


def test_gaps_farther_apart_than_the_format_reaches_back():
    values = np.random.default_rng(1).normal(size=200_000).astype(np.float32)
    values[:50_000] = np.nan
    values[60_000:60_003] = values[120_000:120_003] = values[190_000:190_003] = np.nan
    block = packed(values)
    assert decoded(block) == values.tobytes()


def test_gaps_are_used_again_and_do_not_change_the_bytes():
    memory = lz4.Gaps(40_000)
    for seed in (1, 2, 3, 1, 2, 9, 8, 7, 1):
        for n in (10_000, 9_999, 40_000):
            gaps = np.isnan(with_gaps(n, 0.5, seed))
            values = np.where(gaps, np.nan, np.random.default_rng(99).normal(size=n)).astype(np.float32)
            block = packed(values, memory=memory)
            assert block == packed(values)
            assert decoded(block) == values.tobytes()


def test_noise_is_left_and_repetition_is_found():
    rng = np.random.default_rng(1)
    assert packed(rng.normal(size=10_000).astype(np.float32)) == b""
    # (values, bytes that suffice: a match of two words costs 3 bytes)
    codes = rng.integers(0, 20, 10_000).astype(np.int32)
    runs = np.repeat(np.arange(500, dtype=np.int32), 20)
    for values, most in (
        (np.zeros(1000, np.int32), 40),
        (codes, 22_000),
        (runs, 500 * 14),
        (np.tile(codes[:90], 50), 700),
    ):
        block = packed(values, b"xy", swap=True)
        assert decoded(block) == values.byteswap().tobytes() + b"xy"
        assert len(block) <= most


def test_searches_do_not_depend_on_columns_before():
    rng, memory = np.random.default_rng(2), lz4.Gaps(5000)
    columns = [rng.integers(0, k, n).astype(np.int32) for k, n in ((3, 5000), (40, 5000), (3, 4999), (200, 3000))]
    for values in (*columns, *columns[::-1]):
        assert packed(values, memory=memory) == packed(values)


@pytest.mark.parametrize("n", range(20))
def test_short_columns(n):
    for values in (np.full(n, np.nan, np.float32), np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32) % 2):
        block = packed(values)
        assert block == b"" or decoded(block) == values.tobytes()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), min_size=1, max_size=200), st.binary(max_size=3))
def test_any_pattern_of_gaps(runs, tail):
    gaps = np.concatenate([np.full(n, gap) for gap, n in runs])
    values = np.where(gaps, np.nan, np.arange(1, len(gaps) + 1)).astype(np.float32)
    block = packed(values, tail, swap=True)
    assert block == b"" or decoded(block) == values.byteswap().tobytes() + tail


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=20, max_size=400), st.integers(1, 5), st.binary(max_size=3))
def test_any_repetition(numbers, times, tail):
    values = np.tile(np.array(numbers, np.int32), times)
    block = packed(values, tail)
    assert block == b"" or decoded(block) == values.tobytes() + tail


def test_repetition_beyond_the_reach_of_the_format():
    piece = np.random.default_rng(4).integers(0, 2**31, 30_000).astype(np.int32)
    values = np.concatenate([piece, np.repeat(piece[:200], 300), piece])
    block = packed(values)
    assert block == b"" or decoded(block) == values.tobytes()


@pytest.mark.parametrize("swap", [False, True])
def test_copies(swap):
    values, out = np.arange(100, dtype=np.uint32) << 7, np.zeros(500, np.uint8)
    assert lz4.copy(values, np.frombuffer(b"xyz", np.uint8), swap, out, 11) == 11 + 403
    assert out[11:414].tobytes() == (values.byteswap() if swap else values).tobytes() + b"xyz"


@pytest.mark.parametrize(
    ("data", "want"),
    # reference implementation, seed 0 (https://github.com/Cyan4973/xxHash, and its sanity checks)
    [(b"", 0xEF46DB3751D8E999), (b"a", 0xD24EC4F1A98C6E5B), (b"abc", 0x44BC2CF5AD770999)],
)
def test_xxh64_known_values(data, want):
    assert xxh64(np.frombuffer(b"??" + data, np.uint8), 2, 2 + len(data)) == want


def test_xxh64_like_the_library():
    xxhash = pytest.importorskip("xxhash")
    data = np.random.default_rng(1).integers(0, 256, 5000).astype(np.uint8)
    for start, end in ((0, 5000), *((3, 3 + n) for n in range(100))):
        assert xxh64(data, start, end) == xxhash.xxh64_intdigest(data[start:end].tobytes())
