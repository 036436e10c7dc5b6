"""Bring an image back to the nearest good one: gradient ascent on the evidence bound.

The posterior mean is where the encoder, in one step, believes a part to be; a defect pulls it
away. Here the latent is moved until the evidence bound of the image is highest (as Dehaene et
al., Iterative energy-based projection on a normal data manifold, ICLR 2020, do with the pixels),
under a likelihood that lets each pixel be an outlier: where the part cannot be what is seen, it is
not asked to.

Letters: N images, S x T pixels, C channels, D latent dimensions.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from anomaly_vae.latent.space import Pictures, as_seen, pixel_features, to_pictures
from anomaly_vae.scoring.batches import score_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.vae.model import VAE, Posterior

# As high a bound as ten times as many steps reach, on the demo's parts.
_STEPS, _LEARNING_RATE = 150, 0.2
# A pixel is taken for an outlier from this many robust standard deviations above the median error
# of its image.
_OUTLIER = 3.0
_MAD_TO_STD = 1.4826
_BATCH = 16


class Restoration(NamedTuple):
    """Images, and the nearest good ones."""

    seen: Pictures
    """[N, S, T, 3], the images as the model sees them."""
    restored: Pictures
    """[N, S, T, 3], what they should look like."""
    score: NDArray[np.float64]
    """[N], of the images."""
    restored_score: NDArray[np.float64]
    """[N], of the restored ones."""

    @property
    def difference(self) -> Pictures:
        """Absolute difference of the two, [N, S, T, 3], black where there is none."""
        difference: Pictures = np.abs(self.seen.astype(np.int16) - self.restored).astype(np.uint8)
        return difference


def restore(detector: Detector, images: Pictures) -> Restoration:
    """Restore images, uint8 [N, S, T, 3].

    Raises:
        ModelFileError: it is a model of trunk features.
    """
    features = pixel_features(detector)
    detector.eval()
    batches = []
    for begin in range(0, len(images), _BATCH):
        batch = torch.from_numpy(images[begin : begin + _BATCH]).to(detector.center.device)
        with torch.no_grad():
            items = features(detector.aligned(batch)[0])
        z = nearest_good(detector.model, items)
        with torch.no_grad():
            batches.append(features.restored(detector.model.expected(z)))
    restored = to_pictures(torch.cat(batches))
    return Restoration(
        as_seen(detector, images),
        restored,
        score_images(detector, images).score.double().numpy(),
        score_images(detector, restored).score.double().numpy(),
    )


def nearest_good(model: VAE, items: Tensor) -> Tensor:
    """Give the latents, [N, D], of the highest robust evidence bound of items, [N, C, S, T].

    It starts at the posterior mean. The bound is taken at the mean, its variance is kept.
    """
    with torch.no_grad():
        posterior = model.encode(items)
        limit = _outlier_level(model.error(items, model.decode(posterior.mean)))
    z = posterior.mean.clone().requires_grad_()
    optimiser = torch.optim.Adam([z])
    for step in range(_STEPS):
        optimiser.param_groups[0]["lr"] = _LEARNING_RATE * (1 - step / _STEPS)
        error = robust(model.error(items, model.decode(z)), limit)
        loss = error.sum() + model.kl(Posterior(z, posterior.log_variance)).sum()
        (z.grad,) = torch.autograd.grad(loss, [z])
        optimiser.step()
    return z.detach()


def robust(error: Tensor, limit: Tensor) -> Tensor:
    """Minus log of exp(-error) + exp(-limit), in nats.

    The error of a pixel that is either of the part, or an outlier of the constant density
    exp(-limit): it hardly grows beyond ``limit``, and its gradient vanishes there.
    """
    return error - softplus(error - limit)


def _outlier_level(error: Tensor) -> Tensor:
    """Give the error, [N, 1, 1], above which pixels of images, [N, S, T], are outliers."""
    pixels = error.flatten(1)
    median = pixels.median(1, keepdim=True).values
    spread = _MAD_TO_STD * (pixels - median).abs().median(1, keepdim=True).values
    return (median + _OUTLIER * spread)[..., None]
