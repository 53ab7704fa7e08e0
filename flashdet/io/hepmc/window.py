"""Which events of a run are wanted: so many passed over, so many taken, counted over all its inputs."""

from __future__ import annotations

import sys

from flashdet.errors import CardError


class Window:
    """The events that are wanted, counted over all inputs of a run, good or bad.

    Parameters
    ----------
    first : int
        Events to pass over.
    events : int, optional
        Events to take; None: all.

    Raises
    ------
    CardError
        One of them is negative.
    """

    def __init__(self, first: int = 0, events: int | None = None) -> None:
        if first < 0 or (events is not None and events < 0):
            raise CardError(f"first={first}, events={events}: neither may be negative")
        self._to_skip, self._to_take = first, events

    @property
    def is_missed(self) -> bool:
        """Whether there are still events to pass over."""
        return self._to_skip > 0

    @property
    def is_over(self) -> bool:
        """Whether nothing more is wanted."""
        return self._to_take == 0

    @property
    def n_wanted(self) -> int:
        """How many more events to read, those to pass over included."""
        return sys.maxsize if self._to_take is None else self._to_skip + self._to_take

    def take_many(self, n: int) -> slice:
        """Count the next `n` events of the input; which of them are wanted."""
        start = min(n, self._to_skip)
        self._to_skip -= start
        stop = n if self._to_take is None else min(n, start + self._to_take)
        if self._to_take is not None:
            self._to_take -= stop - start
        return slice(start, stop)

    def take(self) -> bool:
        """Count the next event of the input; whether it is wanted."""
        if self._to_skip:
            self._to_skip -= 1
            return False
        if self.is_over:
            return False
        if self._to_take is not None:
            self._to_take -= 1
        return True
