"""What every writer of events does: part file, buffering, chunks, and the description of what is inside.

A subclass turns one chunk of events into its format. A file appears under its name only when it is complete: until then
it is ``NAME.part``, and an exception or a signal removes it. Chunks (ROOT directories, baskets, row groups) end where
the events themselves say so, never where a batch ended, so that a file is the same for any batch size. Nothing here
knows a file format or a detector.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Self

import numpy as np

from flashdet import pruning
from flashdet.columns import DATA_MODEL_VERSION
from flashdet.errors import ColumnError, OutputError
from flashdet.event import EventBatch
from flashdet.io.chunk import Chunk
from flashdet.io.setup import OutputSetup, Particles
from flashdet.provenance import manifest_path

#: A chunk ends with the event that reaches one of these numbers of rows. 50 000 tracks with 350 columns are 70 MB and
#: as much again while they are packed.
CHUNK_ROWS = {"track": 50_000, "particle": 500_000, "event": 10_000}


class Writer(ABC):
    """Writes event batches to one file; a context manager.

    Leaving the block closes the file; leaving it with an exception aborts.

    Parameters
    ----------
    path : path-like
        Name of the file.
    setup : OutputSetup
        What goes into it.
    overwrite : bool
        Whether a file of that name may be replaced.

    Raises
    ------
    OutputError
        The file exists, its directory does not, or it cannot be written.
    """

    #: Name of the format in cards.
    format: ClassVar[str]
    #: What default file names end with.
    suffix: ClassVar[str]
    #: Which generated particles are written if the card does not say.
    default_particles: ClassVar[Particles] = "all"

    def __init__(self, path: str | os.PathLike[str], *, setup: OutputSetup, overwrite: bool = False) -> None:
        self.path, self.setup, self.overwrite = Path(path), setup, overwrite
        self.part = self.path.with_name(self.path.name + ".part")
        self.n_events = 0
        self.particles: Particles = setup.particles or self.default_particles
        #: Columns that follow from others and are not written, as ``table.column``, and how they follow.
        self.left_out: dict[str, str] = {}
        #: Generated particles that came and that were written.
        self.n_particles_read, self.n_particles_written = 0, 0
        self._chunk: Chunk | None = None
        self._fill = dict.fromkeys(CHUNK_ROWS, 0)
        self._tables: tuple[str, ...] = ()
        self._given: dict[str, frozenset[str]] = {}
        self._weight_names: tuple[str, ...] = ()
        self._begun = False
        self._is_open = True
        self._refuse_existing()
        try:
            self._file: BinaryIO = self.part.open("w+b")
        except OSError as error:
            raise OutputError(f"cannot write: {error.strerror}", str(self.path)) from error

    # --- what a format provides --------------------------------------------------------------------------------------
    @abstractmethod
    def _begin(self, header: dict[str, Any], first: EventBatch | None) -> None:
        """Start the file: `header` describes it, `first` is the first chunk (None: there are no events)."""

    @abstractmethod
    def _write_chunk(self, batch: EventBatch) -> None:
        """Write one chunk of events: selected tables and columns, float32, in memory that the next chunk overwrites."""

    @abstractmethod
    def _finish(self) -> None:
        """Complete the file; the base class closes it if that is left to do."""

    def _abandon(self) -> None:  # noqa: B027 - most formats have nothing to let go
        """Let go of the file without completing it; the base class closes and removes it."""

    def _also_needed(self, batch: EventBatch) -> tuple[str, ...]:
        """Tables that the format uses without writing them as they are."""
        return ()

    # --- what users call ---------------------------------------------------------------------------------------------
    def write(self, batch: EventBatch) -> None:
        """Add events.

        Parameters
        ----------
        batch : EventBatch
            With the same tables and columns every time.

        Raises
        ------
        OutputError
            The disk is full, or the card lists a table that no stage writes: the part file is gone then. Or the writer
            is closed.
        ColumnError
            Tables or columns differ from those of earlier batches.
        """
        if not self._is_open:
            raise OutputError("is closed already", str(self.path))
        try:
            self._take(batch)
        except OSError as error:
            self.abort()
            raise OutputError(f"cannot write: {error.strerror or error}", str(self.path)) from error
        except BaseException:
            self.abort()
            raise

    def close(self) -> None:
        """Write what is buffered, flush to the disk and give the file its name.

        Raises
        ------
        OutputError
            The disk is full or another job made a file of that name meanwhile. The part file is gone then.
        """
        if not self._is_open:
            return
        try:
            self._flush()
            if not self._begun:
                self._begin(self._header(None), None)
            self._finish()
            self._file.close()
            sync(self.part)
            self._refuse_existing()
            # a manifest of the file that is replaced would vouch for the wrong bytes
            manifest_path(self.path).unlink(missing_ok=True)
            self.part.replace(self.path)
            sync(self.path.parent)
            self._is_open = False
        except OSError as error:
            self.abort()
            raise OutputError(f"cannot write: {error.strerror or error}", str(self.path)) from error
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Close and remove the part file; a file of that name from before stays as it was.

        Nothing happens once the file is complete.
        """
        if not self._is_open:
            return
        self._is_open = False
        self._chunk = None
        self._abandon()
        # flushing the rest to a full disk fails again; the bytes are thrown away anyway
        with suppress(OSError):
            self._file.close()
        self.part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    # --- buffering ---------------------------------------------------------------------------------------------------
    def _take(self, batch: EventBatch) -> None:
        """Buffer a batch and write the chunks that it completes."""
        if self._chunk is None:
            self._chunk = self._first_chunk(batch)
        for name, given in self._given.items():
            if frozenset(batch[name]) != given or batch.weight_names != self._weight_names:
                raise ColumnError("the batches differ in their columns or weight names", name)
        batch = self._prune(batch)
        # rows that count are those of the batch, whether their table is written or not
        rows = {name: batch[name].offsets for name in CHUNK_ROWS if name in batch}
        start = 0
        while (stop := self._first_full(rows, start)) is not None:
            self._chunk.append(batch, start, stop)
            self._flush()
            start = stop
        self._chunk.append(batch, start, batch.n_events)
        for name, offsets in rows.items():
            self._fill[name] += int(offsets[-1] - offsets[start])

    def _first_chunk(self, batch: EventBatch) -> Chunk:
        """Decide by the first batch which tables and columns are kept."""
        self._tables = tuple(dict.fromkeys((*self.setup.selected(batch), *self._also_needed(batch))))
        self._given = {name: frozenset(batch[name]) for name in self._tables}
        self._weight_names = batch.weight_names
        for name in self._tables:
            self.left_out |= {f"{name}.{column}": how for column, how in self.setup.left_out(batch[name]).items()}
        # memory for as many rows as a full chunk will have if all batches are like this one
        filled = max([batch[name].n_rows / rows for name, rows in CHUNK_ROWS.items() if name in batch], default=0.0)
        times = 1.1 / filled if 0.0 < filled < 1.0 else 1.0
        expected = {name: int(times * batch[name].n_rows) for name in self._tables}
        return Chunk({name: self.setup.kept(batch[name]) for name in self._tables}, expected)

    def _prune(self, batch: EventBatch) -> EventBatch:
        """Leave out the generated particles that are not wanted."""
        if "particle" not in batch:
            return batch
        self.n_particles_read += batch["particle"].n_rows
        if "particle" not in self._tables:
            return batch
        if self.particles in ("acceptance", "tracked"):
            light = EventBatch({n: batch[n] for n in {**dict.fromkeys(self._tables), **_counted(batch)}})
            light.weight_names = batch.weight_names
            chosen = pruning.pointed_at(light, tuple(light.tables))
            if self.particles == "acceptance":
                chosen |= pruning.within(light, self.setup.eta_max)
            batch = pruning.prune(light, pruning.family(light, chosen))
        self.n_particles_written += batch["particle"].n_rows
        return batch

    def _first_full(self, rows: Mapping[str, Any], start: int) -> int | None:
        """One past the event from `start` on with which the pending chunk is full; None if it is not."""
        stops = []
        for name, offsets in rows.items():
            reached = int(np.searchsorted(offsets, offsets[start] + CHUNK_ROWS[name] - self._fill[name]))
            if reached < len(offsets):
                stops.append(max(reached, start + 1))
        return min(stops, default=None)

    def _flush(self) -> None:
        """Write the pending events as one chunk."""
        if self._chunk is None:
            return
        chunk = self._chunk.events()
        if not self._begun:
            self._begun = True
            self._begin(self._header(chunk), chunk)
        if chunk.n_events:
            self._write_chunk(chunk)
            self.n_events += chunk.n_events
        self._chunk.clear()
        self._fill = dict.fromkeys(CHUNK_ROWS, 0)

    def _header(self, chunk: EventBatch | None) -> dict[str, Any]:
        """Describe the file: format, versions and every column with its unit and sentence, ready for JSON."""
        declared = self.setup.declared
        tables: dict[str, dict[str, Any]] = {}
        selected = self.setup.selected(chunk) if chunk is not None else ()
        for name in selected:
            assert chunk is not None
            tables[name] = {}
            for column, values in chunk[name].items():
                known = declared.get(f"{name}.{column}")
                tables[name][column] = {
                    "dtype": values.dtype.str[1:],
                    "shape": list(values.shape[1:]),
                    "unit": known.unit if known else "",
                    "doc": known.doc if known else "",
                }
        return {
            "format": self.format,
            "data_model": DATA_MODEL_VERSION,
            "magnetic_field": self.setup.magnetic_field,
            "weight_names": list(self.setup.weight_names),
            "stage_kinds": dict(self.setup.stage_kinds),
            "particles": self.particles if "particle" in selected else "none",
            "tables": tables,
            "left_out": self.left_out,
            "provenance": dict(self.setup.provenance),
        }

    def _refuse_existing(self) -> None:
        refuse_existing(self.path, self.overwrite)


def refuse_existing(path: Path, overwrite: bool) -> None:
    """Refuse a path that must not be replaced by an output.

    Parameters
    ----------
    path : Path
        Where the output shall go.
    overwrite : bool
        Whether a file may be replaced.

    Raises
    ------
    OutputError
        It is a directory, a device or a pipe, or a file that may not be replaced.
    """
    if path.is_dir():
        raise OutputError("is a directory; give the name of a file", str(path))
    if path.exists() and not path.is_file():
        raise OutputError("is no regular file: an output is written beside its name and renamed", str(path))
    if not overwrite and path.exists():
        raise OutputError("exists already", str(path), hint="choose another name or pass --overwrite")


def _counted(batch: EventBatch) -> dict[str, None]:
    return dict.fromkeys(name for name in CHUNK_ROWS if name in batch)


def header_text(header: Mapping[str, Any]) -> str:
    """Header as JSON text, the same for equal headers."""
    return json.dumps(header, sort_keys=False, separators=(",", ":"))


def sync(path: Path) -> None:
    """Put a file, or the names in a directory, onto the disk, so that a power cut leaves whole files or none."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
