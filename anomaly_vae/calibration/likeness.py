"""What a few marked defects teach the score, and whether that holds for others.

Of each photograph is known how its most unusual places differ from what is expected: the mean of
their residuals. A linear discriminant (Fisher 1936) of marked defects against good photographs that
the model has not seen gives the direction in which defects differ; the covariance is that of the
good ones, shrunk (Friedman, JASA 84, 1989), for there are more channels than defects. How far a
photograph lies in that direction, in the spread of good ones, counts 0.3 of its score, as far as it
is more than two spreads: so the scores of good ones hardly move, and neither do those of defects
unlike all that were marked, which lie anywhere. Nothing is ever taken away.

Whether it helps is judged by photographs that it was not learned from, good and defective: all are
left out in turn, five times a part of them.

Letters: n good photographs, m marked defects, C channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from anomaly_vae.calibration.comparison import Comparison, compare_models
from anomaly_vae.calibration.conformal import good_only_limit
from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.metrics import areas_under_roc

Floats = NDArray[np.floating]

WEIGHT = 0.3
"""Of the likeness to marked defects, beside the score."""
BEYOND = 2.0
"""Of the likeness, in deviations of good ones: less is nothing unusual."""
FEWEST = 5
"""Marked defects; fewer say nothing of others."""
# All of these: reports/ablation.md.
_SHRUNK = 0.9
_FOLDS = 5
_SURE = 0.025
_ALARMS = 0.05
_MAD_TO_STD = 1.4826


@dataclass(frozen=True)
class Direction:
    """How marked defects differ from good photographs."""

    weights: NDArray[np.float64]
    """[C], per unit of a description."""
    usual: float
    """What the median good photograph has of it."""

    def of(self, described: Floats) -> NDArray[np.float64]:
        """Give how far photographs, [N, C], lie along it, [N], in deviations of good ones."""
        along: NDArray[np.float64] = described @ self.weights - self.usual
        return along

    def added(self, described: Floats) -> NDArray[np.float64]:
        """Give what that adds to their scores, [N]."""
        return _counted(self.of(described))


def learn_direction(good: Floats, bad: Floats) -> Direction:
    """Learn from descriptions of good photographs, [n, C], and of marked defects, [m, C]."""
    covariance = np.cov(good.T)
    even = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    shrunk = (1 - _SHRUNK) * covariance + _SHRUNK * even
    weights = np.linalg.solve(shrunk, bad.mean(0) - good.mean(0))
    along = good @ weights
    usual = np.median(along)
    spread = _MAD_TO_STD * np.median(np.abs(along - usual))
    return Direction(weights / spread, float(usual / spread))


@dataclass(frozen=True)
class LeftOut:
    """What was gained on photographs that were not learned from."""

    told_apart: float
    """AUROC of the likeness alone, of left-out defects against left-out good ones."""
    p_value: float
    """That it is as high by chance (Mann and Whitney)."""
    joint: Comparison
    """Of the score with the likeness and the one without."""
    found: Rate
    """Of the defects, at the limit that 1 in 20 good ones are above (of fewer than 19, none)."""
    found_before: Rate
    defective_scores: tuple[float, ...]
    """With it, each by what it has not taught."""

    @property
    def helps(self) -> bool:
        """Whether defects are surely alike, and the score with it is better."""
        return self.p_value < _SURE and self.joint.difference > 0


def added_unseen(good: Floats, bad: Floats, groups: Sequence[str]) -> NDArray[np.float64]:
    """Give what good ones' scores gain, [n], by directions that have not seen their group."""
    added = np.empty(len(good))
    for out in _folds(groups):
        added[out] = learn_direction(good[~out], bad).added(good[out])
    return added


def left_out(
    good: Floats, bad: Floats, groups: Sequence[str], scores: Floats, bad_scores: Floats
) -> LeftOut:
    """Judge by photographs that are left out, good and defective, what their description adds.

    Takes descriptions, [n, C] and [m, C], groups that stay together, and scores, [n] and [m].
    """
    good_alike, bad_alike = np.empty(len(good)), np.empty(len(bad))
    defects = np.arange(len(bad)) % _FOLDS
    for number, out in enumerate(_folds(groups)):
        also = defects == number
        direction = learn_direction(good[~out], bad[~also])
        good_alike[out], bad_alike[also] = direction.of(good[out]), direction.of(bad[also])
    before, alike = np.r_[scores, bad_scores], np.r_[good_alike, bad_alike]
    after, defective = before + _counted(alike), np.arange(len(before)) >= len(good)
    share = max(_ALARMS, 1 / (len(good) + 1))
    limits = [good_only_limit(each[~defective], share)[0] for each in (after, before)]
    found, found_before = (
        rate(int((each[defective] > limit).sum()), len(bad))
        for each, limit in zip((after, before), limits, strict=True)
    )
    return LeftOut(
        float(areas_under_roc(alike, defective)),
        float(mannwhitneyu(bad_alike, good_alike, alternative="greater").pvalue),
        compare_models(after, before, defective, (limits[0], limits[1])),
        found,
        found_before,
        tuple(after[defective].tolist()),
    )


def _counted(alike: NDArray[np.float64]) -> NDArray[np.float64]:
    return WEIGHT * np.maximum(alike - BEYOND, 0)


def _folds(groups: Sequence[str]) -> list[NDArray[np.bool_]]:
    """Say for each fold which photographs are left out, [n]; groups stay together."""
    names, which = np.unique(groups, return_inverse=True)
    fold = np.random.default_rng(0).permutation(len(names)) % _FOLDS
    return [fold[which] == number for number in range(_FOLDS)]
