"""The shape of the frame of pixels that the model sees: that of the photographs it learns from."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.opening import slices_in, upright_size
from anomaly_vae.settings.images import STEP, ImageSettings
from anomaly_vae.settings.schema import CONVOLUTIONAL, Config
from anomaly_vae.settings.values import MOST_SLICES

# By what factor the proportions of photographs of one shape may differ from the usual ones (as a
# logarithm): they fill the frame all the same.
_ONE_SHAPE = 0.1
# The same for those that are inspected; the sides of the frame are rounded besides.
_ACCEPTED = 0.2
# Sides are multiples of it where ``STEP`` would be too coarse.
_SMALL_STEP, _SMALL = 16, 256
# How much the number of pixels counts beside the proportions, where both cannot be met.
_AREA = 0.5


def with_frame(
    folder: Path, paths: Sequence[str], config: Config, workers: int
) -> tuple[ImageSettings, str]:
    """Give the settings of images whose frame is known, and a line about it that may be empty.

    For ``keep`` it is that of the photographs; only their headers are read. Where their proportions
    differ, they are fitted into the frame, if the model can leave out what is beside them; one that
    cannot has them stretched. The frame of a stack is that of each slice, of which the first stack
    has as many as all.

    Raises:
        FolderError: parts are to be stacks, and the first is none.
    """
    images, counted = _with_slices(folder, paths, config.images)
    if images.fit != "keep" or images.frame:
        return images, counted

    sizes = sizes_of(folder, paths, workers, page=bool(images.slices))
    if not sizes:
        return images, counted
    ratios = np.array([math.log(width / height) for width, height in sizes])
    usual = float(np.median(ratios))
    varied = bool(np.abs(ratios - usual).max() > _ONE_SHAPE)
    can_pad = config.features.source != "pixels" and not config.features.align
    can_pad = can_pad and not images.slices
    step, size = _step(config), images.side
    if varied and can_pad:  # so that photographs have as many pixels as ``size`` says, in the mean
        filled = float(np.exp(-np.abs(ratios - usual)).mean())
        size = step * round(size / math.sqrt(filled) / step)
    height, width = frame = frame_of(math.exp(usual), size, step)
    note = "" if height == width else f"photographs are seen at {width} x {height} pixels"
    if varied:
        differ = (
            f"{math.exp(ratios.min()):.2f} to {math.exp(ratios.max()):.2f} times as wide as high"
        )
        how = "fitted into" if can_pad else "stretched to"
        note = f"photographs are {differ}: they are {how} {width} x {height} pixels"
    note = "; ".join(filter(None, (counted, note)))
    return replace(images, frame=frame, padded=varied and can_pad), note


def _with_slices(
    folder: Path, paths: Sequence[str], images: ImageSettings
) -> tuple[ImageSettings, str]:
    """Give the settings with the number of slices of a stack, and a line about it."""
    if images.slices != "auto":
        return images, ""
    try:
        _, count = slices_in(folder / paths[0], images)
    except ImageReadError as error:
        raise FolderError(f"{folder / paths[0]}: {error}; expected a stack of slices") from error
    if count > MOST_SLICES:
        raise FolderError(
            f"{folder / paths[0]}: {count} slices; expected {MOST_SLICES} or fewer: take every "
            "second one, say"
        )
    if count < 2:
        raise FolderError(
            f"{folder / paths[0]}: 1 picture, no stack of slices; give --volumes REGEX, which says "
            "what in the names of files is the same for the slices of one part"
        )
    return replace(images, slices=count), f"parts are stacks of {count} slices"


def sizes_of(
    folder: Path, paths: Sequence[str], workers: int, *, page: bool = False
) -> list[tuple[int, int]]:
    """Give width and height of all photographs that can be read, from their headers alone.

    With ``page`` those of the first page of each file.
    """

    def size_of(path: str) -> tuple[int, int]:
        return upright_size(folder / path, page=page)[0]

    read = read_ahead(paths, size_of, workers=workers, ahead=16)
    return [each for _, each in read if not isinstance(each, ImageReadError)]


def frame_of(ratio: float, size: int, step: int) -> tuple[int, int]:
    """Give height and width, multiples of ``step``, of about these proportions, width by height.

    They have about ``size`` x ``size`` pixels; a square has them exactly, whatever ``step`` is.
    """
    if ratio == 1:
        return size, size

    def apart(sides: tuple[int, int]) -> float:
        height, width = sides
        area = abs(math.log(height * width / size**2))
        return abs(math.log(width / height / ratio)) + _AREA * area

    height, width = size / math.sqrt(ratio), size * math.sqrt(ratio)
    return min(product(_around(height, step), _around(width, step)), key=apart)


def fitted(size: tuple[int, int], settings: ImageSettings) -> tuple[int, int]:
    """Give width and height of a photograph of ``size`` as large as the frame has room for it."""
    height, width = settings.shape
    scale = min(width / size[0], height / size[1])
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def misshapen(settings: ImageSettings, size: tuple[int, int]) -> str:
    """Say why a photograph of ``size`` (width, height) cannot fill the frame; empty if it can."""
    if not settings.frame or settings.padded:
        return ""
    height, width = settings.shape
    if abs(math.log(size[0] * height / (size[1] * width))) <= _ACCEPTED:
        return ""
    return (
        f"{size[0]} x {size[1]} pixels do not have the proportions of the photographs that the "
        f"model has learned from, {width} : {height}; train with both, or with images.fit=stretch"
    )


def _step(config: Config) -> int:
    usual = STEP if config.images.side >= _SMALL else _SMALL_STEP
    halved = 2**config.model.halvings if config.model.kind in CONVOLUTIONAL else 1
    return max(usual, halved)


def _around(side: float, step: int) -> list[int]:
    """Give the multiples of ``step`` next to ``side``."""
    below = max(1, math.floor(side / step))
    return [step * below, step * (below + 1)]
