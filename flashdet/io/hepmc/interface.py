"""What a reader of generator events is: the interface, and the record of what it had to leave out.

Stages, pipeline and command line know readers by these names only. Formats live in the other modules of this room.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self

from flashdet.event import EventBatch

#: What to do with an event that cannot be read.
OnBadEvent = Literal["fail", "skip"]

#: A batch is closed by the event that reaches this many particles: the columns of a batch stay near 30 MB.
TARGET_PARTICLES = 200_000
#: Events in one batch at most.
MAX_EVENTS = 1000


@dataclass(frozen=True)
class Skipped:
    """A piece of input that was left out.

    Attributes
    ----------
    where : str
        Input, event, line and byte.
    reason : str
        What was wrong.
    n_events : int
        Events lost with it, as far as can be told.
    """

    where: str
    reason: str
    n_events: int = 1


class EventReader(Protocol):
    """Source of event batches; use it in a ``with`` statement.

    Attributes
    ----------
    n_read : int
        Events delivered so far.
    """

    n_read: int

    @property
    def skipped(self) -> list[Skipped]:
        """What was left out so far; always empty with ``on_bad_event="fail"``."""
        ...

    @property
    def counts(self) -> dict[str, int]:
        """How often something noteworthy happened so far, by a short name of it (``"warning: ..."``)."""
        ...

    def batches(self) -> Iterator[EventBatch]:
        """Batches of whole events, once, in the order of the input."""
        ...

    def close(self) -> None:
        """Close all files."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
