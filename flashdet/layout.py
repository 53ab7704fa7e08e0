"""Layout cards: YAML files that list the layers of a tracker, read as strictly as cards.

The meaning of the numbers is in :mod:`flashdet.lut.layout`; what is built from them in :mod:`flashdet.lut.tracker`.

A layer is ``{name, kind: cylinder, radius, half_length, ...}`` or ``{name, kind: disc, z, r_min, r_max, ...}``; a disc
with ``mirrored: true`` stands at both +z and -z. Material is ``x_over_x0`` (``"0.1 %"``) and ``areal_density`` (``"23.3
g/cm2"``), both along the normal. A measuring layer has resolutions and an efficiency, an inert one has none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from flashdet.carderrors import report
from flashdet.cardfile import Place, Problems, parse
from flashdet.config import AnyField, AnyLength, Length, LengthOrZero, Quantity, StrictModel
from flashdet.errors import CardError, LutError
from flashdet.lut.layout import FEWEST_HITS, Layer, Layout
from flashdet.shipped import shipped

#: A number from 0 to 1, written with a per cent sign.
Percentage = Annotated[float, Quantity("fraction", "not negative")]
ArealDensity = Annotated[float, Quantity("areal density", "not negative")]

#: Thinnest material [x/X0]: below 1e-11 the logarithm of the scattering formula makes no sense, and 1e-6 is 10 nm of
#: silicon.
THINNEST = 1e-6


class _LayerCard(StrictModel):
    """Keys that cylinders and discs share."""

    name: str = Field(min_length=1)
    """Unique in the layout."""
    x_over_x0: Percentage
    """Thickness along the normal in radiation lengths."""
    areal_density: ArealDensity
    """Thickness along the normal for the energy loss."""
    efficiency: Percentage = Field(1.0, le=1.0, validate_default=False)
    """Probability that a crossing gives a hit."""
    inert: bool = False
    """Material only."""

    @model_validator(mode="after")
    def _material(self) -> _LayerCard:
        if 0.0 < self.x_over_x0 < THINNEST:
            raise ValueError(f"x_over_x0 {self.x_over_x0:g} is below {THINNEST:g}; write 0 % for no material")
        return self


class CylinderCard(_LayerCard):
    """A cylinder around the beam."""

    kind: Literal["cylinder"]
    radius: Length
    """Radius."""
    half_length: Length
    """It reaches from -half_length to +half_length in z."""
    resolution_rphi: LengthOrZero = Field(0.0, validate_default=False)
    """Of a hit, across the radius."""
    resolution_z: LengthOrZero = Field(0.0, validate_default=False)
    """Of a hit, along z."""

    @model_validator(mode="after")
    def _resolutions(self) -> CylinderCard:
        _check_resolutions(self.inert, self.resolution_rphi, self.resolution_z, "resolution_z")
        return self

    def layers(self) -> list[Layer]:
        """Turn into plain data."""
        low, high = -self.half_length, self.half_length
        sigmas = (self.resolution_rphi, self.resolution_z)
        material = (self.x_over_x0, self.areal_density)
        return [Layer(self.name, "cylinder", self.radius, low, high, *material, *sigmas, self.efficiency, self.inert)]


class DiscCard(_LayerCard):
    """A ring across the beam."""

    kind: Literal["disc"]
    z: AnyLength
    """Position along the beam; not 0."""
    r_min: LengthOrZero
    """Inner radius."""
    r_max: Length
    """Outer radius."""
    mirrored: bool = False
    """The same disc stands also at -z."""
    resolution_rphi: LengthOrZero = Field(0.0, validate_default=False)
    """Of a hit, across the radius."""
    resolution_r: LengthOrZero = Field(0.0, validate_default=False)
    """Of a hit, along the radius."""

    @model_validator(mode="after")
    def _shape(self) -> DiscCard:
        _check_resolutions(self.inert, self.resolution_rphi, self.resolution_r, "resolution_r")
        if self.z == 0.0:
            raise ValueError("a disc must not stand at z = 0, where the particles start")
        if not self.r_min < self.r_max:
            raise ValueError(f"r_min {self.r_min:g} cm must be below r_max {self.r_max:g} cm")
        return self

    def layers(self) -> list[Layer]:
        """Turn into plain data: one disc, or two whose names end in + and -."""
        places = [(self.name, self.z)]
        if self.mirrored:
            places = [(f"{self.name}+", abs(self.z)), (f"{self.name}-", -abs(self.z))]
        rest = (self.r_min, self.r_max, self.x_over_x0, self.areal_density, self.resolution_rphi, self.resolution_r)
        return [Layer(name, "disc", z, *rest, self.efficiency, self.inert) for name, z in places]


def _check_resolutions(inert: bool, first: float, second: float, name: str) -> None:
    if not inert and not (first > 0.0 and second > 0.0):
        raise ValueError(f"a measuring layer needs resolution_rphi and {name} above zero; or say inert: true")
    if inert and (first > 0.0 or second > 0.0):
        raise ValueError(f"an inert layer measures nothing; remove resolution_rphi and {name}, or inert")


class LayoutCard(StrictModel):
    """Keys of a layout card."""

    schema_version: Literal[1]
    """Version of the card's language."""
    name: str = Field(min_length=1)
    """Of the detector."""
    source: str = ""
    """Where the numbers come from."""
    magnetic_field: AnyField
    """B_z along the beam, not zero. Tables hold for positive charges in a field of this sign."""
    minimum_hits: int = Field(ge=FEWEST_HITS)
    """Right hits that a found track needs."""
    maximum_wrong_hits: int = Field(0, ge=0)
    """Hits of other particles that a found track may have."""
    maximum_snp: float = Field(0.85, gt=0.0, le=1.0)
    """Largest sine of the angle of incidence, in the transverse plane, under which a cylinder gives a hit."""
    minimum_radius: LengthOrZero = Field(0.0, validate_default=False)
    """Radius that the helix must be able to reach under maximum_snp."""
    energy_straggling: bool = True
    """Let fluctuations of the energy loss enter the covariance."""
    layers: list[Annotated[CylinderCard | DiscCard, Field(discriminator="kind")]]
    """All layers, in any order."""


def read_layout(path_or_name: str | Path) -> Layout:
    """Read a layout card.

    Parameters
    ----------
    path_or_name : str or pathlib.Path
        A file, or the name of a shipped layout, with or without ``.yaml``: ``alice3_v3``.

    Returns
    -------
    Layout

    Raises
    ------
    CardError
        The file is missing or wrong; the message has one line per problem, with file, line and column.
    """
    path = _find(path_or_name)
    problems = Problems()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot be read: {error}", str(path_or_name)) from error
    node = parse(text, str(path_or_name), problems)
    if node is None:
        if not problems.lines:
            problems.add(Place(str(path_or_name)), "", "the file is empty")
        problems.check()
        raise AssertionError("unreachable: a text that cannot be parsed has problems")
    problems.check()
    try:
        card = LayoutCard.model_validate(node.plain())
    except ValidationError as error:
        report(error, LayoutCard, node, (), problems)
        problems.check()
        raise
    layers = tuple(layer for entry in card.layers for layer in entry.layers())
    try:
        return Layout(
            name=card.name,
            field=card.magnetic_field,
            layers=layers,
            minimum_hits=card.minimum_hits,
            maximum_wrong_hits=card.maximum_wrong_hits,
            maximum_snp=card.maximum_snp,
            minimum_radius=card.minimum_radius,
            energy_straggling=card.energy_straggling,
            source=card.source,
        )
    except LutError as error:
        raise CardError(error.message, f"{node.place}", error.hint) from error


def _find(path_or_name: str | Path) -> Path:
    given = Path(path_or_name)
    if given.is_file():
        return given
    folder = shipped("cards") / "layouts"
    stem = given.name.removesuffix(".yaml")
    found = folder / f"{stem}.yaml"
    if given.parent == Path() and found.is_file():
        return found
    names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
    raise CardError(f"no such layout; shipped layouts: {names}", str(path_or_name))
