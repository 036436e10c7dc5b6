"""The commands that judge with labelled images: calibrate, evaluate, plan."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from .app import Overwrite, app
from .console import talk
from .saying import say_threshold, warn_seen, warn_shifts, warn_unreadable

if TYPE_CHECKING:
    from anomaly_vae.comparison import Comparison
    from anomaly_vae.evaluation import ImageMetrics
    from anomaly_vae.goals import Criterion as RocCriterion
    from anomaly_vae.labelled import Photographs
    from anomaly_vae.thresholding import Calibration


class Criterion(StrEnum):
    """How the threshold is chosen on the ROC curve."""

    YOUDEN = "youden"
    F1 = "f1"
    FALSE_ALARM_RATE = "false-alarm-rate"
    RECALL = "recall"
    COST = "cost"
    REVIEW = "review"


@app.command()
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
    from anomaly_vae.errors import CalibrationError
    from anomaly_vae.goals import Costs, Goal
    from anomaly_vae.thresholding import ReviewBand, calibrate_run

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
    from anomaly_vae.labelled import Photographs, read_marks

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
        talk.say(f"AUROC {_with_interval(result.auroc, result.auroc_interval)}")
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


def _with_interval(value: float | None, interval: tuple[float, float] | None) -> str:
    return f"{value:.4f} [{interval[0]:.4f}, {interval[1]:.4f}]" if interval else f"{value:.4f}"


@app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="model.onnx, or a run folder.")],
    test_dir: Annotated[Path, typer.Argument(help="Folder with one sub-folder per class.")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json and the pictures.")],
    masks: Annotated[
        Path | None, typer.Option(help="Masks; default: ground_truth beside TEST_DIR.")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another model or run, to compare with.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on labelled images, alone or against another."""
    from anomaly_vae.assessment import evaluate_model

    result = evaluate_model(
        model, test_dir, out, masks=masks, against=against, overwrite=overwrite, track=talk.track
    )
    warn_unreadable(result.unreadable)
    warn_seen(result.seen_before, "so these figures are too good")
    _say_metrics(result.images, result.threshold)
    if result.sizes:
        talk.say("by the size of the defect, in shares of the image [95 %]:")
    for each in result.sizes:
        talk.say(f"  {each.low:8.3%} to {each.high:8.3%}    {each.found} found")
    if result.pixels:
        pixels = result.pixels
        talk.say(
            f"pixel AUROC {pixels.auroc:.4f}, "
            f"average precision {pixels.average_precision:.4f}, PRO {pixels.pro:.4f}"
        )
    if result.comparison:
        _say_comparison(result.comparison)
    warn_shifts(result.shifts, "the good test images")
    talk.say(f"results: {out}")


def _say_metrics(images: "ImageMetrics", threshold: float) -> None:
    talk.say(f"{images.good} good and {images.defective} defective images; in brackets: 95 %")
    talk.say(f"image AUROC {_with_interval(images.auroc, images.auroc_interval)}, "
             f"average precision {images.average_precision:.4f}")  # fmt: skip
    talk.say(f"at the threshold {threshold:.4g}, F1 {images.f1:.4f} "
             f"(best of any: {images.best_f1:.4f}):")  # fmt: skip
    for what, part in (
        ("defective images escape", images.escapes), ("good images are rejected", images.overkill),
        ("images are for review", images.reviewed),
    ):  # fmt: skip
        if part.count or part is not images.reviewed:
            talk.say(f"  {f'{part.count} of {part.of}':12s} {part}  {what}")
    talk.say("found, by class:")
    for name, found in images.found_per_class.items():
        talk.say(f"  {f'{found.count} of {found.of}':12s} {found}  {name}")


def _say_comparison(result: "Comparison") -> None:
    low, high = result.difference_interval
    talk.say(
        f"against the other: AUROC {result.auroc:.4f} and {result.other_auroc:.4f}, difference "
        f"{result.difference:+.4f}\n"
        f"  [{low:+.4f}, {high:+.4f}], p = {result.p_value:.3g}; only this one judges "
        f"{result.only_first_right} images rightly,\n"
        f"  only the other {result.only_other_right}, p = {result.verdict_p_value:.3g}"
    )


@app.command()
def plan(
    false_alarm_rate: Annotated[
        float, typer.Option(help="Share of the good parts that may be rejected.")
    ] = 0.01,
    escape_rate: Annotated[
        float, typer.Option(help="Share of the defective parts that may pass.")
    ] = 0.01,
    confidence: Annotated[float, typer.Option(help="How sure to be.")] = 0.95,
) -> None:
    """Say how many images it takes to promise error rates; none may be trained on."""
    from anomaly_vae.planning import plan_samples

    needed = plan_samples(false_alarm_rate, escape_rate, confidence)
    sure = f"with {confidence:g} confidence"
    talk.say(f"To reject at most {false_alarm_rate:g} of the good parts, set the threshold on")
    talk.say(f"  {needed.good_on_average:9,d} good images   to keep it on average")
    talk.say(f"  {needed.good_for_sure:9,d} good images   to keep it {sure}")
    for rate, counts, kind, what in (
        (false_alarm_rate, needed.good_test, "good", "be rejected"),
        (escape_rate, needed.defective_test, "defective", "pass"),
    ):
        talk.say(f"To prove a rate of at most {rate:g} {sure}, test with")
        for cases, count in enumerate(counts):
            talk.say(f"  {count:9,d} {kind} images   of which at most {cases} may {what}")
