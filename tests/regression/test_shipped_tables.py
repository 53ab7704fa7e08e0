"""The tracking tables that come with the package are those that the package builds from its layouts."""

import numpy as np
import pytest

from flashdet.layout import read_layout
from flashdet.lut.catalog import load_lut, read_index
from flashdet.lut.shells import default_axes
from flashdet.lut.tracker import BUILDER_VERSION, build_luts
from flashdet.species import SPECIES

MADE_FROM = {"alice3": "alice3_v3", "delphes_o2": "delphes_o2_v1", "reference_barrel": "reference_barrel"}
#: DelphesO2 knows one table for all production radii.
PROMPT_ONLY = {"delphes_o2"}


@pytest.mark.parametrize("folder", sorted(MADE_FROM))
def test_all_species_are_shipped_for_the_present_layout(folder):
    layout = read_layout(MADE_FROM[folder])
    index = read_index()
    for species in SPECIES:
        assert f"{folder}/{species}" in index
        lut = load_lut(f"{folder}/{species}")
        assert (lut.species, lut.field) == (species, layout.field)
        assert lut.meta["layout_sha256"] == layout.sha256
        assert lut.meta["builder_version"] == BUILDER_VERSION


@pytest.mark.parametrize("folder", sorted(MADE_FROM))
@pytest.mark.parametrize("species", ["pion", "alpha"])
def test_tables_are_reproduced(folder, species):
    layout = read_layout(MADE_FROM[folder])
    axes = default_axes(layout)[: 1 if folder in PROMPT_ONLY else None]
    table, again = load_lut(f"{folder}/{species}"), build_luts(layout, [species], axes)[species]
    assert len(table.displaced) == len(again.displaced)
    assert bool(table.displaced) == (folder not in PROMPT_ONLY)
    for shipped, fresh in zip(table.parts, again.parts, strict=True):
        assert shipped.covariance_axes == fresh.covariance_axes
        assert np.array_equal(shipped.valid, fresh.valid)
        assert shipped.efficiency == pytest.approx(fresh.efficiency, abs=2.0**-12)
        diagonal = [0, 2, 5, 9, 14]
        sigma = [np.sqrt(lut.covariance[lut.valid][:, diagonal]) for lut in (shipped, fresh)]
        assert sigma[0] == pytest.approx(sigma[1], rel=2.0**-11)
