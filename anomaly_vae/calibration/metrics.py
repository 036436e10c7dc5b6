"""How good a model is on labelled images: image level, and pixel level where there are masks.

Letters: N images, S x S pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from anomaly_vae.calibration.intervals import Rate, auroc_interval, rate
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import CalibrationError

Floats = NDArray[np.floating]
PRO_LIMIT = 0.3
_DROPPED_BITS = 9  # of the 23 of a float32's mantissa


@dataclass(frozen=True)
class ImageMetrics:
    """Image-level results; rates are shares of 1."""

    good: int
    defective: int
    auroc: float
    auroc_interval: tuple[float, float]
    average_precision: float
    best_f1: float
    """The highest F1 of any threshold on these very images: optimistic."""
    escapes: Rate
    """Defective images that pass at the model's own threshold."""
    overkill: Rate
    """Good images that fail at the model's own threshold."""
    reviewed: Rate
    """Images of both kinds between the two limits of a model that has a review band, and those that
    do not pass because the photograph is unlike all good ones."""
    f1: float
    """F1 of failing at the model's own threshold."""
    found_per_class: dict[str, Rate]
    """Images of each defect class that do not pass."""


@dataclass(frozen=True)
class SizeBin:
    """The defective images of one range of defect sizes."""

    low: float
    """Smallest share of the image that is defective."""
    high: float
    found: Rate
    """Images that do not pass."""


@dataclass(frozen=True)
class PixelMetrics:
    """Pixel-level results over all images, those without a defect included."""

    auroc: float
    average_precision: float
    pro: float
    """Per-region overlap, averaged up to a false-positive rate of 0.3."""


def image_metrics(
    scores: Floats, classes: NDArray[np.str_], threshold: Threshold, quality: Sequence[str] = ()
) -> ImageMetrics:
    """Compare scores, [N], with classes, [N], of which ``good`` is the normal one.

    ``quality`` says in what each photograph is unlike all good ones, [N], for the verdicts.

    Raises:
        CalibrationError: there are no good or no defective images.
    """
    defective = classes != "good"
    if defective.all() or not defective.any():
        raise CalibrationError(
            f"{(~defective).sum()} good and {defective.sum()} defective images; expected both"
        )
    objections = quality or [""] * len(scores)
    verdicts = np.array([*map(threshold.verdict, scores, objections)])
    failed, passed = verdicts == "fail", verdicts == "pass"
    precision, recall, _ = precision_recall_curve(defective, scores)
    hits = int((failed & defective).sum())
    bad = int(defective.sum())
    good = len(scores) - bad
    auroc = float(roc_auc_score(defective, scores))
    return ImageMetrics(
        good=good,
        defective=bad,
        auroc=auroc,
        auroc_interval=auroc_interval(auroc, good, bad),
        average_precision=float(average_precision_score(defective, scores)),
        best_f1=float(np.max(2 * precision * recall / np.maximum(precision + recall, 1e-12))),
        escapes=rate(int((passed & defective).sum()), bad),
        overkill=rate(int((failed & ~defective).sum()), good),
        reviewed=rate(int((verdicts == "review").sum()), len(scores)),
        f1=2 * hits / (int(failed.sum()) + bad),
        found_per_class={
            str(name): _found(passed[classes == name]) for name in np.unique(classes[defective])
        },
    )


def areas_under_roc(scores: Floats, defective: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Give the areas of many sets of scores of the same images, [..., N], from their ranks.

    Mann and Whitney (1947); for one set it is what scikit-learn computes.
    """
    bad = int(defective.sum())
    ranks = rankdata(scores, axis=-1)[..., defective].sum(-1)
    return np.asarray((ranks - bad * (bad + 1) / 2) / (bad * (scores.shape[-1] - bad)))


def found_per_size(passed: NDArray[np.bool_], areas: Floats) -> list[SizeBin]:
    """Say how many defective images are found, from the smallest third of defects to the largest.

    ``passed`` and ``areas`` (defective share of the image) are those of the defective images, [N].
    """
    thirds = np.array_split(np.argsort(areas, kind="stable"), min(3, len(areas)))
    return [
        SizeBin(float(areas[third[0]]), float(areas[third[-1]]), _found(passed[third]))
        for third in thirds
    ]


def _found(passed: NDArray[np.bool_]) -> Rate:
    return rate(int((~passed).sum()), len(passed))


def pixel_metrics(
    maps: NDArray[np.float32],
    masks: NDArray[np.bool_],
    inspected: NDArray[np.bool_] | None = None,
) -> PixelMetrics:
    """Compare anomaly maps with masks, both [N, S, S]; see ``_levels`` for the resolution.

    With ``inspected``, of the same shape, other pixels do not count.
    """
    levels = _levels(maps)
    kept = slice(None) if inspected is None else inspected
    counts = np.bincount((levels[kept] * 2 + masks[kept]).ravel())
    # A hundred million pixels are few levels, each with a weight for either class.
    used = np.flatnonzero(counts)
    known = used % 2, used // 2
    return PixelMetrics(
        auroc=float(roc_auc_score(*known, sample_weight=counts[used])),
        average_precision=float(average_precision_score(*known, sample_weight=counts[used])),
        pro=_overlap(levels, masks, PRO_LIMIT, inspected),
    )


def per_region_overlap(
    maps: NDArray[np.float32], masks: NDArray[np.bool_], *, limit: float = PRO_LIMIT
) -> float:
    """Area under the curve of mean region overlap over false-positive rate, up to ``limit``.

    Each connected region of each mask counts the same, whatever its size (Bergmann et al.,
    The MVTec Anomaly Detection Dataset, IJCV 2021, section 5.2). Every level of ``maps`` is a
    threshold; see ``_levels``.
    """
    return _overlap(_levels(maps), masks, limit)


def _overlap(
    levels: NDArray[np.int64],
    masks: NDArray[np.bool_],
    limit: float,
    inspected: NDArray[np.bool_] | None = None,
) -> float:
    calm = ~masks
    if inspected is not None:
        masks, calm = masks & inspected, calm & inspected
    size = int(levels.max()) + 1
    gain, regions = np.zeros(size), 0
    for mask, level in zip(masks, levels, strict=True):
        if not mask.any():
            continue
        labels, count = ndimage.label(mask, np.ones((3, 3), dtype=int))
        shares = 1 / np.bincount(labels.ravel())[labels[mask]]
        gain += np.bincount(level[mask], shares, size)
        regions += count
    good = np.bincount(levels[calm], minlength=size)
    overlap = np.r_[0, np.cumsum(gain[::-1]) / regions]
    alarms = np.r_[0, np.cumsum(good[::-1]) / good.sum()]
    within = alarms <= limit
    xs = np.r_[alarms[within], limit]
    ys = np.r_[overlap[within], np.interp(limit, alarms, overlap)]
    return float(np.trapezoid(ys, xs) / limit)


def _levels(maps: NDArray[np.float32]) -> NDArray[np.int64]:
    """Number values from 0 on, in their order, as far as they differ by 1 in 16,000 or more.

    Sorting a hundred million pixels takes minutes; counting them by the upper bits of the number,
    which for a float32 is in its order, takes seconds.
    """
    bits = (maps.astype(np.float32) + 0).view(np.int32)  # + 0: minus zero is zero
    # Negative numbers have their order reversed, and lie below.
    ordered = np.where(bits < 0, ~(bits & 0x7FFFFFFF), bits) >> _DROPPED_BITS
    ordered = ordered.astype(np.int64) - ordered.min()
    used = np.bincount(ordered.ravel()) > 0
    return np.asarray((np.cumsum(used) - 1)[ordered])
