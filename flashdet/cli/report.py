"""``flashdet report``: one HTML page with the plots that people look at first."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An output of FlashDet (aod, nano or parquet).")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Page to write. Default: report.html beside FILE.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
) -> None:
    """Write a self-contained HTML report: efficiency, resolution, identification, counters, provenance."""
    from flashdet.report.build import build_report

    target = file.with_name("report.html") if output is None else output
    for title, reason in build_report(file, target, overwrite).items():
        print(f"{title}: {reason}")
    print(f"wrote {target}")
