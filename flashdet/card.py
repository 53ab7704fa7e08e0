"""The card: what a detector is made of, checked as strictly as a program.

A card is a YAML file (:mod:`flashdet.cardfile` keeps the places) whose stages are checked by the configuration models
of the stage classes in :mod:`flashdet.registry`. All errors are reported at once, each with file, line, column and
path. What the stages do with each other is checked in :mod:`flashdet.pipeline`.
"""

from __future__ import annotations

import hashlib
import io
import json
import keyword
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from flashdet import registry
from flashdet.carderrors import report
from flashdet.cardfile import Node, Place, Problems
from flashdet.cardluts import LutNames, expand_luts
from flashdet.cardmerge import Loader, apply, stage_name
from flashdet.config import AnyField, StageConfig, StrictModel
from flashdet.errors import CardError
from flashdet.provenance import Algorithm
from flashdet.shipped import shipped

#: Tables that exist without a detector; no stage may be named as one of them, but the stage that makes it.
RESERVED = {
    "event": "",
    "particle": "",
    "charged": "propagate",
    "track": "tracking",
    "vertex": "vertex",
}
Species = Literal["electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha"]


class Output(StrictModel):
    """What is written."""

    format: str = "aod"
    """Format of the output file, unless the command says otherwise."""
    tables: tuple[str, ...] | None = None
    """Tables to write; all that exist if not given."""
    particles: Literal["all", "acceptance", "tracked", "none"] | None = None
    """Generated particles to write. ``acceptance``: final-state and decayed ones within the eta_max of `propagate`;
    ``tracked``: only those that made a track or cluster; both with their ancestors and the whole decays these belong
    to. Not given: ``acceptance`` in the format aod, ``all`` in the others."""
    derived: bool = False
    """Whether to write columns that follow from others of the same row, such as ``otof.expected_pion`` from path,
    momentum and mass."""
    compression: Literal["fast", "small"] = "fast"
    """``small``: files are an eighth smaller and take 1.2 to 1.4 times as long to write."""
    checksum: Algorithm = "xxh3-128"
    """How the manifest sums up inputs and output: ``xxh3-128`` finds damage, ``sha256`` also forgery, in six times the
    time."""


class CardModel(StrictModel):
    """Keys of a card apart from the content of its stages."""

    schema_version: Literal[1]
    """Version of the card's language."""
    detector: str
    """Name of the detector, free text."""
    magnetic_field: AnyField
    """B_z along the beam, sign included."""
    luts: dict[Species, LutNames] = Field(default_factory=dict)
    """Tracking LUT of each species: a name of a shipped table or a path beside the card; or a list of tables, each for
    one sign of the charge or one sector in azimuth, that hold for all particles together. A single text is a folder
    with a table, or several, for each species."""
    stages: list[Any]
    """Steps of the simulation in their order."""
    output: Output = Output()
    """What is written."""

    @property
    def tables(self) -> dict[str, tuple[str, ...]]:
        """Names of the tracking LUTs of each species."""
        return {str(s): (names,) if isinstance(names, str) else names for s, names in self.luts.items()}


@dataclass(frozen=True)
class StageEntry:
    """One stage of a card.

    Attributes
    ----------
    kind, name : str
        Kind in the registry; name in the card.
    config : StageConfig
        Checked configuration.
    stage_class : type
        The class that runs it.
    """

    kind: str
    name: str
    config: StageConfig
    stage_class: Any


@dataclass(frozen=True)
class Card:
    """A checked card.

    Attributes
    ----------
    source : str
        File as the user named it.
    files : tuple of str
        All files it was read from.
    model : CardModel
        Everything but the stages.
    stages : tuple of StageEntry
        In the order of the card.
    tree : Node
        The merged text with its places, for error messages.
    """

    source: str
    files: tuple[str, ...]
    model: CardModel
    stages: tuple[StageEntry, ...]
    tree: Node = field(repr=False, compare=False)

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: Sequence[str] = ()) -> Card:
        """Read a card.

        Parameters
        ----------
        name_or_path : str or pathlib.Path
            A file, or the name of a shipped card with or without ``.yaml``.
        overrides : sequence of str
            Settings ``PATH=VALUE`` put over the file, later ones win.

        Returns
        -------
        Card

        Raises
        ------
        CardError
            Everything that is wrong with it, one line each.
        """
        path, shown = find_card(name_or_path)
        problems = Problems()
        loader = Loader(problems, _find_include, expand_luts)
        tree = loader.load(path, shown)
        for assignment in overrides:
            if tree is not None:
                tree = apply(tree, assignment, problems)
        if tree is None or problems.is_unreadable:
            problems.check()
        assert tree is not None
        tree = expand_luts(tree, path.parent, problems)
        model = _validate(CardModel, tree, (), problems)
        stages = _stages(tree, problems)
        problems.check()
        assert model is not None
        return cls(shown, tuple(loader.files), model, stages, tree)

    @property
    def directories(self) -> tuple[Path, ...]:
        """Folders in which relative paths of the card are looked up: those of its files."""
        return tuple(dict.fromkeys(Path(f).parent for f in self.files))

    def where(self, *keys: str | int) -> str:
        """Place and path of a key, to start an error message with; the deepest key that is written."""
        return locate(self.tree, keys)

    @cached_property
    def canonical(self) -> dict[str, Any]:
        """Everything, defaults included, as JSON values with units in the text."""
        body = self.model.model_dump(mode="json")
        body["stages"] = [
            {"kind": s.kind, "name": s.name, **s.config.model_dump(mode="json", exclude={"kind", "name"})}
            for s in self.stages
        ]
        return body

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form: equal for cards that mean the same."""
        text = json.dumps(self.canonical, sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def resolved(self) -> str:
        """The card as one YAML text without includes: values as written, defaults in internal units."""
        from ruamel.yaml import YAML

        yaml = YAML()
        yaml.default_flow_style = False
        yaml.width = 120
        yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
        text = io.StringIO()
        yaml.dump(_overlay(self.canonical, self.tree), text)
        return text.getvalue()


def shipped_cards() -> tuple[str, ...]:
    """Names of the cards that come with the package."""
    return tuple(sorted(p.stem for p in shipped("cards").glob("*.yaml")))


def find_card(name_or_path: str | Path) -> tuple[Path, str]:
    """Path of a card and the name to show for it; a file wins over a shipped name.

    Raises
    ------
    CardError
        There is neither.
    """
    path = Path(name_or_path)
    if path.is_file():
        return path, str(name_or_path)
    for candidate in (shipped("cards") / path, shipped("cards") / f"{path}.yaml"):
        if candidate.parent == shipped("cards") and candidate.is_file():
            return candidate, candidate.name
    hint = registry.near(path.stem, shipped_cards())
    raise CardError(f"no such file and no shipped card; {hint}", str(name_or_path))


def _find_include(name: str, directory: Path) -> Path | None:
    if (directory / name).is_file():
        return directory / name
    try:
        return find_card(name)[0] if "/" not in name else None
    except CardError:
        return None


def _validate(model: type[BaseModel], node: Node, at: tuple[str, ...], problems: Problems) -> Any:
    """Instance of the model, or None with the problems noted."""
    try:
        return model.model_validate(node.plain())
    except ValidationError as error:
        report(error, model, node, at, problems)
        return None


def _stages(tree: Node, problems: Problems) -> tuple[StageEntry, ...]:
    node = tree.child("stages")
    if node is None or not isinstance(node.value, list):
        return ()
    entries: list[StageEntry] = []
    seen: dict[str, Place] = {}
    for i, item in enumerate(node.value):
        entry = _stage(item, i, problems)
        name = stage_name(item) or ""
        if name and name in seen:
            text = f"two stages are called {name!r}; first at {seen[name]}; give one of them another name"
            problems.add(item.place, f"stages.{name}", text)
        seen.setdefault(name, item.place)
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def _stage(node: Node, i: int, problems: Problems) -> StageEntry | None:
    """One stage of the card, None with the problems noted."""
    if not isinstance(node.value, dict):
        problems.add(node.place, f"stages.{i}", f"a stage is a mapping with a kind; got {node.value!r}")
        return None
    name = stage_name(node)
    label = name if name is not None else str(i)
    kind_node = node.child("kind")
    if kind_node is None or not isinstance(kind_node.value, str):
        text = f"the kind is missing; allowed: {', '.join(sorted(registry.stages.names()))}"
        problems.add(kind_node.place if kind_node else node.place, f"stages.{label}", text)
        return None
    kind = kind_node.value
    _check_name(node, name, kind, problems)
    try:
        stage_class = registry.stages.get(kind)
    except CardError as error:
        problems.add(kind_node.place, f"stages.{label}.kind", error.message)
        return None
    body = Node({k: v for k, v in node.value.items() if k not in ("kind", "name")}, node.place, node.key)
    config = _validate(stage_class.Config, body, ("stages", label), problems)
    return StageEntry(kind, name or kind, config, stage_class) if config is not None else None


def _check_name(node: Node, name: str | None, kind: str, problems: Problems) -> None:
    written = node.child("name")
    if written is not None and not isinstance(written.value, str):
        problems.add(written.place, f"stages.{kind}.name", f"a name is a text; got {written.value!r}")
    elif name is not None and written is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        text = f"not a name; letters, digits and _ only, no digit first, no word of Python; got {name!r}"
        problems.add(written.place, f"stages.{name}.name", text)
    elif name in RESERVED and RESERVED[name] != kind:
        place = written.place if written else node.place
        problems.add(place, f"stages.{name}.name", f"the name belongs to the table {name!r}; call the stage otherwise")


def locate(tree: Node, keys: Iterable[str | int]) -> str:
    """Place and dotted path of a key; stages may be given by name."""
    node, place = tree, tree.place
    path: list[str] = []
    for key in keys:
        path.append(str(key))
        child = node.child(key)
        if child is None and path[0] == "stages" and isinstance(node.value, list):
            child = next((item for item in node.value if stage_name(item) == key), None)
        if child is None:
            continue
        node, place = child, child.place
    return f"{place} {'.'.join(path)}" if path else str(place)


def _overlay(canonical: Any, node: Node | None) -> Any:
    """Canonical values, replaced by what the user wrote where it is written."""
    if node is None:
        return canonical
    if isinstance(canonical, dict) and isinstance(node.value, dict):
        return {k: _overlay(v, node.value.get(k)) for k, v in canonical.items()}
    if isinstance(canonical, list) and isinstance(node.value, list) and len(canonical) == len(node.value):
        return [_overlay(v, n) for v, n in zip(canonical, node.value, strict=True)]
    return node.plain()


def schema() -> dict[str, Any]:
    """JSON schema of cards with all stage kinds that can be imported, for editors.

    Returns
    -------
    dict
        JSON Schema draft 2020-12.
    """
    from pydantic import create_model
    from pydantic.json_schema import models_json_schema

    kinds = registry.stages.load_all()
    models: list[type[BaseModel]] = []
    for kind, stage_class in kinds.items():
        fields: dict[str, Any] = {"kind": (Literal[kind], ...), "name": (str, kind)}
        models.append(create_model(f"{kind.capitalize()}Stage", __base__=stage_class.Config, **fields))
    wanted: list[Any] = [(CardModel, "validation"), *((m, "validation") for m in models)]
    references, merged = models_json_schema(wanted, title="FlashDet card")
    top = merged["$defs"].pop("CardModel")
    stages = [references[m, "validation"] for m in models]
    properties = top["properties"]
    properties["luts"] = {"anyOf": [{"type": "string"}, properties["luts"]]}
    properties["include"] = {
        "type": "array",
        "items": {"type": "string"},
        "description": "Cards put underneath this one, later ones win.",
    }
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "title": "FlashDet card"}
    # A card with includes may leave anything to them, and of a stage of theirs says only what is to change.
    change = {"type": "object", "anyOf": [{"required": [key]} for key in ("name", "kind")]}
    head["if"] = {"required": ["include"]}
    head["then"] = {"properties": {"stages": {"items": {"anyOf": [*stages, change]}}}}
    head["else"] = {"required": head.pop("required", []), "properties": {"stages": {"items": {"oneOf": stages}}}}
    return {**head, "$defs": merged["$defs"]}
