"""From files to pixels: validate, decode and resize images.

This is the only pre-processing in the project; training and inspection both call ``load_image``.
Letters: H x W are the pixels of the photograph, S x S those of the square that the model sees.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps, UnidentifiedImageError

from anomaly_vae.errors import ConfigError, ImageReadError
from anomaly_vae.images.quality import ImageStatistics, image_statistics
from anomaly_vae.images.roi import inspected, mask_size, misfit
from anomaly_vae.settings.masks import Mask, mask_to_text
from anomaly_vae.settings.schema import ImageSettings

# An allow-list: Pillow also has decoders for formats that no camera writes, some of them old.
# "JPEG" opens multi-picture JPEGs (MPO) too.
DECODERS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP")
_ONE_CHANNEL_16 = ("I;16", "I;16B", "I;16L")
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")

# ImageSettings.max_pixels, checked before a pixel is decoded, replaces Pillow's global limit,
# which warns at one size and fails at another and cannot be set per call.
Image.MAX_IMAGE_PIXELS = None

# A JPEG decoder can leave out the finest detail and be several times as fast. It may, down to this
# many times the side of the square, where that moves a pixel by 0.1 of 255 in the mean.
_SCALED_DECODING = 2
_FIRST_ON_ITS_SIDE = 5  # of the EXIF orientations


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


def load_image(path: Path, settings: ImageSettings) -> LoadedImage:
    """Decode a photograph and fit it into the square of ``settings.size`` pixels.

    Grey images give three equal channels; transparency is laid over black; 16-bit values are
    divided by ``settings.white_level``, never by a maximum of the image itself. Downscaling
    averages (bilinear with antialiasing). What is not inspected is painted black first, at the
    photograph's own size: no resampling may mix it with what is.

    Raises:
        ImageReadError: the file is not a readable image, or outside the limits of ``settings``, or
            the region of interest has other proportions.
    """
    smallest = None if settings.restricted else _SCALED_DECODING * settings.size
    return _prepared(*_decoded(path, settings, smallest), settings)


def load_picture(picture: Image.Image, settings: ImageSettings) -> LoadedImage:
    """Give the same of a photograph in memory, which stays as it is.

    It is used at its full size, where ``load_image`` may let a JPEG decoder leave detail out.

    Raises:
        ImageReadError: as ``load_image``.
    """
    with _explained():
        _check(picture, settings)
        upright = picture.copy()
        ImageOps.exif_transpose(upright, in_place=True)
        image = _to_rgb(upright, settings.white_level)
    return _prepared(image, image.size, settings)


def _prepared(image: Image.Image, size: tuple[int, int], settings: ImageSettings) -> LoadedImage:
    """Bring a decoded photograph, whose own size is ``size``, into the square."""
    if settings.restricted:
        _paint_black(image, settings)
    square, placement = _fit(image, size, settings)
    pixels, kept = np.asarray(square), inspected_square(settings, size)
    return LoadedImage(pixels, *size, placement, image_statistics(pixels, kept), kept)


def inspected_square(settings: ImageSettings, size: tuple[int, int] | None = None) -> Mask | None:
    """Give the pixels of the square that are inspected, [S, S]; none where everything is.

    ``size`` is that of the photograph; without one, its proportions are taken from the mask.
    """
    if not settings.restricted:
        return None
    side = settings.size
    width, height, left, top = _frame(size or mask_size(settings) or (side, side), settings)
    square = np.zeros((side, side), dtype=bool)
    square[top : top + height, left : left + width] = inspected(settings, width, height)
    return square


def decode_image(path: Path, settings: ImageSettings, smallest: int | None = None) -> Image.Image:
    """Decode a photograph as 8-bit RGB, upright as its EXIF data say.

    At its own size, or with ``smallest`` not much larger than so many pixels, where that is faster.

    Raises:
        ImageReadError: as ``load_image``.
    """
    return _decoded(path, settings, smallest)[0]


def _decoded(
    path: Path, settings: ImageSettings, smallest: int | None = None
) -> tuple[Image.Image, tuple[int, int]]:
    """Give the photograph and its own size; a JPEG may be decoded smaller, down to ``smallest``."""
    # Not by its path: Pillow would map some files, and decode grey TIFFs on their side wrongly.
    with _explained(), path.open("rb") as file:
        if path.stat().st_size == 0:
            raise ImageReadError("the file is empty")
        with Image.open(file, formats=DECODERS) as image:
            _check(image, settings)
            width, height = image.size
            if smallest:
                image.draft(None, (smallest, smallest))
            image.load()
            on_its_side = image.getexif().get(ExifTags.Base.Orientation, 1) >= _FIRST_ON_ITS_SIDE
            ImageOps.exif_transpose(image, in_place=True)
            upright = _to_rgb(image, settings.white_level)
            return upright, (height, width) if on_its_side else (width, height)


@contextmanager
def _explained() -> Iterator[None]:
    """Say of whatever a decoder raises why the photograph cannot be used.

    Raises:
        ImageReadError: instead of it.
    """
    try:
        yield
    except ImageReadError:
        raise
    except UnidentifiedImageError as error:
        raise ImageReadError(f"not a {', '.join(DECODERS)} image") from error
    except FileNotFoundError as error:
        raise ImageReadError("the file no longer exists") from error
    except Exception as error:  # on damaged files Pillow raises whatever its decoders run into
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ImageReadError(f"cannot be decoded: {reason or type(error).__name__}") from error


def load_mask(path: Path, settings: ImageSettings) -> NDArray[np.bool_]:
    """Read a mask (anything but black is defective) into the same square as its photograph.

    Raises:
        ImageReadError: as ``load_image``.
    """
    image = Image.fromarray(_not_black(path, settings)).convert("RGB")
    square, _ = _fit(image, image.size, settings, Image.Resampling.NEAREST)
    return np.asarray(square)[..., 0] > 0


def read_roi(path: Path) -> str:
    """Read a mask (anything but black is inspected) as the text that ``images.roi`` takes.

    Raises:
        ConfigError: it is not a readable image, or black.
    """
    try:
        return mask_to_text(_not_black(path, ImageSettings(min_size=1)))
    except (ImageReadError, ValueError) as error:
        raise ConfigError(f"--roi {path}: {error}; expected white where to inspect") from error


def _not_black(path: Path, settings: ImageSettings) -> Mask:
    # At this white level the smallest number of a 16-bit mask stays a grey value above 0.
    image = decode_image(path, replace(settings, white_level=255))
    return np.asarray(np.asarray(image).any(axis=-1))


def _paint_black(image: Image.Image, settings: ImageSettings) -> None:
    """Paint what is not inspected black, in place."""
    reason = misfit(settings, image.size)
    if reason:
        raise ImageReadError(reason)
    image.paste((0, 0, 0), mask=Image.fromarray(~inspected(settings, *image.size)))


def _check(image: Image.Image, settings: ImageSettings) -> None:
    """Refuse, by its header alone, what cannot be used as one photograph."""
    width, height = image.size
    if width * height > settings.max_pixels:
        raise ImageReadError(
            f"{width} x {height} pixels, more than images.max_pixels = {settings.max_pixels}"
        )
    if min(width, height) < settings.min_size:
        raise ImageReadError(
            f"{width} x {height} pixels, smaller than images.min_size = {settings.min_size}"
        )
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # the first picture of an MPO is the photograph
        raise ImageReadError(f"holds {frames} pictures; expected one")
    if image.mode not in _EIGHT_BIT + _ONE_CHANNEL_16:
        raise ImageReadError(f"pixels of type {image.mode}; expected 8 or 16 bits per channel")
    if _is_deep_color(image) and settings.white_level != 65535:
        raise ImageReadError(
            "16 bits per channel in colour can only be read with images.white_level = 65535"
        )


def _is_deep_color(image: Image.Image) -> bool:
    """Tell whether Pillow reads 16 bits per channel but keeps the upper 8 (colour images)."""
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.mode in _EIGHT_BIT and any(re.search(";16[BLN]", str(tile[3])) for tile in tiles)


def _to_rgb(image: Image.Image, white_level: int) -> Image.Image:
    if image.mode in _ONE_CHANNEL_16:
        values = np.asarray(image).astype(np.float32) * (255 / white_level)
        return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, image).convert("RGB")
    return image.convert("RGB")


def _fit(
    image: Image.Image,
    size: tuple[int, int],
    settings: ImageSettings,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> tuple[Image.Image, Placement]:
    """Bring ``image`` into the square; the placement is that of a photograph of ``size``."""
    side = settings.size
    width, height, left, top = _frame(size, settings)
    placement = Placement(width / size[0], height / size[1], left, top)
    resized = image.resize((width, height), resampling)
    if (width, height) == (side, side):
        return resized, placement
    square = Image.new("RGB", (side, side))
    square.paste(resized, (left, top))
    return square, placement


def _frame(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int, int, int]:
    """Give width, height, left and top, in the square, of a photograph of ``size``."""
    side = settings.size
    if settings.fit == "stretch":
        return side, side, 0, 0
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    return width, height, (side - width) // 2, (side - height) // 2
