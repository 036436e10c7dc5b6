"""Photographs that a model is taught by: marked defects, and good ones that it has not seen.

Letters: n good photographs, N of one class, S x T pixels of the frame, C channels.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.likeness import FEWEST
from anomaly_vae.errors import FolderError, TrainingError
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.progress import Track
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.scoring.batches import in_batches, parts_of_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import read_images
from anomaly_vae.training.split import group_keys
from anomaly_vae.workflows.labelled import Photographs
from anomaly_vae.workflows.unseen import UnseenGood


@dataclass(frozen=True)
class Described:
    """Photographs of one class as the model describes them, each content once."""

    folder: Path
    paths: list[str]
    digests: list[str]
    pixels: NDArray[np.uint8]
    """[N, S, T, 3 or 4]"""
    described: NDArray[np.float32]
    """[N, C]"""
    scores: NDArray[np.float32]
    """[N], without anything learned of defects."""
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, str]:
        """Give path and SHA-256 of each."""
        return dict(zip(map(spelled, self.paths), self.digests, strict=True))


@dataclass(frozen=True)
class Lesson:
    """All that is learned from."""

    unseen: UnseenGood
    bad: Described
    added: Described | None
    groups: list[str]
    """Of the good photographs, those unseen first."""

    @property
    def good(self) -> NDArray[np.float32]:
        """Descriptions of the good photographs, [n, C]."""
        added = [self.added.described] if self.added else []
        return np.concatenate([self.unseen.described, *added])

    @property
    def scores(self) -> NDArray[np.float32]:
        """Their scores, [n]."""
        return np.concatenate([self.unseen.score, *([self.added.scores] if self.added else [])])

    @property
    def digests(self) -> list[str]:
        """The SHA-256 of all photographs that were given."""
        return self.bad.digests + (self.added.digests if self.added else [])


def lesson_of(
    unseen: UnseenGood,
    detector: Detector,
    config: Config,
    given: tuple[Photographs, Photographs | None],
    track: Track,
) -> Lesson:
    """Describe what is ``given``, defective and good, for a ``detector`` that was not taught yet.

    Raises:
        TrainingError: the defects are too few, or a photograph is good and defective.
        FolderError: a folder cannot be used, or holds nothing new.
    """
    defective, good = given
    bad = _describe(detector, defective, config, (), track)
    trained = set(bad.digests).intersection(unseen.known.tolist())
    if trained:
        path = bad.paths[bad.digests.index(min(trained))]
        raise TrainingError(
            f"{bad.folder / path} and {len(trained) - 1} other defective images are among the good "
            "ones of the training; train again without them (--exclude)"
        )
    if len(bad.paths) < FEWEST:
        raise TrainingError(
            f"{bad.folder}: {len(bad.paths)} different defective images; expected {FEWEST} or more"
        )
    added = _describe(detector, good, config, unseen.known, track) if good else None
    both = set(bad.digests).intersection(added.digests if added else ())
    if both:
        path = bad.paths[bad.digests.index(min(both))]
        raise TrainingError(
            f"{bad.folder / path} and {len(both) - 1} other images are given as good, too; an "
            "image is either good or defective"
        )
    paths, digests = unseen.path.tolist(), unseen.sha256.tolist()
    if added:
        paths, digests = paths + added.paths, digests + added.digests
    return Lesson(unseen, bad, added, group_keys(paths, digests, config.split.group_by))


def _describe(
    detector: Detector,
    photographs: Photographs,
    config: Config,
    known: Iterable[str],
    track: Track,
) -> Described:
    """Read images, and describe each content once; those with the SHA-256 ``known`` are left out.

    Raises:
        FolderError: none is readable, or new.
    """
    images = read_images(
        photographs.folder,
        config.images,
        paths=photographs.paths,
        workers=usable_cores(),
        track=track,
    )
    first = {digest: index for index, digest in reversed([*enumerate(images.digests)])}
    which = sorted(first[digest] for digest in first.keys() - set(known))
    if not which:
        raise FolderError(
            f"{images.folder}: the model was trained on all {len(images.paths)} images in it; give "
            "others"
        )
    left_out = len(images.paths) - len(which)
    copies = f"{images.folder}: {left_out} images that are known or copies were left out"
    unreadable = [f"{images.folder / path}: {reason}; it is left out"
                  for path, reason in images.unreadable]  # fmt: skip
    pixels = images.pixels[which]
    (described,) = in_batches(detector, detector.described, pixels)
    scores = detector.join(*parts_of_images(detector, pixels)).score
    return Described(
        images.folder,
        [images.paths[index] for index in which],
        [images.digests[index] for index in which],
        pixels,
        described.numpy(),
        scores.numpy(),
        (*images.notes, *unreadable, *([copies] if left_out else [])),
    )
