"""The detail that the smallest defect of interest takes, and what a detail costs."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from anomaly_vae.errors import ConfigError
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.detail import detail_for
from anomaly_vae.images.files import list_images
from anomaly_vae.images.proportions import sizes_of, with_frame
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.loop import select_device
from anomaly_vae.workflows.suspects import Exclusion


def detail_of(
    smallest: float, good: Path | Exclusion, settings: ImageSettings, *, skip: Path
) -> float:
    """Give the ``images.detail`` at which defects of ``smallest`` pixels of photographs show.

    Raises:
        FolderError: the folder cannot be read.
        ConfigError: no detail shows such defects of its photographs, or parts are stacks.
    """
    if settings.slices:
        raise ConfigError("--smallest-defect is for photographs, not with images.slices")
    return detail_for(smallest, sizes_of(*_listed(good, skip), usable_cores()), settings)


def cost(config: Config, good: Path | Exclusion, device: str, *, skip: Path) -> Iterator[str]:
    """Say what the detail of a model costs: its places, and its pace here, measured.

    That takes as long as two photographs, and nothing without detail. Says, too, where ``good``
    photographs have less detail.

    Raises:
        FolderError, ConfigError, DeviceError: as the training would.
    """
    if config.images.detail == 1:
        return
    listed = _listed(good, skip)
    images, _ = with_frame(*listed, config, usable_cores())
    detector = build_detector(replace(config, images=images)).to(select_device(device))
    frame = np.zeros((1, *images.input_shape), np.uint8)
    parts_of_images(detector, frame)  # the first one takes longer than all others
    begin = time.perf_counter()
    parts_of_images(detector, frame)  # which waits for a graphics card
    pace = 1 / (time.perf_counter() - begin)
    height, width = images.shape
    yield (
        f"images.detail = {images.detail:g}: {width} x {height} pixels, "
        f"{(images.side / images.size) ** 2:.3g} times the places; the model alone takes in "
        f"{pace:.2g} images/s here"
    )
    largest = max(
        sizes_of(*listed, usable_cores()), key=lambda size: size[0] * size[1], default=None
    )
    if largest and largest[0] * largest[1] < height * width:
        yield f"photographs have {largest[0]} x {largest[1]}: what is finer is only enlarged"


def _listed(good: Path | Exclusion, skip: Path) -> tuple[Path, list[str]]:
    """Give the folder of a training, and the paths of its photographs."""
    folder = good.folder if isinstance(good, Exclusion) else good
    without = good.paths if isinstance(good, Exclusion) else ()
    return folder, [path for path in list_images(folder, skip=skip) if path not in without]
