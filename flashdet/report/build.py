"""Make the report of an output file: read it, draw what it has, write one page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from flashdet.errors import InputError, OutputError
from flashdet.io.read import read_batch
from flashdet.lut.atomic import write_bytes
from flashdet.provenance import manifest_path, read_manifest
from flashdet.report.eventtime import draw_event_time
from flashdet.report.figures import Section, new_figure
from flashdet.report.identification import draw_combination, draw_muons, draw_separation, draw_signals
from flashdet.report.page import render
from flashdet.report.tracks import draw_efficiency, draw_multiplicity, draw_resolution, draw_vertex


def build_report(
    path: str | os.PathLike[str], output: str | os.PathLike[str], overwrite: bool = False
) -> dict[str, str]:
    """Write the report of an output of FlashDet.

    Parameters
    ----------
    path : path-like
        An `aod`, `nano` or `parquet` file.
    output : path-like
        Page to write.
    overwrite : bool
        Whether to replace it.

    Returns
    -------
    dict of str to str
        Sections that could not be drawn, and why.

    Raises
    ------
    InputError
        The file is missing, damaged, changed, not written by FlashDet, or has no events.
    OutputError
        The page exists or cannot be written, or matplotlib is not installed.
    """
    source, target = Path(path), Path(output)
    if target.exists() and not overwrite:
        raise OutputError("exists already", str(target), "choose another name or pass --overwrite")
    new_figure()  # tells that matplotlib is missing before the file is read
    batch, header = read_batch(source)
    if not batch.tables or batch.n_events == 0:
        raise InputError("has no events: there is nothing to draw", str(source))
    manifest = read_manifest(source) if manifest_path(source).exists() else None
    sections: list[Section] = [
        draw_multiplicity(batch),
        draw_vertex(batch),
        draw_efficiency(batch, header.get("particles", "all")),
        draw_resolution(batch),
        draw_event_time(batch),
        draw_separation(batch),
        *draw_signals(batch),
        draw_muons(batch),
        draw_combination(batch),
    ]
    page = render(source.name, _facts(batch.n_events, header), sections, header.get("provenance") or {}, manifest)
    write_bytes(target, [page.encode()], overwrite)
    return {s.title: s.text for s in sections if s.text.startswith("Skipped")}


def _facts(n_events: int, header: dict[str, Any]) -> list[tuple[str, str]]:
    """Lines at the top of the page."""
    origin = header.get("provenance") or {}
    facts = [
        ("events", str(n_events)),
        ("format", f"{header['format']}, data model {header['data_model']}"),
        ("magnetic field", f"{header['magnetic_field']:g} T"),
    ]
    if origin:
        facts += [
            ("card", str(origin["card"]["name"])),
            ("input", ", ".join(str(i["name"]) for i in origin["inputs"])),
            ("seed", str(origin["seed"])),
        ]
    return facts
