"""Output folders and files: nothing of the user's is overwritten, nothing is left half-written."""

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from anomaly_vae import __version__
from anomaly_vae.errors import OutputError

MARKER = ".anomaly-vae.json"
"""File in each folder that this program has made: what made it, and which files are its own."""
LOCK = ".lock"
"""File in a folder of results that a program writes into; see ``locking``."""
RESULTS, PHOTOGRAPHS = "results", "photographs"
"""What a folder holds; photographs are meant to be used, pictures among results are not."""


def _unknown(_folder: Path) -> bool:
    return False


@dataclass(frozen=True)
class Made:
    """What a command makes in a folder: only that is ever replaced or removed."""

    by: str
    """The command."""
    own: Iterable[str]
    """Names of its files and folders."""
    holds: str = RESULTS
    known: Callable[[Path], bool] = _unknown
    """Whether what lies in a folder proves that the command has made it: earlier versions left no
    marker."""


_IN_USE = (32, 33)  # ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION


def prepare_folder(
    folder: Path, made: Made, *, overwrite: bool = False, resume: bool = False
) -> None:
    """Make ``folder`` and its parents, with a marker; with ``overwrite`` remove what is ours.

    Call ``refuse_folder`` before long work, and this when there is something to write.

    Raises:
        OutputError: see ``refuse_folder``; or it cannot be written to.
    """
    refuse_folder(folder, made, overwrite=overwrite, resume=resume)
    if overwrite:
        remove(folder, {*made.own, *_marked(folder).get("own", ())})
    make_folder(folder, made)


def make_folder(folder: Path, made: Made) -> None:
    """Make a folder that ``refuse_folder`` allows, and write the marker; removes nothing.

    Raises:
        OutputError: it cannot be written to.
    """
    own = sorted({*made.own, *_marked(folder).get("own", ())})
    marker = {"made_by": made.by, "version": __version__, "holds": made.holds, "own": own}
    with _usable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        new = folder / f"{MARKER}.new"  # if this is killed, the next one takes it
        new.write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")
        new.replace(folder / MARKER)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files and folders, and links but not what they point to; any may be missing.

    Raises:
        OutputError: one cannot be removed.
    """
    with _usable(folder):
        for path in (folder / name for name in names):
            remove_path(path)


def remove_path(path: Path) -> None:
    """Remove a file, a folder with all in it, or a link; it may be missing."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def _usable(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"{folder}: cannot be used for results ({error.strerror}); {_remedy(error)}"
        ) from error


def _remedy(error: OSError) -> str:
    """Say what helps: only Windows says of a file that another program has it open."""
    if getattr(error, "winerror", None) in _IN_USE:
        return "close its files in other programs, or choose another --out"
    if isinstance(error, PermissionError):
        return "choose another --out, or ask whoever owns it for the right to write there"
    return "choose another --out"


def refuse_folder(
    folder: Path, made: Made, *, overwrite: bool = False, resume: bool = False
) -> None:
    """Make sure that a command may write into ``folder``; changes nothing.

    Without ``overwrite`` and ``resume`` it must be empty. With either, nothing in it that has the
    name of a result may be somebody else's, by the marker.

    Raises:
        OutputError: otherwise; or both are given, or it cannot be listed.
    """
    if overwrite and resume:
        raise OutputError("--resume and --overwrite contradict each other; give one of them")
    if not (overwrite or resume):
        refuse_used(folder)
        return
    marked = _marked(folder)
    if marked.get("made_by", made.by) != made.by:
        raise OutputError(
            f"{folder}: was made by '{marked['made_by']}', not '{made.by}'; choose another --out"
        )
    mine = set(marked.get("own", ()))
    found = sorted(name for name in {*made.own} - mine if os.path.lexists(folder / name))
    if found and (marked or not made.known(folder)):
        raise OutputError(
            f"{folder}: holds {', '.join(found[:3])}, and nothing says that '{made.by}' has made "
            "it (earlier versions did not say); move that away, or choose another --out"
        )
    if resume and not (marked or made.known(folder)) and _used(folder):
        raise OutputError(
            f"{folder}: holds nothing of '{made.by}' to go on with; choose another --out, or give "
            "--overwrite"
        )


def refuse_used(folder: Path) -> None:
    """Make sure that nothing stands at ``folder`` yet, or an empty folder.

    Raises:
        OutputError: it is not empty, not a folder, or cannot be listed.
    """
    if _used(folder):
        raise OutputError(
            f"{folder}: is not empty; choose another --out, or give --overwrite to replace the "
            "results in it"
        )


def _used(folder: Path) -> bool:
    with _usable(folder):
        return folder.exists() and any(each.name != LOCK for each in folder.iterdir())


def _marked(folder: Path) -> dict[str, Any]:
    """Read the marker; empty if there is none, or none of ours."""
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        own = [name for name in marker["own"] if isinstance(name, str) and Path(name).name == name]
        return {"made_by": str(marker["made_by"]), "own": own}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


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
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise OutputError(f"{path}: cannot be written: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Bring to the disk which files a folder has: a rename is not there for good before that."""
    if os.name == "nt":  # it has no such thing, and needs none on NTFS
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network drives know only files
            raise
    finally:
        os.close(descriptor)


def write_all(file: IO[bytes], data: bytes) -> None:
    """Write all of ``data``, which an unbuffered file takes in parts."""
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``; see ``replacing``."""
    with replacing(path) as file:
        write_all(file, data)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` as UTF-8; see ``write_bytes``."""
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_json(path: Path, data: Any) -> None:
    """Write ``data`` as indented JSON; see ``write_bytes``."""
    write_text(path, json.dumps(data, indent=2) + "\n")
