"""``flashdet inspect``: what is in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def inspect(file: Annotated[Path, typer.Argument(help="An output, or generator events.")]) -> None:
    """Tables, rows, columns and provenance of an output, or header and counts of a HepMC file."""
