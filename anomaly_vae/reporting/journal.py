"""What an inspection has done so far, kept so that a power cut costs nothing.

An SQLite database in the folder of results: a commit of it is all or nothing, whatever happens to
the machine. Rows of a table are on disk before the journal names them. To go on, a table is cut
back to what the journal knows of it, so that no row is torn, double or without its image's row.

The database is locked as long as its process lives: the system drops the lock, however that ends.
"""

import json
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from anomaly_vae.errors import OutputError
from anomaly_vae.images.files import Stamp
from anomaly_vae.reporting.gallery import Gallery, Picture
from anomaly_vae.reporting.rows import spelled

FILE = Path(".state", "journal.sqlite")
_TABLES = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS done (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER)"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS pictures (path TEXT PRIMARY KEY, score REAL, photo BLOB, map BLOB,"
    " expected BLOB)",
)
# What stands for a file that could not be looked at: any file there later is another one.
_NO_FILE = Stamp(-1, -1)


class Journal:
    """Which files are done, and what the program has to remember; ``close`` it at the end.

    With ``anew``, a damaged one is replaced.

    Raises:
        OutputError: another process holds it, or it cannot be written or read.
    """

    def __init__(self, out: Path, *, anew: bool = False) -> None:
        self._path = out / FILE
        with self._spoken():
            self._path.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._take()
            except sqlite3.DatabaseError as error:
                if not (anew and _is_damage(error)):
                    raise
                self._path.unlink()
                self._take()

    def close(self) -> None:
        """Drop the lock."""
        with suppress(sqlite3.Error):
            self._database.close()

    @property
    def facts(self) -> dict[str, Any]:
        """What was committed last; empty if nothing ever was."""
        with self._spoken():
            rows = self._database.execute("SELECT name, value FROM facts").fetchall()
        return {name: json.loads(value) for name, value in rows}

    def is_done(self, path: str, now: Stamp | None) -> bool:
        """Whether the file at ``path`` was inspected, and has not changed since."""
        return self._known(path) == (now or _NO_FILE)

    def commit(
        self, done: dict[str, Stamp | None], gallery: Gallery | None = None, **facts: Any
    ) -> None:
        """Note files as done, new pictures and facts (JSON values), all at once and for good."""
        files = [(os.fsencode(path), *(each or _NO_FILE)) for path, each in done.items()]
        new, dropped = gallery.changes() if gallery else ([], set())
        with self._transaction():
            self._database.executemany("INSERT OR REPLACE INTO done VALUES (?, ?, ?)", files)
            self._database.executemany(
                "INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", new
            )
            self._remove_pictures(dropped)
            self._note(facts)

    def gallery(self) -> Gallery:
        """Give the pictures that were committed, to go on with."""
        with self._spoken():
            return Gallery(self._database.execute("SELECT score, path FROM pictures"))

    def picture(self, path: str) -> Picture | None:
        """Give the picture of an image, as its path is spelled in the tables."""
        with self._spoken():
            row = self._database.execute(
                "SELECT * FROM pictures WHERE path = ?", (path,)
            ).fetchone()
        return Picture(*row) if row else None

    def changed(self, now: Callable[[str], Stamp | None]) -> Iterator[str]:
        """Yield the paths that are done and whose files have changed since, but not vanished."""
        with self._spoken():
            for encoded, *known in self._database.execute("SELECT path, size, mtime_ns FROM done"):
                path = os.fsdecode(encoded)
                today = now(path)
                if today and today != tuple(known):
                    yield path

    def forget(self, paths: set[str], **facts: Any) -> None:
        """Take files out of what is done, and note facts, all at once."""
        files = [(os.fsencode(path),) for path in paths]
        with self._transaction():
            self._database.executemany("DELETE FROM done WHERE path = ?", files)
            self._remove_pictures({spelled(path) for path in paths})
            self._note(facts)

    def clear(self) -> None:
        """Forget everything."""
        with self._transaction():
            self._database.execute("DELETE FROM done")
            self._database.execute("DELETE FROM pictures")
            self._database.execute("DELETE FROM facts")

    def _remove_pictures(self, paths: set[str]) -> None:
        self._database.executemany("DELETE FROM pictures WHERE path = ?", [(p,) for p in paths])

    def _note(self, facts: dict[str, Any]) -> None:
        values = [(name, json.dumps(value)) for name, value in facts.items()]
        self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", values)

    def _known(self, path: str) -> Stamp | None:
        with self._spoken():
            row = self._database.execute(
                "SELECT size, mtime_ns FROM done WHERE path = ?", (os.fsencode(path),)
            ).fetchone()
        return Stamp(*row) if row else None

    def _take(self) -> None:
        """Open and lock the database, and make its tables.

        No shared memory, which network drives lack: the lock is held, and changes are written
        to a rollback journal, whose header alone is cleared at a commit.
        """
        self._database = sqlite3.connect(
            self._path, timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode = PERSIST")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("BEGIN EXCLUSIVE")
            for table in _TABLES:
                self._database.execute(table)
            self._database.execute("COMMIT")
        except BaseException:
            self._database.close()
            raise

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._spoken():
            self._database.execute("BEGIN EXCLUSIVE")
            try:
                yield
                self._database.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._database.execute("ROLLBACK")
                raise

    @contextmanager
    def _spoken(self) -> Iterator[None]:
        """Turn what the database says into what its user can do."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if "locked" in str(error):
                raise OutputError(
                    f"{self._path.parents[1]}: another inspection writes its results here; wait "
                    "for it, or choose another --out"
                ) from error
            if _is_damage(error):
                raise OutputError(
                    f"{self._path}: damaged; give --overwrite to inspect everything anew"
                ) from error
            raise OutputError(f"{self._path}: cannot be written: {error}") from error


def _is_damage(error: Exception) -> bool:
    """Whether the file is no database, or one that is torn; a full disk is neither."""
    return type(error) is sqlite3.DatabaseError
