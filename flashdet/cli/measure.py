"""What ``flashdet bench`` measures: phases of a start, parts of a job, and the ratio to `flashdet.cli.yardstick`.

All times are CPU time of this process, so that other users of the machine count as little as possible; the job runs in
one thread. Nothing is printed here, and options of the command are read in `flashdet.cli.bench`.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flashdet.cli import collector
from flashdet.cli.yardstick import Yardstick, bare_loop, bytes_of, decompressed
from flashdet.kernels.compilations import Compilations

if TYPE_CHECKING:
    from flashdet.pipeline import Pipeline
    from flashdet.run import Job

#: Events that are enough to compile every kernel of a job.
WARM_UP = 20


@dataclass
class Pass:
    """CPU seconds of one pass over the events.

    Attributes
    ----------
    read, write, checksums : float
        Reading into columns; writing, closing included; checksums of input and output.
    stages : Counter
        Each stage by its name.
    n_events, n_particles, n_tracks : int
        What went through.
    """

    read: float = 0.0
    write: float = 0.0
    checksums: float = 0.0
    stages: Counter[str] = field(default_factory=Counter)
    n_events: int = 0
    n_particles: int = 0
    n_tracks: int = 0

    @property
    def simulate(self) -> float:
        """CPU seconds of all stages."""
        return float(sum(self.stages.values()))

    @property
    def total(self) -> float:
        """CPU seconds of the whole pass."""
        return self.read + self.simulate + self.write + self.checksums


@dataclass
class Report:
    """Everything that was measured for one input.

    Attributes
    ----------
    input, card, format : str
        What ran.
    start : dict of str to float
        CPU seconds of each phase before the first event is done, in their order.
    n_compiled : int
        Compilations among them; 0: all kernels came from the cache.
    passes : list of Pass
        One per repetition.
    yardstick : Yardstick or None
        None if the input is no HepMC text.
    output_bytes : int
        Size of the output.
    peak_memory : int
        Largest resident size of the process so far [bytes].
    machine : dict of str to str
        Processor, load, versions.
    """

    input: str
    card: str
    format: str
    start: dict[str, float]
    n_compiled: int
    passes: list[Pass]
    yardstick: Yardstick | None
    output_bytes: int
    peak_memory: int
    machine: dict[str, str]

    def median(self, part: Callable[[Pass], float]) -> float:
        """Median over the repetitions of a part [s]."""
        return statistics.median(part(p) for p in self.passes)

    def plain(self) -> dict[str, Any]:
        """The report as plain data, for JSON."""
        content = asdict(self)
        for written, done in zip(content["passes"], self.passes, strict=True):
            written["stages"] = dict(done.stages)
            written["simulate"], written["total"] = done.simulate, done.total
        if self.yardstick is not None:
            content["ratio"] = self.yardstick.seconds / self.yardstick.ours
            content["ratio_reading"] = self.yardstick.seconds / self.yardstick.reading
        return content


def measure(make_job: Callable[[], Job], repeat: int, pyhepmc_events: int | None, budget: float) -> Report:
    """Measure one job.

    Parameters
    ----------
    make_job : callable
        Loads the card and gives the job; it is part of the start.
    repeat : int
        Passes over the events; medians are taken over them.
    pyhepmc_events : int, optional
        Events in pyhepmc's loop; None: as many as fit into `budget`.
    budget : float
        CPU seconds that one loop of pyhepmc may take before it is cut after the event it is in.

    Returns
    -------
    Report

    Raises
    ------
    FlashDetError
        Card, input or output are wrong.
    """
    phases = {"interpreter, command line": time.process_time()}

    def phase(name: str) -> None:
        phases[name] = time.process_time() - sum(phases.values())

    _import_everything()
    phase("imports")
    job = make_job()
    collector.resume()
    phase("card")
    from flashdet import registry
    from flashdet.pipeline import Pipeline

    writer = registry.writers.get(job.format or job.card.model.output.format)
    phase("writer")
    pipeline = Pipeline(job.card, job.seed)
    phase("tables")
    with tempfile.TemporaryDirectory(prefix="flashdet-bench-") as folder:
        output = Path(folder) / f"bench{writer.suffix}"
        with Compilations() as compilations:
            one_pass(_limited(job, 1), pipeline, output)
            phase("first event: kernels from the cache or compiled")
            one_pass(_limited(job, WARM_UP), pipeline, output)
        passes = [one_pass(job, pipeline, output) for _ in range(repeat)]
        size = output.stat().st_size
        yardstick = compare(job, pipeline, Path(folder), passes, pyhepmc_events, budget)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    form = job.format or job.card.model.output.format
    name = ", ".join(job.inputs)
    return Report(name, job.card.source, form, phases, compilations.n, passes, yardstick, size, peak, machine())


def _import_everything() -> None:
    """Import what the main job imports before it looks at its card."""
    import flashdet.card
    import flashdet.pipeline
    import flashdet.run  # noqa: F401


def _limited(job: Job, events: int) -> Job:
    """The same job for the first events only."""
    from dataclasses import replace

    return replace(job, events=events if job.events is None else min(events, job.events))


def one_pass(job: Job, pipeline: Pipeline, output: Path) -> Pass:
    """Read, simulate and write all events of a job, in this thread.

    Parameters
    ----------
    job : Job
        Inputs, card and events.
    pipeline : Pipeline
        Its stages.
    output : pathlib.Path
        File to write; it may be there.

    Returns
    -------
    Pass
    """
    from flashdet import provenance, registry, run

    done, clock = Pass(), time.process_time
    writer_class = registry.writers.get(job.format or job.card.model.output.format)
    begin = clock()
    for name in job.inputs:
        if Path(name).is_file():
            provenance.describe_file(name, job.card.model.output.checksum)
    done.checksums = clock() - begin
    output.unlink(missing_ok=True)  # freeing the blocks of a file that is replaced is no part of a job
    begin = clock()
    with run.open_reader(job) as reader:
        batches = reader.batches()
        batch = next(batches, None)
        done.read = clock() - begin
        setup = run.output_setup(job.card, batch.weight_names if batch is not None else (), {})
        begin = clock()
        with writer_class(output, setup=setup, overwrite=True) as writer:
            done.write = clock() - begin
            while batch is not None:
                begin = clock()
                result = pipeline.run(batch)
                simulated = clock() - begin
                wall = sum(result.nanoseconds.values()) or 1
                for stage, share in result.nanoseconds.items():
                    done.stages[stage] += simulated * share / wall  # type: ignore[assignment]
                begin = clock()
                writer.write(result.batch)
                done.write += clock() - begin
                done.n_events += batch.n_events
                done.n_particles += batch["particle"].n_rows
                done.n_tracks += result.batch["track"].n_rows if "track" in result.batch else 0
                del result, batch  # as in a job
                begin = clock()
                batch = next(batches, None)
                done.read += clock() - begin
            begin = clock()
        done.write += clock() - begin
    begin = clock()
    provenance.checksum_of(output, job.card.model.output.checksum)
    done.checksums += clock() - begin
    return done


def compare(
    job: Job, pipeline: Pipeline, folder: Path, passes: list[Pass], events: int | None, budget: float
) -> Yardstick | None:
    """Time pyhepmc's loop over the text of a job's only input, as often as there are passes.

    Parameters
    ----------
    job, pipeline
        Our side; measured again if the loop is cut before the last event.
    folder : pathlib.Path
        Takes the decompressed text; decompression is counted on our side only.
    passes : list of Pass
        What was measured for all events.
    events : int, optional
        Events in the loop.
    budget : float
        CPU seconds after which the first loop is cut.

    Returns
    -------
    Yardstick or None
        None if the input is no HepMC text, or if there are several inputs.
    """
    if len(job.inputs) != 1 or not Path(job.inputs[0]).is_file() or job.first:
        return None
    n = passes[0].n_events if events is None else min(events, passes[0].n_events)
    text = folder / "events.hepmc"
    layout = decompressed(job.inputs[0], text, n)
    if layout is None or n == 0:
        return None
    first, n = bare_loop(text, n, budget)
    times = [first, *(bare_loop(text, n, float("inf"))[0] for _ in passes[1:])]
    ours = passes
    if n < passes[0].n_events:
        ours = [one_pass(_limited(job, n), pipeline, folder / "part") for _ in passes]
    total, reading = (statistics.median(getattr(p, name) for p in ours) for name in ("total", "read"))
    return Yardstick(layout, n, statistics.median(times), total, reading, bytes_of(text, n))


def machine() -> dict[str, str]:
    """Processor, load and versions: what a number is worth nothing without."""
    from flashdet import provenance

    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = f"{names[0]}, {len(names)} threads" if names else processor
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    return {"processor": processor, "load": load, **provenance.software()}
