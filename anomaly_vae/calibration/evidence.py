"""Held-out good images as what limits are founded on, without a few that lie far apart.

"Good" folders are seldom quite good. If more of their photographs are defects than a limit lets
pass, a defect sets it, and most defects pass: valid, but blind (Bashari, Sesia and Romano, Robust
conformal outlier detection under contaminated reference data, ICML 2025). They ask a person about
the highest; where there is none to ask, only what cannot be the tail of the others is taken for a
defect, and it is said (measured in reports/ablation.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import CalibrationError

Floats = NDArray[np.floating]

# So many times as far above the median as this quantile is: nearer, good parts of heavy tails are
# left out, and more fail than was promised; farther, defects are not (reports/ablation.md).
_TIMES, _QUANTILE = 10.0, 0.9
MOST_APART = 0.02
"""A larger share of the good images, rounded up to one, is no accident, but a kind of its own."""


@dataclass(frozen=True)
class Evidence:
    """Good images that models have judged which had not seen them: [n] scores, and how."""

    scores: Floats
    map_maxima: Floats
    """Highest value of each map."""
    groups: Sequence[str] = ()
    """Which belong together: they count once, by their highest score. Copies are no new evidence,
    and neither are more views of one part. Limits then hold for groups, and for single images all
    the more."""
    of_parts: bool = False
    """Whether groups are views of parts, not copies alone."""
    folds: int = 1
    """How many models have judged them, each a part of them."""
    refitted: bool = False
    """Whether the model that inspects was trained on them later."""
    robust: bool = True
    """Whether a few that lie far apart from all others are left out of the limits."""

    @property
    def unit(self) -> str:
        """What counts once."""
        return "group of good images" if self.of_parts else "good image"

    @property
    def units(self) -> str:
        """The same, of several."""
        return "groups of good images" if self.of_parts else "good images"

    @property
    def group_scores(self) -> tuple[float, ...]:
        """The highest score of each group of views, ascending; none where images count."""
        return tuple(np.sort(self.highest()[0]).tolist()) if self.of_parts else ()

    def highest(self) -> tuple[Floats, Floats]:
        """Give the highest score and map value of each group, of each image without groups."""
        if not len(self.groups):
            return self.scores, self.map_maxima
        names, which = np.unique(self.groups, return_inverse=True)
        scores, maxima = (np.full(len(names), -np.inf) for _ in range(2))
        np.maximum.at(scores, which, self.scores)
        np.maximum.at(maxima, which, self.map_maxima)
        return scores, maxima

    def counted(self) -> tuple[Floats, Floats, int]:
        """Give the same of those that the limits are set on, and how many of all lie apart.

        These are left out, unless they are more than a few.

        Raises:
            CalibrationError: there are none, or a score is not finite.
        """
        scores, maxima = self.highest()
        far = apart(finite(scores, "good")) & self.robust
        few = far.sum() <= math.ceil(MOST_APART * len(scores))
        kept = ~(far & few)
        return scores[kept], maxima[kept], int(far.sum())


def apart(scores: Floats) -> NDArray[np.bool_]:
    """Say which of the scores of good images, [n], lie apart from all others."""
    middle, high = np.median(scores), np.quantile(scores, _QUANTILE)
    found: NDArray[np.bool_] = scores > middle + _TIMES * (high - middle)
    return found


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
