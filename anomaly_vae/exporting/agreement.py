"""Whether a model in lower precision still judges as it did in single precision.

fp16 is kept if no score moves by more than 0.05 max(1, |score|). int8 is kept if it sorts images
as well: with defective images at hand, by the area under the ROC curve; without, by the ranks of
good ones. Neither sees a shift of all scores, which moves them across the threshold: so the
verdicts must stay, too.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from anomaly_vae.calibration.metadata import Agreement, Threshold
from anomaly_vae.calibration.metrics import areas_under_roc
from anomaly_vae.errors import ExportError

Floats = NDArray[np.floating]
Lower = Literal["fp16", "int8"]

LARGEST = 0.05
"""Largest accepted |difference| / max(1, |score|) of fp16."""
AUROC_LOSS = 0.005
CHANGED_SHARE = 0.01
CHANGED_DEFECTIVE = 0.05  # 5 of 119 change where the AUROC rises (reports/precision.md)
RANK_CORRELATION = 0.99


def compare_scores(
    before: Floats, after: Floats, defective: NDArray[np.bool_], limit: Threshold
) -> Agreement:
    """Compare the scores of the same images, [N], in single and in lower precision.

    Raises:
        ExportError: a score in lower precision is not finite.
    """
    if not np.isfinite(after).all():
        raise ExportError(
            f"{(~np.isfinite(after)).sum()} of {len(after)} scores are no numbers in lower "
            "precision (its range is exceeded); nothing was written: export with --precision fp32"
        )
    pairs = zip(before.tolist(), after.tolist(), strict=True)
    changed = np.array([limit.verdict(one) != limit.verdict(other) for one, other in pairs])
    one, other = before[~defective], after[~defective]
    varied = len(one) > 2 and np.ptp(one) > 0 and np.ptp(other) > 0
    both = defective.any() and not defective.all()
    return Agreement(
        good=len(one),
        largest=float((np.abs(after - before) / np.maximum(1, np.abs(before))).max()),
        changed=int(changed.sum()),
        changed_good=int((changed & ~defective).sum()),
        defective=int(defective.sum()),
        rank_correlation=float(spearmanr(one, other).statistic) if varied else None,
        auroc=float(areas_under_roc(after, defective)) if both else None,
        auroc_before=float(areas_under_roc(before, defective)) if both else None,
    )


def objection(found: Agreement, precision: Lower) -> str:
    """Say why a model is not kept; empty if it is."""
    if precision == "fp16":
        if found.largest <= LARGEST:
            return ""
        return f"a score moves by {found.largest:.3g} of max(1, |score|), at most {LARGEST:g} may"
    return "; ".join(_verdicts_moved(found) + _sorted_worse(found))


def _verdicts_moved(found: Agreement) -> list[str]:
    changed = {
        "good": (found.changed_good, found.good, CHANGED_SHARE),
        "defective": (found.changed - found.changed_good, found.defective, CHANGED_DEFECTIVE),
    }
    return [
        f"{count} of {of} {name} images change their verdict, at most {share:.0%} may"
        for name, (count, of, share) in changed.items()
        if count > share * of
    ]


def _sorted_worse(found: Agreement) -> list[str]:
    if found.auroc is not None and found.auroc_before is not None:
        if found.auroc >= found.auroc_before - AUROC_LOSS:
            return []
        return [
            f"the AUROC falls from {found.auroc_before:.4f} to {found.auroc:.4f}, by more than "
            f"{AUROC_LOSS:g}"
        ]
    ranks = found.rank_correlation
    if ranks is not None and ranks >= RANK_CORRELATION:
        return []
    return [
        "the rank correlation of the scores of good images is "
        f"{'not defined' if ranks is None else f'{ranks:.3f}'}, expected {RANK_CORRELATION:g} or "
        "more"
    ]
