"""Labelled images: their findings, their masks, and whether the model has seen them before."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.decoding import load_mask
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import Track
from anomaly_vae.settings.schema import ImageSettings
from anomaly_vae.training.dataset import digest

MARKS = ("good", "defect")


class Photographs(NamedTuple):
    """The images of a folder: all below it, or some."""

    folder: Path
    paths: tuple[str, ...] | None = None
    """Relative to the folder; None: all."""

    def listed(self) -> Sequence[str]:
        """Give the paths.

        Raises:
            FolderError: the folder is missing, or holds no image.
        """
        return list_images(self.folder) if self.paths is None else self.paths


def read_marks(table: Path, folder: Path) -> tuple[Photographs, Photographs | None]:
    """Give the good and the defective images below ``folder`` that a CSV file names.

    It has the columns ``path`` and ``mark`` (``good`` or ``defect``), as ``report.html`` gives it.

    Raises:
        FolderError: the file is not such a table, or names an image that is not there.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = [(row["path"], row["mark"]) for row in csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise FolderError(
            f"{table}: cannot be read as a CSV file with the columns path and mark; expected the "
            "marks that report.html gives"
        ) from error
    for path, mark in rows:
        if mark not in MARKS:
            raise FolderError(f"{table}: {path} is marked {mark!r}; expected {' or '.join(MARKS)}")
        if not (folder / path).is_file():
            raise FolderError(f"{folder / path}: is in {table}, but not there; give the folder "
                              "that was inspected as --images")  # fmt: skip
    good, defective = (tuple(path for path, mark in rows if mark == each) for each in MARKS)
    if not good:
        raise FolderError(f"{table}: marks no image as good; expected some")
    return Photographs(folder, good), Photographs(folder, defective) if defective else None


@dataclass(frozen=True)
class LabelledFolder:
    """The readable images of a folder, as a model sees them."""

    folder: Path
    findings: list[Finding]
    unreadable: list[str]

    @property
    def scores(self) -> NDArray[np.float64]:
        """The score of each image, [N]."""
        return np.array([finding.score for finding in self.findings])

    @cached_property
    def digests(self) -> list[str]:
        """The SHA-256 of each file; read once."""
        return [digest(self.folder / finding.path) for finding in self.findings]


def check_labelled(test: Path) -> None:
    """Make sure that a folder has one sub-folder per class, one of them ``good``.

    Raises:
        FolderError: it has not.
    """
    try:
        classes = sorted(entry.name for entry in test.iterdir() if entry.is_dir())
    except OSError as error:
        raise FolderError(f"{test}: {error.strerror}; expected a labelled folder") from error
    if "good" not in classes or len(classes) < 2:
        raise FolderError(
            f"{test}: has the sub-folders {classes}; expected one per class, one of them 'good'"
        )


def classes_of(folder: LabelledFolder) -> NDArray[np.str_]:
    """Give the class, the name of its sub-folder, of each image of a labelled folder, [N].

    Raises:
        FolderError: an image lies in none.
    """
    stray = [finding.path for finding in folder.findings if "/" not in finding.path]
    if stray:
        raise FolderError(f"{folder.folder}: {stray[0]} lies in no class folder; move it into one")
    return np.array([finding.path.split("/")[0] for finding in folder.findings])


def inspect_all(inspector: Inspector, photographs: Photographs, track: Track) -> LabelledFolder:
    """Inspect the images of a folder.

    Raises:
        FolderError: it is missing, or holds no readable image.
    """
    folder, paths = photographs.folder, photographs.listed()
    inspected = inspector.inspect_files(folder, paths)
    findings = list(track(inspected, f"Scoring {folder.name}", len(paths)))
    readable = [finding for finding in findings if finding.verdict != "error"]
    if not readable:
        raise FolderError(f"{folder}: none of {len(paths)} images is readable; {findings[0].error}")
    unreadable = [finding.path for finding in findings if finding.verdict == "error"]
    return LabelledFolder(folder, readable, unreadable)


def seen_before(run: Path, images: LabelledFolder, *, calibrated: bool) -> list[str]:
    """Give the images that the model in ``run`` has seen, or also those it was calibrated on.

    Judged by the content of the files and ``normals.csv``, which may not be there.
    """
    table = run / "normals.csv"
    if not table.is_file():
        return []
    known = pd.read_csv(table, usecols=["seen", "sha256"], encoding_errors="backslashreplace")
    if not calibrated:
        known = known[known["seen"]]
    digests = set(known["sha256"])
    return [
        finding.path
        for finding, each in zip(images.findings, images.digests, strict=True)
        if each in digests
    ]


def read_masks(
    paths: Sequence[str], classes: NDArray[np.str_], folder: Path, settings: ImageSettings
) -> NDArray[np.bool_]:
    """Read the masks of the images at ``paths``, [N, S, S]; those of class ``good`` are empty.

    Raises:
        FolderError: a mask is missing or cannot be read.
    """
    empty = np.zeros((settings.size, settings.size), bool)
    return np.stack(
        [
            empty if name == "good" else _read_mask(path, folder, settings)
            for path, name in zip(paths, classes, strict=True)
        ]
    )


def _read_mask(path: str, folder: Path, settings: ImageSettings) -> NDArray[np.bool_]:
    """Read the mask of the image at ``path``, named like it with ``_mask`` or without."""
    stem = folder / Path(path).with_suffix("")
    for candidate in (stem.with_name(f"{stem.name}_mask.png"), stem.with_name(f"{stem.name}.png")):
        if candidate.is_file():
            try:
                return load_mask(candidate, settings)
            except ImageReadError as error:
                raise FolderError(f"{candidate}: {error}") from error
    raise FolderError(
        f"{folder}: has no mask for {path}; expected {stem.name}_mask.png in {stem.parent}"
    )
