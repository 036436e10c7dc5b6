"""Thresholds, against brute force over every rank and every candidate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly_vae.calibration import (
    Goal,
    OperatingPoint,
    choose_operating_point,
    roc_threshold,
)
from anomaly_vae.errors import CalibrationError
from anomaly_vae.good_only import good_only_limit, good_only_threshold

Floats = NDArray[np.float64]


def shuffled(count: int) -> Floats:
    """The numbers 1 to ``count``, so that the k-th smallest is k."""
    return np.random.default_rng(count).permutation(np.arange(1.0, count + 1))


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


def test_both_limits_of_a_good_only_threshold_use_the_same_rate() -> None:
    threshold = good_only_threshold(shuffled(99), 10 * shuffled(99), 0.05)
    assert (threshold.score, threshold.anomaly_map) == (95, 950)
    assert (threshold.criterion, threshold.good, threshold.defective) == ("good-only", 99, 0)


@pytest.mark.parametrize(
    ("count", "rate", "one_in"), [(40, None, 41), (99, 0.01, 100), (99, 0.03, 33)]
)
def test_the_promise_says_one_in_how_many_from_how_many(
    count: int, rate: float | None, one_in: int
) -> None:
    promise = good_only_threshold(shuffled(count), shuffled(count), rate).promise
    assert f"at most 1 good image in {one_in} " in promise
    assert f"from {count} held-out good images" in promise


# --- operating points


def candidates(good: Floats, bad: Floats) -> list[OperatingPoint]:
    """Every different way to cut the scores, from the one that fails nothing to all."""
    scores = np.unique(np.r_[good, bad])
    cuts = [scores[0] - 1, *scores]
    return [
        OperatingPoint(t, int((bad <= t).sum()), int((good > t).sum()), len(good), len(bad))
        for t in cuts
    ]


def f1(point: OperatingPoint) -> float:
    hits = point.defective - point.escapes
    return 2 * hits / (2 * hits + point.overkill + point.escapes)


def draws() -> list[tuple[Floats, Floats]]:
    rng = np.random.default_rng(11)
    pairs = [(rng.normal(size=n), rng.normal(1.2, 1.5, size=m)) for n, m in ((30, 12), (7, 40))]
    pairs += [(np.round(a), np.round(b)) for a, b in pairs]  # with ties within and between classes
    pairs += [(np.arange(5.0), np.arange(10.0, 14)), (np.arange(10.0, 14), np.arange(5.0))]
    return pairs


MEASURES: dict[str, Callable[[OperatingPoint], float]] = {
    "youden": lambda point: point.recall - point.false_alarm_rate,
    "f1": f1,
}


@pytest.mark.parametrize(("good", "bad"), draws())
@pytest.mark.parametrize("criterion", MEASURES)
def test_no_other_cut_does_better(criterion: str, good: Floats, bad: Floats) -> None:
    measure = MEASURES[criterion]
    chosen = choose_operating_point(good, bad, Goal(criterion))  # type: ignore[arg-type]
    failing = [point for point in candidates(good, bad) if point.escapes < point.defective]
    assert measure(chosen) == pytest.approx(max(map(measure, failing)), abs=1e-12)


@pytest.mark.parametrize(("good", "bad"), draws())
@pytest.mark.parametrize("target", [0.1, 0.5, 0.9, 1.0, None])
def test_recall_has_the_fewest_false_alarms(
    good: Floats, bad: Floats, target: float | None
) -> None:
    chosen = choose_operating_point(good, bad, Goal("recall", target))
    goal = 0.99 if target is None else target
    enough = [p for p in candidates(good, bad) if p.recall >= goal - 1e-12]
    assert chosen.recall >= goal - 1e-12
    assert chosen.overkill == min(p.overkill for p in enough)


@pytest.mark.parametrize(("good", "bad"), draws())
@pytest.mark.parametrize("target", [0.05, 0.2, 0.5, 1.0, None])
def test_false_alarm_rate_has_the_largest_recall(
    good: Floats, bad: Floats, target: float | None
) -> None:
    goal = 0.01 if target is None else target
    allowed = [p for p in candidates(good, bad)[:-1] if p.false_alarm_rate <= goal]
    if allowed:
        chosen = choose_operating_point(good, bad, Goal("false-alarm-rate", target))
        assert chosen.false_alarm_rate <= goal
        assert chosen.recall == max(p.recall for p in allowed)
    else:
        with pytest.raises(CalibrationError, match="highest score is a good image's"):
            choose_operating_point(good, bad, Goal("false-alarm-rate", target))


@pytest.mark.parametrize(("good", "bad"), draws())
@pytest.mark.parametrize("criterion", ["youden", "f1", "recall"])
def test_the_threshold_is_the_midpoint_between_two_neighbouring_scores(
    good: Floats, bad: Floats, criterion: str
) -> None:
    limit = choose_operating_point(good, bad, Goal(criterion)).threshold  # type: ignore[arg-type]
    scores = np.unique(np.r_[good, bad])
    below, above = scores[scores < limit], scores[scores > limit]
    assert limit not in scores
    if len(below):
        assert limit == pytest.approx((below[-1] + above[0]) / 2)


def test_perfectly_separated_classes_are_cut_in_the_middle_of_the_gap() -> None:
    for criterion in ("youden", "f1", "recall", "false-alarm-rate"):
        point = choose_operating_point(np.array([1.0, 2]), np.array([6.0, 7]), Goal(criterion))  # type: ignore[arg-type]
        assert (point.threshold, point.escapes, point.overkill) == (4, 0, 0)


def test_the_counts_are_those_of_the_threshold() -> None:
    point = choose_operating_point(np.array([1.0, 2, 5]), np.array([3.0, 4, 0]), Goal())
    assert (point.threshold, point.escapes, point.overkill) == (2.5, 1, 1)
    assert (point.good, point.defective) == (3, 3)
    assert point.recall == pytest.approx(2 / 3)
    assert point.false_alarm_rate == pytest.approx(1 / 3)


def test_scores_shared_by_both_classes_stay_together() -> None:
    point = choose_operating_point(np.array([1.0, 2, 2]), np.array([2.0, 2, 3]), Goal())
    assert point.threshold == 1.5
    assert (point.escapes, point.overkill) == (0, 2)


def test_among_equals_the_one_with_the_fewest_false_alarms_is_chosen() -> None:
    # Cutting below 3 or below 1 both give recall - false alarms = 1/2.
    point = choose_operating_point(np.array([0.0, 2]), np.array([1.0, 3]), Goal())
    assert (point.threshold, point.overkill) == (2.5, 0)


def test_neighbouring_float32_scores_are_separated() -> None:
    first = np.nextafter(np.float32(1), np.float32(2))
    second = np.nextafter(first, np.float32(2))
    point = choose_operating_point(np.array([first]), np.array([second]), Goal())
    assert float(first) < point.threshold < float(second)
    assert (point.escapes, point.overkill) == (0, 0)


def test_identical_scores_are_refused() -> None:
    with pytest.raises(CalibrationError, match="all 5 scores are 3: no threshold separates them"):
        choose_operating_point(np.full(3, 3.0), np.full(2, 3.0), Goal())


@pytest.mark.parametrize(
    ("good", "bad", "expected"),
    [
        ([1.0, math.nan], [2.0], "1 scores of good images are not finite"),
        ([1.0], [math.nan, math.inf], "2 scores of defective images are not finite"),
        ([], [2.0], "no good images"),
        ([1.0], [], "no defective images"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(
    good: list[float], bad: list[float], expected: str
) -> None:
    with pytest.raises(CalibrationError, match=expected):
        choose_operating_point(np.array(good), np.array(bad), Goal())


@pytest.mark.parametrize("criterion", ["recall", "false-alarm-rate"])
@pytest.mark.parametrize("target", [-0.1, 1.1, math.nan])
def test_a_target_that_is_no_share_is_refused(criterion: str, target: float) -> None:
    with pytest.raises(CalibrationError, match="expected a share between 0 and 1"):
        Goal(criterion, target)  # type: ignore[arg-type]


def test_the_threshold_of_an_operating_point_says_what_it_did() -> None:
    point = OperatingPoint(1.5, escapes=2, overkill=1, good=99, defective=30)
    threshold = roc_threshold(point, "youden", shuffled(99))
    assert (threshold.score, threshold.anomaly_map, threshold.criterion) == (1.5, 99, "youden")
    assert (threshold.good, threshold.defective) == (99, 30)
    assert "2 of 30 (95 %: 0.8% to 22.1%) defective images escaped" in threshold.promise
    assert "1 of 99 (95 %: 0.0% to 5.5%) good ones were rejected" in threshold.promise
