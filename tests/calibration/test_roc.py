"""Operating points on a ROC curve, against brute force over every candidate."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from anomaly_vae.calibration.goals import Costs, Goal
from anomaly_vae.calibration.roc import (
    OperatingPoint,
    choose_operating_point,
    operating_point,
    review_threshold,
    roc_threshold,
    threshold_interval,
)
from anomaly_vae.errors import CalibrationError

from ..small import shuffled

Floats = NDArray[np.float64]


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


# --- cost


@pytest.mark.parametrize(("good", "bad"), draws())
@pytest.mark.parametrize(
    "costs", [Costs(500, 2, 0.003), Costs(1, 1, 0.5), Costs(1, 1000, 0.01), Costs(9, 0, 0.1)]
)
def test_no_other_cut_costs_less(good: Floats, bad: Floats, costs: Costs) -> None:
    def cost(point: OperatingPoint) -> float:
        return costs.per_part(point.recall, point.false_alarm_rate)

    chosen = choose_operating_point(good, bad, Goal("cost", costs=costs))
    assert cost(chosen) == pytest.approx(min(map(cost, candidates(good, bad))), abs=1e-12)


def test_the_cost_per_part_worked_out_by_hand() -> None:
    # Of 1,000 parts 10 are defective, of which 1 escapes; 20 of 990 good ones are rejected.
    assert Costs(500, 2, 0.01).per_part(0.9, 20 / 990) == pytest.approx((500 + 2 * 20) / 1000)


def test_when_rejecting_costs_more_than_it_saves_nothing_is_rejected() -> None:
    good, bad = np.array([1.0, 2, 5]), np.array([3.0, 4, 6])
    point = choose_operating_point(good, bad, Goal("cost", costs=Costs(1, 1000, 0.001)))
    assert (point.escapes, point.overkill) == (2, 0)  # 6 can be had for nothing
    point = choose_operating_point(good, bad - 4, Goal("cost", costs=Costs(1, 1000, 0.001)))
    assert (point.escapes, point.overkill) == (3, 0)
    assert point.threshold > 5


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Costs(-1, 2, 0.1), "numbers of 0 or more"),
        (lambda: Costs(1, math.nan, 0.1), "numbers of 0 or more"),
        (lambda: Costs(1, 2, 0), "--defect-rate 0: expected a share"),
        (lambda: Goal("cost"), "--criterion cost goes with --cost-escape"),
        (lambda: Goal("youden", costs=Costs(1, 1, 0.1)), "--criterion cost goes with"),
        (lambda: Goal("f1", 0.1), "--target goes with"),
    ],
)
def test_costs_and_goals_that_make_no_sense_are_refused(
    make: Callable[[], object], expected: str
) -> None:
    with pytest.raises(CalibrationError, match=expected):
        make()


# --- how sure the threshold is


def test_the_threshold_interval_holds_the_threshold_and_narrows_with_more_images() -> None:
    rng = np.random.default_rng(0)
    widths = []
    for count in (20, 2000):
        good, bad = rng.normal(size=count), rng.normal(2, size=count)
        low, high = threshold_interval(good, bad, Goal())
        assert low <= choose_operating_point(good, bad, Goal()).threshold <= high
        widths.append(high - low)
    assert widths[1] < widths[0]


# --- review band


def test_between_the_two_limits_people_decide() -> None:
    good, bad = np.array([1.0, 2, 3, 6]), np.array([4.0, 5, 7, 8])
    limit = review_threshold(good, bad, good, recall=1.0, false_alarm_rate=0.0)
    assert (limit.review, limit.score, limit.criterion) == (3.5, 6.5, "review")
    verdicts = [limit.verdict(score) for score in (3, 3.5, 4, 6, 6.5, 7)]
    assert verdicts == ["pass", "pass", "review", "review", "review", "fail"]
    assert "0 of 4" in limit.promise
    assert "1 good and 2 defective ones are for review" in limit.promise


def test_where_one_threshold_does_both_there_is_no_band() -> None:
    good, bad = np.array([1.0, 2, 3]), np.array([6.0, 7, 8])
    limit = review_threshold(good, bad, good, recall=0.5, false_alarm_rate=0.4)
    assert limit.review is None
    assert "no review band" in limit.promise
    # Any limit between those of the two rates keeps both.
    assert 1.5 <= limit.score <= 6.5
    point = operating_point(good, bad, limit.score)
    assert point.recall >= 0.5 and point.false_alarm_rate <= 0.4


def test_where_a_good_image_is_highest_all_suspects_are_for_review() -> None:
    good, bad = np.array([1.0, 2, 9]), np.array([4.0, 5, 7])
    limit = review_threshold(good, bad, good, recall=1.0, false_alarm_rate=0.0)
    assert limit.review == 3
    assert limit.score > 9
