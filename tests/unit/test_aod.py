"""AO2D tables: layout, indices, flags and packed words as O2 wants them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from writer_events import SETUP, concat_equal, covariances, make_batch

from flashdet import columns as declared
from flashdet.event import EventBatch, Table
from flashdet.io import aod_tables, output
from flashdet.io.aod import AodWriter, ParticleOrder
from flashdet.io.read import read_batch
from flashdet.io.rootfile import open_for_reading
from flashdet.io.setup import OutputSetup
from flashdet.stages.tof.flight import time_of_flight

#: Leaves of each tree, written down from the O2 data model and not from our tables.
LAYOUT = {
    "O2bc_001": "fRunNumber/I fGlobalBC/l fTriggerMask/l fInputMask/l",
    "O2collision_001": "fIndexBCs/I fPosX/F fPosY/F fPosZ/F fCovXX/F fCovXY/F fCovYY/F fCovXZ/F fCovYZ/F fCovZZ/F "
    "fFlags/s fChi2/F fNumContrib/s fCollisionTime/F fCollisionTimeRes/F",
    "O2mccollision_001": "fIndexBCs/I fGeneratorsID/S fPosX/F fPosY/F fPosZ/F fT/F fWeight/F fImpactParameter/F "
    "fEventPlaneAngle/F",
    "O2mccollisionlabel": "fIndexMcCollisions/I fMcMask/s",
    "O2track": "fIndexCollisions/I fTrackType/b fX/F fAlpha/F fY/F fZ/F fSnp/F fTgl/F fSigned1Pt/F",
    "O2trackcov": "fSigmaY/F fSigmaZ/F fSigmaSnp/F fSigmaTgl/F fSigma1Pt/F fRhoZY/B fRhoSnpY/B fRhoSnpZ/B fRhoTglY/B "
    "fRhoTglZ/B fRhoTglSnp/B fRho1PtY/B fRho1PtZ/B fRho1PtSnp/B fRho1PtTgl/B",
    "O2trackextra_002": "fTPCInnerParam/F fFlags/i fITSClusterSizes/i fTPCNClsFindable/b fTPCNClsFindableMinusFound/B "
    "fTPCNClsFindableMinusPID/B fTPCNClsFindableMinusCrossedRows/B fTPCNClsShared/b fTRDPattern/b fITSChi2NCl/F "
    "fTPCChi2NCl/F fTRDChi2/F fTOFChi2/F fTPCSignal/F fTRDSignal/F fLength/F fTOFExpMom/F fTrackEtaEMCAL/F "
    "fTrackPhiEMCAL/F fTrackTime/F fTrackTimeRes/F",
    "O2mctracklabel": "fIndexMcParticles/I fMcMask/s",
    "O2mcparticle_001": "fIndexMcCollisions/I fPdgCode/I fStatusCode/I fFlags/b fIndexArray_Mothers_size/I "
    "fIndexArray_Mothers[fIndexArray_Mothers_size]/I fIndexSlice_Daughters[2]/I fWeight/F fPx/F fPy/F fPz/F fE/F fVx/F "
    "fVy/F fVz/F fVt/F",
    "O2hepmcxsection": "fIndexMcCollisions/I fGeneratorsID/S fAccepted/l fAttempted/l fXsectGen/F fXsectErr/F "
    "fPtHard/F fNMPI/I fProcessId/I",
    "O2hepmcpdfinfo": "fIndexMcCollisions/I fGeneratorsID/S fId1/I fId2/I fPdfId1/I fPdfId2/I fX1/F fX2/F fScalePdf/F "
    "fPdf1/F fPdf2/F",
    "O2hepmcheavyion": "fIndexMcCollisions/I fGeneratorsID/S fNcollHard/I fNpartProj/I fNpartTarg/I fNcoll/I "
    "fNNwoundedCollisions/I fNwoundedNCollisions/I fNwoundedNwoundedCollisions/I fSpectatorNeutrons/I "
    "fSpectatorProtons/I fImpactParameter/F fEventPlaneAngle/F fEccentricity/F fSigmaInelNN/F fCentrality/F",
    "O2origin": "fDataframeID/l",
}


@pytest.fixture(scope="module")
def batch():
    return make_batch(12)


@pytest.fixture(scope="module")
def frame(batch, tmp_path_factory):
    """The only directory of a file, as arrays by tree and branch."""
    return load(write(batch, tmp_path_factory.mktemp("aod") / "o.aod.root"))["DF_1"]


def write(batch, path, setup=SETUP):
    with AodWriter(path, setup=setup) as writer:
        writer.write(batch)
    return path


def load(path):
    frames = {}
    with open_for_reading(path) as root:
        for directory in root.keys(recursive=False, cycle=False):
            if directory.startswith("DF_"):
                trees = {t: root[directory][t] for t in root[directory].keys(cycle=False)}
                frames[directory] = {n: t.arrays(library="np") | {"n": t.num_entries} for n, t in trees.items()}
    return frames


def test_layout_is_the_one_of_o2(batch, tmp_path):
    with open_for_reading(write(batch, tmp_path / "o.aod.root")) as root:
        for name, leaves in LAYOUT.items():
            tree = root[f"DF_1/{name}"]
            found = [b.member("fTitle") for b in tree.branches]
            assert sorted(found) == sorted(leaves.split()), name
            assert all(len(b.member("fLeaves")) == 1 for b in tree.branches)
        # readers need the counter before the array
        titles = [b.name for b in root["DF_1/O2mcparticle_001"].branches]
        assert titles.index("fIndexArray_Mothers_size") < titles.index("fIndexArray_Mothers")


def test_joined_tables_have_equal_length(batch, frame):
    tracks = ("O2track", "O2trackcov", "O2trackextra_002", "O2mctracklabel", "O2fdtrack", "O2fditof", "O2fdotof")
    assert {frame[t]["n"] for t in (*tracks, "O2fdrich", "O2fdemcal", "O2fdmuon")} == {batch["track"].n_rows}
    events = ("O2bc_001", "O2collision_001", "O2mccollision_001", "O2mccollisionlabel", "O2fdevent", "O2fdotof_event")
    assert {frame[t]["n"] for t in events} == {batch.n_events}
    assert frame["O2mcparticle_001"]["n"] == frame["O2fdparticle"]["n"] == batch["particle"].n_rows


def test_indices_are_bounded_and_groups_sorted(frame):
    length = {
        "fIndexBCs": "O2bc_001",
        "fIndexCollisions": "O2collision_001",
        "fIndexMcCollisions": "O2mccollision_001",
        "fIndexMcParticles": "O2mcparticle_001",
        "fIndexTracks": "O2track",
        "fIndexFdEmcalClusters": "O2fdemcal_cluster",
        "fIndexSlice_Daughters": "O2mcparticle_001",
    }
    seen = set()
    for name, tree in frame.items():
        for branch in set(tree) & set(length):
            seen.add(branch)
            assert tree[branch].min(initial=0) >= -1
            assert tree[branch].max(initial=-1) < frame[length[branch]]["n"], (name, branch)
            if branch in ("fIndexCollisions", "fIndexMcCollisions", "fIndexBCs"):
                assert (np.diff(tree[branch]) >= 0).all(), name
    assert seen == set(length)


def test_mothers_and_daughters_agree(batch, frame):
    tree = frame["O2mcparticle_001"]
    event, mothers = tree["fIndexMcCollisions"], tree["fIndexArray_Mothers"]
    first, last = tree["fIndexSlice_Daughters"].T
    assert ((first >= 0) == (last >= 0)).all()
    assert (last >= first).all()
    from_daughters = {(m, d) for m in range(tree["n"]) if first[m] >= 0 for d in range(first[m], last[m] + 1)}
    from_mothers = {(m, d) for d in range(tree["n"]) for m in mothers[d]}
    assert from_daughters == from_mothers
    assert all(event[m] == event[d] for m, d in from_mothers)
    # and they are those of the record
    particle = batch["particle"]
    rows = frame["O2fdparticle"]["fRowShift"] + np.arange(tree["n"])
    on_disk = {r: i for i, r in enumerate(rows)}
    of_event, production, end = particle.event_index, particle["production_vertex"], particle["end_vertex"]
    links = {
        (on_disk[i], on_disk[j])
        for i in range(particle.n_rows)
        for j in range(particle.n_rows)
        if of_event[i] == of_event[j] and end[i] >= 0 and end[i] == production[j]
    }
    assert from_mothers == links
    assert len(links) > 50


def decays(rng, n_events=3, depth=4):
    """Chains of decays that conserve four-momentum; rows are shuffled."""
    batch, rows, offsets = EventBatch(), [], [0]
    for _ in range(n_events):
        event, queue, next_vertex = [], [], 1
        beams = np.array([[0, 0, 7000.0, 7000.0], [0, 0, -7000.0, 7000.0]])
        event += [(*b, -1, 0, 4) for b in beams]
        queue.append((beams.sum(axis=0), 0, 0))
        while queue:
            total, vertex, generation = queue.pop()
            shares = rng.dirichlet(np.ones(3))
            kicks = rng.normal(0, 0.3, (3, 4))
            kicks -= kicks.mean(axis=0)
            for share, kick in zip(shares, kicks, strict=True):
                p, end = share * total + kick, -1
                if generation < depth and rng.random() < 0.6:
                    end, next_vertex = next_vertex, next_vertex + 1
                    queue.append((p, end, generation + 1))
                event.append((*p, vertex, end, 1 if end < 0 else 2))
        rng.shuffle(event)
        rows += event
        offsets.append(len(rows))
    values = np.array(rows)
    n = len(rows)
    particle = {c.name: np.zeros(n, c.dtype) for c in declared.PARTICLE}
    for i, name in enumerate(("px", "py", "pz", "energy", "production_vertex", "end_vertex", "status")):
        particle[name] = np.ascontiguousarray(values[:, i], particle[name].dtype)
    batch.add(Table.per_event("event", n_events, {c.name: np.zeros(n_events, c.dtype) for c in declared.EVENT}))
    batch.add(Table("particle", np.array(offsets), particle))
    return batch


def test_momentum_closes_at_every_vertex(tmp_path):
    batch = decays(np.random.default_rng(5))
    tree = load(write(batch, tmp_path / "o.aod.root"))["DF_1"]["O2mcparticle_001"]
    p = np.stack([tree[c] for c in ("fPx", "fPy", "fPz", "fE")], axis=1).astype(float)
    checked = 0
    for mother, (first, last) in enumerate(tree["fIndexSlice_Daughters"]):
        if first < 0:
            continue
        together = tree["fIndexArray_Mothers"][first]
        assert mother in together
        np.testing.assert_allclose(p[first : last + 1].sum(axis=0), p[together].sum(axis=0), atol=1e-3)
        checked += 1
    assert checked > 20


def test_particles_keep_their_order_within_a_vertex_and_labels_follow(batch, frame):
    order = ParticleOrder(batch)
    particle, track = batch["particle"], batch["track"]
    assert (np.diff(particle.event_index[order.rows]) >= 0).all()
    production = particle["production_vertex"][order.rows]
    same = (np.diff(production) == 0) & (np.diff(particle.event_index[order.rows]) == 0)
    assert (np.diff(order.rows)[same] > 0).all()
    label = frame["O2mctracklabel"]["fIndexMcParticles"]
    want = particle["px"][track["particle_index"] + particle.offsets[track.event_index]]
    np.testing.assert_array_equal(frame["O2mcparticle_001"]["fPx"][label], want.astype(np.float32))
    label = frame["O2fdemcal_cluster"]["fIndexTracks"]
    clusters = batch["emcal_cluster"]
    want = clusters["track_index"] + track.offsets[clusters.event_index]
    np.testing.assert_array_equal(label, np.where(clusters["track_index"] < 0, -1, want))


def test_physical_primaries_are_stable_particles_only(batch, frame):
    tree = frame["O2mcparticle_001"]
    assert set(np.unique(tree["fFlags"])) <= {0, 4}  # never "produced by transport"
    primary = tree["fFlags"] == 4
    assert primary.any()
    assert set(tree["fPdgCode"][primary]) <= {211, -211, 22, 310, 2212, 1000020030}
    from flashdet import truth

    rows = ParticleOrder(batch).rows
    np.testing.assert_array_equal(primary, truth.is_physical_primary(batch)[rows])


@pytest.mark.parametrize("status", [-512, 511, 512, -513, 100_000])
def test_status_codes_of_any_size_come_back(tmp_path, status):
    # those that the word of the AO2D tree holds stand there alone
    batch = make_batch(20)
    codes = batch["particle"]["status"].copy()
    codes[::7] = status
    columns = {**dict(batch["particle"]), "status": codes}
    tables = {**batch.tables, "particle": Table("particle", batch["particle"].offsets, columns)}
    with AodWriter(tmp_path / "o", setup=replace(SETUP, particles="all")) as w:
        w.write(EventBatch(tables, batch.weight_names))
    got, _ = read_batch(tmp_path / "o")
    np.testing.assert_array_equal(got["particle"]["status"], codes)
    with open_for_reading(tmp_path / "o") as root:
        assert ("fStatus" in root["DF_1/O2fdparticle"]) == (not -512 <= status < 512)


def test_status_words():
    status = np.array([0, 1, 2, 4, 71, -71, 200, 255, -256], np.int32)
    word = aod_tables.pack_status(status)
    assert (word.view(np.uint32) >> 29 == 5).all()
    hepmc, generator = aod_tables.unpack_status(word)
    np.testing.assert_array_equal(hepmc, status)
    np.testing.assert_array_equal(generator, status)
    # 1 | 1 << 9 | 5 << 29, by hand
    assert word.view(np.uint32)[1] == 0xA0000201
    hepmc, generator = aod_tables.unpack_status(aod_tables.pack_status(np.array([300, 5000], np.int32)))
    assert list(hepmc) == [0, 0]
    assert list(generator) == [300, 0]
    assert [list(x) for x in aod_tables.unpack_status(np.array([1, 42], np.int32))] == [[1, 42], [1, 42]]


def test_covariance_is_rebuilt_within_one_part_in_127():
    cov = covariances(np.random.default_rng(3), 2000, 5).astype(np.float32)
    packed = aod_tables.pack_covariance(cov)
    again = aod_tables.unpack_covariance(packed)
    rows, cols = np.tril_indices(5)
    diagonal = cov[:, rows == cols].astype(float)
    scale = np.sqrt(diagonal[:, rows] * diagonal[:, cols])
    assert np.abs((again - cov) / scale).max() < 1 / 127
    np.testing.assert_allclose(again[:, rows == cols], diagonal, rtol=1e-6)
    # the sample has correlations that int8 of 128 * rho would turn into their opposite
    rho = np.abs(cov / scale)[:, rows != cols]
    assert (rho > 127.5 / 128).any()
    stored = np.stack([packed[n] for n in aod_tables.RHO_BRANCHES], axis=1)
    assert stored.min() == -127
    assert stored.max() == 127
    assert (np.count_nonzero(stored, axis=1) > 3).all()


def test_correlation_with_an_exact_parameter_is_zero():
    packed = aod_tables.pack_covariance(np.zeros((2, 15), np.float32))
    assert all((v == 0).all() for v in packed.values())


def test_full_covariance_and_correlations_are_in_the_file(batch, frame):
    cov = batch["track"]["cov"]
    np.testing.assert_array_equal(frame["O2fdtrack"]["fCov"], cov.astype(np.float32))
    np.testing.assert_allclose(frame["O2trackcov"]["fSigmaZ"], np.sqrt(cov[:, 2]), rtol=1e-6)
    rho = cov[:, 12] / np.sqrt(cov[:, 5] * cov[:, 14])
    np.testing.assert_allclose(frame["O2trackcov"]["fRho1PtSnp"] / 128, rho, atol=1 / 127)


def test_tracks_are_propagated_and_make_no_false_claims(batch, frame):
    track, extra = frame["O2track"], frame["O2trackextra_002"]
    assert (track["fTrackType"] == 1).all()
    assert (track["fX"] == 0).all()
    assert (extra["fFlags"] & 0x4 == 0).all()  # no orphans
    np.testing.assert_array_equal(extra["fFlags"] & 0x2 != 0, batch["track"]["is_pv_contributor"])
    assert (extra["fFlags"] >> 28 == 2).all()
    # O2 derives "has TOF / ITS / TPC" from these
    has_tof = (batch["itof"]["path_length"] > 0) | (batch["otof"]["path_length"] > 0)
    np.testing.assert_array_equal((extra["fTOFChi2"] >= 0) & (extra["fTOFExpMom"] > 0), has_tof)
    assert (extra["fITSClusterSizes"] == 0).all()
    assert (extra["fTPCNClsFindable"] == 0).all()


def test_generated_collision_is_filled_in_cm_and_ns(batch, frame):
    tree, event = frame["O2mccollision_001"], batch["event"]
    for branch, column in {"fPosX": "vx", "fPosY": "vy", "fPosZ": "vz", "fWeight": "weight"}.items():
        np.testing.assert_array_equal(tree[branch], event[column].astype(np.float32))
    for branch, column in {"fImpactParameter": "impact_parameter", "fEventPlaneAngle": "event_plane_angle"}.items():
        want = np.where(np.isnan(event[column]), 0, event[column])
        np.testing.assert_array_equal(tree[branch], want.astype(np.float32))
    np.testing.assert_allclose(tree["fT"], event["vt"] + event["collision_time"], atol=1e-6)
    rows = ParticleOrder(batch).rows
    np.testing.assert_array_equal(frame["O2mcparticle_001"]["fVt"], batch["particle"]["vt"][rows].astype(np.float32))
    assert list(frame["O2mccollisionlabel"]["fIndexMcCollisions"]) == list(range(12))


def test_events_without_vertex_have_a_collision_without_contributors(batch, frame):
    tree, vertex = frame["O2collision_001"], batch["vertex"]
    found = np.diff(vertex.offsets) > 0
    assert found.any()
    assert not found.all()
    np.testing.assert_array_equal(tree["fPosZ"][found], vertex["z"].astype(np.float32))
    np.testing.assert_array_equal(tree["fCovYY"][found], vertex["cov"][:, 2].astype(np.float32))
    np.testing.assert_array_equal(tree["fCovXZ"][found], vertex["cov"][:, 3].astype(np.float32))
    for branch in ("fPosX", "fCovZZ", "fNumContrib", "fChi2"):
        assert (tree[branch][~found] == 0).all()


def test_collision_time_is_the_best_measured_event_time(batch, frame):
    errors, times = [], []
    for stage in ("itof_event", "otof_event"):
        t = batch[stage]
        errors.append(np.where(t["n_tracks"] > 0, t["time_error"], np.inf))
        times.append(t["time"])
    best = np.argmin(errors, axis=0)
    measured = np.isfinite(np.min(errors, axis=0))
    want = np.where(measured, np.choose(best, times), 0).astype(np.float32)
    np.testing.assert_array_equal(frame["O2collision_001"]["fCollisionTime"], want)
    resolution = frame["O2collision_001"]["fCollisionTimeRes"]
    assert (resolution[~measured] == -999).all()
    assert ((resolution[measured] > 0) & (resolution[measured] < 0.2)).all()
    event = frame["O2track"]["fIndexCollisions"]
    without = ~((batch["itof"]["path_length"] > 0) | (batch["otof"]["path_length"] > 0))
    np.testing.assert_array_equal(frame["O2trackextra_002"]["fTrackTime"][without], want[event][without])


def test_o2_finds_the_time_of_flight(tmp_path):
    """The farther of two hits; O2 adds the time expected for a pion to the time of the track to get the signal."""
    batch, rng = make_batch(12), np.random.default_rng(1)
    for name, radius in (("otof", 85.0), ("itof", 19.0)):
        table, seen = batch[name], rng.random(batch[name].n_rows) < 0.5
        hit = {
            "has_signal": seen,
            "path_length": np.where(seen, radius * rng.uniform(1, 1.5, len(seen)), np.nan),
            "time": np.where(seen, rng.uniform(1, 9, len(seen)), np.nan),
            "time_error": np.where(seen, 0.02, np.nan),
        }
        batch.tables[name] = Table(name, table.offsets, {**dict(table), **hit})
    extra, track = load(write(batch, tmp_path / "o.aod.root"))["DF_1"]["O2trackextra_002"], batch["track"]
    far = batch["otof"]["has_signal"]
    near = batch["itof"]["has_signal"] & ~far
    assert min(far.sum(), near.sum(), (~far & ~near).sum()) > 3
    momentum = np.sqrt(1 + track["tgl"] ** 2) / abs(track["q_over_pt"])
    for name, rows in (("otof", far), ("itof", near)):
        table = batch[name]
        np.testing.assert_allclose(extra["fLength"][rows], table["path_length"][rows], rtol=1e-6)
        np.testing.assert_allclose(extra["fTOFExpMom"][rows], momentum[rows], rtol=1e-6)
        expected = time_of_flight(table["path_length"], momentum, 0.13957039)[rows]
        np.testing.assert_allclose(extra["fTrackTime"][rows] + expected, table["time"][rows], rtol=1e-5, atol=1e-5)
        assert set(extra["fTrackTimeRes"][rows]) == {np.float32(0.02)}
    assert (extra["fLength"][~(far | near)] == -999).all()


def test_generator_tables_have_rows_where_the_input_has_them(batch, frame):
    event = batch["event"]
    given = np.flatnonzero(np.isfinite(event["cross_section"]))
    assert 0 < len(given) < 12
    np.testing.assert_array_equal(frame["O2hepmcxsection"]["fIndexMcCollisions"], given)
    want = event["cross_section"][given].astype(np.float32)
    np.testing.assert_array_equal(frame["O2hepmcxsection"]["fXsectGen"], want)
    given = np.flatnonzero(np.isfinite(event["pdf_x1"]))
    np.testing.assert_array_equal(frame["O2hepmcpdfinfo"]["fPdf2"], event["pdf_xf2"][given].astype(np.float32))


def test_several_directories(batch, tmp_path, monkeypatch):
    monkeypatch.setitem(output.CHUNK_ROWS, "event", 5)
    path = write(batch, tmp_path / "o.aod.root")
    frames = load(path)
    assert sorted(frames) == ["DF_1", "DF_2", "DF_3"]
    assert [list(frames[f]["O2origin"]["fDataframeID"]) for f in sorted(frames)] == [[1], [2], [3]]
    assert len({frozenset(f) for f in frames.values()}) == 1  # every tree in every directory
    crossings = np.concatenate([frames[f]["O2bc_001"]["fGlobalBC"] for f in sorted(frames)])
    assert list(crossings) == list(range(12))
    for f in frames.values():
        assert f["O2track"]["fIndexCollisions"].max(initial=0) < 5
    got, _ = read_batch(path)
    concat_equal(got, batch)


def test_a_subset_of_tables(batch, tmp_path):
    setup = OutputSetup(tables=("track", "otof"), stage_kinds=SETUP.stage_kinds, weight_names=SETUP.weight_names)
    path = write(batch, tmp_path / "o.aod.root", setup)
    frame = load(path)["DF_1"]
    assert "O2mcparticle_001" not in frame
    assert (frame["O2mctracklabel"]["fIndexMcParticles"] == -1).all()
    # vertex and inner TOF still make the collision
    assert frame["O2collision_001"]["fNumContrib"].any()
    got, _ = read_batch(path)
    assert set(got.tables) == {"event", "track", "otof", "otof_event"}
    np.testing.assert_array_equal(got["track"]["particle_index"], batch["track"]["particle_index"])


def test_generator_events_alone(batch, tmp_path):
    setup = OutputSetup(tables=("particle",), weight_names=SETUP.weight_names)
    path = write(batch, tmp_path / "o.aod.root", setup)
    assert "O2track" not in load(path)["DF_1"]
    got, _ = read_batch(path)
    np.testing.assert_array_equal(got["particle"]["pdg"], batch["particle"]["pdg"])


def test_events_without_particles(tmp_path):
    batch = make_batch(6).slice_events(0, 1)
    assert batch["particle"].n_rows == 0
    got, _ = read_batch(write(batch, tmp_path / "o.aod.root"))
    concat_equal(got, batch)
