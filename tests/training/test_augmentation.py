"""Parts that a first VAE draws for the second: from the training images, and from no others."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomaly_vae.errors import ConfigError
from anomaly_vae.settings.files import load_config
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import ImageSet, read_images
from anomaly_vae.training.split import CALIBRATION, TRAINING, split_images
from anomaly_vae.workflows import preparation
from anomaly_vae.workflows.train import TrainingSession

from ..conftest import Command

SAMPLES = 30
QUICK = ("features.source=pixels", "images.size=32", "training.epochs=2", "training.batch_size=8",
         "training.steps_per_epoch=5", "training.pictures=false")  # fmt: skip
SINGLE = ("split.folds=1", "training.refit=false")


def config(samples: int = SAMPLES) -> Config:
    return load_config(None, [*QUICK, *SINGLE, f"training.samples={samples}"])


@pytest.fixture
def good(parts: Path) -> Path:
    return parts / "train" / "good"


def drawn(session: TrainingSession) -> NDArray[np.floating]:
    return session.trainer.training.stored[session.split.of(TRAINING).sum() :]


def test_drawn_parts_stand_behind_the_training_images(good: Path, tmp_path: Path) -> None:
    without, augmented = (
        TrainingSession(good, tmp_path / str(samples), config(samples)) for samples in (0, SAMPLES)
    )
    real = without.trainer.training.stored
    assert np.array_equal(augmented.trainer.training.stored[: len(real)], real)
    assert np.array_equal(augmented.trainer.stopping.stored, without.trainer.stopping.stored)
    parts = drawn(augmented)
    assert parts.shape == (SAMPLES, 3, 32, 32)
    assert parts.min() >= 0 and parts.max() <= 1
    # They look like good parts, but are none of those at hand.
    apart = np.abs(parts[:, None] - real).mean((2, 3, 4))
    assert apart.min() > 0.001
    among = np.abs(real[:, None] - real).mean((2, 3, 4))
    assert np.median(apart) < 1.5 * np.median(among[among > 0])
    # What is standardised by is that of real images.
    assert torch.equal(augmented.detector.features.mean, without.detector.features.mean)


def test_nothing_is_drawn_from_images_set_aside_for_calibration(
    good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = drawn(TrainingSession(good, tmp_path / "as_they_are", config()))

    def spoilt(part: str) -> NDArray[np.floating]:
        def read(*arguments: object, **options: object) -> ImageSet:
            images = read_images(*arguments, **options)  # type: ignore[arg-type]
            which = split_images(images, config().split, seed=0).of(part)
            noise = np.random.default_rng(0).integers(0, 256, images.pixels.shape, np.uint8)
            pixels = np.where(which[:, None, None, None], noise, images.pixels)
            return replace(images, pixels=pixels)

        monkeypatch.setattr(preparation, "read_images", read)
        return drawn(TrainingSession(good, tmp_path / part, config()))

    assert np.array_equal(spoilt(CALIBRATION), expected)
    assert not np.array_equal(spoilt(TRAINING), expected)


def test_a_resumed_training_keeps_its_samples(good: Path, tmp_path: Path) -> None:
    whole = TrainingSession(good, tmp_path / "whole", config())
    losses = [record.loss for record in whole.epochs()]
    stopped = TrainingSession(good, tmp_path / "stopped", config())
    next(stopped.epochs())
    with pytest.raises(ConfigError, match="other settings"):
        TrainingSession(good, tmp_path / "stopped", config(SAMPLES + 1), resume=True)
    resumed = TrainingSession(good, tmp_path / "stopped", config(), resume=True)
    assert np.array_equal(drawn(resumed), drawn(whole))
    list(resumed.epochs())
    assert [record.loss for record in resumed.trainer.history] == losses


def test_one_that_is_stopped_while_the_first_vae_learns_begins_anew(
    good: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "run"
    settings = [word for each in QUICK for word in ("--set", each)]
    arguments = ("train", good, "--out", out)
    with monkeypatch.context() as patch:
        patch.setattr(preparation, "draw_parts", interrupted)
        assert command(*arguments, *settings, "--augment-with-samples", SAMPLES).code == 130
    # Its settings are known, and need not be given again.
    outcome = command(*arguments, "--resume")
    assert outcome.code == 0, outcome.err
    assert f"and {SAMPLES} parts drawn from a first VAE of them" in outcome.out
    assert json.loads((out / "training.json").read_text())["samples"] == SAMPLES
    assert f"{SAMPLES} parts, from a first VAE" in (out / "card.html").read_text()
    assert not (out / ".state").exists()
    assert "14 training, 5 stopping, 5 calibration" in (out / "card.html").read_text()
