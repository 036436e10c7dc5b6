"""More images than fit into memory: where their pixels lie, and how some of them are chosen.

Letters: N images, S x T pixels of the frame, C channels.
"""

import math
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import overload

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import OutputError

Pixels = NDArray[np.uint8]
IN_MEMORY = 2**30
"""Bytes of pixels that are kept in memory; more go into a file."""


def room_for(count: int, image: tuple[int, int, int], scratch: Path | None) -> Pixels:
    """Make room for images, uint8 [count, S, T, C], each of the shape ``image``.

    Beyond ``IN_MEMORY`` it is a file without a name in ``scratch`` (or the nearest folder above it
    that exists), which is gone when the program ends, however that is. The system keeps in memory
    what of it there is room for.

    Raises:
        OutputError: it does not fit on the disk.
    """
    shape = (count, *image)
    if scratch is None or math.prod(shape) <= IN_MEMORY:
        return np.empty(shape, np.uint8)
    there = next(each for each in (scratch, *scratch.resolve().parents) if each.is_dir())
    try:
        with TemporaryFile(dir=there) as file:
            if hasattr(os, "posix_fallocate"):  # a disk found full later would kill the program
                os.posix_fallocate(file.fileno(), 0, math.prod(shape))
            return np.memmap(file, np.uint8, "w+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"{there}: has no room for {math.prod(shape) / 2**30:.1f} GiB of images "
            f"({error.strerror}); choose another --out, or make room"
        ) from error


class Chosen:
    """Some of many images, [N, S, T, C], which are not copied before they are asked for."""

    def __init__(self, pixels: Pixels, chosen: NDArray[np.bool_]) -> None:
        self._pixels, self._indices = pixels, np.flatnonzero(chosen)

    def __len__(self) -> int:
        return len(self._indices)

    @overload
    def __getitem__(self, place: int) -> Pixels: ...

    @overload
    def __getitem__(self, place: slice) -> Pixels: ...

    def __getitem__(self, place: int | slice) -> Pixels:
        pixels: Pixels = np.asarray(self._pixels[self._indices[place]])
        return pixels
