"""A study: the same good images, other settings; each training is a run folder of its own.

What it compares is measured on the good images set aside for calibration, which no training has
seen; a seed divides the images alike whatever else is varied. Trainings that count other things in
nats (other pixels, other features, another likelihood) cannot be compared by rate and distortion.
"""

import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from anomaly_vae.calibration.metrics import image_metrics
from anomaly_vae.calibration.tradeoff import summarise
from anomaly_vae.errors import (
    AnomalyVAEError,
    ConfigError,
    ExportError,
    OutputError,
    TrainingError,
    WeightsError,
)
from anomaly_vae.images.ahead import usable_cores
from anomaly_vae.images.files import list_images
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.latent.information import measure
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import Made, prepare_folder, refuse_folder, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import sweeps as figures
from anomaly_vae.reporting.card import RATE_DISTORTION, write_card
from anomaly_vae.reporting.rows import spelled
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.factory import build_detector
from anomaly_vae.training.dataset import read_images
from anomaly_vae.training.loop import EpochRecord, select_device
from anomaly_vae.training.split import split_images
from anomaly_vae.vae.trunk import TrunkFeatures
from anomaly_vae.vae.weights import load_trunk_weights
from anomaly_vae.workflows.grid import Planned
from anomaly_vae.workflows.labelled import (
    Photographs,
    inspect_all,
    seen_before,
)
from anomaly_vae.workflows.runs import CHECKPOINT, as_given, load_detector, saved_config
from anomaly_vae.workflows.study import MEASURES, Result, as_csv, read_results, tabulate
from anomaly_vae.workflows.train import TrainingSession
from anomaly_vae.workflows.truth import check_labelled, name_classes

RUNS, _RECORD = "runs", "sweep.json"
RESULTS = (RUNS, _RECORD, "sweep.csv", "summary.csv", "sweep.png", RATE_DISTORTION)


def _is_study(folder: Path) -> bool:
    """Tell the folder of a study by its content."""
    try:
        return bool(_read_record(folder / _RECORD))
    except OutputError:
        return False


STUDY = Made("sweep", RESULTS, known=_is_study)


class Sweep:
    """A study in a folder; ``__init__`` checks, ``prepare`` begins or goes on, ``run`` trains.

    Raises:
        ConfigError, FolderError, OutputError, DeviceError: what is wrong, as far as that can be
            known before the first training.
    """

    def __init__(
        self,
        good: Path,
        out: Path,
        plan: Sequence[Planned],
        *,
        test: Path | None = None,
        good_class: str | None = None,
        weights: Path | None = None,
        device: str = "auto",
        track: Track = untracked,
    ) -> None:
        self.good, self.out, self.plan, self.test = good, out, plan, test
        self._good_class = good_class
        self.device, self._weights, self._track = select_device(device), weights, track
        self.results: dict[str, Result] = {}
        self.unreadable: tuple[tuple[str, str], ...] = ()
        self.notes: tuple[str, ...] = ()
        self.seen_before: list[str] = []
        if good.resolve() in (out.resolve(), *out.resolve().parents):
            raise OutputError(f"{out}: lies in {good}, so that its pictures would be trained on; "
                              "choose another --out")  # fmt: skip
        list_images(good)
        if test:
            check_labelled(test, good_class)
        _check_models(plan, weights)

    @property
    def keys(self) -> list[str]:
        """The settings that are varied."""
        return list(self.plan[0].values)

    @property
    def waiting(self) -> list[Planned]:
        """The trainings without a result, in their order."""
        return [each for each in self.plan if each.name not in self.results]

    def prepare(self, *, overwrite: bool = False, resume: bool = False) -> None:
        """Make the folder of the study; with ``resume`` take over what is done.

        Raises:
            OutputError: it is in use, or holds a study of other photographs.
            ConfigError: a run in it was begun with other settings.
        """
        refuse_folder(self.out, STUDY, overwrite=overwrite, resume=resume)
        record = {"good": _written(self.good), "test": self.test and _written(self.test)}
        if resume:
            self._take_over(record)
        self._lock = lock_folder(self.out)
        prepare_folder(self.out, STUDY, overwrite=overwrite, resume=resume)
        write_json(self.out / _RECORD, record)

    def run(self, watch: Callable[[EpochRecord], object] = lambda _: None) -> Iterator[Result]:
        """Train and measure what is waiting; ``sweep.csv`` is on disk after each.

        A training that diverges, or gives no usable model, is a result too.
        """
        for each in self.waiting:
            self.results[each.name] = result = self._result(each, watch)
            write_text(self.out / "sweep.csv", as_csv(tabulate(self.plan, self.results)))
            yield result

    def finish(self) -> pd.DataFrame:
        """Write ``summary.csv`` and the figures; gives the summary.

        Raises:
            TrainingError: no training gave a model.
        """
        table = tabulate(self.plan, self.results)
        write_text(self.out / "sweep.csv", as_csv(table))
        done = table[table.error == ""]
        if done.empty:
            raise TrainingError(f"none of {len(table)} trainings gave a model: {table.error[0]}")
        summary = summarise(done, self.keys, MEASURES)
        write_text(self.out / "summary.csv", as_csv(summary))
        figures.save_settings(done, summary, self.keys, self.out / "sweep.png")
        figures.save_rate_distortion(summary, self.keys, self.out / RATE_DISTORTION)
        for name in done.run:
            self._show_on_card(self.out / RUNS / name)
        return summary

    def _show_on_card(self, folder: Path) -> None:
        """Let the card of a training show the whole study."""
        shutil.copyfile(self.out / RATE_DISTORTION, folder / RATE_DISTORTION)
        inspector = Inspector(folder / "model.onnx", device="cpu")
        write_card(folder, inspector.card, inspector.model_id)

    def _take_over(self, record: dict[str, Any]) -> None:
        """Know what is done already, and that it is of this study."""
        for each in self.plan:
            folder = self.out / RUNS / each.name
            if not (folder / "config.yaml").is_file():
                continue
            if as_given(saved_config(folder), each.config) != each.config:
                raise ConfigError(f"{folder}: was begun with other settings; give the same ones, "
                                  "or --overwrite")  # fmt: skip
        before = _read_record(self.out / _RECORD)
        if before and before["good"] != record["good"]:
            raise OutputError(f"{self.out}: is a study of {before['good']}; give the same folder, "
                              "or --overwrite")  # fmt: skip
        # With other test images every model is judged again, which is quick.
        if before == record:
            names = {each.name for each in self.plan}
            kept = read_results(self.out / "sweep.csv")
            self.results = {each.run: each for each in kept if each.run in names and not each.error}

    def _result(self, each: Planned, watch: Callable[[EpochRecord], object]) -> Result:
        folder = self.out / RUNS / each.name
        begun = (folder / CHECKPOINT).is_file()
        finished = (folder / "model.onnx").is_file() and not begun
        try:
            detector, held_out = self._finished(each) if finished else self._trained(each, watch)
        except _NoModelError as failure:
            return Result(each.name, error=spelled(" ".join(str(failure).split())))
        history = pd.read_csv(folder / "history.csv")
        return Result(
            each.name,
            measure(detector.to(self.device), held_out),
            self._auroc(folder, self.test) if self.test else math.nan,
            len(history),
            float(history.seconds.sum()),
        )

    def _trained(
        self, each: Planned, watch: Callable[[EpochRecord], object]
    ) -> tuple[Detector, NDArray[np.uint8]]:
        """Train, or go on; gives the model and the images held out, uint8 [N, S, S, 3]."""
        folder = self.out / RUNS / each.name
        # One that was begun has them already.
        wanted = each.config.features.source != "pixels" and not (folder / CHECKPOINT).is_file()
        session = TrainingSession(
            self.good, folder, each.config, weights=self._weights if wanted else None,
            device=self.device.type, resume=True, track=self._track,
        )  # fmt: skip
        self.unreadable = session.images.unreadable
        self.notes = (*session.images.notes, *session.notes)
        try:
            for record in session.epochs():
                watch(record)
            session.finish()
        except (TrainingError, ExportError) as error:
            raise _NoModelError(str(error)) from error
        return session.detector, session.images.chosen(session.split.calibration)[:]

    def _finished(self, each: Planned) -> tuple[Detector, NDArray[np.uint8]]:
        """Give the same of a training that has ended before."""
        folder = self.out / RUNS / each.name
        config = replace(each.config, images=saved_config(folder).images)
        images = read_images(
            self.good, config.images, workers=usable_cores(), scratch=folder, track=self._track
        )
        self.unreadable, self.notes = images.unreadable, images.notes
        card = Inspector(folder / "model.onnx", device="cpu").card
        if card.training_fingerprint != images.fingerprint:
            raise TrainingError(f"{self.good}: not the images that {folder} was trained on; give "
                                "the same folder, or --overwrite")  # fmt: skip
        split = split_images(images, config.split, seed=config.training.seed)
        return load_detector(folder, config), images.chosen(split.calibration)[:]

    def _auroc(self, folder: Path, test: Path) -> float:
        on_cpu = self.device.type == "cpu"
        inspector = Inspector(folder / "model.onnx", device="cpu" if on_cpu else "auto")
        found = inspect_all(inspector, Photographs(test), self._track)
        unread = [f"{path} could not be read and is left out" for path in found.unreadable]
        self.notes += tuple(f"{test}: {note}" for note in (*found.notes, *unread))
        if not self.seen_before:
            self.seen_before = seen_before(inspector.card, found, calibrated=True)
        classes = name_classes(test, found.paths, self._good_class)
        return image_metrics(found.scores, classes, inspector.card.threshold).auroc


class _NoModelError(AnomalyVAEError):
    """A training that gave no model: a result of the study, unlike one that cannot begin."""


def _check_models(plan: Sequence[Planned], weights: Path | None) -> None:
    """Find what is wrong with features and weights before the first training.

    Raises:
        ConfigError: with all mistakes.
    """
    mistakes: dict[str, None] = {}
    seen = {(each.config.images, each.config.features): each.config for each in plan}
    trunks = [config for config in seen.values() if config.features.source != "pixels"]
    if weights and not trunks:
        mistakes["--weights is for a trunk; features.source 'pixels' has no weights"] = None
    for config in seen.values():
        try:
            features = build_detector(config).features
            if isinstance(features, TrunkFeatures):
                load_trunk_weights(features, weights)
        except (ConfigError, WeightsError) as error:
            mistakes[str(error)] = None
    if mistakes:
        raise ConfigError("; ".join(mistakes))


def _read_record(path: Path) -> dict[str, Any]:
    """Read what a study is of; empty if there is none."""
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return {"good": record["good"], "test": record["test"]}
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(f"{path}: is damaged; give --overwrite") from error


def _written(folder: Path) -> str:
    return spelled(str(folder.resolve()))
