"""Several files of a folder replaced as one: after any interruption all of them are old, or new.

New files are written to a folder beside, and brought to the disk. Renaming that folder to
``.committed``, with a list in it of what goes where, is the one moment at which they count: what
comes after can be done again any number of times, by whoever opens the folder next (a redo
journal, as databases have it). Before that moment nothing of the old files is touched.
"""

import json
import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from anomaly_vae.errors import OutputError
from anomaly_vae.locking import lock_folder
from anomaly_vae.outputs import remove_path, sync_folder, write_json

STAGED, COMMITTED = ".staged", ".committed"
_LIST = "files.json"


class Transaction:
    """Files that take their places in ``folder`` together, at ``commit``; use it with ``with``.

    Write them to ``path(NAME)``; ``remove`` takes a file away. What is not committed at the end of
    the block is forgotten. With ``staged``, a folder in ``folder`` that holds files already, that
    one is used, and kept where nothing is committed.

    Raises:
        OutputError: the folder cannot be written to, or another program does so.
    """

    def __init__(self, folder: Path, staged: Path | None = None) -> None:
        self.folder, self._keeps = folder, staged is not None
        self.staged = staged or folder / STAGED
        self._removed: set[str] = set()

    def __enter__(self) -> "Transaction":
        self._lock = lock_folder(self.folder)
        complete(self.folder)
        self._forget()
        return self

    def __exit__(self, *_: object) -> None:
        self._forget()
        self._lock.release()

    def _forget(self) -> None:
        if not self._keeps:
            shutil.rmtree(self.staged, ignore_errors=True)

    def path(self, name: str) -> Path:
        """Where the new file of this name is to be written."""
        try:
            self.staged.mkdir(exist_ok=True)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        return self.staged / name

    def current(self, name: str) -> Path:
        """Where to read the file of this name: the new one, or the one there is; may be missing."""
        new = self.staged / name
        return new if new.exists() or name in self._removed else self.folder / name

    def remove(self, names: Iterable[str]) -> None:
        """Take files or folders of these names away, unless there are new ones."""
        self._removed |= set(names)

    def commit(self, names: Iterable[str] | None = None) -> None:
        """Let the new files (of these names; by default all) take their places, for good.

        Raises:
            OutputError: they cannot be written. Then the old ones stand, or ``complete`` goes on.
        """
        try:
            kept = [each.name for each in self.staged.iterdir()] if names is None else names
            moved = sorted(name for name in kept if (self.staged / name).exists())
            for name in moved:
                _sync_below(self.staged / name)
            removed = sorted(self._removed - set(moved))
            write_json(self.staged / _LIST, {"moved": moved, "removed": removed})
            self.staged.rename(self.folder / COMMITTED)
            sync_folder(self.folder)
        except OSError as error:
            raise _unwritable(self.folder, error) from error
        try:
            complete(self.folder)
        except BaseException:  # it is decided: a Ctrl-C is heeded when it is done
            complete(self.folder)
            raise


def complete(folder: Path) -> None:
    """Bring to its end what was committed in ``folder`` and then interrupted, if there is anything.

    Call it before files of such a folder are read together.

    Raises:
        OutputError: it cannot be brought to its end.
    """
    committed = folder / COMMITTED
    try:
        if not committed.is_dir():
            return
        listed = json.loads((committed / _LIST).read_text(encoding="utf-8"))
        for name in listed["moved"]:
            _move(committed / name, folder / name)
        for name in listed["removed"]:
            remove_path(folder / name)
        sync_folder(folder)
        # The list last: what has no list any more is done.
        for path in committed.iterdir():
            if path.name != _LIST:
                remove_path(path)
        (committed / _LIST).unlink()
        committed.rmdir()
    except FileNotFoundError:  # another process has done it, or it was done but for its folder
        with suppress(OSError):
            committed.rmdir()
    except OSError as error:
        raise _unwritable(folder, error) from error


def _move(new: Path, place: Path) -> None:
    if new.exists():
        if place.is_dir() and not place.is_symlink():  # no folder is replaced in one step
            shutil.rmtree(place)
        new.replace(place)


def _sync_below(path: Path) -> None:
    """Bring a file, or all files of a folder, to the disk."""
    if path.is_dir():
        for each in path.iterdir():
            _sync_below(each)
        sync_folder(path)
    else:
        with path.open("rb+") as file:
            os.fsync(file.fileno())


def _unwritable(folder: Path, error: OSError) -> OutputError:
    return OutputError(
        f"{folder}: its files cannot be replaced ({error.strerror}); make room, close them in "
        "other programs, and try again"
    )
