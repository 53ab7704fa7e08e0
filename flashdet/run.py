"""One job: events from a reader, through the pipeline, into a writer.

With one thread everything happens one after the other. With more, the next batch is read and the last one written while
others are simulated (:mod:`flashdet.overlap`); the output is the same. Nothing is printed here: the caller gets a
`Summary`.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashdet import provenance, registry
from flashdet.card import Card
from flashdet.errors import CardError, InputError, OutputError
from flashdet.event import EventBatch, Table, concat
from flashdet.kernels.compilations import Compilations
from flashdet.overlap import Behind, ahead, results
from flashdet.pipeline import Pipeline, Result
from flashdet.summary import Summary

if TYPE_CHECKING:
    from flashdet.io.hepmc.interface import EventReader
    from flashdet.io.output import Writer
    from flashdet.io.setup import OutputSetup

log = logging.getLogger(__name__)

#: Skipped pieces of input that the manifest lists.
_LISTED = 1000
#: Start of an input that is made up, and endings of input names that a default output name drops, outer ones first.
_GUN = "gun:"
_ENDINGS = (".zst", ".xz", ".gz", ".bz2", ".hepmc3", ".hepmc2", ".hepmc", ".root", ".txt", ".dat")


@dataclass(frozen=True)
class Job:
    """Settings of one job.

    Attributes
    ----------
    inputs : tuple of str
        Files in their order, ``-`` for standard input.
    card : Card
        What to simulate.
    output : pathlib.Path or None
        File to write; None: `default_output`.
    format : str or None
        Output format, None: the card's.
    seed : int
        Seed of all random numbers.
    first : int
        Events to pass over at the start.
    events : int or None
        Events to simulate, None: all.
    threads : int
        Threads that simulate.
    on_bad_event : {"fail", "skip"}
        What to do about damaged events.
    overwrite : bool
        Whether an existing output may be replaced.
    """

    inputs: tuple[str, ...]
    card: Card
    output: Path | None = None
    format: str | None = None
    seed: int = 1
    first: int = 0
    events: int | None = None
    threads: int = 1
    on_bad_event: str = "fail"
    overwrite: bool = False


def default_output(first_input: str, suffix: str) -> Path:
    """Name of the output if none is given: stem of the first input, ending of the format, in the current directory."""
    if first_input == "-" or first_input.startswith(_GUN):
        return Path(("stdin" if first_input == "-" else "gun") + suffix)
    stem = Path(first_input).name
    for ending in _ENDINGS:
        if stem.endswith(ending) and stem != ending:
            stem = stem.removesuffix(ending)
    return Path(stem + suffix)


def run(job: Job, progress: Callable[[int], None] | None = None) -> Summary:
    """Do one job.

    Parameters
    ----------
    job : Job
        What to do.
    progress : callable, optional
        Called with the number of events written so far.

    Returns
    -------
    Summary

    Raises
    ------
    FlashDetError
        Card, input, tables or output are wrong; no output is left behind.
    """
    with Compilations() as compilations:
        summary = _run(job, progress)
    summary.n_compiled, summary.seconds_compiling = compilations.n, compilations.seconds
    return summary


def _run(job: Job, progress: Callable[[int], None] | None) -> Summary:
    start = time.perf_counter()
    writer_class = registry.writers.get(job.format or job.card.model.output.format)
    path = job.output or default_output(job.inputs[0], writer_class.suffix)
    _check_output(path, job)
    summary = Summary(output=path)
    with _described(job) as inputs:
        pipeline = Pipeline(job.card, job.seed)
        with open_reader(job) as reader:
            origin = _provenance(job, pipeline, inputs())
            writer = _simulate(job, pipeline, reader, writer_class, provenance.reproducible(origin), summary, progress)
            summary.close(reader.skipped, reader.counts)
    summary.particles = {
        "kept": writer.particles,
        "read": writer.n_particles_read,
        "written": writer.n_particles_written,
    }
    _write_manifest(summary, path, origin, writer.left_out, job.card.model.output.checksum)
    summary.seconds = time.perf_counter() - start
    return summary


def _simulate(
    job: Job,
    pipeline: Pipeline,
    reader: EventReader,
    writer_class: type[Writer],
    origin: dict[str, Any],
    summary: Summary,
    progress: Callable[[int], None] | None,
) -> Writer:
    """Everything between the reader and the closed writer."""
    assert summary.output is not None
    batches = _timed(reader.batches(), summary)
    with ahead(batches) if job.threads > 1 else nullcontext(batches) as coming:
        opening = list(itertools.islice(coming, 1))  # the names of the weights are in the events
        weight_names = opening[0].weight_names if opening else ()
        setup = output_setup(job.card, weight_names, origin, job.threads)
        with writer_class(summary.output, setup=setup, overwrite=job.overwrite) as writer:
            done = results(itertools.chain(opening, coming), pipeline, job.threads)
            _write(done, writer, summary, job.threads, progress)
            begin = time.perf_counter_ns()
        summary.nanoseconds["write"] += time.perf_counter_ns() - begin
    return writer


def _write(
    done: Generator[Result, None, None],
    writer: Writer,
    summary: Summary,
    threads: int,
    progress: Callable[[int], None] | None,
) -> None:
    """Write and count results as they come; with several threads in one of its own."""

    def take(result: Result) -> None:
        begin = time.perf_counter_ns()
        writer.write(result.batch)
        summary.nanoseconds["write"] += time.perf_counter_ns() - begin
        summary.add(result)
        if progress is not None:
            progress(summary.n_events)

    # a result is let go before the next one is made, which then takes its memory: it is still in the cache
    if threads == 1:
        for result in done:
            take(result)
            del result
        return
    with Behind(take) as behind, closing(done):
        for result in done:
            behind.put(result)
            del result


def _check_output(path: Path, job: Job) -> None:
    """Find out before the work whether the output may be written."""
    from flashdet.io.output import refuse_existing

    refuse_existing(path, job.overwrite)
    for source in job.inputs:
        if path.exists() and Path(source).exists() and path.samefile(source):
            raise OutputError("is an input of this job", str(path), "choose another name")


def _write_manifest(
    summary: Summary,
    path: Path,
    origin: Mapping[str, Any],
    left_out: Mapping[str, str],
    algorithm: provenance.Algorithm,
) -> None:
    extra = {
        "n_skipped": summary.n_skipped,
        "skipped": summary.skipped[:_LISTED],
        "n_charged": summary.n_charged,
        "n_tracks": summary.n_tracks,
        "particles": summary.particles,
        "left_out": dict(left_out),
    }
    provenance.write_manifest(
        path,
        provenance=origin,
        n_events=summary.n_events,
        counters={stage: dict(counts) for stage, counts in summary.counts.items()},
        warnings=summary.warnings,
        extra=extra,
        algorithm=algorithm,
    )


def simulate(
    events: str | Path | Sequence[str | Path] | EventBatch,
    card: str | Path | Card,
    *,
    seed: int = 1,
    first: int = 0,
    n_events: int | None = None,
    threads: int = 1,
    on_bad_event: str = "fail",
    overrides: Sequence[str] = (),
) -> Any:
    """Simulate events and keep them in memory.

    Parameters
    ----------
    events : str, path, sequence of those, or EventBatch
        Input files or events that are there already.
    card : str, path or Card
        Name of a shipped card, a file, or a loaded card.
    seed : int
        Seed of all random numbers.
    first : int
        Events to pass over at the start.
    n_events : int, optional
        Events to simulate, all by default.
    threads : int
        Threads that simulate; the result does not depend on it.
    on_bad_event : {"fail", "skip"}
        What to do about damaged events.
    overrides : sequence of str
        Settings ``PATH=VALUE`` put over the card.

    Returns
    -------
    awkward.Array
        One record per event with one list of records per table: ``.track.pt``, ``.otof.n_sigma_pion``, ...; the tables
        and columns that a file of this card has (see ``output.tables`` and ``output.derived``), in float64.

    Raises
    ------
    FlashDetError
        Card, input or tables are wrong.
    """
    if isinstance(card, Card) and overrides:
        raise CardError("a loaded card cannot be changed; give its name or file, or load it with the settings")
    loaded = card if isinstance(card, Card) else Card.load(card, overrides)
    pipeline = Pipeline(loaded, seed)
    if isinstance(events, EventBatch):
        stop = events.n_events if n_events is None else min(first + n_events, events.n_events)
        done = [pipeline.run(events.slice_events(first, stop)).batch]
    else:
        inputs = (events,) if isinstance(events, str | Path) else tuple(events)
        job = Job(tuple(map(str, inputs)), loaded, first=first, events=n_events, on_bad_event=on_bad_event)
        with open_reader(job) as reader:
            done = [r.batch for r in results(reader.batches(), pipeline, threads)]
        for skipped in reader.skipped:
            log.warning("left out: %s: %s", skipped.where, skipped.reason)
        for what, n in reader.counts.items():
            log.warning("%s: %d", what.removeprefix("warning: "), n)
    if not done:
        raise InputError("no events were read; nothing to return")
    batch = concat(done) if len(done) > 1 else done[0]
    setup = output_setup(loaded, batch.weight_names, {})
    # the tables and columns that a file of this card has
    tables = [batch[name] for name in setup.selected(batch)]
    kept = {t.name: Table(t.name, t.offsets, {c: t[c] for c in setup.kept(t)}) for t in tables}
    return EventBatch(kept, batch.weight_names).to_awkward()


def output_setup(card: Card, weight_names: tuple[str, ...], origin: dict[str, Any], threads: int = 1) -> OutputSetup:
    """What a writer must know of a card."""
    from flashdet.io.setup import OutputSetup

    return OutputSetup(
        tables=card.model.output.tables,
        stage_kinds={s.name: s.kind for s in card.stages},
        magnetic_field=card.model.magnetic_field,
        weight_names=weight_names,
        provenance=origin,
        particles=card.model.output.particles,
        derived=card.model.output.derived,
        copies=_copies(card),
        compression=card.model.output.compression,
        threads=threads,
        eta_max=max(
            (getattr(s.config, "eta_max", math.inf) for s in card.stages if s.kind == "propagate"), default=math.inf
        ),
    )


def _copies(card: Card) -> dict[str, str]:
    """Event times that detectors have from a stage of their own whose table is written too, and where."""
    written = card.model.output.tables
    return {
        f"{detector}.{column}": f"{stage.name}.{column}"
        for stage in card.stages
        if stage.kind == "event_time" and (written is None or {stage.name, stage.kind} & {*written})
        for detector in getattr(stage.config, "detectors", ())
        for column in ("event_time", "event_time_error")
    }


def open_reader(job: Job) -> EventReader:
    """Reader of the job's inputs."""
    opened: EventReader = registry.readers.get("hepmc")(
        job.inputs, first=job.first, events=job.events, on_bad_event=job.on_bad_event
    )
    return opened


def _timed(batches: Iterator[EventBatch], summary: Summary) -> Iterator[EventBatch]:
    """The same batches; the time to make them is added to ``read``."""
    while True:
        begin = time.perf_counter_ns()
        batch = next(batches, None)
        summary.nanoseconds["read"] += time.perf_counter_ns() - begin
        if batch is None:
            return
        yield batch
        del batch


@contextmanager
def _described(job: Job) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Function that gives the descriptions of the inputs; with several threads they are made meanwhile."""
    algorithm = job.card.model.output.checksum

    def describe() -> list[dict[str, Any]]:
        return [provenance.describe_file(i, algorithm) if Path(i).is_file() else {"name": i} for i in job.inputs]

    if job.threads == 1:
        yield describe
        return
    with ThreadPoolExecutor(1, thread_name_prefix="flashdet-checksum") as pool:
        yield pool.submit(describe).result


def _provenance(job: Job, pipeline: Pipeline, inputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return provenance.collect(
        inputs=inputs,
        card={"name": job.card.source, "hash": job.card.hash, "text": job.card.resolved()},
        luts=pipeline.lut_hashes,
        seed=job.seed,
        first_event=job.first,
        max_events=job.events,
    )
