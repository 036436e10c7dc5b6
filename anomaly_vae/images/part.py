"""Where the part lies in photographs, how large it is, and how far its grey levels range.

Letters: H x W pixels of a photograph; its sides need not be those of the next one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from anomaly_vae.errors import FolderError

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

_LOOKED_AT = 12
"""Photographs, evenly chosen, that say what background and part are like."""
_SIDE = 192
"""Longer side at which background and part are told apart, in pixels."""
_FRAME = 0.02
"""Width of the outermost frame, as a share of the longer side: it shows background, if any does."""
_EVEN, _LEAST = 3.0, 10.0
"""The background reaches from its median so many times its own spread, and so many grey levels."""
_BACKGROUND = 0.9
"""Share of the frame that is background, in at least this share of the photographs: or there is
none."""
_STRONG = 0.9
"""Quantile of what differs from the background that the height of the part's edge is taken from."""
_SMALLEST, _LARGEST = 0.01, 0.9
"""Shares of the photograph between which a part stands before a background."""
_MAD_TO_STD = 1.4826

Inspected = Callable[[int, int], Mask]
"""Gives the pixels that are inspected of a photograph of a width and height, bool [H, W]."""


@dataclass(frozen=True)
class Part:
    """What several good photographs say of the part that they show."""

    background: bool
    """Whether it lies before a background that reaches the border; otherwise it is everywhere."""
    size: float
    """Side of the square of the same area, in pixels of the photographs."""
    levels: float
    """From the 5th to the 95th percentile of its grey levels, of 255."""

    def __str__(self) -> str:
        where = "before a background" if self.background else "everywhere in the photograph"
        return f"the part lies {where}, {self.size:.0f} pixels large, {self.levels:.0f} grey levels"

    def mask(self, photograph: Pixels, inspected: Inspected | None = None) -> Mask:
        """Say which pixels of a photograph, uint8 [H, W, 3], show it, bool [H, W].

        ``inspected`` restricts them. None does where its frame is not of one colour, as
        those of the others are.
        """
        height, width = photograph.shape[:2]
        shown = np.ones((height, width), np.bool_)
        if self.background:
            found = Image.fromarray(_before_background(_small(photograph)))
            shown = np.asarray(found.resize((width, height), Image.Resampling.NEAREST))
        return shown if inspected is None else shown & inspected(width, height)


def measure_part(photographs: Sequence[Pixels], inspected: Inspected | None = None) -> Part:
    """Look at some of several good photographs, uint8 [H, W, 3] each, evenly chosen.

    A part stands before a background where the outermost frame of nearly all of them is of one
    colour, up to noise, and what differs from what is connected with it is neither a speck nor
    nearly everything.

    Raises:
        FolderError: none of them shows a part, or nothing of it is inspected.
    """
    count = min(len(photographs), _LOOKED_AT)
    looked_at = [photographs[i * len(photographs) // count] for i in range(count)]
    shares = [float(_before_background(_small(each)).mean()) for each in looked_at]
    stands = [_SMALLEST <= share <= _LARGEST for share in shares]
    part = Part(background=float(np.mean(stands)) >= _BACKGROUND, size=0.0, levels=0.0)
    masks = [part.mask(each, inspected) for each in looked_at]
    shown = [each.mean(-1)[mask] for each, mask in zip(looked_at, masks, strict=True) if mask.any()]
    if not shown:
        raise FolderError(
            f"none of {count} photographs shows a part of which something is inspected"
        )
    ranges = [np.quantile(grey, 0.95) - np.quantile(grey, 0.05) for grey in shown]
    return Part(
        background=part.background,
        size=float(np.median([np.sqrt(len(grey)) for grey in shown])),
        levels=float(np.median(ranges)),
    )


def _small(photograph: Pixels) -> NDArray[np.float32]:
    """Give a photograph with ``_SIDE`` pixels on the longer side, or its own, float32."""
    height, width = photograph.shape[:2]
    shrink = min(1.0, _SIDE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    small = Image.fromarray(photograph).resize(size, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32)


def _before_background(small: NDArray[np.float32]) -> Mask:
    """Tell what stands before the background, [h, w]; nothing, where the frame is uneven."""
    width = max(1, round(_FRAME * max(small.shape)))
    frame = np.ones(small.shape[:2], np.bool_)
    frame[width:-width, width:-width] = False
    away = np.abs(small - _light(small, frame)).max(-1)
    limit = max(_LEAST, _EVEN * _MAD_TO_STD * float(np.median(away[frame])))
    if (away[frame] <= limit).mean() < _BACKGROUND:
        return np.zeros_like(frame)
    if (away > limit).any():  # the edge of the part, at half its height: its shadow is lower
        limit = max(limit, float(np.quantile(away[away > limit], _STRONG)) / 2)
    background = ndimage.binary_propagation(frame & (away <= limit), mask=away <= limit)
    standing = ndimage.binary_opening(ndimage.binary_fill_holes(~background))
    labels, number = ndimage.label(standing, np.ones((3, 3)))
    if not number:
        return np.zeros_like(frame)
    areas = np.bincount(labels.ravel())[1:]
    return np.asarray(np.isin(labels, 1 + np.flatnonzero(areas >= areas.max() / 10)))


def _light(small: NDArray[np.float32], frame: Mask) -> NDArray[np.float32]:
    """Continue the light of the frame over the photograph: a surface of second order, [h, w, 3].

    What lies far from it, as a part that reaches the border, is left out of a second fit.
    """
    y, x = np.meshgrid(*(np.linspace(-1, 1, side) for side in frame.shape), indexing="ij")
    terms = np.stack([np.ones_like(x), x, y, x * x, x * y, y * y], axis=-1)
    used = frame
    for _ in range(2):
        surface: NDArray[np.float32] = terms @ np.linalg.lstsq(terms[used], small[used])[0]
        away = np.abs(small - surface).max(-1)
        used = frame & (away <= max(_LEAST, _EVEN * float(np.median(away[frame]))))
    return surface
