"""The workbook of a report: all rows, text as text, numbers as numbers."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import openpyxl
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anomaly_vae.errors import OutputError
from anomaly_vae.reporting import workbook
from anomaly_vae.reporting.rows import IMAGE_COLUMNS, REGION_COLUMNS, Cell
from anomaly_vae.reporting.tables import CsvReport
from anomaly_vae.reporting.workbook import write_workbook

from ..conftest import Command


def image(path: str, error: str = "") -> list[Cell]:
    return [
        *(path, "ok", "fail", 4.5, 3.25, 1 / 3, 2.5, 1, 10.5, 640, 480),
        *("0123456789ab", error, None, None, "", None),
        *("2026-03-01T10:30:00.250Z", "press", "0.1.0", f"p-{path}"),
    ]


def region(path: str) -> list[Cell]:
    return [path, 1, 1, 2, 3, 4, 10.5, 2.25, 3.75, 9.0, 6.125, 3.65636640, 1.5, None, None,
            f"p-{path}", "", None]  # fmt: skip


def book(folder: Path, *paths: str, error: str = "") -> Any:
    """A workbook of a report of these paths, as a reader sees it."""
    report = CsvReport(folder)
    report.write(None, [image(path, error) for path in paths], [region(path) for path in paths])
    report.close()
    write_workbook(folder)
    return openpyxl.load_workbook(folder / "report.xlsx")


def test_both_tables_have_a_sheet_with_their_columns_and_rows(tmp_path: Path) -> None:
    sheets = book(tmp_path, "a.png", "b.png")
    assert sheets.sheetnames == ["images", "defects"]
    for sheet, columns, row in (
        (sheets["images"], IMAGE_COLUMNS, image("b.png")),
        (sheets["defects"], REGION_COLUMNS, region("b.png")),
    ):
        values = list(sheet.values)
        assert list(values[0]) == list(columns)
        assert len(values) == 3
        for value, expected in zip(values[2], row, strict=True):
            if isinstance(expected, float):
                assert value == pytest.approx(expected, rel=1e-8)
            else:
                assert value == (expected or None)


def test_numbers_are_numbers_and_what_looks_like_one_in_a_text_is_not(tmp_path: Path) -> None:
    sheet = book(tmp_path, "1234", error="1e5")["images"]
    kinds = {sheet.cell(1, cell.column).value: cell.data_type for cell in sheet[2]}
    for column, kind in IMAGE_COLUMNS.items():
        filled = sheet.cell(2, list(IMAGE_COLUMNS).index(column) + 1).value is not None
        assert kinds[column] == ("s" if kind is str and filled else "n"), column
    assert (sheet["A2"].value, sheet["M2"].value) == ("1234", "1e5")


@pytest.mark.parametrize(
    "text", ["=1+1", "=HYPERLINK(0)", "+1", "-1", "@A1", "#N/A", "#REF!", "TRUE", "1/2", " a ", "'"]
)
def test_text_is_never_a_formula_an_error_or_a_date(tmp_path: Path, text: str) -> None:
    sheet = book(tmp_path, "a.png", error=text)["images"]
    assert (sheet["M2"].value, sheet["M2"].data_type) == (text, "s")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x07b", r"a\x07b"),
        ("a\0b", r"a\x00b"),
        ("a\rb", r"a\rb"),
        ("\x1b[1m", r"\x1b[1m"),
        ("\ufffe\uffff", r"\ufffe\uffff"),
        ("a\nb\tc", "a\nb\tc"),
        ("\x7f\x85\u2028", "\x7f\x85\u2028"),
        ("a_x0041_b", "a_x005F_x0041_b"),  # or a spreadsheet would show aAb
        ("_x_x00E_", "_x_x00E_"),
        ("x" * 40_000, "x" * 32_766 + "…"),
    ],
)
def test_what_a_spreadsheet_forbids_can_be_seen(tmp_path: Path, text: str, shown: str) -> None:
    assert book(tmp_path, "a.png", error=text)["images"]["M2"].value == shown


@settings(deadline=None, max_examples=40, derandomize=True, database=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_makes_a_workbook_that_can_be_read(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    cell = book(tmp_path_factory.mktemp("book"), "a.png", error=f"<{text}>")["images"]["M2"]
    assert cell.data_type == "s"
    assert cell.value == workbook._visible(f"<{text}>")


def test_the_header_is_bold_stays_in_sight_and_filters(tmp_path: Path) -> None:
    sheets = book(tmp_path, "a.png", "b.png")
    for sheet, area in ((sheets["images"], "A1:U3"), (sheets["defects"], "A1:R3")):
        assert all(cell.font.bold for cell in sheet[1])
        assert not any(cell.font.bold for cell in sheet[2])
        assert (sheet.freeze_panes, sheet.auto_filter.ref) == ("A2", area)
        widths = {key: each.width for key, each in sheet.column_dimensions.items()}
        assert len(widths) == sheet.max_column
        for cell in sheet[1]:
            assert widths[cell.column_letter] > len(cell.value)


def test_a_report_without_rows_has_its_headers(tmp_path: Path) -> None:
    sheets = book(tmp_path)
    assert [list(next(sheet.values)) for sheet in sheets] == [
        list(IMAGE_COLUMNS), list(REGION_COLUMNS)
    ]  # fmt: skip
    assert sheets["images"].auto_filter.ref == "A1:U1"


@pytest.mark.parametrize(("rows", "sheets"), [(3, 1), (4, 2), (6, 2), (7, 3)])
def test_more_rows_than_a_sheet_takes_go_on_in_the_next(
    tmp_path: Path, rows: int, sheets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workbook, "_MOST_ROWS", 3)
    found = book(tmp_path, *(f"{number}.png" for number in range(rows)))
    names = ["images", "images 2", "images 3"][:sheets]
    assert found.sheetnames == [*names, *(name.replace("images", "defects") for name in names)]
    paths = [row[0] for name in names for row in list(found[name].values)[1:]]
    assert paths == [f"{number}.png" for number in range(rows)]
    assert found[names[-1]].auto_filter.ref == f"A1:U{(rows - 1) % 3 + 2}"


def test_a_workbook_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    report = CsvReport(tmp_path)
    report.write(None, [], [])
    report.close()
    (tmp_path / "report.xlsx").mkdir()
    with pytest.raises(OutputError, match=r"report\.xlsx: cannot be written"):
        write_workbook(tmp_path)
    assert {each.name for each in tmp_path.iterdir()} == {*CsvReport.NAMES, "report.xlsx"}


LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from anomaly_vae.errors import OutputError
from anomaly_vae.reporting.workbook import write_workbook

resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    write_workbook(Path(sys.argv[2]))
except OutputError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit for the size of a file")
@pytest.mark.parametrize("room", [1_000, 20_000, 50_000])  # the larger sheet needs 50,150
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, room: int) -> None:
    book(tmp_path, *(f"{number}.png" for number in range(100)))
    before = (tmp_path / "report.xlsx").read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", LITTLE_ROOM, str(room), str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout.splitlines()[0].endswith("report.xlsx: cannot be written: File too large")
    assert (tmp_path / "report.xlsx").read_bytes() == before
    assert not (tmp_path / "report.xlsx.new").exists()


def test_an_inspection_makes_one_beside_its_tables(
    run: Path, parts: Path, tmp_path: Path, command: Command
) -> None:
    out = tmp_path / "out"
    arguments = ("inspect", run / "model.onnx", parts / "test", "--out", out, "--exit-zero")
    assert command(*arguments).code == 0
    assert not (out / "report.xlsx").exists()
    outcome = command(*arguments, "--resume", "--format", "xlsx")
    assert outcome.code == 0, outcome.err
    for name in ("images", "defects"):
        rows = pd.read_csv(out / f"{name}.csv")
        pd.testing.assert_frame_equal(
            pd.read_excel(out / "report.xlsx", sheet_name=name), rows, check_dtype=False
        )
    assert command(*arguments, "--resume").code == 0
    assert not (out / "report.xlsx").exists()


def test_a_missing_library_is_named_before_the_work(
    run: Path, parts: Path, tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.delitem(sys.modules, "anomaly_vae.reporting.workbook")
    out = tmp_path / "out"
    outcome = command("inspect", run / "model.onnx", parts / "test", "--out", out,
                      "--format", "xlsx")  # fmt: skip
    assert outcome.code == 2
    assert outcome.err == "error: this needs openpyxl: pip install 'anomaly-vae[xlsx]'\n"
    assert not out.exists()
