"""Which files are image files, which of them are decoded, and what converts the others.

A file is known by its name; one with an unknown name by its first bytes, so that no photograph is
passed over because of what somebody called it.
"""

import os
import re
import stat
from pathlib import Path

from PIL import features

from anomaly_vae.remote import Remote

# An allow-list: Pillow also has decoders for formats that no camera writes, some of them old.
# "JPEG" opens multi-picture JPEGs (MPO) too. AVIF came with Pillow 11.3, and not to all systems.
DECODERS = ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM", "GIF", "JPEG2000") + (
    ("AVIF",) if "avif" in features.modules and features.check("avif") else ()
)
_DECODED = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".jfif", ".jpe", ".jif", ".mpo"),
    *(".apng", ".dib", ".pgm", ".ppm", ".pnm", ".pbm", ".gif", ".jp2", ".j2k", ".j2c", ".jpc"),
    *(".jpf", ".jpx", ".avif"),
)
# Not decoded even where Pillow would: what it finds in a raw file is the small preview.
_RAW = (
    *(".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".raf", ".orf"),
    *(".rw2", ".pef", ".srw", ".raw", ".3fr", ".iiq", ".x3f", ".dcr", ".kdc", ".mrw", ".rwl"),
    *(".erf", ".mef", ".mos"),
)
DEVELOP = "a raw file of a camera; develop it to a 16-bit TIFF, with darktable or RawTherapee"
_MAGICK = "convert it to PNG or TIFF, with ImageMagick or GIMP"
_OTHERS = {
    (".heic", ".heif", ".hif"): "a HEIF photograph; convert it to PNG, with heif-convert "
    "(libheif) or ImageMagick",
    (".avifs",): f"an AVIF photograph; {_MAGICK}",
    (".jxl",): "a JPEG XL photograph; convert it to PNG, with djxl (libjxl) or ImageMagick",
    (".jxr", ".wdp", ".hdp"): "a JPEG XR photograph; convert it to TIFF, with JxrDecApp (jxrlib)",
    (".dcm", ".dicom"): "a DICOM image; convert it to PNG or TIFF, with dcm2img (DCMTK)",
    (".fits", ".fts"): f"a FITS image; {_MAGICK}",
    (".psd", ".psb", ".xcf"): f"a file of an image editor; {_MAGICK}",
    (".exr", ".pfm", ".pam", ".tga", ".pcx", ".sgi", ".ras", ".dds", ".qoi", ".jls"): (
        f"of a format that is not read; {_MAGICK}"
    ),
    _RAW: DEVELOP,
}
_REMEDIES = {extension: remedy for kinds, remedy in _OTHERS.items() for extension in kinds}
EXTENSIONS = (*_DECODED, *_REMEDIES)

_LONGEST_HEAD = 132  # bytes: DICOM says so behind 128 others
# First bytes, and the extension of their kind.
_HEADS = (
    (b"\x89PNG\r\n\x1a\n", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"GIF87a", ".gif"),
    (b"GIF89a", ".gif"), (b"II*\0", ".tif"), (b"MM\0*", ".tif"), (b"II+\0", ".tif"),
    (b"MM\0+", ".tif"), (b"\0\0\0\x0cjP  \r\n", ".jp2"), (b"\xff\x4f\xff\x51", ".j2k"),
    (b"\0\0\0\x0cJXL \r\n", ".jxl"), (b"\xff\x0a", ".jxl"), (b"8BPS", ".psd"),
    (b"gimp xcf", ".xcf"), (b"v/1\x01", ".exr"), (b"SIMPLE  =", ".fits"), (b"DDS ", ".dds"),
    (b"qoif", ".qoi"), (b"#?RADIANCE", ".exr"), (b"II\xbc\x01", ".jxr"), (b"FUJIFILMCCD", ".raf"),
    (b"IIRO", ".orf"), (b"IIRS", ".orf"), (b"IIU\0", ".rw2"), (b"FOVb", ".x3f"), (b"\0MRM", ".mrw"),
)  # fmt: skip
_BMFF = {
    **dict.fromkeys((b"avif", b"avis"), ".avif"),
    **dict.fromkeys((b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1"), ".heic"),
    b"crx ": ".cr3",
}
# P1 to P7 and the floating ones: a size follows, or the names of what does.
_PORTABLE = re.compile(rb"P([1-6]\s+(\d|#)|7\nWIDTH|[Ff]\n\d)")
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # lengths in bytes


def is_image(path: Path) -> bool:
    """Tell whether a file is an image file: by its name or, if that says nothing, by its bytes."""
    return path.name.lower().endswith(EXTENSIONS) or bool(kind_of(head_of(path)))


def head_of(path: Path) -> bytes:
    """Give the first bytes of a file; none if it cannot be read, or is a pipe or a device.

    None of what lies in a store, either: each would be a request.
    """
    if isinstance(path, Remote):
        return b""
    # A pipe would wait for its writer.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(path, flags)
    except OSError:
        return b""
    try:
        regular = stat.S_ISREG(os.fstat(file).st_mode)
        return os.read(file, _LONGEST_HEAD) if regular else b""
    except OSError:
        return b""
    finally:
        os.close(file)


def kind_of(head: bytes) -> str:
    """Give the usual extension of what begins with these bytes; empty if it is no image."""
    special = ""
    if head[:4] in (b"II*\0", b"MM\0*") and head[8:10] == b"CR":
        special = ".cr2"
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        special = ".webp"
    elif head[4:8] == b"ftyp":
        special = _BMFF.get(head[8:12], "")
    elif head[:2] == b"BM":  # two letters alone may begin a text
        special = ".bmp" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else ""
    elif head[128:132] == b"DICM":
        special = ".dcm"
    elif _PORTABLE.match(head):
        special = {b"7": ".pam", b"F": ".pfm", b"f": ".pfm"}.get(head[1:2], ".pnm")
    return special or next((kind for begin, kind in _HEADS if head.startswith(begin)), "")


def refusal_of(path: Path) -> str:
    """Say why a file that no decoder of the allow-list knows is not read, and what converts it."""
    extension = path.suffix.lower()
    kind = kind_of(head_of(path))
    if kind in _DECODED:
        return f"a {kind[1:].upper()} file that is damaged, or of a rare kind; {_MAGICK}"
    return _REMEDIES.get(kind or extension, f"not a {', '.join(DECODERS)} image")


def is_raw(path: Path) -> bool:
    """Tell by its name whether a file is a camera's raw file."""
    return path.suffix.lower() in _RAW
