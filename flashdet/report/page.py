"""A report as one HTML page: sections, counters, provenance; no script, no file beside it."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from flashdet.report.figures import Section

_CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 70rem; margin: 0 auto; padding: 1rem 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem; }
p { margin: .2rem 0 .6rem; max-width: 50rem; } .skipped { color: #6b6b6b; }
img { max-width: 100%; height: auto; display: block; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
td, th { padding: .15rem .8rem .15rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid #e3e3e3; }
code, pre { font: 13px/1.4 ui-monospace, monospace; overflow-wrap: anywhere; }
pre { background: #f5f5f5; padding: .8rem; overflow-x: auto; }
nav { columns: 3 14rem; font-size: .9rem; margin: .8rem 0; } nav a { display: block; color: #0072B2; }
@media print { nav { display: none; } h2 { break-after: avoid; } img { break-inside: avoid; } }
"""


def render(
    name: str, facts: Sequence[tuple[str, str]], sections: Sequence[Section], origin: Mapping[str, Any],
    manifest: Mapping[str, Any] | None,
) -> str:  # fmt: skip
    """HTML of a report.

    Parameters
    ----------
    name : str
        Name of the output.
    facts : sequence of (str, str)
        What is said about it at the top.
    sections : sequence of Section
        Plots and tables.
    origin : mapping
        Provenance in the header of the file; empty if it has none.
    manifest : mapping or None
        The manifest beside the file.

    Returns
    -------
    str
    """
    sections = [*sections, _counters(manifest), *_provenance(origin)]
    card = origin.get("card", {}).get("text", "") if origin else ""
    links = "".join(f'<a href="#s{i}">{html.escape(s.title)}</a>' for i, s in enumerate(sections))
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>{html.escape(name)}: FlashDet report</title><style>{_CSS}</style></head><body>",
        f"<h1>{html.escape(name)}</h1>",
        _table([("", ""), *facts], False),
        f"<nav>{links}</nav>",
        *(_section(i, section) for i, section in enumerate(sections)),
    ]
    if card:
        parts.append(f"<details><summary>The whole card</summary><pre>{html.escape(card)}</pre></details>")
    return "\n".join([*parts, "</body></html>\n"])


def _section(i: int, section: Section) -> str:
    is_skipped = section.text.startswith("Skipped")
    parts = [
        f'<h2 id="s{i}">{html.escape(section.title)}</h2>',
        f"<p{' class=skipped' if is_skipped else ''}>{html.escape(section.text)}</p>",
    ]
    for data, alt in section.images:
        parts.append(f'<img alt="{html.escape(alt, quote=True)}" src="data:image/png;base64,{data}">')
    if section.rows:
        parts.append(_table(section.rows, True))
    return "\n".join(parts)


def _table(rows: Sequence[Sequence[str]], has_heading: bool) -> str:
    def line(row: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(str(cell))}</{tag}>" for cell in row) + "</tr>"

    heading = line(rows[0], "th") if has_heading else ""
    return f"<table>{heading}{''.join(line(row, 'td') for row in rows[1:])}</table>"


def _counters(manifest: Mapping[str, Any] | None) -> Section:
    """Counters of all stages and the warnings of the run."""
    if manifest is None:
        return Section("Counters", "Skipped: there is no manifest beside the file.")
    rows: list[tuple[str, ...]] = [("stage", "what", "count")]
    for stage, counts in manifest["counters"].items():
        rows += [(stage, what, f"{n}") for what, n in counts.items() if n]
    warnings = "; ".join(manifest["warnings"]) or "none"
    return Section("Counters", f"What the stages counted, without zeros. Warnings of the run: {warnings}.", [], rows)


def _provenance(origin: Mapping[str, Any]) -> list[Section]:
    """Card, inputs, lookup tables and software."""
    if not origin:
        return [Section("Provenance", "Skipped: the file does not say where it comes from.")]
    rows: list[tuple[str, ...]] = [
        ("what", "name", "SHA-256 or value"),
        ("card", str(origin["card"]["name"]), str(origin["card"]["hash"])),
        ("seed", "", str(origin["seed"])),
        *(("input", str(i["name"]), str(i.get("checksum", "unknown"))) for i in origin["inputs"]),
    ]
    for name, found in origin["luts"].items():
        rows.append(("lookup table", str(name), str(found)))
    rows += [("software", str(name), str(version)) for name, version in origin["software"].items()]
    return [Section("Provenance", "Card, inputs, lookup tables and versions that made this file.", [], rows)]
