"""What is written down of a training: its model card, and the record for ``card.html``."""

import math
import platform
import shlex
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from anomaly_vae import __version__
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.latent.collapse import LatentUse, remedies
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.vae.trunk import TrunkFeatures


def model_card(
    detector: Detector, config: Config, images: ImageSet, threshold: Threshold
) -> ModelCard:
    """Describe a trained detector, and the good images that it was made of."""
    features, model = detector.features, config.model
    layers = f" {', '.join(features.layers)}" if isinstance(features, TrunkFeatures) else ""
    return ModelCard(
        images=config.images,
        features=f"{config.features.source}{layers}",
        model=f"{model.kind} VAE, latent size {model.latent_size}, {model.likelihood}, "
        f"variance {model.variance}, beta {model.beta:g}",
        kl_weight=config.scoring.kl_weight,
        center=float(detector.center),
        scale=float(detector.scale),
        threshold=threshold,
        training_images=len(images.paths),
        training_fingerprint=images.fingerprint,
        program_version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def train_command(folder: Path, out: Path, device: str, weights: Path | None) -> str:
    """Give the command that makes a run again, as a shell takes it."""
    command = ["anomaly-vae", "train", str(folder), "--out", str(out)]
    command += ["--config", str(out / "config.yaml"), "--device", device]
    return shlex.join(command + (["--weights", str(weights)] if weights else []))


def training_record(
    images: ImageSet, parts: dict[str, int], config: Config, command: str
) -> dict[str, Any]:
    """Tell what a training was given, and with which versions it ran."""
    return {
        "folder": spelled(str(images.folder)),
        "parts": parts,
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
