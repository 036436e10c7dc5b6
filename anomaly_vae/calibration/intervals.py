"""How far a figure measured on a few images can be trusted: exact and good intervals.

All are two-sided and cover the truth with a probability of ``CONFIDENCE`` or more, unless they
say otherwise.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import beta, binomtest, norm

CONFIDENCE = 0.95
_NEARLY_ONE = 1 - 1e-9


@dataclass(frozen=True)
class Rate:
    """A share of images, with its exact interval."""

    count: int
    of: int
    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def rate(count: int, of: int, confidence: float = CONFIDENCE) -> Rate:
    """Give the share ``count`` / ``of`` with its interval of Clopper and Pearson (1934)."""
    interval = binomtest(count, of).proportion_ci(confidence, "exact")
    return Rate(count, of, count / of, float(interval.low), float(interval.high))


def highest_rate(count: int, of: int, confidence: float = CONFIDENCE) -> float:
    """Give the one-sided upper limit of a share, after Clopper and Pearson (1934).

    With no case among m it is 1 - (1 - confidence) ** (1 / m): "none of 59" proves 5 %, not 0.
    """
    test = binomtest(count, of, alternative="less")
    return float(test.proportion_ci(confidence, "exact").high)


def highest_false_alarm_rate(rank: int, count: int, confidence: float = CONFIDENCE) -> float:
    """Give the upper limit of the false-alarm rate of a conformal limit.

    The share of all good images above the ``rank``-th smallest of ``count`` scores follows
    Beta(count + 1 - rank, rank), whatever the distribution of the scores, if it is continuous
    (Vovk, Conditional validity of inductive conformal predictors, ACML 2012).
    """
    return float(beta.ppf(confidence, count + 1 - rank, rank))


def auroc_interval(
    auroc: float, good: int, defective: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Give the interval of an AUROC measured on so many good and defective images.

    Method 5 of Newcombe (Statistics in Medicine 25, 2006, part 2): all areas whose own variance,
    after Hanley and McNeil with equal pseudo-counts, allows what was measured. Unlike the
    bootstrap or the method of DeLong it has a width at 1.000, too.
    """
    quantile = norm.ppf((1 + confidence) / 2)
    pseudo = (good + defective) / 2 - 1

    def excess(area: float) -> float:
        spread = 1 + pseudo * (1 - area) / (2 - area) + pseudo * area / (1 + area)
        variance = area * (1 - area) * spread / (good * defective)
        return float((auroc - area) ** 2 - quantile**2 * variance)

    # 0 and 1 have no variance and so are roots themselves when they were measured.
    low = 0.0 if auroc == 0 else brentq(excess, 0, min(auroc, _NEARLY_ONE))
    high = 1.0 if auroc == 1 else brentq(excess, max(auroc, 1 - _NEARLY_ONE), 1)
    return float(low), float(high)


def fewest_images(share: float, cases: int = 0, confidence: float = CONFIDENCE) -> int:
    """Give the fewest images among which ``cases`` cases still prove a lower share than this.

    Raises:
        ValueError: ``share`` or ``confidence`` is not between 0 and 1.
    """
    if not (0 < share < 1 and 0 < confidence < 1):
        raise ValueError(f"share {share:g} and confidence {confidence:g}: expected 0 to 1")
    # Without cases it is exact: (1 - share) ** n <= 1 - confidence.
    low = int(np.ceil(np.log1p(-confidence) / np.log1p(-share) - 1e-9))
    if cases == 0:
        return low
    high = low
    while highest_rate(cases, high, confidence) > share:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        enough = highest_rate(cases, middle, confidence) <= share
        low, high = (low, middle) if enough else (middle, high)
    return high
