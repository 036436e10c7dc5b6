"""One training: from a folder of good images to a run folder, a ``model.onnx`` with a threshold."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.exporting.graph import Parity, export_model, replace_card
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.latent.collapse import LatentUse, latent_use, remedies
from anomaly_vae.latent.space import decode, redrawn
from anomaly_vae.outputs import prepare_folder, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.card import contact_sheet, write_card
from anomaly_vae.reporting.heatmaps import save_picture
from anomaly_vae.reporting.learning import save_latent_table, save_latent_use
from anomaly_vae.reporting.pictures import save_epoch
from anomaly_vae.reporting.trained import SHOWN_IMAGES, save_held_out, save_normals
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.drawing import reconstruct
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.settings.files import config_to_yaml
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import (
    CALIBRATION,
    PARTS,
    STOPPING,
    TRAINING,
    read_images,
    split_parts,
)
from anomaly_vae.training.extraction import Store
from anomaly_vae.training.loop import EpochRecord, Items, Trainer, select_device
from anomaly_vae.training.refit import refit
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.vae.weights import load_trunk_weights
from anomaly_vae.workflows.held_out import said_of, score_all, set_scales, with_threshold
from anomaly_vae.workflows.preparation import fit_alignment, remember_images, with_drawn_parts
from anomaly_vae.workflows.record import latent_record, model_card, train_command, training_record
from anomaly_vae.workflows.runs import (
    CHECKPOINT,
    RESULTS,
    STATE,
    goes_on,
    load_detector,
    save_detector,
)

_CHECKED_IMAGES = 20
_EPOCH_PARTS, _EPOCH_SAMPLES = 4, 16
_UNSET = Threshold(score=0.0, anomaly_map=0.0, criterion="none yet", promise="", good=0)


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
        resumed = goes_on(out, config, weights, overwrite=overwrite, resume=resume)
        self.detector = load_detector(out, config) if resumed else _untrained(config, weights)
        self.images = read_images(
            good, config.images, workers=os.cpu_count() or 1, skip=out, track=track
        )
        self.parts = split_parts(self.images, config.split, seed=config.training.seed)
        prepare_folder(out, RESULTS, overwrite=overwrite, resume=resume)
        (out / STATE).mkdir(exist_ok=True)
        remember_images(self.images, out / STATE, resumed=resumed)
        self.detector.to(self.device).eval()
        if not resumed:
            fit_alignment(self.detector, self.images, self.parts, self.device)
        self.store = Store(self.detector, out / STATE, limit=config.training.cache_gib * 2**30)
        self.everything, (training, stopping, *_) = self._extract()
        if config.model.likelihood == "gaussian":
            self.detector.features.fit(training.stored)
        write_text(out / "config.yaml", config_to_yaml(config))
        self.trainer = Trainer(self.detector.model, config, training, stopping, out / CHECKPOINT)
        self._start(resumed)

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
        """Standardise and calibrate on the images set aside for it, export, draw the figures.

        Raises:
            TrainingError: the held-out scores do not vary, or an image can no longer be read.
            ExportError: the exported model does not compute what the trained one does.
        """
        use = self._diagnose()
        held_out = set_scales(self.detector, self.images, self.parts)
        unseen = self._refit(held_out) if self.config.training.refit else {}
        # It becomes the run's model only with its threshold.
        model = self.out / STATE / "model.onnx"
        parity = export_model(
            self.detector, self._card(_UNSET), model, self._held_out[:_CHECKED_IMAGES]
        )
        scored = score_all(model, self.images, self.device, self._track)
        findings = [replace(each, **unseen.get(each.path, {})) for each in scored]
        calibration = [
            f for f, part in zip(findings, self.parts, strict=True) if part == CALIBRATION
        ]
        card = with_threshold(self._card(_UNSET), calibration, self.config)
        replace_card(model, card)
        save_detector(self.detector, self.out)
        model.replace(self.out / "model.onnx")
        self._report(findings, calibration, card, use)
        self._clear()
        return TrainingSummary(
            card,
            parity,
            suspicious=[(f.path, f.score) for f in sorted(findings, key=lambda f: -f.score)[:10]],
            limiting=min(calibration, key=lambda f: abs(f.score - card.threshold.score)).path,
            latents=use,
            advice=remedies(use, self.config),
        )

    @property
    def _held_out(self) -> NDArray[np.uint8]:
        """The images set aside for calibration, [N, S, S, 3]."""
        pixels: NDArray[np.uint8] = self.images.pixels[self.parts == CALIBRATION]
        return pixels

    def _start(self, resumed: bool) -> None:
        """Go on from the checkpoint, or begin; and add drawn parts, if they are wanted."""
        if resumed:
            self.trainer.resume()
        else:
            self.trainer.start()
            save_detector(self.detector, self.out)
        if self.config.training.samples:
            # Not before the start: one from both finds far fewer defects (reports/augmentation.md).
            training, stopping = self.trainer.training, self.trainer.stopping
            training.stored = with_drawn_parts(
                training, stopping, self.store, self.config, resumed=resumed, track=self._track
            )

    def _refit(self, held_out: dict[str, list[Tensor]]) -> dict[str, dict[str, Any]]:
        """Train again on all good images; gives what the first model says of those held out."""
        unseen = said_of(self.detector, self.images, self.parts, held_out)
        refit(
            self.detector.to(self.device),
            self.config,
            self.trainer.training,
            self.everything,
            epochs=self.trainer.best_epoch,
            checkpoint=self.out / STATE / "refit.safetensors",
            track=self._track,
        )
        return unseen

    def _report(
        self, findings: list[Finding], calibration: list[Finding], card: ModelCard, use: LatentUse
    ) -> None:
        """Write what a person or an auditor wants to see beside the model."""
        out, refitted = self.out, self.config.training.refit
        save_normals(self.images, self.parts, findings, out / "normals.csv", refit=refitted)
        write_json(out / "calibration.json", {"threshold": asdict(card.threshold)})
        epochs = [asdict(record) for record in self.trainer.history]
        figures.save_training(epochs, out / "training.png")
        shown, drawn = self._held_out[:SHOWN_IMAGES], None
        if isinstance(self.detector.features, PixelFeatures):
            drawn = reconstruct(self.detector, shown)
        save_held_out(calibration, card.threshold, shown, drawn, out)
        write_json(out / "training.json", self._record(use))
        sheet = contact_sheet(self.images.pixels[self.parts == TRAINING])
        save_picture(sheet, out / "thumbnails.jpg")
        write_card(out, card, model_id((out / "model.onnx").read_bytes()))

    def _record(self, use: LatentUse) -> dict[str, Any]:
        """Tell what the training was given, and what became of its latents."""
        items = len(self.trainer.stopping) / (self.parts == STOPPING).sum()
        parts = {part: int((self.parts == part).sum()) for part in PARTS}
        command = train_command(self.images.folder, self.out, self.device.type, self._weights)
        return training_record(self.images, parts, self.config, command) | {
            "latents": latent_record(use, items, self.config)
        }

    def _clear(self) -> None:
        """Remove what only an interrupted training needs."""
        # Windows does not remove files that are open: the items may lie on disk.
        for items in (self.trainer.training, self.trainer.stopping, self.everything):
            items.stored = np.empty(0)
        (self.out / CHECKPOINT).unlink(missing_ok=True)
        shutil.rmtree(self.out / STATE, ignore_errors=True)

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

    def _extract(self) -> tuple[Items, list[Items]]:
        """Give the items of all images that any training learns from, of each part in turn."""
        parts = PARTS if self.config.training.refit else (TRAINING, STOPPING)
        groups = [self.images.pixels[self.parts == part] for part in parts]
        stored, of_parts = self.store.extract(groups, self.device, self._track)
        everything, *items = (
            Items(rows, self.detector.features, self.device) for rows in (stored, *of_parts)
        )
        return everything, items

    def _diagnose(self) -> LatentUse:
        """Find out which latent dimensions are in use, and write it down."""
        seed = self.config.training.seed
        use = latent_use(self.detector.model, self.trainer.stopping, seed=seed)
        save_latent_table(use, self.out / "latents.csv")
        save_latent_use(use, self.out / "latents.png")
        return use

    def _card(self, threshold: Threshold) -> ModelCard:
        return model_card(self.detector, self.config, self.images, threshold)


def _untrained(config: Config, weights: Path | None) -> Detector:
    """Make a detector; its trunk, if it has one, knows what its weights know."""
    detector = build_detector(config)
    if isinstance(detector.features, TrunkFeatures):
        load_trunk_weights(detector.features, weights)
    return detector
