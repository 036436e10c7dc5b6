"""How much a model says about an image and how true it is: rate and distortion (torch).

The **rate** is the KL divergence of the posterior from N(0, I): what it takes to send z, and an
upper bound on the information that z has about the image. The **distortion** is minus log p(x | z),
expected over the posterior. Models of the same evidence bound, rate + distortion, may lie far
apart: one says everything, the other nothing (Alemi et al., Fixing a Broken ELBO, ICML 2018).

Letters: N images, S x T pixels; B items (locations for ``PatchVAE``, images for the others), D
latent dimensions.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.scoring.batches import in_batches
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.training.loop import ACTIVE_VARIANCE
from anomaly_vae.vae.features import PixelFeatures

# The distortion of a whole image, a sum over thousands of elements, hardly moves with more.
_DRAWS = 8


class Information(NamedTuple):
    """Rate and distortion of a model on some images; each is a mean over all of them."""

    reconstruction_error: float
    """Minus log p(x | z) at z = the posterior mean, as inspection sees it; nats per item."""
    distortion: float
    """Its expectation over the posterior, from eight draws; nats per item."""
    squared_error: float
    """Mean square of an element's error at z = the posterior mean, in units of standardised items
    (of a Bernoulli model: of pixels in [0, 1])."""
    pixel_error: float
    """The same of pixels in [0, 1]; not a number for a model of trunk features."""
    kl: float
    """Nats per item."""
    bits_per_image: float
    """The rate: the KL of all items of an image, in bits."""
    active_latents: int
    """Dimensions whose posterior mean moves with the item (Burda et al., 2016)."""


def measure(detector: Detector, images: NDArray[np.uint8]) -> Information:
    """Measure a model on images, uint8 [N, S, T, 3], that it was not trained on."""
    model, features = detector.model, detector.features
    noise = torch.Generator(detector.center.device).manual_seed(0)
    unit = features.std if isinstance(features, PixelFeatures) else torch.tensor(math.nan)
    unit = unit.to(detector.center)

    def compute(batch: Tensor) -> tuple[Tensor, ...]:
        items = features.standardised(detector.raw_items(batch))
        posterior = model.encode(items)

        def error(z: Tensor) -> Tensor:
            return _summed(model.error(items, model.decode(model.conditioned(z, items))))

        drawn = [error(model.drawn(posterior, noise)) for _draw in range(_DRAWS)]
        wrong = model.seen(items) - model.reconstruct(items)
        return (
            error(posterior.mean),
            torch.stack(drawn).mean(0),
            wrong.square().flatten(1).mean(1),
            (wrong * unit).square().flatten(1).mean(1),
            model.kl(posterior),
            posterior.mean,
        )

    *sums, means = in_batches(detector, compute, images)
    error, distortion, squared, of_pixels, kl = (each.double().mean().item() for each in sums)
    bits = kl * len(means) / len(images) / math.log(2)
    active = int((means.var(0, correction=0) > ACTIVE_VARIANCE).sum())
    return Information(error, distortion, squared, of_pixels, kl, bits, active)


def _summed(error: Tensor) -> Tensor:
    """Sum the errors of the locations of each item, [B]."""
    return error.reshape(len(error), -1).sum(1)
