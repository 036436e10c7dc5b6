"""A few marked defects teach the score what matters, where that surely helps.

Letters: n good photographs, m marked defects, C channels.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from safetensors.torch import save

from anomaly_vae.calibration.likeness import (
    BEYOND,
    WEIGHT,
    Direction,
    LeftOut,
    added_unseen,
    learn_direction,
    left_out,
)
from anomaly_vae.calibration.metadata import ModelCard, Threshold
from anomaly_vae.calibration.seen import packed
from anomaly_vae.errors import TrainingError
from anomaly_vae.exporting.graph import export_model
from anomaly_vae.exporting.parity import checked
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.outputs import write_bytes, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting import figures
from anomaly_vae.reporting.sensitivity import FILES as SENSITIVITY
from anomaly_vae.reporting.trained import NORMALS
from anomaly_vae.scoring.detector import Detector
from anomaly_vae.scoring.likeness import Likeness
from anomaly_vae.settings.schema import Config
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.held_out import with_threshold
from anomaly_vae.workflows.labelled import Photographs, with_origins
from anomaly_vae.workflows.lesson import Lesson, lesson_of
from anomaly_vae.workflows.log import settled
from anomaly_vae.workflows.runs import REFERENCE, load_detector, saved_config
from anomaly_vae.workflows.unseen import UnseenGood, load_unseen

RECORD = "refinement.json"
_OF_SCORES = ("scores", "reconstruction_error", "kl", "group_scores")
_UNIT = (
    "; to reconstruction_error is added how alike {count} marked defects the most unusual places "
    "are ('refine'), which counts {weight:g} of the score"
)
_CONDITION = (
    "what marked defects add to the score of a good photograph was learned without it; that the "
    "model that inspects keeps the rates was measured (reports/refine.md), not proved"
)


@dataclass(frozen=True)
class Refinement:
    """What marked defects taught a model, or would have."""

    defective: int
    good: int
    """Photographs that no model had seen, and those given besides."""
    left_out: LeftOut
    """What it does to photographs that it was not learned from."""
    threshold: Threshold
    """Of the model now."""
    before: Threshold
    """Of the model until now."""
    defective_scores: dict[str, float]
    """Of each of them by its path, by a model that it has not taught."""
    notes: tuple[str, ...]
    """What a person should know of the photographs, each a line."""

    @property
    def kept(self) -> bool:
        """Whether the model has it now: only if it surely helps."""
        return self.left_out.helps

    @property
    def why(self) -> str:
        """Say in a few words why it was not kept; empty where it was."""
        if self.kept:
            return ""
        if self.left_out.joint.other_auroc == 1:
            return "the left-out defects are all found without it"
        if self.left_out.joint.difference <= 0:
            return "the left-out defects are not found better with it"
        return "the left-out defects are not surely like the others"


def refine_run(
    run: Path,
    defective: Photographs,
    good: Photographs | None = None,
    *,
    track: Track = untracked,
) -> Refinement:
    """Let marked defects teach the score of ``run/model.onnx``, if it helps to find others.

    What is usual of good photographs is known from the training. Those ``good`` besides are such as
    must not be taken for defects; no limit is set by them. What an earlier ``refine`` taught is
    replaced. The limits are set anew from the good photographs that models had not seen.

    Raises:
        TrainingError: too few defects, photographs that are good and defective, or the model is
            not one of the features of a trunk.
        FolderError, ModelFileError: a folder or the run cannot be used.
        OutputError: the run folder cannot be written to; then all in it is as it was.
    """
    config = saved_config(run)
    if config.model.kind != "patch":
        raise TrainingError(
            f"{run}: is a model of pixels; 'refine' is for those of the features of a trunk: train "
            "one with --features resnet18, say"
        )
    with Transaction(run) as files:
        card = with_origins(Inspector(run / "model.onnx", device="cpu").card, run)
        detector = load_detector(run, config)
        detector.likeness = None  # what was learned before
        lesson = lesson_of(load_unseen(run), detector, config, (defective, good), track)
        gained = left_out(
            lesson.good, lesson.bad.described, lesson.groups, lesson.scores, lesson.bad.scores
        )
        new = _taught(files, detector, lesson, card, config) if gained.helps else card
        added, bad = lesson.added, lesson.bad
        scores = gained.defective_scores if gained.helps else bad.scores.tolist()
        result = Refinement(
            len(bad.paths),
            len(lesson.good),
            gained,
            new.threshold,
            card.threshold,
            dict(zip(bad.paths, scores, strict=True)),
            bad.notes + (added.notes if added else ()),
        )
        _record(files, result, lesson)
        files.commit()
    return result


def _taught(
    files: Transaction, detector: Detector, lesson: Lesson, card: ModelCard, config: Config
) -> ModelCard:
    """Teach the detector, set its limits, and let all files that follow take their places."""
    added = added_unseen(lesson.good, lesson.bad.described, lesson.groups)
    direction = learn_direction(lesson.good, lesson.bad.described)
    _teach(detector, direction)
    findings = _findings(lesson.unseen, added[: len(lesson.unseen.path)], detector)
    judged = with_threshold(card, findings, lesson.unseen.sha256.tolist(), config)
    assert card.good and judged.good  # noqa: S101 - for the type checker
    # What photographs look like was not learned here.
    scores = {name: getattr(judged.good, name) for name in _OF_SCORES}
    limit = judged.threshold
    new = replace(
        judged,
        threshold=replace(limit, conditions=(*limit.conditions, _CONDITION)),
        good=replace(card.good, **scores),
        unit=ModelCard.unit + _UNIT.format(count=len(lesson.bad.paths), weight=WEIGHT),
        learned_from=packed(lesson.digests, card.learned_from),
    )
    model = files.path("model.onnx")
    pixels = lesson.bad.pixels
    export_model(detector, new, model, pixels[: checked(pixels.shape[1:])])
    write_bytes(files.path("vae.safetensors"), save(detector.state_dict()))
    write_json(files.path("calibration.json"), {"threshold": asdict(new.threshold)})
    files.remove(["roc.png", REFERENCE, *SENSITIVITY])  # of the model as it was
    _write_normals(files, dict(zip(lesson.unseen.sha256.tolist(), findings, strict=True)))
    bad = lesson.bad.scores + direction.added(lesson.bad.described)
    classes = {"held-out good": np.array([each.score for each in findings]), "taught": bad}
    figures.save_scores(classes, new.threshold, files.path("scores.png"), title="Refined")
    settled(files, new, "refine")
    return new


def _teach(detector: Detector, direction: Direction) -> None:
    """Let a detector add so much to its error that the likeness counts ``WEIGHT`` of the score."""
    detector.likeness = Likeness(len(direction.weights))
    counts = WEIGHT * detector.scale
    # A description is a mean over places; the error is a sum of two.
    weights = counts * torch.from_numpy(direction.weights) / (1 + detector.whole_weight)
    detector.likeness.direction.copy_(weights)
    detector.likeness.usual.copy_(counts * (direction.usual + BEYOND))


def _findings(unseen: UnseenGood, added: NDArray[np.float64], detector: Detector) -> list[Finding]:
    """Give what is said now of good photographs, by directions that have not seen them."""
    columns = (
        unseen.path,
        unseen.score + added,
        unseen.reconstruction_error + float(detector.scale) * added,
        unseen.kl,
        unseen.highest,
    )
    return [
        Finding(path, "pass", score=score, reconstruction_error=error, kl=kl, highest=highest)
        for path, score, error, kl, highest in zip(*(c.tolist() for c in columns), strict=True)
    ]


def _write_normals(files: Transaction, findings: dict[str, Finding]) -> None:
    """Write down what is said now of good photographs, by their SHA-256, as ``train`` did."""
    table = pd.read_csv(files.current(NORMALS), dtype={"path": "str", "sha256": "str"})
    for name in ("score", "reconstruction_error"):
        now = table.sha256.map({key: getattr(each, name) for key, each in findings.items()})
        table[name] = now.fillna(table[name])
    write_text(files.path(NORMALS), table.to_csv(index=False, float_format="%.9g"))


def _record(files: Transaction, result: Refinement, lesson: Lesson) -> None:
    """Write down what was tried and what the model has, with the photographs by their digests."""
    bad, added = lesson.bad, lesson.added
    told = {
        "kept": result.kept,
        "why": result.why,
        "defective": bad.as_dict(),
        "good_besides": added.as_dict() if added else {},
        "good_unseen": len(lesson.unseen.path),
        "left_out": asdict(result.left_out),
    }
    before = files.current(RECORD)
    known = None
    if before.is_file():
        with suppress(ValueError, AttributeError):
            known = json.loads(before.read_text("utf-8", "replace")).get("in_model")
    write_json(files.path(RECORD), {"latest": told, "in_model": told if result.kept else known})
