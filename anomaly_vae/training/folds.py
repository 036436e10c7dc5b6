"""Every good image judged by a model that has not seen it, and then one model of all of them.

A limit from good images alone needs good images that the model has not learned from, and the more
of them the less a few odd ones among them decide. So they are divided into folds, a model is
trained on all but one of them for each fold and judges that one, and the model that inspects is
trained on all: cross-conformal prediction (Vovk, Annals of Mathematics and AI 74, 2015), for
anomaly detection see Hennhöfer and Preisach (arXiv 2402.16388, 2024).

All models are alike but for a level: another network rebuilds everything a little better or worse.
On images that both have learned from that is seen directly, so what a fold's model says is brought
to the level of the last one there, as ``refit`` does it. All train as long as was best for the
first, by the images that it has not seen: one number that the folds share. What is proved of such
limits, and what was measured, says ``calibration.conformal``.

Letters: N images, h x w places of a map.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from anomaly_vae.errors import TrainingError
from anomaly_vae.images.many import Chosen
from anomaly_vae.outputs import write_bytes
from anomaly_vae.progress import Track
from anomaly_vae.scoring.batches import parts_of_images
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import EpochRecord
from anomaly_vae.training.refit import Retraining, level
from anomaly_vae.vae.model import Parts

LAST = "refit.safetensors"
"""Checkpoint of the training on all images."""
_STATE = "state/"
# What features learn of items; ``components`` are those of a whitened trunk.
_LEARNED = ("features.mean", "features.std", "features.components")


@dataclass(frozen=True)
class Fold:
    """Images that are held out together."""

    images: Chosen
    known: Items
    """The items of all others."""


@dataclass(frozen=True)
class FoldModel:
    """What has not seen the images of a fold, and what it says of them."""

    state: dict[str, Tensor]
    """Of the detector, but for its trunk and scales, which are those of all."""
    shift: Parts
    """What brings its error and KL to the level of the last model, in nats."""
    said: Parts
    """``Detector.parts`` of the images, at that level, on the CPU."""


class CrossFit:
    """The trainings after the first, whose model ``detector`` has: it has not seen the first fold.

    ``epochs`` is how long that one trained. What is done is kept in ``folder``, and gone on from.
    """

    def __init__(
        self,
        detector: Detector,
        config: Config,
        folds: Sequence[Fold],
        everything: Items,
        *,
        epochs: int,
        folder: Path,
    ) -> None:
        self.detector, self.config = detector, config
        self.folds, self.everything = folds, everything
        self.length, self.folder = epochs, folder

    def run(self, track: Track) -> list[FoldModel]:
        """Train; gives the model of each fold, and what it says. The detector has the last model.

        Raises:
            TrainingError: the loss is no longer a number, or a file of an earlier run is damaged.
        """
        trainings = sum(
            not _kept(self.folder, number).is_file() for number in range(1, len(self.folds))
        )
        for _ in track(
            self._epochs(), f"Training on {len(self.folds)} folds", (trainings + 1) * self.length
        ):
            pass
        return [self._at_last_level(number) for number in range(len(self.folds))]

    def _epochs(self) -> Iterator[EpochRecord]:
        for number, fold in enumerate(self.folds):
            if _kept(self.folder, number).is_file():
                continue
            if number == 0:
                self._keep(number)
                continue
            checkpoint = self.folder / f"fold-{number + 1}.safetensors"
            yield from self._retrained(fold.known, checkpoint)
            self._keep(number)
            checkpoint.unlink()
        yield from self._retrained(self.everything, self.folder / LAST)

    def _retrained(self, items: Items, checkpoint: Path) -> Iterator[EpochRecord]:
        training = Retraining(
            self.detector, self.config, items, epochs=self.length, checkpoint=checkpoint
        )
        yield from training.epochs()

    def _keep(self, number: int) -> None:
        """Write down the present model, what it says of the images of a fold, and its level."""
        fold = self.folds[number]
        error, kl = parts_of_images(self.detector, fold.images)
        known = torch.stack(level(self.detector, fold.known))
        said = {"error": error, "kl": kl, "level": known} | {
            f"{_STATE}{name}": value
            for name, value in self.detector.state_dict().items()
            if name.startswith("model.") or name in _LEARNED
        }
        tensors = {name: value.cpu().contiguous() for name, value in said.items()}
        write_bytes(_kept(self.folder, number), save(tensors))

    def _at_last_level(self, number: int) -> FoldModel:
        path = _kept(self.folder, number)
        try:
            said = load_file(path)
            error, kl, before = said["error"], said["kl"], said["level"]
        except (OSError, KeyError, SafetensorError) as error_:
            raise TrainingError(f"{path}: damaged ({error_}); use --overwrite") from error_
        shift = torch.stack(level(self.detector, self.folds[number].known)).cpu() - before
        state = {key.removeprefix(_STATE): said[key] for key in said if key.startswith(_STATE)}
        return FoldModel(state, Parts(*shift), Parts(error + shift[0], kl + shift[1]))


def first_is_done(folder: Path) -> bool:
    """Tell whether trainings have begun in a folder that take as many epochs as the first did."""
    return _kept(folder, 0).is_file() or (folder / LAST).is_file()


def _kept(folder: Path, number: int) -> Path:
    return folder / f"held-out-{number + 1}.safetensors"
