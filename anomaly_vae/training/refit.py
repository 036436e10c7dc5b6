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

from pathlib import Path

import torch

from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.loop import Items, Trainer
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
    before = _level(detector, known)
    if config.model.likelihood == "gaussian":
        detector.features.fit(everything.stored)
    torch.manual_seed(config.training.seed)
    model = build_model(config.model, detector.features.item_shape)
    none = Items(everything.stored[:0], detector.features, everything.device)
    trainer = Trainer(model, config, everything, none, checkpoint, epochs=epochs)
    if checkpoint.is_file():
        trainer.resume()
    else:
        trainer.start()
    left = epochs - len(trainer.history)
    for _ in track(trainer.epochs(), "Training again, on all good images", left):
        pass
    detector.model.load_state_dict(model.state_dict())
    after = _level(detector, known)
    detector.usual_error += after.reconstruction_error - before.reconstruction_error
    detector.usual_kl += after.kl - before.kl


@torch.no_grad()
def _level(detector: Detector, items: Items) -> Parts:
    """Give the mean reconstruction error and KL of items, in nats per place."""
    batches = [detector.model(batch) for batch in items.sample()]
    errors, kls = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return Parts(errors.mean(), kls.mean())
