"""The fast way through HepMC text: the same columns as pyhepmc's, bit for bit, and no faulty event ever."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hepmc_text import BODY2, event2, event3, listing2, listing3, read, write
from hypothesis import given, settings
from hypothesis import strategies as st

from flashdet.errors import InputError
from flashdet.io.hepmc import library
from flashdet.io.hepmc.parser import Parser
from flashdet.kernels import decimal
from flashdet.kernels.jit import kernel
from flashdet.testing import assert_same_tables

ROOT = Path(__file__).parents[2]


@pytest.fixture
def careful(monkeypatch):
    """A function that reads a file event by event through pyhepmc, the fast way closed."""

    def read_slowly(path):
        with monkeypatch.context() as patch:
            patch.setattr(Parser, "parse", lambda *_: (None, 0))
            return read(path)

    return read_slowly


@pytest.fixture
def no_library(monkeypatch):
    """Forbid pyhepmc: what is read now came the fast way."""

    def refuse(*_):
        raise AssertionError("an event needed pyhepmc")

    monkeypatch.setattr(library, "parse", refuse)


# --- numbers ---------------------------------------------------------------------------------------------------------
@kernel
def _read_all(text, starts, stop, values, status):
    for k in range(len(starts)):
        values[k], _, status[k] = decimal.read_double(text, starts[k], stop)


def parse_numbers(texts):
    joined = ("\n".join(texts) + "\n").encode()
    starts = np.cumsum([0] + [len(t) + 1 for t in texts[:-1]])
    values, status = np.empty(len(texts)), np.empty(len(texts), np.int64)
    _read_all(np.frombuffer(joined + b" " * 64, np.uint8), starts, len(joined), values, status)
    return values, status


def check_numbers(texts, undecided=0.0):
    values, status = parse_numbers(texts)
    expected = np.array([float(t) for t in texts])
    decided = status == decimal.OK
    wrong = np.flatnonzero(decided & (values.view("u8") != expected.view("u8")))
    assert not len(wrong), texts[wrong[0]]
    assert not np.any(status == decimal.BAD)
    assert (~decided).mean() <= undecided


def doubles(n, seed):
    bits = np.random.default_rng(seed).integers(0, 2**63 - 2**52, n, dtype=np.uint64)
    return (bits | (np.arange(n, dtype=np.uint64) << np.uint64(63))).view("f8")


@pytest.mark.parametrize("form", ["%.16e", "%.17g", "%.15g", "%.18e", "%.24e", "%.16E", "%r", "%.3f"])
def test_numbers_are_rounded_as_python_rounds_them(form, slow):
    """Ten million strings with --slow, over all magnitudes that a double has."""
    for seed in range(25 if slow else 1):
        x = doubles(50_000, seed)
        # an absolute form prints 300 digits for the large ones: keep those within the integers
        x = np.clip(x, -1e18, 1e18) if form == "%.3f" else x
        check_numbers([form % float(v) for v in x], undecided=1e-3 if form == "%.24e" else 0.0)


def test_subnormal_numbers_and_ties(slow):
    rng = np.random.default_rng(3)
    n = 500_000 if slow else 20_000
    subnormal = rng.integers(0, 2**52, n, dtype=np.uint64).view("f8")
    check_numbers([f"{v:.16e}" for v in subnormal])
    check_numbers([repr(float(v)) for v in subnormal])
    # integers exactly between two doubles: at most 19 digits, so they must be decided, to even
    half = (rng.integers(2**52, 2**53, n) * 2 + 1).tolist()
    check_numbers([str(h << int(s)) for h, s in zip(half, rng.integers(0, 9, n), strict=True)])
    check_numbers([f"{h}e0" for h in half] + [f"{h}.0" for h in half])
    check_numbers([f"{m}e{e}" for m, e in zip(rng.integers(0, 2**63, n), rng.integers(-340, 300, n), strict=True)])


def test_numbers_at_the_edges():
    texts = (
        "0 -0 0.0 -0.0 1 +3 .5 5. 1E5 1e-400 -1e-400 1e400 -1e400 4.9e-324 2.4703282292062327e-324 1e-325 "
        "2.4703282292062328e-324 1.7976931348623157e308 1.7976931348623159e308 9007199254740993 1e22 1e23 "
        "00000000000000000000000000000001 0.00000000000000000000000000000000123456789 2.2250738585072011e-308 "
        "2.2250738585072014e-308 1e0005 123456789012345678 1234567890123456789"
    )
    check_numbers(texts.split())


@pytest.mark.parametrize(
    "text",
    ["nan", "inf", "1e00005", "1e-0299999999", "1.2.3", "e5", "1e", "1e+", "--1", "0x10", "1.0f", ".", "-", "1,5"],
)
def test_rubbish_is_no_number(text):
    assert parse_numbers([text])[1].tolist() == [decimal.BAD]


def test_long_mantissas_are_handed_back_unless_the_rest_cannot_matter():
    _, status = parse_numbers(["9007199254740993.0000000000000000000001", "1.00000000000000000000000001"])
    assert status.tolist() == [decimal.UNDECIDED, decimal.OK]


def number_or_none(text):
    """What Python reads, None for what is no decimal number of HepMC text."""
    return float(text) if re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", text) else None


@pytest.mark.parametrize("number", [b"1.2345678901234567e+12", b"-9.8765432109876543e-07"])
def test_every_wrong_byte_of_a_written_number_is_noticed(number):
    """The quick way of the numbers that HepMC writes takes these alone: any byte at any place, against Python."""
    texts = [number[:i] + bytes([c]) + number[i + 1 :] for i in range(len(number)) for c in range(33, 256)]
    joined = b" ".join(texts) + b" "
    starts = np.cumsum([0] + [len(t) + 1 for t in texts[:-1]])
    values, status = np.empty(len(texts)), np.empty(len(texts), np.int64)
    _read_all(np.frombuffer(joined + b" " * 64, np.uint8), starts, len(joined), values, status)
    for text, value, code in zip(texts, values, status, strict=True):
        expected = number_or_none(text)
        assert (code == decimal.BAD) == (expected is None), text
        assert expected is None or value == expected, text


@kernel
def _read_integers(text, starts, end, values, ends, faults):
    for k in range(len(starts)):
        values[k], ends[k], faults[k] = decimal.written_int(text, starts[k], end)


def test_written_integers():
    texts = [b"0", b"-1", b"7", b"42", b"-9999999", b"1234567", b"", b"-", b"12345678", b"123456789012", b"+3", b"1x"]
    texts += [b"12" + bytes([c]) for c in range(256)] + [bytes([c]) + b"4" for c in range(256)]
    starts = np.cumsum([0] + [len(t) + 1 for t in texts[:-1]])
    values, ends, faults = (
        np.empty(len(texts), np.int64),
        np.empty(len(texts), np.int64),
        np.empty(len(texts), np.uint64),
    )
    _read_integers(np.frombuffer(b" ".join(texts) + b" " * 64, np.uint8), starts, 32, values, ends, faults)
    for i, text in enumerate(texts):
        if re.fullmatch(rb"-?\d{1,7}", text.rstrip(b" ")[: len(text)]) and text[:1] != b" ":
            assert (faults[i], values[i]) == (0, int(text)), text
            assert ends[i] == starts[i] + len(text.rstrip(b" ")) + 1
        else:
            assert faults[i] != 0, text


# --- columns ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["examples/pp14.hepmc3.zst", "examples/pbpb5360.hepmc2.zst", "tests/data/pp14.hepmc3"])
def test_samples_give_the_columns_of_pyhepmc(name, careful):
    assert_same_tables(read(ROOT / name), careful(ROOT / name))


@pytest.mark.parametrize("name", ["examples/pp14.hepmc3.zst", "examples/pbpb5360.hepmc2.zst"])
def test_samples_do_not_need_pyhepmc(name, no_library):
    assert read(ROOT / name).n_events > 0


@st.composite
def records(draw):
    """A random event as (vertices, particles): graphs with several incoming particles, unwritten vertices, orphans."""
    n_beams = draw(st.integers(1, 3))
    particles = [(0, 4)] * n_beams  # (production vertex, status)
    ends = {}
    positions = [None]
    free = list(range(n_beams))
    for vertex in range(1, draw(st.integers(1, 6)) + 1):
        if not free:
            break
        incoming = [
            free.pop(draw(st.integers(0, len(free) - 1))) for _ in range(draw(st.integers(1, min(3, len(free)))))
        ]
        for particle in incoming:
            ends[particle] = vertex
        has_position = len(incoming) > 1 or draw(st.booleans())
        positions.append(draw(st.tuples(*[st.floats(-9, 9)] * 4)) if has_position else None)
        n_out = draw(st.integers(1, 4))
        free += range(len(particles), len(particles) + n_out)
        particles += [(vertex, draw(st.sampled_from([1, 2, 62])))] * n_out
    momenta = draw(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 5), min_size=len(particles), max_size=len(particles)))
    return particles, ends, positions, momenta, draw(st.booleans()), draw(st.sampled_from(["GEV MM", "MEV CM"]))


def as_asciiv3(number, record):
    """Text as WriterAscii writes it: a vertex with one incoming particle and no position is not written."""
    particles, ends, positions, momenta, cycles, units = record
    incoming = {v: [p + 1 for p, end in ends.items() if end == v] for v in range(1, len(positions))}
    written = {v for v in incoming if positions[v] is not None or len(incoming[v]) != 1}
    lines = [f"E {number} {len(incoming)} {len(particles)}", f"U {units}", "W 1.0", f"A 0 cycles {int(cycles)}"]
    current = 0
    for i, (vertex, status) in enumerate(particles):
        if vertex != current and vertex in written:
            place = "" if positions[vertex] is None else " @ " + " ".join(f"{x:.16e}" for x in positions[vertex])
            lines.append(f"V {-vertex} 0 [{','.join(map(str, incoming[vertex]))}]{place}")
        current = vertex
        parent = -vertex if vertex in written else incoming[vertex][0] if vertex else 0
        lines.append(f"P {i + 1} {parent} 211 " + " ".join(f"{x:.16e}" for x in momenta[i]) + f" {status}")
    return "\n".join(lines) + "\n"


def as_io_genevent(number, record):
    """The same event in HepMC2: orphans under the vertex where they end, all positions written."""
    particles, ends, positions, momenta, _, units = record
    lines = [f"E {number} -1 0 0 0 0 0 {len(positions) - 1} 1 2 0 1 1.0", f"U {units}"]
    for v in range(1, len(positions)):
        orphans = [p for p, end in ends.items() if end == v and particles[p][0] == 0]
        out = [p for p, (vertex, _) in enumerate(particles) if vertex == v]
        place = " ".join(f"{x:.16e}" for x in positions[v] or (0, 0, 0, 0))
        lines.append(f"V {-v} 0 {place} {len(orphans)} {len(out)} 0")
        for p in orphans + out:
            numbers = " ".join(f"{x:.16e}" for x in momenta[p])
            lines.append(f"P {10001 + p} 211 {numbers} {particles[p][1]} 0 0 {-ends.get(p, 0)} 0")
    return "\n".join(lines) + "\n"


@settings(max_examples=60, deadline=None)
@given(st.lists(records(), min_size=1, max_size=3))
def test_made_up_events_give_the_columns_of_pyhepmc(tmp_path_factory, events):
    folder = tmp_path_factory.mktemp("events")
    kinds = {
        "3": listing3(*(as_asciiv3(i, e) for i, e in enumerate(events))),
        "2": listing2(*(as_io_genevent(i, e) for i, e in enumerate(events) if len(e[0]) > 1 and _has_ends(e))),
    }
    for name, text in kinds.items():
        if "\nE " not in text:
            continue
        path = write(folder / name, text)
        fast = read(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Parser, "parse", lambda *_: (None, 0))
            assert_same_tables(fast, read(path))


def _has_ends(record):
    """HepMC2 text loses beams that end nowhere: keep to events where every beam does."""
    particles, ends, *_ = record
    return all(p in ends for p, (vertex, _) in enumerate(particles) if vertex == 0)


def test_attributes_may_stand_anywhere(tmp_path, no_library):
    plain = event3(7, head="U GEV MM\nW 1.5\nA 0 event_scale 12.5\n")
    lines = event3(7, head="U GEV MM\nW 1.5\n").splitlines(keepends=True)
    for place in range(1, len(lines) + 1):
        moved = "".join([*lines[:place], "A 0 event_scale 12.5\n", "A 3 flow1 501\n", *lines[place:]])
        assert_same_tables(
            read(write(tmp_path / f"a{place}", listing3(moved))), read(write(tmp_path / "b", listing3(plain)))
        )


@pytest.mark.parametrize("place", [2, 5, 8, 10])
def test_attributes_may_stand_anywhere_for_pyhepmc_too(tmp_path, careful, place):
    """Events that need a closer look are read alike, and the record counts wherever it stands."""
    lines = event3(7, head="U GEV MM\nW 1.5\n").splitlines(keepends=True)
    moved = "".join([*lines[:place], "A 0 event_scale 12.5\n", "A 3 flow1 501\n", *lines[place:]])
    path = write(tmp_path / "a", listing3(moved, event3(8)))
    slow = careful(path)
    assert slow["event"]["event_scale"][0] == 12.5
    assert_same_tables(read(path), slow)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("V -2 0", "F 1 2 0.1 0.2 3 0.4 0.5 0 0\nV -2 0"),  # a line of the head among the vertices
        lambda t: t.replace("U GEV MM", 'U GEV MM\nN 1 "0"'),
        lambda t: t.replace("U GEV MM", "U GEV MM\nC 1 1\nC 1 1"),
        lambda t: t.replace("N 1", "N "),
        lambda t: t.replace("0 0 -2 0", "0 0 -2 0\t"),
        lambda t: t.replace("0 2 0\nP 10005", "0 2 -1\nP 10005"),  # numbers of things
        lambda t: t.replace("2 2 0\nP 10001", "-2 4 0\nP 10001"),
        lambda t: t.replace("2 1 501 2 502", "-2"),
        lambda t: t.replace("0.0078", "0.0-078"),  # numbers that nobody wants
        lambda t: t.replace("10001 10002 0", "10001 1.5 0"),
        lambda t: t.replace("U GEV MM", "U GEV MM\nF 1 2 0.1 0.2 3 0.4 0.5\x12 0 0"),
    ],
)
def test_what_pyhepmc_would_not_be_given_is_refused(tmp_path, change):
    """The quick way takes no event that the careful one refuses: lines out of place, repeated, or with tabs."""
    text = listing2(event2(6), event2(7))
    assert change(text) != text
    with pytest.raises(InputError):
        read(write(tmp_path / "e", change(text)))


@pytest.mark.parametrize("codes", [(-2, -1), (-5, -77777777), (-(2**31), 2**31 - 1), (10, -(1 << 20))])
def test_barcodes_of_vertices_may_be_any_numbers(tmp_path, no_library, codes):
    plain = read(write(tmp_path / "a", listing2(event2(7))))
    body = BODY2.replace("V -1 ", "V {0} ").replace("V -2 ", "V {1} ")
    body = body.replace("0 0 -1 0", "0 0 {0} 0").replace("0 0 -2 0", "0 0 {1} 0").format(*codes)
    assert_same_tables(read(write(tmp_path / "b", listing2(event2(7, body=body)))), plain)
    same = body.replace(f"V {codes[1]} ", f"V {codes[0]} ")
    with pytest.raises(InputError):
        read(write(tmp_path / "c", listing2(event2(7, body=same))))


def test_weights_and_units_stand_before_particles(tmp_path):
    for line in ("U GEV MM\n", "W 1.5\n"):
        lines = event3(7, head="U GEV MM\nW 1.5\n".replace(line, "")).splitlines(keepends=True)
        with pytest.raises(InputError):
            read(write(tmp_path / "e", listing3("".join([*lines[:4], line, *lines[4:]]))))


def test_long_ways_up_to_a_position_are_walked_once(tmp_path, no_library):
    """A chain of vertices without positions: linear, not quadratic in its length."""
    import time

    def chain(n):
        lines = [f"E 0 {n} {n + 1}", "U GEV MM", "W 1.0", "P 1 0 211 0 0 1 1 0.1 2", "V -1 0 [1] @ 1 2 3 4"]
        lines += [f"P {k} {-1 if k == 2 else k - 1} 211 0 0 1 1 0.1 2" for k in range(2, n + 2)]
        return write(tmp_path / f"{n}", listing3("\n".join(lines) + "\n"))

    def seconds(path):
        begin = time.process_time()
        batch = read(path)
        return time.process_time() - begin, batch

    seconds(chain(10))
    short, _ = seconds(chain(4_000))
    long, batch = seconds(chain(200_000))
    assert np.all(batch["particle"]["vx"][1:] == 0.1)
    assert long < 50 * 20 * max(short, 0.002)


def test_forward_references(tmp_path, no_library):
    """A particle whose parent is written after it, and a vertex of particles still to come."""
    body = "P 1 0 2212 0 0 9 9 0.9 4\nP 2 3 211 0 0 1 1 0.1 1\nP 3 -1 211 0 0 2 2 0.1 2\nV -1 0 [1] @ 1 2 3 4\n"
    batch = read(write(tmp_path / "e", listing3("E 7 2 3\nU GEV MM\nW 1.0\n" + body)))
    assert batch["particle"]["production_vertex"].tolist() == [-1, 1, 0]
    assert batch["particle"]["end_vertex"].tolist() == [0, -1, 1]
    np.testing.assert_allclose(batch["particle"]["vx"], [0, 0.1, 0.1], rtol=1e-15)


@pytest.mark.parametrize("change", [lambda t: t.replace("\n", "\r\n"), lambda t: re.sub(r"e([+-]\d\d)", r"E\1", t)])
@pytest.mark.parametrize("make", [lambda: listing3(event3(7), event3(8)), lambda: listing2(event2(7), event2(8))])
def test_line_ends_and_exponents(tmp_path, no_library, change, make):
    assert_same_tables(read(write(tmp_path / "a", change(make()))), read(write(tmp_path / "b", make())))


@pytest.mark.parametrize(
    "make", [lambda n: listing3(*map(event3, range(n))), lambda n: listing2(*map(event2, range(n)))]
)
def test_events_across_pieces_of_text(tmp_path, monkeypatch, make):
    """Pieces smaller than an event, and buffers that must grow: the same events."""
    from flashdet.io.hepmc import parser, textbuffer

    whole = read(write(tmp_path / "a", make(40)))
    monkeypatch.setattr(parser, "_MORE", 1)
    for piece in (1, 100, 1000, 5000):
        for enough in (1, 6, 50):
            monkeypatch.setattr(textbuffer, "PIECE", piece)
            monkeypatch.setattr(parser, "PIECE", piece)
            monkeypatch.setattr(parser, "_ENOUGH", enough)
            assert_same_tables(read(write(tmp_path / "b", make(40))), whole)


def test_lines_are_counted_across_pieces(tmp_path):
    """The place of damage behind many good events is exact."""
    bad = event3(99).replace("0.25", "nan", 1)
    text = listing3(*map(event3, range(50)), bad)
    path = write(tmp_path / "e", text)
    content = path.read_text()
    line = content[: content.index("nan")].count("\n") + 1
    with pytest.raises(
        InputError, match=rf"event 50 .*line {line}, byte {content.rindex(chr(10), 0, content.index('nan')) + 1}"
    ):
        read(path)


@pytest.mark.parametrize("make", [lambda: listing3(event3(7), event3(8)), lambda: listing2(event2(7), event2(8))])
def test_kernels_are_python_too(tmp_path, make):
    """With FLASHDET_DISABLE_JIT=1, for debugging: the same keys, which every bit of the momenta goes into."""
    import os
    import subprocess
    import sys

    path = write(tmp_path / "e", make())
    program = (
        "import sys\nfrom flashdet.io.hepmc import open_events\n"
        "with open_events([sys.argv[1]]) as r: print(*(k for b in r.batches() for k in b['event']['key']))"
    )
    environment = {**os.environ, "FLASHDET_DISABLE_JIT": "1"}
    command = [sys.executable, "-W", "ignore::RuntimeWarning", "-c", program, str(path)]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert [int(k) for k in done.stdout.split()] == read(path)["event"]["key"].tolist()
