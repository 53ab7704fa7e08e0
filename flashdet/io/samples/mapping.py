"""Which column of a table of full simulation is what: the mapping YAML, read as strictly as a card.

The shipped mapping ``acts_root`` is an example; `flashdet.io.samples.flat` reads the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError, model_validator

from flashdet.carderrors import report
from flashdet.cardfile import Place, Problems, parse
from flashdet.config import StrictModel
from flashdet.errors import CardError
from flashdet.shipped import shipped


def _one_kind() -> dict[str, int | str]:
    return {"track": 0}


class TableMap(StrictModel):
    """Where a table is."""

    file: str
    """Pattern of its file's name with one ``*``; files of particles and tracks whose ``*`` is the same belong together.
    The same pattern in both: the two trees are in one file, or one table holds both."""
    tree: str | None = None
    """Tree in a ROOT file."""


class ParticleMap(TableMap):
    """Columns of generated particles."""

    event: str | None = None
    """Event number; none: a file is one event. Rows are sorted by it."""
    label: str | tuple[str, ...]
    """Name of the particle within its event: a column, or several that make it together."""
    pdg: str
    """PDG code."""
    momentum: tuple[str, str, str]
    """Columns px, py, pz."""
    vertex: tuple[str, str, str] | Literal["origin"]
    """Columns x, y, z of the production point; ``origin`` if there are none and all are made there."""
    nch: str | None = None
    """dN_ch/deta of the event; none: charged particles of the table within |eta| < 0.5."""


class TrackMap(TableMap):
    """Columns of reconstructed tracks."""

    event: str | None = None
    """Event number, as for particles."""
    label: str | tuple[str, ...]
    """Label of the particle that made the track; negative, missing or 0 with ``zero_is_fake``: none."""
    zero_is_fake: bool = False
    """Label 0 means no particle (ACTS); false: it is an ordinary particle."""
    category: str | None = None
    """Column with the kind of the track; its values are those of ``categories``."""
    categories: dict[str, int | str] = Field(default_factory=_one_kind)
    """Names of the kinds, and the value of the column for each."""
    preference: str | None = None
    """Column that tells which of several tracks of a particle is taken: the lowest number; none: the first row."""
    parameters: Literal["local", "perigee"]
    """``local``: x, alpha, y, z, snp, tgl, q/pt of ALICE; ``perigee``: d0, z0, phi, theta, q/p of ACTS, at the z
    axis."""
    columns: tuple[str, ...]
    """The seven or five columns of these parameters, in this order."""
    covariance: tuple[str, ...] = ()
    """Columns of the covariance: lower triangle row by row, in the order of the (last five) parameters; or none."""
    errors: tuple[str, ...] = ()
    """Instead of the covariance: columns of the five standard deviations (correlations unknown)."""

    @model_validator(mode="after")
    def _lengths(self) -> TrackMap:
        expected = 7 if self.parameters == "local" else 5
        if len(self.columns) != expected:
            raise ValueError(f"{self.parameters} parameters are {expected} columns, not {len(self.columns)}")
        if len(self.covariance) not in (0, 15) or len(self.errors) not in (0, 5):
            raise ValueError("covariance has 15 columns or none, errors 5 or none")
        if self.covariance and self.errors:
            raise ValueError("give the covariance or the errors, not both")
        if self.category is None and len(self.categories) != 1:
            raise ValueError("several categories need a column that tells them apart")
        return self


class SampleMap(StrictModel):
    """A mapping file."""

    schema_version: Literal[1]
    """Version of the mapping's language."""
    length: Literal["cm", "mm", "m"]
    """Unit of lengths in the tables."""
    momentum: Literal["GeV", "MeV"]
    """Unit of momenta in the tables."""
    particles: ParticleMap
    """Generated particles, found or not."""
    tracks: TrackMap
    """Reconstructed tracks."""
    rows: int = Field(default=200_000, ge=1)
    """Rows read at a time."""


def read_map(path_or_name: str | Path) -> SampleMap:
    """Read a mapping.

    Parameters
    ----------
    path_or_name : str or Path
        A file, or the name of a shipped mapping.

    Returns
    -------
    SampleMap

    Raises
    ------
    CardError
        The file is missing or wrong; one line per problem.
    """
    folder = shipped("cards") / "sample_maps"
    given = Path(path_or_name)
    path = given if given.is_file() else folder / f"{given.name.removesuffix('.yaml')}.yaml"
    if not path.is_file():
        names = ", ".join(sorted(p.stem for p in folder.glob("*.yaml")))
        raise CardError(f"no such mapping; shipped: {names}", str(path_or_name))
    problems = Problems()
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CardError(f"cannot be read: {error}", str(path_or_name)) from error
    node = parse(text, str(path_or_name), problems)
    if node is None and not problems.lines:
        problems.add(Place(str(path_or_name)), "", "the file is empty")
    problems.check()
    if node is None:
        raise AssertionError("unreachable: a text that cannot be parsed has problems")
    try:
        return SampleMap.model_validate(node.plain())
    except ValidationError as error:
        report(error, SampleMap, node, (), problems)
        problems.check()
        raise
