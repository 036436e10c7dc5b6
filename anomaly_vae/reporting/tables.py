"""The CSV defect report: ``images.csv`` with a row per file, ``defects.csv`` with one per region.

UTF-8 without BOM, comma, decimal point, CRLF as RFC 4180 asks. A column is never renamed.
"""

import csv
import math
import re
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING

from anomaly_vae.errors import OutputError
from anomaly_vae.inspection import Finding
from anomaly_vae.metadata import Threshold

IMAGE_COLUMNS = (
    "path",
    "status",
    "verdict",
    "score",
    "threshold",
    "reconstruction_error",
    "kl",
    "regions",
    "defect_area",
    "width",
    "height",
    "model_id",
    "error",
    "p_value",
    "review_threshold",
    "quality",
    "drift",
)
REGION_COLUMNS = (
    "path",
    "region",
    "x",
    "y",
    "width",
    "height",
    "area",
    "centroid_x",
    "centroid_y",
    "peak",
    "mean",
)
if TYPE_CHECKING:
    from _csv import Writer as _Writer

# What a spreadsheet would take for a formula at the start of a cell.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class DefectReport:
    """Writes both tables as the findings come in; use it in a ``with`` statement.

    Raises:
        OutputError: a table cannot be written (on Windows, because a spreadsheet has it open).
    """

    def __init__(self, folder: Path, *, model_id: str, threshold: Threshold) -> None:
        self._model_id, self._threshold = model_id, threshold
        self._files: list[IO[str]] = []
        try:
            self._images = self._open(folder / "images.csv", IMAGE_COLUMNS)
            self._regions = self._open(folder / "defects.csv", REGION_COLUMNS)
        except OutputError:
            self._close()
            raise

    def __enter__(self) -> "DefectReport":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, finding: Finding, drift: float = math.nan) -> None:
        """Write the row of a file and the rows of its regions.

        ``drift`` is the p-value of the images up to this one, if they were asked about.
        """
        path = spelled(finding.path)
        image = finding.image
        known = finding.verdict != "error"
        self._images.writerow(
            (
                path,
                "ok" if known else "error",
                finding.verdict,
                number(finding.score),
                number(self._threshold.score),
                number(finding.reconstruction_error),
                number(finding.kl),
                len(finding.regions) if known else "",
                number(sum(region.area for region in finding.regions)) if known else "",
                image.width if image else "",
                image.height if image else "",
                self._model_id,
                finding.error,
                number(finding.p_value),
                "" if self._threshold.review is None else number(self._threshold.review),
                finding.quality,
                number(drift),
            )
        )
        for index, region in enumerate(finding.regions, start=1):
            box = (region.x, region.y, region.width, region.height)
            values = (region.area, region.centroid_x, region.centroid_y, region.peak, region.mean)
            self._regions.writerow((path, index, *box, *map(number, values)))

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        for file in self._files:
            file.flush()

    def _close(self) -> None:
        for file in self._files:
            file.close()

    def _open(self, path: Path, columns: tuple[str, ...]) -> "_Writer":
        try:
            file = path.open("w", encoding="utf-8", newline="")
        except OSError as error:
            raise OutputError(
                f"{path}: cannot be written ({error.strerror}); close it in other programs, or "
                "choose another --out"
            ) from error
        self._files.append(file)
        writer = csv.writer(file)
        writer.writerow(columns)
        return writer


def spelled(path: str) -> str:
    r"""Write a path so that no spreadsheet runs it and every byte of it can be seen.

    Bytes that are not UTF-8, which Python keeps as lone surrogates, become ``\xNN``.
    """
    text = re.sub("[\udc80-\udcff]", lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", path)
    text = text.encode("utf-8", "backslashreplace").decode()  # other surrogates, of Windows names
    return f"./{text}" if text.startswith(_FORMULA) else text


def number(value: float) -> str:
    """Write a number with 9 significant digits, enough for any float32; empty if there is none."""
    return "" if math.isnan(value) else f"{value:.9g}"
