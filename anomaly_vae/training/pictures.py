"""What a trunk of our own learns from: squares of photographs, and pictures that are drawn.

Letters: M pictures, B x B pixels of each.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import read_ahead, usable_cores
from anomaly_vae.images.decoding import decode_image
from anomaly_vae.images.files import list_images
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.images.textures import draw_picture
from anomaly_vae.progress import Track, untracked
from anomaly_vae.settings.images import ImageSettings

SIDE = 288
"""Side of a picture in the bank, in pixels."""
_LONG = 1.1  # proportions from which a photograph gives two squares, one at each end


def read_bank(
    folder: Path | None,
    drawn: int,
    *,
    seed: int,
    side: int = SIDE,
    track: Track = untracked,
    warned: Callable[[str], None] = lambda _: None,
) -> Tensor:
    """Give a bank of pictures, uint8 [M, 3, B, B]: all in ``folder``, and ``drawn`` others.

    ``warned`` hears of files that are left out.

    Raises:
        FolderError: the folder is missing or has no image that can be read, or there is none and
            nothing is to be drawn.
    """
    squares = _photographs(folder, side, track, warned) if folder else []
    draw = partial(_drawn, seed=seed, side=side)
    # Processes: drawing holds Python's lock. Spawned ones, because torch has threads already.
    with ProcessPoolExecutor(usable_cores(), mp_context=get_context("spawn")) as pool:
        drawing = pool.map(draw, range(drawn), chunksize=16) if drawn else ()
        squares += track(drawing, "Drawing pictures", drawn)
    if not squares:
        raise FolderError("there is nothing to learn from; give --pictures DIR, or --drawn 1000")
    return torch.from_numpy(np.stack(squares)).permute(0, 3, 1, 2).contiguous()


def _drawn(index: int, *, seed: int, side: int) -> NDArray[np.uint8]:
    return draw_picture(np.random.default_rng((seed, index)), side)


def _photographs(
    folder: Path, side: int, track: Track, warned: Callable[[str], None]
) -> list[NDArray[np.uint8]]:
    left_out, squares = LeftOut(), list[NDArray[np.uint8]]()
    names, unreadable = list_images(folder, left_out=left_out), list[str]()
    reading = read_ahead(names, lambda name: _squares(folder / name, side), workers=8, ahead=32)
    for name, found in track(reading, "Reading pictures", len(names)):
        if isinstance(found, ImageReadError):
            unreadable.append(f"{name}: {found}")
        else:
            squares += found
    if not squares:
        raise FolderError(f"{folder}: none of {len(names)} images is readable; {unreadable[0]}")
    if unreadable:
        warned(
            f"left out as unreadable: {len(unreadable)} of {len(names)} pictures; first "
            f"{unreadable[0]}"
        )
    if left_out:
        warned(str(left_out))
    return squares


def _squares(path: Path, side: int) -> list[NDArray[np.uint8]]:
    """Shrink a photograph so that its short side fits, and cut off one square or two."""
    image = decode_image(path, ImageSettings())
    width, height = image.size
    factor = side / min(width, height)
    size = max(side, round(width * factor)), max(side, round(height * factor))
    pixels = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
    first, last = pixels[:side, :side], pixels[-side:, -side:]
    return [first, last] if max(size) > _LONG * side else [first]
