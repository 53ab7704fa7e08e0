"""Threads of a job: order, bounds, errors of every thread, and files that are equal for any number of them."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from flashdet.overlap import Behind, ahead

EXAMPLES = Path(__file__).parents[2] / "examples"


def flashdet_threads():
    return [t.name for t in threading.enumerate() if t.name.startswith("flashdet")]


def test_items_come_in_order_and_never_far_ahead():
    made = []

    def items():
        for i in range(50):
            made.append(i)
            yield i

    furthest = 0
    with ahead(items()) as coming:
        for used, item in enumerate(coming):
            assert item == used
            time.sleep(0.001)
            furthest = max(furthest, len(made) - used)
    assert made == list(range(50))
    # the one in use, one that waits, one at the door
    assert furthest <= 4
    assert flashdet_threads() == []


def test_an_error_of_the_maker_comes_out_after_the_items():
    def items():
        yield 1
        yield 2
        raise ValueError("garbled")

    got = []
    with pytest.raises(ValueError, match="garbled"), ahead(items()) as coming:
        got.extend(coming)
    assert got == [1, 2]
    assert flashdet_threads() == []


def test_leaving_early_closes_the_maker_in_its_thread():
    closed = []

    def items():
        try:
            while True:
                yield 0
        finally:
            closed.append(threading.current_thread().name)

    def job():
        with ahead(items()) as coming:
            next(coming)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert closed == ["flashdet-ahead"]
    assert flashdet_threads() == []


def test_everything_is_taken_in_order_before_the_block_ends():
    taken = []

    def take(item):
        time.sleep(0.002)
        taken.append(item)

    with Behind(take) as behind:
        for i in range(20):
            behind.put(i)
            assert i - len(taken) <= 2
    assert taken == list(range(20))
    assert flashdet_threads() == []


@pytest.mark.parametrize("n_after", [0, 30])
def test_an_error_of_the_taker_comes_out_at_the_hand_over_or_at_the_end(n_after):
    def take(item):
        if item == 3:
            raise OSError("full")

    def job():
        with Behind(take) as behind:
            for i in range(4 + n_after):
                behind.put(i)

    with pytest.raises(OSError, match="full"):
        job()
    assert flashdet_threads() == []


def test_an_error_of_the_giver_leaves_the_rest():
    taken = []

    def take(item):
        time.sleep(0.05)
        taken.append(item)

    def job():
        with Behind(take) as behind:
            behind.put(1)
            behind.put(2)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job()
    assert len(taken) <= 2
    assert flashdet_threads() == []


JOB = """
import sys
from flashdet.cli.main import main
sys.argv = ["flashdet", "sim", {source!r}, "--card", "minimal", "-o", {output!r}, "--threads", "{threads}", "-q"]
main()
"""


def start(source, output, threads):
    code = JOB.format(source=str(source), output=str(output), threads=threads)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


@pytest.mark.parametrize("threads", [1, 3])
def test_a_signal_leaves_nothing(tmp_path, threads):
    # the input never ends; the signal comes while the job waits for it
    with start("-", tmp_path / "o.aod.root", threads) as job:
        try:
            time.sleep(3)
            job.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            assert job.stdin is not None
            job.stdin.close()
            assert job.wait(20) == 143
        finally:
            job.kill()
    assert list(tmp_path.iterdir()) == []


def resident_memory():
    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_does_not_grow_with_the_events(tmp_path, threads):
    """Batches of one large event each: what stays is bounded by the chunk, not by the 200 MB of twelve batches.

    The memory of chunks and the heap have found their size after the first 24, a few chunks.
    """
    from flashdet import Pipeline
    from flashdet.card import Card
    from flashdet.io.aod import AodWriter
    from flashdet.overlap import results
    from flashdet.run import output_setup
    from flashdet.testing import gun

    card = Card.load("minimal")
    pipeline = Pipeline(card)
    n_batches, n_particles = 72, 20_000
    seen = []

    def batches():
        for i in range(n_batches):
            yield gun(n_events=1, particles=n_particles, seed=i + 1)

    def take(result):
        writer.write(result.batch)
        gc.collect()
        seen.append(resident_memory())

    setup = output_setup(card, (), {}, threads)
    with AodWriter(tmp_path / "o.aod.root", setup=setup) as writer:
        if threads == 1:
            for result in results(batches(), pipeline, 1):
                take(result)
        else:
            with ahead(batches()) as coming, Behind(take) as behind:
                for result in results(coming, pipeline, threads):
                    behind.put(result)
    assert len(seen) == n_batches
    assert max(seen[48:]) < max(seen[24:48]) + 20
