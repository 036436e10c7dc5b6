"""Whether one model is really better than another, on the same images."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata

from anomaly_vae.calibration.intervals import CONFIDENCE
from anomaly_vae.calibration.metrics import areas_under_roc
from anomaly_vae.errors import CalibrationError

Floats = NDArray[np.floating]
_DRAWS = 2000


@dataclass(frozen=True)
class Comparison:
    """Two models on the same images, paired."""

    auroc: float
    other_auroc: float
    difference: float
    """Of the areas under the ROC curves; above 0 the first is better."""
    difference_interval: tuple[float, float]
    p_value: float
    """Probability of such a difference, either way, between models that are equally good."""
    only_first_right: int
    """Images that only the first judges rightly at its own threshold."""
    only_other_right: int
    verdict_p_value: float
    """McNemar's exact test of these two numbers."""


def compare_models(
    scores: Floats,
    others: Floats,
    defective: NDArray[np.bool_],
    limits: tuple[float, float],
) -> Comparison:
    """Compare two models' scores of the same images, [N], and their verdicts at their limits.

    The p-value is that of the permutation test of Bandos, Rockette and Gur (Statistics in
    Medicine 24, 2005): between equal models the ranks of an image may as well be exchanged. The
    interval is a stratified paired bootstrap; it may have no width where both are perfect.

    Raises:
        CalibrationError: a class is missing.
    """
    if defective.all() or not defective.any():
        raise CalibrationError(
            f"{(~defective).sum()} good and {defective.sum()} defective images; expected both"
        )
    rng = np.random.default_rng(0)
    ranks = np.stack([rankdata(scores), rankdata(others)])
    auroc, other_auroc = (float(areas_under_roc(each, defective)) for each in ranks)
    difference = auroc - other_auroc
    swap = rng.random((_DRAWS, len(defective))) < 0.5
    exchanged = areas_under_roc(np.where(swap, *ranks), defective) - areas_under_roc(
        np.where(swap, *ranks[::-1]), defective
    )
    as_large = int((np.abs(exchanged) >= abs(difference) - 1e-12).sum())
    # Class by class, so that the labels of what is drawn stay in their places.
    again = np.empty((_DRAWS, len(defective)), dtype=np.int64)
    for each in (np.flatnonzero(defective), np.flatnonzero(~defective)):
        again[:, each] = rng.choice(each, (_DRAWS, len(each)))
    drawn = areas_under_roc(scores[again], defective) - areas_under_roc(others[again], defective)
    low, high = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    right = (scores > limits[0]) == defective
    other_right = (others > limits[1]) == defective
    only = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    return Comparison(
        auroc,
        other_auroc,
        difference,
        (float(low), float(high)),
        # The arrangement that was observed is one of those that count.
        (1 + as_large) / (1 + _DRAWS),
        *only,
        float(binomtest(only[0], sum(only)).pvalue) if sum(only) else 1.0,
    )
