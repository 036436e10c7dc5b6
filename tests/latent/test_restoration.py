"""Restoration: the robust bound against closed forms, and defects whose good twin is known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from anomaly_vae.images.samples import draw_sample
from anomaly_vae.latent import restoration
from anomaly_vae.settings.schema import ModelSettings
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.workflows.runs import load_detector, saved_config


def test_the_robust_error_is_that_of_a_mixture_with_a_constant() -> None:
    error, limit = torch.tensor([-3.0, 0.0, 2.0, 400.0]), torch.tensor(2.0)
    expected = -torch.logaddexp(-error, -limit)
    torch.testing.assert_close(restoration.robust(error, limit), expected)


def test_outliers_do_not_pull() -> None:
    error = torch.tensor([-100.0, 100.0], requires_grad=True)
    restoration.robust(error, torch.tensor(0.0)).sum().backward()
    assert error.grad is not None
    assert error.grad.tolist() == pytest.approx([1, 0], abs=1e-6)


def test_without_outliers_the_nearest_good_part_of_a_linear_model_is_its_exact_posterior(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(restoration, "_OUTLIER", 1e6)
    torch.manual_seed(0)
    model = build_model(ModelSettings(kind="linear", latent_size=2, variance="unit"), (1, 6, 6))
    images = torch.randn(3, 2) @ torch.randn(2, 36) + 0.1 * torch.randn(3, 36)
    with torch.no_grad():
        offset = model.decode(torch.zeros(1, 2)).flatten()
        axes = torch.linalg.qr(torch.randn(36, 2)).Q
        next(model.decoder.parameters()).copy_(axes)
    # (I + W^T W)^-1 W^T (x - b), of probabilistic PCA (Tipping and Bishop 1999).
    expected = (images - offset) @ axes / 2
    z = restoration.nearest_good(model, images.reshape(3, 1, 6, 6))
    torch.testing.assert_close(z, expected, atol=0.02, rtol=0.02)


def test_defects_are_taken_away_and_their_score_with_them(run: Path) -> None:
    detector = load_detector(run, saved_config(run))
    kinds = ("scratch", "dent", "contamination", "missing_feature", "colour")
    drawn = [draw_sample(np.random.default_rng(9), kind, size=64) for kind in kinds]
    good = draw_sample(np.random.default_rng(9), size=64)  # the same part without the defect
    found = restoration.restore(detector, np.stack([each.image for each in drawn]))
    assert (found.restored_score < found.score).all()
    assert np.array_equal(
        found.difference, np.abs(found.seen.astype(int) - found.restored).astype(np.uint8)
    )
    seen_good = restoration.restore(detector, good.image[None]).seen[0].astype(float)
    for seen, restored in zip(found.seen, found.restored, strict=True):
        changed = np.abs(seen - seen_good).max(-1)
        defect = changed > changed.max() / 2
        before = np.abs(seen - seen_good)[defect].mean()
        assert np.abs(restored - seen_good)[defect].mean() < 0.6 * before
