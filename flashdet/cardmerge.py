"""Cards made of several texts: files that include others, and the settings of the command line.

Mappings are merged key by key, stages by name, anything else is replaced; each value keeps the place where it was
written. This module knows what a stage's name is, but no stage.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flashdet.cardfile import Node, Place, Problems, parse

#: Longest text of one file [bytes].
MAX_BYTES = 2_000_000
#: Deepest nesting of files in files.
MAX_INCLUDES = 20


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
            self.problems.add(where or Place(shown), "include", f"files include each other: {loop}", True)
            return None
        text = self._text(path, shown)
        root = parse(text, shown, self.problems) if text is not None else None
        if text is None or root is None:
            if text is not None and not self.problems.is_unreadable:
                self.problems.add(Place(shown), "", "the file is empty", True)
            return None
        self.files.append(str(path))
        if not isinstance(root.value, dict):
            self.problems.add(root.place, "", "a card is a mapping of keys to values", True)
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
            self.problems.add(includes.place, "include", "must be a list of file names", True)
            return []
        trees = []
        for item in includes.value:
            found = self.find(item.value, path.parent)
            if found is None:
                text = f"no such file: {item.value!r}, neither beside the card nor shipped"
                self.problems.add(item.place, "include", text, True)
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
                self.problems.add(Place(shown), "", f"{len(raw)} bytes; a card has at most {MAX_BYTES}", True)
                return None
            return raw.decode("utf-8-sig")
        except OSError as error:
            self.problems.add(Place(shown), "", f"cannot be read: {error.strerror}", True)
        except UnicodeDecodeError as error:
            text = f"not UTF-8 text: byte {error.start} is {raw[error.start]:#x}"
            self.problems.add(Place(shown), "", text, True)
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
