"""How a photograph becomes the frame of pixels that the model sees: settings that a model holds."""

from dataclasses import replace
from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from anomaly_vae.settings.values import (
    FULL_RANGE,
    Frame,
    MaskText,
    Pattern,
    Polygon,
    Slices,
    WhiteLevel,
)

_STRICT = ConfigDict(extra="forbid", strict=True, defer_build=True)

Fit = Literal["keep", "stretch", "letterbox"]
Filter = Literal["bilinear", "box", "bicubic", "lanczos"]
STEP = 32
"""Pixels of which the sides of a frame are multiples: trunks halve it up to five times."""
FINEST = 16
"""Largest ``detail``."""


@dataclass(frozen=True, config=_STRICT)
class ImageSettings:
    """How a photograph becomes the frame of pixels that the model sees."""

    size: int = Field(default=320, ge=16, le=2048)
    """The frame has as many pixels as a square of this side; about, where it is none."""
    detail: float = Field(default=1.0, ge=1, le=FINEST)
    """How many times finer than `size` the frame is: 2 has twice the side and four times the
    places, for defects half as large."""
    fit: Fit = "keep"
    """`keep`: the photographs' proportions; `stretch`: a square that they fill; `letterbox`: one
    in which they lie on black, which is judged, too."""
    frame: Frame = ()
    """Height and width of the frame in pixels, for `keep`; none: those of the training images are
    found, and stored instead."""
    padded: bool = False
    """Whether photographs are fitted into the frame, and what is beside them counts for nothing;
    found with the frame, where training images have different proportions."""
    filter: Filter = "lanczos"
    """How a photograph is made smaller, each with antialiasing; `lanczos` keeps most detail."""
    min_size: int = Field(default=16, ge=1)
    """Shortest side that is accepted, in pixels; smaller images are errors."""
    max_pixels: int = Field(default=100_000_000, ge=1)
    """Largest accepted width x height, in pixels: the guard against decompression bombs."""
    white_level: WhiteLevel = "auto"
    """16-bit value that becomes white, the same for all images (4095 for a 12-bit camera); `auto`:
    that of the 8, 10, 12, 14 or 16 bits that the training images use, which is stored instead."""
    black_level: int = Field(default=0, ge=-32768, lt=FULL_RANGE)
    """16-bit value that becomes black, for thermal cameras and X-ray detectors; below the white."""
    slices: Slices = 0
    """Slices, or frames of a clip, of a part that is a stack of them, seen one below the other;
    `auto`: as many as the first that is learned from, stored instead (0: photographs)."""
    volumes: Pattern = ""
    """Regular expression on names of files, each a slice: those of a folder with the same match are
    one stack, in the order of their numbers (empty: the pages of a file are one)."""
    roi: MaskText = ""
    """Mask of what is inspected, as `train --roi MASK.png` stores it (empty: everything)."""
    inspect: tuple[Polygon, ...] = ()
    """Polygons of what is inspected (none: everything); corners [x, y] as shares of the sides."""
    ignore: tuple[Polygon, ...] = ()
    """Polygons of what is ignored, wherever it would be inspected otherwise; corners as above."""

    def __post_init__(self) -> None:
        """Check what concerns more than one field."""
        if self.white_level != "auto" and self.black_level >= self.white_level:
            raise ValueError("images.black_level must be below images.white_level")
        if self.fit != "keep" and (self.frame or self.padded):
            raise ValueError("images.frame and images.padded need images.fit 'keep'")
        if self.volumes and not self.slices:
            raise ValueError("images.volumes needs images.slices: give --config volume or slices")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the frame, of all slices together.

        As long as they are to be found, those of a square, and of one slice.
        """
        height, width = self.side, self.side
        if self.fit == "keep" and self.frame:
            height, width = self.frame
        return self.stacked * height, width

    @property
    def stacked(self) -> int:
        """How many slices lie one below the other in the frame; 1 of a photograph."""
        return self.slices if isinstance(self.slices, int) and self.slices else 1

    @property
    def of_slice(self) -> "ImageSettings":
        """How each slice of a stack becomes its part of the frame: as a photograph does."""
        return replace(self, slices=0, volumes="")

    @property
    def side(self) -> int:
        """Side of the square that has as many pixels as the frame, about."""
        if self.detail == 1:
            return self.size
        return max(1, round(self.size * self.detail / STEP)) * STEP

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of what the model takes; RGB, and alpha where padded."""
        return *self.shape, 4 if self.padded else 3

    @property
    def white(self) -> int:
        """The 16-bit value that becomes white; as long as it is to be found, the highest."""
        return FULL_RANGE if self.white_level == "auto" else self.white_level

    @property
    def restricted(self) -> bool:
        """Whether there is a region of interest, or something to ignore."""
        return bool(self.roi or self.inspect or self.ignore)
