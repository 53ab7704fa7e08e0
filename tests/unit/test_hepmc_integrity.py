"""Damage inside and between events: an error that says where and what, or a counted skip; never a silent loss."""

import re

import pytest
from hepmc_text import (
    BODY2,
    END3,
    PP,
    START3,
    VERSION,
    event2,
    event3,
    listing2,
    listing3,
    write,
)

from flashdet.errors import InputError
from flashdet.io.hepmc import open_events


def deliver(path, mode):
    """Event numbers that come out, and the reader."""
    with open_events([path], on_bad_event=mode) as reader:
        numbers = [n for batch in reader.batches() for n in batch["event"]["number"].tolist()]
    return numbers, reader


def bad3(old: str, new: str) -> str:
    """Three events, the second one changed."""
    event = event3(8)
    assert old in event
    return listing3(event3(7), event.replace(old, new, 1), event3(9))


def bad2(old: str, new: str) -> str:
    event = event2(8)
    assert old in event
    return listing2(event2(7), event.replace(old, new, 1), event2(9))


DEAD_END = BODY2.replace("0 0 0 2 1 501 2 502", "0 0 -3 2 1 501 2 502") + "V -3 0 0 0 0 0 0 0 1 0.5\n"
P3 = "P 3 -1 111 0.5 0.25 1 1.2 0.135 2"
DAMAGE = {
    "letter in a number": (bad3("0.135", "0.1x5"), r"a P line is 'P id parent pdg"),
    "comma for a dot": (bad3("0.135", "0,135"), "a P line is"),
    "hexadecimal": (bad3("0.135", "0x1p3"), "a P line is"),
    "field missing": (bad3(P3, P3[:-2]), "a P line is"),
    "field too many": (bad3(P3, P3 + " 5"), "a P line is"),
    "two blanks": (bad3("0.5 0.25 1 1.2", "0.5  0.25 1 1.2"), "a P line is"),
    "tab": (bad3("0.5 0.25 1 1.2", "0.5\t0.25 1 1.2"), "a P line is"),
    "NaN momentum": (bad3("0.5 0.25 1 1.2", "0.5 nan 1 1.2"), "numbers must be finite"),
    "infinite momentum": (bad3("0.5 0.25 1 1.2", "0.5 -inf 1 1.2"), "numbers must be finite"),
    "NaN position": (bad3("@ 1 2 3 4", "@ 1 NaN 3 4"), "numbers must be finite"),
    "overflow": (bad3("0.5 0.25 1 1.2", "0.5 1e999 1 1.2"), "py .GeV. is inf; allowed: finite numbers up to 1e.15"),
    "absurd energy": (bad3("0.5 0.25 1 1.2", "0.5 0.25 1 1e20"), "energy .GeV. is 1e.20"),
    "absurd position": (bad3("@ 1 2 3 4", "@ 1e40 2 3 4"), "a vertex position .cm, ns. is 1.*e.39"),
    "NaN weight": (bad3("W 1.5", "W nan"), "'nan' is no finite number"),
    "code beyond 32 bits": (bad3("111", "99999999999"), "a P line is"),
    "broken vertex list": (bad3("[1,2]", "[1,2"), "a V line is"),
    "half a position": (bad3("@ 1 2 3 4", "@ 1 2 3"), "a V line is"),
    "unknown line": (bad3("P 4 -1", "Q 4 -1"), "lines of an event begin with"),
    "rubbish": (bad3("P 4 -1", "\x00\xff 4 -1"), "lines of an event begin with"),
    "particle lost": (bad3(P3 + "\n", ""), "particles are numbered"),
    "last particle lost": (bad3("P 6 3 22 0.25 0.125 0.5 0.6 0 1\n", ""), "promises 6 particles, 5 follow"),
    "too many particles": (bad3("E 8 2 6", "E 8 2 5"), "particles are numbered"),
    "vertex lost": (bad3("E 8 2 6", "E 8 3 6"), "promises 3 vertices, 2 follow"),
    "negative promise": (bad3("E 8 2 6", "E 8 2 -6"), "particles are numbered"),
    "huge promise": (bad3("E 8 2 6", "E 8 2 2000000000"), "promises 2000000000 particles, 6 follow"),
    "vertex out of range": (bad3("V -1", "V -9"), "not numbered within -1 to -2"),
    "unknown production vertex": (bad3("P 4 -1", "P 4 -2"), "come from vertices that are not in the event: -2"),
    "unknown incoming particle": (bad3("[1,2]", "[1,77]"), "incoming particles outside of 1 to 6"),
    "particle ends twice": (bad3("[1,2]", "[1,3]"), "ends in two vertices"),
    "mother comes later": (bad3("P 5 3", "P 5 6"), "parents come before them"),
    "second units": (bad3("U GEV MM\n", "U GEV MM\nU GEV MM\n"), "a second U line"),
    "unknown units": (bad3("U GEV MM", "U TEV MM"), "allowed: GEV or MEV, MM or CM"),
    "weights and names differ": (bad3("W 1.5", "W 1.5 2.5"), "2 weights but 1 weight names"),
    "attribute without value": (bad3("W 1.5", "W 1.5\nA 0 cycles"), "an A line is"),
    "cut heavy ion": (bad3("W 1.5", "W 1.5\nA 0 GenHeavyIon v0 94 32"), "only 3 fields"),
    "heavy ion of the future": (bad3("W 1.5", "W 1.5\nA 0 GenHeavyIon v7 94 32"), "known: v0, v1"),
    "E line damaged": (bad3("E 8 2 6", "E 8 two 6"), "'two' is no 32-bit integer"),
    "v2 letter": (bad2("0.135", "0.1x5"), "a P line is 'P barcode"),
    "v2 NaN": (bad2("0.5 0.25 1 1.2", "0.5 nan 1 1.2"), "numbers must be finite"),
    "v2 flow cut": (bad2(" 2 1 501 2 502", " 2 1 501 2"), "a P line is"),
    "v2 particle lost": (bad2("P 10004 211 -0.5 0.25 2 2.2 0.1396 1 0 0 0 2 1 501 2 502\n", ""), "4 particles, 3"),
    "v2 vertex lost": (bad2("V -2 0 0 0 0 0 0 2 0\n", ""), "promises 2 vertices, 1 follow"),
    "v2 too many vertices": (bad2(" 2 10001", " 1 10001"), "no more vertices than promised"),
    "v2 particle first": (bad2(BODY2, "P 1 211 0 0 1 1 0 1 0 0 0 0\n" + BODY2), "particles behind their vertex"),
    "v2 unknown end": (bad2("0 0 -2 0", "0 0 -5 0"), "end in vertices that are not in the event: -5"),
    "v2 same barcode": (bad2("V -2", "V -1"), "two vertices have the same barcode"),
    "v2 barcode 0": (bad2("V -2", "V 0"), "the barcode of a vertex is not 0"),
    "v2 weights promised": (bad2("0 1 1.5", "0 3 1.5"), "3 fields promised, 1 there"),
    "v2 names promised": (bad2('N 1 "0"', 'N 2 "0"'), "1 quoted names"),
    "v2 nothing comes in": (bad2("0 0 -2 0", "0 0 0 0"), "vertex -2 has no incoming particle: pyhepmc would drop"),
    "v2 nothing goes out": (listing2(event2(7), event2(8, body=DEAD_END, e="3 1 2 0 1 1.5"), event2(9)), "-3 has w"),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_an_error_with_its_place(tmp_path, what):
    text, message = DAMAGE[what]
    path = write(tmp_path / "e", text)
    with pytest.raises(InputError, match=message) as caught:
        deliver(path, "fail")
    error = caught.value
    place = re.fullmatch(re.escape(str(path)) + r": event 1 \(number 8\), line (\d+), byte (\d+)", error.where)
    assert place, error.where
    line, byte = int(place[1]), int(place[2])
    raw = path.read_bytes()
    assert raw[:byte].count(b"\n") == line - 1
    assert raw[byte - 1 : byte] == b"\n"
    assert "--on-bad-event skip" in error.hint


@pytest.mark.parametrize("what", DAMAGE)
def test_skip_leaves_out_that_event_alone(tmp_path, what):
    numbers, reader = deliver(write(tmp_path / "e", DAMAGE[what][0]), "skip")
    assert numbers == [7, 9]
    assert [s.n_events for s in reader.skipped] == [1]
    assert re.search(DAMAGE[what][1], reader.skipped[0].reason)
    assert reader.n_read == 2


def test_error_shows_the_line(tmp_path):
    with pytest.raises(InputError, match=r"'P 3 -1 111 0\.5 0\.25 1 1\.2 0\.1x5 2' is damaged"):
        deliver(write(tmp_path / "e", DAMAGE["letter in a number"][0]), "fail")


def test_lost_event_line_counts_both_events(tmp_path):
    text = listing3(event3(7), event3(8), event3(9), event3(10)).replace("E 8", "F 8")
    numbers, reader = deliver(write(tmp_path / "e", text), "skip")
    assert numbers == [9, 10]
    assert [s.n_events for s in reader.skipped] == [2]


@pytest.mark.parametrize("layout", [3, 2])
def test_missing_end_line(tmp_path, layout):
    """pyhepmc delivers such files without a word."""
    whole = listing3(event3(7), event3(8)) if layout == 3 else listing2(event2(7), event2(8))
    path = write(tmp_path / "e", whole[: whole.index("HepMC", 60)])
    with pytest.raises(InputError, match="END_EVENT_LISTING' is missing"):
        deliver(path, "fail")
    numbers, reader = deliver(path, "skip")
    assert numbers == [7, 8]
    assert reader.counts == {"warning: listings without END line": 1}


@pytest.mark.parametrize("cut", [5, 30, 120, 200, 240])
@pytest.mark.parametrize("layout", [3, 2])
def test_cut_in_an_event(tmp_path, layout, cut):
    whole = listing3(event3(7), event3(8)) if layout == 3 else listing2(event2(7), event2(8))
    path = write(tmp_path / "e", whole[: whole.index("E 8") + cut])
    with pytest.raises(InputError, match="is missing: the input was probably cut"):
        deliver(path, "fail")
    numbers, reader = deliver(path, "skip")
    assert numbers == [7]
    assert sum(s.n_events for s in reader.skipped) == 1


def test_cut_within_the_last_number(tmp_path):
    """All counts are right, only the last digits are gone: no line end, no trust."""
    whole = listing3(event3(7), event3(8).rstrip("\n") + "1\n")
    path = write(tmp_path / "e", whole[: whole.index(END3) - 2])
    numbers, reader = deliver(path, "skip")
    assert numbers == [7]
    assert len(reader.skipped) == 1


def test_cut_behind_the_header(tmp_path):
    path = write(tmp_path / "e", VERSION + START3)
    with pytest.raises(InputError, match="is missing"):
        deliver(path, "fail")


def test_missing_end_before_the_next_listing(tmp_path):
    """Files without footers, joined with cat."""
    part = VERSION + START3 + "W Default\n" + event3(7)
    path = write(tmp_path / "e", part + part.replace("E 7", "E 8") + END3)
    with pytest.raises(InputError, match="is missing"):
        deliver(path, "fail")
    numbers, reader = deliver(path, "skip")
    assert numbers == [7, 8]
    assert reader.counts == {"warning: listings without END line": 1}


def test_listing_of_an_old_format(tmp_path):
    """HepMC 2 can put IO_Ascii and IO_GenEvent listings into one file."""
    old = "HepMC::IO_Ascii-START_EVENT_LISTING\nE 1 2 3\nV x\nE 2 2 3\nHepMC::IO_Ascii-END_EVENT_LISTING\n"
    path = write(tmp_path / "e", listing2(event2(7)) + old + listing2(event2(8)))
    with pytest.raises(InputError, match="a listing of the format IO_Ascii; 2 events in it"):
        deliver(path, "fail")
    numbers, reader = deliver(path, "skip")
    assert numbers == [7, 8]
    assert [s.n_events for s in reader.skipped] == [2]


def test_listings_of_both_formats_in_one_file(tmp_path):
    path = write(tmp_path / "e", listing2(event2(7)) + "\n" + listing3(event3(8), head=""))
    numbers, _ = deliver(path, "fail")
    assert numbers == [7, 8]


@pytest.mark.parametrize("what", ["rubbish\n", "HepMC::Nonsense\n", "P 1 2 3\n"])
def test_rubbish_behind_the_end(tmp_path, what):
    path = write(tmp_path / "e", listing3(event3(7)) + what)
    with pytest.raises(InputError, match="outside of any listing"):
        deliver(path, "fail")


def test_wrong_end_line(tmp_path):
    path = write(tmp_path / "e", listing3(event3(7), end="HepMC::IO_GenEvent-END_EVENT_LISTING\n"))
    with pytest.raises(InputError, match="is no end of a listing of Asciiv3"):
        deliver(path, "fail")


def test_listing_without_events(tmp_path):
    numbers, reader = deliver(write(tmp_path / "e", listing3()), "fail")
    assert numbers == []
    assert reader.counts == {"warning: inputs without events": 1}


def test_library_prints_nothing(tmp_path, capfd):
    for text, _ in DAMAGE.values():
        deliver(write(tmp_path / "e", text), "skip")
    deliver(PP, "skip")
    assert capfd.readouterr() == ("", "")


def test_garbled_line_does_not_end_the_file(tmp_path):
    """pyhepmc yields 2 of 6 events of this file and says nothing."""
    lines = PP.read_text().splitlines(keepends=True)
    place = next(i for i, line in enumerate(lines) if line.startswith("E 117")) + 8
    lines[place] = lines[place].replace("e", "x", 1)
    numbers, reader = deliver(write(tmp_path / "e", "".join(lines)), "skip")
    assert numbers == [64, 181, 151, 126, 6]
    assert len(reader.skipped) == 1
