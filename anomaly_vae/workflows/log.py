"""Which model a run folder had, since when, and who put it there: a log that shows tampering.

Each line of ``log.jsonl`` has the SHA-256 of the line before it: whoever changes, inserts or takes
out a line must write all that follow anew. The last one names the model that is there. So what
cannot be seen from the file itself is that all of its end was written anew; for this, note down the
hash of a line elsewhere, and ask for it.
"""

import getpass
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from anomaly_vae import __version__
from anomaly_vae.calibration.metadata import ModelCard
from anomaly_vae.errors import ModelFileError
from anomaly_vae.inspection.runtime import model_id
from anomaly_vae.outputs import write_bytes
from anomaly_vae.reporting.card import write_card
from anomaly_vae.transaction import Transaction

LOG = "log.jsonl"
HISTORY = "history"

Entry = dict[str, Any]


def settled(files: Transaction, card: ModelCard, action: str) -> None:
    """Write card and log of a ``model.onnx`` that is about to take its place.

    Raises:
        OutputError: they cannot be written.
    """
    model = model_id(files.current("model.onnx").read_bytes())
    write_card(files.folder, card, model, files)
    log(files, action, model)


def log(files: Transaction, action: str, model: str, **told: str) -> None:
    """Add a line: what was done, the model that is there from then on, and what else is ``told``.

    Raises:
        OutputError: it cannot be written.
    """
    lines = _lines(files.current(LOG))
    entry = {
        "line": len(lines) + 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "user": _user(),
        "action": action,
        "model": model,
        **told,
        "program_version": __version__,
        "previous": _hash(lines[-1]) if lines else "",
    }
    new = json.dumps(entry, ensure_ascii=True).encode()
    write_bytes(files.path(LOG), b"".join(line + b"\n" for line in (*lines, new)))


def log_length(run: Path) -> int:
    """Give how many lines the log of a run has."""
    return len(_lines(run / LOG))


def verified(run: Path, noted: str = "") -> tuple[list[Entry], str]:
    """Give the entries of a run's log, and the hash of its last line, if nothing was tampered with.

    Where the hash of a line was ``noted`` down elsewhere, it must be among them.

    Raises:
        ModelFileError: the log is missing; a line was changed, inserted or taken out; it does not
            end with the model that is there; or an earlier model was exchanged.
    """
    path = run / LOG
    lines = _lines(path)
    if not lines:
        raise ModelFileError(f"{path}: is missing or empty; it begins with the next model")
    entries, before, hashes = list[Entry](), "", list[str]()
    for number, line in enumerate(lines, 1):
        entry = _entry(line)
        if entry.get("line") != number or entry.get("previous") != before:
            raise ModelFileError(
                f"{path}: line {number} does not follow the one before it; a line was changed, "
                "inserted or taken out: compare with a backup"
            )
        entries.append(entry)
        hashes.append(before := _hash(line))
    if noted and noted.strip().lower() not in hashes:
        raise ModelFileError(
            f"{path}: no line has the hash {noted}; its end was taken away or written anew: "
            "compare with a backup"
        )
    _check_models(run, entries)
    return entries, before


def _check_models(run: Path, entries: list[Entry]) -> None:
    """Make sure that the models of a run, today's and earlier ones, are those of its log."""
    model = run / "model.onnx"
    found = model_id(model.read_bytes()) if model.is_file() else "none"
    if found != entries[-1].get("model"):
        raise ModelFileError(
            f"{run / LOG}: ends with model {entries[-1].get('model')}, but {model} is {found}; "
            "lines were taken away, or the model was exchanged by hand: compare with a backup"
        )
    for each in entries:
        archive = run / HISTORY / str(each.get("archive", ""))
        if "archive" in each:
            kept = archive / "model.onnx"
            found = model_id(kept.read_bytes()) if kept.is_file() else "none"
            if found != each.get("before"):
                raise ModelFileError(
                    f"{kept}: is {found}, but line {each['line']} of {run / LOG} says "
                    f"{each.get('before')}; it was exchanged: compare with a backup"
                )


def _lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines() if path.is_file() else []


def _entry(line: bytes) -> Entry:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def _user() -> str:
    """Give the name that the system knows the user by."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may know no names
        return "unknown"
