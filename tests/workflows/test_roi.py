"""A region of interest through the whole line: what is trained with it, respects it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from ..conftest import QUICK, RESNET, Command

RIGHT_HALF = "[[[0.5,0],[1,0],[1,1],[0.5,1]]]"


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, dtype=str)


@pytest.fixture(scope="module")
def left_run(parts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a pixel model that inspects the left half; tests must not change it."""
    from anomaly_vae_cli import run as command_line

    place = tmp_path_factory.mktemp("left")
    mask = Image.new("L", (256, 256))
    mask.paste(255, (0, 0, 128, 256))
    mask.save(place / "mask.png")
    arguments = ["-q", "train", parts / "train" / "good", "--out", place / "run", *QUICK,
                 "--features", "pixels", "--roi", place / "mask.png"]  # fmt: skip
    assert command_line([str(argument) for argument in arguments]) == 0
    return place / "run"


@pytest.fixture
def photos(parts: Path, tmp_path: Path) -> Path:
    """A good part, the same with a defect in the right half, and one in the left half."""
    folder = tmp_path / "photos"
    folder.mkdir()
    good = Image.open(sorted((parts / "train" / "good").iterdir())[0])
    good.save(folder / "good.png")
    for name, x in (("left.png", 16), ("right.png", 48)):
        defective = good.copy()
        ImageDraw.Draw(defective).ellipse((x - 6, 26, x + 6, 38), fill=(255, 0, 255))
        defective.save(folder / name)
    return folder


def check(photos: Path, out: Path) -> None:
    """Judge what an inspection of ``photos`` has written to ``out``."""
    images = table(out / "images.csv").set_index("path")
    good, right = images.loc["good.png"], images.loc["right.png"]
    for same in ("verdict", "quality", "regions"):
        assert right[same] == good[same]
    for close in ("score", "reconstruction_error", "kl"):  # batches of other sizes round otherwise
        assert float(right[close]) == pytest.approx(float(good[close]), rel=1e-5, abs=1e-5)
    assert images.verdict["left.png"] == "fail"
    regions = table(out / "defects.csv").set_index("path").drop(index="good.png", errors="ignore")
    right = regions.x.astype(int) + regions.width.astype(int)
    assert "left.png" in regions.index
    assert right.max() <= 32


def test_a_defect_outside_is_not_there_and_one_inside_is_found(
    left_run: Path, photos: Path, command: Command, tmp_path: Path
) -> None:
    command("inspect", left_run / "model.onnx", photos, "--out", tmp_path / "o")
    check(photos, tmp_path / "o")
    with Image.open(tmp_path / "o" / "heatmaps" / "left.png.jpg") as picture:
        overlay = np.asarray(picture)[:64, 2 * 72 :].astype(int)
    with Image.open(photos / "left.png") as picture:
        photo = np.asarray(picture.convert("RGB")).astype(int)
    assert overlay[:, 36:].mean() < 0.5 * photo[:, 36:].mean()


def test_polygons_and_a_trunk_do_the_same(
    parts: Path, photos: Path, trunk_weights: Path, command: Command, tmp_path: Path
) -> None:
    outcome = command("train", parts / "train" / "good", "--out", tmp_path / "run", *QUICK,
                      *RESNET, trunk_weights, "--set", f"images.ignore={RIGHT_HALF}",
                      "--set", "training.batch_size=256")  # fmt: skip
    assert outcome.code == 0, outcome.err
    assert "inspected: 50.0% of each photograph" in outcome.out
    command("inspect", tmp_path / "run" / "model.onnx", photos, "--out", tmp_path / "o")
    check(photos, tmp_path / "o")


def test_the_model_says_what_it_inspects(left_run: Path, run: Path, command: Command) -> None:
    said = command("info", left_run / "model.onnx").out
    assert "50.0% of the photograph" in said
    assert "images.roi               a mask" in said
    assert (
        json.loads(command("info", left_run / "model.onnx", "--json").out)["inspected_share"] == 0.5
    )
    assert "100.0% of the photograph" in command("info", run / "model.onnx").out


def test_a_photograph_of_other_proportions_never_passes(
    left_run: Path, photos: Path, command: Command, tmp_path: Path
) -> None:
    with Image.open(photos / "good.png") as image:
        image.resize((64, 48)).save(photos / "wide.png")
    outcome = command("inspect", left_run / "model.onnx", photos, "--out", tmp_path / "o")
    row = table(tmp_path / "o" / "images.csv").set_index("path").loc["wide.png"]
    assert outcome.code == 1
    assert row.verdict == "error" and "proportions of the region of interest" in row.error


def test_calibration_and_evaluation_respect_it_too(
    left_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    """Where the ground truth is painted all over outside, no figure changes."""
    truth = tmp_path / "truth"
    for mask in (parts / "ground_truth").rglob("*.png"):
        with Image.open(mask) as image:
            changed = image.copy()
        changed.paste(255, (32, 0, 64, 64))
        target = truth / mask.relative_to(parts / "ground_truth")
        target.parent.mkdir(parents=True, exist_ok=True)
        changed.save(target)
    for name, options in (("a", ()), ("b", ("--masks", truth))):
        outcome = command("evaluate", left_run, parts / "test", "--out", tmp_path / name, *options)
        assert outcome.code == 0, outcome.err
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert one["pixels"] == other["pixels"] is not None
    assert one["sizes"] == other["sizes"]
