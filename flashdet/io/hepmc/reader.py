"""Inputs chained to one stream of event batches: choice of format, window of events, batching, policy, counters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from flashdet.errors import CardError, InputError
from flashdet.event import EventBatch
from flashdet.io.hepmc import library
from flashdet.io.hepmc.block import Block, from_events, names_of, to_batch
from flashdet.io.hepmc.blocks import ASCIIV3, UNITLESS, ParsedEvents, TextBlocks, TextEvent
from flashdet.io.hepmc.integrity import check
from flashdet.io.hepmc.interface import MAX_EVENTS, TARGET_PARTICLES, EventReader, OnBadEvent, Skipped
from flashdet.io.hepmc.keys import KeyMaker
from flashdet.io.hepmc.ledger import SKIP_HINT, Ledger
from flashdet.io.hepmc.record import AbsurdError, Event, to_event
from flashdet.io.hepmc.source import Source
from flashdet.io.hepmc.window import Window

_GUN = "gun:"
#: Advice about inputs that are no files.
_HINTS = {
    "pythia": "generators do not run in here: let them write HepMC to a file, or to standard output and read '-'",
}
_ROOT_MAGIC = b"root"


def open_events(
    inputs: Sequence[str | Path],
    *,
    first: int = 0,
    events: int | None = None,
    on_bad_event: OnBadEvent = "fail",
    target_particles: int = TARGET_PARTICLES,
) -> EventReader:
    """Open generator events, whatever their format.

    Parameters
    ----------
    inputs : sequence of str or Path
        One after the other: HepMC2 (IO_GenEvent) or HepMC3 (Asciiv3) text, plain or compressed with gzip, xz or zstd
        (told by content, not by name), HepMC3 ROOT trees, ``-`` for standard input, ``gun:...`` for made-up events
        (:mod:`flashdet.io.guns`).
    first : int
        Events to pass over, counted over all inputs.
    events : int, optional
        Events to take after that, bad ones included; default: all.
    on_bad_event : {"fail", "skip"}
        Whether damage is an error or counted and left out.
    target_particles : int
        Particles that close a batch. Batches change nothing in the content.

    Returns
    -------
    EventReader

    Raises
    ------
    InputError
        An input does not exist or is none of these formats (here or when its turn comes).
    CardError
        A number is out of range.
    """
    return ChainReader(inputs, Window(first, events), Ledger(on_bad_event), target_particles)


class ChainReader:
    """The reader of :func:`open_events`; see :class:`.interface.EventReader`.

    Parameters
    ----------
    inputs : sequence of str or Path
    window : Window
    ledger : Ledger
    target_particles : int

    Raises
    ------
    InputError
        There is no input, or a file does not exist.
    """

    def __init__(self, inputs: Sequence[str | Path], window: Window, ledger: Ledger, target_particles: int) -> None:
        if not inputs:
            raise InputError("no input is given", hint="name HepMC files, '-' for standard input, or 'gun:...'")
        self._inputs = [str(name) for name in inputs]
        for name in self._inputs:
            if name != "-" and not name.startswith(_GUN) and not Path(name).is_file():
                what = "it is a directory" if Path(name).is_dir() else "there is no such file"
                raise InputError(what, name, _HINTS.get(name.partition(":")[0], "check the path"))
        if target_particles < 1:
            raise CardError(f"target_particles={target_particles}; allowed: 1 or more")
        self._window, self._ledger, self._target = window, ledger, target_particles
        self._keys = KeyMaker()
        self._source: Source | None = None
        self._weight_names: tuple[str, ...] = ()
        self.n_read = 0

    @property
    def skipped(self) -> list[Skipped]:
        """What was left out so far."""
        return self._ledger.skipped

    @property
    def counts(self) -> dict[str, int]:
        """What was noted so far, by name."""
        counts = dict(self._ledger.counts)
        if self._keys.n_repeated:
            counts["warning: repeated events"] = self._keys.n_repeated
        return counts

    def batches(self) -> Iterator[EventBatch]:
        """Batches of whole events, in the order of the inputs.

        Raises
        ------
        InputError
            Damage, with ``on_bad_event="fail"``; an input of another format in any case.
        """
        pending: list[Block | Event] = []
        n_events = n_particles = 0
        for piece in self._portions():
            pending.append(piece)
            n_events += piece.n_events
            n_particles += piece.n_particles
            # Half a target is enough behind a large piece: putting two of them together would copy both.
            is_large = piece.n_particles >= self._target // 2
            if n_particles >= self._target or n_events >= MAX_EVENTS or is_large:
                yield self._batch(pending)
                pending, n_events, n_particles = [], 0, 0
        if pending:
            yield self._batch(pending)
        if self._window.is_missed and not self.skipped:
            self._ledger.note("warning: inputs end before the first event wanted")

    def _batch(self, pieces: list[Block | Event]) -> EventBatch:
        batch = to_batch(pieces, self._keys, self._weight_names)
        self.n_read += batch.n_events
        return batch

    def _portions(self) -> Iterator[Block | Event]:
        """Events, and blocks of them cut so that no block exceeds a batch."""
        for piece in self._events():
            if isinstance(piece, Event):
                yield piece
                continue
            start = 0
            while start < piece.n_events:
                full = int(np.searchsorted(piece.offsets, piece.offsets[start] + self._target))
                stop = min(max(full, start + 1), start + MAX_EVENTS, piece.n_events)
                yield piece if stop - start == piece.n_events else piece[start:stop]
                start = stop

    def _events(self) -> Iterator[Block | Event]:
        for name in self._inputs:
            if self._window.is_over:
                return
            for where, event in self._open(name):
                if self._has_run_weights(where, event):
                    yield event

    def _has_run_weights(self, where: str, piece: Block | Event) -> bool:
        """Hold all events of a run to the weights of the first; the name of a single weight does not matter."""
        names = self._weight_names
        n_weights = piece.weights.shape[1] if isinstance(piece, Block) else len(piece.weights)
        if not names:
            self._weight_names = piece.weight_names
            return True
        if names == piece.weight_names and len(names) == n_weights:
            return True
        if len(names) == n_weights == 1:
            self._ledger.note("warning: events whose single weight has another name", piece.n_events)
            return True
        message = f"the weights {_few(piece.weight_names)} are not those of the first event, {_few(names)}"
        self._ledger.bad(
            InputError(message, where, "simulate inputs with different weights one by one"), piece.n_events
        )
        return False

    def _open(self, name: str) -> Iterator[tuple[str, Block | Event]]:
        """Wanted events of one input with their places."""
        if name.startswith(_GUN):
            from flashdet.io.guns import gun_events

            for event in gun_events(name[len(_GUN) :]):
                if self._window.take():
                    yield name, event
                else:
                    self._pass_over(from_events([event]))
                if self._window.is_over:
                    return
            return
        self.close()
        self._source = source = Source(name)
        try:
            if source.start.startswith(_ROOT_MAGIC) and name != "-":
                from flashdet.io.hepmc.tree import tree_events

                yield from tree_events(
                    name, self._window, self._ledger, lambda event: self._pass_over(from_events([event]))
                )
            else:
                yield from self._text_events(source)
        finally:
            self.close()

    def _text_events(self, source: Source) -> Iterator[tuple[str, Block | Event]]:
        for text in TextBlocks(source, self._ledger, lambda: self._window.n_wanted):
            if isinstance(text, ParsedEvents):
                wanted = self._window.take_many(text.block.n_events)
                self._pass_over(text.block[: wanted.start])
                if wanted.start < wanted.stop:
                    yield text.where, text.block[wanted]
            elif self._window.take():
                event = self._read(text)
                if event is not None:
                    yield text.where(), event
            else:
                # damage of an event that is not wanted is no concern of this run
                with suppress(InputError, AbsurdError):
                    self._pass_over(from_events([to_event(library.parse(text, check(text)))]))
            if self._window.is_over:
                return

    def _pass_over(self, block: Block) -> None:
        """Take notice of events before the first one wanted: if they come again, their keys must not depend on that."""
        if block.n_events:
            self._keys.keys(names_of(block))

    def _read(self, text: TextEvent) -> Event | None:
        """Check and parse one event; None if it was left out."""
        try:
            found = check(text)
            event = to_event(library.parse(text, found))
        except InputError as error:
            # where the E line of the following event is damaged, that event hangs on this one
            again = b"\nP 1 " if text.layout == ASCIIV3 else b"\nU "
            self._ledger.bad(error, max(1, text.text.count(again)))
            return None
        except AbsurdError as error:
            self._ledger.bad(InputError(str(error), text.where(), SKIP_HINT))
            return None
        if not found.info.momentum_unit:
            self._ledger.note(UNITLESS)
        return event

    def close(self) -> None:
        """Close the open file."""
        if self._source is not None:
            self._source.close()
            self._source = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _few(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:5]) + (f", ... ({len(listed)})" if len(listed) > 5 else "")
