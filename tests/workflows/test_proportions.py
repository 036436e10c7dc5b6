"""Photographs that are not square, from training to regions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from anomaly_vae_cli import run as command_line
from PIL import Image

from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.regions import find_regions
from anomaly_vae.images.samples import write_samples
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.reporting.heatmaps import draw_heatmap
from anomaly_vae.workflows.runs import load_detector, saved_config

from ..conftest import RESNET

SMALL = ("images.size=96", "training.epochs=1", "training.steps_per_epoch=5", "training.refit=false",
         "split.folds=1", "features.components=8", "model.hidden_size=8")  # fmt: skip


def trained(parts: Path, out: Path, weights: Path | None, *settings: str) -> Path:
    source = ["--features", "pixels"] if weights is None else [*RESNET, weights]
    given = [word for each in (*SMALL, *settings) for word in ("--set", each)]
    command = ["-q", "train", parts / "train" / "good", "--out", out, *source, *given]
    assert command_line([str(word) for word in command]) == 0
    return out


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed")
    counts = {"train": 20, "test_good": 2, "test_defective": 5}
    write_samples(folder, **counts, size=48, proportions=(1 / 2, 2))
    return folder


@pytest.fixture(scope="module")
def padded(mixed: Path, trunk_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(mixed, tmp_path_factory.mktemp("padded") / "run", trunk_weights)


def test_maps_of_mixed_shapes_lie_over_their_photographs(mixed: Path, padded: Path) -> None:
    images = saved_config(padded).images
    assert images.padded
    assert images.frame
    inspector = Inspector(padded / "model.onnx", device="cpu")
    names = [file.relative_to(mixed).as_posix() for file in sorted((mixed / "test").rglob("*.png"))]
    for finding in inspector.inspect_files(mixed, names):
        image, anomaly_map = finding.image, finding.anomaly_map
        assert image is not None and anomaly_map is not None
        (region,) = find_regions(anomaly_map, image, float(anomaly_map.min()) - 1)
        assert (region.x, region.y) == (0, 0)
        assert (region.width, region.height) == (image.width, image.height)
        assert region.area == pytest.approx(image.width * image.height)
        assert draw_heatmap(finding, Image.open(mixed / finding.path), 1.0).width > image.width


def test_what_is_stored_beside_a_photograph_moves_no_score_by_a_bit(
    mixed: Path, padded: Path
) -> None:
    images = saved_config(padded).images
    files = sorted((mixed / "test").rglob("*.png"))[:4]
    one = np.stack([load_image(file, images).pixels for file in files])
    other = one.copy()
    other[one[..., 3] == 0] = (255, 9, 99, 0)
    session = onnxruntime.InferenceSession(
        padded / "model.onnx", providers=["CPUExecutionProvider"]
    )
    scores = [session.run(None, {"images": pixels}) for pixels in (one, other)]
    assert not np.array_equal(one, other)
    for before, after in zip(*scores, strict=True):
        assert np.array_equal(before, after)


def test_a_padded_run_is_evaluated_and_exported_again(
    mixed: Path, padded: Path, tmp_path: Path
) -> None:
    command = ["evaluate", padded, mixed / "test", "--out", tmp_path / "test"]
    assert command_line([str(word) for word in command]) == 0
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text("utf-8"))
    assert 0 <= metrics["pixels"]["auroc"] <= 1
    command = ["export", padded, "--out", tmp_path / "again.onnx"]
    assert command_line([str(word) for word in command]) == 0
    assert load_detector(padded, saved_config(padded)).features.padded


@pytest.mark.parametrize("kind", ["linear", "image", "ladder"])
def test_models_of_pixels_see_long_parts_as_long(tmp_path: Path, kind: str) -> None:
    write_samples(tmp_path / "parts", train=20, test_good=1, test_defective=0, size=32,
                  proportions=(2, 2))  # fmt: skip
    run = trained(tmp_path / "parts", tmp_path / "run", None, f"model.kind={kind}",
                  "model.base_channels=2", "model.halvings=3", "images.size=64")  # fmt: skip
    images = saved_config(run).images
    assert images.shape == (48, 96)
    inspector = Inspector(run / "model.onnx", device="cpu")
    (finding,) = inspector.inspect_files(tmp_path / "parts" / "test", ["good/000.png"])
    assert finding.image is not None and finding.anomaly_map is not None
    assert finding.anomaly_map.shape == (48, 96)
    expected = inspector.expected(finding.image)
    assert expected is not None and expected.shape == (48, 96, 3)


def test_a_photograph_turned_on_its_side_is_an_error_not_a_pass(
    mixed: Path, tmp_path: Path, trunk_weights: Path
) -> None:
    write_samples(tmp_path / "parts", train=20, test_good=2, test_defective=0, size=32,
                  proportions=(2, 2))  # fmt: skip
    run = trained(tmp_path / "parts", tmp_path / "run", trunk_weights)
    assert not saved_config(run).images.padded
    turned = tmp_path / "parts" / "test" / "good" / "001.png"
    Image.open(turned).rotate(90, expand=True).save(turned)
    command = [
        "inspect",
        run / "model.onnx",
        tmp_path / "parts" / "test",
        "--out",
        tmp_path / "out",
    ]
    assert command_line([str(word) for word in command]) == 1
    rows = pd.read_csv(tmp_path / "out" / "images.csv").set_index("path")
    assert rows.verdict["good/000.png"] != "error"
    assert rows.verdict["good/001.png"] == "error"
    assert "do not have the proportions" in rows.error["good/001.png"]


def test_a_training_goes_on_in_the_frame_that_it_began_with(
    mixed: Path, tmp_path: Path, trunk_weights: Path
) -> None:
    from anomaly_vae.settings.files import load_config
    from anomaly_vae.workflows.train import TrainingSession

    config = load_config(None, ("features.source=resnet18", *SMALL))
    good, out = mixed / "train" / "good", tmp_path / "run"
    begun = TrainingSession(good, out, config, weights=trunk_weights, device="cpu")
    next(begun.epochs())
    again = TrainingSession(good, out, config, device="cpu", resume=True)
    assert again.config.images == begun.config.images
    assert again.config.images.padded
    assert again.config == replace(config, images=begun.config.images)
