"""Chains of inputs: window, batches, policy, weights of a run, ROOT trees."""

import numpy as np
import pytest
import uproot
from hepmc_text import DATA, PP, event2, event3, listing2, listing3, read, write

from flashdet.errors import CardError, InputError
from flashdet.event import concat
from flashdet.io.hepmc import open_events
from flashdet.testing import assert_same_tables

TREE = DATA / "pp14_tree.root"


def numbers(*inputs, **options):
    with open_events(inputs, **options) as reader:
        return [n for batch in reader.batches() for n in batch["event"]["number"].tolist()]


ALL = [64, 181, 117, 151, 126, 6]


@pytest.mark.parametrize("path", [PP, TREE], ids=["text", "tree"])
@pytest.mark.parametrize(("first", "events"), [(0, None), (0, 0), (2, None), (1, 3), (5, 5), (6, 1), (99, None)])
def test_window(path, first, events):
    stop = None if events is None else first + events
    assert numbers(path, first=first, events=events) == ALL[first:stop]


def test_window_counts_over_all_inputs_and_bad_events(tmp_path):
    bad = write(tmp_path / "bad", listing3(event3(1), event3(2).replace("0.135", "x"), event3(3)))
    assert numbers(bad, TREE, PP, first=1, events=4, on_bad_event="skip") == [3, *ALL[:2]]
    assert numbers(PP, TREE, first=4, events=4) == ALL[4:] + ALL[:2]
    # what is outside of the window is not looked at
    assert numbers(bad, first=2, events=1) == [3]


def test_window_and_inputs_behind_it_are_not_opened(tmp_path):
    text = write(tmp_path / "not-hepmc", "hello")
    assert numbers(PP, text, events=6) == ALL
    with pytest.raises(InputError, match="no HepMC text"):
        numbers(PP, text, events=7)


@pytest.mark.parametrize("target", [1, 30, 100, 10**9])
def test_batches_change_nothing(target):
    with open_events([PP, TREE], target_particles=target) as reader:
        batches = list(reader.batches())
    sizes = [batch["particle"].n_rows for batch in batches]
    # each batch reaches the target with its last event and not before
    assert all(size >= target for size in sizes[:-1])
    assert all(b.n_events == 1 or b["particle"].offsets[-2] < target for b in batches)
    assert_same_tables(concat(batches), read(PP, TREE))
    assert reader.n_read == 12


def test_batches_have_at_most_a_thousand_events(tmp_path):
    path = write(tmp_path / "e", listing3(*(event3(i, body="", e="0 0") for i in range(1001))))
    with open_events([path]) as reader:
        assert [batch.n_events for batch in reader.batches()] == [1000, 1]


def test_weights_must_be_those_of_the_run(tmp_path):
    a = write(tmp_path / "a", listing3(event3(1, head="U GEV MM\nW 1 2\n"), head="W nominal\\|up\n"))
    b = write(tmp_path / "b", listing3(event3(2, head="U GEV MM\nW 1 2\n"), head="W nominal\\|down\n"))
    with pytest.raises(InputError, match="the weights nominal, down are not those of the first event, nominal, up"):
        numbers(a, b)
    assert numbers(a, b, a, on_bad_event="skip") == [1, 1]


def test_name_of_a_single_weight_does_not_matter(tmp_path):
    a = write(tmp_path / "a", listing3(event3(1), head="W Weight\n"))
    with open_events([a, PP, "gun:n=1"]) as reader:
        batches = list(reader.batches())
    assert {batch.weight_names for batch in batches} == {("Weight",)}
    assert reader.counts == {"warning: events whose single weight has another name": 7}


def test_formats_chain(tmp_path):
    a = write(tmp_path / "a", listing3(event3(1)))
    b = write(tmp_path / "b", listing2(event2(2, head='N 1 "Default"\nU GEV MM\n')))
    batch = read(a, b, TREE, "gun:n=2,particles=3")
    assert batch["event"]["number"].tolist() == [1, 2, *ALL, 0, 1]
    p = batch["particle"]
    np.testing.assert_array_equal(p["px"][:6], p["px"][6:12])


@pytest.mark.parametrize("options", [{"first": -1}, {"events": -1}, {"target_particles": 0}, {"on_bad_event": "stop"}])
def test_options_out_of_range(options):
    with pytest.raises(CardError):
        open_events([PP], **options)


def test_files_are_closed(tmp_path):
    """Also when nobody reads to the end: an open file would be a ResourceWarning, which is an error here."""
    reader = open_events([PP], target_particles=1)
    next(reader.batches())
    reader.close()
    reader.close()


# --- ROOT ------------------------------------------------------------------------------------------------------------
def test_tree_of_another_kind(tmp_path):
    path = tmp_path / "other.root"
    with uproot.recreate(path) as file:
        file.mktree("events", {"x": "int32"}).extend({"x": np.arange(3, dtype=np.int32)})
    with pytest.raises(InputError, match="no tree of HepMC3 events; it holds objects of TTree"):
        numbers(path)


@pytest.mark.parametrize("size", [300, 3000, 12000])
def test_cut_tree(tmp_path, size):
    path = write(tmp_path / "cut.root", TREE.read_bytes()[:size])
    with pytest.raises(InputError, match="ROOT file"):
        numbers(path)


def test_one_bad_entry_is_left_out_alone(monkeypatch):
    from flashdet.io.hepmc import tree

    read_entries = tree._read

    def fail(branches, first, last):
        if first <= 2 < last:
            return ValueError("bad basket")
        return read_entries(branches, first, last)

    monkeypatch.setattr(tree, "_read", fail)
    with pytest.raises(InputError, match="entry 2: the entry cannot be read: bad basket"):
        numbers(TREE)
    with open_events([TREE], on_bad_event="skip") as reader:
        (batch,) = reader.batches()
    assert batch["event"]["number"].tolist() == [64, 181, 151, 126, 6]
    assert [s.where for s in reader.skipped] == [f"{TREE}: entry 2"]


@pytest.mark.parametrize("place", range(600, 19000, 1700))
def test_flipped_bytes_in_a_tree(tmp_path, place):
    """Whatever breaks: an error that names the file, or all six events."""
    raw = bytearray(TREE.read_bytes())
    raw[place : place + 4] = bytes(b ^ 0xFF for b in raw[place : place + 4])
    path = write(tmp_path / "bad.root", bytes(raw))
    try:
        found = numbers(path)
    except InputError as error:
        found = str(error)
    assert found == ALL or str(path) in found


def test_parts_of_tree_events_are_checked():
    from flashdet.io.hepmc.record import AbsurdError
    from flashdet.io.hepmc.tree import _links

    good = np.array([1, -1]), np.array([-1, 2])
    assert _links(*good, 2, 1).tolist() == [[1, -1], [-1, 2]]
    for first, second in (([1, 2], [-1, 3]), ([3, -1], [-1, 2]), ([1, -2], [-1, 2]), ([1, 1], [-1, -1]), ([0], [-1])):
        with pytest.raises(AbsurdError):
            _links(np.array(first), np.array(second), 2, 1)
    with pytest.raises(AbsurdError, match="2 first and 1 second"):
        _links(np.array([1, 2]), np.array([-1]), 2, 1)


def test_mass_of_tree_particles_without_one():
    from flashdet.io.hepmc.tree import _invariant_mass

    one = np.array([3.0, 1.0])
    zero = np.zeros(2)
    mass = _invariant_mass({"px": one, "py": zero, "pz": zero, "energy": np.array([5.0, 0.0])})
    assert mass.tolist() == [4.0, -1.0]


def test_repeated_events_keep_their_keys_when_the_first_ones_are_passed_over(tmp_path):
    """A job that begins in the middle gives its events the numbers that the whole run gives them."""
    path = write(tmp_path / "e", listing3(event3(1), event3(2), event3(1), event3(2), event3(1)))
    whole = read(path)["event"]["key"]
    assert len(set(whole.tolist())) == 5
    for first in range(1, 5):
        assert read(path, first=first)["event"]["key"].tolist() == whole[first:].tolist()


def test_a_window_behind_the_end_is_told(tmp_path):
    path = write(tmp_path / "e", listing3(event3(1)))
    with open_events([str(path)], first=3) as reader:
        assert list(reader.batches()) == []
        assert reader.counts == {"warning: inputs end before the first event wanted": 1}


@pytest.mark.parametrize("inputs", [(TREE, TREE), (TREE, PP)])
def test_keys_do_not_depend_on_trees_passed_over(inputs):
    """Events of a tree in front of the window count for repeats, as those of text do."""
    whole = read(*inputs)["event"]["key"]
    for first in (1, 6, 8):
        assert read(*inputs, first=first)["event"]["key"].tolist() == whole[first:].tolist()
    assert len(set(whole.tolist())) == len(whole)


def test_users_are_told_to_let_generators_write_hepmc():
    with pytest.raises(InputError, match="let them write HepMC to a file, or to standard output"):
        open_events(["pythia:my.cmnd"])
