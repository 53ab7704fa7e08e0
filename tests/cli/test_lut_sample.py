"""`flashdet lut build sample` and `merge` as users run them: our own AO2D file gives the table back that made it."""

import io
import re

import numpy as np
import pytest

from flashdet.cli.lut_files import progress_bar
from flashdet.cli.main import execute
from flashdet.lut.catalog import load_lut
from flashdet.lut.files import read_table

AXES = ["--eta", "4:-1:1", "--pt", "6:0.3:10:log", "--field", "2 T"]
DIAGONAL = [0, 2, 5, 9, 14]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aod")
    paths = []
    for seed in (1, 2):
        path = folder / f"{seed}.aod.root"
        gun = f"gun:pdg=211/-211,pt=0.3..10,shape=log,eta=-1..1,n=300,particles=40,seed={seed}"
        assert execute(["sim", gun, "--card", "reference_barrel", "-o", str(path), "--quiet"]) == 0
        paths.append(str(path))
    return folder, paths


def test_an_aod_gives_back_the_table_that_made_it(files):
    """Tracks of FlashDet are Gaussian with the covariance they report: pulls are 1, tails and bias are none."""
    folder, paths = files
    tables = folder / "tables"
    assert execute(["lut", "build", "sample", *paths, *AXES, "-o", str(tables)]) == 0
    made, source = read_table(tables / "pion.lut.npz"), load_lut("reference_barrel/pion")
    assert made.sample.pull == pytest.approx(1.0, abs=0.08)
    assert made.sample.pull.mean() == pytest.approx(1.0, abs=0.01)
    assert (made.sample.tail[..., 0] < 0.03).all()
    eta, pt = source.covariance_axes[1:]
    for e, eta_center in enumerate(made.covariance_axes[1].centers):
        i = np.searchsorted(eta.edges, eta_center) - 1
        for t, pt_center in enumerate(made.covariance_axes[2].centers):
            expected = [
                np.interp(np.log(pt_center), np.log(pt.centers), np.sqrt(source.covariance[0, i, :, k]))
                for k in DIAGONAL
            ]
            assert np.sqrt(made.covariance[0, e, t, DIAGONAL]) == pytest.approx(expected, rel=0.15)
    particles, found = made.sample.generated.sum(), made.sample.found[0].sum()
    assert particles == 24000
    assert found / particles == pytest.approx(made.efficiency.mean(), abs=0.01)


def test_parts_merge_to_the_same_table(files):
    folder, paths = files
    for i, path in enumerate(paths):
        assert execute(["lut", "build", "sample", path, *AXES, "-o", str(folder / f"{i}.part.npz")]) == 0
    parts = [str(folder / f"{i}.part.npz") for i in (1, 0)]
    assert execute(["lut", "merge", *parts, "-o", str(folder / "merged")]) == 0
    assert execute(["lut", "build", "sample", *paths, *AXES, "-o", str(folder / "whole")]) == 0
    assert (folder / "merged/pion.lut.npz").read_bytes() == (folder / "whole/pion.lut.npz").read_bytes()
    assert execute(["lut", "validate", str(folder / "merged/pion.lut.npz")]) == 0
    assert execute(["lut", "info", str(folder / "merged/pion.lut.npz")]) == 0
    assert execute(["lut", "merge", *parts, parts[0], "-o", str(folder / "twice")]) == 2


def test_a_split_makes_the_tables_of_all_signs_and_sectors(files, tmp_path, capsys):
    """One pass makes what a pass for each makes; parts merge with their likes; a card takes the folder."""
    _, paths = files
    command = ["lut", "build", "sample", *AXES]
    split = ["--split", "phi=2", "--split", "charge"]
    assert execute([*command, *paths, *split, "-o", str(tmp_path / "luts")]) == 0
    labels = [f"{sign}_phi{low}" for sign in ("positive", "negative") for low in ("180to360", "0to180")]
    assert sorted(p.name for p in (tmp_path / "luts").iterdir()) == sorted(f"pion_{x}.lut.npz" for x in labels)
    one = ["--charge", "negative", f"--phi={-np.pi!r}:0"]
    assert execute([*command, *paths, *one, "-o", str(tmp_path / "one")]) == 0
    name = f"pion_{labels[2]}.lut.npz"
    made = (tmp_path / "luts" / name).read_bytes()
    assert (tmp_path / "one" / name).read_bytes() == made
    assert execute([*command, *paths, "--charge", "negative", "--split", "phi=2", "-o", str(tmp_path / "two")]) == 0
    assert (tmp_path / "two" / name).read_bytes() == made
    for i, path in enumerate(paths):
        assert execute([*command, path, *split, "-o", str(tmp_path / f"{i}.part.npz")]) == 0
    parts = [[str(tmp_path / f"{i}_{label}.part.npz") for i in (1, 0)] for label in labels]
    assert execute(["lut", "merge", *parts[2], "-o", str(tmp_path / "merged")]) == 0
    assert (tmp_path / "merged" / name).read_bytes() == made
    capsys.readouterr()
    assert execute(["lut", "merge", parts[0][0], parts[2][1], "-o", str(tmp_path / "mixed")]) == 2
    assert "differ in their particles: positive particles" in capsys.readouterr().err
    sums = [read_table(tmp_path / "luts" / f"pion_{label}.lut.npz").sample.generated.sum() for label in labels]
    assert sum(sums) == 24000
    card = tmp_path / "card.yaml"
    card.write_text(CARD.format(lut=1, smearing="library").replace("{pion: 1}", "luts"))
    assert execute(["card", "check", str(card)]) == 0
    assert all(label in capsys.readouterr().out for label in labels[:1])
    gun = "gun:pdg=211/-211,pt=0.3..10,shape=log,eta=-1..1,n=20,particles=40,seed=9"
    assert execute(["sim", gun, "--card", str(card), "-o", str(tmp_path / "out.aod.root"), "--quiet"]) == 0
    (tmp_path / "luts" / name).unlink()
    assert execute(["card", "check", str(card)]) == 2
    assert "no table for negative particles at phi -3.142 to 0 rad" in capsys.readouterr().err


@pytest.mark.parametrize("split", ["eta", "phi", "phi=1", "phi=x", "charge=2"])
def test_what_cannot_be_split(files, tmp_path, split, capsys):
    command = ["lut", "build", "sample", files[1][0], *AXES, "-o", str(tmp_path / "luts")]
    assert execute([*command, "--split", split]) == 2
    assert "does not say what to split" in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


def test_one_sign_cannot_be_split(files, tmp_path, capsys):
    command = ["lut", "build", "sample", files[1][0], *AXES, "-o", str(tmp_path / "luts")]
    assert execute([*command, "--charge", "positive", "--split", "charge"]) == 2
    assert "cannot be split" in capsys.readouterr().err


def test_cost_and_sizes_are_told(files, tmp_path, capsys):
    """Time per million tracks, peak memory, and the size beside that of the ALICE format with the same cells."""
    _, paths = files
    command = ["lut", "build", "sample", *paths, *AXES, "--nch", "20:1:3162:log", "-o", str(tmp_path)]
    assert execute(command) == 0
    out = capsys.readouterr().out
    line = r"[\d.]+ s; CPU: ([\d.]+) s, (\d+) s per million tracks; peak memory: (\d+) MB"
    seconds, rate, peak = re.search(line, out).groups()
    n_tracks = int(re.search(r"(\d+) tracks\n", out)[1])
    assert float(rate) == pytest.approx(float(seconds) * 1e6 / n_tracks, rel=0.2)
    assert 50 < float(peak) < 4000
    path = tmp_path / "pion.lut.npz"
    plain, residuals, alice = map(float, re.search(r": ([\d.]+) MB and ([\d.]+) MB of .*: ([\d.]+) MB", out).groups())
    assert plain + residuals == pytest.approx(path.stat().st_size / 1e6, rel=0.02)
    assert execute(["lut", "convert", str(path), str(tmp_path / "lutCovm.pi.dat")]) == 0
    assert alice == pytest.approx((tmp_path / "lutCovm.pi.dat").stat().st_size / 1e6, rel=0.01)


def test_wrong_arguments_and_files(files, tmp_path, capsys):
    _, paths = files
    out = ["-o", str(tmp_path / "x")]
    assert execute(["lut", "build", "sample", paths[0], "--field", "2", *out]) == 2
    assert execute(["lut", "build", "sample", paths[0], "--field", "2 T", "--eta", "4:1", *out]) == 2
    (tmp_path / "no.root").write_bytes(b"root, but not really")
    assert execute(["lut", "build", "sample", str(tmp_path / "no.root"), "--field", "2 T", *out]) == 3
    assert "no.root" in capsys.readouterr().err


CARD = """
schema_version: 1
detector: test
magnetic_field: 2 T
luts: {{pion: {lut}}}
stages: [{{kind: propagate}}, {{kind: tracking, smearing: {smearing}}}]
"""


def test_cards_draw_from_the_library(files, tmp_path, capsys):
    """Residuals drawn from a table give that table again; tables without residuals are refused."""
    folder, paths = files
    table = folder / "tables" / "pion.lut.npz"
    if not table.exists():
        assert execute(["lut", "build", "sample", *paths, *AXES, "-o", str(table.parent)]) == 0
    card = tmp_path / "card.yaml"
    card.write_text(CARD.format(lut=table, smearing="library"))
    gun = "gun:pdg=211/-211,pt=0.3..10,shape=log,eta=-1..1,n=200,particles=40,seed=9"
    out = tmp_path / "out.aod.root"
    assert execute(["sim", gun, "--card", str(card), "-o", str(out), "--quiet"]) == 0
    again = tmp_path / "again"
    assert execute(["lut", "build", "sample", str(out), *AXES, "-o", str(again)]) == 0
    first, second = read_table(table), read_table(again / "pion.lut.npz")
    ratio = np.sqrt(second.covariance[..., DIAGONAL] / first.covariance[..., DIAGONAL])
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio == pytest.approx(1.0, abs=0.3)
    capsys.readouterr()
    card.write_text(CARD.format(lut="reference_barrel/pion", smearing="library"))
    assert execute(["sim", gun, "--card", str(card), "-o", str(tmp_path / "no.aod.root"), "--quiet"]) != 0
    assert "needs LUTs made from full simulation; not so: pion" in capsys.readouterr().err


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_a_bar_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for stream in (_Terminal(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        with progress_bar("tables") as update:
            update(0, 3, "pion")
            update(2, 3, "kaon")
            update(3, 3, "")
        text = stream.getvalue()
        if stream.isatty():
            assert "tables" in text
            assert "3/3" in text
        else:
            assert text == ""


def test_layouts_give_tables_for_all_radii_or_for_the_beam_line(tmp_path, capsys):
    for option, has_displaced in (("--displaced", True), ("--prompt", False)):
        folder = tmp_path / option.strip("-")
        command = ["lut", "build", "layout", "reference_barrel", "--species", "pion", "-o", str(folder), option]
        assert execute(command) == 0
        table = load_lut(str(folder / "pion.lut.npz"))
        assert bool(table.displaced) == has_displaced
    picture = tmp_path / "far.png"
    source = str(tmp_path / "displaced" / "pion.lut.npz")
    assert execute(["lut", "plot", source, "--radius", "8", "-o", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
    capsys.readouterr()
    assert execute(["lut", "compare", source, source, "--radius", "8"]) == 0
    assert "1" in capsys.readouterr().out
