"""``flashdet lut``: lookup tables."""

from __future__ import annotations

import typer

app = typer.Typer(help="Lookup tables: list, info, build, convert, validate, plot.", no_args_is_help=True)
