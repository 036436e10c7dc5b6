"""The other VAEs for pixels: convolutional, fully connected, with two levels, with a codebook.

Letters: N images, C channels, S x T pixels, h x w places of the deepest map, D latent dimensions;
K vectors of a codebook, d dimensions of one.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, silu

from anomaly_vae.settings.schema import ModelSettings
from anomaly_vae.vae.model import (
    POSTERIOR_RANGE,
    VAE,
    LinearVAE,
    Posterior,
    Terms,
    bounded,
)
from anomaly_vae.vae.patch import PatchVAE
from anomaly_vae.vae.volume import VolumeVAE


class DenseVAE(VAE):
    """The fully connected form, 784-400-20 on 28 x 28 in the original paper, [N, C, S, T]."""

    channel_dim = 1

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        width, latent, pixels = settings.hidden_size, settings.latent_size, item_shape[1:]
        self.encoder = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(item_shape), width),
            nn.ReLU(),
            nn.Linear(width, 2 * latent),
        )
        self.decoder = nn.Sequential(
            nn.Linear(latent, width),
            nn.ReLU(),
            nn.Linear(width, self.outputs * math.prod(pixels)),
            nn.Unflatten(1, (self.outputs, *pixels)),
        )


class ConvolutionalVAE(VAE):
    """What convolutions share that halve the side of images, [N, C, S, T], several times."""

    channel_dim = 1

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        self.widths = [settings.base_channels * 2**level for level in range(settings.halvings)]
        height, width = (side // 2**settings.halvings for side in item_shape[1:])
        self.deepest = (self.widths[-1], height, width)
        self.batch_norm = settings.batch_norm

    def down(self) -> Iterator[nn.Module]:
        """From an image to the deepest map, [N, *deepest]."""
        for inputs, outputs in pairwise([self.item_shape[0], *self.widths]):
            yield self._block(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=not self.batch_norm))

    def up(self) -> Iterator[nn.Module]:
        """From the deepest map to the parameters of p(x | z)."""
        for inputs, outputs in pairwise(self.widths[::-1]):
            layer = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=not self.batch_norm)
            yield self._block(layer)
        yield nn.ConvTranspose2d(self.widths[0], self.outputs, 4, 2, 1)

    def _block(self, layer: nn.Conv2d | nn.ConvTranspose2d) -> nn.Module:
        norm = [nn.BatchNorm2d(layer.out_channels)] if self.batch_norm else []
        return nn.Sequential(layer, *norm, nn.SiLU())


class ImageVAE(ConvolutionalVAE):
    """One latent vector per image, between two dense layers."""

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        features = math.prod(self.deepest)
        self.encoder = nn.Sequential(
            *self.down(), nn.Flatten(), nn.Linear(features, 2 * settings.latent_size)
        )
        self.decoder = nn.Sequential(
            nn.Linear(settings.latent_size, features),
            nn.Unflatten(1, self.deepest),
            nn.SiLU(),
            *self.up(),
        )


class LadderVAE(ConvolutionalVAE):
    """Two levels of latents: a vector for the whole part, and one at each place, given the first.

    Ladder VAE (Sønderby et al., NeurIPS 2016): the decoder's first level puts out a prior for the
    second, and what the encoder saw at a place is weighed with it by their precisions. The latents
    of the second level are counted from that prior, in its standard deviations (as the residuals
    of NVAE, Vahdat and Kautz, NeurIPS 2020). So the prior of both levels together is N(0, I), and
    their KL has the usual closed form: it does not change with such a change of variables.
    """

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        width, *places = self.deepest
        local = (settings.local_latent_size, *places)
        self.encoder = _LadderEncoder(
            nn.Sequential(*self.down()),
            nn.Sequential(nn.Flatten(), nn.Linear(math.prod(self.deepest), 2 * self.latent_size)),
            nn.Conv2d(width, 2 * local[0], 1),
        )
        self.decoder = _LadderDecoder(
            self.latent_size,
            nn.Sequential(
                nn.Linear(self.latent_size, math.prod(self.deepest)),
                nn.Unflatten(1, self.deepest),
                nn.SiLU(),
            ),
            nn.Conv2d(width, 2 * local[0], 1),
            nn.Sequential(nn.Unflatten(1, local), nn.Conv2d(local[0], width, 1)),
            nn.Sequential(*self.up()),
        )
        self.latent_size += math.prod(local)


class _LadderEncoder(nn.Module):
    """Upwards: from images to the means and log-variances of both levels, [N, 2 D]."""

    def __init__(self, body: nn.Module, whole: nn.Module, local: nn.Module) -> None:
        super().__init__()
        self.body, self.whole, self.local = body, whole, local

    def forward(self, x: Tensor) -> Tensor:
        seen = self.body(x)
        mean, log_variance = self.whole(seen).chunk(2, 1)
        evidence, doubt = self.local(seen).flatten(1).chunk(2, 1)
        # The product of N(evidence, exp(doubt)) and the prior N(0, 1).
        weighed = evidence * torch.sigmoid(-doubt)
        return torch.cat([mean, weighed, log_variance, logsigmoid(doubt)], 1)


class _LadderDecoder(nn.Module):
    """Downwards: from both levels, [N, D], to the parameters of p(x | z)."""

    def __init__(
        self, whole_size: int, top: nn.Module, prior: nn.Module, local: nn.Module, up: nn.Module
    ) -> None:
        super().__init__()
        self.whole_size = whole_size
        self.top, self.prior, self.local, self.up = top, prior, local, up

    def forward(self, z: Tensor) -> Tensor:
        context = self.top(z[:, : self.whole_size])
        mean, log_variance = self.prior(context).flatten(1).chunk(2, 1)
        deviation = (0.5 * bounded(log_variance, *POSTERIOR_RANGE)).exp()
        local = mean + deviation * z[:, self.whole_size :]
        output: Tensor = self.up(silu(context + self.local(local)))
        return output


class QuantisedVAE(ConvolutionalVAE):
    """A code out of a codebook at each place (VQ-VAE, van den Oord et al., NeurIPS 2017).

    The posterior is certain of the nearest of K vectors, so that its KL divergence from a prior
    over codes is minus the log of that code's probability, which the model learns: how often good
    parts use it. It is shared out equally over the d dimensions of the vector. ``model.beta``
    weighs it, and with it how firmly the encoder is held to its code (the beta of the paper).
    """

    def __init__(self, settings: ModelSettings, item_shape: tuple[int, ...]) -> None:
        super().__init__(settings, item_shape)
        width, *places = self.deepest
        shape = (settings.latent_size, *places)
        # Normalised, the encoder cannot run away from the codebook (Łańcucki et al., 2020).
        self.encoder = nn.Sequential(
            *self.down(),
            nn.Conv2d(width, shape[0], 1),
            nn.BatchNorm2d(shape[0], affine=False),
            nn.Flatten(),
        )
        self.decoder = nn.Sequential(
            nn.Unflatten(1, shape), nn.Conv2d(shape[0], width, 1), nn.SiLU(), *self.up()
        )
        self.codebook = nn.Parameter(torch.randn(settings.codes, shape[0]))
        self.code_logits = nn.Parameter(torch.zeros(settings.codes))
        self.code_size, self.places = shape[0], math.prod(places)
        self.latent_size = math.prod(shape)

    @property
    def fast_parameters(self) -> list[nn.Parameter]:
        """The same, and the log-probabilities of codes."""
        return [*super().fast_parameters, self.code_logits]

    @torch.no_grad()
    def start_from(self, items: Tensor) -> None:
        """Start with codes that training images have, [N, C, S, T]."""
        was_training = self.training
        self.train()  # as in the first step, where the batch itself normalises
        seen = self._vectors(self.encoder(items)).flatten(0, 1)
        self.train(was_training)
        chosen = torch.linspace(0, len(seen) - 1, len(self.codebook)).round().long()
        self.codebook.copy_(seen[chosen.to(seen.device)])

    def encode(self, x: Tensor) -> Posterior:
        """Give what the encoder sees before it is replaced by codes, [N, D], and no doubt of it."""
        seen = self.encoder(x)
        return Posterior(seen, torch.full_like(seen, POSTERIOR_RANGE[0]))

    def drawn(self, posterior: Posterior, generator: torch.Generator | None) -> Tensor:  # noqa: ARG002
        """Give the mean: nothing is left to chance."""
        return posterior.mean

    def decode(self, z: Tensor) -> Tensor:
        """Decode the codes nearest to ``z``, [N, D]; the gradient passes straight through to it."""
        return super().decode(self.quantised(z).detach() + (z - z.detach()))

    def quantised(self, z: Tensor) -> Tensor:
        """Give the codes nearest to ``z``, alike, [N, D]."""
        return self._latents(self.codebook[self.nearest(z)])

    def nearest(self, z: Tensor) -> Tensor:
        """Give the number of the nearest code at each place of ``z``, [N, D]: [N, h w]."""
        vectors = self._vectors(z)
        products = vectors @ self.codebook.T
        return (self.codebook.square().sum(1) - 2 * products).argmin(-1)

    def divergences(self, posterior: Posterior) -> Tensor:
        """Minus the log-probability of the codes, shared out over their dimensions, [N, D]."""
        surprise = -self.code_logits.log_softmax(0)[self.nearest(posterior.mean)]
        vectors = surprise[..., None].expand(-1, -1, self.code_size) / self.code_size
        return self._latents(vectors)

    def terms(self, x: Tensor, posterior: Posterior, z: Tensor) -> Terms:
        """Add what only learns, and changes no value: codes and encoder draw near to each other."""
        error, kl = super().terms(x, posterior, z)
        codes = self.quantised(z)
        pull = (codes - z.detach()).square().sum(1)
        commitment = (codes.detach() - z).square()
        return Terms(error + pull - pull.detach(), kl + commitment - commitment.detach())

    def draw_prior(self, count: int, *, temperature: float, seed: int) -> Tensor:
        """Draw latents, [count, D], whose codes have the probabilities of the prior.

        Each place is drawn on its own, which no part is: the places of samples do not fit together
        as long as no model of their neighbourhood is learned too.
        """
        generator = torch.Generator().manual_seed(seed)
        logits = self.code_logits.detach().cpu() / max(temperature, 1e-6)
        drawn = torch.multinomial(
            logits.softmax(0), count * self.places, replacement=True, generator=generator
        )
        return self._latents(self.codebook.detach().cpu()[drawn.reshape(count, self.places)])

    def _vectors(self, z: Tensor) -> Tensor:
        """Give the vector at each place, [N, h w, d], of flat latents, [N, D]."""
        return z.reshape(-1, self.code_size, self.places).transpose(1, 2)

    def _latents(self, vectors: Tensor) -> Tensor:
        """Undo ``_vectors``."""
        return vectors.transpose(1, 2).flatten(1)


_KINDS: dict[str, type[VAE]] = {
    "patch": PatchVAE,
    "linear": LinearVAE,
    "image": ImageVAE,
    "dense": DenseVAE,
    "ladder": LadderVAE,
    "vq": QuantisedVAE,
}


def build_model(settings: ModelSettings, item_shape: tuple[int, ...], slices: int = 1) -> VAE:
    """Make the VAE that ``settings`` describe, for items of a shape: [C] or [C, S, T].

    The latter may be ``slices`` of a stack, one below the other.
    """
    if settings.kind == "volume":
        return VolumeVAE(settings, item_shape, slices)
    return _KINDS[settings.kind](settings, item_shape)
