"""What would be found: defects drawn onto good photographs that the models have not seen.

Letters: N photographs, H x W pixels of one.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice, product
from pathlib import Path
from typing import overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.sensitivity import Sensitivity, sensitivity
from anomaly_vae.errors import CalibrationError, ImageReadError
from anomaly_vae.images.ahead import patiently
from anomaly_vae.images.decoding import decode_image, load_picture
from anomaly_vae.images.drawn import AS_THEY_ARE, KINDS, Drawn, Wish, draw_defects
from anomaly_vae.images.part import Inspected, Part, Pixels, measure_part
from anomaly_vae.images.reading import Make, with_digest
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.sensitivity import Example, example
from anomaly_vae.settings.images import ImageSettings

Scores = Callable[[Sequence[Pixels], int], NDArray[np.floating]]
"""Gives the scores, [N], of photographs, uint8 [H, W, 3] each, by the model of a fold, which has
seen none of them."""

_BATCH_BYTES = 2**26


class Photographs(Sequence[Pixels]):
    """Photographs at their own size, uint8 RGB [H, W, 3] each, decoded when they are asked for.

    Raises:
        ImageReadError: when asked for one whose file has no longer the bytes of its SHA-256.
    """

    def __init__(
        self, folder: Path, paths: Sequence[str], digests: Sequence[str], settings: ImageSettings
    ) -> None:
        self.folder, self.paths, self.digests = folder, paths, digests
        self.settings = settings

    def __len__(self) -> int:
        return len(self.paths)

    @overload
    def __getitem__(self, place: int) -> Pixels: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Pixels]: ...

    def __getitem__(self, place: int | slice) -> Pixels | Sequence[Pixels]:
        if isinstance(place, slice):
            return Photographs(self.folder, self.paths[place], self.digests[place], self.settings)
        path = self.folder / self.paths[place]
        try:
            pixels, sha256 = patiently(lambda: with_digest(path, self._decoded(path)))
        except ImageReadError as error:
            raise ImageReadError(f"{path}: {error}") from error
        if sha256 != self.digests[place]:
            raise ImageReadError(f"{path}: is another photograph than before")
        return pixels

    def _decoded(self, path: Path) -> Make[Pixels]:
        return lambda data: np.asarray(decode_image(path, self.settings, data=data))


def squares(pictures: Sequence[Pixels], settings: ImageSettings) -> Pixels:
    """Give what a model sees of photographs, uint8 [N, S, S, 3]."""
    loaded = [load_picture(Image.fromarray(each), settings).pixels for each in pictures]
    return np.stack(loaded)


@dataclass(frozen=True)
class DrawnSettings:
    """Which defects are drawn, and how many."""

    sizes: tuple[float, ...] = (0.02, 0.04, 0.08, 0.16)
    """Diameters of the circle of the same area, as shares of the size of the part: the side of the
    square of the same area."""
    contrasts: tuple[float, ...] = (1 / 8, 1 / 4, 1 / 2)
    """Mean changes, as shares of the range of the part's grey levels (5th to 95th percentile)."""
    kinds: tuple[str, ...] = KINDS
    each: int = 2
    """Defects of each kind, size and contrast."""
    on_one: int = 2
    """Defects for which a photograph is decoded once, if there are more photographs than needed."""


def measure(
    photographs: Sequence[Pixels],
    fold_of: NDArray[np.integer],
    scores: Scores,
    limits: Threshold,
    settings: DrawnSettings = DrawnSettings(),
    *,
    seed: int,
    inspected: Inspected | None = None,
    track: Track = untracked,
) -> tuple[Sensitivity, list[Example]]:
    """Draw defects onto good photographs, score them, and count what is found at the limits.

    ``photographs`` give uint8 RGB [H, W, 3] when they are asked for, and need not lie in memory.
    ``fold_of``, [N], is the fold whose model has not seen a photograph, or -1 where all have; only
    such are drawn on that one has not seen. Give -1 for photographs that do not pass by themselves,
    too: a defect on them would be found without being seen. ``inspected`` restricts where.

    Gives the shares, and a small picture of each drawn defect.

    Raises:
        FolderError: the photographs show no part.
        CalibrationError: there is none to draw on, or nothing could be drawn.
    """
    part = measure_part(photographs, inspected)
    wishes = plan(part, fold_of, settings, seed=seed)
    drawn = draw_defects(photographs, part, wishes, seed=seed, inspected=inspected)
    done: list[Example] = []
    for fold, batch in _batches(track(drawn, "Drawing defects", len(wishes)), fold_of):
        given = scores([each.image for each in batch], fold)
        done += [
            example(each, *_classes(each, part, settings), score=float(score))
            for each, score in zip(batch, given, strict=True)
        ]
    found = sensitivity(
        [each.scored for each in done],
        limits.score,
        limits.review,
        photographs=len({wish.photograph for wish in wishes}),
        left_out=len(wishes) - len(done),
        part=str(part),
    )
    return found, done


def plan(
    part: Part, fold_of: NDArray[np.integer], settings: DrawnSettings, *, seed: int
) -> list[Wish]:
    """Say which defects are to be drawn onto which photographs, those of a fold together.

    Raises:
        CalibrationError: the models have seen all of the photographs.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, 0)))
    unseen = rng.permutation(np.flatnonzero(np.asarray(fold_of) >= 0))
    if not len(unseen):
        raise CalibrationError(
            f"all {len(fold_of)} photographs were seen by the models; expected some that were not"
        )
    sizes, contrasts = _sizes(part, settings), _contrasts(part, settings)
    every = [*product(settings.kinds, sizes, contrasts)] * settings.each
    on = unseen[: math.ceil(len(every) / settings.on_one)]
    wishes = [
        Wish(
            int(on[place % len(on)]), kind, size, contrasts[0] if kind in AS_THEY_ARE else contrast
        )
        for place, (kind, size, contrast) in zip(rng.permutation(len(every)), every, strict=True)
    ]
    return sorted(wishes, key=lambda wish: (fold_of[wish.photograph], wish.photograph))


def _sizes(part: Part, settings: DrawnSettings) -> list[float]:
    return [max(1.0, share * part.size) for share in settings.sizes]


def _contrasts(part: Part, settings: DrawnSettings) -> list[float]:
    return [max(2.0, share * part.levels) for share in settings.contrasts]


def _classes(drawn: Drawn, part: Part, settings: DrawnSettings) -> tuple[float, float]:
    """Give size and contrast as they were wished; the contrast that a patch has of itself, too."""
    if drawn.wish.kind not in AS_THEY_ARE:
        return drawn.wish.size, drawn.wish.contrast
    near = min(_contrasts(part, settings), key=lambda each: abs(math.log(drawn.contrast / each)))
    return drawn.wish.size, near


def _batches(
    drawn: Iterator[Drawn], fold_of: NDArray[np.integer]
) -> Iterator[tuple[int, list[Drawn]]]:
    """Put drawn photographs of one fold and one size together, some at a time."""

    def alike(each: Drawn) -> tuple[int, tuple[int, ...]]:
        return int(fold_of[each.wish.photograph]), each.image.shape

    for (fold, shape), some in groupby(drawn, alike):
        while batch := list(islice(some, max(1, _BATCH_BYTES // math.prod(shape)))):
            yield fold, batch
