"""HepMC events to batches: text of HepMC2 and HepMC3, plain or compressed, and HepMC3's ROOT trees.

The way of the data: :mod:`.source` (bytes) -> :mod:`.blocks` (text of each event) -> :mod:`.integrity` with
:mod:`.scan` and :mod:`.info` (is it sound?) -> :mod:`.library` (pyhepmc) or :mod:`.tree` (uproot) -> :mod:`.record`
(columns in internal units) -> :mod:`.reader` (batches). Nothing here knows stages or detectors.
"""

from flashdet.io.hepmc.interface import EventReader, OnBadEvent, Skipped
from flashdet.io.hepmc.reader import open_events

__all__ = ["EventReader", "OnBadEvent", "Skipped", "open_events"]
