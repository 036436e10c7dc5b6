"""From files to pixels: validate, decode and resize images.

This is the only pre-processing in the project; training and inspection both come to ``prepared``.
Letters: H x W are the pixels of the photograph, S x T those of the frame that the model sees.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.levels import NARROW, to_8_bit
from anomaly_vae.images.opening import Opened, check, explained, opened
from anomaly_vae.images.position import centre
from anomaly_vae.images.proportions import fitted, misshapen
from anomaly_vae.images.quality import ImageStatistics, image_statistics
from anomaly_vae.images.roi import inspected, mask_size, misfit
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import Mask

# A JPEG decoder can leave out the finest detail and be several times as fast. It may, down to this
# many times the sides of the frame, where that moves a pixel by 0.1 of 255 in the mean.
_SCALED_DECODING = 2
# What is much larger than the frame is first averaged over whole pixels, down to this many times
# its sides: twice as fast from 12 megapixels on, and a pixel moves by 0.1 of 255 in the mean.
AVERAGED = 3.0


@dataclass(frozen=True)
class Placement:
    """Where the photograph lies in the frame: ``frame = photograph * scale + offset``.

    In that of maps and masks; in that of pixels, a padded photograph lies at the upper left.
    """

    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True)
class LoadedImage:
    """One photograph, ready for the model."""

    pixels: NDArray[np.uint8]
    """RGB, shape [S, T, 3], 0 to 255; where padded, [S, T, 4], with 0 beside the photograph.
    Those of a stack are its slices, one below the other."""
    width: int
    """Width of the photograph after its EXIF orientation, in pixels."""
    height: int
    """Height of the photograph after its EXIF orientation, in pixels."""
    placement: Placement
    statistics: ImageStatistics
    inspected: Mask | None = None
    """Pixels of the frame that are inspected, [S, T]; none where all of the photograph is."""
    narrow: bool = False
    """Whether it uses less than a tenth of the range from black to white."""
    centre: tuple[float, float] | None = None
    """Of its edges, see ``position``; known of those without pixels."""
    slices: int = 0
    """How many slices a stack has, of which all else here is that of one; 0 of a photograph."""

    def without_pixels(self) -> "LoadedImage":
        """Give the same without pixels: ten thousand of these take megabytes."""
        middle = centre(self.pixels) if self.pixels.size else self.centre
        none = np.empty((0, 0, 3), np.uint8)
        return replace(self, pixels=none, inspected=None, centre=middle)


def load_image(path: Path, settings: ImageSettings, data: bytes | None = None) -> LoadedImage:
    """Decode a photograph and bring it into the frame of ``settings``.

    Grey images give three equal channels; transparency is laid over black; of 16 bits,
    ``settings.black_level`` becomes black and ``settings.white_level`` white, never a minimum or
    maximum of the image itself. Downscaling averages (``settings.filter``). What is not inspected
    is painted black first, at the photograph's own size: no resampling may mix it with what is.
    ``data`` are the bytes of the file, if they were read.

    Raises:
        ImageReadError: the file is not a readable image, or outside the limits of ``settings``, or
            it has other proportions than the region of interest, or than a model's photographs.
    """
    height, width = (_SCALED_DECODING * side for side in settings.shape)
    smallest = None if settings.restricted else (width, height)
    with opened(path, settings, smallest, data) as photograph:
        return prepared(photograph, settings)


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
    return prepared(Opened(upright, *upright.size, levels), settings)


def prepared(photograph: Opened, settings: ImageSettings) -> LoadedImage:
    """Bring a decoded photograph into the frame.

    Raises:
        ImageReadError: as ``load_image``.
    """
    size = photograph.size
    if reason := misfit(settings, size) or misshapen(settings, size):
        raise ImageReadError(reason)
    with explained():
        image = to_8_bit(photograph.image, photograph.levels, settings)
    if settings.restricted:
        _paint_black(image, settings)
    framed, placement = _fit(image, size, settings)
    pixels = np.asarray(framed)
    shown, kept = without_padding(pixels), inspected_frame(settings, size)
    judged = kept
    if settings.padded and settings.restricted:
        judged = inspected(settings, shown.shape[1], shown.shape[0])
    return LoadedImage(
        pixels,
        *size,
        placement,
        image_statistics(shown, judged),
        kept,
        _is_narrow(shown, judged, size, settings),
    )


def _is_narrow(
    pixels: NDArray[np.uint8], kept: Mask | None, size: tuple[int, int], settings: ImageSettings
) -> bool:
    """Tell whether what is inspected of the photograph uses little of the range of 8 bits."""
    if kept is not None:
        pixels = pixels[kept]
    elif not settings.padded:
        width, height, left, top = placed(size, settings)
        pixels = pixels[top : top + height, left : left + width]
    return bool(pixels.size) and int(pixels.max()) - int(pixels.min()) < NARROW * 255


def without_padding(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Give what shows the photograph, [h, w, 3], of the pixels of a frame, [S, T, 3 or 4]."""
    if pixels.shape[2] == 3:
        return pixels
    height, width = (pixels[:, 0, 3] > 0).sum(), (pixels[0, :, 3] > 0).sum()
    return pixels[:height, :width, :3]


def inspected_frame(settings: ImageSettings, size: tuple[int, int] | None = None) -> Mask | None:
    """Give the pixels of the frame that are inspected, [S, T]; none where everything is.

    ``size`` is that of the photograph; without one, its proportions are taken from the mask.
    """
    if not settings.restricted:
        return None
    usual = mask_size(settings) or settings.shape[::-1]
    width, height, left, top = placed(size or usual, settings)
    framed = np.zeros(settings.shape, dtype=bool)
    framed[top : top + height, left : left + width] = inspected(settings, width, height)
    return framed


def decode_image(
    path: Path, settings: ImageSettings, smallest: int | None = None, data: bytes | None = None
) -> Image.Image:
    """Decode a photograph as 8-bit RGB, upright as its EXIF data say.

    At its own size, or with ``smallest`` not much larger than so many pixels, where that is faster.
    ``data`` are the bytes of the file, if they were read.

    Raises:
        ImageReadError: as ``load_image``.
    """
    sides = (smallest, smallest) if smallest else None
    with opened(path, settings, sides, data) as photograph, explained():
        return to_8_bit(photograph.image, photograph.levels, settings).convert("RGB")


def _paint_black(image: Image.Image, settings: ImageSettings) -> None:
    """Paint what is not inspected of a photograph, RGB or L, black, in place."""
    black = 0 if image.mode == "L" else (0, 0, 0)
    image.paste(black, mask=Image.fromarray(~inspected(settings, *image.size)))


def _fit(
    image: Image.Image, size: tuple[int, int], settings: ImageSettings
) -> tuple[Image.Image, Placement]:
    """Bring ``image`` into the frame; the placement is that of a photograph of ``size``."""
    width, height, left, top = placed(size, settings)
    placement = Placement(width / size[0], height / size[1], left, top)
    if settings.padded:
        framed = Image.new("RGBA", (width, height))
        framed.paste(_resized(image, fitted(size, settings), settings).convert("RGBA"))
        return framed, placement
    resized = _resized(image, (width, height), settings).convert("RGB")
    if (height, width) == settings.shape:
        return resized, placement
    framed = Image.new("RGB", settings.shape[::-1])
    framed.paste(resized, (left, top))
    return framed, placement


def _resized(image: Image.Image, size: tuple[int, int], settings: ImageSettings) -> Image.Image:
    """Bring ``image`` to another size, with antialiasing."""
    # Models of earlier versions, all bilinear, go on seeing the very same pixels.
    averaged = None if settings.filter == "bilinear" else AVERAGED
    return image.resize(size, Image.Resampling[settings.filter.upper()], reducing_gap=averaged)


def placed(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int, int, int]:
    """Give width, height, left and top of a photograph of ``size`` in the frame of maps and masks.

    It fills it, unless it lies in a letterbox. The maps of padded photographs are stretched to it.
    """
    height, width = settings.shape
    if settings.fit != "letterbox":
        return width, height, 0, 0
    width, height = (max(1, round(length * settings.side / max(size))) for length in size)
    return width, height, (settings.side - width) // 2, (settings.side - height) // 2
