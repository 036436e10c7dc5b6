"""Pictures of single findings: the photograph, and the same with its anomaly map and outlines.

Letters: h x w map, H x W pixels of the picture.
"""

import hashlib
import os
from pathlib import Path

import numpy as np
import scipy  # loads its parts when they are used
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from anomaly_vae.errors import OutputError
from anomaly_vae.images.ahead import patiently
from anomaly_vae.images.decoding import LoadedImage, decode_image, without_padding
from anomaly_vae.images.roi import inspected
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import replacing
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.settings.images import ImageSettings

# Nine stations of "inferno" (Smith and van der Walt, 2015, CC0): perceptually uniform, readable
# in grey and for the colour-blind.
INFERNO = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
        (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    dtype=np.float32,
)  # fmt: skip
# Of the colour scale: transparent up to half the threshold, then rising to 0.75.
CLEAR, FADE, MOST_OPAQUE = 0.25, 0.35, 0.75
OUTLINE = (64, 224, 255)
LARGEST = 640
"""Longer side of a shown photograph, in pixels."""
LEGEND = 30
"""Height of the colour scale below the pictures, in pixels."""
_GAP = 8
_LONGEST_NAME = 244  # bytes, of the 255 that file systems take
_DIMMED = 0.4  # brightness of what is not inspected
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)


def shown_photo(path: Path, settings: ImageSettings) -> Image.Image:
    """Decode a photograph for people to look at, ``LARGEST`` pixels at most.

    What is not inspected is dark.

    Raises:
        ImageReadError: it cannot be read (any more), or not in time.
    """
    photo = patiently(lambda: decode_image(path, settings, smallest=2 * LARGEST))
    shrink = min(1.0, LARGEST / max(photo.size))
    size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    if settings.restricted:
        dark = photo.point(lambda value: value * _DIMMED)
        photo.paste(dark, mask=Image.fromarray(~inspected(settings, *size)))
    return photo


def on_photo(square: NDArray[np.uint8], image: LoadedImage, size: tuple[int, int]) -> Image.Image:
    """Cut the photograph out of its frame, [S, T, 3 or 4], at ``size`` (width, height)."""
    shown = without_padding(square)
    box = photo_box(image) if shown.shape[:2] == square.shape[:2] else None
    return Image.fromarray(shown).resize(size, Image.Resampling.BILINEAR, box=box)


def draw_heatmap(
    finding: Finding, photo: Image.Image, threshold: float, expected: Image.Image | None = None
) -> Image.Image:
    """Draw left the photograph, right the anomaly map laid over it, below the colour scale.

    Between them stands what the model expected to see, if it can draw that.

    The scale is fixed: the same colour means the same value in every picture of a model. Values
    at ``threshold`` lie in the middle; what is normal stays transparent.
    """
    values = relative_map(finding, photo.size, threshold)
    overlay = _overlay(photo, values)
    _outline(overlay, finding, values)
    panels = [photo, *([expected] if expected else []), overlay]
    width, height = photo.size
    left = (len(panels) - 1) * (width + _GAP)
    picture = Image.new("RGB", (left + width, height + LEGEND), _WHITE)
    for number, panel in enumerate(panels):
        picture.paste(panel, (number * (width + _GAP), 0))
    _draw_legend(picture, left, height, width, threshold)
    return picture


def save_picture(picture: Image.Image, target: Path) -> None:
    """Write a picture, and the folders it lies in: when this returns, it is on the disk.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error
    with replacing(target) as file:
        picture.save(file, Image.registered_extensions()[target.suffix], quality=88)


def remove_picture(target: Path) -> None:
    """Take a picture away, if it is there.

    Raises:
        OutputError: it cannot be removed.
    """
    try:
        target.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{target}: cannot be removed: {error.strerror or error}") from error


def picture_path(folder: Path, path: str, suffix: str) -> Path:
    """Where in ``folder`` the picture of the image at ``path`` goes: its whole name and ``suffix``.

    So none collide. Paths of a list may lead anywhere; those of the pictures stay in ``folder``.
    """
    *folders, name = spelled(path).replace(":", "_").split("/")
    folders = ["up" if each == ".." else each for each in folders]
    if len(os.fsencode(name + suffix)) > _LONGEST_NAME:
        name = f"{name[:60]}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    return folder.joinpath(*folders, f"{name}{suffix}")


def colored(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give colours, float [..., 3] from 0 to 255, of values from 0 to 1."""
    position = np.clip(values, 0, 1) * (len(INFERNO) - 1)
    below = np.minimum(position.astype(int), len(INFERNO) - 2)
    weight = (position - below)[..., None]
    colors: NDArray[np.float32] = INFERNO[below] * (1 - weight) + INFERNO[below + 1] * weight
    return colors


def relative_map(finding: Finding, size: tuple[int, int], threshold: float) -> NDArray[np.float32]:
    """Give the map as it lies on a photograph of ``size`` (width, height); 0.5 is the threshold."""
    image, anomaly_map = finding.image, finding.anomaly_map
    if image is None or anomaly_map is None:
        raise ValueError(f"{finding.path} was not inspected")
    # A map lies on the frame as its cells do, whatever their number.
    down, across = (anomaly_map.shape[axis] / image.pixels.shape[axis] for axis in (0, 1))
    left, top, right, bottom = photo_box(image)
    # Enlarged in one step where it is shown large, so that cell centres keep their places.
    values: NDArray[np.float32] = np.asarray(
        Image.fromarray(anomaly_map).resize(
            size,
            Image.Resampling.BILINEAR,
            box=(across * left, down * top, across * right, down * bottom),
        )
    )
    if threshold <= 0:
        return (values > threshold).astype(np.float32)
    return values / np.float32(2 * threshold)


def photo_box(image: LoadedImage) -> tuple[float, float, float, float]:
    """Give left, upper, right and lower edge of the photograph in the frame of maps."""
    place = image.placement
    return (
        place.offset_x,
        place.offset_y,
        place.offset_x + image.width * place.scale_x,
        place.offset_y + image.height * place.scale_y,
    )


def _overlay(photo: Image.Image, relative: NDArray[np.float32]) -> Image.Image:
    pixels = np.array(photo)
    shown = relative > CLEAR  # elsewhere the map is transparent, and costs nothing
    values = relative[shown]
    opacity = np.clip((values - CLEAR) / FADE, 0, 1)[..., None] * MOST_OPAQUE
    mixed = pixels[shown] * (1 - opacity) + colored(values) * opacity
    pixels[shown] = np.clip(mixed + 0.5, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _outline(picture: Image.Image, finding: Finding, relative: NDArray[np.float32]) -> None:
    """Draw the outlines of what exceeds the threshold, or a box where nothing quite does."""
    above = relative > 0.5
    if not above.any():
        _draw_boxes(picture, finding)
    elif finding.regions:
        edge = scipy.ndimage.binary_dilation(above, iterations=2) & ~above
        picture.paste(OUTLINE, (0, 0), Image.fromarray(edge))


def _draw_boxes(picture: Image.Image, finding: Finding) -> None:
    draw = ImageDraw.Draw(picture)
    shrink = picture.width / finding.image.width if finding.image else 1.0
    for region in finding.regions:
        left, top = region.x * shrink - 2, region.y * shrink - 2
        right = (region.x + region.width) * shrink + 2
        bottom = (region.y + region.height) * shrink + 2
        draw.rectangle((left, top, right, bottom), outline=OUTLINE, width=2)


def _draw_legend(picture: Image.Image, left: int, top: int, width: int, threshold: float) -> None:
    """Draw the colour scale, as it looks on grey, from 0 to twice the threshold."""
    scale = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (10, width))
    grey = Image.new("RGB", (width, 10), (128, 128, 128))
    picture.paste(_overlay(grey, scale), (left, top + 4))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(11)
    draw.line((left + width // 2, top + 2, left + width // 2, top + 15), fill=_BLACK)
    if width >= 160:
        words = (("0", "la", 0), (f"threshold {threshold:.3g}", "ma", width // 2),
                 (f"{2 * threshold:.3g}", "ra", width - 1))  # fmt: skip
        for text, anchor, place in words:
            draw.text((left + place, top + 16), text, fill=_BLACK, font=font, anchor=anchor)
