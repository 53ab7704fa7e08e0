"""Reader of the CSV files of ACTS, on a stored piece of its output; wrong input is told.

``tests/data/acts``: 2 events of 120 pions each in the layout ``reference_barrel``, 0.3 to 20 GeV in |eta| < 1.2, made
by ``examples/acts/simulate.py`` with pyacts 48.1.0.
"""

import importlib.util
import shutil
import warnings
from pathlib import Path

import acts_root_files
import awkward as ak
import numpy as np
import pytest

from flashdet.cli.main import execute
from flashdet.errors import InputError
from flashdet.io.rootfile import open_for_reading
from flashdet.io.samples.acts import find_events, read_acts
from flashdet.io.samples.flat import pair_files, read_flat
from flashdet.io.samples.mapping import read_map
from flashdet.lut.catalog import load_lut
from flashdet.lut.cells import Binning, Cells
from flashdet.lut.files import read_table
from flashdet.lut.residuals import residuals
from flashdet.lut.sample import NO_LABEL, match

DATA = Path(__file__).parents[1] / "data/acts"
FILES = sorted(DATA.glob("*.csv"))
DIAGONAL = [0, 2, 5, 9, 14]


@pytest.fixture
def copy(tmp_path):
    """One event in a folder of its own, to be damaged."""
    for path in FILES[:3]:
        shutil.copy(path, tmp_path)
    return tmp_path


def chunks(folder):
    return [chunk for event in find_events(sorted(Path(folder).glob("*.csv"))) for chunk in read_acts(event)]


def edit(path, change):
    path.write_text(change(path.read_text()))


def deviations(chunk):
    row = match(chunk)
    charge = np.sign(chunk.particles.pdg).astype(np.float64)
    return row, residuals(chunk.particles, chunk.tracks, row, charge, 2.0)


def test_every_track_finds_its_particle():
    found = []
    for chunk in chunks(DATA):
        row, res = deviations(chunk)
        assert (row >= 0).all()
        assert len(set(row.tolist())) == len(row)
        assert res.is_usable.all()
        assert (abs(chunk.particles.pdg) == 211).all()
        pt = np.hypot(chunk.particles.px, chunk.particles.py)[row]
        assert pt == pytest.approx(1 / abs(chunk.tracks.params[:, 6]), rel=0.1)
        found.append(len(row))
    assert found == [119, 120]  # one fit failed


def test_residuals_have_the_covariance_that_the_fit_reports():
    """All signs and units: any wrong sign of d0, theta or a covariance would be several units of chi2."""
    white, pulls = [], []
    for chunk in chunks(DATA):
        _, res = deviations(chunk)
        dense = np.zeros((len(res.value), 5, 5))
        rows, columns = np.tril_indices(5)
        dense[:, rows, columns] = dense[:, columns, rows] = res.cov
        white.append(np.einsum("ni,nij,nj->n", res.value, np.linalg.inv(dense), res.value))
        pulls.append(res.value / np.sqrt(res.cov[:, DIAGONAL]))
    # median of chi2 with 5 degrees of freedom 4.35, standard error 0.26; scattering in Fatras has a narrow core
    assert np.median(np.concatenate(white)) == pytest.approx(4.35, abs=0.8)
    low, high = np.quantile(np.concatenate(pulls), [0.1587, 0.8413], axis=0)
    assert (high - low) / 2 == pytest.approx(1.0, abs=0.2)


def test_order_of_rows_does_not_matter(copy):
    expected = chunks(copy)[0]
    path = copy / "event000000000-parameters.csv"
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[::-1]]) + "\n")
    mixed = chunks(copy)[0]
    assert mixed.tracks.params == pytest.approx(expected.tracks.params)
    assert (mixed.tracks.label == expected.tracks.label).all()


def root_chunks(name, **changes):
    mapping = read_map(name).model_copy(update=changes)
    ((particles, tracks),) = pair_files(acts_root_files.PATHS, mapping)
    return list(read_flat(particles, tracks, mapping))


def column(some, table, name):
    return np.concatenate([getattr(getattr(chunk, table), name) for chunk in some])


@pytest.mark.parametrize("rows", [200_000, 150, 1])
@pytest.mark.parametrize("name", ["acts_root", "acts_root_cov"])
def test_root_summaries_say_the_same(name, rows):
    """The writers' own layout, made with ROOT: labels, parameters and covariances are those of the CSV files.

    Events come in the order 1, 2, 0, as threads finish; they are read in steps of all, two or single events.
    """
    read, expected = root_chunks(name, rows=rows), chunks(DATA)
    assert len(read) == 2
    assert column(read, "particles", "event").tolist() == [0] * 120 + [1] * 120
    for what in ("label", "pdg", "px", "pz", "vx"):
        assert column(read, "particles", what) == pytest.approx(column(expected, "particles", what))
    mine = {what: column(read, "tracks", what) for what in ("event", "label", "params", "cov")}
    theirs = {what: column(expected, "tracks", what) for what in mine}
    mine = {what: values[mine["event"] == 1] for what, values in mine.items()}
    theirs = {what: values[theirs["event"] == 1] for what, values in theirs.items()}
    assert (mine["label"] == theirs["label"]).all()
    assert mine["params"] == pytest.approx(theirs["params"], rel=1e-6, abs=1e-6)
    used = slice(None) if name == "acts_root_cov" else [0, 2]  # without correlations theta and q/p mix otherwise
    scale = np.sqrt(theirs["cov"][:, DIAGONAL])
    rows_of, columns_of = np.tril_indices(5)
    unit = scale[:, rows_of] * scale[:, columns_of]
    assert (mine["cov"] / unit)[:, used] == pytest.approx((theirs["cov"] / unit)[:, used], abs=2e-6)


def test_duplicates_fakes_and_failed_fits_of_root_summaries():
    """What the writers mark: the better track makes the residual, a fake is nobody's, a failed fit finds nobody."""
    mapping_chunks = [c for c in root_chunks("acts_root_cov", rows=1) if c.particles.event[0] == 0]
    (chunk,), expected = mapping_chunks, chunks(DATA)[0]
    assert len(chunk.tracks.label) == len(expected.tracks.label) + 1
    assert chunk.tracks.label[-1] == NO_LABEL  # sorted by the classification: fakes last, duplicates before them
    assert chunk.tracks.label[-2] == expected.tracks.label[acts_root_files.COPIED]
    assert chunk.tracks.label[acts_root_files.COPIED] == chunk.tracks.label[-2]
    cells = Cells(Binning(), 2.0)
    cells.add(chunk)
    full = Cells(Binning(), 2.0)
    full.add(expected)
    names = ("tracks", "tracks without particle (fakes)", "tracks without parameters (not found)")
    assert [cells.counts[name] for name in names] == [120, 1, 1]
    assert cells.counts["tracks beyond the first of a particle (clones)"] == 1
    assert full.found[2, :, 0].sum() - cells.found[2, :, 0].sum() == 2  # the fake and the failed one
    # residuals are those of the tracks that CSV files have, except the fake and the failed one
    cells.settle()
    full.settle()
    known = {tuple(np.round(row[5:7], 4)): row for row in full.rows}
    assert len(cells.rows) == len(full.rows) - 2
    for row in cells.rows:
        assert row[:5] == pytest.approx(known[tuple(np.round(row[5:7], 4))][:5], rel=2e-2, abs=2e-6)


@pytest.mark.root
def test_stored_root_files_are_what_root_writes(tmp_path):
    """The generator of the stored files, run again: equal columns of equal types."""
    if importlib.util.find_spec("ROOT") is None:
        pytest.skip("needs ROOT: pip install --pre 'flashdet[root]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the wheel of ROOT says that it is an early version
        paths = [tmp_path / path.name for path in acts_root_files.PATHS]
        acts_root_files.write_all(paths)
    for path, stored in zip(paths, acts_root_files.PATHS, strict=True):
        with open_for_reading(path) as new, open_for_reading(stored) as old:
            (name,) = old.keys(cycle=False)
            assert new[name].typenames() == old[name].typenames()
            flat = [k for k in old[name].keys(recursive=False) if "vector<std::vector" not in old[name][k].typename]
            a, b = new[name].arrays(flat), old[name].arrays(flat)
            assert all(ak.to_list(a[k]) == ak.to_list(b[k]) for k in flat if "nan" not in str(ak.to_list(b[k])))


def test_fakes_belong_to_nobody_and_duplicates_come_last(copy):
    tracks = copy / "event000000000-tracks.csv"
    edit(tracks, lambda text: text.replace(",good,", ",fake,", 2).replace(",good,", ",duplicate,", 1))
    labels = chunks(copy)[0].tracks.label
    assert (labels[:2] == NO_LABEL).all()
    third = chunks(DATA)[0].tracks.label[2]
    assert labels[-1] == third
    assert (labels == NO_LABEL).sum() == 2


def test_table_through_the_command(tmp_path):
    """The table of 240 pions is that of the analytic tracker within its errors and what ACTS does differently."""
    cells = ["--eta", "1:-1.2:1.2", "--pt", "3:0.3:20:log", "--field", "2 T", "--fewest-tracks", "50"]
    command = ["lut", "build", "sample", *map(str, FILES), "--map", "acts_csv", *cells, "-o", str(tmp_path)]
    assert execute(command) == 0
    made = read_table(tmp_path / "pion.lut.npz")
    assert made.sample.generated.sum() == 240
    assert made.sample.found[0].sum() == 239
    analytic = load_lut("reference_barrel/pion")
    e, t = (
        np.searchsorted(axis.edges, value) - 1
        for axis, value in zip(analytic.covariance_axes[1:], (0.6, 2.45), strict=False)
    )
    ratio = np.sqrt(made.covariance[0, 0, 1, DIAGONAL] / analytic.covariance[0, e, t, DIAGONAL])
    assert ratio == pytest.approx(1.0, abs=0.4)  # a wide cell of 75 tracks


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("tracks", lambda text: text.rsplit("\n", 2)[0] + "\n", "has 118 tracks.*has 119"),
        ("tracks", lambda text: text.replace("vp=1|", "vp=1;", 1), "is no particle"),
        ("tracks", lambda text: text.replace("track_id", "number"), "is no table of ACTS 48"),
        ("parameters", lambda text: text.replace(",", ";"), "is no table of ACTS 48"),
        ("particles", lambda text: text.replace("-211", "minus", 1), "cannot be read"),
    ],
)
def test_damage_is_told(copy, name, change, message):
    edit(copy / f"event000000000-{name}.csv", change)
    with pytest.raises(InputError, match=message):
        chunks(copy)


def test_missing_and_double_tables_are_told(copy):
    shutil.copy(copy / "event000000000-tracks.csv", copy / "event000000000-tracks_ckf.csv")
    with pytest.raises(InputError, match="same event as event000000000-tracks"):
        chunks(copy)
    for path in copy.glob("*-tracks*.csv"):
        path.unlink()
    with pytest.raises(InputError, match="event 0 has no table of tracks"):
        chunks(copy)
    (copy / "hits.csv").write_text("x\n")
    with pytest.raises(InputError, match="eventNUMBER-NAME"):
        chunks(copy)
