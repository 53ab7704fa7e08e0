"""Reading the `aod` format back into tables: the inverse of :mod:`flashdet.io.aod`.

Only files that FlashDet wrote: the AO2D tables alone do not hold all columns.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet import pruning
from flashdet.event import EventBatch, Offsets, Table, concat
from flashdet.io import aod_tables as names
from flashdet.io.setup import OutputSetup

_FRAME = re.compile(r"DF_(\d+)")


def read_aod(root: Any, header: dict[str, Any]) -> EventBatch:
    """Read all events of a file.

    Parameters
    ----------
    root : uproot.ReadOnlyDirectory
        The open file.
    header : dict
        Its description.

    Returns
    -------
    EventBatch
    """
    found = sorted(int(m[1]) for k in root.keys(recursive=False, cycle=False) if (m := _FRAME.fullmatch(k)))
    if not found:
        return EventBatch({}, tuple(header["weight_names"]))
    return concat([_read_frame(root[f"DF_{n}"], header) for n in found])


def _read_frame(frame: Any, header: dict[str, Any]) -> EventBatch:
    """Read one directory."""
    tables = tuple(header["tables"])
    setup = OutputSetup(stage_kinds=header["stage_kinds"])
    n_events = frame["O2bc_001"].num_entries
    offsets = {n: _offsets(frame, n, n_events, setup) for n in tables}
    to_row: NDArray[np.int64] | None = None
    if "particle" in tables:
        shift = frame[names.tree_name("particle")]["fRowShift"].array(library="np")
        # place in the batch of each particle on disk
        to_row = shift.astype(np.int64) + np.arange(len(shift))
    batch = EventBatch({}, tuple(header["weight_names"]))
    for name in tables:
        arrays = {}
        for column, about in header["tables"][name].items():
            values = _column(frame, name, column, tables)
            target = names.index_target(name, column, tables)
            if target is not None:
                values = _local_index(values, offsets[name], offsets[target], to_row if target == "particle" else None)
            elif name == "particle" and to_row is not None:
                ordered = np.empty_like(values)
                ordered[to_row] = values
                values = ordered
            arrays[column] = np.ascontiguousarray(values, about["dtype"])
        batch.add(Table(name, offsets[name], arrays))
    return batch


def _offsets(frame: Any, name: str, n_events: int, setup: OutputSetup) -> Offsets:
    """First row of each event, from the index columns."""
    if setup.is_per_event(name):
        return np.arange(n_events + 1, dtype=np.int64)
    if name == "particle":
        index = frame["O2mcparticle_001"]["fIndexMcCollisions"]
    elif name == "track" or setup.is_per_track(name):
        index = frame["O2track"]["fIndexCollisions"]
    else:
        index = frame[names.tree_name(name)]["fIndexCollisions"]
    counts = np.bincount(index.array(library="np"), minlength=n_events)
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _column(frame: Any, name: str, column: str, tables: tuple[str, ...]) -> NDArray[Any]:
    """Values of a column in the order on disk, wherever the format keeps them."""
    if name == "track":
        stored = {v: k for k, v in names.TRACK_PARAMETERS.items()}
        if column in stored:
            return _branch(frame, "O2track", stored[column])
        if column in names.TRACK_DERIVED:
            return _derived(frame, column)
        if column == "particle_index" and "particle" in tables:
            return _branch(frame, "O2mctracklabel", "fIndexMcParticles")
    if name == "particle":
        stored = {v: k for k, v in names.PARTICLE_COLUMNS.items()}
        if column in stored:
            return _branch(frame, "O2mcparticle_001", stored[column])
        if column == "status" and names.branch_name(column) not in frame[names.tree_name(name)]:
            return names.unpack_status(_branch(frame, "O2mcparticle_001", "fStatusCode"))[1]
    target = names.index_target(name, column, tables)
    branch = names.branch_name(column) if target is None else names.index_branch(target)
    return _branch(frame, names.tree_name(name), branch)


def _branch(frame: Any, tree: str, branch: str) -> NDArray[Any]:
    values: NDArray[Any] = frame[tree][branch].array(library="np")
    return values


def _derived(frame: Any, column: str) -> NDArray[Any]:
    """Columns of `track` that follow from its parameters."""
    if column in ("pt", "charge"):
        q_over_pt = _branch(frame, "O2track", "fSigned1Pt").astype(np.float64)
        return 1 / np.abs(q_over_pt) if column == "pt" else np.sign(q_over_pt)
    if column == "eta":
        return np.arcsinh(_branch(frame, "O2track", "fTgl").astype(np.float64))
    phi = _branch(frame, "O2track", "fAlpha").astype(np.float64)
    phi += np.arcsin(_branch(frame, "O2track", "fSnp").astype(np.float64))
    # into (-pi, pi]
    return phi - 2 * np.pi * np.ceil((phi - np.pi) / (2 * np.pi))


def _local_index(
    rows: NDArray[np.int32], offsets: Offsets, target: Offsets, to_row: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """Turn rows of the directory into rows within the event; the inverse of what the writer does."""
    behind = pruning.origin(rows)
    wide = behind
    if to_row is not None and len(to_row):
        wide = to_row[np.maximum(wide, 0)]
    local = wide - np.repeat(target[:-1], np.diff(offsets))
    return pruning.moved(rows, np.where(behind >= 0, local, -1))
