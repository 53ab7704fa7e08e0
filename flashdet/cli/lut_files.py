"""How the commands of ``flashdet lut build`` write their tables and tell how far they are."""

from __future__ import annotations

import resource
import sys
import time
import zipfile
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
    from flashdet.errors import LutError, OutputError
    from flashdet.lut.files import write_table

    try:
        for folder in {path.parent for path in paths.values()}:
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot be made: {error.strerror}", str(folder)) from error
    for species, lut in luts.items():
        try:
            lut.validate()
        except LutError as error:
            if lut.sample is None:
                raise
            hint = "use wider bins, fewer --fewest-tracks, or a larger sample"
            raise LutError(error.message, error.where, hint) from error
        write_table(lut, paths[species], overwrite, bits)
        print(f"wrote {paths[species]}: {_sizes(paths[species], lut)}")


def _sizes(path: Path, lut: Lut) -> str:
    """Size of a file, what of it is residuals, and what the ALICE format takes for the same cells."""
    from flashdet.lut.alice import size_of

    residuals = 0
    if any(part.sample is not None and len(part.sample.library) for part in lut.parts):
        with zipfile.ZipFile(path) as archive:
            residuals = sum(m.compress_size for m in archive.infolist() if m.filename.endswith("library.npy"))
    total, alice = path.stat().st_size, size_of(lut)
    extra = f" and {residuals / 1e6:.3g} MB of residuals" if residuals else ""
    ratio = alice / (total - residuals)
    return f"{(total - residuals) / 1e6:.3g} MB{extra}; ALICE format: {alice / 1e6:.3g} MB, {ratio:.2g} times as much"


def job_line(n_tracks: int, start: float) -> str:
    """How long a job took since the time of the clock, its CPU time per million tracks, and its memory at most."""
    wall, cpu = time.perf_counter() - start, time.process_time()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    rate = f", {1e6 * cpu / n_tracks:.0f} s per million tracks" if n_tracks else ""
    return f"{wall:.1f} s; CPU: {cpu:.1f} s{rate}; peak memory: {peak / 1e6:.0f} MB"
