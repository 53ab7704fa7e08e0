"""Names of stages, readers and writers, and where their classes live.

A name stands for ``"module:Object"``; the module is imported when somebody asks for the name. Other distributions add
names through the entry-point groups ``flashdet.stages``, ``flashdet.readers`` and ``flashdet.writers``; a running
program adds them with :func:`register`. Nothing here knows what a stage does.
"""

from __future__ import annotations

import difflib
import importlib
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from typing import Any

from flashdet.errors import CardError

log = logging.getLogger(__name__)

#: Where the names of the package itself come from, as shown to users.
BUILT_IN = "flashdet"


@dataclass(frozen=True)
class Entry:
    """One registered name.

    Attributes
    ----------
    name : str
        As written in cards.
    target : object
        ``"module:Object"``, imported on demand, or the object itself.
    origin : str
        Distribution and version that brought it, ``"flashdet"`` or ``"this program"``.
    """

    name: str
    target: Any
    origin: str


def near(name: str, allowed: Iterable[str]) -> str:
    """Say which names exist, the nearest first.

    Parameters
    ----------
    name : str
        What came.
    allowed : iterable of str
        What exists.

    Returns
    -------
    str
        ``"did you mean 'tof'? allowed: ..."``, without the question if nothing is near.
    """
    names = sorted(set(allowed))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    question = f"did you mean {close[0]!r}? " if close else ""
    return f"{question}allowed: {', '.join(names) or 'nothing'}"


class Registry:
    """Names of one family.

    Parameters
    ----------
    family : str
        ``"stages"``, ``"readers"`` or ``"writers"``; entry points are looked up in ``flashdet.<family>``.
    what : str
        What one of them is called in messages.
    built_in : mapping of str to str
        Names of the package and their ``"module:Object"``.
    """

    def __init__(self, family: str, what: str, built_in: Mapping[str, str]) -> None:
        self.family, self.what = family, what
        self._entries: dict[str, list[Entry]] = {n: [Entry(n, t, BUILT_IN)] for n, t in built_in.items()}
        self._scanned = False

    def add(self, name: str, target: Any, origin: str) -> None:
        """Add a name; a second origin of the same name is an error once somebody asks for it."""
        self._entries.setdefault(name, []).append(Entry(name, target, origin))

    def names(self) -> tuple[str, ...]:
        """All names, plugins included; nothing is imported."""
        self._scan()
        return tuple(self._entries)

    def entry(self, name: str) -> Entry:
        """Entry of a name.

        Raises
        ------
        CardError
            No such name, or two distributions claim it.
        """
        self._scan()
        found = self._entries.get(name)
        if found is None:
            raise CardError(f"unknown {self.what} {name!r}; {near(name, self._entries)}")
        if len(found) > 1:
            origins = " and ".join(e.origin for e in found)
            raise CardError(f"{self.what} {name!r} is claimed by {origins}; uninstall one of them")
        return found[0]

    def get(self, name: str) -> Any:
        """Import what a name stands for.

        Raises
        ------
        CardError
            No such name, two distributions claim it, or its import fails (the message names the distribution).
        """
        entry = self.entry(name)
        if not isinstance(entry.target, str):
            return entry.target
        module, _, attribute = entry.target.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # a plugin may fail in any way; the user must learn whose fault it is
            reason = f"{type(error).__name__}: {error}"
            text = f"{self.what} {name!r} ({entry.target} of {entry.origin}) cannot be imported: {reason}"
            raise CardError(text) from error

    def load_all(self) -> dict[str, Any]:
        """Everything that can be imported; what cannot is logged as a warning."""
        loaded = {}
        for name in self.names():
            try:
                loaded[name] = self.get(name)
            except CardError as error:
                log.warning("%s", error)
        return loaded

    def _scan(self) -> None:
        """Look up the entry points once."""
        if self._scanned:
            return
        self._scanned = True
        for point in metadata.entry_points(group=f"flashdet.{self.family}"):
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
            self.add(point.name, point.value, origin)


stages = Registry(
    "stages",
    "stage kind",
    {
        "conversions": "flashdet.stages.conversions.stage:Conversions",
        "propagate": "flashdet.stages.propagate.stage:Propagate",
        "tracking": "flashdet.stages.tracking.stage:Tracking",
        "vertex": "flashdet.stages.vertex:Vertex",
        "decay": "flashdet.stages.decay:Decay",
        "tof": "flashdet.stages.tof.stage:Tof",
        "event_time": "flashdet.stages.tof.jointtime:EventTime",
        "rich": "flashdet.stages.rich.stage:Rich",
        "emcal": "flashdet.stages.emcal.stage:EMCal",
        "muon": "flashdet.stages.muon.stage:Muon",
        "tot": "flashdet.stages.tot.stage:Tot",
        "pid": "flashdet.stages.combination:Pid",
    },
)
readers = Registry("readers", "reader", {"hepmc": "flashdet.io.hepmc:open_events"})
writers = Registry(
    "writers",
    "output format",
    {
        "aod": "flashdet.io.aod:AodWriter",
        "nano": "flashdet.io.nano:NanoWriter",
        "parquet": "flashdet.io.parquet:ParquetWriter",
    },
)
_FAMILIES = {"stages": stages, "readers": readers, "writers": writers}


def register(family: str, name: str, target: Any) -> None:
    """Add a stage, reader or writer of this program.

    Parameters
    ----------
    family : {"stages", "readers", "writers"}
        Where to add it.
    name : str
        Name in cards.
    target : object or str
        The class, or ``"module:Class"`` to import it on demand.

    Raises
    ------
    CardError
        The family is unknown or the name is taken.
    """
    if family not in _FAMILIES:
        raise CardError(f"unknown family {family!r}; {near(family, _FAMILIES)}")
    registry = _FAMILIES[family]
    if name in registry.names():
        raise CardError(f"the {registry.what} {name!r} exists already, from {registry.entry(name).origin}")
    registry.add(name, target, "this program")
