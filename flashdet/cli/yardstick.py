"""pyhepmc's bare loop over the text of an input: the yardstick of ``flashdet bench``.

All times are CPU time of this process. What our side costs is measured in `flashdet.cli.measure`.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Starts of the two kinds of HepMC text that the loop is timed on.
_TEXTS = {b"HepMC::Asciiv3": "HepMC3", b"HepMC::IO_GenEvent": "HepMC2"}


@dataclass
class Yardstick:
    """pyhepmc's bare loop over the first events of the same text.

    Attributes
    ----------
    layout : str
        ``"HepMC2"`` or ``"HepMC3"``.
    n_events : int
        Events in the loop.
    seconds, ours : float
        Median CPU seconds of the loop, and of our whole job for the same events.
    reading : float
        The part of `ours` that is reading.
    n_bytes : int
        Text of these events.
    """

    layout: str
    n_events: int
    seconds: float
    ours: float
    reading: float
    n_bytes: int


def decompressed(name: str, path: Path, events: int) -> str | None:
    """Write the text of the first events of an input, decompressed.

    Parameters
    ----------
    name : str
        The input.
    path : pathlib.Path
        File to write.
    events : int
        At least so many events are complete in it.

    Returns
    -------
    str or None
        ``"HepMC2"`` or ``"HepMC3"``; None for anything else, then nothing is written.
    """
    from flashdet.io.hepmc.source import Source

    source = Source(name)
    try:
        piece = source.read()
        layout = next((text for mark, text in _TEXTS.items() if mark in piece[:4096]), None)
        if layout is None:
            return None
        n, last = 0, b""
        with path.open("wb") as file:
            while piece and n <= events:
                file.write(piece)
                n += (last + piece).count(b"\nE ")
                last = piece[-2:]
                piece = source.read()
    finally:
        source.close()
    return layout


def bare_loop(path: Path, events: int, budget: float) -> tuple[float, int]:
    """CPU seconds of ``for event in pyhepmc.open(path)`` and nothing else.

    Parameters
    ----------
    path : pathlib.Path
        Plain text.
    events : int
        Events to read.
    budget : float
        CPU seconds after which no further event is begun.

    Returns
    -------
    seconds : float
        CPU time.
    n : int
        Events read.
    """
    import pyhepmc

    n, begin = 0, time.process_time()
    with pyhepmc.open(os.fspath(path)) as file:
        for _ in itertools.islice(file, events):
            n += 1
            if time.process_time() - begin > budget:
                break
        seconds = time.process_time() - begin
    return seconds, n


def bytes_of(path: Path, events: int) -> int:
    """Bytes of text up to the end of an event."""
    with path.open("rb") as file:
        ends = (file.tell() - len(line) for line in _lines(file) if line.startswith(b"E "))
        position = next(itertools.islice(ends, events, None), None)
    return path.stat().st_size if position is None else position


def _lines(file: Any) -> Iterator[bytes]:
    """Lines of a file by `readline`, after which ``tell`` is right."""
    return iter(file.readline, b"")
