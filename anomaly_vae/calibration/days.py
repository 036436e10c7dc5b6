"""Good photographs of several days: whether what was promised on one holds on another.

What fails in factories is the second session: another lamp, another lot, a camera that was moved.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.drift import Histogram, Shift
from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.calibration.profile import GoodProfile
from anomaly_vae.images.quality import STATISTICS

_POSITION = {"centre_x": "position from left to right", "centre_y": "position from top to bottom"}


@dataclass(frozen=True)
class Day:
    """What limits do to the good photographs of one day."""

    name: str
    failed: Rate
    reviewed: Rate
    """For review, or failed, by their score."""
    broken: str = ""
    """Which promise they do not keep, with all the chance that 95 % allow; empty: none."""
    shifts: tuple[Shift, ...] = ()
    """In what they are unlike the good photographs that the limits were set on."""

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return asdict(self)

    @property
    def summary(self) -> str:
        """Say the rates in a line."""
        return f"{self.failed} fail, {self.reviewed} fail or are for review"

    @property
    def reasons(self) -> str:
        """Say in what the photographs are unlike the others; empty if in nothing that is known."""
        return "; ".join(
            f"{shift.statistic} has median {shift.median:.3g}, there {shift.good_median:.3g}"
            for shift in self.shifts
            if shift.shifted
        )


def judge_day(
    name: str, scores: NDArray[np.float64], limit: Threshold, day: GoodProfile, good: GoodProfile
) -> Day:
    """Hold good photographs of a day, [N] scores, against limits and their promises.

    ``good`` is the profile of those that the limits were set on. A promise is broken where the
    95 % interval of the rate (Clopper and Pearson) lies above what was promised.
    """
    failed = rate(int((scores > limit.score).sum()), len(scores))
    lower = limit.score if limit.review is None else limit.review
    reviewed = rate(int((scores > lower).sum()), len(scores))
    broken = [
        f"{what} instead of {promised:.1%}: {found}"
        for what, found, promised in (
            ("failed", failed, limit.fail_rate),
            ("failed or for review", reviewed, limit.review_rate),
        )
        if promised is not None and found.low > promised
    ]
    return Day(name, failed, reviewed, "; ".join(broken), _shifts(day, good))


def _shifts(day: GoodProfile, good: GoodProfile) -> tuple[Shift, ...]:
    """Compare simple statistics and position with those of other good photographs."""
    pairs = {name: (getattr(good, name), getattr(day, name)) for name in STATISTICS}
    pairs |= {title: (getattr(good, name), getattr(day, name)) for name, title in _POSITION.items()}
    found = []
    for name, (reference, values) in pairs.items():
        if reference and values:
            histogram = Histogram(reference)
            histogram.add_all(np.array(values))
            shift = histogram.shift(name)
            found += [replace(shift, median=float(np.median(values)))] if shift else []
    return tuple(found)


def strictest(limits: Sequence[Threshold], names: Sequence[str]) -> Threshold:
    """Join the limits of several days to one that holds on each: the highest of each kind."""
    first = max(limits, key=lambda limit: limit.score)
    if len(limits) == 1:
        return first
    reviews = [limit.review for limit in limits if limit.review is not None]
    review = max(reviews) if len(reviews) == len(limits) else None
    review = None if review is None or review >= first.score else review
    day = names[limits.index(first)]
    return replace(
        first,
        anomaly_map=max(limit.anomaly_map for limit in limits),
        review=review,
        good=sum(limit.good for limit in limits),
        promise=f"on each of {len(limits)} days {first.promise}",
        assurance=f"{first.assurance}; {day} is the day that sets the limit for failing",
    )
