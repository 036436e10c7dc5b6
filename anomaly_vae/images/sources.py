"""Which images are inspected: those of a folder, or those that a list names."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from anomaly_vae.errors import FolderError
from anomaly_vae.images.ahead import on_thread
from anomaly_vae.images.files import Counting, at_least_one, find_images
from anomaly_vae.images.levels import said_narrow
from anomaly_vae.images.lists import Listed, is_list
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.images.slices import one_of_each
from anomaly_vae.progress import Total
from anomaly_vae.remote import Remote
from anomaly_vae.texts import lines_of, named


@dataclass
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
    left_out: LeftOut = field(default_factory=LeftOut)
    """What was passed over so far, since it holds no photographs."""
    narrow: list[str] = field(default_factory=list)
    """Photographs that use little of their range so far."""
    listed: Listed | None = None
    """The list that names them."""

    def has_at_most(self, count: int) -> bool:
        """Tell whether there are so many images, or fewer; finds that many."""
        first = list(islice(self.paths, count + 1))
        self.paths = chain(first, self.paths)
        return len(first) <= count

    def count(self) -> int | None:
        """Give how many images there are, as far as that is known by now."""
        return self.total() if callable(self.total) else self.total

    def first(self) -> str:
        """Give the first path, which stays the first."""
        path = next(self.paths)
        self.paths = chain([path], self.paths)
        return path

    def group(self, volumes: str) -> None:
        """Let the first file of each stack stand for all of its slices; see ``one_of_each``."""
        if volumes:
            self.paths = one_of_each(self.paths, volumes, self.left_out)
            self.paths = at_least_one(self.paths, self.folder, self.left_out)
            self.name, self.total = f"{self.name}, stacks by {volumes}", lambda: None

    @property
    def notes(self) -> list[str]:
        """What a person should know of the images so far, each a line."""
        left_out = str(self.left_out) if self.left_out else ""
        listed = self.listed.notes if self.listed else []
        return [note for note in (left_out, *listed, said_narrow(self.narrow)) if note]


def images_below(folder: Path, *, skip: Path | None = None) -> Source:
    """Give the images below a folder; ``skip`` and what lies below it is left out.

    Raises:
        FolderError: ``folder`` is missing or holds no images.
    """
    unlisted: list[FolderError] = []
    left_out = LeftOut()
    paths = find_images(folder, skip=skip, refused=unlisted.append, left_out=left_out)
    some = at_least_one(on_thread(paths), folder, left_out)
    count = Counting(folder, skip=skip)
    return Source(str(folder.resolve()), folder, some, count, unlisted, left_out)


def images_at(places: Sequence[Path], *, skip: Path | None = None) -> Source:
    """Give the images of a folder or a list, or of files and folders as they are named.

    Raises:
        FolderError: one is missing, or all of them hold no images.
    """
    alone = next((each for each in places if isinstance(each, Remote) or is_list(each)), None)
    if alone is not None and len(places) > 1:
        raise FolderError(f"{alone}: stands beside other places; expected it alone")
    if alone is not None and is_list(alone):
        return images_in_list(alone)
    if len(places) == 1 and (alone is not None or not places[0].is_file()):
        return images_below(places[0], skip=skip)
    missing = next((each for each in places if not each.exists()), None)
    if missing:
        raise FolderError(f"{missing}: is not there; expected photographs, or folders of them")
    unlisted: list[FolderError] = []

    def below(place: Path) -> Iterator[str]:
        if place.is_file():
            return iter([place.as_posix()])
        found = find_images(place, skip=skip, refused=unlisted.append)
        return ((place / path).as_posix() for path in found)

    found = (path for place in places for path in below(place))
    paths = at_least_one(on_thread(found), places[0])
    total = len(places) if all(each.is_file() for each in places) else None
    here = Path()
    return Source(f"files, in {here.resolve()}", here, paths, lambda: total, unlisted)


def images_in_list(file: Path) -> Source:
    """Give the images that a list names, relative to its folder; see ``Listed``.

    Raises:
        FolderError: it cannot be read, or names none.
    """
    folder, listed = file.parent, Listed(file)
    paths = on_thread(listed.first_ones())
    return Source(f"a list, in {folder.resolve()}", folder, paths, lambda: None, listed=listed)


def images_named(pieces: Iterable[bytes]) -> Source:
    """Give the images that the lines of a text name, relative to the working folder.

    Empty lines are skipped; see ``texts`` for what else a line may be.

    Raises:
        FolderError: it names none.
    """
    here = Path()
    paths = (path for line in lines_of(pieces) if (path := named(line, here)))
    first = next(paths, None)
    if first is None:
        raise FolderError("standard input: names no images; expected a path on each line")
    return Source(f"a list, in {here.resolve()}", here, chain([first], paths), lambda: None)
