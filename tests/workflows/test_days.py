"""``calibrate`` with good photographs of other days."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.inspection.inspector import Inspector

from ..conftest import SHORT, Command


@pytest.fixture(scope="module")
def darker(more_good: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other good parts under a weaker lamp, and not quite in the same place."""
    folder = tmp_path_factory.mktemp("days") / "darker"
    folder.mkdir()
    for number, path in enumerate(sorted(more_good.iterdir())):
        pixels = np.roll(np.asarray(Image.open(path)), 6, axis=1) // 2
        pixels[0, 0] = number
        Image.fromarray(pixels).save(folder / path.name)
    return folder


def test_another_day_is_held_against_what_was_promised(
    parts: Path, darker: Path, command: Command, tmp_path: Path
) -> None:
    own_run = tmp_path / "run"
    trained = command("train", parts / "train/good", "--out", own_run, "--features", "pixels",
                      *SHORT, "--set", "split.folds=2")  # fmt: skip
    assert trained.code == 0, trained.err
    outcome = command("calibrate", own_run, "--good", darker)
    assert outcome.code == 0, outcome.err
    said = " ".join(outcome.err.split())
    assert "what was promised does not hold there: failed instead of" in said
    assert "unlike those the limits were set on: brightness has median" in said
    record = json.loads((own_run / "calibration.json").read_text())
    (before,), (after,) = record["before"], record["days"]
    assert before["name"] == str(darker)
    assert before["failed"]["count"] > after["failed"]["count"]


def test_of_two_days_the_limits_hold_on_each(
    own_run: Path, darker: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    alone = []
    for day in (more_good, darker):
        run = Path(shutil.copytree(own_run, tmp_path / day.parent.name))
        assert command("calibrate", run, "--good", day).code == 0
        alone.append(Inspector(run / "model.onnx").card.threshold)
    outcome = command("calibrate", own_run, "--good", more_good, "--good", darker)
    assert outcome.code == 0, outcome.err
    joined = Inspector(own_run / "model.onnx").card.threshold
    assert joined.score == max(each.score for each in alone)
    assert joined.good == sum(each.good for each in alone)
    assert joined.promise.startswith("on each of 2 days at most 1 good image in 25 fails")
    record = json.loads((own_run / "calibration.json").read_text())
    assert [day["name"] for day in record["days"]] == [str(more_good), str(darker)]
    card = (own_run / "card.html").read_text()
    for day in (more_good, darker):
        assert str(day) in card


def test_days_that_are_copies_of_each_other_are_refused(
    own_run: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    again = shutil.copytree(more_good, tmp_path / "again")
    outcome = command("calibrate", own_run, "--good", more_good, "--good", again)
    assert outcome.code == 2
    assert "all 24 images in it are copies of those of another --good" in outcome.err


def test_days_and_a_weight_of_the_kl_are_not_chosen_together(
    own_run: Path, darker: Path, more_good: Path, parts: Path, command: Command
) -> None:
    outcome = command("calibrate", own_run, "--good", more_good, "--good", darker, "--defective",
                      parts / "test/scratch", "--fit-kl-weight")  # fmt: skip
    assert (outcome.code, "takes one --good" in outcome.err) == (2, True)
