"""The good images: read once, and known by their digests.

Letters: N images, S x T pixels of the frame that the model sees, C channels.
"""

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import FolderError, ImageReadError, TrainingError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import LoadedImage, without_padding
from anomaly_vae.images.files import list_images
from anomaly_vae.images.levels import said_narrow, sensor_white
from anomaly_vae.images.many import Chosen, in_pieces, let_go, room_for
from anomaly_vae.images.opening import highest_in
from anomaly_vae.images.reading import with_digest
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.images.slices import slices_of
from anomaly_vae.images.stacks import load_part
from anomaly_vae.progress import Track, untracked
from anomaly_vae.settings.images import ImageSettings

FEWEST_GOOD_IMAGES = 20


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
    photographs: tuple[LoadedImage, ...] = ()
    """Size and statistics of each; their pixels are in ``pixels``."""
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
    without: Collection[str] = (),
    scratch: Path | None = None,
    track: Track = untracked,
) -> ImageSet:
    """Read all images below ``folder``, or those at ``paths``, at the size of the model.

    Those at the paths ``without`` are left out. Where ``settings.white_level`` is ``auto``, it is
    found first. Pixels that are too many for the memory lie in ``scratch``; see ``room_for``.

    Raises:
        FolderError: there is no such folder, or no readable image in it.
    """
    left_out = LeftOut()
    found = paths
    if found is None:
        found = list_images(folder, skip=skip, left_out=left_out, volumes=settings.volumes)
    found = [each for each in found if each not in without]
    settings = with_white(folder, found, settings, workers)
    kept: list[tuple[str, str, LoadedImage]] = []
    narrow: list[str] = []
    shape = (len(found), *settings.input_shape)
    pixels = room_for(shape, np.dtype(np.uint8), scratch)
    unreadable: list[tuple[str, str]] = []

    def load(path: str) -> tuple[LoadedImage, str]:
        file = folder / path
        _, *others = slices_of(file, settings.volumes)
        return with_digest(file, lambda data: load_part(file, settings, data), others)

    tracked = track(found, "Reading images", len(found))
    for path, read in read_ahead(tracked, load, workers=workers, ahead=16):
        if isinstance(read, ImageReadError):
            unreadable.append((path, str(read)))
        else:
            image, content = read
            pixels[len(kept)] = image.pixels
            let_go(pixels)
            narrow += [path] if image.narrow else []
            kept.append((path, content, image.without_pixels()))
    if not kept:
        path, reason = unreadable[0]
        raise FolderError(f"{folder}: none of {len(found)} images is readable; {path}: {reason}")
    names, digests, photographs = zip(*kept, strict=True)
    notes = tuple(filter(None, (str(left_out) if left_out else "", said_narrow(narrow))))
    pixels = pixels[: len(kept)]
    return ImageSet(folder, names, pixels, digests, tuple(unreadable), photographs, settings, notes)


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
    shown = (without_padding(each) for (each,) in in_pieces(images.pixels))
    flat = [(each.min(axis=(0, 1)) == each.max(axis=(0, 1))).all() for each in shown]
    blank = [path for path, each in zip(images.paths, flat, strict=True) if each]
    if blank:
        more = f" and {len(blank) - 1} more" if len(blank) > 1 else ""
        raise TrainingError(
            f"{images.folder}: {blank[0]}{more} show nothing, all their pixels are the same; "
            "take them out"
        )
    first, others = images.pixels[0], in_pieces(images.pixels[1:])
    if len(images.pixels) > 1 and all(np.array_equal(first, each) for (each,) in others):
        raise TrainingError(
            f"{images.folder}: all {len(images.paths)} images have the same pixels; expected "
            f"{FEWEST_GOOD_IMAGES} different good ones or more"
        )
