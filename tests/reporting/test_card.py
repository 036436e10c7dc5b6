"""The card of a model, made of what lies in its run folder, and what the terminal says."""

import json
import math
import re
import shutil
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from anomaly_vae_cli.console import Talk

from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.reporting.card import contact_sheet, write_card

from ..conftest import Command


def text(file: Path) -> str:
    return unescape(file.read_text(encoding="utf-8"))


def test_training_leaves_a_card_of_the_very_model(run: Path) -> None:
    inspector = Inspector(run / "model.onnx", device="cpu")
    page, card = text(run / "card.html"), inspector.card
    for told in (
        inspector.model_id,
        card.threshold.promise,
        card.training_fingerprint,
        card.formula,
    ):
        assert told in page
    assert "14 training, 5 stopping, 5 calibration" in page
    # Thumbnails, suspicious ones, training, latents, reconstructions, scores.
    assert page.count("<img ") == 6
    latents = json.loads((run / "training.json").read_text())["latents"]
    assert latents["summary"] in page
    assert latents["bits_per_image"] == pytest.approx(latents["kl"] / math.log(2))
    assert f"takes {latents['bits_per_image']:.1f} bits" in page
    assert f"{card.threshold.score:.4g}" in page


def test_the_card_needs_no_other_file_and_runs_nothing(run: Path) -> None:
    page = text(run / "card.html")
    assert "<script" not in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_the_command_of_the_card_makes_the_same_model_again(
    run: Path, command: Command, tmp_path: Path
) -> None:
    told = json.loads((run / "training.json").read_text())["command"].split()
    assert told[0] == "anomaly-vae"
    told[told.index("--out") + 1] = str(tmp_path / "again")
    assert command("-q", *told[1:]).code == 0
    first, again = (
        Inspector(each / "model.onnx", device="cpu").card for each in (run, tmp_path / "again")
    )
    assert (again.threshold, again.center, again.scale) == (
        first.threshold,
        first.center,
        first.scale,
    )


def test_calibration_writes_the_card_anew(own_run: Path, parts: Path, command: Command) -> None:
    good, bad = parts / "test" / "good", parts / "test" / "scratch"
    at_half = ("--criterion", "false-alarm-rate", "--target", 0.5)
    command("calibrate", own_run, "--good", good, "--defective", bad, *at_half)
    page = text(own_run / "card.html")
    card = Inspector(own_run / "model.onnx", device="cpu").card
    assert card.threshold.promise in page
    assert "ROC curve" in page
    assert "false-alarm-rate" in page
    assert len(card.defective_scores) == card.threshold.defective == 2
    command("calibrate", own_run, "--good", good)
    assert "ROC curve" not in text(own_run / "card.html")


def test_marks_calibrate_as_folders_do(
    run: Path, own_run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    good, bad = (sorted((parts / "test" / name).iterdir()) for name in ("good", "scratch"))
    rows = [f"{path.parent.name}/{path.name},{mark}"
            for paths, mark in ((good, "good"), (bad, "defect")) for path in paths]  # fmt: skip
    (tmp_path / "marks.csv").write_text("\n".join(["path,mark", *rows]))
    marked = command(
        "calibrate", own_run, "--marks", tmp_path / "marks.csv", "--images", parts / "test"
    )
    other = Path(shutil.copytree(run, tmp_path / "other"))
    by_folders = command(
        "calibrate", other, "--good", parts / "test/good", "--defective", parts / "test/scratch"
    )
    assert marked.code == by_folders.code == 0, marked.err
    # The folder that holds all images, and that of the good ones.
    assert marked.out.replace("test at", "test/good at") == by_folders.out


@pytest.mark.parametrize(
    "options", [(), ("--marks", "m.csv"), ("--good", "g", "--marks", "m.csv", "--images", "i")]
)
def test_half_of_the_labels_is_a_mistake(
    own_run: Path, command: Command, options: tuple[str, ...]
) -> None:
    outcome = command("calibrate", own_run, *options)
    assert outcome.code == 2
    assert "expected --good DIR (and --defective DIR), or --marks FILE --images DIR" in outcome.err


def test_a_card_of_a_bare_folder_says_what_is_known(run: Path, tmp_path: Path) -> None:
    inspector = Inspector(run / "model.onnx", device="cpu")
    write_card(tmp_path, inspector.card, inspector.model_id)
    page = text(tmp_path / "card.html")
    assert inspector.card.threshold.promise in page
    assert "<img " not in page


def test_what_was_drawn_is_called_drawn(run: Path, own_run: Path) -> None:
    inspector = Inspector(run / "model.onnx", device="cpu")
    for name in ("sensitivity.png", "drawn.jpg"):
        shutil.copy(run / "training.png", own_run / name)
    write_card(own_run, inspector.card, inspector.model_id)
    page = text(own_run / "card.html")
    assert page.count("<img ") == 8
    assert "What it would find: drawn defects" in page
    assert "none is real" in page
    assert "drawn defects" not in text(run / "card.html")


def test_hostile_folder_names_are_text(run: Path, tmp_path: Path) -> None:
    inspector, folder = Inspector(run / "model.onnx", device="cpu"), tmp_path / "<b>x"
    folder.mkdir()
    write_card(folder, inspector.card, inspector.model_id)
    assert "&lt;b&gt;x" in (folder / "card.html").read_text()
    assert "<b>x" not in (folder / "card.html").read_text()


@pytest.mark.parametrize(
    ("images", "size"), [(3, (1152, 96)), (24, (1152, 192)), (90, (1152, 192))]
)
def test_a_contact_sheet_has_at_most_two_rows(images: int, size: tuple[int, int]) -> None:
    pixels = np.full((images, 32, 32, 3), 100, np.uint8)
    pixels[-1] = 200
    sheet = contact_sheet(pixels)
    assert sheet.size == size
    if images == 90:  # evenly chosen, the 87th at the end
        assert (np.asarray(sheet) == 100).all()


# ------------------------------------------------------------------------------------ the terminal


def test_the_end_of_an_inspection_fits_on_a_terminal(
    run: Path, parts: Path, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / ("long" * 10) / ("name" * 10)
    shutil.copytree(parts / "test", folder)
    outcome = command(
        "inspect", run / "model.onnx", tmp_path / ("long" * 10), "--out", tmp_path / "o"
    )
    lines = outcome.out.splitlines()
    first = lines.index("     score  verdict  image")
    assert all(len(line) <= 80 for line in lines[: first + 6])
    assert lines[first + 1].split()[2].startswith("…")
    assert "\x1b" not in outcome.out  # no colours where no one looks
    assert f"to look through: {tmp_path / 'o' / 'report.html'}" in outcome.out


def test_the_log_file_has_no_colours(tmp_path: Path) -> None:
    talk = Talk()
    talk.configure(quiet=True, verbose=False, debug=False, log_file=tmp_path / "log")
    talk.say("\x1b[31m\x1b[1m3 fail\x1b[0m")
    talk.close()
    assert (tmp_path / "log").read_text() == "3 fail\n"
