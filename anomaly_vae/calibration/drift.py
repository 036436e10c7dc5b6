"""Drift: whether today's images still look like the good ones that the threshold rests on.

A moved lamp must not be mistaken for a thousand defects. So scores are compared only among images
that pass, which a few defects do not change.
"""

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # loads its parts when they are used
from numpy.typing import NDArray

from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.images.quality import STATISTICS, ImageStatistics

# Probability of calling any of the statistics shifted when none is.
SIGNIFICANCE = 0.01
# What credit scoring, where the index comes from, calls a major shift: with ever more images ever
# smaller differences are certain, and not all of them matter.
MAJOR_SHIFT = 0.25
FEWEST_IMAGES = 10
_BINS = 10


@dataclass(frozen=True)
class Shift:
    """How far one statistic has moved."""

    statistic: str
    good_median: float
    median: float
    """Of today's images; between two good ones, to the resolution of the good ones."""
    distance: float
    """Kolmogorov-Smirnov statistic: the largest distance of the two distribution functions."""
    p_value: float
    """Probability of such a distance among images of one kind."""
    stability_index: float
    """Population stability index over tenths of the good images."""
    critical_index: float
    """What the index must exceed, with so many images."""
    images: int
    shifted: bool


class Histogram:
    """Counts values between and at the values of a reference; memory does not grow.

    That is all that the two-sample Kolmogorov-Smirnov statistic needs, exactly.
    """

    def __init__(self, reference: Sequence[float]) -> None:
        self.reference = np.unique(reference)
        # Of one value, a list is looked through sooner than an array.
        self._values: list[float] = self.reference.tolist()
        below = np.searchsorted(np.sort(reference), self.reference, side="right")
        self.cumulative = below / len(reference)
        self.size = len(reference)
        # Even places count what lies in a gap, odd ones what equals a value of the reference.
        self.counts = np.zeros(2 * len(self.reference) + 1, dtype=np.int64)

    def add(self, value: float, count: int = 1) -> None:
        """Count a value, or with -1 take it out again."""
        place = bisect_left(self._values, value) + bisect_right(self._values, value)
        self.counts[place] += count

    def add_all(self, values: NDArray[np.float64]) -> None:
        """Count many values, [N]."""
        left, right = (np.searchsorted(self.reference, values, side) for side in ("left", "right"))
        self.counts += np.bincount(left + right, minlength=len(self.counts))

    def shift(self, statistic: str) -> Shift | None:
        """Compare what was counted with the reference; None with too few images."""
        images = int(self.counts.sum())
        if images < FEWEST_IMAGES or self.size < FEWEST_IMAGES:
            return None
        running = np.cumsum(self.counts) / images
        # In a gap the reference stands still while ours rises: the ends of the gaps are enough.
        distance = np.abs(running - np.repeat(np.r_[0, self.cumulative], 2)[1:]).max()
        effective = images * self.size / (images + self.size)
        p_value = _kolmogorov_smirnov(float(distance), effective)
        index, bins = self._stability_index(images)
        level = 1 - SIGNIFICANCE / (len(STATISTICS) + 1)
        # Of images of one kind the index times the effective number follows chi-squared (Yurdakul
        # and Naranjo, Journal of Risk Model Validation 14, 2020).
        critical = max(MAJOR_SHIFT, _chi_squared(level, bins - 1) / effective)
        return Shift(
            statistic,
            good_median=self._median(self.cumulative, 0),
            median=self._median(running, 1),
            distance=float(distance),
            p_value=p_value,
            stability_index=index,
            critical_index=critical,
            images=images,
            shifted=p_value < 1 - level and index > critical,
        )

    def _median(self, running: NDArray[np.float64], doubled: int) -> float:
        place = int(np.searchsorted(running, 0.5)) >> doubled
        return float(self.reference[min(place, len(self.reference) - 1)])

    def _stability_index(self, images: int) -> tuple[float, int]:
        """Sum of (p - q) ln(p / q) over bins with about a tenth of the reference each."""
        bins = min(_BINS, self.size // 5)
        edges = np.unique(np.searchsorted(self.cumulative, np.arange(1, bins) / bins))
        edges = edges[edges < len(self.reference) - 1]
        # A bin ends with a value of the reference, at an odd place.
        ours = np.diff(np.r_[0, np.cumsum(self.counts)[2 * edges + 1], images])
        theirs = np.diff(np.r_[0, self.cumulative[edges] * self.size, self.size])
        # Half an image in each bin keeps an empty one from being infinitely surprising.
        p = (ours + 0.5) / (images + 0.5 * len(ours))
        q = (theirs + 0.5) / (self.size + 0.5 * len(theirs))
        return float(((p - q) * np.log(p / q)).sum()), len(ours)


def _kolmogorov_smirnov(distance: float, images: float) -> float:
    """Probability of a larger distance among ``images`` images of one kind.

    Kolmogorov's limit with Stephens' correction for few images (Journal of the Royal Statistical
    Society B 32, 1970): from 8 images on within 15 % of the exact one above 0.005, and rather too
    large below. The exact one would take two seconds to load.
    """
    root = math.sqrt(images)
    return float(scipy.special.kolmogorov((root + 0.12 + 0.11 / root) * distance))


def _chi_squared(level: float, degrees: int) -> float:
    """Quantile of the chi-squared distribution."""
    return float(2 * scipy.special.gammaincinv(degrees / 2, level))


class DriftMonitor:
    """Compares images with a profile as they come; over all, or over the last ``window``."""

    def __init__(self, good: GoodProfile, threshold: float, window: int | None = None) -> None:
        self._threshold, self._window = threshold, window
        passing = [score for score in good.scores if score <= threshold]
        self._histograms = {"score": Histogram(passing)} if passing else {}
        self._histograms |= {name: Histogram(getattr(good, name)) for name in STATISTICS}
        self._recent: deque[tuple[float, ImageStatistics]] = deque()

    def add(self, score: float, statistics: ImageStatistics) -> None:
        """Count an image."""
        self._count(score, statistics, 1)
        if self._window:
            self._recent.append((score, statistics))
            if len(self._recent) > self._window:
                self._count(*self._recent.popleft(), -1)

    def add_all(self, rows: Sequence[tuple[float, ...]]) -> None:
        """Count images of which score and ``STATISTICS`` are known; they are in no window."""
        score, *columns = np.array(rows, dtype=np.float64).T
        if "score" in self._histograms:
            self._histograms["score"].add_all(score[score <= self._threshold])
        for name, values in zip(STATISTICS, columns, strict=True):
            self._histograms[name].add_all(values)

    def shifts(self) -> list[Shift]:
        """Give the statistics of which there are enough images."""
        return list(self._shifts())

    def p_value(self) -> float:
        """Give the p-value of the statistic that has moved most, times their number; or NaN."""
        p_values = [shift.p_value for shift in self._shifts()]
        return min(1.0, len(p_values) * min(p_values)) if p_values else math.nan

    def _shifts(self) -> Iterator[Shift]:
        for name, histogram in self._histograms.items():
            shift = histogram.shift(name)
            if shift:
                yield shift

    def _count(self, score: float, statistics: ImageStatistics, count: int) -> None:
        if "score" in self._histograms and score <= self._threshold:
            self._histograms["score"].add(score, count)
        for name in STATISTICS:
            self._histograms[name].add(getattr(statistics, name), count)
