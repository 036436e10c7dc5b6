"""Which images are inspected: those of a folder, or those that a list names."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import Counting, at_least_one, find_images
from anomaly_vae.progress import Total


@dataclass(frozen=True)
class Source:
    """Images, in an order, that are found while they are inspected."""

    name: str
    """What stays the same when an inspection is gone on with."""
    folder: Path
    paths: Iterator[str]
    """Relative to ``folder``, or absolute, with ``/``."""
    total: Total
    unlisted: list[FolderError] = field(default_factory=list)
    """Folders that could not be listed so far: their images are missing."""


def images_below(folder: Path, *, skip: Path | None = None) -> Source:
    """Give the images below a folder; ``skip`` and what lies below it is left out.

    Raises:
        FolderError: ``folder`` is missing or holds no images.
    """
    unlisted: list[FolderError] = []
    paths = find_images(folder, skip=skip, refused=unlisted.append)
    count = Counting(folder, skip=skip)
    return Source(str(folder.resolve()), folder, at_least_one(paths, folder), count, unlisted)


def images_named(lines: Iterable[bytes]) -> Source:
    """Give the images that lines name, relative to the working folder; empty lines are skipped."""
    paths = (Path(os.fsdecode(line)).as_posix() for line in map(bytes.strip, lines) if line)
    here = Path()
    return Source(f"a list, in {here.resolve()}", here, paths, lambda: None)
