"""Drift and quality: against scipy's Kolmogorov-Smirnov test, by hand, and by simulation."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, ks_2samp, kstwo

from anomaly_vae.calibration.drift import (
    SIGNIFICANCE,
    DriftMonitor,
    Histogram,
    _chi_squared,
    _kolmogorov_smirnov,
)
from anomaly_vae.calibration.profile import GoodProfile, good_profile
from anomaly_vae.images.decoding import LoadedImage, Placement
from anomaly_vae.images.quality import ImageStatistics, image_statistics

Pixels = NDArray[np.uint8]


def shift_of(reference: list[float], values: list[float]) -> tuple[float, float]:
    histogram = Histogram(reference)
    for value in values:
        histogram.add(value)
    shift = histogram.shift("score")
    assert shift is not None
    return shift.distance, shift.stability_index


tenths = st.integers(0, 30).map(lambda n: n / 10)


@settings(max_examples=200, deadline=None)
@given(st.lists(tenths, min_size=10, max_size=40), st.lists(tenths, min_size=10, max_size=40))
def test_the_distance_is_that_of_scipy_ties_and_all(
    reference: list[float], values: list[float]
) -> None:
    assert shift_of(reference, values)[0] == pytest.approx(
        ks_2samp(reference, values, method="asymp").statistic
    )


def test_the_stability_index_worked_out_by_hand() -> None:
    # Twenty values in four bins of five; today's twenty lie 10, 5, 5 and 0 in them.
    reference = [float(n) for n in range(20)]
    today = [0.5] * 10 + [5.5] * 5 + [10.5] * 5
    ours = np.array([10.5, 5.5, 5.5, 0.5]) / 22
    theirs = np.array([5.5, 5.5, 5.5, 5.5]) / 22
    expected = ((ours - theirs) * np.log(ours / theirs)).sum()
    assert shift_of(reference, today)[1] == pytest.approx(expected)


def test_what_is_taken_out_again_does_not_count() -> None:
    rng = np.random.default_rng(0)
    reference, first, second = (rng.normal(size=30).tolist() for _ in range(3))
    histogram = Histogram(reference)
    for value in first + second:
        histogram.add(value)
    for value in first:
        histogram.add(value, -1)
    shift = histogram.shift("score")
    assert shift is not None
    assert shift.distance == pytest.approx(ks_2samp(reference, second).statistic)


@pytest.mark.parametrize("images", [8, 20, 100, 1000])
def test_p_values_are_nearly_those_of_the_exact_distribution(images: int) -> None:
    for p_value in (0.5, 0.1, 0.01, 0.005):
        distance = float(kstwo.isf(p_value, images))
        assert _kolmogorov_smirnov(distance, images) == pytest.approx(p_value, rel=0.15)
    rare = float(kstwo.isf(1e-3, images))
    assert _kolmogorov_smirnov(rare, images) >= 0.97e-3  # rather too large than too small


def test_quantiles_of_chi_squared() -> None:
    for degrees in (1, 4, 9):
        assert _chi_squared(0.99, degrees) == pytest.approx(float(chi2.ppf(0.99, degrees)))


def test_medians_are_right_to_the_resolution_of_the_reference() -> None:
    histogram = Histogram([float(n) for n in range(101)])
    for value in np.linspace(20.4, 40.4, 51):
        histogram.add(float(value))
    shift = histogram.shift("score")
    assert shift is not None
    assert shift.good_median == 50
    assert shift.median == 31  # that of the values is 30.4


@pytest.mark.parametrize("count", [0, 9])
def test_a_few_images_say_nothing(count: int) -> None:
    histogram = Histogram([float(n) for n in range(50)])
    for _ in range(count):
        histogram.add(1)
    assert histogram.shift("score") is None


# --- the monitor


def statistics(rng: np.random.Generator, brightness: float = 0.5) -> ImageStatistics:
    return ImageStatistics(
        brightness + 0.01 * rng.normal(), 0.2 + 0.01 * rng.normal(), 0.1 + 0.01 * rng.normal(),
        color=False,
    )  # fmt: skip


def profile(rng: np.random.Generator, count: int = 64) -> GoodProfile:
    rows = [statistics(rng) for _ in range(count)]
    return GoodProfile(
        scores=tuple(sorted(rng.normal(size=count))),
        brightness=tuple(sorted(row.brightness for row in rows)),
        contrast=tuple(sorted(row.contrast for row in rows)),
        sharpness=tuple(sorted(row.sharpness for row in rows)),
        color=False,
        size=(64, 48),
    )


def shifted(monitor: DriftMonitor) -> set[str]:
    return {shift.statistic for shift in monitor.shifts() if shift.shifted}


def test_a_moved_lamp_is_noticed_and_named() -> None:
    rng = np.random.default_rng(0)
    monitor = DriftMonitor(profile(rng), threshold=3)
    for _ in range(60):
        monitor.add(rng.normal(), statistics(rng, brightness=0.55))
    assert shifted(monitor) == {"brightness"}
    assert monitor.p_value() < 1e-6


def test_a_third_of_defects_is_not_drift() -> None:
    rng = np.random.default_rng(1)
    monitor = DriftMonitor(profile(rng), threshold=3)
    for index in range(200):
        monitor.add(50 if index % 3 == 0 else rng.normal(), statistics(rng))
    assert shifted(monitor) == set()


def test_scores_that_creep_up_below_the_threshold_are_noticed() -> None:
    rng = np.random.default_rng(2)
    monitor = DriftMonitor(profile(rng), threshold=3)
    for _ in range(200):
        monitor.add(1 + rng.normal(), statistics(rng))
    assert shifted(monitor) == {"score"}


@pytest.mark.parametrize("images", [20, 100, 3000])
def test_images_like_the_good_ones_are_hardly_ever_called_shifted(images: int) -> None:
    rng = np.random.default_rng(images)
    runs = 60
    alarms = 0
    for _ in range(runs):
        monitor = DriftMonitor(profile(rng, 100), threshold=10)
        for _image in range(images):
            monitor.add(rng.normal(), statistics(rng))
        alarms += bool(shifted(monitor))
    assert alarms / runs <= SIGNIFICANCE + 3 * math.sqrt(SIGNIFICANCE / runs)


def test_a_window_forgets() -> None:
    rng = np.random.default_rng(3)
    good = profile(rng)
    whole, recent = DriftMonitor(good, 3), DriftMonitor(good, 3, window=30)
    for index in range(90):
        score, row = rng.normal(), statistics(rng, brightness=0.6 if index < 45 else 0.5)
        whole.add(score, row)
        recent.add(score, row)
    assert shifted(whole) == {"brightness"}
    assert shifted(recent) == set()
    assert all(shift.images <= 30 for shift in recent.shifts())


def test_without_images_there_is_no_p_value() -> None:
    assert math.isnan(DriftMonitor(profile(np.random.default_rng(0)), 3).p_value())


# --- single photographs


def image(pixels: Pixels, width: int = 64, height: int = 48) -> LoadedImage:
    return LoadedImage(pixels, width, height, Placement(1, 1, 0, 0), image_statistics(pixels))


def textured(rng: np.random.Generator, scale: float = 1.0) -> Pixels:
    grey = rng.normal(128, 20, size=(32, 32, 1)) * scale
    return np.clip(grey, 0, 255).astype(np.uint8).repeat(3, 2)


def usual(rng: np.random.Generator) -> GoodProfile:
    return good_profile(rng.normal(size=30), [image(textured(rng)) for _ in range(30)])


def test_statistics_worked_out_by_hand() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = 255
    result = image_statistics(pixels)
    assert result.brightness == pytest.approx(0.5)
    assert result.contrast == pytest.approx(0.5)
    # In the inner 2 x 2 the Laplacian is -1 above the edge and 1 below.
    assert result.sharpness == pytest.approx(1)
    assert not result.color
    pixels[0, 0] = (255, 0, 0)
    assert image_statistics(pixels).color


def test_a_usual_photograph_is_not_objected_to() -> None:
    rng = np.random.default_rng(0)
    good = usual(rng)
    assert [good.objections(image(textured(rng))) for _ in range(200)] == [""] * 200


def test_each_fault_of_a_photograph_is_named() -> None:
    rng = np.random.default_rng(1)
    good, photo = usual(rng), textured(rng)
    blurred = np.full_like(photo, round(float(photo.mean())))
    tinted = photo.copy()
    tinted[..., 0] //= 2
    assert good.objections(image(photo // 3)).startswith("darker (brightness 0.1")
    assert "brighter" in good.objections(image(255 - (255 - photo) // 3))
    assert "less contrast" in good.objections(image(blurred))
    assert "blurred" in good.objections(image(blurred))
    assert "in colour, not grey" in good.objections(image(tinted))
    assert good.objections(image(photo, 640, 480)) == "640 x 480 pixels, not 64 x 48"


def test_photographs_of_many_sizes_have_no_wrong_size() -> None:
    rng = np.random.default_rng(2)
    images = [image(textured(rng), width) for width in range(64, 94)]
    good = good_profile(rng.normal(size=30), images)
    assert good.size is None
    assert good.objections(image(textured(rng), 9000)) == ""


# --- p-values


def test_a_p_value_counts_the_good_scores_at_least_as_high() -> None:
    good = replace(profile(np.random.default_rng(0)), scores=(1.0, 2.0, 2.0, 3.0))
    assert [good.p_value(score) for score in (0, 1, 1.5, 2, 2.5, 3, 4)] == [
        1.0, 1.0, 0.8, 0.8, 0.4, 0.4, 0.2,
    ]  # fmt: skip


def test_good_images_have_small_p_values_no_more_often_than_they_say() -> None:
    rng, runs = np.random.default_rng(4), 4000
    good = profile(rng)
    p_values = np.array(
        [replace(good, scores=tuple(sorted(rng.gamma(2, size=39)))).p_value(rng.gamma(2))
         for _ in range(runs)]
    )  # fmt: skip
    for level in (0.025, 0.05, 0.2, 0.5):  # all multiples of 1 / 40
        spread = math.sqrt(level * (1 - level) / runs)
        assert (p_values <= level + 1e-9).mean() == pytest.approx(level, abs=4 * spread)
