"""The rows of the defect report, whatever file they go to. A column is never renamed."""

import math
import re
from collections.abc import Iterator

from anomaly_vae.inspection import Finding
from anomaly_vae.metadata import Threshold

Cell = str | int | float | None
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


def region_rows(finding: Finding) -> Iterator[list[Cell]]:
    """Give the cells of each region of a file, in the order of ``REGION_COLUMNS``."""
    for index, region in enumerate(finding.regions, start=1):
        yield [
            spelled(finding.path), index, region.x, region.y, region.width, region.height,
            region.area, region.centroid_x, region.centroid_y, region.peak, region.mean,
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
