"""HepMC3 events in ROOT trees, through uproot: the split branches of GenEventData that HepMC3's WriterRootTree fills.

The only module that knows uproot. The other ROOT format of HepMC3 (WriterRoot: one object per event) is refused.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.hepmc.info import EventInfo, FieldError, read_attribute
from flashdet.io.hepmc.ledger import SKIP_HINT, Ledger
from flashdet.io.hepmc.record import AbsurdError, Event, Record, to_event

#: Entries read at a time.
_STEP = 50
_MOMENTUM, _LENGTH = ("MEV", "GEV"), ("MM", "CM")  # HepMC3, Units.h: order of the enumerations
_SCALARS = ("event_number", "momentum_unit", "length_unit", *(f"event_pos.m_v{i}" for i in range(1, 5)))
_PARTICLE = {
    "particles.pid": "pdg",
    "particles.status": "status",
    "particles.momentum.m_v1": "px",
    "particles.momentum.m_v2": "py",
    "particles.momentum.m_v3": "pz",
    "particles.momentum.m_v4": "energy",
    "particles.mass": "mass",
}
_POSITION = tuple(f"vertices.position.m_v{i}" for i in range(1, 5))
_LISTS = (
    *_PARTICLE,
    "particles.is_mass_set",
    *_POSITION,
    "weights",
    "links1",
    "links2",
    "attribute_id",
    "attribute_name",
    "attribute_string",
)
_HINT = "expected a tree as HepMC3's WriterRootTree makes it (hepmc3_tree)"


def tree_events(
    name: str, window: Any, ledger: Ledger, pass_over: Callable[[Event], None]
) -> Iterator[tuple[str, Event]]:
    """Wanted events of a ROOT file.

    Parameters
    ----------
    name : str
        Path.
    window : flashdet.io.hepmc.window.Window
        Asked about each entry.
    ledger : Ledger
        What to do with damage.
    pass_over : callable
        Takes the good events in front of the first one wanted.

    Yields
    ------
    where : str
        File and entry.
    event : Event

    Raises
    ------
    InputError
        The file has no HepMC3 tree; damage, as the ledger says.
    """
    import uproot

    try:
        file = uproot.open(name)
        tree, branches = _find_tree(file, name)
        names, n = _weight_names(file), int(tree.num_entries)
    except InputError:
        raise
    except Exception as error:  # uproot and its decompressors have no common error
        raise InputError(
            f"the ROOT file cannot be read: {error}", name, "it is cut or damaged; copy it again"
        ) from error
    with file:
        if n == 0:
            ledger.note("warning: inputs without events")
        for start in range(0, n, _STEP):
            is_wanted: dict[int, bool] = {}
            for entry in range(start, min(start + _STEP, n)):
                if not window.is_over:
                    is_wanted[entry] = window.take()
            for entry, values in _entries(branches, list(is_wanted)):
                where = f"{name}: entry {entry}"
                # damage of an event that is not wanted is no concern of this run
                event = _event(where, values, names, ledger if is_wanted[entry] else Ledger("skip"))
                if event is not None and is_wanted[entry]:
                    yield where, event
                elif event is not None:
                    pass_over(event)
            if window.is_over:
                return


def _find_tree(file: Any, name: str) -> tuple[Any, dict[str, Any]]:
    """Tree of the events and its branches by the names of the members."""
    for key, kind in file.classnames(recursive=False).items():
        if kind != "TTree":
            continue
        tree = file[key]
        branches = {path.rsplit("/", 1)[-1]: tree[path] for path in tree.keys()}  # noqa: SIM118  # not a dict
        if all(wanted in branches for wanted in (*_SCALARS, *_LISTS)):
            return tree, branches
    kinds = sorted(set(file.classnames().values()))
    found = f"objects of {', '.join(kinds[:6])}" if kinds else "nothing"
    raise InputError(f"the ROOT file has no tree of HepMC3 events; it holds {found}", name, _HINT)


def _weight_names(file: Any) -> tuple[str, ...]:
    """First member of the GenRunInfoData object: a vector of strings.

    uproot cannot read this class. Its bytes: length and version (0: a checksum follows) of the class, length and
    version of the vector, number of strings, strings (ROOT's serialisation of classes without their own version).
    """
    if "GenRunInfoData" not in file:
        return ()
    chunk, _ = file.key("GenRunInfoData").get_uncompressed_chunk_cursor()
    data = bytes(chunk.raw_data)
    at = 10 if struct.unpack_from(">h", data, 4)[0] == 0 else 6
    (n,) = struct.unpack_from(">I", data, at + 6)
    at += 10
    names = []
    for _ in range(n):
        length, at = data[at], at + 1
        if length == 255:
            (length,) = struct.unpack_from(">I", data, at)
            at += 4
        names.append(data[at : at + length].decode("utf-8", "replace"))
        at += length
    return tuple(names)


def _entries(branches: dict[str, Any], wanted: list[int]) -> Iterator[tuple[int, dict[str, Any] | Exception]]:
    """Values of each wanted entry; if they cannot be read together, one by one, with the error of the bad ones."""
    if not wanted:
        return
    first, last = wanted[0], wanted[-1] + 1
    block = _read(branches, first, last)
    for entry in wanted:
        if isinstance(block, Exception):
            single = _read(branches, entry, entry + 1)
            yield entry, single if isinstance(single, Exception) else {name: v[0] for name, v in single.items()}
        else:
            yield entry, {name: values[entry - first] for name, values in block.items()}


def _read(branches: dict[str, Any], first: int, last: int) -> dict[str, Any] | Exception:
    """Arrays of some entries, or why they cannot be read."""
    names = (*_SCALARS, *_LISTS)
    try:
        return {name: branches[name].array(library="np", entry_start=first, entry_stop=last) for name in names}
    except Exception as error:  # noqa: BLE001  # uproot and its decompressors have no common error
        return error


def _event(where: str, values: dict[str, Any] | Exception, names: tuple[str, ...], ledger: Ledger) -> Event | None:
    """One event, None if it was left out."""
    try:
        if isinstance(values, Exception):
            raise AbsurdError(f"the entry cannot be read: {values}")
        return to_event(_record(values, names))
    except (AbsurdError, FieldError) as error:
        ledger.bad(InputError(str(error), where, SKIP_HINT))
        return None


def _record(values: dict[str, Any], names: tuple[str, ...]) -> Record:
    momentum, length = int(values["momentum_unit"]), int(values["length_unit"])
    if momentum not in (0, 1) or length not in (0, 1):
        raise AbsurdError(f"unit codes {momentum}, {length}; allowed: 0 and 1")
    info = EventInfo(
        number=int(values["event_number"]),
        weights=[float(w) for w in values["weights"]],
        weight_names=names,
        momentum_unit=_MOMENTUM[momentum],
        length_unit=_LENGTH[length],
    )
    x, y, z, t = (float(values[f"event_pos.m_v{i}"]) for i in range(1, 5))
    info.position = (x, y, z, t)
    if names and info.weights and len(names) != len(info.weights):
        raise AbsurdError(f"{len(info.weights)} weights but {len(names)} weight names")
    if not np.all(np.isfinite(info.weights)):
        raise AbsurdError("a weight is not finite")
    attributes = zip(values["attribute_id"], values["attribute_name"], values["attribute_string"], strict=False)
    for owner, attribute, text in attributes:
        if owner == 0:
            read_attribute(info, str(attribute), str(text))
    columns = {column: _native(values[branch]) for branch, column in _PARTICLE.items()}
    corners = [_native(values[name]) for name in _POSITION]
    unset = ~np.asarray(values["particles.is_mass_set"], np.bool_)
    if len({len(c) for c in (*columns.values(), unset)}) != 1 or len({len(c) for c in corners}) != 1:
        raise AbsurdError("the members of particles or vertices differ in number")
    position = np.stack(corners, axis=1)
    links = _links(_native(values["links1"]), _native(values["links2"]), len(columns["pdg"]), len(position))
    columns["mass"] = np.where(unset, _invariant_mass(columns), columns["mass"])
    return Record(info, position=position, links=links, **columns)


def _native(values: Any) -> NDArray[Any]:
    """Contiguous array in the byte order of the machine."""
    array = np.asarray(values)
    return np.ascontiguousarray(array, array.dtype.newbyteorder("="))


def _invariant_mass(columns: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    """Mass from the four-momentum, negative if that is space-like (HepMC3: FourVector::m)."""
    px, py, pz, energy = (columns[name] for name in ("px", "py", "pz", "energy"))
    with np.errstate(all="ignore"):  # absurd momenta are reported later, with their values
        squared = energy * energy - px * px - py * py - pz * pz
    mass: NDArray[np.float64] = np.copysign(np.sqrt(np.abs(squared)), squared)
    return mass


def _links(first: NDArray[Any], second: NDArray[Any], n_particles: int, n_vertices: int) -> NDArray[np.int32]:
    """Check the links as pyhepmc would not: both ends exist, one is a particle and the other a vertex."""
    if len(first) != len(second):
        raise AbsurdError(f"{len(first)} first and {len(second)} second ids of links")
    links = np.stack([first, second]).astype(np.int32)
    particle, vertex = np.maximum(first, second), np.minimum(first, second)
    good = (particle > 0) & (particle <= n_particles) & (vertex < 0) & (vertex >= -n_vertices)
    if not np.all(good):
        a, b = links[:, np.flatnonzero(~good)[0]]
        raise AbsurdError(f"a link from {a} to {b}; there are {n_particles} particles and {n_vertices} vertices")
    ends, starts = first[first > 0], second[first < 0]
    if len(np.unique(ends)) != len(ends) or len(np.unique(starts)) != len(starts):
        raise AbsurdError("a particle begins or ends in two vertices")
    return links
