"""Leaving out generated particles: histories stay readable, decays whole, and nothing points into the void."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from writer_events import SETUP, make_batch

from flashdet import truth
from flashdet.errors import OutputError
from flashdet.event import EventBatch, Table
from flashdet.io.aod import AodWriter
from flashdet.io.hepmc.reader import open_events
from flashdet.io.nano import NanoWriter
from flashdet.io.parquet import ParquetWriter
from flashdet.io.read import read_batch
from flashdet.io.setup import OutputSetup
from flashdet.pruning import family, origin, pointed_at, prune, within

SAMPLE = Path(__file__).parents[2] / "examples" / "pp14.hepmc3.zst"


def record(*rows):
    """One event of (pdg, status, production vertex, end vertex)."""
    columns = np.array(rows, np.int32).reshape(-1, 4).T
    names = ("pdg", "status", "production_vertex", "end_vertex")
    batch = EventBatch()
    batch.add(Table.per_event("event", 1))
    values = {name: np.ascontiguousarray(c) for name, c in zip(names, columns, strict=True)}
    batch.add(Table("particle", np.array([0, len(rows)]), values))
    return batch


#: Beams; a string from a charm quark to a diquark with gluons between; what it becomes.
ROWS = (
    (2212, 4, -1, 0),  # 0
    (2212, 4, -1, 0),  # 1
    (21, 41, 0, 1),  # 2 gluon that becomes a pair
    (2, 63, 0, 2),  # 3 u quark, first of the string
    (21, 51, 0, 2),  # 4 gluon in the middle
    (-4, 51, 1, 2),  # 5 charm in the middle
    (21, 51, 0, 2),  # 6 gluon in the middle
    (2101, 63, 0, 2),  # 7 diquark, last of the string
    (4, 51, 1, 3),  # 8 charm of another string
    (411, 2, 2, 4),  # 9 D+
    (-321, 1, 4, -1),  # 10
    (211, 1, 4, -1),  # 11
    (111, 2, 4, 5),  # 12 its pi0
    (22, 1, 5, -1),  # 13
    (22, 1, 5, -1),  # 14
    (2212, 1, 2, -1),  # 15 sister of the D+ from the string
    (211, 1, 3, -1),  # 16 from the other string
    (23, 22, 0, 6),  # 17 Z
    (23, 62, 6, 7),  # 18 the same Z
    (11, 1, 7, -1),  # 19
    (-11, 1, 7, -1),  # 20
)


def kept(*chosen, rows=ROWS):
    batch = record(*rows)
    mask = np.zeros(len(rows), bool)
    mask[list(chosen)] = True
    return np.flatnonzero(family(batch, mask)).tolist()


def test_ancestors_are_kept_and_decays_are_whole():
    # one daughter of the D+: all of its decay, the ends of the string, the charm quark and its gluon, the beams
    assert kept(11) == [0, 1, 2, 3, 5, 7, 9, 10, 11, 12, 13, 14]
    assert kept(13) == kept(11)


def test_daughters_of_a_string_are_no_decay():
    assert kept(15) == [0, 1, 2, 3, 5, 7, 15]
    assert kept(16) == [0, 1, 2, 8, 16]


def test_both_leptons_of_a_z():
    assert kept(19) == [0, 1, 17, 18, 19, 20]


def test_nothing_chosen_and_a_loop():
    assert kept() == []
    loop = ((421, 2, 0, 1), (413, 2, 1, 0), (211, 1, 1, -1), (21, 51, 5, 6))
    assert kept(2, rows=loop) == [0, 1, 2]


@pytest.fixture(scope="module")
def events():
    with open_events((str(SAMPLE),), events=40) as reader:
        batches = list(reader.batches())
    assert len(batches) == 1
    return batches[0]


def hadrons_before(batch):
    """Sorted codes of all ancestors of each particle that are hadrons but no beams, by brute force."""
    offsets, index = truth.mothers(batch)
    particle = batch["particle"]
    pdg, first = particle["pdg"], particle.offsets[particle.event_index]
    is_hadron = (np.abs(pdg) > 100) & (np.abs(pdg) // 10 % 10 > 0) & (particle["status"] != 4)
    found = []
    for i in range(particle.n_rows):
        seen, todo = set(), [i]
        while todo:
            j = todo.pop()
            for m in index[offsets[j] : offsets[j + 1]] + first[j]:
                if m not in seen:
                    seen.add(m)
                    todo.append(m)
        found.append(sorted(pdg[m] for m in seen if is_hadron[m]))
    return found


def heavy_mothers(batch):
    """Codes of the heavy quarks among the mothers of each particle."""
    offsets, index = truth.mothers(batch)
    particle = batch["particle"]
    codes = particle["pdg"][index + np.repeat(particle.offsets[:-1], np.diff(offsets[particle.offsets]))]
    mothers = np.split(codes, offsets[1:-1])
    return [sorted(m[np.isin(np.abs(m), (4, 5, 6))]) for m in mothers]


def test_real_events_say_the_same_as_before(events):
    mask = family(events, within(events, 4.0))
    pruned = prune(events, mask)
    assert 0.3 < mask.mean() < 0.7
    np.testing.assert_array_equal(truth.is_physical_primary(pruned), truth.is_physical_primary(events)[mask])
    for column, values in events["particle"].items():
        found = pruned["particle"][column]
        assert found.dtype == (np.float32 if values.dtype == np.float64 else values.dtype)
        np.testing.assert_array_equal(found, values[mask].astype(found.dtype), err_msg=column)
    np.testing.assert_array_equal(
        pruned["particle"].offsets, np.concatenate([[0], np.cumsum(mask)])[events["particle"].offsets]
    )
    # decay chains and heavy quarks are those of the whole record
    few = events.slice_events(0, 6)
    few_mask = mask[: few["particle"].n_rows]
    before = [a for a, keep in zip(hadrons_before(few), few_mask, strict=True) if keep]
    assert hadrons_before(prune(few, few_mask)) == before
    assert sum(map(len, before)) > 300
    before = [m for m, keep in zip(heavy_mothers(events), mask, strict=True) if keep]
    assert heavy_mothers(pruned) == before
    assert sum(map(len, before)) > 50


def test_decays_of_real_events_are_whole(events):
    mask = family(events, within(events, 4.0))
    offsets, index = truth.daughters(events)
    up, _ = truth.mothers(events)
    particle = events["particle"]
    rows = index + np.repeat(particle.offsets[:-1], np.diff(offsets[particle.offsets]))
    checked = 0
    for i in np.flatnonzero(mask & (particle["status"] == 2)):
        mine = rows[offsets[i] : offsets[i + 1]]
        if len(mine) and up[mine[0] + 1] - up[mine[0]] == 1:
            assert mask[mine].all()
            checked += 1
    assert checked > 300


def test_acceptance_has_the_edge_where_propagate_has_it(events):
    particle = events["particle"]
    inside = within(events, 2.5)
    p = np.sqrt(particle["px"] ** 2 + particle["py"] ** 2 + particle["pz"] ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        eta = np.arctanh(particle["pz"] / p)
    expected = np.isin(particle["status"], (1, 2)) & (np.abs(eta) <= 2.5)
    np.testing.assert_array_equal(inside, expected)
    np.testing.assert_array_equal(within(events, np.inf), np.isin(particle["status"], (1, 2)))


def setup_with(mode, eta_max=1.0):
    return OutputSetup(stage_kinds=SETUP.stage_kinds, weight_names=SETUP.weight_names, particles=mode, eta_max=eta_max)


@pytest.mark.parametrize("mode", ["acceptance", "tracked"])
@pytest.mark.parametrize("writer", [AodWriter, NanoWriter, ParquetWriter], ids=lambda w: w.format)
def test_files_point_at_the_same_particles(tmp_path, writer, mode):
    batch = make_batch(30, tracks=2, particles=40)
    with writer(tmp_path / "o", setup=setup_with(mode)) as w:
        w.write(batch.slice_events(0, 11))
        w.write(batch.slice_events(11, 30))
    got, header = read_batch(tmp_path / "o")
    assert header["particles"] == mode
    assert (w.n_particles_read, w.n_particles_written) == (batch["particle"].n_rows, got["particle"].n_rows)
    assert 0 < got["particle"].n_rows < batch["particle"].n_rows
    for name in ("track", "emcal_cluster"):
        old, new = batch[name]["particle_index"], got[name]["particle_index"]
        np.testing.assert_array_equal(old >= 0, new >= 0)
        has = old >= 0
        of_event = batch[name].event_index[has]
        for column in ("pdg", "px", "status", "end_vertex"):
            want = batch["particle"][column][old[has] + batch["particle"].offsets[of_event]]
            found = got["particle"][column][new[has] + got["particle"].offsets[of_event]]
            np.testing.assert_array_equal(found, want.astype(found.dtype), err_msg=column)


def test_modes_contain_each_other_and_none_has_no_table(tmp_path):
    batch, rows = make_batch(20, tracks=2, particles=40), {}
    for mode in ("all", "acceptance", "tracked"):
        with AodWriter(tmp_path / mode, setup=setup_with(mode)) as w:
            w.write(batch)
        rows[mode] = read_batch(tmp_path / mode)[0]["particle"].n_rows
    assert rows["tracked"] < rows["acceptance"] < rows["all"] == batch["particle"].n_rows
    with AodWriter(tmp_path / "none", setup=setup_with("none")) as w:
        w.write(batch)
    got, header = read_batch(tmp_path / "none")
    assert header["particles"] == "none"
    assert "particle" not in got
    np.testing.assert_array_equal(got["track"]["particle_index"], batch["track"]["particle_index"])


def test_a_card_that_lists_what_it_leaves_out(tmp_path):
    setup = OutputSetup(tables=("particle",), stage_kinds=SETUP.stage_kinds, particles="none")
    with pytest.raises(OutputError, match="particle"), AodWriter(tmp_path / "o", setup=setup) as w:
        w.write(make_batch(3))


def test_rows_of_dropped_particles_point_nowhere():
    batch = make_batch(8)
    mask = family(batch, pointed_at(batch, ("emcal_cluster",)))
    index = prune(batch, mask)["track"]["particle_index"]
    old = batch["track"]["particle_index"] + batch["particle"].offsets[batch["track"].event_index]
    np.testing.assert_array_equal(index == -1, ~mask[old])
    assert (index == -1).any()
    assert (index >= 0).any()


@pytest.mark.parametrize("mode", ["all", "acceptance", "tracked"])
@pytest.mark.parametrize("writer", [AodWriter, NanoWriter, ParquetWriter], ids=lambda w: w.format)
def test_electrons_of_photons_point_at_their_photon(tmp_path, writer, mode):
    # -2 - 2 row for the positron, -3 - 2 row for the electron
    batch = make_batch(30, tracks=2, particles=40)
    track, particle = batch["track"], batch["particle"]
    first, index = particle.offsets[:-1][track.event_index], track["particle_index"]
    codes = np.select([np.arange(len(index)) % 3 == k for k in (0, 1)], [-2 - 2 * index, -3 - 2 * index], index)
    columns = {**dict(track), "particle_index": codes.astype(np.int32)}
    tables = {**batch.tables, "track": Table("track", track.offsets, columns)}
    with writer(tmp_path / "o", setup=setup_with(mode)) as w:
        w.write(EventBatch(tables, batch.weight_names))
    got, _ = read_batch(tmp_path / "o")
    found = got["track"]["particle_index"]
    np.testing.assert_array_equal(np.sign(found + 1), np.sign(codes + 1))
    np.testing.assert_array_equal((found % 2)[codes < -1], (codes % 2)[codes < -1])
    rows = origin(found) + got["particle"].offsets[:-1][track.event_index]
    for column in ("pdg", "px", "end_vertex"):
        want = particle[column][first + index].astype(got["particle"][column].dtype)
        np.testing.assert_array_equal(got["particle"][column][rows], want)
