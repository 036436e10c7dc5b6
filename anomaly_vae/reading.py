"""Files, found folder by folder and read ahead of their use."""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import Generic, NamedTuple, TypeVar

from anomaly_vae.errors import FolderError, ImageReadError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")

T = TypeVar("T")
R = TypeVar("R")


class Stamp(NamedTuple):
    """By what a file is taken for unchanged."""

    size: int
    """In bytes."""
    mtime_ns: int
    """Time of its last change, in nanoseconds since 1970."""


def stamp(path: Path) -> Stamp | None:
    """Give the stamp of a file; None if it cannot be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # the latter where a list names what no file can be called
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def find_images(
    folder: Path,
    *,
    skip: Path | None = None,
    refused: Callable[[FolderError], None] | None = None,
) -> Iterator[str]:
    """Yield all files below ``folder`` that have an image extension, in the order of their path.

    The paths are relative to ``folder`` with ``/`` between the parts, in the order of their
    characters. Links to folders are not followed; ``skip`` and what lies below it is left out.
    One folder is listed at a time.

    Raises:
        FolderError: ``folder`` is missing, not a folder, or cannot be listed; or one below it
            cannot, unless ``refused`` takes the error.
    """
    return _walk(folder, "", skip.resolve() if skip else None, refused)


def list_images(folder: Path, *, skip: Path | None = None) -> list[str]:
    """Give all paths that ``find_images`` yields, at least one.

    Raises:
        FolderError: as ``find_images``, or there are none.
    """
    return list(at_least_one(find_images(folder, skip=skip), folder))


def at_least_one(paths: Iterator[str], folder: Path) -> Iterator[str]:
    """Give the same paths.

    Raises:
        FolderError: at once, if there are none.
    """
    first = next(paths, None)
    if first is None:
        raise FolderError(
            f"{folder}: holds no images; expected files such as *{', *'.join(EXTENSIONS)}"
        )

    def all_of_them() -> Iterator[str]:
        yield first
        yield from paths

    return all_of_them()


def _walk(
    folder: Path, prefix: str, skip: Path | None, refused: Callable[[FolderError], None] | None
) -> Iterator[str]:
    try:
        names = _listed(folder)
    except OSError as error:
        trouble = FolderError(f"{folder}: {error.strerror}; expected a folder of images")
        if refused is None or not prefix:
            raise trouble from error
        refused(trouble)
        return
    for name in names:
        path = folder / name
        if name.endswith("/"):
            if skip is None or path.resolve() != skip:
                yield from _walk(path, prefix + name, skip, refused)
        elif name.lower().endswith(EXTENSIONS):
            yield prefix + name


def _listed(folder: Path) -> list[str]:
    """Give the sorted names in a folder, without links to folders.

    A folder stands as "name/", which makes the walk yield whole paths in sorted order.
    """
    with os.scandir(folder) as listing:
        return sorted(
            entry.name + ("/" if entry.is_dir(follow_symlinks=False) else "")
            for entry in listing
            if not (entry.is_symlink() and Path(entry.path).is_dir())
        )


class Counting:
    """Counts the images of a folder in the background; knows their number when it is done."""

    def __init__(self, folder: Path, *, skip: Path | None = None) -> None:
        self._folder, self._skip = folder, skip
        self._begun = False
        self._total: int | None = None

    def __call__(self) -> int | None:
        """Give the number, or None as long as it is not known; the first call begins to count."""
        if not self._begun:
            self._begun = True
            Thread(target=self._count, name="count", daemon=True).start()
        return self._total

    def _count(self) -> None:
        paths = find_images(self._folder, skip=self._skip, refused=lambda _: None)
        try:
            self._total = sum(1 for _ in paths)
        except FolderError:  # it is told by who reads the images
            return


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
