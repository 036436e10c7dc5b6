"""The rows of the defect report, whatever format they go to: their schema, and how it is filled.

Units and meanings stand in docs/guide/files.md.
"""

import hashlib
import json
import math
import re
import shutil
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, Protocol

from anomaly_vae import __version__
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.outputs import sync_folder

Cell = str | int | float | None
# Of both tables. A column is never renamed, removed or moved; one that is new stands at the end
# of its table, and makes the version one higher.
SCHEMA_VERSION = 4
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
    "inspected_at": str,
    "model_name": str,
    "program_version": str,
    "id": str,
}
_KIND_COLUMNS: dict[str, type] = {"kind": str, "kind_probability": float}
_REGION_COLUMNS: dict[str, type] = {
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
    "id": str,
}
REGION_COLUMNS = _REGION_COLUMNS | _KIND_COLUMNS
STACK_COLUMNS = _REGION_COLUMNS | {"slice": int, "depth": int} | _KIND_COLUMNS
"""Of regions, where parts are stacks of slices."""
# What a spreadsheet would take for a formula at the start of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Exact(float):
    """A number that is written with all its digits: with fewer it could change sides of another."""


def row_id(finding: Finding, at: datetime | None = None) -> str:
    """Name a photograph by its path and by what was read there: the same again has the same name.

    Where nothing could be read, by when that was tried. No spreadsheet takes it for a number.
    """
    tried = str(at) if finding.verdict == "error" and not finding.stamp else ""
    what = json.dumps([spelled(finding.path), finding.stamp, tried])
    return f"p{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def image_row(
    finding: Finding,
    *,
    model_id: str,
    threshold: Threshold,
    drift: float,
    model_name: str = "",
    at: datetime | None = None,
) -> list[Cell]:
    """Give the cells of a file, in the order of ``IMAGE_COLUMNS``; None where there is nothing.

    ``drift`` is the p-value of the images up to this one, NaN if it was not asked for; ``at`` is
    when it was inspected, by default now.
    """
    image, known, at = finding.image, finding.verdict != "error", at or datetime.now(UTC)
    limits = [each for each in (threshold.score, threshold.review) if each is not None]
    return [
        spelled(finding.path),
        "ok" if known else "error",
        finding.verdict,
        _beside(limits, finding.score),
        Exact(threshold.score),
        _number(finding.reconstruction_error),
        _number(finding.kl),
        len(finding.regions) if known else None,
        sum(region.area for region in finding.regions) if known else None,
        image.width if image else None,
        image.height if image else None,
        model_id,
        finding.error,
        _number(finding.p_value),
        None if threshold.review is None else Exact(threshold.review),
        finding.quality,
        _number(drift),
        utc(at),
        spelled(model_name),
        __version__,
        row_id(finding, at),
    ]


def region_rows(finding: Finding, mm_per_pixel: float | None = None) -> Iterator[list[Cell]]:
    """Give the cells of each region of a file, in the order of ``REGION_COLUMNS``.

    Those of a stack in the order of ``STACK_COLUMNS``.
    """
    if not finding.regions:
        return
    scale, name = math.nan if mm_per_pixel is None else mm_per_pixel, row_id(finding)
    for index, region in enumerate(finding.regions, start=1):
        diameter = region.equivalent_diameter
        yield [
            spelled(finding.path), index, region.x, region.y, region.width, region.height,
            region.area, region.centroid_x, region.centroid_y, region.peak, region.mean,
            diameter, region.elongation, _number(region.area * scale**2), _number(diameter * scale),
            name, *((region.slice, region.depth) if region.slice else ()),
            spelled(region.kind), _number(region.kind_probability),
        ]  # fmt: skip


def spelled(path: str) -> str:
    r"""Write a path so that no spreadsheet runs it and every byte of it can be seen.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become ``\xNN``.
    """
    text = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", path)
    text = text.encode("utf-8", "backslashreplace").decode()  # other surrogates, of Windows names
    return f"./{text}" if text.startswith(_FORMULA) else text


def number(value: float) -> str:
    """Write a number with 9 significant digits, enough for any float32, or all of an ``Exact``."""
    return float.__repr__(value) if isinstance(value, Exact) else f"{value:.9g}"


def utc(at: datetime) -> str:
    """Write a time as ISO 8601, in UTC."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _beside(limits: Iterable[float], score: float) -> float | None:
    """Give a score that is written on the side of each limit where it is."""
    if math.isnan(score):
        return None
    written = float(number(score))
    same = all((written > limit) == (score > limit) for limit in limits)
    return score if same else Exact(score)


class Table(Protocol):
    """Rows that are appended to; who writes them remembers up to where they count."""

    path: Path

    def write(self, known: Any, rows: Sequence[Sequence[Cell]]) -> Any:
        """Bring rows to the disk, behind what is ``known`` (None: nothing), for good.

        Gives what is known then. What stood behind ``known`` before is gone: a writing that was
        interrupted can be done again.
        """

    def close(self) -> None:
        """Close the file."""


class Report(ABC):
    """Both tables of a folder, new or continued from what ``write`` gave, in some format."""

    FORMAT: ClassVar[str]
    NAMES: ClassVar[tuple[str, str]]
    COLUMNS: ClassVar = (IMAGE_COLUMNS, REGION_COLUMNS)
    PAUSE: ClassVar[float]
    """Seconds between commits."""
    _tables: Sequence[Table]

    @classmethod
    def of_stacks(cls) -> "type[Report]":
        """Give the same report for parts that are stacks of slices."""
        return type(cls.__name__, (cls,), {"COLUMNS": (IMAGE_COLUMNS, STACK_COLUMNS)})

    @abstractmethod
    def __init__(self, folder: Path, known: dict[str, Any] | None = None) -> None: ...

    def write(
        self,
        known: dict[str, Any] | None,
        images: Sequence[Sequence[Cell]],
        regions: Sequence[Sequence[Cell]],
    ) -> dict[str, Any]:
        """Bring rows of files and of their regions to the disk; see ``Table``."""
        return {
            table.path.name: table.write(known[table.path.name] if known else None, rows)
            for table, rows in zip(self._tables, (images, regions), strict=True)
        }

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
    def without(cls, folder: Path, ids: Collection[str]) -> dict[str, Any]:
        """Write both tables without the rows of some files beside them; see ``replace``."""

    @classmethod
    def replace(cls, folder: Path) -> None:
        """Put in their place what ``without`` has written, as far as that is not done."""
        for name in cls.NAMES:
            unfinished, table = folder / f"{name}.new", folder / name
            if unfinished.exists():
                if table.is_dir():  # a folder is not replaced in one step, as a file is
                    shutil.rmtree(table, ignore_errors=True)
                unfinished.replace(table)
        sync_folder(folder)
