"""A file read once: what is made of it is known by the digest of the very same bytes."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.files import Stamp, digest, stamp, whole

T = TypeVar("T")
Make = Callable[[bytes | None], T]
"""Makes something of the bytes of a file; of a huge one it gets None, and reads the file itself."""

_ATTEMPTS = 3  # to read a file that does not change meanwhile


def with_stamp(
    file: Path, make: Make[T], others: Sequence[Path] = ()
) -> tuple[T | ImageReadError, Stamp | None]:
    """Give what is made of a file, or why nothing can be, and the stamp, with digest, of its bytes.

    A camera may write another photograph of that name meanwhile: then it is read again. Where
    ``make`` reads ``others``, too, the digest is that of the digests of all.
    """
    for _attempt in range(_ATTEMPTS):
        before, data = stamp(file), whole(file)
        sha256 = digest(file) if data is None else hashlib.sha256(data).hexdigest()
        if others:
            every = "".join([sha256, *map(digest, others)])
            sha256 = hashlib.sha256(every.encode()).hexdigest()
        made: T | ImageReadError
        try:
            made = make(data)
        except ImageReadError as error:
            made = error
        if before == stamp(file):
            return made, before and before._replace(sha256=sha256)
    return ImageReadError("was written anew while it was read"), None


def with_digest(file: Path, make: Make[T], others: Sequence[Path] = ()) -> tuple[T, str]:
    """Give what is made of a file, and the SHA-256 of its bytes in hexadecimal digits.

    See ``with_stamp``.

    Raises:
        ImageReadError: nothing can be made of it, or it changes all the time.
    """
    made, seen = with_stamp(file, make, others)
    if isinstance(made, ImageReadError):
        raise made
    if not (seen and seen.sha256):
        raise ImageReadError("can be read no more")
    return made, seen.sha256
