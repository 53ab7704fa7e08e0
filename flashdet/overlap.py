"""Threads of one job: reading ahead, simulating several batches at once, and writing behind, all bounded.

Every function gives items in the order it gets them, so that what comes out does not depend on the threads. At most a
few batches exist at a time. An exception of any thread comes out where its items are asked for or handed over. Nothing
here knows readers, files or formats.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from flashdet.errors import CardError
from flashdet.event import EventBatch
from flashdet.pipeline import Pipeline, Result

T = TypeVar("T")
#: Batches that wait between two threads: one is enough to keep both busy, each costs its memory.
_WAITING = 1
#: Seconds after which a thread that waits looks whether it should stop.
_PATIENCE = 0.05
_END = object()


@contextmanager
def ahead(items: Iterable[T]) -> Iterator[Iterator[T]]:
    """Make items in a thread of their own while earlier ones are used.

    Leaving the block waits until the thread has finished the item at hand and closes `items`.

    Parameters
    ----------
    items : iterable
        Used by the new thread alone.

    Yields
    ------
    iterator
        The same items; an exception of `items` comes out of it.
    """
    queue: Queue[Any] = Queue(_WAITING)
    stop = threading.Event()
    failure: list[BaseException] = []

    def produce() -> None:
        try:
            for item in items:
                if not _put(queue, item, stop):
                    break
        except BaseException as error:  # noqa: BLE001 - raised where the items are used
            failure.append(error)
        finally:
            if isinstance(items, Generator):
                items.close()
            _put(queue, _END, stop)

    def give() -> Iterator[T]:
        while (item := queue.get()) is not _END:
            yield item
        if failure:
            raise failure[0]

    thread = threading.Thread(target=produce, name="flashdet-ahead", daemon=True)
    thread.start()
    try:
        yield give()
    finally:
        stop.set()
        thread.join()


def results(batches: Iterable[EventBatch], pipeline: Pipeline, threads: int) -> Generator[Result, None, None]:
    """Simulate batches, several at a time, and give the results in the order of the batches.

    Parameters
    ----------
    batches : iterable of EventBatch
        Asked for in the calling thread, one more than there are threads ahead of the results.
    pipeline : Pipeline
        Shared by all threads.
    threads : int
        With 1 everything happens in the calling thread.

    Yields
    ------
    Result

    Raises
    ------
    CardError
        There is no such number of threads.
    """
    if threads < 1:
        raise CardError(f"threads={threads}; allowed: 1 or more")
    if threads == 1:
        yield from map(pipeline.run, batches)
        return
    pending: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flashdet")
    try:
        for batch in batches:
            pending.append(pool.submit(pipeline.run, batch))
            while pending and (len(pending) > threads or pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class Behind(Generic[T]):
    """Hands items to a function that runs in a thread of its own; a context manager.

    Leaving the block waits until all items are taken; leaving it with an exception gives up those that wait.

    Parameters
    ----------
    take : callable
        Called with each item, one after the other.
    """

    def __init__(self, take: Callable[[T], None]) -> None:
        self._take = take
        self._queue: Queue[Any] = Queue(_WAITING)
        self._stop = threading.Event()
        self._failure: list[BaseException] = []
        self._thread = threading.Thread(target=self._consume, name="flashdet-behind", daemon=True)
        self._thread.start()

    def put(self, item: T) -> None:
        """Hand over an item; raises what an earlier one raised."""
        if not _put(self._queue, item, self._stop):
            raise self._failure[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                _put(self._queue, _END, self._stop)
                self._thread.join()
        finally:
            self._stop.set()
            self._thread.join()
        if kind is None and self._failure:
            raise self._failure[0]

    def _consume(self) -> None:
        while not self._stop.is_set():
            try:
                item = self._queue.get(timeout=_PATIENCE)
            except Empty:
                continue
            if item is _END:
                return
            try:
                self._take(item)
            except BaseException as error:  # noqa: BLE001 - raised where the items are used
                self._failure.append(error)
                self._stop.set()


def _put(queue: Queue[Any], item: Any, stop: threading.Event) -> bool:
    """Wait for a place in the queue; False if there is no use for the item any more."""
    while not stop.is_set():
        try:
            queue.put(item, timeout=_PATIENCE)
        except Full:
            continue
        return True
    return False
