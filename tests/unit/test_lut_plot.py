"""Pictures of LUTs: the numbers drawn, and the files."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from lut_tables import smooth_covariance, smooth_lut

from flashdet.errors import LutError, OutputError
from flashdet.lut import plot
from flashdet.species import SPECIES_CHARGE, SPECIES_PDG


def test_the_numbers_drawn():
    lut = smooth_lut(n_eta=8, n_pt=10)
    _, eta, pt = lut.covariance_axes
    e, p = eta.centers[5], pt.centers[6]
    matrix = smooth_covariance(e, p)
    assert plot.pt_resolution(lut)[5, 6] == pytest.approx(100 * p * np.sqrt(matrix[4, 4]))
    assert plot.dca_xy_resolution(lut)[5, 6] == pytest.approx(1e4 * np.sqrt(matrix[0, 0]))
    assert plot.dca_z_resolution(lut)[5, 6] == pytest.approx(1e4 * np.sqrt(matrix[1, 1]))  # element 2, not the ZY term
    assert plot.efficiency(lut, 1)[5, 6] == lut.efficiency[1, 5, 6]
    assert not lut.valid[0, 0, 0]
    assert np.isnan(plot.pt_resolution(lut)[0, 0])
    assert plot.efficiency(lut, 1)[0, 0] == 0.0


def test_charge_two_measures_rigidity():
    lut = smooth_lut(n_eta=8, n_pt=10)
    helium = dataclasses.replace(lut, species="helium3", pdg=SPECIES_PDG[7], charge=SPECIES_CHARGE[7])
    assert plot.pt_resolution(helium)[5, 6] == pytest.approx(plot.pt_resolution(lut)[5, 6] / 2)


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_several_tables_over_each_other(tmp_path, suffix, magic):
    path = tmp_path / f"pion.{suffix}"
    plot.plot_lut([smooth_lut(8, 10), smooth_lut(10, 20)], ["coarse", "fine"], path)
    assert path.read_bytes().startswith(magic)
    with pytest.raises(OutputError, match="exists"):
        plot.plot_lut([smooth_lut(8, 10)], ["coarse"], path)


def test_what_cannot_be_drawn(tmp_path):
    lut = smooth_lut(8, 10)
    with pytest.raises(OutputError, match="png, pdf, svg"):
        plot.plot_lut([lut], ["a"], tmp_path / "a.bmp")
    with pytest.raises(LutError, match="one label each"):
        plot.plot_lut([lut], ["a", "b"], tmp_path / "a.png")
    with pytest.raises(LutError, match="1 to 4"):
        plot.plot_lut([], [], tmp_path / "a.png")
    with pytest.raises(LutError, match="5 lies outside eta"):
        plot.plot_lut([lut], ["a"], tmp_path / "a.png", etas=(5.0,))
