"""Inner half of the integrity check: the text of one event holds what it promises, and holds together.

Libraries end quietly, lose particles or crash on damaged text; what passes here is safe to hand over. Two properties of
HepMC2 records that pyhepmc 2.16 (HepMC3 3.02.05) cannot represent are refused as well, with the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.hepmc import scan, scan2, scan3
from flashdet.io.hepmc.blocks import ASCIIV3, TextEvent
from flashdet.io.hepmc.info import EventInfo, FieldError, read_head
from flashdet.io.hepmc.ledger import SKIP_HINT

_LINES = {
    scan.BAD_P: {
        True: "a P line is 'P id parent pdg px py pz energy mass status'",
        False: "a P line is 'P barcode pdg px py pz energy mass status theta phi end_vertex n_flow [index code ...]'",
    },
    scan.BAD_V: {
        True: "a V line is 'V id status [incoming,...] @ x y z t', the position may be missing",
        False: "a V line is 'V barcode status x y z t n_orphans n_out n_weights [weight ...]'",
    },
    scan.BAD_A: dict.fromkeys((True, False), "an A line is 'A id name value'"),
    scan.BAD_ORDER: {
        True: "U and W lines stand before particles and vertices, and no more vertices than promised follow",
        False: "N, U, C, H and F lines stand before the vertices, particles behind their vertex, "
        "and no more vertices than promised follow",
    },
    scan.BAD_PREFIX: {
        True: "lines of an event begin with E, U, W, A, P or V and a blank",
        False: "lines of an event begin with E, N, U, C, H, F, V or P and a blank",
    },
    scan.BAD_ID: {
        True: "particles are numbered 1, 2, ... up to the number promised on the E line, and parents come before them",
        False: "the barcode of a vertex is not 0",
    },
}
_NOT_FINITE = re.compile(rb" [-+]?(nan|inf|infinity)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """What the scan of a sound event found.

    Attributes
    ----------
    info : EventInfo
        Head of the event.
    n_particles : int
        Particles in the text.
    body : int
        Beginning of the first line of a particle or vertex.
    """

    info: EventInfo
    n_particles: int
    body: int


def check(event: TextEvent) -> Found:
    """Check the text of one event.

    Parameters
    ----------
    event : TextEvent
        From :class:`.blocks.TextBlocks`.

    Returns
    -------
    Found

    Raises
    ------
    InputError
        Says which line is wrong, what stands there and what is allowed; or which numbers disagree.
    """
    info = _head(event)
    text = np.frombuffer(event.text, np.uint8)
    start = event.text.find(b"\n") + 1
    if start == 0:
        start = len(text)
    is_asciiv3 = event.layout == ASCIIV3
    if is_asciiv3:
        n_particles = _check_asciiv3(event, info, text, start)
    else:
        n_particles = _check_io_genevent(event, info, text, start)
    names, n_weights = info.weight_names, len(info.weights)
    if names and n_weights and len(names) != n_weights:
        raise _broken(event, f"{n_weights} weights but {len(names)} weight names")
    return Found(info, n_particles, _body(event.text))


def _broken(event: TextEvent, message: str) -> InputError:
    return InputError(message, event.where(), SKIP_HINT)


def _head(event: TextEvent) -> EventInfo:
    """Read the lines in front of particles and vertices."""
    is_asciiv3 = event.layout == ASCIIV3
    places = list(_head_lines(event.text, is_asciiv3))
    lines = [event.text[a:b].decode("utf-8", "replace").rstrip() for a, b in places]
    try:
        return read_head(lines, is_asciiv3, event.weight_names)
    except FieldError as error:
        message, i = error.args
        first, last = places[i]
        raise InputError(
            f"{_shown(event.text[first:last])}: {message}", event.where(first), f"the event is damaged; {SKIP_HINT}"
        ) from None


def _head_lines(text: bytes, is_asciiv3: bool) -> Iterator[tuple[int, int]]:
    """Beginning and end of the lines of the head; of the A lines only those of the event itself."""
    stop = _body(text)
    at = 0
    while 0 <= at < stop:
        end = text.find(b"\n", at, stop)
        end = stop if end < 0 else end
        if is_asciiv3 and text.startswith(b"A ", at) and not text.startswith(b"A 0 ", at):
            # Pythia writes a line per particle here: go on behind them in one step
            following = text.find(b"\nA 0 ", at, stop)
            others = [text.find(b"\n" + kind + b" ", at, stop) for kind in (b"U", b"W")]
            nearest = [place for place in (following, *others) if place >= 0]
            at = min(nearest) + 1 if nearest else stop
            continue
        yield at, end
        at = end + 1
    while is_asciiv3 and (at := text.find(b"\nA 0 ", stop - 1) + 1) > 0:  # may stand anywhere
        stop = text.find(b"\n", at)
        stop = len(text) if stop < 0 else stop
        yield at, stop
        stop += 1


def _body(text: bytes) -> int:
    """Beginning of the first line of a particle or vertex."""
    first = [place + 1 for place in (text.find(b"\nP"), text.find(b"\nV")) if place >= 0]
    return min(first, default=len(text))


def _shown(line: bytes) -> str:
    text = line.rstrip()
    return repr(text[:100])[1:] + ("..." if len(text) > 100 else "")


def _raise_outcome(event: TextEvent, outcome: int, at: int) -> None:
    """Turn the outcome of a scan into an error that shows the line."""
    if outcome == scan.GOOD:
        return
    end = event.text.find(b"\n", at)
    line = event.text[at : end if end >= 0 else None]
    allowed = _LINES[outcome][event.layout == ASCIIV3]
    if outcome in (scan.BAD_P, scan.BAD_V) and _NOT_FINITE.search(line):
        allowed = f"numbers must be finite; {allowed}"
    raise InputError(f"{_shown(line)} is damaged or out of place; {allowed}", event.where(at), SKIP_HINT)


def _check_asciiv3(event: TextEvent, info: EventInfo, text: NDArray[np.uint8], start: int) -> int:
    # no line of a particle or vertex is shorter than 10 bytes: the E line cannot ask for more memory than that
    n_p, n_v = (min(max(n, 0), len(text) // 10) for n in (info.n_particles, info.n_vertices))
    parent, vertex = np.empty(n_p, np.int32), np.empty(n_v, np.int32)
    in_vertex, in_particle = np.empty(n_p, np.int32), np.empty(n_p, np.int32)  # a particle ends once
    n = np.zeros(3, np.int64)
    outcome, at = scan3.scan_asciiv3(text, start, parent, vertex, in_vertex, in_particle, n)
    _raise_outcome(event, outcome, at)
    parent, vertex, ended = parent[: n[0]], vertex[: n[1]], in_particle[: n[2]]
    if n[0] != info.n_particles:
        raise _broken(event, f"the E line promises {info.n_particles} particles, {n[0]} follow")
    implicit = np.unique(parent[parent > 0])
    n_vertices = len(vertex) + len(implicit)
    if n_vertices != info.n_vertices:
        raise _broken(event, f"the E line promises {info.n_vertices} vertices, {n_vertices} follow")
    if len(np.unique(vertex)) != len(vertex) or np.any(vertex >= 0) or np.any(vertex < -info.n_vertices):
        raise _broken(event, f"vertices are not numbered within -1 to -{info.n_vertices}, each once")
    _must_exist(event, parent[parent < 0], vertex, "particles come from vertices")
    if np.any(ended < 1) or np.any(ended > n[0]):
        raise _broken(event, f"a vertex has incoming particles outside of 1 to {n[0]}")
    ends = np.concatenate([ended, implicit])
    if len(np.unique(ends)) != len(ends):
        raise _broken(event, "a particle ends in two vertices")
    return int(n[0])


def _check_io_genevent(event: TextEvent, info: EventInfo, text: NDArray[np.uint8], start: int) -> int:
    n_p, n_v = len(text) // 10, min(max(info.n_vertices, 0), len(text) // 10)
    p_vertex, p_end, p_status = np.empty(n_p, np.int32), np.empty(n_p, np.int32), np.empty(n_p, np.int32)
    barcode, promised, weights = np.empty(n_v, np.int32), np.empty(n_v, np.int64), np.empty(n_v, np.int32)
    n = np.zeros(2, np.int64)
    outcome, at = scan2.scan_io_genevent(text, start, p_vertex, p_end, p_status, barcode, promised, weights, n)
    _raise_outcome(event, outcome, at)
    p_vertex, p_end, p_status = p_vertex[: n[0]], p_end[: n[0]], p_status[: n[0]]
    barcode, promised, weights = barcode[: n[1]], promised[: n[1]], weights[: n[1]]
    if n[1] != info.n_vertices:
        raise _broken(event, f"the E line promises {info.n_vertices} vertices, {n[1]} follow")
    listed = np.bincount(p_vertex, minlength=len(barcode))
    short = np.flatnonzero(listed < promised)
    if len(short):
        v = short[0]
        raise _broken(event, f"vertex {barcode[v]} promises {promised[v]} particles, {listed[v]} follow")
    if len(np.unique(barcode)) != len(barcode):
        raise _broken(event, "two vertices have the same barcode")
    _must_exist(event, p_end[p_end != 0], barcode, "particles end in vertices")
    _refuse_unrepresentable(event, barcode, weights, p_vertex, p_end, p_status)
    return int(n[0])


def _must_exist(event: TextEvent, wanted: NDArray[np.int32], there: NDArray[np.int32], what: str) -> None:
    missing = np.setdiff1d(wanted, there)
    if len(missing):
        names = ", ".join(map(str, missing[:5].tolist()))
        raise _broken(event, f"{what} that are not in the event: {names}{', ...' if len(missing) > 5 else ''}")


def _refuse_unrepresentable(
    event: TextEvent,
    barcode: NDArray[np.int32],
    weights: NDArray[np.int32],
    p_vertex: NDArray[np.int32],
    p_end: NDArray[np.int32],
    p_status: NDArray[np.int32],
) -> None:
    """Refuse vertices without incoming or outgoing particles where HepMC3 drops particles or crashes.

    ReaderAsciiHepMC2::read_event of HepMC3 3.02.05 removes such vertices (and with them the particles that hang on
    nothing else) unless a status-4 particle without end can be moved to the incoming ones, and follows a null pointer
    if a removed vertex has weights.
    """
    is_beam = (p_status == 4) & (p_end == 0)
    own = barcode[p_vertex] == p_end if len(p_vertex) else np.zeros(0, np.bool_)
    rescued = barcode[np.unique(p_vertex[is_beam])]
    without_in = np.setdiff1d(barcode, np.concatenate([p_end, rescued]))
    if len(without_in):
        raise _broken(
            event, f"vertex {without_in[0]} has no incoming particle: pyhepmc would drop it and what comes from it"
        )
    n_out = np.bincount(p_vertex[~own], minlength=len(barcode))
    fatal = barcode[(n_out == 0) & (weights > 0)]
    if len(fatal):
        raise _broken(event, f"vertex {fatal[0]} has weights but no outgoing particle: pyhepmc cannot hold that")
