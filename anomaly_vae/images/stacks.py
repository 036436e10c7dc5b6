"""A part as a model sees it: a photograph, or a stack of slices, one below the other in the frame.

Whatever handles photographs handles stacks: a sheet of slices is a tall picture. Only who reads
files, the features, and who looks for regions know where one slice ends and the next begins.

Letters: D slices, S x T pixels of the frame of one slice.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.decoding import LoadedImage, load_image, prepared
from anomaly_vae.images.opening import opened, pages, slices_in
from anomaly_vae.images.quality import image_statistics
from anomaly_vae.settings.images import ImageSettings

P = TypeVar("P", bound=np.generic)


def load_part(path: Path, settings: ImageSettings, data: bytes | None = None) -> LoadedImage:
    """Give the photograph, or the stack, whose (first) file is ``path``; see ``load_image``.

    Raises:
        ImageReadError: as ``load_image``; of a stack, too, where it has another number of slices
            than ``settings`` say, or they have different sizes.
    """
    if not settings.slices:
        return load_image(path, settings, data)
    files, count = slices_in(path, settings)
    if count != settings.stacked:
        raise ImageReadError(
            f"{count} slice{'s' if count > 1 else ''}; expected {settings.stacked} in a stack, as "
            "pages of a file, or as files that images.volumes makes one"
        )
    slices, one = [], settings.of_slice
    if len(files) == 1:
        slices += [prepared(page, one) for page in pages(path, one, data)]
    for file in files if len(files) > 1 else ():
        with opened(file, one) as photograph:
            slices.append(prepared(photograph, one))
    return _joined(slices)


def _joined(slices: Sequence[LoadedImage]) -> LoadedImage:
    """Put slices one below the other."""
    sizes = {(each.width, each.height) for each in slices}
    if len(sizes) > 1:
        (one, other, *_) = sorted(sizes)
        raise ImageReadError(
            f"has slices of {one[0]} x {one[1]} and of {other[0]} x {other[1]} pixels; expected "
            "all of one size"
        )
    pixels = np.concatenate([each.pixels for each in slices])
    return replace(
        slices[0],
        pixels=pixels,
        statistics=image_statistics(pixels),
        narrow=all(each.narrow for each in slices),
        slices=len(slices),
    )


def apart(sheet: NDArray[P], slices: int) -> NDArray[P]:
    """Give the slices, [D, S, T, ...], of a sheet or its map, [D * S, T, ...]; no copy."""
    return sheet.reshape(slices, -1, *sheet.shape[1:])


def columns_of(slices: int) -> int:
    """Give how many slices lie in a row of ``side_by_side``."""
    return math.isqrt(max(slices, 1) - 1) + 1


def side_by_side(sheet: NDArray[P], slices: int) -> NDArray[P]:
    """Lay a sheet or its map out for people: in about as many rows as columns, filled with 0."""
    if slices < 2:
        return sheet
    each, columns = apart(sheet, slices), columns_of(slices)
    rows = -(-slices // columns)
    filled = np.zeros((rows * columns, *each.shape[1:]), sheet.dtype)
    filled[:slices] = each
    lines = filled.reshape(rows, columns, *each.shape[1:]).swapaxes(1, 2)
    return lines.reshape(rows * each.shape[1], columns * each.shape[2], *each.shape[3:])
