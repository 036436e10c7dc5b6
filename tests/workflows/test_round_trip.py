"""Whatever a file is called and whatever finite numbers are found: all of it comes back."""

import contextlib
import io
import json
import math
import re
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyarrow import parquet

from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.images.decoding import LoadedImage, Placement
from anomaly_vae.images.files import stamp
from anomaly_vae.images.quality import image_statistics
from anomaly_vae.images.regions import Region
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.inspection.inspector import Inspector
from anomaly_vae.inspection.runtime import Outputs
from anomaly_vae.reporting.parquet import ParquetReport
from anomaly_vae.reporting.rows import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    Cell,
    image_row,
    region_rows,
    spelled,
)
from anomaly_vae.reporting.tables import CsvReport, read_rows

PIXELS = np.zeros((8, 8, 3), np.uint8)
PHOTO = LoadedImage(PIXELS, 640, 480, Placement(1, 1, 0, 0), image_statistics(PIXELS))
LIMIT = Threshold(3.25, 3.25, "test", "", good=1)
SIGNS = ("=", "+", "-", "@", "\t", "\r")

thorough = settings(deadline=None, max_examples=60, derandomize=True, database=None)
# Any text, lone surrogates of all kinds too, and any bytes as Python names them.
some_text = st.text(st.characters(exclude_categories=()), min_size=1)
some_bytes = st.binary(min_size=1).map(lambda name: name.decode("utf-8", "surrogateescape"))
names = st.builds(str.__add__, st.sampled_from(["", *SIGNS]), some_text | some_bytes)
single = st.floats(allow_nan=False, allow_infinity=False, width=32)
double = st.floats(allow_nan=False, allow_infinity=False)
areas = st.floats(0, 1e300)
whole = st.integers(0, 2**40)
found_regions = st.builds(
    Region, whole, whole, whole, whole, areas, double, double, double, double, double
)


@st.composite
def failures(draw: st.DrawFn) -> Finding:
    return Finding(
        draw(names), "fail", error=draw(st.text()), quality=draw(st.text()),
        score=draw(single), reconstruction_error=draw(single), kl=draw(single),
        p_value=draw(single), regions=tuple(draw(st.lists(found_regions, max_size=3))), image=PHOTO,
    )  # fmt: skip


Rows = tuple[list[Cell], list[list[Cell]]]


def rows_of(finding: Finding, mm_per_pixel: float | None = None) -> Rows:
    row = image_row(
        finding,
        model_id="abc",
        threshold=LIMIT,
        drift=math.nan,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return row, list(region_rows(finding, mm_per_pixel))


def same(value: Any, written: Cell) -> bool:
    """Whether a cell has come back: a float32 exactly, a double to nine digits."""
    if not isinstance(written, float):
        return bool(value == written)
    with np.errstate(over="ignore"):  # of doubles beyond every float32
        if float(np.float32(written)) == written:
            return float(np.float32(value)) == written
    return math.isclose(value, written, rel_tol=5e-9, abs_tol=1e-323)


# --- names


@thorough
@given(name=names)
def test_a_name_is_utf8_and_no_formula_whatever_it_was(name: str) -> None:
    text = spelled(name)
    assert text.encode("utf-8").decode("utf-8") == text
    assert not text.startswith(SIGNS)


@thorough
@given(name=names)
def test_the_escapes_of_a_name_can_be_undone(name: str) -> None:
    assume("\\" not in name and not name.startswith("./"))
    text = spelled(name).removeprefix("./")
    text = re.sub(r"\\x([0-9a-f]{2})", lambda match: chr(0xDC00 + int(match[1], 16)), text)
    assert re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), text) == name


@thorough
@given(name=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_a_name_that_needs_no_escapes_is_written_as_it_is(name: str) -> None:
    assert spelled(name) == (f"./{name}" if name.startswith(SIGNS) else name)


@thorough
@given(name=names)
def test_what_no_file_can_be_called_is_no_file(name: str) -> None:
    assume("/" not in name)
    assert stamp(Path("no such folder") / name) is None
    assert stamp(Path("a\0b.png")) is None


# --- tables


@thorough
@given(found=st.lists(failures(), min_size=1, max_size=4))
def test_everything_comes_back_from_csv(found: list[Finding]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images, regions = written(CsvReport, folder, found)
        assert_same(list(CsvReport.rows(folder)), images, IMAGE_COLUMNS)
        assert_same(
            list(read_rows(folder / "defects.csv", REGION_COLUMNS)), regions, REGION_COLUMNS
        )


@thorough
@given(found=st.lists(failures(), min_size=1, max_size=4))
def test_everything_comes_back_from_parquet_to_the_last_digit(found: list[Finding]) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        images, regions = written(ParquetReport, folder, found)
        assert [list(row.values()) for row in ParquetReport.rows(folder)] == images
        parts = sorted((folder / "defects.parquet").iterdir())
        again = [row for part in parts for row in parquet.read_table(part).to_pylist()]
        assert [list(row.values()) for row in again] == regions


@thorough
@given(finding=failures(), mm_per_pixel=st.none() | st.floats(1e-9, 1e3))
def test_everything_comes_back_from_lines_of_json_to_the_last_digit(
    finding: Finding, mm_per_pixel: float | None
) -> None:
    from anomaly_vae_cli.commands.inspect import _write_json

    assume(all(region.area < 1e290 for region in finding.regions))
    row, regions = rows_of(finding, mm_per_pixel)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        _write_json(row, regions)
    assert said.getvalue().count("\n") == 1
    line = json.loads(said.getvalue(), parse_constant=pytest.fail)
    defects = line.pop("defects")
    assert list(line.values()) == row
    assert [[row[0], *defect.values()] for defect in defects] == regions


def written(
    kind: type[CsvReport] | type[ParquetReport], folder: Path, found: list[Finding]
) -> tuple[list[list[Cell]], list[list[Cell]]]:
    report, images, defects = kind(folder), list[list[Cell]](), list[list[Cell]]()
    for finding in found:
        row, regions = rows_of(finding)
        images, defects = [*images, row], defects + regions
    report.write(None, images, defects)
    report.close()
    return images, defects


def assert_same(
    again: list[dict[str, Any]], rows: list[list[Cell]], columns: dict[str, type]
) -> None:
    assert len(again) == len(rows)
    for row, cells in zip(again, rows, strict=True):
        assert list(row) == list(columns)
        for value, cell in zip(row.values(), cells, strict=True):
            assert same(value, cell), (value, cell)


# --- what is no number


def judged(score: float, error: float, kl: float, anomaly_map: NDArray[np.float32]) -> Finding:
    """What is said of an image for which the model gives these outputs."""
    inspector = Inspector.__new__(Inspector)
    inspector.card = SimpleNamespace(threshold=LIMIT, good=None, kinds=None)  # type: ignore[assignment]
    inspector.min_area = 0.0
    numbers = [np.array([each], np.float32) for each in (score, error, kl)]
    maps = SimpleNamespace(numpy=lambda: anomaly_map[None])
    (row,) = Outputs(numbers, np.isfinite(anomaly_map).all()[None], maps).rows()
    return inspector.judge("a.png", PHOTO, row)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", range(4))
def test_what_is_not_finite_is_an_error_and_reaches_no_table(place: int, value: float) -> None:
    numbers, anomaly_map = [9.0, 1.0, 1.0], np.full((4, 4), 9, np.float32)
    if place == 3:
        anomaly_map[2, 1] = value
    else:
        numbers[place] = value
    finding = judged(*numbers, anomaly_map)
    assert (finding.verdict, finding.regions) == ("error", ())
    assert "not a number" in finding.error
    cells, regions = rows_of(finding)
    assert all(math.isfinite(cell) for cell in cells if isinstance(cell, float))
    assert regions == []


@thorough
@given(
    score=single, error=single, kl=single,
    values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=16, max_size=16),
    mm_per_pixel=st.none() | st.floats(1e-9, 1e9),
)  # fmt: skip
def test_what_is_finite_stays_finite(
    score: float, error: float, kl: float, values: list[float], mm_per_pixel: float | None
) -> None:
    anomaly_map = np.array(values, np.float32).reshape(4, 4)
    finding = judged(score, error, kl, anomaly_map)
    row, regions = rows_of(finding, mm_per_pixel)
    assert finding.verdict == ("fail" if score > LIMIT.score else "pass")
    assert all(math.isfinite(c) for r in (row, *regions) for c in r if isinstance(c, float))
