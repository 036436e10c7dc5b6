"""The variational autoencoders (Kingma and Welling, Auto-Encoding Variational Bayes, 2014).

Letters: N images, C channels, h x w locations, D latent dimensions; B items of a training batch
(locations for ``PatchVAE``, images for the others). All reconstruction errors and KL divergences
are sums in nats: over channels for a location, over pixels and channels for an image.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, softplus

from anomaly_vae.config import Config, ModelSettings

# Bounds of a decoded or learned log-variance: exp(-10 / 2) is less than two grey levels of 255.
_LOG_VARIANCE_RANGE = (-10.0, 7.0)


class Posterior(NamedTuple):
    """The encoder's diagonal Gaussian q(z | x)."""

    mean: Tensor
    log_variance: Tensor


class Parts(NamedTuple):
    """The two parts of the negative evidence bound, per location, in nats."""

    reconstruction_error: Tensor
    kl: Tensor


def kl_divergence(posterior: Posterior) -> Tensor:
    """KL(q(z | x) || N(0, I)) of each latent dimension, in nats, in closed form.

    Kingma and Welling 2014, appendix B: (mean² + variance - log variance - 1) / 2.
    """
    mean, log_variance = posterior
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)


def gaussian_error(x: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Minus log N(x; mean, variance) of each element, in nats."""
    return 0.5 * ((x - mean) ** 2 * (-log_variance).exp() + log_variance + math.log(2 * math.pi))


def sample(posterior: Posterior, generator: torch.Generator | None) -> Tensor:
    """Draw z = mean + sigma * epsilon, epsilon ~ N(0, I) (the reparameterisation trick)."""
    mean, log_variance = posterior
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + (0.5 * log_variance).exp() * noise


class VAE(nn.Module):
    """What the three models share; they differ in encoder, decoder and the shape of their items."""

    encoder: nn.Module
    decoder: nn.Module
    channel_dim = -1

    def __init__(self, settings: ModelSettings, channels: int) -> None:
        super().__init__()
        self.latent_size = settings.latent_size
        self.bernoulli = settings.likelihood == "bernoulli"
        self.variance = settings.variance
        # One learned log-variance for all, or per channel (sigma-VAE, Rybkin et al., ICML 2021).
        learned = {"shared": 1, "channel": channels}.get(settings.variance, 0)
        self.log_variance = nn.Parameter(torch.zeros(learned))
        self.outputs = channels * (2 if self._decodes_variance else 1)

    @property
    def _decodes_variance(self) -> bool:
        return self.variance == "decoded" and not self.bernoulli

    def items(self, maps: Tensor) -> Tensor:
        """Arrange feature maps, [N, C, h, w], as this model takes them."""
        return maps

    def forward(self, x: Tensor) -> Parts:
        """Give reconstruction error and KL of items at z = the posterior mean (deterministic)."""
        posterior = self.encode(x)
        return self.parts(x, posterior, posterior.mean)

    def sampled(self, x: Tensor, generator: torch.Generator | None) -> tuple[Parts, Posterior]:
        """Give the parts at one z drawn from the posterior, as the evidence bound asks for."""
        posterior = self.encode(x)
        return self.parts(x, posterior, sample(posterior, generator)), posterior

    def parts(self, x: Tensor, posterior: Posterior, z: Tensor) -> Parts:
        """Compare ``x`` with what is decoded from ``z``."""
        return Parts(self.error(x, self.decode(z)), self.kl(posterior))

    def reconstruct(self, x: Tensor) -> Tensor:
        """Give the mean of p(x | z) at z = the posterior mean, in the shape of ``x``."""
        output = self.decode(self.encode(x).mean)
        return output.sigmoid() if self.bernoulli else self._gaussian(output)[0]

    def encode(self, x: Tensor) -> Posterior:
        """Give the posterior of each item: mean and log-variance, both [..., D]."""
        return Posterior(*self.encoder(x).chunk(2, -1))

    def decode(self, z: Tensor) -> Tensor:
        """Give the parameters of p(x | z): mean and log-variance (Gaussian), or logits."""
        output: Tensor = self.decoder(z)
        return output

    def error(self, x: Tensor, output: Tensor) -> Tensor:
        """Minus log p(x | z) of each location, in nats: summed over channels."""
        if self.bernoulli:
            elements = binary_cross_entropy_with_logits(output, x, reduction="none")
        else:
            elements = gaussian_error(x, *self._gaussian(output))
        return elements.sum(self.channel_dim)

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence of each latent vector, in nats."""
        return kl_divergence(posterior).sum(-1)

    def _gaussian(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split the decoder's output into mean and log-variance, or add the learned one."""
        if self._decodes_variance:
            mean, log_variance = output.chunk(2, self.channel_dim)
        elif self.variance == "unit":
            return output, torch.zeros_like(output)
        else:
            mean = output
            shape = [1] * output.dim()
            shape[self.channel_dim] = -1
            log_variance = self.log_variance.reshape(shape).expand_as(output)
        low, high = _LOG_VARIANCE_RANGE
        # A soft clamp keeps its gradient outside the range, where a hard one would stop learning.
        log_variance = high - softplus(high - log_variance)
        return mean, low + softplus(log_variance - low)


class PatchVAE(VAE):
    """One latent vector per location; encoder and decoder see a single location, [..., C].

    The same network takes a batch of locations [B, C] in training and whole maps [N, h, w, C]
    at inspection. Being told apart from its neighbours only by the features, a location that
    is normal anywhere on the part is normal everywhere.
    """

    def __init__(self, settings: ModelSettings, channels: int) -> None:
        super().__init__(settings, channels)
        width, latent = settings.hidden_size, settings.latent_size
        self.encoder = _perceptron(channels, width, 2 * latent)
        self.decoder = _perceptron(latent, width, self.outputs)

    def items(self, maps: Tensor) -> Tensor:
        """Put the channels last, [N, h, w, C]."""
        return maps.permute(0, 2, 3, 1)


class ImageVAE(VAE):
    """One latent vector per image; convolutions halve the side four times, [N, C, S, S]."""

    channel_dim = 1

    def __init__(self, settings: ModelSettings, channels: int, size: int) -> None:
        super().__init__(settings, channels)
        widths = [settings.base_channels * 2**level for level in range(4)]
        self.deepest = (widths[-1], size // 16, size // 16)
        features = math.prod(self.deepest)
        self.encoder = nn.Sequential(
            *[_down(before, after) for before, after in pairwise([channels, *widths])],
            nn.Flatten(),
            nn.Linear(features, 2 * settings.latent_size),
        )
        ups = [_up(before, after) for before, after in pairwise(widths[::-1])]
        self.decoder = nn.Sequential(
            nn.Linear(settings.latent_size, features),
            nn.Unflatten(1, self.deepest),
            nn.SiLU(),
            *ups,
            nn.ConvTranspose2d(widths[0], self.outputs, 4, 2, 1),
        )


class DenseVAE(VAE):
    """The fully connected form, 784-400-20 on 28 x 28 in the original paper, [N, C, S, S]."""

    channel_dim = 1

    def __init__(self, settings: ModelSettings, channels: int, size: int) -> None:
        super().__init__(settings, channels)
        width, latent = settings.hidden_size, settings.latent_size
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size**2, width),
            nn.ReLU(),
            nn.Linear(width, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, width),
            nn.ReLU(),
            nn.Linear(width, self.outputs * size**2),
            nn.Unflatten(1, (self.outputs, size, size)),
        )


def build_model(config: Config, channels: int) -> VAE:
    """Make the VAE that ``config.model`` describes, for maps of ``channels`` channels."""
    settings, size = config.model, config.images.size
    if settings.kind == "patch":
        return PatchVAE(settings, channels)
    return (ImageVAE if settings.kind == "image" else DenseVAE)(settings, channels, size)


def _perceptron(inputs: int, width: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, outputs),
    )


def _down(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )


def _up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.SiLU()
    )
