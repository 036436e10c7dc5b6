"""One training: from a folder of good images to a run folder, a ``model.onnx`` with a threshold."""

import os
from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from anomaly_vae.calibration.metadata import ModelCard, Threshold, card_to_json
from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.graph import export_model, replace_card
from anomaly_vae.images.files import list_images
from anomaly_vae.images.many import Chosen
from anomaly_vae.images.proportions import with_frame
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.latent.collapse import LatentUse, remedies
from anomaly_vae.outputs import make_folder, prepare_folder, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.card import contact_sheet, write_card
from anomaly_vae.reporting.heatmaps import save_picture
from anomaly_vae.reporting.trained import SHOWN_IMAGES, save_held_out, save_normals
from anomaly_vae.scoring.drawing import reconstruct
from anomaly_vae.settings.files import config_to_yaml
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.dataset import (
    CALIBRATION,
    STOPPING,
    TRAINING,
    read_images,
    refuse_unusable,
    split_parts,
)
from anomaly_vae.training.extraction import Store
from anomaly_vae.training.loop import EpochRecord, Trainer, select_device
from anomaly_vae.training.refit import refit
from anomaly_vae.transaction import Transaction
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.workflows.held_out import (
    said_of,
    score_all,
    score_unexported,
    set_scales,
    with_threshold,
)
from anomaly_vae.workflows.preparation import (
    extract,
    fit_alignment,
    remember_images,
    with_drawn_parts,
)
from anomaly_vae.workflows.record import (
    EPOCHS,
    TrainingSummary,
    diagnose,
    latent_record,
    model_card,
    picture_epoch,
    train_command,
    training_record,
)
from anomaly_vae.workflows.runs import (
    CHECKPOINT,
    RUN,
    STATE,
    UNEXPORTED,
    built_in,
    goes_on,
    load_detector,
    save_detector,
    saved_config,
    untrained,
)

_CHECKED_IMAGES = 20
_KEPT = (
    "What was learned is kept in {out}, with its threshold: 'anomaly-vae export {out} --out "
    "{out}/model.onnx' tries again, with this version or a newer one"
)
_UNSET = Threshold(score=0.0, anomaly_map=0.0, criterion="none yet", promise="", good=0)


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
        self.run, self.config, self._track, self._weights = out, config, track, weights
        self.device = select_device(device)
        resumed = goes_on(out, config, weights, overwrite=overwrite, resume=resume)
        # Beside a model that there is already: it works until the new one takes its place.
        out = self.out = built_in(out, overwrite=overwrite)
        if resumed:
            images, self.note = saved_config(out).images, ""
        else:
            images, self.note = with_frame(
                good, list_images(good, skip=self.run), config, os.cpu_count() or 1
            )
        config = replace(config, images=images)
        self.detector = load_detector(out, config) if resumed else untrained(config, weights)
        self.images = read_images(
            good,
            config.images,
            workers=os.cpu_count() or 1,
            skip=self.run,
            scratch=out,
            track=track,
        )
        refuse_unusable(self.images)
        self.config = config = replace(config, images=self.images.settings)
        self.parts = split_parts(self.images, config.split, seed=config.training.seed)
        prepare_folder(out, RUN, overwrite=overwrite, resume=resume)
        (out / STATE).mkdir(exist_ok=True)
        remember_images(self.images, out / STATE, resumed=resumed)
        self.detector.to(self.device).eval()
        if not resumed:
            fit_alignment(self.detector, self.images, self.parts, self.device)
        self.store = Store(self.detector, out / STATE, limit=config.training.cache_gib * 2**30)
        self.everything, (training, stopping, *_) = extract(
            self.store, self.images, self.parts, config, self.device, track
        )
        if config.model.likelihood == "gaussian":
            self.detector.features.fit(training.stored)
        write_text(out / "config.yaml", config_to_yaml(config))
        self.trainer = Trainer(self.detector.model, config, training, stopping, out / CHECKPOINT)
        self._start(resumed)

    def epochs(self) -> Iterator[EpochRecord]:
        """Train; a checkpoint is written after each epoch, so that it can be interrupted."""
        drawn = self.config.training.pictures and self.config.features.source == "pixels"
        for record in self.trainer.epochs():
            self._save_history(self.out)
            if drawn:
                picture_epoch(
                    self.detector,
                    self.trainer.stopping,
                    self.out / EPOCHS / f"{record.epoch:03d}.png",
                )
            yield record

    def finish(self) -> TrainingSummary:
        """Standardise and calibrate on the images set aside for it, export, draw the figures.

        Raises:
            TrainingError: the held-out scores do not vary, or an image can no longer be read.
            ExportError: the exported model does not compute what the trained one does; all else is
                in the run, and ``export_run`` can try again.
        """
        use = diagnose(self.detector, self.trainer.stopping, self.config, self.out)
        held_out = set_scales(self.detector, self.images, self.parts)
        unseen = self._refit(held_out) if self.config.training.refit else {}
        save_detector(self.detector, self.out)  # whatever becomes of the export
        # It becomes the run's model only with its threshold.
        model = self.out / STATE / "model.onnx"
        try:
            parity = export_model(
                self.detector, self._card(_UNSET), model, self._held_out[:_CHECKED_IMAGES]
            )
        except ExportError as error:
            self._keep(unseen, use)
            raise ExportError(f"{error}. {_KEPT.format(out=self.out)}") from error
        shown = [*compress(self.images.paths, self.parts == CALIBRATION)][:SHOWN_IMAGES]
        scored = score_all(model, self.images, self.device, self._track, shown=shown)
        findings, calibration, card = self._judged(scored, unseen)
        replace_card(model, card)
        self._put_in_place(model, findings, card, use)
        return TrainingSummary(
            card,
            parity,
            suspicious=[(f.path, f.score) for f in sorted(findings, key=lambda f: -f.score)[:10]],
            limiting=min(calibration, key=lambda f: abs(f.score - card.threshold.score)).path,
            latents=use,
            advice=remedies(use, self.config),
        )

    def _save_history(self, folder: Path) -> None:
        history = pd.DataFrame([asdict(each) for each in self.trainer.history])
        write_text(folder / "history.csv", history.to_csv(index=False))

    @property
    def _held_out(self) -> Chosen:
        """The images set aside for calibration, [N, S, S, 3]."""
        return self.images.chosen(self.parts == CALIBRATION)

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

    def _judged(
        self, scored: list[Finding], unseen: dict[str, dict[str, Any]]
    ) -> tuple[list[Finding], list[Finding], ModelCard]:
        """Give all findings, those of the images set aside, and the card with their threshold."""
        findings = [replace(each, **unseen.get(each.path, {})) for each in scored]
        calibration = [*compress(findings, self.parts == CALIBRATION)]
        digests = [*compress(self.images.digests, self.parts == CALIBRATION)]
        card = with_threshold(self._card(_UNSET), calibration, digests, self.config)
        return findings, calibration, card

    def _keep(self, unseen: dict[str, dict[str, Any]], use: LatentUse) -> None:
        """Keep what was learned, with its threshold, where the model could not be exported."""
        scored = score_unexported(self.detector, self.images, self.parts, self.config)
        findings, _, card = self._judged(scored, unseen)
        with Transaction(self.out) as files:
            self._report(files, findings, card, use)
            files.commit()
        write_text(self.out / UNEXPORTED, card_to_json(card))

    def _put_in_place(
        self, model: Path, findings: list[Finding], card: ModelCard, use: LatentUse
    ) -> None:
        """Let the model take its place, together with what is said of it and nothing else."""
        beside = self.out if self.out != self.run else None
        make_folder(self.run, RUN)  # of an earlier version, it has no marker
        with Transaction(self.run, beside) as files:
            files.remove(RUN.own if beside else [STATE])
            files.remove(f"{name}.new" for name in RUN.own)  # of a training that was killed
            placed = files.path("model.onnx")
            model.replace(placed)
            self._report(files, findings, card, use)
            write_card(self.run, card, model_id(placed.read_bytes()), files)
            # Windows does not move files that are open: the items may lie on disk.
            for items in (self.trainer.training, self.trainer.stopping, self.everything):
                items.stored = np.empty(0)
            files.commit(set(RUN.own) - {STATE})
        self.out = self.run

    def _report(
        self, files: Transaction, findings: list[Finding], card: ModelCard, use: LatentUse
    ) -> None:
        """Write what a person or an auditor wants to see beside the model."""
        out = files.path("normals.csv").parent
        calibration = [*compress(findings, self.parts == CALIBRATION)]
        save_normals(self.images, self.parts, self._seen, findings, out / "normals.csv")
        write_json(out / "calibration.json", {"threshold": asdict(card.threshold)})
        self._save_history(out)  # a kill may have come between its last epoch and this
        epochs = [asdict(record) for record in self.trainer.history]
        figures.save_training(epochs, out / "training.png")
        shown, drawn = self._held_out[:SHOWN_IMAGES], None
        if isinstance(self.detector.features, PixelFeatures):
            drawn = reconstruct(self.detector, shown)
        save_held_out(calibration, card.threshold, shown, drawn, out)
        command = train_command(self.images.folder, self.run, self.device.type, self._weights)
        told = training_record(self.images, self.parts, self.config, command)
        items = len(self.trainer.stopping) / (self.parts == STOPPING).sum()
        told["latents"] = latent_record(use, items, self.config)
        write_json(out / "training.json", told)
        sheet = contact_sheet(self.images.chosen(self.parts == TRAINING))
        save_picture(sheet, out / "thumbnails.jpg")

    def _card(self, threshold: Threshold) -> ModelCard:
        return model_card(self.detector, self.config, self.images, self._seen, threshold)

    @property
    def _seen(self) -> NDArray[np.bool_]:
        """Which images the weights come from, [N]."""
        return np.asarray((self.parts != CALIBRATION) | self.config.training.refit)
