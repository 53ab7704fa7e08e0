"""Configuration of the RICH: radiators, geometry of the two models, background.

Only what a user writes and what is checked without events is here; formulas are in :mod:`.optics`,
tiles are laid out in :mod:`.tiles`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from flashdet.config import (
    Angle,
    InverseLength,
    Length,
    LengthOrZero,
    RatePerAreaOrZero,
    StageConfig,
    StrictModel,
    TimeOrZero,
)
from flashdet.stages.surface import Shape

Index = Annotated[float, Field(gt=1)]

#: What belongs to the other model.
_FOREIGN = {
    "simple": ("tiles", "discs", "optics", "background"),
    "projective": ("shape", "single_photon_resolution"),
}


class Tiles(StrictModel):
    """A barrel of tilted tiles that all face the centre of the detector.

    The defaults are those of O2Physics ``onTheFlyRichPid``. Along z the tiles form sectors; each subtends the angle of
    its square of photon detectors, and its radiator stands in front of it.
    """

    inner_radius: Length = "85 cm"  # type: ignore[assignment]
    """Front of the radiator of the central tile."""
    outer_radius: Length = "112 cm"  # type: ignore[assignment]
    """Photon detector of the central tile."""
    tile_size: Length = "18.4 cm"  # type: ignore[assignment]
    """Side of the square of photon detectors."""
    n_sectors: Annotated[int, Field(ge=1, le=199)] = 21
    """Tiles along z; an even number leaves a gap in the middle."""
    central_gap: LengthOrZero = "1 cm"  # type: ignore[assignment]
    """That gap at the photon detectors; no gap with an odd number of sectors."""
    n_azimuthal_tiles: Annotated[int, Field(ge=8, le=360)] | None = None
    """Flat tiles around the axis; without it the photon detectors are continuous in azimuth."""
    sector_indices: tuple[Index, ...] | None = None
    """Refractive index of each sector from the centre outward, where it is not the same everywhere."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.inner_radius < self.outer_radius:
            raise ValueError("inner_radius must be smaller than outer_radius")
        if not self.tile_size < self.outer_radius:
            raise ValueError("tile_size must be smaller than outer_radius")
        half = (self.n_sectors + 1) // 2
        if self.sector_indices is not None and len(self.sector_indices) != half:
            raise ValueError(
                f"sector_indices needs {half} values, from the centre outward; got {len(self.sector_indices)}"
            )
        if self.n_azimuthal_tiles is not None:
            slope = math.tan(math.pi / self.n_azimuthal_tiles)
            low, high = self.inner_radius * slope, self.outer_radius * slope
            if not 2.0 * low <= self.tile_size <= 2.0 * high:
                raise ValueError(
                    f"{self.n_azimuthal_tiles} azimuthal tiles of tile_size {self.tile_size:g} cm overlap or leave "
                    f"radiators uncovered; allowed sizes: {2.0 * low:.3g} to {2.0 * high:.3g} cm"
                )
        return self


class Discs(StrictModel):
    """Flat radiators across the beam on both sides, each with a disc of photon detectors behind."""

    z: Length
    """Front of the radiators on the positive side; the negative side is its mirror image."""
    gap: Length
    """From the back of the radiator to the photon detectors."""
    r_min: LengthOrZero
    """Inner radius of radiator and photon detectors."""
    r_max: Length
    """Outer radius."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.r_min < self.r_max:
            raise ValueError(f"r_min ({self.r_min:g} cm) must be smaller than r_max ({self.r_max:g} cm)")
        return self


class Dispersion(StrictModel):
    """Refractive index against wavelength: a Sellmeier formula of one term, as in ``onTheFlyRichPid``."""

    strength: Annotated[float, Field(gt=0)] = 0.0616
    """A in n^2 - 1 = A L^2/(L^2 - L0^2) at the index 1.0307."""
    pole: Length = "56.5 nm"  # type: ignore[assignment]
    """Its wavelength L0."""
    wavelength: Length = "436 nm"  # type: ignore[assignment]
    """Mean wavelength of detected photons."""
    spread: LengthOrZero = "115 nm"  # type: ignore[assignment]
    """Standard deviation of their wavelength."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.pole < self.wavelength:
            raise ValueError("wavelength must be greater than pole")
        return self


class Optics(StrictModel):
    """What the geometrical resolution of a photon needs; defaults: ``onTheFlyRichPid``."""

    pixel_size: Length = "1 mm"  # type: ignore[assignment]
    """Pitch of the photon detectors."""
    gap_index: Annotated[float, Field(ge=1)] = 1.000283
    """Refractive index in the gap."""
    dispersion: Dispersion = Dispersion()
    """Change of the index with the wavelength."""


class Gas(StrictModel):
    """A second radiator that fills the gap; only its photons are counted. Defaults: ``onTheFlyRichPid``."""

    refractive_index: Index = 1.0006
    """Index n of the gas."""
    length: Length = "25 cm"  # type: ignore[assignment]
    """Path of the particle in the gas."""
    photon_yield: InverseLength = "230 1/cm"  # type: ignore[assignment]
    """Detected photons per length, charge squared and sin^2 of the angle."""


class Background(StrictModel):
    """Photons near a ring that do not belong to it."""

    dark_count_rate: RatePerAreaOrZero = "0 kHz/mm2"  # type: ignore[assignment]
    """Rate of dark counts of the photon detectors."""
    time_window: TimeOrZero = "0 ns"  # type: ignore[assignment]
    """Window in which hits are taken for a ring."""
    overlap: bool = True
    """Photons of other tracks of the event on the same tile disturb a ring."""
    min_significance: Annotated[float, Field(ge=0)] = 3.0
    """A ring is found if its photons exceed the expected background by this many times the square root of it."""


class RichConfig(StageConfig):
    """A ring-imaging Cherenkov detector. The defaults are the aerogel barrel of DelphesO2 (``RICHdetector.hh``)."""

    model: Literal["simple", "projective"] = "simple"
    """Simple: every photon has the same resolution. Projective: resolution, ring size and losses from the geometry."""
    shape: Shape | None = None
    """Simple model: its radiators, one surface or a list."""
    tiles: Tiles | None = None
    """Projective model: a barrel of tiles."""
    discs: Discs | None = None
    """Projective model: a disc on each side."""
    refractive_index: Index = 1.03
    """Index n of the radiator; a particle radiates above p = m/sqrt(n^2 - 1)."""
    radiator_thickness: Length = "2 cm"  # type: ignore[assignment]
    """Path of the particle in the radiator."""
    photon_yield: InverseLength = "490 1/cm"  # type: ignore[assignment]
    """Photons made per length, charge squared and sin^2 of the angle."""
    photon_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.4
    """Probability that a photon is detected: 0.4 for the barrel of DelphesO2, 0.2 for its forward detector."""
    single_photon_resolution: Angle | None = None
    """Simple model: standard deviation of the angle of one photon, 7 mrad if nothing is given."""
    min_photons: Annotated[int, Field(ge=1)] = 3
    """Rings with fewer detected photons are not found."""
    decays: bool = False
    """Whether particles that decayed in flight or were absorbed before the radiator make no ring; a stage of kind
    ``decay`` before this one says where."""
    optics: Optics | None = None
    """Projective model: photon detectors and chromatic error, the defaults of `Optics` if nothing is given."""
    gas: Gas | None = None
    """A second radiator."""
    background: Background | None = None
    """Projective model: dark counts and overlapping rings; without it there are none."""
    outlier_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 1e-4
    """Share of rings that the likelihood takes to have any angle and any number of photons."""

    likelihood: bool = True
    """Write the log-likelihood of every hypothesis: half the price of the stage in the simple model."""

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, data: Any) -> Any:
        """Defaults that exist in one of the models only."""
        if not isinstance(data, dict):
            return data
        simple = data.get("model", "simple") == "simple"
        return {**({"single_photon_resolution": "7 mrad"} if simple else {"optics": {}}), **data}

    @model_validator(mode="after")
    def _check_model(self) -> Self:
        for name in _FOREIGN[self.model]:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} has no meaning in the {self.model} model; remove it or change model")
        if self.model == "simple":
            if self.shape is None:
                raise ValueError("shape is missing: the simple model needs its surfaces")
            return self
        if (self.tiles is None) == (self.discs is None):
            raise ValueError("the projective model needs either tiles (a barrel) or discs; give exactly one of them")
        assert self.optics is not None
        gap = self.optics.gap_index
        sectors = self.tiles.sector_indices if self.tiles is not None else None
        for index in sectors or (self.refractive_index,):
            # n sin(theta) = sqrt(n^2 - 1) at saturation must stay below the index of the gap, with room for errors
            if not gap < index or not index * index - 1.0 < 0.9 * gap * gap:
                raise ValueError(
                    f"photons of a radiator with index {index:g} do not get into a gap with index {gap:g}: allowed are "
                    f"radiators from {gap:g} to {math.sqrt(1.0 + 0.9 * gap * gap):.3f}"
                )
        return self
