"""Files read ahead of their use, on threads that a stalled drive cannot keep for ever."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

from anomaly_vae.errors import ImageReadError

T = TypeVar("T")
R = TypeVar("R")


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
    patience: float | None = None,
) -> Generator[tuple[T, R | ImageReadError], None, None]:
    """Load items on ``workers`` threads, at most ``ahead`` of them waiting, in their order.

    An item that cannot be read comes with its error instead of an image, and so does one that is
    not there ``patience`` seconds after all before it: a network drive that stalls must not stop
    the others. (Pillow decodes and resizes outside Python's global lock, so threads are enough.)
    """
    waiting: deque[tuple[T, Future[R]]] = deque()
    pool = _Pool(load, workers)

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


class _Pool(Generic[T, R]):
    """Threads that a stalled read cannot keep the program from ending by (unlike the library's)."""

    def __init__(self, load: Callable[[T], R], workers: int) -> None:
        self._load = load
        self._tasks: SimpleQueue[tuple[Future[R], T] | None] = SimpleQueue()
        self._threads: list[Thread] = []
        self._stalled = 0
        for _ in range(workers):
            self._add()

    def submit(self, item: T) -> "Future[R]":
        future: Future[R] = Future()
        self._tasks.put((future, item))
        return future

    def replace_one(self) -> None:
        """Put a new thread in the place of one that hangs."""
        self._stalled += 1
        self._add()

    def close(self) -> None:
        """End the threads; those that hang are left behind."""
        for _ in self._threads:
            self._tasks.put(None)
        if not self._stalled:
            for thread in self._threads:
                thread.join()

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
