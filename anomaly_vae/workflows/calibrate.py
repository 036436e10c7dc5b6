"""Setting the threshold of a run: by ROC analysis of labelled images, or from good ones alone."""

from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from anomaly_vae.calibration.conformal import good_only_threshold
from anomaly_vae.calibration.goals import Criterion, Goal
from anomaly_vae.calibration.intervals import auroc_interval
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.metrics import areas_under_roc
from anomaly_vae.calibration.roc import (
    OperatingPoint,
    choose_operating_point,
    review_threshold,
    roc_threshold,
    threshold_interval,
)
from anomaly_vae.errors import CalibrationError
from anomaly_vae.exporting.graph import replace_card
from anomaly_vae.inspection.finding import map_maxima, profile_of
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.outputs import write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.card import write_card
from anomaly_vae.settings.schema import ScoringSettings
from anomaly_vae.workflows.kl_weight import WeightChoice, fit_kl_weight
from anomaly_vae.workflows.labelled import LabelledFolder, Photographs, inspect_all, seen_before


@dataclass(frozen=True)
class ReviewBand:
    """The two rates that the limits of a review band keep."""

    recall: float
    """Share of the defective images that shall not pass."""
    false_alarm_rate: float
    """Share of the good images that may fail."""


@dataclass(frozen=True)
class Calibration:
    """What a calibration chose, and what the other criteria would have chosen."""

    threshold: Threshold
    interval: tuple[float, float] | None = None
    """Where the threshold would lie with other images of the same kind."""
    auroc: float | None = None
    auroc_interval: tuple[float, float] | None = None
    points: dict[str, OperatingPoint] = field(default_factory=dict)
    """What each criterion would choose, at its default target."""
    unreadable: list[str] = field(default_factory=list)
    trained_on: list[str] = field(default_factory=list)
    """Images that the model has learned from: they seem better than new ones."""
    weight: WeightChoice | None = None
    """What another weight of the KL would give, if that was asked for."""

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "threshold": asdict(self.threshold),
            "threshold_interval": self.interval,
            "auroc": self.auroc,
            "auroc_interval": self.auroc_interval,
            "operating_points": {name: _with_rates(point) for name, point in self.points.items()},
            "trained_on": self.trained_on,
            "kl_weight": asdict(self.weight) if self.weight else None,
        }


def calibrate_run(
    run: Path,
    good: Photographs,
    defective: Photographs | None,
    *,
    goal: Goal | ReviewBand | None = None,
    review_rate: float | None = None,
    extrapolate: bool = False,
    refit_kl_weight: bool = False,
    track: Track = untracked,
) -> Calibration:
    """Set the threshold of ``run/model.onnx`` from labelled images, or from good ones alone.

    ``goal`` is Youden's J by default, or the conformal limit without ``defective``; then it can
    only be a false-alarm rate, beyond what the images support with ``extrapolate``, and at most
    ``review_rate`` of the good images (default: that of a training) are for review or fail, where
    that is more. With ``refit_kl_weight`` the model is first given the weight of the KL that serves
    these images best, if it surely does.

    Raises:
        CalibrationError: the scores do not support what was asked for.
        FolderError, ModelFileError: a folder or the model cannot be used.
    """
    bad: LabelledFolder | None = None
    if defective is None:
        target = _good_only_target(goal)
        if refit_kl_weight:
            raise CalibrationError(
                "--fit-kl-weight needs examples of defects; give --defective DIR"
            )
        inspector = Inspector(run / "model.onnx")
        normal = inspect_all(inspector, good, track)
        rate = ScoringSettings().review_rate if review_rate is None else review_rate
        result = _from_good(run, normal, target, review_rate=rate, extrapolate=extrapolate)
    else:
        _refuse_good_only(extrapolate=extrapolate, review_rate=review_rate)
        weight = fit_kl_weight(run, good, defective, track) if refit_kl_weight else None
        inspector = Inspector(run / "model.onnx")
        normal = inspect_all(inspector, good, track)
        bad = inspect_all(inspector, defective, track)
        result = replace(_from_both(run, normal, bad, goal or Goal()), weight=weight)
    _write(run, inspector.card, result, normal, bad)
    return result


def _refuse_good_only(*, extrapolate: bool, review_rate: float | None) -> None:
    """Refuse with defective images what is for good ones alone."""
    if extrapolate:
        raise CalibrationError("--extrapolate is for good images alone; leave out --defective")
    if review_rate is not None:
        raise CalibrationError(
            "--review-rate is for good images alone; give --criterion review instead"
        )


def _write(
    run: Path,
    card: ModelCard,
    result: Calibration,
    good: LabelledFolder,
    bad: LabelledFolder | None,
) -> None:
    """Put a threshold into the model, and write down and draw how it was set."""
    model, threshold, roc = run / "model.onnx", result.threshold, run / "roc.png"
    classes = {"good": good.scores} | ({"defective": bad.scores} if bad else {})
    if bad:
        figures.save_roc(good.scores, bad.scores, threshold.score, roc)
    else:  # of another calibration
        roc.unlink(missing_ok=True)
    card = card.calibrated(threshold, profile_of(good.findings), classes.get("defective", ()))
    replace_card(model, card)
    write_json(run / "calibration.json", result.as_dict())
    figures.save_scores(classes, threshold, run / "scores.png", title="Calibration images")
    write_card(run, card, model_id(model.read_bytes()))


def _from_good(
    run: Path,
    good: LabelledFolder,
    target: float | None,
    *,
    review_rate: float,
    extrapolate: bool,
) -> Calibration:
    threshold = good_only_threshold(
        good.scores,
        map_maxima(good.findings),
        target,
        review_rate=review_rate,
        extrapolate=extrapolate,
    )
    seen = seen_before(run, good, calibrated=False)
    return Calibration(threshold, unreadable=good.unreadable, trained_on=seen)


def _good_only_target(goal: Goal | ReviewBand | None) -> float | None:
    if goal is None:
        return None
    if isinstance(goal, Goal) and goal.criterion == "false-alarm-rate":
        return goal.target
    name = goal.criterion if isinstance(goal, Goal) else "review"
    raise CalibrationError(f"--criterion {name} needs examples of defects; give --defective DIR")


def _from_both(
    run: Path, good: LabelledFolder, bad: LabelledFolder, goal: Goal | ReviewBand
) -> Calibration:
    both = set(good.digests) & set(bad.digests)
    if both:
        same = next(f for f, d in zip(bad.findings, bad.digests, strict=True) if d in both)
        raise CalibrationError(
            f"{bad.folder / same.path} and {len(both) - 1} other images are in the good folder "
            "too; an image is either good or defective"
        )
    maxima = map_maxima(good.findings)
    points: dict[str, OperatingPoint] = {}
    interval = None
    if isinstance(goal, ReviewBand):
        threshold = review_threshold(good.scores, bad.scores, maxima, **asdict(goal))
    else:
        points[goal.criterion] = choose_operating_point(good.scores, bad.scores, goal)
        threshold = roc_threshold(points[goal.criterion], goal.criterion, maxima)
        interval = threshold_interval(good.scores, bad.scores, goal)
    for other in get_args(Criterion):
        # Only for comparison: that one cannot be reached is no reason to stop.
        with suppress(CalibrationError):
            points.setdefault(other, choose_operating_point(good.scores, bad.scores, Goal(other)))
    scores = np.r_[good.scores, bad.scores]
    auroc = float(areas_under_roc(scores, np.arange(len(scores)) >= len(good.scores)))
    return Calibration(
        threshold,
        interval,
        auroc,
        auroc_interval(auroc, len(good.scores), len(bad.scores)),
        points,
        good.unreadable + bad.unreadable,
        seen_before(run, good, calibrated=False) + seen_before(run, bad, calibrated=False),
    )


def _with_rates(point: OperatingPoint) -> dict[str, Any]:
    recall, alarms = point.rates()
    return asdict(point) | {"recall": asdict(recall), "false_alarm_rate": asdict(alarms)}
