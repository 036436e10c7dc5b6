"""What would be found: a model that sees every change, on the photographs that it does not know."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from anomaly_vae.errors import CalibrationError, ImageReadError
from anomaly_vae.images.files import digest
from anomaly_vae.images.roi import inspected
from anomaly_vae.images.samples import draw_sample
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows import sensitivity
from anomaly_vae.workflows.sensitivity import DrawnSettings, Photographs, measure
from tests.small import card

LIMITS = card().threshold
SETTINGS = DrawnSettings(sizes=(0.04, 0.12), contrasts=(0.1, 0.4), each=1)
FOLDS = np.array([0, -1, 1, 0, 1])


@pytest.fixture(scope="module")
def photographs() -> list[NDArray[np.uint8]]:
    return [draw_sample(np.random.default_rng(seed), size=96).image for seed in range(5)]


def test_what_is_found_is_what_the_models_of_the_folds_say(
    photographs: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sensitivity, "_BATCH_BYTES", 3 * photographs[0].nbytes)
    batches: list[tuple[int, int]] = []

    def scores(images: Sequence[NDArray[np.uint8]], fold: int) -> NDArray[np.floating]:
        # The photograph that was drawn on is the nearest one: all else of it is as it was.
        away = [[np.abs(i - p.astype(int)).mean() for p in photographs] for i in images]
        own = [int(np.argmin(each)) for each in away]
        assert {int(FOLDS[index]) for index in own} == {fold}
        batches.append((fold, len(images)))
        change = [
            np.abs(image - photographs[index].astype(int)).max()
            for image, index in zip(images, own, strict=True)
        ]
        return np.array(change) / 30

    found, examples = measure(photographs, FOLDS, scores, LIMITS, SETTINGS, seed=0)
    assert [fold for fold, _ in batches] == sorted(fold for fold, _ in batches)
    assert max(count for _, count in batches) == 3
    assert found.overall.found.of == len(examples) == sum(count for _, count in batches)
    assert found.left_out == 24 - len(examples)
    assert found.photographs == 4
    assert 0 < found.overall.found.value < 1
    faint, strong = (
        [cell.found.value for size in found.sizes if (cell := found.cell(size, contrast))]
        for contrast in found.contrasts
    )
    assert np.mean(strong) > np.mean(faint)
    assert "before a background" in found.part


def test_a_contrast_that_a_patch_has_of_itself_counts_where_it_is_nearest(
    photographs: list[NDArray[np.uint8]],
) -> None:
    kinds = DrawnSettings(sizes=(0.1,), contrasts=(0.05, 0.6), kinds=("missing",), each=4)

    def blind(images: Sequence[NDArray[np.uint8]], fold: int) -> NDArray[np.floating]:
        return np.zeros(len(images))

    found, examples = measure(photographs, FOLDS, blind, LIMITS, kinds, seed=0)
    assert found.overall.found.count == 0
    assert len(examples) >= 6
    for each in examples:
        assert each.scored.contrast in found.contrasts
    # A chip shows the bench, far darker than the faintest contrast.
    strong = found.cell(found.sizes[0], found.contrasts[-1])
    assert strong is not None
    assert strong.found.of >= len(examples) / 2


def test_only_the_very_photographs_that_were_learned_from_are_drawn_on(tmp_path: Path) -> None:
    image_settings = ImageSettings(size=32)
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 40), (9, 90, 200)).save(tmp_path / name)
    digests = [digest(tmp_path / name) for name in ("a.png", "b.png")]
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    shown = Photographs(tmp_path, ["a.png", "b.png"], digests, image_settings)
    assert shown[:1][0].tolist() == [[[9, 90, 200]] * 40] * 40
    with pytest.raises(ImageReadError, match=r"b\.png: is another photograph than before"):
        shown[1]


def test_nothing_is_drawn_where_nothing_is_inspected(
    photographs: list[NDArray[np.uint8]], monkeypatch: pytest.MonkeyPatch
) -> None:
    left = ImageSettings(inspect=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    changed = list[np.intp]()

    def scores(images: Sequence[NDArray[np.uint8]], _fold: int) -> NDArray[np.floating]:
        for image in images:
            away = np.array([(image != each).any(-1) for each in photographs])
            changed.append(away[away.sum((1, 2)).argmin()].any(0).nonzero()[0].max())
        return np.zeros(len(images))

    measure(
        photographs, FOLDS, scores, LIMITS, SETTINGS, seed=0, inspected=partial(inspected, left)
    )
    assert changed and max(changed) < 52  # half of 96 pixels, and the soft edge of a defect


def test_without_a_photograph_that_a_model_has_not_seen_nothing_is_asked(
    photographs: list[NDArray[np.uint8]],
) -> None:
    with pytest.raises(CalibrationError, match="were seen by the models"):
        measure(photographs, np.full(5, -1), lambda _images, _fold: np.zeros(0), LIMITS, seed=0)
