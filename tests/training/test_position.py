"""A patch VAE that is told where it looks, and when it is."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import Tensor

from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import untracked
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import (
    Config,
    FeatureSettings,
    ModelSettings,
    ScoringSettings,
    TrainingSettings,
)
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import Trainer
from anomaly_vae.training.position import settle_position
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.features import FeatureExtractor
from anomaly_vae.vae.maps import CODE_SIZE, place_codes
from anomaly_vae.workflows.runs import load_detector, saved_config

from ..conftest import QUICK, Command
from ..small import CPU, pictures

_SIDE, _CHANNELS = 6, 4
CONFIG = Config(
    model=ModelSettings(latent_size=1, hidden_size=16, beta=1.0),
    training=TrainingSettings(epochs=6, steps_per_epoch=40, batch_size=256, hardest=1.0),
)


class Coded(FeatureExtractor):
    """Items that are there already, with their codes."""

    code_size = CODE_SIZE

    def raw(self, images: Tensor) -> Tensor:
        return images

    def standardised(self, items: Tensor) -> Tensor:
        return items


def items(seed: int, *, placed: bool) -> Items:
    """Places of 20 maps, all alike but for noise, or each place the same anywhere."""
    pattern = np.random.default_rng(0).normal(size=(_SIDE, _SIDE, _CHANNELS))
    noise = np.random.default_rng(seed).normal(size=(20, _SIDE, _SIDE, _CHANNELS))
    codes = np.broadcast_to(place_codes(_SIDE, _SIDE), (20, _SIDE, _SIDE, CODE_SIZE))
    stored = np.concatenate([0.1 * noise + (pattern if placed else 0), codes], -1)
    rows = stored.reshape(-1, _CHANNELS + CODE_SIZE).astype(np.float32)
    return Items(rows, Coded((_CHANNELS,), (_SIDE, _SIDE)), CPU)


def first_training(checkpoint: Path, *, placed: bool = True) -> tuple[Trainer, Detector]:
    training, stopping = (items(seed, placed=placed) for seed in (1, 2))
    model = build_model(CONFIG.model, (_CHANNELS,))
    trainer = Trainer(model, CONFIG, training, stopping, checkpoint)
    trainer.start()
    list(trainer.epochs())
    return trainer, Detector(training.features, model, ScoringSettings())


def test_codes_tell_places_apart() -> None:
    codes = place_codes(5, 40)
    assert codes.shape == (5, 40, CODE_SIZE)
    assert codes.abs().max() <= 1
    assert len(codes.reshape(-1, CODE_SIZE).unique(dim=0)) == 5 * 40
    torch.testing.assert_close(codes[2, 0, :2], torch.tensor([0.0, -0.975]))


def test_where_parts_lie_alike_the_model_is_told_the_place(tmp_path: Path) -> None:
    first, detector = first_training(tmp_path / "checkpoint")
    chosen, settled, line = settle_position(first, detector, CONFIG, untracked)
    assert chosen.best_loss < first.best_loss - 1  # one latent cannot say what the place does
    assert chosen.model is detector.model
    assert detector.model.told
    assert settled.model == replace(CONFIG.model, position=True)
    assert line.startswith("told where it looks")
    again, _, _ = settle_position(first, detector, CONFIG, untracked)  # from its checkpoint
    assert [each.loss for each in again.history] == [each.loss for each in chosen.history]


def test_where_that_is_no_better_it_is_not_told(tmp_path: Path) -> None:
    first, detector = first_training(tmp_path / "checkpoint", placed=False)
    first.history[0] = replace(first.history[0], stopping_loss=-1e9)
    chosen, settled, line = settle_position(first, detector, CONFIG, untracked)
    assert chosen is first
    assert chosen.model is detector.model
    assert settled.model.position is False
    assert line.startswith("not told")


@pytest.mark.parametrize("position", [True, False])
def test_what_is_set_is_not_tried(tmp_path: Path, position: bool) -> None:
    first, detector = first_training(tmp_path / "checkpoint")
    config = replace(CONFIG, model=replace(CONFIG.model, position=position))
    assert settle_position(first, detector, config, untracked) == (first, config, "")


def test_a_model_that_is_not_told_looks_at_no_codes() -> None:
    held = items(1, placed=True).draw(np.arange(9))
    model = build_model(CONFIG.model, (_CHANNELS,))
    for one, other in zip(model(held), model(held[..., :_CHANNELS]), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("border", [0, 1])
def test_training_and_inspection_tell_the_same_places(border: int) -> None:
    config = load_config(None, ["images.size=64", "model.position=true"])
    config = replace(config, images=ImageSettings(size=64), features=FeatureSettings(border=border))
    detector = build_detector(config).eval()
    images = torch.from_numpy(pictures())
    with torch.no_grad():
        rows = detector.features.standardised(detector.raw_items(images))
        learned = rows.reshape(3, *detector.features.grid, -1)
        inner = learned[:, border:-border, border:-border] if border else learned
        expected = detector.model(inner)
        for given, wanted in zip(detector.parts(images), expected, strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("told", [True, False])
def test_what_was_decided_is_known_by_the_weights_and_outlives_an_interruption(
    told: bool, parts: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(trainer: Trainer) -> tuple[float, int]:
        return -len(trainer.history) - 10.0 * (trainer.model.told == told), 3

    monkeypatch.setattr(Trainer, "_evaluate", evaluate)
    out = tmp_path / "run"
    words = ("train", parts / "train" / "good", "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr(
            "anomaly_vae.workflows.train.export_model", Mock(side_effect=KeyboardInterrupt)
        )
        assert command(*words, "--features", "embedded", *QUICK).code == 130
    outcome = command(*words, "--resume")
    assert outcome.code == 0, outcome.err
    assert ("told where it looks" in outcome.out) and ("not told" in outcome.out) != told
    assert load_detector(out, saved_config(out)).model.told == told
    assert ("told its place" in Inspector(out / "model.onnx").card.model) == told
