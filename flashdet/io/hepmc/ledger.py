"""What a run does with damaged input: stop with an error, or count and go on; and counts of what is worth a warning."""

from __future__ import annotations

import logging

from flashdet.errors import CardError, InputError
from flashdet.io.hepmc.interface import OnBadEvent, Skipped

log = logging.getLogger(__name__)

#: How to go on in spite of a bad event, for the hints of errors.
SKIP_HINT = "repair the input, or leave out what is bad with --on-bad-event skip"


class Ledger:
    """Policy and counters of one run, shared by all its inputs.

    Parameters
    ----------
    on_bad_event : {"fail", "skip"}
        Whether `bad` raises or counts.

    Attributes
    ----------
    skipped : list of Skipped
        What was left out.
    counts : dict of str to int
        What was noted.

    Raises
    ------
    CardError
        The policy is neither of the two.
    """

    def __init__(self, on_bad_event: OnBadEvent = "fail") -> None:
        if on_bad_event not in ("fail", "skip"):
            raise CardError(f"on_bad_event is {on_bad_event!r}; allowed: fail, skip")
        self.on_bad_event = on_bad_event
        self.skipped: list[Skipped] = []
        self.counts: dict[str, int] = {}

    def bad(self, error: InputError, n_events: int = 1) -> None:
        """Raise the error, or count it.

        Parameters
        ----------
        error : InputError
            What is wrong and where.
        n_events : int
            Events lost with it.

        Raises
        ------
        InputError
            With ``on_bad_event="fail"``.
        """
        if self.on_bad_event == "fail":
            raise error
        log.info("left out: %s: %s", error.where, error.message)
        self.skipped.append(Skipped(error.where, error.message, n_events))

    def note(self, what: str, n: int = 1) -> None:
        """Count something that deserves a warning at the end of the run."""
        self.counts[what] = self.counts.get(what, 0) + n
