"""``flashdet sim``: the main job."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashdet.run import Job
    from flashdet.summary import Summary


class OnBadEvent(StrEnum):
    """What to do about a damaged event."""

    fail = "fail"
    skip = "skip"


def sim(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="HepMC files; - for standard input.")],
    card: Annotated[str, typer.Option("--card", help="Shipped card (alice3) or a file.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Output file. Default: stem of the first input.")
    ] = None,
    format: Annotated[
        str | None, typer.Option("--format", help="aod, nano or parquet. Default: what the card says.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, max=2**64 - 1, help="Seed of all random numbers.")] = 1,
    first: Annotated[int, typer.Option("--first", min=0, help="Events to pass over at the start.")] = 0,
    events: Annotated[int | None, typer.Option("--events", min=0, help="Events to simulate. Default: all.")] = None,
    threads: Annotated[int, typer.Option("--threads", min=1, max=1024, help="Threads that simulate.")] = 1,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="PATH=VALUE", help="Change the card: stages.otof.time_resolution='30 ps'."),
    ] = None,
    on_bad_event: Annotated[
        OnBadEvent, typer.Option("--on-bad-event", help="Stop at a damaged event, or skip and count it.")
    ] = OnBadEvent.fail,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no summary.")] = False,
) -> None:
    """Simulate generator events: HepMC in, tracks and PID signals out."""
    from flashdet.card import Card
    from flashdet.cli import collector
    from flashdet.run import Job

    job = Job(
        inputs=tuple(inputs),
        card=Card.load(card, settings or ()),
        output=output,
        format=format,
        seed=seed,
        first=first,
        events=events,
        threads=threads,
        on_bad_event=on_bad_event.value,
        overwrite=overwrite,
    )
    collector.resume()
    summary = _run(job, show=not quiet and sys.stderr.isatty())
    if not quiet:
        print(summary.text, file=sys.stderr)
    if summary.n_skipped:
        raise typer.Exit(4)


def _run(job: Job, show: bool) -> Summary:
    """Do the job, with a progress bar if `show`."""
    from flashdet.run import run

    if not show:
        return run(job)
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    bar = Progress(
        TextColumn("events"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True)
    )
    with bar:
        task = bar.add_task("events", total=job.events)
        update: Callable[[int], None] = lambda done: bar.update(task, completed=done)  # noqa: E731
        return run(job, update)
