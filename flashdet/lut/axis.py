"""Regular axes of lookup tables: name, unit, bins, scale, and what happens outside."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import LutError

OutOfRange = Literal["clamp", "reject", "error"]


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
        Number of bins.
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
    scale: Literal["linear", "log"] = "linear"
    out_of_range: OutOfRange = "clamp"
    interpolation: Literal["none", "linear"] = "linear"

    def __post_init__(self) -> None:
        if self.n_bins < 1 or not self.low < self.high or (self.scale == "log" and self.low <= 0):
            raise LutError(
                f"{self.n_bins} bins from {self.low} to {self.high} ({self.scale}) are not an axis; allowed: at least one "
                "bin, low < high, and low > 0 on a logarithmic axis",
                f"axis {self.name}",
            )

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

    def to_dict(self) -> dict[str, Any]:
        """Plain mapping for file headers; ``Axis(**mapping)`` reads it back."""
        return asdict(self)
