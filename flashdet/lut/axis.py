"""Regular axes of lookup tables: name, unit, bins, scale, and what happens outside."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError

Scale = Literal["linear", "log"]
OutOfRange = Literal["clamp", "reject", "error"]
AxisInterpolation = Literal["none", "linear"]

_ALLOWED = {
    "scale": get_args(Scale),
    "out_of_range": get_args(OutOfRange),
    "interpolation": get_args(AxisInterpolation),
}


@dataclass(frozen=True)
class Axis:
    """Equal bins in the value or in its logarithm.

    Attributes
    ----------
    name : str
        ``nch``, ``radius``, ``eta``, ``pt``, ``p``, ...
    unit : str
        Unit of `low` and `high`, empty for none.
    n_bins : int
        Number of bins; each one contains its lower edge and not its upper one.
    low, high : float
        Outer edges, in the unit itself also for a logarithmic axis.
    scale : {"linear", "log"}
        What the bins are equal in.
    out_of_range : {"clamp", "reject", "error"}
        Outside [low, high): use the edge bin, lose the object, or stop the job. Each case is counted.
    interpolation : {"none", "linear"}
        Between bin centres; beyond the outer centres the outer bin is used.
    """

    name: str
    unit: str
    n_bins: int
    low: float
    high: float
    scale: Scale = "linear"
    out_of_range: OutOfRange = "clamp"
    interpolation: AxisInterpolation = "linear"

    def __post_init__(self) -> None:
        where = f"axis {self.name}"
        if (
            self.n_bins < 1
            or not -math.inf < self.low < self.high < math.inf
            or (self.scale == "log" and self.low <= 0)
        ):
            raise LutError(
                f"{self.n_bins} bins from {self.low} to {self.high} ({self.scale}) are not an axis; allowed: at least "
                "one bin, low < high, both finite, and low > 0 on a logarithmic axis",
                where,
            )
        for name, allowed in _ALLOWED.items():
            if getattr(self, name) not in allowed:
                raise LutError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(allowed)}", where)

    def transform(self, value: Any) -> Any:
        """Coordinate in which the bins are equal: the value or its decimal logarithm."""
        return np.log10(value) if self.scale == "log" else np.asarray(value, np.float64)

    @property
    def edges(self) -> NDArray[np.float64]:
        """(n_bins + 1,) edges of the bins, in the axis' unit."""
        grid = np.linspace(self.transform(self.low), self.transform(self.high), self.n_bins + 1)
        return 10.0**grid if self.scale == "log" else grid

    @property
    def centers(self) -> NDArray[np.float64]:
        """(n_bins,) centres of the bins (geometric ones on a logarithmic axis), in the axis' unit."""
        grid = np.linspace(self.transform(self.low), self.transform(self.high), self.n_bins + 1)
        middle = 0.5 * (grid[1:] + grid[:-1])
        return 10.0**middle if self.scale == "log" else middle

    def has_bins_of(self, other: Axis) -> bool:
        """True if the two axes have the same name and the same bins, whatever their rules."""
        return all(getattr(self, f) == getattr(other, f) for f in ("name", "unit", "n_bins", "low", "high", "scale"))

    def to_dict(self) -> dict[str, Any]:
        """Plain mapping for file headers; `from_dict` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> Axis:
        """Axis of a file header.

        Parameters
        ----------
        mapping : mapping
            Made by `to_dict`.

        Returns
        -------
        Axis

        Raises
        ------
        LutError
            A key is missing, unknown or of the wrong type, or the axis makes no sense.
        """
        if not isinstance(mapping, Mapping) or mapping.keys() != _TYPES.keys():
            raise LutError(f"an axis needs exactly the keys {', '.join(_TYPES)}, not {mapping!r}")
        for name, value in mapping.items():
            if not isinstance(value, _TYPES[name]) or isinstance(value, bool):
                raise LutError(f"{name} cannot be {value!r}", f"axis {mapping['name']}")
        return cls(**mapping)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        rules = f"outside: {self.out_of_range}, between centres: {self.interpolation}"
        return f"{self.name}: {self.n_bins} {self.scale} bins, {self.low:.6g} to {self.high:.6g}{unit} ({rules})"


#: Types of the values of a header, by key.
_TYPES: dict[str, tuple[type, ...]] = {
    f.name: {"n_bins": (int,), "low": (int, float), "high": (int, float)}.get(f.name, (str,)) for f in fields(Axis)
}
