"""The CSV defect report: columns, spelling and numbers that others build upon."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anomaly_vae import __version__
from anomaly_vae.calibration.metadata import Threshold
from anomaly_vae.errors import OutputError
from anomaly_vae.images.decoding import LoadedImage, Placement
from anomaly_vae.images.files import Stamp
from anomaly_vae.images.quality import image_statistics
from anomaly_vae.images.regions import Region
from anomaly_vae.inspection.finding import Finding
from anomaly_vae.reporting.rows import (
    IMAGE_COLUMNS,
    REGION_COLUMNS,
    image_row,
    region_rows,
    row_id,
    spelled,
)
from anomaly_vae.reporting.tables import CsvReport, number

from ..faults import Faults, failing

IMAGE_HEADER = (
    "path,status,verdict,score,threshold,reconstruction_error,kl,regions,defect_area,width,height,"
    "model_id,error,p_value,review_threshold,quality,drift,inspected_at,model_name,program_version,id"
)
REGION_HEADER = (
    "path,region,x,y,width,height,area,centroid_x,centroid_y,peak,mean,"
    "equivalent_diameter,elongation,area_mm2,equivalent_diameter_mm,id,kind,kind_probability"
)

PIXELS = np.zeros((4, 4, 3), np.uint8)
PHOTO = LoadedImage(PIXELS, 640, 480, Placement(1, 1, 0, 0), image_statistics(PIXELS))
AT = datetime(2026, 3, 1, 12, 30, 0, 250_000, timezone(timedelta(hours=2)))
LIMIT = Threshold(3.25, 3.25, "test", "", good=1)
LAST = f"2026-03-01T10:30:00.250Z,./=m,{__version__}"
SMALL = Region(1, 2, 3, 4, 10.5, 2.25, 3.75, 9.0, 6.125, 1.5)
LARGE = Region(5, 6, 70, 80, 5600.0, 40.0, 46.0, 8.0, 5.0, 1.0)


def passed(path: str, score: float = 0.5) -> Finding:
    return Finding(
        path, "pass", score=score, reconstruction_error=1.5, kl=2.5, p_value=0.25, image=PHOTO
    )


def failed(path: str) -> Finding:
    return Finding(path, "fail", score=4.5, regions=(SMALL, LARGE), image=PHOTO)


def add(
    tables: CsvReport,
    known: dict[str, Any] | None,
    *findings: Finding,
    limit: Threshold = LIMIT,
    drift: float = math.nan,
) -> dict[str, Any]:
    images = [
        image_row(each, model_id="abc123", threshold=limit, drift=drift, model_name="=m", at=AT)
        for each in findings
    ]
    return tables.write(known, images, [row for each in findings for row in region_rows(each)])


def report(folder: Path, *findings: Finding) -> dict[str, Any]:
    tables = CsvReport(folder)
    known = add(tables, None, *findings)
    tables.close()
    return known


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_the_headers_are_those_of_the_documentation(tmp_path: Path) -> None:
    report(tmp_path)
    assert (tmp_path / "images.csv").read_bytes() == IMAGE_HEADER.encode() + b"\r\n"
    assert (tmp_path / "defects.csv").read_bytes() == REGION_HEADER.encode() + b"\r\n"


def test_a_pass_is_one_row_without_regions(tmp_path: Path) -> None:
    report(tmp_path, passed("a.png"))
    expected = (
        "a.png,ok,pass,0.5,3.25,1.5,2.5,0,0,640,480,abc123,,0.25,,,,"
        + LAST
        + (f",{row_id(passed('a.png'), AT)}")
    )
    assert (tmp_path / "images.csv").read_text(encoding="utf-8").splitlines()[1:] == [expected]
    assert rows(tmp_path / "defects.csv") == []


def test_a_fail_has_a_row_for_each_region(tmp_path: Path) -> None:
    report(tmp_path, passed("a.png"), failed("b.png"))
    row = rows(tmp_path / "images.csv")[1]
    assert (row["verdict"], row["regions"], row["defect_area"]) == ("fail", "2", "5610.5")
    assert (tmp_path / "defects.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        # The diameters are 2 sqrt(area / pi).
        f"b.png,1,1,2,3,4,10.5,2.25,3.75,9,6.125,3.6563664,1.5,,,{row['id']},,",
        f"b.png,2,5,6,70,80,5600,40,46,8,5,84.4401649,1,,,{row['id']},,",
    ]


def test_sizes_are_in_millimetres_too_if_it_is_known_how_long_a_pixel_is() -> None:
    first, second = region_rows(failed("b.png"), 0.5)
    assert first[13:15] == [2.625, pytest.approx(1.8281832)]
    assert second[13:15] == [1400, pytest.approx(42.2200825)]


def test_what_others_build_upon_has_not_moved() -> None:
    # Schema versions 1 and 2; what came later stands behind it.
    assert list(IMAGE_COLUMNS)[:17] == IMAGE_HEADER.split(",")[:17]
    assert list(REGION_COLUMNS)[:16] == REGION_HEADER.split(",")[:16]


def test_what_is_not_asked_every_time_has_its_columns(tmp_path: Path) -> None:
    limit = replace(LIMIT, review=1.5)
    tables = CsvReport(tmp_path)
    finding = replace(passed("a.png"), verdict="review", quality="darker, or so")
    add(tables, None, finding, limit=limit, drift=0.5)
    tables.close()
    row = rows(tmp_path / "images.csv")[0]
    assert (row["review_threshold"], row["quality"], row["drift"]) == (
        "1.5",
        "darker, or so",
        "0.5",
    )


def test_an_error_is_a_row_with_its_reason_and_no_numbers(tmp_path: Path) -> None:
    report(tmp_path, Finding("a.png", "error", error="the file is empty"))
    assert (tmp_path / "images.csv").read_text(encoding="utf-8").splitlines()[1] == (
        "a.png,error,error,,3.25,,,,,,,abc123,the file is empty,,,,,"
        + LAST
        + ","
        + row_id(Finding("a.png", "error"), AT)
    )
    assert rows(tmp_path / "defects.csv") == []


def test_there_is_no_byte_order_mark_and_umlauts_are_utf8(tmp_path: Path) -> None:
    report(tmp_path, passed("Gehäuse/ß.png"))
    data = (tmp_path / "images.csv").read_bytes()
    assert data.startswith(b"path,")
    assert "Gehäuse/ß.png".encode() in data


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r"])
def test_a_path_that_a_spreadsheet_would_run_begins_with_its_folder(
    tmp_path: Path, sign: str
) -> None:
    path = f"{sign}cmd|' /C calc'!A0.png"
    report(tmp_path, failed(path))
    assert rows(tmp_path / "images.csv")[0]["path"] == f"./{path}"
    assert {row["path"] for row in rows(tmp_path / "defects.csv")} == {f"./{path}"}


@pytest.mark.parametrize("path", ["a=b.png", "sub/=a.png", "a-b.png", "1.png", " =a.png"])
def test_other_paths_are_written_as_they_are(path: str) -> None:
    assert spelled(path) == path


def test_bytes_that_are_not_utf8_can_be_seen(tmp_path: Path) -> None:
    path = b"caf\xe9/\xff\xfe.png".decode("utf-8", "surrogateescape")
    report(tmp_path, passed(path))
    assert rows(tmp_path / "images.csv")[0]["path"] == r"caf\xe9/\xff\xfe.png"


AWKWARD = [
    "a,b.png",
    'a"b".png',
    "a\nb.png",
    "a\r\nb.png",
    "a\rb.png",
    "a;b\tc.png",
    "'a'.png",
    "NA",
]


@pytest.mark.parametrize("path", AWKWARD)
def test_any_path_is_read_back_as_it_was(tmp_path: Path, path: str) -> None:
    report(tmp_path, failed(path), passed("z.png"))
    assert [row["path"] for row in rows(tmp_path / "images.csv")] == [path, "z.png"]
    for name, count in (("images.csv", 1), ("defects.csv", 2)):
        table = pd.read_csv(tmp_path / name, keep_default_na=False)
        assert table["path"].tolist()[:count] == [path] * count


def test_an_error_with_commas_and_quotes_is_read_back_as_it_was(tmp_path: Path) -> None:
    report(tmp_path, Finding("a.png", "error", error='not "this", but that'))
    assert pd.read_csv(tmp_path / "images.csv")["error"].tolist() == ['not "this", but that']


def test_every_float32_survives_the_table(tmp_path: Path) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = values[np.isfinite(values)]
    assert len(values) > 1900
    again = np.array([number(float(value)) for value in values], dtype=np.float32)
    assert np.array_equal(again, values)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.1, "0.1"),
        (3.0, "3"),
        (1 / 3, "0.333333333"),
        (1e-7, "1e-07"),
        (-2.5, "-2.5"),
    ],
)
def test_numbers_have_nine_significant_digits_and_a_point(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize("score", [3.25, 3.25 + 1e-12, 3.25 - 1e-12, 1.5 + 1e-12, 3.3])
def test_a_score_is_written_on_its_side_of_each_limit(tmp_path: Path, score: float) -> None:
    limit = replace(LIMIT, score=np.nextafter(3.25, 4), review=1.5)
    tables = CsvReport(tmp_path)
    add(tables, None, passed("a.png", score), limit=limit)
    tables.close()
    (row,) = rows(tmp_path / "images.csv")
    for name, value in (("threshold", limit.score), ("review_threshold", limit.review)):
        assert float(row[name]) == value
        assert (float(row["score"]) > value) == (score > value)


def test_the_score_of_the_table_is_that_of_the_model(tmp_path: Path) -> None:
    score = float(np.float32(1.2345678))
    report(tmp_path, passed("a.png", score))
    assert np.float32(rows(tmp_path / "images.csv")[0]["score"]) == np.float32(score)


def test_what_was_committed_can_be_read_while_the_report_is_open(tmp_path: Path) -> None:
    tables = CsvReport(tmp_path)
    add(tables, None, failed("a.png"))
    assert len(rows(tmp_path / "images.csv")) == 1
    assert len(rows(tmp_path / "defects.csv")) == 2
    tables.close()


def test_a_full_disk_leaves_no_torn_row_and_the_same_rows_again_go_on(tmp_path: Path) -> None:
    tables = CsvReport(tmp_path)
    known = add(tables, None, passed("a.png"))
    whole = (tmp_path / "images.csv").read_bytes()
    with failing(Faults(tmp_path, 0, "full")), pytest.raises(OutputError, match="No space left"):
        add(tables, known, passed("b.png"))
    assert (tmp_path / "images.csv").read_bytes() == whole
    add(tables, known, passed("b.png"))
    tables.close()
    assert [row["path"] for row in rows(tmp_path / "images.csv")] == ["a.png", "b.png"]


def test_the_same_file_has_the_same_id_and_another_another() -> None:
    one = replace(passed("a.png"), stamp=Stamp(1, 2, 3, "abc"))
    assert row_id(one) == row_id(replace(one, score=9.0))
    others = [
        replace(one, path="b.png"),
        *(replace(one, stamp=Stamp(*each)) for each in
          ((2, 2, 3, "abc"), (1, 3, 3, "abc"), (1, 2, 4, "abc"), (1, 2, 3, "abd"))),
    ]  # fmt: skip
    assert len({row_id(each) for each in [one, *others]}) == 6
    assert row_id(one).startswith("p")  # no number, whatever follows


def test_rows_are_read_back_with_numbers_as_numbers(tmp_path: Path) -> None:
    report(tmp_path, failed("a,1.png"), Finding("b.png", "error", error="torn"))
    first, second = CsvReport.rows(tmp_path)
    assert (first["path"], first["score"], first["regions"], first["drift"]) == (
        *("a,1.png", 4.5, 2, None),
    )
    assert (second["score"], second["error"]) == (None, "torn")


def test_a_report_goes_on_where_it_was_committed_and_torn_rows_are_cut(tmp_path: Path) -> None:
    known = report(tmp_path, passed("a.png"), failed("b.png"))
    whole = {name: (tmp_path / name).read_bytes() for name in CsvReport.NAMES}
    for name in CsvReport.NAMES:
        (tmp_path / name).write_bytes(whole[name] + b"c.png,1,2\r\nd.pn")
    tables = CsvReport(tmp_path, known)
    add(tables, known, passed("c.png"))
    tables.close()
    assert (tmp_path / "images.csv").read_bytes().startswith(whole["images.csv"])
    assert [row["path"] for row in rows(tmp_path / "images.csv")] == ["a.png", "b.png", "c.png"]
    assert (tmp_path / "defects.csv").read_bytes() == whole["defects.csv"]


@pytest.mark.parametrize(
    "edit", [lambda data: data[:-1], lambda data: data.replace(b"pass", b"fail", 1)]
)
def test_a_table_that_was_edited_is_not_gone_on_with(
    tmp_path: Path, edit: Callable[[bytes], bytes]
) -> None:
    known = report(tmp_path, passed("a.png"), failed("b.png"))
    path = tmp_path / "images.csv"
    edited = edit(path.read_bytes())
    path.write_bytes(edited)
    with pytest.raises(OutputError, match=r"images\.csv: is not as .* left it.*--overwrite"):
        CsvReport(tmp_path, known)
    assert path.read_bytes() == edited


def test_rows_of_some_paths_are_taken_out_of_both_tables(tmp_path: Path) -> None:
    report(tmp_path, failed("a.png"), failed("b,1.png"), passed("c.png"))
    known = CsvReport.without(tmp_path, {rows(tmp_path / "images.csv")[1]["id"]})
    assert len(rows(tmp_path / "images.csv")) == 3
    CsvReport.replace(tmp_path)
    CsvReport.replace(tmp_path)  # a second time there is nothing left to do
    assert [row["path"] for row in rows(tmp_path / "images.csv")] == ["a.png", "c.png"]
    assert {row["path"] for row in rows(tmp_path / "defects.csv")} == {"a.png"}
    CsvReport(tmp_path, known).close()


def test_a_table_that_cannot_be_opened_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "images.csv").mkdir()
    with pytest.raises(OutputError, match=r"images\.csv: cannot be written .*close it in other"):
        CsvReport(tmp_path)


def test_no_table_stays_open_when_the_other_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "defects.csv").mkdir()
    tables = CsvReport.__new__(CsvReport)
    with pytest.raises(OutputError, match=r"defects\.csv"):
        tables.__init__(tmp_path)  # type: ignore[misc]
    assert [table._file.closed for table in tables._tables] == [True]


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        CsvReport(tmp_path / "missing")
