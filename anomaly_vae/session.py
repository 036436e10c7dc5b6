"""One training: from a folder of good images to a run folder, a ``model.onnx`` with a threshold."""

import json
import math
import os
import platform
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from anomaly_vae import __version__
from anomaly_vae.augmentation import draw_parts
from anomaly_vae.collapse import LatentUse, latent_use, remedies
from anomaly_vae.config import config_to_yaml
from anomaly_vae.dataset import CALIBRATION, PARTS, STOPPING, TRAINING, read_images, split_parts
from anomaly_vae.errors import ConfigError, OutputError, TrainingError
from anomaly_vae.export import Parity, export_model, replace_card
from anomaly_vae.extraction import Store
from anomaly_vae.features import TrunkFeatures, load_trunk_weights, luminance, unit_range
from anomaly_vae.good_only import good_only_threshold
from anomaly_vae.inspection import Finding, Inspector, map_maxima, profile_of
from anomaly_vae.latent import decode, redrawn
from anomaly_vae.metadata import ModelCard, Threshold
from anomaly_vae.outputs import (
    prepare_folder,
    refuse_used,
    write_bytes,
    write_json,
    write_text,
)
from anomaly_vae.progress import Track, untracked
from anomaly_vae.refit import refit
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.card import contact_sheet, write_card
from anomaly_vae.reporting.heatmaps import save_picture
from anomaly_vae.reporting.learning import save_latent_table, save_latent_use
from anomaly_vae.reporting.pictures import save_epoch
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.trained import SHOWN_IMAGES, save_held_out, save_normals
from anomaly_vae.runs import load_detector, saved_config
from anomaly_vae.runtime import model_id
from anomaly_vae.scoring import (
    build_detector,
    parts_of_images,
    reconstruct,
)
from anomaly_vae.settings import Config
from anomaly_vae.training import EpochRecord, Items, Trainer, select_device

STATE = ".state"
RESULTS = (
    "config.yaml",
    "vae.safetensors",
    "history.csv",
    "training.png",
    "latents.csv",
    "latents.png",
    "rate_distortion.png",
    "epochs",
    "reconstructions.png",
    "normals.csv",
    "calibration.json",
    "roc.png",
    "scores.png",
    "training.json",
    "thumbnails.jpg",
    "card.html",
    "model.onnx",
    STATE,
)
_CHECKED_IMAGES = 20
_REFITTED = (
    "promised by the first training, to whose level the second, on all good images, was brought"
)
_EPOCH_PARTS, _EPOCH_SAMPLES = 4, 16


@dataclass(frozen=True)
class TrainingSummary:
    """What a training gave."""

    card: ModelCard
    parity: Parity
    suspicious: list[tuple[str, float]]
    """The good images with the highest scores: dirty "good" folders are common."""
    limiting: str
    """The good image whose score is the threshold."""
    latents: LatentUse
    advice: str
    """What to do against posterior collapse; empty if there is none."""

    @property
    def collapsed(self) -> bool:
        """Whether no latent dimension carries information."""
        return not any(self.latents.active)


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
        self.out, self.config, self._track, self._weights = out, config, track, weights
        self.device = select_device(device)
        if not (overwrite or resume):
            refuse_used(out)
        resumed = resume and (out / STATE / "checkpoint.safetensors").is_file()
        if resumed and _fixed(saved_config(out)) != _fixed(config):
            raise ConfigError(
                f"{out}: its training began with other settings; give --resume without settings, "
                "or --overwrite"
            )
        if resume and not resumed and (out / "model.onnx").is_file():
            raise OutputError(f"{out}: its training is finished; give --overwrite to train anew")
        if weights and config.features.source == "pixels":
            raise ConfigError("--weights is for a trunk; features.source 'pixels' has no weights")
        self.detector = load_detector(out, config) if resumed else build_detector(config)
        if isinstance(self.detector.features, TrunkFeatures) and not resumed:
            load_trunk_weights(self.detector.features, weights)
        self.images = read_images(
            good, config.images, workers=os.cpu_count() or 1, skip=out, track=track
        )
        self.parts = split_parts(self.images, config.split, seed=config.training.seed)
        prepare_folder(out, RESULTS, overwrite=overwrite, resume=resume)
        (out / STATE).mkdir(exist_ok=True)
        self._remember_images(resumed)
        self.detector.to(self.device).eval()
        if not resumed:
            self._fit_alignment()
        self.store = Store(self.detector, out / STATE, limit=config.training.cache_gib * 2**30)
        self.everything, (training, stopping, *_) = self._extract()
        if config.model.likelihood == "gaussian":
            self.detector.features.fit(training.stored)
        write_text(out / "config.yaml", config_to_yaml(config))
        self.trainer = Trainer(
            self.detector.model, config, training, stopping, out / STATE / "checkpoint.safetensors"
        )
        if resumed:
            self.trainer.resume()
        else:
            self.trainer.start()
            self._save_detector()
        if config.training.samples:
            # Not before the start: one from both finds far fewer defects (reports/augmentation.md).
            training.stored = self._augmented(training, stopping, resumed)

    def epochs(self) -> Iterator[EpochRecord]:
        """Train; a checkpoint is written after each epoch, so that it can be interrupted."""
        drawn = self.config.training.pictures and self.config.features.source == "pixels"
        for record in self.trainer.epochs():
            history = pd.DataFrame([asdict(each) for each in self.trainer.history])
            write_text(self.out / "history.csv", history.to_csv(index=False))
            if drawn:
                self._picture(record.epoch)
            yield record

    def finish(self) -> TrainingSummary:
        """Standardise and calibrate on the images set aside for it, export, draw the figures."""
        use = self._diagnose()
        held_out_parts = self._set_scales()
        unseen: dict[str, dict[str, Any]] = {}
        if self.config.training.refit:
            unseen = self._said(held_out_parts)
            refit(
                self.detector.to(self.device), self.config, self.trainer.training, self.everything,
                epochs=self.trainer.best_epoch, checkpoint=self.out / STATE / "refit.safetensors",
                track=self._track,
            )  # fmt: skip
        held_out = self.images.pixels[self.parts == CALIBRATION]
        # It becomes the run's model only with its threshold.
        model = self.out / STATE / "model.onnx"
        unset = Threshold(score=0.0, anomaly_map=0.0, criterion="none yet", promise="", good=0)
        parity = export_model(self.detector, self._card(unset), model, held_out[:_CHECKED_IMAGES])
        inspector = Inspector(model, device="cpu" if self.device.type == "cpu" else "auto")
        inspected = inspector.inspect(self.images.folder, self.images.paths)
        findings: list[Finding] = list(
            self._track(inspected, "Scoring good images", len(self.images.paths))
        )
        vanished = [finding.path for finding in findings if finding.verdict == "error"]
        if vanished:
            raise TrainingError(
                f"{self.images.folder / vanished[0]}: can no longer be read; put it back and give "
                "--resume"
            )
        findings = [replace(f, **unseen.get(f.path, {})) for f in findings]
        calibration = [
            f for f, part in zip(findings, self.parts, strict=True) if part == CALIBRATION
        ]
        scores = np.array([finding.score for finding in calibration])
        threshold = good_only_threshold(
            scores, map_maxima(calibration), review_rate=self.config.scoring.review_rate
        )
        if self.config.training.refit:
            threshold = replace(threshold, promise=f"{threshold.promise}; {_REFITTED}")
        card = self._card(unset).calibrated(threshold, profile_of(calibration))
        replace_card(model, card)
        self._save_detector()
        model.replace(self.out / "model.onnx")
        save_normals(
            self.images, self.parts, findings, self.out / "normals.csv",
            refit=self.config.training.refit,
        )  # fmt: skip
        write_json(self.out / "calibration.json", {"threshold": asdict(card.threshold)})
        figures.save_training(
            [asdict(record) for record in self.trainer.history], self.out / "training.png"
        )
        shown, drawn = held_out[:SHOWN_IMAGES], None
        if not isinstance(self.detector.features, TrunkFeatures):
            drawn = reconstruct(self.detector, shown)
        save_held_out(calibration, card.threshold, shown, drawn, self.out)
        self._write_record(use)
        write_card(self.out, card, model_id((self.out / "model.onnx").read_bytes()))
        ranked = sorted(findings, key=lambda finding: -finding.score)[:10]
        # Windows does not remove files that are open: the items may lie on disk.
        for items in (self.trainer.training, self.trainer.stopping, self.everything):
            items.stored = np.empty(0)
        (self.out / STATE / "checkpoint.safetensors").unlink(missing_ok=True)
        shutil.rmtree(self.out / STATE, ignore_errors=True)
        return TrainingSummary(
            card,
            parity,
            [(finding.path, finding.score) for finding in ranked],
            min(calibration, key=lambda each: abs(each.score - card.threshold.score)).path,
            use,
            remedies(use, self.config),
        )

    def _set_scales(self) -> dict[str, list[Tensor]]:
        """Learn what is usual at each place, and center and scale, from images held out.

        Gives ``Detector.parts`` of these images, for each part of the split.
        """
        given = {
            part: parts_of_images(self.detector, self.images.pixels[self.parts == part])
            for part in (STOPPING, CALIBRATION)
        }
        self.detector.cpu()  # where these are
        self.detector.learn_places(*given[STOPPING])
        self.detector.standardise(*given[CALIBRATION])
        return given

    def _said(self, given: dict[str, list[Tensor]]) -> dict[str, dict[str, Any]]:
        """Give what the model says of images held out, by path: fields of a ``Finding``."""
        said: dict[str, dict[str, Any]] = {}
        for part, values in given.items():
            rows = zip(*(column.numpy() for column in self.detector.join(*values)), strict=True)
            paths = np.array(self.images.paths)[self.parts == part]
            for path, (score, error, kl, anomaly_map) in zip(paths, rows, strict=True):
                said[str(path)] = {
                    "score": float(score), "reconstruction_error": float(error), "kl": float(kl),
                    "anomaly_map": anomaly_map,
                }  # fmt: skip
        return said

    def _picture(self, epoch: int) -> None:
        """Draw held-out parts, what the model makes of them, and what it makes of noise.

        The parts and the noise are the same in every epoch.
        """
        shown = np.arange(min(_EPOCH_PARTS, len(self.trainer.stopping)))
        z = self.detector.model.draw_prior(_EPOCH_SAMPLES, temperature=1, seed=0)
        save_epoch(
            *redrawn(self.detector, self.trainer.stopping.draw(shown)),
            decode(self.detector, z),
            self.out / "epochs" / f"{epoch:03d}.png",
        )

    def _fit_alignment(self) -> None:
        """Set the mean good image that all others are turned onto, where that helps."""
        if self.detector.alignment is not None:
            training, stopping = (
                unit_range(torch.from_numpy(self.images.pixels[self.parts == part]).to(self.device))
                for part in (TRAINING, STOPPING)
            )
            light = luminance(training)
            self.detector.alignment.fit(light, luminance(stopping))
            self.detector.alignment.set_backdrop(training, light)

    def _extract(self) -> tuple[Items, list[Items]]:
        """Give the items of all images that any training learns from, of each part in turn."""
        parts = PARTS if self.config.training.refit else (TRAINING, STOPPING)
        groups = [self.images.pixels[self.parts == part] for part in parts]
        stored, of_parts = self.store.extract(groups, self.device, self._track)
        everything, *items = (
            Items(rows, self.detector.features, self.device) for rows in (stored, *of_parts)
        )
        return everything, items

    def _augmented(self, training: Items, stopping: Items, resumed: bool) -> NDArray[np.floating]:
        """Give the raw training items, and behind them those that a first VAE draws, once."""
        path = self.out / STATE / "samples.npy"
        if not resumed:
            first = self.out / STATE / "first.safetensors"
            np.save(path, draw_parts(training, stopping, self.config, first, self._track))
        drawn = np.load(path, mmap_mode="r")
        items = self.store.room("augmented", len(training) + len(drawn))
        items[: len(training)], items[len(training) :] = training.stored, drawn
        return items

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

    def _write_record(self, use: LatentUse) -> None:
        """Write down what the training was given and what became of its latents, for its card."""
        command = ["anomaly-vae", "train", str(self.images.folder), "--out", str(self.out),
                   "--config", str(self.out / "config.yaml"),
                   "--device", self.device.type]  # fmt: skip
        command += ["--weights", str(self._weights)] if self._weights else []
        unreadable = [spelled(f"{path}: {reason}") for path, reason in self.images.unreadable]
        items = len(self.trainer.stopping) / (self.parts == STOPPING).sum()
        record = {
            "folder": spelled(str(self.images.folder)),
            "parts": {part: int((self.parts == part).sum()) for part in PARTS},
            "samples": self.config.training.samples,
            "refit": self.config.training.refit,
            "unreadable": unreadable,
            "command": spelled(shlex.join(command)),
            "latents": {
                "dimensions": len(use.kl),
                "active": sum(use.active),
                "kl": sum(use.kl),
                "bits_per_image": sum(use.kl) * items / math.log(2),
                "mutual_information": use.mutual_information,
                "summary": use.summary,
                "advice": remedies(use, self.config),
            },
            "versions": {name: version(name) for name in ("anomaly-vae", "torch", "torchvision")}
            | {"python": f"{platform.python_version()} on {platform.platform()}"},
        }
        write_json(self.out / "training.json", record)
        training = self.images.pixels[self.parts == TRAINING]
        save_picture(contact_sheet(training), self.out / "thumbnails.jpg")

    def _diagnose(self) -> LatentUse:
        """Find out which latent dimensions are in use, and write it down."""
        seed = self.config.training.seed
        use = latent_use(self.detector.model, self.trainer.stopping, seed=seed)
        save_latent_table(use, self.out / "latents.csv")
        save_latent_use(use, self.out / "latents.png")
        return use


def _fixed(config: Config) -> Config:
    """Give the settings without those that may change when a training is resumed."""
    free = replace(config.training, epochs=1, patience=1, pictures=True, cache_gib=0.0)
    return replace(config, training=free)
