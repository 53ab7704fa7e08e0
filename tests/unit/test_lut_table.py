"""Axes and tables: arithmetic of bins, checks, description."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lut_tables import smooth_lut

from flashdet.errors import LutError
from flashdet.lut.axis import Axis
from flashdet.lut.checks import find_holes
from flashdet.lut.table import Map

ETA = Axis("eta", "", 4, -1.0, 1.0)


def _muon_map(**changes):
    p = Axis("p", "GeV", 3, 1.0, 8.0, "log")
    values = np.linspace(0.0, 1.0, 12).reshape(4, 3)
    return dataclasses.replace(Map("efficiency", "", (ETA, p), values, {"source": "test"}), **changes)


def test_edges_and_centers():
    np.testing.assert_allclose(ETA.edges, [-1.0, -0.5, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(ETA.centers, [-0.75, -0.25, 0.25, 0.75])
    log = Axis("pt", "GeV", 2, 0.01, 100.0, "log")
    np.testing.assert_allclose(log.edges, [0.01, 1.0, 100.0])
    np.testing.assert_allclose(log.centers, [0.1, 10.0])


@pytest.mark.parametrize(
    "change",
    [
        {"n_bins": 0},
        {"low": 1.0},
        {"low": 2.0},
        {"low": float("nan")},
        {"high": float("inf")},
        {"scale": "log"},
        {"scale": "cubic"},
        {"out_of_range": "wrap"},
        {"interpolation": "spline"},
    ],
)
def test_an_axis_that_makes_no_sense_is_refused(change):
    with pytest.raises(LutError, match="axis eta"):
        dataclasses.replace(ETA, **change)


def test_axis_dictionary():
    assert Axis.from_dict(ETA.to_dict()) == ETA
    good = ETA.to_dict()
    for bad in (
        None,
        {**good, "colour": "red"},
        {**good, "n_bins": 2.5},
        {**good, "n_bins": True},
        {**good, "low": "0"},
    ):
        with pytest.raises(LutError):
            Axis.from_dict(bad)
    with pytest.raises(LutError):
        Axis.from_dict({k: v for k, v in good.items() if k != "high"})


def test_the_model_is_a_good_table():
    smooth_lut(n_radius=2).validate()
    _muon_map().validate()


def _changed(**changes):
    lut = smooth_lut(n_eta=8, n_pt=10)
    arrays = {k: v(getattr(lut, k).copy()) if callable(v) else v for k, v in changes.items()}
    return dataclasses.replace(lut, **arrays)


def _set(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"species": "quark"}, "species 'quark'"),
        ({"pdg": 13}, "pdg 13"),
        ({"mass": -1.0}, "mass -1"),
        ({"field": float("nan")}, "field nan"),
        ({"efficiency": np.zeros((4, 8, 9))}, r"efficiency: shape \(4, 8, 9\)"),
        ({"valid": np.ones((1, 8, 10))}, "valid: shape"),
        ({"meta": {"when": object()}}, "meta:"),
        (
            {"efficiency": _set((1, 2, 3), 1.01)},
            r"outside \[0, 1\]: 1 of 320, at \(nch 42.17, eta -1.5, pt 0.2512 GeV\)",
        ),
        ({"efficiency": _set((0, 0, 9), np.nan)}, r"outside \[0, 1\]"),
        ({"covariance": _set((0, 4, 5, 2), np.inf)}, "not finite: 1 of 80"),
        ({"covariance": _set((0, 4, 5, 0), 0.0)}, "not positive definite: 1 of 80"),
        ({"covariance": _set((0, 4, 5, 1), 1.0)}, "not positive definite: 1 of 80"),
        ({"valid": _set((0, 4, 5), False)}, "holes in the valid region: 1 of 80"),
    ],
)
def test_validate_says_what_is_wrong_and_where(changes, message):
    with pytest.raises(LutError, match=message):
        _changed(**changes).validate()


def test_validate_lists_all_kinds_of_problems():
    lut = _changed(efficiency=_set((0, 4, 5), -0.1), covariance=_set((0, 4, 6, 14), -1.0), valid=_set((0, 4, 8), False))
    with pytest.raises(LutError) as error:
        lut.validate()
    text = str(error.value)
    assert "LUT of pion" in text
    assert all(part in text for part in ("outside [0, 1]", "not positive definite", "holes"))


def test_what_is_not_valid_needs_no_covariance():
    lut = smooth_lut(n_eta=8, n_pt=10)
    assert not lut.valid.all()
    lut.covariance[~lut.valid] = np.nan
    lut.validate()


def test_different_axes_are_refused():
    lut = smooth_lut(n_eta=8, n_pt=10)
    eta = dataclasses.replace(lut.covariance_axes[1], high=5.0)
    with pytest.raises(LutError, match="differ"):
        dataclasses.replace(lut, covariance_axes=(lut.covariance_axes[0], eta, lut.covariance_axes[2])).validate()
    swapped = (lut.covariance_axes[0], lut.covariance_axes[2], lut.covariance_axes[1])
    with pytest.raises(LutError, match="allowed: \\(radius, eta, pt\\)"):
        dataclasses.replace(lut, covariance_axes=swapped).validate()


def test_rules_of_the_axes_may_differ():
    lut = smooth_lut(n_eta=8, n_pt=10)
    radius, eta, pt = lut.covariance_axes
    dataclasses.replace(lut, covariance_axes=(radius, dataclasses.replace(eta, out_of_range="reject"), pt)).validate()


def test_holes():
    valid = np.ones((1, 5, 6), bool)
    valid[0, :, 0] = valid[0, 0] = False  # a lowest pt and an outermost eta are no holes
    assert not find_holes(valid).any()
    valid[0, 2, 2:4] = False  # two cells wide in pt
    assert np.argwhere(find_holes(valid)).tolist() == [[0, 2, 2], [0, 2, 3]]
    crack = np.ones((1, 5, 6), bool)
    crack[0, 2:4] = False  # two cells wide in eta: may be a gap between detectors
    assert not find_holes(crack).any()


def test_maps_are_checked():
    for bad, message in (
        (_muon_map(values=np.zeros((3, 4))), r"the axes ask for \(4, 3\)"),
        (_muon_map(values=np.full((4, 3), np.nan)), "not finite: 12 of 12"),
        (_muon_map(axes=(ETA, dataclasses.replace(ETA, n_bins=3))), "a name of its own"),
        (_muon_map(meta={"x": float("nan")}), "meta"),
    ):
        with pytest.raises(LutError, match=message):
            bad.validate()


def test_descriptions_name_axes_units_shapes_and_source():
    text = str(smooth_lut())
    for part in ("pion", "211", "2 T", "4 x 40 x 100", "0.01 to 100 GeV", "clamp", "analytic model"):
        assert part in text
    assert "efficiency over (eta, p) = 4 x 3" in str(_muon_map())
    assert len(repr(smooth_lut())) < 100
