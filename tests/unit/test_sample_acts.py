"""Reader of the CSV files of ACTS, on a stored piece of its output; wrong input is told.

``tests/data/acts``: 2 events of 120 pions each in the layout ``reference_barrel``, 0.3 to 20 GeV in |eta| < 1.2, made
by ``examples/acts/simulate.py`` with pyacts 48.1.0.
"""

import shutil
from pathlib import Path

import awkward as ak
import numpy as np
import pandas as pd
import pytest
import uproot

from flashdet.cli.main import execute
from flashdet.errors import InputError
from flashdet.io.samples.acts import find_events, read_acts
from flashdet.io.samples.flat import pair_files, read_flat
from flashdet.io.samples.mapping import read_map
from flashdet.lut.catalog import load_lut
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


def root_files(folder):
    """The stored events as the ROOT writers of ACTS lay them out: one entry per event, one vector per quantity."""
    state = ["d0", "z0", "phi", "theta", "qop"]
    bound = ["eLOC0", "eLOC1", "ePHI", "eTHETA", "eQOP"]
    parts = ["vertex_primary", "vertex_secondary", "particle", "generation", "sub_particle"]
    columns = ["particle_id_pv", "particle_id_sv", "particle_id_part", "particle_id_gen", "particle_id_subpart"]
    particles, summary = {}, {}
    for number, event in enumerate(find_events(FILES)):
        p, t = pd.read_csv(event.particles), pd.read_csv(event.tracks)
        q = pd.read_csv(event.parameters).set_index("trackId").loc[t["track_id"]]
        barcode = t["particleId"].str.extract(r"vp=(\d+)\|vs=(\d+)\|p=(\d+)\|g=(\d+)\|sp=(\d+)").astype(np.uint32)
        rows = {name: p[column].to_numpy(np.uint32) for name, column in zip(parts, columns, strict=True)}
        rows |= {name: p[name].to_numpy() for name in ("particle_type", "px", "py", "pz", "vx", "vy", "vz")}
        tracks = {f"majorityParticleId_{name}": barcode[i].to_numpy() for i, name in enumerate(parts)}
        for name, ours in zip(bound, state, strict=True):
            tracks[f"{name}_fit"] = q[ours].to_numpy()
            tracks[f"err_{name}_fit"] = np.sqrt(q[f"var_{ours}"].to_numpy())
            for other, theirs in zip(bound, state, strict=True):
                key = f"var_{ours}" if ours == theirs else f"cov_{ours}{theirs}"
                tracks[f"cov_{name}_{other}"] = q[key].to_numpy()
        for store, values, key in ((particles, rows, "event_id"), (summary, tracks, "event_nr")):
            store.setdefault(key, []).append(number)
            for name, value in values.items():
                store.setdefault(name, []).append(value)
    paths = folder / "a.particles.root", folder / "a.tracksummary.root"
    for path, tree, store in zip(paths, ("particles", "tracksummary"), (particles, summary), strict=True):
        with uproot.recreate(path) as file:
            file[tree] = {name: ak.Array(values) for name, values in store.items()}
    return paths


@pytest.mark.parametrize("name", ["acts_root", "acts_root_cov"])
def test_root_summaries_say_the_same(tmp_path, name):
    """The same events through the mappings of the ROOT writers: labels, parameters and covariances are equal."""
    mapping = read_map(name)
    ((particles, tracks),) = pair_files(root_files(tmp_path), mapping)
    read, expected = list(read_flat(particles, tracks, mapping)), chunks(DATA)

    def both(table, column):
        return [np.concatenate([getattr(getattr(c, table), column) for c in some]) for some in (read, expected)]

    for column in ("label", "pdg", "px", "pz", "vx"):
        root, csv = both("particles", column)
        assert root == pytest.approx(csv)
    root, csv = both("tracks", "label")
    assert (root == csv).all()
    root, csv = both("tracks", "params")
    assert root == pytest.approx(csv)
    root, csv = both("tracks", "cov")
    used = slice(None) if name == "acts_root_cov" else [0, 2]  # without correlations theta and q/p mix otherwise
    assert root[:, used] == pytest.approx(csv[:, used])


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
