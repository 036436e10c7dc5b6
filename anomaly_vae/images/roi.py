"""Which part of a photograph is inspected: the region of interest without the areas to ignore.

It lies in the frame of the camera, wherever the part in the photograph lies.
"""

from functools import lru_cache

import numpy as np
from PIL import Image

from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import LONGEST, Mask, filled, mask_from_text

# Largest accepted difference of the proportions of photographs and mask, apart from the rounding
# of the stored mask to whole pixels.
_PROPORTIONS = 0.01


@lru_cache(maxsize=8)  # a camera has one size; the frame and pictures for reports have others
def inspected(settings: ImageSettings, width: int, height: int) -> Mask:
    """Give the pixels that are inspected of a photograph at this size, read-only [height, width].

    They lie in the mask of ``settings.roi``, in any polygon of ``settings.inspect`` and in none of
    ``settings.ignore``; what is not given does not restrict.
    """
    kept = np.ones((height, width), dtype=bool)
    if settings.roi:
        mask = Image.fromarray(mask_from_text(settings.roi))
        kept &= np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))
    if settings.inspect:
        polygons = [filled(polygon, width, height) for polygon in settings.inspect]
        kept &= np.logical_or.reduce(polygons)
    for polygon in settings.ignore:
        kept &= ~filled(polygon, width, height)
    kept.setflags(write=False)
    return kept


def inspected_share(settings: ImageSettings) -> float:
    """Give the share of a photograph that is inspected, from 0 to 1."""
    width, height = mask_size(settings) or (LONGEST, LONGEST)
    return float(inspected(settings, width, height).mean()) if settings.restricted else 1.0


@lru_cache(maxsize=8)
def mask_size(settings: ImageSettings) -> tuple[int, int] | None:
    """Give width and height of the mask in ``settings.roi``; polygons alone have none."""
    if not settings.roi:
        return None
    height, width = mask_from_text(settings.roi).shape
    return width, height


def misfit(settings: ImageSettings, size: tuple[int, int]) -> str:
    """Say why a mask does not fit photographs of ``size`` (width, height); empty if it does."""
    known = mask_size(settings)
    if known is None:
        return ""
    ratio = (size[0] * known[1]) / (size[1] * known[0])
    if abs(np.log(ratio)) <= _PROPORTIONS + 0.5 / min(known):
        return ""
    return (
        f"{size[0]} x {size[1]} pixels do not have the proportions of the region of interest, "
        f"{known[0]} x {known[1]}; draw its mask on a photograph of the same camera"
    )
