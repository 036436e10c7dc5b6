"""What the commands of the latent space open: the model of a run folder, and single photographs.

Letters: N images, S x S pixels of the square.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from anomaly_vae.errors import ImageReadError, ModelFileError
from anomaly_vae.images.ahead import read_ahead
from anomaly_vae.images.decoding import load_image
from anomaly_vae.images.levels import said_narrow
from anomaly_vae.latent.space import pixel_features
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.loop import select_device
from anomaly_vae.workflows.runs import load_detector, saved_config


def open_model(run: Path) -> tuple[Config, Detector]:
    """Give the settings and the model of a run folder.

    Raises:
        ModelFileError: it is none, or damaged.
    """
    config = saved_config(run)
    return config, load_detector(run, config).to(select_device("auto")).eval()


def open_pixel_model(run: Path) -> tuple[Config, Detector]:
    """Give the settings and the model of a run folder, if it can draw pictures.

    Raises:
        ModelFileError: it is none, or damaged, or a model of trunk features or of stacks.
    """
    config, detector = open_model(run)
    refuse_stacks(run, config)
    pixel_features(detector)
    return config, detector


def refuse_stacks(run: Path, config: Config) -> None:
    """Refuse a model whose parts are stacks of slices.

    Raises:
        ModelFileError: it is one.
    """
    if config.images.slices:
        raise ModelFileError(
            f"{run}: its parts are stacks of slices, of which no pictures are drawn; expected a "
            "model of photographs"
        )


def read_photographs(
    paths: Sequence[Path], settings: ImageSettings
) -> tuple[NDArray[np.uint8], list[str]]:
    """Read single photographs, [N, S, S, 3], and say what a person should know of them.

    Raises:
        ImageReadError: one cannot be read.
    """
    pixels, narrow = [], []
    loaded = read_ahead(paths, lambda path: load_image(path, settings), workers=1, ahead=0)
    for path, image in loaded:
        if isinstance(image, ImageReadError):
            raise ImageReadError(f"{path}: {image}") from image
        pixels.append(image.pixels)
        narrow += [str(path)] if image.narrow else []
    return np.stack(pixels), [said_narrow(narrow)] if narrow else []
