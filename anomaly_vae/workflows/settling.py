"""After the first training: the model that inspects, its scales, what would be found with it."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.sensitivity import Sensitivity
from anomaly_vae.errors import CalibrationError, FolderError, ImageReadError, TrainingError
from anomaly_vae.images.roi import inspected
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.latent.collapse import LatentUse
from anomaly_vae.progress import Track
from anomaly_vae.reporting.sensitivity import Example, summary
from anomaly_vae.reporting.suspects import Suspect
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.folds import LAST, CrossFit
from anomaly_vae.training.refit import refit
from anomaly_vae.training.split import TRAINING
from anomaly_vae.workflows.held_out import HeldOut, Unseen
from anomaly_vae.workflows.preparation import Extracted
from anomaly_vae.workflows.sensitivity import Photographs, measure, squares

Drawn = tuple[Sensitivity, list[Example]]
_NOTHING_DRAWN = "no defect could be drawn onto these photographs: what escapes is not known"


@dataclass(frozen=True)
class Outcome:
    """What a training found out, for its run folder."""

    findings: list[Finding]
    """What is said of each good image."""
    suspects: list[Suspect]
    """All of them, the most unusual first."""
    card: ModelCard
    use: LatentUse
    drawn: Drawn | None
    """What would be found of drawn defects; None where that was not asked."""
    said_of_drawn: str
    """The same in a sentence, empty where it was not asked."""
    mm_per_pixel: float | None
    """Side of a pixel of the photographs, if it is known."""
    described: NDArray[np.float32] | None
    """See ``Descriptions``."""


def settle(
    detector: Detector,
    config: Config,
    said: HeldOut,
    items: Extracted,
    *,
    epochs: int,
    folder: Path,
    track: Track,
) -> Unseen | None:
    """Give ``detector``, which has the first model, the one that inspects, and its scales.

    Tells ``said`` what is said of each good image by models that have not seen it (of those that a
    single split trains on, by the last one). Other trainings take as many ``epochs`` as the first,
    and are gone on from in ``folder``. Leaves the detector on the CPU. Gives the models of the
    folds, if there are any.

    Raises:
        TrainingError: the held-out scores do not vary, or a loss is no longer a number.
    """
    device = items.everything.device
    if said.split.folds > 1:
        detector.to(device)
        crossed = CrossFit(
            detector, config, items.folds, items.everything, epochs=epochs, folder=folder
        )
        return said.cross(detector, crossed.run(track))
    said.split_once(detector)
    if config.training.refit:
        refit(
            detector.to(device),
            config,
            items.training,
            items.everything,
            epochs=epochs,
            checkpoint=folder / LAST,
            track=track,
        )
    said.known(detector.cpu(), TRAINING)
    return None


def draw_defects(
    said: HeldOut,
    unseen: Unseen | None,
    limit: Threshold,
    config: Config,
    mm_per_pixel: float | None,
    track: Track,
) -> tuple[Drawn | None, str]:
    """Ask what would be found of defects drawn onto photographs that the models have not seen.

    Gives it, and in a sentence. None where it is not asked for, or there are no folds: then the
    sentence is empty; or where nothing can be drawn on the photographs.

    Raises:
        TrainingError: a photograph can no longer be read, or is another one now.
    """
    if unseen is None or not config.training.sensitivity:
        return None, ""
    images, names = said.images, said.split.names
    # A defect on a photograph that does not pass by itself would be found unseen.
    passing = [limit.verdict(finding.score) == "pass" for finding in said.findings]
    folds = [names.index(part) for part in said.split.parts]
    try:
        drawn = measure(
            Photographs(images.folder, images.paths, images.digests, config.images),
            np.where(passing, folds, -1),
            lambda pictures, fold: unseen.scores(squares(pictures, config.images), fold),
            limit,
            seed=config.training.seed,
            inspected=partial(inspected, config.images),
            track=track,
        )
    except ImageReadError as error:
        raise TrainingError(f"{error}; put it back and give --resume") from error
    except (CalibrationError, FolderError):  # nothing could be drawn, or nothing is inspected
        return None, _NOTHING_DRAWN
    return drawn, summary(drawn[0], mm_per_pixel)
