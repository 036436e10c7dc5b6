"""The drawn parts: reproducible, honestly masked, and too hard for a pixel-wise baseline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from anomaly_vae.errors import OutputError
from anomaly_vae.images.samples import (
    DEFECTS,
    Sample,
    draw_sample,
    parse_proportions,
    write_samples,
)


def draw(kind: str, seed: int, size: int = 128) -> Sample:
    return draw_sample(np.random.default_rng(seed), kind, size=size)


def files_of(folder: Path) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def baseline_aurocs(
    train: list[Sample], good: list[Sample], defective: list[Sample]
) -> dict[str, float]:
    """Image AUROC of |x - mean| / std per pixel and channel, reduced in three ways."""
    pixels = np.stack([sample.image for sample in train]).astype(np.float32)
    mean, std = pixels.mean(axis=0), pixels.std(axis=0)
    deviations = [np.abs(sample.image - mean) / std for sample in good + defective]
    labels = [0] * len(good) + [1] * len(defective)
    reductions: dict[str, Callable[[NDArray[np.float32]], np.floating]] = {
        "max": np.max,
        "mean": np.mean,
        "99.5 %": lambda d: np.quantile(d, 0.995),
    }
    return {
        name: float(roc_auc_score(labels, [reduce(d) for d in deviations]))
        for name, reduce in reductions.items()
    }


@pytest.fixture(scope="module")
def defective() -> list[Sample]:
    return [draw(kind, 5000 + seed) for kind in DEFECTS for seed in range(40)]


def test_kinds_that_the_demo_promises() -> None:
    assert {"scratch", "dent", "contamination", "missing_feature", "colour"} <= set(DEFECTS)


def test_the_pixelwise_baseline_fails(defective: list[Sample]) -> None:
    train = [draw("good", seed) for seed in range(200)]
    good = [draw("good", 1000 + seed) for seed in range(100)]
    aurocs = baseline_aurocs(train, good, defective)
    assert max(aurocs.values()) <= 0.85, aurocs


def test_the_baseline_is_able_to_find_what_it_should() -> None:
    train = [draw("good", seed, 32) for seed in range(30)]
    good = [draw("good", 1000 + seed, 32) for seed in range(10)]
    inverted = [Sample(255 - sample.image, sample.mask, "inverted") for sample in good]
    assert min(baseline_aurocs(train, good, inverted).values()) > 0.99


def test_half_of_the_defects_are_smaller_than_one_percent() -> None:
    drawn = [draw(kind, 5000 + seed, 256) for kind in DEFECTS for seed in range(24)]
    share = np.mean([sample.mask.mean() < 0.01 for sample in drawn])
    assert 0.45 <= share <= 0.60


def test_sizes_and_places_of_defects_vary(defective: list[Sample]) -> None:
    for kind in DEFECTS:
        masks = [sample.mask for sample in defective if sample.kind == kind]
        areas = [mask.sum() for mask in masks]
        centres = np.array([ndimage.center_of_mass(mask) for mask in masks]) / 128
        assert max(areas) > 2 * min(areas), kind
        assert (centres.std(axis=0) > 0.1).all(), kind


def test_good_pictures_differ_in_exposure_and_pose() -> None:
    pictures = np.stack([draw("good", seed).image.mean(axis=-1) for seed in range(30)])
    centres = np.array([ndimage.center_of_mass(picture > 80) for picture in pictures])
    assert pictures.mean(axis=(1, 2)).std() > 5  # grey levels
    assert (centres.std(axis=0) > 0.5).all()  # pixels


@pytest.mark.parametrize("size", [32, 45, 128, 512])
@pytest.mark.parametrize("kind", ["good", *DEFECTS])
def test_shapes_types_and_masks_at_any_size(kind: str, size: int) -> None:
    sample = draw(kind, 3, size)
    assert sample.image.shape == (size, size, 3)
    assert sample.image.dtype == np.uint8
    assert sample.mask.shape == (size, size)
    assert sample.mask.dtype == np.bool_
    assert sample.kind == kind
    assert sample.mask.any() == (kind != "good")


@pytest.mark.parametrize("kind", DEFECTS)
def test_a_defect_changes_its_mask_and_nothing_else(kind: str) -> None:
    for seed in range(20):
        good, bad = draw("good", seed), draw(kind, seed)
        change = np.abs(bad.image.astype(int) - good.image).max(axis=-1)
        assert not change[~bad.mask].any()
        assert np.median(change[bad.mask]) >= 6  # honest: most of the mask changed visibly


@pytest.mark.parametrize("kind", DEFECTS)
def test_every_defect_stands_out_from_noise_and_texture(kind: str) -> None:
    for seed in range(10):
        good, bad = draw("good", seed, 256), draw(kind, seed, 256)
        difference = bad.image.astype(float) - good.image
        seen = np.abs(ndimage.uniform_filter(difference, (3, 3, 0))).max()
        assert seen > 10 * local_spread(good.image)


def local_spread(image: NDArray[np.uint8]) -> float:
    """Standard deviation of noise and texture in grey levels, averaged over 3x3 pixels as above."""
    grey = ndimage.uniform_filter(image.astype(float).mean(axis=-1), 3)
    rough = np.abs(grey - ndimage.median_filter(grey, 9))
    return 1.4826 * float(np.median(rough[grey > 80]))


@pytest.mark.parametrize("kind", DEFECTS)
def test_defects_lie_on_the_part(kind: str) -> None:
    for seed in range(10):
        rows, columns = np.nonzero(draw(kind, seed).mask)
        assert min(rows.min(), columns.min()) > 4
        assert max(rows.max(), columns.max()) < 123


def test_same_state_same_picture() -> None:
    for kind in ("good", *DEFECTS):
        first, again, other = draw(kind, 8), draw(kind, 8), draw(kind, 9)
        assert np.array_equal(first.image, again.image)
        assert np.array_equal(first.mask, again.mask)
        assert not np.array_equal(first.image, other.image)


def test_one_generator_gives_one_picture_after_another() -> None:
    rng = np.random.default_rng(1)
    first, second = draw_sample(rng, size=32), draw_sample(rng, size=32)
    assert not np.array_equal(first.image, second.image)


@pytest.mark.parametrize(
    ("kind", "size", "expected"), [("crack", 64, "'crack'.*scratch"), ("good", 31, "31 .*32")]
)
def test_refusals_name_value_and_remedy(kind: str, size: int, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        draw(kind, 0, size)


def test_layout_masks_and_progress(tmp_path: Path) -> None:
    calls: list[None] = []
    write_samples(
        tmp_path / "new" / "parts",
        train=3,
        test_good=2,
        test_defective=7,
        size=32,
        progress=lambda: calls.append(None),
    )
    written = files_of(tmp_path / "new" / "parts")
    expected = {f"train/good/{k:03d}.png" for k in range(3)}
    expected |= {f"test/good/{k:03d}.png" for k in range(2)}
    for place, kind in enumerate(DEFECTS):
        for k in range(2 if place < 7 % len(DEFECTS) else 1):
            expected |= {f"test/{kind}/{k:03d}.png", f"ground_truth/{kind}/{k:03d}_mask.png"}
    assert set(written) == expected
    assert len(calls) == 3 + 2 + 7
    for path in (tmp_path / "new" / "parts" / "ground_truth").rglob("*.png"):
        with Image.open(path) as mask:
            assert (mask.mode, mask.size) == ("L", (32, 32))
            assert set(np.unique(np.asarray(mask))) == {0, 255}


def test_counts_do_not_change_pictures_but_seeds_do(tmp_path: Path) -> None:
    for name, train, rest, seed in (("a", 2, 5, 4), ("b", 5, 10, 4), ("c", 2, 5, 5)):
        write_samples(
            tmp_path / name, train=train, test_good=rest, test_defective=rest, size=32, seed=seed
        )
    few, many, other = (files_of(tmp_path / name) for name in "abc")
    assert len(few) < len(many)
    assert few == {name: many[name] for name in few}
    assert len({*few.values()} | {*other.values()}) == len(few) + len(other)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="file"):
        write_samples(tmp_path / "file", train=1, test_good=0, test_defective=0, size=32)


# --- other proportions


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1:1", (1, 1)), ("1:4", (4, 4)), ("4:1", (0.25, 0.25)), ("1:3-3:1", (1 / 3, 3))],
)
def test_proportions_are_height_to_width(text: str, expected: tuple[float, float]) -> None:
    assert parse_proportions(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "4", "1:", "0:1", "1:0", "a:b", "1:20", "1:2-2:1-1:1", "-1:2"]
)
def test_proportions_that_cannot_be_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_proportions(text)


def test_a_long_part_is_long_and_outside_its_mask_the_good_one() -> None:
    good, bad = (
        draw_sample(np.random.default_rng(3), kind, size=64, proportions=(4, 4))
        for kind in ("good", "scratch")
    )
    assert good.image.shape == (64, 256, 3)
    assert bad.mask.shape == (64, 256)
    assert 0 < bad.mask.sum() < bad.mask.size / 4
    assert np.array_equal(good.image[~bad.mask], bad.image[~bad.mask])
    # Four bores, each as dark as the first.
    middle = good.image[28:36].mean((0, 2))
    assert all(middle[64 * k + 26 : 64 * k + 38].min() < 0.5 * middle.mean() for k in range(4))


def test_parts_of_mixed_shapes_lie_between_the_two_that_bound_them() -> None:
    shapes = [
        draw_sample(np.random.default_rng(seed), size=32, proportions=(1 / 3, 3)).mask.shape
        for seed in range(30)
    ]
    ratios = [width / height for height, width in shapes]
    assert all(min(shape) == 32 for shape in shapes)
    assert 0.3 < min(ratios) < 0.6 and 1.6 < max(ratios) < 3.1
