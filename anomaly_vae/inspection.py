"""Inspection of image folders with a ``model.onnx``: ONNX Runtime, no torch.

Letters: N images of a batch, S x S pixels of the square, h x w map.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice, repeat
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import LoadedImage, load_image
from anomaly_vae.profile import GoodProfile, good_profile
from anomaly_vae.reading import Stamp, read_ahead, stamp
from anomaly_vae.regions import Region, find_regions
from anomaly_vae.runtime import Device, LoadedModel, Outputs, Row

Verdict = Literal["pass", "review", "fail", "error"]

# Seconds: longer than a busy drive takes, shorter than a shift.
READING_PATIENCE = 60.0

Shown = Callable[[float], bool]
"""Whether anybody will look at the anomaly map of an image that passes with this score."""


def always(_score: float) -> bool:
    """Somebody will."""
    return True


@dataclass(frozen=True)
class Finding:
    """What inspection found out about one file."""

    path: str
    """Relative to the inspected folder, with ``/``."""
    verdict: Verdict
    error: str = ""
    """Why the file could not be inspected."""
    score: float = math.nan
    reconstruction_error: float = math.nan
    kl: float = math.nan
    p_value: float = math.nan
    """Share of held-out good images at least as unusual; see ``GoodProfile.p_value``."""
    quality: str = ""
    """In what the photograph itself is unlike all good ones."""
    regions: tuple[Region, ...] = ()
    image: LoadedImage | None = None
    anomaly_map: NDArray[np.float32] | None = None
    """[h, w]; None where nobody looks at it."""
    stamp: Stamp | None = None
    """Of the file, when it was read."""


class Read(NamedTuple):
    """A file, decoded if that was possible."""

    path: str
    stamp: Stamp | None
    image: LoadedImage | ImageReadError


class Inspector:
    """A model, ready to inspect images on one device.

    Defect regions below ``min_area`` (square pixels of the photograph) are left out, which changes
    no verdict: see ``find_regions``.

    Raises:
        ModelFileError: the file is not a model of this program, or is damaged.
        DeviceError: the device asked for cannot run it.
    """

    def __init__(
        self,
        model: Path,
        *,
        device: Device = "auto",
        batch_size: int | None = None,
        workers: int | None = None,
        min_area: float = 0.0,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.model = LoadedModel(model, device, batch_size, told)
        self.model_id, self.card = self.model.model_id, self.model.card
        self.provider, self.batch_size = self.model.provider, self.model.batch_size
        self.workers = workers or max(1, min(8, os.cpu_count() or 1))
        self.min_area = min_area

    def run(self, images: NDArray[np.uint8]) -> Outputs:
        """Score images, uint8 [N, S, S, 3] RGB."""
        return self.model.score(images)

    def expected(self, image: LoadedImage) -> NDArray[np.uint8] | None:
        """Give what the model expects to see, [S, S, 3]; None if it cannot draw."""
        return self.model.draw(image.pixels[None])[0] if self.model.draws else None

    def inspect(
        self, folder: Path, paths: Iterable[str], shown: Shown = always
    ) -> Iterator[Finding]:
        """Inspect the files at ``paths`` below ``folder``, in their order.

        Files are decoded on threads while the model runs. One that cannot be read gives a
        finding with the verdict ``error``; it never stops the run.
        """

        def load(path: str) -> Read:
            seen = stamp(folder / path)
            try:
                return Read(path, seen, load_image(folder / path, self.card.images))
            except ImageReadError as error:
                return Read(path, seen, error)

        ahead = (1 + self.model.at_once) * self.batch_size + self.workers
        reading = read_ahead(
            paths, load, workers=self.workers, ahead=ahead, patience=READING_PATIENCE
        )
        with closing(reading):
            read = (
                Read(path, None, result) if isinstance(result, ImageReadError) else result
                for path, result in reading
            )
            yield from self.inspect_read(read, shown)

    def inspect_read(self, files: Iterable[Read], shown: Shown = always) -> Iterator[Finding]:
        """Inspect files that have been read, in their order.

        Of those that pass, only those ``shown`` come with their map.
        """
        at_once, sizes, read = self.model.at_once, self._batch_sizes(), iter(files)
        with ThreadPoolExecutor(at_once, "model") as runner:
            # While the model runs on some batches, what it said of the one before is worked on.
            waiting: deque[tuple[list[Read], Future[Outputs | None]]] = deque()
            while batch := list(islice(read, next(sizes))):
                waiting.append((batch, runner.submit(self._outputs, batch)))
                if len(waiting) > at_once:
                    yield from self._judge(*waiting.popleft(), shown)
            while waiting:
                yield from self._judge(*waiting.popleft(), shown)

    def _batch_sizes(self) -> Iterator[int]:
        """Begin small on a CPU, so that the first results are there at once."""
        if self.model.on_cpu:
            yield from (size for size in (1, 2, 4) if size < self.batch_size)
        yield from repeat(self.batch_size)

    def _outputs(self, batch: Sequence[Read]) -> Outputs | None:
        """Run the model on the images of a batch, if there are any."""
        images = [each.image.pixels for each in batch if isinstance(each.image, LoadedImage)]
        return self.run(np.stack(images)) if images else None

    def _judge(
        self, batch: Sequence[Read], outputs: "Future[Outputs | None]", shown: Shown
    ) -> Iterator[Finding]:
        given = outputs.result()
        rows = given.rows() if given else iter(())
        for path, seen, image in batch:
            if isinstance(image, ImageReadError):
                yield Finding(path, "error", error=str(image), stamp=seen)
            else:
                yield replace(self.judge(path, image, next(rows), shown), stamp=seen)

    def judge(self, path: str, image: LoadedImage, row: Row, shown: Shown = always) -> Finding:
        """Say what the model's outputs for one image mean."""
        if not row.finite:
            return Finding(path, "error", error="the model gave a value that is not a number")
        score, limit, good = row.score, self.card.threshold, self.card.good
        quality = good.objections(image) if good else ""
        verdict = limit.verdict(score)
        anomaly_map = row.anomaly_map() if verdict != "pass" or shown(score) else None
        regions: list[Region] = []
        if verdict != "pass" and anomaly_map is not None:
            regions = find_regions(anomaly_map, image, limit.anomaly_map, self.min_area)
        return Finding(
            path,
            # A defect may look like a bad photograph: it is not let pass, and keeps its score.
            verdict="review" if quality and verdict == "pass" else verdict,
            score=score,
            reconstruction_error=row.reconstruction_error,
            kl=row.kl,
            p_value=good.p_value(score) if good else math.nan,
            quality=quality,
            regions=tuple(regions),
            image=image,
            anomaly_map=anomaly_map,
        )


def map_maxima(findings: Sequence[Finding]) -> NDArray[np.float64]:
    """Give the highest value of each anomaly map, [N]."""
    maps = (finding.anomaly_map for finding in findings)
    return np.array([each.max() for each in maps if each is not None], dtype=np.float64)


def profile_of(findings: Sequence[Finding]) -> GoodProfile:
    """Make the profile of held-out good images from what inspection found about them."""
    return good_profile(
        [each.score for each in findings],
        [each.image for each in findings if each.image],
        reconstruction_error=[each.reconstruction_error for each in findings],
        kl=[each.kl for each in findings],
    )
