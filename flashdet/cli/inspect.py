"""``flashdet inspect``: what is in a file."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer


def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An output of FlashDet, or generator events.")],
    columns: Annotated[bool, typer.Option("--columns", help="List every column with its unit.")] = False,
) -> None:
    """Tables, rows, columns and provenance of an output; counts of a file of generator events (exit 4: damaged)."""
    _refuse_other_kinds(file)
    header = _header(file)
    if header is None:
        _show_events(file)
        return
    rows_of_trees = _rows(file)
    print(f"{file}: {header['format']}, data model {header['data_model']}, B = {header['magnetic_field']:g} T")
    for name, rows in rows_of_trees.items():
        print(f"  {name:<36} {rows:>10} rows")
    print("tables:")
    for name, described in header["tables"].items():
        print(f"  {name:<20} {len(described):>3} columns")
        if columns:
            for column, facts in described.items():
                print(f"    {column:<28} {facts['dtype']:<4} {facts['unit']:<6} {facts['doc']}")
    _show_origin(header["provenance"])
    _show_manifest(file)


def _refuse_other_kinds(file: Path) -> None:
    """Name the command that is made for the kind of file."""
    from flashdet.errors import InputError

    others = {".npz": "flashdet lut info", ".dat": "flashdet lut info", ".yaml": "flashdet card check"}
    if file.suffix in others and file.is_file():
        raise InputError("this is no output and no file of events", str(file), f"use {others[file.suffix]} {file}")


def _header(file: Path) -> dict[str, Any] | None:
    """Header of an output, None if the file is something else."""
    from flashdet.errors import InputError
    from flashdet.io.read import read_header

    try:
        with file.open("rb") as opened:
            magic = opened.read(4)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", str(file)) from error
    if magic == b"root" and not _is_output(file):
        return None
    return read_header(file) if magic in (b"root", b"PAR1") else None


def _is_output(file: Path) -> bool:
    """Whether a ROOT file bears the header of FlashDet; a damaged one counts as one, so that its error is told."""
    import uproot

    from flashdet.io.rootfile import HEADER

    try:
        with uproot.open(file) as root:
            return HEADER in root.keys(cycle=False)
    except Exception:  # noqa: BLE001 - the bytes of a damaged file can lead a library into any exception
        return True


def _rows(file: Path) -> dict[str, int]:
    """Entries of each tree, those of the same name in several folders together; events of a Parquet file."""
    with file.open("rb") as opened:
        is_root = opened.read(4) == b"root"
    if not is_root:
        import pyarrow.parquet

        return {"events": pyarrow.parquet.ParquetFile(file).metadata.num_rows}
    import uproot

    from flashdet.errors import InputError

    rows: Counter[str] = Counter()
    try:
        with uproot.open(file) as root:
            for name, kind in root.classnames(cycle=False).items():
                if kind == "TTree":
                    rows[name.rpartition("/")[2]] += root[name].num_entries
    except Exception as error:
        # the header may be whole where a tree is not; a damaged file can lead a library into any exception
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise InputError(f"is damaged: its trees cannot be read ({text})", str(file)) from error
    return dict(rows)


def _show_origin(origin: dict[str, Any]) -> None:
    if not origin:
        return
    card = origin["card"]
    print(f"card: {card['name']}, sha256 {card['hash']}")
    most = "all" if origin["max_events"] is None else f"at most {origin['max_events']}"
    print(f"seed: {origin['seed']}, first event {origin['first_event']}, {most} events")
    for source in origin["inputs"]:
        print(f"input: {source['name']}, {source.get('checksum', 'no checksum')}")
    print(f"software: {', '.join(f'{name} {version}' for name, version in origin['software'].items())}")


def _show_manifest(file: Path) -> None:
    """Compare the file with its manifest, if there is one."""
    from flashdet.provenance import manifest_path, verify

    if not manifest_path(file).exists():
        print("manifest: none")
        return
    manifest = verify(file)
    print(f"manifest: the checksum is right; {manifest['n_events']} events, {manifest['n_skipped']} skipped")
    for warning in manifest["warnings"]:
        print(f"warning: {warning}")


def _show_events(file: Path) -> None:
    """Read a whole file of generator events and count."""
    import numpy as np

    from flashdet import registry

    n_events = n_particles = n_final = 0
    weights: tuple[str, ...] = ()
    with registry.readers.get("hepmc")((str(file),), first=0, events=None, on_bad_event="skip") as reader:
        for batch in reader.batches():
            n_events += batch.n_events
            n_particles += batch["particle"].n_rows
            n_final += int(np.count_nonzero(batch["particle"]["status"] == 1))
            weights = weights or batch.weight_names
    print(f"{file}: {n_events} events, {n_particles} particles, {n_final} final")
    print(f"weights: {', '.join(weights) or 'none'}")
    for skipped in reader.skipped:
        print(f"damaged: {skipped.where}: {skipped.reason}")
    for name, n in reader.counts.items():
        print(f"{name}: {n}")
    if reader.skipped:
        raise typer.Exit(4)
