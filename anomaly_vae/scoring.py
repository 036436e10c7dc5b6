"""Reconstruction error and KL divergence, joined into one anomaly score and one map.

    map   = (window mean of (R + kl_weight * KL) - center) / scale
    score = mean of the highest top_fraction of the map (at the least its maximum)

R is minus log p(x | z) at z = the posterior mean, and KL that of the posterior to N(0, I), both
in nats and per location. At kl_weight = 1 their expectation over the posterior bounds -log p(x);
at the mean of the posterior it is a deterministic surrogate of that bound, so that an image has
one score. ``center`` and ``scale`` are median and 1.4826 * MAD of good images set aside for it.

Letters: N images, S x S pixels, h x w map.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from anomaly_vae.alignment import Alignment, inverse, warp
from anomaly_vae.config import Config, ScoringSettings
from anomaly_vae.errors import TrainingError
from anomaly_vae.features import FeatureExtractor, PixelFeatures, build_features, luminance
from anomaly_vae.model import VAE, build_model

# Makes the median absolute deviation of a normal distribution its standard deviation.
_MAD_TO_STD = 1.4826


class Scores(NamedTuple):
    """What the model says of a batch of images; higher is more anomalous."""

    score: Tensor
    """[N], in robust standard deviations of good images."""
    reconstruction_error: Tensor
    """[N], in nats: the mean over the locations that made the score."""
    kl: Tensor
    """[N], in nats: the mean over the same locations."""
    anomaly_map: Tensor
    """[N, h, w], in the unit of ``score``."""


class Detector(nn.Module):
    """The whole computation from pixels to score: what is exported and runs at inspection."""

    center: Tensor
    scale: Tensor

    def __init__(
        self,
        features: FeatureExtractor,
        model: VAE,
        settings: ScoringSettings,
        alignment: Alignment | None = None,
    ) -> None:
        super().__init__()
        self.alignment, self.features, self.model = alignment, features, model
        self.settings = settings
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, images: Tensor) -> Scores:
        """Score images, uint8 [N, S, S, 3] RGB."""
        error, kl = (self._windowed(part) for part in self.parts(images))
        anomaly_map = (error + self.settings.kl_weight * kl - self.center) / self.scale
        count = max(1, round(self.settings.top_fraction * anomaly_map[0].numel()))
        highest, where = anomaly_map.flatten(1).topk(count)
        return Scores(
            highest.mean(1),
            error.flatten(1).gather(1, where).mean(1),
            kl.flatten(1).gather(1, where).mean(1),
            anomaly_map,
        )

    def parts(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give reconstruction error and KL of each location, both [N, h, w], in nats.

        Where there is one latent vector per image, each location carries the KL of the image.
        """
        aligned, pose = self.aligned(images)
        error, kl = self.model(self.features(aligned))
        kl = kl if kl.dim() == 3 else kl[:, None, None].expand_as(error)
        if pose is None:
            return error, kl
        both = warp(torch.stack([error, kl], 1), inverse(pose))
        return both[:, 0], both[:, 1]

    def aligned(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give images in [0, 1], [N, 3, S, S], turned onto the mean good one, and their poses."""
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if self.alignment is None:
            return pixels, None
        pose = self.alignment(luminance(pixels))
        return warp(pixels, pose), pose

    def standardise(self, scores: NDArray[np.floating]) -> None:
        """Set center and scale from the scores, [N], of good images not trained on.

        Raises:
            TrainingError: the scores are all the same, or not finite.
        """
        center = float(np.median(scores))
        scale = _MAD_TO_STD * float(np.median(np.abs(scores - center)))
        if not np.isfinite(scale) or scale <= 0:
            raise TrainingError(
                f"the scores of {len(scores)} held-out good images do not vary "
                f"(median {center:g}); expected different photographs"
            )
        self.center.fill_(center)
        self.scale.fill_(scale)

    def _windowed(self, maps: Tensor) -> Tensor:
        window = self.settings.window
        if window == 1:
            return maps
        pad = window // 2
        return avg_pool2d(maps[:, None], window, 1, pad, count_include_pad=False)[:, 0]


def build_detector(config: Config) -> Detector:
    """Make the untrained detector of ``config``; its trunk has random weights.

    Raises:
        ConfigError: the feature source or its layers do not exist.
    """
    torch.manual_seed(config.training.seed)
    features = build_features(config.features, config.images.size)
    model = build_model(config.model, features.item_shape)
    alignment = Alignment(config.images.size) if config.features.align else None
    return Detector(features, model, config.scoring, alignment)


def score_images(detector: Detector, images: NDArray[np.uint8], *, batch_size: int = 16) -> Scores:
    """Score any number of images, uint8 [N, S, S, 3]; the results are on the CPU."""
    device = detector.center.device
    detector.eval()
    with torch.no_grad():
        batches = [
            detector(torch.from_numpy(images[begin : begin + batch_size]).to(device))
            for begin in range(0, len(images), batch_size)
        ]
    return Scores(*(torch.cat(column).cpu() for column in zip(*batches, strict=True)))


def reconstruct(detector: Detector, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Give what a model of pixels makes of images, uint8 [N, S, S, 3]: [N, S, S, C] in [0, 1]."""
    features = detector.features
    if not isinstance(features, PixelFeatures):
        raise TypeError(f"{type(features).__name__} has no pixels to reconstruct")
    with torch.no_grad():
        aligned, pose = detector.aligned(torch.from_numpy(images).to(detector.center.device))
        pixels = features.restored(detector.model.reconstruct(features(aligned)))
        if pose is not None:
            pixels = warp(pixels, inverse(pose))
    shown: NDArray[np.float32] = pixels.permute(0, 2, 3, 1).cpu().numpy()
    return shown
