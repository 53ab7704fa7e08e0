"""Mutated real files: an error or counted skips, never a crash, a hang or a silent loss."""

import re
from pathlib import Path

import numpy as np
import pyhepmc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flashdet.errors import InputError
from flashdet.event import concat
from flashdet.io.hepmc import open_events
from flashdet.io.hepmc.parser import Parser
from flashdet.testing import assert_same_tables

PP = Path(__file__).parents[1] / "data" / "pp14.hepmc3"
#: The large last event is left out: five events remain.
TEXT3 = PP.read_bytes()[: PP.read_bytes().index(b"E 6 ")] + b"HepMC::Asciiv3-END_EVENT_LISTING\n\n"
N = 5
WORDS = [
    b"0",
    b"-1",
    b"1",
    b"nan",
    b"inf",
    b"1e999",
    b"99999999999",
    b"-5",
    b"3",
    b"E",
    b"P",
    b"V",
    b"",
    b"\xff",
    b"[]",
]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mutations")
    three, two = folder / "three", folder / "two"
    three.write_bytes(TEXT3)
    with pyhepmc.open(three) as source, pyhepmc.open(two, "w", format="hepmc2") as target:
        for event in source:
            target.write(event)
    return TEXT3, two.read_bytes(), folder / "mutant"


part = st.floats(0, 1, exclude_max=True)
change = st.one_of(
    st.tuples(st.just("byte"), part, st.integers(0, 255)),
    st.tuples(st.just("delete"), part, st.integers(1, 60)),
    st.tuples(st.just("insert"), part, st.sampled_from(WORDS)),
    st.tuples(st.just("word"), part, st.sampled_from(WORDS)),
    st.tuples(st.just("drop line"), part, st.just(0)),
    st.tuples(st.just("copy line"), part, part),
    st.tuples(st.just("swap lines"), part, part),
    st.tuples(st.just("cut"), part, st.just(0)),
)


def mutate(text: bytes, changes) -> bytes:
    for kind, where, what in changes:
        at = int(where * len(text))
        lines = text.split(b"\n")
        i = int(where * len(lines))
        if kind == "byte":
            text = text[:at] + bytes([what]) + text[at + 1 :]
        elif kind == "delete":
            text = text[:at] + text[at + what :]
        elif kind == "insert":
            text = text[:at] + what + text[at:]
        elif kind == "cut":
            text = text[:at]
        else:
            if kind == "word":
                words = re.split(rb"( )", lines[i])
                words[2 * int(where * 7919 % ((len(words) + 1) // 2))] = what
                lines[i] = b"".join(words)
            elif kind == "drop line":
                del lines[i]
            else:
                j = int(what * len(lines))
                if kind == "copy line":
                    lines.insert(j, lines[i])
                else:
                    lines[i], lines[j] = lines[j], lines[i]
            text = b"\n".join(lines)
    return text


def check_against_the_careful_way(path):
    """What the quick way takes, the careful one (every line checked, then pyhepmc) takes with the same columns.

    It is stricter about one thing that does no harm: parents written behind their particle.
    """
    fast, careful = read(path), None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Parser, "parse", lambda *_: (None, 0))
        try:
            careful = read(path)
        except InputError as error:
            message = str(error)
    if careful is not None:
        assert_same_tables(fast, careful)
    else:
        assert "parents come before them" in message


def read(path):
    with open_events([path]) as reader:
        return concat(list(reader.batches()))


def deliver(path, mode):
    with open_events([path], on_bad_event=mode) as reader:
        n = 0
        for batch in reader.batches():
            n += batch.n_events
            for name in ("px", "energy", "mass", "vx", "vt"):
                assert np.isfinite(batch["particle"][name]).all()
    return n, reader


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(is_old=st.booleans(), changes=st.lists(change, min_size=1, max_size=4))
def test_mutated_files(texts, is_old, changes):
    path = texts[2]
    path.write_bytes(mutate(texts[is_old], changes))
    try:
        n_strict, reader = deliver(path, "fail")
    except InputError as error:
        n_strict, where = None, error.where
    else:
        # nothing was complained about: all events are there, or the file says itself that it has fewer
        if n_strict:
            check_against_the_careful_way(path)
        assert n_strict >= N or sum(line.startswith(b"E ") for line in path.read_bytes().splitlines()) == n_strict
    try:
        n, reader = deliver(path, "skip")
    except InputError:
        return  # not HepMC any more
    if n_strict is None:
        assert str(path) in where
        assert reader.skipped or reader.counts
    else:
        assert n == n_strict
        assert not reader.skipped
