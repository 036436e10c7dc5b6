"""Parts that a first VAE draws, for the second to learn from beside the few images that there are.

They come from the training images alone: those set aside for calibration have no part in it, and
those for stopping only say when the first VAE stops, as they do of the second.

Letters: C channels, S x T pixels.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from anomaly_vae.errors import TrainingError
from anomaly_vae.progress import Track
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.items import Items
from anomaly_vae.training.loop import Trainer
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.vae.model import VAE
from anomaly_vae.vae.sampling import FEWEST, draw_from_mixture, fit_mixture

_BATCH = 64


def draw_parts(
    training: Items, stopping: Items, config: Config, checkpoint: Path, track: Track
) -> NDArray[np.float32]:
    """Train a first VAE, and draw as many raw items, [N, C, S, T], as ``training.samples`` says.

    Raises:
        TrainingError: there are too few training images, or see ``Trainer.epochs``.
    """
    if len(training) < FEWEST:
        raise TrainingError(
            f"{len(training)} training images; training.samples needs {FEWEST} or more to know "
            "where good parts lie"
        )
    first = build_detector(config).model
    trainer = Trainer(first, config, training, stopping, checkpoint)
    trainer.start()
    for _ in track(trainer.epochs(), "Training the VAE that draws", config.training.epochs):
        pass
    return _drawn(first, training, config)


@torch.no_grad()
def _drawn(model: VAE, items: Items, config: Config) -> NDArray[np.float32]:
    """Draw raw items from a Gaussian mixture over where the items that a model has learned lie."""
    if not isinstance(items.features, PixelFeatures):
        raise TypeError(f"{type(items.features).__name__} cannot be drawn")
    batches = np.array_split(np.arange(len(items)), -(-len(items) // _BATCH))
    means = torch.cat([model.encode(items.draw(each)).mean for each in batches])
    settings = config.training
    z = draw_from_mixture(
        fit_mixture(means.cpu()), settings.samples, temperature=1, seed=settings.seed
    )
    drawn = [
        items.features.restored(model.expected(each)) for each in torch.split(z.to(means), _BATCH)
    ]
    pixels: NDArray[np.float32] = torch.cat(drawn).clamp(0, 1).cpu().numpy()
    return pixels
