"""Faults on purpose: the disk fails at the n-th of all operations that change it, whatever does it.

Python tells hooks of everything that opens for writing, renames, removes or makes a folder; bytes,
syncs and statements of the journal are counted by standing in for the few functions that do them.
"""

import errno
import os
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from anomaly_vae import outputs
from anomaly_vae.reporting import tables

KINDS = ("full", "interrupt", "kill")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link")


class Killed(BaseException):
    """The process is gone: nothing that comes after reaches the disk."""


class Faults:
    """Counts what changes the disk below ``folder``, and fails at the operation ``at``.

    ``full``: no room from then on, but renames and removals work. ``interrupt``: Ctrl-C just
    before it, once. ``kill``: neither it nor anything after it happens.
    """

    def __init__(self, folder: Path, at: int = -1, kind: str = "kill") -> None:
        self.folder, self.at, self.kind = str(folder), at, kind
        self.count = 0
        self.names: list[str] = []

    def step(self, what: str, *, takes_room: bool) -> None:
        """Count an operation that is about to happen, or let it fail."""
        number, self.count = self.count, self.count + 1
        self.names.append(what)
        if self.at < 0 or number < self.at:
            return
        if self.kind == "kill":
            raise Killed(what)
        if self.kind == "interrupt" and number == self.at:
            raise KeyboardInterrupt
        if self.kind == "full" and (takes_room or number == self.at):
            raise OSError(errno.ENOSPC, "No space left on device")


_active: list[Faults] = []
_hooked: list[bool] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _active:
        return
    faults = _active[0]
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str) and path.startswith(faults.folder) and flags & _WRITING:
            faults.step(f"open {Path(path).name}", takes_room=True)
    elif event in _CHANGES:
        path = os.fspath(arguments[0])
        inside = arguments[-1]  # the folder that the path is relative to, as in shutil.rmtree
        if event in ("os.remove", "os.rmdir") and inside >= 0 and isinstance(path, str):
            path = str(Path(Path(f"/proc/self/fd/{inside}").readlink(), path))
        if isinstance(path, str) and path.startswith(faults.folder):
            faults.step(f"{event} {Path(path).name}", takes_room=event == "os.mkdir")


class _Connection(sqlite3.Connection):
    """Counts statements; and syncs nothing, for what is on no disk cannot be lost here."""

    def execute(self, statement: str, *rest: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if statement.startswith("PRAGMA synchronous"):
            return super().execute("PRAGMA synchronous = OFF")
        if _active and not statement.startswith(("SELECT", "ROLLBACK", "PRAGMA")):
            _step_of(statement)
        return super().execute(statement, *rest)

    def executemany(self, statement: str, *rest: Any) -> sqlite3.Cursor:  # type: ignore[override]
        if _active:
            _step_of(statement)
        return super().executemany(statement, *rest)


def _step_of(statement: str) -> None:
    try:
        _active[0].step(f"journal {statement[:24]}", takes_room=True)
    except OSError:
        raise sqlite3.OperationalError("database or disk is full") from None


def _sync(_descriptor: int) -> None:
    if _active:
        _active[0].step("fsync", takes_room=True)


def _write(whole: Callable[[Any, bytes], None], file: Any, data: bytes) -> None:
    """Write one half, and after it the other."""
    half = len(data) // 2
    whole(file, data[:half])
    if _active:
        _active[0].step(f"write {Path(file.name).name}", takes_room=True)
    whole(file, data[half:])


@contextmanager
def _watched() -> Iterator[None]:
    """Stand in for what touches the disk."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    write = partial(_write, outputs.write_all)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", _sync)
        patch.setattr(outputs, "write_all", write)
        patch.setattr(tables, "write_all", write)
        patch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_Connection))
        yield


@contextmanager
def failing(faults: Faults) -> Iterator[Faults]:
    """Let the disk fail as ``faults`` say."""
    with nullcontext() if os.fsync is _sync else _watched():
        _active.append(faults)
        try:
            yield faults
        finally:
            _active.clear()


def survive(
    folder: Path,
    begin: Callable[[], None],
    work: Callable[[], object],
    check: Callable[[str], None],
    kinds: tuple[str, ...] = KINDS,
) -> list[str]:
    """Do ``work`` again and again, with a fault at each point in turn; gives what was failed at.

    ``begin`` puts ``folder`` as it is before; ``check`` looks at it afterwards, and goes on.
    """
    with _watched():
        begin()
        with failing(Faults(folder)) as faults:
            work()
        points = faults.names
        for kind in kinds:
            for at, name in enumerate(points):
                begin()
                with (
                    failing(Faults(folder, at, kind)),
                    suppress(Killed, KeyboardInterrupt, OSError, outputs.OutputError),
                ):
                    work()
                check(f"{kind} at {at} of {len(points)}: {name}")
    return points
