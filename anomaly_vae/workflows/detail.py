"""The detail that the smallest defect of interest takes, and what a detail costs."""

import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from anomaly_vae.images.decoding import LoadedImage
from anomaly_vae.images.detail import detail_for
from anomaly_vae.images.files import list_images
from anomaly_vae.images.proportions import sizes_of
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.workflows.suspects import Exclusion


def detail_of(
    smallest: float, good: Path | Exclusion, settings: ImageSettings, *, skip: Path
) -> float:
    """Give the ``images.detail`` at which defects of ``smallest`` pixels of photographs show.

    Raises:
        FolderError: the folder cannot be read.
        ConfigError: no detail shows such defects of its photographs.
    """
    folder = good.folder if isinstance(good, Exclusion) else good
    without = good.paths if isinstance(good, Exclusion) else ()
    paths = [path for path in list_images(folder, skip=skip) if path not in without]
    return detail_for(smallest, sizes_of(folder, paths, os.cpu_count() or 1), settings)


def cost(
    detector: Detector, settings: ImageSettings, photographs: Iterable[LoadedImage]
) -> Iterator[str]:
    """Say what the detail of a detector costs: its places, and its pace here, measured.

    That takes as long as two photographs. And whether ``photographs``, those of the training, have
    that detail.
    """
    frame = np.zeros((1, *settings.input_shape), np.uint8)
    parts_of_images(detector, frame)  # the first one takes longer than all others
    begin = time.perf_counter()
    parts_of_images(detector, frame)  # which waits for a graphics card
    pace = 1 / (time.perf_counter() - begin)
    height, width = settings.shape
    yield (
        f"images.detail = {settings.detail:g}: {width} x {height} pixels, "
        f"{(settings.side / settings.size) ** 2:.3g} times the places; the model alone takes in "
        f"{pace:.2g} images/s on {detector.center.device.type}"
    )
    largest = max(photographs, key=lambda each: each.width * each.height)
    if largest.width * largest.height < height * width:
        size = f"{largest.width} x {largest.height}"
        yield f"photographs have {size}: what is finer is only enlarged"
