"""A small diffusion in the latent space: the VAE compresses, the diffusion draws.

Denoising diffusion (Ho et al., NeurIPS 2020) on the latents of good photographs, as latent
diffusion does it (Rombach et al., CVPR 2022), with the cosine schedule (Nichol and Dhariwal, ICML
2021), drawn from in few steps (DDIM, Song et al., ICLR 2021). It learns from draws of the
posteriors, not from their means: the decoder knows these, and a few hundred points would be learned
by heart. Images that are held out say when it has learned enough.

Letters: N images, B items of a batch, D latent dimensions.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from anomaly_vae.vae.model import Posterior, sample
from anomaly_vae.vae.sampling import refuse_few

_WIDTH, _FREQUENCIES = 256, 16
_STEPS, _CHECK_EVERY, _PATIENCE = 4000, 100, 500  # in steps
_BATCH, _LEARNING_RATE, _AVERAGED = 256, 1e-3, 0.99
_HELD_OUT, _JUDGED = 0.2, 4096  # share of the images, and draws of them
_DRAWING_STEPS = 50


@dataclass(frozen=True)
class Diffusion:
    """What draws latents like those of good photographs."""

    denoiser: "_Denoiser"
    mean: Tensor
    """[D], of the latents."""
    std: Tensor
    """[D], of the latents."""
    steps: int
    """Of the training: as many as were best for images held out."""

    @torch.no_grad()
    def draw(self, count: int, *, temperature: float, seed: int) -> Tensor:
        """Draw latents, [count, D]; ``temperature`` scales the noise that they begin as."""
        generator = torch.Generator().manual_seed(seed)
        z = temperature * torch.randn(count, len(self.mean), generator=generator)
        times = torch.linspace(1, 0, _DRAWING_STEPS + 1)
        for now, then in pairwise(times):
            signal, noise = _shares(now)
            velocity = self.denoiser(z, now.expand(count))
            clean, dirt = signal * z - noise * velocity, noise * z + signal * velocity
            signal, noise = _shares(then)
            z = signal * clean + noise * dirt
        return self.mean + self.std * z


def fit_diffusion(posterior: Posterior, *, seed: int = 0) -> Diffusion:
    """Learn to draw latents from the posteriors, both parts [N, D], of good images.

    Raises:
        FolderError: there are too few images.
    """
    refuse_few(posterior.mean)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(posterior.mean), generator=generator)
    few = max(2, round(_HELD_OUT * len(order)))
    held_out, known = (
        Posterior(posterior.mean[rows], posterior.log_variance[rows])
        for rows in (order[:few], order[few:])
    )
    mean, std = posterior.mean.mean(0), _deviation(posterior)

    def noisy(items: Posterior, times: int) -> _Noisy:
        rows = torch.randint(len(items.mean), (times,), generator=generator)
        chosen = Posterior(items.mean[rows], items.log_variance[rows])
        clean = (sample(chosen, generator) - mean) / std
        dirt, time = (
            torch.randn(clean.shape, generator=generator),
            torch.rand(times, generator=generator),
        )
        signal, noise = _shares(time[:, None])
        return _Noisy(signal * clean + noise * dirt, time, signal * dirt - noise * clean)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        denoiser = _Denoiser(len(mean))
    best, steps = _trained(denoiser, lambda: noisy(known, _BATCH), noisy(held_out, _JUDGED))
    return Diffusion(best, mean, std, steps)


def _trained(
    denoiser: "_Denoiser", draw: Callable[[], "_Noisy"], held_out: "_Noisy"
) -> tuple["_Denoiser", int]:
    """Train; gives the average of the weights over time as it was best, and after which step."""
    averaged = copy.deepcopy(denoiser).eval()
    best, lowest, steps = averaged.state_dict(), math.inf, 0
    optimiser = torch.optim.Adam(denoiser.parameters(), _LEARNING_RATE)
    for step in range(1, _STEPS + 1):
        loss = _loss(denoiser, draw())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        with torch.no_grad():
            for mean, value in zip(averaged.parameters(), denoiser.parameters(), strict=True):
                mean.lerp_(value, 1 - _AVERAGED)
        if step % _CHECK_EVERY:
            continue
        with torch.no_grad():
            found = float(_loss(averaged, held_out))
        if found < lowest:
            best, lowest, steps = copy.deepcopy(averaged.state_dict()), found, step
        elif step - steps >= _PATIENCE:
            break
    averaged.load_state_dict(best)
    return averaged, steps


class _Noisy(NamedTuple):
    """Latents with noise, and what is to be said of them."""

    latents: Tensor
    """[B, D], standardised."""
    time: Tensor
    """[B], from 0, clean, to 1, nothing but noise."""
    velocity: Tensor
    """[B, D], how the latents change with the angle between signal and noise."""


def _loss(denoiser: "_Denoiser", given: _Noisy) -> Tensor:
    """Mean square of what is wrong about the velocity (Salimans and Ho, ICLR 2022)."""
    wrong: Tensor = denoiser(given.latents, given.time) - given.velocity
    return wrong.square().mean()


def _shares(time: Tensor) -> tuple[Tensor, Tensor]:
    """Give how much of latents is signal, and how much is noise: their squares add up to 1."""
    angle = time * (math.pi / 2)
    return angle.cos(), angle.sin()


def _deviation(posterior: Posterior) -> Tensor:
    """Give the standard deviation, [D], of draws from all posteriors together."""
    within = posterior.log_variance.exp().mean(0)
    return (posterior.mean.var(0, correction=0) + within).sqrt().clamp_min(1e-6)


class _Denoiser(nn.Module):
    """A perceptron that sees noisy latents and how noisy they are, and says their velocity."""

    frequencies: Tensor

    def __init__(self, size: int) -> None:
        super().__init__()
        frequencies = math.pi * 2 ** torch.linspace(-1, 6, _FREQUENCIES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layers = nn.Sequential(
            nn.Linear(size + 2 * _FREQUENCIES, _WIDTH),
            nn.SiLU(),
            nn.Linear(_WIDTH, _WIDTH),
            nn.SiLU(),
            last := nn.Linear(_WIDTH, size),
        )
        nn.init.zeros_(last.weight)  # it begins as a Gaussian of the latents' spread

    def forward(self, latents: Tensor, time: Tensor) -> Tensor:
        """Give the velocity, [B, D], of latents, [B, D], at times, [B]."""
        angles = time[:, None] * self.frequencies
        velocity: Tensor = self.layers(torch.cat([latents, angles.sin(), angles.cos()], 1))
        return velocity
