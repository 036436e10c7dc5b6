"""The good images: read once, split once, and known by their digests.

Letters: N images, S x T pixels of the frame that the model sees, C channels.
"""

import hashlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from anomaly_vae.errors import FolderError, ImageReadError, TrainingError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import LoadedImage, load_image, without_padding
from anomaly_vae.images.files import list_images
from anomaly_vae.images.levels import said_narrow, sensor_white
from anomaly_vae.images.many import Chosen, room_for
from anomaly_vae.images.opening import explained, highest_in
from anomaly_vae.images.rules import LeftOut
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
    """Shape [N, S, T, C]: RGB, and alpha where padded."""
    digests: tuple[str, ...]
    """SHA-256 of each file, in hexadecimal."""
    unreadable: tuple[tuple[str, str], ...]
    """Path and reason of each file that could not be read."""
    settings: ImageSettings = field(default_factory=ImageSettings)
    """With which they were read: the white level is a number."""
    notes: tuple[str, ...] = ()
    """What a person should know of them, each a line."""

    def chosen(self, which: NDArray[np.bool_]) -> Chosen:
        """Give the pixels of some images, [N], when they are asked for."""
        return Chosen(self.pixels, which)

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
    scratch: Path | None = None,
    track: Track = untracked,
) -> ImageSet:
    """Read all images below ``folder``, or those at ``paths``, at the size of the model.

    Where ``settings.white_level`` is ``auto``, it is found first. Pixels that are too many for the
    memory lie in ``scratch``; see ``room_for``.

    Raises:
        FolderError: there is no such folder, or no readable image in it.
    """
    left_out = LeftOut()
    found = list_images(folder, skip=skip, left_out=left_out) if paths is None else paths
    settings = with_white(folder, found, settings, workers)
    kept: list[tuple[str, str]] = []
    narrow: list[str] = []
    pixels = room_for(len(found), settings.input_shape, scratch)
    unreadable: list[tuple[str, str]] = []

    def load(path: str) -> tuple[LoadedImage, str]:
        return load_image(folder / path, settings), digest(folder / path)

    tracked = track(found, "Reading images", len(found))
    for path, read in read_ahead(tracked, load, workers=workers, ahead=16):
        if isinstance(read, ImageReadError):
            unreadable.append((path, str(read)))
        else:
            image, content = read
            pixels[len(kept)] = image.pixels
            narrow += [path] if image.narrow else []
            kept.append((path, content))
    if not kept:
        path, reason = unreadable[0]
        raise FolderError(f"{folder}: none of {len(found)} images is readable; {path}: {reason}")
    names, digests = zip(*kept, strict=True)
    notes = tuple(filter(None, (str(left_out) if left_out else "", said_narrow(narrow))))
    pixels = pixels[: len(kept)]
    return ImageSet(folder, names, pixels, digests, tuple(unreadable), settings, notes)


def with_white(
    folder: Path, paths: Sequence[str], settings: ImageSettings, workers: int
) -> ImageSettings:
    """Give settings whose white level is a number: for ``auto`` that of the photographs' sensor.

    Raises:
        FolderError: it is not above the black level.
    """
    if settings.white_level != "auto":
        return settings

    def highest(path: str) -> int | None:
        return highest_in(folder / path, settings)

    read = read_ahead(paths, highest, workers=workers, ahead=16)
    white = sensor_white(None if isinstance(each, ImageReadError) else each for _, each in read)
    try:
        return replace(settings, white_level=white)
    except ValueError as error:
        raise FolderError(
            f"{folder}: images.white_level = auto finds {white}, which is not above "
            f"images.black_level = {settings.black_level}; set both"
        ) from error


def refuse_unusable(images: ImageSet) -> None:
    """Refuse images that nothing can be learned from, before anything is.

    Raises:
        TrainingError: some show nothing, or all show the same.
    """
    shown = (without_padding(each) for each in images.pixels)
    flat = [(each.min(axis=(0, 1)) == each.max(axis=(0, 1))).all() for each in shown]
    blank = [path for path, each in zip(images.paths, flat, strict=True) if each]
    if blank:
        more = f" and {len(blank) - 1} more" if len(blank) > 1 else ""
        raise TrainingError(
            f"{images.folder}: {blank[0]}{more} show nothing, all their pixels are the same; "
            "take them out"
        )
    first, *others = images.pixels
    if others and all(np.array_equal(first, each) for each in others):
        raise TrainingError(
            f"{images.folder}: all {len(images.paths)} images have the same pixels; expected "
            f"{FEWEST_GOOD_IMAGES} different good ones or more"
        )


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
    contents = _first_of_same_pixels(images)
    keys = np.array(group_keys(images.paths, contents, settings.group_by))
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


def group_keys(paths: Sequence[str], digests: Sequence[str], pattern: str) -> list[str]:
    """Say which images, [N], belong together: the same content, or the same match of ``pattern``.

    A copy joins the groups that it lies in.

    Raises:
        TrainingError: a path has no match.
    """
    if not pattern:
        return list(digests)
    matches = [_match(pattern, path) for path in paths]
    names, groups = np.unique(matches, return_inverse=True)
    contents, which = np.unique(digests, return_inverse=True)
    shared = coo_array((np.ones(len(paths)), (groups, which)), (len(names), len(contents)))
    _, joined = connected_components(shared @ shared.T)
    # The first name of those joined: where nothing is copied, each group keeps its own.
    first = {label: str(name) for label, name in reversed(list(zip(joined, names, strict=True)))}
    return [first[joined[group]] for group in groups]


def _match(pattern: str, path: str) -> str:
    match = re.search(pattern, path)
    if match is None:
        raise TrainingError(
            f"split.group_by = {pattern!r} does not match {path!r}; name it as the others"
        )
    return str(match.groups()) if match.groups() else match.group(0)


def _first_of_same_pixels(images: ImageSet) -> list[str]:
    """Give the digest of the first file with the same pixels as each: a copy may be saved anew."""
    first: dict[bytes, str] = {}
    return [
        first.setdefault(hashlib.sha256(pixels.tobytes()).digest(), each)
        for pixels, each in zip(images.pixels, images.digests, strict=True)
    ]


def digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal.

    Raises:
        ImageReadError: it can no longer be read.
    """
    with explained(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
