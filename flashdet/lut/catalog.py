"""Tables by name: those that come with the package, listed in ``luts/index.json``, and files on disk.

A name like ``alice3/pion`` means the shipped table; anything else is a path. What a file is (native or ALICE) is told
by its contents.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flashdet.errors import LutError
from flashdet.lut import alice, files
from flashdet.lut.atomic import sha256_of, write_bytes
from flashdet.lut.table import Lut, Map
from flashdet.shipped import shipped

INDEX = "index.json"
_FORMAT, _VERSION = "flashdet-lut-index", 1
_REBUILD = "reinstall FlashDet, or write the index anew with flashdet.lut.catalog.write_index"


@dataclass(frozen=True)
class Entry:
    """A shipped table.

    Attributes
    ----------
    name : str
        Name in cards.
    file : str
        Path below the folder of the index.
    sha256 : str
        Of the file.
    kind : {"lut", "map"}
        What it is.
    origin : str
        Where it comes from.
    axes : tuple of str
        One line per axis.
    """

    name: str
    file: str
    sha256: str
    kind: str
    origin: str
    axes: tuple[str, ...]


# --- index -----------------------------------------------------------------------------------------------------------
def read_index(folder: Path | None = None) -> dict[str, Entry]:
    """Shipped tables by name.

    Parameters
    ----------
    folder : Path, optional
        Folder of the index; default: that of the package.

    Returns
    -------
    dict of str to Entry
        Sorted by name; empty if nothing is shipped.

    Raises
    ------
    LutError
        The index is damaged.
    """
    path = (folder or shipped("luts")) / INDEX
    if not path.is_file():
        return {}
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if (index["format"], index["version"]) != (_FORMAT, _VERSION):
            raise LutError(f"is not a {_FORMAT} of version {_VERSION}", str(path), _REBUILD)
        return {
            name: Entry(name, e["file"], e["sha256"], e["kind"], e["origin"], tuple(e["axes"]))
            for name, e in sorted(index["tables"].items())
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise LutError(f"is damaged: {error!r}", str(path), _REBUILD) from error


def write_index(folder: Path | None = None) -> dict[str, Entry]:
    """Write the index of all native tables below a folder.

    Every table is read and validated first. The origin is ``meta["origin"]`` or ``meta["source"]`` of the table.

    Parameters
    ----------
    folder : Path, optional
        Folder of the index; default: that of the package.

    Returns
    -------
    dict of str to Entry
        What was written.

    Raises
    ------
    LutError
        A table is not usable or does not say where it comes from.
    OutputError
        The index cannot be written.
    """
    folder = folder or shipped("luts")
    entries: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob(f"*{files.SUFFIX}")):
        table = files.read_table(path)
        table.validate()
        origin = table.meta.get("origin", table.meta.get("source"))
        if not isinstance(origin, str):
            raise LutError('does not say where it comes from: no meta["origin"] or meta["source"]', str(path))
        axes = [str(axis) for axis in table.axes] if isinstance(table, Map) else _axis_lines(table)
        file = path.relative_to(folder).as_posix()
        entries[file.removesuffix(files.SUFFIX)] = {
            "file": file,
            "sha256": sha256_of(path),
            "kind": "lut" if isinstance(table, Lut) else "map",
            "origin": origin,
            "axes": axes,
        }
    text = json.dumps({"format": _FORMAT, "version": _VERSION, "tables": entries}, indent=1) + "\n"
    write_bytes(folder / INDEX, [text.encode()], overwrite=True)
    return read_index(folder)


def _axis_lines(lut: Lut) -> list[str]:
    lines = [str(axis) for axis in (lut.efficiency_axes[0], *lut.covariance_axes)]
    if lut.displaced:
        edges = ", ".join(f"{part.covariance_axes[0].low:.3g}" for part in lut.displaced)
        last = lut.displaced[-1].covariance_axes[0]
        lines.append(
            f"displaced: production radii {edges} to {last.high:.3g} {last.unit} (outside: {last.out_of_range})"
        )
        lines += [f"displaced {axis}" for axis in lut.displaced[-1].efficiency_axes]
    return lines


# --- loading ---------------------------------------------------------------------------------------------------------
def find(name: str | os.PathLike[str], directories: Path | Sequence[Path] = (), folder: Path | None = None) -> Path:
    """File of a table.

    Parameters
    ----------
    name : str or path
        Name of a shipped table, or a path.
    directories : Path or sequence of Path
        Where relative paths are looked for, in this order; default: the current folder.
    folder : Path, optional
        Folder of the index; default: that of the package.

    Returns
    -------
    Path
        An existing file; that of a shipped table has the SHA-256 of the index.

    Raises
    ------
    LutError
        There is no such table (the message names near ones), or a shipped one is damaged.
    """
    folder = folder or shipped("luts")
    index = read_index(folder)
    entry = index.get(os.fspath(name))
    if entry is not None:
        path = folder / entry.file
        if not path.is_file() or sha256_of(path) != entry.sha256:
            raise LutError("the shipped table is missing or damaged", str(path), _REBUILD)
        return path
    places = [directories] if isinstance(directories, Path) else list(directories) or [Path()]
    for place in places:
        if (place / name).is_file():
            return place / name
    raise _not_found(os.fspath(name), places, index)


def _not_found(name: str, places: Iterable[Path], index: dict[str, Entry]) -> LutError:
    near = difflib.get_close_matches(name, index, 3)
    for place in places:
        parent = (place / name).parent
        if parent.is_dir():
            beside = [p.name for p in parent.iterdir() if p.is_file()]
            near += [str(Path(name).parent / n) for n in difflib.get_close_matches(Path(name).name, beside, 3)]
    hint = f"did you mean {', '.join(dict.fromkeys(near))}?" if near else f"shipped: {', '.join(index) or 'none'}"
    looked = ", ".join(str(place.resolve()) for place in places)
    return LutError(f"no shipped table and no file below {looked} has the name {name}", "", hint)


def load(
    name: str | os.PathLike[str], directories: Path | Sequence[Path] = (), folder: Path | None = None
) -> Lut | Map:
    """Load a table by name or path.

    Parameters
    ----------
    name, directories, folder
        See `find`.

    Returns
    -------
    Lut or Map

    Raises
    ------
    LutError
        There is no such table, or it is damaged, or it is neither native nor an ALICE file.
    """
    path = find(name, directories, folder)
    try:
        with open(path, "rb") as file:
            head = file.read(4)
    except OSError as error:
        raise LutError(f"cannot be read: {error.strerror or error}", str(path)) from error
    if head == b"PK\x03\x04":
        return files.read_table(path)
    if head == alice.VERSION.to_bytes(4, "little"):
        return alice.read_alice(path)
    raise LutError(
        f"is no lookup table: it begins with {head!r}; allowed: native files ({files.SUFFIX}) and ALICE lutCovm "
        f"binaries of version {alice.VERSION}",
        str(path),
    )


def load_lut(name: str | os.PathLike[str], directories: Path | Sequence[Path] = (), folder: Path | None = None) -> Lut:
    """Load a tracking LUT; see `load`.

    Raises
    ------
    LutError
        As `load`, or the table is a map.
    """
    table = load(name, directories, folder)
    if not isinstance(table, Lut):
        raise LutError(f"is the map {table.name!r}; a tracking LUT is needed", os.fspath(name))
    return table


def load_map(name: str | os.PathLike[str], directories: Path | Sequence[Path] = (), folder: Path | None = None) -> Map:
    """Load a map; see `load`.

    Raises
    ------
    LutError
        As `load`, or the table is a tracking LUT.
    """
    table = load(name, directories, folder)
    if not isinstance(table, Map):
        raise LutError(f"is a tracking LUT of {table.species}; a map is needed", os.fspath(name))
    return table
