"""Building blocks of strict configuration: quantities with units in the text, and the base of every stage's config."""

from __future__ import annotations

import ast
import inspect
import itertools
import re
import textwrap
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from flashdet import units


@dataclass(frozen=True)
class Quantity:
    """Annotation of a float that is written as text with a unit.

    Attributes
    ----------
    dimension : str
        A dimension of `flashdet.units.UNITS`.
    bound : {"", "positive", "not negative"}
        What is allowed.
    """

    dimension: str
    bound: str = ""

    @property
    def unit(self) -> str:
        """The unit in which values are written: the internal one (fractions in %)."""
        return next(u for u, (d, _) in units.UNITS.items() if d == self.dimension)

    def read(self, value: object) -> float:
        """Text to internal units; raises ValueError with what is allowed."""
        if not isinstance(value, str):
            allowed = ", ".join(u for u, (d, _) in units.UNITS.items() if d == self.dimension)
            raise ValueError(f"a {self.dimension} needs a unit ({allowed}); got the bare value {value!r}")
        number = units.parse(value, self.dimension)
        if self.bound == "positive" and not number > 0:
            raise ValueError(f"{value!r} must be greater than zero")
        if self.bound == "not negative" and not number >= 0:
            raise ValueError(f"{value!r} must not be negative")
        return number

    def write(self, value: float) -> str:
        """Text that reads back to the same number, bit for bit where the factor of the unit is 1."""
        return f"{value / units.UNITS[self.unit][1]!r} {self.unit}"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        write = core_schema.plain_serializer_function_ser_schema(
            self.write, return_schema=core_schema.str_schema(), when_used="json"
        )
        return core_schema.no_info_before_validator_function(self.read, handler(source), serialization=write)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        allowed = "|".join(re.escape(u) for u, (d, _) in units.UNITS.items() if d == self.dimension)
        return {
            "type": "string",
            "description": f"a {self.dimension} with its unit",
            "examples": [f"1 {self.unit}"],
            "pattern": rf"^\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*({allowed})\s*$",
        }


#: Any length; a length greater than zero; one that may be zero.
AnyLength = Annotated[float, Quantity("length")]
Length = Annotated[float, Quantity("length", "positive")]
LengthOrZero = Annotated[float, Quantity("length", "not negative")]
InverseLength = Annotated[float, Quantity("inverse length", "positive")]
RatePerAreaOrZero = Annotated[float, Quantity("rate per area", "not negative")]
AnyTime = Annotated[float, Quantity("time")]
Time = Annotated[float, Quantity("time", "positive")]
TimeOrZero = Annotated[float, Quantity("time", "not negative")]
Energy = Annotated[float, Quantity("energy", "positive")]
EnergyOrZero = Annotated[float, Quantity("energy", "not negative")]
Angle = Annotated[float, Quantity("angle", "positive")]
AnyAngle = Annotated[float, Quantity("angle")]
AnyField = Annotated[float, Quantity("magnetic field")]
RootEnergy = Annotated[float, Quantity("root energy", "not negative")]
LengthRootEnergy = Annotated[float, Quantity("length times root energy", "not negative")]


class StrictModel(BaseModel):
    """Frozen model that refuses unknown keys and checks its defaults; texts under fields describe them in schemas."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True)

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        # pydantic's use_attribute_docstrings reads all sources when the classes are made: 0.1 s of every start.
        schema = handler(core)
        properties = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in _field_texts(cls).items():
            if name in properties:
                properties[name] = {**properties[name], "description": text}
        return schema


def _field_texts(model: type[BaseModel]) -> dict[str, str]:
    """Texts that stand under the fields of a model and of its bases."""
    texts: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if not issubclass(part, BaseModel) or part is BaseModel:
            continue
        try:
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(part))).body
        except (OSError, TypeError):  # made by a program
            continue
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for field, below in itertools.pairwise(body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str() as text)):
                    texts[name] = inspect.cleandoc(text)
    return texts


class StageConfig(StrictModel):
    """Base of the configuration of every stage; ``kind`` and ``name`` are handled by the card."""
