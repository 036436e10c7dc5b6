"""Which latent dimensions are in use, how much they say, and what to do if they say nothing.

Posterior collapse: the KL divergence was punished until the posterior of every item had become the
prior; then the decoder hears nothing, and what is anomalous cannot be told by it.

Letters: N held-out items (places of a map for ``PatchVAE``, images for the others), D latent
dimensions.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.settings.schema import Config
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import ACTIVE_VARIANCE
from anomaly_vae.vae.model import VAE, Posterior

_MOST_ITEMS, _BATCH = 2000, 256
_DRAWS = 2000
# A smaller share of latent dimensions in use is hardly any, and less information hardly one.
_HARDLY_ANY, _HARDLY_ANYTHING_NATS = 1 / 8, 0.1
# Nearer to the most that so many items can show, the mutual information may be any larger.
_CEILING_NATS = 0.1


@dataclass(frozen=True)
class LatentUse:
    """How a model uses its latent dimensions, on held-out good items."""

    kl: list[float]
    """Mean KL divergence of each dimension, in nats."""
    activity: list[float]
    """Variance of the posterior mean over the items, of each dimension (Burda et al., 2016)."""
    mutual_information: float
    """Between item and latent, in nats; see ``mutual_information``."""
    items: int
    """What it was estimated on."""
    unit: str
    """What an item is, in the plural."""

    @property
    def active(self) -> list[bool]:
        """Whether each dimension's mean moves with what is seen."""
        return [variance > ACTIVE_VARIANCE for variance in self.activity]

    @property
    def hardly_used(self) -> bool:
        """Whether the posterior has collapsed, or nearly; a single item cannot tell."""
        few = sum(self.active) < max(1, _HARDLY_ANY * len(self.kl))
        return self.items > 1 and (few or self.mutual_information < _HARDLY_ANYTHING_NATS)

    @property
    def summary(self) -> str:
        """One sentence, for the terminal and the card."""
        most = math.log(self.items)
        at_ceiling = self.mutual_information > most - _CEILING_NATS
        known = f" (all that {self.items} held-out {self.unit} can show)" if at_ceiling else ""
        return (
            f"{sum(self.active)} of {len(self.kl)} latent dimensions are active, "
            f"KL {sum(self.kl):.1f} nats, mutual information about "
            f"{self.mutual_information:.1f} nats{known}"
        )


@torch.no_grad()
def latent_use(model: VAE, items: Items, *, seed: int) -> LatentUse:
    """Find out how a model uses its latent dimensions, on some thousand items at most."""
    model.eval()
    count = min(len(items), _MOST_ITEMS)
    chosen = np.linspace(0, len(items) - 1, count).astype(np.int64)
    found = [
        model.encode(items.draw(chosen[begin : begin + _BATCH]))
        for begin in range(0, count, _BATCH)
    ]
    divergences = torch.cat([model.divergences(each) for each in found])
    posterior = Posterior(*(torch.cat(each).double().cpu() for each in zip(*found, strict=True)))
    generator = torch.Generator().manual_seed(seed)
    return LatentUse(
        kl=divergences.double().mean(0).tolist(),
        activity=posterior.mean.var(0, correction=0).tolist(),
        mutual_information=mutual_information(posterior, generator),
        items=count,
        unit="places" if model.kl_per_location else "images",
    )


def mutual_information(posterior: Posterior, generator: torch.Generator) -> float:
    """Estimate I(x; z), in nats, from the posteriors, double [N, D], of N items.

    Hoffman and Johnson (ELBO surgery, 2016): the mean KL to the prior is I(x; z) and the KL of the
    aggregated posterior q(z), the mean of the posteriors, to the prior. Both hold densities of the
    prior, which cancel; what is left is the mean of log q(z | x) - log q(z), taken here over z
    drawn from the posteriors (as by Dieng et al., 2019, and He et al., 2019). It cannot be more
    than log N: N items cannot be told apart any better.
    """
    deviation = (0.5 * posterior.log_variance).exp()
    draws = math.ceil(_DRAWS / len(posterior.mean))
    gains = []
    for _ in range(draws):
        noise = torch.empty_like(deviation).normal_(generator=generator)
        densities = _log_densities(posterior.mean + deviation * noise, posterior)
        aggregated = densities.logsumexp(1) - math.log(len(densities))
        gains.append((densities.diagonal() - aggregated).mean())
    found = torch.stack(gains).mean().item()
    return min(max(0.0, found), math.log(len(deviation)))


def _log_densities(z: Tensor, posterior: Posterior) -> Tensor:
    """Give log q(z_i | x_j), [N, N], of points [N, D], but for a constant.

    The squares are multiplied out, which takes N x N numbers instead of N x N x D, and the double
    precision that posteriors have here.
    """
    mean, log_variance = posterior
    precision = (-log_variance).exp()
    squares = z**2 @ precision.T - 2 * z @ (mean * precision).T + (mean**2 * precision).sum(1)
    return -0.5 * (squares + log_variance.sum(1))


def remedies(use: LatentUse, config: Config) -> str:
    """Say that the posterior has collapsed, or nearly, and what may help; empty if it has not."""
    if not use.hardly_used:
        return ""
    active, size, advice = sum(use.active), len(use.kl), _advice(config)
    if active:
        advice.append(f"if so few are enough, lower model.latent_size (now {size})")
    return (
        f"posterior collapse, or nearly: {active} of {size} latent dimensions are active and say "
        f"{use.mutual_information:.1f} nats about what is seen; {', or '.join(advice)}"
    )


def _advice(config: Config) -> list[str]:
    """Name the settings that may wake latent dimensions, and have not been used up."""
    beta, training = config.model.beta, config.training
    if not beta:
        return [f"raise training.epochs (now {training.epochs}), or training.learning_rate"]
    if training.capacity:
        return [
            f"raise training.capacity (now {training.capacity:g} nats)",
            f"raise model.beta (now {beta:g}), which weighs the distance to it",
        ]
    advice = [f"lower model.beta (now {beta:g})"]
    if training.kl_warmup < 0.5:
        advice.append(f"lengthen training.kl_warmup (now {training.kl_warmup:g})")
    elif training.cycles == 1:
        advice.append("repeat the warm-up (training.cycles=4)")
    if training.free_bits:
        return [*advice, f"raise training.free_bits (now {training.free_bits:g} nats)"]
    return [*advice, "do not punish the first nats (training.free_bits=0.1)"]
