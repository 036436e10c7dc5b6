"""Whether what was promised on one day holds on another: against hand-worked numbers."""

from dataclasses import replace

import numpy as np
import pytest

from anomaly_vae.calibration.days import judge_day, strictest
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.profile import GoodProfile

LIMIT = Threshold(score=4, anomaly_map=5, criterion="good-only", promise="rarely", good=200,
                  review=2, fail_rate=0.01, review_rate=0.05)  # fmt: skip


def profile(seed: int, *, darker: float = 0.0, right: float = 0.0) -> GoodProfile:
    rng = np.random.default_rng(seed)

    def drawn(mean: float) -> tuple[float, ...]:
        return tuple(np.sort(rng.normal(mean, 0.02, 60)).tolist())

    return GoodProfile(
        scores=drawn(0), brightness=drawn(0.5 - darker), contrast=drawn(0.2), sharpness=drawn(0.1),
        color=False, size=None, centre_x=drawn(0.5 + right), centre_y=drawn(0.5),
    )  # fmt: skip


def test_rates_are_those_above_each_limit() -> None:
    scores = np.r_[np.full(57, 1.0), 3.0, 3.0, 5.0]
    day = judge_day("monday", scores, LIMIT, profile(1), profile(2))
    assert (day.failed.count, day.reviewed.count, day.failed.of) == (1, 3, 60)
    assert not day.broken and not day.reasons
    assert day.summary.startswith("0.017 [")


@pytest.mark.parametrize(
    ("failing", "broken"),
    [(3, False), (4, True)],  # P(X >= 3 | 60, 1 %) = 0.022, P(X >= 4 | 60, 1 %) = 0.0034
)
def test_a_promise_is_broken_where_chance_does_not_explain_the_rate(
    failing: int, broken: bool
) -> None:
    """The interval is two-sided: 95 % leave 0.025 on this side; of 3 of 60 it begins at 1.04 %."""
    scores = np.r_[np.full(60 - failing, 1.0), np.full(failing, 9.0)]
    limit = replace(LIMIT, fail_rate=0.012, review_rate=None)
    day = judge_day("tuesday", scores, limit, profile(1), profile(2))
    assert bool(day.broken) == broken
    if broken:
        assert day.broken.startswith("failed instead of 1.2%: 0.067 [")


def test_a_limit_from_a_roc_promises_no_rate() -> None:
    limit = replace(LIMIT, fail_rate=None, review_rate=None)
    assert not judge_day("x", np.full(60, 9.0), limit, profile(1), profile(2)).broken


def test_it_says_in_what_the_day_is_another() -> None:
    day = judge_day("x", np.zeros(60), LIMIT, profile(1, darker=0.2, right=0.1), profile(2))
    assert [shift.statistic for shift in day.shifts if shift.shifted] == [
        "brightness", "position from left to right",
    ]  # fmt: skip
    moved = {shift.statistic: shift.median - shift.good_median for shift in day.shifts}
    assert moved["brightness"] == pytest.approx(-0.2, abs=0.01)
    assert moved["position from left to right"] == pytest.approx(0.1, abs=0.01)
    assert day.reasons.startswith("brightness has median 0.")


def test_limits_of_several_days_are_the_highest_of_each_kind() -> None:
    other = replace(LIMIT, score=3.5, review=2.5, anomaly_map=6, good=100)
    joined = strictest([other, LIMIT], ["monday", "tuesday"])
    assert (joined.score, joined.review, joined.anomaly_map, joined.good) == (4, 2.5, 6, 300)
    assert joined.promise == "on each of 2 days rarely"
    assert "tuesday is the day that sets the limit" in joined.assurance
    assert strictest([other], ["monday"]) is other


def test_a_review_limit_that_not_all_days_support_is_none() -> None:
    for other in (replace(LIMIT, review=None), replace(LIMIT, score=3, review=4.5)):
        assert strictest([LIMIT, other], ["a", "b"]).review is None
