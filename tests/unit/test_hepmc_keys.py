"""Event keys depend on number, content and repetition, on nothing else."""

import gzip

import numpy as np
import pyhepmc
from hepmc_text import BODY3, END3, PP, event3, listing3, read, write

from flashdet.io.hepmc import open_events
from flashdet.io.hepmc.keys import KeyMaker, fingerprints


def keys(*inputs, **options):
    return read(*inputs, **options)["event"]["key"].tolist()


def names(number, pdg, momentum, status=None, offsets=None):
    pdg = np.asarray(pdg, np.int32)
    status = np.ones(len(pdg), np.int32) if status is None else np.asarray(status, np.int32)
    momentum = tuple(np.ascontiguousarray(p) for p in np.asarray(momentum, float).T.reshape(4, -1))
    offsets = np.array([0, len(pdg)] if offsets is None else offsets)
    return fingerprints(np.atleast_1d(number).astype(np.int64), offsets, pdg, status, momentum)


def test_key_is_independent_of_the_file(tmp_path):
    expected = keys(PP)
    assert len(set(expected)) == 6
    raw = PP.read_bytes()
    assert keys(write(tmp_path / "e.gz", gzip.compress(raw))) == expected
    header, half = raw[: raw.index(b"E 64")], raw.index(b"\nE 151 ") + 1
    first = write(tmp_path / "first", raw[:half] + END3.encode())
    second = write(tmp_path / "second", header + raw[half:])
    assert keys(first, second) == expected
    assert keys(second, first) == expected[3:] + expected[:3]
    assert keys(PP, first=2, events=3) == expected[2:5]
    assert keys(PP, target_particles=1) == expected


def test_known_keys():
    """The keys are part of the promise of reproducible results: a change needs a `physics` line in the change log."""
    assert keys(PP)[:2] == [KNOWN[0], KNOWN[1]]


KNOWN = (6135224868766567928, 3532434445463541044)


def test_key_is_independent_of_the_format(tmp_path):
    path = tmp_path / "e.hepmc2"
    with pyhepmc.open(PP) as source, pyhepmc.open(path, "w", format="hepmc2", precision=17) as target:
        for event in source:
            target.write(event)
    assert keys(path) == keys(PP)


def test_number_and_content_both_count(tmp_path):
    other = BODY3.replace("0.5 0.25 1 1.2", "0.5 0.25 1.0000000000000002 1.2")
    status = BODY3.replace("0.6 0 1", "0.6 0 2", 1)
    swapped = BODY3.replace("111", "x").replace("211", "111").replace("x", "211")
    events = [event3(7), event3(8), event3(7, body=other), event3(7, body=status), event3(7, body=swapped)]
    assert len(set(keys(write(tmp_path / "e", listing3(*events))))) == 5


def test_repeated_events_get_new_keys_and_are_counted(tmp_path):
    path = write(tmp_path / "e", listing3(event3(7), event3(7), event3(8), event3(7)))
    with open_events([path, path], target_particles=1) as reader:
        got = [batch["event"]["key"][0].item() for batch in reader.batches()]
    assert len(set(got)) == 8
    assert reader.counts == {"warning: repeated events": 6}
    assert got[0] == keys(write(tmp_path / "one", listing3(event3(7))))[0]  # the first of its kind has occurrence 0


def test_order_of_particles_does_not_matter_but_pairing_does():
    p = np.random.default_rng(1).normal(size=(5, 4))
    pdg = [211, -211, 321, 22, 2212]
    order = [3, 1, 0, 4, 2]
    assert names(1, pdg, p) == names(1, np.array(pdg)[order], p[order])
    assert names(1, pdg, p) != names(1, np.array(pdg)[order], p)
    assert names(1, [211, 211], [p[0], p[0]]) != names(1, [22, 22], [p[0], p[0]])  # no cancelling of equal particles
    assert names(1, [], np.zeros((0, 4))) != names(2, [], np.zeros((0, 4)))


def test_every_bit_changes_half_of_the_key():
    """Flip each bit of a momentum: on average 32 of 64 bits of the name change."""
    base = np.array([[0.3, -1.2, 5.0, 6.0]])
    reference = names(1, [211], base)[0]
    flips = []
    for component in range(4):
        for bit in range(64):
            changed = base.copy()
            changed.view(np.uint64)[0, component] ^= np.uint64(1 << bit)
            flips.append(int(names(1, [211], changed)[0] ^ reference).bit_count())
    # 256 binomial(64, 1/2) numbers: mean 32 +- 4/sqrt(256)
    assert abs(np.mean(flips) - 32) < 5 * 4 / 16
    assert min(flips) > 8


def test_names_of_many_guns_differ():
    """Numbers 0..9999 with the same particle: no two alike, bits balanced."""
    n = 10_000
    p = np.tile([[0.3, -1.2, 5.0, 6.0]], (n, 1))
    got = names(np.arange(n), np.full(n, 211), p, offsets=np.arange(n + 1))
    assert len(set(got.tolist())) == n
    ones = [(int((got >> np.uint64(bit) & np.uint64(1)).sum()) - n / 2) / np.sqrt(n / 4) for bit in range(64)]
    assert max(map(abs, ones)) < 5


def test_memory_of_repeats_is_per_run():
    maker = KeyMaker()
    name = np.array([5], np.uint64)
    assert [maker.keys(name)[0] for _ in range(3)] != [5, 5, 5]
    assert maker.n_repeated == 2
    assert KeyMaker().keys(name)[0] == 5
