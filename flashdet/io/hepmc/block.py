"""Many events as columns: what readers deliver, and how pieces of any size become batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet import columns
from flashdet.event import EventBatch, Table
from flashdet.io.hepmc.keys import KeyMaker, fingerprints
from flashdet.io.hepmc.record import Event


@dataclass(frozen=True)
class Block:
    """Events that come one after the other in an input.

    Attributes
    ----------
    number : (k,) int64
        Event numbers.
    offsets : (k + 1,) int64
        Rows of event i are ``offsets[i]:offsets[i + 1]``.
    columns : dict of str to (k,) array
        Columns of the event table; those that are missing here were not given.
    weights : (k, n_weights) float64
    weight_names : tuple of str
    particle : dict of str to (n,) array
        Columns of the particle table.
    """

    number: NDArray[np.int64]
    offsets: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    weights: NDArray[np.float64]
    weight_names: tuple[str, ...]
    particle: dict[str, NDArray[Any]]

    @property
    def n_events(self) -> int:
        """Number of events."""
        return len(self.number)

    @property
    def n_particles(self) -> int:
        """Number of particles."""
        return int(self.offsets[-1] - self.offsets[0])

    def __getitem__(self, events: slice) -> Block:
        """Return some of the events, as views."""
        start, stop, _ = events.indices(self.n_events)
        events = slice(start, stop)
        offsets = self.offsets[start : stop + 1]
        first, last = offsets[0], offsets[-1]
        return Block(
            self.number[events],
            offsets - first,
            {name: values[events] for name, values in self.columns.items()},
            self.weights[events],
            self.weight_names,
            {name: values[first:last] for name, values in self.particle.items()},
        )


def from_events(events: Sequence[Event]) -> Block:
    """Put single events with the same weights into a block.

    Parameters
    ----------
    events : sequence of Event
        At least one.

    Returns
    -------
    Block
    """
    values = {
        c.name: np.array([event.columns.get(c.name, not_given(c)) for event in events], c.dtype)
        for c in columns.EVENT
        if any(c.name in event.columns for event in events)
    }
    return Block(
        np.array([event.number for event in events], np.int64),
        np.cumsum([0] + [event.n_particles for event in events], dtype=np.int64),
        values,
        np.array([event.weights for event in events], np.float64),
        events[0].weight_names,
        {c.name: np.concatenate([event.particle[c.name] for event in events]) for c in columns.PARTICLE},
    )


def names_of(block: Block) -> NDArray[np.uint64]:
    """Names of the events of a block (:func:`.keys.fingerprints`)."""
    p = block.particle
    momentum = (p["px"], p["py"], p["pz"], p["energy"])
    return fingerprints(block.number, block.offsets - block.offsets[0], p["pdg"], p["status"], momentum)


def to_batch(pieces: Sequence[Block | Event], keys: KeyMaker, weight_names: tuple[str, ...]) -> EventBatch:
    """Put events into a batch.

    Parameters
    ----------
    pieces : sequence of Block or Event
        All with as many weights as there are names.
    keys : KeyMaker
        Of the run.
    weight_names : tuple of str
        Names of the weights of the run.

    Returns
    -------
    EventBatch
        Tables ``event`` (with ``weights``) and ``particle``.
    """
    blocks = _blocks(pieces)
    sizes = np.concatenate([np.diff(block.offsets) for block in blocks])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    particle = {c.name: _join([b.particle[c.name] for b in blocks], c.dtype) for c in columns.PARTICLE}
    number = _join([block.number for block in blocks], "i8")
    momentum = (particle["px"], particle["py"], particle["pz"], particle["energy"])
    names = fingerprints(number, offsets, particle["pdg"], particle["status"], momentum)
    weights = _join([block.weights for block in blocks], "f8")
    special = {"number": number, "key": keys.keys(names), "weight": np.ascontiguousarray(weights[:, 0])}
    table = Table.per_event("event", len(number))
    for column in columns.EVENT:
        values = special.get(column.name)
        if values is None:
            absent = not_given(column)
            values = _join([b.columns.get(column.name, np.full(b.n_events, absent)) for b in blocks], column.dtype)
        table.attach(column.name, values)
    table.attach(columns.EVENT_WEIGHTS.name, weights)
    batch = EventBatch(weight_names=weight_names)
    batch.add(table)
    batch.add(Table("particle", offsets, particle))
    return batch


def _blocks(pieces: Sequence[Block | Event]) -> list[Block]:
    """Put single events that follow each other into one block."""
    blocks: list[Block] = []
    events: list[Event] = []
    for piece in pieces:
        if isinstance(piece, Event):
            events.append(piece)
            continue
        blocks += [from_events(events)] if events else []
        blocks.append(piece)
        events = []
    return [*blocks, from_events(events)] if events else blocks


def _join(parts: list[NDArray[Any]], dtype: str) -> NDArray[Any]:
    """Concatenate; a single part that fits already is not copied."""
    if len(parts) == 1:
        return np.ascontiguousarray(parts[0], dtype)
    return np.concatenate(parts).astype(dtype, copy=False)


def not_given(column: columns.Column) -> float | int:
    """Value of an event column that the input does not give: NaN where it is declared, 0 for parton codes, else -1."""
    if column.missing:
        return float("nan")
    return 0 if column.name.startswith(("pdf_id", "v")) else -1
