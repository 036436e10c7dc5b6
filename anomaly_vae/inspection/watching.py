"""Following a folder: images are inspected as soon as they are completely written.

The system tells of changes (inotify, FSEvents, ReadDirectoryChangesW, by the library watchdog);
network drives tell nothing, and are looked at every second instead.
"""

import logging
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import TypeVar

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from anomaly_vae.errors import FolderError
from anomaly_vae.images.ahead import PATIENCE, patiently
from anomaly_vae.images.files import Stamp, find_images, is_photograph, stamp, stamp_in_time
from anomaly_vae.images.rules import LeftOut

T = TypeVar("T")

# Seconds for which a file must not have changed. Cameras write in one go; what is copied through
# a network may pause.
SETTLED = 0.3
_LOOK = 0.05
# Seconds for which a file that cannot be decoded is taken for one that is still being written.
_UNFINISHED = 5.0
# Seconds between two looks at the whole folder: the system may have lost what it had to tell. It is
# looked at less often where that takes long.
_LIST_AGAIN, _LISTING_SHARE = 120.0, 0.05
_TICK = 5.0  # seconds after which there is a batch, be it empty


class Arrivals(FileSystemEventHandler):
    """The images below a folder that are there, and those that come; use it with ``with``.

    ``warned`` hears of folders that cannot be listed.

    Raises:
        FolderError: ``folder`` is missing, or cannot be watched.
    """

    def __init__(
        self,
        folder: Path,
        *,
        skip: Path | None = None,
        polling: bool = False,
        warned: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._folder, self._skip = folder, skip.resolve() if skip else None
        self._warned = warned
        self.unlisted: dict[str, FolderError] = {}
        """Folders that could not be listed the last time: their images are missing."""
        self.is_known: Callable[[str], bool] = lambda _: False
        """Whether the image that is at a path now was yielded before, and needs no more."""
        self._told: SimpleQueue[str] = SimpleQueue()
        self._unsettled: dict[str, tuple[Stamp | None, float]] = {}
        # Where links lead, and where they are: the system tells of the former.
        self._followed: dict[Path, str] = {}
        self._lost = _Lost()
        self.left_out = LeftOut()
        """What was passed over of what was there, since it holds no photographs."""
        self._observer = PollingObserver() if polling else Observer()
        try:
            self._observer.schedule(self, str(folder), recursive=True)
            self._observer.start()
        except OSError as error:
            raise FolderError(
                f"{folder}: cannot be watched ({error.strerror}); expected a folder, or give "
                "--polling"
            ) from error

    def __enter__(self) -> "Arrivals":
        return self

    def __exit__(self, *_: object) -> None:
        self._observer.stop()
        self._observer.join()
        self._lost.close()

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog, on a thread of its own."""
        if not event.is_directory and event.event_type in ("created", "modified", "moved"):
            self._told.put(str(event.dest_path or event.src_path))

    def again(self, path: str) -> bool:
        """Wait for the image at ``path`` once more, if it is so new that it may be unfinished."""
        seen = stamp_in_time(self._folder / path)
        if seen is None or abs(time.time() - seen.mtime_ns / 1e9) > _UNFINISHED:
            return False
        self._told.put(str(self._folder / path))
        return True

    def batches(self, idle: float | None = None) -> Iterator[list[str]]:
        """Yield the paths of images that have settled; first those that are there already.

        They are relative to the folder, with ``/``. Now and then there are none. Ends after
        ``idle`` seconds without any.

        Raises:
            FolderError: the folder cannot be listed.
        """
        following = self._answered(partial(self._list, lambda _: False))
        last = yielded = time.monotonic()
        while idle is None or time.monotonic() - last < idle or self._unsettled:
            following, ready = self._answered(partial(self._look, following))
            if ready or time.monotonic() - yielded > _TICK:
                yield ready
                yielded = time.monotonic()
                last = yielded if ready else last
            time.sleep(_LOOK)

    def _answered(self, look: Callable[[], T]) -> T:
        """Look at the drive; where it stalls, say so, and wait for it: Ctrl-C ends that."""
        silent = f"{self._folder}: its drive has not answered for {PATIENCE:g} seconds; waiting"
        return patiently(look, stalled=lambda: self._warned(silent))

    def _look(self, following: float) -> tuple[float, list[str]]:
        """Give when to list everything again, and the images that have settled."""
        self._take_news()
        if self._lost.happened() or time.monotonic() > following:
            following = self._list(self.is_known)
        return following, self._settled()

    def _list(self, is_known: Callable[[str], bool]) -> float:
        """Note all images that are there, but for those known; gives when to do so again."""
        begin, refused = time.monotonic(), list[FolderError]()
        self.left_out = LeftOut()
        there = find_images(
            self._folder,
            skip=self._skip,
            refused=refused.append,
            left_out=self.left_out,
            linked=self._follow,
        )
        for path in there:
            if path not in self._unsettled and not is_known(path):
                self._unsettled[path] = stamp(self._folder / path), begin
        before, self.unlisted = self.unlisted, {str(error): error for error in refused}
        for error in self.unlisted.keys() - before.keys():
            self._warned(f"{error}; its images are not inspected")
        now = time.monotonic()
        return now + max(_LIST_AGAIN, (now - begin) / _LISTING_SHARE)

    def _follow(self, linked: str) -> None:
        """Hear of what changes behind a link, too: the system tells of folders, not of links."""
        place = (self._folder / linked).resolve()
        if place not in self._followed:
            self._followed[place] = linked
            try:
                self._observer.schedule(self, str(place), recursive=True)
            except OSError as error:
                self._warned(
                    f"{self._folder / linked}: cannot be watched ({error.strerror}); it is listed "
                    f"every {_LIST_AGAIN:g} seconds"
                )

    def _take_news(self) -> None:
        """Note every image that the system has told of since."""
        while True:
            try:
                path = Path(self._told.get_nowait())
            except Empty:
                return
            inside = self._skip is None or self._skip not in path.resolve().parents
            name = self._named(path)
            if inside and is_photograph(self._folder, name):
                self._unsettled[name] = stamp(path), time.monotonic()

    def _named(self, path: Path) -> str:
        """Give the path that a file has in the folder, perhaps behind a link."""
        for place in path.parents:
            if place in self._followed:
                return f"{self._followed[place]}/{path.relative_to(place).as_posix()}"
        return path.relative_to(self._folder).as_posix()

    def _settled(self) -> list[str]:
        """Take out the images that have not changed for long enough."""
        now, ready = time.monotonic(), []
        for name, (known, since) in list(self._unsettled.items()):
            seen = stamp(self._folder / name)
            if seen is None:  # it has been moved away, or deleted
                del self._unsettled[name]
            elif seen != known:
                self._unsettled[name] = seen, now
            elif now - since >= SETTLED:
                ready.append(name)
                del self._unsettled[name]
        return sorted(ready)


class _Lost(logging.Handler):
    """Hears what watchdog logs when the system had more to tell than it could keep."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._happened, self._logger = Event(), logging.getLogger("watchdog")
        self._logger.addHandler(self)

    def emit(self, _record: logging.LogRecord) -> None:
        """Remember it."""
        self._happened.set()

    def happened(self) -> bool:
        """Whether anything was lost since this was asked last."""
        lost = self._happened.is_set()
        self._happened.clear()
        return lost

    def close(self) -> None:
        """Hear no more."""
        self._logger.removeHandler(self)
        super().close()
