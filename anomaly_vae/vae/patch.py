"""The VAE of single places: what the defaults use with features of a trunk.

Letters: N images, C channels, h x w locations, D latent dimensions; B locations of a batch.
"""

import torch
from torch import Tensor, nn

from anomaly_vae.settings.schema import ModelSettings
from anomaly_vae.vae.maps import CODE_SIZE
from anomaly_vae.vae.model import VAE, Posterior


class PatchVAE(VAE):
    """One latent vector per location; encoder and decoder see a single location, [..., C].

    The same network takes a batch of locations [B, C] in training and whole maps [N, h, w, C]
    at inspection. Being told apart from its neighbours only by the features, a location that
    is normal anywhere on the part is normal everywhere; unless both are ``told`` where it is, as
    the condition of a conditional VAE (Sohn et al., NeurIPS 2015).
    """

    kl_per_location = True

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        width, latent = settings.hidden_size, settings.latent_size
        self.told = settings.position is True
        codes = CODE_SIZE if self.told else 0
        self.encoder = _perceptron(item_shape[0] + codes, width, 2 * latent)
        self.decoder = _perceptron(latent + codes, width, self.outputs)

    def encode(self, x: Tensor) -> Posterior:
        """Give the posterior of each item: mean and log-variance, both [..., D]."""
        return super().encode(x if self.told else self.seen(x))

    def error(self, x: Tensor, output: Tensor) -> Tensor:
        """Minus log p(x | z) of each location, in nats; codes are not explained."""
        return super().error(self.seen(x), output)

    def conditioned(self, z: Tensor, x: Tensor) -> Tensor:
        """See ``VAE``: the codes of the places."""
        return torch.cat([z, x[..., self.item_shape[0] :]], -1) if self.told else z

    def seen(self, x: Tensor) -> Tensor:
        """See ``VAE``: without codes, [..., C]."""
        (channels,) = self.item_shape
        return x if x.shape[-1] == channels else x[..., :channels]


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )
