"""The commands as Python functions: the same work, with paths in and results out.

Each raises an ``AnomalyVAEError`` where the command would end with exit code 2.
"""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path

from anomaly_vae.calibration.goals import Goal
from anomaly_vae.calibration.metadata import Precision
from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.parity import Parity
from anomaly_vae.progress import Track, untracked
from anomaly_vae.training.loop import EpochRecord
from anomaly_vae.workflows.any_size import Alike, export_any_size
from anomaly_vae.workflows.calibrate import Calibration, ReviewBand, calibrate_run
from anomaly_vae.workflows.evaluate import Evaluation, evaluate_model
from anomaly_vae.workflows.export import LowerModel, export_lower, export_run
from anomaly_vae.workflows.labelled import Photographs
from anomaly_vae.workflows.record import TrainingSummary
from anomaly_vae.workflows.runs import settings_of
from anomaly_vae.workflows.train import TrainingSession

Folder = str | PathLike[str]
File = str | PathLike[str]


def train(
    good_dir: Folder,
    out: Folder,
    *,
    config: File | None = None,
    features: str | None = None,
    weights: File | None = None,
    settings: Sequence[str] = (),
    seed: int | None = None,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    on_epoch: Callable[[EpochRecord], object] = lambda _: None,
    track: Track = untracked,
) -> TrainingSummary:
    """Learn from a folder of photographs of good parts; ends with ``out/model.onnx``.

    ``config`` is a YAML file, or a model of the literature by name. ``features`` is ``pixels``, or
    a torchvision model whose ``weights`` lie in a file (default: torchvision's download).
    ``settings`` are such as ``training.epochs=5``. ``on_epoch`` is called with each epoch's record
    (errors and losses in nats per item), ``track`` wraps what takes long.

    Raises:
        FolderError, ImageReadError: the photographs cannot be used.
        ConfigError, WeightsError: a setting, or the weights of the trunk, are wrong.
        TrainingError, ExportError: it gives no usable model.
        OutputError: ``out`` is in use, or cannot be written to.
    """
    given = {"features.source": features, "training.seed": seed}
    session = TrainingSession(
        Path(good_dir),
        Path(out),
        settings_of(Path(out), _path(config), settings, given, resume=resume),
        weights=_path(weights),
        device=device,
        overwrite=overwrite,
        resume=resume,
        track=track,
    )
    for record in session.epochs():
        on_epoch(record)
    return session.finish()


def calibrate(
    run: Folder,
    good: Folder | Sequence[Folder],
    defective: Folder | None = None,
    *,
    goal: Goal | ReviewBand | None = None,
    review_rate: float | None = None,
    extrapolate: bool = False,
    fit_kl_weight: bool = False,
    track: Track = untracked,
) -> Calibration:
    """Set the threshold of ``run/model.onnx``: by ROC analysis, or from good images alone.

    ``goal`` says what the threshold is to do best (default: Youden's J, or without ``defective``
    the conformal limit). ``review_rate`` is the share of the good images, from 0 to 1, that may be
    for review or fail; several ``good`` folders are days, on each of which that holds. See
    ``calibrate_run``.

    Raises:
        CalibrationError: the scores do not support what was asked for.
        FolderError, ModelFileError: a folder or the model cannot be used.
    """
    return calibrate_run(
        Path(run),
        [Photographs(Path(each)) for each in _several(good)],
        Photographs(Path(defective)) if defective else None,
        goal=goal,
        review_rate=review_rate,
        extrapolate=extrapolate,
        refit_kl_weight=fit_kl_weight,
        track=track,
    )


def evaluate(
    model: File,
    test: Folder,
    out: Folder,
    *,
    masks: Folder | None = None,
    good_class: str | None = None,
    against: File | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Evaluation:
    """Measure a model, a file or a run folder, on a folder with one sub-folder per class.

    Writes ``metrics.json`` and figures to ``out``. See ``evaluate_model``.

    Raises:
        FolderError: ``test`` has no good class or no other, or a mask does not fit.
        ModelFileError, OutputError: the model or ``out`` cannot be used.
    """
    return evaluate_model(
        Path(model),
        Path(test),
        Path(out),
        masks=_path(masks),
        good_class=good_class,
        against=_path(against),
        overwrite=overwrite,
        track=track,
    )


def export(
    run: Folder,
    out: File,
    precision: Precision = "fp32",
    *,
    any_size: bool = False,
    good: Folder | None = None,
    defective: Folder | None = None,
    overwrite: bool = False,
    track: Track = untracked,
) -> Parity | LowerModel | Alike:
    """Write the model of a run to the file ``out``, checked against torch, or against fp32.

    In lower ``precision`` (``fp16``, ``int8``) it is judged by ``good`` and ``defective`` images.
    With ``any_size`` it takes one photograph of any size, for other programs, and is compared with
    the run's own model on ``good`` ones.

    Raises:
        ExportError: it does not compute what it should.
        FolderError, ModelFileError, OutputError: a folder, the run or ``out`` cannot be used.
    """
    if any_size:
        if precision != "fp32" or defective:
            raise ExportError("--any-size goes with --precision fp32, and without --defective")
        return export_any_size(
            Path(run), Path(out), good=_path(good), overwrite=overwrite, track=track
        )
    if precision == "fp32":
        if good or defective:
            raise ExportError("--good and --defective go with --precision fp16 or int8")
        return export_run(Path(run), Path(out), overwrite=overwrite)
    return export_lower(
        Path(run),
        Path(out),
        precision,
        good=_path(good),
        defective=_path(defective),
        overwrite=overwrite,
        track=track,
    )


def _several(given: Folder | Sequence[Folder]) -> Sequence[Folder]:
    return [given] if isinstance(given, str | PathLike) else given


def _path(given: str | PathLike[str] | None) -> Path | None:
    return None if given is None else Path(given)
