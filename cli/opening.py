"""What several commands read: the model of a run folder, folders of images, photographs."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from .console import talk
from .saying import warn_notes, warn_unreadable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from anomaly_vae.scoring.detector import Detector
    from anomaly_vae.settings.schema import Config, ImageSettings
    from anomaly_vae.training.dataset import ImageSet


def open_model(run: Path) -> "tuple[Config, Detector]":
    """Give the settings and the model of a run folder."""
    from anomaly_vae.training.loop import select_device
    from anomaly_vae.workflows.runs import load_detector, saved_config

    config = saved_config(run)
    return config, load_detector(run, config).to(select_device("auto")).eval()


def open_pixel_model(run: Path) -> "tuple[Config, Detector]":
    """Give the settings and the model of a run folder, if it can draw pictures."""
    from anomaly_vae.latent.space import pixel_features

    config, detector = open_model(run)
    pixel_features(detector)
    return config, detector


def read_folder(folder: Path, settings: "ImageSettings", *, skip: Path | None = None) -> "ImageSet":
    """Read the images of a folder; says which of them are not readable."""
    from anomaly_vae.training.dataset import read_images

    images = read_images(folder, settings, workers=os.cpu_count() or 1, skip=skip, track=talk.track)
    warn_unreadable([path for path, _reason in images.unreadable])
    warn_notes(images.notes)
    return images


def read_photographs(paths: list[Path], settings: "ImageSettings") -> "NDArray[np.uint8]":
    """Read single photographs, [N, S, S, 3]."""
    import numpy as np

    from anomaly_vae.errors import ImageReadError
    from anomaly_vae.images.decoding import load_image

    images = []
    for path in paths:
        try:
            images.append(load_image(path, settings).pixels)
        except ImageReadError as error:
            raise ImageReadError(f"{path}: {error}") from error
    return np.stack(images)
