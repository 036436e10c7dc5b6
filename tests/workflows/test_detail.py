"""``train --detail`` and ``--smallest-defect``, from photographs to the model."""

from pathlib import Path

import pytest

from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings
from anomaly_vae.workflows.detail import cost

from ..conftest import QUICK, Command

PIXELS = ("--features", "pixels", *QUICK, "--set", "training.epochs=1", "--set", "images.size=32")


def test_a_finer_model_is_trained_and_says_what_it_costs(
    parts: Path, tmp_path: Path, command: Command
) -> None:
    good, out = parts / "train" / "good", tmp_path / "run"
    asked = ("--smallest-defect", "0.2mm", "--mm-per-pixel", "0.05")
    outcome = command("train", good, "--out", out, *PIXELS, *asked)
    assert outcome.code == 0
    assert "defects of 4 pixels show at --detail 2" in outcome.out
    assert "images.detail = 2: 64 x 64 pixels, 4 times the places; the model alone takes in " in (
        outcome.out
    )
    inspector = Inspector(out / "model.onnx")
    assert (inspector.card.images.shape, inspector.card.images.detail) == ((64, 64), 2)
    finding = next(iter(inspector.inspect([good / "000.png"])))
    assert finding.anomaly_map is not None
    assert finding.anomaly_map.shape == (64, 64)
    assert "images.detail" in command("info", out / "model.onnx").out


def test_what_is_only_enlarged_is_said(parts: Path, tmp_path: Path) -> None:
    said = []
    for detail in (1, 2, 3):
        images = ImageSettings(size=32, detail=detail)
        config = Config(images, FeatureSettings(source="pixels"), model=ModelSettings("dense"))
        said.append([*cost(config, parts / "train" / "good", "cpu", skip=tmp_path)])
    assert [len(each) for each in said] == [0, 1, 2]
    assert said[2][1] == "photographs have 64 x 64: what is finer is only enlarged"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--smallest-defect", "3"), "take photographs from nearer"),
        (("--smallest-defect", "4um"), "expected pixels of a photograph"),
        (("--smallest-defect", "0.2mm"), "give --mm-per-pixel, too"),
        (("--smallest-defect", "4", "--set", "images.detail=2"), "images.detail is given twice"),
        (("--smallest-defect", "4", "--detail", "2"), "chooses --detail; give one"),
        (("--detail", "0.5"), "images.detail = 0.5: "),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(
    parts: Path, tmp_path: Path, command: Command, options: tuple[str, ...], said: str
) -> None:
    outcome = command("train", parts / "train" / "good", "--out", tmp_path / "run", *options)
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert said in outcome.err
