"""From marks to a candidate for a run's model: trained, taught, and compared with the present one.

Nothing is replaced: see ``promote``.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from anomaly_vae.calibration.comparison import Comparison, compare_models
from anomaly_vae.calibration.intervals import Rate, rate
from anomaly_vae.calibration.likeness import FEWEST
from anomaly_vae.errors import FolderError
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import remove, replacing, write_json, write_text
from anomaly_vae.progress import Track, untracked
from anomaly_vae.reporting.html import render
from anomaly_vae.reporting.trained import load_normals
from anomaly_vae.workflows.gathering import Gathered, gather
from anomaly_vae.workflows.labelled import LabelledFolder, Photographs, inspect_all, seen_before
from anomaly_vae.workflows.marks import marked
from anomaly_vae.workflows.promote import AGAINST, CANDIDATE
from anomaly_vae.workflows.refine import Refinement, refine_run
from anomaly_vae.workflows.runs import load_detector, saved_config
from anomaly_vae.workflows.train import TrainingSession

PAGE, FIGURES = "comparison.html", "comparison.json"


@dataclass(frozen=True)
class Improvement:
    """A candidate, and how it stands against the present model, on what neither has seen."""

    good: int
    """Marked good photographs that it has learned from besides."""
    refinement: Refinement | None
    """What marked defects taught it; None where they were too few, or it is a model of pixels."""
    rejected: Rate
    """Of the good photographs, by the candidate; each by a model that has not seen it."""
    rejected_before: Rate
    """By the present model."""
    found: Rate | None
    """Of the marked defects, by the candidate, each left out in turn; None without any."""
    found_before: Rate | None
    comparison: Comparison | None
    """Of the candidate with the present model; None without marked defects."""
    notes: tuple[str, ...]
    """What a person should know, each a line."""


class _Judged(NamedTuple):
    """What both models say of the same photographs."""

    new: NDArray[np.float64]
    old: NDArray[np.float64]


def improve_run(
    run: Path,
    marks: Path,
    images: Path,
    *,
    good: Path | None = None,
    device: str = "auto",
    track: Track = untracked,
) -> Improvement:
    """Train a candidate for ``run`` with marked photographs, and compare it with the present model.

    Marked good photographs join those of the training, which lie in ``good`` (default: where they
    were); marked defects teach the score. All of them are kept in the run. The candidate lies in
    ``run/candidate``, and ``promote`` puts it in the place of the model.

    Raises:
        FolderError: the marks, or a photograph of the training, are not there any more.
        ModelFileError, OutputError: the run is none, or cannot be written to.
        TrainingError, ExportError: the training gives no usable model.
    """
    normal, bad = marked(marks, images)
    if normal is None and bad is None:
        raise FolderError(f"{marks}: marks nothing; expected some good or defective images")
    lock = lock_folder(run)
    config, present = saved_config(run), Inspector(run / "model.onnx", device="cpu")
    gathered = gather(run, good, normal, bad)
    candidate = run / CANDIDATE
    remove(run, [CANDIDATE])
    weights = None
    if config.features.source != "pixels":
        weights = gathered.folder / "trunk.safetensors"
        trunk = load_detector(run, config).features.get_submodule("trunk").state_dict()
        save_file({name: value.contiguous() for name, value in trunk.items()}, weights)
    session = TrainingSession(
        gathered.good, candidate, config, weights=weights, device=device, track=track
    )
    for _ in track(session.epochs(), "Training the candidate", config.training.epochs):
        pass
    session.finish()
    refinement, notes = _taught(candidate, gathered, config.model.kind, track)
    result = _compared(run, present, gathered, refinement, track)
    if present.card.kinds:
        notes.append("the candidate knows no kinds of defects; give 'kinds' again after 'promote'")
    result = replace(result, notes=(*gathered.notes, *notes, *result.notes))
    _write(candidate, result, present)
    lock.release()
    return result


def _taught(
    candidate: Path, gathered: Gathered, kind: str, track: Track
) -> tuple[Refinement | None, list[str]]:
    """Teach the candidate what was marked, if it can be; else say why not."""
    if gathered.bad is None:
        return None, []
    if kind != "patch":
        return None, [f"the {gathered.defective} marked defects teach a model of pixels nothing"]
    if gathered.defective < FEWEST:
        return None, [f"{gathered.defective} marked defects teach nothing; {FEWEST} or more may"]
    return refine_run(candidate, gathered.bad, track=track), []


def _compared(
    run: Path, present: Inspector, gathered: Gathered, refinement: Refinement | None, track: Track
) -> Improvement:
    """Let both models judge the same photographs, none by what has learned from it."""
    candidate = Inspector(run / CANDIDATE / "model.onnx", device="cpu")
    limits = candidate.card.threshold.score, present.card.threshold.score
    good, notes = _good(run, present, gathered, track), []
    rejected, before = (_above(scores, limit) for scores, limit in zip(good, limits, strict=True))
    if gathered.bad is None:
        return Improvement(gathered.added, None, rejected, before, None, None, None, ())
    judged = inspect_all(present, gathered.bad, track, lean=True)
    learned = seen_before(present.card, judged, calibrated=True)
    if learned:
        notes.append(
            f"the present model was made with {len(learned)} of the marked defects, which flatters "
            "it"
        )
    bad = _Judged(_new_scores(candidate, gathered.bad, judged, refinement, track), judged.scores)
    new, old = (np.r_[g, b] for g, b in zip(good, bad, strict=True))
    defective = np.arange(len(new)) >= len(good.new)
    return Improvement(
        gathered.added,
        refinement,
        rejected,
        before,
        _above(bad.new, limits[0]),
        _above(bad.old, limits[1]),
        compare_models(new, old, defective, limits),
        tuple(notes),
    )


def _good(run: Path, present: Inspector, gathered: Gathered, track: Track) -> _Judged:
    """Give both models' scores of good photographs that neither has learned from."""
    table, before = load_normals(run / CANDIDATE), load_normals(run)
    table, known = table[table.held_out], set(before.sha256)
    old = dict(zip(before.sha256[before.held_out], before.score[before.held_out], strict=True))
    added = tuple(table.path[~table.sha256.isin(known)])
    if added:
        judged = inspect_all(present, Photographs(gathered.good, added), track, lean=True)
        old |= dict(zip(judged.digests, judged.scores.tolist(), strict=True))
    table = table[table.sha256.isin(old)]
    return _Judged(table.score.to_numpy(), table.sha256.map(old).to_numpy())


def _new_scores(
    candidate: Inspector,
    given: Photographs,
    judged: LabelledFolder,
    refinement: Refinement | None,
    track: Track,
) -> NDArray[np.float64]:
    """Give the candidate's scores of marked defects, by what each of them has not taught."""
    if refinement is None:
        return inspect_all(candidate, given, track, lean=True).scores
    return np.array([refinement.defective_scores[path] for path in judged.paths])


def _above(scores: NDArray[np.float64], limit: float) -> Rate:
    return rate(int((scores > limit).sum()), len(scores))


def _write(candidate: Path, result: Improvement, present: Inspector) -> None:
    """Write what was found out, and both cards side by side; then the candidate is finished."""
    new = Inspector(candidate / "model.onnx", device="cpu")
    told = {"model": new.model_id, "against": present.model_id} | {
        each: getattr(result, each) for each in ("good", "notes")
    }
    for each in ("rejected", "rejected_before", "found", "found_before", "comparison"):
        value = getattr(result, each)
        told[each] = value and asdict(value)
    write_json(candidate / FIGURES, told)
    cards = ((present, "../card.html"), (new, "card.html"))
    with replacing(candidate / PAGE) as file:
        file.writelines(render("comparison.html", result=result, cards=cards))
    write_text(candidate / AGAINST, present.model_id + "\n")
