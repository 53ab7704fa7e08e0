"""Real ROOT and coffea open our files (optional: skipped where they are not installed)."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np
import pytest
from writer_events import SETUP, make_batch

from flashdet.io.aod import AodWriter
from flashdet.io.nano import NanoWriter
from flashdet.io.rootfile import open_for_reading


@pytest.fixture(scope="module")
def batch():
    return make_batch(12)


def write(writer, batch, path):
    with writer(path, setup=SETUP) as w:
        w.write(batch)
    return path


@pytest.fixture
def root():
    if importlib.util.find_spec("ROOT") is None:
        pytest.skip("needs ROOT: pip install --pre 'flashdet[root]'")
    with warnings.catch_warnings():
        # the wheel of ROOT says that it is an early version
        warnings.simplefilter("ignore")
        import ROOT
    return ROOT


@pytest.mark.root
def test_root_reads_every_leaf_of_every_ao2d_tree(root, batch, tmp_path):
    import awkward as ak

    path = write(AodWriter, batch, tmp_path / "o.aod.root")
    file = root.TFile.Open(str(path))
    checked = 0
    with open_for_reading(path) as ours:
        names = [k for k in ours.keys(cycle=False) if k.startswith("DF_") and "/" in k]
        for name in names:
            tree = file.Get(name)
            assert tree.GetEntries() == ours[name].num_entries
            values = {leaf.GetName(): [] for leaf in tree.GetListOfLeaves()}
            for entry in range(tree.GetEntries()):
                assert tree.GetEntry(entry) > 0
                for leaf in tree.GetListOfLeaves():
                    values[leaf.GetName()] += [leaf.GetValue(i) for i in range(leaf.GetLen())]
            for branch, found in values.items():
                want = ak.to_numpy(ak.flatten(ours[name][branch].array(), axis=None)).astype(float)
                np.testing.assert_array_equal(found, want, err_msg=f"{name}/{branch}")
                checked += 1
    file.Close()
    assert len(names) == 25
    assert checked > 300


@pytest.mark.root
def test_rdataframe_opens_nano(root, batch, tmp_path):
    path = write(NanoWriter, batch, tmp_path / "o.nano.root")
    frame = root.RDataFrame("Events", str(path))
    track = batch["track"]
    pt = track["pt"].astype(np.float32).astype(float)
    assert frame.Count().GetValue() == 12
    assert frame.Sum("Track_pt").GetValue() == pytest.approx(pt.sum())
    positive = frame.Define("x", "Sum(Track_pt[Track_charge > 0])")
    assert positive.Sum("x").GetValue() == pytest.approx(pt[track["charge"] > 0].sum(), rel=1e-5)
    hits = frame.Define("n", "Sum(Otof_has_signal)").Sum("n").GetValue()
    assert hits == np.count_nonzero(batch["otof"]["has_signal"])
    assert frame.Sum("genWeight").GetValue() == pytest.approx(batch["event"]["weight"].sum(), rel=1e-6)


@pytest.mark.coffea
def test_nanoevents_opens_nano(batch, tmp_path):
    pytest.importorskip("coffea", reason="needs coffea: pip install 'flashdet[coffea]'")
    import awkward as ak
    import uproot
    from coffea.nanoevents import NanoAODSchema, NanoEventsFactory

    class Schema(NanoAODSchema):
        warn_missing_crossrefs = False

    path = write(NanoWriter, batch, tmp_path / "o.nano.root")
    # its default opens a socket
    options = {"handler": uproot.MultithreadedFileSource}
    events = NanoEventsFactory.from_root(
        {str(path): "Events"}, schemaclass=Schema, mode="eager", uproot_options=options
    ).events()
    collections = {"Track", "Particle", "Vertex", "Otof", "OtofEvent", "MuonSignal", "EmcalCluster", "Event"}
    assert collections <= set(events.fields)

    def flat(array):
        return ak.to_numpy(ak.flatten(array, axis=None))

    np.testing.assert_array_equal(flat(events.Track.pt), batch["track"]["pt"].astype(np.float32))
    np.testing.assert_array_equal(flat(events.Otof.n_sigma_pion), batch["otof"]["n_sigma_pion"].astype(np.float32))
    np.testing.assert_array_equal(flat(events.MuonSignal.has_signal), batch["muon"]["has_signal"])
    np.testing.assert_array_equal(events.Event.impact_parameter, batch["event"]["impact_parameter"].astype(np.float32))
    np.testing.assert_array_equal(events.OtofEvent.time, batch["otof_event"]["time"].astype(np.float32))
    assert ak.all(events.event == batch["event"]["number"])
    assert ak.all(ak.num(events.Track) == ak.num(events.Rich))
