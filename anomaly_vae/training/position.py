"""Whether a patch VAE is told where in the frame it looks: held-out good images decide.

A place that is told apart from others only by what is seen there is normal wherever that is normal
on the part: background where a lead should be. Parts that lie alike are known better by their
place; to others it says nothing, and a model that is told may learn by heart. So both are trained
on the same items, and the one is kept that explains good images better which neither has seen, by
the loss that ends a training (``Trainer``).
"""

from dataclasses import replace

import torch

from anomaly_vae.progress import Track
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.loop import Trainer
from anomaly_vae.vae.architectures import build_model


def settle_position(
    first: Trainer, detector: Detector, config: Config, track: Track
) -> tuple[Trainer, Config, str]:
    """Train another model that is told the place, where ``model.position`` is ``auto``.

    Gives the better of the two trainings, settings in which the choice is made, and a line that
    says so (empty where there was none). The detector has the better model. A second training that
    was begun beside the checkpoint of the ``first``, which is at its end, is gone on from.

    Raises:
        TrainingError: the loss is no longer a number, or the checkpoint is damaged.
    """
    settings = config.model
    if settings.kind != "patch" or settings.position != "auto":
        return first, config, ""
    told = replace(config, model=replace(settings, position=True))
    torch.manual_seed(config.training.seed)
    model = build_model(told.model, detector.features.item_shape)
    checkpoint = first.checkpoint.with_name("told.safetensors")
    second = Trainer(model, told, first.training, first.stopping, checkpoint)
    second.begin()
    left = config.training.epochs - len(second.history)
    for _ in track(second.epochs(), "Training again, told the place", left):
        pass
    losses = f"{second.best_loss:.2f} nats to {first.best_loss:.2f}"
    if second.best_loss < first.best_loss:
        detector.model = second.model
        return second, told, f"told where it looks: held-out images are explained better, {losses}"
    untold = replace(config, model=replace(settings, position=False))
    return first, untold, f"not told where it looks: held-out images are not better, {losses}"
