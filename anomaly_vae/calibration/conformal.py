"""A threshold from good images alone: the conformal limit, and an extrapolation beyond it."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import genpareto

from anomaly_vae.calibration.intervals import highest_false_alarm_rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import CalibrationError

Floats = NDArray[np.floating]

DEFAULT_FALSE_ALARM_RATE = 0.01
_UNITS = {"good image": "good images", "group of good images": "groups of good images"}
# The tail: this share of the scores, at the least so many. With a tenth the extrapolated rate was
# off by a smaller factor than with a fifth, on normal, log-normal and heavy-tailed scores alike.
_TAIL_SHARE, _FEWEST_IN_TAIL = 0.1, 10


def good_only_limit(scores: Floats, rate: float | None = None) -> tuple[float, float]:
    """Limit that a new good image exceeds with at most the probability ``rate``.

    The k-th smallest of the n scores, [n], with k = ceil((n + 1) (1 - rate)): the split-conformal
    limit, valid for any distribution as long as new images come from the same one (Vovk, Gammerman
    and Shafer, Algorithmic Learning in a Random World, 2005). ``rate`` is 0.01 by default, or
    1 / (n + 1) where n images cannot support that. Gives the limit and the rate.

    Raises:
        CalibrationError: n images cannot support the rate, or a score is not finite.
    """
    ordered = np.sort(finite(scores, "good"))
    rate = _supported(len(ordered)) if rate is None else _checked(rate)
    return float(ordered[_rank(len(ordered), rate) - 1]), rate


def tail_limit(scores: Floats, rate: float) -> float:
    """Extrapolate the limit that a share of ``rate`` of all good images exceeds.

    Peaks over threshold (Pickands 1975): a generalised Pareto distribution is fitted to what the
    highest tenth of the scores, [n], lies above the rest. Its shape is not let below 0: no score
    of good parts is known to be impossible. Nothing is promised: it is as good as the assumption
    that the tail goes on as it begins.

    Raises:
        CalibrationError: fewer than 20 scores, too many equal ones, or a rate that is no tail.
    """
    ordered, rate = np.sort(finite(scores, "good")), _checked(rate)
    count = len(ordered)
    size = max(_FEWEST_IN_TAIL, round(_TAIL_SHARE * count))
    if count < 2 * _FEWEST_IN_TAIL:
        raise CalibrationError(
            f"{count} good images are too few to extrapolate; expected {2 * _FEWEST_IN_TAIL} or "
            "more"
        )
    if rate > size / count:
        raise CalibrationError(
            f"a false-alarm rate of {rate:g} needs no extrapolation; leave out --extrapolate"
        )
    begin = ordered[-size - 1]
    excess = ordered[-size:] - begin
    if excess[0] <= 0:
        raise CalibrationError(
            f"the {size + 1} highest of {count} scores are not all different: their tail cannot be "
            "extrapolated; give more, and different, good images"
        )
    shape, _, scale = genpareto.fit(excess, floc=0)
    if shape < 0:
        shape, scale = 0.0, excess.mean()  # the exponential distribution
    return float(begin + genpareto.isf(rate * count / size, shape, scale=scale))


def good_only_threshold(
    scores: Floats,
    map_maxima: Floats,
    rate: float | None = None,
    *,
    review_rate: float = 0.0,
    extrapolate: bool = False,
    groups: Sequence[str] = (),
    of_parts: bool = False,
) -> Threshold:
    """Set the limits from held-out good images alone; ``map_maxima`` are their highest values.

    At most ``rate`` of the good images fail. At most ``review_rate`` are for review or fail, where
    that is more and the images support it: with a few dozen of them the highest score is the limit,
    and one odd photograph lets most defects pass. A person may see more of the good parts than may
    be rejected.

    Images of the same of ``groups``, [n], count once, by their highest score: copies are no new
    evidence, and neither are more views of one part (``of_parts`` says that they are such). The
    limit then holds for groups, and for single images all the more.

    Raises:
        CalibrationError: see ``good_only_limit`` and ``tail_limit``.
    """
    scores, map_maxima = (_highest(each, groups) for each in (scores, map_maxima))
    unit = "group of good images" if of_parts else "good image"
    threshold = _failing(scores, map_maxima, rate, unit, extrapolate=extrapolate)
    if review_rate < 1 / (len(scores) + 1):
        return threshold
    review, _ = good_only_limit(scores, review_rate)
    if review >= threshold.score:
        return threshold
    promise = (
        f"{threshold.promise}; at most 1 in {_one_in(review_rate)} is for review or rejected by "
        "its score on average"
    )
    return replace(threshold, review=review, promise=promise)


def _highest(values: Floats, groups: Sequence[str]) -> Floats:
    """Give the highest value of each group, of each image where there are none."""
    if not len(groups):
        return values
    names, which = np.unique(groups, return_inverse=True)
    highest = np.full(len(names), -np.inf)
    np.maximum.at(highest, which, values)
    return highest


def _failing(
    scores: Floats, map_maxima: Floats, rate: float | None, unit: str, *, extrapolate: bool
) -> Threshold:
    count, units = len(scores), _UNITS[unit]
    if extrapolate:
        if rate is None:
            raise CalibrationError("--extrapolate needs --target, the false-alarm rate wanted")
        return Threshold(
            score=tail_limit(scores, rate),
            anomaly_map=tail_limit(map_maxima, rate),
            criterion="good-only, extrapolated",
            promise=(
                f"about 1 {unit} in {_one_in(rate)} is rejected if the tail of the scores goes "
                f"on as it begins: an extrapolation from {count} held-out {units}, no guarantee"
            ),
            good=count,
        )
    limit, rate = good_only_limit(scores, rate)
    worst = highest_false_alarm_rate(_rank(count, rate), count)
    return Threshold(
        score=limit,
        anomaly_map=good_only_limit(map_maxima, rate)[0],
        criterion="good-only",
        promise=(
            f"at most 1 {unit} in {_one_in(rate)} is rejected on average, from {count} "
            f"held-out {units} (for this very threshold, 95 % sure: at most {worst:.2g} of "
            "them)"
        ),
        good=count,
    )


def finite(scores: Floats, what: str) -> NDArray[np.float64]:
    """Make sure that there are scores, and that all of them are numbers.

    Raises:
        CalibrationError: otherwise.
    """
    if len(scores) == 0:
        raise CalibrationError(f"no {what} images; expected one or more of each class")
    if not np.isfinite(scores).all():
        raise CalibrationError(
            f"{(~np.isfinite(scores)).sum()} scores of {what} images are not finite"
        )
    return scores.astype(np.float64)  # a midpoint of float32 scores may not be a float32


def _supported(count: int) -> float:
    return max(DEFAULT_FALSE_ALARM_RATE, 1 / (count + 1))


def _checked(rate: float) -> float:
    if not 0 < rate < 1:
        raise CalibrationError(f"a false-alarm rate of {rate:g}: expected more than 0, less than 1")
    return rate


def _rank(count: int, rate: float) -> int:
    """Which of the sorted scores, from 1 on, is the limit."""
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    if rank > count:
        raise CalibrationError(
            f"a false-alarm rate of {rate:g} cannot be promised from {count} good images; "
            f"expected {math.ceil(1 / rate - 1 - 1e-9)} or more, or a rate of "
            f"{1 / (count + 1):.2g} or more, or --extrapolate"
        )
    return max(rank, 1)


def _one_in(rate: float) -> int:
    return math.floor(1 / rate + 1e-9)
