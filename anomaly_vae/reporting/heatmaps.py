"""Pictures of single findings: the photograph, and the same with its anomaly map and boxes.

Letters: h x w map, H x W pixels of the picture.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from anomaly_vae.config import ImageSettings
from anomaly_vae.errors import OutputError
from anomaly_vae.images import decode_image
from anomaly_vae.inspection import Finding
from anomaly_vae.interest import inspected
from anomaly_vae.regions import enlarged

# Nine stations of "inferno" (Smith and van der Walt, 2015, CC0): perceptually uniform, readable
# in grey and for the colour-blind.
_INFERNO = np.array(
    [
        (0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
        (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164),
    ],
    dtype=np.float32,
)  # fmt: skip
_LARGEST = 640
_BOX = (64, 224, 255)
_DIMMED = 0.4  # brightness of what is not inspected


def save_heatmap(
    finding: Finding, folder: Path, target: Path, *, settings: ImageSettings, threshold: float
) -> None:
    """Write the picture of a finding: left the photograph, right the anomaly map laid over it.

    The scale is fixed: the same colour means the same value in every picture of a model. Values
    at ``threshold`` lie in the middle; what is normal stays transparent, and what is not inspected
    is dark.

    Raises:
        OutputError: the picture cannot be written.
    """
    if finding.image is None or finding.anomaly_map is None:
        raise ValueError(f"{finding.path} was not inspected")
    photo = decode_image(folder / finding.path, settings)
    shrink = min(1.0, _LARGEST / max(photo.size))
    size = (max(1, round(photo.width * shrink)), max(1, round(photo.height * shrink)))
    photo = photo.resize(size, Image.Resampling.LANCZOS)
    overlay = _overlay(photo, _map_on_photo(finding, size), threshold)
    if settings.restricted:
        dark = photo.point(lambda value: value * _DIMMED)
        overlay.paste(dark, mask=Image.fromarray(~inspected(settings, *size)))
    _draw_boxes(overlay, finding, shrink)
    pair = Image.new("RGB", (2 * size[0] + 8, size[1]), (255, 255, 255))
    pair.paste(photo, (0, 0))
    pair.paste(overlay, (size[0] + 8, 0))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        pair.save(target, quality=88)
    except OSError as error:
        raise OutputError(f"{target}: cannot be written: {error.strerror or error}") from error


def colored(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give colours, float [..., 3] from 0 to 255, of values from 0 to 1."""
    position = np.clip(values, 0, 1) * (len(_INFERNO) - 1)
    below = np.minimum(position.astype(int), len(_INFERNO) - 2)
    weight = (position - below)[..., None]
    colors: NDArray[np.float32] = _INFERNO[below] * (1 - weight) + _INFERNO[below + 1] * weight
    return colors


def _map_on_photo(finding: Finding, size: tuple[int, int]) -> NDArray[np.float32]:
    """Cut the photograph out of the square and bring its map to ``size`` (width, height)."""
    image, anomaly_map = finding.image, finding.anomaly_map
    assert image is not None and anomaly_map is not None  # noqa: S101 - checked by the caller
    place, side = image.placement, image.pixels.shape[0]
    box = (
        place.offset_x,
        place.offset_y,
        place.offset_x + image.width * place.scale_x,
        place.offset_y + image.height * place.scale_y,
    )
    square = Image.fromarray(enlarged(anomaly_map, side))
    return np.asarray(square.resize(size, Image.Resampling.BILINEAR, box=box))


def _overlay(photo: Image.Image, values: NDArray[np.float32], threshold: float) -> Image.Image:
    relative = (
        values / (2 * threshold) if threshold > 0 else (values > threshold).astype(np.float32)
    )
    # Transparent up to half the threshold, then rising to 0.75.
    opacity = np.clip((relative - 0.25) / 0.35, 0, 1)[..., None] * 0.75
    mixed = np.asarray(photo) * (1 - opacity) + colored(relative) * opacity
    return Image.fromarray(np.clip(mixed + 0.5, 0, 255).astype(np.uint8))


def _draw_boxes(picture: Image.Image, finding: Finding, shrink: float) -> None:
    draw = ImageDraw.Draw(picture)
    for region in finding.regions:
        left, top = region.x * shrink - 2, region.y * shrink - 2
        right = (region.x + region.width) * shrink + 2
        bottom = (region.y + region.height) * shrink + 2
        draw.rectangle((left, top, right, bottom), outline=_BOX, width=2)
