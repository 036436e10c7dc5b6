"""What the numbers in a file mean: from 8, 16 and signed bits to 0 (black) up to 255 (white).

Letters: H x W pixels of the photograph.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile

from anomaly_vae.errors import ImageReadError
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.values import FULL_RANGE

_ONE_CHANNEL_16 = ("I;16", "I;16B", "I;16L")
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")
_DEEP = re.compile(r";16[BLN]|'RGB', 65535")  # the latter is a PPM
_SIGNED = re.compile(r"I;16B?S")
_WHITEST_SIGNED = 32767
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # of a TIFF
_DEPTHS = (8, 10, 12, 14)  # bits of sensors, below 16
_STRIP = 2**20  # pixels that are converted at once
NARROW = 0.1
"""Share of the range from black to white; a photograph that uses less may be read wrongly."""


@dataclass(frozen=True)
class Levels:
    """How the numbers in one file are stored; told by its header."""

    sixteen: bool = False
    """Whether each pixel is one number of 16 bits."""
    signed: bool = False
    inverted: bool = False
    """Whether 0 is white; of 8 bits Pillow turns that round itself."""
    white: int | None = None
    """What the file itself says is white."""
    deep_color: bool = False
    """Whether Pillow keeps only the upper 8 of 16 bits per channel."""


def levels_of(image: Image.Image) -> Levels:
    """Read from the header of a picture what its numbers mean; before it is loaded.

    Raises:
        ImageReadError: they are of a kind that cannot be brought to 8 bits.
    """
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    stored = " ".join(str(tile[3]) for tile in tiles)
    if image.mode in _EIGHT_BIT:
        return Levels(deep_color=bool(_DEEP.search(stored)))
    if image.mode in _ONE_CHANNEL_16:
        tags = getattr(image, "tag_v2", {})
        return Levels(sixteen=True, inverted=tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO)
    if image.mode == "I" and image.format == "PPM":
        # Pillow brings what is not 16 bits wide to 65535; the file says what is white.
        scaled = any(tile[0].startswith("ppm") for tile in tiles)
        return Levels(sixteen=True, white=FULL_RANGE if scaled else None)
    if image.mode == "I" and _SIGNED.search(stored):
        return Levels(sixteen=True, signed=True)
    raise ImageReadError(f"pixels of type {image.mode}; expected 8 or 16 bits per channel")


def check_levels(levels: Levels, settings: ImageSettings) -> None:
    """Refuse a picture of which Pillow drops the bits that the settings speak of."""
    if levels.deep_color and (settings.white, settings.black_level) != (FULL_RANGE, 0):
        raise ImageReadError(
            "16 bits per channel in colour can only be read with images.white_level = 65535 and "
            "images.black_level = 0"
        )


def to_8_bit(image: Image.Image, levels: Levels, settings: ImageSettings) -> Image.Image:
    """Give a loaded picture as 8-bit RGB, or of one channel (L) where it is grey.

    It may be the same picture. Large ones are converted strip by strip, so that at most two of
    their size are in memory.

    Raises:
        ImageReadError: it is fully transparent.
    """
    if levels.sixteen:
        return _by_strips(image, "L", lambda strip: _scaled(strip, levels, settings))
    if image.has_transparency_data:
        return _over_black(image)
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def _scaled(strip: Image.Image, levels: Levels, settings: ImageSettings) -> Image.Image:
    white = settings.white
    if levels.signed and white == FULL_RANGE:
        white = _WHITEST_SIGNED
    white = levels.white or white
    values = np.asarray(strip).astype(np.float32)
    if levels.inverted:
        values = white - values
    values = (values - settings.black_level) * np.float32(255 / (white - settings.black_level))
    return Image.fromarray(np.clip(values + np.float32(0.5), 0, 255).astype(np.uint8))


def _over_black(image: Image.Image) -> Image.Image:
    seen = False

    def composed(strip: Image.Image) -> Image.Image:
        nonlocal seen
        strip = strip.convert("RGBA")
        seen = seen or strip.getchannel("A").getbbox() is not None
        black = Image.new("RGBA", strip.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, strip).convert("RGB")

    opaque = _by_strips(image, "RGB", composed)
    if not seen:
        raise ImageReadError("is fully transparent; save it without its alpha channel")
    return opaque


def _by_strips(
    image: Image.Image, mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    width, height = image.size
    converted, rows = Image.new(mode, image.size), max(1, _STRIP // width)
    for top in range(0, height, rows):
        strip = image.crop((0, top, width, min(top + rows, height)))
        converted.paste(convert(strip), (0, top))
    return converted


def highest_level(image: Image.Image, levels: Levels) -> int | None:
    """Give the highest number in a loaded picture of 16 bits, as stored; None of another one."""
    if levels.deep_color or levels.white:
        return FULL_RANGE
    if not levels.sixteen:
        return None
    highest = image.getextrema()[1]
    return int(highest) if isinstance(highest, int | float) else None


def sensor_white(highest: Iterable[int | None]) -> int:
    """Give the white of the sensor that took pictures with these highest numbers.

    It has the fewest bits of 8, 10, 12, 14 and 16 that hold them all; without a picture of 16 bits
    the full range of the files is used.
    """
    found = max((each for each in highest if each is not None), default=FULL_RANGE)
    return next((2**bits - 1 for bits in _DEPTHS if found < 2**bits), FULL_RANGE)


def said_narrow(paths: Sequence[str]) -> str:
    """Say which photographs use little of their range; empty if there are none."""
    if not paths:
        return ""
    others = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return (
        f"{paths[0]}{others}: less than {NARROW:.0%} of the range from black to white is used; if "
        "that is not how it should be, set images.black_level and images.white_level"
    )
