"""YAML text to a tree that knows where each value was written: places, includes, merging, ``--set``.

This module knows no detector and no stage: what the keys mean is decided in :mod:`flashdet.card`. YAML is version 1.2
(``no`` is a text, ``010`` is ten); repeated keys, tags, several documents and huge aliases are refused.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from flashdet.errors import CardError

#: Most values a file may hold once its aliases are expanded; the largest shipped card has a few hundred.
MAX_VALUES = 100_000
#: Longest text of one file [bytes].
MAX_BYTES = 2_000_000
#: Deepest nesting of values in a file, and of files in files.
MAX_DEPTH, MAX_INCLUDES = 50, 20


@dataclass(frozen=True)
class Place:
    """Where something was written.

    Attributes
    ----------
    file : str
        Path as the user gave it, or ``--set``.
    line, column : int
        Counted from 1; 0 if there is none.
    """

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Node:
    """One value and where it, and its key, were written.

    Attributes
    ----------
    value : dict of str to Node, list of Node, or scalar
        The content.
    place : Place
        Of the value.
    key : Place or None
        Of its key in the mapping around it.
    """

    value: Any
    place: Place
    key: Place | None = None

    def plain(self) -> Any:
        """Content without places."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain() for v in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """Value under a key or an index, None if there is none."""
        if isinstance(self.value, dict):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]  # type: ignore[no-any-return]
        return None


@dataclass
class Problems:
    """Everything that is wrong with a card, gathered so that the user sees all of it at once."""

    lines: list[str] = field(default_factory=list)

    def add(self, place: Place, path: str, text: str) -> None:
        """Note one problem; `path` is the dotted path of the key, empty for a file as a whole."""
        line = f"{place} {path}: {text}" if path else f"{place}: {text}"
        if line not in self.lines:
            self.lines.append(line)

    def check(self) -> None:
        """Raise `CardError` with all lines if there are any."""
        if self.lines:
            raise CardError("\n".join(self.lines))


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """Parse one YAML document.

    Parameters
    ----------
    text : str
        YAML 1.2.
    file : str
        Name to put into places.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    Node or None
        None if the text cannot be parsed or is empty.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(io.StringIO(text))
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file)
        context = f" {error.context}" if error.context else ""
        problems.add(place, "", f"not YAML:{context} {error.problem}".replace("\n", " "))
        return None
    except (YAMLError, RecursionError) as error:
        problems.add(Place(file), "", f"not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deeply'}")
        return None
    if root is None:
        return None
    builder = _Builder(yaml, file, problems)
    node = builder.build(root, "", 0)
    return None if builder.too_large else node


class _Builder:
    """Turns the composed nodes of one file into `Node`."""

    def __init__(self, yaml: Any, file: str, problems: Problems) -> None:
        self.constructor, self.file, self.problems = yaml.constructor, file, problems
        self.n_values, self.too_large = 0, False

    def place(self, raw: Any) -> Place:
        return Place(self.file, raw.start_mark.line + 1, raw.start_mark.column + 1)

    def build(self, raw: Any, path: str, depth: int) -> Node:
        """Aliases are built again at each use, so that counting the values caps them and a self-reference ends."""
        place = self.place(raw)
        self.n_values += 1
        if self.n_values > MAX_VALUES or depth > MAX_DEPTH:
            if not self.too_large:
                limit = f"{MAX_VALUES} values" if self.n_values > MAX_VALUES else f"{MAX_DEPTH} levels"
                self.problems.add(place, path, f"more than {limit} once aliases are expanded")
            self.too_large = True
        if self.too_large:
            return Node(None, place)
        if not raw.tag.startswith("tag:yaml.org,2002:") or ":python" in raw.tag:
            self.problems.add(place, path, f"tags are not allowed; got {raw.tag}")
            return Node(None, place)
        if raw.id == "mapping":
            return Node(self.mapping(raw, path, depth), place)
        if raw.id == "sequence":
            items = [self.build(item, f"{path}.{i}" if path else str(i), depth + 1) for i, item in enumerate(raw.value)]
            return Node(items, place)
        if raw.tag.endswith(":timestamp"):
            return Node(raw.value, place)
        try:
            return Node(self.constructor.construct_object(raw), place)
        except Exception as error:  # noqa: BLE001 - the constructor of a malformed scalar raises many types
            self.problems.add(place, path, f"cannot be read: {error}; got {raw.value!r}")
            return Node(None, place)

    def mapping(self, raw: Any, path: str, depth: int) -> dict[str, Node]:
        result: dict[str, Node] = {}
        for raw_key, raw_value in raw.value:
            where = self.place(raw_key)
            if raw_key.id != "scalar":
                self.problems.add(where, path, "a key must be a text")
                continue
            key = str(raw_key.value)
            below = f"{path}.{key}" if path else key
            if raw_key.tag.endswith(":merge"):
                self.problems.add(where, below, "merge keys are not part of YAML 1.2; use include or repeat the values")
                continue
            if key in result:
                self.problems.add(where, below, f"the key appears twice; first at {result[key].key}")
                continue
            result[key] = replace(self.build(raw_value, below, depth + 1), key=where)
        return result


def stage_name(node: Node) -> str | None:
    """Name of a stage of a card: its ``name``, else its ``kind``; None if it has neither."""
    for key in ("name", "kind"):
        entry = node.child(key) if isinstance(node.value, dict) else None
        if entry is not None and isinstance(entry.value, str):
            return entry.value
    return None


def merge(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """Put one tree over another: mappings key by key, ``stages`` by name, anything else as a whole.

    Parameters
    ----------
    base, over : Node
        What was there and what wins.
    path : tuple of str
        Where in the card they are.

    Returns
    -------
    Node
    """
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        merged = dict(base.value)
        for key, node in over.value.items():
            merged[key] = merge(merged[key], node, (*path, key)) if key in merged else node
        return Node(merged, over.place, over.key)
    if path == ("stages",) and isinstance(base.value, list) and isinstance(over.value, list):
        return Node(_merge_stages(base.value, over.value), over.place, over.key)
    return over


def _merge_stages(base: list[Node], over: list[Node]) -> list[Node]:
    """A stage of another kind replaces the one it is named as; new stages go to the end."""
    result = list(base)
    index = {stage_name(node): i for i, node in enumerate(base)}
    for node in over:
        i = index.get(stage_name(node))
        if i is None or stage_name(node) is None:
            result.append(node)
            continue
        mine, theirs = result[i].child("kind"), node.child("kind")
        same_kind = mine is None or theirs is None or mine.value == theirs.value
        result[i] = merge(result[i], node, ("stages", "*")) if same_kind else node
    return result


@dataclass
class Loader:
    """Reads a card file and everything it includes.

    Attributes
    ----------
    problems : Problems
        Receives what is wrong.
    find : callable
        ``find(name, directory)`` gives the path of an included file, None if there is none.
    normalise : callable
        Applied to the tree of each file before it is merged.
    files : list of str
        All files that were read, in the order of reading.
    """

    problems: Problems
    find: Callable[[str, Path], Path | None]
    normalise: Callable[[Node, Path, Problems], Node]
    files: list[str] = field(default_factory=list)

    def load(self, path: Path, shown: str, chain: tuple[Path, ...] = (), where: Place | None = None) -> Node | None:
        """Read one file and put it over its includes.

        Parameters
        ----------
        path : pathlib.Path
            The file.
        shown : str
            Its name in messages.
        chain : tuple of pathlib.Path
            Files that are being read: those that include it.
        where : Place, optional
            Place of the ``include`` that names it.

        Returns
        -------
        Node or None
            None if it cannot be read.
        """
        real = path.resolve()
        if real in chain or len(chain) >= MAX_INCLUDES:
            loop = " -> ".join(p.name for p in (*chain, real))
            self.problems.add(where or Place(shown), "include", f"files include each other: {loop}")
            return None
        text = self._text(path, shown)
        root = parse(text, shown, self.problems) if text is not None else None
        if text is None or root is None:
            if text is not None and not self.problems.lines:
                self.problems.add(Place(shown), "", "the file is empty")
            return None
        self.files.append(str(path))
        if not isinstance(root.value, dict):
            self.problems.add(root.place, "", "a card is a mapping of keys to values")
            return None
        includes = root.value.pop("include", None)
        root = self.normalise(root, path.parent, self.problems)
        if includes is None:
            return root
        for base in reversed(self._includes(includes, path, shown, (*chain, real))):
            root = merge(base, root)
        return root

    def _includes(self, includes: Node, path: Path, shown: str, chain: tuple[Path, ...]) -> list[Node]:
        if not isinstance(includes.value, list) or not all(isinstance(i.value, str) for i in includes.value):
            self.problems.add(includes.place, "include", "must be a list of file names")
            return []
        trees = []
        for item in includes.value:
            found = self.find(item.value, path.parent)
            if found is None:
                self.problems.add(item.place, "include", f"no such file: {item.value!r}, neither here nor shipped")
                continue
            beside = (path.parent / item.value).is_file()
            name = str(Path(shown).parent / item.value) if beside else found.name
            tree = self.load(found, name, chain, item.place)
            if tree is not None:
                trees.append(tree)
        return trees

    def _text(self, path: Path, shown: str) -> str | None:
        try:
            raw = path.read_bytes()
            if len(raw) > MAX_BYTES:
                self.problems.add(Place(shown), "", f"{len(raw)} bytes; a card has at most {MAX_BYTES}")
                return None
            return raw.decode("utf-8-sig")
        except OSError as error:
            self.problems.add(Place(shown), "", f"cannot be read: {error.strerror}")
        except UnicodeDecodeError as error:
            self.problems.add(Place(shown), "", f"not UTF-8 text: byte {error.start} is {raw[error.start]:#x}")
        return None


def apply(root: Node, assignment: str, problems: Problems) -> Node:
    """Apply one ``--set PATH=VALUE``.

    Parameters
    ----------
    root : Node
        The card so far.
    assignment : str
        Dotted path, stages by name, lists by index; the value is YAML, e.g. ``"30 ps"`` or ``[event, track]``.
    problems : Problems
        Receives what is wrong.

    Returns
    -------
    Node
        A new tree.
    """
    dotted, equals, text = assignment.partition("=")
    keys = dotted.strip().split(".")
    if not equals or not all(keys):
        problems.add(Place("--set"), "", f"{assignment!r} is not PATH=VALUE, e.g. stages.otof.time_resolution='30 ps'")
        return root
    place = Place("--set")
    inner = Problems()
    value = parse(text, "--set", inner)
    if inner.lines:
        problems.add(place, dotted, f"the value is not YAML; got {text!r}")
        return root
    return _assign(root, keys, _moved(value, place) if value else Node(None, place), (), problems)


def _moved(node: Node, place: Place) -> Node:
    """Give a whole tree the same place: columns inside a setting say nothing."""
    value = node.value
    if isinstance(value, dict):
        value = {k: _moved(v, place) for k, v in value.items()}
    elif isinstance(value, list):
        value = [_moved(v, place) for v in value]
    return Node(value, place, place)


def _assign(node: Node, keys: Sequence[str], value: Node, path: tuple[str, ...], problems: Problems) -> Node:
    """Copy of `node` in which the value under `keys` is replaced."""
    if not keys:
        return Node(value.value, value.place, node.key or value.key)
    key, here = keys[0], (*path, keys[0])
    dotted = ".".join(here)
    if isinstance(node.value, dict):
        child = node.value.get(key)
        if child is None:
            child = value if len(keys) == 1 else Node({}, value.place, value.place)
        return replace(node, value={**node.value, key: _assign(child, keys[1:], value, here, problems)})
    if isinstance(node.value, list):
        names = [stage_name(item) for item in node.value] if path == ("stages",) else []
        names = names or [str(i) for i in range(len(node.value))]
        if key not in names:
            problems.add(value.place, dotted, f"no such entry; {'.'.join(path)} has: {', '.join(map(str, names))}")
            return node
        items = list(node.value)
        items[names.index(key)] = _assign(items[names.index(key)], keys[1:], value, here, problems)
        return replace(node, value=items)
    problems.add(value.place, dotted, f"no such key: {'.'.join(path)} is the value {node.value!r}")
    return node
