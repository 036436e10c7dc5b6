"""The defect report as Parquet, for millions of rows: folders of part files, same columns as CSV.

A part is written at each commit, whole or not at all. ``pandas.read_parquet("images.parquet")``
and every other reader of data sets takes the parts of a folder together.
"""

import shutil
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from anomaly_vae.errors import OutputError
from anomaly_vae.outputs import write_bytes
from anomaly_vae.reporting.rows import Cell, Report

_MOST_ROWS = 100_000


class ParquetTable:
    """One folder of part files; ``parts`` of it are known, further ones are removed.

    Raises:
        OutputError: it cannot be written, or a known part is gone.
    """

    def __init__(self, path: Path, columns: dict[str, type], parts: int = 0) -> None:
        self.path, self._schema = path, _schema(columns)
        self._parts, self._rows = parts, list[list[Cell]]()
        try:
            path.mkdir(exist_ok=True)
            for file in path.iterdir():
                if file.name not in {_name(number) for number in range(parts)}:
                    file.unlink()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error
        if len(list(path.iterdir())) != parts:
            raise OutputError(
                f"{path}: is not as the interrupted inspection left it (parts are missing); put "
                "them back, or give --overwrite to inspect everything anew"
            )

    def add(self, cells: Iterable[Cell]) -> None:
        """Append a row; it waits in memory for the next part."""
        self._rows.append(list(cells))
        if len(self._rows) >= _MOST_ROWS:
            self.commit()

    def commit(self) -> int:
        """Write the rows that wait, and give the number of parts."""
        if self._rows:
            columns = [list(column) for column in zip(*self._rows, strict=True)]
            arrays = [
                pyarrow.array(column, field.type)
                for column, field in zip(columns, self._schema, strict=True)
            ]
            sink = pyarrow.BufferOutputStream()
            parquet.write_table(pyarrow.table(arrays, schema=self._schema), sink)
            write_bytes(self.path / _name(self._parts), sink.getvalue().to_pybytes())
            self._parts, self._rows = self._parts + 1, []
        return self._parts

    def close(self) -> None:
        """Nothing stays open."""


class ParquetReport(Report):
    """Both tables of a folder, new or continued from what ``commit`` gave.

    Raises:
        OutputError: see ``ParquetTable``.
    """

    FORMAT = "parquet"
    NAMES = ("images.parquet", "defects.parquet")
    PAUSE = 60.0  # a part for each

    def __init__(self, folder: Path, known: dict[str, Any] | None = None) -> None:
        self._tables = [
            ParquetTable(folder / name, columns, known[name] if known else 0)
            for name, columns in zip(self.NAMES, self.COLUMNS, strict=True)
        ]

    @classmethod
    def rows(cls, folder: Path, table: int = 0) -> Iterator[dict[str, Any]]:
        """See ``Report``."""
        for part in _parts(folder / cls.NAMES[table]):
            yield from part.to_pylist()

    @classmethod
    def without(cls, folder: Path, paths: Collection[str]) -> dict[str, Any]:
        """See ``Report``."""
        known = {}
        for name, columns in zip(cls.NAMES, cls.COLUMNS, strict=True):
            shutil.rmtree(folder / f"{name}.new", ignore_errors=True)
            table = ParquetTable(folder / f"{name}.new", columns)
            for part in _parts(folder / name):
                for row in part.to_pylist():
                    if row["path"] not in paths:
                        table.add(row.values())
            known[name] = table.commit()
        return known


def _parts(path: Path) -> Iterator[pyarrow.Table]:
    for file in sorted(path.iterdir()):
        yield parquet.read_table(file)


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _schema(columns: dict[str, type]) -> pyarrow.Schema:
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
