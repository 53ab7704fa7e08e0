"""The tracking LUTs of a card as they may be written: a folder, a table per species, or several tables of a species."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator

from flashdet import registry
from flashdet.cardfile import Node, Problems
from flashdet.lut import catalog
from flashdet.lut.files import SUFFIX
from flashdet.species import SPECIES


def _names(value: Any) -> Any:
    """Name or names of tables; one message instead of one for each of the two."""
    names = value if isinstance(value, list | tuple) else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise ValueError(f"must be a table or a list of tables; got {value!r}")
    return value


#: One table of a species, or several that share out its charges and azimuths.
LutNames = Annotated[str | tuple[str, ...], BeforeValidator(_names)]


def expand_luts(tree: Node, directory: Path, problems: Problems) -> Node:
    """Turn ``luts: alice3`` into one entry per species, so that another file can replace a single one.

    Parameters
    ----------
    tree : Node
        A card.
    directory : pathlib.Path
        Its folder.
    problems : Problems
        Notes a folder without tables.

    Returns
    -------
    Node
    """
    node = tree.child("luts")
    if node is None or not isinstance(node.value, str):
        return tree
    tables = _tables_in(node.value, directory)
    if not tables:
        folders = {name.rpartition("/")[0] for name, entry in catalog.read_index().items() if entry.kind == "lut"}
        text = (
            f"no folder of tables, shipped or beside the card; got {node.value!r}; {registry.near(node.value, folders)}"
        )
        problems.add(node.place, "luts", text, True)
    entries = {}
    for species, names in tables.items():
        several = [Node(name, node.place, node.key) for name in names]
        entries[species] = several[0] if len(several) == 1 else Node(several, node.place, node.key)
    return Node({**tree.value, "luts": Node(entries, node.place, node.key)}, tree.place, tree.key)


def _tables_in(folder: str, directory: Path) -> dict[str, list[str]]:
    """Names of the tables of a folder by species: shipped ones, else files beside the card.

    The file is ``SPECIES.lut.npz``; without it, all ``SPECIES_*.lut.npz``, as `lut build sample --split` calls them.
    """
    index = catalog.read_index()
    shipped = {s: [f"{folder}/{s}"] for s in SPECIES if f"{folder}/{s}" in index}
    shipped = {s: names for s, names in shipped.items() if index[names[0]].kind == "lut"}
    if shipped:
        return shipped
    place = directory / folder
    found = {}
    for species in SPECIES:
        whole = place / f"{species}{SUFFIX}"
        paths = [whole] if whole.is_file() else sorted(p for p in place.glob(f"{species}_*{SUFFIX}") if p.is_file())
        if paths:
            found[species] = [f"{folder}/{path.name}" for path in paths]
    return found
