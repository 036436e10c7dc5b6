"""One training: from a folder of good images to a run folder, a ``model.onnx`` with a threshold."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import compress
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomaly_vae.calibration.metadata import ModelCard, Threshold, card_to_json
from anomaly_vae.errors import ExportError
from anomaly_vae.exporting.graph import export_model
from anomaly_vae.exporting.parity import Parity, checked
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.files import list_images
from anomaly_vae.images.many import Chosen
from anomaly_vae.images.proportions import with_frame
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.latent.collapse import remedies
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import make_folder, prepare_folder, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.card import contact_sheet
from anomaly_vae.reporting.heatmaps import save_picture
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.reporting.sensitivity import save_sensitivity
from anomaly_vae.reporting.suspects import save_suspects
from anomaly_vae.reporting.trained import SHOWN_IMAGES, save_held_out, save_normals
from anomaly_vae.scoring.drawing import reconstruct
from anomaly_vae.settings.files import config_to_yaml
from anomaly_vae.settings.images import ImageSettings
from anomaly_vae.settings.schema import Config
from anomaly_vae.training.extraction import Store
from anomaly_vae.training.loop import EpochRecord, Trainer, select_device
from anomaly_vae.training.position import settle_position
from anomaly_vae.training.split import CALIBRATION, split_images
from anomaly_vae.transaction import Transaction
from anomaly_vae.vae.features import PixelFeatures
from anomaly_vae.workflows.held_out import HeldOut, with_threshold
from anomaly_vae.workflows.log import LOG, settled
from anomaly_vae.workflows.preparation import (
    Extracted,
    fit_alignment,
    read_good,
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
    begun_detector,
    built_in,
    goes_on,
    save_detector,
    saved_config,
    untrained,
)
from anomaly_vae.workflows.settling import Outcome, draw_defects, settle
from anomaly_vae.workflows.suspects import Exclusion, rank
from anomaly_vae.workflows.unseen import UNSEEN, save_unseen

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
        good: Path | Exclusion,
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
        self.exclusion = good if isinstance(good, Exclusion) else None
        self._without = self.exclusion.paths if self.exclusion else frozenset()
        self.device = select_device(device)
        resumed = goes_on(out, config, weights, overwrite=overwrite, resume=resume)
        # Beside a model that there is already: it works until the new one takes its place.
        out = self.out = built_in(out, overwrite=overwrite)
        folder = good.folder if isinstance(good, Exclusion) else good
        config = self._framed(folder, saved_config(out).images if resumed else None)
        self.detector = begun_detector(out, config) if resumed else untrained(config, weights)
        self.images = read_good(
            folder, config.images, skip=self.run, without=self._without, scratch=out, track=track
        )
        self.config = config = replace(config, images=self.images.settings)
        self.split = split_images(self.images, config.split, seed=config.training.seed)
        self._lock = lock_folder(self.run)  # as long as this session lives
        prepare_folder(out, RUN, overwrite=overwrite, resume=resume)
        (out / STATE).mkdir(exist_ok=True)
        remember_images(self.images, out / STATE, resumed=resumed)
        self.detector.to(self.device).eval()
        if not resumed:
            fit_alignment(self.detector, self.images, self.split, self.device)
        self.store = Store(self.detector, out / STATE, config.training)
        self.items = Extracted(self.store, self.images, self.split, config, self.device, track)
        notes = (self.note, self.detector.features.note, self.store.note)
        self.notes = [each for each in notes if each]
        if config.model.likelihood == "gaussian":
            self.detector.features.fit(*self.items.training.raw)
        write_text(out / "config.yaml", config_to_yaml(config))
        self.trainer = Trainer(
            self.detector.model, config, self.items.training, self.items.stopping, out / CHECKPOINT
        )
        self._start(resumed)

    def _framed(self, folder: Path, known: ImageSettings | None) -> Config:
        """Give the settings with the frame that photographs are seen in: a known one, or theirs."""
        images, self.note = known, ""
        if images is None:
            listed = list_images(folder, skip=self.run, volumes=self.config.images.volumes)
            paths = [path for path in listed if path not in self._without]
            images, self.note = with_frame(folder, paths, self.config, usable_cores())
        self.config = replace(self.config, images=images)
        return self.config

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

    def finish(self, *, mm_per_pixel: float | None = None) -> TrainingSummary:
        """Train on the other folds and on all, calibrate on held-out images, export, draw.

        ``mm_per_pixel``, of the photographs, is for what is said of drawn defects.

        Raises:
            TrainingError: the held-out scores do not vary.
            ExportError: the exported model does not compute what the trained one does; all else is
                in the run, and ``export_run`` can try again.
        """
        self.trainer, settled, where = settle_position(
            self.trainer, self.detector, self.config, self._track
        )
        use = diagnose(self.detector, self.trainer.stopping, self.config, self.out)
        said = HeldOut(self.images, self.split, shown=SHOWN_IMAGES)
        unseen = settle(
            self.detector,
            settled,
            said,
            self.items,
            epochs=self.trainer.best_epoch,
            folder=self.out / STATE,
            track=self._track,
        )
        findings = said.findings
        calibration, card = self._judged(findings)
        drawn, sentence = draw_defects(
            said, unseen, card.threshold, self.config, mm_per_pixel, self._track
        )
        suspects = rank(self.images, findings, card.threshold)
        described = said.descriptions.of_last(self.detector)
        outcome = Outcome(findings, suspects, card, use, drawn, sentence, mm_per_pixel, described)
        save_detector(self.detector, self.out)  # whatever becomes of the export
        parity = self._export(outcome)
        return TrainingSummary(
            card,
            parity,
            suspects=suspects[:10],
            limiting=min(calibration, key=lambda f: abs(f.score - card.threshold.score)).path,
            latents=use,
            advice=remedies(use, self.config),
            drawn=outcome.said_of_drawn,
            position=where,
        )

    def _export(self, outcome: Outcome) -> Parity:
        """Export the model; it becomes that of the run only with its threshold."""
        model = self.out / STATE / "model.onnx"
        check = self._held_out[: checked(self.images.settings.shape)]
        try:
            parity = export_model(self.detector, outcome.card, model, check)
        except ExportError as error:
            with Transaction(self.out) as files:
                self._report(files, outcome)
                files.commit()
            write_text(self.out / UNEXPORTED, card_to_json(outcome.card))
            raise ExportError(f"{error}. {_KEPT.format(out=self.out)}") from error
        self._put_in_place(model, outcome)
        return parity

    def _save_history(self, folder: Path) -> None:
        history = pd.DataFrame([asdict(each) for each in self.trainer.history])
        write_text(folder / "history.csv", history.to_csv(index=False))

    @property
    def _held_out(self) -> Chosen:
        """The images set aside for calibration, [N, S, S, 3]."""
        return self.images.chosen(self.split.calibration)

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
            drawn = with_drawn_parts(
                training, stopping, self.store, self.config, resumed=resumed, track=self._track
            )
            training.become(drawn)

    def _judged(self, findings: list[Finding]) -> tuple[list[Finding], ModelCard]:
        """Give what is said of the images that set the threshold, and the card with it."""
        calibration = [*compress(findings, self.split.calibration)]
        digests = [*compress(self.images.digests, self.split.calibration)]
        card = model_card(self.detector, self.config, self.images, self._seen, _UNSET)
        return calibration, with_threshold(card, calibration, digests, self.config)

    def _put_in_place(self, model: Path, outcome: Outcome) -> None:
        """Let the model take its place, together with what is said of it and nothing else."""
        beside = self.out if self.out != self.run else None
        make_folder(self.run, RUN)  # of an earlier version, it has no marker
        with Transaction(self.run, beside) as files:
            files.remove(RUN.own if beside else [STATE])
            files.remove(f"{name}.new" for name in RUN.own)  # of a training that was killed
            model.replace(files.path("model.onnx"))
            self._report(files, outcome)
            settled(files, outcome.card, "train")
            # Windows does not move files that are open: the items may lie on disk.
            self.trainer.training.become(np.empty(0))
            self.items.forget()
            files.commit({*RUN.own, LOG} - {STATE})
        self.out = self.run

    def _report(self, files: Transaction, outcome: Outcome) -> None:
        """Write what a person or an auditor wants to see beside the model."""
        out, findings, card = files.path("normals.csv").parent, outcome.findings, outcome.card
        calibration = [*compress(findings, self.split.calibration)]
        if outcome.drawn:
            save_sensitivity(*outcome.drawn, card.threshold, out, outcome.mm_per_pixel)
        save_suspects(outcome.suspects, out)
        save_normals(self.images, self.split.parts, self._seen, findings, out / "normals.csv")
        save_unseen(self.images, findings, outcome.described, out / UNSEEN)
        write_json(out / "calibration.json", {"threshold": asdict(card.threshold)})
        self._save_history(out)  # a kill may have come between its last epoch and this
        epochs = [asdict(record) for record in self.trainer.history]
        figures.save_training(epochs, out / "training.png")
        shown, expected = self._held_out[:SHOWN_IMAGES], None
        if isinstance(self.detector.features, PixelFeatures):
            expected = reconstruct(self.detector, shown)
        save_held_out(calibration, card.threshold, shown, expected, out)
        command = train_command(
            self.images.folder, self.run, self.device.type, self._weights, self.exclusion
        )
        told = training_record(self.images, self.split, self.config, command)
        told["drawn"] = outcome.said_of_drawn
        told["excluded"] = sorted(map(spelled, self.exclusion.paths)) if self.exclusion else []
        told["latents"] = latent_record(outcome.use, self.store.per_image, self.config)
        write_json(out / "training.json", told)
        slices = self.images.settings.stacked
        sheet = contact_sheet(self.images.chosen(self.split.training), slices)
        save_picture(sheet, out / "thumbnails.jpg")

    @property
    def _seen(self) -> NDArray[np.bool_]:
        """Which images the weights come from, [N]."""
        held_back = self.split.of(CALIBRATION) & (not self.config.training.refit)
        return ~held_back
