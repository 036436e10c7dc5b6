"""The command that sets the threshold."""

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..console import talk
from ..options import Images, Marks
from ..saying import say_threshold, warn_notes, warn_seen, warn_unreadable, with_interval

if TYPE_CHECKING:
    from anomaly_vae.calibration.days import Day
    from anomaly_vae.calibration.goals import Criterion as RocCriterion
    from anomaly_vae.calibration.goals import Goal
    from anomaly_vae.workflows.calibrate import Calibration, ReviewBand
    from anomaly_vae.workflows.labelled import Photographs


EXAMPLES = """
anomaly-vae calibrate run --good photos/more-good
anomaly-vae calibrate run --good photos/more-good --defective photos/defective
"""


class Criterion(StrEnum):
    """How the threshold is chosen on the ROC curve."""

    YOUDEN = "youden"
    F1 = "f1"
    FALSE_ALARM_RATE = "false-alarm-rate"
    RECALL = "recall"
    COST = "cost"
    REVIEW = "review"


def calibrate(
    run: Annotated[Path, typer.Argument(help="Run folder of 'train'.")],
    good: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of good images, not those of the training; several are days, on each of "
            "which the limits hold."
        ),
    ] = None,
    defective: Annotated[Path | None, typer.Option(help="Folder of defective images.")] = None,
    marks: Marks = None,
    images: Images = None,
    criterion: Annotated[
        Criterion | None,
        typer.Option(help="What the threshold is to do best; default: youden with defects."),
    ] = None,
    target: Annotated[
        float | None, typer.Option(help="Share that false-alarm-rate or recall is to reach.")
    ] = None,
    cost_escape: Annotated[
        float | None, typer.Option(help="cost: what a defective part that passes costs.")
    ] = None,
    cost_overkill: Annotated[
        float | None, typer.Option(help="cost: what a good part that fails costs.")
    ] = None,
    defect_rate: Annotated[
        float | None, typer.Option(help="cost: share of defective parts in production.")
    ] = None,
    review_recall: Annotated[
        float | None,
        typer.Option(help="review: share of the defects that shall not pass; default 0.999."),
    ] = None,
    review_false_alarms: Annotated[
        float | None,
        typer.Option(help="review: share of the good parts that may fail; default 0.001."),
    ] = None,
    review_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Good images alone: share for review or rejected; default: the run's, 0: none.",
        ),
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Beyond what the good images can promise.")
    ] = False,
    fit_kl_weight: Annotated[
        bool, typer.Option("--fit-kl-weight", help="Choose the weight of the KL as well.")
    ] = False,
) -> None:
    """Set the threshold by ROC analysis, or from good images alone."""
    from anomaly_vae.errors import CalibrationError
    from anomaly_vae.workflows.calibrate import calibrate_run

    normal, bad = _labelled(good, defective, marks, images)
    costs = [each for each in (cost_escape, cost_overkill, defect_rate) if each is not None]
    if costs and len(costs) < 3:
        raise CalibrationError(
            "--cost-escape, --cost-overkill and --defect-rate go together; give all three"
        )
    if criterion is None and (costs or target is not None):
        alone = Criterion.YOUDEN if bad else Criterion.FALSE_ALARM_RATE
        criterion = Criterion.COST if costs else alone
    goal = _goal(criterion, target, costs, review_recall, review_false_alarms)
    result = calibrate_run(
        run,
        normal,
        bad,
        goal=goal,
        review_rate=review_rate,
        extrapolate=extrapolate,
        refit_kl_weight=fit_kl_weight,
        track=talk.track,
    )
    warn_unreadable(result.unreadable)
    warn_notes(result.notes)
    warn_seen(result.left_out, "so they were left out")
    _say_calibration(result, chosen=criterion.value if criterion else "youden")


def _goal(
    criterion: Criterion | None,
    target: float | None,
    costs: list[float],
    review_recall: float | None,
    review_false_alarms: float | None,
) -> "Goal | ReviewBand | None":
    """Make the goal of the options; refuse those that it would ignore."""
    from anomaly_vae.calibration.goals import Costs, Goal
    from anomaly_vae.errors import CalibrationError
    from anomaly_vae.workflows.calibrate import ReviewBand

    rates = {"recall": review_recall, "false_alarm_rate": review_false_alarms}
    given = {name: rate for name, rate in rates.items() if rate is not None}
    if criterion == Criterion.REVIEW:
        if costs or target is not None:
            raise CalibrationError(
                "--criterion review takes neither --target nor costs; give --review-recall and "
                "--review-false-alarms"
            )
        return ReviewBand(**given)
    if given:
        raise CalibrationError(
            "--review-recall and --review-false-alarms go with --criterion review"
        )
    if criterion is None:
        return None
    chosen = cast("RocCriterion", criterion.value)
    return Goal(chosen, target, Costs(*costs) if costs else None)


def _labelled(
    good: Sequence[Path] | None,
    defective: Path | None,
    marks: Path | None,
    images: Path | None,
) -> "tuple[Sequence[Photographs], Photographs | None]":
    """Find out which images are good and which are defective: by folders, or by marks."""
    from anomaly_vae.errors import FolderError
    from anomaly_vae.workflows.labelled import Photographs
    from anomaly_vae.workflows.marks import read_marks

    if marks and images and not (good or defective):
        marked_good, marked_bad = read_marks(marks, images)
        return [marked_good], marked_bad
    if not good or marks or images:
        raise FolderError("expected --good DIR (and --defective DIR), or --marks FILE --images DIR")
    return [Photographs(each) for each in good], Photographs(defective) if defective else None


def _say_calibration(result: "Calibration", *, chosen: str) -> None:
    weight = result.weight
    if weight:
        low, high = weight.gain_interval
        verb = f"is now {weight.best:g}" if weight.adopted else f"stays {weight.before:g}"
        talk.say(f"weight of the KL {verb}: choosing it anew gains {weight.gain:+.4f} AUROC")
        talk.say(f"  [{low:+.4f}, {high:+.4f}] on images it was not chosen with")
    if result.points:
        talk.say(f"AUROC {with_interval(result.auroc, result.auroc_interval)}")
        talk.say("\ncriterion         threshold  found [95 %]          rejected good [95 %]")
    for name, point in result.points.items():
        found, rejected = point.rates()
        talk.say(
            f"{name + (' *' if name == chosen else ''):18s}{point.threshold:9.4g}  {found}  "
            f"{rejected}"
        )
    for day in result.before:
        _say_before(day)
    talk.say()
    say_threshold(result.threshold)
    if result.interval:
        low, high = result.interval
        talk.say(f"  with other images like these it would lie from {low:.3g} to {high:.3g}")
    if len(result.days) > 1:
        for day in result.days:
            talk.say(f"  {day.name}: {day.summary}")


def _say_before(day: "Day") -> None:
    """Say whether what was promised holds on another day, and why not."""
    talk.say(f"\n{day.name} at the limits so far:")
    talk.say(f"  {day.summary}")
    if day.broken:
        talk.warn(f"what was promised does not hold there: {day.broken}")
    if day.reasons:
        talk.warn(f"its images are unlike those the limits were set on: {day.reasons}")
    if not (day.broken or day.reasons):
        talk.say(f"  what was promised holds there, as far as {day.failed.of} images can tell")
