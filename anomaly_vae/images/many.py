"""More images than fit into memory: where their pixels lie, and how some of them are chosen.

Letters: N images, S x T pixels of the frame, C channels.
"""

import math
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import write_all

S = TypeVar("S", bound=np.generic)
Pixels = NDArray[np.uint8]
_CHUNK = 2**24
IN_MEMORY = 2**30
"""Bytes of pixels that are kept in memory; more go into a file."""
_AT_ONCE, _MOST_AT_ONCE = 2**22, 16


def at_once(shape: Sequence[int]) -> int:
    """Give how many frames of a shape, [S, T, ...], a model computes at once: 16, of large fewer.

    As many pixels as in 40 frames of 320 x 320: what a trunk makes of them takes half a gigabyte.
    """
    return max(1, min(_MOST_AT_ONCE, _AT_ONCE // math.prod(shape[:2])))


def let_go(numbers: NDArray[np.generic]) -> None:
    """Let the system take back the memory of what was read or written of a file; it keeps all."""
    base: object = numbers
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)


def in_pieces(numbers: NDArray[S], length: int = 1) -> Iterator[NDArray[S]]:
    """Give so many rows at a time, each time letting go of those before."""
    for begin in range(0, len(numbers), length):
        yield numbers[begin : begin + length]
        let_go(numbers)


def room_for(
    shape: tuple[int, ...], dtype: np.dtype[S], scratch: Path | None, *, limit: float = IN_MEMORY
) -> NDArray[S]:
    """Make room for numbers: in memory, or beyond ``limit`` bytes on a disk.

    There it is a file without a name in ``scratch`` (or the nearest folder above it that exists),
    which is gone when the program ends, however that is. The system keeps in memory what of it
    there is room for.

    Raises:
        OutputError: it does not fit on the disk.
    """
    size = math.prod(shape) * dtype.itemsize
    if scratch is None or size <= limit:
        return np.empty(shape, dtype)
    there = next(each for each in (scratch, *scratch.resolve().parents) if each.is_dir())
    try:
        with TemporaryFile(dir=there) as file:
            _reserve(file, size)
            return np.memmap(file, dtype, "r+", shape=shape)
    except OSError as error:
        raise OutputError(
            f"{there}: has no room for {size / 2**30:.1f} GiB of images or features "
            f"({error.strerror}); choose another --out, or make room"
        ) from error


def _reserve(file: IO[bytes], size: int) -> None:
    """Let a file have its room on the disk: one that is found full later kills the program."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
        return
    zeros = bytes(min(size, _CHUNK))
    for begin in range(0, size, _CHUNK):
        write_all(file, zeros[: size - begin])


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
        let_go(self._pixels)
        return pixels
