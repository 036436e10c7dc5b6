"""The CSV defect report: columns, spelling and numbers that others build upon."""

import csv
import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anomaly_vae.errors import OutputError
from anomaly_vae.images import LoadedImage, Placement
from anomaly_vae.inspection import Finding
from anomaly_vae.metadata import Threshold
from anomaly_vae.quality import image_statistics
from anomaly_vae.regions import Region
from anomaly_vae.reporting.tables import DefectReport, number, spelled

IMAGE_HEADER = (
    "path,status,verdict,score,threshold,reconstruction_error,kl,regions,defect_area,width,height,"
    "model_id,error,p_value,review_threshold,quality,drift"
)
REGION_HEADER = "path,region,x,y,width,height,area,centroid_x,centroid_y,peak,mean"

PIXELS = np.zeros((4, 4, 3), np.uint8)
PHOTO = LoadedImage(PIXELS, 640, 480, Placement(1, 1, 0, 0), image_statistics(PIXELS))
LIMIT = Threshold(3.25, 3.25, "test", "", good=1)
SMALL = Region(1, 2, 3, 4, 10.5, 2.25, 3.75, 9.0, 6.125)
LARGE = Region(5, 6, 70, 80, 5600.0, 40.0, 46.0, 8.0, 5.0)


def passed(path: str, score: float = 0.5) -> Finding:
    return Finding(
        path, "pass", score=score, reconstruction_error=1.5, kl=2.5, p_value=0.25, image=PHOTO
    )


def failed(path: str) -> Finding:
    return Finding(path, "fail", score=4.5, regions=(SMALL, LARGE), image=PHOTO)


def report(folder: Path, *findings: Finding) -> None:
    with DefectReport(folder, model_id="abc123", threshold=LIMIT) as tables:
        for finding in findings:
            tables.add(finding)


def rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_the_headers_are_those_of_the_documentation(tmp_path: Path) -> None:
    report(tmp_path)
    assert (tmp_path / "images.csv").read_bytes() == IMAGE_HEADER.encode() + b"\r\n"
    assert (tmp_path / "defects.csv").read_bytes() == REGION_HEADER.encode() + b"\r\n"


def test_a_pass_is_one_row_without_regions(tmp_path: Path) -> None:
    report(tmp_path, passed("a.png"))
    expected = "a.png,ok,pass,0.5,3.25,1.5,2.5,0,0,640,480,abc123,,0.25,,,"
    assert (tmp_path / "images.csv").read_text(encoding="utf-8").splitlines()[1:] == [expected]
    assert rows(tmp_path / "defects.csv") == []


def test_a_fail_has_a_row_for_each_region(tmp_path: Path) -> None:
    report(tmp_path, passed("a.png"), failed("b.png"))
    row = rows(tmp_path / "images.csv")[1]
    assert (row["verdict"], row["regions"], row["defect_area"]) == ("fail", "2", "5610.5")
    assert (tmp_path / "defects.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "b.png,1,1,2,3,4,10.5,2.25,3.75,9,6.125",
        "b.png,2,5,6,70,80,5600,40,46,8,5",
    ]


def test_what_is_not_asked_every_time_has_its_columns(tmp_path: Path) -> None:
    limit = replace(LIMIT, review=1.5)
    with DefectReport(tmp_path, model_id="m", threshold=limit) as tables:
        tables.add(replace(passed("a.png"), verdict="review", quality="darker, or so"), drift=0.5)
    row = rows(tmp_path / "images.csv")[0]
    assert (row["review_threshold"], row["quality"], row["drift"]) == (
        "1.5",
        "darker, or so",
        "0.5",
    )


def test_an_error_is_a_row_with_its_reason_and_no_numbers(tmp_path: Path) -> None:
    report(tmp_path, Finding("a.png", "error", error="the file is empty"))
    assert (tmp_path / "images.csv").read_text(encoding="utf-8").splitlines()[1] == (
        "a.png,error,error,,3.25,,,,,,,abc123,the file is empty,,,,"
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
        (math.nan, ""),
    ],
)
def test_numbers_have_nine_significant_digits_and_a_point(value: float, text: str) -> None:
    assert number(value) == text


def test_the_score_of_the_table_is_that_of_the_model(tmp_path: Path) -> None:
    score = float(np.float32(1.2345678))
    report(tmp_path, passed("a.png", score))
    assert np.float32(rows(tmp_path / "images.csv")[0]["score"]) == np.float32(score)


def test_what_was_flushed_can_be_read_while_the_report_is_open(tmp_path: Path) -> None:
    with DefectReport(tmp_path, model_id="m", threshold=LIMIT) as tables:
        tables.add(failed("a.png"))
        tables.flush()
        assert len(rows(tmp_path / "images.csv")) == 1
        assert len(rows(tmp_path / "defects.csv")) == 2


def test_rows_stand_in_the_table_when_something_fails_later(tmp_path: Path) -> None:
    with (
        pytest.raises(RuntimeError),
        DefectReport(tmp_path, model_id="m", threshold=LIMIT) as tables,
    ):
        tables.add(passed("a.png"))
        raise RuntimeError
    assert len(rows(tmp_path / "images.csv")) == 1


def test_a_table_that_cannot_be_opened_is_named_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "images.csv").mkdir()
    with pytest.raises(OutputError, match=r"images\.csv: cannot be written .*; close it in other"):
        DefectReport(tmp_path, model_id="m", threshold=LIMIT)


def test_no_table_stays_open_when_the_other_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "defects.csv").mkdir()
    tables = DefectReport.__new__(DefectReport)
    with pytest.raises(OutputError, match=r"defects\.csv"):
        tables.__init__(tmp_path, model_id="m", threshold=LIMIT)  # type: ignore[misc]
    opened = tables._files
    still_open = [file for file in opened if not file.closed]
    for file in still_open:
        file.close()
    assert still_open == []


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="No such file or directory"):
        DefectReport(tmp_path / "missing", model_id="m", threshold=LIMIT)
