"""HepMC text, cut at the events: headers, footers, run information, and the text of each event.

This is the outer half of the integrity check: every input begins with a header line, every listing ends with its
footer, nothing stands between events but run information. Events go through :mod:`.parser` as many at a time as are
beyond doubt; the text of any other event is handed out for a closer look at what is inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from flashdet.errors import InputError
from flashdet.io.hepmc.block import Block
from flashdet.io.hepmc.ledger import SKIP_HINT, Ledger
from flashdet.io.hepmc.parser import Parser
from flashdet.io.hepmc.source import Source, describe
from flashdet.io.hepmc.textbuffer import TextBuffer

#: Text formats that are read, by the word in their header line.
ASCIIV3, IO_GENEVENT = "Asciiv3", "IO_GenEvent"

_LISTING = re.compile(rb"HepMC::(\w+)-(START|END)_EVENT_LISTING\s*")
#: Line of an attribute that says whose it is, as those of the run do not.
_ATTRIBUTE = re.compile(rb"A -?\d+ .*\n")
#: Note about events that do not say their units.
UNITLESS = "warning: events without units (GEV MM assumed)"
_ALLOWED = f"expected a line 'HepMC::{ASCIIV3}-START_EVENT_LISTING' or 'HepMC::{IO_GENEVENT}-START_EVENT_LISTING'"


@dataclass(frozen=True)
class TextEvent:
    """Text of one event and where it stood.

    Attributes
    ----------
    layout : str
        `ASCIIV3` or `IO_GENEVENT`.
    weight_names : tuple of str
        From the run information of Asciiv3, empty if there is none.
    text : bytes
        From the E line to the last line of the event.
    source : str
        Name of the input.
    index : int
        Place in the input, from 0.
    line : int
        Line of the E line, from 1.
    offset : int
        Byte of the E line in the decompressed input.
    """

    layout: str
    weight_names: tuple[str, ...]
    text: bytes
    source: str
    index: int
    line: int
    offset: int

    def where(self, position: int = 0) -> str:
        """Place of a byte of the text, for messages."""
        line = self.line + self.text.count(b"\n", 0, position)
        fields = self.text[:40].split(maxsplit=2)
        number = f" (number {fields[1].decode('ascii', 'replace')})" if len(fields) > 1 else ""
        return f"{self.source}: event {self.index}{number}, line {line}, byte {self.offset + position}"


@dataclass(frozen=True)
class ParsedEvents:
    """Events that were parsed at once, and the place of the first.

    Attributes
    ----------
    block : Block
    where : str
        For messages.
    """

    block: Block
    where: str


class TextBlocks:
    """Events of one text input, one after the other.

    Parameters
    ----------
    source : Source
        The input.
    ledger : Ledger
        What to do with damage.
    n_wanted : callable
        Returns how many more events are wanted at most.

    Raises
    ------
    InputError
        The input is not HepMC text; while iterating: as the ledger says.
    """

    def __init__(self, source: Source, ledger: Ledger, n_wanted: Callable[[], int]) -> None:
        self._source, self._ledger, self._n_wanted = source, ledger, n_wanted
        self._buffer = TextBuffer(source)
        self._layout = ""
        self._parser: Parser | None = None
        self._names: tuple[str, ...] = ()
        self._in_run_information = False
        self._index = 0
        self._check_start()

    def _check_start(self) -> None:
        """Refuse what does not begin like HepMC text; blank lines in front are harmless."""
        start = self._buffer.peek(512)
        head = start.lstrip()
        if head.startswith(b"HepMC::"):
            return
        if not head and self._buffer.damage is not None:
            raise self._buffer.damage
        if not head:
            raise InputError("the input has no content", self._source.name, _ALLOWED)
        if re.match(rb"E -?\d+ -?\d+", head):
            found = "events without the header line of HepMC text: their format cannot be told"
        else:
            found = f"{describe(start)} is no HepMC text"
        raise InputError(found, self._source.name, _ALLOWED)

    def __iter__(self) -> Iterator[TextEvent | ParsedEvents]:
        while self._find_listing():
            yield from self._listing()
        if self._buffer.damage is not None:
            self._ledger.bad(self._buffer.damage, 0)
        elif not self._layout:
            raise InputError("the input has no listing of events", self._source.name, _ALLOWED)
        elif self._index == 0:
            self._ledger.note("warning: inputs without events")

    def _error(self, message: str, hint: str = SKIP_HINT) -> InputError:
        """Error at the place of the buffer."""
        where = f"{self._source.name}: line {self._buffer.line}, byte {self._buffer.offset}"
        return InputError(message, where, hint)

    def _find_listing(self) -> bool:
        """Move behind the next START line; False at the end of the input."""
        while True:
            error_here = self._error("")
            line = self._buffer.take_line()
            if not line:
                return False
            word = line.strip()
            if not word or word.startswith(b"HepMC::Version"):
                continue
            match = _LISTING.fullmatch(line)
            layout = match[1].decode() if match and match[2] == b"START" else ""
            if layout in (ASCIIV3, IO_GENEVENT):
                self._layout, self._names, self._in_run_information = layout, (), False
                self._parser = Parser(layout == ASCIIV3)
                return True
            lost = self._pass_over()
            found = f"a listing of the format {layout}" if layout else f"{_shown(line)} outside of any listing"
            error = InputError(f"{found}; {lost} events in it", error_here.where, _ALLOWED)
            self._ledger.bad(error, lost)

    def _pass_over(self) -> int:
        """Move behind the next END line; the number of E lines passed."""
        n = 0
        while line := self._buffer.take_line():
            if line.startswith(b"E "):
                n += 1
            if line.startswith(b"HepMC::") and b"-END_" in line:
                break
        return n

    def _listing(self) -> Iterator[TextEvent | ParsedEvents]:
        """Events up to the END line."""
        while True:
            next_bytes = self._buffer.peek(8)
            if next_bytes.startswith(b"E "):
                parsed = self._parse()
                if parsed is not None:
                    yield parsed
                    continue
                event, is_cut = self._event()
                if event is not None:
                    yield event
                if is_cut:
                    return
            elif next_bytes.startswith(b"HepMC::"):
                if self._is_end():
                    return
            elif not next_bytes:
                if self._buffer.damage is None:
                    self._missing_end(0)
                return
            else:
                self._between()

    def _is_end(self) -> bool:
        """Deal with a HepMC:: line inside a listing; True if it ends the listing."""
        line = self._buffer.peek(256).split(b"\n")[0]
        match = _LISTING.fullmatch(line)
        if match and match[2] == b"END" and match[1].decode() == self._layout:
            self._buffer.take_line()
            return True
        if line.startswith(b"HepMC::Version") or (match and match[2] == b"START"):
            self._missing_end(0)  # another listing follows
            return True
        error = self._error(f"{_shown(line)} is no end of a listing of {self._layout}")
        self._buffer.take_line()
        self._ledger.bad(error, 0)
        return True

    def _missing_end(self, n_events: int) -> None:
        """Complain about a listing without END line; `n_events` is 1 if it ends within an event."""
        message = f"the line 'HepMC::{self._layout}-END_EVENT_LISTING' is missing: the input was probably cut"
        if n_events:
            message = f"the input ends within event {self._index - 1}; {message}"
        if self._ledger.on_bad_event == "fail" or n_events:
            self._ledger.bad(self._error(message), n_events)
        else:
            self._ledger.note("warning: listings without END line")

    def _between(self) -> None:
        """Take a line between events: blank or run information."""
        error = self._error("")
        line = self._buffer.take_line()
        if not line.strip():
            return
        if self._layout == ASCIIV3 and line[:2] in (b"W ", b"T ", b"A "):
            self._run_information(line)
            return
        allowed = "W, T, A and E lines" if self._layout == ASCIIV3 else "E lines"
        while self._buffer.peek(2) not in (b"E ", b"He", b""):
            self._buffer.take_line()
        found = f"{_shown(line)} where an event should begin; allowed: {allowed}"
        self._index += 1
        self._ledger.bad(InputError(found, error.where, SKIP_HINT))

    def _run_information(self, line: bytes) -> None:
        if not self._in_run_information:  # a new section replaces the old one as a whole
            self._in_run_information, self._names = True, ()
        if line.startswith(b"W "):
            self._names = _weight_names(line)

    def _parse(self) -> ParsedEvents | None:
        """Parse the events from here on that are beyond doubt; None if the next one needs a closer look."""
        if self._parser is None or (n_wanted := self._n_wanted()) < 1:
            return None
        buffer = self._buffer
        where = f"{self._source.name}: event {self._index}, line {buffer.line}, byte {buffer.offset}"
        block, n_unitless = self._parser.parse(buffer, self._names, n_wanted)
        if block is None:
            return None
        self._in_run_information = False
        self._index += block.n_events
        if n_unitless:
            self._ledger.note(UNITLESS, n_unitless)
        return ParsedEvents(block, where)

    def _event(self) -> tuple[TextEvent | None, bool]:
        """Text of the event that begins here, and whether the input ended in it."""
        buffer = self._buffer
        line, offset = buffer.line, buffer.offset
        text, is_cut = buffer.take_event()
        self._in_run_information = False
        index, names = self._index, self._names
        self._index += 1
        if b"\r" in text:
            text = text.replace(b"\r\n", b"\n")
        if self._layout == ASCIIV3:
            text = self._split_tail(text)
        event = TextEvent(self._layout, names, text, self._source.name, index, line, offset)
        if not is_cut:
            return event, False
        if buffer.damage is not None:
            damage, buffer.damage = buffer.damage, None
            where = event.where(len(text))
            self._ledger.bad(InputError(damage.message, where, damage.hint))
            return None, True
        is_whole = text.endswith(b"\n")
        self._missing_end(0 if is_whole else 1)
        return (event if is_whole else None), True

    def _split_tail(self, text: bytes) -> bytes:
        """Cut off run information behind the last particle or vertex: it belongs to the events that follow."""
        last = max(text.rfind(b"\nP "), text.rfind(b"\nV "))
        end = text.find(b"\n", last + 1) + 1
        if last < 0 or end <= 0:
            return text
        while _ATTRIBUTE.match(text, end):  # still of this event
            end = text.find(b"\n", end) + 1
        tail = text[end:].splitlines()
        if not tail or not all(line[:2] in (b"W ", b"T ", b"A ") or not line.strip() for line in tail):
            return text
        for line in filter(None, tail):
            self._run_information(line)
        return text[:end]


def _weight_names(line: bytes) -> tuple[str, ...]:
    r"""Names of a W line of the run information: blanks or ``\|`` (an escaped line end) between them."""
    text = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "|" else m[1], line[2:].decode("utf-8", "replace"))
    return tuple(text.split())


def _shown(line: bytes) -> str:
    """A line for messages: its beginning, rubbish made visible."""
    text = line.rstrip()
    return repr(text[:80])[1:] + ("..." if len(text) > 80 else "")
