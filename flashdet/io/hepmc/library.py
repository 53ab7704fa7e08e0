"""Text of one event -> its parts, through pyhepmc. The only module that knows pyhepmc."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from flashdet.errors import InputError
from flashdet.io.hepmc.blocks import ASCIIV3, TextEvent
from flashdet.io.hepmc.integrity import Found
from flashdet.io.hepmc.ledger import SKIP_HINT
from flashdet.io.hepmc.record import Record

_ATTRIBUTES = re.compile(rb"^A .*\n", re.MULTILINE)


@contextmanager
def _silence(pyhepmc: Any) -> Iterator[None]:
    """Keep the library from printing what we report ourselves."""
    setup = pyhepmc.Setup
    before = setup.print_errors, setup.print_warnings, setup.debug_level
    setup.print_errors, setup.print_warnings, setup.debug_level = False, False, 0
    try:
        yield
    finally:
        setup.print_errors, setup.print_warnings, setup.debug_level = before


def _bare(event: TextEvent, found: Found) -> bytes:
    """Text with the lines that only the library can read: particles and vertices.

    The others are read by :mod:`.info`; without them the library is faster and its limits (lines of 256 kB, the signal
    vertex) do not matter.
    """
    info = found.info
    if event.layout == ASCIIV3:
        head = f"E {info.number} {info.n_vertices} {info.n_particles}\n"
    else:
        head = f"E {info.number} -1 0 0 0 0 0 {info.n_vertices} 0 0 0 0\n"
    body = event.text[found.body :]
    if event.layout == ASCIIV3 and b"\nA " in body:
        body = _ATTRIBUTES.sub(b"", body)  # pyhepmc loses the particles behind them
    return head.encode() + body


def parse(event: TextEvent, found: Found) -> Record:
    """Parse the text of an event that passed the integrity check.

    Parameters
    ----------
    event : TextEvent
        The text.
    found : Found
        What the check found in it.

    Returns
    -------
    Record

    Raises
    ------
    InputError
        pyhepmc refuses the event, or loses particles of it.
    """
    import pyhepmc

    reader_class = pyhepmc.io.ReaderAscii if event.layout == ASCIIV3 else pyhepmc.io.ReaderAsciiHepMC2
    loaded = pyhepmc.GenEvent()
    with _silence(pyhepmc):
        try:
            stream = pyhepmc.io.pyiostream(io.BytesIO(_bare(event, found)))
            is_read = reader_class(stream).read_event(loaded)
        except (RuntimeError, ValueError) as error:
            raise InputError(f"pyhepmc cannot read the event: {error}", event.where(), SKIP_HINT) from error
    data = pyhepmc.GenEventData()
    loaded.write_data(data)
    particles, vertices = data.particles, data.vertices
    if not is_read or len(particles) != found.n_particles:
        lost = f"pyhepmc reads {len(particles)} of {found.n_particles} particles of the event"
        raise InputError(lost, event.where(), SKIP_HINT)
    info = found.info
    if event.layout != ASCIIV3:
        attributes = loaded.attributes
        info.has_cycles = "cycles" in attributes and int(attributes["cycles"]) != 0
    ids = loaded.numpy.vertices.id
    place = -np.asarray(ids, np.int64) - 1
    if not np.array_equal(np.sort(place), np.arange(len(vertices))):
        raise InputError("pyhepmc gives two vertices the same id", event.where(), SKIP_HINT)
    position = np.empty((len(vertices), 4))
    for i, name in enumerate(("x", "y", "z", "t")):
        position[place, i] = vertices[name]
    columns = {name: np.ascontiguousarray(particles[key]) for name, key in _FIELDS.items()}
    return Record(info, position=position, links=np.stack([data.links1, data.links2]), **columns)


_FIELDS = {
    "pdg": "pid",
    "status": "status",
    "px": "px",
    "py": "py",
    "pz": "pz",
    "energy": "e",
    "mass": "mass",
}
