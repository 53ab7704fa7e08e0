"""What a stage is: a configuration, the columns it reads and writes, and a run over one batch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from flashdet.columns import Column
from flashdet.config import StageConfig
from flashdet.event import EventBatch, Table
from flashdet.lut.table import Lut, Map
from flashdet.rng import Draw


@dataclass(frozen=True)
class Setup:
    """What a card gives to all its stages.

    Attributes
    ----------
    magnetic_field : float
        B_z [T], sign included.
    luts : mapping of str to Lut
        Tracking LUT of each species of the card; of several, the first.
    load_map : callable
        Loads a `Map` by the name or path written in the card.
    variants : mapping of str to tuple of Lut
        The other LUTs of species that have one for each charge or azimuth (`flashdet.lut.selection`).
    """

    magnetic_field: float
    luts: Mapping[str, Lut] = field(default_factory=dict)
    load_map: Callable[[str], Map] | None = None
    variants: Mapping[str, tuple[Lut, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class StageOutput:
    """What a stage made of a batch.

    Attributes
    ----------
    tables : tuple of Table
        New tables, or new columns for tables of the batch (same name and offsets).
    counts : dict of str to int
        Counters for the closing summary, e.g. ``{"lost: efficiency": 12}``. Keys that start with ``lost:`` are tracks
        that the stage dropped, by cause; ``out of range:`` are LUT queries outside an axis; ``warning:`` are shown as
        warnings. They add up over batches.
    """

    tables: tuple[Table, ...]
    counts: dict[str, int] = field(default_factory=dict)


class Stage(ABC):
    """A detector or a step of reconstruction.

    Parameters
    ----------
    name : str
        Name in the card; tables of the stage bear it.
    config : StageConfig
        Checked configuration, an instance of ``Config``.
    setup : Setup
        Field, LUTs and maps of the card.
    """

    #: Name in cards.
    kind: ClassVar[str]
    #: Model of the configuration.
    Config: ClassVar[type[StageConfig]]
    #: True if the stage uses the card's tracking LUTs.
    uses_luts: ClassVar[bool] = False

    #: Columns that must exist before `run`, and those it adds; set by the constructor, they may depend on the config.
    reads: tuple[Column, ...]
    writes: tuple[Column, ...]
    #: Columns that the stage leaves to a later one, which must then be in the card.
    expects: tuple[Column, ...] = ()

    def __init__(self, name: str, config: StageConfig, setup: Setup) -> None:
        self.name, self.config, self.setup = name, config, setup

    @abstractmethod
    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Simulate one batch.

        Parameters
        ----------
        batch : EventBatch
            Read-only columns; those of `reads` are there.
        draw : Draw
            Key of the stage's random numbers.

        Returns
        -------
        StageOutput
            Exactly the columns of `writes`. No state is kept between batches.
        """
