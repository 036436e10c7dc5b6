"""Choosing the weight of the KL divergence with labelled images, where that is sure to help."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from anomaly_vae.calibration.intervals import CONFIDENCE
from anomaly_vae.calibration.metrics import areas_under_roc
from anomaly_vae.errors import CalibrationError
from anomaly_vae.exporting.graph import export_model
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import write_bytes, write_text
from anomaly_vae.progress import Track
from anomaly_vae.reporting.trained import NORMALS
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.files import config_to_yaml
from anomaly_vae.training.dataset import read_images
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.labelled import Photographs
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.unseen import UNSEEN

WEIGHTS = (-1.0, -0.3, -0.1, -0.03, 0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
_DRAWS = 500
_FEWEST = 10


@dataclass(frozen=True)
class WeightChoice:
    """What another weight would give."""

    before: float
    best: float
    """The weight with the highest AUROC on all images given."""
    aurocs: dict[str, float]
    """By weight, on all images given: optimistic for the best."""
    gain: float
    """In AUROC, on images that the weight was not chosen with."""
    gain_interval: tuple[float, float]
    adopted: bool
    """Whether the model has the best weight now: only if the gain is surely above 0."""


def fit_kl_weight(
    files: Transaction, good: Photographs, defective: Photographs, track: Track
) -> WeightChoice:
    """Choose the weight of the KL of a run anew; if it is another, exports the model again.

    Model, weights and settings are written to ``files``, and take their places with them.

    Raises:
        CalibrationError: fewer than 10 images of a class, or the run has no ``model.onnx``.
        FolderError, ModelFileError: a folder or the model cannot be used.
    """
    run = files.folder
    config = saved_config(run)
    card = Inspector(run / "model.onnx", device="cpu").card
    detector = load_detector(run, config)
    normal, bad = (
        read_images(
            each.folder,
            config.images,
            paths=each.paths,
            workers=usable_cores(),
            scratch=run,
            track=track,
        )
        for each in (good, defective)
    )
    fewest = min(len(normal.paths), len(bad.paths))
    if fewest < _FEWEST:
        raise CalibrationError(
            f"--fit-kl-weight with {fewest} images of a class; expected {_FEWEST} or more of each"
        )
    pixels = np.concatenate([normal.pixels, bad.pixels])
    labels = np.arange(len(pixels)) >= len(normal.pixels)
    before = config.scoring.kl_weight
    weights = sorted({*WEIGHTS, before})
    scores = _scores(detector, pixels, weights)
    choice = choose_weight(scores, labels, weights, before)
    if not choice.adopted:
        return choice
    detector.settings = replace(config.scoring, kl_weight=choice.best)
    detector.standardise(*parts_of_images(detector, normal.pixels))
    card = replace(
        card, kl_weight=choice.best, center=float(detector.center), scale=float(detector.scale)
    )
    export_model(detector, card, files.path("model.onnx"), normal.pixels[:20])
    write_bytes(files.path("vae.safetensors"), save(detector.state_dict()))
    settings = replace(config, scoring=detector.settings)
    write_text(files.path("config.yaml"), config_to_yaml(settings))
    _forget_scores(files)
    return choice


def _forget_scores(files: Transaction) -> None:
    """Leave nothing of good photographs that was said with another weight.

    The models of the folds, which had not seen them, are not kept: they cannot be asked again.
    """
    files.remove([UNSEEN])
    table = files.current(NORMALS)
    if table.is_file():
        normals = pd.read_csv(table, dtype="str", keep_default_na=False)
        write_text(files.path(NORMALS), normals.assign(score="").to_csv(index=False))


def choose_weight(
    scores: NDArray[np.float64], defective: NDArray[np.bool_], weights: list[float], before: float
) -> WeightChoice:
    """Choose among weights by the AUROC of their scores, [weights, N].

    What the choice gains is measured on images it was not made with: the weight is chosen on 500
    stratified bootstrap samples and measured on the images that each of them lacks (the
    leave-one-out bootstrap of Efron and Tibshirani, JASA 92, 1997).
    """
    rng = np.random.default_rng(0)
    current = weights.index(before)
    classes = np.flatnonzero(~defective), np.flatnonzero(defective)
    gains = []
    for _draw in range(_DRAWS):
        inside = np.concatenate([rng.choice(each, len(each)) for each in classes])
        outside = np.setdiff1d(np.arange(len(defective)), inside)
        best = _best(scores[:, inside], defective[inside], current)
        if 0 < defective[outside].sum() < len(outside):
            both = scores[[best, current]][:, outside]
            chosen, known = areas_under_roc(both, defective[outside])
            gains.append(chosen - known)
    low, high = np.quantile(gains, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    best = _best(scores, defective, current)
    return WeightChoice(
        before,
        weights[best],
        {
            f"{weight:g}": float(area)
            for weight, area in zip(weights, areas_under_roc(scores, defective), strict=True)
        },
        float(np.mean(gains)),
        (float(low), float(high)),
        adopted=bool(low > 0) and best != current,
    )


def _best(scores: NDArray[np.float64], defective: NDArray[np.bool_], current: int) -> int:
    """Index of the weight with the highest AUROC; the current one if no other is higher."""
    areas = areas_under_roc(scores, defective)
    return current if areas[current] == areas.max() else int(np.argmax(areas))


def _scores(
    detector: Detector, images: NDArray[np.uint8], weights: list[float]
) -> NDArray[np.float64]:
    """Score images with each weight, [weights, N]; the model itself runs once."""
    parts = parts_of_images(detector, images)
    settings, rows = detector.settings, []
    for weight in weights:
        detector.settings = replace(settings, kl_weight=weight)
        with torch.no_grad():
            rows.append(detector.join(*parts).score.double().numpy())
    detector.settings = settings
    return np.stack(rows)
