"""The command that measures a model on labelled images."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..console import talk
from ..options import GoodClass, Overwrite
from ..saying import warn_notes, warn_seen, warn_shifts, warn_unreadable, with_interval

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
        Path | None, typer.Option(help="Masks; default: ground_truth beside TEST_DIR, or in it.")
    ] = None,
    good_class: GoodClass = None,
    against: Annotated[
        Path | None, typer.Option(help="Another model or run, to compare with.")
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Measure a model on labelled images, alone or against another."""
    from anomaly_vae.workflows.evaluate import evaluate_model

    result = evaluate_model(
        model, test_dir, out, masks=masks, good_class=good_class, against=against,
        overwrite=overwrite, track=talk.track,
    )  # fmt: skip
    warn_notes(result.notes)
    warn_unreadable(result.unreadable)
    warn_seen(result.seen_before, "so these figures are too good")
    warn_seen(result.other_seen_before, "so its figures are too good", which="the other model")
    if not result.origins_known:
        talk.warn("a model is of an earlier version, and does not say what it was made with: "
                  "whether these images are new to it is not known")  # fmt: skip
    _say_metrics(result.images, result.threshold)
    if result.sizes:
        talk.say("by the size of the defect, in percent of the photograph [95 %]:")
    for each in result.sizes:
        talk.say(f"  {100 * each.low:7.3g} to {100 * each.high:7.3g}    {each.found} found")
    _warn_masks(result.without_mask, "without a mask")
    _warn_masks(result.black_masks, "whose mask shows no defect where it is inspected")
    if result.pixels:
        pixels, bad = result.pixels, result.images.defective
        left_out = len(result.without_mask) + len(result.black_masks)
        if left_out:
            talk.say(f"on the pixels, of {bad - left_out} of {bad} defective images:")
        talk.say(
            f"pixel AUROC {pixels.auroc:.4f}, "
            f"average precision {pixels.average_precision:.4f}, PRO {pixels.pro:.4f}"
        )
    if result.comparison:
        _say_comparison(result.comparison)
    warn_shifts(result.shifts, "the good test images")
    talk.say(f"results: {out}")


def _warn_masks(paths: list[str], what: str) -> None:
    if paths:
        number = f"{len(paths)} defective image{'s' if len(paths) > 1 else ''}"
        talk.warn(f"pixel figures and sizes leave out {number} {what}; first {paths[0]}")


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
