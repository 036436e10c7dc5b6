"""What ``restore`` writes: pictures of each image, and of a folder a table.

Images are read, restored and written some at a time, so that memory does not grow with the folder.
"""

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.sources import Source
from anomaly_vae.latent.restoration import Restoration, restore
from anomaly_vae.outputs import Made
from anomaly_vae.reporting.heatmaps import picture_path
from anomaly_vae.reporting.latents import save_restoration
from anomaly_vae.reporting.pictures import save_picture
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.tables import CsvTable
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import ImageSettings

TABLE = "restorations.csv"
_PICTURES = ("restored", "difference", "restoration")
RESTORED = Made("restore", (TABLE, *_PICTURES, *(f"{name}.png" for name in _PICTURES)))
_BATCH = 16

Square = NDArray[np.uint8]


class Row(NamedTuple):
    """What became of one image."""

    path: str
    """Relative to the folder."""
    score: float | None = None
    restored_score: float | None = None
    error: str = ""
    """Why it could not be read."""


def restore_folder(
    detector: Detector, settings: ImageSettings, source: Source, out: Path
) -> Iterator[Row]:
    """Restore the images of a folder; yields a row as soon as it and its pictures are written.

    Raises:
        OutputError: they cannot be written.
    """

    def load(path: str) -> Square:
        return load_image(source.folder / path, settings).pixels

    loaded = read_ahead(source.paths, load, workers=os.cpu_count() or 1, ahead=_BATCH)
    table = CsvTable(out / TABLE, Row._fields)
    known = None
    try:
        while batch := list(islice(loaded, _BATCH)):
            for row in _restored(detector, batch, out):
                known = table.write(known, [[spelled(row.path), *row[1:]]])
                yield row
    finally:
        table.close()


def save_restored(found: Restoration, number: int, out: Path, path: str = "") -> None:
    """Write the nearest good part of one of the images, the difference, and both side by side.

    Each is a file in ``out``, or, with the ``path`` of an image in a folder, in a folder there.

    Raises:
        OutputError: they cannot be written.
    """
    restored, difference, side_by_side = (
        picture_path(out / name, path, ".png") if path else out / f"{name}.png"
        for name in _PICTURES
    )
    save_picture(found.restored[number], restored)
    save_picture(found.difference[number], difference)
    scores = float(found.score[number]), float(found.restored_score[number])
    side_by_side.parent.mkdir(parents=True, exist_ok=True)
    save_restoration(found.seen[number], found.restored[number], scores, side_by_side)


def _restored(
    detector: Detector, batch: Sequence[tuple[str, Square | ImageReadError]], out: Path
) -> Iterator[Row]:
    """Restore what could be read of a few images, in their order."""
    squares = [image for _, image in batch if not isinstance(image, ImageReadError)]
    found = restore(detector, np.stack(squares)) if squares else None
    numbers = iter(range(len(squares)))
    for path, image in batch:
        if found is None or isinstance(image, ImageReadError):
            yield Row(path, error=str(image))
            continue
        number = next(numbers)
        save_restored(found, number, out, path)
        yield Row(path, float(found.score[number]), float(found.restored_score[number]))
