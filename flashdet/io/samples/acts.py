"""Full simulation in the CSV files of the ACTS examples: particles, tracks and their parameters, one set per event.

Written by ``CsvParticleWriter``, ``CsvTrackWriter`` and ``CsvTrackParameterWriter`` (ACTS 48). The three tables of an
event are told apart by their columns and joined by the number of the track, so a mapping of columns is not needed.
ROOT summaries of ACTS are read through the shipped mapping ``acts_root`` (`flashdet.io.samples.flat`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.samples.parameters import charged_density, local_of_perigee
from flashdet.lut.sample import NO_LABEL, SampleChunk, SampleParticles, SampleTracks, mixed
from flashdet.units import UNITS

if TYPE_CHECKING:
    import pandas as pd

#: Name by which ``--map`` asks for this reader.
ACTS_CSV = "acts_csv"

_NAME = re.compile(r"event(\d+)-.*\.csv")
_BARCODE = r"^vp=(\d+)\|vs=(\d+)\|p=(\d+)\|g=(\d+)\|sp=(\d+)$"
_LABEL = [f"particle_id_{part}" for part in ("pv", "sv", "part", "gen", "subpart")]
_STATE = ["d0", "z0", "phi", "theta", "qop"]
#: Lower triangle row by row.
_COVARIANCE = [f"var_{_STATE[i]}" if i == k else f"cov_{_STATE[i]}{_STATE[k]}" for i in range(5) for k in range(i + 1)]
_COLUMNS = {
    "particles": [*_LABEL, "particle_type", "px", "py", "pz", "vx", "vy", "vz"],
    "tracks": ["track_id", "particleId", "good/duplicate/fake"],
    "parameters": ["trackId", *_STATE, *_COVARIANCE],
}


class EventFiles(NamedTuple):
    """The tables of one event.

    Attributes
    ----------
    number : int
        Of the event.
    particles, tracks, parameters : Path
        Generated particles; tracks with their labels; perigee parameters of the tracks.
    """

    number: int
    particles: Path
    tracks: Path
    parameters: Path


def find_events(files: Sequence[Path]) -> list[EventFiles]:
    """Put the files of each event together.

    Parameters
    ----------
    files : sequence of Path
        Files ``eventNUMBER-NAME.csv``, three of each event. Equal numbers in different folders are different events.

    Returns
    -------
    list of EventFiles
        In the order of the folders and numbers.

    Raises
    ------
    InputError
        A file is none of the tables, or an event has not exactly one of each.
    """
    events: dict[tuple[str, int], dict[str, Path]] = {}
    for path in files:
        name = _NAME.fullmatch(path.name)
        if name is None:
            raise InputError("its name is not eventNUMBER-NAME.csv, as the ACTS examples write them", str(path))
        tables = events.setdefault((str(path.parent), int(name[1])), {})
        kind = _kind(path)
        if kind in tables:
            raise InputError(f"has the {kind} of the same event as {tables[kind].name}; give one of them", str(path))
        tables[kind] = path
    for (folder, number), tables in events.items():
        missing = [kind for kind in _COLUMNS if kind not in tables]
        if missing:
            raise InputError(f"event {number} has no table of {', '.join(missing)}", folder)
    return [EventFiles(number, **tables) for (_, number), tables in sorted(events.items())]


def _kind(path: Path) -> str:
    """Which table a file is, by the columns of its first line."""
    try:
        with path.open(encoding="ascii") as file:
            header = file.readline().rstrip("\r\n").split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from error
    for kind, columns in _COLUMNS.items():
        if {*columns} <= {*header}:
            return kind
    expected = "; ".join(f"{kind}: {', '.join(columns[:3])}, ..." for kind, columns in _COLUMNS.items())
    raise InputError(f"is no table of ACTS 48 that is needed; columns expected: {expected}", str(path))


def read_acts(event: EventFiles) -> Iterator[SampleChunk]:
    """Read one event.

    Parameters
    ----------
    event : EventFiles
        Its tables.

    Yields
    ------
    SampleChunk
        The event. Tracks that ACTS calls fake belong to no particle; duplicates come after the others.

    Raises
    ------
    InputError
        A table is damaged, or tracks are missing in one of the tables.
    """
    particles = _table(event.particles, "particles")
    tracks = _table(event.tracks, "tracks")
    parameters = _table(event.parameters, "parameters")
    row = _rows(event, tracks["track_id"].to_numpy(), parameters["trackId"].to_numpy())
    kind = tracks["good/duplicate/fake"]
    order = np.argsort((kind == "duplicate").to_numpy(), kind="stable")
    label = np.where(kind == "fake", NO_LABEL, _labels(event.tracks, tracks["particleId"]))[order]
    params, cov = _local(parameters.iloc[row[order]])
    number = np.full(len(label), event.number, np.int64)
    found = SampleTracks(number, label, np.zeros(len(label), np.int64), params, cov)
    yield SampleChunk(str(event.tracks), _particles(particles, event.number), found)


def _table(path: Path, kind: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path, usecols=_COLUMNS[kind], dtype={name: _dtype(name) for name in _COLUMNS[kind]})
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from error


def _dtype(name: str) -> str:
    if name in ("particleId", "good/duplicate/fake"):
        return "str"
    return "int64" if name in (*_LABEL, "particle_type", "track_id", "trackId") else "float64"


def _rows(event: EventFiles, tracks: NDArray[np.int64], parameters: NDArray[np.int64]) -> NDArray[np.int64]:
    """Row of the parameters of each track."""
    order = np.argsort(parameters, kind="stable")
    if not np.array_equal(np.sort(tracks), parameters[order]):
        raise InputError(
            f"has {len(tracks)} tracks, {event.parameters.name} has {len(parameters)}, or their numbers differ",
            str(event.tracks),
            "CsvTrackWriter leaves out tracks below 1 GeV and of few measurements unless it is told ptMin=0, "
            "nMeasurementsMin=0 and truthMatchProbMin=0",
        )
    return np.asarray(order[np.searchsorted(parameters[order], tracks)], np.int64)


def _labels(path: Path, barcodes: pd.Series) -> NDArray[np.int64]:
    """Labels of barcodes written as ``vp=1|vs=0|p=2|g=0|sp=0``."""
    parts = barcodes.str.extract(_BARCODE)
    if parts.isna().any(axis=None):
        bad = barcodes[parts.isna().any(axis=1)].iloc[0]
        raise InputError(f"{bad!r} is no particle; expected: vp=1|vs=0|p=2|g=0|sp=0", str(path))
    return mixed(parts.to_numpy(np.uint64))


def _particles(table: pd.DataFrame, event: int) -> SampleParticles:
    cm = UNITS["mm"][1]
    px, py, pz = (table[name].to_numpy(np.float64) for name in ("px", "py", "pz"))
    vx, vy, vz = (table[name].to_numpy(np.float64) * cm for name in ("vx", "vy", "vz"))
    pdg = table["particle_type"].to_numpy(np.int32)
    number = np.full(len(pdg), event, np.int64)
    nch = charged_density(number, pdg, px, py, pz)
    return SampleParticles(number, mixed(table[_LABEL].to_numpy(np.uint64)), pdg, px, py, pz, vx, vy, vz, nch)


def _local(table: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    cm = UNITS["mm"][1]
    scale = np.array([cm, cm, 1.0, 1.0, 1.0])
    rows, columns = np.tril_indices(5)
    cov = table[_COVARIANCE].to_numpy(np.float64) * scale[rows] * scale[columns]
    return local_of_perigee(table[_STATE].to_numpy(np.float64) * scale, cov)
