"""The training loop: KL warm-up, hard-patch mining, early stopping; one record per epoch.

Letters: N images, C channels, h x w locations, D latent dimensions; B items of a batch
(locations for ``PatchVAE``, images for the others).
"""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from anomaly_vae.errors import DeviceError, TrainingError
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.checkpoint import Checkpoint
from anomaly_vae.training.items import Items
from anomaly_vae.vae.model import VAE, Terms
from anomaly_vae.vae.objective import Objective

# A latent dimension is active when its mean moves with the input by more than this variance
# (Burda et al., Importance Weighted Autoencoders, 2016, section 5.2).
ACTIVE_VARIANCE = 0.01
_RISE, _FALL = 0.1, 0.3  # shares of all steps in which the learning rate rises and falls
_FAST_PACE = 10.0
_START_ITEMS = 512


@dataclass(frozen=True)
class EpochRecord:
    """What one epoch did; errors, divergences and losses in nats per item."""

    epoch: int
    loss: float
    reconstruction_error: float
    kl: float
    stopping_loss: float
    active_latents: int
    best: bool
    """Whether this epoch's stopping loss is the lowest so far, or no items are held out."""
    seconds: float


def select_device(name: str) -> torch.device:
    """Turn ``auto``, ``cpu`` or ``cuda`` into a device.

    Raises:
        DeviceError: CUDA is asked for, and there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError("--device cuda: torch finds no CUDA device; see 'anomaly-vae doctor'")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


class Trainer:
    """Trains one VAE on items of good images, and keeps the weights of its best epoch.

    Where there are no items to stop by, the last epoch counts as the best. ``epochs`` ends it
    earlier than the settings say, with the rates of a training that goes on.
    """

    def __init__(
        self,
        model: VAE,
        config: Config,
        training: Items,
        stopping: Items,
        checkpoint: Path,
        *,
        epochs: int | None = None,
    ) -> None:
        self.model = model.to(training.device)
        self.model.noise.copy_(training.features.noise)
        self.settings, self.objective = config.training, Objective(config)
        self.training, self.stopping, self.checkpoint = training, stopping, checkpoint
        self.most_epochs = epochs or self.settings.epochs
        fast = model.fast_parameters
        slow = [each for each in model.parameters() if all(each is not other for other in fast)]
        self.optimiser = torch.optim.Adam(
            [{"params": slow, "pace": 1.0}, {"params": fast, "pace": _FAST_PACE}]
        )
        self.rng = np.random.default_rng(self.settings.seed)
        self.noise = torch.Generator(training.device).manual_seed(self.settings.seed)
        self.history: list[EpochRecord] = []
        self.best: dict[str, Tensor] = {}

    @property
    def total_steps(self) -> int:
        """Number of optimiser steps of the whole training."""
        return self.settings.epochs * self.settings.steps_per_epoch

    @property
    def finished(self) -> bool:
        """Whether the last epoch is done, or none has been better for long enough.

        While a cycle begins, epochs cannot be better: the KL that then grows unpunished counts in
        full. So none is given up before it has had the length of a cycle.
        """
        done, cycles = len(self.history), self.settings.cycles
        cycle = math.ceil(self.settings.epochs / cycles) if cycles > 1 else 0
        since_best = done - self.best_epoch
        return done >= self.most_epochs or since_best >= max(self.settings.patience, cycle)

    @property
    def best_epoch(self) -> int:
        """The number of the best epoch so far; 0 before the first."""
        return max((record.epoch for record in self.history if record.best), default=0)

    @property
    def best_loss(self) -> float:
        """The lowest loss so far of the items to stop by; infinite before the first epoch."""
        return min((record.stopping_loss for record in self.history), default=math.inf)

    def start(self) -> None:
        """Choose the first weights from some training items."""
        first = np.arange(min(len(self.training), _START_ITEMS))
        self.model.start_from(self.training.draw(first))

    def begin(self) -> None:
        """Go on from the checkpoint if there is one, or start."""
        if self.checkpoint.is_file():
            self.resume()
        else:
            self.start()

    def epochs(self) -> Iterator[EpochRecord]:
        """Train epoch by epoch, writing a checkpoint after each; at the end load the best one.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        while not self.finished:
            yield self._epoch()
        self.model.load_state_dict(self.best)
        self.model.eval()

    def resume(self) -> None:
        """Continue from the checkpoint, on the same kind of device as if never interrupted."""
        saved = Checkpoint.load(self.checkpoint)
        self.model.load_state_dict(saved.model)
        self.best = saved.best
        saved.restore_optimiser(self.optimiser)
        self.history = [EpochRecord(**record) for record in saved.history]
        self.rng.bit_generator.state = saved.rng
        if saved.noise.shape == self.noise.get_state().shape:
            self.noise.set_state(saved.noise)
        else:  # begun on another kind of device, whose generator cannot go on here
            self.noise.manual_seed(self.settings.seed + len(self.history))

    def _epoch(self) -> EpochRecord:
        start, number = time.perf_counter(), len(self.history) + 1
        first = (number - 1) * self.settings.steps_per_epoch
        self.model.train()
        steps = [self._step(first + step) for step in range(self.settings.steps_per_epoch)]
        loss, error, kl = torch.stack(steps).double().mean(0).tolist()
        stopping_loss, active = self._evaluate() if len(self.stopping) else (loss, 0)
        if not math.isfinite(loss) or not math.isfinite(stopping_loss):
            raise TrainingError(
                f"the loss of epoch {number} is not a number; lower training.learning_rate "
                f"(now {self.settings.learning_rate:g})"
            )
        best = stopping_loss < self.best_loss or not len(self.stopping)
        if best:
            self.best = {name: value.clone() for name, value in self.model.state_dict().items()}
        seconds = time.perf_counter() - start
        record = EpochRecord(number, loss, error, kl, stopping_loss, active, best, seconds)
        self.history.append(record)
        self._snapshot().save(self.checkpoint)
        return record

    def _snapshot(self) -> Checkpoint:
        return Checkpoint(
            model=self.model.state_dict(),
            best=self.best,
            optimiser=Checkpoint.flat_optimiser(self.optimiser),
            noise=self.noise.get_state(),
            rng=dict(self.rng.bit_generator.state),
            history=[asdict(record) for record in self.history],
        )

    def _step(self, step: int) -> Tensor:
        """One optimiser step; gives loss, error and KL of what was learned from, [3].

        It does not wait for a graphics card, which would stand still until the next one is ready.
        """
        done, risen = step / self.total_steps, self.objective.risen(step)
        for group in self.optimiser.param_groups:
            group["lr"] = group["pace"] * self.settings.learning_rate * _learning_rate(done)
        size = min(self.settings.batch_size, len(self.training))
        items = self.training.draw(self.rng.integers(len(self.training), size=size))
        error, kl = self._forward(self._hardest(items, risen))
        loss = self.objective(error, kl, risen)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return torch.stack([loss, error.mean(), kl.sum(-1).mean()]).detach()

    def _hardest(self, items: Tensor, risen: float) -> Tensor:
        """Keep the items with the largest loss.

        Most locations show background; a mean over all of them learns the background.
        """
        if self.settings.hardest == 1:
            return items
        with torch.no_grad():
            hardness = self.objective.per_item(*self._forward(items), risen)
        count = max(1, round(self.settings.hardest * len(items)))
        return items[hardness.topk(count).indices]

    def _forward(self, items: Tensor) -> Terms:
        with torch.autocast(items.device.type, torch.bfloat16, enabled=items.is_cuda):
            return self.model.sampled(items, self.noise)

    def _evaluate(self) -> tuple[float, int]:
        """Loss of the hardest stopping items at z = mean, and number of active latents.

        It is the loss as it is when the KL term has risen all the way, in every epoch: at full
        beta, with its free bits or the whole capacity. Otherwise the first epochs, in which the KL
        costs little, or is to be small, would seem the best ones.
        """
        self.model.eval()
        errors, kls, means = [], [], []
        size = min(self.settings.batch_size, 4096)
        with torch.no_grad():
            for items in self.stopping.sample(size):
                posterior = self.model.encode(items)
                error, kl = self.model.terms(items, posterior, posterior.mean)
                errors.append(error)
                kls.append(kl)
                means.append(posterior.mean)
        error, kl, mean = torch.cat(errors), torch.cat(kls), torch.cat(means)
        count = max(1, round(self.settings.hardest * len(error)))
        hardest = self.objective.per_item(error, kl).topk(count).indices
        active = (mean.var(0, correction=0) > ACTIVE_VARIANCE).sum()
        return self.objective(error[hardest], kl[hardest]).item(), int(active)


def _learning_rate(done: float) -> float:
    """Factor on the learning rate: a short linear rise, a plateau, a linear fall to nearly zero.

    The plateau is what finds more: half a cosine with the same number of steps was worse.
    """
    rise, fall = done / _RISE, (1 - done) / _FALL
    return max(min(1.0, rise, fall), 0.01)
