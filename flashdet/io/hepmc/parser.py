"""The fast way: whole events of text to a block of columns, by the kernels of :mod:`.ascii3` and :mod:`.ascii2`.

Only events without any fault or oddity go this way. What the kernels do not take - damage, numbers of more digits than
64 bits decide, records that HepMC3 itself changes - is left where it is for :mod:`.integrity` and :mod:`.library`,
which say what is wrong or read it with the library.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import ascii2, ascii3, buffers, codes, graph
from flashdet.io.hepmc.block import Block
from flashdet.io.hepmc.interface import TARGET_PARTICLES
from flashdet.io.hepmc.record import DEFAULT_WEIGHT
from flashdet.io.hepmc.textbuffer import PIECE, TextBuffer

#: Events of one block, and weights of an event whose names are not known.
_MAX_EVENTS, _MAX_WEIGHTS = 4096, 256
#: Particles that close a block, and room for those of the last event in it.
_ENOUGH, _MORE = TARGET_PARTICLES // 2, 20_000
_WEIGHT_NAMES = re.compile(rb"N (\d+)((?: \"[^\"\n]*\")*) *\r?\n")


class Parser:
    """Parser of one listing.

    Parameters
    ----------
    is_asciiv3 : bool
        Asciiv3 of HepMC3, else IO_GenEvent of HepMC2.
    """

    def __init__(self, is_asciiv3: bool) -> None:
        self._is_asciiv3 = is_asciiv3
        self._buffers = buffers.make_buffers(_ENOUGH + _MORE, _ENOUGH + _MORE, _MAX_EVENTS, _MAX_WEIGHTS)
        self._work = np.empty(_ENOUGH + _MORE, np.int64)

    def parse(self, text: TextBuffer, names: tuple[str, ...], max_events: int) -> tuple[Block | None, int]:
        """Parse from the place of the buffer on, as far as events are beyond doubt, until there is a block of them.

        Parameters
        ----------
        text : TextBuffer
            At an E line; it is moved on over what was parsed.
        names : tuple of str
            Weight names from the run information of Asciiv3.
        max_events : int
            Events wanted at most.

        Returns
        -------
        block : Block or None
            None: the next event needs care.
        n_unitless : int
            Events in the block that give no units.
        """
        last = min(max_events, _MAX_EVENTS)
        line = np.empty(0, np.uint8)
        n = 0
        while n < last and self._buffers.event[n, buffers.PARTICLES] < _ENOUGH:
            stop = text.whole_events(PIECE)
            if stop == text.at:
                break
            if n == 0 and not self._is_asciiv3:
                head, names = _first_names(text, stop)
                line = np.frombuffer(head, np.uint8)
            if n == 0:
                self._set_weights(len(names) or _MAX_WEIGHTS)
            settled, code = self._parse_piece(text, stop, n, last, line, len(names))
            if code == codes.FULL and settled == 0:
                self._grow()  # not even one event has room
                continue
            n = settled
            if code != codes.DONE:
                break
        if n == 0:
            return None, 0
        b = self._buffers
        n_weights = len(names) or max(int(b.event[0, buffers.N_WEIGHTS]), 0)
        # The block takes the columns as they are; the next one gets others.
        rows = b.ints.shape[1]
        self._buffers = b._replace(ints=np.empty((5, rows), np.int32), floats=np.empty((9, rows)))
        return _to_block(b, n, n_weights, names), int((b.header[:n, buffers.GEV] == 0).sum())

    def _parse_piece(
        self, text: TextBuffer, stop: int, first: int, last: int, line: NDArray[np.uint8], n_weights: int
    ) -> tuple[int, int]:
        """Parse events from number `first` on: number behind the last that is beyond doubt, and why it ended there."""
        b, start = self._buffers, text.at
        read_events = ascii3.read_events if self._is_asciiv3 else ascii2.read_events
        n, i, code = read_events(text.text, start, stop, b, first, last, line, self._work)
        if not n_weights:
            n_weights = int(b.event[0, buffers.N_WEIGHTS])
        settled, damage = graph.finish_all(b, first, n, n_weights, self._work)
        if settled < n:
            i, code = int(b.event[settled, buffers.START]), damage
        elif code not in (codes.DONE, codes.FULL, codes.HEADER) and n > first:
            i = int(b.event[n, buffers.START])
        if settled > first:
            text.advance(i - start, int(b.event[first:settled, buffers.LINES].sum()))
        return settled, code

    def _set_weights(self, n: int) -> None:
        if self._buffers.weights.shape[1] != n:
            self._buffers = self._buffers._replace(weights=np.empty((_MAX_EVENTS, n)))

    def _grow(self) -> None:
        """Twice as much room."""
        rows, b = 2 * self._buffers.ints.shape[1], self._buffers
        self._buffers = buffers.make_buffers(rows, rows, _MAX_EVENTS, b.weights.shape[1])
        self._work = np.empty(rows, np.int64)


def _first_names(text: TextBuffer, stop: int) -> tuple[bytes, tuple[str, ...]]:
    """N line of the first event and the names in it; none if the line is strange, which the kernel notices."""
    head = bytes(text.text[text.at : min(text.at + (1 << 16), stop)])
    head = head[: (head.find(b"\nV ") + 1) or len(head)]
    at = head.find(b"\nN ") + 1
    match = _WEIGHT_NAMES.match(head, at) if at else None
    names = tuple(re.findall(r'"([^"]*)"', match[2].decode("utf-8", "replace"))) if match else ()
    if match is None or len(names) != int(match[1]):
        return b"\0", ()
    return match[0], names


def _to_block(b: buffers.Buffers, n: int, n_weights: int, names: tuple[str, ...]) -> Block:
    """The first `n` events; columns of particles are the rows of the buffers."""
    offsets = b.event[: n + 1, buffers.PARTICLES].copy()
    ints, floats = b.ints[:, : offsets[-1]], b.floats[:, : offsets[-1]]
    particle: dict[str, NDArray[Any]] = {
        "pdg": ints[buffers.PDG],
        "status": ints[buffers.STATUS],
        "production_vertex": ints[buffers.PRODUCTION],
        "end_vertex": ints[buffers.END],
    }
    for i, name in enumerate(("px", "py", "pz", "energy", "mass", "vx", "vy", "vz", "vt")):
        particle[name] = floats[i]
    if n_weights == 0:
        weights, names = np.ones((n, 1)), (DEFAULT_WEIGHT,)
    else:
        weights = b.weights[:n, :n_weights].copy()
    if not names:
        names = (DEFAULT_WEIGHT,) if n_weights == 1 else tuple(str(i) for i in range(n_weights))
    values = _event_columns(b.header[:n])
    return Block(b.event[:n, buffers.NUMBER].copy(), offsets, values, weights, names, particle)


def _event_columns(header: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns of the event table, as :mod:`.info` makes them from the same records."""
    energy = np.where(header[:, buffers.GEV] == 0, 1.0, header[:, buffers.GEV])
    given = header[:, buffers.ATTRIBUTES :]
    values: dict[str, NDArray[Any]] = {
        name: header[:, buffers.COLLISION + i].copy() for i, name in enumerate(("vx", "vy", "vz", "vt"))
    }
    for i, name in enumerate(("cross_section", "cross_section_error")):
        values[name] = given[:, codes.CROSS_SECTION + i].copy()
    process, scale = given[:, codes.SIGNAL], given[:, codes.SCALE]
    values["signal_process"] = _integers(np.where(process == 0, np.nan, process), -1)
    values["event_scale"] = np.where(scale > 0, scale * energy, np.nan)
    pdf = given[:, codes.PDF : codes.HEAVY_ION]
    values["pdf_id1"], values["pdf_id2"] = _integers(pdf[:, 0], 0), _integers(pdf[:, 1], 0)
    for i, name in enumerate(("pdf_x1", "pdf_x2", "pdf_scale", "pdf_xf1", "pdf_xf2")):
        values[name] = pdf[:, 2 + i] * (energy if name == "pdf_scale" else 1.0)
    return values | _heavy_ion(given[:, codes.HEAVY_ION :])


def _heavy_ion(ion: NDArray[np.float64]) -> dict[str, NDArray[Any]]:
    """Columns of a record of version v0, and of an H line, which begins alike."""
    names = (
        "n_coll_hard",
        "n_part_projectile",
        "n_part_target",
        "n_coll",
        "n_spectator_neutrons",
        "n_spectator_protons",
    )
    values: dict[str, NDArray[Any]] = {name: _integers(ion[:, i], -1) for i, name in enumerate(names)}
    known = np.where(ion >= 0, ion, np.nan)
    values["impact_parameter"] = known[:, 9].copy()
    is_default = (ion[:, 10] == -1) & np.isnan(known[:, 9])
    values["event_plane_angle"] = np.where(is_default, np.nan, ion[:, 10])
    for i, name in enumerate(("eccentricity", "sigma_inel_nn", "centrality")):
        values[name] = known[:, 11 + i].copy()
    return values


def _integers(values: NDArray[np.float64], absent: int) -> NDArray[np.int32]:
    return np.where(np.isnan(values), absent, values).astype(np.int32)
