"""The rows of the defect report, whatever format they go to: their schema, and how it is filled.

Units and meanings stand in docs/guide/files.md.
"""

import math
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.inspection.finding import Finding

Cell = str | int | float | None
# Of both tables. A column is never renamed, removed or moved; one that is new stands at the end
# of its table, and makes the version one higher.
SCHEMA_VERSION = 2
IMAGE_COLUMNS: dict[str, type] = {
    "path": str,
    "status": str,
    "verdict": str,
    "score": float,
    "threshold": float,
    "reconstruction_error": float,
    "kl": float,
    "regions": int,
    "defect_area": float,
    "width": int,
    "height": int,
    "model_id": str,
    "error": str,
    "p_value": float,
    "review_threshold": float,
    "quality": str,
    "drift": float,
}
REGION_COLUMNS: dict[str, type] = {
    "path": str,
    "region": int,
    "x": int,
    "y": int,
    "width": int,
    "height": int,
    "area": float,
    "centroid_x": float,
    "centroid_y": float,
    "peak": float,
    "mean": float,
    "equivalent_diameter": float,
    "elongation": float,
    "area_mm2": float,
    "equivalent_diameter_mm": float,
}
# What a spreadsheet would take for a formula at the start of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def image_row(finding: Finding, *, model_id: str, threshold: Threshold, drift: float) -> list[Cell]:
    """Give the cells of a file, in the order of ``IMAGE_COLUMNS``; None where there is nothing.

    ``drift`` is the p-value of the images up to this one, NaN if it was not asked for.
    """
    image, known = finding.image, finding.verdict != "error"
    return [
        spelled(finding.path),
        "ok" if known else "error",
        finding.verdict,
        _number(finding.score),
        threshold.score,
        _number(finding.reconstruction_error),
        _number(finding.kl),
        len(finding.regions) if known else None,
        sum(region.area for region in finding.regions) if known else None,
        image.width if image else None,
        image.height if image else None,
        model_id,
        finding.error,
        _number(finding.p_value),
        threshold.review,
        finding.quality,
        _number(drift),
    ]


def region_rows(finding: Finding, mm_per_pixel: float | None = None) -> Iterator[list[Cell]]:
    """Give the cells of each region of a file, in the order of ``REGION_COLUMNS``."""
    scale = math.nan if mm_per_pixel is None else mm_per_pixel
    for index, region in enumerate(finding.regions, start=1):
        diameter = region.equivalent_diameter
        yield [
            spelled(finding.path), index, region.x, region.y, region.width, region.height,
            region.area, region.centroid_x, region.centroid_y, region.peak, region.mean,
            diameter, region.elongation, _number(region.area * scale**2), _number(diameter * scale),
        ]  # fmt: skip


def spelled(path: str) -> str:
    r"""Write a path so that no spreadsheet runs it and every byte of it can be seen.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become ``\xNN``.
    """
    text = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", path)
    text = text.encode("utf-8", "backslashreplace").decode()  # other surrogates, of Windows names
    return f"./{text}" if text.startswith(_FORMULA) else text


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


class Table(Protocol):
    """Rows that are appended to, on the disk after a commit."""

    path: Path

    def add(self, cells: Iterable[Cell]) -> None:
        """Append a row."""

    def commit(self) -> Any:
        """Bring all rows to the disk for good; gives what is needed to go on from here."""

    def close(self) -> None:
        """Rows that were not committed are gone."""


class Report(ABC):
    """Both tables of a folder, new or continued from what ``commit`` gave, in some format."""

    FORMAT: ClassVar[str]
    NAMES: ClassVar[tuple[str, str]]
    COLUMNS: ClassVar = (IMAGE_COLUMNS, REGION_COLUMNS)
    PAUSE: ClassVar[float]
    """Seconds between commits."""
    _tables: Sequence[Table]

    @abstractmethod
    def __init__(self, folder: Path, known: dict[str, Any] | None = None) -> None: ...

    def add(self, image: Iterable[Cell], regions: Iterable[Iterable[Cell]]) -> None:
        """Append the row of a file and the rows of its regions."""
        images, defects = self._tables
        images.add(image)
        for region in regions:
            defects.add(region)

    def commit(self) -> dict[str, Any]:
        """Bring all rows to the disk, and say up to where the tables are whole."""
        return {table.path.name: table.commit() for table in self._tables}

    def close(self) -> None:
        """Close both tables."""
        for table in self._tables:
            table.close()

    @classmethod
    @abstractmethod
    def rows(cls, folder: Path, table: int = 0) -> Iterator[dict[str, Any]]:
        """Read the rows of the images (or with 1 the regions) back, their numbers as numbers."""

    @classmethod
    @abstractmethod
    def without(cls, folder: Path, paths: Collection[str]) -> dict[str, Any]:
        """Write both tables without the rows of some paths beside them; see ``replace``."""

    @classmethod
    def replace(cls, folder: Path) -> None:
        """Put in their place what ``without`` has written, as far as that is not done."""
        for name in cls.NAMES:
            unfinished, table = folder / f"{name}.new", folder / name
            if unfinished.exists():
                if table.is_dir():  # a folder is not replaced in one step, as a file is
                    shutil.rmtree(table, ignore_errors=True)
                unfinished.replace(table)
