"""How the commands of ``flashdet lut build`` write their tables."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashdet.lut.table import Lut


def show_progress(done: int, total: int, species: str) -> None:
    """Say which table is being made."""
    print(f"{done}/{total} {species}", file=sys.stderr)


def refuse_existing(paths: dict[str, Path]) -> None:
    """Raise `OutputError` before any work is done if a file is there already."""
    from flashdet.errors import OutputError

    for path in paths.values():
        if path.exists():
            raise OutputError("exists already", str(path), "choose another folder or pass --overwrite")


def write_luts(luts: dict[str, Lut], paths: dict[str, Path], overwrite: bool, bits: int | None) -> None:
    """Check and write tables, each to its path."""
    from flashdet.errors import OutputError
    from flashdet.lut.files import write_table

    try:
        for folder in {path.parent for path in paths.values()}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", str(folder)) from error
    for species, lut in luts.items():
        lut.validate()
        write_table(lut, paths[species], overwrite, bits)
        print(f"wrote {paths[species]}")
