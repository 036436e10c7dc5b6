"""Masks as text and as polygons, without a photograph: what the settings of a model can hold.

Letters: H x W pixels.
"""

import base64
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LONGEST = 512
"""Longer side of a stored mask, in pixels: finer than the squares that models see."""

Mask = NDArray[np.bool_]
Polygon = Sequence[tuple[float, float]]


def mask_to_text(mask: Mask) -> str:
    """Write a mask, [H, W], as the base64 text of a 1-bit PNG of at most 512 pixels a side.

    Where it has to be made smaller, a pixel is set if half of what it covers is.

    Raises:
        ValueError: nothing is set in the mask, or in what is left of it.
    """
    image = Image.fromarray(mask)
    shrink = LONGEST / max(image.size)
    if shrink < 1:
        width, height = (max(1, round(length * shrink)) for length in image.size)
        grey = image.convert("L").resize((width, height), Image.Resampling.BOX)
        image = Image.fromarray(np.asarray(grey) >= 128)
    stored = io.BytesIO()
    image.save(stored, "PNG", optimize=True)
    text = base64.b64encode(stored.getvalue()).decode("ascii")
    mask_from_text(text)
    return text


def mask_from_text(text: str) -> Mask:
    """Read what ``mask_to_text`` wrote, [H, W].

    Raises:
        ValueError: it is something else, or nothing is set in it.
    """
    try:
        data = io.BytesIO(base64.b64decode(text, validate=True))
        with Image.open(data, formats=("PNG",)) as image:
            known = image.mode == "1" and max(image.size) <= LONGEST
            mask = np.asarray(image) if known else None
    except Exception as error:  # on damaged data Pillow raises whatever its decoder runs into
        raise ValueError("expected the text that 'train --roi MASK.png' stores") from error
    if mask is None:
        raise ValueError(f"expected a PNG of 1 bit and at most {LONGEST} pixels a side")
    if not mask.any():
        raise ValueError("the mask is wholly black: nothing would be inspected")
    return mask


def filled(polygon: Polygon, width: int, height: int) -> Mask:
    """Give the pixels whose centres lie in a polygon, [H, W], by the even-odd rule.

    Its corners are fractions (x, y) of width and height.
    """
    centres = np.arange(height) + 0.5
    # Along a row, each edge that is crossed turns outside into inside, or back.
    turns = np.zeros((height, width + 1), dtype=bool)
    corners = [(x * width, y * height) for x, y in polygon]
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        rows = np.flatnonzero((centres < y0) != (centres < y1))
        crossings = x0 + (centres[rows] - y0) * (x1 - x0) / ((y1 - y0) or 1)
        turns[rows, np.clip(np.ceil(crossings - 0.5), 0, width).astype(int)] ^= True
    return np.logical_xor.accumulate(turns[:, :width], axis=1)
