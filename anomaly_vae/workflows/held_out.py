"""What held-out good images tell: scales for the score, and the threshold.

Letters: N images, h x w places of a map.
"""

from collections.abc import Container, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.calibration.conformal import good_only_threshold
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.errors import TrainingError
from anomaly_vae.images.decoding import load_image
from anomaly_vae.inspection.finding import Finding, map_maxima, profile_of
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.progress import Track
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import CALIBRATION, PARTS, STOPPING, ImageSet, group_keys

_REFITTED = (
    "promised by the first training, to whose level the second, on all good images, was brought"
)


def set_scales(
    detector: Detector, images: ImageSet, parts: NDArray[np.str_]
) -> dict[str, list[Tensor]]:
    """Learn what is usual at each place, and center and scale; leaves the detector on the CPU.

    Gives ``Detector.parts`` of the images held out, for each part of the split.

    Raises:
        TrainingError: their scores are all the same.
    """
    given = {
        part: parts_of_images(detector, images.chosen(parts == part))
        for part in (STOPPING, CALIBRATION)
    }
    detector.cpu()  # where these are
    detector.learn_places(*given[STOPPING])
    detector.standardise(*given[CALIBRATION])
    return given


def said_of(
    detector: Detector,
    images: ImageSet,
    parts: NDArray[np.str_],
    given: Mapping[str, Sequence[Tensor]],
) -> dict[str, dict[str, Any]]:
    """Give what a detector says of images held out, by path: fields of a ``Finding``."""
    said: dict[str, dict[str, Any]] = {}
    for part, values in given.items():
        rows = zip(*(column.numpy() for column in detector.join(*values)), strict=True)
        paths = np.array(images.paths)[parts == part]
        for path, (score, error, kl, anomaly_map) in zip(paths, rows, strict=True):
            said[str(path)] = {
                "score": float(score),
                "reconstruction_error": float(error),
                "kl": float(kl),
                "anomaly_map": anomaly_map,
                "highest": float(anomaly_map.max()),
            }
    return said


def score_all(
    model: Path, images: ImageSet, device: torch.device, track: Track, *, shown: Container[str]
) -> list[Finding]:
    """Inspect all good images with an exported model, as inspection will.

    Only the findings of those at the paths ``shown`` keep their pixels and maps.

    Raises:
        TrainingError: one of them can no longer be read.
    """
    inspector = Inspector(model, device="cpu" if device.type == "cpu" else "auto")
    inspected = inspector.inspect_files(images.folder, images.paths)
    tracked = track(inspected, "Scoring good images", len(images.paths))
    findings = [each if each.path in shown else each.lean() for each in tracked]
    vanished = [finding.path for finding in findings if finding.verdict == "error"]
    if vanished:
        raise TrainingError(
            f"{images.folder / vanished[0]}: can no longer be read; put it back and give --resume"
        )
    return findings


def score_unexported(
    detector: Detector, images: ImageSet, parts: NDArray[np.str_], config: Config
) -> list[Finding]:
    """Say of all good images what the trained model says, where there is none to inspect with.

    Raises:
        ImageReadError: one of them can no longer be read.
    """
    given = {part: parts_of_images(detector, images.chosen(parts == part)) for part in PARTS}
    said = said_of(detector, images, parts, given)
    return [
        Finding(path, "pass", image=load_image(images.folder / path, config.images), **said[path])
        for path in images.paths
    ]


def with_threshold(
    card: ModelCard, calibration: Sequence[Finding], digests: Sequence[str], config: Config
) -> ModelCard:
    """Set the threshold of a card from the images set aside for it, and their SHA-256."""
    pattern = config.split.group_by
    threshold = good_only_threshold(
        np.array([finding.score for finding in calibration]),
        map_maxima(calibration),
        review_rate=config.scoring.review_rate,
        groups=group_keys([finding.path for finding in calibration], digests, pattern),
        of_parts=bool(pattern),
    )
    if config.training.refit:
        threshold = replace(threshold, promise=f"{threshold.promise}; {_REFITTED}")
    different = dict(zip(digests, calibration, strict=True))  # copies count once
    return card.calibrated(threshold, profile_of(list(different.values())), digests=digests)
