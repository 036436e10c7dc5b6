"""Places that are no folder of this machine, such as ``s3://bucket/photos``: what fsspec can reach.

Credentials come from the environment, as each store's own tools take them. They are never part of
an address: addresses stand in reports.
"""

import errno
import importlib
import io
import os
import re
import time
from datetime import datetime
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any, cast

from anomaly_vae.errors import FolderError

STORES = {"s3": "s3fs", "gs": "gcsfs", "az": "adlfs", "memory": "fsspec"}
"""How an address begins, and the package that can reach it."""
_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL)
# By name, when an object was written: each store has its own.
_WRITTEN = ("LastModified", "last_modified", "mtime", "updated", "created")
# ``OSError`` makes the same of these numbers.
_KINDS: dict[type[Exception], int] = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    IsADirectoryError: errno.EISDIR,
}
# Of others, what a store says of one file only; the rest is trouble with all of it.
_OF_ONE = (errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.ENOTSUP)
_REFUSED = re.compile("ExpiredToken|InvalidToken|InvalidAccessKeyId|SignatureDoesNotMatch")
# Seconds between attempts where a store does not answer. Those of Amazon's own client are turned
# off: all of it takes 52 seconds at most, and a photograph is waited for a minute.
_PAUSES = (1, 2, 4, 8)
_RETRIES = {"max_attempts": 0}
_OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 6, "retries": _RETRIES}}
}
# Listings of so many folders are kept in memory.
_LISTINGS = 16


def place(text: str) -> Path:
    """Give the path of a place: of this machine, or a ``Remote``, which is used as one.

    Raises:
        FolderError: it is the address of a place that cannot be reached, or holds credentials.
    """
    found = _ADDRESS.fullmatch(text)
    if not found:
        return Path(text)
    scheme, rest = found.groups()
    if scheme not in STORES:
        expected = ", ".join(f"{each}://" for each in STORES)
        raise FolderError(f"{scheme}://…: cannot be reached; expected {expected} or a path")
    if "@" in rest.partition("/")[0] or "?" in rest:
        raise FolderError(
            f"{scheme}://…: holds credentials, which would stand in reports; expected "
            f"{scheme}://BUCKET/PATH, and them in the environment"
        )
    importlib.import_module(STORES[scheme])
    return cast(Path, Remote(text))


def is_address(path: str) -> bool:
    """Tell whether a path is an address."""
    return "://" in path


def at(folder: Path, path: str) -> Path:
    """Give the file that a path names: an address, or what lies in ``folder``.

    Raises:
        FolderError: see ``place``.
    """
    return place(path) if is_address(path) else folder / path


class Remote:
    """A file or folder in a store: what reading photographs and models needs of a ``Path``.

    What is wrong with it is an ``OSError`` with a reason of one line, what is wrong with its store
    a ``FolderError``.
    """

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")
        self._pure = PurePosixPath(self._address.partition("://")[2])
        self.name, self.stem, self.suffix = self._pure.name, self._pure.stem, self._pure.suffix

    def __str__(self) -> str:
        return self._address

    def __repr__(self) -> str:
        return f"Remote({self._address!r})"

    def __truediv__(self, name: object) -> "Remote":
        return Remote(f"{self._address}/{str(name).rstrip('/')}")

    @property
    def parent(self) -> "Remote":
        """The folder above."""
        return Remote(self._address.rpartition("/")[0])

    def as_posix(self) -> str:
        """Give the address."""
        return self._address

    def resolve(self) -> "Remote":
        """Give the same: an address is whole."""
        return self

    absolute = resolve

    def is_symlink(self) -> bool:
        """No store has links."""
        return False

    def exists(self) -> bool:
        """Whether there is a file, or something below it."""
        return bool(self._asked("exists"))

    def is_dir(self) -> bool:
        """Whether there is something below it."""
        return bool(self._asked("isdir"))

    def is_file(self) -> bool:
        """Whether it is a file."""
        return bool(self._asked("isfile"))

    def names(self) -> list[str]:
        """Give the sorted names of what lies in a folder; those of folders end with ``/``."""
        own = str(self._pure).strip("/")
        found = [each for each in self._asked("ls", detail=True) if _bare(each) != own]
        return sorted(
            PurePosixPath(_bare(each)).name + ("/" if each["type"] == "directory" else "")
            for each in found
        )

    def stat(self) -> SimpleNamespace:
        """Give size and time of the last change, in whole seconds: not all answers have more."""
        facts = self._asked("info")
        if facts["type"] == "directory":
            raise IsADirectoryError(errno.EISDIR, "is a folder", self._address)
        seconds = int(_written(facts))
        return SimpleNamespace(
            st_size=facts["size"], st_mtime=seconds, st_mtime_ns=seconds * 10**9, st_ino=0
        )

    def open(self, _mode: str = "rb") -> io.BytesIO:
        """Read the whole file, as bytes."""
        return io.BytesIO(self.read_bytes())

    def read_bytes(self, length: int | None = None) -> bytes:
        """Read the file, or its first bytes."""
        start = None if length is None else 0
        return bytes(self._asked("cat_file", start=start, end=length))

    def read_text(self, encoding: str = "utf-8") -> str:
        """Read a file of text."""
        return self.read_bytes().decode(encoding)

    def _asked(self, what: str, **how: Any) -> Any:
        """Ask the store something of the path; whatever it raises becomes an ``OSError``.

        Raises:
            FolderError: the store itself does not answer, or not to these credentials: what is
                asked next would not be known, either.
        """
        import fsspec  # noqa: PLC0415

        scheme, pauses = self._address.partition("://")[0], iter(_PAUSES)
        while True:
            try:
                options = _OPTIONS.get(scheme, {})
                store, path = fsspec.core.url_to_fs(self._address, max_paths=_LISTINGS, **options)
                if scheme == "s3":
                    store.retries = 1
                return getattr(store, what)(path, **how)
            except Exception as error:  # each store has exceptions of its own
                said, refused = reason(error), _is_refused(error)
                if not (refused or _concerns_all(error)):
                    raise self._of_file(error, said) from error
                pause = None if refused else next(pauses, None)
                if pause is None:
                    raise FolderError(
                        f"{self._address}: its store {'refuses' if refused else 'does not answer'} "
                        f"({said}); try again when it does, with --resume to go on"
                    ) from error
            time.sleep(pause)

    def _of_file(self, error: Exception, said: str) -> OSError:
        number = next((n for kind, n in _KINDS.items() if isinstance(error, kind)), errno.EIO)
        return OSError(number, said, self._address)


def _is_refused(error: Exception) -> bool:
    """Whether a store knows nobody of these credentials, or none are there."""
    answer = getattr(error.__cause__, "response", {})
    code = answer.get("Error", {}).get("Code", "") if isinstance(answer, dict) else ""
    return bool(_REFUSED.search(code)) or "Credentials" in type(error).__name__


def _concerns_all(error: Exception) -> bool:
    """Whether what a store raises is about more than one file: about the way to it, or itself."""
    if isinstance(error, OSError):
        return not isinstance(error, tuple(_KINDS)) and error.errno not in _OF_ONE
    return not isinstance(error, LookupError | TypeError | ValueError | NotImplementedError)


def reason(error: BaseException) -> str:
    """Say in one line what a store has said, without what may be a signature in an address."""
    said = getattr(error, "strerror", None) or str(error).strip()
    first = re.sub(r"\?\S+", "?…", said.partition("\n")[0])
    if isinstance(error, FileNotFoundError) and " " not in first:  # a path, which is no reason
        return os.strerror(errno.ENOENT)
    return first or type(error).__name__


def _bare(facts: dict[str, Any]) -> str:
    return str(facts["name"]).strip("/")


def _written(facts: dict[str, Any]) -> float:
    """Give when an object was written, in seconds since 1970; 0 where the store does not say."""
    value = next((facts[name] for name in _WRITTEN if facts.get(name)), 0.0)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.timestamp() if isinstance(value, datetime) else float(value)
