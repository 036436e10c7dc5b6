"""Lists of photographs: a text with a path on each line, or a table with a column of paths.

A list is read as it is needed, and memory does not grow with it.
"""

import csv
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

from anomaly_vae.errors import FolderError
from anomaly_vae.images.formats import is_image
from anomaly_vae.remote import at, is_address
from anomaly_vae.texts import lines_of, named

COLUMN = "path"
"""Of a table."""
_LOOKED = 16  # paths, whether they are there
_TEXT, _CSV, _PARQUET = ".txt", ".csv", ".parquet"


def is_list(file: Path) -> bool:
    """Tell whether a file is a list: by its name, if it is no image for all that."""
    named_so = file.name.lower().endswith((_TEXT, _CSV, _PARQUET))
    return named_so and not is_image(file) and file.is_file()


class Listed:
    """The paths of a list, each once, in their order; afterwards what was passed over."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._twice, self._empty, self._first = 0, 0, ""

    def __iter__(self) -> Iterator[str]:
        """Yield the paths, as ``named`` writes them; addresses as they stand there.

        Raises:
            FolderError: the list cannot be read, has no column of paths, or an address that cannot
                be reached.
        """
        folder = self._file.parent
        # A database without a name is a temporary file, for what does not fit into its cache.
        with closing(sqlite3.connect("", isolation_level=None, check_same_thread=False)) as seen:
            seen.execute("CREATE TABLE seen (path BLOB PRIMARY KEY) WITHOUT ROWID")
            seen.execute("BEGIN")
            for text in self._texts():
                path = text.strip() if is_address(text) else named(text, folder)
                key = os.fsencode(path)
                if not path:
                    self._empty += 1
                elif seen.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key,)).rowcount:
                    at(folder, path)  # refuses an address that leads nowhere
                    yield path
                else:
                    self._twice, self._first = self._twice + 1, self._first or path

    def first_ones(self) -> Iterator[str]:
        """Give the same.

        Raises:
            FolderError: at once, if it names nothing, or none of the first that it names is there.
        """
        paths, folder = iter(self), self._file.parent
        first = list(islice(paths, _LOOKED))
        expected = f"expected paths of photographs, relative to {folder}, or whole"
        if not first:
            raise FolderError(f"{self._file}: names no photographs; {expected}")
        if not any(at(folder, each).exists() for each in first):
            raise FolderError(
                f"{self._file}: none of its first {len(first)} photographs is there, such as "
                f"{at(folder, first[0])}; {expected}"
            )
        return chain(first, paths)

    @property
    def notes(self) -> list[str]:
        """What was passed over so far, each a line."""
        again = f"{self._twice} rows name a photograph again, first {self._first}"
        empty = f"{self._empty} rows have no path"
        counted = ((self._twice, again), (self._empty, empty))
        return [f"{self._file}: {note}: left out" for count, note in counted if count]

    def _texts(self) -> Iterator[str]:
        """Yield what stands in the list for each photograph."""
        kind = self._file.suffix.lower()
        try:
            with self._file.open("rb") as file:
                if kind == _TEXT:
                    yield from (line for line in lines_of(file) if line.strip())
                else:
                    yield from self._cells(file) if kind == _CSV else self._values(file)
        except OSError as error:
            raise FolderError(f"{self._file}: {error.strerror}; expected a list") from error

    def _cells(self, file: BinaryIO) -> Iterator[str]:
        """Yield the paths of a table, separated by commas, semicolons or tabs."""
        lines = lines_of(file)
        header = next(lines)
        delimiter = max(",;\t", key=header.count)
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter))]
        number = self._number_of(names)
        rows = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter)
        try:
            yield from (row[number] if len(row) > number else "" for row in rows if row)
        except csv.Error as error:
            raise FolderError(f"{self._file}: cannot be read as CSV: {error}") from error

    def _values(self, file: BinaryIO) -> Iterator[str]:
        """Yield the paths of a Parquet file."""
        from pyarrow import ArrowException, parquet  # noqa: PLC0415

        try:
            table = parquet.ParquetFile(file)
            names = table.schema_arrow.names
            name = names[self._number_of([each.lower() for each in names])]
            for batch in table.iter_batches(columns=[name]):
                yield from (each or "" for each in batch.column(0).cast("string").to_pylist())
        except ArrowException as error:
            raise FolderError(f"{self._file}: cannot be read as Parquet: {error}") from error

    def _number_of(self, names: list[str]) -> int:
        if COLUMN not in names:
            raise FolderError(
                f"{self._file}: has no column {COLUMN!r}; expected one, with the path of a "
                "photograph in each row"
            )
        return names.index(COLUMN)
