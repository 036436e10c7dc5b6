"""Photographs moved into folders by their verdict: each by its own, and none lost on the way.

A path is no photograph: a camera may have put another one there since. So a file is first given a
name of its own, ``.ID.moving``, by a rename, which takes whatever is there in one step; then it is
made sure that it is the one that was judged. From one drive to another it is copied first. Killed
anywhere, the same steps done again come to the same end.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from anomaly_vae.images.files import digest, stamp
from anomaly_vae.outputs import sync_folder
from anomaly_vae.reporting.journal import Done

_CHUNK = 2**20


class Mover:
    """Moves photographs from ``folder`` to below ``move_to``; ``warned`` hears of troubles."""

    def __init__(self, folder: Path, move_to: Path, warned: Callable[[str], None]) -> None:
        self._folder, self._move_to, self._warned = folder, move_to, warned

    def move(self, done: Done) -> None:
        """Move a photograph below its verdict, if it is still there; one of that name keeps it.

        Raises:
            OSError: the target has no room, or cannot be written; the photograph stays.
        """
        if done.stamp is None:  # what was never read is judged again
            return
        source, target = self._folder / done.path, self._move_to / done.verdict / done.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.parent.is_dir() and _drive(source.parent) != _drive(target.parent):
            self._to_another_drive(done, source, target)
            return
        taken = target.with_name(f".{done.id}.moving")
        if not taken.exists() and _is_as_judged(source, done):
            source.rename(taken)
        if taken.exists():
            if _holds_what_was_judged(taken, done):
                _place(taken, target)
            else:
                self._give_back(taken, source)

    def _to_another_drive(self, done: Done, source: Path, target: Path) -> None:
        """The same in two steps; the copy gets its name last, when the original is gone."""
        taken = source.with_name(f".{done.id}.moving")
        copy = target.with_name(f".{done.id}.copy")
        if not taken.exists() and _is_as_judged(source, done) and _copied(source, copy, done):
            source.rename(taken)
        if taken.exists():
            if not _holds_what_was_judged(taken, done):
                self._give_back(taken, source)
            elif _copied(taken, copy, done):
                taken.unlink()
                sync_folder(taken.parent)
        if _holds_what_was_judged(copy, done):
            _place(copy, target)
        else:
            copy.unlink(missing_ok=True)

    def _give_back(self, taken: Path, source: Path) -> None:
        """Put a photograph that was taken for another one back, to be judged itself."""
        self._warned(f"{source}: was replaced before it could be moved; the new one is judged too")
        _place(taken, source)


def _drive(folder: Path) -> int:
    return folder.stat().st_dev


def _is_as_judged(path: Path, done: Done) -> bool:
    """Whether a file seems to be the one that was judged."""
    seen = stamp(path)
    return seen is not None and done.stamp is not None and seen.facts == done.stamp.facts


def _holds_what_was_judged(path: Path, done: Done) -> bool:
    """Whether a file has the very bytes that were judged; or none could be read, as then."""
    return done.stamp is not None and path.exists() and digest(path) == done.stamp.sha256


def _copied(source: Path, copy: Path, done: Done) -> bool:
    """Make sure that there is a whole copy on the disk; gives whether it is what was judged."""
    if _holds_what_was_judged(copy, done):
        return True
    sha256 = hashlib.sha256()
    try:
        with source.open("rb") as read, copy.open("wb") as written:
            while chunk := read.read(_CHUNK):
                sha256.update(chunk)
                written.write(chunk)
            written.flush()
            os.fsync(written.fileno())
    except OSError:
        copy.unlink(missing_ok=True)
        raise
    return done.stamp is not None and sha256.hexdigest() == done.stamp.sha256


def _place(path: Path, target: Path) -> None:
    """Give a file its name, or that with a number where it is taken."""
    number, free = 1, target
    while free.exists():
        number += 1
        free = target.with_name(f"{target.stem}-{number}{target.suffix}")
    path.rename(free)
    sync_folder(free.parent)
