"""``flashdet lut``: what tables there are, how to make, convert, check and draw them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from flashdet.cli import lut_sample as sample
from flashdet.cli.lut_files import progress_bar, refuse_existing, write_luts

app = typer.Typer(
    help="Lookup tables: list, info, validate, build, merge, convert, compare, plot, import-ini.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
build = typer.Typer(
    help="Make tables: from a layout (analytic tracker), from full simulation.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(build, name="build")
sample.add_commands(app, build)

Tables = Annotated[list[str], typer.Argument(metavar="TABLE...", help="Shipped tables (alice3/pion) or files.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]


@app.command("list")
def list_tables() -> None:
    """Shipped tables and where they come from."""
    from flashdet.lut.catalog import read_index

    for name, entry in read_index().items():
        print(f"{name:<28} {entry.kind:<4} {entry.origin}")


@app.command()
def info(tables: Tables) -> None:
    """Axes, units, ranges and origin of tables."""
    from flashdet.lut.atomic import sha256_of
    from flashdet.lut.catalog import find, load

    for name in tables:
        print(f"{name}: {load(name).info()}")
        print(f"sha256: {sha256_of(find(name))}")


@app.command()
def validate(tables: Tables) -> None:
    """Check tables: axes, efficiencies, positive definite covariances, holes. All problems of all tables are told."""
    from flashdet.errors import LutError
    from flashdet.lut.catalog import load

    verdicts: list[tuple[str, LutError | None]] = []
    with progress_bar("tables") as update:
        for done, name in enumerate(tables):
            update(done, len(tables), name)
            try:
                load(name).validate()
            except LutError as error:
                verdicts.append((name, error))
            else:
                verdicts.append((name, None))
        update(len(tables), len(tables), "")
    for name, problem in verdicts:
        print(f"{name}: {problem or 'ok'}", file=sys.stderr if problem else sys.stdout)
    if any(problem for _, problem in verdicts):
        raise typer.Exit(LutError.exit_code)


@app.command()
def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="A shipped table or a file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="NAME.lut.npz, or NAME.dat for ALICE.")],
    efficiency: Annotated[
        int, typer.Option("--efficiency", min=1, max=2, help="Which efficiency of an ALICE file to take.")
    ] = 1,
    bits: Annotated[
        int | None, typer.Option("--bits", min=8, max=23, help="Significant bits of native values. Default: all.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Turn an ALICE lutCovm binary into a native table, or the other way round."""
    from flashdet.errors import OutputError
    from flashdet.lut.alice import read_alice, write_alice
    from flashdet.lut.catalog import find, load, load_lut
    from flashdet.lut.files import SUFFIX, write_table

    is_native = target.name.endswith(SUFFIX)
    if not is_native and target.suffix != ".dat":
        raise OutputError(f"the name tells the format; allowed: NAME{SUFFIX} (native), NAME.dat (ALICE)", str(target))
    refuse_existing({} if overwrite else {source: target})
    with progress_bar("convert") as update:
        update(0, 2, f"reading {source}")
        if is_native:
            table = read_alice(find(source), efficiency=efficiency) if efficiency == 2 else load(source)
            update(1, 2, f"writing {target.name}")
            write_table(table, target, overwrite, bits)
        else:
            lut = load_lut(source)
            update(1, 2, f"writing {target.name}")
            write_alice(lut, target, overwrite)
        update(2, 2, "")
    print(f"wrote {target}: {target.stat().st_size / 1e6:.3g} MB")


@app.command()
def plot(
    tables: Tables,
    output: Annotated[Path, typer.Option("-o", "--output", help="PNG, PDF or SVG file.")],
    eta: Annotated[list[float] | None, typer.Option("--eta", help="Where to cut in eta; may be repeated.")] = None,
    pt: Annotated[list[float] | None, typer.Option("--pt", help="Where to cut in pt [GeV]; may be repeated.")] = None,
    nch: Annotated[float, typer.Option("--nch", help="dN/deta at which the efficiency is drawn.")] = 100.0,
    radius: Annotated[float, typer.Option("--radius", help="Production radius [cm].")] = 0.0,
    overwrite: Overwrite = False,
) -> None:
    """Draw efficiency and resolutions of one to four tables against pt and eta."""
    from flashdet.lut.catalog import load_lut
    from flashdet.lut.plot import plot_lut

    luts = []
    with progress_bar("plot") as update:
        for done, name in enumerate(tables):
            update(done, len(tables) + 1, name)
            luts.append(load_lut(name).at_radius(radius))
        update(len(tables), len(tables) + 1, output.name)
        plot_lut(luts, tables, output, eta, pt, nch, overwrite)
        update(len(tables) + 1, len(tables) + 1, "")
    print(f"wrote {output}")


@build.command("layout")
def build_layout(
    layout: Annotated[str, typer.Argument(metavar="LAYOUT", help="Shipped layout (alice3_v3) or a file.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the tables, one file per species.")],
    species: Annotated[
        list[str] | None, typer.Option("--species", help="Only this species; may be repeated. Default: all.")
    ] = None,
    bits: Annotated[
        int | None, typer.Option("--bits", min=8, max=23, help="Significant bits of the values. Default: all.")
    ] = None,
    displaced: Annotated[
        bool, typer.Option("--displaced/--prompt", help="Also for particles made behind the innermost layer.")
    ] = True,
    overwrite: Overwrite = False,
) -> None:
    """Build the tables of a tracker from its layers."""
    from flashdet.layout import read_layout
    from flashdet.lut.files import SUFFIX
    from flashdet.lut.shells import default_axes
    from flashdet.lut.tracker import build_luts
    from flashdet.species import SPECIES

    wanted = tuple(species or SPECIES)
    paths = {s: output / f"{s}{SUFFIX}" for s in wanted}
    described = read_layout(layout)
    if not overwrite:
        refuse_existing(paths)
    axes = default_axes(described)
    with progress_bar("tables") as update:
        luts = build_luts(described, wanted, axes if displaced else axes[:1], progress=update)
    write_luts(luts, paths, overwrite, bits)
