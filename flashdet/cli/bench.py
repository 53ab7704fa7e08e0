"""``flashdet bench``: what a job costs and where the time goes, against pyhepmc's own loop over the same file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from flashdet.cli.measure import Report
    from flashdet.run import Job


def bench(
    inputs: Annotated[list[str], typer.Argument(metavar="IN...", help="HepMC files; each is measured by itself.")],
    card: Annotated[str, typer.Option("--card", help="Shipped card (alice3) or a file.")],
    format: Annotated[
        str | None, typer.Option("--format", help="aod, nano or parquet. Default: what the card says.")
    ] = None,
    events: Annotated[int | None, typer.Option("--events", min=1, help="Events to measure. Default: all.")] = None,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Passes; medians are printed.")] = 5,
    pyhepmc_events: Annotated[
        int | None,
        typer.Option("--pyhepmc-events", min=1, help="Events in pyhepmc's loop. Default: what the budget allows."),
    ] = None,
    budget: Annotated[
        float, typer.Option("--pyhepmc-seconds", min=0.0, help="Cut pyhepmc's loop after the event it is in by then.")
    ] = 60.0,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the card.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Measure a job: start, reading, each stage, writing, and the ratio to pyhepmc's bare loop."""
    from flashdet.cli.measure import measure

    reports = []
    for name in inputs:

        def make_job(name: str = name) -> Job:
            from flashdet.card import Card
            from flashdet.run import Job

            return Job(inputs=(name,), card=Card.load(card, settings or ()), format=format, events=events)

        reports.append(measure(make_job, repeat, pyhepmc_events, budget))
        if not as_json:
            print(table(reports[-1], with_start=len(reports) == 1))
    if as_json:
        json.dump([report.plain() for report in reports], sys.stdout, indent=2)
        print()


def table(report: Report, with_start: bool = True) -> str:
    """The report as text.

    Parameters
    ----------
    report : Report
        What was measured.
    with_start : bool
        Whether to show the phases of the start: only the first report of a process has a real one.

    Returns
    -------
    str
        A few lines, no newline at the end.
    """
    some = report.passes[0]
    lines = [
        f"{report.input}, card {Path(report.card).stem}, format {report.format}: {some.n_events} events, "
        f"{some.n_particles} particles, {some.n_tracks} tracks",
        f"median of {len(report.passes)} passes, CPU time of one core, start and compilation taken off",
        "",
        f"{'part':<16}{'ms/event':>12}{'share':>9}{'ns/track':>11}",
    ]
    lines += [_row(report, *part) for part in _parts(report)]
    lines += ["", *_comparison(report)]
    size = report.output_bytes / max(some.n_events, 1) * 1e-3
    lines.append(f"peak memory {report.peak_memory / 2**20:.0f} MiB, output {size:.1f} kB/event")
    if with_start:
        lines += ["", *_start(report)]
    lines.append("machine: " + ", ".join(f"{k} {v}" for k, v in report.machine.items()))
    return "\n".join(lines)


def _parts(report: Report) -> list[tuple[str, float]]:
    """Names and median seconds of the rows of the table."""
    stages = [(f"  {s}", report.median(lambda p, s=s: p.stages[s])) for s in report.passes[0].stages]  # type: ignore[misc]
    return [
        ("read", report.median(lambda p: p.read)),
        ("simulate", report.median(lambda p: p.simulate)),
        *stages,
        ("write", report.median(lambda p: p.write)),
        ("checksums", report.median(lambda p: p.checksums)),
        ("total", report.median(lambda p: p.total)),
    ]


def _row(report: Report, name: str, seconds: float) -> str:
    some, total = report.passes[0], report.median(lambda p: p.total)
    per_track = f"{seconds / some.n_tracks * 1e9:11.0f}" if some.n_tracks else f"{'-':>11}"
    share = 100 * seconds / total if total > 0 else 0.0
    return f"{name:<16}{seconds / max(some.n_events, 1) * 1e3:12.3f}{share:8.1f} %{per_track}"


def _comparison(report: Report) -> list[str]:
    yard = report.yardstick
    if yard is None:
        return [
            "pyhepmc: not compared; its loop is timed on single files of HepMC2 or HepMC3 text, from the first event"
        ]
    part = "" if yard.n_events == report.passes[0].n_events else f", first {yard.n_events} events on both sides"
    mega, per_event = yard.n_bytes * 1e-6, yard.seconds / yard.n_events * 1e3
    total, reading = yard.seconds / yard.ours, yard.seconds / yard.reading
    return [
        f"pyhepmc's bare loop over the same {yard.layout} text{part}: {per_event:.3f} ms/event, "
        f"{mega / yard.seconds:.1f} MB/s",
        f"ratio pyhepmc / whole job {total:.2f}, pyhepmc / reading {reading:.2f}; "
        f"whole job {mega / yard.ours:.1f} MB/s, reading {mega / yard.reading:.1f} MB/s",
    ]


def _start(report: Report) -> list[str]:
    """Phases from the start of the process to the end of the first event."""
    lines = ["start, CPU s"]
    lines += [f"  {name:<50}{seconds:8.3f}" for name, seconds in report.start.items()]
    how = f"{report.n_compiled} kernels compiled" if report.n_compiled else "all kernels from the cache"
    return [*lines, f"  {'sum':<50}{sum(report.start.values()):8.3f}  ({how})"]
