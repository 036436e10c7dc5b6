"""What numbers of 16 bits mean: depth of the sensor, sign, which end is white, black level."""

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.arrays import picture_from
from anomaly_vae.images.decoding import decode_image
from anomaly_vae.images.levels import sensor_white
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.training.dataset import with_white

SETTINGS = ImageSettings(min_size=2)
Values = NDArray[np.integer]


def tiff(values: Values, *, photometric: int = 1, sample_format: int = 1, bits: int = 16) -> bytes:
    """A little-endian TIFF of one strip, by hand."""
    height, width = values.shape
    data = values.astype({8: "<u1", 16: "<i4"}[bits]).astype({8: "<u1", 16: "<u2"}[bits]).tobytes()
    entries = (
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric),
        (273, 4, 8), (277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, sample_format),
    )  # fmt: skip
    directory = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<H2x" if kind == 3 else "<I", value)
        for tag, kind, value in entries
    )
    head = b"II*\0" + struct.pack("<I", 8 + len(data)) + data
    return head + struct.pack("<H", len(entries)) + directory + struct.pack("<I", 0)


def grey(path: Path, settings: ImageSettings = SETTINGS) -> list[int]:
    first: list[int] = np.asarray(decode_image(path, settings))[0, :, 0].tolist()
    return first


def row(*values: int) -> Values:
    return np.tile(np.array([values], dtype=np.int64), (4, 1))


@pytest.mark.parametrize("bits", [8, 16])
def test_white_is_zero_of_16_bits_is_inverted_as_of_8(tmp_path: Path, bits: int) -> None:
    values = row(0, 50, 200, 255) * (257 if bits == 16 else 1)
    (tmp_path / "a.tif").write_bytes(tiff(values, photometric=0, bits=bits))
    assert grey(tmp_path / "a.tif") == [255, 205, 55, 0]


def test_white_is_zero_of_a_12_bit_sensor_is_inverted_by_its_white(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(row(0, 4095, 2048, 0), photometric=0))
    assert grey(tmp_path / "a.tif", replace(SETTINGS, white_level=4095)) == [255, 0, 127, 255]


def test_signed_16_bits_go_up_to_32767_and_below_0_is_black(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(row(-300, 0, 16384, 32767), sample_format=2))
    assert grey(tmp_path / "a.tif") == [0, 0, 128, 255]
    scanner = replace(SETTINGS, black_level=-1000, white_level=3000)  # Hounsfield units
    (tmp_path / "b.tif").write_bytes(tiff(row(-1000, 0, 1000, 3000), sample_format=2))
    assert grey(tmp_path / "b.tif", scanner) == [0, 64, 128, 255]


def test_between_black_and_white_level_all_of_the_range_is_used(tmp_path: Path) -> None:
    values = row(7000, 8000, 9000, 9500).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png")
    thermal = replace(SETTINGS, black_level=8000, white_level=9000)
    assert grey(tmp_path / "a.png", thermal) == [0, 0, 255, 255]
    color = np.repeat(values[..., None], 3, axis=2)
    assert np.asarray(picture_from(color, "rgb", thermal))[0, :, 0].tolist() == [0, 0, 255, 255]


def test_a_pgm_says_itself_what_is_white(tmp_path: Path) -> None:
    data = struct.pack(">4H", 0, 1000, 2048, 4095)
    (tmp_path / "a.pgm").write_bytes(b"P5\n4 1\n4095\n" + data)
    for level in (255, 4095, 65535):
        settings = ImageSettings(min_size=1, white_level=level)
        assert grey(tmp_path / "a.pgm", settings) == [0, 62, 128, 255]
    (tmp_path / "b.pgm").write_bytes(b"P5\n4 1\n65535\n" + data)
    settings = ImageSettings(min_size=1, white_level=4095)
    assert grey(tmp_path / "b.pgm", settings) == [0, 62, 128, 255]


def test_a_ppm_of_16_bits_is_deep_colour(tmp_path: Path) -> None:
    (tmp_path / "a.ppm").write_bytes(b"P6\n2 2\n65535\n" + b"\x40\0" * 12)
    assert grey(tmp_path / "a.ppm") == [64, 64]
    with pytest.raises(ImageReadError, match="16 bits per channel in colour"):
        decode_image(tmp_path / "a.ppm", replace(SETTINGS, white_level=4095))


def test_a_tiff_of_numbers_that_no_decoder_knows_is_called_so(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(tiff(row(1, 2), sample_format=3))  # floating, of 16 bits
    with pytest.raises(ImageReadError, match="a TIF file that is damaged, or of a rare kind; conv"):
        decode_image(tmp_path / "a.tif", SETTINGS)


# --- finding the white level


@pytest.mark.parametrize(
    ("highest", "white"),
    [
        ([200, 255], 255), ([900, 1023], 1023), ([900, 1024], 4095), ([4095], 4095),
        ([100, 16383, None], 16383), ([16384], 65535), ([], 65535), ([None, None], 65535),
    ],
)  # fmt: skip
def test_the_sensor_has_the_fewest_bits_that_hold_all(
    highest: list[int | None], white: int
) -> None:
    assert sensor_white(highest) == white


def write(folder: Path, name: str, *values: int, kind: type[np.unsignedinteger]) -> None:
    Image.fromarray(row(*values).astype(kind)).save(folder / name)


def test_the_white_level_is_found_over_all_images_of_16_bits(tmp_path: Path) -> None:
    write(tmp_path, "a.png", 5, 6, 7, 8, kind=np.uint16)  # a dark one: not judged alone
    write(tmp_path, "b.png", 1, 2, 3, 3800, kind=np.uint16)
    write(tmp_path, "c.png", 1, 2, 3, 255, kind=np.uint8)
    (tmp_path / "d.png").write_bytes(b"damaged")
    names = ["a.png", "b.png", "c.png", "d.png"]
    assert with_white(tmp_path, names, SETTINGS, 2).white_level == 4095
    assert with_white(tmp_path, names[2:], SETTINGS, 2).white_level == 65535
    given = replace(SETTINGS, white_level=1000)
    assert with_white(tmp_path, names, given, 2) is given
    with pytest.raises(FolderError, match="auto finds 4095, .*images.black_level = 5000; set both"):
        with_white(tmp_path, names, replace(SETTINGS, black_level=5000), 2)
