"""Layout card -> ACTS -> table -> simulation: the whole chain, where pyacts is installed.

The reader alone is tested everywhere, on a stored piece of the same output (``tests/unit/test_sample_acts.py``).
"""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flashdet.cli.main import execute
from flashdet.lut.catalog import load_lut
from flashdet.lut.compare import compare_luts
from flashdet.lut.files import read_table

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("acts") is None, reason="needs pyacts: pip install 'flashdet[acts]'"
)
EXAMPLE = Path(__file__).parents[2] / "examples/acts"
CELLS = ["--eta", "4:-1:1", "--pt", "5:0.5:5:log", "--field", "2 T"]


def script(name, *arguments):
    """Run a script of the example as users do: pyacts writes to standard output by itself."""
    command = [sys.executable, str(EXAMPLE / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def sample(tmp_path_factory, request):
    """Pions and protons in the reference barrel, and their tables beside the example's card."""
    folder = tmp_path_factory.mktemp("acts")
    particles = 40_000 if request.config.getoption("--slow") else 6_000
    options = ["--layout", "reference_barrel", "--particles", particles, "--pt", 0.5, 5, "--eta", 1]
    done = script("simulate.py", *options, "--species", "pion", "proton", "--output", folder / "sample")
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("pion", "proton"):
        files = map(str, sorted((folder / "sample" / name).glob("event*.csv")))
        assert execute(["lut", "build", "sample", *files, "--map", "acts_csv", *CELLS, "-o", str(folder / "luts")]) == 0
    shutil.copy(EXAMPLE / "card.yaml", folder)
    return folder


def test_the_fit_is_what_it_says(sample):
    """Widths of residuals are those that the Kalman fit reports: seeds, derivatives and momentum limits are right."""
    lut = read_table(sample / "luts/pion.lut.npz")
    hard = lut.covariance_axes[2].centers > 2.0
    # scattering in Fatras has a core of 0.87 of its rms, which shows at low momentum
    assert lut.sample.pull[0][:, hard] == pytest.approx(1.0, abs=0.17)
    assert lut.sample.pull[0][:, hard].mean() == pytest.approx(1.0, abs=0.05)
    assert 0.8 < lut.sample.pull[0][:, ~hard].mean() < 1.02
    assert lut.efficiency.min() > 0.98
    assert abs(lut.sample.bias[0] / np.sqrt(lut.covariance[0][..., [0, 2, 5, 9, 14]])).max() < 0.4


@pytest.mark.parametrize("species", ["pion", "proton"])
def test_the_analytic_tracker_agrees(sample, species):
    """Same layers, another program: within 20 % everywhere (cells of 300 tracks: 5 %), and closer in the median.

    Slow protons lose energy in Fatras with the width of a single layer's Landau distribution: q/pt is wider there.
    """
    made = read_table(sample / f"luts/{species}.lut.npz")
    comparison = compare_luts(load_lut(f"reference_barrel/{species}"), made, ("analytic", "ACTS"))
    ratio = comparison.ratio.reshape(-1, 5)
    assert len(ratio) == 20
    assert ratio[:, :4] == pytest.approx(1.0, abs=0.2)
    assert ratio[:, 4] == pytest.approx(1.0, abs=0.2 if species == "pion" else 0.35)
    assert np.median(ratio, axis=0) == pytest.approx(1.0, abs=0.11)


def test_closure(sample):
    """With 6000 particles the limits of the closure cannot be tested; what is printed tells how far they are."""
    command = ["--sample", sample / "sample", "--card", sample / "card.yaml", "--eta", "1:-1:1", "--pt", "1:0.5:5"]
    done = script("closure.py", *command, "--repeat", 4, "--output", sample / "cells.csv")
    assert done.returncode in (0, 2), done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == ("closed" if done.returncode == 0 else "undecided")
    lines = (sample / "cells.csv").read_text().splitlines()
    values = dict(zip(lines[0].split(","), lines[1].split(","), strict=True))
    assert abs(float(values["efficiency_deviation"])) < 3.0
    for name in ("y", "z", "snp", "tgl", "q/pt"):
        assert float(values[f"sigma_{name}_ratio"]) == pytest.approx(1.0, abs=0.05)
        assert float(values[f"pull_{name}"]) == pytest.approx(1.0, abs=0.08)
        assert float(values[f"core_{name}"]) == pytest.approx(1.0, abs=0.08)


def test_tracks_that_are_found(sample, tmp_path):
    """Seeds and a search instead of the truth: nearly all particles of sparse events, as well as by the truth."""
    options = ["--layout", "reference_barrel", "--particles", 2000, "--per-event", 100, "--pt", 0.5, 5, "--eta", 1]
    done = script("simulate.py", *options, "--species", "pion", "--seeding", "found", "--output", tmp_path / "found")
    assert done.returncode == 0, done.stdout + done.stderr
    files = map(str, sorted((tmp_path / "found/pion").glob("event*.csv")))
    cells = ["--eta", "1:-1:1", "--pt", "2:0.5:5:log", "--field", "2 T"]
    assert execute(["lut", "build", "sample", *files, "--map", "acts_csv", *cells, "-o", str(tmp_path)]) == 0
    found = read_table(tmp_path / "pion.lut.npz")
    assert found.efficiency.min() > 0.95
    truth = sample / "truth"
    files = map(str, sorted((sample / "sample/pion").glob("event*.csv")))
    assert execute(["lut", "build", "sample", *files, "--map", "acts_csv", *cells, "-o", str(truth)]) == 0
    ratio = found.covariance / read_table(truth / "pion.lut.npz").covariance
    assert np.sqrt(ratio[..., [0, 2, 5, 9, 14]]) == pytest.approx(1.0, abs=0.15)
