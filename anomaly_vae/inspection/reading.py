"""Files read once: their bytes, decoded as a model wants to see them, or as several do."""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.images.files import Stamp, digest, stamp, whole
from anomaly_vae.settings.images import ImageSettings

READING_PATIENCE = 60.0
"""Seconds: longer than a busy drive takes, shorter than a shift."""
_ATTEMPTS = 3  # to read a file that does not change meanwhile


class Read(NamedTuple):
    """A file, decoded if that was possible."""

    path: str
    stamp: Stamp | None
    image: LoadedImage | ImageReadError


def read_known(folder: Path, path: str, wanted: Sequence[ImageSettings]) -> list[Read]:
    """Read a file, decode it for each of ``wanted``, and know by its digest which bytes they were.

    They are the very same bytes; only of a huge file they are read anew. A camera may write
    another photograph of that name meanwhile: then it is read again.
    """
    file = folder / path
    for _attempt in range(_ATTEMPTS):
        before, data = stamp(file), whole(file)
        sha256 = digest(file) if data is None else hashlib.sha256(data).hexdigest()
        seen = stamp(file)
        images = [_decoded(file, each, data) for each in wanted]
        if before == seen == stamp(file):
            known = seen and seen._replace(sha256=sha256)
            return [Read(path, known, image) for image in images]
    changed = ImageReadError("was written anew while it was read")
    return [Read(path, None, changed) for _ in wanted]


def read_file(file: Path, path: str, settings: ImageSettings) -> Read:
    """Read a file, which is called ``path``."""
    return Read(path, stamp(file), _decoded(file, settings))


def _decoded(
    file: Path, settings: ImageSettings, data: bytes | None = None
) -> LoadedImage | ImageReadError:
    try:
        return load_image(file, settings, data)
    except ImageReadError as error:
        return error
