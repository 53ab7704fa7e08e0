"""YAML text to a tree that knows where each value was written.

What the keys mean is decided elsewhere; files are put together in :mod:`flashdet.cardmerge`. YAML is version 1.2
(``no`` is a text, ``010`` is ten); repeated keys, tags, several documents and huge aliases are refused.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Any

from flashdet.errors import CardError

#: Most values a file may hold once its aliases are expanded; the largest shipped card has a few hundred.
MAX_VALUES = 100_000
#: Deepest nesting of values.
MAX_DEPTH = 50


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
    """Everything that is wrong with a card, gathered so that the user sees all of it at once.

    Attributes
    ----------
    lines : list of str
        One per problem.
    is_unreadable : bool
        True if parts of the text could not be read: what they would have said is unknown, so nothing else is checked.
    """

    lines: list[str] = field(default_factory=list)
    is_unreadable: bool = False

    def add(self, place: Place, path: str, text: str, unreadable: bool = False) -> None:
        """Note one problem; `path` is the dotted path of the key, empty for a file as a whole."""
        self.is_unreadable |= unreadable
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
        problems.add(place, "", f"not YAML:{context} {error.problem}".replace("\n", " "), True)
        return None
    except (YAMLError, RecursionError) as error:
        problems.add(
            Place(file), "", f"not YAML: {str(error).splitlines()[0] if str(error) else 'nested too deeply'}", True
        )
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
                start = ".".join(path.split(".")[:3])
                self.problems.add(place, start, f"more than {limit} once aliases are expanded", True)
            self.too_large = True
        if self.too_large:
            return Node(None, place)
        if not raw.tag.startswith("tag:yaml.org,2002:") or ":python" in raw.tag:
            self.problems.add(place, path, f"tags are not allowed; got {raw.tag}", True)
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
            self.problems.add(place, path, f"cannot be read: {error}; got {raw.value!r}", True)
            return Node(None, place)

    def mapping(self, raw: Any, path: str, depth: int) -> dict[str, Node]:
        result: dict[str, Node] = {}
        for raw_key, raw_value in raw.value:
            where = self.place(raw_key)
            if raw_key.id != "scalar":
                self.problems.add(where, path, "a key must be a text", True)
                continue
            key = str(raw_key.value)
            below = f"{path}.{key}" if path else key
            if raw_key.tag.endswith(":merge"):
                text = "merge keys are not part of YAML 1.2; use include or repeat the values"
                self.problems.add(where, below, text, True)
                continue
            if key in result:
                self.problems.add(where, below, f"the key appears twice; first at {result[key].key}")
                continue
            result[key] = replace(self.build(raw_value, below, depth + 1), key=where)
        return result
