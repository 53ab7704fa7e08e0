"""How the commands of ``flashdet lut build`` write their tables and tell how far they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flashdet.lut.table import Lut


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """Bar on the terminal, nothing where there is none.

    Parameters
    ----------
    title : str
        What is done.

    Yields
    ------
    callable
        ``update(done, total, what)``: how much of it, and what is at hand.
    """
    if not sys.stderr.isatty():
        yield lambda done, total, what: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total, what: bar.update(
            task, completed=done, total=total, description=f"{title} {what}".rstrip()
        )


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
