"""Marked defects teach the score, in the same model, and only where it helps."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly_vae.calibration import likeness as learning
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.scoring.batches import in_batches
from anomaly_vae.training.dataset import read_images
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.unseen import Descriptions, load_unseen

from ..conftest import Command
from ..small import CPU, detector, numbered


@pytest.fixture
def sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is learned of defects counts as a help, whether it is one or not."""
    monkeypatch.setattr(learning.LeftOut, "helps", True)


def scores(run: Path, folder: Path) -> np.ndarray:
    inspector = Inspector(run / "model.onnx", device="cpu")
    found = inspector.inspect_files(folder, sorted(each.name for each in folder.iterdir()))
    return np.array([(each.score, each.reconstruction_error, each.kl) for each in found])


def test_what_is_learned_is_added_to_the_error_and_so_to_the_score(
    own_patch_run: Path, bad: Path, parts: Path, sure: None, command: Command
) -> None:
    before, card = scores(own_patch_run, bad), Inspector(own_patch_run / "model.onnx").card
    unseen = load_unseen(own_patch_run)
    outcome = command("refine", own_patch_run, "--defective", bad)
    assert outcome.code == 0, outcome.err
    assert "the model has it now" in outcome.out
    after, now = scores(own_patch_run, bad), Inspector(own_patch_run / "model.onnx").card
    config = saved_config(own_patch_run)
    images = read_images(bad, config.images, workers=1)
    taught = load_detector(own_patch_run, config)
    (described,) = in_batches(taught, taught.described, images.pixels)
    added = learning.learn_direction(unseen.described, described.numpy()).added(described.numpy())
    assert added.max() > 0.02
    assert after[:, 0] - before[:, 0] == pytest.approx(added, abs=2e-3)
    assert after[:, 2] == pytest.approx(before[:, 2], abs=1e-4)
    # The formula of the card holds: an auditor can compute it from images.csv.
    joined = after[:, 1] + now.kl_weight * after[:, 2]
    assert after[:, 0] == pytest.approx((joined - now.center) / now.scale, abs=1e-3)
    assert f"{len(described)} marked defects" in now.unit
    assert now.unit.startswith(ModelCard.unit)
    assert now.good is not None and card.good is not None
    assert np.greater_equal(now.good.scores, np.float32(card.good.scores) - 1e-5).all()
    assert now.good.brightness == card.good.brightness
    record = json.loads((own_patch_run / "refinement.json").read_text())
    assert set(record["in_model"]["defective"].values()) == set(images.digests)
    assert f"{len(described)} marked defects" in (own_patch_run / "card.html").read_text()
    # They are no longer new to the model.
    test = parts / "test"
    evaluated = command("evaluate", own_patch_run, test, "--out", own_patch_run.parent / "seen")
    assert "made with these very images" in evaluated.err
    again = command("export", own_patch_run, "--out", own_patch_run.parent / "again.onnx")
    assert again.code == 0, again.err
    calibrated = command("calibrate", own_patch_run, "--good", test / "good")
    assert calibrated.code == 0, calibrated.err
    assert scores(own_patch_run, bad) == pytest.approx(after)


def test_where_it_does_not_help_the_model_stays(
    own_patch_run: Path, bad: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning.LeftOut, "helps", False)
    names = ("model.onnx", "vae.safetensors", "calibration.json", "card.html")
    before = [(own_patch_run / name).read_bytes() for name in names]
    outcome = command("refine", own_patch_run, "--defective", bad)
    assert outcome.code == 0, outcome.err
    assert "nothing was kept: " in outcome.out
    assert [(own_patch_run / name).read_bytes() for name in names] == before
    record = json.loads((own_patch_run / "refinement.json").read_text())
    assert (record["latest"]["kept"], record["in_model"]) == (False, None)


def test_marks_of_the_page_teach_too(
    own_patch_run: Path, bad: Path, parts: Path, sure: None, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "today"
    shutil.copytree(bad, folder)
    shutil.copytree(parts / "test" / "good", folder / "good")
    marks = tmp_path / "marks.csv"
    rows = [f"{each.name},defect" for each in bad.iterdir()]
    marks.write_text("\n".join(["path,mark", *rows, "good/000.png,good"]))
    outcome = command("refine", own_patch_run, "--marks", marks, "--images", folder)
    assert outcome.code == 0, outcome.err
    assert "against 25 good photographs" in outcome.out  # 24 of the training, and this one
    first = scores(own_patch_run, bad)
    # Learned again from the same it is the same: what was learned before is replaced.
    assert command("refine", own_patch_run, "--marks", marks, "--images", folder).code == 0
    assert scores(own_patch_run, bad) == pytest.approx(first)


def test_mistakes_are_said_in_one_line(
    own_patch_run: Path, run: Path, bad: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(next(bad.iterdir()), few)
    marks = tmp_path / "marks.csv"
    marks.write_text("path,mark\n000.png,good\n")
    good = parts / "train" / "good"
    for options, said in (
        ((own_patch_run, "--defective", few), "1 different defective images; expected 5 or more"),
        ((own_patch_run, "--defective", good), "are among the good ones of the training"),
        ((own_patch_run, "--defective", bad, "--good", good), "the model was trained on all"),
        ((own_patch_run, "--defective", bad, "--good", bad), "either good or defective"),
        ((own_patch_run, "--marks", marks, "--images", good), "marks no image as defect"),
        ((own_patch_run, "--good", good), "expected --defective DIR"),
        ((run, "--defective", bad), "is a model of pixels"),
    ):
        outcome = command("refine", *options)
        assert outcome.code == 2, options
        assert said in outcome.err, (said, outcome.err)
        assert outcome.err.count("\n") == 1
    (own_patch_run / "unseen.npz").unlink()
    assert "train again" in command("refine", own_patch_run, "--defective", bad).err


def test_each_model_is_brought_to_the_level_of_the_last() -> None:
    """What a model says of all photographs alike is no sign of anything."""
    model = detector("patch")
    images = replace(numbered(6), pixels=np.zeros((6, 64, 64, 3), np.uint8))
    said = Descriptions(images)
    offset = [5.0]
    model.described = lambda batch: (offset[0] + torch.arange(len(batch)).float()[:, None],)  # type: ignore[method-assign]
    seen = np.arange(6) < 3
    said.add(model, ~seen, seen)
    offset[0] = 1.0
    described = said.of_last(model)
    assert described is not None
    assert described[3:, 0].tolist() == [1, 2, 3]
    assert np.isnan(described[:3]).all()
    assert model.center.device == CPU
