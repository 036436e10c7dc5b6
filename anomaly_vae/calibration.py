"""From scores to the threshold: ROC analysis, or a limit from good images alone.

An image fails if and only if its score is above the threshold.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_curve

from anomaly_vae.errors import CalibrationError
from anomaly_vae.metadata import Threshold

Criterion = Literal["youden", "f1", "false-alarm-rate", "recall"]
Floats = NDArray[np.floating]

DEFAULT_FALSE_ALARM_RATE = 0.01
_DEFAULT_TARGETS = {"false-alarm-rate": DEFAULT_FALSE_ALARM_RATE, "recall": 0.99}


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


def good_only_limit(scores: Floats, rate: float | None = None) -> tuple[float, float]:
    """Limit that a new good image exceeds with at most the probability ``rate``.

    The k-th smallest of the n scores, [n], with k = ceil((n + 1) (1 - rate)): the split-conformal
    limit, valid for any distribution as long as new images come from the same one (Vovk, Gammerman
    and Shafer, Algorithmic Learning in a Random World, 2005). ``rate`` is 0.01 by default, or
    1 / (n + 1) where n images cannot support that. Gives the limit and the rate.

    Raises:
        CalibrationError: n images cannot support the rate, or a score is not finite.
    """
    ordered, count = np.sort(_finite(scores, "good")), len(scores)
    lowest = 1 / (count + 1)
    if rate is None:
        rate = max(DEFAULT_FALSE_ALARM_RATE, lowest)
    if not 0 < rate < 1:
        raise CalibrationError(f"a false-alarm rate of {rate:g}: expected more than 0, less than 1")
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    if rank > count:
        raise CalibrationError(
            f"a false-alarm rate of {rate:g} cannot be promised from {count} good images; "
            f"expected {math.ceil(1 / rate - 1 - 1e-9)} or more, or a rate of {lowest:.2g} or more"
        )
    return float(ordered[max(rank, 1) - 1]), rate


def good_only_threshold(scores: Floats, map_maxima: Floats, rate: float | None = None) -> Threshold:
    """Set both limits from held-out good images alone; ``map_maxima`` are their highest values."""
    limit, rate = good_only_limit(scores, rate)
    return Threshold(
        score=limit,
        anomaly_map=good_only_limit(map_maxima, rate)[0],
        criterion="good-only",
        promise=(
            f"at most 1 good image in {math.floor(1 / rate + 1e-9)} is rejected on average, "
            f"from {len(scores)} held-out good images"
        ),
        good=len(scores),
    )


def choose_operating_point(
    good: Floats, defective: Floats, criterion: Criterion, target: float | None = None
) -> OperatingPoint:
    """Choose the threshold on the ROC curve that fulfils ``criterion`` best.

    ``youden``: the largest recall - false-alarm rate (Youden 1950); ``f1``: the largest F1;
    ``false-alarm-rate``: the largest recall with at most ``target`` false alarms; ``recall``: the
    fewest false alarms with a recall of at least ``target``. The threshold is the midpoint between
    the two neighbouring scores, so that it does not lie on an image it was chosen with.

    Raises:
        CalibrationError: a class is missing, a score is not finite, or no threshold separates
            anything (all scores are the same).
    """
    good, defective = _finite(good, "good"), _finite(defective, "defective")
    labels = np.r_[np.zeros(len(good)), np.ones(len(defective))]
    scores = np.r_[good, defective]
    if np.ptp(scores) == 0:
        raise CalibrationError(
            f"all {len(scores)} scores are {scores[0]:g}: no threshold separates them; train on "
            "more varied good images"
        )
    alarms, recalls, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    # The first point is (0, 0) at an infinite threshold; the last calls everything defective.
    alarms, recalls, thresholds = alarms[1:], recalls[1:], thresholds[1:]
    best = _best_point(alarms, recalls, len(good), len(defective), criterion, target)
    below = scores[scores < thresholds[best]]
    # The ROC rejects scores >= its threshold; ours lies between that score and the next lower.
    lower = below.max() if len(below) else thresholds[best] - np.ptp(scores) / len(scores)
    limit = float((thresholds[best] + lower) / 2)
    return OperatingPoint(
        threshold=limit,
        escapes=int((defective <= limit).sum()),
        overkill=int((good > limit).sum()),
        good=len(good),
        defective=len(defective),
    )


def roc_threshold(point: OperatingPoint, criterion: Criterion, map_maxima: Floats) -> Threshold:
    """Make the threshold of an operating point; ``map_maxima`` are those of the good images."""
    return Threshold(
        score=point.threshold,
        anomaly_map=good_only_limit(map_maxima)[0],
        criterion=criterion,
        promise=(
            f"{point.escapes} of {point.defective} defective images escaped and {point.overkill} "
            f"of {point.good} good ones were rejected, among the images it was chosen on"
        ),
        good=point.good,
        defective=point.defective,
    )


def _best_point(
    alarms: Floats,
    recalls: Floats,
    good: int,
    defective: int,
    criterion: Criterion,
    target: float | None,
) -> int:
    """Index of the best point of a ROC curve; among equals the one with the fewest alarms."""
    if criterion == "youden":
        return int(np.argmax(recalls - alarms))
    if criterion == "f1":
        found = recalls * defective
        return int(np.argmax(2 * found / (found + alarms * good + defective)))
    goal = _DEFAULT_TARGETS[criterion] if target is None else target
    if not 0 <= goal <= 1:
        raise CalibrationError(f"--target {goal:g}: expected a share between 0 and 1")
    if criterion == "recall":
        return int(np.argmax(recalls >= goal))
    allowed = np.flatnonzero(alarms <= goal + 1e-12)
    if len(allowed) == 0:
        raise CalibrationError(
            f"--target {goal:g}: the highest score is a good image's, so that {alarms[0]:.2g} "
            "is the lowest false-alarm rate of this curve"
        )
    return int(allowed[np.argmax(recalls[allowed])])


def _finite(scores: Floats, what: str) -> NDArray[np.float64]:
    if len(scores) == 0:
        raise CalibrationError(f"no {what} images; expected one or more of each class")
    if not np.isfinite(scores).all():
        raise CalibrationError(
            f"{(~np.isfinite(scores)).sum()} scores of {what} images are not finite"
        )
    return scores.astype(np.float64)  # a midpoint of float32 scores may not be a float32
