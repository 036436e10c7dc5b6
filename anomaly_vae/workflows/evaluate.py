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
from anomaly_vae.outputs import prepare_folder, refuse_used, write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.settings.schema import ImageSettings
from anomaly_vae.workflows.labelled import (
    LabelledFolder,
    Photographs,
    check_labelled,
    classes_of,
    inspect_all,
    read_masks,
    seen_before,
)

P_VALUES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_RESULTS = ("metrics.json", "roc.png", "precision_recall.png", "scores.png", "p_values.png")


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
    unreadable: list[str]


def evaluate_model(
    model: Path,
    test: Path,
    out: Path,
    *,
    masks: Path | None = None,
    against: Path | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Evaluation:
    """Measure ``model`` (a file or a run folder) on a folder with one sub-folder per class.

    Masks are looked for in ``masks`` (by default ``ground_truth`` beside ``test``), as
    ``CLASS/NAME_mask.png``. ``against`` is another model to compare with on the same images.
    Writes ``metrics.json`` and figures to ``out``.

    Raises:
        FolderError: ``test`` has no class ``good`` or no other, or a mask is missing.
        ModelFileError, OutputError: the model or the output folder cannot be used.
    """
    inspector = _inspector(model)
    card = inspector.card
    other = _inspector(against) if against else None
    check_labelled(test)
    if not overwrite:
        refuse_used(out)
    folder = inspect_all(inspector, Photographs(test), track)
    classes = classes_of(folder)
    defective, scores = classes != "good", folder.scores
    pixels: PixelMetrics | None = None
    sizes: list[SizeBin] = []
    masks_folder = masks or test.resolve().parent / "ground_truth"
    if masks or masks_folder.is_dir():
        pixels, sizes = _on_pixels(folder, classes, masks_folder, card)
    p_values = np.array([finding.p_value for finding in folder.findings])[~defective]
    comparison = None
    if other:
        others = _same(folder, inspect_all(other, Photographs(test), track))
        limits = card.threshold.score, other.card.threshold.score
        comparison = compare_models(scores, others.scores, defective, limits)
    result = Evaluation(
        model_id=inspector.model_id,
        threshold=card.threshold.score,
        images=image_metrics(scores, classes, card.threshold),
        pixels=pixels,
        sizes=sizes,
        p_values={f"{level:g}": _share(p_values <= level) for level in P_VALUES},
        shifts=_shifts(card, folder.findings, classes),
        comparison=comparison,
        seen_before=seen_before(model if model.is_dir() else model.parent, folder, calibrated=True),
        unreadable=folder.unreadable,
    )
    prepare_folder(out, _RESULTS, overwrite=overwrite)
    write_json(out / "metrics.json", asdict(result))
    _draw(out, scores[~defective], scores[defective], card.threshold)
    if card.good:
        figures.save_p_values(p_values, len(card.good.scores), out / "p_values.png")
    return result


def _inspector(model: Path) -> Inspector:
    return Inspector(model / "model.onnx" if model.is_dir() else model)


def _same(folder: LabelledFolder, others: LabelledFolder) -> LabelledFolder:
    """Make sure that two models could read the same images: their limits on size may differ."""
    if [f.path for f in folder.findings] != [f.path for f in others.findings]:
        raise CalibrationError(
            f"{folder.folder}: the two models cannot read the same images; remove those that one "
            "of them refuses"
        )
    return others


def _on_pixels(
    folder: LabelledFolder, classes: NDArray[np.str_], masks: Path, card: ModelCard
) -> tuple[PixelMetrics | None, list[SizeBin]]:
    """Measure where defects are found, and of what size they are."""
    truth = read_masks([each.path for each in folder.findings], classes, masks, card.images)
    inspected = _inspected(folder.findings)
    if inspected is not None:
        truth &= inspected
    pixels = None
    if truth.any():
        pixels = _pixel_metrics(folder.findings, truth, card.images, inspected)
    defective = classes != "good"
    passed = np.array([card.threshold.verdict(score) == "pass" for score in folder.scores])
    return pixels, found_per_size(passed[defective], truth[defective].mean((1, 2)))


def _pixel_metrics(
    findings: Sequence[Finding],
    masks: NDArray[np.bool_],
    settings: ImageSettings,
    inspected: NDArray[np.bool_] | None,
) -> PixelMetrics:
    maps = [each.anomaly_map for each in findings if each.anomaly_map is not None]
    squares = np.stack([enlarged(each, settings.size) for each in maps])
    return pixel_metrics(squares, masks, inspected)


def _inspected(findings: Sequence[Finding]) -> NDArray[np.bool_] | None:
    """Give the pixels of each image that are inspected, [N, S, S]; none where all are."""
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
