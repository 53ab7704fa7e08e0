"""HepMC events to batches: text of HepMC2 and HepMC3, plain or compressed, and HepMC3's ROOT trees.

The way of the data: :mod:`.source` (bytes) -> :mod:`.textbuffer` -> :mod:`.blocks` (listings, run information), then
for events beyond doubt :mod:`.parser` (many at a time: kernels in :mod:`.listing`, :mod:`.ascii3`, :mod:`.ascii2`,
:mod:`.written` for the lines that make up nearly all of a file, :mod:`.order`, :mod:`.graph`), for any other
:mod:`.integrity` with :mod:`.scan` and :mod:`.info` (is it sound?) and :mod:`.library` (pyhepmc); ROOT trees come
through :mod:`.tree` (uproot). All of them meet in :mod:`.block` (columns in internal units) and :mod:`.reader`
(batches of the events in the :mod:`.window`). Nothing here knows stages or detectors.
"""

from flashdet.io.hepmc.interface import EventReader, OnBadEvent, Skipped
from flashdet.io.hepmc.reader import open_events

__all__ = ["EventReader", "OnBadEvent", "Skipped", "open_events"]
