"""Stacks of slices: found, read, laid out, and where their defects are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import FolderError, ImageReadError
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.files import list_images
from anomaly_vae.images.opening import highest_in
from anomaly_vae.images.proportions import with_frame
from anomaly_vae.images.regions import find_regions
from anomaly_vae.images.rules import LeftOut
from anomaly_vae.images.scans import SHAPE, draw_stack, save_stack
from anomaly_vae.images.slices import slices_of
from anomaly_vae.images.stacks import apart, load_part, side_by_side
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.images import ImageSettings

SETTINGS = ImageSettings(size=64, slices=32, white_level=65535)


@pytest.fixture(scope="module")
def stack() -> np.ndarray:
    return draw_stack(np.random.default_rng(0), "castings")


@pytest.fixture(scope="module")
def scan(stack: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the same stack as a file of pages, and as files of a slice each."""
    folder = tmp_path_factory.mktemp("scan")
    save_stack(stack, folder / "pages.tif")
    (folder / "files").mkdir()
    for number, each in enumerate(stack, start=1):  # not in the order of their characters
        Image.fromarray(each).save(folder / "files" / f"a-{number}.png")
    Image.fromarray(stack[0]).save(folder / "files" / "preview.png")
    return folder


def test_pages_and_files_give_the_same_slices_which_are_read_as_photographs(
    scan: Path, stack: np.ndarray
) -> None:
    by_files = ImageSettings(size=64, slices=32, white_level=65535, volumes=r"^a-")
    pages = load_part(scan / "pages.tif", SETTINGS)
    files = load_part(scan / "files" / "a-1.png", by_files)
    assert np.array_equal(pages.pixels, files.pixels)
    assert np.array_equal(apart(pages.pixels, 32)[..., 0], stack)
    one = load_image(scan / "files" / "a-7.png", SETTINGS.of_slice)
    assert np.array_equal(apart(files.pixels, 32)[6], one.pixels)
    assert (files.width, files.height, files.slices) == (64, 64, 32)


def test_a_stack_of_files_is_known_by_its_first_and_what_is_no_slice_is_counted(
    scan: Path,
) -> None:
    left_out = LeftOut()
    assert list_images(scan / "files", volumes=r"^[a-z]-", left_out=left_out) == ["a-1.png"]
    assert "1 file; first preview.png (images.volumes" in str(left_out)
    order = [each.name for each in slices_of(scan / "files" / "a-1.png", r"^[a-z]-")]
    assert order == [f"a-{number}.png" for number in range(1, 33)]
    assert list_images(scan, volumes=r"^(a)?") == [
        "files/a-1.png",
        "files/preview.png",
        "pages.tif",
    ]


@pytest.mark.parametrize(
    ("path", "volumes", "said"),
    [
        ("files/preview.png", "", "1 slice; expected 32"),
        ("files/a-1.png", "^", "33 slices; expected 32"),
    ],
)
def test_another_number_of_slices_is_refused(
    scan: Path, path: str, volumes: str, said: str
) -> None:
    settings = ImageSettings(size=64, slices=32, white_level=65535, volumes=volumes)
    with pytest.raises(ImageReadError, match=said):
        load_part(scan / path, settings)


def test_slices_of_different_sizes_are_refused(tmp_path: Path) -> None:
    first, other = (Image.new("L", (64, side), 9) for side in (64, 48))
    first.save(tmp_path / "two.tif", save_all=True, append_images=[other])
    with pytest.raises(ImageReadError, match=r"64 x 48 and of 64 x 64 pixels"):
        load_part(tmp_path / "two.tif", ImageSettings(size=64, slices=2, white_level=65535))


def test_16_bits_are_scaled_by_the_highest_of_all_slices(tmp_path: Path) -> None:
    low, high = (Image.fromarray(np.full((32, 32), value, np.uint16)) for value in (100, 4000))
    low.save(tmp_path / "deep.tif", save_all=True, append_images=[high])
    settings = ImageSettings(size=32, slices=2)
    assert highest_in(tmp_path / "deep.tif", settings) == 4000
    read = load_part(tmp_path / "deep.tif", ImageSettings(size=32, slices=2, white_level=4095))
    assert read.pixels[[0, -1], 0, 0].tolist() == [
        round(100 / 4095 * 255),
        round(4000 / 4095 * 255),
    ]


def test_the_number_of_slices_is_that_of_the_first_stack(scan: Path) -> None:
    config = load_config(Path("volume"))
    found, note = with_frame(scan, ["pages.tif"], config, 1)
    assert (found.slices, found.shape, found.of_slice.shape) == (32, (32 * 64, 64), (64, 64))
    assert note == "parts are stacks of 32 slices"
    with pytest.raises(FolderError, match="1 picture, no stack of slices; give --volumes"):
        with_frame(scan, ["files/a-1.png"], config, 1)


def test_slices_lie_side_by_side_in_rows() -> None:
    sheet = np.repeat(np.arange(1, 6), 2)[:, None] * np.ones((1, 3), int)
    laid_out = side_by_side(sheet, 5)
    assert laid_out.shape == (4, 9)
    assert laid_out[::2, ::3].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert side_by_side(sheet, 1) is sheet


def test_a_region_of_a_stack_reaches_through_slices_and_is_measured_by_its_shadow(
    scan: Path,
) -> None:
    image = load_part(scan / "pages.tif", SETTINGS)
    values = np.zeros(SHAPE, np.float32)
    values[4, 10:13, 20:22] = 2
    values[5, 13, 22] = 3  # by its corner
    values[7, 10, 20] = 1.5  # another one: a slice lies between
    first, second = find_regions(values.reshape(-1, 64), image, 1)
    assert (first.slice, first.depth, first.peak) == (6, 2, 3)
    assert (first.x, first.y, first.width, first.height, first.area) == (20, 10, 3, 4, 7)
    assert first.mean == pytest.approx((6 * 2 + 3) / 7)
    assert (second.slice, second.depth, second.area) == (8, 1, 1)
    (spot,) = find_regions(values.reshape(-1, 64), image, 9)  # nothing is above: around the peak
    assert (spot.slice, spot.peak) == (6, 3)
