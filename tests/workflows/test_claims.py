"""What a model claims is so: of new images, each counted once, judged as inspection will."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.images.files import digest
from anomaly_vae.inspection.finding import map_maxima, profile_of
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import untracked
from anomaly_vae.workflows.labelled import Photographs, inspect_all

from ..conftest import Command


def card_of(run: Path) -> ModelCard:
    return Inspector(run / "model.onnx", device="cpu").card


def metrics(out: Path) -> dict[str, dict[str, dict[str, int]]]:
    return json.loads((out / "metrics.json").read_text())  # type: ignore[no-any-return]


@pytest.fixture
def mixed(parts: Path, more_good: Path, tmp_path: Path) -> Path:
    """24 new good images, two copies of one, and 3 that the model has learned from."""
    folder = Path(shutil.copytree(more_good, tmp_path / "mixed"))
    for name in ("copy", "again"):
        shutil.copy(more_good / "000.png", folder / f"{name}.png")
    for name in ("003.png", "004.png", "005.png"):
        shutil.copy(parts / "train" / "good" / name, folder / f"known-{name}")
    return folder


def test_only_new_and_different_images_set_the_limit_and_all_say_so(
    own_run: Path, mixed: Path, command: Command
) -> None:
    outcome = command("calibrate", own_run, "--good", mixed)
    assert outcome.code == 0, outcome.err
    threshold = card_of(own_run).threshold
    left_out = json.loads((own_run / "calibration.json").read_text())["left_out"]
    known = len(left_out)
    assert 1 <= known <= 3 and all(path.startswith("known") for path in left_out)
    assert threshold.good == 27 - known
    assert f"from {27 - known} good images, set aside for this" in threshold.assurance
    said = f"{known} images were left out: the model has learned from them; 2 copies of others"
    for text in (threshold.assurance, command("info", own_run / "model.onnx").out,
                 " ".join(outcome.out.split()), (own_run / "card.html").read_text()):  # fmt: skip
        assert said in text
    assert "the model was made with these very images, so they were left out" in outcome.err


def test_images_are_known_by_what_was_inspected_whatever_becomes_of_the_files(
    run: Path, parts: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(parts / "test" / "good", tmp_path / "photos"))
    expected = [digest(path) for path in sorted(folder.iterdir())]
    inspector = Inspector(run / "model.onnx", device="cpu")
    images = inspect_all(inspector, Photographs(folder), untracked)
    (folder / "000.png").unlink()
    (folder / "001.png").write_bytes(b"another")
    assert images.digests == expected


def test_defective_images_count_once_too(
    own_run: Path, parts: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    bad = tmp_path / "bad"
    for name in "ab":
        shutil.copytree(parts / "test" / "scratch", bad / name)
    assert command("calibrate", own_run, "--good", more_good, "--defective", bad).code == 0
    threshold = card_of(own_run).threshold
    assert (threshold.good, threshold.defective) == (24, 2)
    assert "2 copies of others were left out" in threshold.assurance


def test_a_threshold_from_what_was_learned_alone_is_refused(
    own_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    known = tmp_path / "known"
    known.mkdir()
    normals = (own_run / "normals.csv").read_text().splitlines()
    for line in normals:
        if ",training," in line:
            shutil.copy(parts / "train" / "good" / line.split(",")[0], known)
    before = (own_run / "model.onnx").read_bytes()
    outcome = command("calibrate", own_run, "--good", known)
    assert outcome.code == 2
    assert "the model has learned from all 14 images in it; expected others" in outcome.err
    assert (own_run / "model.onnx").read_bytes() == before


@pytest.mark.parametrize("travels", ["run", "copied", "old"])
def test_evaluation_knows_what_either_model_was_made_and_set_with(
    own_run: Path, parts: Path, more_good: Path, travels: str, command: Command, tmp_path: Path
) -> None:
    test = Path(shutil.copytree(parts / "test", tmp_path / "test"))
    shutil.copy(parts / "train" / "good" / "003.png", test / "good" / "learned.png")
    shutil.copy(more_good / "000.png", test / "good" / "set-with.png")
    assert command("calibrate", own_run, "--good", more_good).code == 0
    model = own_run
    if travels == "copied":
        model = Path(shutil.copy(own_run / "model.onnx", tmp_path / "model.onnx"))
    if travels == "old":  # what was learned stands in normals.csv alone
        replace_card(own_run / "model.onnx", replace(card_of(own_run), learned_from=""))
    for out, given in (("one", [model]), ("two", [own_run, "--against", model])):
        outcome = command("evaluate", given[0], test, *given[1:], "--out", tmp_path / out)
        assert outcome.code == 0, outcome.err
    for key in ("seen_before", "other_seen_before"):
        assert metrics(tmp_path / "two")[key] == ["good/learned.png", "good/set-with.png"]
    assert "good/learned.png and 1 more: the model was made with" in outcome.err
    assert "good/learned.png and 1 more: the other model was made with" in outcome.err
    assert "is not known" not in outcome.err


def test_that_it_is_not_known_is_said(
    own_run: Path, parts: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    replace_card(own_run / "model.onnx", replace(card_of(own_run), learned_from="", set_with=""))
    (own_run / "normals.csv").unlink()
    outcome = command("evaluate", own_run, parts / "test", "--out", tmp_path / "e")
    assert "whether these images are new to it is not known" in outcome.err
    assert command("calibrate", own_run, "--good", more_good).code == 0
    assert "whether the model has learned from some" in card_of(own_run).threshold.assurance


def test_evaluation_and_calibration_judge_as_inspection_does(
    own_run: Path, parts: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    """Photographs of another size: no score says so, and inspection lets none of them pass."""
    test = tmp_path / "test"
    for source in (parts / "test").rglob("*.png"):
        target = test / source.relative_to(parts / "test")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(source).resize((80, 80)).save(target)
    assert command("evaluate", own_run, test, "--out", tmp_path / "e").code == 0
    command("inspect", own_run / "model.onnx", test, "--out", tmp_path / "o", "--heatmaps", "none")
    verdicts = json.loads((tmp_path / "o" / "summary.json").read_text())["verdicts"]
    images = metrics(tmp_path / "e")["images"]
    assert images["reviewed"]["count"] == verdicts["review"] > 0
    assert images["escapes"]["count"] == verdicts.get("pass", 0) == 0
    # The lowest recall: what escapes by its score does not by its photograph.
    outcome = command("calibrate", own_run, "--good", more_good, "--defective", test / "scratch",
                      "--criterion", "recall", "--target", 0)  # fmt: skip
    assert outcome.code == 0, outcome.err
    (condition,) = card_of(own_run).threshold.conditions
    assert "of the defective images that pass by their score are for review" in condition


def test_a_calibration_keeps_no_pixels_and_no_maps(run: Path, parts: Path) -> None:
    inspector, photographs = Inspector(run / "model.onnx"), Photographs(parts / "test" / "good")
    whole, lean = (inspect_all(inspector, photographs, untracked, lean=lean)
                   for lean in (False, True))  # fmt: skip
    assert list(whole.scores) == list(lean.scores)
    assert list(map_maxima(whole.findings)) == list(map_maxima(lean.findings))
    assert map_maxima(whole.findings)[0] == whole.findings[0].anomaly_map.max()
    assert profile_of([each.lean() for each in whole.findings]) == profile_of(lean.findings)
    for finding in lean.findings:
        assert finding.anomaly_map is None
        assert finding.image.pixels.size == 0


def test_views_of_one_part_count_once_in_the_promise(
    parts: Path, more_good: Path, command: Command, tmp_path: Path
) -> None:
    from ..conftest import QUICK

    good, more = tmp_path / "good", tmp_path / "more"
    for source, target in ((parts / "train" / "good", good), (more_good, more)):
        target.mkdir()
        for number, path in enumerate(sorted(source.iterdir())):
            shutil.copy(path, target / f"part{number // 3}_{number % 3}.png")
    run, grouped = tmp_path / "run", ("--group-by", r"^part\d+")
    assert command("train", good, "--out", run, "--features", "pixels", *QUICK, *grouped).code == 0
    limit = card_of(run).threshold
    assert (limit.good, "1 group of good images in 3" in limit.promise) == (2, True)
    assert command("calibrate", run, "--good", more).code == 0
    limit = card_of(run).threshold
    assert (limit.good, "1 group of good images in 9" in limit.promise) == (8, True)
    profile = card_of(run).good
    assert profile and len(profile.scores) == 24 and len(profile.group_scores) == 8
    assert profile.p_value(profile.group_scores[0]) == 1
    assert profile.p_value(profile.scores[-1] + 1) == 1 / 9
    outcome = command("calibrate", run, "--good", more_good)
    assert outcome.code == 2
    assert "does not match '000.png'; name it as the others" in outcome.err
