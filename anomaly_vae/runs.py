"""A run folder: one training, from a folder of good images to a ``model.onnx`` with a threshold."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from anomaly_vae import __version__
from anomaly_vae.calibration import good_only_threshold
from anomaly_vae.config import Config, config_to_yaml, load_config
from anomaly_vae.dataset import CALIBRATION, STOPPING, TRAINING, read_images, split_parts
from anomaly_vae.errors import ModelFileError, TrainingError
from anomaly_vae.export import Parity, export_model, replace_card
from anomaly_vae.features import TrunkFeatures, load_trunk_weights
from anomaly_vae.inspection import Finding, Inspector, map_maxima
from anomaly_vae.metadata import ModelCard, Threshold
from anomaly_vae.outputs import prepare_folder, write_bytes, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.scoring import Detector, build_detector, score_images
from anomaly_vae.training import EpochRecord, Items, Trainer, select_device

STATE = ".state"
RESULTS = (
    "config.yaml",
    "vae.safetensors",
    "history.csv",
    "training.png",
    "reconstructions.png",
    "normals.csv",
    "calibration.json",
    "roc.png",
    "scores.png",
    "model.onnx",
    STATE,
)
_CHECKED_IMAGES = 20
_SHOWN_IMAGES = 6
_EXTRACTION_BATCH = 16


@dataclass(frozen=True)
class TrainingSummary:
    """What a training gave."""

    card: ModelCard
    parity: Parity
    suspicious: list[tuple[str, float]]
    """The good images with the highest scores: dirty "good" folders are common."""
    collapsed: bool
    stopped_after: int
    """Number of epochs."""


class TrainingSession:
    """One training, from a folder of good images to a run folder with a ``model.onnx``.

    ``__init__`` reads and prepares, ``epochs`` trains, ``finish`` calibrates and exports.
    """

    def __init__(
        self,
        good: Path,
        out: Path,
        config: Config,
        *,
        weights: Path | None = None,
        device: str = "auto",
        overwrite: bool = False,
        resume: bool = False,
        track: Track = untracked,
    ) -> None:
        self.out, self.config, self._track = out, config, track
        self.device = select_device(device)
        resumed = resume and (out / STATE / "checkpoint.safetensors").is_file()
        self.detector = _load_detector(out, config) if resumed else build_detector(config)
        if isinstance(self.detector.features, TrunkFeatures) and not resumed:
            load_trunk_weights(self.detector.features, weights)
        self.images = read_images(good, config.images, workers=os.cpu_count() or 1, track=track)
        self.parts = split_parts(self.images, config.split, seed=config.training.seed)
        prepare_folder(out, RESULTS, overwrite=overwrite, resume=resume)
        (out / STATE).mkdir(exist_ok=True)
        self._remember_images(resumed)
        self.detector.to(self.device).eval()
        rows = self._stored(TRAINING, standardise=not resumed)
        self.trainer = Trainer(
            self.detector.model,
            config,
            Items(rows, self.detector.features, self.device),
            Items(self._stored(STOPPING), self.detector.features, self.device),
            out / STATE / "checkpoint.safetensors",
        )
        write_text(out / "config.yaml", config_to_yaml(config))
        if resumed:
            self.trainer.resume()
        else:
            self._save_detector()

    def epochs(self) -> Iterator[EpochRecord]:
        """Train; a checkpoint is written after each epoch, so that it can be interrupted."""
        for record in self.trainer.epochs():
            history = pd.DataFrame([asdict(each) for each in self.trainer.history])
            write_text(self.out / "history.csv", history.to_csv(index=False))
            yield record

    def finish(self) -> TrainingSummary:
        """Standardise and calibrate on the images set aside for it, export, draw the figures."""
        held_out = self.images.pixels[self.parts == CALIBRATION]
        self.detector.eval()
        raw = score_images(self.detector, held_out).score.numpy()
        self.detector.standardise(raw)
        self._save_detector()
        model = self.out / "model.onnx"
        unset = Threshold(score=0.0, anomaly_map=0.0, criterion="unset", promise="", good=0)
        parity = export_model(self.detector, self._card(unset), model, held_out[:_CHECKED_IMAGES])
        inspector = Inspector(model, device="cpu" if self.device.type == "cpu" else "auto")
        inspected = inspector.inspect(self.images.folder, self.images.paths)
        findings: list[Finding] = list(
            self._track(inspected, "Scoring good images", len(self.images.paths))
        )
        calibration = [
            f for f, part in zip(findings, self.parts, strict=True) if part == CALIBRATION
        ]
        scores = np.array([finding.score for finding in calibration])
        card = self._card(good_only_threshold(scores, map_maxima(calibration)))
        replace_card(model, card)
        self._write_normals(findings)
        write_json(self.out / "calibration.json", {"threshold": asdict(card.threshold)})
        self._draw(card, scores)
        ranked = sorted(findings, key=lambda finding: -finding.score)[:10]
        shutil.rmtree(self.out / STATE)
        return TrainingSummary(
            card,
            parity,
            [(finding.path, finding.score) for finding in ranked],
            self.trainer.collapsed,
            len(self.trainer.history),
        )

    def _stored(
        self, part: str, *, standardise: bool = False
    ) -> NDArray[np.uint8] | NDArray[np.float16]:
        """What the batches are drawn from: images for pixels, float16 feature rows for a trunk."""
        images: NDArray[np.uint8] = self.images.pixels[self.parts == part]
        features = self.detector.features
        if not isinstance(features, TrunkFeatures):
            return images
        locations = features.height * features.width
        rows = self._allocate(part, (len(images) * locations, features.channels))
        total = np.zeros(features.channels)
        squares = np.zeros(features.channels)
        begins = range(0, len(images), _EXTRACTION_BATCH)
        for begin in self._track(begins, f"Extracting features ({part})", len(begins)):
            batch = torch.from_numpy(images[begin : begin + _EXTRACTION_BATCH]).to(self.device)
            with torch.no_grad():
                raw = features.raw(batch.permute(0, 3, 1, 2).float() / 255)
            values = raw.permute(0, 2, 3, 1).reshape(-1, features.channels).cpu().numpy()
            rows[begin * locations : begin * locations + len(values)] = values
            total += values.sum(0, dtype=np.float64)
            squares += np.square(values, dtype=np.float64).sum(0)
        if standardise:
            mean = total / len(rows)
            std = np.sqrt(np.maximum(squares / len(rows) - mean**2, 0))
            features.standardise(torch.from_numpy(mean), torch.from_numpy(std))
        return rows

    def _allocate(self, part: str, shape: tuple[int, int]) -> NDArray[np.float16]:
        """Make room for feature rows: in memory, or on disk when there are too many."""
        if 2 * shape[0] * shape[1] <= self.config.training.cache_gib * 2**30:
            return np.empty(shape, np.float16)
        rows: NDArray[np.float16] = open_memmap(
            self.out / STATE / f"{part}.npy", "w+", np.float16, shape
        )
        return rows

    def _remember_images(self, resumed: bool) -> None:
        """Refuse to resume on other images: their split would mix training and calibration."""
        path = self.out / STATE / "images.json"
        if resumed and json.loads(path.read_text()) != self.images.fingerprint:
            raise TrainingError(
                f"{self.images.folder}: not the images that the training in {self.out} began with; "
                "give the same folder, or --overwrite"
            )
        write_json(path, self.images.fingerprint)

    def _save_detector(self) -> None:
        state = {name: value.cpu() for name, value in self.detector.state_dict().items()}
        write_bytes(self.out / "vae.safetensors", save(state))

    def _card(self, threshold: Threshold) -> ModelCard:
        config, features = self.config, self.detector.features
        layers = f" {', '.join(features.layers)}" if isinstance(features, TrunkFeatures) else ""
        model = config.model
        return ModelCard(
            images=config.images,
            features=f"{config.features.source}{layers}",
            model=f"{model.kind} VAE, latent size {model.latent_size}, {model.likelihood}, "
            f"variance {model.variance}, beta {model.beta:g}",
            kl_weight=config.scoring.kl_weight,
            center=float(self.detector.center),
            scale=float(self.detector.scale),
            threshold=threshold,
            training_images=len(self.images.paths),
            training_fingerprint=self.images.fingerprint,
            program_version=__version__,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    def _write_normals(self, findings: Sequence[Finding]) -> None:
        columns = {
            "path": self.images.paths,
            "part": self.parts,
            "score": [finding.score for finding in findings],
            "reconstruction_error": [finding.reconstruction_error for finding in findings],
            "kl": [finding.kl for finding in findings],
            "sha256": self.images.digests,
        }
        table = pd.DataFrame(columns)
        write_text(self.out / "normals.csv", table.to_csv(index=False, float_format="%.9g"))

    def _draw(self, card: ModelCard, scores: NDArray[np.float64]) -> None:
        history = [asdict(record) for record in self.trainer.history]
        figures.save_training(history, self.out / "training.png")
        limit = card.threshold
        figures.save_scores(
            {"held-out good": scores}, limit.score, self.out / "scores.png",
            title="Good images set aside for calibration",
        )  # fmt: skip
        shown = self.images.pixels[self.parts == CALIBRATION][:_SHOWN_IMAGES]
        maps = score_images(self.detector, shown).anomaly_map.numpy()
        reconstructions = None
        if not isinstance(self.detector.features, TrunkFeatures):
            with torch.no_grad():
                pixels = self.detector.features(torch.from_numpy(shown))
                reconstructions = (
                    self.detector.model.reconstruct(pixels).permute(0, 2, 3, 1).numpy()
                )
        path = self.out / "reconstructions.png"
        figures.save_reconstructions(shown, reconstructions, maps, limit.anomaly_map, path)


def saved_config(run: Path) -> Config:
    """Read the settings of a run folder.

    Raises:
        ModelFileError: ``run`` is not a run folder.
        ConfigError: its ``config.yaml`` was damaged.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise ModelFileError(f"{run}: not a run folder (no config.yaml); expected --out of 'train'")
    return load_config(path)


def _load_detector(run: Path, config: Config) -> Detector:
    detector = build_detector(config)
    try:
        detector.load_state_dict(load_file(run / "vae.safetensors"))
    except (OSError, RuntimeError, SafetensorError) as error:
        first = " ".join(str(error).split())[:120]
        raise ModelFileError(
            f"{run / 'vae.safetensors'}: does not fit config.yaml ({first})"
        ) from error
    return detector
