"""Properties of lookups and files for tables of any shape and content."""

from __future__ import annotations

import dataclasses

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lut_tables import alice_bytes, alice_entries

from flashdet.kernels import grid
from flashdet.kernels.symmat import from_shape, to_dense, to_shape
from flashdet.lut.alice import read_alice, write_alice
from flashdet.lut.axis import Axis
from flashdet.lut.files import read_table, write_table
from flashdet.lut.pack import pack
from flashdet.lut.table import Lut

DIAGONAL = [0, 2, 5, 9, 14]
FAST = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@st.composite
def luts(draw, hardest=1.0):
    """Tables of wild covariances: sigma over ten decades, ratios L_ij / L_ii of order 10^`hardest`, any validity.

    Ratios of 100 in all four rows at once are beyond the digits of a covariance in double precision.
    """
    n_nch, n_radius, n_eta, n_pt = (draw(st.integers(1, n)) for n in (3, 2, 4, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    nch = Axis("nch", "", n_nch, 3.0, 3000.0, "log")
    radius = Axis("radius", "cm", n_radius, 0.0, 100.0)
    eta = Axis("eta", "", n_eta, draw(st.floats(-5.0, -0.1)), draw(st.floats(0.1, 5.0)))
    pt = Axis("pt", "GeV", n_pt, 0.02, draw(st.floats(1.0, 200.0)), draw(st.sampled_from(["linear", "log"])))
    shape = (n_radius, n_eta, n_pt)
    sigma = 10 ** rng.uniform(-7.0, 3.0, (*shape, 5))
    ratio = rng.normal(size=(*shape, 10)) * 10 ** rng.uniform(-3.0, draw(st.sampled_from([0.0, hardest])), (*shape, 1))
    covariance = from_shape(np.concatenate([sigma, ratio], axis=-1).reshape(-1, 15)).reshape(*shape, 15)
    valid = rng.random(shape) < draw(st.sampled_from([0.3, 0.8, 1.0]))
    covariance[~valid] = np.nan
    efficiency = rng.random((n_nch, n_eta, n_pt))
    return Lut("kaon", 321, 0.493677, 1, 2.0, (nch, eta, pt), efficiency, (radius, eta, pt), covariance, valid)


queries = st.tuples(
    st.floats(0.0, 1e4, allow_nan=False), st.floats(0.0, 150.0), st.floats(-7.0, 7.0), st.floats(0.0, 500.0)
)


@FAST
@given(luts(), st.lists(queries, min_size=1, max_size=30))
def test_what_is_interpolated_is_positive_definite_and_between_its_neighbours(lut, many):
    packed = pack([lut])
    sigmas = np.sqrt(lut.covariance[lut.valid][:, DIAGONAL])
    covariance, factor = np.empty(15), np.empty(15)
    for query in many:
        efficiency, status = grid.lookup_linear(0, *query, *packed, covariance, factor)
        outside = [
            not a.low <= v < a.high for a, v in zip((lut.efficiency_axes[0], *lut.covariance_axes), query, strict=True)
        ]
        assert [bool(status & (grid.OUTSIDE << i)) for i in range(4)] == outside
        if status & grid.NO_ANSWER:
            assert efficiency == 0.0
            continue
        lower = np.zeros((5, 5))
        lower[np.tril_indices(5)] = factor
        sigma = np.sqrt(covariance[DIAGONAL])
        assert (np.diagonal(lower) > 0.0).all()
        assert np.abs((lower @ lower.T - to_dense(covariance)) / np.outer(sigma, sigma)).max() < 1e-12
        assert (sigma >= sigmas.min(axis=0) * (1 - 1e-5)).all()
        assert (sigma <= sigmas.max(axis=0) * (1 + 1e-5)).all()
        assert lut.efficiency.min() - 1e-6 <= efficiency <= lut.efficiency.max() + 1e-6


@FAST
@given(luts(), queries, st.floats(1e-9, 1e-6))
def test_small_steps_have_small_effects(lut, query, step):
    """Within one cell of validity nothing jumps, also next to cells that are not valid and across lines of centres."""
    packed = pack([lut])
    lut.valid[...] = True  # only to find queries with an answer below
    answers = []
    for shift in (0.0, step):
        covariance, factor = np.empty(15), np.empty(15)
        moved = (query[0] * (1 + shift), query[1] + shift, query[2] + shift, query[3] * (1 + shift))
        efficiency, status = grid.lookup_linear(0, *moved, *packed, covariance, factor)
        answers.append((efficiency, status, np.log(covariance[DIAGONAL]) if status & grid.NO_ANSWER == 0 else None))
    (e0, s0, l0), (e1, s1, l1) = answers
    if s0 & grid.NO_ANSWER or s1 & grid.NO_ANSWER:
        return
    assert abs(e1 - e0) < 1e3 * step
    assert np.abs(l1 - l0).max() < 1e5 * step


@FAST
@given(luts(hardest=0.5), st.integers(8, 23))  # ratios of 100 lose digits in a covariance of float64
def test_files_keep_tables(tmp_path, lut, bits):
    path, again = tmp_path / "a.lut.npz", tmp_path / "b.lut.npz"
    write_table(lut, path, overwrite=True, bits=bits)
    back = read_table(path)
    write_table(back, again, overwrite=True, bits=bits)
    assert np.array_equal(back.valid, lut.valid)
    old, new = (to_shape(table.covariance[lut.valid]) for table in (lut, back))
    np.testing.assert_allclose(new[:, :5], old[:, :5], rtol=1.01 * 2.0**-bits)
    assert np.abs(new[:, 5:] - old[:, 5:]).max(initial=0.0) <= 2.0**-bits * 0.51 + 1e-5 * np.abs(old[:, 5:]).max(
        initial=0.0
    )
    twice = read_table(again)
    np.testing.assert_allclose(twice.covariance, back.covariance, rtol=1e-5, atol=1e-300)


@FAST
@given(st.integers(0, 2**32), st.integers(0, 40))
def test_alice_files_come_back_byte_by_byte(tmp_path, seed, n_holes):
    rng = np.random.default_rng(seed)
    entries = alice_entries()
    for name in ("nch", "eta", "pt", "eff2", "itof", "otof"):
        entries[name] = rng.normal(size=entries.shape)
    entries["eff"] = rng.random(entries.shape)
    for _ in range(n_holes):
        i = tuple(rng.integers(0, n) for n in entries.shape)
        entries["valid"][i] = 0
        if rng.random() < 0.5:
            entries["covm"][i], entries["eigvec"][i] = rng.normal(size=15), rng.normal(size=(5, 5))
    path, out = tmp_path / "in.dat", tmp_path / "out.dat"
    path.write_bytes(alice_bytes(entries))
    lut = read_alice(path)
    write_alice(dataclasses.replace(lut, meta={}), out, overwrite=True)
    assert out.read_bytes() == path.read_bytes()
    assert np.array_equal(lut.efficiency[:, None] > 0, (entries["valid"] == 1) & (entries["eff"] > 0))
