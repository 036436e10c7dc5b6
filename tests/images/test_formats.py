"""Which files are images: by their names, and by their first bytes."""

import io
import os
from pathlib import Path

import pytest
from PIL import Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images import formats
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.files import find_images
from anomaly_vae.images.formats import DECODERS, is_image, kind_of
from anomaly_vae.settings.images import ImageSettings

SETTINGS = ImageSettings(size=32, min_size=2)


def stored(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 20), (200, 100, 50)).save(file, kind, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("kind", [each for each in DECODERS if each != "AVIF"])
def test_a_photograph_under_any_name_is_found_and_read(tmp_path: Path, kind: str) -> None:
    for name in ("photo", "photo.dat", "photo.png.bak"):
        (tmp_path / name).write_bytes(stored(kind))
    names = list(find_images(tmp_path))
    assert names == ["photo", "photo.dat", "photo.png.bak"]
    for name in names:
        load_image(tmp_path / name, SETTINGS)


@pytest.mark.skipif("AVIF" not in DECODERS, reason="Pillow without AVIF")
def test_avif_is_found_and_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(stored("AVIF"))
    assert is_image(tmp_path / "a")
    load_image(tmp_path / "a", SETTINGS)


@pytest.mark.parametrize(
    "head",
    [b"", b"BMW parts, ordered on Monday", b"P1 of the plan", b"P2\nnotes", b"<svg", b"PK\3\4",
     b"%PDF-1.7", b"\0\0\0\x18ftypmp42", b"RIFF\0\0\0\0WAVE"],
)  # fmt: skip
def test_what_is_no_image_is_none(head: bytes) -> None:
    assert kind_of(head) == ""


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic", ".heic"), (b"\0\0\0\x18ftypcrx ", ".cr3"), (b"8BPS", ".psd"),
        (b"\0" * 128 + b"DICM", ".dcm"), (b"II*\0\x10\0\0\0CR", ".cr2"), (b"P5\n2 2\n", ".pnm"),
        (b"P5\n# by a scanner\n", ".pnm"), (b"\xff\x0a", ".jxl"),
    ],
)  # fmt: skip
def test_an_image_that_is_not_decoded_is_known_by_its_first_bytes(head: bytes, kind: str) -> None:
    assert kind_of(head) == kind


@pytest.mark.parametrize(
    ("name", "data", "remedy"),
    [
        ("a.heic", b"\0\0\0\x18ftypheic", "heif-convert"),
        ("a.jpg", b"\0\0\0\x18ftypheic", "heif-convert"),  # as some phones call them
        ("a.dat", b"8BPS", "ImageMagick"),
        ("a.jxl", b"damaged", "djxl"),
    ],
)
def test_what_is_not_decoded_is_refused_with_what_converts_it(
    tmp_path: Path, name: str, data: bytes, remedy: str
) -> None:
    (tmp_path / name).write_bytes(data)
    assert list(find_images(tmp_path)) == [name]
    with pytest.raises(ImageReadError, match=f"convert it to PNG.*{remedy}"):
        load_image(tmp_path / name, SETTINGS)


def test_the_preview_in_a_raw_file_is_not_taken_for_the_photograph(tmp_path: Path) -> None:
    (tmp_path / "a.NEF").write_bytes(stored("TIFF"))
    (tmp_path / "b.tif").write_bytes(stored("TIFF", tiffinfo={50706: b"\1\4\0\0"}))  # a DNG
    for name in ("a.NEF", "b.tif"):
        with pytest.raises(ImageReadError, match="a raw file of a camera; develop it .*darktable"):
            load_image(tmp_path / name, SETTINGS)


def test_only_files_of_unknown_names_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.jpg", "b.PNG", "c.heic", "d"):
        (tmp_path / name).touch()
    looked: list[str] = []
    monkeypatch.setattr(formats, "head_of", lambda path: (looked.append(path.name), b"")[1])
    list(find_images(tmp_path))
    assert looked == ["d"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert not is_image(tmp_path / "pipe")
