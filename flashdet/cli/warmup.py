"""``flashdet warmup``: compile all kernels of a card, or load them, so that later jobs start at once."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

#: Particles of all kinds that a stage treats in its own way, over the whole acceptance.
GUN = "gun:pdg=11/-11/13/22/211/-211/321/2212/2112/310/1000020030,pt=0.1..5,shape=log,eta=-4..4,n=4,particles=60"
#: A collision that makes a pion, a kaon and a photon, in both layouts of HepMC text (manuals of HepMC 3.2 and 2.06).
TEXTS = {
    "tiny.hepmc3": """HepMC::Version 3.02.06
HepMC::Asciiv3-START_EVENT_LISTING
W Default
E 0 1 5
U GEV MM
W 1.0
P 1 0 2212 0 0 7000 7000 0.938 4
P 2 0 2212 0 0 -7000 7000 0.938 4
V -1 0 [1,2] @ 0.01 0 0.5 0
P 3 -1 211 0.5 0.1 0.2 0.565 0.13957 1
P 4 -1 -321 -0.4 0.3 0.1 0.715 0.49368 1
P 5 -1 22 0.3 0.2 0.1 0.374166 0 1
HepMC::Asciiv3-END_EVENT_LISTING
""",
    "tiny.hepmc2": """HepMC::Version 2.06.09
HepMC::IO_GenEvent-START_EVENT_LISTING
E 0 -1 -1 -1 -1 0 -1 1 1 2 0 1 1.0
N 1 "Default"
U GEV MM
V -1 0 0.01 0 0.5 0 2 3 0
P 1 2212 0 0 7000 7000 0.938 4 0 0 -1 0
P 2 2212 0 0 -7000 7000 0.938 4 0 0 -1 0
P 3 211 0.5 0.1 0.2 0.565 0.13957 1 0 0 0 0
P 4 -321 -0.4 0.3 0.1 0.715 0.49368 1 0 0 0 0
P 5 22 0.3 0.2 0.1 0.374166 0 1 0 0 0 0
HepMC::IO_GenEvent-END_EVENT_LISTING
""",
}


def warmup(
    cards: Annotated[
        list[str] | None, typer.Option("--card", help="Shipped card or a file; may be repeated. Default: alice3.")
    ] = None,
    format: Annotated[str | None, typer.Option("--format", help="Output format. Default: what the card says.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change the card.")] = None,
) -> None:
    """Compile what a card needs and keep it; FLASHDET_CACHE_DIR says where. Run it once per kind of processor."""
    import tempfile
    import time
    from pathlib import Path

    from flashdet.card import Card
    from flashdet.kernels.compilations import Compilations

    for name in cards or ["alice3"]:
        begin, begin_cpu = time.perf_counter(), time.process_time()
        card = Card.load(name, settings or ())
        with Compilations() as compilations, tempfile.TemporaryDirectory(prefix="flashdet-warmup-") as folder:
            _run_all(card, format, Path(folder))
        wall, cpu = time.perf_counter() - begin, time.process_time() - begin_cpu
        print(f"{name}: {compilations.n} functions compiled, ready after {wall:.1f} s ({cpu:.1f} s CPU)")
    print(place())


def _run_all(card: object, format: str | None, folder: Path) -> None:
    """Simulate a gun and every layout of text that our own parser reads."""
    from flashdet.run import Job, run

    inputs = [GUN]
    for name, text in TEXTS.items():
        (folder / name).write_text(text)
        inputs.append(str(folder / name))
    for i, name in enumerate(inputs):
        run(Job(inputs=(name,), card=card, output=folder / f"out{i}", format=format))  # type: ignore[arg-type]


def place() -> str:
    """Say where compiled kernels are kept, and how much there is."""
    from flashdet.kernels import philox
    from flashdet.kernels.cache import directories

    function = getattr(philox.normals, "py_func", None)
    if function is None:
        return "FLASHDET_DISABLE_JIT=1: nothing is compiled"
    for folder in directories(function):
        files = list(folder.parent.rglob("*.nbc")) if folder.name != "__pycache__" else []
        files = files or list(folder.parents[1].rglob("__pycache__/*.nbc"))
        if files:
            base = folder.parent if folder.name != "__pycache__" else folder.parents[1]
            size = sum(file.stat().st_size for file in files)
            return f"compiled kernels: {len(files)} files, {size / 2**20:.1f} MiB, in {base}"
    return "compiled kernels are not kept: no directory can be written; set FLASHDET_CACHE_DIR"
