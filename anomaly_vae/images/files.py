"""Image files, found folder by folder."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from anomaly_vae.errors import FolderError

EXTENSIONS = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


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
