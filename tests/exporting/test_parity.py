"""An exported model is not blamed for which of several equal places it reads its numbers at."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from anomaly_vae.errors import ExportError
from anomaly_vae.exporting import parity
from anomaly_vae.exporting.graph import export_model, to_onnx
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.scoring.detector import Detector, Scores

from ..small import card, detector


class Drawn(Detector):
    """Its error and KL are the red and green of every eighth pixel."""

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        red, green, _ = images[:, ::8, ::8].float().unbind(3)
        return red, green


def tied() -> tuple[Drawn, np.ndarray]:
    """A model of which one place is averaged, and images with two equal highest ones."""
    small = detector("patch", top_fraction=0.01, kl_weight=1.0)
    model = Drawn(small.features, small.model, small.settings).eval()
    images = np.random.default_rng(0).integers(0, 60, (6, 64, 64, 3), dtype=np.uint8)
    for first, second in ((0, 63), (10, 20), (55, 3)):
        for place, error, kl in ((first, 200, 50), (second, 150, 100)):
            y, x = divmod(place, 8)
            images[:, 8 * y, 8 * x] = error, kl, 0
    return model, images


def test_a_tie_does_not_throw_a_training_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = tied()

    def other_place(trained: Detector, x: np.ndarray) -> Scores:
        """Torch, reading each number at the other of the equal places."""
        scores = score_images(trained, x)
        return scores._replace(
            kl=150 - scores.kl, reconstruction_error=350 - scores.reconstruction_error
        )

    assert export_model(model, card(), tmp_path / "model.onnx", images).largest == 0
    monkeypatch.setattr(parity, "score_images", other_place)
    assert export_model(model, card(), tmp_path / "model.onnx", images).largest == 0


def test_beyond_the_tie_a_difference_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = tied()
    data = to_onnx(model, (64, 64, 3)).SerializeToString()

    def wrong(trained: Detector, x: np.ndarray) -> Scores:
        scores = score_images(trained, x)
        return scores._replace(kl=scores.kl + 51)  # the equal places are 50 apart

    monkeypatch.setattr(parity, "score_images", wrong)
    with pytest.raises(ExportError, match="differs from torch"):
        parity.check_parity(model, data, images)


def test_the_play_is_what_the_choice_among_equals_can_change() -> None:
    model, _ = tied()
    model.settings = model.settings.__class__(top_fraction=3 / 64, kl_weight=1.0)
    kl = torch.zeros(1, 8, 8)
    kl[0, 0, :4] = torch.tensor([1.0, 2.0, 4.0, 8.0])
    joined = torch.zeros(1, 8, 8)
    joined[0, 1, 0], joined[0, 0, :4] = 9.0, 5.0  # one is surely taken, and two of four equals
    error, taken = parity.free_play(model, torch.zeros(1), (joined - kl, kl))
    assert taken.item() == error.item() == pytest.approx(((4 + 8) - (1 + 2)) / 3)
    joined[0, 0, 1] += 0.5  # is surely taken too, unless half a unit is no difference
    for near, apart in ((0.0, 8 - 1), (0.5, (4 + 8) - (1 + 2))):
        play = parity.free_play(model, torch.tensor([near]), (joined - kl, kl))
        assert play[1].item() == pytest.approx(apart / 3)
