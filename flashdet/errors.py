"""Errors that users see.

Each one says where it happened, what came, what is allowed and what to do. Which to raise: `CardError` for a card or a
command-line setting, `LutError` for a lookup table, `InputError` for generator events, `ColumnError` for a table or
column of an event batch, `StageError` for a simulation step that cannot go on, `OutputError` for a file that cannot be
written. Programming mistakes stay ordinary Python exceptions.
"""

from __future__ import annotations


class FlashDetError(Exception):
    """Base of all errors that are meant for the user.

    Parameters
    ----------
    message : str
        What came and what is allowed.
    where : str, optional
        File, line, event or column: put in front of the message.
    hint : str, optional
        What to do about it: put on a line of its own.
    """

    #: Exit code of the command line (0 done, 1 failed, 2 bad card or arguments, 3 bad input).
    exit_code = 1

    def __init__(self, message: str, where: str = "", hint: str = "") -> None:
        super().__init__(message, where, hint)
        self.message, self.where, self.hint = message, where, hint

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}" if self.where else self.message
        return f"{text}\n  {self.hint}" if self.hint else text


class CardError(FlashDetError):
    """A card or a setting on the command line is wrong."""

    exit_code = 2


class LutError(FlashDetError):
    """A lookup table is missing, damaged or does not fit its use."""

    exit_code = 2


class InputError(FlashDetError):
    """Generator events are missing, damaged or not what the reader takes."""

    exit_code = 3


class ColumnError(FlashDetError):
    """A table or column of an event batch is missing, doubled or malformed."""


class StageError(FlashDetError):
    """A stage of the simulation cannot do its work."""


class OutputError(FlashDetError):
    """An output file cannot be written or already exists."""
