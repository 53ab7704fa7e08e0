"""``flashdet card``: what cards there are, what they mean, whether they are right."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

app = typer.Typer(help="Cards: list, show, check, schema.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="CARD", help="Shipped card (alice3) or a file.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the card.")]


@app.command("list")
def list_cards() -> None:
    """Shipped cards and the detector of each."""
    from flashdet.card import Card, shipped_cards
    from flashdet.errors import CardError

    for name in shipped_cards():
        try:
            card = Card.load(name)
        except CardError as error:
            print(f"{name:<20} cannot be used: {error}")
            continue
        stages = ", ".join(s.name for s in card.stages)
        print(f"{name:<20} {card.model.detector}, {card.model.magnetic_field:g} T: {stages}")


@app.command()
def show(card: Name, settings: Settings = None) -> None:
    """Print the whole card: includes and settings applied, defaults filled in."""
    from flashdet.card import Card

    sys.stdout.write(Card.load(card, settings or ()).resolved())


@app.command()
def check(card: Name, settings: Settings = None) -> None:
    """Check a card without events: keys, units, tables, and who needs what from whom."""
    from flashdet.card import Card
    from flashdet.pipeline import Pipeline

    loaded = Card.load(card, settings or ())
    pipeline = Pipeline(loaded)
    print(f"{loaded.source}: ok, {loaded.model.detector}, {loaded.model.magnetic_field:g} T")
    for stage in pipeline.stages:
        tables = sorted({c.table for c in stage.writes})
        print(f"  {stage.name:<12} {stage.kind:<10} writes {len(stage.writes)} columns to {', '.join(tables)}")
    for species, names in loaded.model.tables.items():
        print(f"  lut {species:<9} {', '.join(names)}: {pipeline.luts[species].field:g} T")
    print(f"  sha256 {loaded.hash}")


@app.command()
def schema() -> None:
    """Print the JSON schema of cards, for editors."""
    from flashdet.card import schema as card_schema

    print(json.dumps(card_schema(), indent=2))
