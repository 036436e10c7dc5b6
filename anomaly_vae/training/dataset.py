"""The good images: read once, split once, and known by their digests.

Letters: N images, S x S pixels of the square that the model sees.
"""

import hashlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import FolderError, ImageReadError, TrainingError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import list_images
from anomaly_vae.progress import Track, untracked
from anomaly_vae.settings.schema import ImageSettings, SplitSettings

FEWEST_GOOD_IMAGES = 20
TRAINING, STOPPING, CALIBRATION = PARTS = ("training", "stopping", "calibration")


@dataclass(frozen=True)
class ImageSet:
    """The readable images of a folder."""

    folder: Path
    paths: tuple[str, ...]
    """Relative to ``folder``, with ``/``, sorted; one for each image."""
    pixels: NDArray[np.uint8]
    """RGB, shape [N, S, S, 3]."""
    digests: tuple[str, ...]
    """SHA-256 of each file, in hexadecimal."""
    unreadable: tuple[tuple[str, str], ...]
    """Path and reason of each file that could not be read."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 over paths and contents: the same for the same images, on any machine."""
        lines = (
            f"{digest}  {path}\n" for path, digest in zip(self.paths, self.digests, strict=True)
        )
        return hashlib.sha256("".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


def read_images(
    folder: Path,
    settings: ImageSettings,
    *,
    workers: int,
    paths: Sequence[str] | None = None,
    skip: Path | None = None,
    track: Track = untracked,
) -> ImageSet:
    """Read all images below ``folder``, or those at ``paths``, at the size of the model.

    Raises:
        FolderError: there is no such folder, or no readable image in it.
    """
    found = list_images(folder, skip=skip) if paths is None else paths
    kept: list[tuple[str, NDArray[np.uint8], str]] = []
    unreadable: list[tuple[str, str]] = []

    def load(path: str) -> LoadedImage:
        return load_image(folder / path, settings)

    tracked = track(found, "Reading images", len(found))
    for path, image in read_ahead(tracked, load, workers=workers, ahead=16):
        if isinstance(image, ImageReadError):
            unreadable.append((path, str(image)))
        else:
            kept.append((path, image.pixels, digest(folder / path)))
    if not kept:
        path, reason = unreadable[0]
        raise FolderError(f"{folder}: none of {len(found)} images is readable; {path}: {reason}")
    names, pixels, digests = zip(*kept, strict=True)
    return ImageSet(folder, names, np.stack(pixels), digests, tuple(unreadable))


def split_parts(images: ImageSet, settings: SplitSettings, *, seed: int) -> NDArray[np.str_]:
    """Assign each good image to ``training``, ``stopping`` or ``calibration``, shape [N].

    Images with the same content, or the same match of ``settings.group_by``, stay together:
    otherwise a model would be calibrated on what it was trained on.

    Raises:
        TrainingError: too few images or groups, or a path without a match.
    """
    count = len(images.paths)
    if count < FEWEST_GOOD_IMAGES:
        raise TrainingError(
            f"{images.folder}: {count} readable images; expected {FEWEST_GOOD_IMAGES} good ones "
            "or more (50 to 500 give a threshold worth having)"
        )
    keys = np.array(_group_keys(images, settings.group_by))
    groups = np.unique(keys)
    if len(groups) < len(PARTS):
        raise TrainingError(
            f"split.group_by = {settings.group_by!r} gives {len(groups)} different groups; "
            f"expected {len(PARTS)} or more"
            if settings.group_by
            else f"{images.folder}: {len(groups)} different images, the others are copies; "
            f"expected {FEWEST_GOOD_IMAGES} different good ones or more"
        )
    parts = np.full(count, TRAINING, dtype=f"<U{len(CALIBRATION)}")
    shuffled = deque(np.random.default_rng(seed).permutation(groups))
    for part, share in ((CALIBRATION, settings.calibration), (STOPPING, settings.stopping)):
        while shuffled and (parts == part).sum() < max(1, round(share * count)):
            parts[keys == shuffled.popleft()] = part
    if set(parts) != set(PARTS):
        raise TrainingError(
            f"split.group_by = {settings.group_by!r} gives groups too large to be split; expected "
            "many groups of about the same size"
        )
    return parts


def _group_keys(images: ImageSet, pattern: str) -> Sequence[str]:
    if not pattern:
        return images.digests
    matches = [re.search(pattern, path) for path in images.paths]
    for path, match in zip(images.paths, matches, strict=True):
        if match is None:
            raise TrainingError(f"split.group_by = {pattern!r} does not match {path!r}")
    return [
        match.group(0) if not match.groups() else str(match.groups()) for match in matches if match
    ]


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
