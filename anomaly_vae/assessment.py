"""What labelled images tell of a model: its threshold (calibrate) and its quality (evaluate)."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration import (
    Criterion,
    OperatingPoint,
    choose_operating_point,
    good_only_threshold,
    roc_threshold,
)
from anomaly_vae.config import ImageSettings
from anomaly_vae.errors import CalibrationError, FolderError, ImageReadError
from anomaly_vae.evaluation import ImageMetrics, PixelMetrics, image_metrics, pixel_metrics
from anomaly_vae.export import replace_card
from anomaly_vae.images import list_images, load_mask
from anomaly_vae.inspection import Finding, Inspector, map_maxima
from anomaly_vae.metadata import Threshold
from anomaly_vae.outputs import prepare_folder, refuse_used, write_json
from anomaly_vae.progress import Track, untracked
from anomaly_vae.regions import enlarged
from anomaly_vae.reporting import figures


@dataclass(frozen=True)
class Calibration:
    """What a calibration chose, and what the other criteria would have chosen."""

    threshold: Threshold
    points: dict[str, OperatingPoint]
    unreadable: list[str]


def calibrate_run(
    run: Path,
    good: Path,
    defective: Path | None,
    *,
    criterion: Criterion = "youden",
    target: float | None = None,
    track: Track = untracked,
) -> Calibration:
    """Set the threshold of ``run/model.onnx`` from labelled images, or from good ones alone.

    Raises:
        CalibrationError: the scores do not support what was asked for.
        FolderError, ModelFileError: a folder or the model cannot be used.
    """
    if defective is None and criterion in ("recall", "f1"):
        raise CalibrationError(f"--criterion {criterion} needs examples; give --defective DIR")
    if target is not None and criterion in ("youden", "f1") and defective is not None:
        raise CalibrationError(
            f"--target goes with --criterion false-alarm-rate or recall, not with {criterion}"
        )
    model = run / "model.onnx"
    inspector = Inspector(model)
    good_findings, unreadable = _inspect_all(inspector, good, track)
    scores, maxima = _scores(good_findings), map_maxima(good_findings)
    points: dict[str, OperatingPoint] = {}
    if defective is None:
        threshold = good_only_threshold(scores, maxima, target)
        classes = {"good": scores}
    else:
        bad_findings, bad_unreadable = _inspect_all(inspector, defective, track)
        unreadable += bad_unreadable
        bad_scores = _scores(bad_findings)
        points = {criterion: choose_operating_point(scores, bad_scores, criterion, target)}
        for other in get_args(Criterion):
            # Only for comparison: that one cannot be reached is no reason to stop.
            with suppress(CalibrationError):
                points.setdefault(other, choose_operating_point(scores, bad_scores, other))
        threshold = roc_threshold(points[criterion], criterion, maxima)
        classes = {"good": scores, "defective": bad_scores}
        figures.save_roc(scores, bad_scores, threshold.score, run / "roc.png")
    replace_card(model, inspector.card.with_threshold(threshold))
    record = {
        "threshold": asdict(threshold),
        "operating_points": {name: asdict(point) for name, point in points.items()},
    }
    write_json(run / "calibration.json", record)
    figures.save_scores(classes, threshold.score, run / "scores.png", title="Calibration images")
    return Calibration(threshold, points, unreadable)


@dataclass(frozen=True)
class Evaluation:
    """Results on a labelled folder."""

    images: ImageMetrics
    pixels: PixelMetrics | None
    threshold: float
    unreadable: list[str]


def evaluate_model(
    model: Path,
    test: Path,
    out: Path,
    *,
    masks: Path | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Evaluation:
    """Measure ``model`` (a file or a run folder) on a folder with one sub-folder per class.

    Masks are looked for in ``masks`` (by default ``ground_truth`` beside ``test``), as
    ``CLASS/NAME_mask.png``. Writes ``metrics.json``, ``roc.png`` and ``scores.png`` to ``out``.

    Raises:
        FolderError: ``test`` has no class ``good`` or no other, or a mask is missing.
        ModelFileError, OutputError: the model or the output folder cannot be used.
    """
    inspector = Inspector(model / "model.onnx" if model.is_dir() else model)
    _check_labelled(test)
    if not overwrite:
        refuse_used(out)
    findings, unreadable = _inspect_all(inspector, test, track)
    stray = [finding.path for finding in findings if "/" not in finding.path]
    if stray:
        raise FolderError(f"{test}: {stray[0]} lies in no class folder; move it into one")
    classes = np.array([finding.path.split("/")[0] for finding in findings])
    scores = _scores(findings)
    limit = inspector.card.threshold.score
    folder = masks or test.resolve().parent / "ground_truth"
    pixels = None
    if masks or folder.is_dir():
        pixels = _pixel_metrics(findings, classes, folder, inspector.card.images)
    prepare_folder(out, ("metrics.json", "roc.png", "scores.png"), overwrite=overwrite)
    result = Evaluation(image_metrics(scores, classes, limit), pixels, limit, unreadable)
    write_json(out / "metrics.json", {"model_id": inspector.model_id, **asdict(result)})
    good, bad = scores[classes == "good"], scores[classes != "good"]
    figures.save_roc(good, bad, limit, out / "roc.png")
    figures.save_scores(
        {"good": good, "defective": bad}, limit, out / "scores.png", title="Test images"
    )
    return result


def _check_labelled(test: Path) -> None:
    try:
        classes = sorted(entry.name for entry in test.iterdir() if entry.is_dir())
    except OSError as error:
        raise FolderError(f"{test}: {error.strerror}; expected a labelled folder") from error
    if "good" not in classes or len(classes) < 2:
        raise FolderError(
            f"{test}: has the sub-folders {classes}; expected one per class, one of them 'good'"
        )


def _inspect_all(
    inspector: Inspector, folder: Path, track: Track
) -> tuple[list[Finding], list[str]]:
    """Inspect a folder; gives the readable findings, and the paths of the others."""
    paths = list_images(folder)
    findings = list(track(inspector.inspect(folder, paths), f"Scoring {folder.name}", len(paths)))
    readable = [finding for finding in findings if finding.verdict != "error"]
    if not readable:
        raise FolderError(f"{folder}: none of {len(paths)} images is readable; {findings[0].error}")
    return readable, [finding.path for finding in findings if finding.verdict == "error"]


def _scores(findings: Sequence[Finding]) -> NDArray[np.float64]:
    return np.array([finding.score for finding in findings])


def read_masks(
    paths: Sequence[str], classes: NDArray[np.str_], folder: Path, settings: ImageSettings
) -> NDArray[np.bool_]:
    """Read the masks of the images at ``paths``, [N, S, S]; those of class ``good`` are empty.

    Raises:
        FolderError: a mask is missing or cannot be read.
    """
    empty = np.zeros((settings.size, settings.size), bool)
    return np.stack(
        [
            empty if name == "good" else _read_mask(path, folder, settings)
            for path, name in zip(paths, classes, strict=True)
        ]
    )


def _pixel_metrics(
    findings: Sequence[Finding], classes: NDArray[np.str_], folder: Path, settings: ImageSettings
) -> PixelMetrics:
    maps = [each.anomaly_map for each in findings if each.anomaly_map is not None]
    masks = read_masks([each.path for each in findings], classes, folder, settings)
    return pixel_metrics(np.stack([enlarged(each, settings.size) for each in maps]), masks)


def _read_mask(path: str, folder: Path, settings: ImageSettings) -> NDArray[np.bool_]:
    """Read the mask of the image at ``path``, named like it with ``_mask`` or without."""
    stem = folder / Path(path).with_suffix("")
    for candidate in (stem.with_name(f"{stem.name}_mask.png"), stem.with_name(f"{stem.name}.png")):
        if candidate.is_file():
            try:
                return load_mask(candidate, settings)
            except ImageReadError as error:
                raise FolderError(f"{candidate}: {error}") from error
    raise FolderError(
        f"{folder}: has no mask for {path}; expected {stem.name}_mask.png in {stem.parent}"
    )
