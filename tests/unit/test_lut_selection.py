"""Selections of tables: what they say of themselves, and when several make a whole."""

import json
from dataclasses import replace

import numpy as np
import pytest
from lut_tables import smooth_lut

from flashdet.errors import LutError
from flashdet.lut.pack import lut_rows, pack_variants
from flashdet.lut.selection import EVERYWHERE, Selection, sectors, split


def tables(*selections):
    lut = smooth_lut()
    return [replace(lut, meta=lut.meta | s.meta) for s in selections]


@pytest.mark.parametrize(
    "selection", [Selection(), Selection("negative"), Selection("both", (-0.5, 2.0)), Selection("positive", (3.0, 9.0))]
)
def test_tables_say_what_they_are_for(selection):
    (lut,) = tables(selection)
    assert Selection.of(replace(lut, meta=json.loads(json.dumps(lut.meta)))) == selection
    lut.validate()


@pytest.mark.parametrize(
    "meta",
    [{"charge": "minus"}, {"charge": 1}, {"charge": ["positive"]}, {"phi": "all"}, {"phi": [1]}, {"phi": [2.0, 1.0]},
     {"phi": [-4.0, 1.0]}, {"phi": [0.0, 7.0]}, {"phi": [True, 2]}, {"phi": 3}, {"phi": [float("nan"), 1.0]}],
)  # fmt: skip
def test_other_forms_are_refused(meta):
    lut = smooth_lut()
    wrong = replace(lut, meta=lut.meta | meta)
    with pytest.raises(LutError, match=next(iter(meta))):
        wrong.validate()
    with pytest.raises(LutError):
        sectors([wrong])


@pytest.mark.parametrize(("signs", "n"), [(False, 1), (True, 1), (False, 4), (True, 7)])
def test_a_split_is_a_whole(signs, n):
    parts = split(signs, n)
    assert len({part.label for part in parts}) == len(parts) == n * (1 + signs)
    edges, place = sectors(tables(*parts))
    assert len(edges) == n
    assert sorted(set(place.ravel().tolist())) == list(range(len(parts)))
    rng = np.random.default_rng(1)
    phi, charge = rng.uniform(-np.pi, np.pi, 1000), rng.choice([-2, -1, 1], 1000)
    chosen = np.stack([part.selects(charge, phi) for part in parts])
    assert (chosen.sum(axis=0) == 1).all()
    sector = np.searchsorted(edges, phi, side="right") - 1
    assert (place[(charge > 0).astype(int), sector] == chosen.argmax(axis=0)).all()


def test_a_sector_can_be_split():
    parts = split(False, 3, Selection("negative", (2.0, 5.0)))
    assert [part.charge for part in parts] == ["negative"] * 3
    assert np.array([part.phi for part in parts]) == pytest.approx(
        np.array([[2.0, 3.0], [3.0, 4.0], [4.0 - 2 * np.pi, 5.0 - 2 * np.pi]])
    )
    assert split(False, 1, Selection("positive")) == (Selection("positive"),)
    with pytest.raises(LutError, match="cannot be split"):
        split(True, 1, Selection("positive"))


def test_names_of_files():
    assert Selection().label == ""
    labels = [part.label for part in split(True, 2)]
    assert labels == [
        "_positive_phi180to360", "_positive_phi0to180", "_negative_phi180to360", "_negative_phi0to180",
    ]  # fmt: skip
    assert Selection("negative").label == "_negative"


def test_gaps_and_overlaps_are_named():
    parts = tables(Selection("positive"), Selection("negative", (-1.0, 2.0)), Selection("negative", (1.5, 5.0)))
    with pytest.raises(LutError) as caught:
        sectors(parts, ("a", "b", "c"))
    text = str(caught.value)
    assert "no table for negative particles at phi -1.283 to -1 rad; several" in text
    assert "; there are a (positive particles), b" in text
    assert (
        "several tables for negative particles at phi 1.5 to 2 rad: b (negative particles at phi -1 to 2 rad), c"
        in text
    )
    assert "positive particles at phi -" not in text.replace("negative", "")
    assert "luts: {pion: [A, B]}" in text


def test_edges_written_with_four_digits_are_enough():
    edges, place = sectors(tables(Selection("both", (-3.1415, 0.0)), Selection("both", (0.0, 3.1416))))
    assert len(edges) == 2
    assert place.tolist() == [[0, 1], [0, 1]]
    with pytest.raises(LutError, match="no table"):
        sectors(tables(Selection("both", (-3.14, 0.0)), Selection("both", (0.0, 3.14))))


def test_rows_of_kernels():
    a, b, c = tables(Selection("positive"), Selection("negative", (-1.0, 2.0)), Selection("negative", (2.0, 5.2832)))
    whole = smooth_lut()
    groups = [(), (a, b, c), (whole,), (b, a, c)]
    rows, packed = lut_rows(groups), pack_variants(groups)
    assert [rows[i] for i in (0, 1, 2, 3)] == [None, a, whole, b]
    for i, group in ((1, (a, b, c)), (3, (a, b, c))):
        here = packed.tables[i]
        assert packed.edges[i] == pytest.approx([-np.pi, -1.0, 2.0])
        assert [rows[k] for k in here[1]] == [group[0]] * 3
        assert [rows[k] for k in here[0]] == [group[2], group[1], group[2]]
    assert packed.tables[2].tolist() == [[2, 2, 2], [2, 2, 2]]
    assert pack_variants([(), (whole,)]).tables.size == 0
    assert Selection().phi == EVERYWHERE
