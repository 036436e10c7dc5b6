"""Files read ahead of their use, on threads that a stalled drive cannot keep for ever.

Nothing here waits on the drive itself: a thread that does is left behind, so that Ctrl-C ends the
program even where the system would wait for a network drive until it is back.
"""

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice, repeat
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from anomaly_vae.errors import ImageReadError

T = TypeVar("T")
R = TypeVar("R")

PATIENCE = 60.0
"""Seconds that a drive is waited for: longer than a busy one takes, shorter than a shift."""
_FAREWELL = 0.5  # seconds that threads have to end with what they are at
_LISTED = 16  # paths that are handed over at once


def usable_cores() -> int:
    """Count the cores that this process may use: a container or a service may have few of many."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_ahead(
    items: Iterable[T],
    load: Callable[[T], R],
    *,
    workers: int,
    ahead: int,
    patience: float | None = PATIENCE,
) -> Generator[tuple[T, R | ImageReadError], None, None]:
    """Load items on ``workers`` threads, at most ``ahead`` of them waiting, in their order.

    An item that cannot be read comes with its error instead of an image, and so does one that is
    not there ``patience`` seconds after all before it: a network drive that stalls must not stop
    the others; with None, it is waited for. (Pillow decodes and resizes outside Python's global
    lock, so threads are enough.)
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = Pool(load, workers)

    def oldest() -> tuple[T, R | ImageReadError]:
        item, future = waiting.popleft()
        try:
            return item, future.result(patience)
        except TimeoutError:
            if future.done():  # it is what ``load`` itself has raised
                raise
            pool.replace_one()
            return item, ImageReadError(f"could not be read within {patience:g} seconds")
        except ImageReadError as error:
            return item, error

    try:
        for item in items:
            waiting.append((item, pool.submit(item)))
            if len(waiting) > ahead:
                yield oldest()
        while waiting:
            yield oldest()
    finally:
        for _, future in waiting:
            future.cancel()
        pool.close()


def on_thread(items: Iterable[T]) -> Iterator[T]:
    """Give items that are found on a drive, such as the files of a folder, a few of them ahead.

    They are waited for, however long a listing takes, but Ctrl-C is not kept waiting.
    """
    iterator = iter(items)
    taken = read_ahead(
        repeat(iterator),
        lambda each: list(islice(each, _LISTED)),
        workers=1,
        ahead=1,
        patience=None,
    )
    for _, some in taken:
        if isinstance(some, ImageReadError) or not some:
            return
        yield from some


def patiently(
    call: Callable[[], R],
    *,
    patience: float = PATIENCE,
    stalled: Callable[[], object] | None = None,
) -> R:
    """Give what a call gives that needs a drive, such as one for the time of a file.

    Where ``stalled`` is given, it is called after ``patience`` seconds, and the drive waited for.

    Raises:
        ImageReadError: the drive has not answered for so long.
    """
    pool = Pool[None, R](lambda _: call(), 1)
    future = pool.submit(None)
    try:
        return future.result(patience)
    except TimeoutError:
        if future.done():  # it is what ``call`` itself has raised
            raise
        if stalled is None:
            raise ImageReadError(f"could not be read within {patience:g} seconds") from None
        stalled()
        return future.result()
    finally:
        pool.close()


class Pool(Generic[T, R]):
    """Threads that let the program end while a drive stalls, unlike those of the library."""

    def __init__(self, load: Callable[[T], R], workers: int) -> None:
        self._load = load
        self._tasks: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        for _ in range(workers):
            self._add()

    def submit(self, item: T) -> "Future[R]":
        """Let a thread do an item; they are begun in their order."""
        future: Future[R] = Future()
        self._tasks.put((future, item))
        return future

    def replace_one(self) -> None:
        """Put a new thread in the place of one that hangs."""
        self._add()

    def close(self) -> None:
        """End the threads; those that hang are left behind."""
        for _ in self._threads:
            self._tasks.put(None)
        end = time.monotonic() + _FAREWELL
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))

    def _add(self) -> None:
        thread = Thread(target=self._work, name=f"decode-{len(self._threads)}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, item = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(self._load(item))
                except BaseException as error:
                    future.set_exception(error)
