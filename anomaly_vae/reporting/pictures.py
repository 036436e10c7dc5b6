"""Plain pictures of parts: single files, a sheet of many, an animation.

Letters: N pictures, S x T pixels of a picture, T frames.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from anomaly_vae.errors import OutputError

Pictures = NDArray[np.uint8]

_SHOWN_SIDE = 128  # smaller pictures are enlarged to this in grids and animations
_GAP = 4
_EPOCH_SIDE, _EPOCH_ROWS = 96, 4
_FRAME_MILLISECONDS, _PAUSE_MILLISECONDS = 60, 600


def save_picture(picture: Pictures, path: Path, *, compression: int = 6) -> None:
    """Write one picture, [S, T, 3]; ``compression`` is that of zlib, from 0 to 9.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, compress_level=compression)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def save_pictures(pictures: Pictures, folder: Path) -> None:
    """Write pictures, [N, S, T, 3], as ``000.png`` and so on; raises as ``save_picture``."""
    digits = max(3, len(str(len(pictures) - 1)))
    for number, picture in enumerate(pictures):
        save_picture(picture, folder / f"{number:0{digits}d}.png")


def save_grid(pictures: Pictures, path: Path) -> None:
    """Draw pictures, [N, S, T, 3], side by side in about as many rows as columns."""
    tiles = [_enlarged(picture) for picture in pictures]
    columns = int(np.ceil(np.sqrt(len(tiles))))
    rows = int(np.ceil(len(tiles) / columns))
    across, down = tiles[0].width + _GAP, tiles[0].height + _GAP
    sheet = Image.new("RGB", (columns * across - _GAP, rows * down - _GAP), "white")
    for number, tile in enumerate(tiles):
        sheet.paste(tile, (number % columns * across, number // columns * down))
    sheet.save(path)


def save_epoch(seen: Pictures, reconstructed: Pictures, drawn: Pictures, path: Path) -> None:
    """Draw parts beside their reconstructions, [N, S, T, 3], and right of them drawn ones.

    Four rows, and small: there is one such sheet for every epoch.

    Raises:
        OutputError: it cannot be written.
    """
    step, columns = _EPOCH_SIDE + _GAP, -(-len(drawn) // _EPOCH_ROWS)
    size = (columns + 2) * step + _GAP, _EPOCH_ROWS * step - _GAP
    sheet = Image.new("RGB", size, "white")
    pairs = [picture for pair in zip(seen, reconstructed, strict=True) for picture in pair]
    for pictures, width, left in ((pairs, 2, 0), (drawn, columns, 2 * step + 2 * _GAP)):
        for number, picture in enumerate(pictures):
            side = (_EPOCH_SIDE, _EPOCH_SIDE)
            tile = ImageOps.contain(Image.fromarray(picture), side, Image.Resampling.BILINEAR)
            sheet.paste(tile, (left + number % width * step, number // width * step))
    # A training should not wait for it: a file 6 % smaller would take four times as long.
    save_picture(np.asarray(sheet), path, compression=1)


def save_animation(frames: Pictures, path: Path) -> None:
    """Write an endless film of frames, [T, S, T, 3], to the last and back, with a pause at ends.

    GIF or WebP, as ``path`` ends.
    """
    there = [_enlarged(frame) for frame in frames]
    if path.suffix == ".gif":
        there = _with_one_palette(there)
    durations = [_FRAME_MILLISECONDS] * len(there)
    durations[0] = durations[-1] = _PAUSE_MILLISECONDS
    first, *others = there + there[-2:0:-1]
    first.save(path, save_all=True, append_images=others, loop=0,
               duration=durations + durations[-2:0:-1])  # fmt: skip


def _with_one_palette(tiles: list[Image.Image]) -> list[Image.Image]:
    """Give pictures the same 256 colours: with some of each one's own, they would flicker."""
    sheet = Image.fromarray(np.concatenate([np.asarray(tile) for tile in tiles], axis=1))
    palette = sheet.quantize(256, dither=Image.Dither.NONE)
    return [tile.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for tile in tiles]


def _enlarged(picture: Pictures) -> Image.Image:
    image = Image.fromarray(picture)
    larger = max(1, _SHOWN_SIDE / max(image.size))
    size = round(image.width * larger), round(image.height * larger)
    return image.resize(size, Image.Resampling.BICUBIC)
