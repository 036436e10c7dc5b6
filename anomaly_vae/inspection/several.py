"""Several models for the same photographs, each of which is read once.

It is decoded once for all models that see alike (size, fit, filter, levels), and otherwise once for
each way of seeing. The models take turns: one works at a time, on all cores or on its card, while
the photographs of the next turn are decoded.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

from anomaly_vae.errors import ImageReadError, InputError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector, Shown
from anomaly_vae.inspection.reading import Read, read_known
from anomaly_vae.remote import at
from anomaly_vae.settings.images import ImageSettings

Wanted = tuple[str, Sequence[int]]
"""A path, and the numbers of the models that are to judge it."""
Seen = dict[int, Read] | ImageReadError
"""A file as it is read for each way of seeing, by number; or why it cannot be."""
_BATCHES = 4  # of a model, in a turn: what ends with a part of a batch is little of it then


class Ways:
    """The ways in which models see: those that see alike share one."""

    def __init__(self, settings: Sequence[ImageSettings]) -> None:
        self._different = list(dict.fromkeys(settings))
        self._ways = [self._different.index(each) for each in settings]

    def of(self, number: int) -> int:
        """Give the number of the way in which a model sees."""
        return self._ways[number]

    def read(self, folder: Path, each: Wanted) -> dict[int, Read]:
        """Read a file below ``folder`` once, and decode it in each way that it is wanted."""
        path, numbers = each
        ways = sorted({self.of(number) for number in numbers})
        reads = read_known(at(folder, path), path, [self._different[way] for way in ways])
        return dict(zip(ways, reads, strict=True))


class Several:
    """Models with different names; ``route`` may say which of them judges a photograph.

    It is a regular expression: what it finds in the path, or its first group there, is the name of
    the model. Without, all of them judge each photograph.

    Raises:
        InputError: two models have one name, or ``route`` is no regular expression.
    """

    alone = True
    """Whether a single model may as well work without the others: it need take no turns."""

    def __init__(self, inspectors: Sequence[Inspector], route: str = "") -> None:
        self.inspectors, self.routed = list(inspectors), bool(route)
        self._numbers = {each.name: number for number, each in enumerate(inspectors)}
        if len(self._numbers) < len(self.inspectors):
            names = [each.name for each in inspectors]
            twice = next(name for name in names if names.count(name) > 1)
            raise InputError(
                f"two models are called {twice!r}; expected different names: of their files, or of "
                "the run folders of 'model.onnx'"
            )
        try:
            self._route = re.compile(route)
        except re.error as error:
            raise InputError(f"--route {route!r}: not a regular expression: {error}") from error
        self.strays: list[str] = []
        """Paths so far in which ``route`` found the name of no model."""
        self.ways = Ways([each.card.images for each in inspectors])

    def judges(self, path: str) -> Sequence[int]:
        """Give the numbers of the models that judge a photograph; a stray one has none."""
        if not self.routed:
            return range(len(self.inspectors))
        found = self._route.search(path)
        name = found.group(1 if found.groups() else 0) if found else None
        if name not in self._numbers:
            self.strays.append(path)
            return []
        return [self._numbers[name]]

    def inspect_files(
        self, folder: Path, wanted: Iterable[Wanted], shown: Sequence[Shown]
    ) -> Iterator[tuple[int, Finding]]:
        """Inspect files below ``folder``; gives each finding with the number of its model.

        Of each model they come in the order of the files. ``shown`` has a function for each model;
        see ``Inspector.inspect_read``.
        """
        turn = _BATCHES * max(each.batch_size for each in self.inspectors)
        workers = max(each.workers for each in self.inspectors)
        reading = read_ahead(
            wanted, partial(self.ways.read, folder), workers=workers, ahead=turn + workers
        )
        with closing(reading):
            while part := list(islice(reading, turn)):
                yield from self.judge(part, shown)

    def judge(
        self, part: Sequence[tuple[Wanted, Seen]], shown: Sequence[Shown]
    ) -> Iterator[tuple[int, Finding]]:
        """Say what the models find in files that have been read: one model after the other."""
        for number, inspector in enumerate(self.inspectors):
            for finding in inspector.inspect_read(self._of(number, part), shown[number]):
                yield number, finding

    def _of(self, number: int, part: Sequence[tuple[Wanted, Seen]]) -> Iterator[Read]:
        """Give what a model is to judge."""
        for (path, numbers), result in part:
            if number not in numbers:
                continue
            if isinstance(result, ImageReadError):
                yield Read(path, None, result)
            else:
                yield result[self.ways.of(number)]
