"""A second training, on all good images, once those held out have set scales and threshold.

To stop a training, to know what is usual where and to set the threshold takes good images that the
model has not learned from: 40 % of them, and a model that learns from those as well finds clearly
more (reports/ablation.md). As in scikit-learn's ``CalibratedClassifierCV(ensemble=False)``, what
the first model says of the held-out images is kept, and a second one, of all, takes its place.

Both are alike but for a level: a second network rebuilds everything a little better or worse, and
its output variances are others. On images that both have learned from that is seen directly, so it
is taken off there: the difference of their mean errors, one number, and the same of their KL. What
is left, that more images make new ones less unusual, errs towards fewer false alarms. It is no
proof; reports/calibration.md has the rates that were kept.
"""

from collections.abc import Iterator
from pathlib import Path

import torch

from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import EpochRecord, Trainer
from anomaly_vae.vae.architectures import build_model
from anomaly_vae.vae.model import Parts


def refit(
    detector: Detector,
    config: Config,
    known: Items,
    everything: Items,
    *,
    epochs: int,
    checkpoint: Path,
    track: Track,
) -> None:
    """Give ``detector`` a model trained on ``everything``, at the level of the one that it has.

    ``known`` are items that its present model has learned from, and ``epochs`` is how long that
    one did. A ``checkpoint`` that is there is gone on from. Extractor and items are on one device.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is damaged.
    """
    before = level(detector, known)
    training = Retraining(detector, config, everything, epochs=epochs, checkpoint=checkpoint)
    for _ in track(training.epochs(), "Training again, on all good images", training.left):
        pass
    after = level(detector, known)
    detector.usual_error += after.reconstruction_error - before.reconstruction_error
    detector.usual_kl += after.kl - before.kl


class Retraining:
    """Another model for a detector, trained on ``items`` for so many ``epochs``.

    A ``checkpoint`` that is there is gone on from. Extractor and items are on one device.
    """

    def __init__(
        self, detector: Detector, config: Config, items: Items, *, epochs: int, checkpoint: Path
    ) -> None:
        self.detector = detector
        if config.model.likelihood == "gaussian":
            detector.features.fit(*items.raw)
        torch.manual_seed(config.training.seed)
        features = detector.features
        model = build_model(config.model, features.item_shape, features.slices)
        none = Items(items.stored[:0], detector.features, items.device)
        self.trainer = Trainer(model, config, items, none, checkpoint, epochs=epochs)
        self.trainer.begin()
        self.left = epochs - len(self.trainer.history)

    def epochs(self) -> Iterator[EpochRecord]:
        """Train; after the last epoch the detector has the model.

        Raises:
            TrainingError: the loss is no longer a number, or the checkpoint is damaged.
        """
        yield from self.trainer.epochs()
        self.detector.model.load_state_dict(self.trainer.model.state_dict())


@torch.no_grad()
def level(detector: Detector, items: Items) -> Parts:
    """Give the mean reconstruction error and KL of items, in nats per place."""
    batches = [detector.model(batch) for batch in items.sample()]
    errors, kls = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Parts(errors.mean(), kls.mean())
