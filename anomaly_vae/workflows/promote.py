"""A candidate takes the place of a run's model, or an earlier model comes back; none is lost."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from anomaly_vae.errors import ModelFileError, OutputError
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.outputs import remove_path
from anomaly_vae.transaction import Transaction
from anomaly_vae.workflows.log import HISTORY, Entry, log, log_length, verified
from anomaly_vae.workflows.runs import RESULTS, STATE

CANDIDATE = "candidate"
AGAINST = "against.txt"
"""In a candidate: which model it was compared with."""
_MODEL_FILES = tuple(name for name in RESULTS if name != STATE)


@dataclass(frozen=True)
class Change:
    """One model in the place of another."""

    model: str
    before: str
    archive: Path
    """Where the one before lies now, with all that is said of it."""


def promote(run: Path) -> Change:
    """Put the candidate of ``improve`` in the place of the model; that one goes to ``history``.

    Raises:
        ModelFileError: there is none, it was compared with another model than is there, or the log
            was tampered with.
        OutputError: the run cannot be written to; then all in it is as it was.
    """
    candidate = run / CANDIDATE
    with Transaction(run) as files:
        if not (candidate / "model.onnx").is_file() or not (candidate / AGAINST).is_file():
            raise ModelFileError(f"{candidate}: no finished candidate; 'improve' makes one")
        present = _present(run)
        known = (candidate / AGAINST).read_text("utf-8", "replace").strip()
        if known != present:
            raise ModelFileError(
                f"{candidate}: was compared with model {known}, but {run} has {present} by now; "
                "'improve' again"
            )
        change = _exchange(files, candidate, "promote", present)
        files.remove([CANDIDATE])
        files.commit()
    return change


def go_back(run: Path) -> Change:
    """Put the model back that the present one has replaced; the present one goes to ``history``.

    Raises:
        ModelFileError: there is none, or the log was tampered with.
        OutputError: the run cannot be written to; then all in it is as it was.
    """
    with Transaction(run) as files:
        present = _present(run)
        entries, _ = verified(run)
        replaced = _replaced(entries)
        if not replaced:
            raise ModelFileError(f"{run}: no model was replaced by 'promote'; there is none before")
        change = _exchange(files, run / HISTORY / replaced[-1], "back", present)
        files.commit()
    return change


def _present(run: Path) -> str:
    model = run / "model.onnx"
    if not model.is_file():
        raise ModelFileError(f"{run}: no model.onnx; expected a run folder of 'train'")
    return model_id(model.read_bytes())


def _replaced(entries: list[Entry]) -> list[str]:
    """Give the archives of the models before the present one, the nearest last."""
    archives: list[str] = []
    for entry in entries:
        if entry.get("action") == "promote":
            archives.append(str(entry.get("archive")))
        elif entry.get("action") == "back" and archives:
            archives.pop()
    return archives


def _exchange(files: Transaction, source: Path, action: str, present: str) -> Change:
    """Archive the files of the present model, and let those of ``source`` take their places."""
    run = files.folder
    lines = log_length(run)
    if lines:
        verified(run)
    archive = run / HISTORY / f"{lines + 1:04d}-{present}"
    try:
        remove_path(archive)  # of an exchange that was interrupted
        archive.mkdir(parents=True)
        for name in _MODEL_FILES:
            _copy(run / name, archive / name)
            _copy(source / name, files.path(name))
    except OSError as error:
        raise OutputError(
            f"{archive}: cannot be written ({error.strerror}); make room, and try again"
        ) from error
    files.remove(name for name in _MODEL_FILES if not (source / name).exists())
    model = model_id(files.current("model.onnx").read_bytes())
    log(files, action, model, before=present, archive=archive.name)
    return Change(model, present, archive)


def _copy(given: Path, place: Path) -> None:
    if given.is_dir():
        shutil.copytree(given, place)
    elif given.exists():
        shutil.copy2(given, place)
