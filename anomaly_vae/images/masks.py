"""Masks of defects, as a person has drawn them, in the frame of their photograph.

Letters: H x W pixels of the photograph, S x T those of the frame that the model sees.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps

from anomaly_vae.errors import ConfigError, ImageReadError
from anomaly_vae.images.ahead import patiently
from anomaly_vae.images.decoding import placed
from anomaly_vae.images.memory import DECODING, needed
from anomaly_vae.images.opening import check_size, explained, header, main_page, swaps_sides
from anomaly_vae.images.roi import inspected
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import Mask, mask_to_text

# Largest accepted difference of the proportions of photograph and mask, apart from the rounding of
# a smaller mask to whole pixels.
_PROPORTIONS = 0.01


class Truth(NamedTuple):
    """What of a photograph is defective."""

    square: Mask
    """Pixels of the frame that any defective pixel touches, [S, T]."""
    share: float
    """Of the photograph's pixels, how many are defective and inspected: exact, from 0 to 1."""


def load_truth(
    files: Sequence[Path], size: tuple[int, int], orientation: int, settings: ImageSettings
) -> Truth:
    """Read the masks of one photograph (anything but black is defective), and join them.

    ``size`` is width and height of the photograph, upright, and ``orientation`` what EXIF says of
    its file. A mask that was drawn on the photograph as stored is turned with it, where its size
    shows that: a turn by 180 degrees, or of a square, it cannot show.

    Raises:
        ImageReadError: one cannot be read, or has other proportions than the photograph.
    """
    joined: Mask | None = None
    for file in files:
        try:
            mask = _fitting(_not_black(file, replace(settings, min_size=1)), size, orientation)
        except ImageReadError as error:
            raise ImageReadError(f"{file}: {error}") from error
        # Of different sizes if parts of the defects were drawn on smaller copies.
        joined = mask if joined is None else joined | _touched(mask, *joined.shape[::-1])
    if joined is None:
        raise ImageReadError("no mask")
    kept = joined
    if settings.restricted:
        kept = joined & inspected(settings, joined.shape[1], joined.shape[0])
    width, height, left, top = placed(size, settings)
    square = np.zeros(settings.shape, dtype=bool)
    square[top : top + height, left : left + width] = _touched(kept, width, height)
    return Truth(square, float(kept.mean()))


def read_roi(path: Path) -> str:
    """Read a mask (anything but black is inspected) as the text that ``images.roi`` takes.

    Raises:
        ConfigError: it is not a readable image, or black, or its drive does not answer.
    """
    try:
        return mask_to_text(patiently(lambda: _not_black(path, ImageSettings(min_size=1))))
    except (ImageReadError, ValueError) as error:
        raise ConfigError(f"--roi {path}: {error}; expected white where to inspect") from error


def _not_black(path: Path, settings: ImageSettings) -> Mask:
    """Tell which pixels of a mask, [H, W], are anything but 0: of whatever kind they are."""
    with explained(path), header(path) as image:
        main_page(image)
        check_size(image, settings)
        with DECODING.lent(needed(image.format, *image.size)):
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode[0] in "IF":  # of 16 or 32 bits
                return np.asarray(np.asarray(image) != 0)
            if image.has_transparency_data:
                red, green, blue, alpha = np.moveaxis(np.asarray(image.convert("RGBA")), 2, 0)
                return np.asarray(((red | green | blue) > 0) & (alpha > 0))
            return np.asarray(np.asarray(image.convert("RGB")).any(axis=-1))


def _fitting(mask: Mask, size: tuple[int, int], orientation: int) -> Mask:
    """Give the mask as it lies on the upright photograph, at its own size or smaller."""
    if _alike(mask, size):
        return mask
    if swaps_sides(orientation) and _alike(mask, size[::-1]):
        picture = Image.fromarray(mask)
        picture.getexif()[ExifTags.Base.Orientation] = orientation
        return np.asarray(ImageOps.exif_transpose(picture))
    raise ImageReadError(
        f"{mask.shape[1]} x {mask.shape[0]} pixels, but its photograph has {size[0]} x {size[1]}; "
        "expected the same proportions"
    )


def _alike(mask: Mask, size: tuple[int, int]) -> bool:
    height, width = mask.shape
    ratio = (width * size[1]) / (height * size[0])
    return bool(abs(math.log(ratio)) <= _PROPORTIONS + 0.5 / min(width, height))


def _touched(mask: Mask, width: int, height: int) -> Mask:
    """Bring a mask to another size; a pixel is set if any set one touches it: none may vanish."""
    rows = np.stack([mask[a:b].any(axis=0) for a, b in _spans(mask.shape[0], height)])
    return np.stack([rows[:, a:b].any(axis=1) for a, b in _spans(mask.shape[1], width)], axis=1)


def _spans(of: int, cells: int) -> list[tuple[int, int]]:
    """Give the pixels, from the first to behind the last, that each of ``cells`` cells touches."""
    edges = np.arange(cells + 1, dtype=np.int64) * of
    return list(zip((edges[:-1] // cells).tolist(), (-(-edges[1:] // cells)).tolist(), strict=True))
