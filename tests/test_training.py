"""The training loop: reproducible, resumable, honest about what it learned."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomaly_vae.config import Config, FeatureSettings, ImageSettings, ModelSettings
from anomaly_vae.config import TrainingSettings as Settings
from anomaly_vae.errors import DeviceError, TrainingError
from anomaly_vae.features import FeatureExtractor, PixelFeatures
from anomaly_vae.model import build_model
from anomaly_vae.training import ACTIVE_VARIANCE, EpochRecord, Items, Trainer, select_device

CPU = torch.device("cpu")


def rows(count: int, seed: int = 0) -> NDArray[np.float16]:
    """Points near a curved line in four dimensions."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=(count, 1))
    line = np.hstack([t, t**2, np.sin(t), -t]) + 0.05 * rng.normal(size=(count, 4))
    return line.astype(np.float16)


def trainer(path: Path, *, beta: float = 1.0, training: NDArray[np.float16] | None = None,
            **settings: object) -> Trainer:  # fmt: skip
    defaults = {"epochs": 4, "steps_per_epoch": 10, "batch_size": 64, "hardest": 0.5}
    config = Config(
        model=ModelSettings(latent_size=2, hidden_size=16, beta=beta),
        training=Settings(**{**defaults, **settings}),
    )
    torch.manual_seed(config.training.seed)
    features = FeatureExtractor((4,), (1, 1))
    stored = rows(500) if training is None else training
    return Trainer(
        build_model(config.model, (4,)),
        config,
        Items(stored, features, CPU),
        Items(rows(200, seed=1), features, CPU),
        path / "checkpoint.safetensors",
    )


def losses(records: list[EpochRecord]) -> list[float]:
    return [record.loss for record in records]


def test_training_lowers_the_loss_of_images_it_has_not_seen(tmp_path: Path) -> None:
    records = list(trainer(tmp_path, epochs=8, steps_per_epoch=40).epochs())
    assert records[-1].stopping_loss < records[0].stopping_loss - 0.5


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    first, second = trainer(tmp_path), trainer(tmp_path)
    assert losses(list(first.epochs())) == losses(list(second.epochs()))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


def test_another_seed_gives_another_model(tmp_path: Path) -> None:
    one = list(trainer(tmp_path).epochs())
    assert losses(one) != losses(list(trainer(tmp_path, seed=1).epochs()))


def test_a_resumed_training_gives_what_an_uninterrupted_one_gives(tmp_path: Path) -> None:
    whole = trainer(tmp_path / "whole")
    expected = losses(list(whole.epochs()))
    stopped = trainer(tmp_path / "stopped")
    epochs = stopped.epochs()
    next(epochs), next(epochs)
    epochs.close()
    resumed = trainer(tmp_path / "stopped")
    resumed.resume()
    list(resumed.epochs())
    assert losses(resumed.history) == expected
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])


def test_the_best_epoch_is_kept_not_the_last(tmp_path: Path) -> None:
    session = trainer(tmp_path, epochs=6, learning_rate=0.3, patience=6)
    records = list(session.epochs())
    best = min(records, key=lambda record: record.stopping_loss)
    assert session._evaluate()[0] == pytest.approx(best.stopping_loss, rel=1e-6)


def test_training_stops_when_no_epoch_is_better_for_long(tmp_path: Path) -> None:
    records = list(trainer(tmp_path, epochs=50, learning_rate=1e-12, patience=2).epochs())
    best = max(record.epoch for record in records if record.best)
    assert len(records) == best + 2 < 50


def test_only_the_hardest_items_are_learned_from(tmp_path: Path) -> None:
    session = trainer(tmp_path, hardest=0.25)
    items = torch.randn(40, 4)
    items[7] += 100
    kept = session._hardest(items, beta=1.0)
    assert len(kept) == 10
    assert (kept == items[7]).all(1).any()


def test_a_loss_that_is_no_number_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    broken = rows(500)
    broken[:, 0] = np.nan
    with pytest.raises(TrainingError, match=r"lower training\.learning_rate"):
        list(trainer(tmp_path, training=broken).epochs())


def test_a_collapsed_posterior_is_noticed(tmp_path: Path) -> None:
    session = trainer(tmp_path, beta=1e4, epochs=12, steps_per_epoch=40, learning_rate=1e-2)
    records = list(session.epochs())
    assert records[-1].active_latents == 0
    assert session.collapsed


def test_active_latents_are_those_whose_mean_moves(tmp_path: Path) -> None:
    session = trainer(tmp_path, epochs=8, steps_per_epoch=40)
    active = list(session.epochs())[-1].active_latents
    items = session.stopping.draw(np.arange(200))
    with torch.no_grad():
        mean = session.model.encode(items).mean.numpy()
    assert active == (mean.var(axis=0) > ACTIVE_VARIANCE).sum() > 0


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    session = trainer(tmp_path)
    session.checkpoint.write_bytes(b"not a checkpoint")
    with pytest.raises(TrainingError, match="not a checkpoint"):
        session.resume()


def test_items_are_standardised_when_they_are_drawn() -> None:
    features = FeatureExtractor((4,), (1, 1))
    features.mean.fill_(3.0)
    items = Items(np.full((3, 4), 5, np.float16), features, CPU)
    assert torch.equal(items.draw(np.array([0, 2])), torch.full((2, 4), 2.0))


def test_an_image_model_trains_on_whole_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 3, 32, 32), dtype=np.float32)
    source = FeatureSettings(source="pixels")
    config = Config(
        images=ImageSettings(size=32),
        features=source,
        model=ModelSettings(kind="image", latent_size=2, base_channels=2),
        training=Settings(epochs=2, steps_per_epoch=5, batch_size=4, hardest=1.0),
    )
    items = Items(images, PixelFeatures(source, 32), CPU)
    session = Trainer(
        build_model(config.model, (3, 32, 32)), config, items, items, tmp_path / "checkpoint"
    )
    first, second = session.epochs()
    assert second.loss < first.loss


def test_cuda_without_a_gpu_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("needs a machine without a GPU")
    assert select_device("auto").type == "cpu"
    with pytest.raises(DeviceError, match="--device cuda"):
        select_device("cuda")
