"""Masks of defects: nothing vanishes, sizes are exact, and they lie where their photograph does."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import ImageReadError
from anomaly_vae.images.masks import Truth, load_truth
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.masks import Mask


def save(folder: Path, mask: Mask, name: str = "m.png") -> Path:
    Image.fromarray(mask).save(folder / name)
    return folder / name


def truth(path: Path, size: tuple[int, int], side: int = 40, orientation: int = 1) -> Truth:
    return load_truth([path], size, orientation, ImageSettings(size=side))


@pytest.mark.parametrize(
    ("name", "mode", "white"),
    [("m.png", "1", 1), ("m.png", "L", 255), ("m.bmp", "L", 1), ("m.png", "RGB", (0, 0, 1)),
     ("m.tif", "I;16", 1), ("m.tif", "I", 1), ("m.tif", "F", 0.01), ("m.png", "RGBA", (9, 9, 9, 255))],
)  # fmt: skip
def test_anything_but_black_is_defective(
    tmp_path: Path, name: str, mode: str, white: object
) -> None:
    mask = Image.new(mode, (20, 20))
    mask.paste(white, (5, 10, 10, 20))  # type: ignore[arg-type]
    mask.save(tmp_path / name)
    expected = np.zeros((40, 40), dtype=bool)
    expected[20:40, 10:20] = True
    found = truth(tmp_path / name, (20, 20))
    assert np.array_equal(found.square, expected)
    assert found.share == pytest.approx(50 / 400)


def test_no_defect_vanishes_and_its_size_is_exact(tmp_path: Path) -> None:
    mask = np.zeros((1000, 1500), dtype=bool)
    mask[999, 1499] = mask[333:338, 701:706] = True
    found = truth(save(tmp_path, mask), (1500, 1000), side=32)
    assert found.square[31, 31]
    rows, columns = np.nonzero(found.square[:-1])
    # Pixels 333 to 337 of 1000 lie in rows 10.7 to 10.8 of 32, 701 to 705 of 1500 in 15.0.
    assert (set(rows), set(columns)) == ({10}, {14, 15})
    assert found.share == 26 / 1_500_000


def test_each_cell_that_is_touched_counts_as_by_brute_force(tmp_path: Path) -> None:
    mask = np.random.default_rng(0).random((37, 53)) < 0.02
    found = truth(save(tmp_path, mask), (53, 37), side=16).square
    expected = np.zeros((16, 16), dtype=bool)
    for y, x in np.argwhere(mask):
        for row in range(16):
            for column in range(16):
                apart_y = (row + 1) * 37 <= y * 16 or row * 37 >= (y + 1) * 16
                apart_x = (column + 1) * 53 <= x * 16 or column * 53 >= (x + 1) * 16
                expected[row, column] |= not (apart_y or apart_x)
    assert np.array_equal(found, expected)


def test_a_mask_lies_where_its_photograph_lies_in_a_letterbox(tmp_path: Path) -> None:
    path = save(tmp_path, np.ones((20, 60), dtype=bool))
    square = load_truth([path], (60, 20), 1, ImageSettings(size=30, fit="letterbox")).square
    assert np.flatnonzero(square.any(axis=1)).tolist() == [*range(10, 20)]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_a_mask_drawn_on_the_photograph_as_stored_is_turned_with_it(
    tmp_path: Path, orientation: int
) -> None:
    stored = np.zeros((20, 40), dtype=bool)
    stored[:5, :10] = True  # the upper left of what is stored
    found = truth(save(tmp_path, stored), (20, 40), orientation=orientation).square
    rows, columns = np.nonzero(found)
    corner = (rows.mean() < 20, columns.mean() < 20)
    # CIPA DC-008: where row 0 and column 0 of the file are seen.
    assert (
        corner
        == {5: (True, True), 6: (True, False), 7: (False, False), 8: (False, True)}[orientation]
    )


@pytest.mark.parametrize(("size", "orientation"), [((40, 40), 1), ((20, 40), 1), ((20, 40), 3)])
def test_other_proportions_are_refused(
    tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    path = save(tmp_path, np.ones((20, 40), dtype=bool))
    with pytest.raises(ImageReadError, match=r"m.png: 40 x 20 pixels, but its photograph has "):
        truth(path, size, orientation=orientation)


def test_a_smaller_mask_of_the_same_proportions_is_accepted(tmp_path: Path) -> None:
    assert truth(save(tmp_path, np.ones((33, 50), dtype=bool)), (1000, 667)).square.all()


def test_several_masks_of_a_photograph_are_joined(tmp_path: Path) -> None:
    masks = np.zeros((2, 20, 20), dtype=bool)
    masks[0, :5], masks[1, 15:] = True, True
    paths = [save(tmp_path, mask, f"{number}.png") for number, mask in enumerate(masks)]
    found = load_truth(paths, (20, 20), 1, ImageSettings(size=20))
    assert np.array_equal(found.square, masks.any(axis=0))
    assert found.share == 0.5


def test_what_is_not_inspected_is_no_defect(tmp_path: Path) -> None:
    left = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))
    path = save(tmp_path, np.ones((20, 20), dtype=bool))
    found = load_truth([path], (20, 20), 1, ImageSettings(size=20, ignore=(left,)))
    assert (found.square[:, :10].any(), found.square[:, 10:].all()) == (False, True)
    assert found.share == 0.5
