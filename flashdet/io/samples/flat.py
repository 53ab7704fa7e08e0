"""Full simulation in flat tables: CSV, Parquet, and ROOT trees (also with one vector per event), through a mapping.

Tables are read in pieces; a chunk ends where an event does, so both tables must be sorted by event (ROOT trees with one
entry per event may come in any order). What the columns mean is said by `flashdet.io.samples.mapping`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.samples.mapping import ParticleMap, SampleMap, TrackMap
from flashdet.io.samples.parameters import charged_density, local_of_perigee
from flashdet.lut.sample import SampleChunk, SampleParticles, SampleTracks, mixed
from flashdet.units import UNITS

Columns = dict[str, NDArray[Any]]
Where = ParticleMap | TrackMap
#: Event number of rows in files that are one event.
_ONLY = "#event"


def pair_files(files: Sequence[Path], mapping: SampleMap) -> list[tuple[Path, Path]]:
    """Files of particles and of tracks that belong together.

    Parameters
    ----------
    files : sequence of Path
        All files given.
    mapping : SampleMap
        With the patterns of their names.

    Returns
    -------
    list of (Path, Path)
        Particles and tracks, in the order of the particles' files.

    Raises
    ------
    InputError
        A file matches no pattern, or has no partner.
    """
    found: list[dict[tuple[str, str], Path]] = []
    for table in (mapping.particles, mapping.tracks):
        regex = re.compile(fnmatch.translate(table.file).replace(".*", "(.*)", 1))
        matches = ((path, regex.fullmatch(path.name)) for path in files)
        found.append({(str(p.parent), m[1] if m.groups() else ""): p for p, m in matches if m})
    particles, tracks = found
    known = {*particles.values(), *tracks.values()}
    for path in files:
        if path not in known:
            patterns = f"{mapping.particles.file} (particles), {mapping.tracks.file} (tracks)"
            raise InputError(f"its name fits none of the mapping's patterns: {patterns}", str(path))
    for key in {*particles} ^ {*tracks}:
        path = particles.get(key) or tracks[key]
        raise InputError("has no partner: tables of particles and tracks come in pairs", str(path))
    return [(path, tracks[key]) for key, path in particles.items()]


def read_flat(particles: Path, tracks: Path, mapping: SampleMap) -> Iterator[SampleChunk]:
    """Read one pair of tables.

    Parameters
    ----------
    particles, tracks : Path
        Files; the same one if the mapping says so.
    mapping : SampleMap
        What the columns are.

    Yields
    ------
    SampleChunk
        Whole events.

    Raises
    ------
    InputError
        A file or column is missing, the rows are not sorted by event, or a category is unknown.
    """
    p, t = mapping.particles, mapping.tracks
    vertex = () if p.vertex == "origin" else p.vertex
    names = [
        *_names(p.label),
        p.pdg,
        *p.momentum,
        *vertex,
        *([p.nch] if p.nch else []),
        *([p.event] if p.event else []),
    ]
    track_names = [*_names(t.label), *t.columns, *t.covariance, *t.errors]
    track_names += [name for name in (t.category, t.preference, t.event) if name]
    streams = (
        _Stream(_pieces(particles, p, names, mapping.rows), p.event, particles),
        _Stream(_pieces(tracks, t, track_names, mapping.rows), t.event, tracks),
    )
    try:
        limit = 0.0
        while limit < np.inf:
            limit = min(stream.complete_to() for stream in streams)
            rows = [stream.take(limit) for stream in streams]
            if any(len(part[_ONLY]) for part in rows):
                yield _chunk(rows[0], rows[1], mapping, str(tracks))
    finally:
        for stream in streams:
            stream.close()


class _Stream:
    """Rows of one table, handed out by event."""

    def __init__(self, pieces: Generator[Columns, None, None], event: str | None, path: Path) -> None:
        self._pieces, self._event, self._path = pieces, event, path
        self._held: Columns | None = None
        self._is_over = False

    def close(self) -> None:
        """Close the file."""
        self._pieces.close()

    def complete_to(self) -> float:
        """Read on; all rows of events below the returned number are here."""
        while not self._is_over:
            piece = next(self._pieces, None)
            if piece is None:
                self._is_over = True
                break
            n = len(next(iter(piece.values())))
            piece[_ONLY] = piece[self._event].astype(np.int64) if self._event else np.zeros(n, np.int64)
            events = piece[_ONLY] if self._held is None else np.concatenate([self._held[_ONLY], piece[_ONLY]])
            if (np.diff(events) < 0).any():
                raise InputError("its rows are not sorted by event", str(self._path), "sort it: events are read whole")
            held = self._held
            self._held = piece if held is None else {k: np.concatenate([held[k], v]) for k, v in piece.items()}
            if len(events) and events[0] < events[-1]:
                return float(events[-1])
        return np.inf

    def take(self, limit: float) -> Columns:
        """Rows of events below a number, which are then gone."""
        if self._held is None:
            return {_ONLY: np.zeros(0, np.int64)}
        n = int(np.searchsorted(self._held[_ONLY], limit)) if limit < np.inf else len(self._held[_ONLY])
        taken = {name: values[:n] for name, values in self._held.items()}
        self._held = {name: values[n:] for name, values in self._held.items()}
        return taken


# --- pieces of tables ------------------------------------------------------------------------------------------------
def _pieces(path: Path, table: Where, names: list[str], rows: int) -> Generator[Columns, None, None]:
    """Columns of a table, some rows at a time."""
    wanted = list(dict.fromkeys(names))
    readers = {".csv": _csv, ".gz": _csv, ".root": _root, ".parquet": _parquet}
    reader = readers.get(path.suffix)
    if reader is None:
        raise InputError(f"tables end in {', '.join(readers)}", str(path))
    try:
        yield from reader(path, table, wanted, rows)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = str(error) or type(error).__name__
        raise InputError(f"cannot be read: {message}", str(path), f"columns asked for: {', '.join(wanted)}") from error


def _csv(path: Path, _table: Where, names: list[str], rows: int) -> Generator[Columns, None, None]:
    import pandas as pd

    with pd.read_csv(path, usecols=names, chunksize=rows) as pieces:
        for frame in pieces:
            yield {name: frame[name].to_numpy() for name in names}


def _parquet(path: Path, _table: Where, names: list[str], rows: int) -> Generator[Columns, None, None]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=rows, columns=names):
            yield {name: batch[name].to_numpy(zero_copy_only=False) for name in names}


def _root(path: Path, table: Where, names: list[str], rows: int) -> Generator[Columns, None, None]:
    import awkward as ak
    import uproot

    if table.tree is None:
        raise InputError("is a ROOT file, and the mapping names no tree", str(path))
    with uproot.open(path, handler=uproot.MemmapSource) as file:
        tree = file[table.tree]
        jagged = [name for name in names if _is_vector(tree, name)]
        if not jagged:
            for rows_read in tree.iterate(names, step_size=rows):
                yield {name: ak.to_numpy(rows_read[name]) for name in names}
            return
        # one entry per event: what is no vector holds for all rows of the event
        step = max(1, tree.num_entries_for(8 * rows * len(names), names))
        for first, entries in _entries(tree, table.event, step):
            events = tree.arrays(names, entry_start=first, entry_stop=first + int(entries.max()) + 1)[entries]
            counts = ak.to_numpy(ak.num(events[jagged[0]]))
            yield {
                name: ak.to_numpy(ak.flatten(events[name]))
                if name in jagged
                else np.repeat(ak.to_numpy(events[name]), counts)
                for name in names
            }


def _is_vector(tree: Any, name: str) -> bool:
    """True for a branch of a TTree, or a field of an RNTuple, with any number of values per entry."""
    return any(mark in tree[name].typename for mark in ("vector", "["))


def _entries(tree: Any, event: str | None, step: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Some entries of a tree at a time, in the order of their events: the first to read, and which after it.

    Jobs of several threads write events as they finish; they are out of order by no more than the threads, so that
    little is read in vain.
    """
    order = np.arange(tree.num_entries)
    if event is not None:
        order = np.argsort(tree[event].array(library="np"), kind="stable")
    for start in range(0, len(order), step):
        piece = order[start : start + step]
        yield int(piece.min()), piece - piece.min()


# --- chunks ----------------------------------------------------------------------------------------------------------
def _chunk(particles: Columns, tracks: Columns, mapping: SampleMap, source: str) -> SampleChunk:
    p = mapping.particles
    length, momentum = UNITS[mapping.length][1], UNITS[mapping.momentum][1]
    if len(particles[_ONLY]):
        px, py, pz = (_number(particles[name]) * momentum for name in p.momentum)
        n = len(px)
        zero = np.zeros(n)
        vx, vy, vz = (zero,) * 3 if p.vertex == "origin" else (_number(particles[c]) * length for c in p.vertex)
        pdg = particles[p.pdg].astype(np.int32)
        event = particles[_ONLY]
        nch = _number(particles[p.nch]) if p.nch else charged_density(event, pdg, px, py, pz)
        table = SampleParticles(event, _labels(particles, p.label), pdg, px, py, pz, vx, vy, vz, nch)
    else:
        none, integers = np.zeros(0), np.zeros(0, np.int64)
        table = SampleParticles(integers, integers, np.zeros(0, np.int32), none, none, none, none, none, none, none)
    return SampleChunk(source, table, _tracks(tracks, mapping, source), tuple(mapping.tracks.categories))


def _tracks(tracks: Columns, mapping: SampleMap, source: str) -> SampleTracks:
    t, n = mapping.tracks, len(tracks[_ONLY])
    if n == 0:
        integers = np.zeros(0, np.int64)
        return SampleTracks(integers, integers, integers, np.zeros((0, 7)), np.zeros((0, 15)))
    if t.preference:
        order = np.argsort(tracks[t.preference], kind="stable")
        tracks = {name: values[order] for name, values in tracks.items()}
    length, momentum = UNITS[mapping.length][1], UNITS[mapping.momentum][1]
    scale = np.array([length, length, 1.0, 1.0, 1.0 / momentum])
    params = np.stack([_number(tracks[name]) for name in t.columns], axis=1)
    rows, columns = np.tril_indices(5)
    cov = np.full((n, 15), np.nan)
    if t.covariance:
        cov = np.stack([_number(tracks[name]) for name in t.covariance], axis=1) * scale[rows] * scale[columns]
    elif t.errors:
        cov = np.zeros((n, 15))
        cov[:, [0, 2, 5, 9, 14]] = (np.stack([_number(tracks[name]) for name in t.errors], axis=1) * scale) ** 2
    if t.parameters == "perigee":
        params, cov = local_of_perigee(params * scale, cov)
    else:
        params = params * np.array([length, 1.0, *scale])
    label = _labels(tracks, t.label)
    if t.zero_is_fake:
        is_fake = np.logical_and.reduce([tracks[name] == 0 for name in _names(t.label)])
        label = np.where(is_fake, -1, label)
    return SampleTracks(tracks[_ONLY], label, _categories(tracks, mapping, source), params, cov)


def _number(values: NDArray[Any]) -> NDArray[np.float64]:
    return np.ascontiguousarray(values, np.float64)


def _names(label: str | tuple[str, ...]) -> tuple[str, ...]:
    return (label,) if isinstance(label, str) else label


def _labels(table: Columns, label: str | tuple[str, ...]) -> NDArray[np.int64]:
    """Labels as non-negative integers; what is missing becomes -1.

    Labels of several columns, and unsigned ones of 64 bits, are mixed to 63 bits: two particles of an event that
    happen to get one label (a chance of 1e-11 for 10 000 particles) are found when tracks are matched.
    """
    names = _names(label)
    values = table[names[0]]
    if len(names) == 1 and values.dtype.kind == "f":
        return np.where(np.isnan(values), -1, np.nan_to_num(values)).astype(np.int64)
    if len(names) == 1 and values.dtype != np.uint64:
        return values.astype(np.int64)
    words = np.stack([np.asarray(table[name]).astype(np.uint64) for name in names], axis=1)
    return mixed(words)


def _categories(tracks: Columns, mapping: SampleMap, source: str) -> NDArray[np.int64]:
    t = mapping.tracks
    category = np.full(len(tracks[_ONLY]), -1 if t.category else 0, np.int64)
    if t.category:
        for i, value in enumerate(t.categories.values()):
            category[tracks[t.category] == value] = i
        if (category < 0).any():
            unknown = sorted({str(v) for v in tracks[t.category][category < 0]})[:5]
            raise InputError(f"column {t.category} has values that are no category: {', '.join(unknown)}", source)
    return category
