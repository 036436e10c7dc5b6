"""The nearest good part of photographs: what ``anomaly-vae restore`` does.

Images are read, restored and written some at a time, so that memory does not grow with the folder.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.ahead import read_ahead, usable_cores
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.sources import images_below
from anomaly_vae.latent.restoration import restore
from anomaly_vae.outputs import prepare_folder, refuse_folder
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.restorations import RESTORED, TABLE, Row, save_restored
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.tables import CsvTable
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.workflows.opening import open_pixel_model, read_photographs

_BATCH = 16


@dataclass(frozen=True)
class Restored:
    """What became of photographs."""

    images: int
    unreadable: list[str]
    notes: list[str]
    """What a person should know of them, each a line."""
    unlisted: list[FolderError]
    """Folders that could not be listed."""


def restore_image(
    run: Path, image: Path, out: Path, *, overwrite: bool = False
) -> tuple[Row, list[str]]:
    """Draw the nearest good part of a photograph; gives its scores, and what is to be known of it.

    Raises:
        ImageReadError: the photograph cannot be read.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    config, detector = open_pixel_model(run)
    refuse_folder(out, RESTORED, overwrite=overwrite)
    photographs, notes = read_photographs([image], config.images)
    found = restore(detector, photographs)
    prepare_folder(out, RESTORED, overwrite=overwrite)
    save_restored(found, 0, out)
    return Row(str(image), float(found.score[0]), float(found.restored_score[0])), notes


def restore_folder(
    run: Path, folder: Path, out: Path, *, overwrite: bool = False, track: Track = untracked
) -> Restored:
    """Draw the nearest good part of each image of a folder; a row is on disk with its pictures.

    Raises:
        FolderError: the folder holds no readable image.
        ModelFileError, OutputError: the run or ``out`` cannot be used.
    """
    config, detector = open_pixel_model(run)
    refuse_folder(out, RESTORED, overwrite=overwrite)
    source = images_below(folder, skip=out)
    prepare_folder(out, RESTORED, overwrite=overwrite)

    def load(path: str) -> LoadedImage:
        return load_image(folder / path, config.images)

    loaded = read_ahead(source.paths, load, workers=usable_cores(), ahead=_BATCH)
    done, unreadable = 0, list[Row]()
    for row, narrow in track(_written(detector, loaded, out), "Restoring", source.total):
        done += not row.error
        unreadable += [row] if row.error else []
        source.narrow.extend([row.path] if narrow else [])
    if not done:
        first = unreadable[0]
        raise FolderError(
            f"{folder}: none of {len(unreadable)} images is readable; {first.path}: {first.error}"
        )
    return Restored(done, [row.path for row in unreadable], source.notes, source.unlisted)


def _written(
    detector: Detector, loaded: Iterator[tuple[str, LoadedImage | ImageReadError]], out: Path
) -> Iterator[tuple[Row, bool]]:
    """Restore and write images; yields each row, and whether its image uses little of its range."""
    table = CsvTable(out / TABLE, Row._fields)
    known = None
    try:
        while batch := list(islice(loaded, _BATCH)):
            for row, narrow in _restored(detector, batch, out):
                known = table.write(known, [[spelled(row.path), *row[1:]]])
                yield row, narrow
    finally:
        table.close()


def _restored(
    detector: Detector, batch: Sequence[tuple[str, LoadedImage | ImageReadError]], out: Path
) -> Iterator[tuple[Row, bool]]:
    """Restore what could be read of a few images, in their order."""
    squares = [image.pixels for _, image in batch if isinstance(image, LoadedImage)]
    found = restore(detector, np.stack(squares)) if squares else None
    numbers = iter(range(len(squares)))
    for path, image in batch:
        if found is None or isinstance(image, ImageReadError):
            yield Row(path, error=str(image)), False
            continue
        number = next(numbers)
        save_restored(found, number, out, path)
        scores = float(found.score[number]), float(found.restored_score[number])
        yield Row(path, *scores), image.narrow
