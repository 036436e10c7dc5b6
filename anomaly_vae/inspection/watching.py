"""Following a folder: images are inspected as soon as they are completely written.

The system tells of changes (inotify, FSEvents, ReadDirectoryChangesW, by the library watchdog);
network drives tell nothing, and are looked at every second instead.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.polling import PollingObserver

from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import EXTENSIONS, Stamp, find_images, stamp

# Seconds for which a file must not have changed. Cameras write in one go; what is copied through
# a network may pause.
SETTLED = 0.3
_LOOK = 0.05
# Seconds for which a file that cannot be decoded is taken for one that is still being written.
_UNFINISHED = 5.0


class Arrivals(FileSystemEventHandler):
    """The images below a folder that are there, and those that come; use it with ``with``.

    Raises:
        FolderError: ``folder`` is missing, or cannot be watched.
    """

    def __init__(self, folder: Path, *, skip: Path | None = None, polling: bool = False) -> None:
        self._folder, self._skip = folder, skip.resolve() if skip else None
        self._told: SimpleQueue[str] = SimpleQueue()
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

    def on_any_event(self, event: FileSystemEvent) -> None:
        """Called by watchdog, on a thread of its own."""
        if not event.is_directory and event.event_type in ("created", "modified", "moved"):
            self._told.put(str(event.dest_path or event.src_path))

    def again(self, path: str) -> bool:
        """Wait for the image at ``path`` once more, if it is so new that it may be unfinished."""
        seen = stamp(self._folder / path)
        if seen is None or abs(time.time() - seen.mtime_ns / 1e9) > _UNFINISHED:
            return False
        self._told.put(str(self._folder / path))
        return True

    def batches(self, idle: float | None = None) -> Iterator[list[str]]:
        """Yield the paths of images that have settled; first those that are there already.

        They are relative to the folder, with ``/``. Ends after ``idle`` seconds without any.

        Raises:
            FolderError: the folder cannot be listed.
        """
        unsettled: dict[str, tuple[Stamp | None, float]] = {}
        for path in find_images(self._folder, skip=self._skip, refused=lambda _: None):
            unsettled[path] = stamp(self._folder / path), 0.0
        last = time.monotonic()
        while idle is None or time.monotonic() - last < idle or unsettled:
            self._take_news(unsettled)
            ready = self._settled(unsettled)
            if ready:
                yield ready
                last = time.monotonic()
            time.sleep(_LOOK)

    def _take_news(self, unsettled: dict[str, tuple[Stamp | None, float]]) -> None:
        """Note every image that the system has told of since."""
        while True:
            try:
                path = Path(self._told.get_nowait())
            except Empty:
                return
            inside = self._skip is None or self._skip not in path.resolve().parents
            if inside and path.name.lower().endswith(EXTENSIONS):
                name = path.relative_to(self._folder).as_posix()
                unsettled[name] = stamp(path), time.monotonic()

    def _settled(self, unsettled: dict[str, tuple[Stamp | None, float]]) -> list[str]:
        """Take out the images that have not changed for long enough."""
        now, ready = time.monotonic(), []
        for name, (known, since) in list(unsettled.items()):
            seen = stamp(self._folder / name)
            if seen is None:  # it has been moved away, or deleted
                del unsettled[name]
            elif seen != known:
                unsettled[name] = seen, now
            elif now - since >= SETTLED:
                ready.append(name)
                del unsettled[name]
        return sorted(ready)
