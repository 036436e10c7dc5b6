"""ROC analysis: from the scores of good and defective images to the threshold.

An image fails if and only if its score is above the threshold; with a review band, it is reviewed
if its score is above the lower limit and not above the threshold.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from anomaly_vae.calibration.conformal import good_only_limit
from anomaly_vae.calibration.evidence import finite
from anomaly_vae.calibration.goals import Criterion, Goal
from anomaly_vae.calibration.intervals import CONFIDENCE, Rate, rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import CalibrationError

Floats = NDArray[np.floating]

_RESAMPLES = 500


@dataclass(frozen=True)
class OperatingPoint:
    """One threshold on a ROC curve, and what it does on the images of that curve."""

    threshold: float
    escapes: int
    """Defective images that pass."""
    overkill: int
    """Good images that fail."""
    good: int
    defective: int

    @property
    def recall(self) -> float:
        """Share of the defective images that fail."""
        return (self.defective - self.escapes) / self.defective

    @property
    def false_alarm_rate(self) -> float:
        """Share of the good images that fail."""
        return self.overkill / self.good

    def rates(self) -> tuple[Rate, Rate]:
        """Give recall and false-alarm rate with their intervals."""
        found = self.defective - self.escapes
        return rate(found, self.defective), rate(self.overkill, self.good)


def operating_point(good: Floats, defective: Floats, threshold: float) -> OperatingPoint:
    """Count what a threshold does."""
    escapes, overkill = int((defective <= threshold).sum()), int((good > threshold).sum())
    return OperatingPoint(threshold, escapes, overkill, len(good), len(defective))


def choose_operating_point(good: Floats, defective: Floats, goal: Goal) -> OperatingPoint:
    """Choose the threshold on the ROC curve that fulfils ``goal`` best.

    ``youden``: the largest recall - false-alarm rate (Youden 1950); ``f1``: the largest F1;
    ``cost``: the lowest expected cost per part; ``false-alarm-rate``: the largest recall with at
    most ``target`` false alarms; ``recall``: the fewest false alarms with a recall of at least
    ``target``. The threshold is the midpoint between the two neighbouring scores, so that it does
    not lie on an image it was chosen with.

    Raises:
        CalibrationError: a class is missing, a score is not finite, or no threshold separates
            anything (all scores are the same).
    """
    good, defective = finite(good, "good"), finite(defective, "defective")
    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    scores = np.r_[good, defective]
    if np.ptp(scores) == 0:
        raise CalibrationError(
            f"all {len(scores)} scores are {scores[0]:g}: no threshold separates them; train on "
            "more varied good images"
        )
    alarms, recalls, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    if goal.criterion != "cost":
        # The first point, at an infinite threshold, calls nothing defective: useless, but cheap.
        alarms, recalls, thresholds = alarms[1:], recalls[1:], thresholds[1:]
    best = _CHOICES[goal.criterion](alarms, recalls, len(good), len(defective), goal)
    highest = min(float(thresholds[best]), scores.max() + np.ptp(scores) / len(scores))
    below = scores[scores < highest]
    # The ROC rejects scores >= its threshold; ours lies between that score and the next lower.
    lower = below.max() if len(below) else highest - np.ptp(scores) / len(scores)
    return operating_point(good, defective, float((highest + lower) / 2))


def threshold_interval(good: Floats, defective: Floats, goal: Goal) -> tuple[float, float]:
    """Give the interval in which the chosen threshold would lie with other images.

    Stratified percentile bootstrap (Efron and Tibshirani, An Introduction to the Bootstrap, 1993,
    chapter 13): both classes are drawn again with replacement, 500 times, and the threshold chosen
    anew. Draws from which none can be chosen are left out.

    Raises:
        CalibrationError: none can be chosen from the images themselves.
    """
    rng = np.random.default_rng(0)
    chosen = [choose_operating_point(good, defective, goal).threshold]
    for _draw in range(_RESAMPLES):
        again = rng.choice(good, len(good)), rng.choice(defective, len(defective))
        with suppress(CalibrationError):
            chosen.append(choose_operating_point(*again, goal).threshold)
    low, high = np.quantile(chosen, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def roc_threshold(point: OperatingPoint, criterion: str, map_maxima: Floats) -> Threshold:
    """Make the threshold of an operating point; ``map_maxima`` are those of the good images."""
    return Threshold(
        score=point.threshold,
        anomaly_map=good_only_limit(map_maxima)[0],
        criterion=criterion,
        promise=_counts(point),
        good=point.good,
        defective=point.defective,
    )


def review_threshold(
    good: Floats, defective: Floats, map_maxima: Floats, *, recall: float, false_alarm_rate: float
) -> Threshold:
    """Set two limits: so few defects pass, and so few good images fail; between is for people.

    ``recall`` is the share of the defective images that shall not pass, ``false_alarm_rate`` the
    share of good ones that may fail. Where one threshold does both there is no band; where a good
    image has the highest score of all, nothing fails without review.

    Raises:
        CalibrationError: see ``choose_operating_point``.
    """
    lower = choose_operating_point(good, defective, Goal("recall", recall))
    try:
        upper = choose_operating_point(good, defective, Goal("false-alarm-rate", false_alarm_rate))
    except CalibrationError:
        scores = np.r_[good, defective]
        above = float(scores.max() + np.ptp(scores) / len(scores))
        upper = operating_point(good, defective, above)
    both = (lower.threshold + upper.threshold) / 2
    band = lower.threshold < upper.threshold
    point = upper if band else operating_point(good, defective, both)
    settled = roc_threshold(point, "review", map_maxima)
    if not band:
        promise = f"one threshold does both, so there is no review band: {settled.promise}"
        return replace(settled, promise=promise)
    passing, reviewed = rate(lower.escapes, lower.defective), lower.overkill - upper.overkill
    promise = (
        f"{_share(passing)} defective images pass, {_share(upper.rates()[1])} good ones fail, and "
        f"{reviewed} good and {upper.escapes - lower.escapes} defective ones are for review, among "
        "the images it was chosen on"
    )
    return replace(settled, review=lower.threshold, promise=promise)


def _counts(point: OperatingPoint) -> str:
    escaped = rate(point.escapes, point.defective)
    return (
        f"{_share(escaped)} defective images escaped and {_share(point.rates()[1])} good ones were "
        "rejected, among the images it was chosen on"
    )


def _share(part: Rate) -> str:
    return f"{part.count} of {part.of} (95 %: {part.low:.1%} to {part.high:.1%})"


# Each gives the index of the best point of a ROC curve: of false-alarm rates, recalls, numbers of
# good and defective images, for a goal; among equals the one with the fewest alarms.
_Choice = Callable[[Floats, Floats, int, int, Goal], int]


def _youden(alarms: Floats, recalls: Floats, _good: int, _defective: int, _goal: Goal) -> int:
    return int(np.argmax(recalls - alarms))


def _f1(alarms: Floats, recalls: Floats, good: int, defective: int, _goal: Goal) -> int:
    found = recalls * defective
    return int(np.argmax(2 * found / (found + alarms * good + defective)))


def _cost(alarms: Floats, recalls: Floats, _good: int, _defective: int, goal: Goal) -> int:
    assert goal.costs is not None  # noqa: S101 - Goal makes sure
    costs = [goal.costs.per_part(*point) for point in zip(recalls, alarms, strict=True)]
    return int(np.argmin(costs))


def _recall(_alarms: Floats, recalls: Floats, _good: int, _defective: int, goal: Goal) -> int:
    return int(np.argmax(recalls >= goal.share))


def _false_alarms(alarms: Floats, recalls: Floats, _good: int, _defective: int, goal: Goal) -> int:
    allowed = np.flatnonzero(alarms <= goal.share + 1e-12)
    if len(allowed) == 0:
        raise CalibrationError(
            f"--target {goal.share:g}: the highest score is a good image's, so that "
            f"{alarms[0]:.2g} is the lowest false-alarm rate of this curve"
        )
    return int(allowed[np.argmax(recalls[allowed])])


_CHOICES: dict[Criterion, _Choice] = {
    "youden": _youden,
    "f1": _f1,
    "cost": _cost,
    "recall": _recall,
    "false-alarm-rate": _false_alarms,
}
