"""The loop over the events of a listing, the same for both formats of text."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.io.hepmc import buffers, codes
from flashdet.io.hepmc.buffers import Buffers
from flashdet.kernels.decimal import OK
from flashdet.kernels.jit import kernel

Text = NDArray[np.uint8]


def reader_of(read_event: Any) -> Callable[..., tuple[int, int, int]]:
    """Make the kernel that reads whole events, given the one that reads a single event.

    Parameters
    ----------
    read_event : kernel
        ``read_event(text, i, stop, b, event, names, work)`` returns a code and where it stopped.

    Returns
    -------
    kernel
        ``read_events(text, i, stop, b, first, last, names, work)``, see there.
    """

    @kernel
    def read_events(
        text: Text, i: int, stop: int, b: Buffers, first: int, last: int, names: Text, work: NDArray[np.int64]
    ) -> tuple[int, int, int]:
        """Read whole events.

        Parameters
        ----------
        text : (n,) uint8
            Text; at least 32 readable bytes follow `stop`.
        i, stop : int64
            Where to begin, and the end of the last whole event.
        b : Buffers
            Written from event `first` on.
        first, last : int64
            Number of the next event, and number behind the last one that is wanted.
        names : (m,) uint8
            IO_GenEvent: the N line that events with weight names must have.
        work : (m,) int64
            Work space, one place per vertex of `b`.

        Returns
        -------
        n_events : int64
            Number behind the last event that was read in full.
        i : int64
            Where it stopped.
        code : int64
            ``DONE``, ``FULL`` (no room or not wanted), ``HEADER`` (a line of no event at `i`), or what is wrong with
            the next event at `i`.
        """
        n = first
        while i < stop:
            kind = text[i]
            if kind == 69 and i + 1 < stop and text[i + 1] == 32:  # E
                if n == last:
                    return n, i, codes.FULL
                begin = i
                code, i = read_event(text, i, stop, b, n, names, work)
                if code != OK:
                    return n, begin if code == codes.FULL else i, code
                n += 1
            elif kind == 10 and n > first:
                b.event[n - 1, buffers.LINES] += 1
                i += 1
            else:
                return n, i, codes.HEADER
        return n, i, codes.DONE

    return read_events
