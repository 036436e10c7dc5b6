"""What is a photograph, and what its numbers mean, by way of the commands."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings.files import load_config
from anomaly_vae.workflows.runs import CHECKPOINT, goes_on, saved_config
from anomaly_vae.workflows.train import TrainingSession

from ..conftest import QUICK, Command

LEFT_OUT = "warning: left out as no photographs: 1 folder; first .ipynb_checkpoints (hidden)\n"


@pytest.fixture
def labelled(parts: Path, tmp_path: Path) -> Path:
    """A labelled folder whose good class is called OK, with a folder that a notebook left."""
    shutil.copytree(parts / "test", tmp_path / "data" / "test")
    shutil.copytree(parts / "ground_truth", tmp_path / "data" / "ground_truth")
    test = tmp_path / "data" / "test"
    (test / "good").rename(test / "OK")
    shutil.copytree(test / "OK", test / ".ipynb_checkpoints")
    return test


@pytest.mark.parametrize(
    "words",
    [("evaluate", "RUN"), ("inspect", "RUN/model.onnx"), ("latents", "RUN"), ("restore", "RUN"),
     ("watch", "RUN/model.onnx", "--idle", "0.3"), ("calibrate", "RUN", "--good"),
     ("export", "RUN", "--precision", "fp16", "--good")],
)  # fmt: skip
def test_what_is_left_out_is_said_by_each_command(
    command: Command, own_run: Path, labelled: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    given = [word.replace("RUN", str(own_run)) for word in words]
    out = () if words[0] == "calibrate" else ("--out", tmp_path / "out")
    outcome = command(*given, labelled, *out)
    assert outcome.code in (0, 1), outcome.err
    assert LEFT_OUT in outcome.err


def test_evaluate_goes_on_without_a_mask_and_says_so(
    command: Command, run: Path, labelled: Path, tmp_path: Path
) -> None:
    (labelled.parent / "ground_truth" / "scratch" / "000_mask.png").unlink()
    outcome = command("evaluate", run, labelled, "--out", tmp_path / "one")
    assert outcome.code == 0, outcome.err
    assert "leave out 1 defective image without a mask; first scratch/000.png" in outcome.err
    assert "8 good and 10 defective images" in outcome.out
    assert "on the pixels, of 9 of 10 defective images:\npixel AUROC" in outcome.out
    shutil.rmtree(labelled.parent / "ground_truth")
    none = command("evaluate", run, labelled, "--out", tmp_path / "none")
    assert (none.code, "pixel" in none.out + none.err) == (0, False)
    other = command("evaluate", run, labelled, "--out", tmp_path / "o", "--good-class", "scratch")
    assert "16 defective images" in other.out


def test_a_photograph_that_uses_little_of_its_range_is_said(
    command: Command, run: Path, parts: Path, tmp_path: Path
) -> None:
    grey = np.asarray(Image.open(parts / "test" / "good" / "000.png").convert("L"))
    (tmp_path / "photos").mkdir()
    values = grey.astype(np.uint16) * 16  # of a 12-bit camera; the model has seen 8 bits
    Image.fromarray(values).save(tmp_path / "photos" / "12.png")
    outcome = command("inspect", run / "model.onnx", tmp_path / "photos", "--out", tmp_path / "o")
    assert "warning: 12.png: less than 10% of the range from black to white is used" in outcome.err


@pytest.mark.parametrize(
    ("mode", "reason"),
    [("L", "000.png and 23 more show nothing"), ("LA", "000.png: is fully transparent")],
)
def test_images_that_show_nothing_are_refused_before_the_training(
    command: Command, tmp_path: Path, mode: str, reason: str
) -> None:
    (tmp_path / "good").mkdir()
    for number in range(24):
        Image.new(mode, (64, 64)).save(tmp_path / "good" / f"{number:03d}.png")
    outcome = command(
        "train", tmp_path / "good", "--out", tmp_path / "r", "--features", "pixels", *QUICK
    )
    assert (outcome.code, outcome.out) == (2, "")
    assert reason in outcome.err
    assert not (tmp_path / "r").exists()


def test_the_white_level_is_found_and_stored(parts: Path, tmp_path: Path) -> None:
    (tmp_path / "good").mkdir()
    for path in sorted((parts / "train" / "good").iterdir()):
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 16
        Image.fromarray(grey).save(tmp_path / "good" / path.name)
    settings = [QUICK[1], QUICK[5], "features.source=pixels"]
    config, run = load_config(None, settings), tmp_path / "run"
    assert config.images.white_level == "auto"
    session = TrainingSession(tmp_path / "good", run, config, device="cpu")
    assert session.config.images.white_level == 4095
    assert session.images.pixels.max() > 200
    assert saved_config(run) == session.config
    # What is given is "auto" when it is gone on with, too.
    (run / CHECKPOINT).touch()
    assert goes_on(run, config, None, overwrite=False, resume=True)
    other = load_config(None, [*settings, "images.white_level=65535"])
    with pytest.raises(ConfigError, match="began with other settings"):
        goes_on(run, other, None, overwrite=False, resume=True)
