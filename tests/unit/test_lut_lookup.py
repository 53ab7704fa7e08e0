"""Lookups: bins, interpolation, what happens outside and at the edge of validity, and ALICE's arithmetic."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from lut_tables import ALICE_AXES, alice_bytes, alice_entries, smooth_covariance, smooth_lut

from flashdet.errors import LutError
from flashdet.kernels import grid, nearest
from flashdet.kernels.symmat import to_dense, to_packed
from flashdet.lut.alice import read_alice
from flashdet.lut.pack import pack

DIAGONAL = [0, 2, 5, 9, 14]


def _linear(packed, nch, radius, eta, pt, i_table=0):
    covariance, factor = np.full(15, -7.0), np.full(15, -7.0)
    query = (float(nch), float(radius), float(eta), float(pt))
    efficiency, status = grid.lookup_linear(i_table, *query, *packed, covariance, factor)
    return efficiency, status, covariance, factor


def _nearest(packed, nch, radius, eta, pt, i_table=0):
    covariance, factor = np.full(15, -7.0), np.full(25, -7.0)
    query = (float(nch), float(radius), float(eta), float(pt))
    efficiency, status = nearest.lookup_nearest(i_table, *query, *packed, covariance, factor)
    return efficiency, status, covariance, factor.reshape(5, 5)


# --- linear ----------------------------------------------------------------------------------------------------------
def test_bin_centers_give_the_table():
    lut = smooth_lut(n_eta=8, n_pt=20, n_radius=2)
    packed = pack([lut])
    nch, (radius, eta, pt) = lut.efficiency_axes[0], lut.covariance_axes
    for i, j, k, n in np.ndindex(2, 8, 20, 4):
        efficiency, status, covariance, factor = _linear(
            packed, nch.centers[n], radius.centers[i], eta.centers[j], pt.centers[k]
        )
        if not lut.valid[i, j, k]:
            assert (efficiency, status) == (0.0, grid.INVALID)
            continue
        assert status == 0
        assert efficiency == pytest.approx(lut.efficiency[n, j, k], rel=1e-6)
        np.testing.assert_allclose(covariance, lut.covariance[i, j, k], rtol=1e-5, atol=1e-12)
        lower = np.zeros((5, 5))
        lower[np.tril_indices(5)] = factor
        np.testing.assert_allclose(to_packed(lower @ lower.T), covariance, rtol=1e-13, atol=1e-18)


def test_between_centers_it_is_close_to_the_truth():
    rng = np.random.default_rng(2)
    packed = pack([smooth_lut(n_eta=40, n_pt=100)])
    worst_sigma = worst_rho = 0.0
    for eta, log_pt in zip(rng.uniform(-3.5, 3.5, 3000), rng.uniform(-1.4, 1.7, 3000), strict=True):
        covariance = _linear(packed, 100.0, 0.0, eta, 10**log_pt)[2]
        true = to_packed(smooth_covariance(eta, 10**log_pt))
        sigma, sigma_true = np.sqrt(covariance[DIAGONAL]), np.sqrt(true[DIAGONAL])
        rho = to_dense(covariance) / np.outer(sigma, sigma) - to_dense(true) / np.outer(sigma_true, sigma_true)
        worst_sigma = max(worst_sigma, np.abs(sigma / sigma_true - 1).max())
        worst_rho = max(worst_rho, np.abs(rho).max())
    assert worst_sigma < 0.03  # linear covariances are off by 0.18 here, linear Cholesky factors by 0.10
    assert worst_rho < 5e-4


def test_powers_of_pt_are_exact_however_coarse_the_bins():
    lut = smooth_lut(n_eta=1, n_pt=5)
    lut.covariance[...] = to_packed(np.diag([1.0, 4.0, 9.0, 16.0, 25.0]))
    lut.covariance[...] *= lut.covariance_axes[2].centers[:, None] ** -2.6
    lut.valid[...] = True
    packed = pack([lut])
    for pt in np.geomspace(0.03, 30.0, 40):
        covariance = _linear(packed, 100.0, 0.0, 0.0, pt)[2]
        np.testing.assert_allclose(covariance[DIAGONAL], np.array([1, 4, 9, 16, 25]) * pt**-2.6, rtol=1e-5)


def test_the_efficiency_is_linear_in_log_nch_eta_and_log_pt():
    lut = smooth_lut(n_eta=4, n_pt=6, n_nch=3)
    nch, eta, pt = lut.efficiency_axes
    x, y, z = np.meshgrid(np.log10(nch.centers), eta.centers, np.log10(pt.centers), indexing="ij")
    lut = dataclasses.replace(lut, efficiency=0.5 + 0.05 * x + 0.02 * y - 0.1 * z, valid=np.ones((1, 4, 6), bool))
    lut.covariance[...] = to_packed(np.eye(5))
    packed = pack([lut])
    rng = np.random.default_rng(1)
    for a, b, c in zip(
        rng.uniform(1.0, 3.0, 200), rng.uniform(-3.0, 3.0, 200), rng.uniform(-1.66, 1.66, 200), strict=True
    ):
        expected = 0.5 + 0.05 * a + 0.02 * b - 0.1 * c
        assert _linear(packed, 10**a, 0.0, b, 10**c)[0] == pytest.approx(expected, abs=1e-6)
    assert _linear(packed, 4.0, 0.0, -3.9, 0.011)[0] == pytest.approx(
        lut.efficiency[0, 0, 0]
    )  # beyond the outer centres


def test_one_bin_is_a_constant():
    packed = pack([smooth_lut(n_eta=1, n_pt=1, n_nch=1)])
    answers = [
        _linear(packed, n, r, e, p) for n in (4, 3000) for r in (0, 99) for e in (-3.9, 3.9) for p in (0.011, 99)
    ]
    assert len({a[0] for a in answers}) == 1
    assert all(np.array_equal(a[2], answers[0][2]) for a in answers)


def test_axes_that_are_not_interpolated():
    """With eta and pt in steps and nch linear it is what the ALICE on-the-fly simulation does with efficiencies."""
    lut = smooth_lut(n_eta=8, n_pt=20)
    nch, (radius, eta, pt) = lut.efficiency_axes[0], lut.covariance_axes
    steps = [dataclasses.replace(axis, interpolation="none") for axis in (eta, pt)]
    lut = dataclasses.replace(lut, efficiency_axes=(nch, *steps), covariance_axes=(radius, *steps))
    packed = pack([lut])
    j, k = 3, 14
    for eta_query, pt_query in (
        (eta.edges[j] + 1e-9, pt.edges[k] * 1.001),
        (eta.edges[j + 1] - 1e-9, pt.edges[k + 1] * 0.999),
    ):
        for log_nch in np.linspace(0.51, 3.49, 23):
            place = (log_nch - 0.5) / 0.75
            n, fraction = int(place), place - int(place)
            e = lut.efficiency[:, j, k]
            if fraction > 0.5:
                expected = (1.5 - fraction) * e[n] + (fraction - 0.5) * e[min(n + 1, 3)]
            else:
                expected = (0.5 + fraction) * e[n] + (0.5 - fraction) * e[max(n - 1, 0)]
            efficiency, _, covariance, _ = _linear(packed, 10**log_nch, 0.0, eta_query, pt_query)
            assert efficiency == pytest.approx(expected, abs=1e-6)
            np.testing.assert_allclose(covariance, lut.covariance[0, j, k], rtol=1e-5, atol=1e-12)


def test_the_radius_counts():
    lut = smooth_lut(n_eta=4, n_pt=10, n_radius=2)  # covariance doubles from 25 to 75 cm
    packed = pack([lut])
    inner, middle, outer = (_linear(packed, 10.0, r, 0.1, 1.0)[2] for r in (10.0, 50.0, 90.0))
    np.testing.assert_allclose(outer, 2 * inner, rtol=1e-5)
    np.testing.assert_allclose(middle, math.sqrt(2) * inner, rtol=1e-5)


def test_tables_with_axes_of_their_own_do_not_mix():
    luts = [smooth_lut(4, 10), None, smooth_lut(9, 7, 1, 3), smooth_lut(6, 30, 5)]
    packed = pack(luts)
    assert _linear(packed, 10.0, 5.0, 0.3, 1.0, i_table=1)[:2] == (0.0, grid.NO_TABLE)
    assert _linear(packed, 10.0, 5.0, 0.3, 1.0, i_table=-1)[:2] == (0.0, grid.NO_TABLE)
    for i in (0, 2, 3):
        for query in ((10.0, 5.0, 0.3, 1.0), (900.0, 60.0, -3.3, 0.2), (3.2, 99.0, 3.99, 99.0)):
            for one, many in zip(_linear(pack([luts[i]]), *query), _linear(packed, *query, i_table=i), strict=True):
                assert np.array_equal(one, many)


# --- outside ---------------------------------------------------------------------------------------------------------
QUERY = {"nch": 100.0, "radius": 10.0, "eta": 0.3, "pt": 1.0}
OUTSIDE = {"nch": (3.0, 3163.0), "radius": (-0.1, 100.0), "eta": (-4.01, 4.0), "pt": (0.005, 100.0)}


@pytest.mark.parametrize("lookup", [_linear, _nearest])
@pytest.mark.parametrize(("i_axis", "name"), list(enumerate(QUERY)))
def test_rules_outside(lookup, i_axis, name):
    mode = "linear" if lookup is _linear else "nearest"
    for value, edge in zip(OUTSIDE[name], ("low", "high"), strict=True):
        lut = smooth_lut(n_eta=8, n_pt=10)
        axis = {a.name: a for a in (lut.efficiency_axes[0], *lut.covariance_axes)}[name]
        inside = getattr(axis, edge) if edge == "low" else math.nextafter(axis.high, 0.0)
        at_edge = lookup(pack([lut], mode), **{**QUERY, name: inside})
        clamped = lookup(pack([lut], mode), **{**QUERY, name: value})
        assert at_edge[1] == 0
        assert clamped[1] == grid.OUTSIDE << i_axis
        assert clamped[0] == at_edge[0]
        assert np.array_equal(clamped[2], at_edge[2])
        for rule, bit in (("reject", grid.REJECTED), ("error", grid.FORBIDDEN)):
            efficiency, status, covariance, factor = lookup(
                pack([smooth_lut(n_eta=8, n_pt=10, **{name: rule})], mode), **{**QUERY, name: value}
            )
            assert (efficiency, status) == (0.0, (grid.OUTSIDE << i_axis) | bit)
            assert (covariance == -7.0).all()
            assert (factor == -7.0).all()


@pytest.mark.parametrize("lookup", [_linear, _nearest])
@pytest.mark.parametrize("name", ["nch", "radius", "eta", "pt"])
def test_nan_is_never_answered(lookup, name):
    packed = pack([smooth_lut(n_eta=8, n_pt=10)], "linear" if lookup is _linear else "nearest")
    efficiency, status, covariance, _ = lookup(packed, **{**QUERY, name: math.nan})
    assert efficiency == 0.0
    assert status & grid.NOT_A_NUMBER
    assert (covariance == -7.0).all()


def test_zero_and_negative_values_on_logarithmic_axes_are_below():
    packed = pack([smooth_lut(n_eta=8, n_pt=10)])
    lowest = _linear(packed, 3.17, 0.0, 0.3, 0.0101)
    for nch, pt in ((0.0, 0.0), (-5.0, -1.0), (-math.inf, 0.0)):
        answer = _linear(packed, nch, 0.0, 0.3, pt)
        assert answer[1] == (grid.OUTSIDE << grid.NCH) | (grid.OUTSIDE << grid.PT)
        assert answer[0] == pytest.approx(lowest[0], abs=0.01)


# --- edge of validity ------------------------------------------------------------------------------------------------
def test_the_bin_of_the_query_decides_and_lost_neighbours_do_not_pull():
    lut = smooth_lut(n_eta=8, n_pt=10)
    lut.efficiency[...] = 0.8
    lut.valid[...] = True
    lut.valid[0, :, :4] = False
    lut.efficiency[:, :, :4] = 0.0
    lut.covariance[0, :, :4] = np.nan
    packed, pt = pack([lut]), lut.covariance_axes[2]
    below, above = pt.edges[4] * (1 - 1e-9), pt.edges[4] * (1 + 1e-9)
    assert _linear(packed, 100.0, 0.0, 0.3, below)[:2] == (0.0, grid.INVALID)
    efficiency, status, covariance, _ = _linear(packed, 100.0, 0.0, 0.3, above)
    assert status == 0
    assert efficiency == pytest.approx(0.8, abs=1e-6)
    expected = _linear(packed, 100.0, 0.0, 0.3, pt.centers[4])[2]
    np.testing.assert_allclose(covariance, expected, rtol=1e-6)


def test_steps_inside_the_valid_region_are_small():
    lut = smooth_lut(n_eta=20, n_pt=50)
    packed = pack([lut])
    for values, query in (
        (np.linspace(-3.95, 3.95, 4001), lambda v: (100.0, 0.0, v, 0.029)),  # into the corner that is not valid
        (np.linspace(-3.95, 3.95, 4001), lambda v: (100.0, 0.0, v, 0.6)),
        (np.geomspace(0.0101, 99.0, 4001), lambda v: (100.0, 0.0, 2.9, v)),
        (np.geomspace(3.2, 3100.0, 1001), lambda v: (v, 0.0, 0.5, 0.06)),
    ):
        answers = [_linear(packed, *query(v)) for v in values]
        good = [a for a in answers if a[1] == 0]
        changes = sum((a[1] == 0) != (b[1] == 0) for a, b in zip(answers[1:], answers[:-1], strict=True))
        assert changes <= 2  # the region is left and entered at most once
        logs = np.log([a[2][DIAGONAL] for a in good])
        efficiency = np.array([a[0] for a in good])
        assert np.abs(np.diff(logs, axis=0)).max() < 0.03
        assert np.abs(np.diff(efficiency)).max() < 0.01


def test_tables_that_cannot_be_packed():
    lut = smooth_lut(n_eta=4, n_pt=5)
    lut.covariance[0, 2, 3, 0] = -1.0
    for mode in ("linear", "nearest"):
        with pytest.raises(LutError, match="LUT of pion: the covariance of a valid cell is not positive definite"):
            pack([lut], mode)


# --- ALICE -----------------------------------------------------------------------------------------------------------
def _alice_find(value, n, low, high, is_log):
    """The bin as the C++ code computes it: float members, ``log10`` in double, a cast to int, clamped."""
    value, low, high = np.float32(value), np.float32(low), np.float32(high)
    width = np.float32((high - low) / np.float32(n))
    if is_log:
        x = -math.inf if value <= 0 else (math.log10(float(value)) - float(low)) / float(width)
    else:
        x = float(np.float32(np.float32(value - low) / width))
    return 0 if x == -math.inf else min(max(math.trunc(x), 0), n - 1)


@pytest.fixture(scope="module")
def alice(tmp_path_factory):
    path = tmp_path_factory.mktemp("alice") / "lutCovm.pi.dat"
    entries = alice_entries()
    entries["eigvec"][..., ::2] *= -1  # eigenvectors of any sign
    entries["eiginv"][..., ::2, :] *= -1
    path.write_bytes(alice_bytes(entries))
    return entries, pack([read_alice(path)], "nearest")


def test_bins_at_and_around_all_edges(alice):
    default = ((20, 0.5, 3.5, 1), (1, 0.0, 100.0, 0), (80, -4.0, 4.0, 0), (200, -2.0, 2.0, 1))
    different = 0
    for i_axis, axis in enumerate(default):
        n, low, high, is_log = axis
        layout = np.zeros((1, 5, 8))
        low32, high32 = np.float32(low), np.float32(high)
        layout[0, i_axis] = low32, (high32 - low32) / np.float32(n), 0, 0, n, is_log, 0, 0
        edges = np.linspace(low, high, n + 1)
        for x in edges:
            value = 10**x if is_log else x
            for v in (
                value,
                math.nextafter(value, -9e9),
                math.nextafter(value, 9e9),
                np.float32(value),
                value * 1.0000001,
            ):
                found = nearest.alice_bin(0, i_axis, float(v), layout)
                assert found == _alice_find(v, *axis)
                exact = ((math.log10(v) if is_log else v) - low) / (high - low) * n
                different += found != min(max(math.floor(exact), 0), n - 1)
    assert different > 10  # binary32 matters


def test_out_of_range_values_use_the_edge_bin(alice):
    entries, packed = alice
    for query, (i_nch, i_eta, i_pt) in (
        ((0.0, 0.0, 0.5, 1.5), (0, 4, 5)),
        ((1e5, 0.0, 0.5, 1.5), (3, 4, 5)),
        ((20.0, 500.0, 6.0, 200.0), (1, 7, 9)),
        ((20.0, 0.0, -2.5, 0.005), (1, 1, 0)),
    ):
        efficiency, _, covariance, _ = _nearest(packed, *query)
        entry = entries[i_nch, 0, i_eta, i_pt]
        assert efficiency == entry["eff"]
        assert np.array_equal(covariance, entry["covm"])


def test_replayed_normals_give_the_noise_of_alice(alice):
    """c_k = sum_j eigvec[j][k] P_j, c_k += sqrt(eigval[k]) g_k, P_i = sum_k eiginv[k][i] c_k."""
    entries, packed = alice
    rng = np.random.default_rng(8)
    accepted = 0
    for _ in range(1500):
        nch, eta, pt = 10 ** rng.uniform(0.2, 3.8), rng.uniform(-4.5, 4.5), 10 ** rng.uniform(-2.3, 2.3)
        bins = [_alice_find(v, *axis) for v, axis in zip((nch, 0.0, eta, pt), ALICE_AXES, strict=True)]
        entry = entries[tuple(bins)]
        efficiency, status, covariance, factor = _nearest(packed, nch, 0.0, eta, pt)
        assert (status & grid.NO_ANSWER == 0) == bool(entry["valid"])
        if not entry["valid"]:
            assert efficiency == 0.0
            continue
        accepted += 1
        assert efficiency == entry["eff"]
        assert np.array_equal(covariance, entry["covm"])
        normals = rng.normal(size=5)
        noise = [0.0] * 5
        for k in range(5):
            c = math.sqrt(float(entry["eigval"][k])) * normals[k]
            for i in range(5):
                noise[i] += float(entry["eiginv"][k][i]) * c
        np.testing.assert_allclose(factor @ normals, noise, rtol=1e-12, atol=1e-18)
        parameters = np.array([1e-3, -0.2, 0.0, math.sinh(eta), 1 / pt])
        rotated = entry["eigvec"].astype(float).T @ parameters + np.sqrt(entry["eigval"].astype(float)) * normals
        smeared = entry["eiginv"].astype(float).T @ rotated
        sigma = np.sqrt(entry["covm"][DIAGONAL])
        assert (np.abs(parameters + factor @ normals - smeared) < 0.03 * sigma).all()
    assert accepted > 1000


def test_native_tables_can_be_used_in_steps_too():
    lut = smooth_lut(n_eta=8, n_pt=20)
    packed = pack([lut], "nearest")
    for j, k in np.argwhere(lut.valid[0]):
        eta, pt = lut.covariance_axes[1].centers[j], lut.covariance_axes[2].centers[k]
        _, status, covariance, factor = _nearest(packed, 20.0, 0.0, eta, pt)
        assert status == 0
        np.testing.assert_allclose(covariance, lut.covariance[0, j, k], rtol=1e-7)
        sigma = np.sqrt(covariance[DIAGONAL])
        error = (factor @ factor.T - to_dense(covariance)) / np.outer(sigma, sigma)
        assert np.abs(error).max() < 0.01  # small sigma next to large ones suffer from binary32 eigenvectors
