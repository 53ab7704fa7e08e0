"""The criteria of ``examples/acts/closure.py``: plain limits, and no verdict where statistics cannot tell.

pyacts is not needed: the tracks are those of a toy.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_sample import BZ, REPORTED, toy

from flashdet.lut.axis import Axis
from flashdet.lut.build import build_sample_luts
from flashdet.lut.cells import Binning, Cells

EDGES = np.array([-1.0, 0.0, 1.0]), np.array([0.5, 2.0, 8.0])
GAUSSIAN = {"bias": np.zeros(5), "tail_fraction": 0.0, "pt": (0.4, 10.0)}


@pytest.fixture(scope="module")
def closure():
    folder = str(Path(__file__).parents[2] / "examples/acts")
    sys.path.insert(0, folder)
    try:
        import closure
    finally:
        sys.path.remove(folder)
    return closure


@pytest.fixture(scope="module")
def lut():
    eta, pt = Axis("eta", "", 8, -1.0, 1.0), Axis("pt", "GeV", 16, 0.4, 10.0, "log")
    cells = Cells(Binning(eta=eta, pt=pt, keep=2000), BZ)
    for first in (0, 50_000):
        cells.add(toy(50_000, first, **GAUSSIAN)[0])
    return build_sample_luts(cells)["pion"]


def sample(closure, n, first):
    """Tracks of the toy that report what they are."""
    chunk = toy(n, first, **GAUSSIAN)[0]
    return closure.read([replace(chunk, tracks=replace(chunk.tracks, cov=chunk.tracks.cov / REPORTED**2))], BZ)


def verdict(closure, lut, acts, ours):
    return closure.report("pion", closure.close(acts, ours, lut, *EDGES, False))


def test_equal_samples_close(closure, lut, capsys):
    acts, ours = sample(closure, 50_000, 0), sample(closure, 80_000, 10**6)
    assert verdict(closure, lut, acts, ours) == closure.CLOSED
    out = capsys.readouterr().out
    assert "4 cells" in out
    assert "NOT" not in out


@pytest.mark.parametrize("what", ["width", "pull", "efficiency", "shape"])
def test_any_deviation_beyond_its_limit_counts(closure, lut, what):
    acts, ours = sample(closure, 50_000, 0), sample(closure, 80_000, 10**6)
    if what == "width":  # one parameter of five by 15 %
        ours.residual[:, 3] *= 1.15
    elif what == "pull":
        ours.sigma[:, 4] *= 1.15
    elif what == "efficiency":  # one particle of fifty
        lost = np.flatnonzero(ours.found)[::50]
        ours.found[lost] = False
    else:  # two values only
        ours.residual[:, 0] = np.where(ours.residual[:, 0] > 0, 1, -1) * np.abs(
            acts.residual[: len(ours.residual), 0].mean()
        )
    assert verdict(closure, lut, acts, ours) == closure.NOT_CLOSED


def test_small_samples_get_no_verdict(closure, lut, capsys):
    acts, ours = sample(closure, 6000, 0), sample(closure, 6000, 10**6)
    ours.residual[:, 3] *= 1.08
    assert verdict(closure, lut, acts, ours) == closure.UNDECIDED
    assert "is needed" in capsys.readouterr().out


def test_no_cell_with_tracks_is_told(closure, lut):
    few = sample(closure, 500, 0)
    with pytest.raises(SystemExit, match="no cell has"):
        closure.close(few, few, lut, *EDGES, False)
