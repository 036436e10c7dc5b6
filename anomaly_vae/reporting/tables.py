"""The CSV defect report: ``images.csv`` with a row per file, ``defects.csv`` with one per region.

UTF-8 without BOM, comma, decimal point, CRLF as RFC 4180 asks. Who writes rows is told up to where
the tables are whole then, and remembers it (see ``journal.py``): a table itself knows nothing, so
that a writing which a full disk or Ctrl-C has cut off leaves nothing behind that counts.
"""

import csv
import io
import os
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import write_all
from anomaly_vae.reporting.rows import Cell, Report, number

_CHUNK = 2**20
_MOST_ROWS = 10_000
_Known = dict[str, int]
"""``bytes`` and ``crc32`` of a table up to where it is whole."""


class CsvTable:
    """One file of rows, new or continued behind what is known of it.

    Raises:
        OutputError: it cannot be written (on Windows, because a spreadsheet has it open), or is
            not what was known.
    """

    def __init__(self, path: Path, columns: Iterable[str], known: _Known | None = None) -> None:
        self.path, self._columns = path, columns
        self._file = self._open(known)

    def write(self, known: _Known | None, rows: Iterable[Iterable[Cell]]) -> _Known:
        """Bring rows to the disk, behind what is known; see ``rows.Table``."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        if known is None:
            known = {"bytes": 0, "crc32": 0}
            writer.writerow(self._columns)
        for cells in rows:
            writer.writerow([number(c) if isinstance(c, float) else c for c in cells])
        data = text.getvalue().encode("utf-8")
        end = known["bytes"] + len(data)
        try:
            self._file.seek(known["bytes"])
            write_all(self._file, data)
            self._file.truncate(end)
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):  # who reads on meanwhile finds no torn row
                self._file.truncate(known["bytes"])
            raise self._cannot_be_written(error) from error
        return {"bytes": end, "crc32": zlib.crc32(data, known["crc32"])}

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self, known: _Known | None) -> io.FileIO:
        try:
            # Unbuffered: what could not be written must not be tried again at the closing.
            file = self.path.open("wb" if known is None else "r+b", buffering=0)
        except OSError as error:
            raise self._cannot_be_written(error) from error
        if known is not None and _read_known(file, known["bytes"]) != known:
            file.close()
            raise OutputError(
                f"{self.path}: is not as the interrupted inspection left it (edited, or cut); put "
                "it back, or give --overwrite to inspect everything anew"
            )
        return file

    def _cannot_be_written(self, error: OSError) -> OutputError:
        return OutputError(
            f"{self.path}: cannot be written ({error.strerror}); make room, close it in other "
            "programs, or choose another --out"
        )


def _read_known(file: io.FileIO, size: int) -> _Known:
    """Give length and checksum of the first ``size`` bytes, or of as many as there are."""
    length = crc32 = 0
    while chunk := file.read(min(_CHUNK, size - length)):
        length, crc32 = length + len(chunk), zlib.crc32(chunk, crc32)
    return {"bytes": length, "crc32": crc32}


class CsvReport(Report):
    """Both tables of a folder, new or continued from what ``write`` gave.

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
        except BaseException:
            self.close()
            raise

    @classmethod
    def rows(cls, folder: Path, table: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Report``."""
        return read_rows(folder / cls.NAMES[table], cls.COLUMNS[table])

    @classmethod
    def without(cls, folder: Path, ids: Collection[str]) -> dict[str, Any]:
        """See ``Report``."""
        known = {}
        for name, columns in zip(cls.NAMES, cls.COLUMNS, strict=True):
            place = list(columns).index("id")
            with (
                (folder / name).open(encoding="utf-8", newline="") as file,
                closing(CsvTable(folder / f"{name}.new", columns)) as table,
            ):
                kept = (row for row in csv.reader(file) if row[place] not in ids)
                next(kept)  # the header
                known[name] = table.write(None, ())
                while rows := list(islice(kept, _MOST_ROWS)):
                    known[name] = table.write(known[name], rows)
        return known


def header(path: Path) -> list[str]:
    """Give the names of the columns of a table."""
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file))


def read_rows(path: Path, columns: dict[str, type]) -> Iterator[dict[str, Any]]:
    """Read the rows of a table back: numbers as numbers, None for one that is missing."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {
                name: (kind(row[name]) if row[name] or kind is str else None)
                for name, kind in columns.items()
            }
