"""Genealogy: relatives and physical primaries of hand-made records."""

import numpy as np
import pytest

from flashdet.event import EventBatch, Table, concat
from flashdet.testing import gun
from flashdet.truth import daughters, is_physical_primary, mothers


def record(*rows):
    """One event of (pdg, status, production vertex, end vertex)."""
    columns = np.array(rows, np.int32).reshape(-1, 4).T
    names = ("pdg", "status", "production_vertex", "end_vertex")
    batch = EventBatch()
    batch.add(Table.per_event("event", 1))
    values = {name: np.ascontiguousarray(c) for name, c in zip(names, columns, strict=True)}
    batch.add(Table("particle", np.array([0, len(rows)]), values))
    return batch


#: 0, 1: beams; 2-7 from the collision; each decay has a vertex of its own.
ROWS = (
    (2212, 4, -1, 0),
    (2212, 4, -1, 0),
    (3122, 2, 0, 1),  # 2 Lambda, decayed by the generator: primary
    (2212, 1, 1, -1),  # 3 its proton: not
    (-211, 1, 1, -1),  # 4 its pion: not
    (3212, 2, 0, 2),  # 5 Sigma0: lives too briefly
    (3122, 1, 2, -1),  # 6 its Lambda: primary
    (22, 1, 2, -1),  # 7 its photon: primary
    (421, 2, 0, 3),  # 8 D0
    (-321, 1, 3, -1),  # 9 its kaon: primary
    (310, 2, 3, 4),  # 10 its K0S: primary
    (211, 1, 4, -1),  # 11 pion of that K0S: not
    (-211, 2, 4, 5),  # 12 pion that decays too: not
    (13, 1, 5, -1),  # 13 its muon: not, two long-lived ancestors
    (321, 2, 0, 6),  # 14 kaon, followed by a copy: not counted
    (321, 1, 6, -1),  # 15 the copy: primary
    (1000020030, 1, 0, -1),  # 16 nucleus: primary
    (21, 62, 0, -1),  # 17 parton
    (111, 2, 0, 7),  # 18 pi0
    (22, 1, 7, -1),  # 19 its photon: primary
    (223, 2, 0, 8),  # 20 omega
    (211, 1, 8, -1),  # 21 its pion: primary
)
PRIMARIES = [2, 6, 7, 9, 10, 15, 16, 19, 21]


def test_physical_primaries():
    assert np.flatnonzero(is_physical_primary(record(*ROWS))).tolist() == PRIMARIES


def test_products_of_hadronic_collisions_are_primaries():
    # a rescattering vertex with two decayed-looking incoming hadrons is no decay
    batch = record((211, 2, 0, 1), (2212, 2, 0, 1), (321, 1, 1, -1), (3122, 1, 1, -1))
    assert is_physical_primary(batch).tolist() == [True, True, True, True]


def test_a_record_with_a_loop_ends():
    batch = record((421, 2, 0, 1), (413, 2, 1, 0), (211, 1, 1, -1))
    assert is_physical_primary(batch).tolist() == [False, False, True]


def test_mothers_and_daughters():
    batch = record(*ROWS)
    for function, expected in (
        (mothers, {0: [], 2: [0, 1], 3: [2], 13: [12], 15: [14], 20: [0, 1]}),
        (daughters, {0: [2, 5, 8, 14, 16, 17, 18, 20], 2: [3, 4], 3: [], 12: [13], 10: [11, 12]}),
    ):
        offsets, index = function(batch)
        assert len(offsets) == len(ROWS) + 1
        assert offsets[-1] == len(index)
        for row, wanted in expected.items():
            assert index[offsets[row] : offsets[row + 1]].tolist() == wanted


def test_relatives_stay_in_their_event():
    one, two = record(*ROWS), record((111, 2, 0, 1), (22, 1, 1, -1), (22, 1, 1, -1))
    both = concat([one, two, one])
    offsets, index = daughters(both)
    n = len(ROWS)
    assert index[offsets[n] : offsets[n + 1]].tolist() == [1, 2]
    _, index_one = daughters(one)
    np.testing.assert_array_equal(index[offsets[n + 3] :], index_one)
    np.testing.assert_array_equal(is_physical_primary(both)[n + 3 :], is_physical_primary(one))
    # every link is seen from both ends
    up, down = mothers(both), daughters(both)
    assert len(up[1]) == len(down[1])


@pytest.mark.parametrize("batch", [record(), gun(n_events=2, particles=0)])
def test_empty_records(batch):
    assert is_physical_primary(batch).size == 0
    assert mothers(batch)[0].tolist() == [0]
