"""Comparison of tables: ratios at the same places, worst cells, pictures."""

from dataclasses import replace

import numpy as np
import pytest
from lut_tables import smooth_lut
from toy_sample import BZ, toy

from flashdet.errors import LutError, OutputError
from flashdet.lut.axis import Axis
from flashdet.lut.build import build_sample_luts
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.compare import PARAMETERS, compare_luts, plot_comparison, write_cells
from flashdet.lut.plot import plot_lut


@pytest.fixture(scope="module")
def sampled():
    axes = Axis("eta", "", 4, -1.0, 1.0), Axis("pt", "GeV", 5, 0.2, 10.0, "log")
    cells = Cells(Binning(eta=axes[0], pt=axes[1], keep=300), BZ)
    cells.add(toy(10_000)[0])
    return build_sample_luts(cells)["pion"]


def test_a_table_agrees_with_itself():
    lut = smooth_lut()
    same = compare_luts(lut, lut, ("a", "b"))
    assert np.nanmax(abs(same.ratio - 1.0)) < 1e-12
    assert not (same.efficiency[1] - same.efficiency[0]).any()
    assert "nothing" not in "\n".join(same.lines())


def test_other_binnings_are_compared_at_the_same_places():
    fine = compare_luts(smooth_lut(), smooth_lut(n_eta=80, n_pt=200), ("coarse", "fine"))
    # in all cells: beyond the centres of its outer cells a table knows no slope, which must not enter
    assert np.nanmax(abs(fine.ratio - 1.0)) < 0.02
    back = compare_luts(smooth_lut(n_eta=80, n_pt=200), smooth_lut(), ("fine", "coarse"))
    assert back.ratio.shape == fine.ratio.shape  # the cells are those of the coarser table, whichever is named first
    assert back.ratio == pytest.approx(1 / fine.ratio, nan_ok=True)


def test_only_the_common_range_is_compared(sampled):
    """Beyond the range of a table there is nothing to compare: not the values of its edge."""
    wide = smooth_lut()
    result = compare_luts(wide, replace(sampled, field=wide.field), ("wide", "narrow"))
    assert result.eta == pytest.approx(sampled.covariance_axes[1].centers)
    assert result.pt == pytest.approx(sampled.covariance_axes[2].centers)
    assert "differ by more than 3 standard errors" in "\n".join(result.lines())
    away = replace(
        wide,
        efficiency_axes=(
            wide.efficiency_axes[0],
            replace(wide.efficiency_axes[1], low=5.0, high=6.0),
            wide.efficiency_axes[2],
        ),
        covariance_axes=(
            wide.covariance_axes[0],
            replace(wide.covariance_axes[1], low=5.0, high=6.0),
            wide.covariance_axes[2],
        ),
    )
    with pytest.raises(LutError, match="no cell in eta in common"):
        compare_luts(away, replace(sampled, field=wide.field), ("away", "narrow"))


def test_means_over_cells_are_compared():
    """A step of the efficiency in a coarse cell counts with its place in the cell, not with the value at the centre."""
    fine = smooth_lut(n_pt=200)
    step = replace(fine, efficiency=np.where(np.arange(200) < 102, 0.0, 1.0) + 0.0 * fine.efficiency)
    result = compare_luts(step, smooth_lut(n_pt=20), ("step", "coarse"))
    assert len(result.pt) == 20
    assert result.efficiency[0, :, 9] == pytest.approx(0.0)
    assert result.efficiency[0, :, 10] == pytest.approx(0.8, abs=0.06)
    assert result.efficiency[0, :, 11] == pytest.approx(1.0)


def test_all_cells_as_csv(sampled, tmp_path):
    result = compare_luts(sampled, sampled, ("a", "b"))
    write_cells(result, tmp_path / "cells.csv")
    header, *lines = (tmp_path / "cells.csv").read_text().splitlines()
    assert len(lines) == 4 * 5
    first = dict(zip(header.split(","), map(float, lines[0].split(",")), strict=True))
    assert first["sigma_q/pt_a"] == pytest.approx(np.sqrt(sampled.covariance[0, 0, 0, 14]), rel=1e-5)
    assert first["ratio_y"] == 1.0
    assert first["efficiency_a"] == pytest.approx(sampled.efficiency[0, 0, 0], rel=1e-5)


def test_known_differences_are_found():
    lut = smooth_lut()
    other = replace(lut, covariance=lut.covariance.copy(), efficiency=lut.efficiency - 0.01)
    other.covariance[0, 7, 50] *= 1.5**2
    result = compare_luts(lut, other, ("a", "b"))
    assert result.ratio[7, 50] == pytest.approx(1.5)
    assert np.nanmax(abs(np.delete(result.ratio.reshape(-1, 5), 7 * 100 + 50, axis=0) - 1.0)) < 1e-6
    text = "\n".join(result.lines(1))
    place = f"eta {lut.covariance_axes[1].centers[7]:.3g}, pt {lut.covariance_axes[2].centers[50]:.3g} GeV: +0.5000"
    assert text.count(place) == len(PARAMETERS)


def test_errors_of_samples_enter(sampled):
    result = compare_luts(sampled, sampled, ("a", "b"))
    assert result.ratio_error == pytest.approx(np.sqrt(2) * sampled.sample.sigma_error[0])
    plain = replace(sampled, sample=None)
    assert not compare_luts(plain, plain, ("a", "b")).ratio_error.any()


def test_tables_that_cannot_be_compared():
    lut = smooth_lut()
    with pytest.raises(LutError, match="kaon"):
        compare_luts(lut, replace(lut, species="kaon"), ("a", "b"))
    with pytest.raises(LutError, match=r"0\.5 T"):
        compare_luts(lut, replace(lut, field=0.5), ("a", "b"))


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_pictures(sampled, tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    plot_comparison(compare_luts(sampled, sampled, ("a", "b")), path)
    assert path.stat().st_size > 5000
    with pytest.raises(OutputError):
        plot_comparison(compare_luts(sampled, sampled, ("a", "b")), path)
    with pytest.raises(OutputError, match="picture format"):
        plot_comparison(compare_luts(sampled, sampled, ("a", "b")), tmp_path / "a.txt")
    plot_lut([sampled], ["sample"], tmp_path / f"b.{suffix}", etas=[0.1], pts=[1.0])
    assert (tmp_path / f"b.{suffix}").stat().st_size > 5000
