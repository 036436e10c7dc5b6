"""A threshold from good images alone: the conformal limit, and an extrapolation beyond it.

Letters: n good images, or groups of them; K folds.
"""

import math
from dataclasses import replace

import numpy as np
from scipy.stats import genpareto

from anomaly_vae.calibration.evidence import MOST_APART, Evidence, Floats, finite
from anomaly_vae.calibration.intervals import highest_false_alarm_rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import CalibrationError

DEFAULT_FALSE_ALARM_RATE = 0.01
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
    evidence: Evidence,
    rate: float | None = None,
    *,
    fail_rate: float = DEFAULT_FALSE_ALARM_RATE,
    review_rate: float = 0.0,
    extrapolate: bool = False,
) -> Threshold:
    """Set the limits from good images alone.

    At most ``rate`` of the good images fail; without it ``fail_rate``, or 1 / (n + 1) where n
    images cannot support that. At most ``review_rate`` are for review or fail, where that is more
    and the images support it: a person may see more of the good parts than may be rejected. Neither
    counts a few images apart from all others (``Evidence.counted``).

    Raises:
        CalibrationError: see ``good_only_limit`` and ``tail_limit``.
    """
    scores, maxima, far = evidence.counted()
    if extrapolate:
        threshold = _extrapolated(evidence, scores, maxima, rate)
    else:
        rate = _supported(len(scores), fail_rate) if rate is None else rate
        threshold = _failing(evidence, scores, maxima, rate)
    threshold = _with_band(threshold, evidence, scores, review_rate)
    return _told_of(far, threshold, evidence) if far else threshold


def _with_band(
    threshold: Threshold, evidence: Evidence, scores: Floats, review_rate: float
) -> Threshold:
    """Add the lower limit, where the rate is more and the images support it."""
    if review_rate < 1 / (len(scores) + 1):
        return threshold
    review, _ = good_only_limit(scores, review_rate)
    if review >= threshold.score:
        return threshold
    about = "at most" if evidence.folds == 1 else "about"
    band = f"{about} 1 in {_one_in(review_rate)} is for review or fails by its score"
    return replace(
        threshold,
        review=review,
        review_rate=review_rate,
        promise=f"{threshold.promise}; {band}",
    )


def _extrapolated(
    evidence: Evidence, scores: Floats, maxima: Floats, rate: float | None
) -> Threshold:
    if rate is None:
        raise CalibrationError("--extrapolate needs --target, the false-alarm rate wanted")
    return Threshold(
        score=tail_limit(scores, rate),
        anomaly_map=tail_limit(maxima, rate),
        criterion="good-only, extrapolated",
        promise=f"about 1 {evidence.unit} in {_one_in(rate)} fails, if the tail of the scores goes "
        "on as it begins",
        fail_rate=rate,
        assurance=f"an extrapolation from {len(scores)} {evidence.units}, no guarantee",
        advice="more good images: they can support the rate themselves",
        good=len(scores),
    )


def _told_of(far: int, threshold: Threshold, evidence: Evidence) -> Threshold:
    """Say in a threshold that some lie apart, and what that means for its promise."""
    scores, _ = evidence.highest()
    if threshold.good == len(scores):
        said = (
            f"{far} lie far apart from the others, too many (over {MOST_APART:.0%}) to be left out"
        )
        return replace(threshold, assurance=f"{threshold.assurance}; {said}")
    above = 1 + int((scores > threshold.score).sum())
    said = f"{far} more, far apart from the others, left out as probable defects"
    return replace(
        threshold,
        promise=threshold.promise.replace("at most", "about"),  # what is chosen proves no rate
        assurance=f"{threshold.assurance}; {said}",
        conditions=(
            *threshold.conditions,
            f"left out of the limits as probable defects: {far} {evidence.units} with scores far "
            f"apart from all others; if they are good, about {above / (1 + len(scores)):.1%} fail "
            "(scoring.robust=false counts them)",
        ),
        apart=far,
    )


def _failing(evidence: Evidence, scores: Floats, maxima: Floats, rate: float) -> Threshold:
    count, crossed = len(scores), evidence.folds > 1
    limit, _ = good_only_limit(scores, rate)
    worst = highest_false_alarm_rate(_rank(count, rate), count)
    how = "each judged by a model that has not seen it" if crossed else "set aside for this"
    needed = math.ceil(1 / DEFAULT_FALSE_ALARM_RATE) - 1
    return Threshold(
        score=limit,
        anomaly_map=good_only_limit(maxima, rate)[0],
        criterion="good-only",
        promise=f"{'about' if crossed else 'at most'} 1 {evidence.unit} in {_one_in(rate)} fails",
        assurance=f"from {count} {evidence.units}, {how}; 95 % sure: at most {worst:.1%} fail "
        "at this very limit",
        advice=f"{needed} good images or more can promise 1 in {needed + 1}"
        if count < needed
        else "examples of defects (calibrate --defective) tell which limit finds them",
        conditions=_conditions(evidence, rate, count),
        fail_rate=rate,
        good=count,
    )


def _conditions(evidence: Evidence, rate: float, count: int) -> tuple[str, ...]:
    """Say on what the rates rest."""
    said = ["new photographs are taken as these were: same part, camera, light and lot"]
    if evidence.folds == 1:
        said.append("the rates are those on average over all choices of the images (conformal)")
        if evidence.refitted:
            said.append(
                "promised by the first training, to whose level the second, on all good images, "
                "was brought"
            )
        return tuple(said)
    return (
        *said,
        f"proved for new images that the models of the {evidence.folds} folds judge together: at "
        f"most {crossed_rate(rate, count, evidence.folds):.1%} fail on average (Barber et al. "
        "2021)",
        "the model that inspects is one more, trained on all and brought to their level: that it "
        "keeps the rates was measured (reports/calibration.md), not proved",
    )


def crossed_rate(rate: float, count: int, folds: int) -> float:
    """Give the proved rate of false alarms of limits from ``count`` images in ``folds`` folds.

    2 rate + min(2 (1 - 1/K) / (n/K + 1), (1 - K/n) / (K + 1)): Barber, Candes, Ramdas and
    Tibshirani, Predictive inference with the jackknife+, Annals of Statistics 49 (2021), theorem 4
    (CV+), for models that treat their images alike and images in any order.
    """
    extra = min(
        2 * (1 - 1 / folds) / (count / folds + 1), max(1 - folds / count, 0.0) / (folds + 1)
    )
    return min(1.0, 2 * rate + extra)


def _supported(count: int, rate: float = DEFAULT_FALSE_ALARM_RATE) -> float:
    return max(rate, 1 / (count + 1))


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
