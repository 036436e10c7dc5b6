"""The pictures on the page: those of all images of a small folder, of the worst of a large one."""

import heapq
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.heatmaps import CLEAR, on_photo, relative_map

MOST = 10_000
"""Images on a page."""
_MOST_LARGE = 1_000
_SMALL, _MAP = 224, 96  # pixels of the longer side
# Times the threshold: no value of a map whose highest is below is shown, resized or not.
_UNSEEN = 2 * CLEAR * (1 - 1e-6)


class Picture(NamedTuple):
    """How the page shows an image."""

    id: str
    """Of its row."""
    score: float
    photo: bytes
    """JPEG."""
    anomaly_map: bytes
    """Grey PNG over the whole photograph, 0 to 255 for 0 to twice the threshold; or nothing."""
    expected: bytes
    """JPEG of what the model expected to see; or nothing."""


class Gallery:
    """The pictures with the highest scores, ``MOST`` of them.

    ``known`` are score and row of those that are kept already.
    """

    def __init__(self, known: Iterable[tuple[float, str]] = ()) -> None:
        self._kept = list(known)
        heapq.heapify(self._kept)
        self.dropped: set[str] = set()
        """Rows whose pictures had to go for others."""
        self._large = 0

    def takes(self, score: float) -> bool:
        """Whether there is room for a picture with this score."""
        return len(self._kept) < MOST or score > self._kept[0][0]

    def enlarges(self, finding: Finding) -> bool:
        """Whether the picture of an image is wanted larger than the model saw it."""
        return finding.verdict != "pass" and self._large < _MOST_LARGE

    def keep(self, row_id: str, score: float, *, enlarged: bool) -> None:
        """Take a picture in; the one with the lowest score may have to go for it."""
        self._large += enlarged
        heapq.heappush(self._kept, (score, row_id))
        if len(self._kept) > MOST:
            self.dropped.add(heapq.heappop(self._kept)[1])


def draw_picture(
    row_id: str,
    finding: Finding,
    image: LoadedImage,
    threshold: float,
    enlarged: tuple[Image.Image, Image.Image | None] | None,
) -> Picture:
    """Draw an image; ``enlarged``, and what was expected there, instead of what the model saw."""
    shown, expected = enlarged or (seen(image), None)
    return Picture(
        row_id,
        finding.score,
        _jpeg(shown),
        _map_png(finding, shown.size, threshold),
        _jpeg(expected) if expected else b"",
    )


def seen(image: LoadedImage, most: int = _SMALL) -> Image.Image:
    """Give the photograph as the model sees it, in its own proportions; ``most`` pixels a side."""
    size = _within((image.width, image.height), min(most, max(image.pixels.shape[:2])))
    return on_photo(image.pixels, image, size)


def _within(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Shrink (width, height) to a longer side of ``side``."""
    shrink = min(1.0, side / max(size))
    return max(1, round(size[0] * shrink)), max(1, round(size[1] * shrink))


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=78)
    return file.getvalue()


def _map_png(finding: Finding, size: tuple[int, int], threshold: float) -> bytes:
    if threshold > 0 and finding.highest < _UNSEEN * threshold:
        return b""
    relative = np.clip(relative_map(finding, _within(size, _MAP), threshold), 0, 1)
    relative[relative < CLEAR] = 0  # is not shown, and takes no room
    if not relative.any():
        return b""
    file = io.BytesIO()
    Image.fromarray((relative * 255 + 0.5).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()
