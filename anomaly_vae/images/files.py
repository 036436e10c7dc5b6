"""Image files, found folder by folder."""

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import on_thread, patiently
from anomaly_vae.images.formats import EXTENSIONS, is_image
from anomaly_vae.images.rules import LeftOut, marked, why_no_folder, why_no_photograph
from anomaly_vae.images.slices import one_of_each
from anomaly_vae.outputs import MARKER
from anomaly_vae.remote import Remote

AT_ONCE = 2**25
"""Bytes of a file that are read into memory: several threads do so."""


class Stamp(NamedTuple):
    """By what a file is taken for unchanged: a path alone is no photograph."""

    size: int
    """In bytes."""
    mtime_ns: int
    """Time of its last change, in nanoseconds since 1970."""
    inode: int = 0
    """Number of the file on its drive; another drive, or a network, may give another one."""
    sha256: str = ""
    """Digest of its bytes in hexadecimal digits, where they were read."""

    @property
    def facts(self) -> tuple[int, int, int]:
        """What is known without reading the file."""
        return self[:3]


def stamp(path: Path) -> Stamp | None:
    """Give the stamp of a file, without its digest; None if it cannot be looked at."""
    try:
        status = path.stat()
    except (OSError, ValueError):  # the latter where a list names what no file can be called
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino)


def stamp_in_time(path: Path) -> Stamp | None:
    """Give the same; None, too, where the drive does not answer."""
    try:
        return patiently(lambda: stamp(path))
    except ImageReadError:
        return None


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal digits; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except (OSError, ValueError):
        return ""


def digest_in_time(path: Path) -> str:
    """Give the same; nothing, too, where the drive does not answer."""
    try:
        return patiently(lambda: digest(path))
    except ImageReadError:
        return ""


def whole(path: Path) -> bytes | None:
    """Give the bytes of a file; none if there are very many, or if it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(AT_ONCE + 1)
    except (OSError, ValueError):
        return None
    return data if len(data) <= AT_ONCE else None


Refused = Callable[[FolderError], None]


def find_images(
    folder: Path,
    *,
    skip: Path | None = None,
    refused: Refused | None = None,
    left_out: LeftOut | None = None,
    linked: Callable[[str], None] = lambda _: None,
) -> Iterator[str]:
    """Yield all image files below ``folder``, in the order of their path.

    The paths are relative to ``folder`` with ``/`` between the parts, in the order of their
    characters. ``skip`` and what lies below it is passed over, and so is what holds no photographs
    (see ``rules``): ``left_out`` counts it. Links to folders are followed, but no folder is
    entered twice; ``linked`` hears of each. One folder is listed at a time.

    Raises:
        FolderError: ``folder`` is missing, not a folder, or cannot be listed; or one below it
            cannot, unless ``refused`` takes the error.
    """
    left_out = LeftOut() if left_out is None else left_out
    return _Walk(folder, skip, refused, left_out, linked).all()


def list_images(
    folder: Path, *, skip: Path | None = None, left_out: LeftOut | None = None, volumes: str = ""
) -> list[str]:
    """Give all paths that ``find_images`` yields, at least one; see ``one_of_each``.

    Raises:
        FolderError: as ``find_images``, or there are none.
    """
    left_out = LeftOut() if left_out is None else left_out
    found = on_thread(find_images(folder, skip=skip, left_out=left_out))
    return list(at_least_one(one_of_each(found, volumes, left_out), folder, left_out))


def is_photograph(folder: Path, path: str) -> bool:
    """Tell of one path below ``folder`` whether ``find_images`` would yield it."""
    *above, name = path.split("/")
    place = folder
    for part in above:
        if why_no_folder(part, partial(_names, place)):
            return False
        place /= part
        if marked(place) is not None:
            return False
    return not why_no_photograph(name, partial(_names, place)) and is_image(place / name)


def at_least_one(
    paths: Iterator[str], folder: Path, left_out: LeftOut | None = None
) -> Iterator[str]:
    """Give the same paths.

    Raises:
        FolderError: at once, if there are none.
    """
    first = next(paths, None)
    if first is None:
        besides = f" ({left_out})" if left_out else ""
        raise FolderError(
            f"{folder}: holds no images{besides}; expected files such as "
            f"*{', *'.join(EXTENSIONS[:6])}"
        )

    def all_of_them() -> Iterator[str]:
        yield first
        yield from paths

    return all_of_them()


class _Walk:
    """One walk through a folder; it knows what it has entered."""

    def __init__(
        self,
        folder: Path,
        skip: Path | None,
        refused: Refused | None,
        left_out: LeftOut,
        linked: Callable[[str], None],
    ) -> None:
        self._folder, self._refused, self._left_out = folder, refused, left_out
        self._linked = linked
        self._root = _real(folder)
        self._skip = _real(skip) if skip else None
        self._entered = {self._root}

    def all(self) -> Iterator[str]:
        """Yield all paths."""
        # Whoever gives a folder that holds results means what else lies in it.
        yield from self._below(self._folder, "", self._root, marked(self._folder) or frozenset())

    def _below(
        self, folder: Path, prefix: str, real: str, own: frozenset[str] = frozenset()
    ) -> Iterator[str]:
        names = self._listed(folder, prefix)
        lower = {name.rstrip("/").lower() for name in names}
        if prefix and MARKER in lower and marked(folder) is not None:
            self._left_out.note(prefix, "written by this program")
            return
        for name in names:
            path, bare = folder / name, name.rstrip("/")
            if bare in own:
                why = "written by this program" if name != bare or is_image(path) else ""
            elif name != bare:
                where = _real(path)
                if where == self._skip:
                    continue
                is_link = where != os.path.join(real, bare)  # noqa: PTH118
                why = why_no_folder(bare, lambda: lower)
                why = why or self._why_not_again(where, linked=is_link)
                if not why:
                    self._entered.add(where)
                    if is_link:
                        self._linked(prefix + bare)
                    yield from self._below(path, prefix + name, where)
            elif is_image(path):
                why = why_no_photograph(name, lambda: lower)
                if not why:
                    yield prefix + name
            else:
                why = "a link that leads nowhere" if _leads_nowhere(path) else ""
            if why:
                self._left_out.note(prefix + name, why)

    def _listed(self, folder: Path, prefix: str) -> list[str]:
        try:
            return _listed(folder)
        except OSError as error:
            trouble = FolderError(f"{folder}: {error.strerror}; expected a folder of images")
            if self._refused is None or not prefix:
                raise trouble from error
            self._refused(trouble)
            return []

    def _why_not_again(self, real: str, *, linked: bool) -> str:
        """Say why a folder is not entered: its photographs are found elsewhere on the way."""
        if real in self._entered:
            return "a link to what was found already"
        inside = linked and real.startswith(self._root.rstrip(os.sep) + os.sep)
        parts = Path(os.path.relpath(real, self._root)).parts if inside else ()
        # What is stored in a hidden folder is only reached by its link.
        if inside and not any(why_no_folder(part, frozenset) for part in parts):
            return "a link to what is found in its own place"
        return ""


def _leads_nowhere(path: Path) -> bool:
    return path.is_symlink() and not path.exists()


def _names(folder: Path) -> set[str]:
    """Give the names in a folder, in lower case; none if it cannot be listed."""
    try:
        return {name.lower() for name in os.listdir(folder)}  # noqa: PTH208
    except OSError:
        return set()


def _real(path: Path) -> str:
    """Give a path without links; a store has none."""
    return str(path) if isinstance(path, Remote) else os.path.realpath(path)


def _listed(folder: Path) -> list[str]:
    """Give the sorted names in a folder.

    A folder stands as "name/", which makes the walk yield whole paths in sorted order.
    """
    if isinstance(folder, Remote):
        return folder.names()
    with os.scandir(folder) as listing:
        return sorted(entry.name + ("/" if _is_folder(entry) else "") for entry in listing)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


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
