"""Messages of the configuration models in the words of cards: place, path, what came, what is allowed."""

from __future__ import annotations

import difflib
import inspect
import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from flashdet.cardfile import Node, Place, Problems
from flashdet.registry import near


def report(error: ValidationError, model: type[BaseModel], node: Node, at: tuple[str, ...], problems: Problems) -> None:
    """Note each error of a model at the place in the card where its value was written.

    Parameters
    ----------
    error : pydantic.ValidationError
        What the model found.
    model : type
        The model.
    node : Node
        What it was given.
    at : tuple of str
        Path of the node in the card.
    problems : Problems
        Receives the messages.
    """
    found = error.errors(include_url=False)
    misspelt = {_meant(model, d["loc"]) for d in found if d["type"] == "extra_forbidden"}
    for details in found:
        loc, kind = details["loc"], details["type"]
        last_is_new = kind == "missing"
        if last_is_new and loc in misspelt:
            continue
        if kind == "too_short" and any(d["loc"][: len(loc)] == loc and d is not details for d in found):
            continue  # only because its entries are wrong
        place, path = _walk(node, loc, last_is_new)
        if kind == "extra_forbidden":
            place = _key_place(node, loc) or place
            text = f"unknown key; {near(str(loc[-1]), _allowed(model, loc[:-1]))}"
        elif kind == "missing":
            text = "the key is missing"
        elif kind in ("value_error", "assertion_error"):
            text = str(details["ctx"]["error"]) if "ctx" in details else details["msg"]
        else:
            text = _with_input(details["msg"].replace("Input should be", "must be"), details["input"])
        problems.add(place, ".".join((*at, *path)), text)


def _meant(model: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Path of the key that an unknown key most likely stands for."""
    close = difflib.get_close_matches(str(loc[-1]), _allowed(model, loc[:-1]), n=1)
    return (*loc[:-1], *close)


def _with_input(message: str, value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{message}; got a {'mapping' if isinstance(value, dict) else 'list'}"
    return f"{message}; got {'nothing' if value is None else repr(value)}"


def _walk(node: Node, loc: tuple[int | str, ...], last_is_new: bool) -> tuple[Place, tuple[str, ...]]:
    """Deepest place on the way and the path; parts of `loc` that are no keys (tags of unions) are left out."""
    path = []
    for i, part in enumerate(loc):
        child = node.child(part)
        if child is not None:
            node = child
            path.append(str(part))
        elif last_is_new and i == len(loc) - 1:
            path.append(str(part))
    return node.place, tuple(path)


def _key_place(node: Node, loc: tuple[int | str, ...]) -> Place | None:
    for part in loc:
        node = node.child(part) or node
    return node.key


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Models anywhere inside an annotation."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return [annotation]
    found = []
    for argument in typing.get_args(annotation):
        found += _models(argument)
    return found


def _allowed(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Keys of the model at `loc`."""
    models: list[type[BaseModel]] = [model]
    for part in loc:
        fields = [m.model_fields[str(part)] for m in models if str(part) in m.model_fields]
        if fields:
            models = [inner for f in fields for inner in _models(f.annotation)]
        else:
            models = [m for m in models if m.__name__ == part or _tag(m) == part] or models
    return [name for m in models for name in m.model_fields]


def _tag(model: type[BaseModel]) -> Any:
    """Value of the literal field that tells a model from the others of its union."""
    for info in model.model_fields.values():
        arguments = typing.get_args(info.annotation)
        if typing.get_origin(info.annotation) is typing.Literal and len(arguments) == 1:
            return arguments[0]
    return None
