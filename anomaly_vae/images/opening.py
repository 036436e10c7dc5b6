"""From a file to a decoded picture: checked by its header, upright, within a budget of memory."""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from anomaly_vae.errors import AnomalyVAEError, ImageReadError
from anomaly_vae.images.formats import DECODERS, DEVELOP, is_raw, refusal_of
from anomaly_vae.images.levels import Levels, check_levels, highest_level, levels_of
from anomaly_vae.images.memory import DECODING, needed
from anomaly_vae.images.slices import slices_of
from anomaly_vae.settings.images import ImageSettings

# ImageSettings.max_pixels, checked before a pixel is decoded, replaces Pillow's global limit,
# which warns at one size and fails at another and cannot be set per call.
Image.MAX_IMAGE_PIXELS = None

# Tags of a TIFF; bits of the first.
_SUBFILE, _WIDTH, _HEIGHT, _OTHERS_BELOW, _DNG = 254, 256, 257, 330, 50706
_REDUCED, _TRANSPARENCY = 1, 4
_HALF = 2  # a further page is a thumbnail if it is as many times smaller, or more


@dataclass(frozen=True)
class Opened:
    """A decoded photograph, upright, of the kind of pixels that its file has."""

    image: Image.Image
    width: int
    """Of the photograph itself, upright: the image may have been decoded smaller."""
    height: int
    levels: Levels

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photograph, in pixels."""
        return self.width, self.height


@contextmanager
def opened(
    path: Path,
    settings: ImageSettings,
    smallest: tuple[int, int] | None = None,
    data: bytes | None = None,
) -> Iterator[Opened]:
    """Decode a photograph; what it may take of memory is given back at the end of the block.

    A JPEG may be decoded smaller, down to ``smallest``: width and height, upright, in pixels.
    ``data`` are the bytes of the file, if they were read.

    Raises:
        ImageReadError: it is no readable photograph, or outside the limits of ``settings``.
    """
    with ExitStack() as lent:
        with explained(path), header(path, data) as image:
            levels = check(image, settings)
            width, height = image.size
            if smallest and image.format in ("JPEG", "MPO"):
                turned = swaps_sides(image.getexif().get(ExifTags.Base.Orientation, 1))
                image.draft(None, smallest[::-1] if turned else smallest)
            lent.enter_context(DECODING.lent(needed(image.format, *image.size)))
            image.load()
            orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
            ImageOps.exif_transpose(image, in_place=True)
        if swaps_sides(orientation):
            width, height = height, width
        yield Opened(image, width, height, levels)


def pages(path: Path, settings: ImageSettings, data: bytes | None = None) -> Iterator[Opened]:
    """Decode the pages of a file, or the frames of a clip, one after the other; see ``opened``.

    Raises:
        ImageReadError: one is no readable photograph, or outside the limits of ``settings``.
    """
    with explained(path), header(path, data) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            levels = check_page(image, settings)
            with DECODING.lent(needed(image.format, *image.size)):
                upright = ImageOps.exif_transpose(image)
                yield Opened(upright, *upright.size, levels)


def slices_in(path: Path, settings: ImageSettings) -> tuple[list[Path], int]:
    """Give the files of the stack whose first is ``path``, and how many slices they hold.

    They are files of a slice each, or the pages or frames of one, whose header alone is read.

    Raises:
        ImageReadError: it is no readable photograph.
    """
    files = slices_of(path, settings.volumes)
    if len(files) > 1:
        return files, len(files)
    with explained(path), header(path) as image:
        return files, int(getattr(image, "n_frames", 1))


def highest_in(path: Path, settings: ImageSettings) -> int | None:
    """Give the highest number in a file of 16-bit pixels; None if it has others.

    Raises:
        ImageReadError: as ``opened``.
    """
    if settings.slices:
        files = slices_of(path, settings.volumes)
        every = chain.from_iterable(pages(file, settings) for file in files)
        found = [highest_level(each.image, each.levels) for each in every if each.levels.sixteen]
        return max((each for each in found if each is not None), default=None)
    with explained(path), header(path) as image:
        levels = check(image, settings)
        if not levels.sixteen:
            return highest_level(image, levels)
        with DECODING.lent(needed(image.format, *image.size)):
            image.load()
            return highest_level(image, levels)


def upright_size(path: Path, *, page: bool = False) -> tuple[tuple[int, int], int]:
    """Give width and height of a photograph, upright, and the EXIF orientation of its file.

    With ``page`` they are those of the first of its pages.

    Raises:
        ImageReadError: as ``opened``.
    """
    with explained(path), header(path) as image:
        if not page:
            main_page(image)
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
        # Of a TIFF, Pillow may give the sides upright before it has turned the pixels.
        tags = getattr(image, "tag_v2", {})
        stored = tags.get(_WIDTH, image.width), tags.get(_HEIGHT, image.height)
        on_its_side = image.size == stored and swaps_sides(orientation)
        return image.size[::-1] if on_its_side else image.size, orientation


@contextmanager
def header(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """Open a file, or its ``data``, for a decoder of the allow-list; no pixel is decoded yet.

    Raises:
        ImageReadError: it is empty, or a raw file; in ``explained``, also what else is wrong.
    """
    # Not by its path: Pillow would map some files, and decode grey TIFFs on their side wrongly.
    with path.open("rb") if data is None else io.BytesIO(data) as file:
        if not file.read(1):
            raise ImageReadError("the file is empty")
        if is_raw(path):
            raise ImageReadError(DEVELOP)
        file.seek(0)
        with Image.open(file, formats=DECODERS) as image:
            yield image


@contextmanager
def explained(path: Path | None = None) -> Iterator[None]:
    """Say of whatever a decoder raises why the photograph cannot be used.

    Raises:
        ImageReadError: instead of it.
    """
    try:
        yield
    except AnomalyVAEError:
        raise
    except UnidentifiedImageError as error:
        raise ImageReadError(refusal_of(path) if path else "no image") from error
    except FileNotFoundError as error:
        raise ImageReadError("the file no longer exists") from error
    except Exception as error:  # on damaged files Pillow raises whatever its decoders run into
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise ImageReadError(f"cannot be decoded: {reason or type(error).__name__}") from error


def check(image: Image.Image, settings: ImageSettings) -> Levels:
    """Refuse, by its header alone, what cannot be used as one photograph; says what it holds.

    Raises:
        ImageReadError: with what is wrong.
    """
    main_page(image)
    return check_page(image, settings)


def check_page(image: Image.Image, settings: ImageSettings) -> Levels:
    """Do the same of a page, whatever else its file holds.

    Raises:
        ImageReadError: with what is wrong.
    """
    check_size(image, settings)
    levels = levels_of(image)
    check_levels(levels, settings)
    return levels


def check_size(image: Image.Image, settings: ImageSettings) -> None:
    """Refuse what is too large or too small.

    Raises:
        ImageReadError: with what is accepted.
    """
    width, height = image.size
    if width * height > settings.max_pixels:
        raise ImageReadError(
            f"{width} x {height} pixels, more than images.max_pixels = {settings.max_pixels}"
        )
    if min(width, height) < settings.min_size:
        raise ImageReadError(
            f"{width} x {height} pixels, smaller than images.min_size = {settings.min_size}"
        )


def swaps_sides(orientation: object) -> bool:
    """Tell whether Pillow turns a photograph of this EXIF orientation on its side."""
    if orientation == 1:
        return False
    probe = Image.new("1", (2, 1))
    probe.getexif()[ExifTags.Base.Orientation] = orientation
    return ImageOps.exif_transpose(probe).size == (1, 2)


def main_page(image: Image.Image) -> None:
    """Choose the photograph among the pictures of a file.

    A TIFF may hold thumbnails and masks besides, which it says (NewSubfileType), or which are
    smaller and of the same proportions.

    Raises:
        ImageReadError: there are several photographs, or none.
    """
    if _DNG in getattr(image, "tag_v2", {}):
        raise ImageReadError(DEVELOP)
    frames = getattr(image, "n_frames", 1)
    if image.format == "MPO":  # the first picture is the photograph
        return
    if image.format != "TIFF":
        if frames > 1:
            raise ImageReadError(f"holds {frames} pictures; expected one")
        return
    pages = []
    for number in range(frames):
        image.seek(number)
        tags = getattr(image, "tag_v2", {})
        # As raw files: the photograph stands where Pillow does not look (SubIFDs).
        if frames == 1 and tags.get(_SUBFILE) == _REDUCED and _OTHERS_BELOW in tags:
            raise ImageReadError(f"its first picture is a thumbnail; perhaps {DEVELOP}")
        if frames == 1 or not int(tags.get(_SUBFILE, 0)) & (_REDUCED | _TRANSPARENCY):
            pages.append((number, image.size))
    if not pages:
        raise ImageReadError(f"holds {frames} thumbnails; expected a photograph")
    main, size = pages[0]
    if any(not _is_thumbnail(other, size) for _, other in pages[1:]):
        raise ImageReadError(f"holds {len(pages)} pictures; expected one")
    image.seek(main)


def _is_thumbnail(size: tuple[int, int], of: tuple[int, int]) -> bool:
    """Tell whether one size is a smaller one of the same proportions."""
    small = all(_HALF * side <= whole for side, whole in zip(size, of, strict=True))
    return small and abs(size[0] * of[1] - size[1] * of[0]) <= max(of)
