"""The `nano` format: one tree ``Events`` in the manner of NanoAOD, for coffea's NanoEvents, RDataFrame and uproot.

Each table is a collection with a counter (``nTrack``, ``Track_pt``); tables with one row per event are scalars
(``Event_weight``); ``run``, ``luminosityBlock``, ``event`` and ``genWeight`` are there as in NanoAOD. A collection is
named as its table in camel case (``emcal_cluster``: ``EmcalCluster``). Columns with several values per row are split
(``Track_cov_0`` to ``Track_cov_14``), because the format knows no lists in lists. Writing and reading are here; the
part file and the buffering are in :mod:`flashdet.io.output`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from flashdet.event import EventBatch, Table
from flashdet.io import rootfile
from flashdet.io.output import Writer, header_text
from flashdet.io.rootpack import Lists, Scratch
from flashdet.io.roottree import Tree, add_trees, write_chunk
from flashdet.io.setup import OutputSetup, check_alignment
from flashdet.io.tables import camel

#: Name of the tree.
TREE = "Events"
#: Collections to which coffea's NanoAODSchema gives behaviour that ours have not the fields for (its ``mixins``). A
#: table of such a name gets `SIGNAL` behind it: the table ``muon`` is the collection ``MuonSignal``.
# fmt: off
RESERVED = frozenset((
    "CaloMET", "ChsMET", "CorrT1METJet", "Electron", "FatJet", "FsrPhoton", "GenDressedLepton",
    "GenIsolatedPhoton", "GenJet", "GenJetAK8", "GenMET", "GenPart", "GenVisTau", "IsoTrack", "Jet", "LHEPart",
    "LowPtElectron", "MET", "METFixEE2017", "Muon", "PV", "Photon", "PuppiMET", "RawMET", "RawPuppiMET", "SV",
    "SoftActivityJet", "SubGenJetAK8", "SubJet", "Tau", "TkMET", "TrigObj",
))
# fmt: on
SIGNAL = "Signal"


class NanoWriter(Writer):
    """Writes one flat tree of events."""

    format: ClassVar[str] = "nano"
    suffix: ClassVar[str] = ".nano.root"

    def _begin(self, header: dict[str, Any], first: EventBatch | None) -> None:
        self._written = tuple(header["tables"])
        self._tree, self._scratch = Tree(TREE, self.setup.compression), Scratch()
        self._root = rootfile.RootFile(self._file, header_text(header))
        if first is None or not first.n_events:
            none = (
                {"event": np.empty(0, np.int64)} if first is None else build_branches(first, self.setup, self._written)
            )
            self._tree.pack(self._tree.prepare(none), np.empty(0, np.uint8), 0)

    def _write_chunk(self, batch: EventBatch) -> None:
        check_alignment(batch, self._written, self.setup)
        branches = build_branches(batch, self.setup, self._written)
        rows = self._tree.prepare(branches)
        buffer = self._scratch.take(rows.room)
        end = self._tree.pack(rows, buffer, 0)
        write_chunk(self._root, self._tree, buffer, 0, end)

    def _finish(self) -> None:
        add_trees(self._root, [self._tree])
        self._root.close()


def build_branches(batch: EventBatch, setup: OutputSetup, written: tuple[str, ...]) -> dict[str, Any]:
    """Branches of some events: arrays for scalars, a counter and lists for collections.

    Parameters
    ----------
    batch : EventBatch
        float32.
    setup : OutputSetup
    written : tuple of str
        Tables to write.

    Returns
    -------
    dict of str to array or Lists
    """
    event = batch["event"]
    branches: dict[str, Any] = {
        "run": np.full(batch.n_events, setup.run_number, np.uint32),
        "luminosityBlock": np.ones(batch.n_events, np.uint32),
        "event": event["number"],
        "genWeight": event["weight"],
    }
    for name in written:
        table, stem = batch[name], collection(name)
        flat: dict[str, Any] = {f"{stem}_{column}": values for column, values in _split(table).items()}
        if not setup.is_per_event(name):
            branches[f"n{stem}"] = np.diff(table.offsets).astype(np.int32)
            flat = {branch: Lists(table.offsets, values, f"n{stem}") for branch, values in flat.items()}
        branches |= flat
    return branches


def collection(table: str) -> str:
    """Name of a table's collection: ``EmcalCluster`` for ``emcal_cluster``."""
    name = camel(table)
    return name + SIGNAL if name in RESERVED else name


def read_nano(root: Any, header: dict[str, Any]) -> EventBatch:
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
    tree = root[TREE]
    n_events = tree.num_entries
    batch = EventBatch({}, tuple(header["weight_names"]))
    for name, columns in header["tables"].items():
        per_event = OutputSetup().is_per_event(name)
        offsets = np.arange(n_events + 1, dtype=np.int64)
        arrays: dict[str, NDArray[Any]] = {}
        if not per_event:
            counts = tree[f"n{collection(name)}"].array(library="np")
            offsets = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        for column, about in columns.items():
            parts = [_flat(tree[f"{collection(name)}_{c}"].array()) for c in _column_parts(column, about["shape"])]
            arrays[column] = np.stack(parts, axis=1) if about["shape"] else parts[0]
        batch.add(Table(name, offsets, arrays))
    return batch


def _column_parts(column: str, shape: list[int]) -> list[str]:
    return [f"{column}_{i}" for i in range(shape[0])] if shape else [column]


def _split(table: Table) -> dict[str, NDArray[Any]]:
    """Columns with several values per row become one column per value."""
    flat = {}
    for column, values in table.items():
        for i, part in enumerate(_column_parts(column, list(values.shape[1:]))):
            flat[part] = np.ascontiguousarray(values[:, i]) if values.ndim > 1 else values
    return flat


def _flat(array: Any) -> NDArray[Any]:
    """Content of scalars or lists as one contiguous array."""
    import awkward as ak

    return np.ascontiguousarray(ak.to_numpy(ak.flatten(array, axis=None)))
