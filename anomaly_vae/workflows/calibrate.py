"""Setting the threshold of a run: by ROC analysis of labelled images, or from good ones alone."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from anomaly_vae.calibration.conformal import good_only_threshold
from anomaly_vae.calibration.days import Day, strictest
from anomaly_vae.calibration.evidence import Evidence
from anomaly_vae.calibration.goals import Criterion, Goal
from anomaly_vae.calibration.intervals import auroc_interval
from anomaly_vae.calibration.metadata import Threshold
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
from anomaly_vae.outputs import write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.sensitivity import FILES as SENSITIVITY
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.split import group_keys
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.examples import Examples, Given, caveats, doubtful, given, held_against
from anomaly_vae.workflows.kl_weight import WeightChoice, fit_kl_weight
from anomaly_vae.workflows.labelled import Photographs, inspect_all, with_origins
from anomaly_vae.workflows.log import settled
from anomaly_vae.workflows.runs import saved_config


@dataclass(frozen=True)
class ReviewBand:
    """The two rates that the limits of a review band keep."""

    recall: float = 0.999
    """Share of the defective images that shall not pass."""
    false_alarm_rate: float = 0.001
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
    left_out: list[str] = field(default_factory=list)
    """Images that the model has learned from: they seem better than new ones."""
    notes: tuple[str, ...] = ()
    """What a person should know of the images, each a line."""
    weight: WeightChoice | None = None
    """What another weight of the KL would give, if that was asked for."""
    before: tuple[Day, ...] = ()
    """What the limits so far do to the good images of each folder."""
    days: tuple[Day, ...] = ()
    """What the new ones do."""

    def as_dict(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "threshold": asdict(self.threshold),
            "threshold_interval": self.interval,
            "auroc": self.auroc,
            "auroc_interval": self.auroc_interval,
            "operating_points": {name: _with_rates(point) for name, point in self.points.items()},
            "left_out": [spelled(path) for path in self.left_out],
            "kl_weight": asdict(self.weight) if self.weight else None,
            "before": [day.as_dict() for day in self.before],
            "days": [day.as_dict() for day in self.days],
        }


def calibrate_run(
    run: Path,
    good: Sequence[Photographs],
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
    ``review_rate`` of the good images (default: that of the run) are for review or fail, where
    that is more. Of several folders of ``good`` images, each a day of its own, the limits from good
    images alone hold on each. Images that the model has learned from, and copies, are left out.
    With ``refit_kl_weight`` the model is first given the weight of the KL that serves these images
    best, if it surely does.

    Raises:
        CalibrationError: the scores do not support what was asked for, or all images are known.
        FolderError, ModelFileError: a folder or the model cannot be used.
        OutputError: the run folder cannot be written to; then all in it is as it was.
    """
    refuse_ignored(
        goal,
        labelled=defective is not None,
        review_rate=review_rate,
        extrapolate=extrapolate,
        refit_kl_weight=refit_kl_weight,
    )
    if refit_kl_weight and len(good) > 1:
        raise CalibrationError("--fit-kl-weight takes one --good; put the images into one folder")
    config = saved_config(run)
    with Transaction(run) as files:
        sets = _scored(files, good, defective, track)
        before, weight = held_against(sets.card.threshold, sets), None
        if refit_kl_weight and sets.bad:
            # A new weight takes its place together with its threshold: neither is of use alone.
            weight = fit_kl_weight(files, sets.days[0].photographs, sets.bad.photographs, track)
            if weight.adopted:
                sets = _scored(files, good, defective, track)
        if sets.bad:
            grouped = bool(config.split.group_by)
            result = _from_both(sets.good, sets.bad, goal or Goal(), grouped=grouped)
        else:
            target = goal.target if isinstance(goal, Goal) else None
            result = _from_good(
                config, sets, target, review_rate=review_rate, extrapolate=extrapolate
            )
        days = held_against(result.threshold, sets)
        result = replace(_told(result, sets), weight=weight, before=before, days=days)
        _write(files, result, sets, config.split.group_by)
        files.commit()
    return result


def _scored(
    files: Transaction, good: Sequence[Photographs], defective: Photographs | None, track: Track
) -> Given:
    """Score good images of each day, and defective ones, if there are any."""
    inspector = Inspector(files.current("model.onnx"))
    card = with_origins(inspector.card, files.folder)
    scored = [inspect_all(inspector, each, track, lean=True) for each in good]
    bad = inspect_all(inspector, defective, track, lean=True) if defective else None
    return given(card, scored, bad)


def _told(result: Calibration, sets: Given) -> Calibration:
    """Say with the promise what was left out, and name it."""
    limit, said = result.threshold, caveats(sets.card, sets.sets)
    return replace(
        result,
        threshold=replace(limit, assurance="; ".join(filter(None, [limit.assurance, *said]))),
        unreadable=[path for each in sets.sets for path in each.used.unreadable],
        left_out=[path for each in sets.sets for path in each.learned],
        notes=tuple(note for each in sets.sets for note in each.used.notes),
    )


def refuse_ignored(
    goal: Goal | ReviewBand | None,
    *,
    labelled: bool,
    review_rate: float | None,
    extrapolate: bool,
    refit_kl_weight: bool,
) -> None:
    """Refuse what would be ignored with defective images (``labelled``), or without.

    Raises:
        CalibrationError: the first such option.
    """
    if labelled and extrapolate:
        raise CalibrationError("--extrapolate is for good images alone; leave out --defective")
    if labelled and review_rate is not None:
        raise CalibrationError(
            "--review-rate is for good images alone; give --criterion review instead"
        )
    if not labelled and not (goal is None or _is_rate(goal)):
        name = goal.criterion if isinstance(goal, Goal) else "review"
        raise CalibrationError(
            f"--criterion {name} needs examples of defects; give --defective DIR"
        )
    if not labelled and refit_kl_weight:
        raise CalibrationError("--fit-kl-weight needs examples of defects; give --defective DIR")


def _is_rate(goal: Goal | ReviewBand) -> bool:
    return isinstance(goal, Goal) and goal.criterion == "false-alarm-rate"


def _write(files: Transaction, result: Calibration, sets: Given, pattern: str) -> None:
    """Put a threshold into the model, and write down and draw how it was set."""
    model, threshold = files.path("model.onnx"), result.threshold
    good, bad = sets.good.used, sets.bad.used.scores if sets.bad else None
    # Of another calibration; and what was found of drawn defects was so at other limits.
    files.remove(["roc.png", *SENSITIVITY])
    if bad is not None:
        figures.save_roc(good.scores, bad, threshold.score, files.path("roc.png"))
    group_scores = () if sets.bad else _evidence(sets.good, pattern).group_scores
    card = sets.card.calibrated(
        threshold,
        replace(profile_of(good.findings), group_scores=group_scores),
        () if bad is None else bad,
        [digest for each in sets.sets for digest in each.digests],
    )
    replace_card(files.current("model.onnx"), card, model)
    write_json(files.path("calibration.json"), result.as_dict())
    classes = {"good": good.scores} | ({} if bad is None else {"defective": bad})
    title = "Calibration images"
    figures.save_scores(classes, threshold, files.path("scores.png"), title=title)
    settled(files, card, "calibrate")


def _from_good(
    config: Config,
    sets: Given,
    target: float | None,
    *,
    review_rate: float | None,
    extrapolate: bool,
) -> Calibration:
    """Set the limits of each day, and keep the highest."""
    limits = [
        good_only_threshold(
            _evidence(day, config.split.group_by, robust=config.scoring.robust),
            target,
            fail_rate=config.scoring.fail_rate,
            review_rate=config.scoring.review_rate if review_rate is None else review_rate,
            extrapolate=extrapolate,
        )
        for day in sets.days
    ]
    return Calibration(strictest(limits, [str(day.used.folder) for day in sets.days]))


def _evidence(good: Examples, pattern: str, *, robust: bool = True) -> Evidence:
    return Evidence(
        good.used.scores,
        map_maxima(good.used.findings),
        group_keys(good.used.paths, good.digests, pattern),
        of_parts=bool(pattern),
        robust=robust,
    )


def _from_both(
    normal: Examples, defective: Examples, goal: Goal | ReviewBand, *, grouped: bool
) -> Calibration:
    good, bad = normal.used, defective.used
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
    conditions = doubtful(threshold, profile_of(good.findings), bad)
    if grouped:
        conditions.append(
            "the intervals take the images of a group (split.group_by) for independent"
        )
    threshold = replace(threshold, conditions=(*threshold.conditions, *conditions))
    scores = np.r_[good.scores, bad.scores]
    auroc = float(areas_under_roc(scores, np.arange(len(scores)) >= len(good.scores)))
    return Calibration(
        threshold,
        interval,
        auroc,
        auroc_interval(auroc, len(good.scores), len(bad.scores)),
        points,
    )


def _with_rates(point: OperatingPoint) -> dict[str, Any]:
    recall, alarms = point.rates()
    return asdict(point) | {"recall": asdict(recall), "false_alarm_rate": asdict(alarms)}
