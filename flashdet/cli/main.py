"""The command ``flashdet``: its families of commands, exit codes and signals.

Commands import what they need when they run, so that ``--help`` and ``--version`` are quick. No physics here.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, NoReturn

import typer

from flashdet import __version__
from flashdet.cli import bench, card, collector, heap, inspect, lut, report, sim, warmup
from flashdet.errors import FlashDetError

app = typer.Typer(
    help="Parametric detector simulation with lookup tables: HepMC events in, tracks and PID signals out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("sim")(sim.sim)
app.add_typer(card.app, name="card")
app.add_typer(lut.app, name="lut")
app.command("inspect")(inspect.inspect)
app.command("report")(report.report)
app.command("bench")(bench.bench)
app.command("warmup")(warmup.warmup)


#: Seconds until a signal that was dropped is raised again.
_AGAIN = 0.5


class InterruptedBySignal(BaseException):
    """A signal ended the job; not an `Exception`, so that nothing but clean-up catches it."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def _version(wanted: bool) -> None:
    if wanted:
        print(f"flashdet {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and leave.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn the first SIGINT or SIGTERM into `InterruptedBySignal`; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    stopping = signal.SIGTERM

    def handle(number: int, frame: FrameType | None) -> NoReturn:
        nonlocal stopping
        stopping = signal.Signals(number)
        signal.signal(number, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN, _AGAIN)
        raise InterruptedBySignal(number)

    def remind(number: int, frame: FrameType | None) -> None:
        # A callback from compiled code drops what is raised in it. Unless the job is being cleaned up, raise it again.
        raised = sys.exception()
        while raised is not None and not isinstance(raised, InterruptedBySignal):
            raised = raised.__context__
        if raised is None:
            raise InterruptedBySignal(stopping)

    handlers = {signal.SIGINT: handle, signal.SIGTERM: handle, signal.SIGALRM: remind}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        for number, handler in before.items():
            signal.signal(number, handler)


def execute(arguments: Sequence[str]) -> int:
    """Run one command line.

    Parameters
    ----------
    arguments : sequence of str
        Without the program's name.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 bad card or arguments, 3 bad input, 4 finished with skipped events, 130 and 143
        on signals.
    """
    logging.basicConfig(level=logging.WARNING, format="flashdet: %(levelname)s: %(message)s", stream=sys.stderr)
    try:
        with interruptible():
            app(list(arguments), prog_name="flashdet")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except FlashDetError as error:
        print(f"flashdet: error: {error}", file=sys.stderr)
        return error.exit_code
    except InterruptedBySignal as interruption:
        print(f"flashdet: stopped by {signal.Signals(interruption.number).name}", file=sys.stderr)
        return 128 + interruption.number
    return 0


def main() -> NoReturn:
    """Entry point of the command."""
    collector.relax()
    heap.keep()
    sys.exit(execute(sys.argv[1:]))
