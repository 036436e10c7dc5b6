"""Where the part lies: a disc on uneven ground, a texture without a background."""

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly_vae.errors import FolderError
from anomaly_vae.images.part import measure_part

Y, X = np.mgrid[:240, :300]


def disc(seed: int, radius: int = 70) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """A striped disc, from 40 to 100, with a soft shadow, on bright ground that is lit unevenly."""
    rng = np.random.default_rng(seed)
    cx, cy = rng.integers(100, 200), rng.integers(100, 140)
    away = np.hypot(X - cx, Y - cy)
    ground = 200 + X / 10 - Y / 15 - 25 * np.exp(-np.maximum(away - radius, 0) / 10)
    picture = np.where(away <= radius, 70 + 30 * np.sign(np.sin(X / 4)), ground)
    noisy = picture + rng.normal(0, 2, picture.shape)
    return np.repeat(noisy.clip(0, 255).astype(np.uint8)[..., None], 3, -1), away <= radius


def test_a_part_before_a_background_is_found_without_its_shadow() -> None:
    photographs, truth = zip(*(disc(seed) for seed in range(5)), strict=True)
    part = measure_part(photographs)
    assert part.background
    assert part.size == pytest.approx(np.sqrt(np.pi) * 70, rel=0.03)
    assert part.levels == pytest.approx(60, abs=8)
    for photograph, mask in zip(photographs, truth, strict=True):
        found = part.mask(photograph)
        assert (found & mask).sum() / (found | mask).sum() > 0.95


def test_a_texture_is_everywhere() -> None:
    rng = np.random.default_rng(0)
    photographs = [rng.integers(80, 120, (240, 300, 3), np.uint8) // 20 * 20 for _ in range(5)]
    part = measure_part(photographs)
    assert not part.background
    assert part.size == pytest.approx(np.sqrt(240 * 300))
    assert part.mask(photographs[0]).all()


def test_one_odd_photograph_among_many_decides_nothing() -> None:
    blank = np.full((240, 300, 3), 200, np.uint8)
    part = measure_part([*(disc(seed)[0] for seed in range(10)), blank])
    assert part.background
    assert not part.mask(blank).any()


def test_what_is_not_inspected_is_not_part() -> None:
    photograph, mask = disc(0)
    left = X < 150
    part = measure_part([photograph], lambda *_: left)
    assert not part.mask(photograph, lambda *_: left)[~left].any()
    assert part.size == pytest.approx(np.sqrt((mask & left).sum()), rel=0.03)
    with pytest.raises(FolderError, match="of which something is inspected"):
        measure_part([photograph], lambda *_: np.zeros_like(left))
