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
from flashdet.io.hepmc.record import DEFAULT_WEIGHT
from flashdet.io.hepmc.textbuffer import TextBuffer

#: Events of one call, and weights of an event whose names are not known.
_MAX_EVENTS, _MAX_WEIGHTS = 4096, 256
#: No particle and no vertex takes fewer bytes of text.
_SHORTEST = 18
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
        self._buffers = buffers.make_buffers(0, 0, 0, 0)
        self._work = np.empty((2, 0), np.int64)

    def parse(self, text: TextBuffer, stop: int, names: tuple[str, ...], max_events: int) -> tuple[Block | None, int]:
        """Parse from the place of the buffer on, as far as events are beyond doubt.

        Parameters
        ----------
        text : TextBuffer
            At an E line; it is moved on over what was parsed.
        stop : int
            End of the last whole event in the text.
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
        line = b""
        if not self._is_asciiv3:
            line, names = _first_names(text, stop)
        n_weights = len(names)
        self._make_room(stop - text.at, n_weights or _MAX_WEIGHTS)
        b = self._buffers
        max_events = min(max_events, _MAX_EVENTS)
        if self._is_asciiv3:
            n, i, code = ascii3.read_events(text.text, text.at, stop, b, max_events)
        else:
            names_line = np.frombuffer(line, np.uint8)
            n, i, code = ascii2.read_events(text.text, text.at, stop, b, max_events, names_line, self._work[1])
        if n == 0:
            return None, 0
        if not names:
            n_weights = int(b.event[0, buffers.N_WEIGHTS])
        settled, _ = graph.finish_all(b, n, n_weights, self._work[0])
        if settled == 0:
            return None, 0
        if settled < n or code not in (codes.DONE, codes.FULL, codes.HEADER):
            i = int(b.event[settled, buffers.START])
        text.advance(i - text.at, int(b.event[:settled, buffers.LINES].sum()))
        n_unitless = int((b.header[:settled, buffers.GEV] == 0).sum())
        return _to_block(b, settled, max(n_weights, 0), names), n_unitless

    def _make_room(self, n_bytes: int, n_weights: int) -> None:
        """Larger buffers if the text may hold more particles or weights than the present ones."""
        rows = n_bytes // _SHORTEST + 2
        if rows > self._buffers.ints.shape[1] or n_weights != self._buffers.weights.shape[1]:
            rows = max(rows, self._buffers.ints.shape[1])
            self._buffers = buffers.make_buffers(rows, rows, _MAX_EVENTS, n_weights)
            self._work = np.empty((2, rows), np.int64)


def _first_names(text: TextBuffer, stop: int) -> tuple[bytes, tuple[str, ...]]:
    """N line of the first event and the names in it; none if the line is strange, which the kernel notices."""
    head = bytes(text.text[text.at : min(text.at + (1 << 16), stop)])
    head = head[: (head.find(b"\nV ") + 1) or len(head)]
    at = head.find(b"\nN ") + 1
    match = _WEIGHT_NAMES.match(head, at) if at else None
    if match is None:
        return b"N ", ()
    names = tuple(re.findall(r'"([^"]*)"', match[2].decode("utf-8", "replace")))
    return (match[0], names) if len(names) == int(match[1]) else (b"\0", ())


def _to_block(b: buffers.Buffers, n: int, n_weights: int, names: tuple[str, ...]) -> Block:
    """Copy the first `n` events out of the buffers."""
    offsets = b.event[: n + 1, buffers.PARTICLES].copy()
    rows = slice(0, int(offsets[-1]))
    ints, floats = b.ints[:, rows].copy(), b.floats[:, rows].copy()
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
