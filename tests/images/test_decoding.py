"""Checking, decoding and resizing images: every kind of file a camera folder may hold."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import decoding as images
from anomaly_vae.images.decoding import Placement, decode_image, load_image
from anomaly_vae.images.opening import opened
from anomaly_vae.settings.images import ImageSettings

SETTINGS = ImageSettings(size=32, min_size=2)
COLOR = (200, 100, 50)
ORIENTATION = 274  # the EXIF tag


def flat(color: object = COLOR, mode: str = "RGB", size: tuple[int, int] = (20, 20)) -> Image.Image:
    return Image.new(mode, size, color)  # type: ignore[arg-type]


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def decoded(path: Path, settings: ImageSettings = SETTINGS) -> NDArray[np.uint8]:
    return np.asarray(decode_image(path, settings))


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, color_type: int, rows: bytes) -> bytes:
    """A PNG file, written by hand: Pillow itself cannot write 16 bits per channel in colour."""
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*chunk) for chunk in chunks)


def deep_png(values: NDArray[np.uint16]) -> bytes:
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return png(width, height, 16, {3: 2, 4: 6}[channels], rows)


def deep_tiff(values: NDArray[np.uint16]) -> bytes:
    """A little-endian, uncompressed TIFF file of 16-bit RGB."""
    height, width, _ = values.shape
    bits_at = 8 + 2 + 9 * 12 + 4
    entries = (
        (256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, bits_at), (259, 3, 1, 1),
        (262, 3, 1, 2), (273, 4, 1, bits_at + 6), (277, 3, 1, 3), (278, 3, 1, height),
        (279, 4, 1, values.nbytes),
    )  # fmt: skip
    directory = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + directory + struct.pack("<I", 0)
    return head + struct.pack("<HHH", 16, 16, 16) + values.astype("<u2").tobytes()


def bitmap_565() -> bytes:
    """A white BMP file of 20 x 20 pixels with 5, 6 and 5 bits."""
    pixels = struct.pack("<H", 0xFFFF) * 400
    header = struct.pack("<IiiHHIIiiII", 40, 20, 20, 1, 16, 3, len(pixels), 0, 0, 0, 0)
    header += struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


# --- formats and kinds of pixels


@pytest.mark.parametrize("name", ["a.png", "a.PNG", "a.bmp", "a.BmP", "a.tif", "a.TIFF"])
def test_lossless_formats_give_the_very_pixels(tmp_path: Path, name: str) -> None:
    pixels = noise(20, 24)
    Image.fromarray(pixels).save(tmp_path / name)
    assert np.array_equal(decoded(tmp_path / name), pixels)


def test_lossless_webp_gives_the_very_pixels(tmp_path: Path) -> None:
    pixels = noise(20, 24)
    Image.fromarray(pixels).save(tmp_path / "a.webp", lossless=True)
    assert np.array_equal(decoded(tmp_path / "a.webp"), pixels)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.webp"])
def test_lossy_formats_give_nearly_the_pixels(tmp_path: Path, name: str) -> None:
    flat().save(tmp_path / name, quality=95)
    assert np.abs(decoded(tmp_path / name).astype(int) - COLOR).max() <= 3


def test_the_first_picture_of_a_multi_picture_jpeg_is_the_photograph(tmp_path: Path) -> None:
    flat().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[flat((0, 0, 255))])
    with Image.open(tmp_path / "a.jpg") as image:
        assert image.format == "MPO"
    assert np.abs(decoded(tmp_path / "a.jpg").astype(int) - COLOR).max() <= 3


@pytest.mark.parametrize(
    ("mode", "color", "expected"),
    [
        ("1", 1, (255, 255, 255)),
        ("L", 77, (77, 77, 77)),
        ("LA", (77, 255), (77, 77, 77)),
        ("LA", (200, 51), (40, 40, 40)),  # 51 / 255 of 200 over black
        ("RGB", COLOR, COLOR),
        ("RGBA", (*COLOR, 255), COLOR),
        ("RGBA", (*COLOR, 102), (80, 40, 20)),  # two fifths over black
    ],
)
def test_every_kind_of_8_bit_pixel_becomes_rgb_over_black(
    tmp_path: Path, mode: str, color: object, expected: tuple[int, ...]
) -> None:
    flat(color, mode).save(tmp_path / "a.png")
    assert np.unique(decoded(tmp_path / "a.png").reshape(-1, 3), axis=0).tolist() == [[*expected]]


@pytest.mark.parametrize(("mode", "color"), [("RGBA", (*COLOR, 0)), ("LA", (7, 0))])
def test_a_fully_transparent_photograph_is_refused(
    tmp_path: Path, mode: str, color: object
) -> None:
    flat(color, mode).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png").startswith("is fully transparent; save it without")


def paletted() -> Image.Image:
    image = Image.new("P", (20, 20), 0)
    image.putpalette([*COLOR, 10, 20, 30])
    image.paste(1, (0, 0, 10, 20))
    return image


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    paletted().save(tmp_path / "a.png")
    pixels = decoded(tmp_path / "a.png")
    assert (pixels[:, :10] == (10, 20, 30)).all()
    assert (pixels[:, 10:] == COLOR).all()


def test_a_transparent_palette_entry_is_black(tmp_path: Path) -> None:
    paletted().save(tmp_path / "a.png", transparency=0)
    pixels = decoded(tmp_path / "a.png")
    assert (pixels[:, :10] == (10, 20, 30)).all()
    assert (pixels[:, 10:] == 0).all()


def test_a_transparent_colour_of_rgb_is_black(tmp_path: Path) -> None:
    image = flat()
    image.paste((1, 2, 3), (0, 0, 10, 20))
    image.save(tmp_path / "a.png", transparency=(1, 2, 3))
    pixels = decoded(tmp_path / "a.png")
    assert (pixels[:, :10] == 0).all()
    assert (pixels[:, 10:] == COLOR).all()


def test_cmyk_jpeg(tmp_path: Path) -> None:
    flat((0, 255, 255, 0), "CMYK").save(tmp_path / "a.jpg", quality=95)  # cyan off: red
    assert np.abs(decoded(tmp_path / "a.jpg").astype(int) - (255, 0, 0)).max() <= 3


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
@pytest.mark.parametrize(
    ("white_level", "expected"),
    [(65535, [0, 8, 16, 255]), (4095, [0, 128, 255, 255])],  # 2048 * 255 / 4095 = 127.53
)
def test_16_bit_grey_is_divided_by_the_white_level(
    tmp_path: Path, name: str, white_level: int, expected: list[int]
) -> None:
    values = np.repeat(np.array([[0, 2048, 4095, 65535]], dtype=np.uint16), 4, axis=0)
    Image.fromarray(values).save(tmp_path / name)
    pixels = decoded(tmp_path / name, ImageSettings(min_size=2, white_level=white_level))
    assert pixels[0].tolist() == [[value] * 3 for value in expected]


def test_16_bit_grey_is_never_stretched_to_its_own_maximum(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 257 * 10, dtype=np.uint16)).save(tmp_path / "a.png")
    assert (decoded(tmp_path / "a.png") == 10).all()


def test_big_endian_16_bit_grey(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 20), 257 * 10, dtype=">u2")).save(tmp_path / "a.tif")
    with Image.open(tmp_path / "a.tif") as image:
        assert image.mode == "I;16B"
    assert (decoded(tmp_path / "a.tif") == 10).all()


@pytest.mark.parametrize(("name", "write"), [("a.png", deep_png), ("a.tif", deep_tiff)])
def test_16_bit_colour_keeps_its_upper_8_bits(tmp_path: Path, name: str, write: object) -> None:
    values = np.full((20, 20, 3), [200 * 256, 100 * 256 + 7, 50 * 256 + 255], dtype=np.uint16)
    (tmp_path / name).write_bytes(write(values))  # type: ignore[operator]
    assert (decoded(tmp_path / name) == COLOR).all()


@pytest.mark.parametrize(("name", "write"), [("a.png", deep_png), ("a.tif", deep_tiff)])
def test_16_bit_colour_is_refused_at_another_white_level(
    tmp_path: Path, name: str, write: object
) -> None:
    (tmp_path / name).write_bytes(write(np.zeros((20, 20, 3), np.uint16)))  # type: ignore[operator]
    with pytest.raises(ImageReadError, match=r"16 bits per channel .* images.white_level = 65535"):
        decode_image(tmp_path / name, ImageSettings(white_level=4095))


def test_16_bit_rgba_is_deep_colour_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(deep_png(np.zeros((20, 20, 4), np.uint16)))
    with pytest.raises(ImageReadError, match="16 bits per channel"):
        decode_image(tmp_path / "a.png", ImageSettings(white_level=4095))


def test_a_bitmap_of_5_6_5_bits_is_not_deep_colour(tmp_path: Path) -> None:
    (tmp_path / "a.bmp").write_bytes(bitmap_565())
    assert (decoded(tmp_path / "a.bmp", ImageSettings(white_level=4095)) == 255).all()


@pytest.mark.parametrize("mode", ["F", "I"])
def test_32_bits_per_channel_are_refused(tmp_path: Path, mode: str) -> None:
    flat(1, mode).save(tmp_path / "a.tif")
    with pytest.raises(ImageReadError, match=f"type {mode}; expected 8 or 16 bits"):
        decode_image(tmp_path / "a.tif", SETTINGS)


# --- orientation

UPRIGHT = {  # of the stored pixels, by EXIF orientation (CIPA DC-008, tag 274)
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_exif_orientation_turns_the_photograph_upright(
    tmp_path: Path, name: str, orientation: int
) -> None:
    pixels, exif = noise(18, 24), Image.Exif()
    exif[ORIENTATION] = orientation
    Image.fromarray(pixels).save(tmp_path / name, exif=exif)
    assert np.array_equal(decoded(tmp_path / name), UPRIGHT[orientation](pixels))


@pytest.mark.parametrize(("orientation", "size"), [(3, (24, 18)), (6, (18, 24))])
def test_width_and_height_are_those_of_the_upright_photograph(
    tmp_path: Path, orientation: int, size: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    flat(size=(24, 18)).save(tmp_path / "a.jpg", exif=exif)
    image = load_image(tmp_path / "a.jpg", SETTINGS)
    assert (image.width, image.height) == size


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_orientation_that_exif_does_not_know_turns_nothing(
    tmp_path: Path, orientation: int
) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    flat(size=(24, 18)).save(tmp_path / "a.jpg", exif=exif)
    image = load_image(tmp_path / "a.jpg", SETTINGS)
    assert (image.width, image.height) == (24, 18)


@pytest.mark.parametrize(
    ("name", "orientation"),
    [(name, turn) for name in ("a.png", "a.tif") for turn in UPRIGHT],
)
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_grey_photographs_are_turned_upright_too(
    tmp_path: Path, name: str, kind: type[np.unsignedinteger], orientation: int
) -> None:
    pixels, exif = noise(18, 24)[..., 0], Image.Exif()
    exif[ORIENTATION] = orientation
    values = pixels.astype(kind) * (np.iinfo(kind).max // 255)
    Image.fromarray(values).save(tmp_path / name, exif=exif)
    assert np.array_equal(decoded(tmp_path / name)[..., 0], UPRIGHT[orientation](pixels))


# --- files that cannot be used


def refusal(path: Path, settings: ImageSettings = SETTINGS) -> str:
    with pytest.raises(ImageReadError) as caught:
        load_image(path, settings)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) not in message
    return message


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.webp"])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str) -> None:
    Image.fromarray(noise(64, 64)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    assert refusal(tmp_path / name).startswith("cannot be decoded: ")


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert refusal(tmp_path / "a.png") == "the file is empty"


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "a.png") == "the file no longer exists"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "directory" in refusal(tmp_path)


def test_a_text_file_with_the_name_of_an_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("these are no pixels")
    assert refusal(tmp_path / "a.png").startswith("not a PNG, JPEG, BMP, TIFF, WEBP, PPM, GIF")


@pytest.mark.parametrize("kind", ["ICO", "PCX", "TGA"])
def test_formats_outside_the_allow_list_are_refused_under_any_name(
    tmp_path: Path, kind: str
) -> None:
    flat().save(tmp_path / "a.png", kind)
    assert refusal(tmp_path / "a.png").startswith("not a PNG")


def test_a_wrong_extension_of_an_accepted_format_does_not_matter(tmp_path: Path) -> None:
    flat().save(tmp_path / "a.jpg", "PNG")
    assert (decoded(tmp_path / "a.jpg") == COLOR).all()


def test_exif_data_that_cannot_be_rewritten_are_refused(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION], exif[306] = 6, "2020:01:01 00:00:00"
    flat().save(tmp_path / "a.jpg", exif=exif)
    data = (tmp_path / "a.jpg").read_bytes()
    date, width = struct.pack(">HHI", 306, 2, 20), struct.pack(">HHI", 256, 2, 20)
    assert date in data
    (tmp_path / "a.jpg").write_bytes(data.replace(date, width))  # a text in place of a number
    refusal(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.tif", "TIFF"), ("a.webp", "WEBP"), ("a.png", "PNG"), ("a.gif", "GIF")],
)
def test_several_pictures_in_one_file_are_refused(tmp_path: Path, name: str, kind: str) -> None:
    flat().save(tmp_path / name, kind, save_all=True, append_images=[flat((0, 0, 255))])
    assert refusal(tmp_path / name) == "holds 2 pictures; expected one"


def test_a_picture_of_one_pixel_is_refused(tmp_path: Path) -> None:
    flat(size=(1, 1)).save(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png") == "1 x 1 pixels, smaller than images.min_size = 2"


@pytest.mark.parametrize(("size", "accepted"), [((16, 16), True), ((400, 15), False)])
def test_the_shortest_side_counts(tmp_path: Path, size: tuple[int, int], accepted: bool) -> None:
    flat(size=size).save(tmp_path / "a.png")
    if accepted:
        assert load_image(tmp_path / "a.png", ImageSettings()).width == size[0]
    else:
        assert "400 x 15" in refusal(tmp_path / "a.png", ImageSettings())


def test_a_decompression_bomb_is_refused_by_its_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(png(60000, 60000, 8, 2, b""))
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("decoded"))
    assert refusal(tmp_path / "a.png").startswith("60000 x 60000 pixels, more than images.max")


@pytest.mark.parametrize(("limit", "accepted"), [(400, True), (399, False)])
def test_max_pixels_is_the_largest_accepted(tmp_path: Path, limit: int, accepted: bool) -> None:
    flat().save(tmp_path / "a.png")
    settings = ImageSettings(max_pixels=limit)
    if accepted:
        assert load_image(tmp_path / "a.png", settings).width == 20
    else:
        assert refusal(tmp_path / "a.png", settings) == (
            "20 x 20 pixels, more than images.max_pixels = 399"
        )


# --- several pictures in a TIFF


def pages(path: Path, *sizes: tuple[int, int], flags: tuple[int, ...]) -> None:
    """A TIFF of grey pages, the first of shade 50, with their NewSubfileType (-1: none)."""
    drawn = [flat(50 + n, "L", size) for n, size in enumerate(sizes)]
    for page, flag in zip(drawn, flags, strict=True):
        page.encoderinfo = {"tiffinfo": {254: flag} if flag >= 0 else {}}  # type: ignore[attr-defined]
    first = {254: flags[0]} if flags[0] >= 0 else {}
    drawn[0].save(path, save_all=True, append_images=drawn[1:], tiffinfo=first)


@pytest.mark.parametrize(
    ("sizes", "flags", "shade"),
    [
        (((40, 30), (20, 15)), (-1, -1), 50),  # by its size
        (((40, 30), (38, 30)), (0, 1), 50),  # by what it says
        (((40, 30), (40, 30)), (0, 4), 50),  # a mask of what is transparent
        (((20, 15), (40, 30)), (1, 0), 51),  # the thumbnail stands first
    ],
)
def test_a_thumbnail_beside_the_photograph_is_passed_over(
    tmp_path: Path, sizes: tuple[tuple[int, int], ...], flags: tuple[int, ...], shade: int
) -> None:
    pages(tmp_path / "a.tif", *sizes, flags=flags)
    assert (load_image(tmp_path / "a.tif", SETTINGS).pixels == shade).all()


def test_a_smaller_picture_of_other_proportions_is_no_thumbnail(tmp_path: Path) -> None:
    pages(tmp_path / "a.tif", (40, 30), (20, 20), flags=(-1, -1))
    assert refusal(tmp_path / "a.tif") == "holds 2 pictures; expected one"


# --- how much of its range it uses


@pytest.mark.parametrize(("low", "high", "narrow"), [(0, 25, True), (0, 26, False), (90, 95, True)])
def test_a_photograph_that_uses_less_than_a_tenth_of_its_range_is_known(
    tmp_path: Path, low: int, high: int, narrow: bool
) -> None:
    image = flat(low, "L", (40, 20))
    image.paste(high, (0, 0, 20, 20))
    image.save(tmp_path / "a.png")
    # The black above and below, of the letterbox, is none of it.
    settings = ImageSettings(size=40, fit="letterbox")
    assert load_image(tmp_path / "a.png", settings).narrow is narrow


# --- the square


def spot(tmp_path: Path, x: int, y: int, size: tuple[int, int]) -> Path:
    """A black photograph with one white pixel."""
    image = flat((0, 0, 0), size=size)
    image.putpixel((x, y), (255, 255, 255))
    image.save(tmp_path / "spot.png")
    return tmp_path / "spot.png"


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(60, 20), (20, 60), (7, 32), (200, 90)])
def test_the_placement_tells_where_a_pixel_went(
    tmp_path: Path, fit: str, size: tuple[int, int]
) -> None:
    x, y = size[0] // 3, 2 * size[1] // 3
    settings = ImageSettings(size=64, min_size=2, fit=fit)  # type: ignore[arg-type]
    image = load_image(spot(tmp_path, x, y, size), settings)
    weight = image.pixels[..., 0].astype(float)
    rows, columns = np.mgrid[:64, :64] + 0.5
    place = image.placement
    found_x = (weight * columns).sum() / weight.sum()
    found_y = (weight * rows).sum() / weight.sum()
    assert found_x == pytest.approx((x + 0.5) * place.scale_x + place.offset_x, abs=0.3)
    assert found_y == pytest.approx((y + 0.5) * place.scale_y + place.offset_y, abs=0.3)


def test_stretch_fills_the_square(tmp_path: Path) -> None:
    flat(size=(60, 20)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", ImageSettings(size=30))
    assert (image.pixels == COLOR).all()
    assert image.placement == Placement(0.5, 1.5, 0, 0)


def test_letterbox_keeps_the_proportions_and_pads_with_black(tmp_path: Path) -> None:
    flat(size=(60, 20)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", ImageSettings(size=30, fit="letterbox"))
    assert (image.pixels[10:20] == COLOR).all()
    assert (image.pixels[:10] == 0).all()
    assert (image.pixels[20:] == 0).all()
    assert image.placement == Placement(0.5, 0.5, 0, 10)


def test_letterbox_of_a_very_long_photograph_has_one_row(tmp_path: Path) -> None:
    flat(size=(600, 2)).save(tmp_path / "a.png")
    image = load_image(tmp_path / "a.png", ImageSettings(size=30, min_size=2, fit="letterbox"))
    assert (image.pixels[14] == COLOR).all()
    assert (image.pixels != 0).any(axis=(1, 2)).sum() == 1


def test_downscaling_averages(tmp_path: Path) -> None:
    board = np.indices((320, 320)).sum(axis=0) % 2 * 255
    Image.fromarray(board.astype(np.uint8)).save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", ImageSettings(size=32)).pixels
    assert np.abs(pixels.astype(int) - 127.5).max() < 3


@pytest.mark.parametrize("name", ["bilinear", "box", "bicubic", "lanczos"])
def test_a_photograph_is_made_smaller_with_the_filter_of_the_settings(
    tmp_path: Path, name: str
) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (90, 90, 3), dtype=np.uint8)
    Image.fromarray(grain).save(tmp_path / "a.png")
    settings = replace(SETTINGS, filter=name)  # type: ignore[arg-type]
    kinds = {each.name.lower(): each for each in Image.Resampling}
    expected = {k: np.asarray(Image.fromarray(grain).resize((32, 32), f)) for k, f in kinds.items()}
    pixels = load_image(tmp_path / "a.png", settings).pixels
    assert [k for k, each in expected.items() if (each == pixels).all()] == [name]


def test_a_large_photograph_is_averaged_first_and_looks_the_same(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 900, 700)
    Image.open(tmp_path / "a.jpg").save(tmp_path / "a.png")  # decoded in full
    pixels = load_image(tmp_path / "a.png", replace(SETTINGS, filter="lanczos")).pixels
    plain = Image.open(tmp_path / "a.png").resize((32, 32), Image.Resampling.LANCZOS)
    assert 0 < np.abs(pixels.astype(int) - np.asarray(plain).astype(int)).max() <= 2


def test_the_square_is_uint8_rgb(tmp_path: Path) -> None:
    flat().save(tmp_path / "a.png")
    pixels = load_image(tmp_path / "a.png", SETTINGS).pixels
    assert (pixels.shape, pixels.dtype) == ((32, 32, 3), np.uint8)


# --- JPEGs that are decoded smaller


def photograph(path: Path, width: int, height: int, orientation: int = 1) -> None:
    """A smooth picture, as cameras make them, with fine noise."""
    y, x = np.mgrid[:height, :width] / max(width, height)
    smooth = np.stack([x, y, (x + y) / 2], -1) * 200 + 20
    grain = np.random.default_rng(0).normal(0, 2, smooth.shape)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
    image.save(path, quality=95, exif=exif)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_a_jpeg_decoded_smaller_looks_the_same_and_lies_in_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fit: str, orientation: int
) -> None:
    photograph(tmp_path / "a.jpg", 517, 389, orientation)
    settings = replace(SETTINGS, fit=fit)  # type: ignore[arg-type]
    fast = load_image(tmp_path / "a.jpg", settings)
    monkeypatch.setattr(images, "_SCALED_DECODING", 1000)
    plain = load_image(tmp_path / "a.jpg", settings)
    assert (fast.width, fast.height) == (plain.width, plain.height)
    assert fast.placement == plain.placement
    difference = np.abs(fast.pixels.astype(int) - plain.pixels.astype(int))
    assert 0 < difference.max() <= 4
    assert difference.mean() < 1


def test_a_jpeg_is_never_decoded_to_less_than_twice_the_square(tmp_path: Path) -> None:
    photograph(tmp_path / "a.jpg", 300, 130)
    with opened(tmp_path / "a.jpg", SETTINGS, (64, 64)) as smaller:
        assert (smaller.image.size, smaller.size) == ((150, 65), (300, 130))
    with opened(tmp_path / "a.jpg", SETTINGS, (66, 66)) as whole:
        assert whole.image.size == (300, 130)
