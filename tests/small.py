"""Small models, pictures and points that several tests need."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config, FeatureSettings, ModelSettings, ScoringSettings
from anomaly_vae.training.dataset import ImageSet
from anomaly_vae.vae.features import FeatureExtractor

CPU = torch.device("cpu")


def rows(count: int, seed: int = 0, *, scale: float = 1.0) -> NDArray[np.float16]:
    """Points near a curved line in four dimensions."""
    rng = np.random.default_rng(seed)
    t = scale * rng.normal(size=(count, 1))
    line = np.hstack([t, t**2, np.sin(t), -t]) + 0.05 * rng.normal(size=(count, 4))
    return line.astype(np.float16)


def shuffled(count: int) -> NDArray[np.float64]:
    """The numbers 1 to ``count``, so that the k-th smallest is k."""
    return np.random.default_rng(count).permutation(np.arange(1.0, count + 1))


class Given(FeatureExtractor):
    """Features that are there already."""

    def raw(self, images: Tensor) -> Tensor:
        return images


def detector(
    kind: str = "image",
    *,
    color: bool = True,
    align: bool = False,
    border: int = 0,
    **scoring: object,
) -> Detector:
    source = "resnet18" if kind == "patch" else "pixels"
    config = Config(
        images=ImageSettings(size=64),
        features=FeatureSettings(source=source, color=color, align=align, border=border),
        model=ModelSettings(kind=kind, latent_size=3, hidden_size=8, base_channels=2),
        scoring=ScoringSettings(**scoring),
    )
    return build_detector(config).eval()


def pictures(count: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 64, 3), dtype=np.uint8)


def card(score: float = 1.0) -> ModelCard:
    limit = Threshold(score=score, anomaly_map=1.0, criterion="good-only", promise="", good=3)
    return ModelCard(
        images=ImageSettings(size=64), features="pixels", model="image VAE", kl_weight=1.0,
        center=0.0, scale=1.0, threshold=limit, training_images=3, training_fingerprint="f",
        program_version="0", created="2026-01-01",
    )  # fmt: skip


def judged(run: Path, photographs: Sequence[Path]) -> dict[Path, str]:
    """Give the threshold of a run half of these photographs to fail; gives their verdicts."""
    from anomaly_vae.exporting.graph import replace_card
    from anomaly_vae.inspection.inspector import Inspector

    model = run / "model.onnx"
    inspector = Inspector(model, device="cpu")
    scores = [finding.score for finding in inspector.inspect(photographs)]
    limit = replace(inspector.card.threshold, score=float(np.median(scores)), review=None)
    replace_card(model, replace(inspector.card, threshold=limit, good=None))
    found = Inspector(model, device="cpu").inspect(photographs)
    return {path: finding.verdict for path, finding in zip(photographs, found, strict=True)}


def image_set(*paths: str, digests: tuple[str, ...] | None = None) -> ImageSet:
    pixels = np.arange(len(paths), dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    own = tuple(f"digest of {number}" for number in range(len(paths)))
    return ImageSet(Path("good"), paths, pixels, digests or own, ())


def numbered(count: int) -> ImageSet:
    return image_set(*(f"{number:03d}.png" for number in range(count)))
