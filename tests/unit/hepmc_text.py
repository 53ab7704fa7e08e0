"""Hand-made HepMC text for the tests of the reader."""

from __future__ import annotations

from pathlib import Path

from flashdet.event import EventBatch, concat
from flashdet.io.hepmc import open_events

DATA = Path(__file__).parents[1] / "data"
PP = DATA / "pp14.hepmc3"
N_PP = 6

START3, END3 = "HepMC::Asciiv3-START_EVENT_LISTING\n", "HepMC::Asciiv3-END_EVENT_LISTING\n"
START2, END2 = "HepMC::IO_GenEvent-START_EVENT_LISTING\n", "HepMC::IO_GenEvent-END_EVENT_LISTING\n"
VERSION = "HepMC::Version 3.02.05\n"

#: Two beams meet in V -1; the pi0 of it decays in V -2.
BODY3 = """\
P 1 0 2212 0 0 7000 7000 0.938 4
P 2 0 2212 0 0 -7000 7000 0.938 4
V -1 0 [1,2] @ 1 2 3 4
P 3 -1 111 0.5 0.25 1 1.2 0.135 2
P 4 -1 211 -0.5 0.25 2 2.2 0.1396 1
P 5 3 22 0.25 0.125 0.5 0.6 0 1
P 6 3 22 0.25 0.125 0.5 0.6 0 1
"""
BODY2 = """\
V -1 0 1 2 3 4 2 2 0
P 10001 2212 0 0 7000 7000 0.938 4 0 0 -1 0
P 10002 2212 0 0 -7000 7000 0.938 4 0 0 -1 0
P 10003 111 0.5 0.25 1 1.2 0.135 2 0 0 -2 0
P 10004 211 -0.5 0.25 2 2.2 0.1396 1 0 0 0 2 1 501 2 502
V -2 0 0 0 0 0 0 2 0
P 10005 22 0.25 0.125 0.5 0.6 0 1 0 0 0 0
P 10006 22 0.25 0.125 0.5 0.6 0 1 0 0 0 0
"""


def event3(number: int = 7, head: str = "U GEV MM\nW 1.5\n", body: str = BODY3, e: str = "2 6") -> str:
    return f"E {number} {e}\n{head}{body}"


def event2(
    number: int = 7, head: str = 'N 1 "0"\nU GEV MM\n', body: str = BODY2, e: str = "2 10001 10002 0 1 1.5"
) -> str:
    return f"E {number} -1 91.2 0.118 0.0078 101 0 {e}\n{head}{body}"


def listing3(*events: str, head: str = "W Default\n", end: str = END3) -> str:
    return VERSION + START3 + head + "".join(events) + end


def listing2(*events: str, end: str = END2) -> str:
    return VERSION + START2 + "".join(events) + end


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(*inputs: object, **options: object) -> EventBatch:
    """All events of the inputs in one batch."""
    with open_events([str(i) for i in inputs], **options) as reader:
        return concat(list(reader.batches()))
