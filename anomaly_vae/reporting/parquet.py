"""The defect report as Parquet, for millions of rows: folders of part files, same columns as CSV.

Each writing makes a part, whole or not at all. ``pandas.read_parquet("images.parquet")``
and every other reader of data sets takes the parts of a folder together.
"""

import shutil
from collections.abc import Collection, Iterator, Sequence
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

    def write(self, known: int | None, rows: Sequence[Sequence[Cell]]) -> int:
        """Bring rows to the disk, as further parts behind those known; see ``rows.Table``."""
        parts = known or 0
        for begin in range(0, len(rows), _MOST_ROWS):
            columns = zip(*rows[begin : begin + _MOST_ROWS], strict=True)
            arrays = [
                pyarrow.array(list(column), field.type)
                for column, field in zip(columns, self._schema, strict=True)
            ]
            sink = pyarrow.BufferOutputStream()
            parquet.write_table(pyarrow.table(arrays, schema=self._schema), sink)
            write_bytes(self.path / _name(parts), sink.getvalue().to_pybytes())
            parts += 1
        return parts

    def close(self) -> None:
        """Nothing stays open."""


class ParquetReport(Report):
    """Both tables of a folder, new or continued from what ``write`` gave.

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
    def without(cls, folder: Path, ids: Collection[str]) -> dict[str, Any]:
        """See ``Report``."""
        known = {}
        for name, columns in zip(cls.NAMES, cls.COLUMNS, strict=True):
            shutil.rmtree(folder / f"{name}.new", ignore_errors=True)
            table, known[name] = ParquetTable(folder / f"{name}.new", columns), 0
            for part in _parts(folder / name):
                kept = [list(row.values()) for row in part.to_pylist() if row["id"] not in ids]
                known[name] = table.write(known[name], kept)
        return known


def _parts(path: Path) -> Iterator[pyarrow.Table]:
    for file in sorted(path.iterdir()):
        yield parquet.read_table(file)


def _name(number: int) -> str:
    return f"part-{number:06d}.parquet"


def _schema(columns: dict[str, type]) -> pyarrow.Schema:
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    return pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
