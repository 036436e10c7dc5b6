"""A folder for one program at a time: two that replace its files at once would mix them."""

from pathlib import Path

from filelock import FileLock, Timeout

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import LOCK


def lock_folder(folder: Path) -> FileLock:
    """Keep other programs from writing into a folder, which is made if it is not there.

    It is theirs again at ``release``, when nothing refers to what is given here any more, or when
    this program ends, however that is. This program may lock it several times.

    Raises:
        OutputError: another program has locked it, or it cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock((folder / LOCK).resolve(), timeout=0, is_singleton=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{folder}: another program is writing into it; wait for it, or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(
            f"{folder}: cannot be used for results: cannot be locked for writing ({reason})"
        ) from error
    return lock
