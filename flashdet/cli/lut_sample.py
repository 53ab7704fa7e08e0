"""``flashdet lut build sample``, ``merge`` and ``compare``: tables from full simulation, and tables side by side."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flashdet.cli.lut_files import job_line, progress_bar, refuse_existing, write_luts

if TYPE_CHECKING:
    from flashdet.lut.axis import Axis
    from flashdet.lut.build import BuildOptions
    from flashdet.lut.cells import Binning, Cells
    from flashdet.lut.sample import SampleChunk

Output = Annotated[
    Path, typer.Option("-o", "--output", help="Folder for the tables; NAME.part.npz: only the partial sums.")
]
Species = Annotated[list[str] | None, typer.Option("--species", help="Only this species; may be repeated.")]
Library = Annotated[int, typer.Option("--library", min=0, help="Residual vectors stored per cell.")]
Fewest = Annotated[int, typer.Option("--fewest-tracks", min=7, help="Tracks that a cell needs to stand on its own.")]
Category = Annotated[str, typer.Option("--category", help="Kind of tracks that the efficiency counts.")]
Bits = Annotated[int | None, typer.Option("--bits", min=8, max=23, help="Significant bits of the values.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")]
#: Most sectors of --split, far more than a sample can fill.
_MAX_SECTORS = 360
_AXIS_HELP = "BINS:LOW:HIGH, with :log for equal bins in the logarithm."


def add_commands(app: typer.Typer, build: typer.Typer) -> None:
    """Register the commands of this module."""
    build.command("sample")(build_sample)
    app.command()(merge)
    app.command()(compare)
    app.command("import-ini")(import_ini)


def build_sample(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="AO2D files, or tables with --map.")],
    field: Annotated[str, typer.Option("--field", help="Magnetic field of the simulation along z, e.g. '2 T'.")],
    output: Output,
    mapping: Annotated[
        str | None,
        typer.Option(
            "--map",
            help="Mapping YAML of flat tables, the name of a shipped one (acts_root), or acts_csv: ACTS CSV files.",
        ),
    ] = None,
    nch: Annotated[str, typer.Option("--nch", help=f"Cells in dN_ch/deta: {_AXIS_HELP}")] = "1:1:1e4:log",
    radius: Annotated[str, typer.Option("--radius", help=f"In the production radius [cm]: {_AXIS_HELP}")] = "1:0:100",
    eta: Annotated[str, typer.Option("--eta", help=f"In pseudorapidity: {_AXIS_HELP}")] = "40:-4:4",
    pt: Annotated[str, typer.Option("--pt", help=f"In transverse momentum [GeV]: {_AXIS_HELP}")] = "80:0.05:100:log",
    keep: Annotated[int, typer.Option("--keep", min=10, help="Residuals used per cell.")] = 1000,
    species: Species = None,
    library: Library = 200,
    fewest_tracks: Fewest = 100,
    category: Category = "any",
    charge: Annotated[
        str, typer.Option("--charge", help="Only positive or negative particles: a table for each. Default: both.")
    ] = "both",
    phi: Annotated[
        str | None,
        typer.Option("--phi", help="Only this azimuth, LOW:HIGH [rad], LOW from -pi up: a table per sector."),
    ] = None,
    split: Annotated[
        list[str] | None,
        typer.Option("--split", help="Tables for each sign (charge) or for N equal sectors (phi=N). May be repeated."),
    ] = None,
    secondaries: Annotated[bool, typer.Option("--secondaries", help="AO2D: not only physical primaries.")] = False,
    bits: Bits = None,
    overwrite: Overwrite = False,
) -> None:
    """Build tables from what the reconstruction of a full simulation did."""
    from flashdet.lut.build import BuildOptions
    from flashdet.lut.cells import Binning
    from flashdet.lut.selection import EVERYWHERE
    from flashdet.units import parse

    axes = _axis("nch", nch, ""), _axis("radius", radius, "cm"), _axis("eta", eta, ""), _axis("pt", pt, "GeV")
    binning = Binning(*axes, keep, charge, EVERYWHERE if phi is None else _range(phi))
    try:
        bz = parse(field, "magnetic field")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--field") from error
    start = time.perf_counter()
    cells = _add_up(_binnings(binning, split or []), bz, list(_sources(files, mapping, secondaries)))
    if not cells:
        from flashdet.errors import InputError

        raise InputError("the files hold no event", ", ".join(map(str, files)))
    options = BuildOptions(fewest_tracks=fewest_tracks, library=library, category=category)
    _finish(cells, output, species, options, bits, overwrite)
    print(job_line(cells[0].counts.get("tracks", 0), start))


def merge(
    parts: Annotated[list[Path], typer.Argument(metavar="PART...", help="Partial sums, NAME.part.npz.")],
    output: Output,
    species: Species = None,
    library: Library = 200,
    fewest_tracks: Fewest = 100,
    category: Category = "any",
    bits: Bits = None,
    overwrite: Overwrite = False,
) -> None:
    """Add partial sums of `lut build sample`: exactly, in any order. Makes tables or larger partial sums."""
    from flashdet.lut.build import BuildOptions
    from flashdet.lut.cells import merged
    from flashdet.lut.merge import read_part

    start = time.perf_counter()
    options = BuildOptions(fewest_tracks=fewest_tracks, library=library, category=category)
    read: list[Cells] = []
    with progress_bar("parts") as update:
        for done, path in enumerate(parts):
            update(done, len(parts), path.name)
            read.append(read_part(path))
        update(len(parts), len(parts), "")
    total = merged(read)
    _finish([total], output, species, options, bits, overwrite)
    print(job_line(total.counts.get("tracks", 0), start))


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="Shipped table or file.")],
    second: Annotated[str, typer.Argument(metavar="B", help="Table that is compared with it.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Also draw maps: PNG, PDF or SVG file.")] = None,
    cells: Annotated[Path | None, typer.Option("--cells", help="Also write every cell: CSV file.")] = None,
    nch: Annotated[float, typer.Option("--nch", help="dN/deta at which they are compared.")] = 100.0,
    radius: Annotated[float, typer.Option("--radius", help="Production radius [cm].")] = 0.0,
    worst: Annotated[int, typer.Option("--worst", min=0, help="Cells listed per quantity.")] = 3,
    overwrite: Overwrite = False,
) -> None:
    """Compare two tables of a species: efficiencies, ratios of resolutions, worst cells."""
    from flashdet.lut.catalog import load_lut
    from flashdet.lut.compare import compare_luts, plot_comparison, write_cells

    refuse_existing({} if overwrite else {str(path): path for path in (cells, output) if path is not None})
    luts = []
    with progress_bar("compare") as update:
        for done, name in enumerate((first, second)):
            update(done, 3, name)
            luts.append(load_lut(name).at_radius(radius))
        update(2, 3, "cells")
        comparison = compare_luts(luts[0], luts[1], (first, second), nch, radius)
        if cells is not None:
            write_cells(comparison, cells, overwrite)
        if output is not None:
            plot_comparison(comparison, output, overwrite)
        update(3, 3, "")
    for line in [*comparison.lines(worst), *(f"wrote {path}" for path in (cells, output) if path is not None)]:
        print(line)


def import_ini(
    source: Annotated[Path, typer.Argument(metavar="FILE.ini", help="Geometry of the O2Physics ALICE 3 simulation.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Layout card to write.")],
    name: Annotated[str | None, typer.Option("--name", help="Of the detector. Default: the file's.")] = None,
    field: Annotated[str | None, typer.Option("--field", help="For files without one, e.g. '2 T'.")] = None,
    minimum_hits: Annotated[int, typer.Option("--minimum-hits", min=4, help="Hits that a track needs.")] = 5,
    lenient: Annotated[
        bool, typer.Option("--lenient", help="Read 0.01*3. and lines without a colon as they are meant.")
    ] = False,
    overwrite: Overwrite = False,
) -> None:
    """Turn an ALICE .ini geometry into a layout card for `lut build layout`."""
    from flashdet.io.inigeometry import layout_card, read_ini
    from flashdet.layout import read_layout
    from flashdet.lut.atomic import write_bytes
    from flashdet.units import parse

    try:
        bz = None if field is None else parse(field, "magnetic field")
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--field") from error
    geometry = read_ini(source, lenient)
    text = layout_card(geometry, name or source.stem, source.name, bz, minimum_hits)
    for note in geometry.notes:
        print(f"warning: {note}", file=sys.stderr)
    write_bytes(output, [text.encode()], overwrite)
    layout = read_layout(output)
    print(f"wrote {output}: {len(layout.layers)} layers, {layout.field:g} T")


def _binnings(whole: Binning, split: list[str]) -> list[Binning]:
    """Cells of each sign and sector that is asked for."""
    from flashdet.lut.selection import split as selections

    n_sectors = 1
    for text in split:
        key, _, number = text.partition("=")
        if text == "charge":
            continue
        if key != "phi" or not number.isdecimal() or not 2 <= int(number) <= _MAX_SECTORS:
            allowed = f"allowed: charge, phi=2 to phi={_MAX_SECTORS}"
            raise typer.BadParameter(f"{text!r} does not say what to split; {allowed}", param_hint="--split")
        n_sectors = int(number)
    chosen = selections("charge" in split, n_sectors, whole.selection)
    return [replace(whole, charge=one.charge, phi=one.phi) for one in chosen]


def _add_up(binnings: list[Binning], field: float, sources: list[tuple[str, Iterator[SampleChunk]]]) -> list[Cells]:
    """Sums of each sign and sector, from one pass over the sample; none if there is no event."""
    from flashdet.lut.cells import Cells, compare

    cells: list[Cells] = []
    with progress_bar("files") as update:
        for done, (name, chunks) in enumerate(sources):
            for i, chunk in enumerate(chunks):
                cells = cells or [Cells(binning, field, ("any", *chunk.categories)) for binning in binnings]
                compared = compare(chunk, field)
                for one in cells:
                    if i == 0:
                        one.start_input(name)
                    one.add(chunk, compared)
                update(done, len(sources), f"{cells[0].counts['tracks']} tracks")
        update(len(sources), len(sources), "")
    return cells


def _finish(
    cells: list[Cells],
    output: Path,
    species: list[str] | None,
    options: BuildOptions,
    bits: int | None,
    overwrite: bool,
) -> None:
    """Write the sums of each sign and sector, or the tables made of them; names end in what they hold for."""
    from flashdet.lut.merge import SUFFIX as PART
    from flashdet.lut.merge import write_part

    for one in cells:
        if len(cells) > 1:
            print(f"{one.binning.selection}:")
        for name, number in sorted(one.counts.items()):
            if number:
                print(f"{number:>12} {name}")
    if not output.name.endswith(PART):
        _write_tables(cells, output, species, options, bits, overwrite)
        return
    stem = output.name.removesuffix(PART)
    labels = [one.binning.selection.label if len(cells) > 1 else "" for one in cells]
    paths = [output.with_name(f"{stem}{label}{PART}") for label in labels]
    refuse_existing({} if overwrite else {str(path): path for path in paths})
    for one, path in zip(cells, paths, strict=True):
        write_part(one, path, overwrite)
        print(f"wrote {path}")


def _write_tables(
    cells: list[Cells],
    folder: Path,
    species: list[str] | None,
    options: BuildOptions,
    bits: int | None,
    overwrite: bool,
) -> None:
    from flashdet.lut.build import build_sample_luts, species_in
    from flashdet.lut.files import SUFFIX
    from flashdet.species import SPECIES

    # a species that is found anywhere needs a table everywhere
    found = {name for one in cells for name in species_in(one)}
    wanted = species or [name for name in SPECIES if name in found]
    labels = [one.binning.selection.label for one in cells]
    paths = [{name: folder / f"{name}{label}{SUFFIX}" for name in wanted} for label in labels]
    refuse_existing({} if overwrite else {str(path): path for some in paths for path in some.values()})
    with progress_bar("tables") as update:

        def teller(i: int) -> Callable[[int, int, str], None]:
            return lambda done, total, what: update(i * total + done, len(cells) * total, what)

        luts = [build_sample_luts(one, wanted, options, teller(i)) for i, one in enumerate(cells)]
    for some, place in zip(luts, paths, strict=True):
        write_luts(some, place, overwrite, bits)


def _range(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(":"))
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no range LOW:HIGH", param_hint="--phi") from error
    return low, high


def _axis(name: str, text: str, unit: str) -> Axis:
    """Axis of ``BINS:LOW:HIGH[:log]`` with the rules of its kind."""
    from flashdet.lut.axis import Axis
    from flashdet.lut.cells import DEFAULT_AXES

    rules = {axis.name: axis for axis in DEFAULT_AXES}[name]
    try:
        n, low, high, *scale = text.split(":")
        if scale not in ([], ["log"]):
            raise ValueError(f"{scale} is no scale")
        return Axis(
            name,
            unit,
            int(n),
            float(low),
            float(high),
            "log" if scale else "linear",
            rules.out_of_range,
            rules.interpolation,
        )
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is no axis ({error}); {_AXIS_HELP}", param_hint=f"--{name}") from error


def _sources(files: list[Path], mapping: str | None, secondaries: bool) -> Iterator[tuple[str, Iterator[SampleChunk]]]:
    """Chunks of each file or pair of files, and its name."""
    if mapping is None:
        from flashdet.io.samples.aod import read_aod

        for path in files:
            yield str(path), read_aod(path, secondaries)
        return
    from flashdet.io.samples.acts import ACTS_CSV, find_events, read_acts
    from flashdet.io.samples.flat import pair_files, read_flat
    from flashdet.io.samples.mapping import read_map

    if mapping == ACTS_CSV:
        for event in find_events(files):
            yield str(event.particles), read_acts(event)
        return
    table = read_map(mapping)
    for particles, tracks in pair_files(files, table):
        yield str(particles), read_flat(particles, tracks, table)
