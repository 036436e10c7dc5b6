"""The table and the pictures of what would be found of drawn defects."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.calibration.sensitivity import DrawnScore, sensitivity
from anomaly_vae.images.drawn import Drawn, Wish
from anomaly_vae.reporting.sensitivity import (
    COLUMNS,
    FILES,
    Example,
    example,
    save_sensitivity,
    save_table,
    summary,
)
from tests.small import card

LIMITS = replace(card().threshold, review=0.5)
SCORES = [DrawnScore(kind, size, 20.0, score) for kind, size, score in (
    ("spot", 8.0, 0.2), ("spot", 16.0, 2.0), ("stain", 8.0, 0.7), ("stain", 16.0, 0.1),
)]  # fmt: skip


def drawn(row: int, column: int) -> Drawn:
    """A photograph of 200 x 300 pixels, grey, with a white square of 10 pixels."""
    image, mask = np.full((200, 300, 3), 90, np.uint8), np.zeros((200, 300), bool)
    mask[row : row + 10, column : column + 10] = True
    image[mask] = 255
    return Drawn(Wish(3, "spot", 10.0, 165.0), image, mask, 11.3, 165.0)


@pytest.mark.parametrize("place", [(100, 150), (0, 0), (190, 290)])
def test_an_example_shows_the_defect_in_its_box(place: tuple[int, int]) -> None:
    shown = example(drawn(*place), 10.0, 160.0, score=2.0)
    assert shown.scored == DrawnScore("spot", 10.0, 160.0, 2.0)
    assert shown.photograph == 3
    left, top, right, bottom = (round(edge) for edge in shown.box)
    white = shown.picture[..., 0] > 200
    assert white[top + 2 : bottom - 2, left + 2 : right - 2].all()
    assert white[top:bottom, left:right].sum() >= 0.95 * white.sum()
    assert not white.all()


def test_the_table_has_all_counts_and_both_units(tmp_path: Path) -> None:
    found = sensitivity(SCORES, LIMITS.score, LIMITS.review, photographs=4)
    save_table(found, tmp_path / "sensitivity.csv", mm_per_pixel=0.25)
    with (tmp_path / "sensitivity.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(COLUMNS)
    first = {
        name: rows[0][name] for name in ("kind", "size", "contrast", "drawn", "failed", "found")
    }
    assert first == {
        "kind": "all", "size": "", "contrast": "", "drawn": "4", "failed": "1", "found": "2",
    }  # fmt: skip
    assert [(row["kind"], row["size"]) for row in rows] == [
        ("all", ""), ("spot", ""), ("stain", ""), ("all", "8"), ("all", "16"),
        ("spot", "8"), ("spot", "16"), ("stain", "8"), ("stain", "16"),
    ]  # fmt: skip
    assert rows[4]["size_mm"] == "4"
    assert float(rows[4]["share_found"]) == 0.5
    save_table(found, tmp_path / "pixels.csv")
    assert all(",,20," in line for line in (tmp_path / "pixels.csv").read_text().splitlines()[4:])


def test_the_summary_says_from_which_size_on_in_both_units() -> None:
    scores = [DrawnScore("spot", size, 20.0, size - 10) for size in (8.0, 16.0)]
    found = sensitivity(
        [*scores, DrawnScore("spot", 16.0, 9.6, 0.0)], 2.0, photographs=3, left_out=2
    )
    assert summary(found, 0.05) == (
        f"{found} (90% and more: of 10 grey levels at no size, of 20 grey levels from 16 px = "
        "0.8 mm on); 2 could not be drawn"
    )
    assert "from 16 px on" in summary(found)


def test_a_box_has_the_colour_of_its_verdict(tmp_path: Path) -> None:
    examples = [
        Example(np.full((128, 128, 3), 90, np.uint8), (32.0, 32.0, 96.0, 96.0), 0, score)
        for score in SCORES
    ]
    found = sensitivity(SCORES, LIMITS.score, LIMITS.review, photographs=4)
    save_sensitivity(found, examples, LIMITS, tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == set(FILES)
    with Image.open(tmp_path / "sensitivity.png") as shares:
        assert shares.width > 600
    with Image.open(tmp_path / "drawn.jpg") as picture:
        sheet = np.asarray(picture).astype(int)
    rows, columns = (40 + 99 * row for row in range(2)), [62, 62 + 99]
    for top, verdicts in zip(rows, (("blue", "orange"), ("yellow", "blue")), strict=True):
        for left, verdict in zip(columns, verdicts, strict=True):
            red, green, blue = sheet[top + 48, left + 20 : left + 22].mean(0)
            looks = {
                "blue": blue > red + 40,
                "orange": red > green + 40,
                "yellow": green > blue + 40,
            }
            assert looks[verdict], (verdict, red, green, blue)
