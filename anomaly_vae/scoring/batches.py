"""A detector run on any number of images, on its own device; results are on the CPU.

Letters: N images, S x T pixels of the square.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.images.many import Chosen, at_once
from anomaly_vae.scoring.detector import Detector, Scores


def score_images(detector: Detector, images: NDArray[np.uint8]) -> Scores:
    """Score any number of images, uint8 [N, S, T, 3]; the results are on the CPU."""
    return Scores(*in_batches(detector, detector, images))


def parts_of_images(detector: Detector, images: NDArray[np.uint8] | Chosen) -> list[Tensor]:
    """Give ``Detector.parts`` of any number of images, uint8 [N, S, T, 3], on the CPU."""
    return in_batches(detector, detector.parts, images)


def in_batches(
    detector: Detector,
    compute: Callable[[Tensor], Iterable[Tensor]],
    images: NDArray[np.uint8] | Chosen,
) -> list[Tensor]:
    """Run ``compute`` on batches of images, uint8 [N, S, T, 3]; gives its results on the CPU."""
    detector.eval()
    size = at_once(images[:1].shape[1:])
    with torch.no_grad():
        batches = [
            compute(torch.from_numpy(images[begin : begin + size]).to(detector.center.device))
            for begin in range(0, len(images), size)
        ]
    return [torch.cat(column).cpu() for column in zip(*batches, strict=True)]
