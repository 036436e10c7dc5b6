"""Distillation: a small trunk learns to predict the maps of a large one.

The target are the teacher's maps as a VAE sees them: layers joined, averaged over their
neighbours, as principal components that are made equally strong, so that what tells defects counts
as much as what tells dogs from cats. So do EfficientAD with the raw channels of a layer (Batzner et
al., WACV 2024) and FitNets (Romero et al., ICLR 2015); that few pictures are enough where they are
cropped and lit at random, Asano and Saeed showed with a single one (ICLR 2023).

Letters: N crops, S x S pixels, C channels, K components, h x w locations at stride 8, M pictures.
"""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from anomaly_vae.errors import TrainingError
from anomaly_vae.training.crops import Crops
from anomaly_vae.vae.student import WIDTHS, Student, Widths
from anomaly_vae.vae.trunk import TrunkFeatures

_RISE, _FALL = 0.03, 0.5  # shares of the training in which the learning rate rises and falls
REPORTS = 40
_CHECKED, _FITTED = 64, 512
_HELD_OUT = 20  # one picture in so many is never learned from


@dataclass(frozen=True)
class Recipe:
    """How long and how a student learns."""

    minutes: float
    """Length of the training; it ends earlier after ``steps`` of the optimiser."""
    steps: int = 10**9
    batch_size: int = 128
    """Crops in a step."""
    size: int = 256
    """Side of a crop, in pixels."""
    learning_rate: float = 3e-3
    seed: int = 0
    compiled: bool = False
    """Whether torch compiles teacher and student, which takes a minute first."""


@dataclass(frozen=True)
class Progress:
    """How far a student is."""

    done: float
    """Share of the training, from 0 to 1."""
    steps: int
    crops: int
    seconds: float
    loss: float
    """Mean squared error of the components since the last report."""
    explained: float
    """Share of the variance of the components in crops of held-out pictures that it predicts."""
    explained_strongest: float
    """The same of the strongest 96 of them."""


class Distillation:
    """Trains a student on crops of a bank of pictures, uint8 [M, 3, B, B]."""

    def __init__(
        self,
        teacher: TrunkFeatures,
        bank: Tensor,
        recipe: Recipe,
        device: torch.device,
        widths: Widths = WIDTHS,
        start: dict[str, Tensor] | None = None,
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        self.teacher = teacher.to(device).to(memory_format=torch.channels_last).eval()
        held_out = torch.arange(len(bank)) % _HELD_OUT == 0
        bank = bank.to(device)
        self.crops = Crops(bank[~held_out.to(device)], recipe.size, recipe.seed)
        others = Crops(bank[held_out.to(device)], recipe.size, 1)
        self.checked = [others.draw(min(_CHECKED, recipe.batch_size)) for _ in range(4)]
        self._fit_teacher()
        student = Student(widths, *self.teacher.item_shape, learning=True)
        if start:
            student.start_from(start, self.checked[0].cpu())
        self.student = student.to(device).to(memory_format=torch.channels_last)
        cuda = device.type == "cuda"
        self.optimiser = torch.optim.AdamW(
            self.student.parameters(), lr=recipe.learning_rate, weight_decay=1e-4, fused=cuda
        )
        torch.backends.cudnn.benchmark = cuda
        self._run: Callable[[Tensor], tuple[Tensor, Tensor]] = self._compared
        if recipe.compiled:
            self._run = torch.compile(self._compared)

    def train(self) -> Iterator[Progress]:
        """Train until the time is over, reporting now and then.

        Raises:
            TrainingError: the loss is no longer a number.
        """
        begin, reported, steps, losses = time.perf_counter(), 0.0, 0, list[Tensor]()
        done = 0.0
        while done < 1:
            losses.append(self._step(done))
            steps += 1
            seconds = time.perf_counter() - begin
            done = min(1.0, max(seconds / (60 * self.recipe.minutes), steps / self.recipe.steps))
            if done < 1 and done < reported + 1 / REPORTS:
                continue
            loss = torch.stack(losses).mean().item()
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {steps} is not a number; lower --learning-rate "
                    f"(now {self.recipe.learning_rate:g})"
                )
            crops = steps * self.recipe.batch_size
            explained, strongest = self.explained()
            yield Progress(done, steps, crops, seconds, loss, explained, strongest)
            reported, losses = done, []

    def weights(self) -> dict[str, Tensor]:
        """Give the trunk as it runs, in half precision."""
        found = self.student.weights()
        return {name: value.half().cpu().contiguous() for name, value in found.items()}

    @torch.no_grad()
    def explained(self) -> tuple[float, float]:
        """Share of the variance that is predicted, of all components and the strongest 96."""
        self.student.eval()
        pairs = [self._compared(images) for images in self.checked]
        self.student.train()
        predicted, wanted = (torch.cat(each) for each in zip(*pairs, strict=True))
        left = (predicted - wanted).square().mean((0, 2, 3))
        share = 1 - left / wanted.var((0, 2, 3))
        return share.mean().item(), share[:96].mean().item()

    def _step(self, done: float) -> Tensor:
        rate = max(min(1.0, done / _RISE, (1 - done) / _FALL), 0.005)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * self.recipe.learning_rate
        with torch.no_grad():
            images = self.crops.draw(self.recipe.batch_size)
        predicted, wanted = self._run(images)
        loss = (predicted - wanted).square().mean()
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return loss.detach()

    def _compared(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Give the components that the student predicts, and the teacher's, [N, K, h, w]."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad(), self._autocast(torch.float16):
            wanted = self.teacher(images).permute(0, 3, 1, 2).float()
        with self._autocast(torch.bfloat16):
            predicted = self.student(images).float()
        return predicted, wanted

    def _autocast(self, dtype: torch.dtype) -> torch.autocast:
        """Half precision on a GPU: the teacher's has more digits, the student's more range."""
        return torch.autocast(self.device.type, dtype, enabled=self.device.type == "cuda")

    @torch.no_grad()
    def _fit_teacher(self) -> None:
        """Learn what its components are from crops; one location in eight is enough."""
        batch, rows = min(32, self.recipe.batch_size), []
        for _ in range(_FITTED // batch):
            raw = self.teacher.raw(self.crops.draw(batch)).flatten(0, 2)
            rows.append(raw[::8].cpu())
        self.teacher.fit(torch.cat(rows).numpy())
