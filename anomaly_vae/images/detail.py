"""How small a defect a frame of pixels still shows, and the detail that a smaller one takes."""

import math
from collections.abc import Iterable

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings.images import FINEST, ImageSettings

SHOWN = 4.0
"""Diameter of the smallest defect that a frame or a photograph shows, in its pixels: half a place
of a trunk's map (reports/detail.md)."""
_STEPS = 10
"""Details are rounded up to tenths."""


def in_pixels(text: str, mm_per_pixel: float | None) -> float:
    """Read the size of a defect, ``12`` or ``0.4mm``, in pixels of photographs.

    Raises:
        ConfigError: it is none, or nothing says how large a pixel is.
    """
    number, unit, rest = text.partition("mm")
    try:
        length = float(number)
    except ValueError:
        length = math.nan
    if rest.strip() or not 0 < length < math.inf:
        raise ConfigError(
            f"--smallest-defect {text}: expected pixels of a photograph, as in 12, or 0.4mm"
        )
    if unit and mm_per_pixel is None:
        raise ConfigError(
            f"--smallest-defect {text}: give --mm-per-pixel, too, or its pixels in a photograph"
        )
    return length / mm_per_pixel if unit and mm_per_pixel else length


def smallest_shown(sizes: Iterable[tuple[int, int]], settings: ImageSettings) -> float:
    """Give the diameter of the smallest defect that the frame shows, in pixels of photographs.

    ``sizes`` are their widths and heights; the largest of them decides.
    """
    return SHOWN * max(1.0, max(_length(size, settings) for size in sizes) / settings.side)


def detail_for(smallest: float, sizes: Iterable[tuple[int, int]], settings: ImageSettings) -> float:
    """Give the ``images.detail`` at which defects of ``smallest`` pixels of photographs show.

    ``sizes`` are their widths and heights; without any, no detail is needed.

    Raises:
        ConfigError: neither these photographs nor a frame of any detail show them.
    """
    if smallest < SHOWN:
        raise ConfigError(
            f"--smallest-defect: no photograph shows one of {smallest:.3g} pixels; expected "
            f"{SHOWN:g} or more: take photographs from nearer"
        )
    longest = max((_length(size, settings) for size in sizes), default=0.0)
    needed = max(1.0, math.ceil(_STEPS * SHOWN * longest / smallest / settings.size) / _STEPS)
    if needed > FINEST:
        raise ConfigError(
            f"--smallest-defect: one of {smallest:.3g} pixels takes {needed:g} times the side of "
            f"images.size = {settings.size}; expected {FINEST} times at most: raise images.size"
        )
    return needed


def _length(size: tuple[int, int], settings: ImageSettings) -> float:
    """Give the side of a photograph that becomes that of the frame, in pixels."""
    return math.sqrt(size[0] * size[1]) if settings.fit == "keep" else max(size)
