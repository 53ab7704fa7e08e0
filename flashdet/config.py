"""Building blocks of strict configuration: quantities with units in the text, and the base of every stage's config."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from flashdet import units


def _quantity(dimension: str, bound: str = "") -> Any:
    """Annotated float that takes text with a unit of `dimension`; `bound` is "", "positive" or "not negative"."""

    def convert(value: object) -> float:
        if not isinstance(value, str):
            allowed = ", ".join(u for u, (d, _) in units.UNITS.items() if d == dimension)
            raise ValueError(f"a {dimension} needs a unit ({allowed}); got the bare value {value!r}")
        number = units.parse(value, dimension)
        if bound == "positive" and not number > 0:
            raise ValueError(f"{value!r} must be greater than zero")
        if bound == "not negative" and not number >= 0:
            raise ValueError(f"{value!r} must not be negative")
        return number

    unit = next(u for u, (d, _) in units.UNITS.items() if d == dimension)
    schema = {"type": "string", "description": f"a {dimension} with its unit", "examples": [f"1 {unit}"]}
    return Annotated[float, BeforeValidator(convert), WithJsonSchema(schema)]


#: Any length; a length greater than zero; one that may be zero.
AnyLength = _quantity("length")
Length = _quantity("length", "positive")
LengthOrZero = _quantity("length", "not negative")
AnyTime = _quantity("time")
Time = _quantity("time", "positive")
TimeOrZero = _quantity("time", "not negative")
Energy = _quantity("energy", "positive")
EnergyOrZero = _quantity("energy", "not negative")
Angle = _quantity("angle", "positive")
AnyAngle = _quantity("angle")
AnyField = _quantity("magnetic field")
RootEnergy = _quantity("root energy", "not negative")
LengthRootEnergy = _quantity("length times root energy", "not negative")


class StrictModel(BaseModel):
    """Frozen model that refuses unknown keys and checks its defaults."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, use_attribute_docstrings=True
    )


class StageConfig(StrictModel):
    """Base of the configuration of every stage; ``kind`` and ``name`` are handled by the card."""
