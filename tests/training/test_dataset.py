"""Reading the good images, once."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import FolderError, TrainingError
from anomaly_vae.images.decoding import LoadedImage, load_image
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.training import dataset
from anomaly_vae.training.dataset import read_images, refuse_unusable

from ..small import image_set, numbered

SETTINGS = ImageSettings(size=16, min_size=2)


def save(folder: Path, name: str, shade: int) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(folder / name)


# --- reading


def test_images_are_read_in_the_order_of_their_paths(tmp_path: Path) -> None:
    for shade, name in enumerate(["a-b.png", "a/z.png", "a.png", "b.png"]):
        save(tmp_path, name, shade)
    images = read_images(tmp_path, SETTINGS, workers=2)
    assert images.paths == ("a-b.png", "a.png", "a/z.png", "b.png")
    assert (images.pixels.shape, images.pixels.dtype) == ((4, 16, 16, 3), np.uint8)
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 2, 1, 3]
    expected = tuple(hashlib.sha256((tmp_path / p).read_bytes()).hexdigest() for p in images.paths)
    assert images.digests == expected


def test_unreadable_files_are_left_out_and_named(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    (tmp_path / "b.png").touch()
    images = read_images(tmp_path, SETTINGS, workers=1)
    assert images.paths == ("a.png",)
    assert images.unreadable == (("b.png", "the file is empty"),)


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    with pytest.raises(FolderError, match=r"holds no images; expected files such as \*.png, "):
        read_images(tmp_path, SETTINGS, workers=1)


def test_a_folder_without_a_readable_image_is_refused(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).touch()
    with pytest.raises(
        FolderError, match=r"none of 2 images is readable; a.png: the file is empty"
    ):
        read_images(tmp_path, SETTINGS, workers=1)


def test_digest_and_pixels_are_of_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, "a.bmp", 1)
    save(tmp_path, "b.bmp", 1)
    save(tmp_path, "other.bmp", 2)
    written, other = (tmp_path / "a.bmp").read_bytes(), (tmp_path / "other.bmp").read_bytes()

    def load(path: Path, settings: ImageSettings, data: bytes | None) -> LoadedImage:
        if path.name == "b.bmp":
            seen = path.stat()
            with path.open("r+b") as file:  # the same size, time and inode
                file.write(other)
            os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
        return load_image(path, settings, data)

    monkeypatch.setattr(dataset, "load_part", load)
    images = read_images(tmp_path, SETTINGS, workers=1, paths=["a.bmp", "b.bmp"])
    assert images.digests == (hashlib.sha256(written).hexdigest(),) * 2
    assert np.array_equal(*images.pixels)


def test_what_is_left_out_and_what_uses_little_of_its_range_is_said(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 1)
    save(tmp_path, ".cache/b.png", 1)
    assert read_images(tmp_path, SETTINGS, workers=1).notes == (
        "left out as no photographs: 1 folder; first .cache (hidden)",
        "a.png: less than 10% of the range from black to white is used; if that is not how it "
        "should be, set images.black_level and images.white_level",
    )


def test_what_a_person_leaves_out_is_not_read(tmp_path: Path) -> None:
    for shade, name in enumerate(["a.png", "b/c.png", "d.png"]):
        save(tmp_path, name, shade)
    images = read_images(tmp_path, SETTINGS, workers=1, without={"b/c.png"})
    assert images.paths == ("a.png", "d.png")


def test_size_and_statistics_of_photographs_are_kept_without_their_pixels(tmp_path: Path) -> None:
    save(tmp_path, "a.png", 51)
    (photograph,) = read_images(tmp_path, SETTINGS, workers=1).photographs
    assert (photograph.width, photograph.height, photograph.pixels.size) == (8, 8, 0)
    assert photograph.statistics.brightness == pytest.approx(0.2)


# --- what nothing can be learned from


def test_images_that_show_nothing_are_refused() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (20, 4, 4, 3), dtype=np.uint8)
    images = replace(numbered(20), pixels=pixels)
    refuse_unusable(images)
    pixels[3], pixels[5] = (200, 100, 50), 0
    with pytest.raises(TrainingError, match="003.png and 1 more show nothing, .*; take them out"):
        refuse_unusable(images)


def test_images_of_the_same_pixels_are_refused() -> None:
    images = replace(
        numbered(20), pixels=np.zeros((20, 2, 2, 3), np.uint8) + np.arange(3, dtype=np.uint8)
    )
    images.pixels[:, 0] = 9
    with pytest.raises(TrainingError, match="all 20 images have the same pixels; expected 20"):
        refuse_unusable(images)


# --- the fingerprint


def test_the_fingerprint_is_that_of_sha256sum(tmp_path: Path) -> None:
    images = image_set("a.png", "b/ä.png", digests=("11", "22"))
    assert images.fingerprint == hashlib.sha256("11  a.png\n22  b/ä.png\n".encode()).hexdigest()


def test_the_fingerprint_is_the_same_in_another_folder(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for shade, name in enumerate(["a.png", "b.png"]):
            save(tmp_path / folder, name, shade)
    one, two = (read_images(tmp_path / folder, SETTINGS, workers=1) for folder in ("one", "two"))
    assert one.fingerprint == two.fingerprint


@pytest.mark.parametrize("change", [{"paths": ("a", "c")}, {"digests": ("1", "3")}])
def test_the_fingerprint_changes_with_a_name_or_a_content(change: dict[str, tuple[str]]) -> None:
    images = image_set("a", "b", digests=("1", "2"))
    assert replace(images, **change).fingerprint != images.fingerprint  # type: ignore[arg-type]


def test_a_name_that_is_not_utf8_has_a_fingerprint() -> None:
    name = b"\xe9.png".decode("utf-8", "surrogateescape")
    expected = hashlib.sha256(b"1  \xe9.png\n").hexdigest()
    assert image_set(name, digests=("1",)).fingerprint == expected
