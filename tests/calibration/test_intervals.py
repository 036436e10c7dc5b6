"""Intervals: against exact sums, closed forms and simulations."""

import math

import numpy as np
import pytest
from scipy.stats import beta, binom, norm, rankdata

from anomaly_vae.calibration.intervals import (
    auroc_interval,
    fewest_images,
    highest_false_alarm_rate,
    highest_rate,
    rate,
)
from anomaly_vae.calibration.planning import plan_samples
from anomaly_vae.errors import CalibrationError


@pytest.mark.parametrize("count", [1, 5, 20, 63])
@pytest.mark.parametrize("truth", [0.001, 0.02, 0.1, 0.37, 0.5, 0.93])
def test_clopper_and_pearson_cover_the_truth_19_times_of_20(count: int, truth: float) -> None:
    """An exact sum over all outcomes."""
    covered = sum(
        binom.pmf(k, count, truth)
        for k in range(count + 1)
        if rate(k, count).low <= truth <= rate(k, count).high
    )
    assert covered >= 0.95 - 1e-9


def test_a_rate_is_its_share_and_prints_its_interval() -> None:
    part = rate(2, 60)
    assert (part.count, part.of, part.value) == (2, 60, 2 / 60)
    # The closed form in terms of the beta distribution.
    assert part.low == pytest.approx(beta.ppf(0.025, 2, 59))
    assert part.high == pytest.approx(beta.ppf(0.975, 3, 58))
    assert str(part) == "0.033 [0.004, 0.115]"


@pytest.mark.parametrize("images", [1, 20, 59, 299, 3000])
def test_no_case_among_m_is_the_closed_form(images: int) -> None:
    assert highest_rate(0, images) == pytest.approx(1 - 0.05 ** (1 / images))
    assert highest_rate(images, images) == 1


@pytest.mark.parametrize(("rank", "count"), [(64, 64), (99, 99), (95, 99), (20, 30)])
def test_the_rate_above_a_conformal_limit_is_bounded_as_simulated(rank: int, count: int) -> None:
    bound = highest_false_alarm_rate(rank, count)
    # The share above the k-th smallest of n uniform scores is one minus that score.
    scores = np.sort(np.random.default_rng(0).random((20_000, count)), axis=1)
    assert (1 - scores[:, rank - 1] <= bound).mean() == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize("auroc", [0.0, 0.2, 0.5, 0.97, 0.9999, 1.0])
def test_an_auroc_lies_in_its_interval_which_has_a_width(auroc: float) -> None:
    low, high = auroc_interval(auroc, 20, 60)
    assert 0 <= low <= auroc <= high <= 1
    assert high - low > 0.01


def test_the_ends_of_the_interval_are_where_newcombe_puts_them() -> None:
    """Each end is the area whose own deviation, 1.96 times, reaches what was measured."""
    good, bad, measured = 41, 119, 0.93
    for end in auroc_interval(measured, good, bad):
        pseudo = (good + bad) / 2 - 1
        variance = (
            end * (1 - end)
            * (1 + pseudo * (1 - end) / (2 - end) + pseudo * end / (1 + end)) / (good * bad)
        )  # fmt: skip
        assert abs(measured - end) == pytest.approx(norm.ppf(0.975) * math.sqrt(variance))


def test_interchanging_the_classes_mirrors_the_interval() -> None:
    low, high = auroc_interval(0.8, 20, 60)
    mirrored = auroc_interval(0.2, 60, 20)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.slow
@pytest.mark.parametrize("truth", [0.9, 0.99, 0.999])
@pytest.mark.parametrize("shape", ["normal", "exponential"])
def test_auroc_intervals_cover_93_to_99_percent(truth: float, shape: str) -> None:
    rng, good, bad, runs = np.random.default_rng(1), 20, 60, 4000
    covered = 0
    for _ in range(runs):
        if shape == "normal":
            x, y = rng.normal(size=good), rng.normal(norm.ppf(truth) * math.sqrt(2), size=bad)
        else:  # P(y > x) of exponential scores with means 1 and s is s / (1 + s)
            x, y = rng.exponential(size=good), rng.exponential(truth / (1 - truth), size=bad)
        ranks = rankdata(np.r_[x, y])[good:].sum()
        measured = (ranks - bad * (bad + 1) / 2) / (good * bad)
        low, high = auroc_interval(measured, good, bad)
        assert high > low
        covered += low <= truth <= high
    assert 0.93 <= covered / runs <= 0.99


# --- how many images


@pytest.mark.parametrize("share", [0.001, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("cases", [0, 1, 2, 5])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_one_image_less_would_not_do(share: float, cases: int, confidence: float) -> None:
    count = fewest_images(share, cases, confidence)
    assert highest_rate(cases, count, confidence) <= share * (1 + 1e-9)
    if count - 1 > cases:
        assert highest_rate(cases, count - 1, confidence) > share


@pytest.mark.parametrize("share", [0.0, 1.0, math.nan])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="expected 0 to 1"):
        fewest_images(share)


def test_a_plan_worked_out_by_hand() -> None:
    plan = plan_samples(0.001, 0.01, 0.95)
    assert plan.good_on_average == 999
    assert plan.good_for_sure == math.ceil(math.log(0.05) / math.log(0.999))
    assert plan.good_test[0] == plan.good_for_sure
    assert plan.defective_test[0] == math.ceil(math.log(0.05) / math.log(0.99))
    assert list(plan.defective_test) == sorted(set(plan.defective_test))


@pytest.mark.parametrize(
    ("shares", "name"),
    [((0, 0.1, 0.9), "false-alarm-rate"), ((0.1, 1, 0.9), "escape-rate"),
     ((0.1, 0.1, math.nan), "confidence"), ((1e-9, 0.1, 0.9), "false-alarm-rate")],
)  # fmt: skip
def test_a_plan_for_impossible_rates_is_refused(
    shares: tuple[float, float, float], name: str
) -> None:
    with pytest.raises(CalibrationError, match=f"--{name}"):
        plan_samples(*shares)
