"""Which images of a labelled folder are good, and where their masks lie, in all layouts."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import FolderError
from anomaly_vae.images.files import list_images
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.truth import Truths, check_labelled, name_classes, read_truths

SETTINGS = ImageSettings(size=20)
ORIENTATION = 274  # the EXIF tag


def photograph(path: Path, size: tuple[int, int] = (20, 20), orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new("RGB", size, (9, 90, 200)).save(path, exif=exif)


def mask(path: Path, size: tuple[int, int] = (20, 20), *, black: bool = False) -> None:
    """The upper left quarter is defective."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("L", size)
    image.paste(0 if black else 1, (0, 0, size[0] // 2, size[1] // 2))
    image.save(path)


def truths(test: Path, masks: Path | None = None) -> Truths:
    paths = list_images(test)
    return read_truths(test, paths, name_classes(test, paths), SETTINGS, masks)


# Of each layout: the folder of the test, a good and a defective photograph, and its masks.
LAYOUTS = {
    "MVTec AD": ("test", "good/0.png", "dent/0.png", ["ground_truth/dent/0_mask.png"]),
    "MVTec AD 2": ("t", "good/0.png", "bad/0_x.png", ["t/ground_truth/bad/0_x_mask.png"]),
    "3D-AD": ("test", "good/rgb/0.png", "hole/rgb/0.png", ["test/hole/gt/0.png"]),
    "LOCO": ("test", "good/0.png", "logical/0.png",
             ["ground_truth/logical/0/000.png", "ground_truth/logical/0/001.png"]),
    "BTAD": ("test", "ok/0.bmp", "ko/0.bmp", ["ground_truth/ko/0.bmp"]),
    "VisA": ("Data/Images", "Normal/0.JPG", "Anomaly/0.JPG", ["Data/Masks/Anomaly/0.png"]),
    "KolektorSDD2": ("test", "1.png", "2.png", ["test/2_GT.png"]),
    "TIFF": ("test", "OK/0.png", "dent/0.png", ["ground_truth/dent/0.tif"]),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_classes_and_masks_of_the_layouts_in_use_are_found(tmp_path: Path, layout: str) -> None:
    test, good, bad, masks = LAYOUTS[layout]
    for name in (good, bad):
        photograph(tmp_path / test / name)
    for name in masks:
        mask(tmp_path / name)
    if layout == "KolektorSDD2":
        mask(tmp_path / "test" / "1_GT.png", black=True)
    paths = list_images(tmp_path / test)
    assert sorted(paths) == sorted([good, bad])
    classes = name_classes(tmp_path / test, paths)
    assert [str(name) == "good" for name in classes] == [path == good for path in paths]
    found = truths(tmp_path / test)
    assert found.known.all()
    assert found.squares.sum(axis=(1, 2)).tolist() == [0 if path == good else 100 for path in paths]
    assert found.shares.tolist() == [0 if path == good else 0.25 for path in paths]


def test_defective_images_without_a_defect_in_a_mask_are_named(tmp_path: Path) -> None:
    for name in ("good/0.png", "dent/0.png", "dent/1.png", "dent/2.png"):
        photograph(tmp_path / "test" / name)
    mask(tmp_path / "masks" / "dent" / "0.png")
    mask(tmp_path / "masks" / "dent" / "1.png", black=True)
    found = truths(tmp_path / "test", tmp_path / "masks")
    assert (found.black, found.missing) == (["dent/1.png"], ["dent/2.png"])
    assert found.known.tolist() == [True, False, False, True]
    assert truths(tmp_path / "test").missing == ["dent/0.png", "dent/1.png", "dent/2.png"]
    with pytest.raises(FolderError, match="nowhere: no such folder; expected that of the masks"):
        truths(tmp_path / "test", tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["0.jpg", "0.tif", "0.png"])
def test_a_mask_is_turned_with_its_photograph_and_others_are_refused(
    tmp_path: Path, name: str
) -> None:
    photograph(tmp_path / "test" / "good" / name)
    photograph(tmp_path / "test" / "dent" / name, (40, 30), orientation=6)
    mask(tmp_path / "ground_truth" / "dent" / "0.png", (40, 30))
    found = truths(tmp_path / "test").squares[0]
    assert (
        found[:10, 10:].all() and found.sum() == 100
    )  # the stored upper left is seen on the right
    mask(tmp_path / "ground_truth" / "dent" / "0.png", (40, 40))
    with pytest.raises(FolderError, match=r"0.png: 40 x 40 pixels, but .* has 30 x 40; expected"):
        truths(tmp_path / "test")


@pytest.mark.parametrize("name", ["good", "ok", "OK", "Normal"])
def test_the_good_class_has_one_of_its_usual_names(tmp_path: Path, name: str) -> None:
    classes = name_classes(tmp_path, [f"{name}/0.png", "dent/0.png"])
    assert classes.tolist() == ["good", "dent"]


def test_the_good_class_is_what_the_user_says(tmp_path: Path) -> None:
    paths = ["good/0.png", "iO/0.png", "nio/0.png"]
    classes = name_classes(tmp_path, paths, "iO")
    assert [str(name) for name in classes] == ["good (not the good class)", "good", "nio"]


@pytest.mark.parametrize(
    ("paths", "good"),
    [(["good/0.png"], None), (["a/0.png", "b/0.png"], None), (["good/0.png", "OK/0.png"], None),
     (["good/0.png", "a/0.png"], "iO")],
)  # fmt: skip
def test_without_one_good_class_and_others_it_is_refused(
    tmp_path: Path, paths: list[str], good: str | None
) -> None:
    with pytest.raises(FolderError, match=r"has the sub-folders .* or what --good-class says"):
        name_classes(tmp_path, paths, good)


def test_images_without_a_class_are_refused(tmp_path: Path) -> None:
    photograph(tmp_path / "0.png")
    with pytest.raises(FolderError, match=r"no sub-folders, and no mask beside 0.png; expected"):
        check_labelled(tmp_path)
    photograph(tmp_path / "good" / "0.png")
    photograph(tmp_path / "dent" / "0.png")
    with pytest.raises(FolderError, match=r"0.png lies in no class folder; move it into one"):
        check_labelled(tmp_path)


def test_shares_are_numbers_of_one_kind(tmp_path: Path) -> None:
    photograph(tmp_path / "good" / "0.png")
    photograph(tmp_path / "dent" / "0.png")
    found = truths(tmp_path)
    assert (found.squares.dtype, found.shares.dtype) == (np.bool_, np.float64)
