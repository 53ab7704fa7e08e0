"""What happened in a job: counters, losses, warnings and where the time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flashdet.pipeline import Result

#: Stands for the reader among the names of stages; no stage can be called so.
INPUT = "(input)"
#: Skipped pieces of input that are shown; the manifest has more.
_SHOWN = 5


@dataclass
class Summary:
    """What happened in a job.

    Attributes
    ----------
    output : pathlib.Path or None
        The file that was written.
    n_events, n_charged, n_tracks, n_skipped : int
        Events written, charged particles offered to the tracker, tracks, damaged events passed over.
    skipped : list of str
        Where and why, one per piece of input.
    counts : dict of str to Counter
        Counters of each stage by its name, and of the reader under `INPUT`.
    nanoseconds : Counter
        Time spent in ``read``, ``write`` and each stage (``stage NAME``), added over threads.
    seconds : float
        Wall time of the whole job.
    warnings : list of str
        What the user should look at.
    particles : dict
        Which generated particles were written (``kept``), and how many were ``read`` and ``written``.
    n_compiled, seconds_compiling : int, float
        Functions that had to be compiled, and the time of it.
    """

    output: Path | None = None
    n_events: int = 0
    n_charged: int = 0
    n_tracks: int = 0
    n_skipped: int = 0
    skipped: list[str] = field(default_factory=list)
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    nanoseconds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)
    particles: dict[str, Any] = field(default_factory=dict)
    n_compiled: int = 0
    seconds_compiling: float = 0.0

    def add(self, result: Result) -> None:
        """Add the counters of one batch."""
        self.n_events += result.batch.n_events
        for name in ("charged", "track"):
            if name in result.batch:
                field_name = "n_charged" if name == "charged" else "n_tracks"
                setattr(self, field_name, getattr(self, field_name) + result.batch[name].n_rows)
        for stage, counts in result.counts.items():
            self.counts.setdefault(stage, Counter()).update(counts)
            self.nanoseconds[f"stage {stage}"] += result.nanoseconds[stage]

    def close(self, skipped: Sequence[Any], reader_counts: Mapping[str, int]) -> None:
        """Note what only the end of the input tells: events passed over and counters of the reader."""
        self.skipped = [f"{s.where}: {s.reason}" for s in skipped]
        self.n_skipped = sum(s.n_events for s in skipped)
        self.counts = {INPUT: Counter(reader_counts), **self.counts}
        for stage, counts in self.counts.items():
            for key, n in counts.items():
                if key.startswith("warning:") and n:
                    self.warnings.append(f"{stage}: {key.removeprefix('warning:').strip()}: {n}")

    @property
    def text(self) -> str:
        """The closing summary, a few lines."""
        rate = self.n_events / self.seconds if self.seconds > 0 else 0.0
        lines = [
            f"{self.n_events} events in {self.seconds:.2f} s ({rate:.1f} events/s), {self.n_skipped} skipped",
            *self._compiling(),
            f"{self.n_charged} charged particles in, {self.n_tracks} tracks out",
        ]
        for stage, counts in self.counts.items():
            lines += [f"  {stage}: {k}: {n}" for k, n in counts.items() if n and not k.startswith("warning:")]
        lines += [f"  skipped {where}" for where in self.skipped[:_SHOWN]]
        if len(self.skipped) > _SHOWN:
            lines.append(f"  skipped {len(self.skipped) - _SHOWN} more, see the manifest")
        lines.append(f"time: {self._shares()}")
        lines += [f"warning: {w}" for w in self.warnings]
        if self.output is not None:
            lines.append(f"wrote {self.output}")
        return "\n".join(lines)

    def _compiling(self) -> list[str]:
        """Tell the price of a first run, which is in the times of the stages too."""
        if self.n_compiled == 0:
            return []
        return [f"{self.seconds_compiling:.1f} s of it for compiling {self.n_compiled} functions, once on this machine"]

    def _shares(self) -> str:
        """Share of reading, each stage and writing in the time that was spent in them."""
        total = sum(self.nanoseconds.values()) or 1
        simulated = {k.removeprefix("stage "): n for k, n in self.nanoseconds.items() if k.startswith("stage ")}
        inner = ", ".join(f"{k} {100 * n / total:.1f}" for k, n in simulated.items())
        read, write = self.nanoseconds["read"], self.nanoseconds["write"]
        share = 100 * sum(simulated.values()) / total
        return f"read {100 * read / total:.1f} %, simulate {share:.1f} % ({inner}), write {100 * write / total:.1f} %"
