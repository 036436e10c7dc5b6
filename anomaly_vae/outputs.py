"""Output folders and files: nothing of the user's is overwritten, nothing is left half-written."""

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from anomaly_vae.errors import OutputError

MARKER = ".anomaly-vae.json"
"""File in each folder that this program has made: what made it, and which files are its own."""


def prepare_folder(
    folder: Path, own: Iterable[str], *, overwrite: bool = False, resume: bool = False
) -> None:
    """Make ``folder`` and its parents; with ``overwrite`` remove what stands in ``own`` from it.

    Call ``refuse_used`` before long work, and this when there is something to write.

    Only names in ``own`` (files or folders of this program) are ever removed.

    Raises:
        OutputError: it is not empty and neither ``overwrite`` nor ``resume`` is given, or it
            cannot be written to.
    """
    if not (overwrite or resume):
        refuse_used(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite:
            for path in (folder / name for name in own):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
        probe = folder / f".{uuid.uuid4().hex}"  # a name that nobody has taken
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be used for results ({error.strerror}); close its files in other "
            "programs, or choose another --out"
        ) from error


def refuse_used(folder: Path) -> None:
    """Make sure that nothing stands at ``folder`` yet, or an empty folder.

    Raises:
        OutputError: it is not empty, not a folder, or cannot be listed.
    """
    try:
        used = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be used for results ({error.strerror}); choose another --out"
        ) from error
    if used:
        raise OutputError(
            f"{folder}: is not empty; choose another --out, or give --overwrite to replace the "
            "results in it"
        )


def prepare_file(path: Path, *, overwrite: bool = False) -> None:
    """Make sure that ``path`` may be written, and make its parents; call it before long work.

    Raises:
        OutputError: it exists and ``overwrite`` is not given, or its parents cannot be made.
    """
    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists; choose another --out, or give --overwrite")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Give a file that takes the place of ``path`` when all of it is on disk, and not before.

    Raises:
        OutputError: it cannot be written.
    """
    unfinished = path.with_name(path.name + ".new")
    try:
        with unfinished.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; see ``replacing``."""
    with replacing(path) as file:
        file.write(data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see ``write_bytes``."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as indented JSON; see ``write_bytes``."""
    write_text(path, json.dumps(data, indent=2) + "\n")
