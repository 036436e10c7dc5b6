"""What a folder of photographs is like, before anything is learned from it: a look at each.

Letters: N photographs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.ahead import read_ahead, usable_cores
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.opening import explained, header
from anomaly_vae.images.quality import ImageStatistics, luminance
from anomaly_vae.images.reading import with_digest
from anomaly_vae.settings.images import ImageSettings

SIDE = 64
"""Side of the thumbnails that photographs are compared by, in pixels."""
_DARK, _BRIGHT = 5, 250
"""Grey levels of 255 at which a camera shows nothing more."""


@dataclass(frozen=True)
class Look:
    """One photograph, as far as a check needs it."""

    path: str
    width: int
    height: int
    kind: str
    """Format and type of pixels, such as ``JPEG RGB``."""
    camera: str
    """Make and model by EXIF; empty where it says none."""
    digest: str
    """SHA-256 of the file."""
    statistics: ImageStatistics
    tint: tuple[float, float]
    """Mean red and blue, each as a share of mean green."""
    dark: float
    """Share of the pixels that are black."""
    bright: float
    """Share of the pixels that are white."""
    levels: int
    """Number of different values of green, 256 at most."""
    thumbnail: NDArray[np.float32]
    """Luminance in [0, 1], [64, 64]."""


def survey(
    folder: Path, paths: Sequence[str], settings: ImageSettings
) -> Iterator[tuple[str, Look | ImageReadError]]:
    """Look at each photograph, in order; one that cannot be read comes with its error."""
    workers = usable_cores()
    return read_ahead(
        paths, lambda path: _look(folder, path, settings), workers=workers, ahead=4 * workers
    )


def _look(folder: Path, path: str, settings: ImageSettings) -> Look:
    file = folder / path

    def make(data: bytes | None) -> tuple[LoadedImage, str, str]:
        return load_image(file, settings, data), *_described(file, data)

    (image, kind, camera), sha256 = with_digest(file, make)
    pixels = image.pixels
    red, green, blue = (float(pixels[..., channel].mean()) for channel in range(3))
    small = Image.fromarray(luminance(pixels)).resize((SIDE, SIDE), Image.Resampling.BOX)
    return Look(
        path=path,
        width=image.width,
        height=image.height,
        kind=kind,
        camera=camera,
        digest=sha256,
        statistics=image.statistics,
        tint=(red / max(green, 1.0), blue / max(green, 1.0)),
        dark=float((pixels.max(-1) <= _DARK).mean()),
        bright=float((pixels.min(-1) >= _BRIGHT).mean()),
        levels=len(np.unique(pixels[..., 1])),
        thumbnail=np.asarray(small, dtype=np.float32),
    )


def _described(file: Path, data: bytes | None) -> tuple[str, str]:
    """Give kind and camera of a photograph."""
    with explained(file), header(file, data) as image:
        exif = image.getexif()
        names = (exif.get(tag, "") for tag in (ExifTags.Base.Make, ExifTags.Base.Model))
        camera = " ".join(str(name).strip("\0 ") for name in names if name)
        return f"{image.format} {image.mode}", camera
