"""What an inspection has done so far, kept so that a power cut costs nothing.

An SQLite database in the folder of results: a commit of it is all or nothing, whatever happens to
the machine. Rows of a table are on disk before the journal names them. To go on, a table is cut
back to what the journal knows of it, so that no row is torn, double or without its image's row.

The database is locked as long as its process lives: the system drops the lock, however that ends.
"""

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any, NamedTuple

from anomaly_vae.errors import OutputError
from anomaly_vae.images.files import Stamp
from anomaly_vae.reporting.gallery import Gallery, Picture

FILE = Path(".state", "journal.sqlite")
_TABLES = (
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS done (id TEXT PRIMARY KEY, path BLOB, size INTEGER,"
    " mtime_ns INTEGER, inode INTEGER, sha256 TEXT, verdict TEXT, score REAL, brightness REAL,"
    " contrast REAL, sharpness REAL, move INTEGER) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS of_path ON done (path, mtime_ns)",
    "CREATE INDEX IF NOT EXISTS to_move ON done (move) WHERE move = 1",
    "CREATE TABLE IF NOT EXISTS pictures (id TEXT PRIMARY KEY, score REAL, photo BLOB, map BLOB,"
    " expected BLOB)",
)
# What stands for a file that could not be looked at: any file there later is another one.
_NO_FILE = Stamp(-1, -1, -1)
_STAYS, _TO_MOVE, _MOVED = 0, 1, 2
_CHUNK = 50_000


class Done(NamedTuple):
    """What is kept of a photograph that has its row."""

    id: str
    path: str
    stamp: Stamp | None
    """With the digest of what was decoded."""
    verdict: str
    statistics: tuple[float, ...] | None = None
    """Score, brightness, contrast and sharpness, if it was read: what drift is judged by."""
    to_move: bool = False
    """Whether it is sorted into a folder by its verdict."""


class Journal:
    """Which files are done, and what the program has to remember; ``close`` it at the end.

    With ``anew``, a damaged one is replaced.

    Raises:
        OutputError: another process holds it, or it cannot be written or read.
    """

    def __init__(self, out: Path, *, anew: bool = False) -> None:
        self._path, self._turn = out / FILE, RLock()
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

    def known(self, path: str, now: Stamp | None) -> list[Done]:
        """Give what was done of the photographs at a path that are as large and old as the one now.

        A path may have named millions, one after the other. Without any there now: of one of them.
        """
        name = os.fsencode(path)
        if now is None:
            return self._done("path = ? LIMIT 1", name)
        return self._done("path = ? AND mtime_ns = ? AND size = ?", name, now.mtime_ns, now.size)

    def waiting(self) -> list[Done]:
        """Give those that are still to be moved."""
        return self._done("move = 1")

    def commit(
        self,
        done: Sequence[Done],
        pictures: Sequence[Picture] = (),
        dropped: Collection[str] = (),
        **facts: Any,
    ) -> None:
        """Note files as done, new pictures, those to drop, and facts (JSON values), all at once.

        To do so again changes nothing.
        """
        files = [
            (
                *(each.id, os.fsencode(each.path), *(each.stamp or _NO_FILE), each.verdict),
                *(each.statistics or (None,) * 4),
                _TO_MOVE if each.to_move else _STAYS,
            )
            for each in done
        ]
        with self._transaction():
            self._many("INSERT OR REPLACE INTO done VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", files)
            self._many("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?, ?, ?)", pictures)
            self._many("DELETE FROM pictures WHERE id = ?", [(each,) for each in dropped])
            self._note(facts)

    def moved(self, ids: Collection[str]) -> None:
        """Note that photographs are where their verdict belongs."""
        with self._transaction():
            self._many("UPDATE done SET move = ? WHERE id = ?", [(_MOVED, each) for each in ids])

    def gallery(self) -> Gallery:
        """Give the pictures that were committed, to go on with."""
        with self._spoken():
            return Gallery(self._database.execute("SELECT score, id FROM pictures"))

    def picture(self, row_id: str) -> Picture | None:
        """Give the picture of a row."""
        with self._spoken():
            row = self._database.execute(
                "SELECT * FROM pictures WHERE id = ?", (row_id,)
            ).fetchone()
        return Picture(*row) if row else None

    def sha256(self, row_id: str) -> str:
        """Give the digest of what a row tells of; nothing if it could not be read."""
        found = self._done("id = ?", row_id)
        return found[0].stamp.sha256 if found and found[0].stamp else ""

    def statistics(self) -> Iterator[list[tuple[float, ...]]]:
        """Yield the statistics of all photographs that were read, many at once."""
        with self._spoken():
            cursor = self._database.execute(
                "SELECT score, brightness, contrast, sharpness FROM done WHERE score IS NOT NULL"
            )
            while rows := cursor.fetchmany(_CHUNK):
                yield rows

    def all(self) -> Iterator[Done]:
        """Yield all that is done."""
        with self._spoken():
            yield from map(_as_done, self._database.execute("SELECT * FROM done"))

    def forget(self, ids: Collection[str], **facts: Any) -> None:
        """Take files out of what is done, and note facts, all at once."""
        gone = [(each,) for each in ids]
        with self._transaction():
            self._many("DELETE FROM done WHERE id = ?", gone)
            self._many("DELETE FROM pictures WHERE id = ?", gone)
            self._note(facts)

    def clear(self) -> None:
        """Forget everything, of whatever version it is."""
        with self._transaction():
            for name in ("done", "pictures", "facts"):
                self._database.execute(f"DROP TABLE IF EXISTS {name}")
            for table in _TABLES:
                self._database.execute(table)

    def _done(self, condition: str, *values: Any) -> list[Done]:
        with self._spoken():
            rows = self._database.execute(
                f"SELECT * FROM done WHERE {condition}",  # noqa: S608 - ours
                values,
            )
            return [_as_done(row) for row in rows]

    def _many(self, statement: str, rows: Sequence[Any]) -> None:
        self._database.executemany(statement, rows)

    def _note(self, facts: dict[str, Any]) -> None:
        values = [(name, json.dumps(value)) for name, value in facts.items()]
        self._many("INSERT OR REPLACE INTO facts VALUES (?, ?)", values)

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
            # One of an older version stays as it is: it is refused, or made anew.
            if not self._database.execute("SELECT name FROM sqlite_master").fetchone():
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
        """Turn what the database says into what its user can do, one thread after the other.

        On one connection, a thread would else read what another is about to commit.
        """
        try:
            with self._turn:
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


def _as_done(row: tuple[Any, ...]) -> Done:
    row_id, path, size, mtime_ns, inode, sha256, verdict, *statistics, move = row
    stamp = Stamp(size, mtime_ns, inode, sha256)
    return Done(
        row_id,
        os.fsdecode(path),
        None if stamp == _NO_FILE else stamp,
        verdict,
        None if statistics[0] is None else tuple(statistics),
        move != _STAYS,
    )


def _is_damage(error: Exception) -> bool:
    """Whether the file is no database, or one that is torn; a full disk is neither."""
    return type(error) is sqlite3.DatabaseError
