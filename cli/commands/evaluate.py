"""The command that measures a model on labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import Overwrite
from ..saying import warn_seen, warn_shifts, warn_unreadable, with_interval

if TYPE_CHECKING:
    from anomaly_vae.calibration.comparison import Comparison
    from anomaly_vae.calibration.metrics import ImageMetrics


EXAMPLES = """
anomaly-vae evaluate run photos/test --out evaluation
anomaly-vae evaluate run photos/test --against old/model.onnx --out comparison
"""


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
    from anomaly_vae.workflows.evaluate import evaluate_model

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
    talk.say(f"image AUROC {with_interval(images.auroc, images.auroc_interval)}, "
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
