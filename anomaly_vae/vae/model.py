"""The variational autoencoder (Kingma and Welling, Auto-Encoding Variational Bayes, 2014).

What all of them share, and the linear one; see ``patch`` and ``architectures`` for the others.

Letters: N images, C channels, h x w locations, D latent dimensions; B items of a training batch
(locations for ``PatchVAE``, images for the others). All reconstruction errors and KL divergences
are sums in nats: over channels for a location, over pixels and channels for an image.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from anomaly_vae.settings.schema import ModelSettings

# Bounds of log-variances, of the output and of the posterior: beyond them exp() would overflow
# or a density would become infinite.
_OUTPUT_RANGE = (-10.0, 7.0)
POSTERIOR_RANGE = (-12.0, 5.0)


class Posterior(NamedTuple):
    """The encoder's diagonal Gaussian q(z | x)."""

    mean: Tensor
    log_variance: Tensor


class Parts(NamedTuple):
    """The two parts of the negative evidence bound, per location, in nats."""

    reconstruction_error: Tensor
    kl: Tensor


class Terms(NamedTuple):
    """What the loss of a batch of items is made of, in nats."""

    error: Tensor
    """Reconstruction error of each item, [B], summed over its locations."""
    kl: Tensor
    """KL divergence of each latent dimension, [B, D]."""


def kl_divergence(posterior: Posterior) -> Tensor:
    """KL(q(z | x) || N(0, I)) of each latent dimension, in nats, in closed form.

    Kingma and Welling 2014, appendix B: (mean² + variance - log variance - 1) / 2.
    """
    mean, log_variance = posterior
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1)


def sample(posterior: Posterior, generator: torch.Generator | None) -> Tensor:
    """Draw z = mean + sigma * epsilon, epsilon ~ N(0, I) (the reparameterisation trick)."""
    mean, log_variance = posterior
    noise = torch.empty_like(mean).normal_(generator=generator)
    return mean + (0.5 * log_variance).exp() * noise


class VAE(nn.Module):
    """What all models share; they differ in encoder, decoder and the shape of their items."""

    encoder: nn.Module
    decoder: nn.Module
    noise: Tensor
    """[*item_shape], the variance that no item is free of: ``FeatureExtractor.noise``."""
    channel_dim = -1
    kl_per_location = False
    told = False
    """Whether the codes behind an item, which tell its place, are looked at."""

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.item_shape = item_shape
        self.latent_size = settings.latent_size  # of all latents of an item together
        self.bernoulli = settings.likelihood == "bernoulli"
        self.variance = settings.variance
        # Learned log-variances that do not depend on z (sigma-VAE, Rybkin et al., ICML 2021).
        per_channel = (item_shape[0], *[1] * (len(item_shape) - 1))
        shapes = {"shared": (1,), "channel": per_channel, "element": item_shape}
        learned = (0,) if self.bernoulli else shapes.get(settings.variance, (0,))
        self.log_variance = nn.Parameter(torch.zeros(learned))
        self.register_buffer("noise", torch.zeros(item_shape))
        # Channels that the decoder puts out: means, and log-variances where it decodes them.
        self.outputs = item_shape[0] * (2 if self._decodes_variance else 1)

    @property
    def _decodes_variance(self) -> bool:
        return self.variance == "decoded" and not self.bernoulli

    @property
    def fast_parameters(self) -> list[nn.Parameter]:
        """Those that learn in larger steps: logarithms have further to go than weights."""
        return [self.log_variance]

    def start_from(self, items: Tensor) -> None:
        """Choose the first weights from training items; most models start at random."""

    def forward(self, x: Tensor) -> Parts:
        """Give reconstruction error and KL of items at z = the posterior mean (deterministic)."""
        posterior = self.encode(x)
        return self.parts(x, posterior, posterior.mean)

    def sampled(self, x: Tensor, generator: torch.Generator | None) -> Terms:
        """Give the terms at one z drawn from the posterior, as the evidence bound asks for."""
        posterior = self.encode(x)
        return self.terms(x, posterior, self.drawn(posterior, generator))

    def terms(self, x: Tensor, posterior: Posterior, z: Tensor) -> Terms:
        """Compare items of a batch, [B, ...], with what is decoded from ``z``, for learning."""
        error = self.error(x, self.decode(self.conditioned(z, x)))
        return Terms(error.reshape(len(error), -1).sum(1), self.divergences(posterior))

    def parts(self, x: Tensor, posterior: Posterior, z: Tensor) -> Parts:
        """Compare ``x`` with what is decoded from ``z``."""
        return Parts(self.error(x, self.decode(self.conditioned(z, x))), self.kl(posterior))

    def seen(self, x: Tensor) -> Tensor:
        """Give items without what they only tell, and is not explained."""
        return x

    def conditioned(self, z: Tensor, x: Tensor) -> Tensor:  # noqa: ARG002
        """Put behind latents what the decoder is told of the items beside them, if anything."""
        return z

    def reconstruct(self, x: Tensor) -> Tensor:
        """Give the mean of p(x | z) at z = the posterior mean, in the shape of ``x``."""
        return self.expected(self.conditioned(self.encode(x).mean, x))

    def expected(self, z: Tensor) -> Tensor:
        """Give the mean of p(x | z), in the shape of the items."""
        output = self.decode(z)
        return output.sigmoid() if self.bernoulli else self._gaussian(output)[0]

    def encode(self, x: Tensor) -> Posterior:
        """Give the posterior of each item: mean and log-variance, both [..., D]."""
        mean, log_variance = self.encoder(x).chunk(2, -1)
        return Posterior(mean, bounded(log_variance, *POSTERIOR_RANGE))

    def decode(self, z: Tensor) -> Tensor:
        """Give the parameters of p(x | z): mean and log-variance (Gaussian), or logits."""
        output: Tensor = self.decoder(z)
        return output

    def error(self, x: Tensor, output: Tensor) -> Tensor:
        """Minus log p(x | z) of each location, in nats: summed over channels."""
        if self.bernoulli:
            # Binary cross-entropy, spelled out: torch exports its own one as the log of a sigmoid,
            # which ONNX Runtime rounds to zero where the decoder is sure.
            return (softplus(output) - x * output).sum(self.channel_dim)
        mean, log_variance = self._gaussian(output)
        squares = ((x - mean) ** 2 * (-log_variance).exp()).sum(self.channel_dim)
        # Of a learned variance the rest is the same for all items, and is summed once.
        rest = log_variance if self._decodes_variance else log_variance.expand(1, *self.item_shape)
        return 0.5 * (squares + (rest + math.log(2 * math.pi)).sum(self.channel_dim))

    def residual(self, x: Tensor) -> Tensor:
        """Give how far items are from what is expected, in its spread, in their shape."""
        output = self.decode(self.conditioned(self.encode(x).mean, x))
        mean, log_variance = self._gaussian(output)
        return (self.seen(x) - mean) * (-0.5 * log_variance).exp()

    @torch.no_grad()
    def noise_error(self) -> Tensor:
        """Give what ``noise`` alone adds to the error of a location: [h, w] or one number, in nats.

        Where an item decodes its variance, that of standardised items, 1, stands for it.
        """
        if self.bernoulli:  # a decoder that is as sure as it can be, and wrong by the noise
            deviation = self.noise.sqrt().clamp_min(1e-12)
            return -(deviation * deviation.log()).sum(0)
        learned = torch.zeros(()) if self._decodes_variance else self.log_variance
        variance = bounded(learned, *_OUTPUT_RANGE).exp() if learned.numel() else 1
        return 0.5 * (self.noise / (variance + self.noise)).sum(0)

    def kl(self, posterior: Posterior) -> Tensor:
        """KL divergence of each latent vector, in nats."""
        return self.divergences(posterior).sum(-1)

    def divergences(self, posterior: Posterior) -> Tensor:
        """KL divergence of each latent dimension from the prior, [..., D], in nats."""
        return kl_divergence(posterior)

    def drawn(self, posterior: Posterior, generator: torch.Generator | None) -> Tensor:
        """Draw z from the posterior."""
        return sample(posterior, generator)

    def draw_prior(self, count: int, *, temperature: float, seed: int) -> Tensor:
        """Draw latents, [count, D], from N(0, temperature² I)."""
        generator = torch.Generator().manual_seed(seed)
        return temperature * torch.randn(count, self.latent_size, generator=generator)

    def _gaussian(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Split the decoder's output into mean and log-variance, or add the learned one.

        The noise is added to what was learned: where good items are all the same, a variance would
        else shrink until the last bit of a pixel is a defect. What does not depend on the item has
        no dimension for it: it costs nothing.
        """
        if self._decodes_variance:
            mean, log_variance = output.chunk(2, self.channel_dim)
        elif self.variance == "unit":
            return output, torch.zeros((), device=output.device)
        else:
            mean, log_variance = output, self.log_variance
        return mean, (bounded(log_variance, *_OUTPUT_RANGE).exp() + self.noise).log()


class LinearVAE(VAE):
    """One latent vector per image, linear encoder and decoder, [N, C, S, T].

    With one variance for all elements this is probabilistic PCA (Tipping and Bishop, 1999), with
    one per element factor analysis; its evidence bound has no bad local maxima (Lucas et al.,
    NeurIPS 2019). On aligned images it needs far fewer of them than a deep network does.
    """

    channel_dim = 1

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        size = math.prod(item_shape)
        # Keeps a step of Adam small in z, however many pixels are summed.
        self.scale = math.sqrt(size)
        latent, outputs = settings.latent_size, self.outputs * size // item_shape[0]
        self.encoder = nn.Sequential(nn.Flatten(), nn.Linear(size, 2 * latent))
        self.decoder = nn.Sequential(
            nn.Linear(latent, outputs), nn.Unflatten(1, (self.outputs, *item_shape[1:]))
        )

    def encode(self, x: Tensor) -> Posterior:
        """Give the posterior of each image: mean and log-variance, both [N, D]."""
        return super().encode(x / self.scale)

    @torch.no_grad()
    def start_from(self, items: Tensor) -> None:
        """Start at the principal components of standardised training images, [N, C, S, T]."""
        rows = items.flatten(1)
        # Eigenvectors of the small [N, N] matrix give those of the huge covariance.
        values, vectors = torch.linalg.eigh(rows @ rows.T)
        # As many components as images would leave no residual to estimate the variance from.
        count = min(self.latent_size, max(1, len(rows) // 2))
        values, vectors = values.flip(0)[:count].clamp_min(1e-6), vectors.flip(1)[:, :count]
        axes, deviations = rows.T @ vectors / values.sqrt(), (values / len(rows)).sqrt()
        encoder_weight, encoder_bias = self.encoder.parameters()
        decoder_weight, decoder_bias = self.decoder.parameters()
        for parameter in (encoder_weight, encoder_bias, decoder_weight, decoder_bias):
            parameter.zero_()
        decoder_weight[: axes.shape[0], :count] = axes * deviations
        encoder_weight[:count] = (axes / deviations).T * self.scale
        encoder_bias[self.latent_size :] = -4.0  # a narrow posterior: the latents are in use
        if self.variance == "element":
            rest = (rows - rows @ axes @ axes.T).square().mean(0).clamp_min(1e-2)
            self.log_variance.copy_(rest.log().reshape(self.item_shape))


def bounded(values: Tensor, low: float, high: float) -> Tensor:
    """Clamp softly: outside the range the gradient does not vanish, so that learning goes on."""
    return low + softplus(high - softplus(high - values) - low)
