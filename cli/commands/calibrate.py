"""The command that sets the threshold."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..console import talk
from ..saying import say_threshold, warn_seen, warn_unreadable, with_interval

if TYPE_CHECKING:
    from anomaly_vae.calibration.goals import Criterion as RocCriterion
    from anomaly_vae.workflows.calibrate import Calibration
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
        Path | None, typer.Option(help="Folder of good images, not those of the training.")
    ] = None,
    defective: Annotated[Path | None, typer.Option(help="Folder of defective images.")] = None,
    marks: Annotated[
        Path | None, typer.Option(help="Instead of both: marks downloaded from report.html.")
    ] = None,
    images: Annotated[Path | None, typer.Option(help="Folder that --marks speaks of.")] = None,
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
        float, typer.Option(help="review: share of the defects that shall not pass.")
    ] = 0.999,
    review_false_alarms: Annotated[
        float, typer.Option(help="review: share of the good parts that may fail.")
    ] = 0.001,
    review_rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Good images alone: share of them for review or rejected; default 0.1, 0: none.",
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
    from anomaly_vae.calibration.goals import Costs, Goal
    from anomaly_vae.errors import CalibrationError
    from anomaly_vae.workflows.calibrate import ReviewBand, calibrate_run

    normal, bad = _labelled(good, defective, marks, images)
    goal: Goal | ReviewBand | None = None
    given = [each for each in (cost_escape, cost_overkill, defect_rate) if each is not None]
    if given and len(given) < 3:
        raise CalibrationError(
            "--cost-escape, --cost-overkill and --defect-rate go together; give all three"
        )
    if criterion == Criterion.REVIEW:
        goal = ReviewBand(review_recall, review_false_alarms)
    elif criterion or target is not None or given:
        if criterion is None:
            alone = Criterion.YOUDEN if bad else Criterion.FALSE_ALARM_RATE
            criterion = Criterion.COST if given else alone
        costs = Costs(*given) if given else None
        goal = Goal(cast("RocCriterion", criterion.value), target, costs)
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
    warn_seen(result.trained_on, "so the threshold is too low for new ones")
    _say_calibration(result, chosen=criterion.value if criterion else "youden")


def _labelled(
    good: Path | None, defective: Path | None, marks: Path | None, images: Path | None
) -> "tuple[Photographs, Photographs | None]":
    """Find out which images are good and which are defective: by folders, or by marks."""
    from anomaly_vae.errors import FolderError
    from anomaly_vae.workflows.labelled import Photographs, read_marks

    if marks and images and not (good or defective):
        return read_marks(marks, images)
    if good is None or marks or images:
        raise FolderError("expected --good DIR (and --defective DIR), or --marks FILE --images DIR")
    return Photographs(good), Photographs(defective) if defective else None


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
    talk.say()
    say_threshold(result.threshold)
    if result.interval:
        low, high = result.interval
        talk.say(f"  with other images like these it would lie from {low:.3g} to {high:.3g}")
