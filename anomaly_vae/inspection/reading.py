"""Photographs read once, and decoded as a model wants to see them, or as several do."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.files import Stamp
from anomaly_vae.images.reading import with_stamp
from anomaly_vae.images.slices import slices_of
from anomaly_vae.images.stacks import load_part
from anomaly_vae.settings.images import ImageSettings


class Read(NamedTuple):
    """A file, decoded if that was possible."""

    path: str
    stamp: Stamp | None
    image: LoadedImage | ImageReadError


def read_known(file: Path, path: str, wanted: Sequence[ImageSettings]) -> list[Read]:
    """Read a file, called ``path``, and decode it for each of ``wanted``; see ``with_stamp``."""
    _, *others = slices_of(file, wanted[0].volumes)
    made, seen = with_stamp(
        file, lambda data: [_decoded(file, each, data) for each in wanted], others
    )
    images = [made for _ in wanted] if isinstance(made, ImageReadError) else made
    return [Read(path, seen, image) for image in images]


def _decoded(
    file: Path, settings: ImageSettings, data: bytes | None
) -> LoadedImage | ImageReadError:
    try:
        return load_part(file, settings, data)
    except ImageReadError as error:
        return error
