"""Labelled images: their findings, and whether the model has seen them before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.calibration.seen import among, packed
from anomaly_vae.errors import FolderError, ModelFileError
from anomaly_vae.images.files import list_images
from anomaly_vae.images.levels import said_narrow
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import Track


class Photographs(NamedTuple):
    """The images of a folder: all below it, or some."""

    folder: Path
    paths: tuple[str, ...] | None = None
    """Relative to the folder; None: all."""

    def listed(self, left_out: LeftOut | None = None, volumes: str = "") -> Sequence[str]:
        """Give the paths; ``left_out`` counts what holds no photographs; see ``list_images``.

        Raises:
            FolderError: the folder is missing, or holds no image.
        """
        if self.paths is not None:
            return self.paths
        return list_images(self.folder, left_out=left_out, volumes=volumes)


@dataclass(frozen=True)
class LabelledFolder:
    """The readable images of a folder, as a model sees them."""

    folder: Path
    findings: list[Finding]
    unreadable: list[str]
    notes: tuple[str, ...] = ()
    """What a person should know of them, each a line."""

    @property
    def paths(self) -> list[str]:
        """The path of each image, relative to the folder."""
        return [finding.path for finding in self.findings]

    @property
    def scores(self) -> NDArray[np.float64]:
        """The score of each image, [N]."""
        return np.array([finding.score for finding in self.findings])

    @property
    def digests(self) -> list[str]:
        """The SHA-256 of each file that was inspected, whatever has become of it since."""
        return [finding.stamp.sha256 if finding.stamp else "" for finding in self.findings]


def inspect_all(
    inspector: Inspector, photographs: Photographs, track: Track, *, lean: bool = False
) -> LabelledFolder:
    """Inspect the images of a folder; with ``lean``, the findings have no pixels and no maps.

    Raises:
        FolderError: it is missing, or holds no readable image.
    """
    left_out = LeftOut()
    folder = photographs.folder
    paths = photographs.listed(left_out, inspector.card.images.volumes)
    inspected = inspector.inspect_files(folder, paths)
    tracked = track(inspected, f"Scoring {folder.name}", len(paths))
    findings = [each.lean() if lean else each for each in tracked]
    readable = [finding for finding in findings if finding.verdict != "error"]
    if not readable:
        raise FolderError(f"{folder}: none of {len(paths)} images is readable; {findings[0].error}")
    unreadable = [finding.path for finding in findings if finding.verdict == "error"]
    narrow = said_narrow([each.path for each in readable if each.image and each.image.narrow])
    notes = tuple(note for note in (str(left_out) if left_out else "", narrow) if note)
    return LabelledFolder(folder, readable, unreadable, notes)


def with_origins(card: ModelCard, run: Path) -> ModelCard:
    """Give a card that says which images its model was made and set with.

    That of an older model does not; then ``normals.csv`` in its run folder may.
    """
    table = run / "normals.csv"
    if card.learned_from or not table.is_file():
        return card
    try:
        known = pd.read_csv(
            table,
            usecols=["seen", "sha256"],
            dtype={"seen": "bool", "sha256": "str"},
            encoding_errors="backslashreplace",
        )
        learned, held_out = (known["sha256"][known["seen"] == seen] for seen in (True, False))
        return replace(
            card, learned_from=packed(learned), set_with=packed(held_out, known=card.set_with)
        )
    except (OSError, TypeError, ValueError) as error:
        raise ModelFileError(
            f"{table}: damaged ({type(error).__name__}); remove it, and no image counts as seen"
        ) from error


def seen_before(card: ModelCard, images: LabelledFolder, *, calibrated: bool) -> list[str]:
    """Give the images that a model has learned from, or with ``calibrated`` was set with.

    Judged by the content of the files; see ``with_origins``.
    """
    packs = [card.learned_from] + ([card.set_with] if calibrated else [])
    if not any(packs):
        return []
    known = among(images.digests, *packs)
    return [finding.path for finding in compress(images.findings, known)]
