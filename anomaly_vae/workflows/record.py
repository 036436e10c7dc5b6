"""What is written down of a training: its model card, and the record for ``card.html``."""

import math
import platform
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomaly_vae import __version__
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.seen import packed
from anomaly_vae.exporting.parity import Parity
from anomaly_vae.images.stacks import side_by_side
from anomaly_vae.latent.collapse import LatentUse, latent_use, remedies
from anomaly_vae.latent.space import decode, redrawn
from anomaly_vae.reporting.learning import save_latent_table, save_latent_use
from anomaly_vae.reporting.pictures import save_epoch
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.suspects import Suspect
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.training.items import Items
from anomaly_vae.training.split import Split
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.workflows.suspects import Exclusion

EPOCHS = "epochs"
_EPOCH_PARTS, _EPOCH_SAMPLES = 4, 16


@dataclass(frozen=True)
class TrainingSummary:
    """What a training gave."""

    card: ModelCard
    parity: Parity
    suspects: list[Suspect]
    """The most unusual good images: dirty "good" folders are common."""
    limiting: str
    """The good image whose score is the threshold."""
    latents: LatentUse
    advice: str
    """What to do against posterior collapse; empty if there is none."""
    position: str = ""
    """Whether the model is told where it looks, and why; empty where that was set."""
    drawn: str = ""
    """What would be found of drawn defects, in a sentence; empty where that was not asked."""

    @property
    def collapsed(self) -> bool:
        """Whether no latent dimension carries information."""
        return not any(self.latents.active)


def model_card(
    detector: Detector,
    config: Config,
    images: ImageSet,
    seen: NDArray[np.bool_],
    threshold: Threshold,
) -> ModelCard:
    """Describe a trained detector, and its good images; it has learned from those ``seen``, [N]."""
    features, model = detector.features, config.model
    layers = f" {', '.join(features.layers)}" if isinstance(features, TrunkFeatures) else ""
    return ModelCard(
        images=config.images,
        features=f"{config.features.source}{layers}",
        model=f"{model.kind} VAE, latent size {model.latent_size}, {model.likelihood}, "
        f"variance {model.variance}, beta {model.beta:g}"
        + (", told its place" if detector.model.told else ""),
        kl_weight=config.scoring.kl_weight,
        center=float(detector.center),
        scale=float(detector.scale),
        threshold=threshold,
        training_images=len(images.paths),
        training_fingerprint=images.fingerprint,
        learned_from=packed(compress(images.digests, seen)),
        set_with=packed(compress(images.digests, ~seen)),
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def train_command(
    folder: Path, out: Path, device: str, weights: Path | None, exclusion: Exclusion | None
) -> str:
    """Give the command that makes a run again, as a shell takes it."""
    command = ["anomaly-vae", "train", str(folder), "--out", str(out)]
    command += ["--config", str(out / "config.yaml"), "--device", device]
    command += ["--weights", str(weights)] if weights else []
    return shlex.join(command + (exclusion.options if exclusion else []))


def training_record(images: ImageSet, split: Split, config: Config, command: str) -> dict[str, Any]:
    """Tell what a training was given, and with which versions it ran."""
    return {
        "folder": spelled(str(images.folder)),
        "parts": {name: int(split.of(name).sum()) for name in split.names},
        "samples": config.training.samples,
        "refit": config.training.refit,
        "unreadable": [spelled(f"{path}: {reason}") for path, reason in images.unreadable],
        "command": spelled(command),
        "versions": {name: version(name) for name in ("anomaly-vae", "torch", "torchvision")}
        | {"python": f"{platform.python_version()} on {platform.platform()}"},
    }


def latent_record(use: LatentUse, items_per_image: float, config: Config) -> dict[str, Any]:
    """Tell how much the latent dimensions say, in nats per item and bits per image."""
    return {
        "dimensions": len(use.kl),
        "active": sum(use.active),
        "kl": sum(use.kl),
        "bits_per_image": sum(use.kl) * items_per_image / math.log(2),
        "mutual_information": use.mutual_information,
        "summary": use.summary,
        "advice": remedies(use, config),
    }


def diagnose(detector: Detector, held_out: Items, config: Config, out: Path) -> LatentUse:
    """Find out which latent dimensions are in use, and write it to the folder ``out``."""
    use = latent_use(detector.model, held_out, seed=config.training.seed)
    save_latent_table(use, out / "latents.csv")
    save_latent_use(use, out / "latents.png")
    return use


def picture_epoch(detector: Detector, held_out: Items, path: Path) -> None:
    """Draw held-out parts, what the model makes of them, and what it makes of noise.

    The parts and the noise are the same in every epoch.
    """
    shown = np.arange(min(_EPOCH_PARTS, len(held_out)))
    z = detector.model.draw_prior(_EPOCH_SAMPLES, temperature=1, seed=0)
    pictures = *redrawn(detector, held_out.draw(shown)), decode(detector, z)
    slices = detector.features.slices
    laid_out = [np.stack([side_by_side(each, slices) for each in some]) for some in pictures]
    save_epoch(laid_out[0], laid_out[1], laid_out[2], path)
