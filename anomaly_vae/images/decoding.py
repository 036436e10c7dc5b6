"""From files to pixels: validate, decode and resize images.

This is the only pre-processing in the project; training and inspection both call ``load_image``.
Letters: H x W are the pixels of the photograph, S x S those of the square that the model sees.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.levels import NARROW, to_8_bit
from anomaly_vae.images.opening import Opened, check, explained, opened
from anomaly_vae.images.quality import ImageStatistics, image_statistics
from anomaly_vae.images.roi import inspected, mask_size, misfit
from anomaly_vae.settings.masks import Mask
from anomaly_vae.settings.schema import ImageSettings

# A JPEG decoder can leave out the finest detail and be several times as fast. It may, down to this
# many times the side of the square, where that moves a pixel by 0.1 of 255 in the mean.
_SCALED_DECODING = 2


@dataclass(frozen=True)
class Placement:
    """Where the photograph lies in the square: ``square = photograph * scale + offset``."""

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True)
class LoadedImage:
    """One photograph, ready for the model."""

    pixels: NDArray[np.uint8]
    """RGB, shape [S, S, 3], 0 to 255."""
    width: int
    """Width of the photograph after its EXIF orientation, in pixels."""
    height: int
    """Height of the photograph after its EXIF orientation, in pixels."""
    placement: Placement
    statistics: ImageStatistics
    inspected: Mask | None = None
    """Pixels of the square that are inspected, [S, S]; none where all of the photograph is."""
    narrow: bool = False
    """Whether it uses less than a tenth of the range from black to white."""


def load_image(path: Path, settings: ImageSettings, data: bytes | None = None) -> LoadedImage:
    """Decode a photograph and fit it into the square of ``settings.size`` pixels.

    Grey images give three equal channels; transparency is laid over black; of 16 bits,
    ``settings.black_level`` becomes black and ``settings.white_level`` white, never a minimum or
    maximum of the image itself. Downscaling averages (bilinear with antialiasing). What is not
    inspected is painted black first, at the photograph's own size: no resampling may mix it with
    what is. ``data`` are the bytes of the file, if they were read.

    Raises:
        ImageReadError: the file is not a readable image, or outside the limits of ``settings``, or
            the region of interest has other proportions.
    """
    smallest = None if settings.restricted else _SCALED_DECODING * settings.size
    with opened(path, settings, smallest, data) as photograph:
        return _prepared(photograph, settings)


def load_picture(picture: Image.Image, settings: ImageSettings) -> LoadedImage:
    """Give the same of a photograph in memory, which stays as it is.

    It is used at its full size, where ``load_image`` may let a JPEG decoder leave detail out.

    Raises:
        ImageReadError: as ``load_image``.
    """
    with explained():
        levels = check(picture, settings)
        upright = picture.copy()
        ImageOps.exif_transpose(upright, in_place=True)
    return _prepared(Opened(upright, *upright.size, levels), settings)


def _prepared(photograph: Opened, settings: ImageSettings) -> LoadedImage:
    """Bring a decoded photograph into the square."""
    with explained():
        image = to_8_bit(photograph.image, photograph.levels, settings)
    size = photograph.size
    if settings.restricted:
        _paint_black(image, settings)
    square, placement = _fit(image, size, settings)
    pixels, kept = np.asarray(square), inspected_square(settings, size)
    return LoadedImage(
        pixels,
        *size,
        placement,
        image_statistics(pixels, kept),
        kept,
        _is_narrow(pixels, kept, size, settings),
    )


def _is_narrow(
    pixels: NDArray[np.uint8], kept: Mask | None, size: tuple[int, int], settings: ImageSettings
) -> bool:
    """Tell whether what is inspected of the photograph uses little of the range of 8 bits."""
    if kept is None:
        width, height, left, top = frame(size, settings)
        pixels = pixels[top : top + height, left : left + width]
    else:
        pixels = pixels[kept]
    return bool(pixels.size) and int(pixels.max()) - int(pixels.min()) < NARROW * 255


def inspected_square(settings: ImageSettings, size: tuple[int, int] | None = None) -> Mask | None:
    """Give the pixels of the square that are inspected, [S, S]; none where everything is.

    ``size`` is that of the photograph; without one, its proportions are taken from the mask.
    """
    if not settings.restricted:
        return None
    side = settings.size
    width, height, left, top = frame(size or mask_size(settings) or (side, side), settings)
    square = np.zeros((side, side), dtype=bool)
    square[top : top + height, left : left + width] = inspected(settings, width, height)
    return square


def decode_image(path: Path, settings: ImageSettings, smallest: int | None = None) -> Image.Image:
    """Decode a photograph as 8-bit RGB, upright as its EXIF data say.

    At its own size, or with ``smallest`` not much larger than so many pixels, where that is faster.

    Raises:
        ImageReadError: as ``load_image``.
    """
    with opened(path, settings, smallest) as photograph, explained():
        return to_8_bit(photograph.image, photograph.levels, settings).convert("RGB")


def _paint_black(image: Image.Image, settings: ImageSettings) -> None:
    """Paint what is not inspected of a photograph, RGB or L, black, in place."""
    reason = misfit(settings, image.size)
    if reason:
        raise ImageReadError(reason)
    black = 0 if image.mode == "L" else (0, 0, 0)
    image.paste(black, mask=Image.fromarray(~inspected(settings, *image.size)))


def _fit(
    image: Image.Image, size: tuple[int, int], settings: ImageSettings
) -> tuple[Image.Image, Placement]:
    """Bring ``image`` into the square; the placement is that of a photograph of ``size``."""
    side = settings.size
    width, height, left, top = frame(size, settings)
    placement = Placement(width / size[0], height / size[1], left, top)
    resized = image.resize((width, height), Image.Resampling.BILINEAR).convert("RGB")
    if (width, height) == (side, side):
        return resized, placement
    square = Image.new("RGB", (side, side))
    square.paste(resized, (left, top))
    return square, placement


def frame(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int, int, int]:
    """Give width, height, left and top, in the square, of a photograph of ``size``."""
    side = settings.size
    if settings.fit == "stretch":
        return side, side, 0, 0
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    return width, height, (side - width) // 2, (side - height) // 2
