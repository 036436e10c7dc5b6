"""What labelled test images tell of a model, and of two models against each other."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.comparison import Comparison, compare_models
from anomaly_vae.calibration.drift import DriftMonitor, Shift
from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.metrics import (
    ImageMetrics,
    PixelMetrics,
    SizeBin,
    found_per_size,
    image_metrics,
    pixel_metrics,
)
from anomaly_vae.errors import CalibrationError
from anomaly_vae.images.regions import enlarged
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder, write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.labelled import (
    LabelledFolder,
    Photographs,
    inspect_all,
    seen_before,
    with_origins,
)
from anomaly_vae.workflows.truth import GOOD, Truths, check_labelled, name_classes, read_truths

P_VALUES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_RESULTS = Made(
    "evaluate", ("metrics.json", "roc.png", "precision_recall.png", "scores.png", "p_values.png")
)


@dataclass(frozen=True)
class Evaluation:
    """Results on a labelled folder."""

    model_id: str
    threshold: float
    images: ImageMetrics
    pixels: PixelMetrics | None
    sizes: list[SizeBin]
    """By the size of the defects, where there are masks."""
    p_values: dict[str, Rate]
    """Share of the good images with a p-value of at most so much: so much, if it holds here."""
    shifts: list[Shift]
    """How far the good test images are from those that the threshold was set on."""
    comparison: Comparison | None
    seen_before: list[str]
    """Images that the model was trained or calibrated on: they flatter it."""
    other_seen_before: list[str]
    """The same of the other model."""
    origins_known: bool
    """Whether the models say what they were made with; older ones do not."""
    unreadable: list[str]
    without_mask: list[str]
    """Defective images that pixel figures and sizes leave out; empty where there are no masks."""
    black_masks: list[str]
    """Defective images whose mask shows nothing, left out likewise."""
    notes: tuple[str, ...] = ()
    """What a person should know of the images, each a line."""


def evaluate_model(
    model: Path,
    test: Path,
    out: Path,
    *,
    masks: Path | None = None,
    good_class: str | None = None,
    against: Path | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Evaluation:
    """Measure ``model`` (a file or a run folder) on a folder with one sub-folder per class.

    The good class is called good, ok or normal, or as ``good_class`` says. Masks are looked for in
    ``masks``, by default where the layouts in use have them (``read_truths``); defective images
    without one are left out of the pixel figures. ``against`` is another model to compare with on
    the same images. Writes ``metrics.json`` and figures to ``out``.

    Raises:
        FolderError: ``test`` has no good class or no other, or a mask does not fit.
        ModelFileError, OutputError: the model or the output folder cannot be used.
    """
    inspector, card = _opened(model)
    other, other_card = _opened(against) if against else (None, None)
    check_labelled(test, good_class)
    refuse_folder(out, _RESULTS, overwrite=overwrite)
    folder = inspect_all(inspector, Photographs(test), track)
    classes = name_classes(test, folder.paths, good_class)
    defective, scores = classes != "good", folder.scores
    truths = read_truths(test, folder.paths, classes, card.images, masks)
    pixels, sizes = _on_pixels(folder, classes, truths, card)
    some = len(truths.missing) < defective.sum()
    p_values = np.array([finding.p_value for finding in folder.findings])[~defective]
    comparison = None
    if other:
        others = _same(folder, inspect_all(other, Photographs(test), track))
        limits = card.threshold.score, other.card.threshold.score
        comparison = compare_models(scores, others.scores, defective, limits)
    result = Evaluation(
        model_id=inspector.model_id,
        threshold=card.threshold.score,
        images=image_metrics(scores, classes, card.threshold, [f.quality for f in folder.findings]),
        pixels=pixels,
        sizes=sizes,
        p_values={f"{level:g}": _share(p_values <= level) for level in P_VALUES},
        shifts=_shifts(card, folder.findings, classes),
        comparison=comparison,
        seen_before=seen_before(card, folder, calibrated=True),
        other_seen_before=seen_before(other_card, folder, calibrated=True) if other_card else [],
        origins_known=all(each.learned_from for each in (card, other_card) if each),
        unreadable=folder.unreadable,
        without_mask=truths.missing if some else [],
        black_masks=truths.black,
        notes=folder.notes,
    )
    prepare_folder(out, _RESULTS, overwrite=overwrite)
    write_json(out / "metrics.json", asdict(result))
    _draw(out, scores[~defective], scores[defective], card.threshold)
    if card.good:
        figures.save_p_values(p_values, len(card.good.scores), out / "p_values.png")
    return result


def _opened(model: Path) -> tuple[Inspector, ModelCard]:
    """Open a model, and say what it was made with."""
    inspector = Inspector(model / "model.onnx" if model.is_dir() else model)
    return inspector, with_origins(inspector.card, model if model.is_dir() else model.parent)


def _same(folder: LabelledFolder, others: LabelledFolder) -> LabelledFolder:
    """Make sure that two models could read the same images: their limits on size may differ."""
    if [f.path for f in folder.findings] != [f.path for f in others.findings]:
        raise CalibrationError(
            f"{folder.folder}: the two models cannot read the same images; remove those that one "
            "of them refuses"
        )
    return others


def _on_pixels(
    folder: LabelledFolder, classes: NDArray[np.str_], truths: Truths, card: ModelCard
) -> tuple[PixelMetrics | None, list[SizeBin]]:
    """Measure where defects are found, and of what size they are, as far as there are masks."""
    masked = (classes != GOOD) & truths.known
    if not masked.any():
        return None, []
    findings = [each for each, known in zip(folder.findings, truths.known, strict=True) if known]
    inspected = _inspected(findings)
    pixels = _pixel_metrics(findings, truths.squares[truths.known], card.images, inspected)
    passed = np.array([finding.verdict == "pass" for finding in folder.findings])
    return pixels, found_per_size(passed[masked], truths.shares[masked])


def _pixel_metrics(
    findings: Sequence[Finding],
    masks: NDArray[np.bool_],
    settings: ImageSettings,
    inspected: NDArray[np.bool_] | None,
) -> PixelMetrics:
    maps = [each.anomaly_map for each in findings if each.anomaly_map is not None]
    squares = np.stack([enlarged(each, settings.shape) for each in maps])
    return pixel_metrics(squares, masks, inspected)


def _inspected(findings: Sequence[Finding]) -> NDArray[np.bool_] | None:
    """Give the pixels of each image that are inspected, [N, S, T]; none where all are."""
    kept = [each.image.inspected for each in findings if each.image]
    restricted = [each for each in kept if each is not None]
    return np.stack(restricted) if restricted else None


def _share(hits: NDArray[Any]) -> Rate:
    return rate(int(hits.sum()), len(hits))


def _shifts(card: ModelCard, findings: Sequence[Finding], classes: NDArray[np.str_]) -> list[Shift]:
    if card.good is None:
        return []
    monitor = DriftMonitor(card.good, card.threshold.score)
    for finding, name in zip(findings, classes, strict=True):
        if name == "good" and finding.image:
            monitor.add(finding.score, finding.image.statistics)
    return monitor.shifts()


def _draw(
    out: Path,
    good: NDArray[np.float64],
    bad: NDArray[np.float64],
    limit: Threshold,
) -> None:
    figures.save_roc(good, bad, limit.score, out / "roc.png")
    figures.save_precision_recall(good, bad, limit.score, out / "precision_recall.png")
    figures.save_scores(
        {"good": good, "defective": bad}, limit, out / "scores.png", title="Test images"
    )
