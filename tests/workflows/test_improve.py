"""From a page's marks to a better model, and back; and a log in which tampering shows."""

import json
import shutil
from pathlib import Path

import pytest

from anomaly_vae.calibration import likeness as learning
from anomaly_vae.errors import ModelFileError
from anomaly_vae.images.files import digest
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.log import LOG, log, verified

from ..conftest import Command


@pytest.fixture
def marks(bad: Path, more_good: Path, tmp_path: Path) -> tuple[Path, Path]:
    """What a person has marked on a page, and the folder that was inspected."""
    folder = Path(shutil.copytree(bad, tmp_path / "today"))
    for name in ("000.png", "001.png"):
        shutil.copy(more_good / name, folder / f"good-{name}")
    table = tmp_path / "marks.csv"
    rows = [
        f"{each.name},{'good' if each.name.startswith('good') else 'defect'},{digest(each)}"
        for each in sorted(folder.iterdir())
    ]
    table.write_text("\n".join(["path,mark,sha256", *rows]))
    return table, folder


def content(run: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in run.iterdir() if each.is_file()}


def test_marks_make_a_candidate_that_is_promoted_and_taken_back(
    own_patch_run: Path, marks: tuple[Path, Path], command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learning.LeftOut, "helps", True)
    run, (table, folder) = own_patch_run, marks
    before = content(run)
    first = Inspector(run / "model.onnx", device="cpu")
    outcome = command("improve", run, "--marks", table, "--images", folder)
    assert outcome.code == 0, outcome.err
    assert "learned from 2 more good photographs" in outcome.out
    assert "marked defects that fail, of 10" in outcome.out
    assert "good photographs that fail, of 26" in outcome.out  # 24 of the training, and these
    assert content(run) == before  # nothing is replaced
    candidate = Inspector(run / "candidate" / "model.onnx", device="cpu")
    assert candidate.card.training_images == 26
    page = (run / "candidate" / "comparison.html").read_text()
    assert first.model_id in page
    assert candidate.model_id in page
    figures = json.loads((run / "candidate" / "comparison.json").read_text())
    assert figures["comparison"]["other_auroc"] > 0

    assert command("promote", run).code == 0
    assert Inspector(run / "model.onnx", device="cpu").model_id == candidate.model_id
    assert not (run / "candidate").exists()
    assert (run / "refinement.json").exists()
    again = command("promote", run)
    assert again.code == 2
    assert "no finished candidate" in again.err
    back = command("promote", run, "--back")
    assert back.code == 0, back.err
    after = content(run)
    assert {name: after[name] for name in before if name != LOG} == {
        name: data for name, data in before.items() if name != LOG
    }
    assert not (run / "refinement.json").exists()  # it was not taught
    assert "there is none before" in command("promote", run, "--back").err

    checked = command("verify-log", run)
    assert checked.code == 0, checked.err
    entries, _ = verified(run)
    assert [each["action"] for each in entries] == ["train", "promote", "back"]
    assert [each["model"] for each in entries] == [
        first.model_id, candidate.model_id, first.model_id
    ]  # fmt: skip
    # Earlier models are kept, and one that was exchanged is found.
    kept = run / "history" / entries[2]["archive"] / "model.onnx"
    shutil.copy(run / "model.onnx", kept)
    outcome = command("verify-log", run)
    assert outcome.code == 2
    assert "was exchanged" in outcome.err


def test_a_candidate_of_another_model_is_not_promoted(
    own_patch_run: Path, command: Command
) -> None:
    candidate = own_patch_run / "candidate"
    candidate.mkdir()
    shutil.copy(own_patch_run / "model.onnx", candidate)
    (candidate / "against.txt").write_text("0123456789ab\n")
    outcome = command("promote", own_patch_run)
    assert outcome.code == 2
    assert "was compared with model 0123456789ab" in outcome.err


def test_a_photograph_of_the_training_that_is_gone_is_named(
    own_patch_run: Path, marks: tuple[Path, Path], command: Command, tmp_path: Path
) -> None:
    told = json.loads((own_patch_run / "training.json").read_text())
    (own_patch_run / "training.json").write_text(json.dumps(told | {"folder": str(tmp_path)}))
    outcome = command("improve", own_patch_run, "--marks", marks[0], "--images", marks[1])
    assert outcome.code == 2
    assert "000.png: is not there" in outcome.err
    assert "--good" in outcome.err


@pytest.fixture
def logged(run: Path, tmp_path: Path) -> Path:
    """A run folder with a model, and a log of four lines."""
    folder = tmp_path / "logged"
    folder.mkdir()
    shutil.copy(run / "model.onnx", folder)
    model = Inspector(run / "model.onnx", device="cpu").model_id
    for action in ("train", "calibrate", "calibrate", "refine"):
        with Transaction(folder) as files:
            log(files, action, model)
            files.commit()
    assert len(verified(folder)[0]) == 4
    return folder


@pytest.mark.parametrize("change", [
    lambda lines: [lines[0].replace(b"train", b"TRAIN"), *lines[1:]],
    lambda lines: [lines[0], *lines[2:]],
    lambda lines: [lines[1], lines[0], *lines[2:]],
    lambda lines: [*lines[:2], lines[1], *lines[2:]],
    lambda lines: [*lines[:-1], b"{}"],
    lambda lines: [*lines[:-1], b"no JSON"],
    lambda lines: [],
])  # fmt: skip
def test_a_tampered_log_is_found(logged: Path, change: object) -> None:
    lines = (logged / LOG).read_bytes().splitlines()
    (logged / LOG).write_bytes(b"".join(each + b"\n" for each in change(lines)))  # type: ignore[operator]
    with pytest.raises(ModelFileError):
        verified(logged)


def test_an_end_that_was_taken_away_is_found_as_far_as_it_can_be(
    logged: Path, command: Command
) -> None:
    """The line that names the model is missed; lines before it, by a hash that was noted down."""
    noted = verified(logged)[1]
    lines = (logged / LOG).read_bytes().splitlines(keepends=True)
    (logged / LOG).write_bytes(b"".join(lines[:-1]))
    assert command("verify-log", logged).code == 0  # that line had not changed the model
    outcome = command("verify-log", logged, "--noted", noted)
    assert outcome.code == 2
    assert f"no line has the hash {noted}" in outcome.err
    (logged / "model.onnx").write_bytes(b"another model")
    assert "exchanged by hand" in command("verify-log", logged).err
