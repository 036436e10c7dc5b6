"""Figures of merit, against scikit-learn, brute force and numbers worked out by hand."""

from dataclasses import asdict
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from anomaly_vae.calibration.intervals import rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.metrics import (
    found_per_size,
    image_metrics,
    per_region_overlap,
    pixel_metrics,
)
from anomaly_vae.errors import CalibrationError

Maps = NDArray[np.float32]
Masks = NDArray[np.bool_]

CLASSES = np.array(["good", "good", "good", "dent", "dent", "scratch"])
SCORES = np.array([0.1, 0.4, 0.8, 0.3, 0.9, 0.7])


def at(limit: float, review: float | None = None) -> Threshold:
    return Threshold(limit, limit, "test", "", good=1, review=review)


def brute_force_overlap(
    maps: Maps, masks: Masks, limit: float, inspected: Masks | None = None
) -> float:
    """The definition, word by word: loop over all thresholds, count, join the points by lines."""
    kept = np.ones_like(masks) if inspected is None else inspected
    masks, calm = masks & kept, ~masks & kept
    regions = []
    for index, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(index, labels == label) for label in range(1, count + 1)]
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel().tolist()), reverse=True):
        flagged = maps >= threshold
        overlap = np.mean([flagged[index][region].mean() for index, region in regions])
        points.append((float(flagged[calm].mean()), float(overlap)))
    area = 0.0
    for (x0, y0), (x1, y1) in pairwise(points):
        if x0 >= limit or x1 == x0:
            continue
        end = min(x1, limit)
        y_end = y0 + (y1 - y0) * (end - x0) / (x1 - x0)
        area += (end - x0) * (y0 + y_end) / 2
    return area / limit


def random_case(seed: int, levels: int | None) -> tuple[Maps, Masks]:
    rng = np.random.default_rng(seed)
    blurred = ndimage.gaussian_filter(rng.normal(size=(3, 12, 12)), (0, 1.5, 1.5))
    masks = blurred > np.quantile(blurred, 0.8)
    masks[0] = False  # an image without a defect
    maps = (blurred + 0.3 * rng.normal(size=blurred.shape)).astype(np.float32)
    return (np.round(maps * levels) / levels if levels else maps).astype(np.float32), masks


# --- images


def test_image_level_numbers_worked_out_by_hand() -> None:
    result = image_metrics(SCORES, CLASSES, at(0.5))
    # 0.9 beats 3 good scores, 0.7 two, 0.3 one: 6 of 9 pairs.
    assert result.auroc == pytest.approx(6 / 9)
    # In falling order D G D G D G: precision 1/1, 2/3, 3/5 at the three hits.
    assert result.average_precision == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
    assert result.best_f1 == pytest.approx(0.75)  # 3 hits, 2 false alarms
    assert (result.good, result.defective) == (3, 3)
    assert (result.escapes.count, result.overkill.count) == (1, 1)
    assert result.f1 == pytest.approx(2 / 3)
    assert result.found_per_class == {"dent": rate(1, 2), "scratch": rate(1, 1)}


@pytest.mark.parametrize("seed", range(4))
def test_image_level_numbers_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    classes = rng.choice(["good", "dent", "scratch"], size=60, p=[0.6, 0.3, 0.1])
    scores = np.round(rng.normal(size=60) + (classes != "good"), 1)  # with ties
    result, truth = image_metrics(scores, classes, at(0.7)), classes != "good"
    assert result.auroc == pytest.approx(roc_auc_score(truth, scores), abs=1e-12)
    assert result.average_precision == pytest.approx(
        average_precision_score(truth, scores), abs=1e-12
    )
    assert result.f1 == pytest.approx(f1_score(truth, scores > 0.7), abs=1e-12)
    best = max(f1_score(truth, scores >= value) for value in np.unique(scores))
    assert result.best_f1 == pytest.approx(best, abs=1e-12)


def test_a_score_at_the_threshold_passes() -> None:
    result = image_metrics(SCORES, CLASSES, at(0.8))
    assert (result.escapes.count, result.overkill.count) == (2, 0)


def test_between_two_limits_images_are_neither_escapes_nor_overkill() -> None:
    result = image_metrics(SCORES, CLASSES, at(0.75, review=0.35))
    # good 0.1 pass, 0.4 review, 0.8 fail; dents 0.3 pass, 0.9 fail; scratch 0.7 review
    assert (result.escapes.count, result.overkill.count, result.reviewed.count) == (1, 1, 2)
    assert result.found_per_class == {"dent": rate(1, 2), "scratch": rate(1, 1)}
    assert result.f1 == pytest.approx(2 / (2 + 1 + 2))


def test_thirds_go_from_the_smallest_defects_to_the_largest() -> None:
    areas = np.array([0.5, 0.01, 0.02, 0.3, 0.1, 0.2])
    passed = np.array([False, True, True, False, False, True])
    bins = found_per_size(passed, areas)
    assert [(b.low, b.high) for b in bins] == [(0.01, 0.02), (0.1, 0.2), (0.3, 0.5)]
    assert [b.found for b in bins] == [rate(0, 2), rate(1, 2), rate(2, 2)]


def test_one_defective_image_is_one_size() -> None:
    assert len(found_per_size(np.array([True]), np.array([0.1]))) == 1


def test_ties_between_the_classes_count_half() -> None:
    result = image_metrics(np.array([1.0, 2, 2, 3]), np.array(["good", "good", "x", "x"]), at(9))
    assert result.auroc == pytest.approx(3.5 / 4)


def test_nothing_found_is_an_f1_of_zero() -> None:
    result = image_metrics(SCORES, CLASSES, at(5))
    assert (result.f1, result.escapes.count, result.overkill.count) == (0, 3, 0)
    assert result.found_per_class == {"dent": rate(0, 2), "scratch": rate(0, 1)}


@pytest.mark.parametrize(
    ("classes", "counts"), [(["good"] * 3, "3 good and 0"), (["dent"] * 3, "0 good and 3")]
)
def test_one_class_alone_is_refused(classes: list[str], counts: str) -> None:
    with pytest.raises(CalibrationError, match=f"{counts} defective images; expected both"):
        image_metrics(np.arange(3.0), np.array(classes), at(1))


# --- pixels


def test_pixel_level_numbers_are_those_of_scikit_learn() -> None:
    maps, masks = random_case(0, 4)
    result = pixel_metrics(maps, masks)
    assert result.auroc == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()))
    expected = average_precision_score(masks.ravel(), maps.ravel())
    assert result.average_precision == pytest.approx(expected)
    assert result.pro == per_region_overlap(maps, masks, limit=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_pixels_that_are_not_inspected_do_not_count(seed: int) -> None:
    maps, masks = random_case(seed, None)
    inspected = np.random.default_rng(seed).random(maps.shape) < 0.7
    expected = pixel_metrics(maps, masks, inspected)
    assert expected.auroc == pytest.approx(roc_auc_score(masks[inspected], maps[inspected]))
    points = brute_force_overlap(maps, masks, 0.3, inspected)
    assert expected.pro == pytest.approx(points, abs=1e-9)
    outside = np.where(inspected, maps, maps.max() + 1).astype(np.float32)
    again = pixel_metrics(outside, masks | ~inspected, inspected)
    assert asdict(again) == pytest.approx(asdict(expected))
    assert pixel_metrics(outside, masks).auroc < expected.auroc


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("levels", [None, 3, 1])  # 3 and 1: many pixels share a value
@pytest.mark.parametrize("seed", range(3))
def test_per_region_overlap_is_that_of_brute_force(
    seed: int, levels: int | None, limit: float
) -> None:
    maps, masks = random_case(seed, levels)
    expected = brute_force_overlap(maps, masks, limit)
    assert per_region_overlap(maps, masks, limit=limit) == pytest.approx(expected, abs=1e-9)


def test_per_region_overlap_worked_out_by_hand() -> None:
    # Two regions, of 2 pixels and of 1, and 5 good pixels.
    mask = np.array([[[1, 1, 0, 0], [0, 0, 0, 1]]], dtype=bool)
    values = np.array([[[9, 6, 8, 2], [1, 3, 4, 7]]], dtype=np.float32)
    # In falling order: 9 D (1/4), 8 good (1/5), 7 D (3/4), 6 D (1), then good ones only.
    # Points (0, 0) (0, 1/4) (1/5, 1/4) (1/5, 3/4) (1/5, 1) (2/5, 1), cut at 0.3.
    assert per_region_overlap(values, mask) == pytest.approx((0.2 * 0.25 + 0.1 * 1) / 0.3)


def test_small_and_large_regions_count_the_same() -> None:
    mask = np.zeros((1, 20, 20), dtype=bool)
    mask[0, :10, :10] = mask[0, 15, 15] = True
    found = np.zeros((1, 20, 20), dtype=np.float32)
    found[0, 15, 15] = 1
    # The region of one pixel gives half of the overlap; then a line from (0, 1/2) to (1, 1).
    assert per_region_overlap(found, mask) == pytest.approx((0.5 + 0.65) / 2)


def test_pixels_that_touch_at_a_corner_are_one_region() -> None:
    mask = np.eye(4, dtype=bool)[None]
    found = np.zeros((1, 4, 4), dtype=np.float32)
    found[0, 0, 0] = 1
    assert per_region_overlap(found, mask) == pytest.approx((0.25 + (0.25 + 0.75 * 0.3)) / 2)


def test_a_perfect_map_has_an_overlap_of_one_and_a_constant_one_of_chance() -> None:
    _, masks = random_case(1, None)
    assert per_region_overlap(masks.astype(np.float32), masks) == pytest.approx(1)
    assert per_region_overlap(np.zeros(masks.shape, np.float32), masks) == pytest.approx(0.15)
