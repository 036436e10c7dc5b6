"""Limits from good images alone, against brute force over every rank, and against draws."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import beta, lognorm, norm
from scipy.stats import t as student

from anomaly_vae.calibration.conformal import (
    crossed_rate,
    good_only_limit,
    good_only_threshold,
    tail_limit,
)
from anomaly_vae.calibration.evidence import Evidence
from anomaly_vae.calibration.intervals import highest_false_alarm_rate
from anomaly_vae.errors import CalibrationError

from ..small import shuffled

Floats = NDArray[np.float64]


def evidence(count: int, folds: int = 1) -> Evidence:
    return Evidence(shuffled(count), 10 * shuffled(count), folds=folds, refitted=True)


# --- the limit from good images alone


@pytest.mark.parametrize(
    ("count", "rate", "rank"),
    [
        (19, 0.05, 19),  # 20 * 0.95 = 19: the largest
        (99, 0.01, 99),
        (199, 0.01, 198),
        (100, 0.01, 100),  # 101 * 0.99 = 99.99
        (39, 0.05, 38),
        (20, 0.5, 11),
        (20, 0.999, 1),
    ],
)
def test_the_limit_is_the_rank_worked_out_by_hand(count: int, rate: float, rank: int) -> None:
    assert good_only_limit(shuffled(count), rate) == (rank, rate)


@pytest.mark.parametrize("count", [1, 2, 5, 19, 20, 57, 99, 150])
@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05, 0.1, 1 / 3, 0.5, 0.9])
def test_the_limit_is_the_smallest_that_keeps_the_promise(count: int, rate: float) -> None:
    """A new score is equally likely in each of the n + 1 gaps: above the k-th in n + 1 - k."""
    keeps = [k for k in range(1, count + 1) if (count + 1 - k) / (count + 1) <= rate + 1e-12]
    if keeps:
        assert good_only_limit(shuffled(count), rate)[0] == keeps[0]
    else:
        with pytest.raises(CalibrationError, match="cannot be promised"):
            good_only_limit(shuffled(count), rate)


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.03, 1 / 7, 0.3])
def test_the_number_of_images_that_is_asked_for_just_suffices(rate: float) -> None:
    with pytest.raises(CalibrationError, match="expected") as caught:
        good_only_limit(shuffled(2), rate)
    named = int(str(caught.value).split("expected ")[1].split()[0])
    assert good_only_limit(shuffled(named), rate)[0] == named
    with pytest.raises(CalibrationError):
        good_only_limit(shuffled(named - 1), rate)


@pytest.mark.parametrize(("count", "rate"), [(20, 1 / 21), (98, 1 / 99), (99, 0.01), (500, 0.01)])
def test_the_default_rate_is_a_hundredth_or_what_the_images_support(
    count: int, rate: float
) -> None:
    assert good_only_limit(shuffled(count))[1] == pytest.approx(rate, rel=1e-15)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_a_rate_that_is_no_rate_is_refused(rate: float) -> None:
    with pytest.raises(CalibrationError, match="expected more than 0, less than 1"):
        good_only_limit(shuffled(50), rate)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_good_score_that_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(CalibrationError, match="1 scores of good images are not finite"):
        good_only_limit(np.array([1.0, bad, 2.0]))


def test_no_good_images_are_refused() -> None:
    with pytest.raises(CalibrationError, match="no good images"):
        good_only_limit(np.array([]))


def test_new_good_images_exceed_the_limit_as_rarely_as_promised() -> None:
    """For continuous scores the expected rate is (n + 1 - k) / (n + 1), here 2 / 40 exactly."""
    rng, runs = np.random.default_rng(3), 400
    rates = []
    for _ in range(runs):
        limit, _ = good_only_limit(rng.gamma(2, size=39), 0.05)
        rates.append((rng.gamma(2, size=500) > limit).mean())
    # The rate of one run has a Beta(2, 38) distribution, apart from its own sampling error.
    spread = math.sqrt((0.05 * 0.95 / 41 + 0.05 * 0.95 / 500) / runs)
    assert np.mean(rates) == pytest.approx(0.05, abs=4 * spread)


# --- both limits


def test_both_limits_of_a_good_only_threshold_use_the_same_rate() -> None:
    threshold = good_only_threshold(evidence(99), 0.05)
    assert (threshold.score, threshold.anomaly_map) == (95, 950)
    assert (threshold.criterion, threshold.good, threshold.defective) == ("good-only", 99, 0)


@pytest.mark.parametrize(
    ("count", "rate", "fail_rate", "one_in"),
    [(40, None, 0.01, 41), (99, None, 0.01, 100), (99, 0.03, 0.01, 33), (99, None, 0.05, 20)],
)
def test_the_promise_says_one_in_how_many_and_how_sure_from_how_many(
    count: int, rate: float | None, fail_rate: float, one_in: int
) -> None:
    limit = good_only_threshold(evidence(count), rate, fail_rate=fail_rate)
    assert limit.promise == f"at most 1 good image in {one_in} fails"
    assert f"from {count} good images, set aside for this" in limit.assurance


def test_of_500_images_the_fifth_highest_sets_the_limit_of_one_in_a_hundred() -> None:
    """k = ceil(501 * 0.99) = 496: four odd ones among them do not decide."""
    limit = good_only_threshold(evidence(500, folds=5), review_rate=0.05)
    assert (limit.score, limit.review) == (496, 476)


def test_of_folds_the_rate_is_about_what_is_asked_for_and_what_is_proved_is_said() -> None:
    limit = good_only_threshold(evidence(300, folds=5), review_rate=0.05)
    assert limit.promise == (
        "about 1 good image in 100 fails; about 1 in 20 is for review or fails by its score"
    )
    assert "each judged by a model that has not seen it" in limit.assurance
    # 2 * 0.01 + min(2 * 0.8 / 61, (1 - 5 / 300) / 6)
    assert crossed_rate(0.01, 300, 5) == pytest.approx(0.02 + 1.6 / 61)
    assert any("at most 4.6% fail on average" in each for each in limit.conditions)
    assert any("not proved" in each for each in limit.conditions)


@pytest.mark.parametrize(
    ("rate", "count", "folds", "expected"),
    [
        (0.01, 20, 20, 0.02 + 0.0),  # n = K: (1 - 20 / 20) / 21, the jackknife+
        (0.1, 20, 2, 0.2 + min(1 / 11, 0.9 / 3)),
        (0.6, 20, 5, 1.0),
    ],
)
def test_the_proved_rate_is_that_of_the_theorem(
    rate: float, count: int, folds: int, expected: float
) -> None:
    assert crossed_rate(rate, count, folds) == pytest.approx(expected)


def test_some_more_good_images_than_fail_are_for_review() -> None:
    limit = good_only_threshold(evidence(99), review_rate=0.05)
    assert (limit.review, limit.score) == (95, 99)
    assert [limit.verdict(score) for score in (95, 95.5, 99, 99.5)] == [
        "pass", "review", "review", "fail",
    ]  # fmt: skip
    assert limit.promise.endswith("; at most 1 in 20 is for review or fails by its score")


@pytest.mark.parametrize(
    ("count", "rate", "review_rate"),
    [(99, None, 0), (99, 0.05, 0.05), (99, 0.2, 0.05), (18, None, 0.05), (19, None, 0.05)],
)
def test_there_is_no_review_band_where_as_many_may_fail(
    count: int, rate: float | None, review_rate: float
) -> None:
    assert good_only_threshold(
        evidence(count), rate, review_rate=review_rate
    ) == good_only_threshold(evidence(count), rate)


def test_copies_and_views_of_one_part_count_once_by_the_highest() -> None:
    scores = np.r_[np.arange(40.0), np.arange(40.0) / 2]
    groups = [f"part {n % 40:02d}" for n in range(80)]
    for of_parts, unit in ((False, "good image"), (True, "group of good images")):
        limit = good_only_threshold(Evidence(scores, 2 * scores, groups, of_parts=of_parts))
        assert (limit.score, limit.anomaly_map, limit.good) == (39, 78, 40)
        assert limit.promise == f"at most 1 {unit} in 41 fails"
        assert limit.assurance.startswith("from 40 ")
    assert good_only_threshold(Evidence(scores, scores)).good == 80


def with_defects(count: int, *, robust: bool = True) -> Evidence:
    """Scores 1 to 200 without the last few, and in their place what no good part has."""
    scores = np.concatenate([shuffled(200 - count), 1000.0 + np.arange(count)])
    return Evidence(scores, 10 * scores, folds=5, robust=robust)


def test_a_few_defects_among_the_good_do_not_set_the_limits() -> None:
    limit = good_only_threshold(with_defects(4), review_rate=0.05)
    assert (limit.score, limit.review) == (196, 188)  # of 196: ranks 196 and 188
    assert (limit.anomaly_map, limit.good, limit.apart) == (1960, 196, 4)
    assert "4 more, far apart from the others, left out as probable defects" in limit.assurance
    assert "if they are good, about 2.5% fail" in limit.conditions[-1]
    counted = good_only_threshold(with_defects(4, robust=False), review_rate=0.05)
    assert (counted.score, counted.review, counted.apart) == (1002, 191, 0)


def test_more_than_a_few_apart_are_a_kind_of_their_own() -> None:
    limit = good_only_threshold(with_defects(5))
    assert (limit.score, limit.good, limit.apart) == (1003, 200, 0)
    assert limit.assurance.endswith(
        "5 lie far apart from the others, too many (over 2%) to be left out"
    )


def test_what_lies_apart_is_no_longer_promised_at_most() -> None:
    scores = np.append(shuffled(99), 1000.0)
    assert good_only_threshold(Evidence(scores, scores)).promise.startswith("about 1 good image in")


def test_a_review_rate_of_a_tenth_takes_19_images() -> None:
    limits = [good_only_threshold(evidence(n), review_rate=0.1) for n in (18, 19)]
    assert [limit.review for limit in limits] == [None, 18]


def test_a_review_band_without_width_is_none() -> None:
    scores = np.minimum(shuffled(99), 90)
    assert good_only_threshold(Evidence(scores, scores), review_rate=0.05).review is None


def test_below_an_extrapolated_threshold_the_review_band_is_conformal() -> None:
    scores = np.random.default_rng(0).gamma(2, size=99)
    limit = good_only_threshold(Evidence(scores, scores), 0.001, review_rate=0.05, extrapolate=True)
    assert limit.review == good_only_limit(scores, 0.05)[0] < limit.score
    assert "no guarantee" in limit.assurance
    assert "at most 1 in 20" in limit.promise


def test_a_review_rate_of_one_or_more_is_refused() -> None:
    with pytest.raises(CalibrationError, match="rate of 5: expected more than 0, less than 1"):
        good_only_threshold(evidence(99), review_rate=5)


# --- the tail


def test_an_exponential_tail_is_extrapolated_to_its_quantile() -> None:
    scores = np.random.default_rng(1).exponential(size=20_000)
    assert tail_limit(scores, 1e-5) == pytest.approx(-math.log(1e-5), rel=0.15)


def test_a_tail_that_ends_is_not_believed_to_end() -> None:
    scores = np.random.default_rng(2).random(1000)  # none above 1
    assert tail_limit(scores, 1e-4) > 1


def test_the_extrapolated_limit_lies_above_what_can_be_promised() -> None:
    scores = np.random.default_rng(3).normal(size=100)
    assert tail_limit(scores, 0.001) > good_only_limit(scores)[0]
    threshold = good_only_threshold(Evidence(scores, scores), 0.001, extrapolate=True)
    assert threshold.criterion == "good-only, extrapolated"
    assert "no guarantee" in threshold.assurance


@pytest.mark.parametrize(
    ("scores", "rate", "expected"),
    [
        (np.arange(19.0), 0.001, "19 good images are too few to extrapolate; expected 20"),
        (np.ones(30), 0.001, "are not all different"),
        (np.arange(100.0), 0.2, "needs no extrapolation"),
        (np.arange(100.0), 0.0, "expected more than 0"),
    ],
)
def test_what_cannot_be_extrapolated_is_refused(scores: Floats, rate: float, expected: str) -> None:
    with pytest.raises(CalibrationError, match=expected):
        tail_limit(scores, rate)


def test_extrapolation_without_a_rate_is_refused() -> None:
    with pytest.raises(CalibrationError, match="--extrapolate needs --target"):
        good_only_threshold(evidence(99), extrapolate=True)


# --- simulations


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, 100, 1000])
@pytest.mark.parametrize("shape", ["normal", "lognormal", "heavy"])
def test_over_a_thousand_splits_the_limit_keeps_its_promise_and_its_bound(
    count: int, shape: str
) -> None:
    """The true rate above the limit is Beta(n + 1 - k, k); see ``highest_false_alarm_rate``."""
    distribution = {"normal": norm(), "lognormal": lognorm(1), "heavy": student(2)}[shape]
    rng, runs = np.random.default_rng(5), 1000
    drawn = distribution.rvs(size=(runs, count), random_state=rng)
    limits, rates = zip(*(good_only_limit(scores) for scores in drawn), strict=True)
    realised = distribution.sf(np.array(limits))
    target, rank = rates[0], math.ceil((count + 1) * (1 - rates[0]) - 1e-9)
    truth = beta(count + 1 - rank, rank)
    assert truth.mean() <= target + 1e-12
    assert realised.mean() == pytest.approx(truth.mean(), abs=4 * truth.std() / math.sqrt(runs))
    above = (realised > target).mean()
    spread = math.sqrt(0.25 / runs)
    assert above <= truth.sf(target) + 3 * spread
    bound = highest_false_alarm_rate(rank, count)
    assert (realised > bound).mean() <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
