"""The CSV defect report: ``images.csv`` with a row per file, ``defects.csv`` with one per region.

UTF-8 without BOM, comma, decimal point, CRLF as RFC 4180 asks. Rows are appended; a commit brings
them to the disk, and says up to where the tables are whole (see ``journal.py``).
"""

import csv
import io
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from anomaly_vae.errors import OutputError
from anomaly_vae.reporting.rows import Cell, Report

_CHUNK = 2**20
_Known = dict[str, int]
"""``bytes`` and ``crc32`` of a table up to its last commit."""


class CsvTable:
    """One file of rows; use ``commit`` to bring them to the disk, and ``close`` at the end.

    Raises:
        OutputError: it cannot be written (on Windows, because a spreadsheet has it open), or is
            not what was committed.
    """

    def __init__(self, path: Path, columns: Iterable[str], known: _Known | None = None) -> None:
        self.path, self._waiting = path, io.StringIO(newline="")
        self._writer = csv.writer(self._waiting)
        self._bytes, self._crc32 = 0, 0
        self._file = self._open(known)
        if known is None:
            self._writer.writerow(columns)
            self._write()

    def add(self, cells: Iterable[Cell]) -> None:
        """Append a row; not before the next commit is it there for good."""
        self._writer.writerow([number(c) if isinstance(c, float) else c for c in cells])
        if self._waiting.tell() > _CHUNK:
            self._write()

    def commit(self) -> _Known:
        """Bring all rows to the disk, for good."""
        self._write()
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._cannot_be_written(error) from error
        return {"bytes": self._bytes, "crc32": self._crc32}

    def close(self) -> None:
        """Close the file; rows that were not committed are gone."""
        self._file.close()

    def _write(self) -> None:
        data = self._waiting.getvalue().encode("utf-8")
        self._waiting.seek(0)
        self._waiting.truncate()
        self._bytes += len(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            raise self._cannot_be_written(error) from error

    def _open(self, known: _Known | None) -> io.FileIO:
        try:
            # Unbuffered: what could not be written must not be tried again at the closing.
            file = self.path.open("wb" if known is None else "r+b", buffering=0)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        if known is not None:
            self._continue(file, known)
        return file

    def _continue(self, file: io.FileIO, known: _Known) -> None:
        """Check what is there, and cut off what came after the last commit."""
        while self._bytes < known["bytes"]:
            chunk = file.read(min(_CHUNK, known["bytes"] - self._bytes))
            if not chunk:
                break
            self._bytes += len(chunk)
            self._crc32 = zlib.crc32(chunk, self._crc32)
        if {"bytes": self._bytes, "crc32": self._crc32} != known:
            file.close()
            raise OutputError(
                f"{self.path}: is not as the interrupted inspection left it (edited, or cut); put "
                "it back, or give --overwrite to inspect everything anew"
            )
        file.truncate(self._bytes)
        file.seek(self._bytes)

    def _cannot_be_written(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path}: cannot be written ({error.strerror}); make room, close it in other "
            "programs, or choose another --out"
        )


class CsvReport(Report):
    """Both tables of a folder, new or continued from what ``commit`` gave.

    Raises:
        OutputError: see ``CsvTable``.
    """

    FORMAT = "csv"
    NAMES = ("images.csv", "defects.csv")
    PAUSE = 0.5

    def __init__(self, folder: Path, known: dict[str, Any] | None = None) -> None:
        self._tables: list[CsvTable] = []
        try:
            for name, each in zip(self.NAMES, self.COLUMNS, strict=True):
                state = known[name] if known else None
                self._tables.append(CsvTable(folder / name, each, state))
        except OutputError:
            self.close()
            raise

    @classmethod
    def rows(cls, folder: Path, table: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Report``."""
        return read_rows(folder / cls.NAMES[table], cls.COLUMNS[table])

    @classmethod
    def without(cls, folder: Path, paths: Collection[str]) -> dict[str, Any]:
        """See ``Report``."""
        known = {}
        for name in cls.NAMES:
            with (folder / name).open(encoding="utf-8", newline="") as file:
                reader = csv.reader(file)
                table = CsvTable(folder / f"{name}.new", next(reader))
                for row in reader:
                    if row[0] not in paths:
                        table.add(row)
            known[name] = table.commit()
            table.close()
        return known


def read_rows(path: Path, columns: dict[str, type]) -> Iterator[dict[str, Any]]:
    """Read the rows of a table back: numbers as numbers, None for one that is missing."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                name: (kind(row[name]) if row[name] or kind is str else None)
                for name, kind in columns.items()
            }


def number(value: float) -> str:
    """Write a number with 9 significant digits, enough for any float32."""
    return f"{value:.9g}"
