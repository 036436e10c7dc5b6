"""The second training: of all items, at the level of the first."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from anomaly_vae.progress import untracked
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config, ModelSettings, ScoringSettings, TrainingSettings
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import Trainer
from anomaly_vae.training.refit import refit
from anomaly_vae.vae.architectures import build_model

from ..small import CPU, Given, rows

CONFIG = Config(
    model=ModelSettings(latent_size=2, hidden_size=16, beta=1.0),
    training=TrainingSettings(epochs=6, steps_per_epoch=20, batch_size=64, hardest=1.0),
    scoring=ScoringSettings(kl_weight=1.0),
)


def trained(folder: Path) -> tuple[Detector, Items, Trainer]:
    """A detector of one place whose model knows a part of the items."""
    torch.manual_seed(0)
    features = Given((4,), (1, 1))
    known = rows(400, seed=0)
    features.fit(known)
    detector = Detector(features, build_model(CONFIG.model, (4,)), CONFIG.scoring).eval()
    items = Items(known, features, CPU)
    trainer = Trainer(
        detector.model, CONFIG, items, Items(rows(100, 1), features, CPU), folder / "a"
    )
    trainer.start()
    list(trainer.epochs())
    return detector, items, trainer


def judged(detector: Detector, items: NDArray[np.float16]) -> tuple[float, float]:
    """Mean error and KL of raw items above what is usual, computed from the formula."""
    x = (torch.from_numpy(items).float() - detector.features.mean) / detector.features.std
    with torch.no_grad():
        error, kl = detector.model(x)
    return (
        float((error - detector.usual_error.flatten()).double().mean()),
        float((kl - detector.usual_kl.flatten()).double().mean()),
    )


def test_the_second_model_is_another_at_the_level_of_the_first(tmp_path: Path) -> None:
    detector, known, trainer = trained(tmp_path)
    detector.usual_error.fill_(3.0)
    detector.usual_kl.fill_(-1.0)
    before, weights = judged(detector, known.stored), detector.model.state_dict()
    old = {name: value.clone() for name, value in weights.items()}
    wider = np.concatenate([known.stored, rows(400, seed=2, scale=2)])
    refit(
        detector, CONFIG, known, Items(wider, detector.features, CPU),
        epochs=trainer.best_epoch, checkpoint=tmp_path / "b", track=untracked,
    )  # fmt: skip
    assert judged(detector, known.stored) == pytest.approx(before, abs=1e-4)
    assert float(detector.usual_error) != pytest.approx(3.0, abs=1e-3)
    assert float(detector.usual_kl) != pytest.approx(-1.0, abs=1e-3)
    new = detector.model.state_dict()
    assert not torch.equal(new["encoder.0.weight"], old["encoder.0.weight"])
    assert detector.features.std[0] == pytest.approx(wider[:, 0].std(dtype=float), rel=1e-3)


def test_what_was_new_to_the_first_model_is_known_to_the_second(tmp_path: Path) -> None:
    """Points beyond the range of the first items, of which the second training has some."""
    detector, known, trainer = trained(tmp_path)
    unseen = rows(400, seed=3, scale=2)
    before = judged(detector, unseen)[0]
    wider = np.concatenate([known.stored, rows(400, seed=2, scale=2)])
    refit(
        detector, CONFIG, known, Items(wider, detector.features, CPU),
        epochs=trainer.best_epoch, checkpoint=tmp_path / "b", track=untracked,
    )  # fmt: skip
    assert judged(detector, unseen)[0] < before


def test_it_lasts_as_many_epochs_and_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    scales = []
    for name, stop in (("whole", None), ("cut", 2)):
        folder = tmp_path / name
        folder.mkdir()
        detector, known, _ = trained(folder)
        everything = Items(rows(800, seed=2), detector.features, CPU)

        def first(epochs: object, _what: str, left: object, stop: int | None = stop) -> object:
            assert left == 4
            for number, record in enumerate(epochs, 1):
                yield record
                if number == stop:
                    raise KeyboardInterrupt

        arguments = {"epochs": 4, "checkpoint": folder / "b"}
        if stop:
            with pytest.raises(KeyboardInterrupt):
                refit(detector, CONFIG, known, everything, **arguments, track=first)
            detector, known, _ = trained(folder)  # as a new process finds it
            everything.features = detector.features
            refit(detector, CONFIG, known, everything, **arguments, track=untracked)
        else:
            refit(detector, CONFIG, known, everything, **arguments, track=first)
        scales.append((float(detector.usual_error), *detector.model.encoder[0].weight[0].tolist()))
    assert scales[0] == scales[1]
