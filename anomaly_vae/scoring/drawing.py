"""What a model of pixels expects to see.

Letters: N images, S x T pixels of the frame, C channels.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.alignment import inverse, warp
from anomaly_vae.vae.features import PixelFeatures


class Drawing(nn.Module):
    """A detector of pixels that also says what it expects to see."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Give the scores of images, uint8 [N, S, T, 3], and their reconstructions, alike."""
        pixels = reconstructed(self.detector, images).expand(-1, 3, -1, -1).permute(0, 2, 3, 1)
        return *self.detector(images), (255 * pixels).round().clamp(0, 255).to(torch.uint8)


def reconstructed(detector: Detector, images: Tensor) -> Tensor:
    """Give what a model of pixels makes of images, uint8 [N, S, T, 3]: [N, C, S, T] in [0, 1]."""
    features = detector.features
    if not isinstance(features, PixelFeatures):
        raise TypeError(f"{type(features).__name__} has no pixels to reconstruct")
    aligned, pose = detector.aligned(images)
    pixels = features.restored(detector.model.reconstruct(features(aligned)))
    return pixels if pose is None else warp(pixels, inverse(pose))


def reconstruct(detector: Detector, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give the same of images outside torch: [N, S, T, C]."""
    with torch.no_grad():
        pixels = reconstructed(detector, torch.from_numpy(images).to(detector.center.device))
    shown: NDArray[np.float32] = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return shown
