"""The training loop: reproducible, resumable, honest about what it learned."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomaly_vae.errors import DeviceError, TrainingError
from anomaly_vae.latent.collapse import LatentUse, latent_use
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings
from anomaly_vae.settings.schema import TrainingSettings as Settings
from anomaly_vae.training.items import Items, resident_on
from anomaly_vae.training.loop import (
    ACTIVE_VARIANCE,
    EpochRecord,
    Trainer,
    _learning_rate,
    select_device,
)
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.vae.model import sample

from ..small import CPU, Given, rows


def trainer(path: Path, *, beta: float = 1.0, training: NDArray[np.float16] | None = None,
            kind: type[Trainer] = Trainer, stopping: int = 200, ends: int | None = None,
            **settings: object) -> Trainer:  # fmt: skip
    defaults = {"epochs": 4, "steps_per_epoch": 10, "batch_size": 64, "hardest": 0.5}
    config = Config(
        model=ModelSettings(latent_size=2, hidden_size=16, beta=beta),
        training=Settings(**{**defaults, **settings}),
    )
    torch.manual_seed(config.training.seed)
    features = Given((4,), (1, 1))
    stored = rows(500) if training is None else training
    return kind(
        build_model(config.model, (4,)),
        config,
        Items(stored, features, CPU),
        Items(rows(200, seed=1)[:stopping], features, CPU),
        path / "checkpoint.safetensors",
        epochs=ends,
    )


class Before(Trainer):
    """The loop as it was before cycles, free bits and capacity, for comparison."""

    def _step(self, step: int) -> torch.Tensor:
        done = step / self.total_steps
        beta = self.objective.beta * min(
            1.0, done / self.settings.kl_warmup if self.settings.kl_warmup else 1
        )
        for group in self.optimiser.param_groups:
            group["lr"] = group["pace"] * self.settings.learning_rate * _learning_rate(done)
        size = min(self.settings.batch_size, len(self.training))
        items = self.training.draw(self.rng.integers(len(self.training), size=size))
        if self.settings.hardest < 1:
            with torch.no_grad():
                error, kl = self._both(items)
            count = max(1, round(self.settings.hardest * len(items)))
            items = items[(error + beta * kl).topk(count).indices]
        error, kl = self._both(items)
        loss = (error + beta * kl).mean()
        self.optimiser.zero_grad()
        loss.backward()
        self.optimiser.step()
        return torch.stack([loss, error.mean(), kl.mean()]).detach()

    def _both(self, items: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = self.model.encode(items)
        parts = self.model.parts(items, posterior, sample(posterior, self.noise))
        error = parts.reconstruction_error
        return error.reshape(len(error), -1).sum(1), parts.kl

    def _evaluate(self) -> tuple[float, int]:
        self.model.eval()
        items = self.stopping.draw(np.arange(len(self.stopping)))
        with torch.no_grad():
            error, kl = self.model(items)
        loss = error.reshape(len(error), -1).sum(1) + self.objective.beta * kl
        count = max(1, round(self.settings.hardest * len(loss)))
        return loss.topk(count).values.mean().item(), -1


def losses(records: list[EpochRecord]) -> list[float]:
    return [record.loss for record in records]


def used(session: Trainer) -> LatentUse:
    return latent_use(session.model, session.stopping, seed=0)


def test_training_lowers_the_loss_of_images_it_has_not_seen(tmp_path: Path) -> None:
    records = list(trainer(tmp_path, epochs=8, steps_per_epoch=40).epochs())
    assert records[-1].stopping_loss < records[0].stopping_loss - 0.5


def test_the_same_seed_gives_the_same_model(tmp_path: Path) -> None:
    first, second = trainer(tmp_path), trainer(tmp_path)
    assert losses(list(first.epochs())) == losses(list(second.epochs()))
    for name, value in first.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[name])


@pytest.mark.parametrize("settings", [{}, {"hardest": 1.0, "kl_warmup": 0.0}, {"beta": 0.01}])
def test_the_defaults_train_as_before_to_the_last_bit(
    tmp_path: Path, settings: dict[str, float]
) -> None:
    now, before = (trainer(tmp_path, kind=kind, seed=5, **settings) for kind in (Trainer, Before))
    for one, other in zip(now.epochs(), before.epochs(), strict=True):
        assert one == replace(other, seconds=one.seconds, active_latents=one.active_latents)
    for name, value in now.model.state_dict().items():
        assert torch.equal(value, before.model.state_dict()[name]), name


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


def test_without_items_to_stop_by_the_last_epoch_of_as_many_as_asked_for_counts(
    tmp_path: Path,
) -> None:
    """It has the rates of the whole training: its epochs are the first ones of that."""
    whole, cut = (
        trainer(tmp_path / name, epochs=6, learning_rate=0.3, patience=1, stopping=0, ends=ends)
        for name, ends in (("whole", None), ("cut", 4))
    )
    first = list(whole.epochs())[:4]
    assert losses(list(cut.epochs())) == losses(first)
    assert len(whole.history) == 6
    assert [record.best for record in cut.history] == [True] * 4 and cut.best_epoch == 4
    assert all(torch.equal(cut.best[name], v) for name, v in cut.model.state_dict().items())


def test_many_items_to_stop_by_are_judged_by_the_same_share_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = trainer(tmp_path, hardest=1.0)
    everything = session._evaluate()
    monkeypatch.setattr("anomaly_vae.training.items._SAMPLED_ITEMS", 100)
    some = session._evaluate()
    assert some == session._evaluate() != everything
    assert some[0] == pytest.approx(everything[0], rel=0.2)


def test_training_stops_when_no_epoch_is_better_for_long(tmp_path: Path) -> None:
    records = list(trainer(tmp_path, epochs=50, learning_rate=1e-12, patience=2).epochs())
    best = max(record.epoch for record in records if record.best)
    assert len(records) == best + 2 < 50


def test_only_the_hardest_items_are_learned_from(tmp_path: Path) -> None:
    session = trainer(tmp_path, hardest=0.25)
    items = torch.randn(40, 4)
    items[7] += 100
    kept = session._hardest(items, risen=1.0)
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
    assert used(session).hardly_used
    # Where there is no information, there is none in common, and no KL to speak of either.
    assert used(session).mutual_information == pytest.approx(0, abs=0.01)
    assert sum(used(session).kl) == pytest.approx(0, abs=0.01)


STRICT = {"beta": 8.0, "epochs": 10, "steps_per_epoch": 40, "learning_rate": 1e-2, "hardest": 1.0}


def test_free_bits_keep_alive_what_collapses_without(tmp_path: Path) -> None:
    without, with_them = (
        trainer(tmp_path / str(bits), free_bits=bits, **STRICT) for bits in (0.0, 0.5)
    )
    list(without.epochs()), list(with_them.epochs())
    dead, alive = used(without), used(with_them)
    assert not any(dead.active)
    assert all(alive.active)
    assert alive.kl == pytest.approx([0.5, 0.5], abs=0.15)
    assert alive.mutual_information > 0.3
    assert dead.mutual_information < 0.05


def test_the_kl_keeps_to_its_capacity(tmp_path: Path) -> None:
    session = trainer(tmp_path, capacity=1.5, **{**STRICT, "beta": 30.0})
    records = list(session.epochs())
    assert sum(used(session).kl) == pytest.approx(1.5, abs=0.2)
    # The first epochs, when so much was not yet asked for, do not seem the best ones.
    assert max(record.epoch for record in records if record.best) > 2
    assert records[0].kl < 1.2


def test_the_weight_of_the_kl_does_not_change_what_epochs_are_judged_by(tmp_path: Path) -> None:
    one, other = (trainer(tmp_path, kl_warmup=share) for share in (0.0, 1.0))
    assert one._evaluate() == other._evaluate()


def test_no_cycle_is_given_up_before_its_end(tmp_path: Path) -> None:
    settings = {"epochs": 24, "learning_rate": 1e-12, "patience": 2}
    for cycles, expected in ((1, 2), (3, 8)):
        session = trainer(tmp_path, cycles=cycles, **settings)
        records = list(session.epochs())
        best = max(record.epoch for record in records if record.best)
        assert len(records) == min(best + expected, 24)


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
    features = Given((4,), (1, 1))
    features.mean.fill_(3.0)
    items = Items(np.full((3, 4), 5, np.float16), features, CPU)
    assert torch.equal(items.draw(np.array([0, 2])), torch.full((2, 4), 2.0))


def test_items_on_the_device_are_those_that_are_stored() -> None:
    stored, features = rows(50), Given((4,), (1, 1))
    there = Items(stored, features, CPU, resident=torch.from_numpy(stored)).without(10, 30)
    here = Items(stored, features, CPU).without(10, 30)
    assert torch.equal(there.draw(np.arange(30)), here.draw(np.arange(30)))
    there.become(stored[:5])
    assert torch.equal(there.draw(np.arange(5)), Items(stored, features, CPU).draw(np.arange(5)))
    assert resident_on(CPU, stored) is None


def test_an_image_model_trains_on_whole_images(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((12, 3, 32, 32), dtype=np.float32)
    source = FeatureSettings(source="pixels")
    config = Config(
        images=ImageSettings(size=32),
        features=source,
        model=ModelSettings(kind="image", latent_size=2, base_channels=2),
        training=Settings(epochs=2, steps_per_epoch=5, batch_size=4, hardest=1.0),
    )
    items = Items(images, PixelFeatures(source, (32, 32)), CPU)
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
